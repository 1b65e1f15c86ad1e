"""Part 1, names: what importing brings, and what it does not; in interpreters of their own."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path

import pytest

import thingspace_auth_adapters

from ..support.imported import LIBRARIES, modules_after, python

PACKAGE = Path(thingspace_auth_adapters.__file__).parent
ADAPTERS = ("requests", "httpx", "httpx2")


@pytest.mark.once
def test_top_level_imports_no_http_library() -> None:
    loaded = modules_after("import thingspace_auth_adapters as t; dir(t)")
    assert loaded.isdisjoint(LIBRARIES)


@pytest.mark.parametrize("name", ADAPTERS)
def test_adapter_imports_no_other_library(name: str) -> None:
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    loaded = modules_after(f"import thingspace_auth_adapters.{name}")
    assert name in loaded
    assert loaded.isdisjoint({"requests", "httpx", "httpx2", "werkzeug"} - {name})


@pytest.mark.once
def test_without_its_library_an_adapter_names_the_extra() -> None:
    """Whichever way it is asked for. The other names are there all the same."""
    code = """
import importlib, sys
for name in ("requests", "httpx", "httpx2"):
    sys.modules[name] = None
    try:
        importlib.import_module(f"thingspace_auth_adapters.{name}")
    except ImportError as error:
        print(error)
import thingspace_auth_adapters
try:
    thingspace_auth_adapters.ThingspaceAuth
except ImportError as error:
    print(error)
from thingspace_auth_adapters import *
print(OauthToken.__name__)
"""
    *errors, name = python(code).splitlines()
    for extra, error in zip((*ADAPTERS, "requests"), errors):
        assert f"thingspace-auth-adapters[{extra}]" in error
    assert (len(errors), name) == (4, "OauthToken")


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
