"""What importing brings: each in an interpreter of its own."""

from __future__ import annotations

import importlib
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

import thingspace_auth_adapters

LIBRARIES = ("requests", "httpx", "httpx2", "urllib3", "httpcore", "anyio", "trio", "werkzeug")
CORE = [
    "access_tokens",
    "blame",
    "clock",
    "credentials",
    "effects",
    "errors",
    "exchange",
    "flight",
    "grant",
    "hosts",
    "lifecycle",
    "login",
    "m2m",
    "manager",
    "session_tokens",
    "strikes",
    "tokens",
]


def python(code: str) -> str:
    finished = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def modules_after(statement: str) -> set[str]:
    code = f"import sys, json\n{statement}\nprint(json.dumps(sorted(sys.modules)))"
    return set(json.loads(python(code)))


def test_top_level_imports_no_http_library() -> None:
    loaded = modules_after("import thingspace_auth_adapters as t; dir(t)")
    assert loaded.isdisjoint(LIBRARIES)


def test_core_is_sans_io() -> None:
    names = ", ".join(f"thingspace_auth_adapters.{name}" for name in CORE)
    loaded = modules_after(f"import {names}")
    assert loaded.isdisjoint({*LIBRARIES, "socket", "_socket", "ssl", "asyncio", "select"})


@pytest.mark.parametrize("name", ["requests", "httpx", "httpx2"])
def test_adapter_imports_no_other_library(name: str) -> None:
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    loaded = modules_after(f"import thingspace_auth_adapters.{name}")
    assert name in loaded
    assert loaded.isdisjoint({"requests", "httpx", "httpx2", "werkzeug"} - {name})


@pytest.mark.parametrize("name", ["requests", "httpx", "httpx2"])
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


@pytest.mark.parametrize("name", ["requests", "httpx", "httpx2"])
def test_import_error_is_raised_from_the_librarys_own(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, f"thingspace_auth_adapters.{name}", raising=False)
    with pytest.raises(ImportError, match="pip install") as caught:
        importlib.import_module(f"thingspace_auth_adapters.{name}")
    assert isinstance(caught.value.__cause__, ImportError)


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


@pytest.mark.parametrize("name", ["requests", "httpx", "httpx2"])
def test_adapter_imports_nothing_of_sessions_before_they_are_used(name: str) -> None:
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    loaded = modules_after(f"import thingspace_auth_adapters.{name}")
    modules = {
        f"thingspace_auth_adapters.{module}" for module in ("login", "m2m", "session_tokens")
    }
    assert loaded.isdisjoint(modules)


def test_star_import_needs_no_library() -> None:
    code = "import sys; sys.modules['requests'] = None; from thingspace_auth_adapters import *"
    assert python(code + "; print(OauthToken.__name__)").strip() == "OauthToken"


def test_other_names_do_not_exist() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Thingspace'"):
        thingspace_auth_adapters.Thingspace  # noqa: B018
    assert "ThingspaceAuth" in dir(thingspace_auth_adapters)
    assert set(thingspace_auth_adapters.__all__) <= set(dir(thingspace_auth_adapters))


def test_package_is_typed() -> None:
    package = Path(thingspace_auth_adapters.__file__).parent
    assert (package / "py.typed").exists()
