"""Single flight: at most one renewal under way, its outcome shared by everyone who waits."""

from __future__ import annotations

import copy
import os
import sys
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any, Callable, Generic, NamedTuple, TypeVar, Union

T = TypeVar("T")

LEADER_CHECK_SECONDS = 1.0
"""How often those who wait look whether their leader's event loop still runs."""


class Landed(NamedTuple):
    """The flight brought this."""

    value: Any


class Failed(NamedTuple):
    """The flight failed, for everyone alike."""

    error: Exception


class Abandoned(NamedTuple):
    """The leader went away for a reason of its own; whoever waited may take over."""


Outcome = Union[Landed, Failed, Abandoned]


class Departure(NamedTuple):
    """What its owner knew when a flight began: what came in between makes its answer old."""

    generation: int
    rejected: tuple[str, ...]

    def __repr__(self) -> str:
        return f"<Departure {self.generation}>"


class Flight(Generic[T]):
    """One renewal under way: a future that threads and event loops can wait for alike.

    A waiter that goes away touches nobody else, since each brings its own wake-up call.
    """

    def __init__(self, owner: object, budget: Any, is_refresh: bool, departure: Departure) -> None:
        self.owner = owner
        self.budget = budget
        self.is_refresh = is_refresh
        self.departure = departure
        self.callers_own: Exception | None = None
        self.thread = threading.get_ident()
        self._loop = _running_asyncio_loop()
        self.fetched: dict[str, T] = {}
        self.outcome: Outcome | None = None
        self._lock = threading.Lock()
        self._wakers: list[Callable[[], object]] = []

    @property
    def has_waiters(self) -> bool:
        return bool(self._wakers)

    def settle(self, outcome: Outcome) -> None:
        """Set the outcome and wake everyone. Only the first outcome counts."""
        with self._lock:
            if self.outcome is not None:
                return
            self.outcome = outcome
            wakers, self._wakers = self._wakers, []
        for wake in wakers:
            _wake(wake)

    def abandon_if_stranded(self) -> None:
        """Give the flight up where its leader's event loop stands still: it may do so for ever."""
        if self._loop is not None and not self._loop.is_running():
            self.settle(Abandoned())

    def forget(self, wake: Callable[[], object]) -> None:
        """A waiter that is gone need not be woken."""
        with self._lock:
            if wake in self._wakers:
                self._wakers.remove(wake)

    def when_settled(self, wake: Callable[[], object]) -> None:
        """Have ``wake`` called once, from any thread, when there is an outcome."""
        with self._lock:
            if self.outcome is None:
                self._wakers.append(wake)
                return
        wake()


def _running_asyncio_loop() -> Any:
    # Whoever runs such a loop has imported asyncio; nobody else need do so for this question.
    asyncio = sys.modules.get("asyncio")
    if asyncio is None:
        return None
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _wake(wake: Callable[[], object]) -> None:
    # A RuntimeError says that the waiter's event loop was closed: nobody is left to wake.
    with suppress(RuntimeError):
        wake()


class SingleFlight(Generic[T]):
    """Hands out the flight under way, or starts one.

    Its lock guards the pointer to that flight, and is never held while anything is awaited, sent
    or called back. A copy, a pickle and a forked child begin without a flight: the thread
    that leads one is not among what they inherit.
    """

    def __init__(self) -> None:
        self._by_process: dict[int, _Runway[T]] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return SingleFlight, ()

    @property
    def lock(self) -> threading.Lock:
        """This process's lock."""
        return self._runway.lock

    @property
    def _runway(self) -> _Runway[T]:
        # A lock that another thread held at the moment of a fork stays locked in the child for
        # ever, so each process has its own; setdefault is atomic.
        return self._by_process.setdefault(os.getpid(), _Runway())

    def board(self, departing: Flight[T]) -> tuple[Flight[T], bool]:
        """The flight under way, or else ``departing``, and whether the caller leads it."""
        runway = self._runway
        with runway.lock:
            if runway.flight is not None:
                runway.flight.abandon_if_stranded()
            if runway.flight is not None and runway.flight.outcome is None:
                return runway.flight, False
            runway.flight = departing
            return departing, True


class _Runway(Generic[T]):
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.flight: Flight[T] | None = None


class _Surroundings(NamedTuple):
    """That the running code is a callback: who called it, and what waits for it."""

    io: object
    flights: tuple[Flight[Any], ...]


_surroundings: ContextVar[tuple[_Surroundings, ...]] = ContextVar("surroundings", default=())


@contextmanager
def calling_back(io: object, flights: tuple[Flight[Any], ...]) -> Generator[None, None, None]:
    """Mark the running thread, task or context as being inside a callback that ``io`` calls."""
    token = _surroundings.set((*_surroundings.get(), _Surroundings(io, flights)))
    try:
        yield
    finally:
        _surroundings.reset(token)


def flights_around() -> Iterator[Flight[Any]]:
    """The unsettled flights that wait for the code that is now running."""
    for surroundings in _surroundings.get():
        for flight in surroundings.flights:
            if flight.outcome is None:
                yield flight


def ios_around() -> Iterator[object]:
    """Who called the callbacks in which the code is now running, the innermost first."""
    for surroundings in reversed(_surroundings.get()):
        yield surroundings.io


def twin(error: Exception) -> Exception:
    """An exception equal to ``error``, so that each waiter raises one of its own.

    An exception that is raised in several threads would collect all their tracebacks.
    """
    for make in (copy.copy, _bare_copy):
        # Not every exception can be made anew from its args.
        with suppress(Exception):
            copied = make(error)
            if type(copied) is type(error) and copied.args == error.args:
                return copied
    return error


def _bare_copy(error: Exception) -> Exception:
    copied = type(error).__new__(type(error))
    copied.args = error.args
    vars(copied).update(vars(error))
    return copied
