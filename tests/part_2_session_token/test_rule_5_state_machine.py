"""Part 2, rule 5, as a state machine: no order of events costs a login too many, or a stale header.

Driven through what every adapter drives: a request's life, from its tokens to its repeats, and
logins by hand.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping
from typing import Any, Callable, NamedTuple
from unittest.mock import patch

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from thingspace_auth_adapters import M2mLoginError, OauthProviderError, VzM2mCredentials
from thingspace_auth_adapters._adapters import auth
from thingspace_auth_adapters._adapters.case import Outgoing
from thingspace_auth_adapters._core import tokens
from thingspace_auth_adapters._model.hosts import origin_of
from thingspace_auth_adapters._wire.messages import Refused

from ..support.kinds import IDENTITY, PASSWORD
from ..support.scheduler import Call, Caller, GreenletTransport, Scheduler, watched
from ..support.steps import INTERRUPTS, answered, token
from ..support.virtual import (
    API,
    GATEWAY_REFUSAL,
    LOGIN_PATH,
    LOGIN_REFUSED,
    SESSION_EXPIRED,
    TOKEN_PATH,
)

LIFETIME = 100
IDLE_TIMEOUT = 60
MINUTE = 60
HOUR = 3600
PAUSES = {2: 5 * MINUTE, 3: HOUR}
NUMBERS = itertools.count()


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


class Auth(auth.ThingspaceAuth):
    """An adapter of no library."""

    _error_types = {}  # noqa: RUF012
    _for_calls = "session"
    machine: SessionMachine

    def _outgoing(self, request: Any) -> Outgoing:
        return Outgoing(origin_of(API), API, request.method, request.headers, API)

    def _again(self, response: Any, headers: Mapping[str, str]) -> Any:
        return Request({**response.request.headers, **headers})

    def _endpoint_request(self, path: str) -> object:
        return path

    def _new_transport(self) -> Any:
        return GreenletTransport(self.machine)

    def sent(self, request: Request, exchange: Callable[[Request], Response]) -> Response:
        """A request's whole life, as an adapter has it."""
        outgoing = self._outgoing(request)
        if self._life.put_if_fresh(API, API, request.headers) is None:
            self._run(request, self._prepare, outgoing)
        spent: set[Any] = set()
        while True:
            response = exchange(request)
            read = self.machine.body_of
            again = self._run(request, self._repetition, response, spent, read)
            if again is None:
                return response
            request = again


class Failures(NamedTuple):
    """The failed logins in a row, as the contract counts them."""

    is_refused: bool = False
    at: tuple[float, ...] = ()

    def then_refused(self, now: float) -> Failures:
        return Failures(True, (*self.at, now))

    def then_unknown(self, now: float) -> Failures:
        return Failures(self.is_refused, (*self.at, now))

    def then_good(self, now: float) -> Failures:
        return Failures(self.is_refused)

    def then_no_attempt(self, now: float) -> Failures:
        return self

    def forbid(self, now: float) -> bool:
        """Whether no login may be sent at this unix time."""
        if self.is_refused or len(self.at) >= 4:
            return True
        return bool(self.at) and now < self.at[-1] + PAUSES.get(len(self.at), 0)


