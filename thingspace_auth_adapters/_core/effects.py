"""What the steps of a request want done outside the core, as values.

The algorithms are generators that yield these and are sent back the results. Who interprets them,
blocking or awaiting, is no concern of theirs: ``effect.perform(io)`` calls the one method of
``io`` that the effect stands for. The clock and the blocking interpreter are here, the
asynchronous one is in ``async_driver``. An :class:`Exchange` alone is not interpreted: a driver
hands it to its caller.
"""

from __future__ import annotations

import threading
import time
import types
from collections.abc import Awaitable, Generator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any, Callable, NamedTuple, TypeVar

from .._wire.messages import HttpRequest
from .single_flight import ABANDONED, Refresh

T = TypeVar("T")

POLL_SECONDS = 0.01
"""How often a greenlet looks whether a refresh has ended."""

Steps = Generator[Any, Any, T]
"""Yields effects and exchanges."""


class Exchange(NamedTuple):
    """Have the user's own client send a request; the result is the response."""

    request: Any


class Send(NamedTuple):
    """Call an endpoint; the result is an ``HttpAnswer`` or ``Undelivered``.

    Attributes:
        request: what is sent.
        timeout: seconds for connecting, and for each read.
        ends_at: reading of the monotonic clock at which the answer must have been read.
    """

    request: HttpRequest
    timeout: float
    ends_at: float

    def perform(self, io: Any) -> Any:
        return io.send(*self)


class ReadBody(NamedTuple):
    """Read the body of the user's response so that the user can still read it.

    The result is ``None`` if it is too long, or encoded in a way that it is not read.
    """

    response: Any

    def perform(self, io: Any) -> Any:
        return io.read_body(self.response)


class Pause(NamedTuple):
    """Let some seconds pass."""

    seconds: float

    def perform(self, io: Any) -> Any:
        return io.pause(self.seconds)


class Call(NamedTuple):
    """Call a user's callback; the result is what it returns, or :class:`CallbackRaised`.

    Attributes:
        function: the callback.
        args: what it gets.
        refresh: the refresh that waits for it, if any: what it does through the same object must
            not wait for that in turn.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...]
    refresh: Refresh | None = None

    def perform(self, io: Any) -> Any:
        return io.call(self)


class Block(NamedTuple):
    """Call a store's blocking function, which goes on to its end if its caller is cancelled."""

    function: Callable[[], Any]

    def perform(self, io: Any) -> Any:
        return io.block(self.function)


class Hold(NamedTuple):
    """Take these steps while a store's lock is held; the result is theirs."""

    lock: Callable[[], AbstractContextManager[object]]
    steps: Steps[Any]

    def perform(self, io: Any) -> Any:
        return io.hold(self)


class Shelter(NamedTuple):
    """Take a refresh's steps, to their end once it is committed; the result is theirs.

    Attributes:
        refresh: what the steps are for.
        steps: what is sheltered.
        seconds: how long they may go on without their caller.
    """

    refresh: Refresh
    steps: Steps[Any]
    seconds: float

    def perform(self, io: Any) -> Any:
        return io.shelter(self)


class Wait(NamedTuple):
    """Wait until another caller's refresh is settled or overdue."""

    refresh: Refresh

    def perform(self, io: Any) -> Any:
        return io.wait(self.refresh)


def run(steps: Steps[T], io: Any, response: Any = None) -> T | Exchange:
    """Take steps, doing in this thread what they ask for, to their end or to an exchange.

    Args:
        steps: the steps.
        io: does what they ask for.
        response: the result of the exchange at which they stopped, if they did.
    """
    result, failure = response, None
    while True:
        try:
            effect = steps.send(result) if failure is None else steps.throw(failure)
        except StopIteration as end:
            value: T = end.value
            return value
        if isinstance(effect, Exchange):
            return effect
        result, failure = None, None
        try:
            result = effect.perform(io)
        except BaseException as error:
            failure = error


