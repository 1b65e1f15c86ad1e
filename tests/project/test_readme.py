"""The README: its code does what it says, and its commands are the ones that CI runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from thingspace_auth_adapters.simulator import ThingspaceSimulator

from ..support.snippets import (
    ROOT,
    at_home_in,
    executed,
    python_blocks,
    skip_without_libraries_of,
)

README = ROOT / "README.md"
BLOCKS = python_blocks(README)
TEXT = README.read_text(encoding="utf-8")
BEFORE_AND_AFTER = [block for block in BLOCKS if "def show_device" in block]


@pytest.fixture(autouse=True)
def home_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at_home_in(tmp_path, monkeypatch)


def test_it_is_short() -> None:
    assert len(TEXT.splitlines()) <= 150


def test_it_opens_with_the_two_commands_and_ci_runs_the_second() -> None:
    commands = re.findall(r"```console\n(.*?)\n```", TEXT)
    assert len(commands) == 2
    assert commands[0].endswith("thingspace-auth demo")
    assert commands[1] in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize(("number", "requests"), [(0, 3), (1, 1)], ids=["before", "after"])
def test_before_and_after_do_the_same(
    capsys: pytest.CaptureFixture[str], number: int, requests: int
) -> None:
    block = BEFORE_AND_AFTER[number]
    skip_without_libraries_of(block)
    with ThingspaceSimulator(
        "key", "secret", username="user", password="password", sessions_required=True
    ) as simulator:
        code = block.replace("https://thingspace.verizon.com", simulator.url)
        names = executed(code.replace("m2m=", f"base_url={simulator.url!r}, m2m="))
        for iccid in "123":
            names["show_device"](iccid)
        assert capsys.readouterr().out == "200\n200\n200\n"
        assert len(simulator.token_requests) == len(simulator.login_requests) == requests


def test_the_test_in_it_passes(simulator: ThingspaceSimulator) -> None:
    (block,) = (block for block in BLOCKS if "def test_" in block)
    skip_without_libraries_of(block)
    names = executed(block)
    names["test_a_revoked_token_is_replaced"](simulator)
    assert len(simulator.token_requests) == 2


def test_its_links_lead_somewhere() -> None:
    targets = re.findall(r"\]\(([^)#]+)", TEXT)
    assert len(targets) > 10
    for target in targets:
        assert target.startswith("https://") or (ROOT / target).exists(), target
