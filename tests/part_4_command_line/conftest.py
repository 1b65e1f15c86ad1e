"""What tests of commands share: an environment, and a simulated ThingSpace to which it leads."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from thingspace_auth_adapters.simulator import ThingspaceSimulator

from ..support.command_line import (
    PASSWORD,
    SECRET,
    Check,
    Shell,
    add_account,
    point_to,
    set_up,
)
from ..support.simulator_client import Client, Clock, client_of


@pytest.fixture
def shell(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Shell:
    """Without credentials, with a store of its own, and nobody to be asked."""
    set_up(monkeypatch, tmp_path / "store")
    return Shell(capsys, monkeypatch)


@pytest.fixture
def simulator(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> Iterator[ThingspaceSimulator]:
    """A simulated ThingSpace, and the key and the secret for it in the environment."""
    with ThingspaceSimulator(client_secret=SECRET, password=PASSWORD) as simulated:
        point_to(simulated, monkeypatch)
        shell.simulator = simulated
        yield simulated


@pytest.fixture
def account(simulator: ThingspaceSimulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The M2M account's user name and password in the environment."""
    add_account(simulator, monkeypatch)


@pytest.fixture
def lost_store(shell: Shell, tmp_path: Path) -> None:
    """A store that cannot be reached."""
    (tmp_path / "file").touch()
    shell.set("THINGSPACE_AUTH_STORE", tmp_path / "file" / "store")


@pytest.fixture
def check(shell: Shell, simulator: ThingspaceSimulator) -> Check:
    return Check(shell, simulator)


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


# What tests of the simulator share.


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def client(clock: Clock) -> Iterator[Client]:
    """A client of a simulator on that clock."""
    with ThingspaceSimulator(clock=clock) as running, client_of(running) as connected:
        connected.clock = clock
        yield connected
