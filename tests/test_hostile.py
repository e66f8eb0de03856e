"""Requests that no honest client sends, byte by byte, to a running service.

Whatever comes, it is answered as its row says, nothing of the service fails, and the next request
is served as if nothing had been. What Hypercorn refuses never reaches the application: its answers
have no body, and are rows of their own, so that an update that lets one through is noticed.
"""

import asyncio
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import h2.config
import h2.connection
import h2.events
import httpx
import pytest
from h2.errors import ErrorCodes
from serving import Service

TIMEOUT = 15.0  # seconds: over what the service grants a body
MIB = 1 << 20
RESPONSE = re.compile(rb"HTTP/1\.1 (\d{3}) \r\n((?:[^\r\n]+\r\n)*)\r\n")
CLOSE = "Connection: close"


def request(method: str, target: str, *headers: str, version: str = "HTTP/1.1") -> bytes:
    """A request with no header but `headers`; characters up to U+00FF stand for bytes."""
    return "\r\n".join([f"{method} {target} {version}", *headers, "", ""]).encode("latin-1")


def get(target: str, *headers: str, method: str = "GET", version: str = "HTTP/1.1") -> bytes:
    """A request that asks to close the connection."""
    return request(method, target, "Host: localhost", CLOSE, *headers, version=version)


def post(
    body: bytes, *headers: str, media: str = "application/json", target: str = "/users"
) -> bytes:
    length = f"Content-Length: {len(body)}"
    return get(target, f"Content-Type: {media}", length, *headers, method="POST") + body


def chunked(body: bytes, *headers: str, target: str = "/users") -> bytes:
    headers = ("Content-Type: application/json", "Transfer-Encoding: chunked", *headers)
    return get(target, *headers, method="POST") + body


def field(name: str, value: bytes) -> bytes:
    """A new user's JSON in which one field is `value`."""
    fields = {"name": b'"Ada"', "email": b'"ada@example.com"', name: value}
    return b"{%b}" % b",".join(b'"%b":%b' % (key.encode(), fields[key]) for key in fields)


def keep(sent: bytes) -> bytes:
    """The request without asking to close the connection."""
    return sent.replace(b"Connection: close\r\n", b"")


ADA = field("name", b'"Ada"')
ADA_CHUNKED = b"%x\r\n%b\r\n0\r\n\r\n" % (len(ADA), ADA)
BOTH_LENGTHS = f"Content-Length: {len(ADA)}"
WEBSOCKET = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13")

