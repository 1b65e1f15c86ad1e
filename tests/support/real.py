"""Helpers for tests with real sockets, threads and event loops: bounded, and patient."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from typing import Any, Callable
from weakref import WeakKeyDictionary

from thingspace_auth_adapters._core.lifecycle import Lifecycle
from thingspace_auth_adapters.simulator import ThingspaceSimulator

from .optional import anyio

PATIENCE = 30.0


def eventually(condition: Callable[[], object]) -> None:
    """Wait until ``condition`` holds, for as long as a slow machine may need."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.002)


async def aeventually(condition: Callable[[], object]) -> None:
    """The same, while the event loop goes on."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        await anyio.sleep(0.002)


_waiting: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
"""How many callers began to wait for each refresh."""


class CountingLifecycle(Lifecycle[Any]):
    """A lifecycle whose waiters the tests can count; conftest puts it in the original's place."""

    def waits_until(self, refresh: Any, caller: Any) -> float:
        if refresh.caller is not caller:
            _waiting[refresh] = _waiting.get(refresh, 0) + 1
        return super().waits_until(refresh, caller)


def waiters(auth: Any, is_login: bool = False) -> int:
    """How many callers wait for the refresh under way, by default that of the access token."""
    tokens = auth._tokens
    refresh = (tokens.sessions if is_login else tokens.bearers)._flight.under_way
    return 0 if refresh is None else _waiting.get(refresh, 0)


def options_for(simulator: ThingspaceSimulator) -> dict[str, Any]:
    return {
        "oauth_client_id": simulator.client_id,
        "oauth_client_secret": simulator.client_secret,
        "base_url": simulator.url,
    }


class Threads:
    """Runs functions in threads and collects what they return or raise."""

    def __init__(self) -> None:
        self.outcomes: list[Any] = []
        self._threads: list[threading.Thread] = []

    def start(self, function: Callable[..., Any], *args: Any) -> None:
        thread = threading.Thread(target=self._run, args=(function, args), daemon=True)
        self._threads.append(thread)
        thread.start()

    def _run(self, function: Callable[..., Any], args: Iterable[Any]) -> None:
        try:
            outcome = function(*args)
        except BaseException as error:
            outcome = error
        self.outcomes.append(outcome)

    def join(self) -> list[Any]:
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive(), "a thread never came back"
        return self.outcomes
