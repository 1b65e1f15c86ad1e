"""Takes steps on an event loop, asyncio's or trio's."""

from __future__ import annotations

import asyncio
import inspect
import sys
import threading
from collections.abc import Awaitable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Callable, TypeVar

import anyio
import anyio.to_thread

from .effects import Call, Clock, Exchange, Hold, Shelter, Steps, calling_back
from .single_flight import ABANDONED, Refresh

T = TypeVar("T")

_sheltered: set[asyncio.Task[Any]] = set()
"""Tasks whose caller is gone: asyncio itself would let them be collected."""


async def arun(steps: Steps[T], io: AsyncIO, response: Any = None) -> T | Exchange:
    """As ``effects.run``, awaiting what the steps ask for."""
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
            result = await effect.perform(io)
        except BaseException as error:
            failure = error


class AsyncIO:
    """Performs effects on the running event loop.

    Args:
        transport: calls endpoints and reads responses with the client library at hand.
        clock: for pauses and deadlines.
    """

    def __init__(self, transport: Any, clock: Clock) -> None:
        self.send = transport.asend
        self.read_body = transport.aread_body
        self.pause = clock.asleep
        self._clock = clock

    async def call(self, call: Call) -> Any:
        with calling_back(call.refresh):
            if inspect.iscoroutinefunction(call.function):
                return await call.function(*call.args)
            # In a tuple because trio refuses to hand an awaitable over from a thread.
            (result,) = await self.block(lambda: (call.function(*call.args),))
            return await result if isinstance(result, Awaitable) else result

    async def block(self, function: Callable[[], Any]) -> Any:
        # A limiter of its own: the shared one may be used up by callers who wait for this one.
        with anyio.CancelScope(shield=True):
            return await anyio.to_thread.run_sync(function, limiter=anyio.CapacityLimiter(1))

    async def hold(self, hold: Hold) -> Any:
        lock = _ThreadedLock(hold.lock())
        try:
            await self.block(lock.acquire)
            return await arun(hold.steps, self)
        finally:
            try:
                await self.block(lock.release)
            finally:
                lock.release()

    async def shelter(self, shelter: Shelter) -> Any:
        if _trio_token() is not None:
            return await self._shelter_on_trio(shelter)
        refresh, task = shelter.refresh, asyncio.ensure_future(arun(shelter.steps, self))
        _sheltered.add(task)
        task.add_done_callback(_finished)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if refresh.is_committed:
                asyncio.get_running_loop().call_later(shelter.seconds, task.cancel)
                refresh.on_commitment = lambda is_committed: is_committed or task.cancel()
            else:
                task.cancel()
                # Its steps may never have begun.
                refresh.settle(ABANDONED)
            raise

    async def _shelter_on_trio(self, shelter: Shelter) -> Any:
        with anyio.CancelScope() as scope:

            def shield(is_committed: bool) -> None:
                scope.shield = is_committed
                if is_committed:
                    trio = sys.modules["trio"]
                    trio.lowlevel.spawn_system_task(_unshield_later, scope, shelter.seconds)

            shelter.refresh.on_commitment = shield
            return await arun(shelter.steps, self)

    async def wait(self, refresh: Refresh) -> None:
        woken = anyio.Event()
        refresh.when_settled(_from_any_thread(woken.set))
        seconds = refresh.ends_at - self._clock.monotonic()
        if refresh.outcome is None and seconds > 0:
            await _wait_at_most(woken, seconds)
        if self._clock.monotonic() >= refresh.ends_at:
            refresh.settle(ABANDONED)


class _ThreadedLock:
    """A store's lock, which is taken in a worker thread although its task may be cancelled."""

    def __init__(self, lock: AbstractContextManager[object]) -> None:
        self._lock = lock
        self._guard = threading.Lock()
        self._is_held = False
        self._is_wanted = True

    def acquire(self) -> None:
        self._lock.__enter__()
        with self._guard:
            self._is_held = self._is_wanted
        if not self._is_held:
            self._lock.__exit__(None, None, None)

    def release(self) -> None:
        with self._guard:
            is_held, self._is_held, self._is_wanted = self._is_held, False, False
        if is_held:
            self._lock.__exit__(None, None, None)


def is_on_event_loop() -> bool:
    """Whether the calling thread is running an event loop right now."""
    try:
        _from_any_thread(is_on_event_loop)
    except RuntimeError:
        return False
    return True


async def _unshield_later(scope: anyio.CancelScope, seconds: float) -> None:
    await anyio.sleep(seconds)
    scope.shield = False


async def _wait_at_most(woken: anyio.Event, seconds: float) -> None:
    if _trio_token() is not None:
        with anyio.move_on_after(seconds):
            await woken.wait()
        return
    # Not so on asyncio: before Python 3.11 a cancellation that comes in the same moment as the
    # scope's own would be lost.
    timer = asyncio.get_running_loop().call_later(min(seconds, threading.TIMEOUT_MAX), woken.set)
    try:
        await woken.wait()
    finally:
        timer.cancel()


def _finished(task: asyncio.Task[Any]) -> None:
    _sheltered.discard(task)
    if not task.cancelled():
        # Whoever still waits gets the error by the refresh; asyncio need not complain of it.
        task.exception()


def _from_any_thread(function: Callable[[], object]) -> Callable[[], object]:
    """A function that has ``function`` called on the loop that is running now."""
    token = _trio_token()
    if token is not None:
        return partial(token.run_sync_soon, function)
    return partial(asyncio.get_running_loop().call_soon_threadsafe, function)


def _trio_token() -> Any:
    """What wakes the trio run that runs this task, or ``None`` if it is asyncio's."""
    trio = sys.modules.get("trio")
    if trio is None:
        return None
    try:
        return trio.lowlevel.current_trio_token()
    except RuntimeError:
        return None
