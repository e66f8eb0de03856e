import re
from base64 import b64encode
from hashlib import sha384
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette

from {{ cookiecutter.__package }}.chassis import docs

pages = pytest.mark.parametrize("path", ["/docs", "/redoc"])


def open_client(folder: Path | None) -> httpx.AsyncClient:
    """With the pages as where the package is not installed."""
    routes = docs.build_routes("<title>", str(folder) if folder else None, package="none")
    app = Starlette(routes=routes)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


@pages
async def test_answers_html(client: httpx.AsyncClient, path: str) -> None:
    response = await client.get(path)
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"


@pages
async def test_title_is_a_text(path: str) -> None:
    async with open_client(None) as client:
        assert "<title>&lt;title&gt;</title>" in (await client.get(path)).text


@pages
async def test_policy_allows_no_inline_script(client: httpx.AsyncClient, path: str) -> None:
    response = await client.get(path)
    policy = response.headers["content-security-policy"]
    directives = dict(directive.split(" ", 1) for directive in policy.split("; "))
    assert directives["default-src"] == "'none'"
    assert "'unsafe-inline'" not in directives["script-src"]


@pages
async def test_names_an_icon(client: httpx.AsyncClient, path: str) -> None:
    """Browsers ask for /favicon.ico, which is not there, where a page names none."""
    assert '<link rel="icon" href="data:' in (await client.get(path)).text


@pages
async def test_own_script_is_served(client: httpx.AsyncClient, path: str) -> None:
    (script,) = re.findall(r'src="([^"]+/start\.js)"', (await client.get(path)).text)
    response = await client.get(f"/{script}")
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/javascript; charset=utf-8"


@pages
async def test_foreign_files_are_checked(path: str) -> None:
    """A browser takes a file of another host only with the hash that is known."""
    async with open_client(None) as client:
        response = await client.get(path)
    tags = re.findall(r'<[^>]+"(?:https?:)?//[^>]+>', response.text)
    assert tags
    assert [tag for tag in tags if 'integrity="sha384-' not in tag] == []


@pages
async def test_folder_takes_the_place_of_other_hosts(tmp_path: Path, path: str) -> None:
    async with open_client(tmp_path) as client:
        response = await client.get(path)
        assert "//" not in response.text + response.headers["content-security-policy"]
        names = re.findall(r'"docs/assets/([^"]+)"', response.text)
        assert names
        for name in names:
            (tmp_path / name).write_text(name)
            assert (await client.get(f"/docs/assets/{name}")).text == name


@pages
async def test_package_has_the_files_of_the_cdn(client: httpx.AsyncClient, path: str) -> None:
    """Those of another version are refused: the versions in docs.py and of offapi go together"""
    text = (await client.get(path)).text
    files = re.findall(r'"(docs/assets/[^"]+)"\s+integrity="sha384-([^"]+)"', text)
    assert files
    for file, expected in files:
        content = (await client.get(f"/{file}")).content
        assert b64encode(sha384(content).digest()).decode() == expected


@pages
async def test_urls_are_relative(client: httpx.AsyncClient, path: str) -> None:
    """Below whatever path a proxy serves them"""
    response = await client.get(path)
    script = await client.get(f"{path}/start.js")
    for text in (response.text, script.text):
        assert re.findall(r"""["']/[^"']*["']""", text) == []


async def test_folder_gives_nothing_from_outside(tmp_path: Path) -> None:
    (tmp_path / "secret").touch()
    (tmp_path / "files").mkdir()
    async with open_client(tmp_path / "files") as client:
        for name in ["..%2Fsecret", "%2e%2e/secret", "secret", "%00", "a" * 300, "."]:
            assert (await client.get(f"/docs/assets/{name}")).status_code == 404
