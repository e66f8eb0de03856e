"""Where the lines of the log go: nobody waits for it, and nothing fails with it."""

import os
import select
import stat
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress

MAX_WAITING = 1 << 18  # bytes
POLL = getattr(select, "poll", None)
# To what is ready, so much is written without blocking:
# https://docs.python.org/3/library/select.html#select.PIPE_BUF
PART = getattr(select, "PIPE_BUF", 4096)


class Output:
    """Standard error. What it does not take waits, up to 256 KiB; more is lost, and counted.

    They are written with later ones, when it takes some again, followed by what `tell_loss` makes
    of the number of those that are lost. A write ends with a line, as the next may be another
    worker's. One of more than 4 KiB is written in parts where that may block, as to a socket, and
    where a pipe has no room for it.
    """

    def __init__(self, tell_loss: Callable[[int], bytes]) -> None:
        self.tell_loss = tell_loss
        self.fd: int | None = None
        self.is_terminal = False
        self.takes_any = False  # number of bytes without blocking
        self.waiting = bytearray()
        self.lost = 0
        self.lock = threading.RLock()

    def open(self) -> None:
        """A descriptor of its own: the number 2 may be closed, and then be a connection's."""
        with suppress(AttributeError, OSError, ValueError):  # There is no standard error.
            self.fd = os.dup(sys.stderr.fileno())
            self.is_terminal = os.isatty(self.fd)
            mode = os.fstat(self.fd).st_mode
            if stat.S_ISFIFO(mode):
                # Another process may fill the pipe between a look at it and the write. Opened
                # anew, it does not block this one, and goes on to block those that expect it.
                path, flags = f"/dev/fd/{self.fd}", os.O_WRONLY | os.O_NONBLOCK
                self.fd = os.open(path, flags)
            self.takes_any = stat.S_ISREG(mode) or stat.S_ISFIFO(mode)

    def write(self, lines: bytes) -> None:
        with self.lock:
            if len(self.waiting) > MAX_WAITING:
                self.flush()
                if len(self.waiting) > MAX_WAITING:
                    self.lost += lines.count(b"\n")
                    return
            self.waiting += lines
            self.flush()
            if self.lost and not self.waiting:
                self.waiting += self.tell_loss(self.lost)
                self.lost = 0
                self.flush()

    def flush(self, seconds: float = 0) -> None:
        """Waits so long for a reader, and not at all by default."""
        deadline = time.monotonic() + seconds if seconds else 0
        with self.lock:
            try:
                while self.fd is not None and self.waiting:
                    left = max(0, deadline - time.monotonic()) if seconds else 0
                    if not is_ready(self.fd, left):
                        break
                    part = self.waiting[:PART]
                    if part[-1:] != b"\n":
                        part = self.waiting[: self.find_end(part)]
                    del self.waiting[: os.write(self.fd, part)]
            except OSError:  # `suppress` would be three calls more in each request.
                pass

    def find_end(self, part: bytearray) -> int:
        """Of the last line in this part, or of the line that is longer."""
        longer = self.waiting.find(b"\n") + 1 if self.takes_any else PART
        return part.rfind(b"\n") + 1 or longer


def is_ready(fd: int, seconds: float) -> bool:
    if not POLL:  # Windows
        return True
    poll = POLL()
    poll.register(fd, select.POLLOUT)
    return bool(poll.poll(seconds * 1000))
