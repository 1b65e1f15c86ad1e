"""The Python code of documents and examples, for tests that run it."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from thingspace_auth_adapters.simulator import ThingspaceSimulator

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

LIBRARIES = (
    "requests_mock",
    "requests",
    "httpx",
    "httpx2",
    "aiohttp",
    "celery",
    "fastapi",
    "verizon",
)
LIBRARIES_OF_STORES = {
    "FileTokenStore": ("filelock", "platformdirs"),
    "RedisTokenStore": ("redis",),
}


def python_blocks(document: Path) -> list[str]:
    """The Python code blocks of a Markdown document, except whole files that it shows."""
    text = document.read_text(encoding="utf-8")
    return re.findall(r"(?<! -->\n)^```python\n(.*?)^```", text, re.S | re.M)


def loaded(path: Path) -> Any:
    """A script as a module of its own."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def docs_script(name: str) -> Any:
    """A script of the documentation, as a module that finds the others."""
    sys.path.insert(0, str(DOCS))
    try:
        sys.modules.pop(name, None)
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(DOCS))


def libraries_of(code: str) -> Iterator[str]:
    for name in LIBRARIES:
        pattern = rf"^(import {name}$|from {name}[ .]|from thingspace_auth_adapters\.{name} )"
        if re.search(pattern, code, re.MULTILINE):
            yield name
    for store, names in LIBRARIES_OF_STORES.items():
        if store in code:
            yield from names


def skip_without_libraries_of(code: str) -> None:
    for name in libraries_of(code):
        if not importlib.util.find_spec(name):
            pytest.skip(f"{name} is not installed")


def executed(code: str) -> dict[str, Any]:
    """The names that the code defines."""
    names: dict[str, Any] = {"__name__": "documented"}
    exec(compile(code, "docs", "exec"), names)
    return names


def at_home_in(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the directories of the user be in this one."""
    for name in ("HOME", "LOCALAPPDATA", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(directory))


@contextmanager
def simulated(monkeypatch: pytest.MonkeyPatch) -> Iterator[ThingspaceSimulator]:
    """A simulator to which the environment leads."""
    with ThingspaceSimulator() as simulator:
        for name, value in environment_of(simulator).items():
            monkeypatch.setenv(name, value)
        yield simulator


def environment_of(simulator: ThingspaceSimulator, **changes: str) -> dict[str, str]:
    """The variables with which ``from_environment()`` finds the simulator."""
    return {
        **os.environ,
        "THINGSPACE_BASE_URL": simulator.url,
        "THINGSPACE_OAUTH_OAUTH_CLIENT_ID": simulator.client_id,
        "THINGSPACE_OAUTH_OAUTH_CLIENT_SECRET": simulator.client_secret,
        "VZ_M2M_USERNAME": simulator.username,
        "VZ_M2M_PASSWORD": simulator.password,
        **changes,
    }
