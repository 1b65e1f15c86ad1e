"""Part 4: ``thingspace-auth check`` tells each thing that can be wrong apart, with what to do."""

from __future__ import annotations

import io
import socket
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Union

import pytest

pytest.importorskip("click")
pytest.importorskip("rich")
pytest.importorskip("filelock")
pytest.importorskip("platformdirs")

from thingspace_auth_adapters import VzM2mCredentials
from thingspace_auth_adapters._adapters.obstacle import Obstacle
from thingspace_auth_adapters._core import login_guard
from thingspace_auth_adapters._wire.messages import LOGIN_PATH, HttpAnswer, HttpRequest, Refused
from thingspace_auth_adapters.cli import check as check_module
from thingspace_auth_adapters.cli import clients
from thingspace_auth_adapters.simulator import ThingspaceSimulator

from ..support.command_line import PASSWORD, PREFIX, SECRET, Check, Shell
from ..support.steps import answered

LIBRARIES = {client.library: client for client in clients.CLIENTS if client.is_installed}
KEY_IS_WRONG = "the key or the secret is wrong"
GRANTED = {"access_token": "t", "token_type": "Bearer"}


@pytest.fixture(params=LIBRARIES.values(), ids=lambda client: client.library, autouse=True)
def client(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> clients.Client:
    """Each library that is installed, as if it were the only one."""
    found: clients.Client = request.param
    monkeypatch.setattr(clients, "CLIENTS", (found,))
    return found


def test_good_credentials_are_found_good_step_by_step(
    check: Check, client: clients.Client, account: None
) -> None:
    checked = check("--yes")
    settings = ["key", "secret", "user", "password", "host", "settings"]
    steps = [*settings, "route", "clock", "token", "scope", "session"]
    assert [(line.verdict, line.step) for line in checked.lines] == [("ok", step) for step in steps]
    assert (checked.status, checked.err) == (0, "")
    assert client.library in checked.line("settings").what
    assert len(check.simulator.token_requests) == len(check.simulator.login_requests) == 1


# Settings.


@pytest.mark.parametrize(("missing", "told"), [("ID", ["secret"]), ("SECRET", ["key"])])
def test_a_missing_setting_is_named_beside_those_that_there_are(
    check: Check, missing: str, told: list[str]
) -> None:
    check.shell.unset(PREFIX + missing)
    checked = check()
    assert [line.step for line in checked.lines] == [*told, "host", "settings"]
    assert PREFIX + missing in checked.wrong.what
    assert check.simulator.requests == []


def test_a_bad_setting_is_named(check: Check) -> None:
    check.shell.set("THINGSPACE_BASE_URL", "http://thingspace.verizon.com")
    wrong = check().wrong
    assert (wrong.step, "https" in wrong.what) == ("settings", True)


@pytest.mark.parametrize("line", [None, "no assignment"])
def test_a_bad_env_file_is_told_as_json_too(check: Check, tmp_path: Path, line: str | None) -> None:
    file = tmp_path / "thingspace.env"
    if line is not None:
        file.write_text(line)
        file.chmod(0o600)
    (finding,) = check.json("--env-file", str(file))
    assert (finding["verdict"], finding["step"]) == ("wrong", "settings")
    assert str(file) in finding["what"]


def test_it_says_which_settings_are_used_and_where_each_comes_from(
    check: Check, shell: Shell, simulator: ThingspaceSimulator, account: None, tmp_path: Path
) -> None:
    file = tmp_path / "fleet.env"
    file.write_text(f"VZ_M2M_USERNAME={simulator.username}\nVZ_M2M_TOKEN_VZ_M2M_TOKEN=hush-hush\n")
    file.chmod(0o600)
    shell.set("VZ_M2M_USERNAME", "another")
    shell.unset(PREFIX + "SECRET")
    shell.type("no", secret=lambda prompt: SECRET)
    host = simulator.url.rpartition("/")[2]
    assert [line[1:3] for line in check("--env-file", str(file)).lines[:6]] == [
        ("key", f"{simulator.client_id} (from {PREFIX}ID in the environment)"),
        ("secret", "from the prompt"),
        ("user", f"{simulator.username} (from VZ_M2M_USERNAME in {file})"),
        ("password", "from VZ_M2M_PASSWORD in the environment"),
        ("session token", f"from VZ_M2M_TOKEN_VZ_M2M_TOKEN in {file}"),
        ("host", f"{host} (from THINGSPACE_BASE_URL in the environment)"),
    ]
    shell.type("no")
    found = {one["step"]: one for one in check.json("--env-file", str(file))}
    assert [(found[step]["value"], found[step]["from"]) for step in ("key", "secret", "user")] == [
        (simulator.client_id, "environment"),
        (None, "prompt"),
        (simulator.username, "file"),
    ]
    assert found["user"]["variable"] == "VZ_M2M_USERNAME"
    assert "value" not in found["route"]
    assert "hush" not in str(found)


@pytest.mark.parametrize(
    ("base_url", "shown"),
    [
        ("", "thingspace.verizon.com (the standard one)"),
        (f"https://user:{PASSWORD}@thingspace.verizon.com:8443/?key={SECRET}", "verizon.com:8443"),
        ("no URL", "from THINGSPACE_BASE_URL in the environment"),
    ],
)
def test_of_a_base_url_the_host_is_told_and_nothing_else(
    check: Check, base_url: str, shown: str
) -> None:
    check.shell.set("THINGSPACE_BASE_URL", base_url)
    # So that no request is sent.
    check.shell.unset(PREFIX + "SECRET")
    assert shown in check().line("host").what


# The token.


def test_a_wrong_secret(check: Check) -> None:
    check.shell.set(PREFIX + "SECRET", "wrong")
    wrong = check().wrong
    assert wrong.step == "token"
    assert KEY_IS_WRONG in wrong.remedy


EXPIRED = {**GRANTED, "expires_in": 0}
NO_RESOURCE = {"fault": {"code": "900906", "message": "No matching resource"}}


@pytest.mark.parametrize(
    ("status", "body", "step", "what", "remedy"),
    [
        (400, {"error": "invalid_client"}, "token", "", KEY_IS_WRONG),
        (404, NO_RESOURCE, "token", "No matching resource", "THINGSPACE_BASE_URL"),
        (429, None, "token", "", "try again"),
        (503, None, "token", "", "try again"),
        (200, EXPIRED, "token", "", "try again"),
        ("drop", None, "token", "lost", ""),
        (302, None, "proxy", "", "instead of ThingSpace"),
        (200, "<html>Log in</html>", "proxy", "", "instead of ThingSpace"),
        (403, "<html>", "proxy", "", "instead of ThingSpace"),
        (407, {}, "proxy", "the proxy wants a user name and a password", "HTTPS_PROXY"),
    ],
)
def test_what_came_instead_of_a_token_is_told_after_one_request(
    check: Check, status: Any, body: object, step: str, what: str, remedy: str
) -> None:
    check.simulator.fail("token", status, body=body)
    wrong = check().wrong
    assert wrong.step == step
    assert what in wrong.what
    assert remedy in wrong.remedy
    assert len(check.simulator.token_requests) == 1


def test_scopes_that_are_refused_passed_over_or_not_told(check: Check) -> None:
    refused = check("--scope", "no-such-scope").wrong
    assert (refused.step, "--scope" in refused.remedy) == ("scope", True)
    check.simulator.fail("token", 200, body={**GRANTED, "scope": " read"})
    wrong = check("--scope", "read", "--scope", "write").wrong
    assert (wrong.step, wrong.what) == ("scope", "granted without write")
    check.simulator.fail("token", 200, body=GRANTED, times=2)
    # Then it is the one that was asked for.
    assert check("--scope", "read").line("scope").what == "read"
    checked = check()
    assert (checked.status, checked.line("scope").verdict) == (0, "ok")


@pytest.mark.parametrize(("seconds", "told"), [(-3600, "behind"), (90, "ahead of")])
def test_a_clock_that_is_far_off(check: Check, seconds: float, told: str) -> None:
    clock = SimpleNamespace(time=lambda: time.time() + seconds, monotonic=time.monotonic)
    check.shell.patch.setattr(check_module, "time", clock)
    checked = check()
    assert (checked.wrong.step, told in checked.wrong.what) == ("clock", True)
    assert checked.line("token").verdict == "ok"


@pytest.mark.parametrize("headers", [{}, {"date": "yesterday"}])
def test_a_server_that_tells_no_time_is_no_judge_of_the_clock(
    client: clients.Client, headers: dict[str, str]
) -> None:
    reply = answered(401, {"error": "invalid_client"}, headers)
    assert [finding.step for finding in findings_after(client, reply)] == ["route", "token"]


@pytest.mark.parametrize(
    ("lifetime", "told"),
    [
        (None, "without saying when it expires"),
        (9e9, "does not expire"),
        (2147483647, "does not expire"),
        (86400, "lives 86400 s more"),
    ],
)
def test_the_life_of_a_token_is_told(
    client: clients.Client, lifetime: float | None, told: str
) -> None:
    found = findings_after(client, answered(200, {**GRANTED, "expires_in": lifetime}))
    (finding,) = (one for one in found if one.step == "token")
    assert told in finding.what


Reply = Union[HttpAnswer, Refused]


def findings_after(
    client: clients.Client, *replies: Reply, m2m: Any = None
) -> list[check_module.Finding]:
    """What is found if the library gets these replies, one for each request."""
    left = list(replies)

    def send(request: HttpRequest, timeout: float, ends_at: float) -> Reply:
        assert time.monotonic() < ends_at
        return left.pop(0)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        base_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        auth = client.auth(
            oauth_client_id="k", oauth_client_secret=SECRET, base_url=base_url, m2m=m2m
        )
        auth._transport.send = send
        found = list(check_module.findings(auth, lambda username: None))
    assert left == []
    return found


# The session.


def test_without_an_account_and_with_a_session_token_alone_no_login_is_tried(check: Check) -> None:
    checked = check("--yes")
    assert (checked.status, checked.line("session").verdict) == (0, "skipped")
    assert "VZ_M2M_USERNAME" in checked.line("session").what
    check.shell.set("VZ_M2M_TOKEN_VZ_M2M_TOKEN", "given-session")
    checked = check("--yes")
    assert (checked.status, checked.line("session").verdict) == (0, "skipped")
    assert check.simulator.login_requests == []


def test_a_login_is_not_tried_where_nobody_can_be_asked(check: Check, account: None) -> None:
    check.shell.patch.setattr(sys, "stdin", io.StringIO("yes\n"))
    checked = check()
    session = checked.line("session")
    assert (checked.status, session.verdict) == (0, "skipped")
    assert "--yes" in session.remedy
    assert check.simulator.login_requests == []


@pytest.mark.parametrize(
    ("answers", "logins"), [(["y"], 1), (["YES"], 1), (["n"], 0), ([""], 0), ([], 0)]
)
def test_a_login_is_tried_only_after_a_plain_yes(
    check: Check, account: None, answers: list[str], logins: int
) -> None:
    check.shell.type(*answers)
    checked = check()
    assert checked.status == 0
    assert check.simulator.username in checked.err
    assert "lock" in checked.err
    assert len(check.simulator.login_requests) == logins


def test_it_counts_its_login_in_the_store_and_uses_no_tokens_of_it(
    check: Check, account: None
) -> None:
    assert [check("--yes").status for _ in range(2)] == [0, 0]
    assert len(check.simulator.token_requests) == len(check.simulator.login_requests) == 2
    check.shell.set("VZ_M2M_PASSWORD", "wrong")
    for _ in range(5):
        login_guard.forget_all()
        wrong = check("--yes").wrong
        assert wrong.step == "session"
    assert check.simulator.failed_logins == 1
    assert "thingspace-auth clear" in wrong.remedy


@pytest.mark.parametrize("message", ["No.", "The account is locked."])
def test_an_account_that_the_store_bars_is_told_without_asking_for_another_login(
    check: Check, shell: Shell, simulator: ThingspaceSimulator, account: None, message: str
) -> None:
    simulator.fail("login", 400, body={"errorCode": "REQUEST_FAILED", "errorMessage": message})
    refused = check("--yes").wrong
    login_guard.forget_all()
    assert check().wrong == refused
    typist = shell.type("yes")
    login_guard.forget_all()
    assert check().wrong == refused
    assert "thingspace-auth clear" in refused.remedy
    assert typist.read() == "yes\n"
    assert len(simulator.login_requests) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such permissions")
def test_a_store_in_which_no_login_can_be_counted(
    check: Check, account: None, tmp_path: Path
) -> None:
    (tmp_path / "store").mkdir(mode=0o755)
    wrong = check("--yes").wrong
    assert (wrong.step, "chmod 700" in wrong.what) == ("session", True)
    (tmp_path / "store").rmdir()
    (tmp_path / "store").touch()
    assert check("--yes").wrong.step == "session"
    assert check.simulator.login_requests == []


def uws(code: str, message: str = "No.") -> dict[str, str]:
    return {"errorCode": f"UnifiedWebService.REQUEST_FAILED.{code}", "errorMessage": message}


WRONG_PAIR = "the user name or the password is wrong"
INVALID_BEARER = {"fault": {"code": "900901", "message": "Invalid"}}


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (400, uws("InvalidCredentials"), [WRONG_PAIR, "thingspace-auth clear"]),
        (400, uws("AccountLocked"), ["unlock"]),
        (400, uws("Login", "Your account has been Locked."), ["unlock"]),
        (404, "<html>", ["instead of ThingSpace"]),
        (200, "<html>", ["may have counted"]),
        (429, None, ["no failed login"]),
        (500, None, ["may have counted"]),
        (401, INVALID_BEARER, ["Connectivity Management"]),
    ],
)
def test_what_came_instead_of_a_session_is_told_after_one_login(
    check: Check, account: None, status: int, body: object, told: list[str]
) -> None:
    check.simulator.fail("login", status, body=body)
    wrong = check("--yes").wrong
    assert wrong.step == "session"
    assert [words for words in told if words not in wrong.remedy] == []
    assert len(check.simulator.login_requests) == 1


@pytest.mark.parametrize(
    ("obstacle", "was_sent", "told"),
    [
        (Obstacle.LOST, True, "may have counted"),
        (Obstacle.CONNECT_TIMEOUT, True, "may have counted"),
        (Obstacle.ROUTE, False, "THINGSPACE_BASE_URL"),
    ],
)
def test_a_login_without_an_answer(
    client: clients.Client, obstacle: Obstacle, was_sent: bool, told: str
) -> None:
    error: Any = OSError("gone")
    error.obstacle = obstacle
    error.request = SimpleNamespace(url=f"https://thingspace.verizon.com{LOGIN_PATH}")
    lost = Refused(error, is_transient=True, had_no_effect=not was_sent)
    account = VzM2mCredentials("user", PASSWORD)
    *_, finding = findings_after(client, answered(200, GRANTED), lost, m2m=account)
    assert (finding.step, told in finding.remedy) == ("session", True)
