"""Makes ``demo.svg`` beside it: a screen of ``thingspace-auth demo``, and the summary."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import DIMMED_MONOKAI

from thingspace_auth_adapters.cli.clients import installed
from thingspace_auth_adapters.cli.demo import show_library, show_summary
from thingspace_auth_adapters.simulator import ThingspaceSimulator

LIBRARY = "httpx"
PICTURE = Path(__file__).with_name("demo.svg")


def picture(library: str) -> str:
    """What the demo shows of a library, as an SVG."""
    out = Console(
        record=True, width=80, file=io.StringIO(), markup=False, emoji=False, highlight=False
    )
    clients = [client for client in installed() if client.library == library]
    out.print("$ thingspace-auth demo")
    show_summary([show_library(clients, ThingspaceSimulator, out)], out)
    return out.export_svg(
        title="thingspace-auth demo", theme=DIMMED_MONOKAI, unique_id="thingspace-auth-demo"
    )


if __name__ == "__main__":
    PICTURE.write_text(picture(LIBRARY), encoding="utf-8")
