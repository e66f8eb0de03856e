"""Runs the migrations, over asyncpg, on DATABASE_URL or on the embedded server."""

import asyncio

from alembic import context
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine

from {{ cookiecutter.__package }} import settings, tables
from {{ cookiecutter.__package }}.chassis import embedded


def migrate(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=tables.metadata)
    with context.begin_transaction():
        # Several instances may start at once: one migrates, the others wait and find it done.
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('alembic'))"))
        context.run_migrations()


async def connect(url: str) -> None:
    engine = create_async_engine("postgresql+asyncpg://", connect_args={"dsn": url})
    async with engine.connect() as connection:
        await connection.run_sync(migrate)
    await engine.dispose()


if url := context.config.attributes.get("url") or settings.DATABASE_URL:
    asyncio.run(connect(url))
else:
    with embedded.run_server(settings.PROJECT / embedded.FOLDER) as url:
        asyncio.run(connect(url))
