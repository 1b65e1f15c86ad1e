"""What importing brings: each in an interpreter of its own."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import thingspace_auth_adapters

from ..support.imported import LIBRARIES, modules_after, python

PACKAGE = Path(thingspace_auth_adapters.__file__).parent
SANS_IO = ("_model", "_wire", "_core")
ADAPTERS = ("requests", "httpx", "httpx2")


def modules_in(*folders: str) -> list[str]:
    """The modules of the package in these folders."""
    return [
        f"{PACKAGE.name}.{folder}.{path.stem}"
        for folder in folders
        for path in sorted((PACKAGE / folder).glob("*.py"))
        if path.stem != "__init__"
    ]


@pytest.mark.once
def test_top_level_imports_no_http_library() -> None:
    loaded = modules_after("import thingspace_auth_adapters as t; dir(t)")
    assert loaded.isdisjoint(LIBRARIES)


@pytest.mark.once
def test_core_is_sans_io() -> None:
    modules = [name for name in modules_in(*SANS_IO) if not name.endswith(".workers")]
    assert len(modules) > 15
    loaded = modules_after(f"import {', '.join(modules)}")
    assert loaded.isdisjoint({*LIBRARIES, "socket", "_socket", "ssl", "asyncio", "select"})


@pytest.mark.parametrize("name", ADAPTERS)
def test_adapter_imports_no_other_library(name: str) -> None:
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    loaded = modules_after(f"import thingspace_auth_adapters.{name}")
    assert name in loaded
    assert loaded.isdisjoint({"requests", "httpx", "httpx2", "werkzeug"} - {name})


@pytest.mark.once
@pytest.mark.parametrize("name", ADAPTERS)
def test_adapter_without_its_library_names_the_extra(name: str) -> None:
    code = f"""
import sys
sys.modules[{name!r}] = None
try:
    import thingspace_auth_adapters.{name}
except ImportError as error:
    print(error)
"""
    assert f"thingspace-auth-adapters[{name}]" in python(code)


@pytest.mark.parametrize("name", ADAPTERS)
def test_import_error_is_raised_from_the_librarys_own(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, f"thingspace_auth_adapters.{name}", raising=False)
    with pytest.raises(ImportError, match="pip install") as caught:
        importlib.import_module(f"thingspace_auth_adapters.{name}")
    assert isinstance(caught.value.__cause__, ImportError)


@pytest.mark.once
def test_top_level_name_without_requests_names_the_extra() -> None:
    code = """
import sys
sys.modules["requests"] = None
import thingspace_auth_adapters
try:
    thingspace_auth_adapters.ThingspaceAuth
except ImportError as error:
    print(error)
"""
    assert "thingspace-auth-adapters[requests]" in python(code)


@pytest.mark.once
def test_star_import_needs_no_library() -> None:
    code = "import sys; sys.modules['requests'] = None; from thingspace_auth_adapters import *"
    assert python(code + "; print(OauthToken.__name__)").strip() == "OauthToken"


@pytest.mark.once
def test_star_import_brings_no_internals() -> None:
    code = "from thingspace_auth_adapters import *; print(sorted(n for n in dir() if n[0] != '_'))"
    public = set(thingspace_auth_adapters.__all__) - {"__version__"}
    assert python(code).strip() == str(sorted(public))


PUBLIC = {
    "AuthEvent",
    "InsecureStoreError",
    "InsecureTransportError",
    "InvalidTokenResponseError",
    "M2mLoginError",
    "OauthProviderError",
    "OauthScopeThingspaceOauthEnum",
    "OauthToken",
    "ReentrantRequestError",
    "ThingspaceAuth",
    "ThingspaceAuthError",
    "ThingspaceOauthCredentials",
    "VzM2mCredentials",
    "__version__",
    "httpx",
    "httpx2",
    "requests",
    "simulator",
    "stores",
}


def test_tab_offers_the_public_names_and_no_internals() -> None:
    assert dir(thingspace_auth_adapters) == sorted(PUBLIC)


def test_submodule_is_imported_when_it_is_asked_for() -> None:
    stores = thingspace_auth_adapters.__getattr__("stores")
    assert stores.__name__ == "thingspace_auth_adapters.stores"


def test_whatever_tab_offers_can_be_imported_first() -> None:
    needs = {**dict(zip(ADAPTERS, ADAPTERS)), "ThingspaceAuth": "requests"}
    names = [name for name in PUBLIC if importlib.util.find_spec(needs.get(name, "json"))]
    code = f"""
import sys
for name in {names}:
    for module in [module for module in sys.modules if module.startswith({PACKAGE.name!r})]:
        del sys.modules[module]
    exec(f"from {PACKAGE.name} import {{name}}")
"""
    python(code)


def test_other_names_do_not_exist() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Thingspace'"):
        thingspace_auth_adapters.Thingspace  # noqa: B018


def test_package_is_typed() -> None:
    assert (PACKAGE / "py.typed").exists()


# Arrows go down: a module imports its own layer and those beneath it.

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
