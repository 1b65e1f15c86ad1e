"""The command line, and the main job on real sockets against a real server process."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from thingspace_auth_adapters import __main__, __version__, demo
from thingspace_auth_adapters.__main__ import main
from thingspace_auth_adapters.simulator import ThingspaceSimulator

from .kinds import INSTALLED, Kind

PREFIX = "THINGSPACE_OAUTH_OAUTH_CLIENT_"
CLIENTS = [client for client in demo.CLIENTS if client.is_installed]
STEPS = [(1, 1), (5, 0), (2, 1), (1, 1), (20, 1)]


@pytest.fixture(autouse=True)
def _no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (PREFIX + "ID", PREFIX + "SECRET", "THINGSPACE_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server_process() -> Iterator[dict[str, str]]:
    """A simulated ThingSpace in a process of its own, and the environment that points to it."""
    command = [sys.executable, "-m", "thingspace_auth_adapters", "simulate"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline().strip() for _ in range(3)]
        yield dict(line.split("=", 1) for line in lines)
        process.terminate()


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_demo_takes_each_client_through_a_tokens_life(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, client: demo.Client
) -> None:
    monkeypatch.setattr(demo, "CLIENTS", (client,))
    assert main(["demo"]) == 0
    shown = capsys.readouterr().out
    assert f"\n{client.name}\n" in shown
    counts = re.findall(r"(\d+) API requests? +(\d+) token requests?", shown)
    assert [(int(sent), int(asked)) for sent, asked in counts] == STEPS


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
        assert main(["demo"]) == 0
        assert simulator.api_requests == []
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
    base_url = server_process["THINGSPACE_BASE_URL"]
    url = base_url + "/api/m2m/v1/devices"

    def auth_of(kind: Kind) -> Any:
        return kind.auth(
            oauth_client_id=server_process["THINGSPACE_OAUTH_OAUTH_CLIENT_ID"],
            oauth_client_secret=server_process["THINGSPACE_OAUTH_OAUTH_CLIENT_SECRET"],
            base_url=base_url,
        )

    for kind in INSTALLED:
        auth, other = auth_of(kind), auth_of(kind)
        assert kind.get(auth, url).status == 200
        assert kind.get(other, url).status == 200
        assert auth.oauth_token.access_token == other.oauth_token.access_token
        kind.revoke_token(other)
        assert kind.get(auth, url).history == [401]
        assert kind.get(auth, url).history == []


@pytest.mark.filterwarnings("ignore:.*found in sys.modules.*:RuntimeWarning")
def test_module_runs_as_a_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["thingspace-auth", "--version"])
    with pytest.raises(SystemExit):
        runpy.run_module("thingspace_auth_adapters", run_name="__main__")
    assert capsys.readouterr().out.strip() == __version__
