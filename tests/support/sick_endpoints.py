"""Endpoints that are sick, and crowds that wait for them in virtual time, T its unit.

Threads and event loops are real, and so is their taking turns; only time is not.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from enum import Enum
from functools import partial
from typing import Any, NamedTuple

from thingspace_auth_adapters.stores import StoreBusy, TokenStore

from .coordinated import CoordinatedClock, Sleeper
from .kinds import Kind
from .optional import anyio
from .virtual import API, LOGIN_PATH, TOKEN_PATH, Answer, Call, Platform

T = 2.0
"""The ``timeout`` of every auth object here."""

LONGEST = 8 * T
"""No request waits longer for its tokens."""

SMALL_CROWD = 5
"""Larger ones ask for headers, which is what a request does before it is sent."""


class Way(Enum):
    """How an endpoint behaves."""

    HEALTHY = "healthy"
    HANGING = "hanging"
    """It takes the request, and never answers."""
    DRIPPING = "dripping"
    """It answers, a byte at a time, without end."""
    DRIPPING_SLOWLY = "dripping slowly"
    """The same, and each byte comes just before a read would time out."""
    REFUSING = "refusing"
    """It takes no connection."""
    STUCK = "stuck"
    """Its name is looked up, without end: no timeout holds."""
    INTERRUPTING = "interrupting"
    """A signal's handler raises a time limit's exception, a second after the call."""


DRIPS = {Way.DRIPPING: 0.4, Way.DRIPPING_SLOWLY: 0.85 * T}
"""The seconds between two bytes."""

SICK = (Way.HANGING, Way.DRIPPING, Way.DRIPPING_SLOWLY, Way.REFUSING)


class Interrupted(BaseException):
    """What a signal's handler raises."""


class Endpoints(Platform):
    """A platform whose token endpoint and login are each of them healthy or sick.

    Attributes:
        token: how the token endpoint takes its calls, in order; the last way is for all further.
        login: the same of the login.
        begun: readings of the clock at which each path was called.
    """

    def __init__(self, kind: Kind, clock: CoordinatedClock) -> None:
        super().__init__()
        self.token = [Way.HEALTHY]
        self.login = [Way.HEALTHY]
        self.begun: dict[str, list[float]] = {TOKEN_PATH: [], LOGIN_PATH: []}
        self.is_released = False
        self._kind = kind
        self._clock = clock
        self._stuck: list[Sleeper] = []

    def auth(self, **options: Any) -> Any:
        """An auth object that calls these endpoints."""
        return self._kind.auth(self, **{"timeout": T, **options})

    def release(self) -> None:
        """Have every name look-up that is under way fail at last."""
        self.is_released = True
        for sleeper in self._stuck:
            self._clock.wake(sleeper)

    def is_unreachable(self, path: str) -> bool:
        return self._way(path) in (Way.STUCK, Way.REFUSING)

    def handle(self, call: Call) -> Answer:
        way = self._way(call.path)
        if call.path in self.begun:
            self.begun[call.path].append(self._clock.monotonic())
        if way is Way.STUCK:
            self._stand_still()
        if way in (Way.STUCK, Way.REFUSING):
            return Answer(failure="connect")
        if way is Way.INTERRUPTING:
            self._clock.block(Sleeper(), self._clock.monotonic() + 1.0)
            raise Interrupted
        if way is Way.HANGING:
            self._clock.block(Sleeper(), self._clock.monotonic() + T)
            return Answer(failure="read timeout")
        return Answer(200, self._dripped(DRIPS[way])) if way in DRIPS else super().handle(call)

    def _way(self, path: str) -> Way:
        if path not in self.begun:
            return Way.HEALTHY
        ways = self.token if path == TOKEN_PATH else self.login
        return ways[min(len(self.begun[path]), len(ways) - 1)]

    def _stand_still(self) -> None:
        sleeper = Sleeper(is_patient=True)
        self._stuck.append(sleeper)
        if not self.is_released:
            self._clock.block(sleeper, float("inf"))

    def _dripped(self, pause: float) -> Iterator[bytes]:
        begun_at, number = self._clock.monotonic(), 0
        while True:
            number += 1
            # Each moment is reckoned anew, or else rounding errors would add up.
            self._clock.block(Sleeper(), round(begun_at + number * pause, 6))
            yield b" "


