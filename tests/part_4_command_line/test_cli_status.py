"""``thingspace-auth status``: what is stored, without asking a server or showing a token."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("click")
pytest.importorskip("rich")
pytest.importorskip("filelock")
pytest.importorskip("platformdirs")

from thingspace_auth_adapters._core.login_count import LoginCount
from thingspace_auth_adapters.cli import moments, status
from thingspace_auth_adapters.simulator import ThingspaceSimulator

from ..support.command_line import ACCOUNT, PASSWORD, PREFIX, SECRET, run, set_up, simulated


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    set_up(monkeypatch, tmp_path / "store")


@pytest.fixture
def simulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[ThingspaceSimulator]:
    with simulated(monkeypatch) as simulator:
        yield simulator


def shown(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """What status says, by label; what is to be done follows after a line break."""
    ran = run(capsys, "status")
    assert (ran.status, ran.err) == (0, "")
    assert SECRET not in ran.out
    assert PASSWORD not in ran.out
    entries: dict[str, str] = {}
    label = ""
    for line in ran.out.splitlines():
        label = line[:14].strip() or label
        entries[label] = "\n".join(filter(None, [entries.get(label), line[14:]]))
    return entries


def as_json(capsys: pytest.CaptureFixture[str]) -> Any:
    ran = run(capsys, "status", "--json")
    assert (ran.status, ran.err) == (0, "")
    return json.loads(ran.out)


def test_nothing_stored_is_no_failure(
    capsys: pytest.CaptureFixture[str], simulator: ThingspaceSimulator, tmp_path: Path
) -> None:
    host = simulator.url.rpartition("/")[2]
    assert shown(capsys) == {
        "key": f"{simulator.client_id} (from {PREFIX}ID in the environment)",
        "secret": f"from {PREFIX}SECRET in the environment",
        "user": f"{simulator.username} (from VZ_M2M_USERNAME in the environment)",
        "password": "from VZ_M2M_PASSWORD in the environment",
        "host": f"{host} (from THINGSPACE_BASE_URL in the environment)",
        "store": f"{tmp_path / 'store'}, which does not exist yet",
        "access token": "none is stored",
        "session": "none is stored",
        "logins": "none has failed",
    }
    assert as_json(capsys)["store_exists"] is False
    assert simulator.requests == []
    assert not (tmp_path / "store").exists()


def test_what_is_stored_is_shown_without_the_tokens(
    capsys: pytest.CaptureFixture[str], simulator: ThingspaceSimulator, tmp_path: Path
) -> None:
    run(capsys, "headers")
    simulator.clear()
    found = shown(capsys)
    assert found["store"] == str(tmp_path / "store")
    assert found["access token"].startswith("expires 2")
    assert "(in 60 min)" in found["access token"]
    assert "ts.mec.fullaccess" in found["access token"]
    assert " ago); if it is not used, it expires 2" in found["session"]
    assert "(in 20 min)" in found["session"]
    for token in (*simulator.issued_tokens, *simulator.issued_sessions):
        assert token not in str(found)
    assert simulator.requests == []


def test_as_json_times_are_unix_timestamps(
    capsys: pytest.CaptureFixture[str], simulator: ThingspaceSimulator, tmp_path: Path
) -> None:
    run(capsys, "headers")
    found = as_json(capsys)
    assert (found["store"], found["base_url"]) == (str(tmp_path / "store"), simulator.url)
    assert found["store_exists"] is True
    now = int(time.time())
    assert found["access_token"]["expires_at"] == pytest.approx(now + 3600, abs=60)
    assert found["session"]["used_at"] == pytest.approx(now, abs=60)
    assert found["session"]["expires_at"] == found["session"]["used_at"] + 1200
    assert found["logins"] == {
        "are_blocked": False,
        "blocked_until": None,
        "refusal": None,
        "failures": 0,
        "failed_at": None,
        "advice": None,
    }
    assert found["settings"]["user"] == {
        "value": simulator.username,
        "variable": "VZ_M2M_USERNAME",
        "from": "environment",
    }
    assert found["settings"]["password"]["value"] is None
    for token in (*simulator.issued_tokens, *simulator.issued_sessions):
        assert token not in str(found)


def test_without_an_account_it_says_so(
    capsys: pytest.CaptureFixture[str],
    simulator: ThingspaceSimulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ACCOUNT:
        monkeypatch.delenv(name, raising=False)
    assert "VZ_M2M_USERNAME" in shown(capsys)["logins"]
    assert as_json(capsys)["logins"] is None


def test_without_a_key_it_still_says_where_platform_and_store_are(
    capsys: pytest.CaptureFixture[str],
    simulator: ThingspaceSimulator,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.delenv(PREFIX + "ID")
    ran = run(capsys, "status")
    assert ran.status == 1
    assert PREFIX + "ID" in ran.complaint
    lines = dict(line.split(maxsplit=1) for line in ran.out.splitlines())
    assert lines["host"].startswith(simulator.url.rpartition("/")[2])
    assert lines["store"] == f"{tmp_path / 'store'}, which does not exist yet"
    assert run(capsys, "status", "--json").out == ""


def test_a_session_token_that_is_given_is_no_affair_of_the_store(
    capsys: pytest.CaptureFixture[str],
    simulator: ThingspaceSimulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ACCOUNT[:2]:
        monkeypatch.delenv(name)
    monkeypatch.setenv(ACCOUNT[2], "given-session")
    assert shown(capsys)["session"] == "none is stored"


@pytest.mark.parametrize(
    "refusal",
    [
        {"errorCode": "REQUEST_FAILED.Login", "errorMessage": "It is on hold."},
        {"errorCode": "REQUEST_FAILED.Login", "errorMessage": "The account is locked."},
    ],
)
def test_after_a_refused_login_it_gives_the_advice_of_every_other_command(
    capsys: pytest.CaptureFixture[str],
    simulator: ThingspaceSimulator,
    tmp_path: Path,
    refusal: dict[str, str],
) -> None:
    simulator.fail("login", 400, body=refusal)
    file = tmp_path / "the fleet.env"
    file.touch(mode=0o600)
    arguments = ("--env-file", str(file))
    refused = run(capsys, "headers", *arguments)
    assert refused.status == 1
    assert ("unlock" in refused.remedy) == ("locked" in refusal["errorMessage"])
    assert refused.remedy.endswith(f"run thingspace-auth clear --env-file '{file}'")
    ran = run(capsys, "status", *arguments)
    told, remedy = (line[14:] for line in ran.out.splitlines()[-2:])
    assert f"thingspace-auth: {told}" == refused.complaint
    assert remedy == refused.remedy
    (checked,) = (
        one
        for one in json.loads(run(capsys, "check", "--yes", "--json", *arguments).out)
        if one["verdict"] == "wrong"
    )
    assert (checked["what"], checked["remedy"]) == (told, remedy)
    logins = json.loads(run(capsys, "status", "--json", *arguments).out)["logins"]
    assert logins["advice"] == {"what": told, "remedy": remedy}
    assert (logins["are_blocked"], logins["blocked_until"]) == (True, None)
    assert logins["refusal"]["error_code"] == "REQUEST_FAILED.Login"
    assert logins["refusal"]["refused_at"] == pytest.approx(time.time(), abs=60)
    run(capsys, "clear")
    assert shown(capsys)["logins"] == "none has failed"
    assert len(simulator.login_requests) == 1


@pytest.mark.parametrize(
    ("times", "told", "is_blocked"),
    [
        (1, r"1 failed, the last one \S+ \S+ UTC \(.*\); another is tried when needed", False),
        (
            2,
            r"2 logins in a row failed, .*; no further login is tried now, until .* \(in \d min\)",
            True,
        ),
        (4, r"4 logins in a row failed, .*; no further login is tried now", True),
    ],
)
def test_failed_logins_are_shown(
    capsys: pytest.CaptureFixture[str],
    simulator: ThingspaceSimulator,
    times: int,
    told: str,
    is_blocked: bool,
) -> None:
    count_entry().write(LoginCount(times, time.time()).to_fields())
    first, *remedy = shown(capsys)["logins"].splitlines()
    assert re.fullmatch(told, first)
    assert bool(remedy) == is_blocked
    assert all("run thingspace-auth clear" in line for line in remedy)
    logins = as_json(capsys)["logins"]
    assert (logins["failures"], logins["are_blocked"]) == (times, is_blocked)
    assert logins["failed_at"] == pytest.approx(time.time(), abs=60)
    assert (logins["blocked_until"] is not None) == (times == 2)


def count_entry() -> Any:
    """The stored count of logins of the account in the environment."""
    from thingspace_auth_adapters.cli.authorizers import authorizer, store_of
    from thingspace_auth_adapters.cli.environment import Environment

    environment = Environment.beside(None)
    auth = authorizer(environment, (), store_of(environment))
    return auth._tokens.session_source.lock


def test_an_access_token_that_does_not_say_when_it_expires(
    capsys: pytest.CaptureFixture[str], simulator: ThingspaceSimulator
) -> None:
    simulator.fail("token", 200, body={"access_token": "t", "token_type": "Bearer"})
    run(capsys, "token")
    assert shown(capsys)["access token"] == "does not say when it expires"
    assert as_json(capsys)["access_token"] == {"expires_at": None, "scope": None}


@pytest.mark.parametrize("lifetime", [10**10, 2147483647])
def test_a_token_of_ages_to_come_is_said_not_to_expire(
    capsys: pytest.CaptureFixture[str], simulator: ThingspaceSimulator, lifetime: int
) -> None:
    simulator.token_lifetime = lifetime
    run(capsys, "token")
    assert shown(capsys)["access token"].startswith("does not expire; scope: ")


def test_what_has_expired_is_called_so(
    capsys: pytest.CaptureFixture[str],
    simulator: ThingspaceSimulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run(capsys, "headers")
    later = SimpleNamespace(
        time=lambda: time.time() + 86400.0 * 3,
        gmtime=time.gmtime,
        strftime=time.strftime,
    )
    for module in (moments, status):
        monkeypatch.setattr(module, "time", later)
    found = shown(capsys)
    assert found["access token"].startswith("expired 2")
    assert "(3 d ago)" in found["access token"]
    assert "; expired 2" in found["session"]
    assert "if it is not used" not in found["session"]


@pytest.mark.skipif(os.name != "posix", reason="others are kept out in another way there")
def test_a_store_that_others_can_read_is_not_read(
    capsys: pytest.CaptureFixture[str], simulator: ThingspaceSimulator, tmp_path: Path
) -> None:
    run(capsys, "token")
    (tmp_path / "store").chmod(0o755)
    ran = run(capsys, "status")
    assert (ran.status, ran.out) == (1, "")
    assert "chmod 700" in ran.complaint
    assert "THINGSPACE_AUTH_STORE" in ran.remedy


def test_a_corrupt_entry_is_warned_of(
    capsys: pytest.CaptureFixture[str], simulator: ThingspaceSimulator, tmp_path: Path
) -> None:
    run(capsys, "token")
    (entry,) = (tmp_path / "store").glob("*.json")
    entry.write_bytes(b"{}")
    ran = run(capsys, "status")
    assert ran.status == 0
    assert ran.err.startswith("thingspace-auth: warning: an entry of FileTokenStore")


def test_without_the_extra_of_the_store_it_names_it(
    capsys: pytest.CaptureFixture[str],
    simulator: ThingspaceSimulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "filelock" else find(name)
    )
    ran = run(capsys, "status")
    assert (ran.status, ran.out) == (1, "")
    assert "[files]" in ran.complaint
