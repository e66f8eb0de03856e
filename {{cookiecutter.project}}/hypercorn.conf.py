"""Hypercorn's configuration, by `hypercorn --config file:hypercorn.conf.py` and `python -m`.

A setting of gunicorn that is not here by name has its counterpart, or the reason why it has none,
in a comment. https://hypercorn.readthedocs.io/en/latest/how_to_guides/configuring.html
"""

from importlib.util import find_spec

from {{ cookiecutter.__package }} import settings
from {{ cookiecutter.__package }}.chassis import (
    embedded,
    limits,
    logs,
    start,
)

# HTTP/1.1 and HTTP/2 in clear text; with a certificate, both over TLS, as agreed by ALPN.
bind = [settings.HOST if settings.HOST.startswith("unix:") else f"{settings.HOST}:{settings.PORT}"]
backlog = 2048
keep_alive_timeout = 5
certfile = settings.TLS_CERTFILE
keyfile = settings.TLS_KEYFILE
# HTTP/3, which the answers over TCP announce in Alt-Svc. Workers would take each other's datagrams
# from their one socket.
quic_bind = [settings.QUIC_BIND] if settings.QUIC_BIND else []
if quic_bind and not (certfile and find_spec("aioquic") and settings.WEB_CONCURRENCY == 1):
    raise SystemExit(
        "QUIC_BIND needs TLS_CERTFILE, the extra h3 and WEB_CONCURRENCY=1; see .env.example"
    )

# One process serves by itself, so that a failed start is a failed command; more are workers of
# Hypercorn's. gunicorn's rule, twice the cores and one, is for workers that block: an event loop
# keeps one core busy.
workers = settings.WEB_CONCURRENCY if settings.WEB_CONCURRENCY > 1 else 0
worker_class = "uvloop" if find_spec("uvloop") else "asyncio"
# worker_connections: Hypercorn has no such limit.
# max_requests, max_requests_jitter: a worker that ends itself drops requests; nothing here leaks.
# The same for one connection: past this number HTTP/2 streams in flight would be lost.
keep_alive_max_requests = 2**31
# Of WebSockets: a message as long as a body may be, and pings that keep them through proxies.
websocket_max_message_size = limits.MAX_BODY_SIZE
websocket_ping_interval = 20  # seconds
include_server_header = False  # Of use to attackers alone; 5 µs a request.

# The service logs its requests itself; what the server has to say goes the same way.
accesslog = None
errorlog = logs.configure("{{ cookiecutter.__package }}", settings.LOG_LEVEL)
loglevel = settings.LOG_LEVEL
start.tell_failed_starts(bind + quic_bind)
if settings.source.in_file:
    errorlog.info("Settings come from %s", settings.source.path.absolute())

# proc_name: Hypercorn does not rename its processes.
# daemon, pidfile, user, group, umask: the service manager or the container runtime sees to these.
# tmp_upload_dir: no request is written to disk.

if workers and not settings.DATABASE_URL:
    # Once its first worker has ended, Hypercorn ends the others without their shutdown: it is this
    # process that stops the embedded server.
    embedded.hold_until_exit(settings.PROJECT)
