"""What the demo goes through: the steps, and who takes them."""

from __future__ import annotations

import tempfile
import time
from abc import ABC, abstractmethod
from threading import Barrier
from typing import TYPE_CHECKING, Any, Callable, NamedTuple

from .._model.m2m import VzM2mCredentials
from .clients import Client, in_threads
from .hand_written import HandWrittenScript

if TYPE_CHECKING:
    from ..simulator import ThingspaceSimulator

CROWD = 20
RUNS = 5
_PATH = "/api/m2m/v1/devices"
_SHORT_LIFETIME = 1
_SHORT_IDLE_TIMEOUT = 0.1
_CROWD_LATENCY = 0.1
_PATIENCE_SECONDS = 30.0


class Counts(NamedTuple):
    """How many requests reached the simulator, by kind."""

    api: int
    token: int
    login: int

    def plus(self, other: Counts) -> Counts:
        return Counts(*(one + another for one, another in zip(self, other)))


class Actor(ABC):
    """Somebody who makes requests to a simulator of their own.

    Args:
        name: for the tables.
        simulator: nobody else's.
    """

    def __init__(self, name: str, simulator: ThingspaceSimulator) -> None:
        self.name = name
        self.simulator = simulator
        self.total = Counts(0, 0, 0)
        self.begin(with_session=False)

    @abstractmethod
    def begin(self, with_session: bool, idle_timeout: float = 1200) -> None:
        """Begin as a new program does: without a token, and without a session."""

    @abstractmethod
    def get(self, count: int) -> list[int]:
        """Make requests, all at once; the result is the statuses of the answers."""

    @abstractmethod
    def run_anew(self) -> list[int]:
        """Make one request in each of some runs of a program."""

    def take(self, step: Step) -> Counts:
        """Take a step.

        Raises:
            RuntimeError: an answer was no success.
        """
        step.before(self)
        self.simulator.clear()
        statuses = step.act(self)
        if set(statuses) != {200}:
            raise RuntimeError(f"{self.name} did not get 200 for every request of {step.name!r}")
        seen = self.simulator
        counts = Counts(len(seen.api_requests), len(seen.token_requests), len(seen.login_requests))
        self.total = self.total.plus(counts)
        return counts


class Adapted(Actor):
    """A client with this package.

    Args:
        client: the kind of client.
        simulator: nobody else's.
    """

    def __init__(self, client: Client, simulator: ThingspaceSimulator) -> None:
        self._client = client
        super().__init__(client.name, simulator)

    def begin(self, with_session: bool, idle_timeout: float = 1200) -> None:
        self._m2m = _account(self.simulator, idle_timeout) if with_session else None
        self._auth = self._new_auth()

    def get(self, count: int) -> list[int]:
        return self._client.get(self._auth, self.simulator.url + _PATH, count)

    def run_anew(self) -> list[int]:
        from ..stores import FileTokenStore

        with tempfile.TemporaryDirectory() as directory:
            statuses: list[int] = []
            for _ in range(RUNS):
                self._auth = self._new_auth(store=FileTokenStore(f"{directory}/store"))
                statuses += self.get(1)
            return statuses

    def _new_auth(self, **options: Any) -> Any:
        return self._client.auth(
            oauth_client_id=self.simulator.client_id,
            oauth_client_secret=self.simulator.client_secret,
            base_url=self.simulator.url,
            m2m=self._m2m,
            **options,
        )


class ByHand(Actor):
    """The hand-written script."""

    def begin(self, with_session: bool, idle_timeout: float = 1200) -> None:
        platform = self.simulator
        account = (platform.username, platform.password) if with_session else None
        self._arguments = (platform.url, platform.client_id, platform.client_secret, account)
        self._script = HandWrittenScript(*self._arguments)

    def get(self, count: int) -> list[int]:
        # Together, as they come on a busy server.
        start = Barrier(count, timeout=_PATIENCE_SECONDS)

        def call() -> int:
            start.wait()
            return self._script.get(_PATH)

        return in_threads(call, count)

    def run_anew(self) -> list[int]:
        return [HandWrittenScript(*self._arguments).get(_PATH) for _ in range(RUNS)]


def _account(simulator: ThingspaceSimulator, idle_timeout: float) -> VzM2mCredentials:
    return VzM2mCredentials(simulator.username, simulator.password, idle_timeout=idle_timeout)


class Step(NamedTuple):
    """A step of the story.

    Attributes:
        name: what is the case.
        calls: how many requests the program makes.
        before: what comes before them, and is not counted.
        act: makes them.
    """

    name: str
    calls: int
    before: Callable[[Actor], object]
    act: Callable[[Actor], list[int]]


def _step(name: str, before: Callable[[Actor], object], calls: int = 1) -> Step:
    def act(actor: Actor) -> list[int]:
        return actor.get(calls)

    return Step(name, calls, before, act)


def _nothing(actor: Actor) -> None:
    pass


def _revoke(actor: Actor) -> None:
    actor.simulator.revoke()


def _expire(actor: Actor) -> None:
    platform, usual = actor.simulator, actor.simulator.token_lifetime
    platform.revoke()
    platform.token_lifetime = _SHORT_LIFETIME
    actor.begin(with_session=False)
    actor.get(1)
    platform.token_lifetime = usual
    time.sleep(1.1 * _SHORT_LIFETIME)


def _crowd(actor: Actor) -> None:
    """A new program that asks at once, of a platform that needs a moment, as they do."""
    actor.simulator.revoke()
    actor.simulator.latency = {"token": _CROWD_LATENCY}
    actor.begin(with_session=False)


def _begin_with_session(actor: Actor) -> None:
    actor.simulator.latency = {}
    actor.simulator.revoke()
    actor.simulator.sessions_required = True
    actor.begin(with_session=True)


def _end_session(actor: Actor) -> None:
    actor.simulator.end_sessions()


def _end_both(actor: Actor) -> None:
    _revoke(actor)
    _end_session(actor)


def _idle(actor: Actor) -> None:
    actor.begin(with_session=True, idle_timeout=_SHORT_IDLE_TIMEOUT)
    actor.get(1)
    platform, usual = actor.simulator, actor.simulator.idle_timeout
    platform.idle_timeout = _SHORT_IDLE_TIMEOUT
    time.sleep(2 * _SHORT_IDLE_TIMEOUT)
    platform.idle_timeout = usual


def _crowd_with_session(actor: Actor) -> None:
    actor.simulator.latency = {"token": _CROWD_LATENCY, "login": _CROWD_LATENCY}
    actor.begin(with_session=True)


def _nothing_stored(actor: Actor) -> None:
    actor.simulator.latency = {}
    actor.begin(with_session=True)


def _run_anew(actor: Actor) -> list[int]:
    return actor.run_anew()


TOKEN_STEPS = (
    _step("first request", _nothing),
    _step("five more", _nothing, calls=5),
    _step("token was revoked", _revoke),
    _step("token expired", _expire),
    _step(f"{CROWD} at once, no token", _crowd, calls=CROWD),
)
SESSION_STEPS = (
    _step("first request", _begin_with_session),
    _step("five more", _nothing, calls=5),
    _step("session was ended", _end_session),
    _step("both were ended", _end_both),
    _step("session idle too long", _idle),
    _step(f"{CROWD} at once, none yet", _crowd_with_session, calls=CROWD),
    Step(f"{RUNS} runs, one store", RUNS, _nothing_stored, _run_anew),
)
