"""BlackSheep on a pool of asyncpg's."""

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg
from blacksheep import Application, Response, json, not_found

app = Application()


@dataclass
class User:
    id: int
    name: str
    email: str
    created_at: datetime


@app.lifespan
async def hold_pool(app: Application) -> AsyncIterator[None]:
    async with asyncpg.create_pool(os.environ["DATABASE_URL"]) as pool:
        app.services.register(asyncpg.Pool, instance=pool)
        yield


@app.router.get("/")
async def root() -> Response:
    return json({"message": "Hello World"})


@app.router.get("/users/{user_id}")
async def get_user(user_id: int, pool: asyncpg.Pool) -> Any:
    row = await pool.fetchrow(
        "SELECT id, name, email, created_at FROM users WHERE id = $1", user_id
    )
    return json(User(*row)) if row else not_found()
