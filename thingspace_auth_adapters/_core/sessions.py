"""Where session tokens come from: the M2M login, guarded against locking the account."""

from __future__ import annotations

import hmac
import math
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

from .._model.checks import seconds
from .._model.events import logger
from .._model.m2m import VzM2mCredentials, session_token
from .._model.settings import Settings
from .._wire.m2m_session import LoginFailed, SessionEndpoints
from .._wire.messages import HttpAnswer, Refused, quoted
from .._wire.rejection import Credential
from ..errors import M2mLoginError
from ..stores.token_store import StoreBusy
from .cached_token import REFRESH_PAUSE_SECONDS, CachedToken
from .clock import Clock
from .endpoint import Endpoint, Transport, warn_of_failure
from .lifecycle import LONGEST_TRUST_SECONDS, SAME_AGAIN_SECONDS, Lifecycle
from .login_guard import Barred, LoginGuard
from .records import StoreEntry
from .refresh import Caller, Failed, Limits, Refresh, copy_exception

TOUCH_SECONDS = 60.0
"""How often a process tells the store that it uses a session, at most."""

_TOUCHES_IN_IDLE_TIMEOUT = 4

TRUSTED_SECONDS = 60.0
"""How long a session is not suspected after its login."""

MOST_REPLACEMENTS_IN_A_MINUTE = 3

_MINUTE = 60.0


