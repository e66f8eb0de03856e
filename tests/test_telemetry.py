"""What is seen of the service from outside: traces and metrics, and no secret in any of it."""

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx
import pytest
from baking import bake, install, run
from faults.postgres import run_postgres
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from recipes import apply
from serving import HYPERCORN, free_port, serve

pytestmark = pytest.mark.slow

COMMANDS = {"hypercorn": HYPERCORN, "runner": ("python", "-m", "my_service")}
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PASSWORD = "p%40ss%2Fw%3Ard"


@dataclass
class Collector:
    """What a service has sent, and the headers of its calls: it stands in for an upstream too."""

    url: str = ""
    raw: bytes = b""
    spans: list[Span] = field(default_factory=list)
    calls: list[dict[str, str]] = field(default_factory=list)
    metrics: list[Metric] = field(default_factory=list)
    resources: list[dict[str, str]] = field(default_factory=list)

    def take(self, path: str, body: bytes) -> None:
        self.raw += body
        if path == "/v1/traces":
            traces = ExportTraceServiceRequest.FromString(body)
            for sent in traces.resource_spans:
                self.resources.append(attributes(sent.resource.attributes))
                self.spans += [span for scope in sent.scope_spans for span in scope.spans]
        else:
            assert path == "/v1/metrics"
            measures = ExportMetricsServiceRequest.FromString(body)
            for measured in measures.resource_metrics:
                self.resources.append(attributes(measured.resource.attributes))
                self.metrics += [m for scope in measured.scope_metrics for m in scope.metrics]


