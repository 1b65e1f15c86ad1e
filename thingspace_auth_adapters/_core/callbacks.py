"""The user's callbacks: how they are called, and what the code that they run is told apart by."""

from __future__ import annotations

from collections.abc import Awaitable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Callable

from .refresh import EventLoop, Refresh


class CallbackRaised(Exception):
    """A user's callback raised this error, whose traceback is the user's."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


class CallbackInterrupted(Exception):
    """The event loop that ran a callback ended or stands still."""


_running: ContextVar[tuple[tuple[Refresh | None, EventLoop | None], ...]]
_running = ContextVar("running", default=())
"""The callbacks that are running: what waits for each, and the event loop that led to it."""


def call_back(
    name: str,
    callback: Callable[..., Any],
    args: tuple[Any, ...],
    loop: EventLoop | None,
    refresh: Refresh | None = None,
) -> Any:
    """Call a user's callback; the result is what it returns, or what that gives when awaited.

    Args:
        name: how the user knows it.
        callback: a plain function, or ``async def``.
        args: what it gets.
        loop: awaits for it; ``None`` under a synchronous client.
        refresh: waits for it, if any does: what it does through the same object must not wait for
            that in turn.

    Raises:
        CallbackRaised: in the place of what it raised.
        CallbackInterrupted: its event loop is gone.
        TypeError: it returned an awaitable under a synchronous client.
    """
    with _marked(refresh, loop):
        result = callback(*args)
        if not isinstance(result, Awaitable):
            return result
        if loop is not None:
            return _awaited(result, loop, refresh)
    close = getattr(result, "close", bool)
    close()
    raise TypeError(
        f"{name} returned an awaitable, but the client is synchronous: give it a plain"
        " function, or use an asynchronous client"
    )


def waiting_refresh(owner: object) -> Refresh | None:
    """The owner's refresh that waits for the code that is now running, if any does."""
    for refresh, _ in reversed(_running.get()):
        if refresh is not None and refresh.owner is owner and not refresh.future.done():
            return refresh
    return None


def is_in_blocking_callback() -> bool:
    """Whether the running code is a callback of a synchronous client's request."""
    running = _running.get()
    return bool(running) and running[-1][1] is None


@contextmanager
def _marked(refresh: Refresh | None, loop: EventLoop | None) -> Generator[None, None, None]:
    token = _running.set((*_running.get(), (refresh, loop)))
    try:
        yield
    except CallbackInterrupted:
        raise
    except Exception as error:
        failure = CallbackRaised(error)
    else:
        return
    finally:
        _running.reset(token)
    raise failure


def _awaited(awaitable: Awaitable[Any], loop: EventLoop, refresh: Refresh | None) -> Any:
    leader = None if refresh is None else refresh.thread
    try:
        if refresh is not None:
            refresh.thread = loop.thread
        return loop.run(awaitable)
    finally:
        if refresh is not None:
            refresh.thread = leader
