"""Load on a server, and what it costs: wrk, h2load, sleeping requests, idle connections."""

import json
import selectors
import signal
import socket
import statistics
import subprocess
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from .results import Sample
from .servers import PEERS, Server

TOOLS = {"wrk": "wrk", "h2load": "nghttp2-client", "taskset": "util-linux"}  # Debian's packages
AT_ONCE = 16


def load(
    server: Server, path: str, seconds: float, connections: int = AT_ONCE, arguments: str = ""
) -> Sample:
    """Keeps that many requests under way over HTTP/1.1; `arguments` are those of load.lua."""
    # wrk knows whole seconds only, so it is interrupted.
    command = [
        *("wrk", "--threads=1", f"--connections={connections}", "--duration=600s", "--timeout=30s"),
        *("--script", str(PEERS / "load.lua"), server.url + path, *arguments.split()),
    ]
    before = server.cpu()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    time.sleep(seconds * 0.8)
    memory = server.memory()
    time.sleep(seconds * 0.2)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    cpu = server.cpu() - before
    if process.returncode != 0:
        raise RuntimeError(f"{command} failed:\n{output.decode()}")
    figures = json.loads(output.splitlines()[-1])  # load.lua prints them.
    return {
        "CPU µs": cpu / max(figures["requests"], 1) * 1e6,
        "requests/s": figures["requests"] / figures["microseconds"] * 1e6,
        "p50 ms": figures["p50"] / 1000,
        "p99 ms": figures["p99"] / 1000,
        "errors": figures["errors"],
        "MiB": memory,
    }


def settle(server: Server) -> None:
    """Waits until what was cut off has ended: it would count as a part of the next load."""
    deadline = time.monotonic() + 2
    spent = -1.0
    # 2 ms: a server at rest wakes up now and then.
    while spent + 0.002 < (spent := server.cpu()) and time.monotonic() < deadline:
        time.sleep(0.03)


def load_http2(
    server: Server, path: str, requests: int, connections: int = 4, streams: int = AT_ONCE // 4
) -> Sample:
    """As many under way as in `load`, on four connections, unless something else is said.

    A number of requests, and not a time after which connections are cut off: under Hypercorn that
    leaves FastAPI's SQLAlchemy sessions holding their connections, and no more is answered.
    """
    before = server.cpu()
    rows = run_h2load(server.url + path, requests, connections, streams)
    cpu = server.cpu() - before
    good = [duration / 1000 for _, status, duration in rows if status == 200]
    percentiles = statistics.quantiles(good, n=100)
    return {
        "CPU µs": cpu / requests * 1e6,
        "requests/s": requests / elapsed(rows),
        "p50 ms": percentiles[49],
        "p99 ms": percentiles[98],
        "errors": requests - len(good),
        "MiB": server.memory(),
    }


def run_h2load(url: str, requests: int, connections: int, streams: int) -> list[list[int]]:
    """Its log: of each request the start and the duration, in µs, and the status in between."""
    with TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        command = [
            *("h2load", "--threads=1", f"--requests={requests}", f"--clients={connections}"),
            *(f"--max-concurrent-streams={streams}", f"--log-file={log}", url),
        ]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
        return [[int(cell) for cell in line.split("\t")[:3]] for line in log.open()]


def elapsed(rows: list[list[int]]) -> float:
    """Seconds from the first request to the last answer."""
    return (max(row[0] + row[2] for row in rows) - min(row[0] for row in rows)) / 1e6


def hold(server: Server, connections: int) -> list[socket.socket]:
    """Connections over HTTP/1.1 that have had one answer each, and wait."""
    clients = []
    for _ in range(connections):
        client = socket.create_connection(("127.0.0.1", server.port), 10)
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        receive(client)
        clients.append(client)
    return clients


def is_closed(client: socket.socket) -> bool:
    """Whether the server has ended the connection, where it has nothing to say."""
    client.setblocking(False)
    try:
        return client.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def receive(client: socket.socket) -> None:
    """Reads one answer, a JSON object of strings. Raises `RuntimeError` where it is no 200."""
    answer = b""
    while not answer.endswith(b'"}'):
        chunk = client.recv(65536)
        answer += chunk
        if not chunk or not answer.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"The server answered {answer!r}")


def sleep(server: Server, path: str, requests: int, at_once: int) -> float:
    """Seconds until all of `requests` are answered, over HTTP/1.1 connections opened before.

    Sockets and a selector alone, 20 µs a request: h2load takes Hypercorn's HTTP/1.1 for failures.
    """
    clients = hold(server, at_once)
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    with selectors.DefaultSelector() as selector:
        for client in clients:
            selector.register(client, selectors.EVENT_READ)
        begin = time.perf_counter()
        for client in clients:
            client.sendall(request)
        waiting = requests - at_once
        answered = 0
        while answered < requests:
            for key, _ in selector.select():
                client = key.fileobj  # type: ignore[assignment]
                receive(client)
                answered += 1
                if waiting:
                    waiting -= 1
                    client.sendall(request)
        seconds = time.perf_counter() - begin
    for client in clients:
        client.close()
    return seconds


def sleep_http2(server: Server, path: str, requests: int, at_once: int) -> float:
    """The same over ten HTTP/2 connections."""
    rows = run_h2load(server.url + path, requests, 10, at_once // 10)
    if [status for _, status, _ in rows] != [200] * requests:
        raise RuntimeError(f"{path}: not all answers were 200")
    return elapsed(rows)
