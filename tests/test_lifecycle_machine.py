"""Rules 5, 6 and 7 as invariants of the lifecycle, whatever happens in whatever order.

Time passes, an answer comes, a call fails, a caller is cancelled, the platform rejects a token.
"""

from __future__ import annotations

import math
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from thingspace_auth_adapters import OauthProviderError
from thingspace_auth_adapters.access_tokens import AccessTokens
from thingspace_auth_adapters.credentials import checked_settings
from thingspace_auth_adapters.effects import CallersOwnFailure, HttpAnswer, Undelivered
from thingspace_auth_adapters.exchange import RetryPolicy
from thingspace_auth_adapters.lifecycle import Lifecycle

from .kinds import IDENTITY
from .scheduler import Caller, Scheduler
from .virtual import token_answer

LIFETIME = 100
SKEW = 20


class LifecycleMachine(Scheduler):
    def __init__(self) -> None:
        super().__init__()
        fields = {**IDENTITY, "oauth_clock_skew": SKEW, "oauth_on_token_update": self.updates_seen}
        checked = checked_settings(None, fields, "https://thingspace.verizon.com", None, 30.0)
        policy = RetryPolicy(jitter=lambda: 1.0)
        self.lifecycle: Any = Lifecycle(AccessTokens(checked, self.clock), self, self.clock, policy)
        self.updates: list[str] = []
        self.issued: list[tuple[str, float]] = []
        self.revoked: set[str] = set()
        self.answers: dict[str, int] = {}
        self.excuses: dict[str, int] = {}
        self.in_use: list[str] = []

    def updates_seen(self, token: Any) -> None:
        self.updates.append(token.access_token)

    # The platform.

    def server_token(self) -> tuple[str, int]:
        """The token that the platform hands out now, and the whole seconds that it has left."""
        if self.issued:
            name, ends = self.issued[-1]
            if name not in self.revoked and ends > self.clock.wall:
                return name, math.floor(ends - self.clock.wall)
        name = f"token-{len(self.issued) + 1}"
        self.issued.append((name, self.clock.wall + LIFETIME))
        return name, LIFETIME

    def latest(self) -> str:
        return self.issued[-1][0] if self.issued else ""

    def excuse(self) -> None:
        """Something happened that may cost one request more for the latest token."""
        self.excuses[self.latest()] = self.excuses.get(self.latest(), 0) + 1

    def judge(self, caller: Caller) -> None:
        """What a caller was given is usable now, and not what it complained of."""
        if caller.lease is None:
            assert caller.rejected is not None
            return
        assert caller.lease.is_usable(self.clock)
        assert caller.lease.key != caller.rejected

    # What may happen.

    @rule(seconds=st.sampled_from([1, 5, 15, 30, 79, 80, 99, 100, 250]))
    def time_passes(self, seconds: int) -> None:
        self.clock.advance(seconds)
        self.settle_down()

    @rule(seconds=st.sampled_from([-86400, 86400]))
    def wall_clock_jumps(self, seconds: int) -> None:
        self.clock.wall += seconds
        self.issued = [(name, ends + seconds) for name, ends in self.issued]
        self.excuse()

    @rule()
    def somebody_needs_a_token(self) -> None:
        self.start(Caller(self.lifecycle.acquire()))

    @precondition(lambda self: self.issued)
    @rule(which=st.integers(0, 3))
    def platform_rejects(self, which: int) -> None:
        name = self.issued[-1 - which % len(self.issued)][0]
        self.excuse()
        self.start(Caller(self.lifecycle.replace(name), rejected=name))

    @precondition(lambda self: self.issued)
    @rule()
    def another_process_revokes(self) -> None:
        self.revoked.add(self.latest())

    @precondition(lambda self: self.sending())
    @rule()
    def endpoint_answers(self) -> None:
        name, seconds_left = self.server_token()
        self.answers[name] = self.answers.get(name, 0) + 1
        if seconds_left == 0:
            self.excuse()
        answer = token_answer(name, seconds_left)
        self.deliver(HttpAnswer(200, {}, answer.body))

    @precondition(lambda self: self.sending())
    @rule(status=st.sampled_from([400, 401, 429, 500, 503]))
    def endpoint_refuses(self, status: int) -> None:
        self.deliver(HttpAnswer(status, {"retry-after": "3"}, b""))

    @precondition(lambda self: self.sending())
    @rule(is_callers_own=st.booleans())
    def call_is_lost(self, is_callers_own: bool) -> None:
        self.deliver(Undelivered(ConnectionError("lost"), True, is_callers_own))

    # What holds all the same.

    @invariant()
    def at_most_one_call_is_under_way(self) -> None:
        assert len(self.sending()) <= 1

    @invariant()
    def newer_token_is_never_replaced_by_an_older_and_each_is_told_once(self) -> None:
        lease = self.lifecycle.lease
        if lease is not None and self.in_use[-1:] != [lease.key]:
            numbers = [int(name.split("-")[1]) for name in (*self.in_use[-1:], lease.key)]
            assert numbers == sorted(numbers)
            self.in_use.append(lease.key)
        assert self.updates == self.in_use

    @invariant()
    def one_lifetime_costs_two_requests_at_most(self) -> None:
        for name, count in self.answers.items():
            assert count <= 2 + self.excuses.get(name, 0)

    @invariant()
    def failures_are_the_endpoints_own(self) -> None:
        for caller in self.callers:
            if caller.error is not None:
                assert isinstance(
                    caller.error, (OauthProviderError, ConnectionError, CallersOwnFailure)
                ) or ("expired token" in str(caller.error))


TestLifecycle = LifecycleMachine.TestCase
TestLifecycle.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
