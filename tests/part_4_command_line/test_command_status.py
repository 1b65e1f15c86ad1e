"""Part 4: ``thingspace-auth status`` shows what is stored, without asking a server."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import time
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

from ..support.command_line import ACCOUNT, PREFIX, Shell

pytestmark = pytest.mark.usefixtures("account")


def shown(shell: Shell) -> dict[str, str]:
    """What status says, by label; what is to be done follows after a line break."""
    entries: dict[str, str] = {}
    label = ""
    for line in shell.out("status").splitlines():
        label = line[:14].strip() or label
        entries[label] = "\n".join(filter(None, [entries.get(label), line[14:]]))
    return entries


def test_nothing_stored_is_no_failure(shell: Shell, tmp_path: Path) -> None:
    host = shell.simulator.url.rpartition("/")[2]
    assert shown(shell) == {
        "key": f"{shell.simulator.client_id} (from {PREFIX}ID in the environment)",
        "secret": f"from {PREFIX}SECRET in the environment",
        "user": f"{shell.simulator.username} (from VZ_M2M_USERNAME in the environment)",
        "password": "from VZ_M2M_PASSWORD in the environment",
        "host": f"{host} (from THINGSPACE_BASE_URL in the environment)",
        "store": f"{tmp_path / 'store'}, which does not exist yet",
        "access token": "none is stored",
        "session": "none is stored",
        "logins": "none has failed",
    }
    assert shell.json("status")["store_exists"] is False
    assert shell.simulator.requests == []
    assert not (tmp_path / "store").exists()


def test_what_is_stored_is_shown_without_the_tokens(shell: Shell, tmp_path: Path) -> None:
    shell.out("headers")
    shell.simulator.clear()
    found, as_json = shown(shell), shell.json("status")
    assert found["store"] == str(tmp_path / "store")
    assert found["access token"].startswith("expires 2")
    assert "(in 60 min)" in found["access token"]
    assert "ts.mec.fullaccess" in found["access token"]
    assert " ago); if it is not used, it expires 2" in found["session"]
    assert "(in 20 min)" in found["session"]
    now = time.time()
    assert (as_json["store"], as_json["base_url"]) == (str(tmp_path / "store"), shell.simulator.url)
    assert as_json["store_exists"] is True
    assert as_json["access_token"]["expires_at"] == pytest.approx(now + 3600, abs=60)
    assert as_json["session"]["used_at"] == pytest.approx(now, abs=60)
    assert as_json["session"]["expires_at"] == as_json["session"]["used_at"] + 1200
    assert as_json["logins"] == {
        "are_blocked": False,
        "blocked_until": None,
        "refusal": None,
        "failures": 0,
        "failed_at": None,
        "advice": None,
    }
    assert as_json["settings"]["user"] == {
        "value": shell.simulator.username,
        "variable": "VZ_M2M_USERNAME",
        "from": "environment",
    }
    assert as_json["settings"]["password"]["value"] is None
    for token in (*shell.simulator.issued_tokens, *shell.simulator.issued_sessions):
        assert token not in f"{found}{as_json}"
    assert shell.simulator.requests == []


def test_without_an_account_it_says_so(shell: Shell) -> None:
    shell.unset(*ACCOUNT)
    assert "VZ_M2M_USERNAME" in shown(shell)["logins"]
    assert shell.json("status")["logins"] is None
    # A session token that is given is no affair of the store.
    shell.set(ACCOUNT[2], "given-session")
    assert shown(shell)["session"] == "none is stored"


def test_without_a_key_it_still_says_where_platform_and_store_are(
    shell: Shell, tmp_path: Path
) -> None:
    shell.unset(PREFIX + "ID")
    ran = shell.failure("status")
    assert PREFIX + "ID" in ran.complaint
    lines = dict(line.split(maxsplit=1) for line in ran.out.splitlines())
    assert lines["host"].startswith(shell.simulator.url.rpartition("/")[2])
    assert lines["store"] == f"{tmp_path / 'store'}, which does not exist yet"
    assert shell("status", "--json").out == ""


@pytest.mark.parametrize("message", ["It is on hold.", "The account is locked."])
def test_after_a_refused_login_it_gives_the_advice_of_every_other_command(
    shell: Shell, tmp_path: Path, message: str
) -> None:
    body = {"errorCode": "REQUEST_FAILED.Login", "errorMessage": message}
    shell.simulator.fail("login", 400, body=body)
    file = tmp_path / "the fleet.env"
    file.touch(mode=0o600)
    arguments = ("--env-file", str(file))
    refused = shell.failure("headers", *arguments)
    assert ("unlock" in refused.remedy) == ("locked" in message)
    assert refused.remedy.endswith(f"run thingspace-auth clear --env-file '{file}'")
    told, remedy = (line[14:] for line in shell.out("status", *arguments).splitlines()[-2:])
    assert f"thingspace-auth: {told}" == refused.complaint
    assert remedy == refused.remedy
    checked = json.loads(shell("check", "--yes", "--json", *arguments).out)
    (wrong,) = (one for one in checked if one["verdict"] == "wrong")
    assert (wrong["what"], wrong["remedy"]) == (told, remedy)
    logins = shell.json("status", *arguments)["logins"]
    assert logins["advice"] == {"what": told, "remedy": remedy}
    assert (logins["are_blocked"], logins["blocked_until"]) == (True, None)
    assert logins["refusal"]["error_code"] == "REQUEST_FAILED.Login"
    assert logins["refusal"]["refused_at"] == pytest.approx(time.time(), abs=60)
    shell("clear")
    assert shown(shell)["logins"] == "none has failed"
    assert len(shell.simulator.login_requests) == 1


IN_A_ROW = r"\d logins in a row failed, .*; no further login is tried now"


@pytest.mark.parametrize(
    ("times", "told"),
    [
        (1, r"1 failed, the last one \S+ \S+ UTC \(.*\); another is tried when needed"),
        (2, IN_A_ROW + r", until .* \(in \d min\)"),
        (4, IN_A_ROW),
    ],
)
def test_failed_logins_are_shown(shell: Shell, times: int, told: str) -> None:
    count_entry().write(LoginCount(times, time.time()).to_fields())
    is_blocked = times > 1
    first, *remedy = shown(shell)["logins"].splitlines()
    assert re.fullmatch(told, first)
    assert first.startswith(str(times))
    assert bool(remedy) == is_blocked
    assert all("run thingspace-auth clear" in line for line in remedy)
    logins = shell.json("status")["logins"]
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


def test_an_access_token_that_does_not_say_when_it_expires(shell: Shell) -> None:
    shell.simulator.fail("token", 200, body={"access_token": "t", "token_type": "Bearer"})
    shell.out("token")
    assert shown(shell)["access token"] == "does not say when it expires"
    assert shell.json("status")["access_token"] == {"expires_at": None, "scope": None}


@pytest.mark.parametrize("lifetime", [10**10, 2147483647])
def test_a_token_of_ages_to_come_is_said_not_to_expire(shell: Shell, lifetime: int) -> None:
    shell.simulator.token_lifetime = lifetime
    shell.out("token")
    assert shown(shell)["access token"].startswith("does not expire; scope: ")


def test_what_has_expired_is_called_so(shell: Shell) -> None:
    shell.out("headers")
    later = SimpleNamespace(
        time=lambda: time.time() + 86400.0 * 3, gmtime=time.gmtime, strftime=time.strftime
    )
    for module in (moments, status):
        shell.patch.setattr(module, "time", later)
    found = shown(shell)
    assert found["access token"].startswith("expired 2")
    assert "(3 d ago)" in found["access token"]
    assert "; expired 2" in found["session"]
    assert "if it is not used" not in found["session"]


@pytest.mark.skipif(os.name != "posix", reason="others are kept out in another way there")
def test_a_store_that_others_can_read_is_not_read(shell: Shell, tmp_path: Path) -> None:
    shell.out("token")
    (tmp_path / "store").chmod(0o755)
    ran = shell.failure("status")
    assert ran.out == ""
    assert "chmod 700" in ran.complaint
    assert "THINGSPACE_AUTH_STORE" in ran.remedy


def test_a_corrupt_entry_is_warned_of(shell: Shell, tmp_path: Path) -> None:
    shell.out("token")
    (entry,) = (tmp_path / "store").glob("*.json")
    entry.write_bytes(b"{}")
    ran = shell("status")
    assert ran.status == 0
    assert ran.err.startswith("thingspace-auth: warning: an entry of FileTokenStore")


def test_without_the_extra_of_the_store_it_names_it(shell: Shell) -> None:
    find = importlib.util.find_spec
    shell.patch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "filelock" else find(name)
    )
    ran = shell.failure("status")
    assert (ran.out, "[files]" in ran.complaint) == ("", True)
