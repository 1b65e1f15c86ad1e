"""Part 4: ``thingspace-auth token`` and ``headers``, and where credentials come from."""

from __future__ import annotations

import io
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("click")
pytest.importorskip("rich")
pytest.importorskip("filelock")
pytest.importorskip("platformdirs")

from thingspace_auth_adapters._core import login_guard
from thingspace_auth_adapters.cli import clients
from thingspace_auth_adapters.simulator import ThingspaceSimulator

from ..support.command_line import ACCOUNT, PASSWORD, PREFIX, SECRET, Shell, raising

CLIENTS = [client for client in clients.CLIENTS if client.is_installed]
LIBRARIES = {client.library: client for client in CLIENTS}.values()
SKEW = "THINGSPACE_OAUTH_OAUTH_CLOCK_SKEW"
NO_EXTRA = ImportError("FileTokenStore needs filelock: pip install '…[files]'")

pytestmark = pytest.mark.usefixtures("simulator")


# What is printed, and what it costs.


def test_token_prints_the_token_alone_and_costs_one_request_for_all_calls(shell: Shell) -> None:
    for _ in range(3):
        assert shell.out("token") == shell.simulator.issued_tokens[0] + "\n"
    assert len(shell.simulator.requests) == len(shell.simulator.token_requests) == 1


def test_token_without_the_store_asks_each_time_and_leaves_nothing_behind(
    shell: Shell, tmp_path: Path
) -> None:
    for _ in range(2):
        assert shell.out("token", "--no-store") == shell.simulator.issued_tokens[0] + "\n"
    assert len(shell.simulator.token_requests) == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_headers_are_those_that_a_request_needs(
    shell: Shell, account: None, client: clients.Client
) -> None:
    shell.patch.setattr(clients, "CLIENTS", (client,))
    out = shell.out("headers", "--no-store")
    (token,), (session,) = shell.simulator.issued_tokens, shell.simulator.issued_sessions
    assert out == f"Authorization: Bearer {token}\nVZ-M2M-Token: {session}\n"


def test_headers_cost_one_login_for_all_calls(shell: Shell, account: None) -> None:
    first, second, as_json = shell.out("headers"), shell.out("headers"), shell.json("headers")
    assert first == second == "".join(f"{name}: {value}\n" for name, value in as_json.items())
    assert len(as_json) == 2
    assert len(shell.simulator.token_requests) == len(shell.simulator.login_requests) == 1


def test_headers_without_an_account_are_the_bearer_and_a_session_token_that_is_given(
    shell: Shell,
) -> None:
    bearer = f"Authorization: Bearer {shell.out('token', '--no-store')}"
    assert shell.out("headers", "--no-store") == bearer
    shell.set("VZ_M2M_TOKEN_VZ_M2M_TOKEN", "given-session")
    # Another one is not to be had.
    for options in ([], ["--fresh"]):
        out = shell.out("headers", "--no-store", *options)
        assert out == f"{bearer}VZ-M2M-Token: given-session\n"
    assert shell.simulator.login_requests == []


def test_token_as_json_has_what_a_program_needs(shell: Shell) -> None:
    token = shell.json("token", "--no-store")
    assert token["access_token"] == shell.simulator.issued_tokens[0]
    assert token["token_type"] == "Bearer"
    assert token["expires_at"] == pytest.approx(shell.simulator.token_requests[0].at + 3600, abs=60)
    assert "ts.mec.fullaccess" in token["scope"]
    shell.simulator.fail("token", 200, body={"access_token": "t", "token_type": "Bearer"})
    assert shell.json("token", "--no-store")["expires_at"] is None


def test_scopes_are_asked_for_and_an_empty_one_is_not_taken_for_all(shell: Shell) -> None:
    for scope in ("", " "):
        ran = shell.failure("token", "--no-store", "--scope", scope, status=2)
        assert "--scope must be a scope" in ran.complaint
    assert shell.simulator.requests == []
    shell.set(SKEW, 30)
    shell.out("token", "--no-store", "--scope", "read", "--scope", "write")
    assert b"scope=read+write" in shell.simulator.token_requests[0].body


# --fresh


@pytest.mark.parametrize("command", ["token", "headers"])
def test_fresh_gets_another_token_than_the_rejected_one_that_is_kept(
    shell: Shell, command: str
) -> None:
    first = shell.out(command)
    shell.simulator.revoke()
    assert shell.out(command) == first
    second = shell.out(command, "--fresh")
    rejected, other = shell.simulator.issued_tokens
    assert second == first.replace(rejected, other)
    assert shell.out(command) == second


