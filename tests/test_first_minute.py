"""The first minute of a user, and its picture in the README.

With PICTURES=docs/pictures in the environment the picture is made anew.
"""

import os
import pty
import re
import shlex
import signal
import socket
import subprocess
import time
from html import unescape
from pathlib import Path

import pytest
from baking import TEMPLATE, environment
from rich.console import Console
from rich.text import Text
from serving import free_port

PICTURE = "first-minute.svg"
WIDTH = 100
ANSWERS = ["orders-api", "Takes orders", "Ada"]
SERVE = "uv run -q hypercorn --config file:hypercorn.conf.py orders_api.app:app 2> log &"
CALL = r"""
curl --http2-prior-knowledge -w '\nHTTP/%{http_version} %{http_code}\n' \
    http://127.0.0.1:8000/users --json '{"name": "Ada", "email": "ada@example.com"}'
""".strip()

# Rich's own has fonts from elsewhere.
FORMAT = """\
<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font: {char_height}px/{line_height}px ui-monospace, monospace }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/>
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def bake_by_hand(folder: Path) -> str:
    """Bakes on a terminal; what that shows."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        ["uvx", "--quiet", "cookiecutter", str(TEMPLATE)],
        cwd=folder,
        env=environment(
            COOKIECUTTER_CONFIG=str(folder / "config.yaml"),
            TERM="xterm-256color",
            COLUMNS=str(WIDTH),
        ),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    answers = iter(ANSWERS)
    try:
        while part := os.read(ours, 4096):
            shown += part
            if shown.endswith(b": "):
                os.write(ours, next(answers).encode() + b"\n")
    except OSError:  # The end, on Linux.
        pass
    os.close(ours)
    assert process.wait(60) == 0, shown
    return shown.decode().replace("\r\n", "\n")


def serve_and_call(project: Path) -> str:
    """What the service answers."""
    port = free_port()
    process = subprocess.Popen(
        shlex.split(SERVE.partition(" 2>")[0]),
        cwd=project,
        env=environment(PORT=str(port)),
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            with socket.socket() as client:
                if client.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        command = CALL.replace("8000", str(port)).replace("curl", "curl --silent")
        return subprocess.check_output(["bash", "-c", command], text=True, timeout=30)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def draw(transcript: str) -> str:
    with open(os.devnull, "w") as nowhere:
        console = Console(record=True, width=WIDTH, file=nowhere, force_terminal=True)
        console.print(Text.from_ansi(transcript))
        svg = console.export_svg(title="", code_format=FORMAT, unique_id="minute")
    return re.sub(r"[ \t]+$", "", svg, flags=re.M)


def read_text(svg: str) -> str:
    """What the picture says, without spaces, numbers and ids."""
    text = unescape("".join(re.findall(r"<text[^>]*>(.*?)</text>", svg, re.S)))
    return re.sub(r"\s|[0-9a-f]{32}|[0-9]", "", text)


@pytest.mark.slow
def test_picture_shows_what_happens(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(f'{{"replay_dir": "{tmp_path}"}}')
    project = tmp_path / ANSWERS[0]
    svg = draw(
        f"$ uvx cookiecutter gh:org/template\n{bake_by_hand(tmp_path)}\n"
        f"$ cd {project.name}\n$ {SERVE}\n$ {CALL}\n{serve_and_call(project)}"
    )
    if folder := os.environ.get("PICTURES"):
        (Path(folder) / PICTURE).write_text(svg)
    assert read_text(svg) == read_text((TEMPLATE / "docs/pictures" / PICTURE).read_text())
