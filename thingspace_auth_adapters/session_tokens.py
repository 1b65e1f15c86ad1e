"""The M2M session token as a kind of credential: how it is acquired, kept and given back."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

from .blame import Culprit
from .clock import Clock, Term
from .credentials import Settings
from .effects import HttpAnswer, HttpRequest, Reply, Steps, Undelivered, Wait, send
from .errors import M2mLoginError
from .exchange import Budget, exchange
from .flight import Abandoned, Departure, Flight, SingleFlight
from .grant import TransientFailure
from .lifecycle import Lease, Lifecycle
from .login import LOGIN_PATH, NoSession, Outcome, SessionEndpoints
from .m2m import VzM2mCredentials, session_token
from .strikes import Strikes


class IdleLease(Lease[str]):
    """A session token, which ends when it lies idle: each use puts that off.

    Args:
        token: the session token.
        idle_timeout: seconds without use after which it is of no use.
        used: when it was last used, by both clocks.
        stale: from when on its provider is to be asked about it, although it is of use.
    """

    __slots__ = ("_idle_timeout", "_used")

    def __init__(
        self, token: str, idle_timeout: float, used: tuple[float, float], stale: Term
    ) -> None:
        super().__init__(token, token, token, stale, Term())
        self._idle_timeout = idle_timeout
        self._used = used

    def is_fresh(self, clock: Clock) -> bool:
        return self.is_usable(clock) and super().is_fresh(clock)

    def is_usable(self, clock: Clock) -> bool:
        return self._is_awake(clock.time(), clock.monotonic())

    def use(self, wall: float, monotonic: float) -> bool:
        if not self._is_awake(wall, monotonic):
            return False
        self._used = (wall, monotonic)
        stale_wall, stale_monotonic = self.stale
        return wall < stale_wall and monotonic < stale_monotonic

    @property
    def used_at(self) -> float:
        """Unix timestamp of its latest use here."""
        return self._used[0]

    def as_final(self) -> Lease[str]:
        return self

    def _is_awake(self, wall: float, monotonic: float) -> bool:
        used_wall, used_monotonic = self._used
        idle_timeout = self._idle_timeout
        return wall - used_wall < idle_timeout and monotonic - used_monotonic < idle_timeout

    def __reduce__(self) -> tuple[Any, ...]:
        # A monotonic reading means nothing in another process.
        used = (self._used[0], math.inf)
        return IdleLease, (self.value, self._idle_timeout, used, self.stale)


class SessionTokens:
    """The sessions of one M2M account: a ``Kind`` for the lifecycle.

    Args:
        credentials: the account's, or a session token alone, which is then not renewable.
        settings: where the platform lives.
        bearers: the access tokens, without one of which there is no login.
        clock: the time.
    """

    name = "session token"
    culprit = Culprit.SESSION
    provider_name = "vz_m2m_token_provider"
    on_update_name = "vz_m2m_on_token_update"
    fetch_name = "fetch_vz_m2m_token()"
    fetch_path = LOGIN_PATH
    is_revivable = True

    def __init__(
        self,
        credentials: VzM2mCredentials,
        settings: Settings,
        bearers: Lifecycle[Any],
        clock: Clock,
    ) -> None:
        self.provider = credentials.vz_m2m_token_provider
        self.on_update = credentials.vz_m2m_on_token_update
        self.is_renewable = credentials.username is not None
        self._idle_timeout = credentials.idle_timeout
        self._endpoints = SessionEndpoints(
            credentials.username or "",
            credentials.password or "",
            settings.base_url,
            settings.timeout,
        )
        self._bearers = bearers
        self._clock = clock
        self.strikes = Strikes()
        self._logins: SingleFlight[None] = SingleFlight()

    def copied_for(self, bearers: Lifecycle[Any]) -> SessionTokens:
        """A copy that goes on with the count of this one's logins."""
        copied = copy.copy(self)
        copied._bearers = bearers
        copied.strikes = copy.copy(self.strikes)
        copied._logins = SingleFlight()
        return copied

    def given(self, value: object, source: str) -> Lease[str] | None:
        """The lease on a session token that the user handed over.

        One with an attribute ``revisit_after`` is provided again after so many seconds of use.
        """
        token = session_token(value, source)
        revisit_after = getattr(value, "revisit_after", math.inf)
        return None if token is None else self._lease(str(token), revisit_after)

    def prepare(self, tell: bool) -> Steps[None]:
        """Get the bearer that a login needs.

        Raises:
            M2mLoginError: there is to be no login.
            ReentrantRequestError: this is the bearer's own provider, for which a login may wait.
        """
        self._check()
        self._bearers.forbid_in_its_provider()
        yield from self._bearers.acquire(tell)

    def fetch(
        self, budget: Budget, additional_params: Mapping[str, str] | None = None
    ) -> Steps[Lease[str]]:
        """Log in; where the gateway turns the bearer down, renew it and log in once more."""
        self._check()
        bearer = yield from self._bearers.acquire(tell=False)
        session = yield from self._logged_in(bearer, budget)
        if isinstance(session, M2mLoginError) and self._bearers.reject(bearer.key):
            other = yield from self._bearers.acquire(tell=False)
            if other.key != bearer.key:
                session = yield from self._logged_in(other, budget)
        if isinstance(session, M2mLoginError):
            raise session
        return session

    def revoke(self, lease: Lease[str], budget: Budget) -> Steps[None]:
        """Log out; where the gateway turns the bearer down, renew it and log out once more.

        Raises:
            M2mLoginError: the logout was refused.
        """
        bearer = yield from self._bearers.acquire()
        error = yield from self._logged_out(bearer, lease, budget)
        if error is not None and error.status_code == 401 and self._bearers.reject(bearer.key):
            bearer = yield from self._bearers.acquire()
            error = yield from self._logged_out(bearer, lease, budget)
        if error is not None:
            raise error

    def _lease(self, token: str, revisit_after: float = math.inf) -> Lease[str]:
        if not self.is_renewable:
            return Lease(token, token, token, Term(), Term())
        now = Term(self._clock.time(), self._clock.monotonic())
        return IdleLease(token, self._idle_timeout, now, now.earlier(-revisit_after))

    def _check(self) -> None:
        if not self.is_renewable:
            raise M2mLoginError(
                "there are no username and password to log in with: assign auth.m2m a"
                " VzM2mCredentials that has them, or another session token"
            )
        self.strikes.check()

    def _logged_in(self, bearer: Lease[Any], budget: Budget) -> Steps[Lease[str] | M2mLoginError]:
        """A session, or what to raise where the gateway turned the bearer down."""

        def read(answer: HttpAnswer) -> Lease[str] | M2mLoginError | TransientFailure:
            session = self._endpoints.read_login(answer, self._clock.time(), bearer)
            if isinstance(session, str):
                self.strikes.succeed()
                return self._lease(session)
            return self._without_session(session)

        request = self._endpoints.login_request(bearer)
        turn = yield from self._turn()
        login: Steps[Lease[str] | M2mLoginError]
        login = exchange(request, read, budget, self._attempted)
        try:
            return (yield from login)
        finally:
            turn.settle(Abandoned())

    def _turn(self) -> Steps[Flight[None]]:
        """Wait until no login is under way: two at once might be two strikes."""
        while True:
            mine: Flight[None] = Flight(self, None, False, Departure(0, ()))
            flight, is_mine = self._logins.board(mine)
            if is_mine:
                return flight
            yield Wait(flight)

    def _attempted(self, request: HttpRequest) -> Steps[Reply]:
        self.strikes.begin()
        try:
            reply = yield from send(request)
        except BaseException:
            self.strikes.lose()
            raise
        if isinstance(reply, Undelivered) and not reply.may_have_arrived:
            self.strikes.take_back()
        elif isinstance(reply, Undelivered):
            self.strikes.lose()
            self.strikes.check()
        return reply

    def _without_session(self, answer: NoSession) -> M2mLoginError | TransientFailure:
        if answer.outcome is Outcome.REFUSED:
            self.strikes.refuse(answer.error)
        elif answer.outcome is Outcome.UNKNOWN:
            self.strikes.lose()
        else:
            self.strikes.take_back()
        self.strikes.check()
        if answer.is_transient:
            return TransientFailure(answer.error, answer.retry_after)
        if answer.outcome is Outcome.BEARER_REFUSED:
            return answer.error
        raise answer.error

    def _logged_out(
        self, bearer: Lease[Any], lease: Lease[str], budget: Budget
    ) -> Steps[M2mLoginError | None]:
        def read(answer: HttpAnswer) -> M2mLoginError | TransientFailure | None:
            return self._endpoints.read_logout(answer, self._clock.time(), bearer, lease)

        request = self._endpoints.logout_request(bearer, lease)
        return (yield from exchange(request, read, budget))
