"""The layers of the package: a module imports its own and those beneath it, and the core no I/O."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import thingspace_auth_adapters

from ..support.imported import LIBRARIES, modules_after

PACKAGE = Path(thingspace_auth_adapters.__file__).parent
SANS_IO = ("_model", "_wire", "_core")


def modules_in(*folders: str) -> list[str]:
    """The modules of the package in these folders."""
    return [
        f"{PACKAGE.name}.{folder}.{path.stem}"
        for folder in folders
        for path in sorted((PACKAGE / folder).glob("*.py"))
        if path.stem != "__init__"
    ]


@pytest.mark.once
def test_core_is_sans_io() -> None:
    modules = [name for name in modules_in(*SANS_IO) if not name.endswith(".workers")]
    assert len(modules) > 15
    loaded = modules_after(f"import {', '.join(modules)}")
    assert loaded.isdisjoint({*LIBRARIES, "socket", "_socket", "ssl", "asyncio", "select"})


LAYERS: list[tuple[str, ...]] = [
    ("errors",),
    ("_model",),
    ("_wire", "stores.token_store"),
    ("stores.__init__", "stores.file", "stores.redis"),
    ("_core",),
    ("_adapters",),
    ("requests", "httpx", "httpx2"),
    ("__init__", "simulator", "pytest_plugin"),
    ("cli", "httpie_plugin", "__main__"),
]


def layer_of(module: str) -> int:
    """The number of the layer to which a module belongs, by its dotted path in the package."""
    for number, names in enumerate(LAYERS):
        if any(f"{module}.".startswith(f"{name}.") for name in names):
            return number
    raise AssertionError(f"{module} is in no layer")


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def imported_by(path: Path) -> Iterator[str]:
    """What of the package a module imports, lazily too: a dotted path for each name."""
    folder = list(path.relative_to(PACKAGE).parent.parts)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            assert not any(one.name.startswith(PACKAGE.name) for one in node.names), path
        elif isinstance(node, ast.ImportFrom) and node.level:
            base = folder[: len(folder) + 1 - node.level]
            base += node.module.split(".") if node.module else []
            for one in node.names:
                yield module_at([*base, one.name])


def module_at(parts: list[str]) -> str:
    """The module that holds a name, or is it."""
    while parts:
        if (PACKAGE.joinpath(*parts).with_suffix(".py")).is_file():
            return ".".join(parts)
        if (PACKAGE.joinpath(*parts, "__init__.py")).is_file():
            return ".".join([*parts, "__init__"])
        parts = parts[:-1]
    return "__init__"


SOURCES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.once
@pytest.mark.parametrize("path", SOURCES, ids=dotted)
def test_imports_only_go_down(path: Path) -> None:
    own = layer_of(dotted(path))
    upward = [name for name in imported_by(path) if layer_of(name) > own]
    # The package's front resolves its lazy names by import_module, and its types here.
    assert upward == []


def test_simulator_shares_no_code_with_the_rest() -> None:
    for path in (PACKAGE / "simulator").rglob("*.py"):
        assert all(name.startswith("simulator.") for name in imported_by(path)), path


def test_store_knows_nothing_of_the_core() -> None:
    for path in (PACKAGE / "stores").rglob("*.py"):
        allowed = ("errors", "stores.", "_model.")
        assert all(name.startswith(allowed) for name in imported_by(path)), path
