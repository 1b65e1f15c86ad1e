"""Running commands in the tests' own process, and what they say."""

from __future__ import annotations

import io
import json
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from thingspace_auth_adapters.__main__ import main
from thingspace_auth_adapters.simulator import ThingspaceSimulator

PREFIX = "THINGSPACE_OAUTH_OAUTH_CLIENT_"
SECRET = "s3cr3t-of-the-key"
PASSWORD = "p4ssw0rd-of-the-user"
PROXY_PASSWORD = "pr0xy-p4ssw0rd"
ACCOUNT = ("VZ_M2M_USERNAME", "VZ_M2M_PASSWORD", "VZ_M2M_TOKEN_VZ_M2M_TOKEN")
PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY")
VARIABLES = (
    f"{PREFIX}ID",
    f"{PREFIX}SECRET",
    "THINGSPACE_OAUTH_OAUTH_CLOCK_SKEW",
    "THINGSPACE_BASE_URL",
    *ACCOUNT,
    *PROXIES,
    *(name.lower() for name in PROXIES),
    *("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"),
)


class Terminal(io.StringIO):
    """Somebody who types these lines."""

    def isatty(self) -> bool:
        return True


class Ran(NamedTuple):
    """What became of a command.

    Attributes:
        status: the exit status.
        out: what it wrote to stdout.
        err: what it wrote to stderr, without ``note``.
        note: the line that says that the simulator's host is not ThingSpace's.
    """

    status: int
    out: str
    err: str
    note: str = ""

    @property
    def complaint(self) -> str:
        """What went wrong: one line that says what, and nothing but one more, what to do."""
        # A question that was not answered ends its line first.
        first, *others = self.err.lstrip("\n").splitlines()
        assert first.startswith("thingspace-auth: ")
        assert len(others) < 2
        assert all(line.startswith("  ") for line in others)
        assert "Traceback" not in self.err
        return first

    @property
    def remedy(self) -> str:
        """What to do about it."""
        return self.err.splitlines()[1].strip()


def set_up(monkeypatch: pytest.MonkeyPatch, store: Path) -> None:
    """An environment without credentials, a store of the test's own, and nobody to be asked."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("THINGSPACE_AUTH_STORE", str(store))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys, "stdin", io.StringIO())


def point_to(simulator: ThingspaceSimulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the key, the secret and the URL of a simulator into the environment."""
    monkeypatch.setenv(f"{PREFIX}ID", simulator.client_id)
    monkeypatch.setenv(f"{PREFIX}SECRET", SECRET)
    monkeypatch.setenv("THINGSPACE_BASE_URL", simulator.url)


def add_account(simulator: ThingspaceSimulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the M2M account's user name and password into the environment."""
    monkeypatch.setenv("VZ_M2M_USERNAME", simulator.username)
    monkeypatch.setenv("VZ_M2M_PASSWORD", PASSWORD)


@contextmanager
def simulated(monkeypatch: pytest.MonkeyPatch) -> Iterator[ThingspaceSimulator]:
    """A simulated ThingSpace, and key, secret and account for it in the environment."""
    with ThingspaceSimulator(client_secret=SECRET, password=PASSWORD) as simulator:
        point_to(simulator, monkeypatch)
        add_account(simulator, monkeypatch)
        yield simulator


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> Ran:
    """Run a command, whose output has no secret in it."""
    capsys.readouterr()
    status = main(arguments)
    out, err = capsys.readouterr()
    for secret in (SECRET, PASSWORD, PROXY_PASSWORD):
        assert secret not in out + err
    note, err = without_note(err)
    return Ran(status, out, err, note)


class Shell:
    """Runs commands in an environment that a test makes; no secret is in what they say."""

    simulator: ThingspaceSimulator
    """To which the environment leads, where there is one."""

    def __init__(self, capture: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch) -> None:
        self._capture = capture
        self.patch = patch

    def __call__(self, *arguments: str) -> Ran:
        return run(self._capture, *arguments)

    def out(self, *arguments: str) -> str:
        """What a command prints that succeeds, and has nothing else to say."""
        ran = self(*arguments)
        assert (ran.status, ran.err) == (0, "")
        return ran.out

    def json(self, *arguments: str) -> Any:
        return json.loads(self.out(*arguments, "--json"))

    def failure(self, *arguments: str, status: int = 1) -> Ran:
        """What a command says that fails, in one line or two."""
        ran = self(*arguments)
        assert ran.status == status
        assert ran.complaint
        return ran

    def set(self, name: str, value: object) -> None:
        self.patch.setenv(name, str(value))

    def unset(self, *names: str) -> None:
        for name in names:
            self.patch.delenv(name, raising=False)

    def type(self, *lines: str, secret: Any = None) -> Terminal:
        """Have somebody sit at a terminal, who answers questions like this."""
        terminal = Terminal("".join(f"{line}\n" for line in lines))
        self.patch.setattr(sys, "stdin", terminal)
        if secret is not None:
            self.patch.setattr("getpass.getpass", secret)
        return terminal


class Line(NamedTuple):
    """What ``check`` says of one step."""

    verdict: str
    step: str
    what: str
    remedy: str


class Checked(NamedTuple):
    """What a check came to."""

    status: int
    lines: list[Line]
    err: str

    @property
    def wrong(self) -> Line:
        """The only thing that is wrong."""
        assert self.status == 1
        assert len(self.err.splitlines()) == 1
        (wrong,) = (line for line in self.lines if line.verdict == "wrong")
        assert wrong.remedy
        assert wrong.step in self.err
        return wrong

    def line(self, step: str) -> Line:
        return next(line for line in self.lines if line.step == step)


class Check:
    """Runs ``check``, whose output has no secret in it, and no token."""

    def __init__(self, shell: Shell, simulator: ThingspaceSimulator) -> None:
        self.shell = shell
        self.simulator = simulator

    def __call__(self, *arguments: str) -> Checked:
        ran = self.shell("check", *arguments)
        tokens = self.simulator.issued_tokens + self.simulator.issued_sessions
        assert not any(token in ran.out + ran.err for token in tokens)
        return Checked(ran.status, list(self._lines(ran.out)), ran.err)

    def json(self, *arguments: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.shell("check", "--json", *arguments).out)
        return found

    def _lines(self, out: str) -> Iterator[Line]:
        """A line for each step, below it another if there is something to do."""
        entries: list[tuple[str, ...]] = []
        for text in out.splitlines():
            verdict, rest = text[:14].strip(), text[14:]
            if verdict:
                entries.append((verdict, rest))
            else:
                entries[-1] += (rest,)
        for verdict, told, *remedy in entries:
            step, _, what = told.partition(": ")
            yield Line(verdict, step, what, *remedy or [""])


def raising(error: BaseException) -> Any:
    """A function that raises this."""

    def fail(*args: object, **kwargs: object) -> Any:
        raise error

    return fail


def without_note(err: str) -> tuple[str, str]:
    """The line on the host of a simulator, and what else is on stderr."""
    lines = err.splitlines(keepends=True)
    notes = [line for line in lines if line.startswith("thingspace-auth: note: ")]
    assert len(notes) < 2
    return "".join(notes), "".join(line for line in lines if line not in notes)


def exported(lines: str) -> dict[str, str]:
    """The variables that a shell would have after these lines."""
    words = [shlex.split(line) for line in lines.splitlines()]
    assert all(len(line) == 2 and line[0] == "export" for line in words)
    return dict(line[1].split("=", 1) for line in words)