def test_fresh_opens_another_session_than_the_ended_one_that_is_kept(
    shell: Shell, account: None
) -> None:
    shell.out("headers")
    shell.simulator.end_sessions()
    fresh = shell.out("headers", "--fresh")
    assert fresh.splitlines()[1] == f"VZ-M2M-Token: {shell.simulator.issued_sessions[1]}"
    assert shell.out("headers") == fresh
    assert len(shell.simulator.login_requests) == 2


def test_fresh_does_not_allow_a_login_after_a_refused_one(
    shell: Shell, simulator: ThingspaceSimulator, account: None
) -> None:
    simulator.fail("login", 400, body={"errorCode": "REQUEST_FAILED.Login", "errorMessage": "No"})
    shell.failure("headers")
    login_guard.forget_all()
    shell.failure("headers", "--fresh")
    assert len(simulator.login_requests) == 1


# Without a store.


@pytest.mark.parametrize("command", ["token", "token --fresh"])
@pytest.mark.skipif(os.name != "posix", reason="a path through a file is missing elsewhere")
def test_token_goes_on_without_a_store_that_cannot_be_reached_and_warns(
    shell: Shell, lost_store: None, command: str
) -> None:
    ran = shell(*command.split())
    assert (ran.status, ran.out) == (0, shell.simulator.issued_tokens[0] + "\n")
    assert all(line.startswith("thingspace-auth: warning: ") for line in ran.err.splitlines())
    assert "cannot be reached" in ran.err


def test_headers_without_a_store_that_can_be_reached_send_no_login(
    shell: Shell, account: None, lost_store: None
) -> None:
    ran = shell.failure("headers")
    assert ran.out == ""
    assert "cannot be reached" in ran.complaint
    assert shell.simulator.requests == []


def test_token_goes_on_without_the_extra_of_the_store_and_names_it_in_one_line(
    shell: Shell,
) -> None:
    shell.patch.setattr("thingspace_auth_adapters.stores.FileTokenStore", raising(NO_EXTRA))
    ran = shell("token")
    assert (ran.status, ran.out) == (0, shell.simulator.issued_tokens[0] + "\n")
    assert "[files]" in ran.complaint


def test_headers_without_the_extra_of_the_store_log_in_only_if_asked_to(
    shell: Shell, account: None
) -> None:
    shell.patch.setattr("thingspace_auth_adapters.cli.commands.store_if_wanted", lambda *_: None)
    ran = shell.failure("headers")
    assert ran.out == ""
    assert "each call would log in" in ran.complaint
    assert "pip install 'thingspace-auth-adapters[files]'" in ran.remedy
    assert shell.simulator.requests == []
    assert shell("headers", "--no-store").status == 0


# What is wrong with the credentials, and what is asked for.


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (PREFIX + "ID", "two\nlines"),
        (PREFIX + "ID", "two:words"),
        (PREFIX + "SECRET", "two\nlines"),
        ("THINGSPACE_BASE_URL", "http://thingspace.verizon.com/two"),
        ("THINGSPACE_BASE_URL", "two"),
        (SKEW, "two"),
        (SKEW, "-2"),
        (SKEW, "nan"),
        ("VZ_M2M_TOKEN_VZ_M2M_TOKEN", "two words"),
        ("VZ_M2M_USERNAME", "two\nlines"),
        ("VZ_M2M_PASSWORD", "two\nlines"),
        ("VZ_M2M_PASSWORD", "no UTF-8: \udcff"),
    ],
)
def test_what_cannot_be_sent_is_named_by_its_variable_and_not_shown(
    shell: Shell, account: None, name: str, value: str
) -> None:
    shell.patch.setattr(os, "environ", {**os.environ, name: value})
    ran = shell.failure("headers", "--no-store")
    assert ran.complaint.startswith(f"thingspace-auth: {name} ")
    told_to_python = ("strip()", "oauth_c", "base_url", "ThingspaceAuth")
    assert not any(word in ran.err for word in ("two", "UTF-8:", *told_to_python))
    assert shell.simulator.requests == []
    assert ran.remedy.startswith("correct the variable")


def test_half_an_account_is_an_error_that_names_the_other_half(shell: Shell) -> None:
    shell.set("VZ_M2M_USERNAME", shell.simulator.username)
    assert "VZ_M2M_PASSWORD" in shell.failure("headers", "--no-store").complaint


