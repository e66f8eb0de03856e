"""Litestar on a pool of asyncpg's."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

import asyncpg
from litestar import Litestar, get
from litestar.datastructures import State
from litestar.exceptions import NotFoundException


@dataclass
class User:
    id: int
    name: str
    email: str
    created_at: datetime


@asynccontextmanager
async def lifespan(app: Litestar) -> AsyncIterator[None]:
    async with asyncpg.create_pool(os.environ["DATABASE_URL"]) as app.state.pool:
        yield


@get("/")
async def root() -> dict[str, str]:
    return {"message": "Hello World"}


@get("/users/{user_id:int}")
async def get_user(state: State, user_id: int) -> User:
    row = await state.pool.fetchrow(
        "SELECT id, name, email, created_at FROM users WHERE id = $1", user_id
    )
    if row is None:
        raise NotFoundException
    return User(*row)


app = Litestar([root, get_user], lifespan=[lifespan])