class SessionMachine(Scheduler):
    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []
        # A login that was interrupted at some line may count as under way for good.
        name = f"user-{next(NUMBERS)}"
        self.m2m = VzM2mCredentials(name, PASSWORD, idle_timeout=IDLE_TIMEOUT)
        Auth.machine = self
        self.patched: list[Any] = [
            patch.object(auth, "Clock", lambda: self.clock),
            patch.object(tokens, "Lifecycle", watched(self)),
        ]
        for patched in self.patched:
            patched.start()
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
        # What the object may know of its logins: it can be interrupted after the platform answered,
        # and before it took note of that.
        self.counts = {Failures()}

    def teardown(self) -> None:
        super().teardown()
        for patched in self.patched:
            patched.stop()

    # The platform.

    def token(self) -> str:
        return f"token-{self.tokens}"

    def session(self) -> str:
        return f"session-{self.sessions}"

    def exchange(self, request: Request) -> Response:
        # A caller's patience is for the tokens, before each sending.
        self.caller.begun_at = self.clock.steady
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

    def body_of(self, response: Response) -> bytes:
        return response.body

    def is_login(self) -> bool:
        return is_login(self.calling()[0])

    def login_ends(self, become: Callable[[Failures, float], Failures], reply: Any) -> None:
        """A login ends: it counted as unknown from its beginning."""
        now, caller, before = self.clock.wall, self.calling()[0], self.counts
        without = {Failures(count.is_refused, count.at[:-1]) for count in before}
        self.counts = {become(count, now) for count in without}
        had_sprung = caller.has_sprung
        self.resume(caller, reply)
        if caller.has_sprung and not had_sprung:
            self.counts |= before
        self.settle_down()

    # One request of a user's, with its repeats.

    def requests(self) -> Caller:
        return Caller(lambda: self.auth.sent(Request(), self.exchange))

    def begins_call(self, caller: Caller) -> None:
        if is_login(caller):
            assert not all(count.forbid(self.clock.wall) for count in self.counts)
            self.counts = {count.then_unknown(self.clock.wall) for count in self.counts}

    def resume(self, caller: Caller, value: Any = None, error: BaseException | None = None) -> None:
        super().resume(caller, value, error)
        # Nobody is turned away for a login that may yet succeed.
        failure = caller.error
        if isinstance(failure, M2mLoginError) and failure.status_code in (None, 400):
            assert any(count.forbid(self.clock.wall) for count in self.counts)

    def sprung(self, caller: Caller) -> None:
        # It may have counted a login that it then did not send.
        self.counts |= {count.then_unknown(self.clock.wall) for count in self.counts}

    def judge(self, caller: Caller) -> None:
        if isinstance(caller.result, Response):
            assert caller.result.status_code in (200, 400, 401)

    # What may happen.

    @rule(
        seconds=st.sampled_from([1, 10, 29, 30, 59, 60, 89, 90, 99, 100, 120, 5 * MINUTE, HOUR]),
        is_last_first=st.booleans(),
    )
    def time_passes(self, seconds: int, is_last_first: bool) -> None:
        self.let_time_pass(seconds, is_last_first)

    @rule(count=st.integers(1, 2), lines=st.one_of(st.none(), st.integers(0, 300)))
    def some_send_requests_at_the_same_moment(self, count: int, lines: int | None) -> None:
        for number in range(count):
            self.start(self.requests(), None if number else lines)

    @rule(lines=st.one_of(st.none(), st.integers(0, 300)))
    def somebody_logs_in_by_hand(self, lines: int | None) -> None:
        self.start(Caller(lambda: self.auth.fetch_vz_m2m_token()), lines)

    @rule()
    def another_process_revokes_the_token(self) -> None:
        self.token_ends = 0.0

    @rule()
    def another_login_ends_the_session(self) -> None:
        self.is_session_open = False

    @precondition(lambda self: self.calling())
    @rule()
    def platform_answers(self) -> None:
        if not self.is_login():
            if self.clock.wall >= self.token_ends:
                self.tokens += 1
                self.token_ends = self.clock.wall + LIFETIME
            self.deliver(token(self.token(), int(self.token_ends - self.clock.wall)))
            return
        is_good = self.next_call().headers["Authorization"] == f"Bearer {self.token()}"
        if not is_good or self.clock.wall >= self.token_ends:
            self.login_ends(Failures.then_no_attempt, answered(401, GATEWAY_REFUSAL))
            return
        self.sessions += 1
        self.is_session_open, self.session_used = True, self.clock.wall
        self.login_ends(Failures.then_good, answered(200, {"sessionToken": self.session()}))

    @precondition(lambda self: self.calling() and self.is_login())
    @rule()
    def login_is_refused(self) -> None:
        self.login_ends(Failures.then_refused, answered(400, LOGIN_REFUSED))

    @precondition(lambda self: self.calling() and self.is_login())
    @rule(outcome=st.sampled_from(["lost", "500", "empty 401", "no token"]))
    def login_has_no_readable_outcome(self, outcome: str) -> None:
        replies = {
            "lost": Refused(ConnectionError("lost"), is_transient=True),
            "500": answered(500),
            "empty 401": answered(401),
            "no token": answered(200, b"{}"),
        }
        self.login_ends(Failures.then_unknown, replies[outcome])

    @precondition(lambda self: self.calling())
    @rule()
    def platform_cannot_be_reached(self) -> None:
        reply = Refused(ConnectionError("refused"), is_transient=True, had_no_effect=True)
        if self.is_login():
            self.login_ends(Failures.then_no_attempt, reply)
        else:
            self.deliver(reply)

    @precondition(lambda self: self.calling())
    @rule()
    def gateway_is_busy(self) -> None:
        reply = answered(429, b"", {"retry-after": "3"})
        if self.is_login():
            self.login_ends(Failures.then_no_attempt, reply)
        else:
            self.deliver(reply)

    @precondition(lambda self: self.calling() and not self.is_login())
    @rule()
    def token_is_refused(self) -> None:
        self.deliver(answered(401, b"{}"))

    @precondition(lambda self: not self.active())
    @rule()
    def login_is_allowed_again(self) -> None:
        self.auth.allow_login()
        self.counts = {Failures()}

    @rule()
    def same_credentials_are_assigned(self) -> None:
        self.auth.m2m = self.m2m

    @precondition(lambda self: not self.active())
    @rule()
    def object_is_copied(self) -> None:
        self.auth = copy.copy(self.auth)

    # What holds all the same.

    @invariant()
    def one_call_of_an_endpoint_is_under_way_at_most(self) -> None:
        for path in (TOKEN_PATH, LOGIN_PATH):
            assert [calls(caller, path) for caller in self.callers].count(True) <= 1

    @invariant()
    def failed_logins_never_add_up(self) -> None:
        assert min(len(count.at) for count in self.counts) <= 4

    @invariant()
    def failures_are_the_platforms_own(self) -> None:
        allowed = (OauthProviderError, M2mLoginError, ConnectionError, TimeoutError, *INTERRUPTS)
        for caller in self.callers:
            assert isinstance(caller.error, (type(None), *allowed)), repr(caller.error)

    @invariant()
    def each_token_is_told_once_and_in_order(self) -> None:
        numbers = [int(name.split("-")[1]) for name in self.told]
        assert numbers == sorted(set(numbers))


def calls(caller: Caller, path: str) -> bool:
    return isinstance(caller.at, Call) and caller.at.request.url.endswith(path)


def is_login(caller: Caller) -> bool:
    return calls(caller, LOGIN_PATH)


TestSessions = SessionMachine.TestCase
TestSessions.settings = settings(stateful_step_count=50)
