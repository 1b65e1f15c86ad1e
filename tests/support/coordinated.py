"""Virtual time that real threads and real event loops share.

Each thread that takes part is counted. While one of them runs, time stands still. When all are
blocked, time goes on to the earliest moment that one of them waits for. Whoever wakes a thread
counts it as running at once, not only when it gets to run: so time never goes on while a wake-up
is on its way, however busy the machine is.
"""

from __future__ import annotations

import asyncio
import math
import selectors
import threading
from collections.abc import Awaitable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, Callable
from unittest import mock

from .virtual import VirtualClock

WATCHDOG_SECONDS = 60.0
"""After so much real time in which nothing happens a test is stuck."""

MOST_AT_ONCE = 16
"""Of those who wait for the same moment, so many run at once."""

FOR_EVER = 1000.0
"""No test takes so much virtual time: what goes on for so long never ends."""


class Stuck(AssertionError):
    """Somebody goes on for ever, or waits for what will never be."""


class Sleeper:
    """Somebody who blocks, again and again.

    Attributes:
        is_patient: whether it may block for ever.
        is_called: whether it was woken although it was not blocked.
    """

    def __init__(self, is_patient: bool = False) -> None:
        self.is_patient = is_patient
        self.is_called = False
        self.is_lost = False
        self.alarm = threading.Event()


class CoordinatedClock(VirtualClock):
    """A clock for any number of threads; see the module.

    Attributes:
        threads: those that were started to take part.
    """

    def __init__(self) -> None:
        super().__init__()
        self.threads: list[Participant] = []
        self._changed = threading.Condition()
        self._running = 0
        self._steps = 0
        self._ends_at = self.steady + FOR_EVER
        self._asleep: dict[Sleeper, float] = {}

    # What the package asks of a clock.

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.block(Sleeper(), self.steady + seconds)

    def wait(self, future: Future[Any], seconds: float) -> None:
        sleeper = Sleeper()
        # It is the thread that settles the future that calls this, and that is running.
        future.add_done_callback(lambda _: self.wake(sleeper))
        self.block(sleeper, self.steady + seconds)

    # What the endpoints and the event loops of a test use.

    def block(self, sleeper: Sleeper, until: float) -> None:
        """Block this thread until it is woken, or until this reading of the monotonic clock."""
        with self._changed:
            if sleeper.is_called or until <= self.steady:
                sleeper.is_called = False
                return
            sleeper.alarm.clear()
            self._asleep[sleeper] = until
            self._stop()
        seen = self._steps
        while not sleeper.alarm.wait(WATCHDOG_SECONDS):
            if self._steps == seen and not sleeper.is_patient:
                raise Stuck(f"{self._running} threads keep time from going on")
            seen = self._steps
        if sleeper.is_lost:
            raise Stuck("this would have gone on for ever")

    def wake(self, sleeper: Sleeper) -> None:
        """Wake a thread, or have it not block the next time."""
        with self._changed:
            if sleeper in self._asleep:
                self._rouse(sleeper)
            else:
                sleeper.is_called = True

    # Who takes part.

    @contextmanager
    def taking_part(self) -> Iterator[None]:
        """Count the calling thread: time stands still as long as it does not block."""
        self.enter()
        try:
            yield
        finally:
            self.leave()

    def enter(self) -> None:
        """One thread more takes part, and runs."""
        with self._changed:
            self._running += 1

    def leave(self) -> None:
        """One thread less takes part."""
        with self._changed:
            self._stop()

    def start(self, target: Callable[[], object]) -> None:
        """Have a thread that takes part call a function."""
        Participant(self, target=target, daemon=True).start()

    def settle(self) -> None:
        """Have a thread that does not take part wait until nothing happens any more."""
        with self._changed:
            seen = self._steps
            while not self._changed.wait_for(self._is_settled, WATCHDOG_SECONDS):
                assert self._steps != seen, "it never came to rest"
                seen = self._steps

    def left(self) -> list[threading.Thread]:
        """The threads that have not come to their end once nothing happens any more."""
        self.settle()
        for thread in self.threads:
            if thread.is_over:
                thread.join(WATCHDOG_SECONDS)
        return [thread for thread in self.threads if thread.is_alive()]

    @property
    def for_threading(self) -> Any:
        """Stands in for the module ``threading``: what its threads do takes part."""
        return _Threading(self)

    def run(self, backend: str, main: Callable[[], Awaitable[Any]]) -> Any:
        """Run an async function on an event loop that takes part, in the calling thread."""
        with self.taking_part():
            return self._run_trio(main) if backend == "trio" else self._run_asyncio(main)

    def _run_asyncio(self, main: Callable[[], Any]) -> Any:
        loop = _Loop(self)
        try:
            return loop.run_until_complete(main())
        finally:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

    def _run_trio(self, main: Callable[[], Any]) -> Any:
        import trio

        clock, sleeper = self, Sleeper()
        is_idle = False

        class Time(trio.abc.Clock):
            def start_clock(self) -> None:
                pass

            def current_time(self) -> float:
                return clock.steady

            def deadline_to_sleep_time(self, deadline: float) -> float:
                """Called when no task is ready: trio never sleeps, but blocks here."""
                nonlocal is_idle
                if is_idle:
                    clock.block(sleeper, deadline)
                # Trio calls itself over a socket, too: that is looked at first.
                is_idle = not is_idle
                return 0.0

        class Steps(trio.abc.Instrument):
            def before_task_step(self, task: object) -> None:
                nonlocal is_idle
                is_idle = False

        token = trio.lowlevel.TrioToken
        original = token.run_sync_soon

        def run_sync_soon(*args: Any, **options: Any) -> None:
            original(*args, **options)
            clock.wake(sleeper)

        with mock.patch.object(token, "run_sync_soon", run_sync_soon):
            return trio.run(main, clock=Time(), instruments=[Steps()])

    # All of the following is called with the lock held.

    def _stop(self) -> None:
        self._running -= 1
        if self._running == 0:
            self._go_on()

    def _go_on(self) -> None:
        """Everyone is blocked: let time pass."""
        earliest = min(self._asleep.values(), default=math.inf)
        if earliest < self._ends_at:
            self.wall += earliest - self.steady
            self.steady = earliest
            due = [sleeper for sleeper, until in self._asleep.items() if until <= earliest]
            # The others' turn comes before time goes on: more would only be in each other's way.
            due = due[:MOST_AT_ONCE]
        else:
            due = [sleeper for sleeper in self._asleep if not sleeper.is_patient]
            for sleeper in due:
                sleeper.is_lost = True
        for sleeper in due:
            self._rouse(sleeper)
        if not due:
            self._changed.notify_all()

    def _rouse(self, sleeper: Sleeper) -> None:
        del self._asleep[sleeper]
        self._running += 1
        self._steps += 1
        sleeper.alarm.set()

    def _is_settled(self) -> bool:
        return self._running == 0 and all(sleeper.is_patient for sleeper in self._asleep)


