"""Traces and metrics by OpenTelemetry, an extra: imported only where there is a collector."""

import asyncio
import os
import time
from typing import Any

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.asyncpg import AsyncPGInstrumentor
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from starlette.middleware.opentelemetry import OpenTelemetryMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .logs import trace_id
from .routes import find_template

METHODS = {"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"}
# Seconds: https://opentelemetry.io/docs/specs/semconv/http/http-metrics/#http-server
BOUNDARIES = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10]


class Telemetry:
    """Traces and measures each request, with its queries and its calls to upstreams.

    They go to the collector at the URL `endpoint`, in the name of `service`.

    Starlette makes it in the process that serves: the exporters' threads would not survive a fork.
    """

    def __init__(self, app: ASGIApp, endpoint: str, service: str) -> None:
        self.app = app
        # What comes from .env is not where OpenTelemetry reads it.
        os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = endpoint
        # Seconds. The end would wait for the default, 10, where the collector is away.
        os.environ.setdefault("OTEL_EXPORTER_OTLP_TIMEOUT", "2")
        given = OTELResourceDetector().detect().attributes
        resource = Resource.create({"service.name": service, **given})
        self.tracers = TracerProvider(resource=resource)
        self.tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self.meters = MeterProvider(
            [PeriodicExportingMetricReader(OTLPMetricExporter())], resource=resource
        )
        untyped: Any = AsyncPGInstrumentor
        untyped().instrument(tracer_provider=self.tracers)
        HTTPXClientInstrumentor().instrument(
            tracer_provider=self.tracers, meter_provider=self.meters
        )
        self.durations = self.meters.get_meter(__name__).create_histogram(
            "http.server.request.duration",
            "s",
            "Duration of HTTP server requests.",
            explicit_bucket_boundaries_advisory=BOUNDARIES,
        )
        self.traced = OpenTelemetryMiddleware(self.measure, tracer_provider=self.tracers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def flush(message: Message) -> None:
            if message["type"] == "lifespan.shutdown.complete":  # Servers go on at once.
                providers = (self.tracers, self.meters)
                await asyncio.gather(*(asyncio.to_thread(each.shutdown) for each in providers))
            await send(message)

        if scope["type"] == "http":
            await self.traced(scope, receive, send)
        else:
            await self.app(scope, receive, flush)

    async def measure(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The request inside its span, which shows no more of it than the log."""
        span = trace.get_current_span()
        trace_id.set(trace.format_trace_id(span.get_span_context().trace_id))
        method = scope["method"]
        attributes = {
            "http.request.method": method if method in METHODS else "_OTHER",
            "network.protocol.version": scope["http_version"],
            "url.scheme": scope["scheme"],
        }

        async def note_status(message: Message) -> None:
            if message["type"] == "http.response.start":
                attributes["http.response.status_code"] = message["status"]
            await send(message)

        start = time.perf_counter()
        try:
            await self.app(scope, receive, note_status)
        finally:
            if route := find_template(scope):
                attributes["http.route"] = route
            self.durations.record(time.perf_counter() - start, attributes)
            span.set_attributes({"url.path": route or "", "url.query": ""})
