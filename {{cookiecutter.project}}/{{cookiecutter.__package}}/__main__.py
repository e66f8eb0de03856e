"""The production entry, with `python -m`: Hypercorn, but no accepted request is lost.

On SIGTERM and SIGINT it tells /readyz, goes on serving until no request is under way, and exits 0.
With WEB_CONCURRENCY above 1 it runs as many worker processes, and replaces one that dies. They
share one socket, so that the connections that wait in its queue survive that. POSIX only.
"""

import asyncio
import multiprocessing
import signal
import sys
import time
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

from hypercorn.asyncio import serve
from hypercorn.config import Config
from hypercorn.utils import LifespanFailureError

from . import settings
from .app import app
from .lifespan import lifespan
from .traffic import traffic

CONFIG = Path(__file__).parents[1] / "hypercorn.conf.py"
SIGNALS = (signal.SIGTERM, signal.SIGINT)
DRAIN_TIMEOUT = settings.REQUEST_TIMEOUT + 5  # seconds
# Seconds without a request until the end: the last frames of an HTTP/2 response leave after the
# application has returned.
QUIET = 0.2
YOUNG = 5.0  # seconds in which the death of a worker counts towards a crash loop
MOST_YOUNG_DEATHS = 3


async def run(config: Config) -> None:
    """Serves until a signal, then until no request comes, or `DRAIN_TIMEOUT` has passed."""
    loop = asyncio.get_running_loop()
    signalled = asyncio.Event()
    for number in SIGNALS:
        loop.add_signal_handler(number, signalled.set)

    def end_too(sentinel: int) -> None:
        loop.remove_reader(sentinel)
        signalled.set()

    if supervisor := multiprocessing.parent_process():
        loop.add_reader(supervisor.sentinel, end_too, supervisor.sentinel)

    async def drain() -> None:
        await signalled.wait()
        traffic.draining = True
        start = quiet = time.monotonic()
        while quiet + QUIET > time.monotonic() < start + DRAIN_TIMEOUT:
            await asyncio.sleep(0.02)  # An event would cost each request something.
            if traffic.in_flight:
                quiet = time.monotonic()

    application: Any = app
    await serve(application, config, shutdown_trigger=drain)


def work(config: Config) -> None:
    """Raises `SystemExit` with one line where the start fails."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)  # A supervisor's handlers were forked with it.
    factory = None
    if config.worker_class == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    try:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(run(config))
    except LifespanFailureError as error:
        raise SystemExit(f"The start failed: {str(error).splitlines()[-2]}") from None


async def check() -> None:
    """Raises `SystemExit` where the workers could not start: once, and not in each of them."""
    try:
        async with lifespan(app):
            pass
    except Exception as error:
        raise SystemExit(f"The start failed: {type(error).__name__}: {error}") from None


def supervise(config: Config) -> int:
    """Keeps WEB_CONCURRENCY workers running until a signal; the exit code."""
    asyncio.run(check())
    # A fork has all modules already, and serves after a tenth of the time.
    fork = multiprocessing.get_context("fork")
    workers: dict[ForkProcess, float] = {}
    stopping = False
    exit_code = young_deaths = 0

    def stop(*_: object) -> None:
        nonlocal stopping
        stopping = True
        for worker in workers:
            worker.terminate()

    for number in SIGNALS:
        signal.signal(number, stop)
    while workers or not stopping:
        while not stopping and len(workers) < settings.WEB_CONCURRENCY:
            worker = fork.Process(target=work, args=[config])
            worker.start()
            workers[worker] = time.monotonic()
        time.sleep(0.05)
        for worker in [worker for worker in workers if not worker.is_alive()]:
            age = time.monotonic() - workers.pop(worker)
            if stopping:
                exit_code = exit_code or worker.exitcode or 0
                continue
            print(f"Worker {worker.pid} ended with {worker.exitcode}", file=sys.stderr)
            young_deaths = young_deaths + 1 if age < YOUNG else 0
            if young_deaths >= MOST_YOUNG_DEATHS:
                exit_code = 1
                stop()
    return exit_code


def main() -> int:
    config = Config.from_pyfile(CONFIG)
    config.workers = 1  # With more, Hypercorn would share the port with a service that has it.
    config.graceful_timeout = 1  # seconds: nothing is under way any more
    try:
        sockets = config.create_sockets()
    except OSError as error:
        quic = settings.QUIC_BIND and f", QUIC_BIND {settings.QUIC_BIND}"
        raise SystemExit(
            f"HOST {settings.HOST}, PORT {settings.PORT}{quic}: {error.strerror}"
        ) from None
    config.bind = [
        f"fd://{each.detach()}" for each in sockets.secure_sockets + sockets.insecure_sockets
    ]
    config.quic_bind = [f"fd://{each.detach()}" for each in sockets.quic_sockets]
    if settings.WEB_CONCURRENCY > 1:
        return supervise(config)
    work(config)
    return 0


if __name__ == "__main__":
    sys.exit(main())
