"""The command line, and the main job on real sockets against a real server process."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from thingspace_auth_adapters import VzM2mCredentials, __main__, __version__, demo
from thingspace_auth_adapters.__main__ import main
from thingspace_auth_adapters.simulator import ThingspaceSimulator

from .kinds import INSTALLED, Kind

PREFIX = "THINGSPACE_OAUTH_OAUTH_CLIENT_"
CLIENTS = [client for client in demo.CLIENTS if client.is_installed]
ACCOUNT = ("VZ_M2M_USERNAME", "VZ_M2M_PASSWORD", "VZ_M2M_TOKEN_VZ_M2M_TOKEN")
TOKEN_STEPS = [(1, 1, 0), (5, 0, 0), (2, 1, 0), (1, 1, 0), (20, 1, 0)]
SESSION_STEPS = [(1, 1, 1), (5, 0, 0), (2, 0, 1), (3, 1, 1), (1, 0, 1), (20, 0, 1)]


@pytest.fixture(autouse=True)
def _no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (PREFIX + "ID", PREFIX + "SECRET", "THINGSPACE_BASE_URL", *ACCOUNT):
        monkeypatch.delenv(name, raising=False)


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

    monkeypatch.setattr(__main__, "threading", SimpleNamespace(Event=Interrupted))
    assert main(["simulate", "--token-lifetime", "2"]) == 0
    assert "THINGSPACE_BASE_URL=http://127.0.0.1:" in capsys.readouterr().out


def test_simulate_on_a_port_that_does_not_exist(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "--port", "99999"]) == 1
    assert "port" in capsys.readouterr().err


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
def test_module_runs_as_a_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["thingspace-auth", "--version"])
    with pytest.raises(SystemExit):
        runpy.run_module("thingspace_auth_adapters", run_name="__main__")
    assert capsys.readouterr().out.strip() == __version__
