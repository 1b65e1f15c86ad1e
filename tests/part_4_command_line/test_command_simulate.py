"""Part 4: ``thingspace-auth simulate`` serves until it is interrupted, or beside a command."""

from __future__ import annotations

import os
import platform
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("click")
pytest.importorskip("rich")
pytest.importorskip("dotenv")

from thingspace_auth_adapters import VzM2mCredentials
from thingspace_auth_adapters.cli import simulate
from thingspace_auth_adapters.simulator import ThingspaceSimulator

from ..support.command_line import ACCOUNT, PREFIX, Ran, Shell, exported, raising, run, set_up
from ..support.kinds import INSTALLED, Kind

pytestmark = pytest.mark.usefixtures("interruptible")

posix_only = pytest.mark.skipif(os.name != "posix", reason="there are no such signals")
VARIABLES = {PREFIX + "ID", PREFIX + "SECRET", "THINGSPACE_BASE_URL", *ACCOUNT[:2]}


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    set_up(monkeypatch, tmp_path / "store")


@contextmanager
def started(*arguments: str) -> Iterator[Any]:
    """The simulator in a process group of its own, as a terminal has it."""
    with subprocess.Popen(
        [sys.executable, "-m", "thingspace_auth_adapters", "simulate", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


# By itself.


@posix_only
def test_it_serves_every_kind_of_client_until_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    with started("--sessions-required") as process:
        variables = exported("".join(process.stdout.readline() for _ in range(5)))
        assert set(variables) == VARIABLES
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        for kind in INSTALLED:
            assert_both_tokens_are_renewed(kind, variables)
        assert "stop it with Ctrl-C" in process.stderr.readline()
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "\nthe simulated ThingSpace was stopped\n")


def assert_both_tokens_are_renewed(kind: Kind, variables: dict[str, str]) -> None:
    options: dict[str, Any] = {
        "oauth_client_id": variables[PREFIX + "ID"],
        "oauth_client_secret": variables[PREFIX + "SECRET"],
        "base_url": variables["THINGSPACE_BASE_URL"],
    }
    auth, other = kind.auth(**options), kind.auth(**options)
    url = options["base_url"] + "/api/m2m/v1/devices"
    assert kind.get(auth, url).status == 400
    auth.m2m = VzM2mCredentials.from_environment()
    assert kind.get(auth, url).status == 200
    other.m2m = kind.get(auth, url).sent["vz-m2m-token"]
    kind.end_session(other)
    seen = kind.get(auth, url)
    assert (seen.status, seen.history) == (200, [400])
    assert auth.oauth_token.access_token == other.oauth_token.access_token
    kind.revoke_token(other)
    assert [kind.get(auth, url).history for _ in range(2)] == [[401], []]


def test_it_can_have_a_lifetime_of_tokens_and_a_port(shell: Shell) -> None:
    made: list[ThingspaceSimulator] = []
    start = ThingspaceSimulator.start

    def watched(self: ThingspaceSimulator) -> None:
        made.append(self)
        start(self)

    shell.patch.setattr(ThingspaceSimulator, "start", watched)
    sleep = raising(KeyboardInterrupt())
    shell.patch.setattr(simulate, "time", SimpleNamespace(sleep=sleep))
    ran = shell("simulate", "--port", "0", "--token-lifetime", "2.5")
    assert ran.status == 0
    assert set(exported(ran.out)) == VARIABLES
    assert made[0].token_lifetime == 2.5


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (None, "is not free"),
        (PermissionError(13, "Denied"), "not for every user"),
        (OSError(5, "I/O error"), "I/O error"),
    ],
)
def test_a_port_that_cannot_be_had(shell: Shell, error: OSError | None, told: str) -> None:
    if error is not None:
        shell.patch.setattr(ThingspaceSimulator, "start", raising(error))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        ran = shell.failure("simulate", "--port", str(port))
    assert told in ran.complaint
    if error is None:
        assert f"port {port} of 127.0.0.1" in ran.complaint
        assert "--port" in ran.remedy


@pytest.mark.parametrize(
    ("option", "values", "told"),
    [
        ("--port", ["99999", "-1", "http", "", "1e3", "0x50", "\u0661"], "a port from 0 to 65535"),
        ("--token-lifetime", ["-5", "nan", "inf", "soon"], "a number of seconds"),
    ],
)
def test_a_port_or_a_lifetime_that_is_none(
    shell: Shell, option: str, values: list[str], told: str
) -> None:
    for value in values:
        ran = shell.failure("simulate", f"{option}={value}", status=2)
        assert f"{option} must be {told}" in ran.complaint


# Beside a command.


@pytest.fixture
def beside(capfd: pytest.CaptureFixture[str]) -> Any:
    """Runs the simulator beside a program in Python."""

    def run_beside(code: str, *arguments: str, options: tuple[str, ...] = ()) -> Ran:
        return run(capfd, "simulate", *options, "--", sys.executable, "-c", code, *arguments)

    return run_beside


SHOW_VARIABLES = """
import os, sys
names = ("THINGSPACE_OAUTH", "THINGSPACE_BASE_URL", "VZ_")
for name in sorted(os.environ):
    if name.startswith(names):
        print(f"export {name}={os.environ[name]}")
print(sys.argv[1:])
sys.exit(7)
"""


