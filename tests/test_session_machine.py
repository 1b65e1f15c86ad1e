"""Both tokens as a state machine: no order of events costs a strike too many, or a stale header.

Driven through what every adapter drives: acquiring what a request carries, and reconsidering it
after a rejection.
"""

from __future__ import annotations

import json
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from thingspace_auth_adapters import M2mLoginError, OauthProviderError, VzM2mCredentials
from thingspace_auth_adapters.credentials import checked_settings
from thingspace_auth_adapters.effects import CallersOwnFailure, HttpAnswer, Send, Undelivered
from thingspace_auth_adapters.exchange import RetryPolicy
from thingspace_auth_adapters.manager import Carried, Rejection, TokenManager

from .kinds import IDENTITY, PASSWORD
from .scheduler import Caller, Scheduler
from .virtual import (
    BASE,
    GATEWAY_REFUSAL,
    LOGIN_PATH,
    LOGIN_REFUSED,
    SESSION_EXPIRED,
    VirtualClock,
    token_answer,
)

LIFETIME = 100
IDLE_TIMEOUT = 60
NAMES = ("Authorization", "VZ-M2M-Token")


class Manager(TokenManager):
    """An adapter of no library."""

    _error_types = {}  # noqa: RUF012

    def __init__(self, clock: VirtualClock, m2m: Any, on_update: Any) -> None:
        fields = {**IDENTITY, "oauth_on_token_update": on_update}
        super().__init__(checked_settings(None, fields, BASE, None, 30.0), None)
        self._clock = self._tokens._clock = self._lifecycle.clock = clock
        self._policy = self._lifecycle.policy = RetryPolicy(jitter=lambda: 1.0)
        self.m2m = m2m

    def _send(self, request: Any) -> Any:
        raise AssertionError("the scheduler sends")

    def _endpoint_request(self, path: str) -> object:
        return path