# The request, and the status of each response.
APPLICATION: dict[str, tuple[bytes, int]] = {
    # Request lines
    "absolute form": (get("http://localhost/livez"), 404),
    "absolute form of another host": (get("http://other.example/livez"), 404),
    "absolute form that is no URL": (get("http://["), 404),
    "authority form": (get("localhost:80"), 404),
    "asterisk form": (get("*"), 404),
    "asterisk form with OPTIONS": (get("*", method="OPTIONS"), 404),
    "CONNECT": (get("localhost:80", method="CONNECT"), 404),
    "target without its slash": (get("livez"), 404),
    "target of a query alone": (get("?limit=1"), 404),
    "target with a fragment": (get("/livez#a"), 404),
    "target that looks like a host": (get("//other.example/livez"), 404),
    "target with a bracket": (get("//["), 404),
    "lower-case method": (get("/livez", method="get"), 200),
    "made-up method": (get("/livez", method="BREW"), 405),
    "method of 1000 letters": (get("/livez", method="G" * 1000), 405),
    "HTTP/0.9": (get("/livez", version="HTTP/0.9"), 200),
    "HTTP/1.0": (request("GET", "/livez", version="HTTP/1.0"), 200),
    "HTTP/1.2": (get("/livez", version="HTTP/1.2"), 200),
    "HTTP/2.0 without its preface": (get("/livez", version="HTTP/2.0"), 200),
    "HTTP/9.9": (get("/livez", version="HTTP/9.9"), 200),
    "line feeds alone": (b"GET /livez HTTP/1.1\nHost: a\nConnection: close\n\n", 200),
    # Headers
    "obsolete line folding": (get("/livez", "A: a", " b"), 200),
    "bytes above ASCII in a header": (get("/livez", "A: \xe9\xff"), 200),
    # Below 16 KiB: Hypercorn takes more of them only where they come at once.
    "2000 headers": (get("/livez", *["A: a"] * 2000), 200),
    "empty Host": (request("GET", "/nothing", "Host:", CLOSE), 404),
    "Host with a bracket": (request("GET", "/nothing", "Host: [", CLOSE), 404),
    "Host of odd bytes": (request("PUT", "/users", "Host: a b@\xff/?#", CLOSE), 405),
    "Host with a port too high": (request("GET", "/nothing", "Host: a:99999", CLOSE), 404),
    "odd Forwarded": (get("/livez", 'Forwarded: "'), 200),
    "odd Cookie": (get("/livez", "Cookie: ;=\xff"), 200),
    "odd Range": (get("/livez", "Range: x"), 200),
    "odd X-Request-ID": (get("/livez", "X-Request-ID: a b\xff"), 200),
    "X-Request-ID of 10000 letters": (get("/livez", "X-Request-ID: " + "a" * 10_000), 200),
    "Accept of another type": (get("/livez", "Accept: image/png"), 200),
    "Expect of something else": (get("/livez", "Expect: 200-ok"), 200),
    "Upgrade to something else": (get("/livez", "Upgrade: x", "Connection: Upgrade"), 200),
    # Framing
    "Transfer-Encoding with Content-Length": (chunked(ADA_CHUNKED, BOTH_LENGTHS), 400),
    "the same, nowhere": (chunked(ADA_CHUNKED, BOTH_LENGTHS, target="/nothing"), 400),
    "the same, to a probe": (chunked(ADA_CHUNKED, BOTH_LENGTHS, target="/livez"), 400),
    "Content-Length twice, the same": (post(b"{}", "Content-Length: 2"), 422),
    "chunk with a long extension": (chunked(b"2;a=%b\r\n{}\r\n0\r\n\r\n" % (b"b" * 1000)), 422),
    "chunks of one byte": (chunked(b"1\r\n{\r\n1\r\n}\r\n0\r\n\r\n"), 422),
    "trailers": (chunked(b"2\r\n{}\r\n0\r\nContent-Length: 5\r\n\r\n"), 422),
    "body of a GET": (get("/livez", "Content-Length: 2") + b"{}", 200),
    "body of a GET over 1 MiB": (post(bytes(2 * MIB)).replace(b"POST", b"GET", 1), 413),
    "body over 1 MiB": (post(b" " * (MIB + 1)), 413),
    "body of 16 MiB": (post(b" " * (16 * MIB)), 413),
    "body over 1 MiB in one chunk": (chunked(b"200000\r\n%b\r\n0\r\n\r\n" % bytes(2 * MIB)), 413),
    "body over 1 MiB, chunks": (chunked(b"40\r\n%b\r\n" % bytes(64) * 16_400 + b"0\r\n\r\n"), 413),
    "body over 1 MiB, nowhere": (post(bytes(2 * MIB), target="/nothing"), 413),
    "body over 1 MiB to a probe": (post(bytes(2 * MIB), target="/livez"), 413),
    "body of exactly 1 MiB": (post(b"{}".rjust(MIB)), 422),
    # Paths
    "id 10**30": (get(f"/users/{10**30}"), 422),
    "id of 5000 digits": (get("/users/" + "9" * 5000), 422),
    "id of 5000 digits for the ORM": (get("/users/" + "9" * 5000 + "/sqlalchemy"), 422),
    "id 0": (get("/users/0"), 422),
    "id -1": (get("/users/-1"), 422),
    "id +1": (get("/users/+1"), 422),
    "id 01": (get("/users/01"), 422),
    "id 1_0": (get("/users/1_0"), 422),
    "id 1.0": (get("/users/1.0"), 422),
    "id 1e0": (get("/users/1e0"), 422),
    "id 0x1": (get("/users/0x1"), 422),
    "id NaN": (get("/users/NaN"), 422),
    "id true": (get("/users/true"), 422),
    "id in Arabic digits": (get("/users/%D9%A3"), 422),
    "id with a space": (get("/users/%201"), 422),
    "id with a line feed": (get("/users/1%0A"), 422),
    "integer over 64 bits": (get(f"/items/{2**63}"), 422),
    "integer under 64 bits": (get(f"/items/{-(2**63) - 1}"), 422),
    "integer that a float cannot hold": (get("/items/9007199254740993.0"), 422),
    "empty id": (get("/users/"), 404),
    "NUL": (get("/users/%00"), 422),
    "NUL, nowhere": (get("/%00"), 404),
    "byte that is no UTF-8": (get("/users/%ff"), 422),
    "byte that is no UTF-8, nowhere": (get("/%ff"), 404),
    "surrogate": (get("/users/%ed%a0%80"), 422),
    "surrogate, nowhere": (get("/%ed%a0%80"), 404),
    "CRLF": (get("/%0d%0aSet-Cookie:a"), 404),
    "encoded slash": (get("/users/1%2f2"), 404),
    "parent folder": (get("/users/../livez"), 404),
    "parent folders": (get("/../../../../etc/passwd"), 404),
    "encoded parent folders": (get("/%2e%2e/%2e%2e/etc/passwd"), 404),
    "encoded twice": (get("/users/%2531"), 422),
    "percent sign without digits": (get("/users/%zz"), 422),
    "backslash": (get("\\livez"), 404),
    "path parameter": (get("/users/1;a=b"), 422),
    "path of 10000 letters": (get("/" + "a/" * 5000), 404),
    # Query strings
    "unknown name": (get("/users?x=1"), 422),
    "unknown name where none is known": (get("/?x=1"), 422),
    "name of the path in the query": (get("/items/1?item_id=2"), 422),
    "name twice": (get("/users?limit=1&limit=2"), 422),
    "name in brackets": (get("/users?limit[]=1"), 422),
    "1000 names": (get("/users?" + "&".join(f"a{i}=1" for i in range(1000))), 422),
    "separators alone": (get("/users?&&&"), 200),
    "semicolon for a separator": (get("/users?limit=1;limit=2"), 422),
    "query that is no UTF-8": (get("/items/1?q=%ff"), 422),
    "query with a surrogate": (get("/items/1?q=%ed%a0%80"), 422),
    "query with NUL": (get("/items/1?q=a%00"), 422),
    "query of 201 characters": (get("/items/1?q=" + "a" * 201), 422),
    "query with percent sign alone": (get("/items/1?q=%zz"), 200),
    "limit empty": (get("/users?limit="), 422),
    "limit 0": (get("/users?limit=0"), 422),
    "limit 101": (get("/users?limit=101"), 422),
    "limit -1": (get("/users?limit=-1"), 422),
    "limit 1e1": (get("/users?limit=1e1"), 422),
    "limit 1e3": (get("/users?limit=1e3"), 422),
    "limit 1e400": (get("/users?limit=1e400"), 422),
    "limit 1.0": (get("/users?limit=1.0"), 422),
    "limit 1.5": (get("/users?limit=1.5"), 422),
    "limit NaN": (get("/users?limit=NaN"), 422),
    "limit in Arabic digits": (get("/users?limit=%D9%A3"), 422),
    "limit with a space": (get("/users?limit=%201"), 422),
    "limit of 5000 digits": (get("/users?limit=" + "9" * 5000), 422),
    # Bodies
    "empty body": (post(b""), 400),
    "truncated JSON": (post(ADA[:-1]), 400),
    "JSON with more behind it": (post(ADA + b"{}"), 400),
    "JSON with a comment": (post(b"{/**/}"), 400),
    "arrays 100000 deep": (post(b"[" * 100_000), 400),
    "arrays 100000 deep, closed": (post(b"[" * 100_000 + b"]" * 100_000), 400),
    "objects 100000 deep": (post(b'{"a":' * 100_000), 400),
    "arrays 100000 deep in a field": (post(field("name", b"[" * 100_000 + b"]" * 100_000)), 400),
    "arrays 500 deep in a field": (post(field("name", b"[" * 500 + b"]" * 500)), 422),
    "300000 arrays": (post(field("name", b"[%b0]" % (b"[]," * 300_000))), 422),
    "50000 unknown fields": (post(b"{%b}" % b",".join(b'"a%d":1' % i for i in range(50_000))), 422),
    "key of 100000 letters": (post(b'{"%b":1}' % (b"a" * 100_000)), 422),
    "key with NUL": (post(rb'{"\u0000":1}'), 422),
    "key twice": (post(b'{"name":"a","name":"b","email":"twice@example.com"}'), 201),
    "1e400": (post(field("name", b"1e400")), 422),
    "NaN": (post(field("name", b"NaN")), 400),
    "integer of 100000 digits": (post(field("name", b"9" * 100_000)), 422),
    "integer of 100000 digits in an unknown field": (post(field("x", b"9" * 100_000)), 422),
    "lone surrogate": (post(field("name", rb'"\ud800"')), 400),
    "surrogates the wrong way round": (post(field("name", rb'"\udc00\ud800"')), 400),
    "surrogate in UTF-8": (post(field("name", b'"\xed\xa0\x80"')), 400),
    "NUL in a text": (post(field("name", rb'"a\u0000"')), 422),
    "NUL in an e-mail address": (post(field("email", rb'"a\u0000@example.com"')), 422),
    "NUL as it is": (post(field("name", b'"\x00"')), 400),
    "byte order mark": (post(b"\xef\xbb\xbf" + ADA), 400),
    "UTF-16": (post(ADA.decode().encode("utf-16")), 400),
    "UTF-16, declared": (post(b"{}", media="application/json; charset=utf-16"), 415),
    "Latin-1": (post(field("name", b'"\xe9"')), 400),
    "Latin-1, declared": (post(b"{}", media="application/json; charset=latin-1"), 415),
    "text/plain": (post(ADA, media="text/plain"), 415),
    "form": (post(b"name=Ada", media="application/x-www-form-urlencoded"), 415),
    "Content-Type empty": (post(ADA, media=""), 415),
    "Content-Type of odd bytes": (post(ADA, media="application/json\xff"), 415),
    "Content-Type missing": (get("/users", "Content-Length: 2", method="POST") + b"{}", 415),
    "array for an object": (post(b"[]"), 422),
    "text for an object": (post(b'"a"'), 422),
    "null for an object": (post(b"null"), 422),
    "no fields": (post(b"{}"), 422),
    "unknown field": (post(field("admin", b"true")), 422),
    "wrong types": (post(b'{"name":1,"email":[]}'), 422),
    "null for a text": (post(field("name", b"null")), 422),
    "empty name": (post(field("name", b'""')), 422),
    "name of 201 characters": (post(field("name", b'"%b"' % (b"a" * 201))), 422),
    "name of 1 MB": (post(field("name", b'"%b"' % (b"a" * 1_000_000))), 422),
    "e-mail address of 1 MB": (post(field("email", b'"a@%b"' % (b"." * 1_000_000))), 422),
    "e-mail address of 255 letters": (post(field("email", b'"%b@a.example"' % (b"a" * 245))), 422),
    "e-mail address with a line feed": (post(field("email", rb'"a@example.com\n"')), 422),
    "e-mail address with a control character": (post(field("email", rb'"a@example.\u001c"')), 422),
    "e-mail address with two at signs": (post(field("email", b'"a@b@example.com"')), 422),
    "fields in the query, one twice": (get("/users?name=a&name=b&email=a@b.c", method="POST"), 422),
    "fields in the query, with NUL": (get("/users?name=%00&email=a@b.c", method="POST"), 422),
    "fields in the query, one unknown": (get("/users?name=a&email=a@b.c&x=1", method="POST"), 422),
    "fields in the query and a body": (post(ADA, target="/users?name=Ada"), 422),
}

