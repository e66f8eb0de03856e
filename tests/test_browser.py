"""The documentation pages in a real Chromium, which reaches the service and a stand-in for the CDN.

With PICTURES=docs/pictures in the environment the pictures in that folder are made anew.
"""

import json
import os
import re
import shutil
import ssl
import subprocess
import tarfile
import time
from base64 import b64encode
from collections.abc import Iterator
from functools import partial
from hashlib import sha384
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

import httpx
import pytest
from baking import TEMPLATE, install, run
from faults.service import copy
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service as Driver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.expected_conditions import element_to_be_clickable
from selenium.webdriver.support.wait import WebDriverWait
from serving import Service, serve
from test_owner import add_module

pytestmark = pytest.mark.slow

CHROMIUM = "/usr/bin/chromium"
CHROMEDRIVER = "/usr/bin/chromedriver"
# Browsers and pages make exceptions for localhost; users come by another name.
HOST = "service.example"
CDN = "https://cdn.jsdelivr.net/npm/"

DOCS = TEMPLATE / "{{cookiecutter.project}}/{{cookiecutter.__package}}/chassis/docs.py"
VERSIONS = dict(re.findall(r"/npm/([\w-]+)@(\d+\.\d+\.\d+)/", DOCS.read_text()))
SWAGGER_UI = f"swagger-ui-dist@{VERSIONS['swagger-ui-dist']}"
REDOC = f"redoc@{VERSIONS['redoc']}"
FILES = {
    "/docs": [f"{SWAGGER_UI}/swagger-ui.css", f"{SWAGGER_UI}/swagger-ui-bundle.js"],
    "/redoc": [f"{REDOC}/bundles/redoc.standalone.js"],
}
LIST_OPERATIONS = {
    "/docs": """return [...document.querySelectorAll(".opblock-summary")].map(operation =>
        operation.querySelector(".opblock-summary-method").textContent + " " +
        operation.querySelector(".opblock-summary-path").dataset.path)""",
    "/redoc": """return [...document.querySelectorAll(".http-verb")].map(method =>
        method.textContent.toUpperCase() + " " + method.nextSibling.textContent)""",
}

pages = pytest.mark.parametrize("path", FILES)


def require(name: str, path: str | None) -> None:
    """Skips the test where `path` is not there; on CI it fails."""
    if not path or not os.path.exists(path):
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"{name} is not installed")


class Site(NamedTuple):
    """A service: its URL, its operations, and what its pages may take from another host."""

    url: str
    operations: list[str]
    foreign: list[str]


