"""Runs the migrations, over asyncpg, on DATABASE_URL or on the embedded server."""

import asyncio
import logging

from alembic import command, context
from sqlalchemy import Connection

from {{ cookiecutter.__package }} import settings, tables
from {{ cookiecutter.__package }}.chassis import embedded, logs, migrations

logger = logging.getLogger(__name__)


def is_newer(revision: str) -> bool:
    """Not by its name alone, which Alembic draws by lot where none is given."""
    known = {each.revision for each in context.script.walk_revisions()}
    return revision not in known and revision > tables.REVISION


def migrate(connection: Connection | None = None) -> None:
    context.configure(
        connection=connection,
        dialect_name="postgresql",
        target_metadata=tables.metadata,
        literal_binds=context.is_offline_mode(),
        transaction_per_migration=True,
        **migrations.compare_schemas(tables.metadata),
        dialect_opts={"paramstyle": "named"},  # Else it doubles each % of what it writes as SQL.
    )
    # Each migration is named, by a start as well; what the context says of itself came before this.
    logging.getLogger("alembic.runtime.migration").setLevel(settings.LOG_LEVEL.upper())
    heads = context.get_context().get_current_heads()
    if context.is_offline_mode():
        context.execute(f"SET lock_timeout = '{migrations.LOCK_TIMEOUT}s'")
    elif called in (None, command.upgrade) and heads and is_newer(heads[0]):
        # This code was rolled back to, or is another branch, and works with what a newer one added.
        logger.warning(
            "The schema is at %s, which is newer: nothing to do; see docs/migrations.md", heads[0]
        )
        return
    with context.begin_transaction():
        context.run_migrations()


called = None  # by the command line, where the log is not set up yet; a start upgrades
if context.config.cmd_opts:
    called = context.config.cmd_opts.cmd[0]
    logs.configure("{{ cookiecutter.__package }}", settings.LOG_LEVEL)
if context.is_offline_mode():
    migrate()
elif url := context.config.attributes.get("url") or settings.DATABASE_URL:
    asyncio.run(migrations.run(url, migrate))
else:
    with embedded.run_server(settings.PROJECT / embedded.FOLDER) as url:
        asyncio.run(migrations.run(url, migrate))
