"""A supervisor ends in order whenever it is told to, and does not give up for a few deaths."""

import json
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from baking import environment

from faults.service import copy

RUNS = 100
SIGNALS = {
    "my_service/chassis/supervisor.py": {"SIG_BLOCK, SIGNALS": "SIG_BLOCK, ()"},
}

# One process that has the modules forks each supervisor: it is started 100 times in half a minute.
PROGRAM = """
import asyncio
import json
import multiprocessing
import os
import random
import signal
import sys
import time

from starlette.applications import Starlette

from my_service import settings
from my_service.chassis import server, supervisor
from my_service.chassis.drain import Drain

CATCHES_SIGTERM = 1 << signal.SIGTERM - 1
clock = random.Random(1)
config = server.bind(settings.PROJECT / "hypercorn.conf.py")


def work():
    "Whose start takes its time until there are handlers."
    time.sleep(random.SystemRandom().uniform(0, 0.1))
    server.run(Starlette(), config, Drain(), 5.0)


def catches(pid):
    with open(f"/proc/{pid}/status") as status:
        [caught] = [line.split()[1] for line in status if line.startswith("SigCgt")]
    return int(caught, 16) & CATCHES_SIGTERM


def find_children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as children:
        return [int(child) for child in children.read().split()]


def wait(pid, seconds):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    for each in [*find_children(pid), pid]:
        os.kill(each, signal.SIGKILL)
    os.waitpid(pid, 0)
    return "hung"


def start():
    pid = os.fork()
    if pid == 0:
        os._exit(supervisor.supervise(work, 2, 5.0))
    while not catches(pid):
        time.sleep(0.0005)
    return pid


def end_early():
    pid = start()
    time.sleep(clock.uniform(0, 0.05))
    os.kill(pid, signal.SIGTERM)
    return wait(pid, 8)


def kill_workers(number):
    "Both in turn, each as soon as there are two again."
    pid = start()
    for _ in range(number):
        deadline = time.monotonic() + 5
        while len(find_children(pid)) < 2:
            if time.monotonic() > deadline:
                return 0, wait(pid, 8)
            time.sleep(0.01)
        time.sleep(0.1)
        os.kill(min(find_children(pid)), signal.SIGKILL)
    time.sleep(1)
    alive = len(find_children(pid))
    os.kill(pid, signal.SIGTERM)
    return alive, wait(pid, 8)


class Short:
    "Of memory: the third process cannot be started."

    started = 0

    def Process(self, target):
        process = multiprocessing.get_context("fork").Process(target=target)
        Short.started += 1
        if Short.started == 3:
            process.start = self.fail
        return process

    def fail(self):
        raise OSError(12, "Cannot allocate memory")


def fail_to_fork():
    supervisor.context = Short()
    pid = start()
    time.sleep(0.5)
    os.kill(min(find_children(pid)), signal.SIGKILL)
    time.sleep(0.5)
    alive = len(find_children(pid))
    os.kill(pid, signal.SIGTERM)
    return alive, wait(pid, 8)


print(json.dumps(eval(sys.argv[1])))
"""


def run(project: Path, expression: str) -> object:
    """What the expression is in the program above, with the modules of `project`."""
    done = subprocess.run(
        [project / ".venv/bin/python", "-c", PROGRAM, expression],
        cwd=project,
        env=environment(PORT="0", PYTHONPATH=str(project), LOG_LEVEL="error"),
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    result: object = json.loads(done.stdout)
    return result


def end_early(project: Path, runs: int) -> Counter[object]:
    codes = run(project, f"[end_early() for _ in range({runs})]")
    assert isinstance(codes, list)
    return Counter(codes)


def test_signal_about_a_fork_is_not_lost(
    extended: Path, figure: Callable[[str, str], None]
) -> None:
    """It may come before the worker is known, or before the worker has handlers."""
    codes = end_early(extended, RUNS)
    figure(f"SIGTERM within 50 ms of a fork, {RUNS} runs", f"exit codes {dict(codes)}")
    assert codes == {0: RUNS}


def test_control(extended: Path, tmp_path: Path) -> None:
    """With signals let through, some hang or do not exit with 0."""
    codes = end_early(copy(extended, tmp_path, SIGNALS), RUNS // 10)
    assert codes[0] < RUNS // 10


def test_workers_that_are_killed_are_replaced(
    extended: Path, figure: Callable[[str, str], None]
) -> None:
    """As for want of memory: neither of them dies young three times in a row."""
    result = run(extended, "kill_workers(4)")
    figure("four kills among two workers", f"[workers, exit code] {result}")
    assert result == [2, 0]


def test_worker_that_cannot_be_started_ends_no_other(
    extended: Path, figure: Callable[[str, str], None]
) -> None:
    """Nor does it keep the signals from their supervisor."""
    result = run(extended, "fail_to_fork()")
    figure("no memory for another worker", f"[workers, exit code] {result}")
    assert result == [1, 0]


def test_control_of_workers_that_are_killed(extended: Path, tmp_path: Path) -> None:
    """Counted over all workers, three deaths would end the service."""
    edits = {
        "my_service/chassis/supervisor.py": {
            "all(worker.young_deaths >= MAX_YOUNG_DEATHS for worker in workers)": (
                "sum(worker.young_deaths for worker in workers) >= MAX_YOUNG_DEATHS"
            )
        }
    }
    assert run(copy(extended, tmp_path, edits), "kill_workers(4)") == [0, 1]