SEVERAL: dict[str, tuple[bytes, list[int]]] = {
    "pipelined": (keep(get("/livez")) * 20 + get("/livez"), [200] * 21),
    "pipelined behind a wrong body": (keep(post(b"[]")) + get("/livez"), [422, 200]),
    "Expect: 100-continue": (post(b"{}", "Expect: 100-continue"), [100, 422]),
    "smuggled behind Transfer-Encoding with Content-Length": (
        keep(chunked(b"0\r\n\r\n", "Content-Length: 5")) + get("/livez"),
        [400],
    ),
    "the same, behind a probe": (
        keep(chunked(b"0\r\n\r\n", "Content-Length: 5", target="/livez")) + get("/livez"),
        [400],
    ),
}

# What Hypercorn itself answers, always without a body.
SERVER: dict[str, tuple[bytes, int]] = {
    "bytes that are no HTTP": (b"\x00\x01\x02\xff\r\n\r\n", 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(512), 400),
    "no version": (b"GET /livez\r\n\r\n", 400),
    "no target": (b"GET HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "no method": (b" /livez HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "lower-case version": (get("/livez", version="http/1.1"), 400),
    "version without a number": (get("/livez", version="HTTP/x"), 400),
    "two spaces": (get(" /livez"), 400),
    "tabs for spaces": (b"GET\t/livez\tHTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "space in the target": (get("/livez /"), 400),
    "NUL in the target": (get("/\x00"), 400),
    "bytes above ASCII in the target": (get("/\xe9"), 400),
    "method that is no token": (get("/livez", method="G@T"), 400),
    "line of 70000 bytes": (get("/" + "a" * 70_000), 431),
    "header of 70000 bytes": (get("/livez", "A: " + "a" * 70_000), 431),
    "header that never ends": (b"GET /livez HTTP/1.1\r\nA: " + b"a" * 200_000, 431),
    "header without a colon": (get("/livez", "broken"), 400),
    "header without a name": (get("/livez", ": a"), 400),
    "header with a space in its name": (get("/livez", "A b: a"), 400),
    "header with a space before its colon": (get("/livez", "Transfer-Encoding : chunked"), 400),
    "header with NUL": (get("/livez", "A: \x00"), 400),
    "header with a carriage return": (get("/livez", "A: a\rB: b"), 400),
    "folding of the first header": (b"GET /livez HTTP/1.1\r\n A: a\r\nHost: a\r\n\r\n", 400),
    "no Host": (b"GET /livez HTTP/1.1\r\n\r\n", 400),
    "two Hosts": (get("/livez", "Host: b"), 400),
    "two Content-Lengths": (post(b"{}", "Content-Length: 3"), 400),
    "list of Content-Lengths": (get("/livez", "Content-Length: 1, 2"), 400),
    "Content-Length -1": (get("/livez", "Content-Length: -1"), 400),
    "Content-Length +1": (get("/livez", "Content-Length: +1"), 400),
    "Content-Length 0x1": (get("/livez", "Content-Length: 0x1"), 400),
    "Content-Length in Arabic digits": (get("/livez", "Content-Length: \xd9\xa3"), 400),
    "Content-Length of 5000 digits": (get("/livez", "Content-Length: " + "9" * 5000), 400),
    "chunk of no size": (chunked(b"zz\r\n"), 400),
    "chunk of a negative size": (chunked(b"-1\r\n\r\n"), 400),
    "chunk of 30 digits": (chunked(b"f" * 30 + b"\r\n"), 400),
    "chunk longer than its size": (chunked(b"2\r\n{}}\r\n0\r\n\r\n"), 400),
    "Transfer-Encoding: gzip": (get("/livez", "Transfer-Encoding: gzip"), 501),
    "Transfer-Encoding: identity": (get("/livez", "Transfer-Encoding: identity"), 501),
    "Transfer-Encoding twice": (chunked(b"0\r\n\r\n", "Transfer-Encoding: chunked"), 501),
    "WebSocket": (get("/livez", *WEBSOCKET, "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="), 403),
}


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
START = PREFACE + bytes(3) + b"\x04" + bytes(5)  # and empty SETTINGS
MALFORMED = ErrorCodes.PROTOCOL_ERROR
LIVEZ = {":method": "GET", ":scheme": "http", ":authority": "localhost", ":path": "/livez"}


def frame(kind: int, payload: bytes, *, flags: int = 0, stream: int = 1) -> bytes:
    """https://www.rfc-editor.org/rfc/rfc9113#section-4.1"""
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


def headers(*fields: tuple[str, str], **pseudo: str) -> bytes:
    """A client's first bytes and a request of /livez with other pseudo-headers and more fields."""
    client = h2.connection.H2Connection(
        h2.config.H2Configuration(
            validate_outbound_headers=False, normalize_outbound_headers=False, header_encoding=None
        )
    )
    client.initiate_connection()
    replaced = LIVEZ | {f":{name}": value for name, value in pseudo.items()}
    names = [(name, value) for name, value in replaced.items() if value != "none"]
    encoded = [(n.encode("latin-1"), v.encode("latin-1")) for n, v in [*names, *fields]]
    client.send_headers(1, encoded, end_stream=True)
    return client.data_to_send()


def upgrade(settings: str) -> bytes:
    fields = ("Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings", f"HTTP2-Settings: {settings}")
    return get("/livez", *fields)


HTTP2: dict[str, tuple[bytes, int | ErrorCodes | None]] = {
    "nothing wrong": (headers(), 200),
    "no :method": (headers(method="none"), MALFORMED),
    "no :path": (headers(path="none"), MALFORMED),
    "empty :path": (headers(path=""), MALFORMED),
    ":path twice": (headers((":path", "/")), MALFORMED),
    ":path with CRLF": (headers(path="/\r\nA: a"), MALFORMED),
    ":path without its slash": (headers(path="livez"), 404),
    ":path with a space": (headers(path="/a b"), 404),
    "query of bytes above ASCII": (headers(path="/items/1?q=\xff"), 422),
    "lower-case :method": (headers(method="get"), 200),
    "empty :method": (headers(method=""), 405),
    "unknown pseudo-header": (headers((":a", "a")), MALFORMED),
    "pseudo-header behind a header": (headers(("a", "a"), (":path", "/")), MALFORMED),
    "upper-case name": (headers(("A", "a")), MALFORMED),
    "Connection": (headers(("connection", "close")), MALFORMED),
    "Transfer-Encoding": (headers(("transfer-encoding", "chunked")), MALFORMED),
    "NUL in a value": (headers(("a", "\x00")), MALFORMED),
    "CRLF in a value": (headers(("a", "a\r\nb: b")), MALFORMED),
    "Host against :authority": (headers(("host", "other")), MALFORMED),
    "Content-Length without a body": (headers(("content-length", "5"), method="POST"), 405),
    "wrong preface": (PREFACE[:-6] + b"XX\r\n\r\n", None),
    "headers before SETTINGS": (PREFACE + frame(1, b"\x82", flags=5), MALFORMED),
    "HPACK of no meaning": (START + frame(1, b"\xff" * 4, flags=5), MALFORMED),
    "padding longer than its frame": (START + frame(1, b"\xff\x82", flags=13), MALFORMED),
    "stream of an even number": (START + frame(1, b"\x82", flags=5, stream=2), MALFORMED),
    "DATA of no stream": (START + frame(0, b"a"), MALFORMED),
    "CONTINUATION of nothing": (START + frame(9, b"\x82", flags=4), MALFORMED),
    "PUSH_PROMISE from a client": (START + frame(5, b"\0\0\0\2", flags=4), MALFORMED),
    "SETTINGS of one byte": (PREFACE + frame(4, b"a", stream=0), ErrorCodes.FRAME_SIZE_ERROR),
    "window over 31 bits": (
        START + frame(8, b"\x7f\xff\xff\xff", stream=0),
        ErrorCodes.FLOW_CONTROL_ERROR,
    ),
    "upgrade": (upgrade("AAMAAABkAAQAAP__"), 200),
    "upgrade with settings that are no Base64": (upgrade("!!!!"), 200),
}

# Hypercorn 0.18 falls over these, before the application: the connection is lost.
FATAL = {
    "upgrade with settings of odd length": upgrade("AAA"),
    ":path of bytes above ASCII": headers(path="/\xff"),
    "CONNECT without :path": headers(method="CONNECT", scheme="none", path="none"),
    "1001 PRIORITY frames": START
    + b"".join(frame(2, bytes(5), stream=number) for number in range(1, 2003, 2)),
}


def receive(connection: socket.socket, sent: bytes) -> Iterator[bytes]:
    """Sends the request, then gives what comes until the server closes.

    Raises `TimeoutError` where neither happens in time.
    """
    with suppress(ConnectionError):  # It may close before it has read everything.
        connection.sendall(sent)
    with suppress(ConnectionError):
        while data := connection.recv(1 << 16):
            yield data


def exchange(port: int, sent: bytes) -> list[httpx.Response]:
    """All responses to what is sent. Raises `TimeoutError` where the server leaves them open."""
    with socket.create_connection(("127.0.0.1", port), TIMEOUT) as connection:
        received = b"".join(receive(connection, sent))
    responses = []
    while received:
        head = RESPONSE.match(received)
        assert head, received
        fields = [tuple(line.split(b": ", 1)) for line in head[2].splitlines()]
        length = int(dict(fields).get(b"content-length", 0))
        body, received = received[head.end() :][:length], received[head.end() + length :]
        assert len(body) == length
        responses.append(httpx.Response(int(head[1]), headers=fields, content=body))
    return responses


def converse(port: int, sent: bytes) -> httpx.Response | ErrorCodes | None:
    """The response on stream 1, the error that ends the connection, or None where it just ends."""
    client = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding=None))
    client.initiate_connection()
    client.send_headers(1, list(LIVEZ.items()), end_stream=True)
    fields: list[tuple[bytes, bytes]] = []
    body = b""
    with socket.create_connection(("127.0.0.1", port), TIMEOUT) as connection:
        for data in receive(connection, sent):
            for event in client.receive_data(data.rpartition(b"upgrade: h2c\r\n\r\n")[2]):
                match event:
                    case h2.events.ResponseReceived(headers=received):
                        fields = [(bytes(name), bytes(value)) for name, value in received]
                    case h2.events.DataReceived(data=received):
                        body += received
                    case h2.events.ConnectionTerminated(error_code=code):
                        return ErrorCodes(code or 0)
                    case h2.events.StreamEnded():
                        (_, status), *fields = fields
                        return httpx.Response(int(status), headers=fields, content=body)
    return None


