"""A response of an upstream, received whole, within bounds of time and size."""

import asyncio
import zlib

import httpx

MAX_SIZE = 10 << 20  # bytes of content, decoded
GZIP = zlib.MAX_WBITS | 16
# What is no longer true of a response that has been read.
ENCODING = {"content-encoding", "content-length", "transfer-encoding"}


async def receive(
    client: httpx.AsyncClient, request: httpx.Request, seconds: float
) -> httpx.Response:
    """The response with its content, decoded and bounded.

    The deadline is later than the timeouts of the pool, whose waiters it must not cancel.
    """
    async with asyncio.timeout(seconds):
        response = await client.send(request, stream=True)
        try:
            content = await read_content(response)
        finally:
            await response.aclose()
    headers = [(name, value) for name, value in response.headers.items() if name not in ENCODING]
    return httpx.Response(response.status_code, headers=headers, content=content, request=request)


async def read_content(response: httpx.Response) -> bytes:
    """httpx itself would decode without a bound. Raises `httpx.DecodingError`."""
    encoding = response.headers.get("content-encoding", "identity")
    if encoding not in {"identity", "gzip"}:
        raise httpx.DecodingError(f"It is encoded as {encoding}", request=response.request)
    decoder = zlib.decompressobj(GZIP)
    content = bytearray()
    try:
        async for chunk in response.aiter_raw():
            room = MAX_SIZE + 1 - len(content)
            content += decoder.decompress(chunk, room) if encoding == "gzip" else chunk
            if len(content) > MAX_SIZE:
                raise httpx.DecodingError(f"It is over {MAX_SIZE} bytes", request=response.request)
    except zlib.error as error:
        raise httpx.DecodingError(str(error), request=response.request) from None
    return bytes(content)
