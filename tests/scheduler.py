"""Runs steps one effect at a time, so that hypothesis decides what happens next."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from thingspace_auth_adapters.effects import Call, Pause, Send, Wait

from .virtual import VirtualClock


class Caller:
    """One request's way through the lifecycle."""

    def __init__(self, steps: Any, rejected: str | None = None) -> None:
        self.steps = steps
        self.rejected = rejected
        self.effect: Any = None
        self.wake_at = math.inf
        self.lease: Any = None
        self.error: Exception | None = None
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

    def excuse(self) -> None:
        """Something happened that may cost one request more."""

    def start(self, caller: Caller) -> None:
        self.callers.append(caller)
        self.resume(caller, None)
        self.settle_down()

    def resume(self, caller: Caller, value: Any) -> None:
        try:
            caller.effect = caller.steps.send(value)
        except StopIteration as end:
            caller.is_done, caller.lease = True, end.value
            self.judge(caller)
        except Exception as error:
            caller.is_done, caller.error = True, error
        if not caller.is_done and isinstance(caller.effect, Pause):
            caller.wake_at = self.clock.steady + caller.effect.seconds

    def settle_down(self) -> None:
        """Let everything happen that does not depend on the platform or on time."""
        while True:
            ready = [caller for caller in self.active() if self.is_ready(caller)]
            if not ready:
                return
            caller = ready[0]
            if isinstance(caller.effect, Call):
                caller.effect.begin()
            self.resume(caller, None)

    def is_ready(self, caller: Caller) -> bool:
        if isinstance(caller.effect, Wait):
            return caller.effect.flight.outcome is not None
        if isinstance(caller.effect, Pause):
            return self.clock.steady >= caller.wake_at
        return isinstance(caller.effect, Call)

    def active(self) -> list[Caller]:
        return [caller for caller in self.callers if not caller.is_done]

    def sending(self) -> list[Caller]:
        return [caller for caller in self.active() if isinstance(caller.effect, Send)]

    def deliver(self, reply: Any) -> None:
        """Let the first request under way have this outcome."""
        self.resume(self.sending()[0], reply)
        self.settle_down()

    @precondition(lambda self: self.active())
    @rule(which=st.integers(0, 7))
    def caller_is_cancelled(self, which: int) -> None:
        candidates = self.active()
        caller = candidates[which % len(candidates)]
        self.before_cancelling(caller)
        caller.is_done = True
        caller.steps.close()
        self.excuse()
        self.settle_down()

    def before_cancelling(self, caller: Caller) -> None:
        """A caller is about to be cancelled."""

    @invariant()
    def nobody_waits_for_nothing(self) -> None:
        waits = [caller for caller in self.active() if isinstance(caller.effect, Wait)]
        leads = [caller for caller in self.active() if not isinstance(caller.effect, Wait)]
        assert leads or not waits

    @invariant()
    def failure_is_nobodys_twice(self) -> None:
        errors = [id(caller.error) for caller in self.callers if caller.error is not None]
        assert len(errors) == len(set(errors))
