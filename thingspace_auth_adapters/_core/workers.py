"""The only asynchronous code of the core: a thread leads, and tasks wait, on asyncio or trio.

No value passes through an event loop, since asyncio's debug mode logs parts of them: a loop only
wakes its tasks, and they read the outcome from the future.
"""

from __future__ import annotations

import contextvars
import inspect
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Awaitable
from concurrent.futures import Future, wait
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Callable, TypeVar

from ..errors import ReentrantRequestError
from .cached_token import CachedToken
from .callbacks import CallbackInterrupted
from .lifecycle import Lifecycle
from .refresh import WATCH_SECONDS, Caller, EventLoop, Outcome, Refresh

if TYPE_CHECKING:
    # Where it is needed it is there: those who use no event loop need not wait for it.
    import asyncio

T = TypeVar("T")


async def acquire(lifecycle: Lifecycle[T], caller: Caller) -> CachedToken[T]:
    """As ``Lifecycle.acquire``: this task waits, and another thread leads."""
    while True:
        begun_at = lifecycle.clock.monotonic()
        found, led = _begun(lifecycle, caller)
        if isinstance(found, CachedToken):
            return found
        until = lifecycle.waits_until(found, caller)
        # A loop's timer may be early.
        while not found.future.done() and lifecycle.clock.monotonic() < until:
            await settled(found.future, until - lifecycle.clock.monotonic())
        if led is None or not found.has_ended:
            outcome = lifecycle.waited(found, begun_at)
        else:
            await settled(led)
            outcome = led.result()
        token = caller.take(found, outcome)
        if token is not None:
            return token


def _begun(
    lifecycle: Lifecycle[T], caller: Caller
) -> tuple[CachedToken[T] | Refresh, Future[Outcome] | None]:
    """A usable token, or the refresh to wait for; and what comes of it, if this caller leads."""
    try:
        found = lifecycle.look(caller)
        is_leader = isinstance(found, Refresh) and found.caller is caller
        return found, start(lifecycle.lead, found) if is_leader else None
    except BaseException:
        lifecycle.abandon(caller)
        raise


async def in_thread(function: Callable[..., T], *args: Any) -> T:
    """What a blocking function returns, which goes on to its end if this task is cancelled."""
    done = start(function, *args)
    await settled(done)
    return done.result()


def start(function: Callable[..., T], *args: Any) -> Future[T]:
    """Have a daemon thread call a function with the context variables of the caller."""
    done: Future[T] = Future()
    context = contextvars.copy_context()
    context.run(_forget_library)

    def work() -> None:
        try:
            done.set_result(context.run(function, *args))
        except BaseException as error:
            done.set_exception(error)

    try:
        threading.Thread(target=work, name="thingspace-auth", daemon=True).start()
    except RuntimeError:
        # There are no more threads to be had.
        work()
    return done


async def settled(future: Future[Any], seconds: float = threading.TIMEOUT_MAX) -> None:
    """Wait until the future is done, or so many seconds have passed."""
    if future.done():
        return
    trio = _running_trio()
    if trio is not None:
        event = trio.Event()
        wake = partial(trio.lowlevel.current_trio_token().run_sync_soon, event.set)
        future.add_done_callback(partial(_waken, wake))
        with trio.move_on_after(seconds):
            await event.wait()
        return
    from asyncio import get_running_loop

    loop = get_running_loop()
    waiter = loop.create_future()
    ring = partial(_ring, waiter)
    future.add_done_callback(partial(_waken, partial(loop.call_soon_threadsafe, ring)))
    timer = loop.call_later(min(seconds, threading.TIMEOUT_MAX), ring)
    try:
        await waiter
    finally:
        timer.cancel()


def running_loop() -> EventLoop | None:
    """The event loop that the calling thread runs, if it does."""
    trio = _running_trio()
    if trio is not None:
        return TrioLoop(trio)
    get_running_loop = getattr(sys.modules.get("asyncio"), "get_running_loop", None)
    if get_running_loop is None:
        return None
    try:
        return AsyncioLoop(get_running_loop())
    except RuntimeError:
        return None


class _Loop(ABC):
    """An event loop, as the thread sees it that leads a refresh."""

    def __init__(self) -> None:
        self.thread = threading.get_ident()

    def run(self, awaitable: Awaitable[T]) -> T:
        """Have the loop await something, and block until it has.

        Raises:
            CallbackInterrupted: the loop ended or stands still.
            ReentrantRequestError: it is this thread's.
        """
        outcome: Future[T] = Future()
        if self.thread == threading.get_ident():
            _drop(awaitable)
            raise ReentrantRequestError(
                "no thread can be started, and without one an event loop cannot wait for an async"
                " def callback: give a plain function, or have fewer threads"
            )
        self._perform(outcome, awaitable)
        if outcome.done():
            return outcome.result()
        _drop(awaitable)
        raise CallbackInterrupted

    @abstractmethod
    def _perform(self, outcome: Future[Any], awaitable: Awaitable[Any]) -> None:
        """Settle the outcome, unless the loop ends or stands still."""


class AsyncioLoop(_Loop):
    """asyncio's."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._loop = loop

    def _perform(self, outcome: Future[Any], awaitable: Awaitable[Any]) -> None:
        from asyncio import run_coroutine_threadsafe

        job = _settle(outcome, awaitable)
        # A RuntimeError says that the loop was closed.
        with suppress(RuntimeError):
            done = run_coroutine_threadsafe(job, self._loop)
            while not wait([done], WATCH_SECONDS).done and self._loop.is_running():
                pass
        _drop(job)


class TrioLoop(_Loop):
    """trio's."""

    def __init__(self, trio: Any) -> None:
        super().__init__()
        self._trio = trio
        self._token = trio.lowlevel.current_trio_token()

    def _perform(self, outcome: Future[Any], awaitable: Awaitable[Any]) -> None:
        with suppress(self._trio.RunFinishedError, self._trio.Cancelled):
            self._trio.from_thread.run(_settle, outcome, awaitable, trio_token=self._token)


async def _settle(outcome: Future[Any], awaitable: Awaitable[Any]) -> None:
    try:
        outcome.set_result(await awaitable)
    except Exception as error:
        outcome.set_exception(error)


def _drop(awaitable: Any) -> None:
    """Close what was never begun, so that nobody warns of that."""
    is_coroutine = inspect.iscoroutine(awaitable)
    if is_coroutine and inspect.getcoroutinestate(awaitable) == inspect.CORO_CREATED:
        awaitable.close()


def _waken(wake: Callable[[], object], future: Future[Any]) -> None:
    # A RuntimeError says that the waiter's event loop has ended: nobody is left to wake.
    with suppress(RuntimeError):
        wake()


def _ring(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def _running_trio() -> Any:
    """The module trio, if it runs the calling task."""
    # Another thread may be importing it: it then lacks attributes.
    trio = sys.modules.get("trio")
    current = getattr(getattr(trio, "lowlevel", None), "current_trio_token", None)
    if current is None:
        return None
    try:
        current()
    except RuntimeError:
        return None
    return trio


def _forget_library() -> None:
    """What the caller's context says of its event loop does not hold for another thread."""
    sniffio = sys.modules.get("sniffio")
    current = getattr(sniffio, "current_async_library_cvar", None)
    if current is not None:
        current.set(None)
