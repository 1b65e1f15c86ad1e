"""Processes that log in to one account, with a store that they share or without one.

fleet_worker forks them.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any

from thingspace_auth_adapters.simulator import ThingspaceSimulator

from .real import PATIENCE, options_for

WORKER = Path(__file__).parent / "fleet_worker.py"
KILLED = "killed"
SHORT_LOCK_SECONDS = 3


class Worker:
    """A process of the fleet.

    Args:
        parent: the port of what forks it.
        task: what it is to be.
    """

    def __init__(self, parent: int, task: dict[str, Any]) -> None:
        with socket.create_connection(("127.0.0.1", parent), PATIENCE) as connection:
            connection.settimeout(None)
            self._lines = connection.makefile("rw")
        print(json.dumps(task), file=self._lines, flush=True)
        self.process_id = int(self._lines.readline())

    def begin(self, number: str = "0", ahead: float = 0.0) -> None:
        """Have it begin a request, which says this number, with its clock so far ahead."""
        with contextlib.suppress(OSError):
            print(number, ahead, file=self._lines, flush=True)

    def outcome(self) -> dict[str, Any]:
        """What came of the request."""
        line = ""
        with contextlib.suppress(OSError):
            line = self._lines.readline()
        outcome: dict[str, Any] = json.loads(line) if line else {"result": KILLED}
        return outcome

    def signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process_id, number)

    def end(self) -> None:
        self.signal(signal.SIGKILL)
        with contextlib.suppress(OSError):
            self._lines.close()


class Fleet:
    """Processes that log in to one account.

    Args:
        parent: the port of what forks them.
        simulator: the platform.
        directory: where they write their errors.
        seconds: how long they work at most: whatever hangs then is killed.
    """

    def __init__(
        self, parent: int, simulator: ThingspaceSimulator, directory: Path, seconds: float
    ) -> None:
        self._parent = parent
        self._simulator = simulator
        self._errors = directory / "errors"
        self.username = simulator.username
        self.workers: list[Worker] = []
        self._watchdog = threading.Timer(seconds + 5 * PATIENCE, self._kill)
        self._watchdog.daemon = True
        self._watchdog.start()

    def start(self, store: str, **changes: Any) -> Worker:
        """A process that is ready to send a request; ``store`` is the code that makes its store."""
        simulator = self._simulator
        task = {
            "m2m": [simulator.username, simulator.password],
            "idle_timeout": 1200,
            "lock_seconds": 0,
            "request_seconds": 120,
            "has_full_disk": False,
            "dies_in_write": 0,
            "errors": str(self._errors),
            **changes,
            "options": {**options_for(simulator), **changes.get("options", {})},
            "store": store,
        }
        worker = Worker(self._parent, task)
        self.workers.append(worker)
        return worker

    @property
    def errors(self) -> str:
        """What they wrote of errors."""
        return self._errors.read_text(encoding="utf-8")

    def end(self) -> None:
        self._watchdog.cancel()
        for worker in self.workers:
            worker.end()

    def _kill(self) -> None:
        for worker in self.workers:
            worker.signal(signal.SIGKILL)


@contextlib.contextmanager
def forking(*prefix: str) -> Generator[int, None, None]:
    """The port of what forks the fleet's processes; ``prefix`` is a command that starts it."""
    environment = {**os.environ}
    environment.pop("COVERAGE_PROCESS_START", None)
    with subprocess.Popen(
        [*prefix, sys.executable, str(WORKER)], env=environment, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


def request_of_each(workers: list[Worker], ahead: float = 0.0) -> list[dict[str, Any]]:
    """What comes of a request that all of them send at the same time."""
    for worker in workers:
        worker.begin(ahead=ahead)
    return [worker.outcome() for worker in workers]
