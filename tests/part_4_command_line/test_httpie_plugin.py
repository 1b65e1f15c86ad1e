"""Part 4: ``http -A thingspace URL``, with the real HTTPie."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any, Callable, NamedTuple

import pytest

pytest.importorskip("click")
pytest.importorskip("filelock")
pytest.importorskip("platformdirs")
pytest.importorskip("httpie")

from thingspace_auth_adapters._core import login_guard
from thingspace_auth_adapters.httpie_plugin import ThingspacePlugin
from thingspace_auth_adapters.simulator import ThingspaceSimulator

from ..support.command_line import ACCOUNT, PASSWORD, PREFIX, SECRET, Shell
from ..support.imported import modules_after

# Loading it looks at the terminal, which no test has.
context: Any = pytest.importorskip("httpie.context")
core: Any = pytest.importorskip("httpie.core")
PATH = "/api/m2m/v1/devices"


class Shown(NamedTuple):
    """What HTTPie showed, and its exit status."""

    status: int
    out: str
    err: str


Http = Callable[..., Shown]


@pytest.fixture(autouse=True)
def _quiet(shell: Shell, tmp_path: Path) -> None:
    """HTTPie would look for a newer version of itself."""
    (tmp_path / "httpie").mkdir()
    (tmp_path / "httpie" / "config.json").write_text(json.dumps({"disable_update_warnings": True}))
    shell.set("HTTPIE_CONFIG_DIR", tmp_path / "httpie")


@pytest.fixture
def http(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Http:
    """Calls HTTPie; no secret is in what it shows."""

    def call(*arguments: str) -> Shown:
        # What is remembered is in the store, as if each call were a process of its own.
        login_guard.forget_all()
        with (tmp_path / "out").open("w+") as out, (tmp_path / "err").open("w+") as err:
            environment = context.Environment(
                config_dir=tmp_path / "httpie", stdin=None, stdout=out, stderr=err
            )
            status = core.main(["http", "--ignore-stdin", *arguments], environment)
        texts = [(tmp_path / name).read_text("utf-8") for name in ("out", "err")]
        shown = Shown(int(status), texts[0], texts[1] + capsys.readouterr().err)
        for secret in (SECRET, PASSWORD, "Traceback"):
            assert secret not in shown.out + shown.err
        return shown

    return call


@pytest.fixture
def get(http: Http, simulator: ThingspaceSimulator) -> Http:
    """Requests with the plug-in; a status that is no success is one of HTTPie's, too."""
    url = simulator.url + PATH
    return partial(http, "--check-status", "--headers", "-A", "thingspace", url)


def complaint(shown: Shown) -> list[str]:
    """The lines in which it says why it sent nothing."""
    assert (shown.status, shown.out) == (1, "")
    lines = shown.err.strip().splitlines()
    assert lines[0].startswith("http: error: ")
    return lines


def test_one_token_and_one_session_serve_all_calls_until_they_are_lost(
    get: Http, simulator: ThingspaceSimulator, account: None
) -> None:
    simulator.sessions_required = True
    for _ in range(2):
        shown = get()
        assert (shown.status, shown.err) == (0, "")
        assert "200 OK" in shown.out
    assert len(simulator.token_requests) == len(simulator.login_requests) == 1
    for request in simulator.api_requests:
        assert request.headers["authorization"] == f"Bearer {simulator.issued_tokens[0]}"
        assert request.headers["vz-m2m-token"] == simulator.issued_sessions[0]
    simulator.revoke()
    simulator.end_sessions()
    simulator.clear()
    assert get().status == 0
    assert [request.status for request in simulator.api_requests] == [401, 400, 200]
    assert len(simulator.token_requests) == len(simulator.login_requests) == 1


def test_an_upload_is_repeated_whole(get: Http, simulator: ThingspaceSimulator) -> None:
    get()
    simulator.revoke()
    simulator.clear()
    assert get("name=pump").status == 0
    first, second = simulator.api_requests
    assert first.body == second.body == b'{"name": "pump"}'