def check_answer(response: httpx.Response) -> None:
    """https://www.rfc-editor.org/rfc/rfc9457#section-3.1, and `errors` where values are wrong."""
    status = response.status_code
    assert ("Allow" in response.headers) == (status == 405)
    if status >= 400:
        assert response.headers["Content-Type"] == "application/problem+json"
        problem = response.json()
        violations = problem.pop("errors", [])
        assert problem.keys() == {"type", "title", "status", "detail"}
        assert problem["type"] == "about:blank"
        assert problem["title"]
        assert problem["status"] == status
        assert problem["detail"]
        assert bool(violations) == (status == 422)
        for violation in violations:
            assert violation.keys() == {"location", "field", "detail"}
            assert violation["location"] in {"path", "query", "body"}


@contextmanager
def unharmed(service: Service) -> Iterator[None]:
    """Checks that the block leaves no traceback in the log, and a service that is ready."""
    before = service.log.stat().st_size
    yield
    assert [response.status_code for response in exchange(service.port, get("/readyz"))] == [200]
    assert b"Traceback" not in service.log.read_bytes()[before:]


@pytest.mark.parametrize(("sent", "status"), APPLICATION.values(), ids=APPLICATION)
def test_application_answers(service: Service, sent: bytes, status: int) -> None:
    """Every error of the application's is a problem document that agrees with its status."""
    with unharmed(service):
        (response,) = exchange(service.port, sent)
        assert response.status_code == status
        check_answer(response)


