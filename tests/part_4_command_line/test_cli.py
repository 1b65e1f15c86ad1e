"""The command line: what each command prints, and what becomes of bad input."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("click")
pytest.importorskip("rich")

from thingspace_auth_adapters import VzM2mCredentials, __version__
from thingspace_auth_adapters.__main__ import main
from thingspace_auth_adapters._core import login_guard
from thingspace_auth_adapters.cli import clients
from thingspace_auth_adapters.simulator import ThingspaceSimulator

from ..support.command_line import (
    ACCOUNT,
    PASSWORD,
    PREFIX,
    SECRET,
    Terminal,
    add_account,
    exported,
    point_to,
    run,
    set_up,
    without_note,
)
from ..support.kinds import INSTALLED, Kind

CLIENTS = [client for client in clients.CLIENTS if client.is_installed]
LIBRARIES = {client.library: client for client in CLIENTS}.values()

needs_store = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("filelock", "platformdirs")),
    reason="the store is an extra",
)


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    set_up(monkeypatch, tmp_path / "store")


@pytest.fixture
def simulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[ThingspaceSimulator]:
    """A simulated ThingSpace, and the key and the secret for it in the environment."""
    with ThingspaceSimulator(client_secret=SECRET, password=PASSWORD) as simulated:
        point_to(simulated, monkeypatch)
        yield simulated


@pytest.fixture
def account(simulator: ThingspaceSimulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The M2M account's user name and password in the environment."""
    add_account(simulator, monkeypatch)


@contextmanager
def serving(*arguments: str) -> Iterator[dict[str, str]]:
    """A simulated ThingSpace in a process of its own, and the environment that points to it."""
    command = [sys.executable, "-m", "thingspace_auth_adapters", "simulate", *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(5)]
        try:
            yield exported("".join(lines))
        finally:
            process.terminate()


@pytest.fixture
def server_process() -> Iterator[dict[str, str]]:
    with serving() as environment:
        yield environment


@pytest.fixture
def server_process_with_sessions() -> Iterator[dict[str, str]]:
    with serving("--sessions-required") as environment:
        yield environment


def auth_for(server_process: dict[str, str], kind: Kind) -> Any:
    return kind.auth(
        oauth_client_id=server_process[PREFIX + "ID"],
        oauth_client_secret=server_process[PREFIX + "SECRET"],
        base_url=server_process["THINGSPACE_BASE_URL"],
    )


def test_every_client_kind_against_a_server_process(server_process: dict[str, str]) -> None:
    url = server_process["THINGSPACE_BASE_URL"] + "/api/m2m/v1/devices"
    for kind in INSTALLED:
        auth, other = auth_for(server_process, kind), auth_for(server_process, kind)
        assert kind.get(auth, url).status == 200
        assert kind.get(other, url).status == 200
        assert auth.oauth_token.access_token == other.oauth_token.access_token
        kind.revoke_token(other)
        assert kind.get(auth, url).history == [401]
        assert kind.get(auth, url).history == []


