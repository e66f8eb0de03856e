"""The floor: an ASGI callable without a framework, and asyncpg on connections that are held."""

import asyncio
import json
import os
from typing import Any

import asyncpg

connections: asyncio.LifoQueue[asyncpg.Connection] = asyncio.LifoQueue()


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await live(receive, send)
        return
    body = b'{"message":"Hello World"}'
    if scope["path"] != "/":
        body = await read_user(int(scope["path"].removeprefix("/users/")))
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def read_user(user_id: int) -> bytes:
    connection = await connections.get()
    row = await connection.fetchrow(
        "SELECT id, name, email, created_at FROM users WHERE id = $1", user_id
    )
    connections.put_nowait(connection)
    return json.dumps({**row, "created_at": row["created_at"].isoformat()}).encode()


async def live(receive: Any, send: Any) -> None:
    await receive()
    for _ in range(10):
        connections.put_nowait(await asyncpg.connect(os.environ["DATABASE_URL"]))
    await send({"type": "lifespan.startup.complete"})
    await receive()
    while not connections.empty():
        await connections.get_nowait().close()
    await send({"type": "lifespan.shutdown.complete"})
