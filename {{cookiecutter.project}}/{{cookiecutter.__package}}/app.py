"""The table of contents: what is served, what surrounds it, and what lives as long as it."""

from starlette.applications import Starlette
from starlette.middleware import Middleware

from . import docs, edge, errors, external, health, home, logs, openapi, users
from .lifespan import lifespan
from .limits import Limits
from .settings import OTEL_EXPORTER_OTLP_ENDPOINT

routes = [
    *home.routes,
    *users.routes,
    *external.routes,
    *health.routes,
    *openapi.routes,
    *docs.routes,
    # One line of its own, to be deleted with demos.py and tests/test_demos.py.
    *__import__("demos", globals(), level=1, fromlist=["routes"]).routes,
]

middleware = [Middleware(logs.RequestLog), Middleware(Limits), *edge.inner]
if OTEL_EXPORTER_OTLP_ENDPOINT:
    from .telemetry import Telemetry

    middleware.insert(0, Middleware(Telemetry))

logs.configure()
app = Starlette(
    routes=routes,
    middleware=[*edge.outer, *middleware],
    exception_handlers=errors.handlers,
    lifespan=lifespan,
)
# A redirect would name the host that the client claims.
app.router.redirect_slashes = False
