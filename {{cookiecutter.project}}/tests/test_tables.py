from pathlib import Path

import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from {{ cookiecutter.__package }} import settings, tables
from {{ cookiecutter.__package }}.chassis import migrations
from {{ cookiecutter.__package }}.chassis.sessions import open_sessions

PROJECT = Path(__file__).parents[1]


def test_revision_is_the_newest_migration() -> None:
    """/readyz compares the database with it, so it must not be forgotten."""
    scripts = ScriptDirectory.from_config(Config(toml_file=PROJECT / "pyproject.toml"))
    assert scripts.get_current_head() == tables.REVISION


def test_revisions_sort_in_the_order_of_the_migrations() -> None:
    """The database's is compared with the code's as a text."""
    scripts = ScriptDirectory.from_config(Config(toml_file=PROJECT / "pyproject.toml"))
    revisions = [script.revision for script in scripts.walk_revisions()][::-1]
    assert revisions == sorted(revisions)


def test_constraints_of_one_column_each_have_a_name() -> None:
    """Else a migration would leave one of them out."""
    metadata = sa.MetaData(naming_convention=tables.metadata.naming_convention)
    table = sa.Table(
        "pages",
        metadata,
        *(sa.Column(name, sa.Text) for name in ("site", "slug", "position")),
        sa.UniqueConstraint("site", "slug"),
        sa.UniqueConstraint("site", "position"),
    )
    sa.Index(None, table.c.site), sa.Index(None, table.c.site, table.c.slug)
    named = {str(constraint.name) for constraint in table.constraints}
    assert named >= {"pages_site_slug_key", "pages_site_position_key"}
    assert {index.name for index in table.indexes} == {"pages_site_idx", "pages_site_slug_idx"}


async def test_migrations_make_the_tables() -> None:
    def compare(connection: Connection) -> list[object]:
        options = migrations.compare_schemas(tables.metadata)
        context = MigrationContext.configure(connection, opts=options)
        return list(compare_metadata(context, tables.metadata))

    async with open_sessions(settings.DATABASE_URL) as sessions, sessions() as session:
        connection = await session.connection()
        assert await connection.run_sync(compare) == []
