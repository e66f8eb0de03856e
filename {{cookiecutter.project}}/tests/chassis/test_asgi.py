import asyncio

import httpx

import asgi


async def test_first_requests_open_one_lifespan() -> None:
    """Without any lifespan event, and however many requests are the first"""
    transport = httpx.ASGITransport(asgi.application)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        answers = await asyncio.gather(*(client.get("/readyz") for _ in range(3)))
    await asgi.stack.aclose()
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert len(asgi.states) == 1
