"""Running commands in the tests' own process, and what they say."""

from __future__ import annotations

import io
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from thingspace_auth_adapters.__main__ import main
from thingspace_auth_adapters.simulator import ThingspaceSimulator

PREFIX = "THINGSPACE_OAUTH_OAUTH_CLIENT_"
SECRET = "s3cr3t-of-the-key"
PASSWORD = "p4ssw0rd-of-the-user"
ACCOUNT = ("VZ_M2M_USERNAME", "VZ_M2M_PASSWORD", "VZ_M2M_TOKEN_VZ_M2M_TOKEN")
VARIABLES = (
    f"{PREFIX}ID",
    f"{PREFIX}SECRET",
    "THINGSPACE_OAUTH_OAUTH_CLOCK_SKEW",
    "THINGSPACE_BASE_URL",
    *ACCOUNT,
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
    assert SECRET not in out + err
    assert PASSWORD not in out + err
    note, err = without_note(err)
    return Ran(status, out, err, note)


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