@pytest.mark.parametrize(("sent", "statuses"), SEVERAL.values(), ids=SEVERAL)
def test_application_answers_in_order(service: Service, sent: bytes, statuses: list[int]) -> None:
    with unharmed(service):
        responses = exchange(service.port, sent)
        assert [response.status_code for response in responses] == statuses
        for response in responses:
            check_answer(response)


@pytest.mark.parametrize(("sent", "status"), SERVER.values(), ids=SERVER)
def test_server_answers(service: Service, sent: bytes, status: int) -> None:
    """What is no HTTP is refused by the server, without a body, and the connection is closed."""
    with unharmed(service):
        (response,) = exchange(service.port, sent)
        assert response.status_code == status
        assert response.content == b""


@pytest.mark.parametrize(("sent", "outcome"), HTTP2.values(), ids=HTTP2)
def test_http2(service: Service, sent: bytes, outcome: int | ErrorCodes | None) -> None:
    """A malformed connection ends with the error that RFC 9113 names; a request is answered."""
    with unharmed(service):
        result = converse(service.port, sent)
        if isinstance(result, httpx.Response):
            check_answer(result)
            assert result.status_code == outcome
        else:
            assert result == outcome


@pytest.mark.slow
def test_body_that_never_comes(service: Service) -> None:
    """A length beyond all bounds is waited for no longer than any other."""
    with unharmed(service):
        (response,) = exchange(
            service.port, get("/users", "Content-Length: " + "9" * 20, method="POST")
        )
        assert response.status_code == 408
        check_answer(response)


