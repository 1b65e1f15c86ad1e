"""What the lifecycle wants done outside it, as values.

The lifecycle's algorithms are generators that yield these and are sent back the results. Who
interprets them, blocking or awaiting, is no concern of theirs: ``effect.perform(io)`` calls the
one method of ``io`` that the effect stands for. The blocking interpreter is here, its asynchronous
sister in ``async_driver``.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Generator, Mapping
from typing import Any, Callable, NamedTuple, Protocol, TypeVar, Union

from .clock import Clock
from .flight import LEADER_CHECK_SECONDS, Abandoned, Flight, calling_back

T = TypeVar("T")


class HttpRequest(NamedTuple):
    """A call of one of the platform's endpoints for credentials.

    ``timeout`` is in seconds, for connecting and for each read.
    """

    url: str
    headers: Mapping[str, str]
    body: bytes
    timeout: float

    def __repr__(self) -> str:
        return f"<HttpRequest POST {self.url}>"


class HttpAnswer(NamedTuple):
    """What the endpoint answered; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def __repr__(self) -> str:
        return f"<HttpAnswer {self.status}>"


class Undelivered(NamedTuple):
    """No answer came. ``error`` is the client library's own exception, free of secrets.

    Attributes:
        is_transient: whether trying again may help.
        is_callers_own: whether a limit of the caller's request, shorter than ours, cut the call.
        may_have_arrived: whether the request may have reached the platform all the same.
    """

    error: Exception
    is_transient: bool
    is_callers_own: bool = False
    may_have_arrived: bool = True


Reply = Union[HttpAnswer, Undelivered]


class IO(Protocol):
    """Interprets effects; the asynchronous one returns awaitables."""

    def send(self, request: HttpRequest, /) -> Any: ...
    def pause(self, seconds: float, /) -> Any: ...
    def call(self, call: Call, /) -> Any: ...
    def wait(self, flight: Flight[Any], /) -> Any: ...


class CallersOwnFailure(Exception):
    """What failed is the caller's own affair, and nobody else's who waits for the same."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


class Send(NamedTuple):
    """Send a request; the result is a :data:`Reply`."""

    request: HttpRequest

    def perform(self, io: IO) -> Any:
        return io.send(self.request)


class Pause(NamedTuple):
    """Let some seconds pass."""

    seconds: float

    def perform(self, io: IO) -> Any:
        return io.pause(self.seconds)


class Call(NamedTuple):
    """Call a user's callback; the result is what it returns.

    ``flights`` are those that wait for this call to end: what the callback does through the
    same object must not wait for them in turn.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...]
    name: str
    flights: tuple[Flight[Any], ...] = ()
    on_begin: Callable[[], object] | None = None

    def perform(self, io: IO) -> Any:
        return io.call(self)

    def begin(self) -> Any:
        """Make the call, of which ``on_begin`` learns that it was not cancelled before."""
        if self.on_begin is not None:
            self.on_begin()
        return self.function(*self.args)

    def __repr__(self) -> str:
        return f"<Call {self.name}>"


class Wait(NamedTuple):
    """Wait until another caller's flight is settled."""

    flight: Flight[Any]

    def perform(self, io: IO) -> Any:
        return io.wait(self.flight)


Effect = Union[Send, Pause, Call, Wait]
Steps = Generator[Effect, Any, T]


def send(request: HttpRequest) -> Steps[Reply]:
    """Send a request and get the reply, typed."""
    reply: Reply = yield Send(request)
    return reply


def run(steps: Steps[T], io: IO) -> T:
    """Run ``steps`` to their end, doing in this thread what they ask for."""
    result, failure = None, None
    while True:
        try:
            effect = steps.send(result) if failure is None else steps.throw(failure)
        except StopIteration as end:
            value: T = end.value
            return value
        result, failure = None, None
        try:
            result = effect.perform(io)
        except BaseException as error:
            failure = error


class SyncIO:
    """Performs effects in the calling thread.

    Args:
        owner: the auth object on whose behalf.
        send: how to send a request with the client library at hand.
        clock: for pauses.
    """

    def __init__(self, owner: object, send: Callable[[HttpRequest], Reply], clock: Clock) -> None:
        self.owner = owner
        self.send = send
        self.pause = clock.sleep

    def call(self, call: Call) -> Any:
        with calling_back(self, call.flights):
            result = call.begin()
        if isinstance(result, Awaitable):
            _discard(result)
            error = TypeError(
                f"{call.name} returned an awaitable, but the client is synchronous:"
                " give it a plain function, or use an asynchronous client"
            )
            raise CallersOwnFailure(error)
        return result

    def wait(self, flight: Flight[Any]) -> None:
        if flight.thread == threading.get_ident():
            # The leader is a suspended task of this very thread: it cannot land while we block.
            flight.settle(Abandoned())
        landed = threading.Event()
        flight.when_settled(landed.set)
        try:
            while not landed.wait(LEADER_CHECK_SECONDS):
                flight.abandon_if_stranded()
        finally:
            flight.forget(landed.set)


def _discard(awaitable: Any) -> None:
    close: Callable[[], object] | None = getattr(awaitable, "close", None)
    if close is not None:
        close()