class Clock:
    """The machine's clocks, which only this class reads. All values are seconds."""

    # Looked up at each call, so that freezegun and time-machine can move them.

    def time(self) -> float:
        """Unix timestamp (UTC). Tokens end by this clock, which may jump."""
        return time.time()

    def monotonic(self) -> float:
        """Never runs backwards. Waits and deadlines go by this clock."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Block this thread, or suspend this greenlet."""
        time.sleep(seconds)

    async def asleep(self, seconds: float) -> None:
        """Suspend this task, on asyncio or trio."""
        from anyio import sleep

        await sleep(seconds)


class SyncIO:
    """Performs effects in the calling thread.

    Args:
        transport: calls endpoints and reads responses with the client library at hand.
        clock: for pauses and deadlines.
    """

    def __init__(self, transport: Any, clock: Clock) -> None:
        self.send = transport.send
        self.read_body = transport.read_body
        self.pause = clock.sleep
        self._clock = clock

    def call(self, call: Call) -> Any:
        with calling_back(call.refresh, is_blocking=True):
            return call.function(*call.args)

    def block(self, function: Callable[[], Any]) -> Any:
        return function()

    def hold(self, hold: Hold) -> Any:
        with hold.lock():
            return run(hold.steps, self)

    def shelter(self, shelter: Shelter) -> Any:
        return run(shelter.steps, self)

    def wait(self, refresh: Refresh) -> None:
        # gevent and eventlet replace time.sleep; waiting otherwise would stop the greenlet that
        # leads, unless they replaced locks, too.
        if not isinstance(time.sleep, types.BuiltinFunctionType):
            while refresh.outcome is None and self._clock.monotonic() < refresh.ends_at:
                time.sleep(POLL_SECONDS)
        elif refresh.thread != threading.get_ident():
            refresh.wait(refresh.ends_at - self._clock.monotonic())
        else:
            # The leader is suspended beneath this very call: it cannot go on while we wait.
            refresh.is_overtaken = True
            refresh.settle(ABANDONED)
        if self._clock.monotonic() >= refresh.ends_at:
            refresh.settle(ABANDONED)


class CallbackRaised(Exception):
    """A user's callback raised this error, whose traceback is the user's."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


_refreshes: ContextVar[tuple[Refresh, ...]] = ContextVar("refreshes", default=())
_is_blocking: ContextVar[bool] = ContextVar("is_blocking", default=False)


@contextmanager
def calling_back(refresh: Refresh | None, is_blocking: bool = False) -> Generator[None, None, None]:
    """Mark the running thread, task or context as being in a callback that a refresh waits for.

    Args:
        refresh: what waits for the callback, if anything does.
        is_blocking: whether a synchronous client calls it.

    Raises:
        CallbackRaised: in the place of what the callback raised.
    """
    token = _refreshes.set(_refreshes.get() if refresh is None else (*_refreshes.get(), refresh))
    blocking_token = _is_blocking.set(is_blocking)
    try:
        yield
    except Exception as error:
        failure = CallbackRaised(error)
    else:
        return
    finally:
        _is_blocking.reset(blocking_token)
        _refreshes.reset(token)
    raise failure


def is_in_blocking_call() -> bool:
    """Whether the running code is a callback of a synchronous client's request."""
    return _is_blocking.get()


def waiting_refresh(owner: object) -> Refresh | None:
    """The owner's refresh that waits for the code that is now running, if any does."""
    for refresh in reversed(_refreshes.get()):
        if refresh.owner is owner and refresh.outcome is None:
            return refresh
    return None


def not_awaitable(result: Any, name: str) -> Any:
    """What a callback returned.

    Raises:
        TypeError: it is an awaitable that nobody awaited.
    """
    if isinstance(result, Awaitable):
        close = getattr(result, "close", bool)
        close()
        raise TypeError(
            f"{name} returned an awaitable, but the client is synchronous: give it a plain"
            " function, or use an asynchronous client"
        )
    return result
