"""The first two endpoints of every tutorial."""

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.routing import Route

from .chassis.endpoint import endpoint
from .chassis.parse import Integer, Text


class Message(msgspec.Struct):
    message: str


class Item(msgspec.Struct):
    item_id: Integer
    q: str | None


@endpoint()
async def read_root(request: Request[Any]) -> Message:
    """Greet"""
    return Message("Hello World")


@endpoint()
async def read_item(request: Request[Any], item_id: Integer, q: Text | None = None) -> Item:
    """Repeat a path parameter and a query parameter"""
    return Item(item_id, q)


routes = [
    Route("/", read_root),
    Route("/items/{item_id}", read_item),
]
