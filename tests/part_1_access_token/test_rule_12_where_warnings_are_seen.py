"""Part 1, rule 12: log records go to ``thingspace_auth_adapters``; where its warnings are seen."""

from __future__ import annotations

import io
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = str(Path(__file__).parents[2])
SCRIPT = f"""
import sys; sys.path.insert(0, {ROOT!r})
import logging, thingspace_auth_adapters
logger = logging.getLogger("thingspace_auth_adapters")
assert [isinstance(one, logging.NullHandler) for one in logger.handlers] == [True]
root = logging.getLogger()
root_handlers, last_resort = list(root.handlers), logging.lastResort
for set_up in sys.argv[1:]:
    handlers, level = list(logger.handlers), logger.level
    exec(set_up)
    print("after", set_up, file=sys.stderr)
    logger.warning("a warning: %s", 7)
    logger.info("not a warning")
    logger.handlers, root.handlers = handlers, list(root_handlers)
    logger.setLevel(level)
    logging.lastResort = last_resort
"""
OURS = "thingspace_auth_adapters: a warning: 7\n"
SEEN = {
    "pass": OURS,
    "logging.basicConfig()": "WARNING:thingspace_auth_adapters:a warning: 7\n",
    "root.addHandler(logging.NullHandler())": "",
    "logger.addHandler(logging.NullHandler())": "",
    "logger.setLevel(logging.ERROR)": "",
    "logging.lastResort = None": "",
    "import importlib, thingspace_auth_adapters._model.events as e; importlib.reload(e)": OURS,
}


def test_warnings_reach_stderr_unless_logging_is_set_up() -> None:
    command = [sys.executable, "-I", "-c", SCRIPT, *SEEN]
    finished = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert finished.stderr == "".join(f"after {name}\n{seen}" for name, seen in SEEN.items())


class Broken(io.StringIO):
    """A stream that cannot be written to."""

    def write(self, text: str) -> int:
        raise RuntimeError("the window is gone")


def closed() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize("make_stderr", [closed, Broken, lambda: None])
def test_warning_that_cannot_be_shown_fails_nothing(
    monkeypatch: pytest.MonkeyPatch, make_stderr: Any
) -> None:
    monkeypatch.setattr(sys, "stderr", make_stderr())
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    logging.getLogger("thingspace_auth_adapters").warning("a warning")
