import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import asyncpg
import pytest

from {{ cookiecutter.__package }}.chassis import embedded, postgres_folders
from {{ cookiecutter.__package }}.chassis.database import Database


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A folder that the user who runs PostgreSQL for root can reach; not so pytest's."""
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


async def test_server_stops_with_its_last_user_and_keeps_the_rows(reachable: Path) -> None:
    """In a folder of any name."""
    with TemporaryDirectory(dir=reachable, suffix=" %é\"'&,(x)") as temporary:
        Path(temporary).chmod(0o755)  # noqa: ASYNC240
        folder = Path(temporary) / "postgres"
        with embedded.run_server(folder) as url:
            connection = await asyncpg.connect(url)
            await connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
            await connection.close()
        with pytest.raises(FileNotFoundError):
            await asyncpg.connect(url)
        with embedded.run_server(folder) as url:
            connection = await asyncpg.connect(url)
            assert await connection.fetchval("SELECT one FROM kept") == 1
            await connection.close()


async def test_letters_beyond_ascii_have_their_cases(reachable: Path) -> None:
    """As with the locales of providers; the order is that of the code points."""
    with embedded.run_server(reachable / "postgres") as url:
        connection = await asyncpg.connect(url)
        query = "SELECT 'É' ILIKE 'é', lower('ÄÑ'), initcap('éa'), 'ä' ~ '^\\w$', 'a' < 'B'"
        row = await connection.fetchrow(query)
        await connection.close()
    assert row
    assert [*row] == [True, "äñ", "Éa", True, False]