def attributes(pairs: Any) -> dict[str, str]:
    return {pair.key: pair.value.string_value or str(pair.value.int_value) for pair in pairs}


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A server that takes OTLP over HTTP."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            collector.calls.append(dict(self.headers))
            self.send_response(200)
            self.send_header("Content-Length", "1")
            self.end_headers()
            self.wfile.write(b"1")

        def do_POST(self) -> None:
            collector.take(self.path, self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        collector.url = f"http://127.0.0.1:{server.server_port}"
        yield collector
        server.shutdown()


@pytest.fixture(scope="module")
def instrumented(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bake with the extra."""
    project = bake(tmp_path_factory.mktemp("telemetry"))
    install(project, "--extra", "otel")
    return project


def requests(log: Path, route: str) -> list[dict[str, Any]]:
    """The events of the requests of a route."""
    events = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    return [event for event in events if event.get("route") == route]


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("command", COMMANDS)
def test_traces_and_metrics(
    instrumented: Path, collector: Collector, command: str, workers: str
) -> None:
    """Of each process, named apart; what is not sent yet is sent at the end"""
    variables = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test",
        "WEB_CONCURRENCY": workers,
        "UPSTREAM_URLS": ",".join([collector.url] * 3),
    }
    ended_at_once = (command, workers) == ("hypercorn", "2")
    if ended_at_once:
        variables |= {"OTEL_BSP_SCHEDULE_DELAY": "200", "OTEL_METRIC_EXPORT_INTERVAL": "500"}
    with serve(instrumented, COMMANDS[command], **variables) as service:
        url = service.url
        given = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01", "X-Request-ID": "abc-1"}
        assert httpx.get(f"{url}/users/1?private=1", headers=given).status_code == 422
        assert httpx.get(f"{url}/users/1", headers=given).status_code == 404
        assert httpx.get(f"{url}/external-api", headers=given).status_code == 200
        for _ in range(20 * int(workers)):
            httpx.get(f"{url}/", verify=False)  # On connections of their own: to each process.
        time.sleep(2 * ended_at_once)
        service.stop()
        (event,) = requests(service.log, "/external-api")
    assert (event["trace_id"], event["request_id"]) == (TRACE, "abc-1")
    spans = [span for span in collector.spans if span.trace_id.hex() == TRACE]
    (user,) = [
        span
        for span in spans
        if span.name == "GET /users/{user_id}"
        and attributes(span.attributes)["http.response.status_code"] == "404"
    ]
    assert user.kind == Span.SPAN_KIND_SERVER
    (query,) = [span for span in spans if span.parent_span_id == user.span_id]
    assert query.kind == Span.SPAN_KIND_CLIENT
    assert attributes(query.attributes)["db.system"] == "postgresql"
    (external,) = [span for span in spans if span.name == "GET /external-api"]
    (call,) = [span for span in spans if span.parent_span_id == external.span_id]
    assert call.kind == Span.SPAN_KIND_CLIENT
    (headers,) = collector.calls
    assert headers["traceparent"] == f"00-{TRACE}-{call.span_id.hex()}-01"
    assert headers["X-Request-ID"] == "abc-1"
    durations = [m for m in collector.metrics if m.name == "http.server.request.duration"]
    measured = [attributes(p.attributes) for m in durations for p in m.histogram.data_points]
    assert {
        "http.request.method": "GET",
        "http.route": "/users/{user_id}",
        "http.response.status_code": "404",
        "network.protocol.version": "1.1",
        "url.scheme": "http",
    } in measured
    assert {each["service.name"] for each in collector.resources} == {"my_service"}
    assert {each["deployment.environment.name"] for each in collector.resources} == {"test"}
    instances = {each["service.instance.id"] for each in collector.resources}
    assert len(instances) == int(workers)
    assert b"private" not in collector.raw


def test_calls_by_httpx2_are_traced(tmp_path: Path, collector: Collector) -> None:
    """The recipe leaves nothing that imports httpx, nor that instruments it alone"""
    project = bake(tmp_path)
    install(project)
    apply(project, "httpx2", tmp_path)
    install(project, "--extra", "otel")
    variables = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "UPSTREAM_URLS": ",".join([collector.url] * 3),
    }
    with serve(project, **variables) as service:
        assert httpx.get(f"{service.url}/external-api").status_code == 200
        service.stop()
    (external,) = [span for span in collector.spans if span.name == "GET /external-api"]
    (call,) = [span for span in collector.spans if span.parent_span_id == external.span_id]
    assert call.kind == Span.SPAN_KIND_CLIENT


def test_collector_that_is_away(instrumented: Path) -> None:
    """Requests are served, the log says it in its own form, and the end waits little"""
    variables = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }
    with serve(instrumented, COMMANDS["runner"], **variables) as service:
        assert httpx.get(f"{service.url}/").status_code == 200
        time.sleep(1)
        start = time.monotonic()
        assert service.stop() == 0
        assert time.monotonic() - start < 5
        lines = service.log.read_text().splitlines()
    assert all(line.startswith("{") for line in lines), lines
    assert "export" in "".join(lines).lower()


def test_checks_of_the_bake_pass_with_the_extra(instrumented: Path) -> None:
    run(instrumented, "mypy", ".")
    tests = [f"tests/chassis/test_{name}.py" for name in ("telemetry", "upstream")]
    run(instrumented, "pytest", "-q", *tests)


@pytest.mark.parametrize("command", COMMANDS)
def test_password_is_not_logged(project: Path, command: str) -> None:
    """Neither as it is in the URL nor decoded; with the database up, and away from then on"""
    with run_postgres() as postgres:
        url = postgres.url().replace("postgres@", f"postgres:{PASSWORD}@")
        assert PASSWORD in url
        run(project, "alembic", "upgrade", "head", variables={"DATABASE_URL": url})
        variables = {"DATABASE_URL": url, "LOG_LEVEL": "debug", "PYTHONASYNCIODEBUG": "1"}
        with serve(project, COMMANDS[command], **variables) as service:
            assert httpx.get(f"{service.url}/users/1").status_code == 404
            assert httpx.get(f"{service.url}/users/1/sqlalchemy").status_code == 404
            postgres.stop()
            time.sleep(1)  # /readyz keeps its answer for as long.
            for path in ["/readyz", "/users/1", "/users/1/sqlalchemy"]:
                assert httpx.get(service.url + path).status_code == 503
            service.stop()
            log = service.log.read_text()
        with serve(project, COMMANDS[command], ready="/livez", **variables) as service:
            assert httpx.get(f"{service.url}/users/1").status_code == 503
            service.stop()
            log += service.log.read_text()
    assert log.count('"status":503') == 4
    assert "The database is away" in log
    assert PASSWORD not in log
    assert unquote(PASSWORD) not in log
