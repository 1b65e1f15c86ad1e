"""Runs callers one at a time, so that hypothesis decides what happens next.

Each caller is a greenlet that runs plain blocking code. It stops where that code would block: in a
call of an endpoint, in a pause, and while it waits for another caller's refresh.
"""

from __future__ import annotations

import contextvars
import math
import sys
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from types import FrameType
from typing import Any, Callable, NamedTuple, Union

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from thingspace_auth_adapters._core.lifecycle import Lifecycle
from thingspace_auth_adapters._core.refresh import Failed, Refresh
from thingspace_auth_adapters._wire.messages import HttpAnswer, HttpRequest, Refused
from thingspace_auth_adapters._wire.rejection import Credential

from .steps import INTERRUPTS, PACKAGE, Interrupt, with_lines
from .virtual import VirtualClock

greenlet = pytest.importorskip("greenlet")

TIMEOUT = 30.0
LONGEST_WAIT = 8 * TIMEOUT
MOST_REFRESHES = 2
LATEST_CALL = {Credential.BEARER: 2 * TIMEOUT, Credential.SESSION: 3 * TIMEOUT}
"""How long after its refresh began a call may begin."""


class Call(NamedTuple):
    """A caller stops in a call of an endpoint, whose answer must have been read in time."""

    request: HttpRequest
    until: float


class Sleep(NamedTuple):
    """A caller stops for a pause."""

    until: float


class Wait(NamedTuple):
    """A caller stops until a future is done, but not for ever."""

    future: Future[Any]
    until: float


Stop = Union[Call, Sleep, Wait]


class Led(NamedTuple):
    """A refresh that a caller leads: when it began, and what it is to bring."""

    begun_at: float
    credential: Credential
    number: int


class Caller:
    """Somebody who needs a token.

    Args:
        work: what it runs.
        rejected: the header value that the platform rejected, if that is why.

    Attributes:
        at: where it stands; ``None`` while it runs, and when it has ended.
        led: the refreshes that it leads, the inner ones last.
        waited: in each acquisition that it is in, for how many refreshes it has waited.
        last: the refresh that it waited for, or led, last.
        refreshes: for how many it had waited by then, in the same acquisition.
        interruption: what was thrown at it.
        lines_left: after how many lines of the package something is raised in it.
        trap: what is raised there.
        has_sprung: whether it was.
    """

    def __init__(self, work: Callable[[], Any], rejected: str | None = None) -> None:
        self.work = work
        self.rejected = rejected
        self.greenlet: Any = None
        self.at: Stop | None = None
        self.begun_at = 0.0
        self.led: list[Led] = []
        self.waited: list[int] = []
        self.last: Refresh | None = None
        self.refreshes = 0
        self.interruption: BaseException | None = None
        self.lines_left: int | None = None
        self.trap: BaseException | None = None
        self.has_sprung = False
        self.result: Any = None
        self.error: BaseException | None = None
        self.is_done = False

    def pass_line(self) -> None:
        """Come by a line of the package, and no further if it was to be the last."""
        assert self.lines_left is not None
        assert self.trap is not None
        self.lines_left -= 1
        if self.lines_left < 0:
            self.lines_left = None
            self.has_sprung = True
            self.interruption = self.trap
            raise self.trap


class GreenletClock(VirtualClock):
    """Virtual time, in which greenlets stop instead of blocking their thread."""

    def __init__(self, scheduler: Scheduler) -> None:
        super().__init__()
        self.scheduler = scheduler

    @property
    def has_greenlets(self) -> bool:
        return True

    def sleep(self, seconds: float) -> None:
        self.scheduler.stop(Sleep(self.steady + seconds))

    def wait(self, future: Future[Any], seconds: float) -> None:
        self.scheduler.stop(Wait(future, self.steady + max(seconds, 0.0)))


