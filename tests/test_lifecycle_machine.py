"""Rules 5, 6 and 7 as invariants of the lifecycle, whatever happens in whatever order.

Time passes, an answer comes, a call fails, a caller is cancelled or interrupted, the platform
rejects a token.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from thingspace_auth_adapters import OauthProviderError, ThingspaceOauthCredentials
from thingspace_auth_adapters._core.cached_token import Status, status
from thingspace_auth_adapters._core.lifecycle import Lifecycle
from thingspace_auth_adapters._core.single_flight import Failed
from thingspace_auth_adapters._core.sources import AccessTokens
from thingspace_auth_adapters._model.settings import Settings
from thingspace_auth_adapters._wire.messages import Refused

from .kinds import IDENTITY
from .scheduler import Caller, Cancelled, Scheduler
from .steps import answered, token
from .virtual import BASE

LIFETIME = 100
SKEW = 20


pytestmark = pytest.mark.once


class LifecycleMachine(Scheduler):
    def __init__(self) -> None:
        super().__init__()
        credentials = ThingspaceOauthCredentials(**IDENTITY, oauth_clock_skew=SKEW)
        source = AccessTokens(Settings(credentials, BASE, None, 30.0), self, self.clock)
        self.lifecycle = Lifecycle(source, self, self.clock)
        self.updates: list[Any] = []
        self.issued: list[tuple[str, float]] = []
        self.revoked: set[str] = set()
        self.answers: dict[str, int] = {}
        self.excuses: dict[str, int] = {}
        self.in_use: list[str] = []

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
        self.excuses[self.latest()] = self.excuses.get(self.latest(), 0) + 1

    def judge(self, caller: Caller) -> None:
        """What a caller was given is usable now, and not what it complained of."""
        if caller.result is None:
            assert caller.rejected is not None
            return
        assert status(caller.result, self.clock.wall) is not Status.EXPIRED
        assert caller.result.header != caller.rejected

    # What may happen.

    @rule(seconds=st.sampled_from([1, 5, 15, 30, 79, 80, 89, 90, 99, 100, 250]))
    def time_passes(self, seconds: int) -> None:
        self.let_time_pass(seconds)

    @rule(seconds=st.sampled_from([-86400, 86400]))
    def wall_clock_jumps(self, seconds: int) -> None:
        self.clock.wall += seconds
        self.issued = [(name, ends + seconds) for name, ends in self.issued]
        self.excuse()

    @rule()
    def somebody_needs_a_token(self) -> None:
        self.start(Caller(self.lifecycle.acquire(self.updates)))

    @precondition(lambda self: self.issued)
    @rule(which=st.integers(0, 3))
    def platform_rejects(self, which: int) -> None:
        header = f"Bearer {self.issued[-1 - which % len(self.issued)][0]}"
        self.excuse()
        self.start(Caller(self.lifecycle.replace(header, self.updates), rejected=header))

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
        self.deliver(token(name, seconds_left))

    @precondition(lambda self: self.sending())
    @rule(status=st.sampled_from([400, 401, 429, 500, 503]))
    def endpoint_refuses(self, status: int) -> None:
        self.deliver(answered(status, b"", {"retry-after": "3"}))

    @precondition(lambda self: self.sending())
    @rule()
    def call_is_lost(self) -> None:
        self.deliver(Refused(ConnectionError("lost"), is_transient=True))

    # What holds all the same.

    @invariant()
    def at_most_one_call_is_under_way(self) -> None:
        assert len(self.sending()) <= 1

    @invariant()
    def newer_token_is_never_replaced_by_an_older_and_each_is_told_once(self) -> None:
        current = self.lifecycle.current
        name = None if current is None else current.value.access_token
        if name is not None and self.in_use[-1:] != [name]:
            numbers = [int(name.split("-")[1]) for name in (*self.in_use[-1:], name)]
            assert numbers == sorted(numbers)
            self.in_use.append(name)
        assert [one.access_token for one in self.updates] == self.in_use

    @invariant()
    def one_lifetime_costs_two_requests_at_most(self) -> None:
        for name, count in self.answers.items():
            assert count <= 2 + self.excuses.get(name, 0)

    @invariant()
    def failures_are_the_endpoints_own(self) -> None:
        for caller in self.callers:
            if isinstance(caller.error, Failed):
                error, endpoints = caller.error.error, (OauthProviderError, OSError)
                assert isinstance(error, endpoints) or "expired token" in str(error)
            else:
                assert caller.error is None or isinstance(caller.error, Cancelled)


TestLifecycle = LifecycleMachine.TestCase
TestLifecycle.settings = settings(stateful_step_count=40)
