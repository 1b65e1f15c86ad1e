"""Where access tokens come from: the user's provider, or the token endpoint."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from .._model.checks import seconds
from .._model.events import AuthEvent, logger
from .._model.settings import Settings
from .._model.tokens import OauthToken, as_token, with_expiry
from .._wire.messages import HttpAnswer, Refused
from .._wire.oauth import ClientCredentialsGrant
from .._wire.rejection import Credential
from ..stores.token_store import StoreBusy
from .cached_token import CachedToken, Status, status
from .callbacks import CallbackRaised, call_back
from .clock import Clock
from .endpoint import Endpoint, Transport, log_failure
from .refresh import Failed, Limits, Refresh


class AccessTokens:
    """The access tokens of one application.

    Args:
        settings: those of the auth object.
        owner: what the provider gets as ``auth_manager``.
        transport: calls the endpoints.
        clock: the time.
    """

    credential = Credential.BEARER

    def __init__(
        self, settings: Settings, owner: object, transport: Transport, clock: Clock
    ) -> None:
        self.timeout = settings.timeout
        self.longest = 3 * settings.timeout
        self._clock_skew = settings.clock_skew
        self._provider = settings.token_provider
        self._owner = owner
        self._clock = clock
        self._endpoint = Endpoint(transport, clock, settings.timeout)
        self._revocation_endpoint = Endpoint(transport, clock, settings.timeout)
        self._grant = ClientCredentialsGrant(settings)

    def cached(self, token: OauthToken, arrived_at: float = -math.inf) -> CachedToken[OauthToken]:
        """A token that arrived at this unix time; one that was stale then is used to its end."""
        expires_at = math.inf if token.expiry is None else token.expiry
        stale_at = expires_at - self._clock_skew
        if stale_at <= arrived_at:
            stale_at = expires_at
        return CachedToken(token, f"Bearer {token.access_token}", stale_at, expires_at)

    def acquire(self, refresh: Refresh) -> CachedToken[OauthToken]:
        provided = None if self._provider is None else self._asked(refresh)
        return self.fetch(refresh.limits) if provided is None else provided

    def fetch(
        self, limits: Limits | None = None, additional_params: Mapping[str, str] | None = None
    ) -> CachedToken[OauthToken]:
        """Ask the token endpoint, by default within the limits of a call that begins now."""

        def read(answer: HttpAnswer) -> CachedToken[OauthToken] | Refused:
            now = self._clock.time()
            token = self._grant.read_token(answer, now, additional_params)
            return token if isinstance(token, Refused) else self.cached(token, now)

        request = self._grant.token_request(additional_params)
        limits = limits or self._endpoint.limits
        return self._endpoint.call(request, read, limits, self.credential.value)

    def overdue(self) -> Exception:
        return self._endpoint.overdue(self._grant.token_request(None))

    def revoke(self, token: CachedToken[OauthToken]) -> None:
        """Revoke one at the server. Raises :class:`Failed`."""
        access_token = token.value.access_token

        def read(answer: HttpAnswer) -> Refused | None:
            return self._grant.read_revocation(answer, self._clock.time(), access_token)

        request = self._grant.revocation_request(access_token)
        self._revocation_endpoint.call(request, read, self._revocation_endpoint.limits)

    def can_replace(self) -> bool:
        return True

    def touched(self, token: CachedToken[OauthToken], now: float) -> None:
        return None

    def lock_until(self, limits: Limits) -> float:
        # Beside a holder that stands still, half a timeout is left in which to begin the call.
        return limits.begins_by - self.timeout / 2

    def beside(self, refresh: Refresh, busy: StoreBusy) -> CachedToken[OauthToken]:
        return self.acquire(refresh)

    def to_fields(self, token: CachedToken[OauthToken], now: float) -> dict[str, Any]:
        return {"token": token.value.to_dict(), "arrived_at": now}

    def from_fields(self, fields: Mapping[str, Any]) -> CachedToken[OauthToken]:
        arrived_at = seconds("arrived_at", fields["arrived_at"])
        token = as_token(fields["token"], "a store's token")
        if arrived_at is None or token is None:
            raise ValueError("a field is null")
        return self.cached(token, arrived_at)

    def _asked(self, refresh: Refresh) -> CachedToken[OauthToken] | None:
        """Ask the provider, and log what came of it."""
        begun_at = self._clock.monotonic()
        try:
            token = self._provided(refresh)
        except Failed as failure:
            seconds = self._clock.monotonic() - begun_at
            log_failure("oauth_token_provider", failure.error, self.credential.value, seconds)
            raise
        if token is not None:
            event = AuthEvent("provided", self.credential.value, self._clock.monotonic() - begun_at)
            logger.info("a new access token was provided", extra={"auth_event": event})
        return token

    def _provided(self, refresh: Refresh) -> CachedToken[OauthToken] | None:
        """What the provider returns, unless that is missing, expired, or was found wanting."""
        value = self._returned(refresh)
        try:
            token = as_token(value, "what oauth_token_provider returned")
        except (TypeError, ValueError) as error:
            raise Failed(error.with_traceback(None)) from None
        if token is None:
            return None
        now = self._clock.time()
        given = self.cached(with_expiry(token, now), now)
        if refresh.fetched is not None and refresh.fetched.header == given.header:
            return refresh.fetched
        is_last = refresh.last is not None and refresh.last.header == given.header
        is_good = not is_last and given.header not in refresh.rejected
        return given if is_good and status(given, now) is not Status.EXPIRED else None

    def _returned(self, refresh: Refresh) -> object:
        provider: Any = self._provider
        args = (None if refresh.last is None else refresh.last.value, self._owner)
        try:
            return call_back("oauth_token_provider", provider, args, refresh.caller.loop, refresh)
        except CallbackRaised as raised:
            failure = Failed(raised.error)
        raise failure
