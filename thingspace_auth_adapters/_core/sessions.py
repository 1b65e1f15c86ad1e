"""Where session tokens come from: the M2M login, guarded against locking the account."""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping
from contextlib import contextmanager
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
from .clock import Clock
from .endpoint import Endpoint, Transport
from .lifecycle import Lifecycle
from .login_guard import LoginCount, account
from .records import StoreEntry
from .refresh import Caller, Failed, Refresh

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
        transport: calls the endpoints.
        clock: the time.
        count_entry: where other processes find the count of logins, if it is shared.
    """

    credential = Credential.SESSION

    def __init__(
        self,
        credentials: VzM2mCredentials,
        settings: Settings,
        bearers: Lifecycle[Any],
        transport: Transport,
        clock: Clock,
        count_entry: StoreEntry | None,
    ) -> None:
        self.timeout = settings.timeout
        # One more than a bearer may take: the login's.
        self.longest = 4 * settings.timeout
        self.is_renewable = credentials.username is not None
        self._idle_timeout = credentials.idle_timeout
        self._touch_after = math.inf
        if count_entry is not None:
            self._touch_after = min(TOUCH_SECONDS, self._idle_timeout / _TOUCHES_IN_IDLE_TIMEOUT)
        username, password = credentials.username or "", credentials.password or ""
        self._endpoints = SessionEndpoints(
            username, password, settings.session_base_url, settings.base_url
        )
        self._endpoint = Endpoint(transport, clock, settings.timeout)
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

    def acquire(self, refresh: Refresh) -> CachedToken[str]:
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
        if self._account.logins.under_way is None:
            self._count(refresh)
        bearer = self._bearer(refresh)
        with self._turn(refresh):
            return self._logged_in(refresh, bearer)

    def overdue(self) -> Exception:
        return self._endpoint.overdue(self._endpoints.login_request("", SentOnce()))

    def extended(self, token: CachedToken[str], now: float) -> CachedToken[str] | None:
        return self.cached(token.value, now)

    def revoke(self, token: CachedToken[str], caller: Caller) -> None:
        """Log out; if the gateway rejects the bearer, renew it and log out once more."""
        bearer = self._bearers.acquire(caller)
        try:
            self._logged_out(bearer, token)
            return
        except Failed as failure:
            rejected = failure
        is_bearers = getattr(rejected.error, "status_code", None) == 401
        if not is_bearers or not self._bearers.reject(bearer.header):
            raise rejected
        self._logged_out(self._bearers.acquire(caller), token)

    def stored_count(self) -> LoginCount:
        """How the logins of all who share the store went so far."""
        fields = None if self._count_entry is None else self._count_entry.read()
        return LoginCount.from_fields(fields)

    def allow_login(self) -> None:
        """Forget how the logins went, in this process and in the store."""
        self._account.count = LoginCount()
        if self._count_entry is not None:
            self._count_entry.delete()

    def to_fields(self, token: CachedToken[str], now: float) -> dict[str, Any]:
        return {"session_token": token.value, "used_at": now}

    def from_fields(self, fields: Mapping[str, Any]) -> CachedToken[str]:
        token = session_token(fields["session_token"], "a store's session token")
        used_at = seconds("used_at", fields["used_at"])
        if token is None or used_at is None:
            raise ValueError("a field is null")
        return self.cached(token, used_at)

    def _bearer(self, refresh: Refresh) -> CachedToken[Any]:
        """An access token, in time for a login."""
        caller = Caller(refresh.limits.ends_at, refresh.caller.loop, refresh)
        return self._bearers.acquire(caller)

    @contextmanager
    def _turn(self, refresh: Refresh) -> Generator[None, None, None]:
        """Wait until no other login to the account is under way in this process."""
        logins, begins_by = self._account.logins, refresh.limits.begins_by
        mine = Refresh(refresh.caller, refresh.owner, refresh.limits)
        # It goes on as its refresh does.
        mine.inner = refresh
        try:
            while True:
                with logins.lock:
                    login = logins.under_way
                    if login is None:
                        logins.refresh = mine
                        break
                if self._clock.monotonic() >= begins_by:
                    raise Failed(self.overdue())
                overdue_at = login.limits.ends_at + self.timeout
                login.wait(min(overdue_at, begins_by), self._clock)
                if self._clock.monotonic() >= overdue_at:
                    logins.finish(login, None)
            yield
        finally:
            logins.finish(mine, None)

    def _logged_in(self, refresh: Refresh, bearer: CachedToken[Any]) -> CachedToken[str]:
        def attempt() -> LoginReply:
            nonlocal bearer
            reply = self._attempt(refresh, bearer)
            if isinstance(reply, LoginFailed) and reply.blames_bearer:
                rejected = bearer
                if self._bearers.reject(rejected.header):
                    bearer = self._bearer(refresh)
                if bearer.header != rejected.header:
                    reply = self._attempt(refresh, bearer)
            return reply

        credential = self.credential.value
        return self._endpoint.tried(attempt, "the login", refresh.limits, credential)

    def _attempt(self, refresh: Refresh, bearer: CachedToken[Any]) -> LoginReply:
        """Log in once, counted before it is sent."""
        before = self._begun(refresh)
        once = SentOnce()
        request = self._endpoints.login_request(bearer.header, once)
        try:
            reply = self._endpoint.send(request, refresh.limits)
        except BaseException:
            if not once.was_sent:
                self._record(refresh, before)
            raise
        now = self._clock.time()
        read = (
            self._endpoints.read_login(reply, now, bearer.header)
            if isinstance(reply, HttpAnswer)
            else reply
        )
        count = self._count_after(read, before, once.was_sent, now)
        self._record(refresh, count)
        if isinstance(read, str):
            return self.cached(read, now)
        if count.refusal is not None:
            self._log("login_refused", "the login was refused", count)
        objection = self._objection(count)
        return read if objection is None else Refused(objection)

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

    def _begun(self, refresh: Refresh) -> LoginCount:
        """Count a login that is about to be sent; the result is the count before it."""
        before = self._count(refresh)
        begun = before.begun(self._clock.time())
        if refresh.is_shared and self._count_entry is not None:
            self._count_entry.write(begun.to_fields())
        self._account.count = begun
        return before

    def _record(self, refresh: Refresh, count: LoginCount) -> None:
        self._account.count = count
        if refresh.is_shared and self._count_entry is not None:
            self._count_entry.write_if_reachable(count.to_fields())

    def _count(self, refresh: Refresh) -> LoginCount:
        """How the logins went so far.

        Raises:
            Failed: none is to be tried.
        """
        count = self._account.count
        if refresh.is_shared and self._count_entry is not None:
            count = LoginCount.from_fields(self._count_entry.read())
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

    def _logged_out(self, bearer: CachedToken[Any], token: CachedToken[str]) -> None:
        def read(answer: HttpAnswer) -> Refused | None:
            now = self._clock.time()
            return self._endpoints.read_logout(answer, now, bearer.header, token.header)

        request = self._endpoints.logout_request(bearer.header, token.header)
        self._endpoint.call(request, read, self._endpoint.limits)