@pytest.mark.parametrize("how", ["--multipart", "--chunked"])
def test_an_upload_that_httpie_can_send_only_once_is_not_repeated(
    get: Http, http: Http, simulator: ThingspaceSimulator, how: str
) -> None:
    get()
    simulator.revoke()
    simulator.clear()
    upload = (how, "--headers", "-A", "thingspace", simulator.url + PATH, "name=pump")
    assert "401 UNAUTHORIZED" in http(*upload).out
    assert len(simulator.api_requests) == 1
    assert "200 OK" in http(*upload).out


def test_another_host_gets_no_token_by_a_redirect_or_by_itself(
    get: Http, http: Http, simulator: ThingspaceSimulator, account: None
) -> None:
    with ThingspaceSimulator() as other:
        simulator.fail("api", 302, headers={"Location": other.url + PATH})
        assert "401 UNAUTHORIZED" in get("--follow").out
        assert http("--headers", "-A", "thingspace", other.url + PATH).status == 0
        requests = other.api_requests
    assert "vz-m2m-token" in simulator.api_requests[0].headers
    assert len(requests) == 2
    for request in requests:
        assert not {"authorization", "vz-m2m-token"} & {name.lower() for name in request.headers}


def test_without_credentials_it_says_in_one_line_which_are_missing(
    get: Http, simulator: ThingspaceSimulator, shell: Shell
) -> None:
    shell.unset(PREFIX + "SECRET")
    (line,) = complaint(get())
    assert PREFIX + "SECRET" in line
    assert simulator.requests == []


@pytest.mark.parametrize("given", ["key:a-secret", "key", ""])
def test_credentials_that_are_given_are_an_error_that_says_where_they_come_from(
    get: Http, simulator: ThingspaceSimulator, given: str
) -> None:
    (line,) = complaint(get("-a", given))
    assert PREFIX + "ID" in line
    assert "a-secret" not in line
    assert simulator.requests == []


def test_a_netrc_file_is_not_looked_at(
    get: Http, simulator: ThingspaceSimulator, shell: Shell, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password something\n")
    netrc.chmod(0o600)
    shell.set("NETRC", netrc)
    assert get().status == 0
    assert simulator.api_requests[0].headers["authorization"].startswith("Bearer ")


def test_a_refused_key_is_told_with_what_to_do(
    get: Http, simulator: ThingspaceSimulator, shell: Shell
) -> None:
    shell.set(PREFIX + "SECRET", "another")
    what, remedy = complaint(get())
    assert "invalid_client" in what
    assert PREFIX + "ID" in remedy


@pytest.mark.skipif(os.name != "posix", reason="a path through a file is missing elsewhere")
def test_without_a_store_that_can_be_reached_no_login_is_sent(
    get: Http, simulator: ThingspaceSimulator, account: None, lost_store: None
) -> None:
    what, remedy = complaint(get())
    assert "cannot be reached" in what
    assert "THINGSPACE_AUTH_STORE" in remedy
    assert simulator.requests == []


def test_a_refused_login_is_told_once_with_what_to_do_in_a_shell(
    get: Http, simulator: ThingspaceSimulator, account: None, shell: Shell
) -> None:
    shell.set(ACCOUNT[1], "wrong")
    for _ in range(2):
        what, remedy = complaint(get())
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


def test_httpie_of_the_shell_lists_it() -> None:
    command = [sys.executable, "-m", "httpie", "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert "thingspace" in shown.stdout


@pytest.mark.once
def test_it_loads_nothing_until_it_is_used() -> None:
    package = "thingspace_auth_adapters"
    loaded = modules_after(f"import httpie.plugins, {package}.httpie_plugin")
    loaded -= modules_after("import httpie.plugins")
    assert f"{package}.httpie_plugin" in loaded
    assert loaded.isdisjoint({"requests", f"{package}.requests", f"{package}.stores"})
