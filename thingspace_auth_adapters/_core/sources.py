"""Where tokens come from: the access token's endpoint or the user's provider."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol, TypeVar

from .._model.checks import seconds
from .._model.events import AuthEvent, logger
from .._model.settings import Settings
from .._model.tokens import OauthToken, as_token
from .._wire.messages import HttpAnswer, Refused
from .._wire.oauth import ClientCredentialsGrant
from .._wire.rejection import Credential
from .cached_token import CachedToken, Status, status
from .effects import Call, CallbackRaised, Clock, Steps, not_awaitable
from .retry import Budget, log_failure, retried
from .single_flight import Failed, Refresh

T = TypeVar("T")

PROVIDER_PATIENCE_SECONDS = 600.0
"""How long others wait for a provider before one of them goes ahead."""


class TokenSource(Protocol[T]):
    """What sets one kind of token apart from the other.

    Attributes:
        credential: what it is.
        timeout: seconds for one call of an endpoint.
        patience: seconds within which an acquisition has ended, one way or another.
        is_renewable: whether there is a way to another one.
        is_sheltered: whether an acquisition may have to go on without its caller.
    """

    credential: Credential
    timeout: float
    patience: float
    is_renewable: bool
    is_sheltered: bool

    def acquire(self, refresh: Refresh, last: CachedToken[T] | None) -> Steps[CachedToken[T]]:
        """Another token than the last one."""
        ...

    def extended(self, token: CachedToken[T], now: float) -> CachedToken[T] | None:
        """A stale token made fresh by use, if that is possible."""
        ...

    def revoke(self, token: CachedToken[T], updates: list[Any]) -> Steps[None]:
        """Give one back to the platform."""
        ...

    def to_fields(self, token: CachedToken[T], now: float) -> dict[str, Any]:
        """What a store keeps of a token that was acquired, or used, just now."""
        ...

    def from_fields(self, fields: Mapping[str, Any]) -> CachedToken[T]:
        """The token that :meth:`to_fields` wrote. Raises ``KeyError``, or as a bad argument."""
        ...


class AccessTokens:
    """The access tokens of one application.

    Args:
        settings: those of the auth object.
        owner: what the provider gets as ``auth_manager``.
        clock: the time.
    """

    credential = Credential.BEARER
    is_renewable = True
    is_sheltered = False

    def __init__(self, settings: Settings, owner: object, clock: Clock) -> None:
        self.timeout = settings.timeout
        self.patience = 3 * settings.timeout
        self._clock_skew = settings.clock_skew
        self._provider = settings.token_provider
        self._owner = owner
        self._clock = clock
        self._grant = ClientCredentialsGrant(settings)

    def cached(self, token: OauthToken, arrived_at: float = -math.inf) -> CachedToken[OauthToken]:
        """A token that arrived at this unix time; one that was stale then is used to its end."""
        expires_at = math.inf if token.expiry is None else token.expiry
        stale_at = expires_at - self._clock_skew
        if stale_at <= arrived_at:
            stale_at = expires_at
        return CachedToken(token, f"Bearer {token.access_token}", stale_at, expires_at)

    def acquire(
        self, refresh: Refresh, last: CachedToken[OauthToken] | None
    ) -> Steps[CachedToken[OauthToken]]:
        if self._provider is not None:
            begun_at = self._clock.monotonic()
            try:
                provided = yield from self._provided(refresh, last)
            except Failed as failure:
                seconds = self._clock.monotonic() - begun_at
                log_failure("oauth_token_provider", failure.error, self.credential.value, seconds)
                raise
            if provided is not None:
                event = AuthEvent(
                    "provided", self.credential.value, self._clock.monotonic() - begun_at
                )
                logger.info("a new access token was provided", extra={"auth_event": event})
                return provided
        return (yield from self.fetch(refresh.budget))

    def fetch(
        self, budget: Budget, additional_params: Mapping[str, str] | None = None
    ) -> Steps[CachedToken[OauthToken]]:
        """Ask the token endpoint."""
        request = self._grant.token_request(additional_params)

        def attempt() -> Steps[CachedToken[OauthToken] | Refused]:
            reply = yield budget.attempt(request)
            now = self._clock.time()
            if isinstance(reply, HttpAnswer):
                reply = self._grant.read_token(reply, now, additional_params)
            return reply if isinstance(reply, Refused) else self.cached(reply, now)

        return (yield from retried(attempt, budget, request.purpose, self.credential.value))

    def extended(
        self, token: CachedToken[OauthToken], now: float
    ) -> CachedToken[OauthToken] | None:
        return None

    def revoke(self, token: CachedToken[OauthToken], updates: list[Any]) -> Steps[None]:
        budget = Budget(self._clock, self.timeout)
        request = self._grant.revocation_request(token.value.access_token)

        def attempt() -> Steps[Refused | None]:
            reply = yield budget.attempt(request)
            if not isinstance(reply, HttpAnswer):
                return reply  # type: ignore[no-any-return]
            now, access_token = self._clock.time(), token.value.access_token
            return self._grant.read_revocation(reply, now, access_token)

        yield from retried(attempt, budget, request.purpose)

    def to_fields(self, token: CachedToken[OauthToken], now: float) -> dict[str, Any]:
        return {"token": token.value.to_dict(), "arrived_at": now}

    def from_fields(self, fields: Mapping[str, Any]) -> CachedToken[OauthToken]:
        arrived_at = seconds("arrived_at", fields["arrived_at"])
        token = as_token(fields["token"], "a store's token")
        if arrived_at is None or token is None:
            raise ValueError("a field is null")
        return self.cached(token, arrived_at)

    def _provided(
        self, refresh: Refresh, last: CachedToken[OauthToken] | None
    ) -> Steps[CachedToken[OauthToken] | None]:
        """What the provider returns, unless that is missing, expired, or was found wanting."""
        value = yield from self._returned(refresh, last)
        try:
            token = as_token(value, "what oauth_token_provider returned")
        except (TypeError, ValueError) as error:
            raise Failed(error) from None
        if token is None:
            return None
        now = self._clock.time()
        given = self.cached(token, now)
        if refresh.fetched is not None and refresh.fetched.header == given.header:
            return refresh.fetched
        is_last = last is not None and last.header == given.header
        is_good = not is_last and given.header not in refresh.rejected
        return given if is_good and status(given, now) is not Status.EXPIRED else None

    def _returned(self, refresh: Refresh, last: CachedToken[OauthToken] | None) -> Steps[object]:
        provider: Any = self._provider
        call = Call(provider, (None if last is None else last.value, self._owner), refresh)
        begun_at, patience = self._clock.monotonic(), refresh.ends_at
        # A provider may take its time, but its event loop may also have been stopped.
        refresh.ends_at = begun_at + PROVIDER_PATIENCE_SECONDS
        try:
            value = yield call
        except CallbackRaised as raised:
            failure = Failed(raised.error)
        else:
            return not_awaitable(value, "oauth_token_provider")
        finally:
            refresh.ends_at = patience + self._clock.monotonic() - begun_at
        raise failure
