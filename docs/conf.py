"""Sphinx's settings for this site: ``tox -e docs`` builds it.

The pages are plain Markdown, so that they read well on a forge. What only a site needs is added
while they are read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from thingspace_auth_adapters import __version__

ROOT = Path(__file__).parent.parent
ELSEWHERE = {
    "benchmark": "benchmarks/RESULTS.md",
    "changelog": "CHANGELOG.md",
    "security": "SECURITY.md",
}
"""The pages whose text is in another place of the repository."""

OBJECT = re.compile(r"<!-- (py:\w+) (\S+) -->")
"""A name that other projects' documentation can link to."""

project = "thingspace-auth-adapters"
release = version = __version__

extensions = ["myst_parser"]

html_theme = "furo"
html_title = f"{project} {release}"
html_show_copyright = False

myst_heading_anchors = 4


def for_the_site(app: Any, name: str, source: list[str]) -> None:
    """Turn links out of ``docs/`` into links to pages, and add the navigation."""
    text = source[0]
    if name in ELSEWHERE:
        text = (ROOT / ELSEWHERE[name]).read_text(encoding="utf-8").replace("](docs/", "](")
    for page, path in ELSEWHERE.items():
        text = text.replace(f"](../{path}", f"]({page}.md")
    if name == "index":
        text += "".join(navigation(text))
    source[0] = OBJECT.sub(r"```{\1} \2\n:no-typesetting:\n```", text)


def navigation(index: str) -> Iterator[str]:
    """What is beside every page: the pages in the tables of the first one, by its headings."""
    for section in index.split("\n## ")[1:]:
        pages = re.findall(r"^\|.*\]\(([\w-]+)\.md\)", section, re.MULTILINE)
        if pages:
            caption = section.partition("\n")[0]
            yield "\n".join(["", "```{toctree}", ":hidden:", f":caption: {caption}", "", *pages])
            yield "\n```\n"


def setup(app: Any) -> None:
    app.connect("source-read", for_the_site)
