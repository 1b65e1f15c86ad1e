"""Runs the lifecycle's steps on an event loop, asyncio's or trio's."""

from __future__ import annotations

import asyncio
import inspect
import sys
import threading
from collections.abc import Awaitable, Coroutine
from functools import partial
from typing import Any, Callable, TypeVar

import anyio
import anyio.from_thread
import anyio.to_thread

from .clock import Clock
from .effects import IO, Call, HttpRequest, Reply, Steps
from .flight import LEADER_CHECK_SECONDS, Flight, calling_back

T = TypeVar("T")


async def arun(steps: Steps[T], io: IO) -> T:
    """Run ``steps`` to their end, awaiting what they ask for."""
    result, failure = None, None
    while True:
        try:
            effect = steps.send(result) if failure is None else steps.throw(failure)
        except StopIteration as end:
            value: T = end.value
            return value
        result, failure = None, None
        try:
            result = await effect.perform(io)
        except BaseException as error:
            failure = error


class AsyncIO:
    """Performs effects on the running event loop.

    Args:
        owner: the auth object on whose behalf.
        send: how to send a request with the client library at hand.
        clock: for pauses.
    """

    def __init__(
        self, owner: object, send: Callable[[HttpRequest], Awaitable[Reply]], clock: Clock
    ) -> None:
        self.owner = owner
        self.send = send
        self.pause = clock.asleep

    async def call(self, call: Call) -> Any:
        if inspect.iscoroutinefunction(call.function):
            result = call.begin()
        else:
            # A limiter of its own: the shared one may be used up by callers who wait for this one.
            limiter = anyio.CapacityLimiter(1)
            (result,) = await anyio.to_thread.run_sync(self._call_plainly, call, limiter=limiter)
        if not inspect.isawaitable(result):
            return result
        with calling_back(self, call.flights):
            return await result

    def _call_plainly(self, call: Call) -> tuple[Any]:
        with calling_back(WorkerIO(self), call.flights):
            # In a tuple because trio refuses to hand an awaitable over from a thread.
            return (call.begin(),)

    async def wait(self, flight: Flight[Any]) -> None:
        while flight.outcome is None:
            woken = anyio.Event()
            wake = _from_any_thread(woken.set)
            flight.when_settled(wake)
            try:
                await _wait_a_while(woken)
            finally:
                flight.forget(wake)
            flight.abandon_if_stranded()


class WorkerIO:
    """Marks a worker thread in which a plain callback runs on behalf of an event loop's task."""

    def __init__(self, io: AsyncIO) -> None:
        self.owner = io.owner
        self.io = io
        self._thread = threading.get_ident()

    def is_here(self) -> bool:
        """Whether the calling thread is that worker thread, not one that inherited its context."""
        return threading.get_ident() == self._thread

    def run(self, function: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run an async function on the task's loop, blocking this thread alone."""
        return anyio.from_thread.run(function)


def is_on_event_loop() -> bool:
    """Whether the calling thread is running an event loop right now."""
    try:
        _from_any_thread(is_on_event_loop)
    except RuntimeError:
        return False
    return True


async def _wait_a_while(woken: anyio.Event) -> None:
    if _trio_token() is not None:
        with anyio.move_on_after(LEADER_CHECK_SECONDS):
            await woken.wait()
        return
    # Not so on asyncio: before Python 3.11 a cancellation that comes in the same moment as the
    # scope's own would be lost.
    tick = asyncio.get_running_loop().call_later(LEADER_CHECK_SECONDS, woken.set)
    try:
        await woken.wait()
    finally:
        tick.cancel()


def _from_any_thread(function: Callable[[], object]) -> Callable[[], object]:
    """A function that has ``function`` called on the loop that is running now."""
    token = _trio_token()
    if token is not None:
        return partial(token.run_sync_soon, function)
    return partial(asyncio.get_running_loop().call_soon_threadsafe, function)


def _trio_token() -> Any:
    """What wakes the trio run that runs this task, or ``None`` where it is asyncio's."""
    trio = sys.modules.get("trio")
    if trio is None:
        return None
    try:
        return trio.lowlevel.current_trio_token()
    except RuntimeError:
        return None
