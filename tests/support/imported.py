"""What a statement imports, in an interpreter of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from thingspace_auth_adapters import pytest_plugin

LIBRARIES = ("requests", "httpx", "httpx2", "urllib3", "httpcore", "anyio", "trio", "werkzeug")


def python(code: str) -> str:
    # coverage would import modules of its own.
    environment = {name: value for name, value in os.environ.items() if "COVERAGE" not in name}
    finished = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=environment,
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def modules_after(statement: str) -> set[str]:
    code = f"import sys, json\n{statement}\nprint(json.dumps(sorted(sys.modules)))"
    return set(json.loads(python(code)))


def options_that_load_the_plugin(config: pytest.Config) -> list[str]:
    """For a pytest within a test; none where the plug-in is installed with its entry point."""
    is_installed = config.pluginmanager.is_registered(pytest_plugin)
    return [] if is_installed else ["-p", pytest_plugin.__name__]
