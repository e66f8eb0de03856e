"""DATABASE_URL in the form of each provider, against a PostgreSQL with TLS and SCRAM."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from sqlalchemy import text

from {{ cookiecutter.__package }}.chassis.database import Database
from {{ cookiecutter.__package }}.chassis.database_url import connect_options
from {{ cookiecutter.__package }}.chassis.sessions import (
    create_engine,
    open_sessions,
)

from .fixtures import free_port

USER = "nobody" if os.geteuid() == 0 else None  # PostgreSQL refuses to run as root.
PASSWORD = "p@ss/w-rd#?"  # noqa: S105
ENCRYPTED = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
RULES = """local all all scram-sha-256
hostssl all all all scram-sha-256
"""
TLS = {
    "Heroku": "postgres://{user}@localhost:{port}/postgres",
    "Heroku, required": "postgres://{user}@localhost:{port}/postgres?sslmode=require",
    "Render": "postgresql://{user}@localhost:{port}/postgres",
    "Railway": "postgresql://{user}@localhost:{port}/postgres",
    "Supabase, direct": "postgresql://{user}@localhost:{port}/postgres?sslmode=require",
    "Supabase, pooler": "postgres://{user}@localhost:{port}/postgres?pgbouncer=true&connection_limit=1"
    "&supa=base-pooler.x",
    "Neon": "postgresql://{user}@localhost:{port}/postgres?sslmode=require&channel_binding=require",
    "Neon for Prisma": "postgresql://{user}@localhost:{port}/postgres?sslmode=require"
    "&connect_timeout=15&pool_timeout=15&schema=public",
    "RDS": "postgresql://{user}@localhost:{port}/postgres?sslmode=verify-full&sslrootcert={ca}",
    "RDS, verify-ca": "postgresql://{user}@127.0.0.1:{port}/postgres?sslmode=verify-ca"
    "&sslrootcert={ca}",
    "Azure": "postgresql://{user}@localhost:{port}/postgres?sslmode=require",
    "the system's": "postgresql://{user}@localhost:{port}/postgres?sslmode=verify-full"
    "&sslrootcert=system",
    "SQLAlchemy": "postgresql+asyncpg://{user}@localhost:{port}/postgres?ssl=require",
    "Django": "postgres://{user}@localhost:{port}/postgres?conn_max_age=600&sslmode=require",
    "node": "postgres://{user}@localhost:{port}/postgres?sslmode=no-verify",
    "several hosts": "postgresql://{user}@127.0.0.1:1,localhost:{port}/postgres"
    "?target_session_attrs=read-write&sslmode=require&application_name=x",
    "passfile": "postgresql://postgres@localhost:{port}/postgres?passfile={passfile}",
}
PLAIN = {
    "Cloud SQL": "postgresql://{user}@/postgres?host={socket}&port={port}",
    "Cloud SQL, pg8000": "postgresql+pg8000://{user}@/postgres?unix_sock={socket}/.s.PGSQL.{port}",
}


@pytest.fixture(scope="module")
def names() -> Iterator[dict[str, str]]:
    """What stands in the forms above. The wheel's PostgreSQL speaks no TLS: Debian's does."""
    if not (programs := [*Path("/usr/lib/postgresql").glob("*/bin")]):
        pytest.skip("no PostgreSQL with TLS is installed")
    folder = Path(tempfile.mkdtemp(prefix="tls-"))  # Not below pytest's, for USER to enter.
    socket_folder = folder / "p:r:i"
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    certificate.private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    (folder / "server.pem").chmod(0o600)
    (folder / "password").write_text(PASSWORD)
    (folder / "passfile").write_text(f"localhost:*:*:*:{PASSWORD}\n")
    (folder / "passfile").chmod(0o600)
    socket_folder.mkdir()
    for path in [folder, socket_folder, folder / "server.pem"]:
        if USER:
            shutil.chown(path, USER)
    folder.chmod(0o755)
    port = free_port()
    data = folder / "data"
    initdb: list[str | Path] = [programs[0] / "initdb", "-D", data, "-U", "postgres", "-N"]
    initdb += ["--auth=scram-sha-256", f"--pwfile={folder}/password"]
    subprocess.run(initdb, user=USER, cwd=folder, check=True, capture_output=True)
    (data / "pg_hba.conf").write_text(RULES)
    options = [f"-cunix_socket_directories={socket_folder}", "-cssl=on", "-clisten_addresses=*"]
    options += [f"-cssl_cert_file={folder}/server.pem", f"-cssl_key_file={folder}/server.pem"]
    command: list[str | Path] = [programs[0] / "postgres", "-D", data, "-p", str(port), *options]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, user=USER, cwd=folder, stdout=log, stderr=log)
    try:
        for _ in range(200):
            if b"ready to accept" in (folder / "log").read_bytes():
                break
            time.sleep(0.05)
        yield {
            "user": "postgres:p%40ss%2Fw-rd%23%3F",
            "port": str(port),
            "ca": f"{folder}/ca.pem",
            "passfile": f"{folder}/passfile",
            "socket": str(socket_folder),
        }
    finally:
        server.terminate()
        server.wait(20)
        shutil.rmtree(folder)


@pytest.mark.parametrize("form", [*TLS, *PLAIN])
async def test_form_of_a_provider(
    form: str, names: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", names["ca"])
    url = (TLS | PLAIN)[form].format(**names)
    async with Database(url) as database:
        assert await database.fetch_val(ENCRYPTED) == (form in TLS)
    async with open_sessions(url) as sessions, sessions() as session:
        assert await session.scalar(text(ENCRYPTED)) == (form in TLS)
    engine = create_engine(connect_options(url, command_timeout=None, pooler=True))
    async with engine.connect() as connection:
        assert await connection.scalar(text(ENCRYPTED)) == (form in TLS)
    await engine.dispose()


@pytest.mark.parametrize("query", ["sslmode=verify-full", "channel_binding=require", "ssl=true"])
async def test_host_that_the_system_does_not_trust_is_refused(
    query: str, names: dict[str, str]
) -> None:
    url = f"postgresql://{names['user']}@localhost:{names['port']}/postgres?{query}"
    async with Database(url) as database:
        with pytest.raises(OSError, match="certificate verify failed"):
            await database.fetch_val("SELECT 1")


async def test_name_that_is_not_in_the_certificate_is_refused(names: dict[str, str]) -> None:
    url = f"postgresql://{names['user']}@127.0.0.1:{names['port']}/postgres?sslmode=verify-full"
    async with Database(f"{url}&sslrootcert={names['ca']}") as database:
        with pytest.raises(OSError, match="certificate verify failed"):
            await database.fetch_val("SELECT 1")
