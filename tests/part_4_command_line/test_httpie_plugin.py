"""``http -A thingspace URL``, with the real HTTPie."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

pytest.importorskip("httpie")
pytest.importorskip("click")
pytest.importorskip("filelock")
pytest.importorskip("platformdirs")

from thingspace_auth_adapters.httpie_plugin import ThingspacePlugin
from thingspace_auth_adapters.simulator import ThingspaceSimulator

from ..support.command_line import ACCOUNT, PASSWORD, PREFIX, SECRET, set_up, simulated

HTTPIES_ERROR = 1
PATH = "/api/m2m/v1/devices"


class Shown(NamedTuple):
    """What HTTPie showed.

    Attributes:
        status: its exit status.
        out: what it wrote to stdout.
        err: what it wrote to stderr.
    """

    status: int
    out: str
    err: str


@pytest.fixture
def simulator(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ThingspaceSimulator]:
    """A simulated ThingSpace, and key and secret for it in the environment, without an account."""
    set_up(monkeypatch, tmp_path / "store")
    with simulated(monkeypatch) as simulator:
        for name in ACCOUNT:
            monkeypatch.delenv(name, raising=False)
        config = tmp_path / "httpie"
        config.mkdir()
        # It would look for a newer version of itself.
        (config / "config.json").write_text(json.dumps({"disable_update_warnings": True}))
        monkeypatch.setenv("HTTPIE_CONFIG_DIR", str(config))
        yield simulator


@pytest.fixture
def account(simulator: ThingspaceSimulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The M2M account's user name and password in the environment."""
    monkeypatch.setenv(ACCOUNT[0], simulator.username)
    monkeypatch.setenv(ACCOUNT[1], PASSWORD)


def http(*arguments: str) -> Shown:
    """Call HTTPie in a process of its own; no secret is in what it shows."""
    command = [sys.executable, "-m", "httpie", "--ignore-stdin", *arguments]
    finished = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    shown = Shown(finished.returncode, finished.stdout, finished.stderr)
    for secret in (SECRET, PASSWORD, "Traceback"):
        assert secret not in shown.out + shown.err
    return shown


def get(simulator: ThingspaceSimulator, *arguments: str) -> Shown:
    """A GET request with the plug-in; a status that is no success is one of HTTPie's, too."""
    return http("--check-status", "--headers", "-A", "thingspace", simulator.url + PATH, *arguments)


def test_one_token_request_and_one_login_serve_all_calls(
    simulator: ThingspaceSimulator, account: None
) -> None:
    simulator.sessions_required = True
    for _ in range(2):
        shown = get(simulator)
        assert (shown.status, shown.err) == (0, "")
        assert "200 OK" in shown.out
    assert len(simulator.token_requests) == len(simulator.login_requests) == 1
    for request in simulator.api_requests:
        assert request.headers["authorization"] == f"Bearer {simulator.issued_tokens[0]}"
        assert request.headers["vz-m2m-token"] == simulator.issued_sessions[0]


def test_a_revoked_token_and_an_ended_session_are_renewed(
    simulator: ThingspaceSimulator, account: None
) -> None:
    simulator.sessions_required = True
    get(simulator)
    simulator.revoke()
    simulator.end_sessions()
    simulator.clear()
    assert get(simulator).status == 0
    assert [request.status for request in simulator.api_requests] == [401, 400, 200]
    assert len(simulator.token_requests) == len(simulator.login_requests) == 1


def test_an_upload_is_repeated_whole(simulator: ThingspaceSimulator) -> None:
    get(simulator)
    simulator.revoke()
    simulator.clear()
    assert get(simulator, "name=pump").status == 0
    first, second = simulator.api_requests
    assert first.body == second.body == b'{"name": "pump"}'


@pytest.mark.parametrize("how", ["--multipart", "--chunked"])
def test_an_upload_that_httpie_can_send_only_once_is_not_repeated(
    simulator: ThingspaceSimulator, how: str
) -> None:
    get(simulator)
    simulator.revoke()
    simulator.clear()
    upload = (how, "--headers", "-A", "thingspace", simulator.url + PATH, "name=pump")
    assert "401 UNAUTHORIZED" in http(*upload).out
    assert len(simulator.api_requests) == 1
    assert "200 OK" in http(*upload).out


