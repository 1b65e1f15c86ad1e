"""Without the extra ``[cli]``: the command names it, and nothing else needs it."""

from __future__ import annotations

import sys

import pytest

from thingspace_auth_adapters import cli
from thingspace_auth_adapters.__main__ import main


def forget_modules(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Have these be imported anew."""
    for name in list(sys.modules):
        if any(f"{name}.".startswith(f"{one}.") for one in names):
            monkeypatch.delitem(sys.modules, name)


@pytest.mark.parametrize("library", ["click", "dotenv", "rich"])
def test_without_its_libraries_the_command_names_the_extra_in_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    names = ("runner", "commands", "terminal", "demo", "environment", "env_file")
    modules = [f"{cli.__name__}.{name}" for name in names]
    forget_modules(monkeypatch, library, *modules)
    monkeypatch.setitem(sys.modules, library, None)
    assert main(["--version"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "thingspace-auth: the command line needs click, python-dotenv and rich:"
        " pip install 'thingspace-auth-adapters[cli]'"
    ]


def test_another_import_that_fails_is_not_blamed_on_the_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, f"{cli.__name__}.runner", None)
    with pytest.raises(ImportError, match="runner"):
        main(["--version"])


def test_an_interrupt_while_the_libraries_are_loaded_has_status_130(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupting:
        def find_spec(self, name: str, path: object, target: object = None) -> None:
            if name == f"{cli.__name__}.runner":
                raise KeyboardInterrupt

    forget_modules(monkeypatch, f"{cli.__name__}.runner")
    monkeypatch.setattr(sys, "meta_path", [Interrupting(), *sys.meta_path])
    assert main(["--version"]) == 130
    assert capsys.readouterr() == ("", "")