class BusyStore(TokenStore):
    """A store in memory whose lock somebody else holds for ever."""

    def __init__(self, clock: CoordinatedClock) -> None:
        self._clock = clock
        self._entries: dict[str, bytes] = {}

    def read(self, name: str) -> bytes | None:
        return self._entries.get(name)

    def write(self, name: str, content: bytes) -> None:
        self._entries[name] = content

    def delete(self, name: str) -> None:
        self._entries.pop(name, None)

    def locked(self, name: str, patience: float) -> AbstractContextManager[None]:
        return _HeldLock(self._clock, patience)


class _HeldLock(AbstractContextManager[None]):
    def __init__(self, clock: CoordinatedClock, patience: float) -> None:
        self._clock = clock
        self._patience = patience

    def __enter__(self) -> None:
        self._clock.block(Sleeper(), self._clock.monotonic() + self._patience)
        raise StoreBusy("somebody else holds the lock")

    def __exit__(self, *exc_info: object) -> None:
        pass


class Wait(NamedTuple):
    """What became of a caller.

    Attributes:
        seconds: how long it waited.
        outcome: the bearer that it got, or the error.
    """

    seconds: float
    outcome: Any


class Crowd:
    """Callers of one auth object, or of several in turn.

    Args:
        kind: their client's.
        clock: the time.
        platform: answers their requests to the API.
        auths: the auth objects.
    """

    def __init__(
        self, kind: Kind, clock: CoordinatedClock, platform: Platform, *auths: Any
    ) -> None:
        self._kind = kind
        self._clock = clock
        self._platform = platform
        self._auths = auths

    def waits(self, size: int, pause: float = 0.0) -> list[Wait]:
        """What became of so many callers, who came one after another with this pause."""
        found = self.all_waits(size, pause)
        came_back = [wait for wait in found if wait is not None]
        assert len(came_back) == size
        return came_back

    def all_waits(self, size: int, pause: float = 0.0) -> list[Wait | None]:
        """The same; ``None`` for a caller who never came back."""
        found: list[Wait | None] = [None] * size
        if self._kind.is_async:
            self._clock.run(self._kind.backend, partial(self._tasks, found, pause))
        else:
            with self._clock.taking_part():
                for number in range(size):
                    self._clock.start(partial(self._call, found, number, pause))
        self._clock.settle()
        return found

    def _since(self, begun_at: float) -> float:
        """The seconds since then, without a float's last digits."""
        return round(self._clock.monotonic() - begun_at, 6)

    def _call(self, found: list[Wait | None], number: int, pause: float) -> None:
        self._clock.block(Sleeper(), self._clock.monotonic() + number * pause)
        begun_at = self._clock.monotonic()
        auth = self._auths[number % len(self._auths)]
        outcome: Any
        try:
            if len(found) > SMALL_CROWD:
                outcome = auth.headers(API)["Authorization"]
            else:
                outcome = self._kind.get(auth, API, self._platform).sent["authorization"]
        except BaseException as error:
            outcome = error
        found[number] = Wait(self._since(begun_at), outcome)

    async def _tasks(self, found: list[Wait | None], pause: float) -> None:
        transport = self._kind.transport(self._platform)
        options = {"transport": transport, "trust_env": False}
        async with self._kind.library.AsyncClient(**options) as client:

            async def call(number: int) -> None:
                await anyio.sleep(number * pause)
                begun_at = self._clock.monotonic()
                auth = self._auths[number % len(self._auths)]
                outcome: Any
                try:
                    if len(found) > SMALL_CROWD:
                        outcome = (await auth.aheaders(API))["Authorization"]
                    else:
                        response = await client.get(API, auth=auth)
                        outcome = response.request.headers["Authorization"]
                except Exception as error:
                    outcome = error
                found[number] = Wait(self._since(begun_at), outcome)

            async with anyio.create_task_group() as group:
                for number in range(len(found)):
                    group.start_soon(call, number)