class GreenletTransport:
    """Calls that are answered when the state machine says so."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler

    def send(self, request: HttpRequest, timeout: float, ends_at: float) -> HttpAnswer | Refused:
        reply: HttpAnswer | Refused = self.scheduler.stop(Call(request, ends_at))
        return reply

    def overdue(self, request: HttpRequest) -> Refused:
        return Refused(TimeoutError("no answer came in time"), is_transient=True)


class Scheduler(RuleBasedStateMachine):
    """A state machine whose callers stand still until something happens."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = GreenletClock(self)
        self.transport = GreenletTransport(self)
        self.callers: list[Caller] = []
        self.running: Caller | None = None
        self.acquisitions = 0

    def judge(self, caller: Caller) -> None:
        """What a caller must have been given."""
        raise NotImplementedError

    def excuse(self) -> None:
        """Something happened that may cost one request more."""

    def sprung(self, caller: Caller) -> None:
        """A caller was interrupted at some line, whatever it had done by then."""

    def begins_call(self, caller: Caller) -> None:
        """A caller begins to call an endpoint."""

    def teardown(self) -> None:
        """End everyone: what a process knows of an account outlives the machine."""
        for caller in self.active():
            self.throw(caller, Interrupt())

    # Callers.

    def start(self, caller: Caller, lines: int | None = None) -> None:
        """Have a caller begin, and interrupt it after so many lines, if so."""
        self.callers.append(caller)
        self.arm(caller, lines)
        caller.greenlet = greenlet.greenlet(self.run_caller)
        caller.greenlet.gr_context = contextvars.copy_context()
        caller.begun_at = self.clock.steady
        self.resume(caller, caller)
        self.settle_down()

    def run_caller(self, caller: Caller) -> None:
        try:
            with self.traced(caller):
                caller.result = caller.work()
        except BaseException as error:
            caller.error = error

    @property
    def caller(self) -> Caller:
        """The one that runs."""
        assert self.running is not None
        return self.running

    def stop(self, at: Stop) -> Any:
        """Called by a caller's code: go on when the machine says so."""
        caller = self.caller
        caller.at = at
        if caller.lines_left is not None:
            sys.settrace(None)
        try:
            return greenlet.getcurrent().parent.switch()
        finally:
            caller.at = None
            # It may have been armed meanwhile.
            if caller.lines_left is not None:
                self.trace(caller, sys._getframe(1))

    def resume(self, caller: Caller, value: Any = None, error: BaseException | None = None) -> None:
        """Let a caller run until it stops again, or ends."""
        self.running = caller
        had_sprung = caller.has_sprung
        if error is None:
            caller.greenlet.switch(value)
        else:
            caller.greenlet.throw(error)
        self.running = None
        caller.is_done = caller.greenlet.dead
        if caller.has_sprung and not had_sprung:
            self.excuse()
            self.sprung(caller)
        assert self.clock.steady - caller.begun_at <= LONGEST_WAIT
        if isinstance(caller.at, Call):
            for led in caller.led:
                assert self.clock.steady <= led.begun_at + LATEST_CALL[led.credential]
            self.begins_call(caller)
        if caller.is_done and caller.error is None:
            self.judge(caller)

    def throw(self, caller: Caller, error: BaseException) -> None:
        """Interrupt a caller where it stands."""
        caller.interruption = error
        self.resume(caller, error=error)

    # Interruptions at a line.

    def arm(self, caller: Caller, lines: int | None) -> None:
        if lines is not None and caller.trap is None:
            caller.lines_left = lines
            # No plain exception: where another's error is copied, those are suppressed.
            caller.trap = Interrupt()

    @contextmanager
    def traced(self, caller: Caller) -> Iterator[None]:
        before = sys.gettrace()
        if caller.lines_left is not None:
            self.trace(caller, None)
        try:
            yield
        finally:
            # Whoever measures coverage traces, too.
            if caller.lines_left is not None:
                sys.settrace(before)

    def trace(self, caller: Caller, frame: FrameType | None) -> None:
        """Count the lines from now on, also of those who called."""

        def see(frame: FrameType, event: str, argument: object) -> Any:
            if not is_ours(frame) or caller.lines_left is None:
                return None
            if event == "line" and frame.f_lineno not in with_lines(frame.f_code):
                caller.pass_line()
            return see

        while frame is not None:
            if is_ours(frame):
                frame.f_trace = see
            frame = frame.f_back
        sys.settrace(see)

    # What goes on by itself.

    def settle_down(self) -> None:
        """Let everything happen that does not depend on the platform or on time."""
        while True:
            ready = [caller for caller in self.active() if self.is_ready(caller)]
            if not ready:
                return
            self.resume(ready[0])

    def is_ready(self, caller: Caller) -> bool:
        at = caller.at
        if isinstance(at, Wait) and at.future.done():
            return True
        return not isinstance(at, Call) and at is not None and self.clock.steady >= at.until

    def active(self) -> list[Caller]:
        return [caller for caller in self.callers if not caller.is_done]

    def calling(self) -> list[Caller]:
        return [caller for caller in self.active() if isinstance(caller.at, Call)]

    def leading(self) -> list[Caller]:
        return [caller for caller in self.active() if caller.led]

    def next_call(self) -> HttpRequest:
        at = self.calling()[0].at
        assert isinstance(at, Call)
        return at.request

    def deliver(self, reply: Any) -> None:
        """Let the first call under way have this outcome."""
        self.resume(self.calling()[0], reply)
        self.settle_down()

    def let_time_pass(self, seconds: float, is_last_first: bool = False) -> None:
        """Pauses, calls and waits end when they are due.

        Args:
            seconds: how many.
            is_last_first: whether the last of those who are due at the same moment goes first.
        """
        target = self.clock.steady + seconds
        while True:
            due = min((self.due(caller) for caller in self.active()), default=math.inf)
            self.clock.advance(max(min(due, target) - self.clock.steady, 0.0))
            if due > target:
                break
            moment = self.clock.steady
            callers = [caller for caller in self.active() if self.due(caller) <= moment]
            for caller in reversed(callers) if is_last_first else callers:
                if not caller.is_done and self.due(caller) <= moment:
                    overdue = Refused(TimeoutError("too late"), is_transient=True)
                    self.resume(caller, overdue if isinstance(caller.at, Call) else None)
        self.settle_down()

    def due(self, caller: Caller) -> float:
        """The reading of the monotonic clock at which a caller goes on by itself."""
        assert caller.at is not None
        return caller.at.until

    # What may happen to anyone.

    @precondition(lambda self: self.active())
    @rule(which=st.integers(0, 7), kind=st.sampled_from(INTERRUPTS))
    def caller_is_interrupted(self, which: int, kind: type[BaseException]) -> None:
        candidates = self.active()
        self.throw(candidates[which % len(candidates)], kind())
        self.excuse()
        self.settle_down()

    @precondition(lambda self: self.leading())
    @rule(which=st.integers(0, 7), lines=st.integers(0, 120))
    def leader_is_going_to_be_interrupted(self, which: int, lines: int) -> None:
        candidates = self.leading()
        self.arm(candidates[which % len(candidates)], lines)

    @precondition(lambda self: self.active())
    @rule(is_last_first=st.booleans())
    def time_passes_until_somebody_goes_on(self, is_last_first: bool) -> None:
        due = min(self.due(caller) for caller in self.active())
        self.let_time_pass(max(due - self.clock.steady, 0.0), is_last_first)

    # What holds all the same.

    @invariant()
    def nobody_waits_for_nothing(self) -> None:
        waits = [caller for caller in self.active() if isinstance(caller.at, Wait)]
        others = [caller for caller in self.active() if not isinstance(caller.at, Wait)]
        # A leader that is interrupted while it tells of its end is waited for in vain.
        assert others or not waits or any(caller.has_sprung for caller in self.callers)

    @invariant()
    def nobody_waits_for_too_long(self) -> None:
        for caller in self.active():
            assert self.clock.steady - caller.begun_at <= LONGEST_WAIT

    @invariant()
    def failure_is_nobodys_twice(self) -> None:
        errors = [caller.error for caller in self.callers if caller.error is not None]
        assert len(errors) == len({id(error) for error in errors})
        inner = [error.error for error in errors if hasattr(error, "error")]
        exceptions = [error for error in inner if isinstance(error, Exception)]
        assert len(exceptions) == len({id(error) for error in exceptions})

    @invariant()
    def caller_that_is_interrupted_gets_that(self) -> None:
        for caller in self.callers:
            if caller.is_done and caller.interruption is not None:
                assert caller.error is caller.interruption


