"""Starts the wheel's PostgreSQL in a folder, or joins those that use it there already."""

import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .postgres_folders import VERSION, choose_folders

TIMEOUT = 60  # seconds for a start, with recovery after a crash, or an end
LOCK_FILE = os.O_RDWR | os.O_CREAT  # how one is opened


@contextmanager
def locked(path: Path, how: int, flags: int = os.O_RDONLY) -> Iterator[int]:
    """Holds a lock on a file, or on a folder, by a description of its own; gives that."""
    descriptor = os.open(path, flags | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, how)
        yield descriptor
    finally:
        os.close(descriptor)


def is_free(path: Path, how: int) -> bool:
    try:
        with locked(path, how | fcntl.LOCK_NB):
            return True
    except FileNotFoundError:  # Somebody has removed it.
        return True
    except BlockingIOError:
        return False


def find_cause(output: str) -> str:
    """The lines that say why, or the last one."""
    lines = output.splitlines() or ["it ended"]
    return "; ".join([x for x in lines if re.search("error:|FATAL|PANIC", x)][:2] or lines[-1:])


def create(data: Path, programs: Path, owner: list[int], lock: int) -> None:
    """Makes a new database, which has its name only once it is whole; `lock` is held meanwhile."""
    try:
        if data.exists():
            data.rmdir()  # Only an empty folder makes room.
    except OSError as error:
        reason = f"{data} is no database of PostgreSQL ({error.strerror})"
        raise RuntimeError(f"{reason}: move it away, or set DATABASE_URL") from error
    new = data.with_name(f"{data.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(mode=0o700)
    if owner:
        os.chown(new, *owner)
    options = ["--auth=trust", "--encoding=UTF8", "--locale=C", "--username=postgres"]
    # Letters are Unicode's, in the order of their numbers, on each system.
    options += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    done = subprocess.run(
        [programs / "bin/initdb", *options, "-D", new],
        user=owner[0] if owner else None,
        group=owner[1] if owner else None,
        extra_groups=[] if owner else None,
        pass_fds=[lock],  # until its last process ends, should this one be killed
        start_new_session=True,  # Ctrl-C is for this one, which then ends it
        env={"LC_ALL": "C"},
        cwd="/",
        capture_output=True,
        errors="replace",
    )
    if done.returncode:
        shutil.rmtree(new, ignore_errors=True)
        raise RuntimeError(f"PostgreSQL could not be set up in {data}: {find_cause(done.stderr)}")
    new.rename(data)


def start(users: Path, data: Path, programs: Path, owner: list[int], lock: int) -> None:
    """Starts the server, by a process that outlives this one and waits for the end of its users."""
    file = data / "PG_VERSION"
    version = file.read_text(errors="replace").strip() if file.exists() else ""
    if not version:
        create(data, programs, owner, lock)
    elif version != VERSION:
        raise RuntimeError(
            f"{data} is of PostgreSQL {version}, the embedded one is {VERSION}:"
            " move the folder away to begin anew, or set DATABASE_URL"
        )
    deadline = time.monotonic() + TIMEOUT
    while not is_free(data, fcntl.LOCK_EX):  # processes of a server that was killed
        if time.monotonic() > deadline:
            raise RuntimeError(f"Processes of a PostgreSQL that was killed still use {data}")
        time.sleep(0.05)
    # The lock says that it is nobody's, whoever has that process id now.
    (data / "postmaster.pid").unlink(missing_ok=True)
    sockets = tempfile.mkdtemp(prefix="postgres-", dir="/tmp")  # a short path
    if owner:
        os.chown(sockets, *owner)
    script, account = Path(__file__).with_name("keeper.py"), " ".join(map(str, owner))
    server: list[str | Path] = [programs / "bin/postgres", "-D", data, "-h", "", "-k", sockets]
    with locked(data, fcntl.LOCK_EX) as held, open(data / "log", "wb") as log:
        keeper = subprocess.Popen(
            [sys.executable, "-I", script, users, str(held), sockets, account, *server],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[held],
            env={"LC_ALL": "C"},
            cwd="/",
            start_new_session=True,  # neither Ctrl-C nor the end of a terminal reaches it
        )
    threading.Thread(target=keeper.wait, daemon=True).start()  # leaves no zombie
    while not find_sockets(data):
        if keeper.poll() is not None or time.monotonic() > deadline:
            cause = find_cause((data / "log").read_text(errors="replace"))
            raise RuntimeError(f"PostgreSQL did not start: {cause}; see {data / 'log'}")
        time.sleep(0.02)


def find_sockets(data: Path) -> str:
    """The folder of the socket, where the server of `data` is ready; counted from the end, as the
    name of the data's folder, before it, may have lines."""
    try:
        lines = (data / "postmaster.pid").read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return ""
    return lines[-4] if lines and lines[-1].strip() == "ready" else ""


@contextmanager
def run_postgres(folder: Path) -> Iterator[str]:
    """Runs the server of `folder`, and gives the folder of its socket."""
    data, programs, owner = choose_folders(folder)
    users, starting = data.with_suffix(".lock"), data.with_suffix(".start.lock")
    with locked(users, fcntl.LOCK_SH, LOCK_FILE):
        with locked(starting, fcntl.LOCK_EX, LOCK_FILE) as lock:
            if is_free(data, fcntl.LOCK_EX) or not find_sockets(data):
                start(users, data, programs, owner, lock)
        yield find_sockets(data)
    deadline = time.monotonic() + TIMEOUT
    while not is_free(data, fcntl.LOCK_EX) and time.monotonic() < deadline:
        if not is_free(users, fcntl.LOCK_EX) and is_free(users, fcntl.LOCK_SH):
            return  # others go on
        time.sleep(0.01)
