"""The database behind PgBouncer in transaction mode, and over TLS, which PgBouncer speaks too."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import trustme
from baking import run
from faults.postgres import USER, Postgres, run_postgres
from faults.service import copy
from migrating import add_migrations, alembic
from serving import free_port, serve

pytestmark = pytest.mark.slow

RUNNER = ("python", "-m", "my_service")
# More clients than connections, so that a client's transactions meet different ones.
CONFIGURATION = """\
[databases]
* = host=127.0.0.1 port={postgres_port} user=postgres

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 3
"""
CONCURRENTLY = """with op.get_context().autocommit_block():
        op.create_index("users_name_idx", "users", ["name"], postgresql_concurrently=True)"""
CERTIFICATES = trustme.CA()


@pytest.fixture(scope="module")
def pgbouncer() -> str:
    """The program. Without it the tests are skipped; with CI=true they fail."""
    path = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if path is None and os.environ.get("CI") != "true":
        pytest.skip("pgbouncer is not installed")
    assert path, "pgbouncer is not installed"
    return path


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with run_postgres() as postgres:
        yield postgres


@contextmanager
def pool(program: str, postgres: Postgres, files: dict[str, bytes], *lines: str) -> Iterator[int]:
    """Runs PgBouncer in a folder with `files` and more `lines` in its configuration; its port."""
    port = free_port()
    text = CONFIGURATION.format(port=port, postgres_port=postgres.port) + "\n".join(lines)
    with tempfile.TemporaryDirectory(prefix="pgbouncer-") as name:
        folder = Path(name)
        for file, content in {**files, "pgbouncer.ini": text.encode()}.items():
            (folder / file).write_bytes(content)
        folder.chmod(0o755)
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [program, "pgbouncer.ini"], cwd=folder, user=USER, stdout=log, stderr=log
            )
        try:
            deadline = time.monotonic() + 10
            while True:
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                assert process.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < deadline, (folder / "log").read_text()
                time.sleep(0.05)
            yield port
        finally:
            process.kill()
            process.wait(10)


@pytest.fixture(scope="module")
def pooled_url(pgbouncer: str, postgres: Postgres) -> Iterator[str]:
    with pool(pgbouncer, postgres, {}) as port:
        yield f"postgresql://postgres@127.0.0.1:{port}/postgres"


def test_service_behind_pgbouncer(project: Path, postgres: Postgres, pooled_url: str) -> None:
    """Migrated through it, the service answers many requests at once through both of its pools"""
    run(project, "alembic", "upgrade", "head", variables={"DATABASE_URL": pooled_url})
    variables = {"DATABASE_URL": pooled_url, "DATABASE_POOLER": "true", "WEB_CONCURRENCY": "2"}
    with serve(project, RUNNER, **variables) as service, httpx.Client() as client:
        body = {"name": "Ada", "email": "pooled@example.com"}
        user = client.post(f"{service.url}/users", json=body).json()
        urls = [f"{service.url}/users/{user['id']}{end}" for end in ("", "/sqlalchemy")] * 150
        with ThreadPoolExecutor(20) as threads:
            answers = list(threads.map(client.get, urls))
        assert {answer.status_code for answer in answers} == {200}
        assert {answer.json()["email"] for answer in answers} == {"pooled@example.com"}
        sessions = postgres.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
        )
        assert int(sessions) <= 3 + 1, "They did not go through PgBouncer"


def test_loops_leave_no_statements(project: Path, pooled_url: str) -> None:
    """Those with a name stay on a server's connection, and are in the way of other clients'"""
    loops = """
import asyncio, sys
from my_service.chassis.database import Database

async def main():
    async with Database(sys.argv[1], pooler=True) as database:
        async def count():
            return len([row async for row in database.iterate("SELECT generate_series(1, 99)")])
        assert set(await asyncio.gather(*(count() for _ in range(60)))) == {99}
        left = "SELECT count(*) FROM pg_prepared_statements"
        print(await asyncio.gather(*(database.fetch_val(left) for _ in range(10))))

asyncio.run(main())
"""
    for _ in range(2):
        assert run(project, "python", "-c", loops, pooled_url).strip() == str([0] * 10)


def test_setting_is_needed(project: Path, pooled_url: str) -> None:
    """Without it PgBouncer refuses `statement_timeout`; the first line of the log names it"""
    with serve(project, RUNNER, ready="/livez", DATABASE_URL=pooled_url) as service:
        assert httpx.get(f"{service.url}/readyz").status_code == 503
        assert "DATABASE_POOLER" in service.log.read_text().splitlines()[0]


def test_two_migrations_at_once(project: Path, tmp_path: Path, pgbouncer: str) -> None:
    """Several each, one without a transaction, one that takes longer than the role's queries may"""
    changed = copy(project, tmp_path, {})
    add_migrations(
        changed,
        CONCURRENTLY,
        "op.execute('SELECT pg_sleep(0.6)')",
        "op.execute('ALTER TABLE users ADD nickname text')",
    )
    with run_postgres() as postgres:
        postgres.execute("ALTER ROLE postgres SET statement_timeout = '500ms'")
        with pool(pgbouncer, postgres, {}) as port, ThreadPoolExecutor(2) as threads:
            url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
            done = [
                each.result()
                for each in [
                    threads.submit(alembic, changed, "upgrade", "head", url=url) for _ in range(2)
                ]
            ]
        left = postgres.execute("SELECT version_num FROM alembic_version")
    assert [each.returncode for each in done] == [0, 0], [each.stderr for each in done]
    assert sum(each.stderr.count("Running upgrade") for each in done) == 4
    assert left == "0004"


@pytest.fixture(scope="module")
def tls_port(pgbouncer: str, postgres: Postgres) -> Iterator[int]:
    """Of a PgBouncer that refuses what is not encrypted, with a certificate for `localhost`."""
    certificate = CERTIFICATES.issue_cert("localhost")
    files = {
        "key.pem": certificate.private_key_pem.bytes(),
        "cert.pem": b"".join(blob.bytes() for blob in certificate.cert_chain_pems),
    }
    lines = (
        "client_tls_sslmode = require",
        "client_tls_key_file = key.pem",
        "client_tls_cert_file = cert.pem",
    )
    with pool(pgbouncer, postgres, files, *lines) as port:
        yield port


@pytest.mark.parametrize(
    ("host", "mode", "trusted", "status"),
    [
        ("localhost", "verify-full", True, 200),
        ("127.0.0.1", "verify-full", True, 503),
        ("localhost", "verify-full", False, 503),
        ("localhost", "disable", True, 503),
    ],
)
def test_database_over_tls(
    project: Path,
    tmp_path: Path,
    tls_port: int,
    host: str,
    mode: str,
    trusted: bool,
    status: int,
) -> None:
    """Ready only where the certificate names the host and is of an authority that is trusted"""
    authority = CERTIFICATES if trusted else trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    url = f"postgresql://postgres@{host}:{tls_port}/postgres?sslmode={mode}"
    variables = {
        "DATABASE_URL": f"{url}&sslrootcert={tmp_path / 'ca.pem'}",
        "DATABASE_POOLER": "true",
    }
    if status == 200:
        run(project, "alembic", "upgrade", "head", variables=variables)
    with serve(project, RUNNER, ready="/livez", **variables) as service:
        assert httpx.get(f"{service.url}/readyz").status_code == status
