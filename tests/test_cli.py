"""The command line, and the main job on real sockets against a real server process."""

from __future__ import annotations

import importlib.util
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from thingspace_auth_adapters import VzM2mCredentials, __version__
from thingspace_auth_adapters.__main__ import main
from thingspace_auth_adapters._core import login_guard
from thingspace_auth_adapters.cli import commands, demo, environment
from thingspace_auth_adapters.simulator import ThingspaceSimulator

from .kinds import INSTALLED, Kind

PREFIX = "THINGSPACE_OAUTH_OAUTH_CLIENT_"
SECRET = "s3cr3t-of-the-key"
PASSWORD = "p4ssw0rd-of-the-user"
CLIENTS = [client for client in demo.CLIENTS if client.is_installed]
ACCOUNT = ("VZ_M2M_USERNAME", "VZ_M2M_PASSWORD", "VZ_M2M_TOKEN_VZ_M2M_TOKEN")
TOKEN_STEPS = [(1, 1, 0), (5, 0, 0), (2, 1, 0), (1, 1, 0), (20, 1, 0)]
SESSION_STEPS = [(1, 1, 1), (5, 0, 0), (2, 0, 1), (3, 1, 1), (1, 0, 1), (20, 0, 1)]


needs_store = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("filelock", "platformdirs")),
    reason="the store is an extra",
)


@pytest.fixture(autouse=True)
def _no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    clock_skew = "THINGSPACE_OAUTH_OAUTH_CLOCK_SKEW"
    for name in (PREFIX + "ID", PREFIX + "SECRET", clock_skew, "THINGSPACE_BASE_URL", *ACCOUNT):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("THINGSPACE_AUTH_STORE", str(tmp_path / "store"))
    monkeypatch.setattr(sys, "stdin", io.StringIO())


@pytest.fixture
def simulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[ThingspaceSimulator]:
    """A simulated ThingSpace, and the key and the secret for it in the environment."""
    with ThingspaceSimulator(client_secret=SECRET, password=PASSWORD) as simulated:
        monkeypatch.setenv(PREFIX + "ID", simulated.client_id)
        monkeypatch.setenv(PREFIX + "SECRET", SECRET)
        monkeypatch.setenv("THINGSPACE_BASE_URL", simulated.url)
        yield simulated


