"""Hypercorn, but no accepted request is lost. POSIX only.

On SIGTERM and SIGINT it tells /readyz, goes on serving until no request is in flight, and returns.
"""

import asyncio
import multiprocessing
import signal
from pathlib import Path
from typing import Any

from hypercorn.asyncio import serve
from hypercorn.config import Config
from hypercorn.utils import LifespanFailureError

from .drain import Drain
from .logs import output
from .start import build, describe_failure

SIGNALS = (signal.SIGTERM, signal.SIGINT)


def bind(file: Path) -> Config:
    """The configuration that a file as hypercorn.conf.py gives, with its sockets open.

    Raises `SystemExit` with one line where an address is taken or none, or the file is not there.
    """
    if not file.is_file():  # A wheel has the package alone.
        raise SystemExit(f"{file} is missing: run the service from its project, after uv sync")
    config = Config.from_pyfile(file)
    config.workers = 1  # With more, Hypercorn would share the port with a service that has it.
    config.graceful_timeout = 1  # seconds: nothing is in flight any more
    addresses = ", ".join([*config.bind, *config.quic_bind])
    try:
        sockets = config.create_sockets()
    except OSError as error:
        raise SystemExit(f"{addresses} cannot be served: {error.strerror or error}") from None
    config.bind = [f"fd://{s.detach()}" for s in sockets.secure_sockets + sockets.insecure_sockets]
    config.quic_bind = [f"fd://{s.detach()}" for s in sockets.quic_sockets]
    return config


def report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """As by default, but not that a connection was cancelled, which Python 3.11 takes for an error.

    Hypercorn's pings outlast a WebSocket, and are cancelled at the end.
    """
    if not isinstance(context.get("exception"), asyncio.CancelledError):
        loop.default_exception_handler(context)


async def serve_until_drained(app: Any, config: Config, drain: Drain, drain_timeout: float) -> None:
    """Serves until a signal, or the end of the supervisor, and on for as long as `drain` takes."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(report)
    signalled = asyncio.Event()
    for number in SIGNALS:
        loop.add_signal_handler(number, signalled.set)
    # A supervisor's signals have waited for these handlers.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    def end_too(sentinel: int) -> None:
        loop.remove_reader(sentinel)
        signalled.set()

    if supervisor := multiprocessing.parent_process():
        loop.add_reader(supervisor.sentinel, end_too, supervisor.sentinel)

    async def finish_requests() -> None:
        await signalled.wait()
        await drain.run(drain_timeout)

    try:
        await build(app)
        await serve(app, config, shutdown_trigger=finish_requests)
    finally:
        # A second signal is not to break off the end, when the handlers are gone.
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)


def run(app: Any, config: Config, drain: Drain, drain_timeout: float) -> None:
    """Raises `SystemExit` with one line where the start fails."""
    factory = None
    if config.worker_class == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    try:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(serve_until_drained(app, config, drain, drain_timeout))
        output.flush(seconds=1)  # A worker's exit does not: it is a fork.
    except LifespanFailureError as error:
        raise SystemExit(describe_failure(error)) from None