def is_ours(frame: FrameType) -> bool:
    """Whether the package's code runs in it."""
    return frame.f_code.co_filename.startswith(PACKAGE)


def watched(machine: Scheduler) -> type[Lifecycle[Any]]:
    """Lifecycles that tell the machine who leads what, and who waits for how many."""

    class Watched(Lifecycle[Any]):
        def acquire(self, caller: Any) -> Any:
            with self.counting():
                return super().acquire(caller)

        def acquire_apart(self, caller: Any) -> Any:
            with self.counting():
                return super().acquire_apart(caller)

        def lead(self, refresh: Refresh) -> Any:
            self.count(refresh)
            who = machine.caller
            machine.acquisitions += 1
            led = Led(machine.clock.steady, self.source.credential, machine.acquisitions)
            who.led.append(led)
            try:
                return super().lead(refresh)
            finally:
                who.led.pop()

        def waits_until(self, refresh: Refresh, caller: Any) -> float:
            self.count(refresh)
            return super().waits_until(refresh, caller)

        @contextmanager
        def counting(self) -> Iterator[None]:
            waited = machine.caller.waited
            waited.append(0)
            try:
                yield
            finally:
                waited.pop()

        def count(self, refresh: Refresh) -> None:
            who = machine.caller
            who.last = refresh
            who.waited[-1] += 1
            who.refreshes = who.waited[-1]
            assert who.refreshes <= MOST_REFRESHES

    return Watched


def replaced(lifecycle: Lifecycle[Any], header: str, caller: Any) -> Any:
    """Another token than one that the platform rejected, as the adapters ask for it."""
    try:
        token = lifecycle.acquire(caller) if lifecycle.reject(header) else None
    except Failed:
        return None
    return None if token is None or token.header == header else token