class Visit(NamedTuple):
    """What a page lists, what its console logs as errors, and the URLs that it asks for."""

    listed: list[str]
    errors: list[str]
    requests: list[str]


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of each npm package in `name@version`."""
    require("npm", shutil.which("npm"))
    folder = tmp_path_factory.mktemp("npm")
    for package in [SWAGGER_UI, REDOC]:
        subprocess.run(["npm", "pack", "--silent", package], cwd=folder, check=True, timeout=300)
        (archive,) = folder.glob("*.tgz")
        with tarfile.open(archive) as files:
            files.extractall(folder, filter="data")
        archive.unlink()
        (folder / "package").rename(folder / package)
    return folder


class CdnHandler(SimpleHTTPRequestHandler):
    """Serves what is in its folder under /npm/, to pages of any origin."""

    def translate_path(self, path: str) -> str:
        return super().translate_path(path.removeprefix("/npm"))

    def end_headers(self) -> None:
        self.send_header("Access-Control-Allow-Origin", "*")
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def cdn_port(
    packages: Path, project: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[int]:
    """The port of a server that has the packages at the CDN's paths."""
    folder = tmp_path_factory.mktemp("certificate")
    run(project, "python", "-m", "trustme", "--quiet", "--dir", str(folder))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(CdnHandler, directory=str(packages)))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def browser(cdn_port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    require("Chromium", CHROMIUM)
    require("ChromeDriver", CHROMEDRIVER)
    options = ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--hide-scrollbars",
        "--window-size=1280,1000",
        "--ignore-certificate-errors",
        f"--user-data-dir={tmp_path_factory.mktemp('chromium')}",
        f"--host-resolver-rules=MAP {HOST} 127.0.0.1, MAP cdn.jsdelivr.net:443 127.0.0.1:{cdn_port}"
        ", MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    ]:
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    # With the path of the driver selenium looks for none, which it would do online.
    browser = Chrome(options, Driver(CHROMEDRIVER))
    yield browser
    browser.quit()


@pytest.fixture(scope="module")
def unpackaged(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project without the package that has the files, as in production."""
    copy = tmp_path_factory.mktemp("unpackaged") / project.name
    shutil.copytree(project, copy, ignore=shutil.ignore_patterns(".venv", ".postgres*"))
    install(copy, "--no-install-package", "offapi")
    return copy


@pytest.fixture(scope="module", params=["package", "cdn", "folder"])
def site(
    request: pytest.FixtureRequest,
    project: Path,
    unpackaged: Path,
    packages: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    """The service, with the files of the pages in the package, on the CDN or in a folder.

    With the package it is below a path, as behind a proxy.
    """
    folder, root = "", "/shop" if request.param == "package" else ""
    if request.param == "folder":
        folder = str(tmp_path_factory.mktemp("assets"))
        for file in chain(*FILES.values()):
            shutil.copy(packages / file, folder)
    source = unpackaged if request.param == "cdn" else project
    with serve(source, DOCS_ASSETS=folder, ROOT_PATH=root) as service:
        paths = httpx.get(f"{service.url}/openapi.json").json()["paths"]
        yield Site(
            f"http://{HOST}:{service.port}{root}/",
            sorted(f"{method.upper()} {path}" for path in paths for method in paths[path]),
            [CDN + file for file in chain(*FILES.values())] if source is unpackaged else [],
        )


def read_log(browser: Chrome, name: str) -> list[dict[str, Any]]:
    """The entries since the last call."""
    entries: list[dict[str, Any]] = browser.get_log(name)  # type: ignore[no-untyped-call]
    return entries


def visit(browser: Chrome, site: Site, path: str) -> Visit:
    browser.get("data:,")
    read_log(browser, "browser")
    read_log(browser, "performance")
    browser.get(site.url + path.removeprefix("/"))
    listed: list[str] = []
    deadline = time.monotonic() + 20
    while len(listed) < len(site.operations) and time.monotonic() < deadline:
        time.sleep(0.5)
        listed = browser.execute_script(LIST_OPERATIONS[path])
    time.sleep(1)  # for what a page asks for last
    if folder := os.environ.get("PICTURES"):
        browser.save_screenshot(f"{folder}{path}.png")
    events = [json.loads(entry["message"])["message"] for entry in read_log(browser, "performance")]
    return Visit(
        sorted(listed),
        [entry["message"] for entry in read_log(browser, "browser") if entry["level"] == "SEVERE"],
        [
            event["params"]["request"]["url"]
            for event in events
            if event["method"] == "Network.requestWillBeSent"
        ],
    )


@pytest.fixture(scope="module")
def visits(browser: Chrome, site: Site) -> dict[str, Visit]:
    return {path: visit(browser, site, path) for path in FILES}


@pages
def test_page_lists_every_operation(visits: dict[str, Visit], site: Site, path: str) -> None:
    assert visits[path].listed == site.operations


@pages
def test_page_logs_no_error(visits: dict[str, Visit], path: str) -> None:
    assert visits[path].errors == []


@pages
def test_page_asks_no_other_host(visits: dict[str, Visit], site: Site, path: str) -> None:
    """Not for pictures, fonts or figures either. With a folder the CDN is another host, too."""
    own = (site.url, f"blob:http://{HOST}:", "data:", *site.foreign)
    assert site.url + "openapi.json" in visits[path].requests
    assert [url for url in visits[path].requests if not url.startswith(own)] == []


def find(browser: Chrome, selector: str) -> WebElement:
    """As soon as it can be used."""
    wait = WebDriverWait(browser, 20)
    return wait.until(element_to_be_clickable((By.CSS_SELECTOR, selector)))


def try_out(browser: Chrome, operation: str, item_id: str) -> Any:
    """What the page shows as the answer."""
    find(browser, f"{operation} .try-out__btn").click()
    field = find(browser, f"{operation} tr[data-param-name=item_id] input")
    field.clear()
    field.send_keys(item_id)
    find(browser, f"{operation} .execute").click()
    shown = find(browser, f"{operation} .live-responses-table .response-col_description code")
    find(browser, f"{operation} .try-out__btn").click()
    return json.loads(shown.text)


def test_try_it_out_shows_the_answer(browser: Chrome, site: Site) -> None:
    browser.get(f"{site.url}docs#/home/read_item")
    answer = try_out(browser, "#operations-home-read_item", "7")
    assert answer == {"item_id": 7, "q": None}


@pytest.fixture(scope="module")
def guarded(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """With operations that need a token."""
    owned = copy(project, tmp_path_factory.mktemp("guarded"), {})
    add_module(owned, "features")
    with serve(owned, PYTHONPATH=str(owned)) as service:
        yield service


def test_authorize_sends_the_token(browser: Chrome, guarded: Service) -> None:
    operation = "#operations-features-read_own"
    browser.get(f"http://{HOST}:{guarded.port}/docs#/features/read_own")
    assert try_out(browser, operation, "7")["status"] == 401
    find(browser, ".scheme-container .authorize").click()
    find(browser, "#auth-bearer-value").send_keys("reader")
    find(browser, "#auth-bearer-value").submit()
    find(browser, ".btn-done").click()
    assert try_out(browser, operation, "7") == "reader"


@pytest.fixture(scope="module")
def in_production(unpackaged: Path) -> Iterator[Service]:
    with serve(unpackaged) as service:
        yield service


@pages
def test_page_names_the_cdn_and_nothing_else(in_production: Service, path: str) -> None:
    response = httpx.get(in_production.url + path)
    urls = re.findall(r"https?:[^\"; ]+", response.text)
    assert urls == [CDN + file for file in FILES[path]]
    sources = set(re.findall(r"https?:[^; ]+", response.headers["content-security-policy"]))
    assert len(sources) == 1
    assert [url for url in urls if not url.startswith(*sources)] == []


@pages
def test_hashes_are_those_of_the_published_files(
    service: Service, packages: Path, path: str
) -> None:
    hashes = re.findall(r'integrity="sha384-([^"]+)"', httpx.get(service.url + path).text)
    contents = [(packages / file).read_bytes() for file in FILES[path]]
    assert hashes == [b64encode(sha384(content).digest()).decode() for content in contents]
