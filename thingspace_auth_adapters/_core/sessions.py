"""Where session tokens come from: the M2M login, guarded against locking the account."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any, Union

from .._model.checks import seconds
from .._model.events import AuthEvent, logger
from .._model.m2m import VzM2mCredentials, session_token
from .._model.settings import Settings
from .._wire.m2m_session import LoginFailed, LoginOutcome, SessionEndpoints
from .._wire.messages import HttpAnswer, Refused, SentOnce
from .._wire.rejection import Credential
from ..errors import M2mLoginError
from .cached_token import CachedToken
from .effects import Block, Clock, Steps, Wait
from .lifecycle import Lifecycle
from .login_guard import LoginCount, account
from .records import StoreEntry
from .retry import Budget, retried
from .single_flight import ABANDONED, Failed, Refresh

TOUCH_SECONDS = 60.0
"""How often a process tells the store that it uses a session, at most."""

_TOUCHES_IN_IDLE_TIMEOUT = 4

LoginReply = Union["CachedToken[str]", Refused]


class Sessions:
    """The sessions of one M2M account.

    Args:
        credentials: the account's, or a session token alone, which is then not renewable.
        settings: where the platform lives.
        bearers: the access tokens, without one of which there is no login.
        clock: the time.
        count_entry: where other processes find the count of logins, if it is shared.
    """

    credential = Credential.SESSION
    is_sheltered = True

    def __init__(
        self,
        credentials: VzM2mCredentials,
        settings: Settings,
        bearers: Lifecycle[Any],
        clock: Clock,
        count_entry: StoreEntry | None,
    ) -> None:
        self.timeout = settings.timeout
        # A bearer, another login under way, this one, and both once more.
        self.patience = 12 * settings.timeout
        self.is_renewable = credentials.username is not None
        self._idle_timeout = credentials.idle_timeout
        self._touch_after = math.inf
        if count_entry is not None:
            self._touch_after = min(TOUCH_SECONDS, self._idle_timeout / _TOUCHES_IN_IDLE_TIMEOUT)
        username, password = credentials.username or "", credentials.password or ""
        self._endpoints = SessionEndpoints(username, password, settings.base_url)
        self._account = account(settings.base_url, username, password)
        self._bearers = bearers
        self._clock = clock
        self._count_entry = count_entry

    def cached(self, token: str, used_at: float) -> CachedToken[str]:
        """A session token that was last used at this unix time."""
        if not self.is_renewable:
            return CachedToken(token, token)
        touch_at, expires_at = used_at + self._touch_after, used_at + self._idle_timeout
        stale_at = min(touch_at, expires_at)
        return CachedToken(token, token, stale_at, expires_at, self._idle_timeout, touch_at)

    def acquire(self, refresh: Refresh, last: CachedToken[str] | None) -> Steps[CachedToken[str]]:
        """Log in.

        Raises:
            Failed: with an :class:`M2mLoginError`, or what the bearer failed with.
        """
        if not self.is_renewable:
            raise Failed(
                M2mLoginError(
                    "there are no username and password to log in with: assign auth.m2m a"
                    " VzM2mCredentials that has them, or another session token"
                )
            )
        # A login under way counts as unknown, but may yet succeed.
        if not self._account.logins.is_under_way:
            yield from self._count(refresh)
        bearer = yield from self._bearers.acquire(refresh.updates)
        turn = yield from self._turn(refresh.owner)
        try:
            return (yield from self._logged_in(refresh, bearer))
        finally:
            self._account.logins.finish(turn, ABANDONED)

    def extended(self, token: CachedToken[str], now: float) -> CachedToken[str] | None:
        return self.cached(token.value, now)

    def revoke(self, token: CachedToken[str], updates: list[Any]) -> Steps[None]:
        """Log out; if the gateway rejects the bearer, renew it and log out once more."""
        bearer = yield from self._bearers.acquire(updates)
        try:
            yield from self._logged_out(bearer, token)
            return
        except Failed as failure:
            rejected = failure
        is_bearers = getattr(rejected.error, "status_code", None) == 401
        if not is_bearers or not self._bearers.reject(bearer.header):
            raise rejected
        bearer = yield from self._bearers.acquire(updates)
        yield from self._logged_out(bearer, token)

    def stored_count(self) -> Steps[LoginCount]:
        """How the logins of all who share the store went so far."""
        fields = None if self._count_entry is None else (yield Block(self._count_entry.read))
        return LoginCount.from_fields(fields)

    def allow_login(self) -> Steps[None]:
        """Forget how the logins went, in this process and in the store."""
        self._account.count = LoginCount()
        if self._count_entry is not None:
            yield Block(self._count_entry.delete)

    def to_fields(self, token: CachedToken[str], now: float) -> dict[str, Any]:
        return {"session_token": token.value, "used_at": now}

    def from_fields(self, fields: Mapping[str, Any]) -> CachedToken[str]:
        token = session_token(fields["session_token"], "a store's session token")
        used_at = seconds("used_at", fields["used_at"])
        if token is None or used_at is None:
            raise ValueError("a field is null")
        return self.cached(token, used_at)

    def _turn(self, owner: object) -> Steps[Refresh]:
        """Wait until no login to the account is under way in this process."""
        while True:
            mine = Refresh(owner, self._clock.monotonic() + self.patience)
            turn = self._account.logins.join_or_start(mine)
            if turn is mine:
                return mine
            yield Wait(turn)

    def _logged_in(self, refresh: Refresh, bearer: CachedToken[Any]) -> Steps[CachedToken[str]]:
        def attempt() -> Steps[LoginReply]:
            nonlocal bearer
            reply = yield from self._attempt(refresh, bearer)
            if isinstance(reply, LoginFailed) and reply.blames_bearer:
                rejected = bearer
                if self._bearers.reject(rejected.header):
                    bearer = yield from self._bearers.acquire(refresh.updates)
                if bearer.header != rejected.header:
                    reply = yield from self._attempt(refresh, bearer)
            return reply

        return (yield from retried(attempt, refresh.budget, "the login", self.credential.value))

    def _attempt(self, refresh: Refresh, bearer: CachedToken[Any]) -> Steps[LoginReply]:
        """Log in once, counted before it is sent."""
        before = yield from self._begun(refresh)
        once = SentOnce()
        once.on_sent = refresh.commit
        request = self._endpoints.login_request(bearer.header, once)
        try:
            reply = yield refresh.budget.attempt(request)
        except GeneratorExit:
            raise
        except BaseException:
            if not once.was_sent:
                yield from self._record(refresh, before)
            raise
        now = self._clock.time()
        if isinstance(reply, HttpAnswer):
            reply = self._endpoints.read_login(reply, now, bearer.header)
        count = self._count_after(reply, before, once.was_sent, now)
        yield from self._record(refresh, count)
        if isinstance(reply, str):
            return self.cached(reply, now)
        # Without its caller it is not tried again.
        refresh.commit(is_committed=False)
        if count.refusal is not None:
            self._log("login_refused", "the login was refused", count)
        objection = self._objection(count)
        return reply if objection is None else Refused(objection)

    def _count_after(
        self, reply: str | Refused, before: LoginCount, was_sent: bool, now: float
    ) -> LoginCount:
        if isinstance(reply, str):
            return LoginCount()
        outcome = reply.outcome if isinstance(reply, LoginFailed) else LoginOutcome.UNKNOWN
        if outcome is LoginOutcome.REFUSED:
            return before.refused(reply.error, now)
        is_unknown = was_sent and outcome is LoginOutcome.UNKNOWN
        return self._account.count if is_unknown else before

    def _begun(self, refresh: Refresh) -> Steps[LoginCount]:
        """Count a login that is about to be sent; the result is the count before it."""
        before = yield from self._count(refresh)
        begun = before.begun(self._clock.time())
        if refresh.is_shared and self._count_entry is not None:
            yield Block(partial(self._count_entry.write, begun.to_fields()))
        self._account.count = begun
        return before

    def _record(self, refresh: Refresh, count: LoginCount) -> Steps[None]:
        self._account.count = count
        if refresh.is_shared and self._count_entry is not None:
            yield Block(partial(self._count_entry.write_if_reachable, count.to_fields()))

    def _count(self, refresh: Refresh) -> Steps[LoginCount]:
        """How the logins went so far.

        Raises:
            Failed: none is to be tried.
        """
        count = self._account.count
        if refresh.is_shared and self._count_entry is not None:
            count = LoginCount.from_fields((yield Block(self._count_entry.read)))
            if count.refusal is not None:
                # For this process, too, should the store be out of reach the next time.
                self._account.count = count
        objection = self._objection(count)
        if objection is not None:
            self._log("login_blocked", "no login is attempted", count)
            raise Failed(objection)
        return count

    def _log(self, name: str, message: str, count: LoginCount) -> None:
        refusal = count.refusal
        status_code, reason = (None, None) if refusal is None else refusal[:2]
        event = AuthEvent(name, self.credential.value, status_code=status_code, reason=reason)
        logger.info(message, extra={"auth_event": event})

    def _objection(self, count: LoginCount) -> M2mLoginError | None:
        """Why no login is to be tried after this count, if so."""
        remembered, remedy = "this process", "call auth.allow_login()"
        if self._count_entry is not None:
            store = self._count_entry.store
            remembered = f"{store!r} for every process that shares it"
            remedy += f", or {store.how_to_clear}" if store.how_to_clear else ""
        remedy = (
            f"To go on, correct the credentials and assign auth.m2m, or {remedy} to try the same"
            " ones again."
        )
        return count.objection(self._clock.time(), remembered, remedy)

    def _logged_out(self, bearer: CachedToken[Any], token: CachedToken[str]) -> Steps[None]:
        budget = Budget(self._clock, self.timeout)
        request = self._endpoints.logout_request(bearer.header, token.header)

        def attempt() -> Steps[Refused | None]:
            reply = yield budget.attempt(request)
            if not isinstance(reply, HttpAnswer):
                return reply  # type: ignore[no-any-return]
            now = self._clock.time()
            return self._endpoints.read_logout(reply, now, bearer.header, token.header)

        yield from retried(attempt, budget, request.purpose)
