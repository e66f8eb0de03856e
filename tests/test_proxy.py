"""Behind a proxy, and called by pages of another origin: the settings, in the running service."""

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory
from urllib.parse import urljoin

import httpx
import pytest
from serving import HYPERCORN, Service, free_port, serve

ORIGIN = "https://app.example.com"
HOPS = "203.0.113.7, 192.0.2.1"
RUNNER = ("python", "-m", "my_service")
# One takes the beginning of the path away, the other one passes it on.
HAPROXY = """
defaults
    mode http
    option forwardfor
    timeout connect 5s
    timeout client 10s
    timeout server 10s
listen strips
    bind 127.0.0.1:{strips}
    http-request set-header X-Forwarded-Proto https
    http-request replace-path /shop(/.*) \\1
    server service unix@{socket}
listen passes
    bind 127.0.0.1:{passes}
    server service unix@{socket}
"""
PREFLIGHT = {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,if-match,x-api-key",
}


@pytest.fixture(scope="module")
def proxied(project: Path) -> Iterator[Service]:
    variables = {
        "FORWARDED_ALLOW_IPS": "127.0.0.0/8",
        "ALLOWED_HOSTS": "api.example.com",
        "CORS_ORIGINS": ORIGIN,
    }
    with serve(project, HYPERCORN, **variables) as service:
        yield service


def get(service: Service, path: str, *, http2: bool = False, **headers: str) -> httpx.Response:
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    defaults = {"Host": "api.example.com", "X-Request-ID": token_hex(16)}
    with httpx.Client(http1=not http2, http2=http2) as client:
        return client.get(service.url + path, headers=defaults | headers)


def logged_client(service: Service, response: httpx.Response) -> str:
    """Who the log says asked for it; the line may come after the response."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        for line in service.log.read_text().splitlines():
            event = json.loads(line)
            if event["request_id"] == response.headers["x-request-id"]:
                return str(event["client"])
        time.sleep(0.05)
    raise AssertionError(service.log.read_text())


@pytest.mark.parametrize("http2", [False, True], ids=["HTTP/1.1", "HTTP/2"])
def test_client_is_logged(proxied: Service, http2: bool) -> None:
    response = get(proxied, "/", http2=http2, X_Forwarded_For=HOPS)
    assert logged_client(proxied, response) == "192.0.2.1"


def test_unknown_proxy_is_not_believed(service: Service) -> None:
    response = get(service, "/", X_Forwarded_For=HOPS)
    assert logged_client(service, response) == "127.0.0.1"


def test_scheme_is_believed(proxied: Service) -> None:
    """HSTS is for HTTPS alone"""
    assert "strict-transport-security" in get(proxied, "/", X_Forwarded_Proto="https").headers
    assert "strict-transport-security" not in get(proxied, "/").headers


@pytest.mark.parametrize("http2", [False, True], ids=["HTTP/1.1", "HTTP/2"])
def test_other_host(proxied: Service, http2: bool) -> None:
    """It is a problem like any other, logged and with a request id, but not for probes"""
    response = get(proxied, "/", http2=http2, Host="attacker.example")
    assert response.status_code == 421
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert logged_client(proxied, response) == "127.0.0.1"
    for path in ["/livez", "/readyz"]:
        assert get(proxied, path, http2=http2, Host=f"127.0.0.1:{proxied.port}").status_code == 200


@pytest.mark.parametrize(
    ("origin", "allowed"), [(ORIGIN, ORIGIN), ("https://attacker.example", None)]
)
def test_pages_of_another_origin(proxied: Service, origin: str, allowed: str | None) -> None:
    headers = {"Host": "api.example.com", "Origin": origin}
    asked = httpx.options(f"{proxied.url}/users", headers={**headers, **PREFLIGHT})
    assert asked.status_code == (200 if allowed else 400)
    for answer in [asked, get(proxied, "/", Origin=origin)]:
        assert answer.headers.get("access-control-allow-origin") == allowed
        assert "access-control-allow-credentials" not in answer.headers


def test_cors_is_off(service: Service) -> None:
    asked = httpx.options(f"{service.url}/users", headers={"Origin": ORIGIN, **PREFLIGHT})
    assert "access-control-allow-origin" not in asked.headers
    assert "access-control-allow-origin" not in get(service, "/", Origin=ORIGIN).headers


@pytest.fixture(scope="module", params=[HYPERCORN, RUNNER], ids=["hypercorn", "runner"])
def below_path(request: pytest.FixtureRequest, project: Path) -> Iterator[dict[str, Service]]:
    """The service at a Unix socket, behind a haproxy of Debian's that serves it below /shop."""
    program = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin")
    if not program:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("haproxy is not installed")
    ports = {"strips": free_port(), "passes": free_port()}
    urls = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
    with TemporaryDirectory() as folder:  # The path of a socket must be short.
        socket, file = f"{folder}/service.sock", Path(folder, "haproxy.cfg")
        file.write_text(HAPROXY.format(socket=socket, **ports))
        haproxy = subprocess.Popen([program, "-db", "-q", "-f", str(file)])
        variables = {
            "HOST": f"unix:{socket}",
            "ROOT_PATH": "/shop",
            "FORWARDED_ALLOW_IPS": "unix:",
            "DATABASE_POOL_SIZE": "2",
        }
        try:
            with serve(project, request.param, url=urls["strips"], **variables) as service:
                yield {
                    name: Service(url, ports[name], service.process, service.log)
                    for name, url in urls.items()
                }
        finally:
            haproxy.terminate()
            haproxy.wait(10)


@pytest.mark.parametrize("way", ["strips", "passes"])
def test_service_below_a_path(below_path: dict[str, Service], way: str) -> None:
    """What it says of its own URLs can be asked for through the proxy"""
    url = below_path[way].url
    with httpx.Client(base_url=url) as client:
        user = {"name": "Ada", "email": f"{token_hex(8)}@example.com"}
        location = client.post("/shop/users", json=user).headers["location"]
        assert location.startswith("/shop/users/")
        assert client.get(location).json()["email"] == user["email"]
        assert client.get("/shop/openapi.json").json()["servers"] == [{"url": "/shop"}]
        assert client.get("/shop/livez").status_code == 200
        for page in ["/shop/docs", "/shop/redoc"]:
            files = re.findall(r'(?:src|href)="([^":]+)"', client.get(page).text)
            assert len(files) >= 2
            for file in files:
                assert client.get(urljoin(f"{url}{page}", file)).status_code == 200


def test_proxy_at_a_unix_socket(below_path: dict[str, Service]) -> None:
    """Is believed, where the settings say so; the first address its client has made up"""
    service = below_path["strips"]
    response = get(service, "/shop/", X_Forwarded_For="203.0.113.7")
    assert response.status_code == 200
    assert "strict-transport-security" in response.headers
    assert logged_client(service, response) == "127.0.0.1"
