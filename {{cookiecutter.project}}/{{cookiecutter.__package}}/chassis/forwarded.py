"""Proxies that are trusted, and what they say of the client."""

import re
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from .addresses import UNIX, Trusted

ADDRESS = re.compile(r"\[(.+)\](?::\d+)?|([\d.]+):\d+", re.ASCII)
# https://www.rfc-editor.org/rfc/rfc7239#section-4
QUOTED = r'"(?:\\.|[^"])*+"?'
ELEMENT = re.compile(rf'(?:{QUOTED}|[^",])++')
PARAMETER = re.compile(rf'(?:{QUOTED}|[^";])++')


@lru_cache(1000)
def parse_address(text: str) -> IPv4Address | IPv6Address | None:
    """Of a hop, which may have a port: `203.0.113.5:51234`, `[2001:db8::1]:4711`."""
    matched = ADDRESS.fullmatch(text.strip())
    try:
        address = ip_address((matched[1] or matched[2]) if matched else text.strip())
    except ValueError:
        return None
    # As a socket for both families gives IPv4.
    return getattr(address, "ipv4_mapped", None) or address


def read_element(text: str) -> dict[str, str]:
    """Its parameters. What a quoted string holds is none: a client may have named its host so."""
    pairs = [parameter.partition("=") for parameter in PARAMETER.findall(text)]
    return {name.strip(): value.strip(' \t"') for name, _, value in pairs}


def read_hops(headers: Headers) -> tuple[list[str], str]:
    """The clients and the last scheme that proxies name in `X-Forwarded-*`, or else `Forwarded`.

    A client can send the one that its proxy does not set, so that the usual one goes first.
    """
    hops = ",".join(headers.getlist("x-forwarded-for")).split(",")
    scheme = ",".join(headers.getlist("x-forwarded-proto")).rpartition(",")[2].strip()
    if hops != [""] or scheme:
        return hops, scheme
    # Line by line: a quote that a client leaves open ends with its own.
    lines = [ELEMENT.findall(line.lower()) for line in headers.getlist("forwarded")]
    elements = [read_element(element) for line in lines for element in line] or [{}]
    return [element.get("for", "") for element in elements], elements[-1].get("proto", "")


class Forwarded:
    """Takes the client and the scheme from the headers of a peer that is `trusted`.

    The client is the last address that no trusted proxy has: those before it, it may have made up.
    `UNIX` is the peer at a Unix socket, which has no address. Paths begin with `root_path` for the
    client, whether a proxy takes that off or not; empty, it is what the server says.
    """

    def __init__(self, app: ASGIApp, trusted: Trusted, root_path: str = "") -> None:
        self.app, self.root_path = app, root_path
        self.unix = UNIX in trusted
        self.trusted = [network for network in trusted if not isinstance(network, str)]

    def is_trusted(self, address: IPv4Address | IPv6Address | None) -> bool:
        return address is not None and any(address in network for network in self.trusted)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.root_path:
            scope["root_path"] = self.root_path
            path = scope.get("path", "")
            if path.startswith("/") and not f"{path}/".startswith(f"{self.root_path}/"):
                scope["path"] = self.root_path + path  # A mount finds nothing in less.
        peer, *_ = scope.get("client") or [""]
        known = self.is_trusted(parse_address(peer)) if peer else self.unix
        if known and scope["type"] in {"http", "websocket"}:
            hops, scheme = read_hops(Headers(scope=scope))
            for hop in reversed(hops):
                address = parse_address(hop)
                if address:
                    scope["client"] = (str(address), 0)
                if not self.is_trusted(address):
                    break
            if scheme in {"http", "https"}:
                scope["scheme"] = scheme if scope["type"] == "http" else f"ws{scheme[4:]}"
        await self.app(scope, receive, send)
