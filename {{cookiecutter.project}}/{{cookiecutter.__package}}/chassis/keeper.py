"""A process that keeps one PostgreSQL running for as long as somebody uses it.

`postgres.py` starts it as a script, with the standard library alone. The server is its child, the
only process that it signals. A user that is killed gives its lock back, and so ends its use.
"""

import ctypes
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import threading

FAST_TIMEOUT = 5  # seconds


def end_with_parent() -> None:
    """Linux ends the server where this process is killed: prctl(2), PR_SET_PDEATHSIG."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGINT)


def keep(users: str, data: int, sockets: str, owner: list[int], command: list[str]) -> None:
    """Runs `command` until it ends, or until nobody holds a lock on the file `users`.

    The server inherits the locked folder of its `data`: that lock is free once its last process has
    ended. It runs as `owner`, a user and a group, or where that is empty as this process does.
    """
    server = subprocess.Popen(
        command,
        pass_fds=[data],
        preexec_fn=end_with_parent,
        user=owner[0] if owner else None,
        group=owner[1] if owner else None,
        extra_groups=[] if owner else None,
    )

    def wait() -> None:
        status = server.wait()
        shutil.rmtree(sockets, ignore_errors=True)
        os._exit(status)

    waiting = threading.Thread(target=wait)
    waiting.start()
    fcntl.flock(os.open(users, os.O_RDWR), fcntl.LOCK_EX)
    server.send_signal(signal.SIGINT)  # "fast": it ends what its clients do
    waiting.join(FAST_TIMEOUT)
    # PostgreSQL 18 may hang where it is told in its recovery. What is written is safe either way.
    server.send_signal(signal.SIGQUIT)
    waiting.join()


if __name__ == "__main__":
    file, folder, sockets, owner, *command = sys.argv[1:]
    keep(file, int(folder), sockets, [int(number) for number in owner.split()], command)
