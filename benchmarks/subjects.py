"""What is measured: applications on servers, what is asked of them and what they answer."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx

ROOT = "GET /"
USER = "GET /users/{user_id}"
LIST = "GET /users?limit=100"
POST = "POST /users"

SERVICE = "the service"
DATABASES = "FastAPI, databases"
ORM = "FastAPI, SQLAlchemy"
LITESTAR = "Litestar"
BLACKSHEEP = "BlackSheep"
FLOOR = "bare ASGI, asyncpg held"
# In the order in which peers/query.py prints them.
QUERIES = ("the service", "asyncpg held", "stock databases")
MODULES = {
    SERVICE: "my_service.app:app",
    DATABASES: "fastapi_databases:app",
    ORM: "fastapi_sqlalchemy:app",
    LITESTAR: "litestar_app:app",
    BLACKSHEEP: "blacksheep_app:app",
    FLOOR: "floor:app",
}

HTTP1, HTTP2 = "HTTP/1.1", "HTTP/2"
UVICORN, HYPERCORN, GRANIAN = "uvicorn", "Hypercorn", "Granian"
# Idle connections are kept for 120 s. uvicorn would kill workers that need 5 s to start,
# Granian take 1,024 connections at most.
COMMANDS = {
    UVICORN: "uvicorn --host 127.0.0.1 --port {port} --workers {workers} --no-access-log"
    " --timeout-keep-alive 120 --timeout-worker-healthcheck 60 {module}",
    HYPERCORN: "hypercorn --config hypercorn.toml --keep-alive 120 --bind 127.0.0.1:{port}"
    " {module}",
    GRANIAN: "granian --interface asgi --host 127.0.0.1 --port {port} --workers {workers}"
    " --backlog 8192 --backpressure 8192 --log-level warning {module}",
}
OWN = "python -m my_service"
# The service's own entry takes all from hypercorn.conf.py, where idle connections have 5 s.
PATIENT = "hypercorn --config file:hypercorn.conf.py --keep-alive 120 {module}"

USERS = [
    {
        "id": n,
        "name": f"User {n}",
        "email": f"user{n}@example.com",
        "created_at": "2026-01-01T00:00:00+00:00",
    }
    for n in range(1, 101)
]
SEED = """TRUNCATE users, posts RESTART IDENTITY;
          INSERT INTO users (name, email, created_at)
               SELECT 'User ' || n, 'user' || n || '@example.com', '2026-01-01T00:00:00Z'
                 FROM generate_series(1, 1000) AS n;
          ANALYZE users"""
ANSWERS = {
    ROOT: ("/", {"message": "Hello World"}),
    USER: ("/users/1", USERS[0]),
    LIST: ("/users?limit=100", {"users": USERS}),
}


@dataclass(frozen=True)
class Subject:
    """An application on a server, and what is asked of it."""

    app: str
    server: str
    requests: tuple[str, ...]

    @property
    def protocols(self) -> tuple[str, ...]:
        return (HTTP1,) if self.server == UVICORN else (HTTP1, HTTP2)


SUBJECTS = [
    *(Subject(SERVICE, server, (ROOT, USER, LIST, POST)) for server in (HYPERCORN, GRANIAN)),
    *(
        Subject(app, server, (ROOT, USER, LIST, POST))
        for app in (ORM, DATABASES)
        for server in (UVICORN, HYPERCORN, GRANIAN)
    ),
    *(
        Subject(app, server, (ROOT, USER))
        for app in (LITESTAR, BLACKSHEEP)
        for server in (UVICORN, GRANIAN)
    ),
    *(Subject(FLOOR, server, (ROOT, USER)) for server in (UVICORN, HYPERCORN, GRANIAN)),
]

# What the criteria name.
ESSENTIAL = [
    subject
    for subject in SUBJECTS
    if subject.app in {SERVICE, FLOOR} or (subject.app == ORM and subject.server != GRANIAN)
]


def check(url: str, subject: Subject) -> None:
    """Raises `RuntimeError` where the status or the JSON of an answer is not what all give."""
    with httpx.Client(base_url=url, timeout=10) as client:
        for request in subject.requests:
            if request == POST:
                name = {"name": "Ada", "email": "ada@example.com"}
                response = client.post("/users", params=name)
                body = response.json()
                agree = response.status_code == 201 and set(body) == set(USERS[0])
                agree = agree and body | name == body
            else:
                path, expected = ANSWERS[request]
                response = client.get(path)
                agree = response.status_code == 200 and read(response.content) == read(
                    json.dumps(expected)
                )
            if not agree:
                raise RuntimeError(f"{subject} answers {request} otherwise: {response.text[:300]}")


def read(text: str | bytes) -> Any:
    """JSON with its dates read, as Z and +00:00 are the same."""

    def read_dates(fields: dict[str, Any]) -> dict[str, Any]:
        if "created_at" in fields:
            fields["created_at"] = datetime.fromisoformat(fields["created_at"])
        return fields

    return json.loads(text, object_hook=read_dates)
