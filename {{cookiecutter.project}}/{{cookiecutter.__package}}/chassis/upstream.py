"""The shared HTTP client, and the one way to call upstreams with it."""

import asyncio
import codecs
import logging
import os
import re
from collections import defaultdict
from collections.abc import Container
from functools import partial
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any
from weakref import WeakKeyDictionary

import httpx
import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from .download import receive, run_to_completion
from .request_id import request_id

POOL_TIMEOUT = 2.0  # seconds, until there is a connection to spare
CONNECT_TIMEOUT = 2.0  # seconds
CALL_TIMEOUT = 10.0  # seconds, for all of a call
MAX_CALLS = 50  # to one host, which may be slow: the rest of the pool is for the others
READ = re.compile("SSL_CERT_(FILE|DIR)|SSLKEYLOGFILE|(?i:(all|http|https|no)_proxy)")
IDEMPOTENT = {"DELETE", "GET", "HEAD", "OPTIONS", "PUT", "TRACE"}  # RFC 9110, section 9.2.2
SENDING = {"auth", "follow_redirects"}  # what httpx's `send` takes, and not `build_request`
logger = logging.getLogger(__name__)
shares = WeakKeyDictionary[httpx.AsyncClient, defaultdict[str, asyncio.Semaphore]]()


async def answer(request: Request) -> JSONResponse:
    return JSONResponse({"source": request.path_params["name"]})


# Answers for http://example, so that the service works before UPSTREAM_URLS is set.
example = Starlette(routes=[Route("/{name}", answer)])


async def send_request_id(request: httpx.Request) -> None:
    if id_ := request_id.get():
        request.headers["X-Request-ID"] = id_


def open_client() -> httpx.AsyncClient:
    """Raises `RuntimeError` where what the environment says of proxies and authorities is wrong."""
    try:
        return httpx.AsyncClient(
            http2=True,
            timeout=httpx.Timeout(5.0, connect=CONNECT_TIMEOUT, pool=POOL_TIMEOUT),
            limits=httpx.Limits(max_connections=100, max_keepalive_connections=20),
            mounts={"http://example": httpx.ASGITransport(example)},
            event_hooks={"request": [send_request_id]},
            # Of one user's session, which the next call may not be for.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        )
    except (ImportError, OSError, ValueError, httpx.InvalidURL) as error:
        names = ", ".join(filter(READ.fullmatch, os.environ))
        raise RuntimeError(f"The HTTP client cannot use {names}: {error}") from error


async def call_upstream(
    client: httpx.AsyncClient,
    method: str,
    url: str,
    *,
    expected: Container[int] = range(200, 300),
    seconds: float | None = None,
    **options: Any,
) -> httpx.Response:
    """The whole response, of an `expected` status; `options` are those of httpx's `request`.

    It takes `seconds` at most: else 10, or a longer `timeout`. Raises `HTTPException`: 502 where
    the URL is wrong, or the upstream fails, or answers another status or too much, 503 where too
    many calls are under way, 504 where it is too slow.
    """
    if seconds is None:
        seconds = max(CALL_TIMEOUT, httpx.Timeout(options.get("timeout")).read or 0)
    timeout = httpx.Timeout(seconds, connect=CONNECT_TIMEOUT, pool=POOL_TIMEOUT)
    sending = {name: options.pop(name) for name in [*options] if name in SENDING}
    host = "with a wrong URL"
    try:
        request = client.build_request(method, url, **{"timeout": timeout} | options)
        host = request.url.host
        if request.headers.get("Accept-Encoding") == client.headers.get("Accept-Encoding"):
            request.headers["Accept-Encoding"] = "gzip"  # All that `receive` reads.
        response = await run_to_completion(send(client, request, seconds, sending))
    except httpx.PoolTimeout:
        raise HTTPException(503, "Too many upstream calls", {"Retry-After": "1"}) from None
    except (httpx.TimeoutException, TimeoutError):
        logger.warning("The upstream %s did not answer in time", host)
        raise HTTPException(504, "The upstream did not answer in time") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        logger.warning("The upstream %s failed: %r", host, error)
        raise HTTPException(502, f"The upstream failed: {type(error).__name__}") from error
    if response.status_code not in expected:
        logger.warning("The upstream %s answered %d", host, response.status_code)
        raise HTTPException(502, "The upstream failed")
    return response


async def send(
    client: httpx.AsyncClient, request: httpx.Request, seconds: float, options: dict[str, Any]
) -> httpx.Response:
    """Sends it anew, once, where the connection fails and the method allows it."""
    hosts = shares.setdefault(client, defaultdict(partial(asyncio.Semaphore, MAX_CALLS)))
    share, clock = hosts[request.url.host], asyncio.get_running_loop().time
    deadline = clock() + seconds
    try:
        async with asyncio.timeout(POOL_TIMEOUT):
            await share.acquire()
    except TimeoutError:
        raise httpx.PoolTimeout("Too many calls to one host", request=request) from None
    try:
        return await receive(client, request, deadline, options)
    except (httpx.NetworkError, httpx.RemoteProtocolError):
        in_time = clock() < deadline - POOL_TIMEOUT - CONNECT_TIMEOUT
        whole = isinstance(request.stream, httpx.ByteStream)
        if not (in_time and whole and request.method in IDEMPOTENT):
            raise
        return await receive(client, request, deadline, options)
    finally:
        share.release()


async def fetch_json(
    client: httpx.AsyncClient, url: str, method: str = "GET", **options: Any
) -> Any:
    """The JSON that `call_upstream` gets, of any shape. Raises as that does; no JSON is 502."""
    response = await call_upstream(client, method, url, **options)
    try:
        return msgspec.json.decode(response.content.removeprefix(codecs.BOM_UTF8))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        logger.warning("The upstream %s answered no JSON", response.url.host)
        raise HTTPException(502, "The upstream answered no JSON") from None
