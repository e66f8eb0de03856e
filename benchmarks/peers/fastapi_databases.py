"""The document's application: text queries through `databases`. Only 201 and ORDER BY are added.

Its endpoints that sleep are measured beside SQLAlchemy, in the other module.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from databases import Database
from fastapi import FastAPI, HTTPException

database = Database(os.environ["DATABASE_URL"])
http_client = httpx.AsyncClient(timeout=10.0)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    await database.connect()
    yield
    await database.disconnect()
    await http_client.aclose()


app = FastAPI(lifespan=lifespan)


@app.get("/")
async def root() -> Any:
    return {"message": "Hello World"}


@app.get("/users/{user_id}")
async def get_user(user_id: int) -> Any:
    query = "SELECT * FROM users WHERE id = :user_id"
    user = await database.fetch_one(query=query, values={"user_id": user_id})
    if user is None:
        raise HTTPException(status_code=404, detail="User not found")
    return dict(user)


@app.get("/users")
async def list_users(limit: int = 10) -> Any:
    query = "SELECT * FROM users ORDER BY id LIMIT :limit"
    users = await database.fetch_all(query=query, values={"limit": limit})
    return {"users": [dict(user) for user in users]}


@app.post("/users", status_code=201)
async def create_user(name: str, email: str) -> Any:
    query = """
        INSERT INTO users (name, email, created_at)
        VALUES (:name, :email, NOW())
        RETURNING id, name, email, created_at
    """
    user = await database.fetch_one(query=query, values={"name": name, "email": email})
    return dict(user)
