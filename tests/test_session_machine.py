"""Both tokens as a state machine: no order of events costs a login too many, or a stale header.

Driven through what every adapter drives: a request's flow, from its tokens to its repeats.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, NamedTuple
from unittest.mock import patch

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from thingspace_auth_adapters import M2mLoginError, OauthProviderError, VzM2mCredentials
from thingspace_auth_adapters._adapters import base
from thingspace_auth_adapters._core import login_guard
from thingspace_auth_adapters._core.effects import Send
from thingspace_auth_adapters._core.single_flight import Failed
from thingspace_auth_adapters._model.hosts import origin_of
from thingspace_auth_adapters._wire.messages import Refused

from .kinds import IDENTITY, PASSWORD
from .scheduler import Caller, Cancelled, Scheduler
from .steps import answered, token
from .virtual import API, GATEWAY_REFUSAL, LOGIN_PATH, LOGIN_REFUSED, SESSION_EXPIRED

LIFETIME = 100
IDLE_TIMEOUT = 60
HOUR = 3600


pytestmark = pytest.mark.once


class Headers(dict[str, Any]):
    """Looked up without regard to case."""

    def __setitem__(self, name: str, value: Any) -> None:
        super().__setitem__(name.lower(), value)

    def __contains__(self, name: object) -> bool:
        return super().__contains__(str(name).lower())


class Request:
    def __init__(self, headers: Mapping[str, str] | None = None) -> None:
        self.method = "POST"
        self.headers = Headers()
        for name, value in (headers or {}).items():
            self.headers[name] = value


class Response(NamedTuple):
    request: Request
    status_code: int
    body: bytes = b""
    headers: Mapping[str, str] = {}


class Nowhere:
    send = read_body = None


class Auth(base.ThingspaceAuth):
    """An adapter of no library."""

    _error_types = {}  # noqa: RUF012

    def _outgoing(self, request: Any) -> base.Outgoing:
        return base.Outgoing(origin_of(API), API, request.method, request.headers, API)

    def _again(self, response: Any, headers: Mapping[str, str]) -> Any:
        return Request({**response.request.headers, **headers})

    def _endpoint_request(self, path: str) -> object:
        return path

    def _transport(self) -> Any:
        return Nowhere


class SessionMachine(Scheduler):
    def __init__(self) -> None:
        super().__init__()
        login_guard.forget_all()
        self.told: list[str] = []
        self.m2m = VzM2mCredentials("user", PASSWORD, idle_timeout=IDLE_TIMEOUT)
        with patch.object(base, "Clock", lambda: self.clock):
            self.auth = Auth(
                **IDENTITY,
                oauth_on_token_update=lambda token: self.told.append(token.access_token),
                m2m=self.m2m,
            )
        self.tokens = 0
        self.sessions = 0
        self.token_ends = 0.0
        self.session_used = 0.0
        self.is_session_open = False
        self.begin_count()

    def begin_count(self) -> None:
        self.refused = 0
        self.unknowns: list[float] = []

    def teardown(self) -> None:
        super().teardown()
        login_guard.forget_all()

    def is_blocked(self) -> bool:
        """Whether no login may be sent now, as the contract has it."""
        if self.refused or len(self.unknowns) >= 4:
            return True
        return len(self.unknowns) == 2 and self.clock.wall < self.unknowns[-1] + HOUR

    # The platform.

    def token(self) -> str:
        return f"token-{self.tokens}"

    def session(self) -> str:
        return f"session-{self.sessions}"

    def exchange(self, request: Any) -> Response:
        bearer, session = (request.headers.get(name) for name in ("authorization", "vz-m2m-token"))
        assert bearer is not None
        assert session is not None
        if bearer != f"Bearer {self.token()}" or self.clock.wall >= self.token_ends:
            return Response(request, 401, bytes(answered(401, GATEWAY_REFUSAL).body))
        is_idle = self.clock.wall - self.session_used >= IDLE_TIMEOUT
        if session != self.session() or not self.is_session_open or is_idle:
            return Response(request, 400, bytes(answered(400, SESSION_EXPIRED).body))
        self.session_used = self.clock.wall
        return Response(request, 200)

    def call_under_way(self) -> Any:
        return self.sending()[0].effect.request

    def is_login(self) -> bool:
        return is_login(self.sending()[0])

    def is_sent(self) -> bool:
        once = self.call_under_way().once
        return bool(once is not None and once.was_sent)

    def take_login(self) -> None:
        """The connection takes the login's body, unless it has it: from now on it counts."""
        request = self.call_under_way()
        if not request.once.was_sent:
            self.unknowns.append(self.clock.wall)
            request.once.take(request.body)

    # One request of a user's, with its repeats.

    def must_go_on(self, caller: Caller) -> bool:
        return is_login(caller) and caller.effect.request.once.was_sent

    def sends(self, caller: Caller) -> None:
        if is_login(caller):
            assert not self.is_blocked()

    def resume(self, caller: Caller, value: Any = None, error: BaseException | None = None) -> None:
        super().resume(caller, value, error)
        # Nobody is turned away for a login that may yet succeed.
        failure = getattr(caller.error, "error", None)
        if isinstance(failure, M2mLoginError) and failure.status_code in (None, 400):
            assert self.is_blocked()

    def judge(self, caller: Caller) -> None:
        if isinstance(caller.result, Response):
            assert caller.result.status_code in (200, 400, 401)

    # What may happen.

    @rule(seconds=st.sampled_from([1, 10, 29, 30, 59, 60, 89, 90, 99, 100, HOUR]))
    def time_passes(self, seconds: int) -> None:
        self.let_time_pass(seconds)

    @rule()
    def somebody_sends_a_request(self) -> None:
        self.start(Caller(self.auth._flow(Request())))

    @rule()
    def somebody_logs_in_by_hand(self) -> None:
        self.start(Caller(self.auth._fetched_session()))

    @rule()
    def another_process_revokes_the_token(self) -> None:
        self.token_ends = 0.0

    @rule()
    def another_login_ends_the_session(self) -> None:
        self.is_session_open = False

    @precondition(lambda self: self.sending() and self.is_login() and not self.is_sent())
    @rule()
    def login_is_sent(self) -> None:
        self.take_login()

    @precondition(lambda self: self.sending())
    @rule()
    def platform_answers(self) -> None:
        if not self.is_login():
            if self.clock.wall >= self.token_ends:
                self.tokens += 1
                self.token_ends = self.clock.wall + LIFETIME
            self.deliver(token(self.token(), int(self.token_ends - self.clock.wall)))
            return
        self.take_login()
        is_good = self.call_under_way().headers["Authorization"] == f"Bearer {self.token()}"
        if not is_good or self.clock.wall >= self.token_ends:
            self.unknowns.pop()
            self.deliver(answered(401, GATEWAY_REFUSAL))
            return
        self.sessions += 1
        self.is_session_open, self.session_used = True, self.clock.wall
        self.unknowns = []
        self.deliver(answered(200, {"sessionToken": self.session()}))

    @precondition(lambda self: self.sending() and self.is_login())
    @rule()
    def login_is_refused(self) -> None:
        self.take_login()
        self.refused += 1
        self.deliver(answered(400, LOGIN_REFUSED))

    @precondition(lambda self: self.sending() and self.is_login())
    @rule(outcome=st.sampled_from(["lost", "500", "empty 401", "no token"]))
    def login_has_no_readable_outcome(self, outcome: str) -> None:
        self.take_login()
        replies = {
            "lost": Refused(ConnectionError("lost"), is_transient=True),
            "500": answered(500),
            "empty 401": answered(401),
            "no token": answered(200, b"{}"),
        }
        self.deliver(replies[outcome])

    @precondition(lambda self: self.sending() and not self.is_sent())
    @rule()
    def platform_cannot_be_reached(self) -> None:
        self.deliver(Refused(ConnectionError("refused"), is_transient=True))

    @precondition(lambda self: self.sending())
    @rule()
    def gateway_is_busy(self) -> None:
        if self.is_login():
            self.take_login()
            self.unknowns.pop()
        self.deliver(answered(429, b"", {"retry-after": "3"}))

    @precondition(lambda self: self.sending() and not self.is_login())
    @rule()
    def token_is_refused(self) -> None:
        self.deliver(answered(401, b"{}"))

    @precondition(lambda self: not self.active())
    @rule()
    def login_is_allowed_again(self) -> None:
        self.start(Caller(self.auth._login_allowed()))
        self.begin_count()

    @precondition(lambda self: not self.active())
    @rule()
    def same_credentials_are_assigned(self) -> None:
        self.auth.m2m = self.m2m

    @precondition(lambda self: not self.active())
    @rule()
    def object_is_copied(self) -> None:
        with patch.object(base, "Clock", lambda: self.clock):
            self.auth = copy.copy(self.auth)

    # What holds all the same.

    @invariant()
    def one_call_of_an_endpoint_is_under_way_at_most(self) -> None:
        urls = [caller.effect.request.url for caller in self.sending()]
        assert len(urls) == len(set(urls))

    @invariant()
    def failed_logins_never_add_up(self) -> None:
        assert self.refused <= 1
        assert self.refused + len(self.unknowns) <= 5 - (not self.refused)

    @invariant()
    def failures_are_the_platforms_own(self) -> None:
        for caller in self.callers:
            if isinstance(caller.error, Failed):
                allowed = (OauthProviderError, M2mLoginError, ConnectionError, TimeoutError)
                assert isinstance(caller.error.error, allowed)
            else:
                assert caller.error is None or isinstance(caller.error, Cancelled)

    @invariant()
    def each_token_is_told_once_and_in_order(self) -> None:
        numbers = [int(name.split("-")[1]) for name in self.told]
        assert numbers == sorted(set(numbers))


def is_login(caller: Caller) -> bool:
    effect = caller.effect
    return isinstance(effect, Send) and effect.request.url.endswith(LOGIN_PATH)


TestSessions = SessionMachine.TestCase
TestSessions.settings = settings(stateful_step_count=50)
