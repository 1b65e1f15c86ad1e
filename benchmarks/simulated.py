"""The simulator in a process of its own, so that it does not share the contenders' GIL."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from thingspace_auth_adapters.simulator import ThingspaceSimulator

from .subjects import Endpoint


class Counts(NamedTuple):
    """What the simulator saw since the last reset."""

    token_requests: int
    tokens: int


class _Desk:
    """Carries out, in the simulator's process, what the benchmark asks for."""

    def __init__(self, simulator: ThingspaceSimulator) -> None:
        self._simulator = simulator
        self._tokens_before = 0

    def reset(self, token_lifetime: float, token_latency: float) -> None:
        self._simulator.revoke()
        self._simulator.clear()
        self._simulator.token_lifetime = token_lifetime
        self._simulator.latency["token"] = token_latency
        self._tokens_before = len(self._simulator.issued_tokens)

    def counts(self) -> Counts:
        tokens = len(self._simulator.issued_tokens) - self._tokens_before
        return Counts(len(self._simulator.token_requests), tokens)


class Simulated:
    """The benchmark's end of the line to the simulator."""

    def __init__(self, line: Connection) -> None:
        self._line = line
        url, *secrets = line.recv()
        self.endpoint = Endpoint(f"{url}/api/m2m/v1/devices", url, *secrets)

    def reset(self, token_lifetime: float = 3600, token_latency: float = 0) -> None:
        """Revoke every token, forget what was counted, and set how the token endpoint is."""
        self._ask("reset", token_lifetime, token_latency)

    def counts(self) -> Counts:
        counts: Counts = self._ask("counts")
        return counts

    def _ask(self, method: str, *args: Any) -> Any:
        self._line.send((method, args))
        return self._line.recv()


@contextmanager
def simulated() -> Iterator[Simulated]:
    """A simulator in a new process, for as long as the context lasts."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    try:
        yield Simulated(ours)
    finally:
        ours.send(None)
        process.join(10)


def _serve(line: Connection) -> None:
    with ThingspaceSimulator() as simulator:
        desk = _Desk(simulator)
        key = (simulator.client_id, simulator.client_secret)
        line.send((simulator.url, *key, simulator.username, simulator.password))
        while (message := line.recv()) is not None:
            method, args = message
            line.send(getattr(desk, method)(*args))