class Sessions:
    """The sessions of one M2M account.

    Args:
        credentials: the account's, or a session token alone, which is then not renewable.
        settings: where the platform lives.
        bearers: the access tokens, without one of which there is no login.
        transport: calls the endpoints.
        clock: the time.
        count_entry: where other processes find the count of logins, if it is shared.

    Attributes:
        guard: says whether a login may be risked.
        lock: the entry whose lock a login takes, if there is one.
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
        self._has_account = credentials.username is not None
        self._idle_timeout = credentials.idle_timeout
        self._touch_after = math.inf
        if count_entry is not None:
            self._touch_after = min(TOUCH_SECONDS, self._idle_timeout / _TOUCHES_IN_IDLE_TIMEOUT)
        username, password = credentials.username or "", credentials.password or ""
        self._endpoints = SessionEndpoints(
            username, password, settings.session_base_url, settings.base_url
        )
        self._endpoint = Endpoint(transport, clock, settings.timeout)
        self._logout_endpoint = Endpoint(transport, clock, settings.timeout)
        user = login_user(settings, username)
        hashed = hmac.new(settings.client_secret.encode(), password.encode(), "sha256")
        # Both may have been pasted into one field.
        as_whom = f"as {quoted(username, password)} at {settings.login_host}"
        self.guard = LoginGuard(user, as_whom, hashed.hexdigest(), clock, count_entry)
        self.lock = count_entry
        self._bearers = bearers
        self._clock = clock
        self._replaced_at: tuple[float, ...] = ()
        self._has_warned_of_replacements = False
        self._refused_bearer: tuple[str, float, Exception] = ("", -math.inf, Exception())

    def cached(self, token: str, used_at: float, trusted_until: float = 0.0) -> CachedToken[str]:
        """A session token that was last used at this unix time."""
        if not self._has_account:
            return CachedToken(token, token)
        touch_at, expires_at = used_at + self._touch_after, used_at + self._idle_timeout
        times = min(touch_at, expires_at), expires_at, self._idle_timeout, touch_at, trusted_until
        return CachedToken(token, token, *times)

    def can_replace(self) -> bool:
        """Whether another login may be made in place of a session that was rejected."""
        now = self._clock.monotonic()
        self._replaced_at = tuple(at for at in self._replaced_at if now - at < _MINUTE)
        is_often = len(self._replaced_at) >= MOST_REPLACEMENTS_IN_A_MINUTE
        if is_often and not self._has_warned_of_replacements:
            self._has_warned_of_replacements = True
            logger.warning(
                "sessions are rejected again and again: %d logins in a minute, and no more are made"
                " for now. Another process may be ending them by logins of its own: a store that"
                " all share helps",
                MOST_REPLACEMENTS_IN_A_MINUTE,
            )
        return self._has_account and not is_often

    def acquire(self, refresh: Refresh) -> CachedToken[str]:
        """Log in.

        Raises:
            Failed: with an :class:`M2mLoginError`, or what the bearer failed with.
        """
        if not self._has_account:
            raise Failed(
                M2mLoginError(
                    "there are no username and password to log in with: assign auth.m2m a"
                    " VzM2mCredentials that has them, or another session token"
                )
            )
        try:
            if refresh.holds_lock:
                self.guard.catch_up()
            self._check_endpoint()
            # A login under way counts as failed, but may yet succeed.
            if self.guard.logins.under_way is None:
                self.guard.check(refresh.is_suspicion)
            bearer = self._bearer(refresh)
            with self._turn(refresh):
                self._check_endpoint()
                return self._logged_in(refresh, bearer)
        except Barred as barred:
            return self._idle(refresh, barred)

    def lock_until(self, limits: Limits) -> float:
        # Until the last moment: what its holder acquires can be had without a call.
        return limits.ends_at

    def beside(self, refresh: Refresh, busy: StoreBusy) -> CachedToken[str]:
        try:
            self.guard.check(refresh.is_suspicion)
            raise self.guard.uncounted(busy, "the store's lock was not free in time")
        except Barred as barred:
            return self._idle(refresh, barred)

    def overdue(self) -> Exception:
        return self._endpoint.overdue(self._endpoints.login_request(""))

    def touched(self, token: CachedToken[str], now: float) -> CachedToken[str] | None:
        return self.cached(token.value, now, token.trusted_until)

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

    def to_fields(self, token: CachedToken[str], now: float) -> dict[str, Any]:
        return {
            "session_token": token.value,
            "used_at": now,
            "trusted_until": token.trusted_until,
        }

    def from_fields(self, fields: Mapping[str, Any]) -> CachedToken[str]:
        token = session_token(fields["session_token"], "a store's session token")
        used_at = seconds("used_at", fields["used_at"])
        trusted_until = seconds("trusted_until", fields["trusted_until"])
        if token is None or used_at is None or trusted_until is None:
            raise ValueError("a field is null")
        return self.cached(token, used_at, trusted_until)

    def _check_endpoint(self) -> None:
        """Raise :class:`Barred` if the login asked to be left alone."""
        throttled = self._endpoint.left_alone()
        if throttled is not None:
            raise Barred(throttled)

    def _idle(self, refresh: Refresh, barred: Barred) -> CachedToken[str]:
        """The session at hand, as it is, if nothing is known against it but that it was idle."""
        for token in (refresh.stored, refresh.last):
            is_known = token is not None and token.header not in refresh.rejected
            if token is not None and is_known and not refresh.is_suspicion:
                refresh.is_makeshift = True
                what = "going on with the %s as it is, since no login is attempted: %s"
                warn_of_failure(what, self.credential.value, barred.error)
                until = self._clock.time() + REFRESH_PAUSE_SECONDS
                return CachedToken(token.value, token.header, until, until)
        raise barred

    def _bearer(self, refresh: Refresh) -> CachedToken[Any]:
        """An access token, in time for a login."""
        caller = Caller(refresh.limits.ends_at, refresh.caller.loop, refresh)
        return self._bearers.acquire(caller)

    @contextmanager
    def _turn(self, refresh: Refresh) -> Generator[None, None, None]:
        """Wait until no other login to the account is under way in this process."""
        logins, begins_by = self.guard.logins, refresh.limits.begins_by
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

    def attempt(
        self, authorization: str, limits: Limits, is_suspicion: bool = False
    ) -> CachedToken[str] | Refused:
        """Log in once, counted before it is sent.

        Raises:
            Barred: none is to be tried.
        """
        before = self.guard.begin(is_suspicion)
        reply = self._endpoint.send(self._endpoints.login_request(authorization), limits)
        read = reply if isinstance(reply, Refused) else self._read(reply, authorization)
        if isinstance(read, CachedToken):
            self.guard.succeeded()
            return read
        if read.had_no_effect:
            self.guard.withdrawn(before)
        elif isinstance(read.error, M2mLoginError) and read.error.refused_at is not None:
            self.guard.refused(read.error)
        return read

    def _read(self, answer: HttpAnswer, authorization: str) -> CachedToken[str] | Refused:
        now = self._clock.time()
        read = self._endpoints.read_login(answer, now, authorization)
        return self.cached(read, now, now + TRUSTED_SECONDS) if isinstance(read, str) else read

    def _logged_in(self, refresh: Refresh, bearer: CachedToken[Any]) -> CachedToken[str]:
        how = refresh.limits, refresh.is_suspicion

        def attempt() -> CachedToken[str] | Refused:
            nonlocal bearer
            self._check_bearer(bearer)
            reply = self.attempt(bearer.header, *how)
            if self._is_refused(bearer, reply):
                rejected, bearer = bearer, self._bearer(refresh)
                if bearer.header != rejected.header and self.guard.objection() is None:
                    reply = self.attempt(bearer.header, *how)
                    self._is_refused(bearer, reply)
            objection = None if isinstance(reply, CachedToken) else self.guard.objection()
            return reply if objection is None else Refused(objection)

        if refresh.is_suspicion or (refresh.last and refresh.last.header in refresh.rejected):
            self._replaced_at = (*self._replaced_at, self._clock.monotonic())
        token = self._endpoint.tried(attempt, "the login", refresh.limits, self.credential.value)
        if refresh.is_suspicion:
            token.trusted_until = self._clock.time() + LONGEST_TRUST_SECONDS
        return token

    def _is_refused(self, bearer: CachedToken[Any], reply: CachedToken[str] | Refused) -> bool:
        """Whether a login's answer blames the bearer, which then is neither used nor kept."""
        if not isinstance(reply, LoginFailed) or not reply.blames_bearer:
            return False
        until = self._clock.monotonic() + SAME_AGAIN_SECONDS
        self._refused_bearer = bearer.header, until, reply.error
        self._bearers.reject(bearer.header)
        return True

    def _check_bearer(self, bearer: CachedToken[Any]) -> None:
        """Raise :class:`Failed` for one that the login refused just now."""
        header, until, error = self._refused_bearer
        if bearer.header == header and self._clock.monotonic() < until:
            raise Failed(copy_exception(error))

    def _logged_out(self, bearer: CachedToken[Any], token: CachedToken[str]) -> None:
        def read(answer: HttpAnswer) -> Refused | None:
            now = self._clock.time()
            return self._endpoints.read_logout(answer, now, bearer.header, token.header)

        request = self._endpoints.logout_request(bearer.header, token.header)
        self._logout_endpoint.call(request, read, self._logout_endpoint.limits)


def login_user(settings: Settings, username: str) -> str:
    """Whose logins are counted together: the platform counts by user name."""
    return f"{settings.login_host} {username.strip().casefold()}"