async def test_what_the_shell_says_of_other_servers_is_not_for_this_one(
    reachable: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for setting in (
        "PGHOST=db.example PGPORT=x PGUSER=x PGPASSWORD=x PGDATABASE=x PGPASSFILE=/no PGDATA=/no "
        "PGSERVICE=x PGSSLMODE=verify-full PGSSLROOTCERT=/no PGSSLNEGOTIATION=direct PGGSSLIB=x "
        "PGTARGETSESSIONATTRS=standby PGSSLMINPROTOCOLVERSION=x PGOPTIONS=x PGTZ=x PGDATESTYLE=x"
    ).split():
        monkeypatch.setenv(*setting.split("="))
    with embedded.run_server(reachable / "postgres") as url:
        async with Database(url, max_size=1) as database:
            assert await database.fetch_val("SELECT current_user") == "postgres"


async def test_process_id_of_another_program_in_postmaster_pid(reachable: Path) -> None:
    """As a container that was killed leaves it. The copy of a folder in use has one as well."""
    folder = reachable / "postgres"
    with (
        embedded.run_server(folder) as url,
        subprocess.Popen(["sleep", "60"]) as other,  # noqa: ASYNC220, S607
    ):
        copy = reachable / "copy"
        shutil.copytree(folder, copy, ignore=lambda *_: ["log"])
        if os.geteuid() == 0:
            shutil.chown(copy, folder.stat().st_uid)
            for path in copy.rglob("*"):
                shutil.chown(path, folder.stat().st_uid)
        lines = (copy / "postmaster.pid").read_text().splitlines()
        (copy / "postmaster.pid").write_text("\n".join([str(other.pid), *lines[1:]]) + "\n")
        with embedded.run_server(copy) as copied:
            assert copied != url
            await execute(copied, "CREATE TABLE of_the_copy ()")
            with pytest.raises(asyncpg.UndefinedTableError):
                await execute(url, "SELECT FROM of_the_copy")
        assert other.poll() is None
        other.kill()


async def test_one_process_may_open_it_twice(reachable: Path) -> None:
    with embedded.run_server(reachable / "postgres") as url:
        with embedded.run_server(reachable / "postgres") as same:
            assert same == url
        await execute(url, "SELECT 1")


def test_folder_that_is_none_of_ours_is_one_line(reachable: Path) -> None:
    (reachable / "postgres").mkdir()
    (reachable / "postgres/PG_VERSION").write_text("9.6\n")
    with (
        pytest.raises(RuntimeError, match=r"is of PostgreSQL 9\.6"),
        embedded.run_server(reachable / "postgres"),
    ):
        pass


@pytest.mark.parametrize("file", ["postgres", "postgres/PG_VERSION", "postgres/notes"])
def test_what_is_no_database_is_one_line_and_stays(reachable: Path, file: str) -> None:
    folder = reachable / "postgres"
    if folder != reachable / file:
        folder.mkdir()
    (reachable / file).touch()
    told = pytest.raises(RuntimeError, match=rf"^{folder} is no database of PostgreSQL")
    with told, embedded.run_server(folder):
        pass
    assert (reachable / file).exists()
    assert not (reachable / "postgres.new").exists()


def test_mount_point_is_one_line(reachable: Path) -> None:
    folder = reachable / "postgres"
    folder.mkdir()
    if subprocess.run(["mount", "--bind", folder, folder], capture_output=True).returncode:  # noqa: S607
        pytest.skip("Root alone can mount")
    try:
        with pytest.raises(RuntimeError, match="is no database"), embedded.run_server(folder):
            pass
    finally:
        subprocess.run(["umount", folder], check=True)  # noqa: S607


def test_start_beside_a_first_one_that_is_killed(reachable: Path) -> None:
    """It waits for what that one has left running, and begins anew."""
    folder = reachable / "postgres"
    use = f"run_server(Path({str(folder)!r})).__enter__()"
    script = f"from {embedded.__name__} import Path, run_server; {use}"
    with subprocess.Popen([sys.executable, "-c", script]) as first:
        while not (reachable / "postgres.new/PG_VERSION").exists():
            assert first.poll() is None
        first.kill()
        with embedded.run_server(folder):
            assert (folder / "PG_VERSION").exists()


async def test_root_uses_the_data_of_a_user_below_a_closed_folder(reachable: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("Root alone runs PostgreSQL as another user")
    home = reachable / "home"
    home.mkdir()
    with embedded.run_server(home / "postgres") as url:
        await execute(url, "CREATE TABLE of_the_user ()")
    shutil.chown(home, (home / "postgres").stat().st_uid)
    home.chmod(0o700)
    with embedded.run_server(home / "postgres") as url:
        await execute(url, "SELECT FROM of_the_user")


def test_data_removed_in_use_are_made_anew(reachable: Path) -> None:
    folder = reachable / "postgres"
    with embedded.run_server(folder):
        while folder.exists():  # The server removes files of it at the same time.
            shutil.rmtree(folder, ignore_errors=True)
    assert not folder.exists()
    with embedded.run_server(folder):
        assert (folder / "PG_VERSION").exists()


def test_lock_that_is_a_folder_is_one_line(reachable: Path) -> None:
    (reachable / "postgres.lock").mkdir()
    told = pytest.raises(RuntimeError, match=r"Is a directory: .*/postgres\.lock")
    with told, embedded.run_server(reachable / "postgres"):
        pass


def test_closed_umask_of_root_below_a_closed_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The data and the programs are where the other user can reach them."""
    if os.geteuid() != 0:
        pytest.skip("Root alone runs PostgreSQL as another user")
    monkeypatch.setattr(postgres_folders, "is_reachable", lambda _: False)
    before = os.umask(0o077)
    try:
        with TemporaryDirectory(dir="/var/tmp") as places:
            Path(places).chmod(0o755)
            monkeypatch.setattr(postgres_folders, "PLACES", Path(places))
            with embedded.run_server(tmp_path / "postgres"):
                pass
    finally:
        os.umask(before)


@pytest.mark.parametrize("break_", ["\n", "\r"])
def test_line_break_in_the_name_of_the_folder_is_one_line(reachable: Path, break_: str) -> None:
    told = pytest.raises(RuntimeError, match=r"^PostgreSQL takes no line break: .*DATABASE_URL$")
    with told, embedded.run_server(reachable / f"line{break_}break"):
        pass


async def execute(url: str, query: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(query)
    finally:
        await connection.close()


def test_full_disk_is_told_in_a_line_and_leaves_nothing_half_made(reachable: Path) -> None:
    folder = reachable / "full"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=8m,mode=755", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("A file system of this size can be mounted by root alone")
    told = pytest.raises(RuntimeError, match=r"could not be set up .*No space left")
    try:
        with told, embedded.run_server(folder / "postgres"):
            pass
        assert [path.suffix for path in folder.iterdir() if path.is_dir()] == []
    finally:
        subprocess.run(["umount", folder], check=True)  # noqa: S607