class Participant(threading.Thread):
    """A thread that takes part from the moment at which it is started.

    Attributes:
        is_over: whether it has done all that it had to do.
    """

    def __init__(self, clock: CoordinatedClock, **options: Any) -> None:
        super().__init__(**options)
        self.is_over = False
        self._clock = clock

    def start(self) -> None:
        self._clock.threads.append(self)
        self._clock.enter()
        super().start()

    def run(self) -> None:
        try:
            super().run()
        finally:
            self.is_over = True
            self._clock.leave()


class _Threading:
    def __init__(self, clock: CoordinatedClock) -> None:
        self._clock = clock

    def Thread(self, **options: Any) -> Participant:
        return Participant(self._clock, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(threading, name)


class _Loop(asyncio.SelectorEventLoop):
    """An event loop of asyncio on virtual time. Its tasks wait for no sockets."""

    def __init__(self, clock: CoordinatedClock) -> None:
        self._virtual = clock
        self._sleeper = Sleeper()
        super().__init__(_Selector(clock, self._sleeper))

    def time(self) -> float:
        return self._virtual.steady

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> asyncio.Handle:
        handle = super().call_soon_threadsafe(callback, *args, context=context)
        self._virtual.wake(self._sleeper)
        return handle


class _Selector(selectors.SelectSelector):
    """Asked for events with a timeout other than 0 only if no task is ready."""

    def __init__(self, clock: CoordinatedClock, sleeper: Sleeper) -> None:
        super().__init__()
        self._clock = clock
        self._sleeper = sleeper

    def select(self, timeout: float | None = None) -> Any:
        events = super().select(0)
        if events or timeout == 0:
            return events
        until = math.inf if timeout is None else self._clock.steady + timeout
        self._clock.block(self._sleeper, until)
        return super().select(0)