def test_every_client_kind_against_a_server_process_that_requires_sessions(
    server_process_with_sessions: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = server_process_with_sessions["THINGSPACE_BASE_URL"] + "/api/m2m/v1/devices"
    for name in ACCOUNT[:2]:
        monkeypatch.setenv(name, server_process_with_sessions[name])
    for kind in INSTALLED:
        auth, other = (auth_for(server_process_with_sessions, kind) for _ in range(2))
        assert kind.get(auth, url).status == 400
        auth.m2m = VzM2mCredentials.from_environment()
        assert kind.get(auth, url).status == 200
        other.m2m = kind.get(auth, url).sent["vz-m2m-token"]
        kind.end_session(other)
        seen = kind.get(auth, url)
        assert (seen.status, seen.history) == (200, [400])


@pytest.mark.filterwarnings("ignore:.*found in sys.modules.*:RuntimeWarning")
def test_module_runs_as_a_command() -> None:
    command = [sys.executable, "-m", "thingspace_auth_adapters", "--version"]
    finished = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert finished.stdout.strip() == __version__


def output_of(
    capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0
) -> tuple[str, str]:
    """What a command wrote to stdout and to stderr; no secret, in any case."""
    ran = run(capsys, *arguments)
    assert ran.status == status
    assert status == 0 or ran.complaint
    return ran.out, ran.err


@needs_store
def test_token_prints_the_token_alone_and_costs_one_token_request_for_all_calls(
    capsys: pytest.CaptureFixture[str], simulator: ThingspaceSimulator
) -> None:
    for _ in range(3):
        out, err = output_of(capsys, "token")
        assert (out, err) == (simulator.issued_tokens[0] + "\n", "")
    assert len(simulator.token_requests) == 1
    assert simulator.login_requests == []


def test_token_without_the_store_asks_each_time_and_leaves_nothing_behind(
    capsys: pytest.CaptureFixture[str], simulator: ThingspaceSimulator, tmp_path: Path
) -> None:
    for _ in range(2):
        out, err = output_of(capsys, "token", "--no-store")
        assert (out, err) == (simulator.issued_tokens[0] + "\n", "")
    assert len(simulator.token_requests) == 2
    assert list(tmp_path.iterdir()) == []


def test_token_goes_on_without_the_extra_and_names_it_in_one_line(
    capsys: pytest.CaptureFixture[str],
    simulator: ThingspaceSimulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def demand_extra(path: str | None) -> None:
        raise ImportError("FileTokenStore needs filelock: pip install '…[files]'")

    monkeypatch.setattr("thingspace_auth_adapters.stores.FileTokenStore", demand_extra)
    out, err = output_of(capsys, "token")
    assert out == simulator.issued_tokens[0] + "\n"
    line = err.splitlines()[0]
    assert "[files]" in line


def test_headers_without_the_extra_of_the_store_log_in_only_if_asked_to(
    capsys: pytest.CaptureFixture[str],
    simulator: ThingspaceSimulator,
    account: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("thingspace_auth_adapters.cli.commands.store_if_wanted", lambda *_: None)
    ran = run(capsys, "headers")
    assert (ran.status, ran.out) == (1, "")
    assert "each call would log in" in ran.complaint
    assert "pip install 'thingspace-auth-adapters[files]'" in ran.remedy
    assert simulator.requests == []
    assert run(capsys, "headers", "--no-store").status == 0


@needs_store
def test_headers_without_a_store_that_can_be_reached_send_no_login(
    capsys: pytest.CaptureFixture[str],
    simulator: ThingspaceSimulator,
    account: None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("THINGSPACE_AUTH_STORE", str(tmp_path / "file" / "store"))
    ran = run(capsys, "headers")
    assert (ran.status, ran.out) == (1, "")
    assert "cannot be reached" in ran.complaint
    assert simulator.requests == []


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_headers_are_those_that_a_request_needs(
    capsys: pytest.CaptureFixture[str],
    simulator: ThingspaceSimulator,
    account: None,
    monkeypatch: pytest.MonkeyPatch,
    client: clients.Client,
) -> None:
    monkeypatch.setattr(clients, "CLIENTS", (client,))
    out, err = output_of(capsys, "headers", "--no-store")
    (token,), (session,) = simulator.issued_tokens, simulator.issued_sessions
    assert out.splitlines() == [f"Authorization: Bearer {token}", f"VZ-M2M-Token: {session}"]
    assert err == ""


@needs_store
def test_headers_cost_one_login_for_all_calls(
    capsys: pytest.CaptureFixture[str], simulator: ThingspaceSimulator, account: None
) -> None:
    assert output_of(capsys, "headers") == output_of(capsys, "headers")
    assert len(simulator.token_requests) == len(simulator.login_requests) == 1


def test_headers_without_an_account_are_the_bearer_alone(
    capsys: pytest.CaptureFixture[str], simulator: ThingspaceSimulator
) -> None:
    out, _ = output_of(capsys, "headers", "--no-store")
    assert out == f"Authorization: Bearer {simulator.issued_tokens[0]}\n"


def test_headers_carry_a_session_token_that_is_given(
    capsys: pytest.CaptureFixture[str],
    simulator: ThingspaceSimulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("VZ_M2M_TOKEN_VZ_M2M_TOKEN", "given-session")
    out, _ = output_of(capsys, "headers", "--no-store")
    assert out.splitlines()[1] == "VZ-M2M-Token: given-session"
    assert simulator.login_requests == []


def test_half_an_account_is_an_error_that_names_the_other_half(
    capsys: pytest.CaptureFixture[str],
    simulator: ThingspaceSimulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("VZ_M2M_USERNAME", simulator.username)
    _, err = output_of(capsys, "headers", "--no-store", status=1)
    line = err.splitlines()[0]
    assert "VZ_M2M_PASSWORD" in line


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (PREFIX + "ID", "two\nlines"),
        (PREFIX + "ID", "two:words"),
        (PREFIX + "SECRET", "two\nlines"),
        ("THINGSPACE_BASE_URL", "http://thingspace.verizon.com/two"),
        ("THINGSPACE_BASE_URL", "two"),
        ("THINGSPACE_OAUTH_OAUTH_CLOCK_SKEW", "two"),
        ("THINGSPACE_OAUTH_OAUTH_CLOCK_SKEW", "-2"),
        ("THINGSPACE_OAUTH_OAUTH_CLOCK_SKEW", "nan"),
        ("VZ_M2M_TOKEN_VZ_M2M_TOKEN", "two words"),
        ("VZ_M2M_USERNAME", "two\nlines"),
        ("VZ_M2M_PASSWORD", "two\nlines"),
        ("VZ_M2M_PASSWORD", "no UTF-8: \udcff"),
    ],
)
def test_what_cannot_be_sent_is_named_by_its_variable_and_not_shown(
    capsys: pytest.CaptureFixture[str],
    simulator: ThingspaceSimulator,
    account: None,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    value: str,
) -> None:
    monkeypatch.setattr(os, "environ", {**os.environ, name: value})
    ran = run(capsys, "headers", "--no-store")
    assert ran.status == 1
    assert ran.complaint.startswith(f"thingspace-auth: {name} ")
    told_to_python = ("strip()", "oauth_c", "base_url", "ThingspaceAuth")
    assert not any(word in ran.err for word in ("two", "UTF-8:", *told_to_python))
    assert simulator.requests == []
    assert ran.remedy.startswith("correct the variable")


def test_scopes_are_asked_for(
    capsys: pytest.CaptureFixture[str], simulator: ThingspaceSimulator
) -> None:
    output_of(capsys, "token", "--no-store", "--scope", "read", "--scope", "write")
    assert b"scope=read+write" in simulator.token_requests[0].body


@needs_store
def test_revoke_revokes_what_is_current_and_forgets_it_in_the_store(
    capsys: pytest.CaptureFixture[str], simulator: ThingspaceSimulator, account: None
) -> None:
    first, _ = output_of(capsys, "headers")
    out, err = output_of(capsys, "revoke")
    assert ("revoked" in out, err) == (True, "")
    assert len(simulator.requests_to("/oauth2/revoke")) == 1
    second, _ = output_of(capsys, "headers")
    assert first.splitlines()[0] != second.splitlines()[0]
    assert first.splitlines()[1:] == second.splitlines()[1:]
    assert (len(simulator.issued_tokens), len(simulator.login_requests)) == (2, 1)


@needs_store
def test_revoke_without_the_store_leaves_the_store_alone(
    capsys: pytest.CaptureFixture[str], simulator: ThingspaceSimulator, tmp_path: Path
) -> None:
    output_of(capsys, "token")
    kept = entries_of(tmp_path)
    output_of(capsys, "revoke", "--no-store")
    assert kept
    assert kept == entries_of(tmp_path)
    assert len(simulator.requests_to("/oauth2/revoke")) == 1


@needs_store
def test_revoke_without_the_store_says_how_the_next_command_gets_another_token(
    capsys: pytest.CaptureFixture[str], simulator: ThingspaceSimulator
) -> None:
    assert "--fresh" in output_of(capsys, "revoke", "--no-store")[0]
    assert "--fresh" not in output_of(capsys, "revoke")[0]


@needs_store
@pytest.mark.parametrize("command", ["token", "headers"])
def test_fresh_gets_another_token_than_the_rejected_one_that_is_kept(
    capsys: pytest.CaptureFixture[str], simulator: ThingspaceSimulator, command: str
) -> None:
    first, _ = output_of(capsys, command)
    simulator.revoke()
    assert output_of(capsys, command)[0] == first
    second, err = output_of(capsys, command, "--fresh")
    rejected, other = simulator.issued_tokens
    assert (second, err) == (first.replace(rejected, other), "")
    assert output_of(capsys, command)[0] == second


@needs_store
def test_fresh_opens_another_session_than_the_ended_one_that_is_kept(
    capsys: pytest.CaptureFixture[str], simulator: ThingspaceSimulator, account: None
) -> None:
    output_of(capsys, "headers")
    simulator.end_sessions()
    fresh, _ = output_of(capsys, "headers", "--fresh")
    assert fresh.splitlines()[1] == f"VZ-M2M-Token: {simulator.issued_sessions[1]}"
    assert output_of(capsys, "headers")[0] == fresh
    assert len(simulator.login_requests) == 2


@needs_store
def test_fresh_does_not_allow_a_login_after_a_refused_one(
    capsys: pytest.CaptureFixture[str], simulator: ThingspaceSimulator, account: None
) -> None:
    simulator.fail("login", 400, body={"errorCode": "REQUEST_FAILED.Login", "errorMessage": "No"})
    output_of(capsys, "headers", status=1)
    login_guard.forget_all()
    output_of(capsys, "headers", "--fresh", status=1)
    assert len(simulator.login_requests) == 1


def test_fresh_without_a_store_gets_what_there_is(
    capsys: pytest.CaptureFixture[str],
    simulator: ThingspaceSimulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("VZ_M2M_TOKEN_VZ_M2M_TOKEN", "given-session")
    out, err = output_of(capsys, "headers", "--fresh", "--no-store")
    assert out.splitlines()[1] == "VZ-M2M-Token: given-session"
    assert err == ""


@needs_store
@pytest.mark.skipif(os.name != "posix", reason="a path through a file is missing elsewhere")
def test_fresh_goes_on_without_a_store_that_cannot_be_reached(
    capsys: pytest.CaptureFixture[str],
    simulator: ThingspaceSimulator,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("THINGSPACE_AUTH_STORE", str(tmp_path / "file" / "store"))
    out, err = output_of(capsys, "token", "--fresh")
    assert out == simulator.issued_tokens[0] + "\n"
    assert "warning: " in err


@needs_store
def test_revoke_that_fails_forgets_nothing(
    capsys: pytest.CaptureFixture[str], simulator: ThingspaceSimulator
) -> None:
    before, _ = output_of(capsys, "token")
    simulator.fail("revoke", 400)
    output_of(capsys, "revoke", status=1)
    simulator.clear()
    assert output_of(capsys, "token")[0] == before
    assert simulator.token_requests == []


def entries_of(directory: Path) -> dict[Path, bytes]:
    """What a store's files hold, its locks aside."""
    return {path: path.read_bytes() for path in (directory / "store").glob("*.json")}


@needs_store
def test_clear_forgets_token_and_session(
    capsys: pytest.CaptureFixture[str],
    simulator: ThingspaceSimulator,
    account: None,
    tmp_path: Path,
) -> None:
    output_of(capsys, "headers")
    simulator.clear()
    out, err = output_of(capsys, "clear")
    assert (str(tmp_path / "store") in out, err) == (True, "")
    assert "failed logins" in out
    assert entries_of(tmp_path) == {}
    assert simulator.requests == []
    output_of(capsys, "headers")
    assert len(simulator.token_requests) == len(simulator.login_requests) == 1


def test_clear_leaves_no_token_in_a_file_of_a_writer_that_was_killed(
    capsys: pytest.CaptureFixture[str],
    simulator: ThingspaceSimulator,
    account: None,
    tmp_path: Path,
) -> None:
    output_of(capsys, "headers")
    left = tmp_path / "store" / f"{'0' * 32}.new"
    left.write_text("a token")
    left.chmod(0o600)
    output_of(capsys, "clear")
    assert not left.exists()


@needs_store
def test_clear_without_an_account_says_that_the_session_stays(
    capsys: pytest.CaptureFixture[str],
    simulator: ThingspaceSimulator,
    account: None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    output_of(capsys, "headers")
    before = entries_of(tmp_path)
    for name in ACCOUNT:
        monkeypatch.delenv(name, raising=False)
    out, _ = output_of(capsys, "clear")
    assert "VZ_M2M_USERNAME" in out
    assert len(entries_of(tmp_path)) == len(before) - 1


@needs_store
@pytest.mark.parametrize("with_account", [False, True])
def test_clear_of_a_store_that_is_empty_or_not_there(
    capsys: pytest.CaptureFixture[str],
    simulator: ThingspaceSimulator,
    request: pytest.FixtureRequest,
    with_account: bool,
) -> None:
    if with_account:
        request.getfixturevalue("account")
    for _ in range(2):
        _, err = output_of(capsys, "clear")
        assert err == ""
    assert simulator.requests == []


@needs_store
def test_clear_allows_another_login_after_a_refused_one(
    capsys: pytest.CaptureFixture[str],
    simulator: ThingspaceSimulator,
    account: None,
) -> None:
    refusal = {"errorCode": "REQUEST_FAILED.Login", "errorMessage": "The account is on hold."}
    simulator.fail("login", 400, body=refusal)
    for _ in range(3):
        # A shell starts a new process each time: only the store knows of the refusal.
        login_guard.forget_all()
        _, err = output_of(capsys, "headers", status=1)
        assert "on hold" in err
    assert len(simulator.login_requests) == 1
    assert err.endswith("run thingspace-auth clear\n")
    output_of(capsys, "clear")
    output_of(capsys, "headers")
    assert len(simulator.login_requests) == 2


@needs_store
def test_a_refused_login_is_told_in_one_line_and_how_a_shell_goes_on_in_another(
    capsys: pytest.CaptureFixture[str],
    simulator: ThingspaceSimulator,
    account: None,
    tmp_path: Path,
) -> None:
    file = tmp_path / "the fleet.env"
    file.write_text("VZ_M2M_PASSWORD=wrong\n", encoding="utf-8")
    file.chmod(0o600)
    for _ in range(2):
        ran = run(capsys, "headers", "--env-file", str(file))
        assert ran.status == 1
        assert re.fullmatch(
            r"thingspace-auth: the login was refused at 2[-0-9]+ [:0-9]+ UTC \(status \d+\):"
            r" [^.]*\.[^.]*\.[^;]*; no further login is tried now",
            ran.complaint,
        )
        assert ran.remedy.endswith(f"run thingspace-auth clear --env-file '{file}'")
    assert len(simulator.login_requests) == 1


def test_a_refused_login_that_no_store_remembers_needs_no_clearing(
    capsys: pytest.CaptureFixture[str],
    simulator: ThingspaceSimulator,
    account: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("VZ_M2M_PASSWORD", "wrong")
    ran = run(capsys, "headers", "--no-store")
    assert ran.status == 1
    assert "the login was refused" in ran.complaint
    assert "tried again" not in ran.err
    assert "lock the account" in ran.remedy
    assert "clear" not in ran.remedy


def test_clear_without_the_extra_names_it(
    capsys: pytest.CaptureFixture[str],
    simulator: ThingspaceSimulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def demand_extra(path: str | None) -> None:
        raise ImportError("FileTokenStore needs filelock: pip install '…[files]'")

    monkeypatch.setattr("thingspace_auth_adapters.stores.FileTokenStore", demand_extra)
    out, err = output_of(capsys, "clear", status=1)
    line = err.splitlines()[0]
    assert (out, "[files]" in line) == ("", True)


@pytest.mark.parametrize("command", ["token", "headers", "revoke"])
def test_a_wrong_secret_is_an_error_in_one_line_that_does_not_show_it(
    capsys: pytest.CaptureFixture[str],
    simulator: ThingspaceSimulator,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
) -> None:
    with ThingspaceSimulator(client_secret="another") as other:
        monkeypatch.setenv("THINGSPACE_BASE_URL", other.url)
        out, err = output_of(capsys, command, "--no-store", status=1)
    line = err.splitlines()[0]
    assert out == ""
    assert "invalid_client" in line


@pytest.mark.parametrize("scope", ["", " "])
def test_an_empty_scope_is_not_taken_for_all_of_them(
    capsys: pytest.CaptureFixture[str], simulator: ThingspaceSimulator, scope: str
) -> None:
    _, err = output_of(capsys, "token", "--no-store", "--scope", scope, status=2)
    assert "--scope must be a scope" in err
    assert simulator.requests == []


def test_a_clock_skew_that_is_no_number_is_named(
    capsys: pytest.CaptureFixture[str],
    simulator: ThingspaceSimulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("THINGSPACE_OAUTH_OAUTH_CLOCK_SKEW", "soon")
    _, err = output_of(capsys, "token", status=1)
    assert "THINGSPACE_OAUTH_OAUTH_CLOCK_SKEW" in err
    monkeypatch.setenv("THINGSPACE_OAUTH_OAUTH_CLOCK_SKEW", "30")
    assert output_of(capsys, "token", "--no-store")[1] == ""


def test_at_a_terminal_a_missing_secret_and_a_missing_password_are_asked_for(
    capsys: pytest.CaptureFixture[str],
    simulator: ThingspaceSimulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(PREFIX + "SECRET")
    monkeypatch.setenv("VZ_M2M_USERNAME", simulator.username)
    monkeypatch.setattr(sys, "stdin", Terminal())
    answers = {"Secret": SECRET, "Password": PASSWORD}
    monkeypatch.setattr("getpass.getpass", lambda prompt: answers[prompt.split()[0]] + " ")
    out, _ = output_of(capsys, "headers", "--no-store")
    assert simulator.issued_sessions[0] in out


@pytest.mark.parametrize("answer", ["", EOFError()])
def test_no_answer_to_the_question_for_the_secret_is_an_error_in_one_line(
    capsys: pytest.CaptureFixture[str],
    simulator: ThingspaceSimulator,
    monkeypatch: pytest.MonkeyPatch,
    answer: object,
) -> None:
    def getpass(prompt: str) -> str:
        if isinstance(answer, EOFError):
            raise answer
        return str(answer)

    monkeypatch.delenv(PREFIX + "SECRET")
    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr("getpass.getpass", getpass)
    _, err = output_of(capsys, "token", "--no-store", status=1)
    assert PREFIX + "SECRET" in err


def test_nobody_is_asked_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str],
    simulator: ThingspaceSimulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(PREFIX + "SECRET")
    for stdin in (io.StringIO(SECRET), None):
        monkeypatch.setattr(sys, "stdin", stdin)
        _, err = output_of(capsys, "token", status=1)
        assert PREFIX + "SECRET" in err


def test_a_missing_key_and_a_missing_user_are_asked_for_like_the_secret(
    capsys: pytest.CaptureFixture[str],
    simulator: ThingspaceSimulator,
    account: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(PREFIX + "ID")
    monkeypatch.delenv("VZ_M2M_USERNAME")
    typed = f" {simulator.client_id} \n{simulator.username}\n"
    monkeypatch.setattr(sys, "stdin", Terminal(typed))
    out, err = output_of(capsys, "headers", "--no-store")
    assert simulator.issued_sessions[0] in out
    assert err == "Key of the ThingSpace application: M2M (UWS) user name: "


def test_no_answer_to_the_question_for_the_key_is_an_error_in_one_line(
    capsys: pytest.CaptureFixture[str],
    simulator: ThingspaceSimulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(PREFIX + "ID")
    monkeypatch.setattr(sys, "stdin", Terminal(""))
    ran = run(capsys, "token", "--no-store")
    assert ran.status == 1
    question, what, remedy = ran.err.splitlines()
    assert question == "Key of the ThingSpace application: "
    assert f"{PREFIX}ID is missing" in what
    assert "--env-file" in remedy


@pytest.mark.parametrize(
    ("base_url", "host"),
    [
        ("https://thingspace.example", "thingspace.example"),
        ("https://evilthingspace.verizon.com", "evilthingspace.verizon.com"),
        ("https://thingspace.verizon.com:8443/", "thingspace.verizon.com:8443"),
        ("https://thingspace.verizon.com", None),
        ("https://imp.thingspace.verizon.com", None),
        ("https://5gedge.verizon.com", None),
        (None, None),
    ],
)
def test_a_base_url_that_is_not_thingspaces_is_told_by_its_host(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    base_url: str | None,
    host: str | None,
) -> None:
    if base_url is not None:
        monkeypatch.setenv("THINGSPACE_BASE_URL", base_url)
    # It fails for want of a key before anything is sent.
    note = run(capsys, "token").note
    told = f"thingspace-auth: note: THINGSPACE_BASE_URL leads to {host}, not to ThingSpace\n"
    assert note == ("" if host is None else told)


@pytest.mark.parametrize(
    ("arguments", "nearest"),
    [
        (["checks"], "check"),
        (["tokens"], "token"),
        (["token", "--no-stor"], "--no-store"),
        (["token", "--jsno"], "--json"),
        (["token", "--hlep"], "--help"),
        (["simulate", "--sesions-required"], "--sessions-required"),
        (["--versoin"], "--version"),
    ],
)
def test_a_mistyped_command_or_option_is_answered_with_the_nearest(
    capsys: pytest.CaptureFixture[str], arguments: list[str], nearest: str
) -> None:
    ran = run(capsys, *arguments)
    assert ran.status == 2
    kind = "option" if nearest.startswith("-") else "command"
    what = f"there is no such {kind}: did you mean {nearest}?"
    assert ran.complaint == f"thingspace-auth: {what}"
    assert arguments[-1] not in ran.err.replace(nearest, "")


@pytest.mark.parametrize("option", ["--secret", "--password", "--client-secret", "--token"])
def test_secrets_are_no_options(capsys: pytest.CaptureFixture[str], option: str) -> None:
    _, err = output_of(capsys, "token", option, SECRET, status=2)
    assert "no such option" in err
    assert option not in err


def test_option_before_the_command_is_told_where_it_belongs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--env-file", "secret-name.env", "check"]) == 2
    err = capsys.readouterr().err
    assert "options come after the command" in err
    assert "secret-name" not in err


@pytest.mark.parametrize(
    "arguments",
    [
        [f"--{SECRET}"],
        [SECRET],
        ["token", f"--{SECRET}"],
        ["token", f"--token={SECRET}"],
        ["token", f"-{SECRET}"],
        ["token", SECRET],
        ["token", f"--json={SECRET}"],
        ["check", "--scope"],
        ["check", "--scope", f'"{SECRET}'],
        ["simulate", "--port", SECRET],
        ["simulate", f"--token-lifetime={SECRET}"],
        ["simulate", f"--{SECRET}", "--", "true"],
    ],
)
def test_a_usage_error_has_status_2_and_does_not_echo_what_was_typed(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
) -> None:
    monkeypatch.setenv(PREFIX + "ID", "key")
    monkeypatch.setenv(PREFIX + "SECRET", "x")
    out, err = output_of(capsys, *arguments, status=2)
    assert out == ""
    assert len(err.splitlines()) == 2


@pytest.mark.parametrize(
    "arguments", [["--env-file"], ["--no-such"], ["--json=x"], ["--scope", ""], ["argument"]]
)
def test_a_usage_error_points_to_the_help_of_its_command(
    capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    _, err = output_of(capsys, "token", *arguments, status=2)
    assert err.splitlines()[1].strip() == "thingspace-auth token --help says what it takes"


@pytest.mark.parametrize("command", ["token", "headers", "check", "revoke", "clear", "status"])
def test_help_names_the_variables(capsys: pytest.CaptureFixture[str], command: str) -> None:
    shown, _ = output_of(capsys, command, "--help")
    assert PREFIX + "ID" in shown
    assert PREFIX + "SECRET" in shown
    assert ("VZ_M2M_PASSWORD" in shown) == (command not in ("token", "revoke"))
    assert "THINGSPACE_AUTH_STORE" in shown
    assert max(len(line) for line in shown.splitlines()) <= 80


def test_without_arguments_it_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    shown, err = output_of(capsys)
    assert (shown, err) == (output_of(capsys, "--help")[0], "")
    listed = re.findall(r"^  (\w+)  +[A-Z]", shown, flags=re.M)
    in_order = "demo check token headers status clear revoke simulate"
    assert " ".join(listed) == in_order


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert output_of(capsys, "--version") == (f"{__version__}\n", "")


def test_a_shell_completes_commands(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("_THINGSPACE_AUTH_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "thingspace-auth sta")
    monkeypatch.setenv("COMP_CWORD", "1")
    assert "status" in output_of(capsys)[0]


def test_a_reader_who_is_gone_ends_a_command_quietly(
    capsys: pytest.CaptureFixture[str],
    simulator: ThingspaceSimulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    # Closing the pipe tries once more to write what could not be written.
    with suppress(BrokenPipeError), os.fdopen(writing, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        assert main(["token", "--no-store"]) == 1
        monkeypatch.undo()
    assert without_note(capsys.readouterr().err)[1] == ""


def test_a_reader_who_is_gone_sees_no_traceback_of_the_process() -> None:
    command = [sys.executable, "-m", "thingspace_auth_adapters", "simulate"]
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        finished = subprocess.run(
            command, stdout=pipe, stderr=subprocess.PIPE, check=False, timeout=60
        )
    assert (finished.returncode, finished.stderr) == (1, b"")


def test_a_closed_standard_output_is_a_failure_before_anything_is_done(
    capsys: pytest.CaptureFixture[str],
    simulator: ThingspaceSimulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        # What Python makes of >&- in a shell.
        patch.setattr(sys, "stdout", None)
        assert main(["revoke"]) == 1
    told, _ = capsys.readouterr().err.splitlines()
    assert told == "thingspace-auth: standard output is closed"
    assert simulator.requests == []


def fail_with(error: BaseException) -> Any:
    """A function that raises this."""

    def fail(*args: object, **kwargs: object) -> Any:
        raise error

    return fail


def test_an_interrupted_command_has_status_130(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "thingspace_auth_adapters.cli.demo.run_demo", fail_with(KeyboardInterrupt())
    )
    ran = run(capsys, "demo")
    assert (ran.status, ran.out, ran.err.strip()) == (130, "", "thingspace-auth: interrupted")


def test_an_interrupted_prompt_has_status_130(
    capsys: pytest.CaptureFixture[str],
    simulator: ThingspaceSimulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(PREFIX + "SECRET")
    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr("getpass.getpass", fail_with(KeyboardInterrupt()))
    ran = run(capsys, "token")
    assert (ran.status, ran.out, ran.err.strip()) == (130, "", "thingspace-auth: interrupted")


def test_an_error_without_words_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("thingspace_auth_adapters.cli.demo.run_demo", fail_with(RuntimeError()))
    assert output_of(capsys, "demo", status=1)[1] == "thingspace-auth: RuntimeError\n"


@pytest.mark.parametrize("command", ["token", "headers", "check", "demo"])
def test_without_a_library_every_command_names_the_extras(
    capsys: pytest.CaptureFixture[str],
    simulator: ThingspaceSimulator,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
) -> None:
    monkeypatch.setattr(clients, "CLIENTS", (clients.CLIENTS[0]._replace(library="no_such"),))
    ran = run(capsys, command)
    assert ran.status == 1
    assert "thingspace-auth-adapters[requests]" in ran.out + ran.err


@pytest.mark.parametrize("command", ["simulate", "demo"])
def test_without_werkzeug_the_extra_of_the_simulator_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    for name in ("werkzeug", "thingspace_auth_adapters.simulator.server"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "thingspace_auth_adapters.simulator", raising=False)
    monkeypatch.delitem(sys.modules, "thingspace_auth_adapters.simulator.server", raising=False)
    for name in [name for name in sys.modules if name.startswith("werkzeug.")]:
        monkeypatch.delitem(sys.modules, name)
    for name in [one for one in sys.modules if "thingspace_auth_adapters.simulator." in one]:
        monkeypatch.delitem(sys.modules, name)
    _, err = output_of(capsys, command, status=1)
    assert "thingspace-auth-adapters[simulator]" in err


@pytest.mark.parametrize("command", ["token", "headers", "revoke"])
def test_every_command_gives_the_advice_that_check_gives(
    capsys: pytest.CaptureFixture[str],
    simulator: ThingspaceSimulator,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
) -> None:
    with ThingspaceSimulator(client_secret="another") as other:
        monkeypatch.setenv("THINGSPACE_BASE_URL", other.url)
        (wrong,) = (
            finding
            for finding in json.loads(run(capsys, "check", "--json").out)
            if finding["verdict"] == "wrong"
        )
        ran = run(capsys, command, "--no-store")
    assert wrong["what"] in ran.complaint
    assert ran.remedy == wrong["remedy"]


@pytest.mark.parametrize("client", LIBRARIES, ids=lambda client: client.library)
def test_a_host_that_cannot_be_reached_is_told_with_what_to_do(
    capsys: pytest.CaptureFixture[str],
    simulator: ThingspaceSimulator,
    monkeypatch: pytest.MonkeyPatch,
    client: clients.Client,
) -> None:
    monkeypatch.setattr(clients, "CLIENTS", (client,))
    monkeypatch.setattr("thingspace_auth_adapters._core.lifecycle.MOST_ATTEMPTS", 1)
    simulator.close()
    ran = run(capsys, "token", "--no-store")
    assert ran.status == 1
    assert "cannot be reached" in ran.complaint
    assert "THINGSPACE_BASE_URL" in ran.remedy


def test_token_as_json_has_what_a_program_needs(
    capsys: pytest.CaptureFixture[str], simulator: ThingspaceSimulator
) -> None:
    out, _ = output_of(capsys, "token", "--json", "--no-store")
    token = json.loads(out)
    assert token["access_token"] == simulator.issued_tokens[0]
    assert token["token_type"] == "Bearer"
    assert token["expires_at"] == pytest.approx(simulator.token_requests[0].at + 3600, abs=60)
    assert "ts.mec.fullaccess" in token["scope"]


def test_token_as_json_without_an_expiry(
    capsys: pytest.CaptureFixture[str], simulator: ThingspaceSimulator
) -> None:
    simulator.fail("token", 200, body={"access_token": "t", "token_type": "Bearer"})
    out, _ = output_of(capsys, "token", "--json", "--no-store")
    assert json.loads(out)["expires_at"] is None


def test_headers_as_json_are_a_dict(
    capsys: pytest.CaptureFixture[str], simulator: ThingspaceSimulator, account: None
) -> None:
    out, _ = output_of(capsys, "headers", "--json", "--no-store")
    assert json.loads(out) == {
        "Authorization": f"Bearer {simulator.issued_tokens[0]}",
        "VZ-M2M-Token": simulator.issued_sessions[0],
    }


@pytest.mark.skipif(os.name != "posix", reason="a path through a file is missing elsewhere")
@needs_store
@pytest.mark.parametrize("command", ["status", "clear"])
def test_a_store_that_cannot_be_reached_is_told_with_what_to_do(
    capsys: pytest.CaptureFixture[str],
    simulator: ThingspaceSimulator,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    command: str,
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("THINGSPACE_AUTH_STORE", str(tmp_path / "file" / "store"))
    ran = run(capsys, command)
    assert (ran.status, ran.out) == (1, "")
    assert "cannot be reached" in ran.complaint
    assert "THINGSPACE_AUTH_STORE" in ran.remedy


@needs_store
def test_token_goes_on_without_a_store_that_cannot_be_reached_and_warns(
    capsys: pytest.CaptureFixture[str],
    simulator: ThingspaceSimulator,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("THINGSPACE_AUTH_STORE", str(tmp_path / "file" / "store"))
    out, err = output_of(capsys, "token")
    assert out == simulator.issued_tokens[0] + "\n"
    assert all(line.startswith("thingspace-auth: warning: ") for line in err.splitlines())
    assert "cannot be reached" in err


def test_what_a_server_says_is_printed_without_control_characters_and_markup(
    capsys: pytest.CaptureFixture[str], simulator: ThingspaceSimulator
) -> None:
    body = {"error": "invalid_client", "error_description": "[red]\x1b[31m\u202eno\r\n:bomb:"}
    simulator.fail("token", 400, body=body, times=2)
    for command in ("token", "check"):
        ran = run(capsys, command)
        assert "[red]" in ran.out + ran.err
        assert ":bomb:" in ran.out + ran.err
        assert not {"\x1b", "\u202e", "\r"} & set(ran.out + ran.err)


@pytest.mark.parametrize(
    ("variables", "is_coloured"),
    [
        ({}, False),
        ({"FORCE_COLOR": "1"}, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
    ],
)
def test_colour_is_for_terminals_and_for_those_who_want_it(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    is_coloured: bool,
) -> None:
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"TERM": "xterm-256color", **variables}.items():
        monkeypatch.setenv(name, value)
    # Not through output_of, since styles may stand within the lines.
    assert main(["check"]) == 1
    out, err = capsys.readouterr()
    assert ("\x1b[1;31mwrong" in out) == is_coloured
    assert ("\x1b[" in out + err) == bool(variables)


def test_at_a_terminal_long_lines_are_wrapped_between_words(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    assert main(["check"]) == 1
    text = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    lines = [line.rstrip() for line in text.splitlines()[1:]]
    assert len(lines) > 2
    assert all(len(line) <= 80 for line in lines)
    assert all(line.startswith(" " * 14) for line in lines[1:])
    assert f"{PREFIX}ID" in text


def test_in_a_pipe_no_line_is_wrapped(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check"]) == 1
    *_, what, remedy = capsys.readouterr().out.splitlines()
    assert what.endswith("is missing or empty")
    assert remedy.endswith("--env-file")


class AsciiStream(io.TextIOWrapper):
    """A stream that can carry nothing but ASCII."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="ascii", errors="strict")

    @property
    def written(self) -> str:
        self.flush()
        buffer: Any = self.buffer
        return str(buffer.getvalue().decode("ascii"))


def test_output_survives_an_ascii_terminal(
    simulator: ThingspaceSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    streams = AsciiStream(), AsciiStream()
    simulator.fail("token", 400, body={"error": "invalid_client", "error_description": "Nö"})
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", streams[0])
        patch.setattr(sys, "stderr", streams[1])
        assert main(["check"]) == 1
    assert "N?" in streams[0].written
    assert "the check failed" in streams[1].written