def test_a_redirect_to_another_host_takes_no_token_along(
    simulator: ThingspaceSimulator, account: None
) -> None:
    with ThingspaceSimulator() as other:
        simulator.fail("api", 302, headers={"Location": other.url + PATH})
        assert "401 UNAUTHORIZED" in get(simulator, "--follow").out
        (request,) = other.api_requests
    assert "vz-m2m-token" in simulator.api_requests[0].headers
    assert not {"authorization", "vz-m2m-token"} & {name.lower() for name in request.headers}


def test_another_host_gets_no_token(simulator: ThingspaceSimulator) -> None:
    with ThingspaceSimulator() as other:
        shown = http("--headers", "-A", "thingspace", other.url + PATH)
        assert shown.status == 0
        assert "authorization" not in other.api_requests[0].headers


def test_without_credentials_it_says_in_one_line_which_are_missing(
    simulator: ThingspaceSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(PREFIX + "SECRET")
    shown = get(simulator)
    assert (shown.status, shown.out) == (HTTPIES_ERROR, "")
    (line,) = shown.err.strip().splitlines()
    assert line.startswith("http: error: ")
    assert PREFIX + "SECRET" in line
    assert simulator.requests == []


@pytest.mark.parametrize("given", ["key:a-secret", "key", ""])
def test_credentials_that_are_given_are_an_error_that_says_where_they_come_from(
    simulator: ThingspaceSimulator, given: str
) -> None:
    shown = get(simulator, "-a", given)
    assert (shown.status, shown.out) == (HTTPIES_ERROR, "")
    (line,) = shown.err.strip().splitlines()
    assert PREFIX + "ID" in line
    assert "a-secret" not in line
    assert simulator.requests == []


def test_a_netrc_file_is_not_looked_at(
    simulator: ThingspaceSimulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password something\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    assert get(simulator).status == 0
    assert simulator.api_requests[0].headers["authorization"].startswith("Bearer ")


def test_a_refused_key_is_told_with_what_to_do(
    simulator: ThingspaceSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PREFIX + "SECRET", "another")
    shown = get(simulator)
    assert (shown.status, shown.out) == (HTTPIES_ERROR, "")
    what, remedy = shown.err.strip().splitlines()
    assert what.startswith("http: error: ")
    assert "invalid_client" in what
    assert PREFIX + "ID" in remedy


def test_without_the_extra_of_the_store_it_refuses_since_each_call_would_log_in(
    simulator: ThingspaceSimulator,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SystemExit) as ended:
        ThingspacePlugin().get_auth()
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "pip install 'thingspace-auth-adapters[files]'" in line


@pytest.mark.skipif(os.name != "posix", reason="a path through a file is missing elsewhere")
def test_without_a_store_that_can_be_reached_no_login_is_sent(
    simulator: ThingspaceSimulator, account: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("THINGSPACE_AUTH_STORE", str(tmp_path / "file" / "store"))
    shown = get(simulator)
    assert (shown.status, shown.out) == (HTTPIES_ERROR, "")
    what, remedy = shown.err.strip().splitlines()
    assert "cannot be reached" in what
    assert "THINGSPACE_AUTH_STORE" in remedy
    assert simulator.requests == []


def test_a_refused_login_is_told_once_with_what_to_do_in_a_shell(
    simulator: ThingspaceSimulator, account: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ACCOUNT[1], "wrong")
    for _ in range(2):
        shown = get(simulator)
        assert (shown.status, shown.out) == (HTTPIES_ERROR, "")
        what, remedy = shown.err.strip().splitlines()
        assert what.startswith("http: error: the login was refused at ")
        assert remedy.endswith("run thingspace-auth clear")
        assert "allow_login" not in shown.err
    assert len(simulator.login_requests) == 1


def test_an_import_that_fails_is_told_in_one_line(
    simulator: ThingspaceSimulator,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "thingspace_auth_adapters.requests", None)
    with pytest.raises(SystemExit) as ended:
        ThingspacePlugin().get_auth()
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "thingspace_auth_adapters.requests" in line


def test_httpie_lists_it() -> None:
    assert "thingspace" in http("--help").out


@pytest.mark.once
def test_it_loads_nothing_until_it_is_used() -> None:
    code = (
        "import sys, httpie.plugins; before = set(sys.modules);"
        "import thingspace_auth_adapters.httpie_plugin;"
        "print(*set(sys.modules) - before)"
    )
    environment = {name: value for name, value in os.environ.items() if "COVERAGE" not in name}
    finished = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env=environment,
    )
    package = "thingspace_auth_adapters"
    loaded = set(finished.stdout.split())
    assert f"{package}.httpie_plugin" in loaded
    assert loaded.isdisjoint({"requests", f"{package}.requests", f"{package}.stores"})