def test_client_leaves_amid_its_body(service: Service) -> None:
    """A client that goes away is not a fault of the service's."""
    with unharmed(service):
        with socket.create_connection(("127.0.0.1", service.port), TIMEOUT) as connection:
            connection.sendall(post(ADA)[:-1])
        exchange(service.port, get("/readyz"))


@pytest.fixture(scope="session")
def paths(service: Service) -> list[str]:
    documented = httpx.get(f"{service.url}/openapi.json").json()["paths"]
    return [
        "/openapi.json",
        "/docs",
        "/redoc",
        *(re.sub(r"{\w+}", "1", path) for path in documented),
    ]


@pytest.mark.parametrize(
    "method", ["BREW", "CONNECT", "DELETE", "PATCH", "PUT", "QUERY", "TRACE", "PROPFIND"]
)
def test_other_method_on_every_route(service: Service, paths: list[str], method: str) -> None:
    """A method that no route has is a 405 that names those of the path."""
    with unharmed(service):
        for path in paths:
            (response,) = exchange(service.port, get(path, method=method))
            assert response.status_code == 405
            assert {"GET", "HEAD", "OPTIONS"} <= set(response.headers["Allow"].split(", "))
            check_answer(response)


def test_options_of_every_route(service: Service, paths: list[str]) -> None:
    with unharmed(service):
        for path in paths:
            (response,) = exchange(service.port, get(path, method="OPTIONS"))
            assert response.status_code == 204
            assert {"GET", "HEAD", "OPTIONS"} <= set(response.headers["Allow"].split(", "))


@pytest.mark.slow
async def test_head_of_every_route(service: Service, paths: list[str]) -> None:
    """HEAD answers what GET would, without the body. Path by path: some stop the event loop."""
    with unharmed(service):
        async with httpx.AsyncClient(base_url=service.url, timeout=30) as client:
            for path in paths:
                head, whole = await asyncio.gather(client.head(path), client.get(path))
                assert head.status_code == whole.status_code
                assert head.headers["Content-Type"] == whole.headers["Content-Type"]
                assert head.content == b""


# The last, as the log says of it when its garbage is collected, amid another test.
@pytest.mark.parametrize("sent", FATAL.values(), ids=FATAL)
def test_server_falls_over_one_connection(service: Service, sent: bytes) -> None:
    """What the server cannot take ends its own connection, and no other."""
    with socket.create_connection(("127.0.0.1", service.port), TIMEOUT) as other:
        assert converse(service.port, sent) is None
        assert b"".join(receive(other, get("/readyz"))).startswith(b"HTTP/1.1 200 ")