def test_at_a_terminal_what_is_missing_is_asked_for(shell: Shell, account: None) -> None:
    shell.unset(PREFIX + "ID", PREFIX + "SECRET", *ACCOUNT[:2])
    shell.set("VZ_M2M_PASSWORD", PASSWORD)
    answers = {"Secret": SECRET, "Password": PASSWORD}
    typed = (f" {shell.simulator.client_id} ", shell.simulator.username)
    shell.type(*typed, secret=lambda prompt: answers[prompt.split()[0]] + " ")
    ran = shell("headers", "--no-store")
    assert shell.simulator.issued_sessions[0] in ran.out
    assert ran.err == "Key of the ThingSpace application: M2M (UWS) user name: "
    shell.set("VZ_M2M_USERNAME", shell.simulator.username)
    shell.unset("VZ_M2M_PASSWORD")
    shell.type(typed[0], secret=lambda prompt: answers[prompt.split()[0]] + " ")
    ran = shell("headers", "--no-store")
    assert shell.simulator.issued_sessions[1] in ran.out


@pytest.mark.parametrize("answer", [lambda prompt: "", raising(EOFError())], ids=["empty", "end"])
def test_no_answer_to_the_question_for_the_secret_is_an_error_in_one_line(
    shell: Shell, answer: Any
) -> None:
    shell.unset(PREFIX + "SECRET")
    shell.type(secret=answer)
    assert PREFIX + "SECRET" in shell.failure("token", "--no-store").complaint


def test_no_answer_to_the_question_for_the_key_is_an_error_in_one_line(shell: Shell) -> None:
    shell.unset(PREFIX + "ID")
    shell.type()
    ran = shell("token", "--no-store")
    assert ran.status == 1
    question, what, remedy = ran.err.splitlines()
    assert question == "Key of the ThingSpace application: "
    assert f"{PREFIX}ID is missing" in what
    assert "--env-file" in remedy


def test_nobody_is_asked_where_there_is_no_terminal(shell: Shell) -> None:
    shell.unset(PREFIX + "SECRET")
    for stdin in (io.StringIO(SECRET), None):
        shell.patch.setattr(sys, "stdin", stdin)
        assert PREFIX + "SECRET" in shell.failure("token").complaint


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
    shell: Shell, base_url: str | None, host: str | None
) -> None:
    shell.unset("THINGSPACE_BASE_URL")
    if base_url is not None:
        shell.set("THINGSPACE_BASE_URL", base_url)
    # So that it fails before anything is sent.
    shell.unset(PREFIX + "ID")
    told = f"thingspace-auth: note: THINGSPACE_BASE_URL leads to {host}, not to ThingSpace\n"
    assert shell("token").note == ("" if host is None else told)


# What is wrong with the answer.


@pytest.mark.parametrize("command", ["token", "headers", "revoke"])
def test_a_wrong_secret_is_told_in_one_line_with_the_advice_that_check_gives(
    shell: Shell, command: str
) -> None:
    shell.set(PREFIX + "SECRET", "another")
    ran = shell.failure(command, "--no-store")
    assert ran.out == ""
    assert "invalid_client" in ran.complaint
    found = shell("check")
    assert found.status == 1
    what, remedy = found.out.splitlines()[-2:]
    assert ran.complaint == f"thingspace-auth: {what.partition('token: ')[2]}"
    assert ran.remedy == remedy.strip()


@pytest.mark.parametrize("client", LIBRARIES, ids=lambda client: client.library)
def test_a_host_that_cannot_be_reached_is_told_with_what_to_do(
    shell: Shell, client: clients.Client
) -> None:
    shell.patch.setattr(clients, "CLIENTS", (client,))
    shell.patch.setattr("thingspace_auth_adapters._core.lifecycle.MOST_ATTEMPTS", 1)
    shell.simulator.close()
    ran = shell.failure("token", "--no-store")
    assert "cannot be reached" in ran.complaint
    assert "THINGSPACE_BASE_URL" in ran.remedy


def test_a_refused_login_is_told_in_one_line_and_how_a_shell_goes_on_in_another(
    shell: Shell, account: None, tmp_path: Path
) -> None:
    file = tmp_path / "the fleet.env"
    file.write_text("VZ_M2M_PASSWORD=wrong\n", encoding="utf-8")
    file.chmod(0o600)
    for _ in range(2):
        ran = shell.failure("headers", "--env-file", str(file))
        assert re.fullmatch(
            r"thingspace-auth: the login was refused at 2[-0-9]+ [:0-9]+ UTC \(status \d+\):"
            r" [^.]*\.[^.]*\.[^;]*; no further login is tried now",
            ran.complaint,
        )
        assert ran.remedy.endswith(f"run thingspace-auth clear --env-file '{file}'")
    assert len(shell.simulator.login_requests) == 1


def test_a_refused_login_that_no_store_remembers_needs_no_clearing(
    shell: Shell, account: None
) -> None:
    shell.set("VZ_M2M_PASSWORD", "wrong")
    ran = shell.failure("headers", "--no-store")
    assert "the login was refused" in ran.complaint
    assert "tried again" not in ran.err
    assert "lock the account" in ran.remedy
    assert "clear" not in ran.remedy
