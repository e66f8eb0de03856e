"""Several processes that serve: one that dies is replaced, and the others do not notice.

They share the sockets of their parent, so that the connections that wait there survive one of
them. POSIX only.
"""

import logging
import multiprocessing
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.context import ForkProcess

from .server import SIGNALS

INTERVAL = 0.05  # seconds between two looks at the workers
YOUNG = 5.0  # seconds in which the death of a worker counts towards a crash loop
MAX_YOUNG_DEATHS = 3
MAX_PAUSE = 10.0  # seconds before a worker is started anew that keeps dying
KILL_AFTER = 5.0  # seconds after the longest drain

logger = logging.getLogger(__name__)
# A fork has all modules already, and serves after a tenth of the time.
context = multiprocessing.get_context("fork")


@dataclass
class Worker:
    """One of the processes, by and by several, and how often in a row it died young."""

    process: ForkProcess | None = None
    start_at: float = 0.0
    started: float = 0.0
    young_deaths: int = 0

    def start(self, work: Callable[[], None]) -> None:
        """With signals blocked, until `work` has handlers for them: none of them is lost."""
        unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        process = context.Process(target=work)
        try:
            process.start()
        except OSError as error:  # No memory or process number to spare: the others go on.
            logger.error("A worker cannot be started: %s", error)
            self.start_at = time.monotonic() + MAX_PAUSE
            return
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
        self.process = process
        self.started = time.monotonic()

    def note_death(self) -> None:
        """Whoever dies young again and again waits longer each time."""
        now = time.monotonic()
        self.young_deaths = self.young_deaths + 1 if now < self.started + YOUNG else 0
        pause = min(0.1 * 2**self.young_deaths, MAX_PAUSE) if self.young_deaths else 0
        self.start_at = now + pause
        self.process = None


def check(start: Callable[[], None]) -> None:
    """In a process of its own, as what it opens would not survive the forks of the workers.

    Raises `SystemExit` where it fails, and has said why.
    """

    def run() -> None:
        with suppress(KeyboardInterrupt):  # Ctrl-C ends this process too, which is no error.
            start()

    process = context.Process(target=run)
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(process.exitcode)


def supervise(work: Callable[[], None], number: int, drain_timeout: float) -> int:
    """Keeps `number` processes at `work` until SIGTERM or SIGINT; the exit code.

    It is 1 where all of them keep dying young, or one did not end well. After a signal they have
    `drain_timeout` and `KILL_AFTER` seconds.
    """
    stopping = False

    def stop(*_: object) -> None:
        nonlocal stopping
        stopping = True

    for each in SIGNALS:
        signal.signal(each, stop)
    workers = [Worker() for _ in range(number)]
    exit_code = 0
    while not stopping:
        for worker in workers:
            if worker.process is None and time.monotonic() >= worker.start_at:
                worker.start(work)
        time.sleep(INTERVAL)
        for worker in workers:
            if not stopping and worker.process and not worker.process.is_alive():
                logger.error("Worker %s ended with %s", worker.process.pid, worker.process.exitcode)
                worker.note_death()
        if all(worker.young_deaths >= MAX_YOUNG_DEATHS for worker in workers):
            logger.error("All workers keep ending: the service ends")
            stopping, exit_code = True, 1
    processes = [worker.process for worker in workers if worker.process]
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + drain_timeout + KILL_AFTER
    for process in processes:
        process.join(max(0, deadline - time.monotonic()))
        if process.is_alive():
            logger.error("Worker %s did not end and is killed", process.pid)
            process.kill()
            process.join()
        exit_code = exit_code or int(process.exitcode != 0)
    return exit_code
