"""Runs Alembic's commands in baked projects, and adds migrations to them."""

import subprocess
from pathlib import Path

from baking import environment

MIGRATION = """
from alembic import op

revision = "{number:04}"
down_revision = "{previous:04}"


def upgrade() -> None:
    {statements}


def downgrade() -> None:
    pass
"""


def alembic(
    project: Path, *command: str, url: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [project / ".venv/bin/alembic", *command],
        cwd=project,
        env=environment(DATABASE_URL=url, PYTHONPATH=str(project), **variables),
        capture_output=True,
        text=True,
        timeout=60,
    )


def add_migrations(project: Path, *statements: str) -> None:
    """After 0001, one for each of the statements."""
    for number, each in enumerate(statements, start=2):
        text = MIGRATION.format(number=number, previous=number - 1, statements=each)
        (project / f"migrations/versions/{number:04}_more.py").write_text(text)
    tables = project / "my_service/tables.py"
    newest = f'REVISION = "{len(statements) + 1:04}"'
    tables.write_text(tables.read_text().replace('REVISION = "0001"', newest))
