"""A run as a picture: bars in groups, in SVG that follows the reader's light or dark scheme."""

from collections.abc import Mapping
from html import escape
from typing import Any

from .subjects import HTTP1, LIST, POST, ROOT, SERVICE, USER

STYLE = """text { font: 12px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600 }
.own { fill: #0969da }
.peer { fill: #afb8c1 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .own { fill: #4493f8 }
  .peer { fill: #57606a }
}"""
WIDTH, LEFT, RIGHT, LINE = 760, 250, 70, 18  # pixels
Bar = tuple[str, float]


def draw(report: Mapping[str, Any]) -> str:
    """CPU time of each request, and the time of those that sleep."""
    groups = {
        f"{request}: µs of CPU time over HTTP/1.1": [
            (name(row), row["CPU µs"])
            for row in report["requests"]
            if row["request"] == request and row["protocol"] == HTTP1
        ]
        for request in (USER, LIST, POST, ROOT)
    }
    for at in ("100", "all"):
        rows = [
            row for row in report["sleeps"] if row["at a time"] == at and row["protocol"] == HTTP1
        ]
        title = f"{report['machine']['sleeping requests']} sleeps of 0.1 s, {at} at a time: seconds"
        groups[title] = [
            ("async: floor", rows[0]["floor s"]),
            ("sync: floor of 40 threads", rows[0]["floor of 40 threads s"]),
            *((f"async: {name(row)}", row["async s"]) for row in rows),
            *((f"sync: {name(row)}", row["sync s"]) for row in rows),
        ]
    return svg(groups)


def name(row: Mapping[str, Any]) -> str:
    return f"{row['application']} on {row['server']}"


def svg(groups: Mapping[str, list[Bar]]) -> str:
    """Each group has a scale of its own, and its shortest bar on top."""
    parts = []
    y = 0
    for title, bars in groups.items():
        y += LINE + 6
        parts.append(f'<text class="title" x="0" y="{y}">{escape(title)}</text>')
        most = max(value for _, value in bars)
        for label, value in sorted(bars, key=lambda bar: bar[1]):
            y += LINE
            length = (WIDTH - LEFT - RIGHT) * value / most
            kind = "own" if SERVICE in label else "peer"
            number = f"{value:.2f}" if value < 10 else f"{value:,.0f}"
            parts += [
                f'<text x="{LEFT - 8}" y="{y}" text-anchor="end">{escape(label)}</text>',
                f'<rect class="{kind}" x="{LEFT}" y="{y - 11}" width="{length:.1f}" height="13"/>',
                f'<text x="{LEFT + length + 6:.1f}" y="{y}">{number}</text>',
            ]
        y += 8
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" role="img"'
        ' aria-label="The benchmark\'s figures as bars; results.md has them as tables">'
    )
    return "\n".join([head, f"<style>{STYLE}</style>", *parts, "</svg>"]) + "\n"
