"""Pages that show the OpenAPI schema: Swagger UI at /docs, ReDoc at /redoc.

Their scripts and styles come from a public CDN, or from the folder `DOCS_ASSETS`. Either way a
browser refuses a file whose hash is not the one that is written here.
For development the package offapi is such a folder, where it is installed.
"""

from functools import partial
from html import escape
from importlib.util import find_spec
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.staticfiles import StaticFiles

# ReDoc 3 tells its maker's host of each visit.
SWAGGER_UI = "https://cdn.jsdelivr.net/npm/swagger-ui-dist@5.33.1/"
REDOC = "https://cdn.jsdelivr.net/npm/redoc@2.5.3/bundles/"
PACKAGE = "offapi"  # It has the same files, by other names.
PACKAGED = {
    "swagger-ui.css": "swagger_style.css",
    "swagger-ui-bundle.js": "swagger_bundle.js",
    "redoc.standalone.js": "redoc.js",
}

TITLE = "{title}"
HEAD = f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{TITLE}</title>
<link rel="icon" href="data:,">
"""
SWAGGER_UI_HTML = f"""{HEAD}<link rel="stylesheet" href="{SWAGGER_UI}swagger-ui.css"
integrity="sha384-Ov4/wv3j2bmct8cDc5X4ngJZohVPzEmc6uDPH8WeljUxO5vtoykvMEfbu9Vh6RaW"
crossorigin="anonymous">
<body style="margin: 0">
<div id="page"></div>
<script src="{SWAGGER_UI}swagger-ui-bundle.js"
integrity="sha384-ZPehFMQommnnuaZ4rpxgkgTT2DKFVp4hZC/7pLit+9Lek9T1YGSo23eHFbvNkXkw"
crossorigin="anonymous"></script>
<script src="docs/start.js"></script>
"""
REDOC_HTML = f"""{HEAD}<body style="margin: 0">
<div id="page"></div>
<script src="{REDOC}redoc.standalone.js"
integrity="sha384-xiEssMQFSpSfLbzRZCGfxxIM5QDb2DTrU6vyoZdp2sV1L6pmOMy6MpTtUoLbpC96"
crossorigin="anonymous"></script>
<script src="redoc/start.js"></script>
"""

SWAGGER_UI_START = """SwaggerUIBundle({url: "openapi.json", dom_id: "#page", deepLinking: true});
"""
# ReDoc takes a picture from its maker's host and has no option against it: it gets none.
REDOC_START = """const { createElement } = document;
document.createElement = (name, ...options) =>
  createElement.call(document, name === "img" ? "span" : name, ...options);
Redoc.init("openapi.json", {}, document.getElementById("page"));
"""


async def read_page(request: Request[Any], html: str, cdn: str, folder: str | None) -> Response:
    sources = "'self'" if folder else f"'self' {cdn}"
    policy = (
        f"default-src 'none'; script-src {sources}; style-src {sources} 'unsafe-inline'; "
        "connect-src 'self'; img-src data:; worker-src blob:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    html = html.replace(cdn, "docs/assets/") if folder else html
    headers = {"Content-Security-Policy": policy, "Referrer-Policy": "no-referrer"}
    return HTMLResponse(html, headers=headers)


async def read_script(request: Request[Any], script: str) -> Response:
    return Response(script, media_type="text/javascript")


async def read_asset(request: Request[Any], files: StaticFiles, names: dict[str, str]) -> Response:
    name = request.path_params["name"]
    return await files.get_response(names.get(name, name), request.scope)


def build_routes(title: str, folder: str | None, package: str = PACKAGE) -> list[Route]:
    """Both pages; their scripts come from the `folder`, the `package`, or a CDN."""
    names = {}
    if not folder and (found := find_spec(package)) and found.submodule_search_locations:
        [folder], names = found.submodule_search_locations, PACKAGED
    title = escape(title)
    swagger_ui, redoc = (page.replace(TITLE, title) for page in (SWAGGER_UI_HTML, REDOC_HTML))
    endpoints = {
        "/docs": partial(read_page, html=swagger_ui, cdn=SWAGGER_UI, folder=folder),
        "/docs/start.js": partial(read_script, script=SWAGGER_UI_START),
        "/redoc": partial(read_page, html=redoc, cdn=REDOC, folder=folder),
        "/redoc/start.js": partial(read_script, script=REDOC_START),
    }
    if folder:
        asset = partial(read_asset, files=StaticFiles(directory=folder), names=names)
        endpoints["/docs/assets/{name}"] = asset
    return [Route(path, endpoint, include_in_schema=False) for path, endpoint in endpoints.items()]
