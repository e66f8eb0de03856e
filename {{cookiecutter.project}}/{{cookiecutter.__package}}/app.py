"""The table of contents: what is served, what surrounds it, and what lives as long as it."""

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from . import external, home, settings, users
from .chassis import database_errors, docs, edge, errors, forwarded, health, logs, openapi
from .chassis.drain import Drain
from .chassis.limits import Limits
from .chassis.request_id import RequestId
from .chassis.request_log import RequestLog
from .lifespan import lifespan
from .tables import REVISION

logger = logs.configure(__package__, settings.LOG_LEVEL)
drain = Drain()

routes = [
    *home.routes,
    *users.routes,
    *external.routes,
    *health.build_routes(drain, REVISION),
    *openapi.build_routes(__package__),
    *docs.build_routes("{{ cookiecutter.project }}", settings.DOCS_ASSETS),
]
if settings.DEMOS:
    from . import demos

    routes += demos.routes

# The first is the outermost. What is not configured is not installed.
middleware, cors = [], []
limits = settings.REQUEST_TIMEOUT, settings.BACKGROUND_TIMEOUT, settings.BODY_MEMORY
if any(proxy := (settings.FORWARDED_ALLOW_IPS, settings.ROOT_PATH)):
    middleware += [Middleware(forwarded.Forwarded, *proxy)]
if settings.OTEL_EXPORTER_OTLP_ENDPOINT:
    from .chassis.telemetry import Telemetry

    middleware += [Middleware(Telemetry, settings.OTEL_EXPORTER_OTLP_ENDPOINT, __package__)]
if settings.CORS_ORIGINS:
    # Methods and headers, those of answers too.
    cors = [Middleware(CORSMiddleware, settings.CORS_ORIGINS, ["*"], ["*"], expose_headers=["*"])]
middleware += [
    Middleware(RequestId),
    Middleware(RequestLog, logger),
    Middleware(edge.SecurityHeaders),
    Middleware(errors.ErrorResponses, around=cors),
    Middleware(Limits, drain, health.PROBES, *limits, settings.CORS_ORIGINS),
    *cors,  # Inside the limits, which read the body: an early answer would leave it unread.
]
if "*" not in settings.ALLOWED_HOSTS:
    middleware += [Middleware(edge.Hosts, settings.ALLOWED_HOSTS, health.PROBES)]

handlers = errors.handlers | database_errors.handlers
app = Starlette(False, routes, middleware, handlers, lifespan=lifespan)
# A redirect would name the host that the client claims.
app.router.redirect_slashes = False
# A route that its function does not fit ends the start.
openapi.read_operations(app.routes)
