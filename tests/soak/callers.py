"""Callers of every kind of client, and what came of each of their calls."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import anyio

from thingspace_auth_adapters import M2mLoginError, VzM2mCredentials

from ..support.kinds import Kind

PATHS = ("/api/m2m/v1/devices", "/api/loc/v1/devices", "/api/cc/v1/devices")
REQUEST_SECONDS = 4.0
_MOST_PAUSE = 0.25
_REDIRECTED = 0.03
_numbers = itertools.count(1)


class Call(NamedTuple):
    """A request of a caller, and what came of it.

    Attributes:
        number: what the network and the platform know it by.
        who: the kind of client.
        outcome: the status, or the name of the error.
        is_foreign: whether it was led to a host that is not allowed.
        is_about_endpoint: whether the error is that of a call of an endpoint.
        text: what the error says.
    """

    number: str
    who: str
    begun: float
    ended: float
    outcome: str
    is_foreign: bool = False
    is_about_endpoint: bool = False
    text: str = ""

    @property
    def seconds(self) -> float:
        return self.ended - self.begun


class Record:
    """What all callers did."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.is_over = threading.Event()

    def note(
        self, number: str, who: str, begun: float, is_foreign: bool, outcome: int | Exception
    ) -> None:
        text, name, is_about_endpoint = "", str(outcome), False
        if isinstance(outcome, Exception):
            text, name = str(outcome), type(outcome).__name__
            is_login = isinstance(outcome, M2mLoginError)
            is_about_endpoint = is_login or "the token endpoint" in text or "the login" in text
        call = Call(number, who, begun, time.time(), name, is_foreign, is_about_endpoint, text)
        self.calls.append(call)


class Callers:
    """Those of one kind of client, who share one auth object.

    Args:
        kind: of the client.
        options: of the auth object.
        account: whom they log in as.
        elsewhere: the URL of a host that is not allowed.
        record: where it is noted what they do.
        count: how many there are.
    """

    def __init__(
        self,
        kind: Kind,
        options: Mapping[str, Any],
        account: VzM2mCredentials,
        elsewhere: str,
        record: Record,
        count: int,
    ) -> None:
        self.kind = kind
        self.auth = kind.auth(**options, m2m=account)
        self._base_url = options["base_url"]
        self._elsewhere = elsewhere
        self._record = record
        self._count = count

    def prepare(self) -> None:
        """Import the event loop, of which another thread must not see one half."""
        if self.kind.is_async:
            anyio.run(anyio.sleep, 0, backend=self.kind.backend)

    def call(self) -> None:
        """Call the platform until it is over, each caller in a thread or a task."""
        if self.kind.is_async:
            anyio.run(self._acall, backend=self.kind.backend)
            return
        threads = [threading.Thread(target=self._call_on) for _ in range(self._count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _call_on(self) -> None:
        with self._client() as client:
            while not self._record.is_over.is_set():
                url, headers, begun, is_foreign = self._next()
                outcome: int | Exception
                try:
                    outcome = client.get(url, headers=headers, **self._arguments).status_code
                except Exception as error:
                    outcome = error
                self._record.note(headers["X-Call"], self.kind.name, begun, is_foreign, outcome)
                time.sleep(random.uniform(0, _MOST_PAUSE))

    async def _acall(self) -> None:
        async with self._aclient() as client, anyio.create_task_group() as group:
            for _ in range(self._count):
                group.start_soon(self._acall_on, client)

    async def _acall_on(self, client: Any) -> None:
        while not self._record.is_over.is_set():
            url, headers, begun, is_foreign = self._next()
            outcome: int | Exception
            try:
                outcome = (await client.get(url, headers=headers)).status_code
            except Exception as error:
                outcome = error
            self._record.note(headers["X-Call"], self.kind.name, begun, is_foreign, outcome)
            await anyio.sleep(random.uniform(0, _MOST_PAUSE))

    def _next(self) -> tuple[str, dict[str, str], float, bool]:
        is_foreign, url = random.random() < _REDIRECTED, self._base_url + random.choice(PATHS)
        url = f"{url}?redirect={self._elsewhere}" if is_foreign else url
        return url, {"X-Call": str(next(_numbers))}, time.time(), is_foreign

    @property
    def _arguments(self) -> dict[str, Any]:
        return {"timeout": REQUEST_SECONDS} if self.kind.is_requests else {}

    def _client(self) -> Any:
        if not self.kind.is_requests:
            hooks = {"request": [self.auth.guard]}
            return self.kind.library.Client(event_hooks=hooks, **self._client_options)
        session = self.kind.library.Session()
        session.auth, session.trust_env = self.auth, False
        return session

    def _aclient(self) -> Any:
        hooks = {"request": [self.auth.aguard]}
        return self.kind.library.AsyncClient(event_hooks=hooks, **self._client_options)

    @property
    def _client_options(self) -> dict[str, Any]:
        return {
            "auth": self.auth,
            "timeout": REQUEST_SECONDS,
            "trust_env": False,
            "verify": False,
            "follow_redirects": True,
        }
