"""Makes ``check.svg``: what ``thingspace-auth check`` says on a terminal of a wrong password."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import DIMMED_MONOKAI
from rich.text import Text

from thingspace_auth_adapters.simulator import ThingspaceSimulator

PICTURE = Path(__file__).with_name("check.svg")
WIDTH = 80
PATIENCE_SECONDS = 60
# As long as what they stand for, so that no line is wrapped in another place.
ALWAYS_THE_SAME = {
    r"127\.0\.0\.1:\d{5}": "127.0.0.1:50505",
    r"\d{4}-\d\d-\d\d ..:..:..": "2026-01-05 09:30:00",
}


def output() -> str:
    """What the command writes, with its colours."""
    with ThingspaceSimulator() as platform, tempfile.TemporaryDirectory() as directory:
        environment = {
            **os.environ,
            "COLUMNS": str(WIDTH),
            "FORCE_COLOR": "1",
            "THINGSPACE_AUTH_STORE": directory,
            "THINGSPACE_BASE_URL": platform.url,
            "THINGSPACE_OAUTH_OAUTH_CLIENT_ID": platform.client_id,
            "THINGSPACE_OAUTH_OAUTH_CLIENT_SECRET": platform.client_secret,
            "VZ_M2M_USERNAME": platform.username,
            "VZ_M2M_PASSWORD": "a wrong one",
        }
        command = [sys.executable, "-m", "thingspace_auth_adapters", "check", "--yes"]
        done = subprocess.run(  # noqa: S603
            command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE_SECONDS,
        )
    text = done.stdout
    for pattern, constant in ALWAYS_THE_SAME.items():
        text = re.sub(pattern, constant, text)
    return text


def picture() -> str:
    """The same as an SVG."""
    out = Console(record=True, width=WIDTH, file=io.StringIO(), markup=False, highlight=False)
    out.print("$ thingspace-auth check")
    out.print(Text.from_ansi(output()))
    return out.export_svg(
        title="thingspace-auth check", theme=DIMMED_MONOKAI, unique_id="thingspace-auth-check"
    )


if __name__ == "__main__":
    PICTURE.write_text(picture(), encoding="utf-8")