class SessionMachine(Scheduler):
    def __init__(self) -> None:
        super().__init__()
        self.told_tokens: list[str] = []
        self.told_sessions: list[str] = []
        self.m2m = VzM2mCredentials(
            "user",
            PASSWORD,
            vz_m2m_on_token_update=self.told_sessions.append,
            idle_timeout=IDLE_TIMEOUT,
        )
        self.manager = Manager(
            self.clock, self.m2m, lambda token: self.told_tokens.append(token.access_token)
        )
        self.tokens = 0
        self.sessions = 0
        self.token_ends = 0.0
        self.session_used = 0.0
        self.is_session_open = False
        self.begin_anew()

    def begin_anew(self) -> None:
        self.refused = 0
        self.unknown = 0
        self.is_latched = False

    # The platform.

    def token(self) -> str:
        return f"token-{self.tokens}"

    def session(self) -> str:
        return f"session-{self.sessions}"

    def refuses(self, carried: tuple[Carried, ...]) -> Rejection | None:
        bearer, session = (one.lease.key for one in carried)
        if bearer != self.token() or self.clock.wall >= self.token_ends:
            return Rejection(401, {}, json.dumps(GATEWAY_REFUSAL).encode(), "POST")
        is_idle = self.clock.wall - self.session_used >= IDLE_TIMEOUT
        if session != self.session() or not self.is_session_open or is_idle:
            return Rejection(400, {}, json.dumps(SESSION_EXPIRED).encode(), "POST")
        self.session_used = self.clock.wall
        return None

    def request_under_way(self) -> Any:
        return self.sending()[0].effect.request

    def is_login(self) -> bool:
        return bool(self.request_under_way().url.endswith(LOGIN_PATH))

    # One request of a user's, with its repeats.

    def one_request(self) -> Any:
        carried = yield from self.manager._acquired(NAMES, self.manager._arrangement)
        for _ in range(3):
            rejection = self.refuses(carried)
            if rejection is None:
                return carried
            carried = yield from self.manager._reconsidered(rejection, carried, True)
            if not carried:
                return None
        raise AssertionError("repeated more than once for each token")

    def resume(self, caller: Caller, value: Any) -> None:
        super().resume(caller, value)
        # Nobody is turned away for a login that may yet succeed.
        if isinstance(caller.error, M2mLoginError) and caller.error.status_code in (None, 400):
            assert self.is_latched

    def judge(self, caller: Caller) -> None:
        if caller.lease is not None:
            assert [one.header for one in caller.lease] == list(NAMES)

    # What may happen.

    @rule(seconds=st.sampled_from([1, 10, 29, 30, 59, 60, 99, 100]))
    def time_passes(self, seconds: int) -> None:
        self.clock.advance(seconds)
        self.settle_down()

    @rule()
    def somebody_sends_a_request(self) -> None:
        self.start(Caller(self.one_request()))

    @rule()
    def somebody_logs_in_by_hand(self) -> None:
        self.start(Caller(self.fetched()))

    def fetched(self) -> Any:
        yield from self.manager._demanded_sessions().fetch()

    @rule()
    def another_process_revokes_the_token(self) -> None:
        self.token_ends = 0.0

    @rule()
    def another_login_ends_the_session(self) -> None:
        self.is_session_open = False

    @precondition(lambda self: self.sending())
    @rule()
    def platform_answers(self) -> None:
        if not self.is_login():
            if self.clock.wall >= self.token_ends:
                self.tokens += 1
                self.token_ends = self.clock.wall + LIFETIME
            left = int(self.token_ends - self.clock.wall)
            self.deliver(HttpAnswer(200, {}, token_answer(self.token(), left).body))
            return
        is_bearer_good = self.request_under_way().headers["Authorization"] == (
            f"Bearer {self.token()}"
        )
        if not is_bearer_good or self.clock.wall >= self.token_ends:
            self.deliver(HttpAnswer(401, {}, json.dumps(GATEWAY_REFUSAL).encode()))
            return
        self.sessions += 1
        self.is_session_open, self.session_used = True, self.clock.wall
        self.unknown = 0
        self.deliver(HttpAnswer(200, {}, json.dumps({"sessionToken": self.session()}).encode()))

    @precondition(lambda self: self.sending() and self.is_login())
    @rule()
    def login_is_refused(self) -> None:
        self.refused += 1
        self.is_latched = True
        self.deliver(HttpAnswer(400, {}, json.dumps(LOGIN_REFUSED).encode()))

    @precondition(lambda self: self.sending() and self.is_login())
    @rule(answer=st.sampled_from(["lost", "500", "no token"]), is_callers_own=st.booleans())
    def login_has_no_readable_outcome(self, answer: str, is_callers_own: bool) -> None:
        self.unknown += 1
        self.is_latched = self.is_latched or self.unknown == 2
        replies = {
            "lost": Undelivered(ConnectionError("lost"), True, is_callers_own),
            "500": HttpAnswer(500, {}, b""),
            "no token": HttpAnswer(200, {}, b"{}"),
        }
        self.deliver(replies[answer])

    @precondition(lambda self: self.sending())
    @rule(is_callers_own=st.booleans())
    def platform_cannot_be_reached(self, is_callers_own: bool) -> None:
        error = ConnectionError("refused")
        self.deliver(Undelivered(error, True, is_callers_own, may_have_arrived=False))

    @precondition(lambda self: self.sending())
    @rule()
    def gateway_is_busy(self) -> None:
        self.deliver(HttpAnswer(429, {"retry-after": "3"}, b""))

    @precondition(lambda self: self.sending() and not self.is_login())
    @rule()
    def token_is_refused(self) -> None:
        self.deliver(HttpAnswer(401, {}, b"{}"))

    @precondition(lambda self: not self.active())
    @rule()
    def credentials_are_assigned(self) -> None:
        self.manager.m2m = self.m2m
        self.begin_anew()

    @precondition(lambda self: not self.active())
    @rule()
    def object_is_copied(self) -> None:
        clock, policy = self.manager._clock, self.manager._policy
        self.manager = self.manager.__copy__()
        assert (self.manager._clock, self.manager._policy) == (clock, policy)

    def before_cancelling(self, caller: Caller) -> None:
        effect = caller.effect
        if isinstance(effect, Send) and effect.request.url.endswith(LOGIN_PATH):
            self.unknown += 1
            self.is_latched = self.is_latched or self.unknown == 2

    # What holds all the same.

    @invariant()
    def one_call_of_an_endpoint_is_under_way_at_most(self) -> None:
        urls = [caller.effect.request.url for caller in self.sending()]
        assert len(urls) == len(set(urls))

    @invariant()
    def strikes_never_add_up(self) -> None:
        assert self.refused <= 1
        assert self.unknown <= 2
        if self.is_latched:
            assert not [c for c in self.sending() if c.effect.request.url.endswith(LOGIN_PATH)]

    @invariant()
    def failures_are_the_platforms_own(self) -> None:
        for caller in self.callers:
            if caller.error is not None:
                allowed = (OauthProviderError, M2mLoginError, ConnectionError, CallersOwnFailure)
                assert isinstance(caller.error, allowed)

    @invariant()
    def each_token_is_told_once_and_in_order(self) -> None:
        for told in (self.told_tokens, self.told_sessions):
            numbers = [int(name.split("-")[1]) for name in told]
            assert numbers == sorted(set(numbers))


TestSessions = SessionMachine.TestCase
TestSessions.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
