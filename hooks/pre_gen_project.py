"""Checks the variables as a whole: a replay, or the command line, may set the derived ones too."""

import json
import sys

sys.exit(json.loads(r""" {{ cookiecutter | fault }} """))
