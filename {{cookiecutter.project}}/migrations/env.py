"""Runs the migrations, over asyncpg, on DATABASE_URL or on the embedded server."""

import asyncio

from alembic import context
from sqlalchemy import Connection, text

from {{ cookiecutter.__package }} import settings, tables
from {{ cookiecutter.__package }}.chassis import embedded
from {{ cookiecutter.__package }}.chassis.database_url import connect_options
from {{ cookiecutter.__package }}.chassis.sessions import create_engine


def migrate(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=tables.metadata)
    with context.begin_transaction():
        # Several instances may start at once: one migrates, the others wait and find it done.
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('alembic'))"))
        context.run_migrations()


async def connect(url: str) -> None:
    engine = create_engine(connect_options(url, command_timeout=None, pooler=True))
    async with engine.connect() as connection:
        await connection.run_sync(migrate)
    await engine.dispose()


if url := context.config.attributes.get("url") or settings.DATABASE_URL:
    asyncio.run(connect(url))
else:
    with embedded.run_server(settings.PROJECT / embedded.FOLDER) as url:
        asyncio.run(connect(url))
