"""Part 4: ``http -A thingspace URL``, with the real HTTPie."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

for library in ("httpie", "click", "filelock", "platformdirs"):
    pytest.importorskip(library)

from thingspace_auth_adapters.httpie_plugin import ThingspacePlugin
from thingspace_auth_adapters.simulator import ThingspaceSimulator

from ..support.command_line import ACCOUNT, PASSWORD, PREFIX, SECRET, Shell
from ..support.imported import modules_after

PATH = "/api/m2m/v1/devices"
Shown = subprocess.CompletedProcess


@pytest.fixture(autouse=True)
def _quiet(shell: Shell, tmp_path: Path) -> None:
    """HTTPie would look for a newer version of itself."""
    (tmp_path / "httpie").mkdir()
    (tmp_path / "httpie" / "config.json").write_text(json.dumps({"disable_update_warnings": True}))
    shell.set("HTTPIE_CONFIG_DIR", tmp_path / "httpie")


def http(*arguments: str) -> Shown[str]:
    """Call HTTPie in a process of its own; no secret is in what it shows."""
    command = [sys.executable, "-m", "httpie", "--ignore-stdin", *arguments]
    shown = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    for secret in (SECRET, PASSWORD, "Traceback"):
        assert secret not in shown.stdout + shown.stderr
    return shown


def get(simulator: ThingspaceSimulator, *arguments: str) -> Shown[str]:
    """A GET request with the plug-in; a status that is no success is one of HTTPie's, too."""
    return http("--check-status", "--headers", "-A", "thingspace", simulator.url + PATH, *arguments)


def complaint(shown: Shown[str]) -> list[str]:
    """The lines in which it says why it sent nothing."""
    assert (shown.returncode, shown.stdout) == (1, "")
    lines = shown.stderr.strip().splitlines()
    assert lines[0].startswith("http: error: ")
    return lines


def test_one_token_and_one_session_serve_all_calls_until_they_are_lost(
    simulator: ThingspaceSimulator, account: None
) -> None:
    simulator.sessions_required = True
    for _ in range(2):
        shown = get(simulator)
        assert (shown.returncode, shown.stderr) == (0, "")
        assert "200 OK" in shown.stdout
    assert len(simulator.token_requests) == len(simulator.login_requests) == 1
    for request in simulator.api_requests:
        assert request.headers["authorization"] == f"Bearer {simulator.issued_tokens[0]}"
        assert request.headers["vz-m2m-token"] == simulator.issued_sessions[0]
    simulator.revoke()
    simulator.end_sessions()
    simulator.clear()
    assert get(simulator).returncode == 0
    assert [request.status for request in simulator.api_requests] == [401, 400, 200]
    assert len(simulator.token_requests) == len(simulator.login_requests) == 1


def test_an_upload_is_repeated_whole(simulator: ThingspaceSimulator) -> None:
    get(simulator)
    simulator.revoke()
    simulator.clear()
    assert get(simulator, "name=pump").returncode == 0
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
    assert "401 UNAUTHORIZED" in http(*upload).stdout
    assert len(simulator.api_requests) == 1
    assert "200 OK" in http(*upload).stdout


def test_another_host_gets_no_token_by_a_redirect_or_by_itself(
    simulator: ThingspaceSimulator, account: None
) -> None:
    with ThingspaceSimulator() as other:
        simulator.fail("api", 302, headers={"Location": other.url + PATH})
        assert "401 UNAUTHORIZED" in get(simulator, "--follow").stdout
        assert http("--headers", "-A", "thingspace", other.url + PATH).returncode == 0
        requests = other.api_requests
    assert "vz-m2m-token" in simulator.api_requests[0].headers
    assert len(requests) == 2
    for request in requests:
        assert not {"authorization", "vz-m2m-token"} & {name.lower() for name in request.headers}


def test_without_credentials_it_says_in_one_line_which_are_missing(
    simulator: ThingspaceSimulator, shell: Shell
) -> None:
    shell.unset(PREFIX + "SECRET")
    (line,) = complaint(get(simulator))
    assert PREFIX + "SECRET" in line
    assert simulator.requests == []


@pytest.mark.parametrize("given", ["key:a-secret", "key", ""])
def test_credentials_that_are_given_are_an_error_that_says_where_they_come_from(
    simulator: ThingspaceSimulator, given: str
) -> None:
    (line,) = complaint(get(simulator, "-a", given))
    assert PREFIX + "ID" in line
    assert "a-secret" not in line
    assert simulator.requests == []


def test_a_netrc_file_is_not_looked_at(
    simulator: ThingspaceSimulator, shell: Shell, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password something\n")
    netrc.chmod(0o600)
    shell.set("NETRC", netrc)
    assert get(simulator).returncode == 0
    assert simulator.api_requests[0].headers["authorization"].startswith("Bearer ")


def test_a_refused_key_is_told_with_what_to_do(
    simulator: ThingspaceSimulator, shell: Shell
) -> None:
    shell.set(PREFIX + "SECRET", "another")
    what, remedy = complaint(get(simulator))
    assert "invalid_client" in what
    assert PREFIX + "ID" in remedy


@pytest.mark.skipif(os.name != "posix", reason="a path through a file is missing elsewhere")
def test_without_a_store_that_can_be_reached_no_login_is_sent(
    simulator: ThingspaceSimulator, account: None, lost_store: None
) -> None:
    what, remedy = complaint(get(simulator))
    assert "cannot be reached" in what
    assert "THINGSPACE_AUTH_STORE" in remedy
    assert simulator.requests == []


def test_a_refused_login_is_told_once_with_what_to_do_in_a_shell(
    simulator: ThingspaceSimulator, account: None, shell: Shell
) -> None:
    shell.set(ACCOUNT[1], "wrong")
    for _ in range(2):
        what, remedy = complaint(get(simulator))
        assert what.startswith("http: error: the login was refused at ")
        assert remedy.endswith("run thingspace-auth clear")
        assert "allow_login" not in what + remedy
    assert len(simulator.login_requests) == 1


@pytest.mark.parametrize(
    "told", ["pip install 'thingspace-auth-adapters[files]'", "thingspace_auth_adapters.requests"]
)
def test_what_is_not_installed_is_told_in_one_line(
    simulator: ThingspaceSimulator,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    told: str,
) -> None:
    """Without the extra of the store it refuses, since each call would log in."""
    if "files" in told:
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    else:
        monkeypatch.setitem(sys.modules, told, None)
    with pytest.raises(SystemExit) as ended:
        ThingspacePlugin().get_auth()
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line


def test_httpie_lists_it() -> None:
    assert "thingspace" in http("--help").stdout


@pytest.mark.once
def test_it_loads_nothing_until_it_is_used() -> None:
    package = "thingspace_auth_adapters"
    loaded = modules_after(f"import httpie.plugins, {package}.httpie_plugin")
    loaded -= modules_after("import httpie.plugins")
    assert f"{package}.httpie_plugin" in loaded
    assert loaded.isdisjoint({"requests", f"{package}.requests", f"{package}.stores"})
