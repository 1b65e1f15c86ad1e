"""``thingspace-auth simulate``: until it is interrupted, and beside a command."""

from __future__ import annotations

import os
import platform
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("click")
pytest.importorskip("rich")
pytest.importorskip("dotenv")

from thingspace_auth_adapters.cli import clients, simulate
from thingspace_auth_adapters.simulator import ThingspaceSimulator

from ..support.command_line import ACCOUNT, PREFIX, Ran, exported, run, set_up

CLIENTS = [client for client in clients.CLIENTS if client.is_installed]
posix_only = pytest.mark.skipif(os.name != "posix", reason="there are no such signals")


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    set_up(monkeypatch, tmp_path / "store")


def test_it_serves_until_interrupted_which_is_no_failure(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = iter([None])

    def sleep(seconds: float) -> None:
        if next(turns, "interrupted"):
            raise KeyboardInterrupt

    monkeypatch.setattr(simulate, "time", SimpleNamespace(sleep=sleep))
    ran = run(capsys, "simulate", "--port", "0", "--token-lifetime", "2.5")
    assert ran.status == 0
    variables = exported(ran.out)
    assert variables["THINGSPACE_BASE_URL"].startswith("http://127.0.0.1:")
    assert set(variables) == {PREFIX + "ID", PREFIX + "SECRET", "THINGSPACE_BASE_URL", *ACCOUNT[:2]}
    first, *_, last = ran.err.splitlines()
    assert first.endswith(": stop it with Ctrl-C")
    assert last == "the simulated ThingSpace was stopped"


def test_it_logs_each_request_once_and_without_secrets(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = iter(range(3))
    made: list[ThingspaceSimulator] = []

    class Watched(ThingspaceSimulator):
        def start(self) -> None:
            super().start()
            made.append(self)

    def sleep(seconds: float) -> None:
        turn = next(turns, None)
        if turn is None:
            raise KeyboardInterrupt
        if turn == 0:
            client = CLIENTS[0]
            auth = client.auth(
                oauth_client_id=made[0].client_id,
                oauth_client_secret=made[0].client_secret,
                base_url=made[0].url,
            )
            client.get(auth, made[0].url + "/api/x?key=hush", 1)

    monkeypatch.setattr("thingspace_auth_adapters.simulator.ThingspaceSimulator", Watched)
    clock = SimpleNamespace(sleep=sleep, strftime=time.strftime, localtime=time.localtime)
    monkeypatch.setattr(simulate, "time", clock)
    ran = run(capsys, "simulate", "--log")
    logged = [line.split(" ", 1)[1] for line in ran.err.splitlines() if line[2:3] == ":"]
    assert logged == ["POST /api/ts/v1/oauth2/token 200", "GET /api/x 200"]
    assert "hush" not in ran.err
    assert made[0].issued_tokens[0] not in ran.err


def test_a_busy_port_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        ran = run(capsys, "simulate", "--port", str(port))
    assert ran.status == 1
    assert f"port {port} of 127.0.0.1 is not free" in ran.complaint
    assert "--port" in ran.remedy


@pytest.mark.parametrize(
    ("error", "told"),
    [(PermissionError(13, "Denied"), "not for every user"), (OSError(5, "I/O error"), "I/O error")],
)
def test_a_port_that_cannot_be_had(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: OSError, told: str
) -> None:
    def fail(self: object) -> None:
        raise error

    monkeypatch.setattr(ThingspaceSimulator, "start", fail)
    ran = run(capsys, "simulate", "--port", "80")
    assert ran.status == 1
    assert told in ran.complaint


@pytest.mark.parametrize("port", ["99999", "-1", "http", "", "1e3", "0x50", "\u0661"])
def test_a_port_that_does_not_exist(capsys: pytest.CaptureFixture[str], port: str) -> None:
    ran = run(capsys, "simulate", f"--port={port}")
    assert ran.status == 2
    assert "--port must be a port from 0 to 65535" in ran.complaint


@pytest.mark.parametrize("seconds", ["-5", "nan", "inf", "soon"])
def test_a_lifetime_that_is_none(capsys: pytest.CaptureFixture[str], seconds: str) -> None:
    ran = run(capsys, "simulate", f"--token-lifetime={seconds}")
    assert ran.status == 2
    assert "--token-lifetime must be a number of seconds" in ran.complaint


def beside(capfd: pytest.CaptureFixture[str], code: str, *arguments: str) -> Ran:
    """Run the simulator beside a program in Python."""
    return run(capfd, "simulate", "--", sys.executable, "-c", code, *arguments)


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
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PREFIX + "SECRET", "a-real-one")
    monkeypatch.setenv(ACCOUNT[2], "a-real-session")
    ran = beside(capfd, SHOW_VARIABLES, "--port", "--", "x y")
    assert (ran.status, ran.err) == (7, "")
    *lines, arguments = ran.out.splitlines()
    variables = exported("\n".join(lines))
    assert variables["THINGSPACE_BASE_URL"].startswith("http://127.0.0.1:")
    assert set(variables) == {PREFIX + "ID", PREFIX + "SECRET", "THINGSPACE_BASE_URL", *ACCOUNT[:2]}
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
print(client.get(auth, auth.base_url + "/api/x", 1))
"""


@pytest.mark.parametrize("options", [[], ["--log"]])
def test_beside_a_command_it_logs_only_if_asked_to(
    capfd: pytest.CaptureFixture[str], options: list[str]
) -> None:
    ran = run(capfd, "simulate", *options, "--", sys.executable, "-c", ASK_FOR_TOKENS)
    assert (ran.status, ran.out) == (0, "[200]\n")
    logged = [line.split(" ", 1)[1] for line in ran.err.splitlines()]
    wanted = ["POST /api/ts/v1/oauth2/token 200", "GET /api/x 200"]
    assert logged == (wanted if options else [])


def test_an_option_after_the_command_is_the_commands(capfd: pytest.CaptureFixture[str]) -> None:
    ran = run(capfd, "simulate", sys.executable, "--version")
    assert (ran.status, ran.out) == (0, f"Python {platform.python_version()}\n")


@posix_only
def test_a_command_that_a_signal_ended_has_the_status_of_a_shell(
    capfd: pytest.CaptureFixture[str],
) -> None:
    ran = beside(capfd, "import os; os.kill(os.getpid(), 9)")
    assert ran.status == 128 + 9


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


def started(*arguments: str) -> subprocess.Popen[str]:
    """The simulator in a process group of its own, as a terminal has it."""
    return subprocess.Popen(
        [sys.executable, "-m", "thingspace_auth_adapters", "simulate", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@posix_only
@pytest.mark.parametrize(
    ("name", "to_group"), [("SIGINT", True), ("SIGTERM", False), ("SIGHUP", False)]
)
def test_a_command_is_left_to_clean_up_after_a_signal(name: str, to_group: bool) -> None:
    number = getattr(signal, name)
    with started("--", sys.executable, "-c", WAIT_FOR_SIGNAL, name) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        # The terminal tells all; kill tells one, which passes it on.
        (os.killpg if to_group else os.kill)(process.pid, number)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (5, f"cleaned up {int(number)}\n", "")


@posix_only
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_that_is_ignored_is_ignored_by_the_command_too(
    capfd: pytest.CaptureFixture[str], name: str
) -> None:
    number = getattr(signal, name)
    usual = signal.signal(number, signal.SIG_IGN)
    try:
        code = "import signal, sys; print(signal.getsignal(int(sys.argv[1])) is signal.SIG_IGN)"
        assert beside(capfd, code, str(int(number))).out == "True\n"
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, usual)


@posix_only
def test_ctrl_c_that_it_asked_for_ends_it_with_a_plain_line() -> None:
    with started() as process:
        assert process.stderr is not None
        assert "stop it with Ctrl-C" in process.stderr.readline()
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "\nthe simulated ThingSpace was stopped\n")


@posix_only
def test_a_signal_that_comes_before_the_command_runs_is_passed_on_to_it(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = subprocess.Popen

    def start(*args: Any, **options: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return usual(*args, **options)

    monkeypatch.setattr(subprocess, "Popen", start)
    assert beside(capfd, "import time; time.sleep(60)").status == 128 + signal.SIGTERM


def test_a_system_without_hangups_has_none_to_pass_on(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(signal, "SIGHUP", raising=False)
    assert beside(capfd, "pass").status == 0
