"""The production entry, with `python -m`: WEB_CONCURRENCY processes, which lose no request."""

import asyncio
import sys
from functools import partial

from . import settings
from .app import app, drain
from .chassis import server, start, supervisor
from .chassis.route_limits import find_longest

# Seconds: for a body that has just begun, then for its request, then for what runs on after it.
DRAIN_TIMEOUT = find_longest(app, settings.REQUEST_TIMEOUT) + settings.BACKGROUND_TIMEOUT + 2


def main() -> int:
    config = server.bind(settings.PROJECT / "hypercorn.conf.py")
    work = partial(server.run, app, config, drain, DRAIN_TIMEOUT)
    if settings.WEB_CONCURRENCY > 1:
        # A start that fails does so once, and not in each of them.
        supervisor.check(lambda: asyncio.run(start.check_start(app)))
        return supervisor.supervise(work, settings.WEB_CONCURRENCY, DRAIN_TIMEOUT)
    work()
    return 0


if __name__ == "__main__":
    sys.exit(main())