@pytest.fixture
def account(simulator: ThingspaceSimulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The M2M account's user name and password in the environment."""
    monkeypatch.setenv("VZ_M2M_USERNAME", simulator.username)
    monkeypatch.setenv("VZ_M2M_PASSWORD", PASSWORD)


class Terminal(io.StringIO):
    """Somebody who types these lines."""

    def isatty(self) -> bool:
        return True


@contextmanager
def serving(*arguments: str) -> Iterator[dict[str, str]]:
    """A simulated ThingSpace in a process of its own, and the environment that points to it."""
    command = [sys.executable, "-m", "thingspace_auth_adapters", "simulate", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline().strip() for _ in range(5)]
        try:
            yield dict(line.split("=", 1) for line in lines)
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


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_demo_takes_each_client_through_the_life_of_a_token_and_of_a_session(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, client: demo.Client
) -> None:
    monkeypatch.setattr(demo, "CLIENTS", (client,))
    assert main(["demo"]) == 0
    shown = capsys.readouterr().out
    before, with_token, with_session = re.split(
        rf"^{re.escape(client.name)}\b.*\n", shown, flags=re.M
    )
    assert counts(before) == []
    assert counts(with_token) == TOKEN_STEPS
    assert counts(with_session) == SESSION_STEPS


def counts(shown: str) -> list[tuple[int, ...]]:
    rows = re.findall(r"(\d+) API requests? +(\d+) token requests? +(\d+) logins?\b", shown)
    return [tuple(int(count) for count in row) for row in rows]


def test_demo_is_refused_requests_without_a_session_in_that_scene_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    needs: list[bool] = []

    class Watched(ThingspaceSimulator):
        def clear(self) -> None:
            needs.append(self.sessions_required)
            super().clear()

    monkeypatch.setattr("thingspace_auth_adapters.simulator.ThingspaceSimulator", Watched)
    monkeypatch.setattr(demo, "CLIENTS", tuple(CLIENTS[:2]))
    assert main(["demo"]) == 0
    story = [False] * len(TOKEN_STEPS) + [True] * len(SESSION_STEPS)
    assert needs == story * len(CLIENTS[:2])


def test_demo_takes_all_that_is_installed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = demo.Client("absent", "no_such_library", demo.CLIENTS[0].get)
    monkeypatch.setattr(demo, "CLIENTS", (absent,))
    assert main(["demo"]) == 1
    assert "no HTTP library found" in capsys.readouterr().err


def test_demo_with_credentials_asks_the_platform_for_a_token_only(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with ThingspaceSimulator() as simulator:
        monkeypatch.setenv(PREFIX + "ID", simulator.client_id)
        monkeypatch.setenv(PREFIX + "SECRET", simulator.client_secret)
        monkeypatch.setenv("THINGSPACE_BASE_URL", simulator.url)
        monkeypatch.setenv("VZ_M2M_USERNAME", simulator.username)
        monkeypatch.setenv("VZ_M2M_PASSWORD", simulator.password)
        assert main(["demo"]) == 0
        assert simulator.api_requests == []
        assert simulator.login_requests == []
        assert len(simulator.issued_tokens) == 1
        shown = capsys.readouterr().out
        assert "expires in 3600 s" in shown
        assert simulator.issued_tokens[0] not in shown


@pytest.mark.parametrize("missing", ["ID", "SECRET"])
def test_half_of_the_credentials_is_an_error_in_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setenv(PREFIX + ("SECRET" if missing == "ID" else "ID"), "x")
    assert main(["demo"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert PREFIX + missing in line


def test_refused_credentials_are_an_error_in_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with ThingspaceSimulator() as simulator:
        monkeypatch.setenv(PREFIX + "ID", simulator.client_id)
        monkeypatch.setenv(PREFIX + "SECRET", "wrong-secret")
        monkeypatch.setenv("THINGSPACE_BASE_URL", simulator.url)
        assert main(["demo"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "invalid_client" in line
    assert "wrong-secret" not in line


def test_demo_without_a_library_names_the_extra(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "CLIENTS", ())
    assert main(["demo"]) == 1
    assert "thingspace-auth-adapters[all]" in capsys.readouterr().err


def test_demo_whose_requests_fail_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = next(client for client in demo.CLIENTS if client.is_installed)
    failing = client._replace(get=lambda auth, url, count: [500] * count)
    monkeypatch.setattr(demo, "CLIENTS", (failing,))
    assert main(["demo"]) == 1
    assert "did not answer every request" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["dance"], ["simulate", "--port", "x"]])
def test_usage_errors_have_status_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.strip() == __version__


def test_simulate_serves_until_interrupted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted:
        def wait(self) -> None:
            raise KeyboardInterrupt

    monkeypatch.setattr(commands, "threading", SimpleNamespace(Event=Interrupted))
    assert main(["simulate", "--port", "0", "--token-lifetime", "2"]) == 0
    assert "THINGSPACE_BASE_URL=http://127.0.0.1:" in capsys.readouterr().out


def test_simulate_on_a_port_that_does_not_exist(capsys: pytest.CaptureFixture[str]) -> None:
    for argument in ("99999", "-1", "http"):
        with pytest.raises(SystemExit) as caught:
            main(["simulate", "--port", argument])
        assert caught.value.code == 2
        assert "port" in capsys.readouterr().err


@pytest.mark.parametrize("seconds", ["-5", "nan", "inf", "soon"])
def test_simulate_with_a_lifetime_that_is_none(
    capsys: pytest.CaptureFixture[str], seconds: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["simulate", "--token-lifetime", seconds])
    assert caught.value.code == 2
    assert "seconds" in capsys.readouterr().err


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
    capsys.readouterr()
    assert main(arguments) == status
    out, err = capsys.readouterr()
    assert SECRET not in out + err
    assert PASSWORD not in out + err
    return out, err


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
    (line,) = err.splitlines()
    assert "[files]" in line


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_headers_are_those_that_a_request_needs(
    capsys: pytest.CaptureFixture[str],
    simulator: ThingspaceSimulator,
    account: None,
    monkeypatch: pytest.MonkeyPatch,
    client: demo.Client,
) -> None:
    monkeypatch.setattr(demo, "CLIENTS", (client,))
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
    (line,) = err.splitlines()
    assert "VZ_M2M_PASSWORD" in line


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
def test_revoke_that_fails_forgets_nothing(
    capsys: pytest.CaptureFixture[str], simulator: ThingspaceSimulator
) -> None:
    before, _ = output_of(capsys, "token")
    simulator.fail("revoke", 400)
    _, err = output_of(capsys, "revoke", status=1)
    assert len(err.splitlines()) == 1
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
    tmp_path: Path,
) -> None:
    refusal = {"errorCode": "REQUEST_FAILED.Login", "errorMessage": "The account is on hold."}
    simulator.fail("login", 400, body=refusal)
    for _ in range(3):
        # A shell starts a new process each time: only the store knows of the refusal.
        login_guard.forget_all()
        _, err = output_of(capsys, "headers", status=1)
        assert "on hold" in err
    assert len(simulator.login_requests) == 1
    assert "thingspace-auth clear" in err
    assert f"THINGSPACE_AUTH_STORE={tmp_path / 'store'}" in err
    output_of(capsys, "clear")
    output_of(capsys, "headers")
    assert len(simulator.login_requests) == 2


def test_clear_without_the_extra_names_it(
    capsys: pytest.CaptureFixture[str],
    simulator: ThingspaceSimulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def demand_extra(path: str | None) -> None:
        raise ImportError("FileTokenStore needs filelock: pip install '…[files]'")

    monkeypatch.setattr("thingspace_auth_adapters.stores.FileTokenStore", demand_extra)
    out, err = output_of(capsys, "clear", status=1)
    (line,) = err.splitlines()
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
    (line,) = err.splitlines()
    assert out == ""
    assert "invalid_client" in line


def test_an_env_file_comes_before_the_environment(
    capsys: pytest.CaptureFixture[str],
    simulator: ThingspaceSimulator,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv(PREFIX + "SECRET", "of-another-key")
    file = tmp_path / "thingspace.env"
    file.write_text(
        f"\ufeff# the key of the fleet\n\n export {PREFIX}ID = {simulator.client_id}\r\n"
        f"{PREFIX}SECRET='{SECRET}'\n",
        encoding="utf-8",
    )
    file.chmod(0o600)
    out, err = output_of(capsys, "token", "--no-store", "--env-file", str(file))
    assert (out, err) == (simulator.issued_tokens[0] + "\n", "")


@pytest.mark.skipif(os.name != "posix", reason="others are kept out in another way there")
def test_an_env_file_that_others_can_read_is_warned_of(
    capsys: pytest.CaptureFixture[str], simulator: ThingspaceSimulator, tmp_path: Path
) -> None:
    file = tmp_path / "thingspace.env"
    file.write_text(f"{PREFIX}SECRET={SECRET}\n")
    file.chmod(0o640)
    _, err = output_of(capsys, "token", "--no-store", "--env-file", str(file))
    (line,) = err.splitlines()
    assert str(file) in line
    assert "chmod 600" in line


@pytest.mark.parametrize("line", [SECRET.encode(), b"=x", b"1X=" + SECRET.encode(), b"A=\xff"])
def test_a_bad_line_of_an_env_file_is_named_and_not_shown(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, line: bytes
) -> None:
    file = tmp_path / "thingspace.env"
    file.write_bytes(b"# comment\n" + line)
    file.chmod(0o600)
    _, err = output_of(capsys, "token", "--env-file", str(file), status=1)
    (told,) = err.splitlines()
    assert f"line 2 of {file}" in told


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=b", "b"),
        ('A="b # c"', "b # c"),
        ("A='it''s'", "it''s"),
        ('A="', '"'),
        ("A=x=y", "x=y"),
        ("A=", ""),
    ],
)
def test_values_of_an_env_file_are_taken_as_they_are_but_for_quotes_around_them(
    tmp_path: Path, line: str, value: str
) -> None:
    file = tmp_path / "thingspace.env"
    file.write_text(line)
    assert environment.read_env_file(str(file)) == {"A": value}


def test_an_env_file_that_is_not_there_is_an_error_in_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    _, err = output_of(capsys, "token", "--env-file", str(tmp_path / "none"), status=1)
    (line,) = err.splitlines()
    assert "none" in line


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
    (line,) = err.splitlines()
    assert PREFIX + "SECRET" in line


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


@pytest.mark.parametrize("option", ["--secret", "--password", "--client-secret", "--token"])
def test_secrets_are_no_options(option: str) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["token", option, "x"])
    assert caught.value.code == 2


@pytest.mark.parametrize("command", ["token", "headers", "check", "revoke", "clear"])
def test_help_names_the_variables(capsys: pytest.CaptureFixture[str], command: str) -> None:
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    assert PREFIX + "ID" in shown
    assert PREFIX + "SECRET" in shown
    assert ("VZ_M2M_PASSWORD" in shown) == (command not in ("token", "revoke"))


def test_a_reader_who_is_gone_ends_a_command_quietly(
    capsys: pytest.CaptureFixture[str],
    simulator: ThingspaceSimulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        assert main(["token", "--no-store"]) == 1
        monkeypatch.undo()
    assert capsys.readouterr().err == ""


def test_a_reader_who_is_gone_sees_no_traceback_of_the_process() -> None:
    command = [sys.executable, "-m", "thingspace_auth_adapters", "simulate"]
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        finished = subprocess.run(
            command, stdout=pipe, stderr=subprocess.PIPE, check=False, timeout=60
        )
    assert (finished.returncode, finished.stderr) == (1, b"")


def test_an_interrupted_command_has_failed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "run_demo", interrupt)
    assert output_of(capsys, "demo", status=1) == ("", "thingspace-auth: interrupted\n")


def test_an_error_without_words_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise RuntimeError

    monkeypatch.setattr(demo, "run_demo", fail)
    assert output_of(capsys, "demo", status=1)[1] == "thingspace-auth: RuntimeError\n"


def test_token_without_a_library_names_the_extra(
    capsys: pytest.CaptureFixture[str],
    simulator: ThingspaceSimulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(demo, "CLIENTS", ())
    _, err = output_of(capsys, "token", "--no-store", status=1)
    assert "thingspace-auth-adapters[all]" in err
