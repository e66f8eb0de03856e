"""A response of an upstream, received whole, within bounds of time and size."""

import asyncio
import zlib
from collections.abc import Coroutine
from typing import Any, TypeVar

import httpx

T = TypeVar("T")
MAX_SIZE = 10 << 20  # bytes of content, decoded
GZIP = zlib.MAX_WBITS | 16
# What is no longer true of a response that has been read.
ENCODING = {"content-encoding", "content-length", "transfer-encoding"}
calls: set[asyncio.Task[Any]] = set()  # An event loop itself holds no task.


async def run_to_completion(call: Coroutine[Any, Any, T]) -> T:
    """The result of a call that goes on, and is dropped at its end, where the caller is cancelled.

    httpx loses connections of its pool where calls are cancelled: encode/httpcore#830.
    """

    def forget(task: asyncio.Task[T]) -> None:
        calls.discard(task)
        if not task.cancelled():
            task.exception()  # Else asyncio logs one that nobody waits for any more.

    task = asyncio.create_task(call)
    calls.add(task)
    task.add_done_callback(forget)
    await asyncio.wait([task])
    return task.result()


async def receive(
    client: httpx.AsyncClient, request: httpx.Request, deadline: float, sending: dict[str, Any]
) -> httpx.Response:
    """The response with its content, decoded and bounded, before a moment of the loop's clock.

    It is later than the timeouts of the pool, whose waiters it must not cancel.
    """
    async with asyncio.timeout_at(deadline):
        response = await client.send(request, stream=True, **sending)
        try:
            content = await read_content(response)
        finally:
            await response.aclose()
    whole = httpx.Response(
        response.status_code,
        headers=[each for each in response.headers.multi_items() if each[0] not in ENCODING],
        content=content,
        request=response.request,
        history=response.history,
        extensions=response.extensions,
    )
    whole.elapsed = response.elapsed
    return whole


async def read_content(response: httpx.Response) -> bytes:
    """httpx itself would decode without a bound. Raises `httpx.DecodingError`."""
    # https://www.rfc-editor.org/rfc/rfc9110#section-8.4.1
    encoding = response.headers.get("content-encoding", "identity").lower()
    if encoding not in {"identity", "gzip", "x-gzip"}:
        raise httpx.DecodingError(f"It is encoded as {encoding}", request=response.request)
    decode = bytes if encoding == "identity" else Gunzip()
    content = bytearray()
    try:
        async for chunk in response.aiter_raw():
            content += decode(chunk)
            if len(content) > MAX_SIZE:
                raise ValueError(f"It is over {MAX_SIZE} bytes")
        if isinstance(decode, Gunzip) and not decode.at_end:
            raise ValueError("It ends too early")
    except (ValueError, zlib.error) as error:
        raise httpx.DecodingError(str(error), request=response.request) from None
    return bytes(content)


class Gunzip:
    """Decodes chunks of one member or several: https://www.rfc-editor.org/rfc/rfc1952#section-2.2

    Each chunk gives little more than `MAX_SIZE` bytes, and so may be more than its content.
    """

    def __init__(self) -> None:
        self.decoder = zlib.decompressobj(GZIP)
        self.at_end = True

    def __call__(self, chunk: bytes) -> bytes:
        content = b""
        while chunk and len(content) <= MAX_SIZE:
            if self.decoder.eof:
                self.decoder = zlib.decompressobj(GZIP)
            content += self.decoder.decompress(chunk, MAX_SIZE + 1)
            chunk, self.at_end = self.decoder.unused_data, self.decoder.eof
        return content
