"""Users: through `databases`, and one endpoint through the ORM."""

import msgspec
from sqlalchemy import select
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import Route

from . import tables
from .chassis.database import Database
from .chassis.endpoint import Created, endpoint
from .chassis.parse import Email, Id, Limit, Name, Timestamp
from .lifespan import State


class NewUser(msgspec.Struct, forbid_unknown_fields=True):
    name: Name
    email: Email


class OrmUser(msgspec.Struct):
    id: Id
    name: str
    email: str


class User(OrmUser):
    created_at: Timestamp


class Users(msgspec.Struct):
    users: list[User]


async def select_user(database: Database, user_id: int) -> User | None:
    query = """SELECT id, name, email, created_at
                 FROM users
                WHERE id = :user_id"""
    row = await database.fetch_one(query, {"user_id": user_id})
    return User(*row) if row else None


async def select_users(database: Database, limit: int) -> list[User]:
    query = """SELECT id, name, email, created_at
                 FROM users
             ORDER BY id
                LIMIT :limit"""
    return [User(*row) for row in await database.fetch_all(query, {"limit": limit})]


async def insert_user(database: Database, new: NewUser) -> User | None:
    """None where the e-mail address is taken."""
    query = """INSERT INTO users (name, email)
                    VALUES (:name, :email)
               ON CONFLICT (email) DO NOTHING
                 RETURNING id, name, email, created_at"""
    row = await database.fetch_one(query, {"name": new.name, "email": new.email})
    return User(*row) if row else None


@endpoint(404)
async def read_user(request: Request[State], user_id: Id) -> User:
    """Read a user"""
    user = await select_user(request.state["database"], user_id)
    if user is None:
        raise HTTPException(404, f"There is no user {user_id}")
    return user


@endpoint()
async def list_users(request: Request[State], limit: Limit = 10) -> Users:
    """List users in the order of their ids"""
    return Users(await select_users(request.state["database"], limit))


@endpoint(409, query_body=True)
async def create_user(request: Request[State], body: NewUser) -> Created[User]:
    """Create a user"""
    user = await insert_user(request.state["database"], body)
    if user is None:
        raise HTTPException(409, f"{body.email} is taken")
    return Created(user, location=f"/users/{user.id}")


@endpoint(404)
async def read_user_sqlalchemy(request: Request[State], user_id: Id) -> OrmUser:
    """Read a user through SQLAlchemy's ORM"""
    async with request.state["sessions"]() as session:
        user = await session.scalar(select(tables.User).where(tables.User.id == user_id))
    if user is None:
        raise HTTPException(404, f"There is no user {user_id}")
    return OrmUser(user.id, user.name, user.email)


routes = [
    Route("/users", list_users),
    Route("/users", create_user, methods=["POST"]),
    Route("/users/{user_id}", read_user),
    Route("/users/{user_id}/sqlalchemy", read_user_sqlalchemy),
]
