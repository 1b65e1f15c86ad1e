"""The module ``_core/lifecycle``: Part 1, rules 5, 6, 7 and 11 hold in whatever order of events.

Time passes, an answer comes, a call fails, a caller is interrupted where it stands or at any line,
the platform rejects a token, somebody assigns one.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from thingspace_auth_adapters import OauthProviderError, OauthToken, ThingspaceOauthCredentials
from thingspace_auth_adapters._core import refresh
from thingspace_auth_adapters._core.access_tokens import AccessTokens
from thingspace_auth_adapters._core.cached_token import Status, status
from thingspace_auth_adapters._core.refresh import Failed
from thingspace_auth_adapters._model.settings import Settings
from thingspace_auth_adapters._wire.messages import Refused

from ..support.kinds import IDENTITY
from ..support.scheduler import (
    LONGEST_WAIT,
    MOST_REFRESHES,
    TIMEOUT,
    Caller,
    Scheduler,
    replaced,
    watched,
)
from ..support.steps import INTERRUPTS, answered, token
from ..support.virtual import BASE

LIFETIME = 100
SKEW = 20


pytestmark = pytest.mark.once


class LifecycleMachine(Scheduler):
    def __init__(self) -> None:
        super().__init__()
        credentials = ThingspaceOauthCredentials(**IDENTITY, oauth_clock_skew=SKEW)
        configured = Settings(credentials, BASE, None, TIMEOUT)
        source = AccessTokens(configured, self, self.transport, self.clock)
        self.lifecycle: Any = watched(self)(source, self, self.clock, self.tell)
        self.told: list[str] = []
        self.to_tell: list[str] = []
        self.issued: list[tuple[str, float]] = []
        self.revoked: set[str] = set()
        self.answers: dict[str, int] = {}
        self.excuses: dict[str, int] = {}
        self.in_use: list[str | None] = []
        self.acquired_by: dict[str, int] = {}
        self.assigned = 0
        self.assigned_after = 0

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

    def current(self) -> str | None:
        found = self.lifecycle.current
        return None if found is None else str(found.value.access_token)

    # What callers do and get.

    def tell(self, updates: list[Any], loop: object) -> None:
        assert loop is None
        self.told += [one.access_token for one in updates]

    def patience(self) -> refresh.Caller:
        return refresh.Caller(self.clock.monotonic() + LONGEST_WAIT)

    def needs(self) -> Caller:
        return Caller(lambda: self.lifecycle.acquire(self.patience()))

    def rejects(self, header: str) -> Caller:
        return Caller(lambda: replaced(self.lifecycle, header, self.patience()), header)

    def excuse(self) -> None:
        self.excuses[self.latest()] = self.excuses.get(self.latest(), 0) + 1

    def sprung(self, caller: Caller) -> None:
        self.note_change()
        # Who is interrupted may tell nobody of what it installed.
        self.to_tell = list(self.told)

    def note_change(self) -> None:
        name = self.current()
        if self.in_use[-1:] != [name]:
            self.in_use.append(name)
            if name is not None and name.startswith("token"):
                self.to_tell.append(name)

    def judge(self, caller: Caller) -> None:
        """What a caller was given is usable now, and not what it complained of."""
        if caller.result is None:
            assert caller.rejected is not None
            return
        assert status(caller.result, self.clock.wall) is not Status.EXPIRED
        assert caller.result.header != caller.rejected

    # What may happen.

    @rule(
        seconds=st.sampled_from([1, 5, 15, 30, 79, 80, 89, 90, 99, 100, 120, 250]),
        is_last_first=st.booleans(),
    )
    def time_passes(self, seconds: int, is_last_first: bool) -> None:
        self.let_time_pass(seconds, is_last_first)

    @rule(seconds=st.sampled_from([-86400, 86400]))
    def wall_clock_jumps(self, seconds: int) -> None:
        self.clock.wall += seconds
        self.issued = [(name, ends + seconds) for name, ends in self.issued]
        self.excuse()

    @rule(count=st.integers(1, 3))
    def some_need_a_token_at_the_same_moment(self, count: int) -> None:
        for _ in range(count):
            self.start(self.needs())

    @rule(lines=st.integers(0, 200))
    def somebody_needs_a_token_who_is_going_to_be_interrupted(self, lines: int) -> None:
        self.start(self.needs(), lines)

    @precondition(lambda self: self.issued)
    @rule(which=st.integers(0, 3), lines=st.one_of(st.none(), st.integers(0, 200)))
    def platform_rejects(self, which: int, lines: int | None) -> None:
        header = f"Bearer {self.issued[-1 - which % len(self.issued)][0]}"
        self.excuse()
        self.start(self.rejects(header), lines)

    @precondition(lambda self: self.assigned)
    @rule()
    def platform_rejects_what_was_assigned(self) -> None:
        self.excuse()
        self.start(self.rejects(f"Bearer assigned-{self.assigned}"))

    @precondition(lambda self: self.issued)
    @rule()
    def another_process_revokes(self) -> None:
        self.revoked.add(self.latest())

    @rule(seconds=st.sampled_from([None, SKEW // 2, LIFETIME]))
    def somebody_assigns_a_token(self, seconds: int | None) -> None:
        self.assigned += 1
        self.assigned_after = self.acquisitions
        expiry = None if seconds is None else self.clock.wall + seconds
        name = f"assigned-{self.assigned}"
        self.lifecycle.assign(self.lifecycle.source.cached(OauthToken(name, expiry=expiry)))
        self.note_change()
        self.excuse()

    @rule()
    def somebody_forgets_the_token(self) -> None:
        self.assigned_after = self.acquisitions
        self.lifecycle.assign(None)
        self.note_change()
        self.excuse()

    @precondition(lambda self: self.calling())
    @rule()
    def endpoint_answers(self) -> None:
        name, seconds_left = self.server_token()
        self.answers[name] = self.answers.get(name, 0) + 1
        self.acquired_by[name] = self.calling()[0].led[-1].number
        if seconds_left == 0:
            self.excuse()
        self.deliver(token(name, seconds_left))

    @precondition(lambda self: self.calling())
    @rule(status=st.sampled_from([400, 401, 429, 500, 503]))
    def endpoint_refuses(self, status: int) -> None:
        self.deliver(answered(status, b"", {"retry-after": "3"}))

    @precondition(lambda self: self.calling())
    @rule()
    def call_is_lost(self) -> None:
        self.deliver(Refused(ConnectionError("lost"), is_transient=True))

    # What holds all the same.

    @invariant()
    def at_most_one_call_is_under_way(self) -> None:
        assert len(self.calling()) <= 1

    @invariant()
    def newer_token_is_never_replaced_by_an_older_and_each_is_told_once(self) -> None:
        self.note_change()
        for kind in ("token", "assigned"):
            names = [name for name in self.in_use if name is not None and name.startswith(kind)]
            numbers = [int(name.split("-")[1]) for name in names]
            assert numbers == sorted(numbers)
        assert self.told == self.to_tell

    @invariant()
    def what_was_assigned_stands_until_a_later_refresh(self) -> None:
        name = self.current()
        if name is not None and name in self.acquired_by:
            assert self.acquired_by[name] > self.assigned_after

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
                assert isinstance(caller.error, (type(None), *INTERRUPTS)), repr(caller.error)

    @invariant()
    def failed_renewal_ahead_of_expiry_fails_nobody_who_may_wait_for_another(self) -> None:
        for caller in self.callers:
            has_none = caller.is_done and caller.result is None
            if has_none and caller.last is not None and caller.interruption is None:
                is_failed = isinstance(caller.last.outcome, Failed)
                may_wait = caller.refreshes < MOST_REFRESHES
                assert not (is_failed and may_wait and caller.last.is_early)


TestLifecycle = LifecycleMachine.TestCase
TestLifecycle.settings = settings(stateful_step_count=40)
