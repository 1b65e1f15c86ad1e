"""Runs steps one effect at a time, so that hypothesis decides what happens next."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from thingspace_auth_adapters._core.effects import (
    Block,
    Call,
    Exchange,
    Pause,
    ReadBody,
    Send,
    Shelter,
    Wait,
)
from thingspace_auth_adapters._core.single_flight import ABANDONED, Failed
from thingspace_auth_adapters._wire.messages import Refused

from .virtual import VirtualClock


class Cancelled(BaseException):
    """A caller is cancelled as a task is, or interrupted as a thread is."""


class Caller:
    """One request's way through the lifecycle: a stack of steps within steps."""

    def __init__(self, steps: Any, rejected: str | None = None) -> None:
        self.steps = [steps]
        self.shelters: list[Any] = [None]
        self.rejected = rejected
        self.effect: Any = None
        self.wake_at = math.inf
        self.result: Any = None
        self.error: BaseException | None = None
        self.cancellation: Cancelled | None = None
        self.ends_at = math.inf
        self.is_orphan = False
        self.is_done = False


class Scheduler(RuleBasedStateMachine):
    """A state machine whose callers wait at their effects until something happens."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = VirtualClock()
        self.callers: list[Caller] = []

    def judge(self, caller: Caller) -> None:
        """What a caller must have been given."""
        raise NotImplementedError

    def exchange(self, request: Any) -> Any:
        """The platform's response to a user's request."""
        raise NotImplementedError

    def excuse(self) -> None:
        """Something happened that may cost one request more."""

    def must_go_on(self, caller: Caller) -> bool:
        """Whether what a caller is at goes on although it is cancelled."""
        return False

    def sends(self, caller: Caller) -> None:
        """A caller begins to call an endpoint."""

    def teardown(self) -> None:
        """End everyone: what a process knows of an account outlives the machine."""
        for caller in self.active():
            self.throw(caller)

    def start(self, caller: Caller) -> None:
        self.callers.append(caller)
        self.resume(caller)
        self.settle_down()

    def resume(self, caller: Caller, value: Any = None, error: BaseException | None = None) -> None:
        """Take a caller's steps until they wait for something, or end."""
        caller.effect = None
        while caller.steps:
            steps = caller.steps[-1]
            try:
                effect = steps.send(value) if error is None else steps.throw(error)
            except StopIteration as end:
                self.leave(caller)
                value, error = end.value, None
                continue
            except BaseException as raised:
                self.leave(caller)
                error = raised
                continue
            value, error = None, None
            if isinstance(effect, Shelter):
                caller.steps.append(effect.steps)
                caller.shelters.append(effect.refresh)
            elif isinstance(effect, (Send, Wait, Pause)) and caller.cancellation is not None:
                error = caller.cancellation
            elif isinstance(effect, (Send, Wait, Pause)):
                self.wait_at(caller, effect)
                return
            else:
                value = self.performed(effect)
        caller.result, caller.error, caller.is_done = value, error, True
        if error is None and not caller.is_orphan:
            self.judge(caller)

    def leave(self, caller: Caller) -> None:
        caller.steps.pop()
        caller.shelters.pop()

    def wait_at(self, caller: Caller, effect: Any) -> None:
        caller.effect = effect
        if isinstance(effect, Pause):
            caller.wake_at = self.clock.steady + effect.seconds
        if isinstance(effect, Send):
            self.sends(caller)

    def performed(self, effect: Any) -> Any:
        if isinstance(effect, Call):
            return effect.function(*effect.args)
        if isinstance(effect, Block):
            return effect.function()
        if isinstance(effect, ReadBody):
            return effect.response.body
        assert isinstance(effect, Exchange)
        return self.exchange(effect.request)

    def settle_down(self) -> None:
        """Let everything happen that does not depend on the platform or on time."""
        while True:
            ready = [caller for caller in self.active() if self.is_ready(caller)]
            if not ready:
                return
            self.resume(ready[0])

    def is_ready(self, caller: Caller) -> bool:
        if isinstance(caller.effect, Wait):
            refresh = caller.effect.refresh
            if self.clock.steady >= refresh.ends_at:
                refresh.settle(ABANDONED)
            return refresh.outcome is not None
        return isinstance(caller.effect, Pause) and self.clock.steady >= caller.wake_at

    def active(self) -> list[Caller]:
        return [caller for caller in self.callers if not caller.is_done]

    def sending(self) -> list[Caller]:
        return [caller for caller in self.active() if isinstance(caller.effect, Send)]

    def deliver(self, reply: Any) -> None:
        """Let the first call under way have this outcome."""
        self.resume(self.sending()[0], reply)
        self.settle_down()

    def let_time_pass(self, seconds: float) -> None:
        """Pauses, calls and waits end when they are due; who has lost its caller does in time."""
        target = self.clock.steady + seconds
        while True:
            due = min((self.due(caller) for caller in self.active()), default=math.inf)
            self.clock.advance(max(min(due, target) - self.clock.steady, 0.0))
            if due > target:
                break
            for caller in self.active():
                if self.clock.steady >= caller.ends_at:
                    self.throw(caller)
                elif isinstance(caller.effect, Send) and self.due(caller) <= self.clock.steady:
                    self.resume(caller, Refused(TimeoutError("too late"), is_transient=True))
            self.settle_down()
        self.settle_down()

    def due(self, caller: Caller) -> float:
        """The reading of the monotonic clock at which a caller goes on by itself."""
        if isinstance(caller.effect, Pause):
            return min(caller.wake_at, caller.ends_at)
        waits_for = caller.effect if isinstance(caller.effect, Send) else caller.effect.refresh
        return min(waits_for.ends_at, caller.ends_at)

    def throw(self, caller: Caller) -> None:
        """Cancel or interrupt a caller, whatever it is at."""
        caller.cancellation = caller.cancellation or Cancelled()
        self.resume(caller, error=caller.cancellation)

    @precondition(lambda self: self.active())
    @rule(which=st.integers(0, 7))
    def caller_is_interrupted(self, which: int) -> None:
        """As in a synchronous client: nothing is sheltered."""
        candidates = self.active()
        self.throw(candidates[which % len(candidates)])
        self.excuse()
        self.settle_down()

    @precondition(lambda self: any(not one.is_orphan for one in self.active()))
    @rule(which=st.integers(0, 7))
    def caller_is_cancelled(self, which: int) -> None:
        """As on asyncio: what is committed goes on in a task of its own."""
        candidates = [caller for caller in self.active() if not caller.is_orphan]
        caller = candidates[which % len(candidates)]
        number = next((n for n, one in enumerate(caller.shelters) if one is not None), None)
        refresh = None if number is None else caller.shelters[number]
        assert refresh is None or refresh.is_committed == self.must_go_on(caller)
        if refresh is not None and refresh.is_committed:
            self.orphan(caller, number or 0)
        self.throw(caller)
        if refresh is not None and not refresh.is_committed:
            refresh.settle(ABANDONED)
        self.excuse()
        self.settle_down()

    def orphan(self, caller: Caller, number: int) -> None:
        orphan = Caller(None)
        orphan.steps, orphan.shelters = caller.steps[number:], caller.shelters[number:]
        orphan.effect, orphan.wake_at = caller.effect, caller.wake_at
        orphan.is_orphan, orphan.ends_at = True, self.clock.steady + 30
        del caller.steps[number:], caller.shelters[number:]

        def change(is_committed: bool) -> None:
            if not is_committed:
                orphan.cancellation = Cancelled()

        orphan.shelters[0].on_commitment = change
        self.callers.append(orphan)

    @invariant()
    def nobody_waits_for_nothing(self) -> None:
        waits = [caller for caller in self.active() if isinstance(caller.effect, Wait)]
        leads = [caller for caller in self.active() if not isinstance(caller.effect, Wait)]
        assert leads or not waits

    @invariant()
    def failure_is_nobodys_twice(self) -> None:
        errors = [caller.error for caller in self.callers if isinstance(caller.error, Failed)]
        assert len(errors) == len({id(error) for error in errors})
        assert len(errors) == len({id(error.error) for error in errors})

    @invariant()
    def caller_that_is_cancelled_gets_that(self) -> None:
        for caller in self.callers:
            if caller.is_done and caller.cancellation is not None and not caller.is_orphan:
                assert caller.error is caller.cancellation
