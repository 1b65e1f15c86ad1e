"""SVG for the pictures of these pages: they can be read in light and in dark, and by ear."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape

_LETTER = 7.2
_STYLE = """\
text { font: 14px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600 }
.big { font-size: 17px }
.soft { fill: #59636e }
.good { fill: #1a7f37 }
.bad { fill: #cf222e }
.paper { fill: #ffffff }
.line { fill: none; stroke: #59636e; stroke-width: 1.3px }
.tip { fill: #59636e }
.dashed { stroke-dasharray: 4 4 }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc }
  .soft { fill: #9198a1 }
  .good { fill: #3fb950 }
  .bad { fill: #f85149 }
  .paper { fill: #0d1117 }
  .line { stroke: #9198a1 }
  .tip { fill: #9198a1 }
}"""
_TIP = (
    '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8"'
    ' orient="auto"><path class="tip" d="M0,0L8,4L0,8Z"/></marker></defs>'
)


def picture(description: str, width: float, height: float, parts: Iterable[str]) -> str:
    """A whole SVG file.

    Args:
        description: for those who cannot see it.
        width: in units of which a letter takes some seven.
        height: the same.
        parts: what is on it, as the functions below make it.
    """
    size = f'width="{width:g}" height="{height:g}"'
    lines = (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 0 {width:g} {height:g}"'
        f' role="img" aria-label="{escape(description)}">',
        f"<style>\n{_STYLE}\n</style>",
        _TIP,
        f'<rect class="paper" {size}/>',
        *parts,
        "</svg>\n",
    )
    return "\n".join(lines)


def text(x: float, y: float, content: str, kind: str = "", anchor: str = "middle") -> str:
    """A line of text, whose base line is at ``y``."""
    attributes = f'x="{x:g}" y="{y:g}" text-anchor="{anchor}"'
    style = f' class="{kind}"' if kind else ""
    return f"<text {attributes}{style}>{escape(content, quote=False)}</text>"


def label(x: float, y: float, content: str, kind: str = "") -> Iterator[str]:
    """A line of text on paper of its own, so that lines behind it do not disturb."""
    width = _LETTER * len(content)
    place = f'x="{x - width / 2:g}" y="{y - 12:g}" width="{width:g}" height="15"'
    yield f'<rect class="paper" {place}/>'
    yield text(x, y, content, kind)


def box(x: float, y: float, width: float, height: float) -> str:
    """An empty box with round corners, with its middle at ``x`` and ``y``."""
    place = f'x="{x - width / 2:g}" y="{y - height / 2:g}" width="{width:g}" height="{height:g}"'
    return f'<rect class="line" {place} rx="6"/>'


def bar(x: float, y: float, width: float, height: float, kind: str) -> str:
    """A filled bar, with its upper left corner at ``x`` and ``y``."""
    place = f'x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}"'
    return f'<rect class="{kind}" {place} rx="3"/>'


def path(drawn: str, kind: str = "", is_arrow: bool = False) -> str:
    """A line, by SVG's own commands."""
    tip = ' marker-end="url(#tip)"' if is_arrow else ""
    style = f"line {kind}" if kind else "line"
    return f'<path class="{style}" d="{drawn}"{tip}/>'
