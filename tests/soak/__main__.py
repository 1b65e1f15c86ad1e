"""Runs the soak, and says in one line how it went."""

from __future__ import annotations

import argparse
import logging
import random
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from thingspace_auth_adapters import VzM2mCredentials
from thingspace_auth_adapters.simulator import ThingspaceSimulator

from ..support.fleet import Fleet, forking
from ..support.kinds import ALL, Kind
from ..support.real import options_for
from ..support.store_kinds import file_kind
from .callers import REQUEST_SECONDS, Callers, Record
from .crew import Crew
from .judge import TIMEOUT, TOKEN_SECONDS, Deeds, Judge
from .network import Network

HARM = {"/oauth2/": 0.1, "/session/": 0.05, "": 0.05}
KINDS = ("requests", "httpx", "httpx-asyncio", "httpx2", "httpx2-trio")
CALLERS = 3
PROCESSES = 4
_STEP_SECONDS = 1.0
# A minute has room for three logins on account of rejections, those that fail included.
_END_EVERY = 45
_REVOKE_CHANCE = 0.15
_KILL_CHANCE = 0.15
_CALM_SECONDS = 60.0


class Soak:
    """All kinds of callers, and what befalls them.

    Args:
        simulator: the platform.
        elsewhere: a host that is not allowed.
        parent: the port of what forks processes.
        directory: where the processes' store is.
        seconds: how long it lasts.
    """

    def __init__(
        self,
        simulator: ThingspaceSimulator,
        elsewhere: ThingspaceSimulator,
        parent: int,
        directory: Path,
        seconds: float,
    ) -> None:
        self._simulator = simulator
        self._elsewhere = elsewhere
        self._seconds = seconds
        self._network = Network(int(simulator.url.rpartition(":")[2]), HARM)
        self._record = Record()
        self._revoked_at: list[float] = []
        self._ended_at: list[float] = []
        self._freed_at: list[float] = []
        options = {**options_for(simulator), "base_url": self._network.url, "timeout": TIMEOUT}
        account = VzM2mCredentials(simulator.username, simulator.password)
        foreign = elsewhere.url + "/api/m2m/v1/devices"
        self._groups = [
            Callers(kind, options, account, foreign, self._record, CALLERS)
            for kind in installed_kinds()
        ]
        self._fleet = Fleet(parent, simulator, directory, seconds)
        store = file_kind(directory)
        adapter = self._groups[0].kind
        self._operator = adapter.auth(**options, m2m=account, store=store.make())
        self._crew = Crew(self._fleet, store.code, options, self._record, PROCESSES)

    def run(self) -> list[str]:
        """Let it last; what should not have been."""
        groups: list[Any] = [*self._groups, self._crew]
        for group in self._groups:
            group.prepare()
        threads = [threading.Thread(target=one.call) for one in groups]
        for thread in threads:
            thread.start()
        ends_at, step = time.monotonic() + self._seconds, 0
        while time.monotonic() < ends_at:
            time.sleep(_STEP_SECONDS)
            step += 1
            self._meddle(step)
        self._network.is_calm = True
        self._free()
        self._record.is_over.set()
        stuck = [thread for thread in threads if not joined(thread)]
        self._fleet.end()
        findings = [f"{len(stuck)} groups of callers did not end"] if stuck else []
        return [*findings, *self._judge.findings(), *self._of_the_calm_after()]

    @property
    def summary(self) -> str:
        return self._judge.summary(self._seconds)

    @property
    def _judge(self) -> Judge:
        deeds = Deeds(self._revoked_at, self._ended_at, self._freed_at, self._crew.killed)
        calls = list(self._record.calls)
        parties = self._simulator, self._elsewhere
        return Judge(calls, self._network, *parties, deeds, len(self._groups) + 1)

    def _meddle(self, step: int) -> None:
        """What the platform, an operator and chance do."""
        if step % _END_EVERY == 0:
            self._ended_at.append(time.time())
            self._simulator.end_sessions()
        if random.random() < _REVOKE_CHANCE:
            self._revoked_at.append(time.time())
            self._simulator.revoke()
        if random.random() < _KILL_CHANCE:
            self._crew.kill()
        if any(call.outcome == "M2mLoginError" for call in self._record.calls[-50:]):
            self._free()

    def _free(self) -> None:
        """What an operator does once logins are barred."""
        self._freed_at.append(time.time())
        self._operator.allow_login()
        for group in self._groups:
            if not group.kind.is_async:
                group.auth.allow_login()

    def _of_the_calm_after(self) -> list[str]:
        """Every object serves again, whatever happened to it."""
        url = self._network.url + "/api/m2m/v1/devices"
        findings = []
        for group in self._groups:
            status = group.kind.get(group.auth, url, timeout=REQUEST_SECONDS).status
            if status != 200:
                findings.append(f"{group.kind.name} gets {status} after all is calm again")
        return findings


def installed_kinds() -> list[Kind]:
    return [kind for kind in ALL if kind.name in KINDS and kind.is_installed]


def joined(thread: threading.Thread) -> bool:
    thread.join(_CALM_SECONDS)
    return not thread.is_alive()


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="how long it lasts")
    seconds = parser.parse_args().seconds
    # One line is to come, and what it warns of here is what the soak is for.
    logging.getLogger("thingspace_auth_adapters").setLevel(logging.ERROR)
    with (
        forking() as parent,
        ThingspaceSimulator(token_lifetime=TOKEN_SECONDS, sessions_required=True) as simulator,
        ThingspaceSimulator() as elsewhere,
        tempfile.TemporaryDirectory() as directory,
    ):
        soak = Soak(simulator, elsewhere, parent, Path(directory), seconds)
        findings = soak.run()
    for finding in findings:
        print(finding)
    print(f"{soak.summary}: {f'{len(findings)} findings' if findings else 'clean'}")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