def test_beside_a_command_it_sets_the_variables_and_ends_with_its_status(
    beside: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PREFIX + "SECRET", "a-real-one")
    monkeypatch.setenv(ACCOUNT[2], "a-real-session")
    ran = beside(SHOW_VARIABLES, "--port", "--", "x y")
    assert (ran.status, ran.err) == (7, "")
    *lines, arguments = ran.out.splitlines()
    variables = exported("\n".join(lines))
    assert variables["THINGSPACE_BASE_URL"].startswith("http://127.0.0.1:")
    assert set(variables) == VARIABLES
    assert variables[PREFIX + "SECRET"] != "a-real-one"
    assert arguments == "['--port', '--', 'x y']"


ASK_FOR_TOKENS = """
import os
from thingspace_auth_adapters.cli.clients import installed
client = installed()[0]
auth = client.auth(
    oauth_client_id=os.environ["THINGSPACE_OAUTH_OAUTH_CLIENT_ID"],
    oauth_client_secret=os.environ["THINGSPACE_OAUTH_OAUTH_CLIENT_SECRET"],
    base_url=os.environ["THINGSPACE_BASE_URL"],
)
print(client.get(auth, auth.base_url + "/api/x?key=hush", 1))
"""


@pytest.mark.parametrize("options", [(), ("--log",)], ids=["silent", "log"])
def test_it_logs_each_request_once_and_without_secrets_if_asked_to(
    beside: Any, options: tuple[str, ...]
) -> None:
    ran = beside(ASK_FOR_TOKENS, options=options)
    assert (ran.status, ran.out) == (0, "[200]\n")
    logged = [line.split(" ", 1)[1] for line in ran.err.splitlines()]
    wanted = ["POST /api/ts/v1/oauth2/token 200", "GET /api/x 200"]
    assert logged == (wanted if options else [])


def test_an_option_after_the_command_is_the_commands(capfd: pytest.CaptureFixture[str]) -> None:
    ran = run(capfd, "simulate", sys.executable, "--version")
    assert (ran.status, ran.out) == (0, f"Python {platform.python_version()}\n")


@posix_only
def test_a_command_that_a_signal_ended_has_the_status_of_a_shell(beside: Any) -> None:
    assert beside("import os; os.kill(os.getpid(), 9)").status == 128 + 9


@posix_only
def test_a_command_that_cannot_be_run_has_the_status_of_a_shell(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    ran = run(capfd, "simulate", "--", "no-such-command-hush")
    assert (ran.status, "was not found" in ran.complaint) == (127, True)
    assert "hush" not in ran.err
    file = tmp_path / "no-program"
    file.touch(mode=0o700)
    file.write_bytes(b"\x7fELF")
    ran = run(capfd, "simulate", "--", str(file))
    assert (ran.status, "could not be started" in ran.complaint) == (126, True)


WAIT_FOR_SIGNAL = """
import os, signal, sys, time
def end(number, frame):
    # Not by print, in which the signal may have come.
    os.write(1, f"cleaned up {int(number)}\\n".encode())
    sys.exit(5)
for name in sys.argv[1:]:
    signal.signal(getattr(signal, name), end)
print("ready", flush=True)
for _ in range(600):
    time.sleep(0.1)
"""


@posix_only
@pytest.mark.parametrize(
    ("name", "to_group"), [("SIGINT", True), ("SIGTERM", False), ("SIGHUP", False)]
)
def test_a_command_is_left_to_clean_up_after_a_signal(name: str, to_group: bool) -> None:
    number = getattr(signal, name)
    with started("--", sys.executable, "-c", WAIT_FOR_SIGNAL, name) as process:
        assert process.stdout.readline() == "ready\n"
        # The terminal tells all; kill tells one, which passes it on.
        (os.killpg if to_group else os.kill)(process.pid, number)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (5, f"cleaned up {int(number)}\n", "")


@posix_only
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_that_is_ignored_is_ignored_by_the_command_too(beside: Any, name: str) -> None:
    number = getattr(signal, name)
    usual = signal.signal(number, signal.SIG_IGN)
    try:
        code = "import signal, sys; print(signal.getsignal(int(sys.argv[1])) is signal.SIG_IGN)"
        assert beside(code, str(int(number))).out == "True\n"
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, usual)


@posix_only
def test_a_signal_that_comes_before_the_command_runs_is_passed_on_to_it(
    beside: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = subprocess.Popen

    def start(*args: Any, **options: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return usual(*args, **options)

    monkeypatch.setattr(subprocess, "Popen", start)
    assert beside("import time; time.sleep(60)").status == 128 + signal.SIGTERM


def test_a_system_without_hangups_has_none_to_pass_on(
    beside: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(signal, "SIGHUP", raising=False)
    assert beside("pass").status == 0


def test_a_request_is_logged_when_it_was_answered_and_not_again(
    capfd: pytest.CaptureFixture[str],
) -> None:
    answered = SimpleNamespace(at=0.0, method="GET", path="/api/x", status=200)
    under_way = SimpleNamespace(at=0.0, method="GET", path="/api/y", status=None)
    requests = [answered, under_way]
    log = simulate._Log(SimpleNamespace(requests=requests))  # type: ignore[arg-type]
    log.tell_new()
    under_way.status = 401
    log.tell_new()
    told = [line.split(" ", 1)[1] for line in capfd.readouterr().err.splitlines()]
    assert told == ["GET /api/x 200", "GET /api/y 401"]
