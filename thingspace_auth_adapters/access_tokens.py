"""The access token as a kind of credential: how it is acquired, read and given back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from .blame import Culprit
from .clock import Clock, Term
from .credentials import Settings
from .effects import HttpAnswer, Steps
from .exchange import Budget, exchange
from .grant import TOKEN_PATH, ClientCredentialsGrant, TransientFailure
from .lifecycle import Lease, Lifecycle
from .tokens import OauthToken, as_token

_SHORTEST_SECRET = 8


class AccessTokens:
    """The access tokens of one client: a ``Kind`` for the lifecycle."""

    name = "access token"
    culprit = Culprit.BEARER
    provider_name = "oauth_token_provider"
    on_update_name = "oauth_on_token_update"
    fetch_name = "fetch_token()"
    fetch_path = TOKEN_PATH
    is_renewable = True
    is_revivable = False

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self.provider = settings.token_provider
        self.on_update = settings.on_token_update
        self._clock_skew = settings.clock_skew
        self._clock = clock
        self._grant = ClientCredentialsGrant(
            settings.client_id,
            settings.client_secret,
            settings.scopes,
            settings.base_url,
            settings.timeout,
        )

    def given(self, value: object, source: str) -> Lease[OauthToken] | None:
        """The lease on a token that the user handed over."""
        token = as_token(value, source)
        return None if token is None else self._lease(token, math.inf)

    def prepare(self, tell: bool) -> Steps[None]:
        """Nothing is needed."""
        yield from ()

    def fetch(
        self, budget: Budget, additional_params: Mapping[str, str] | None = None
    ) -> Steps[Lease[OauthToken]]:
        """Ask the token endpoint."""
        request = self._grant.token_request(additional_params)
        given = [str(value) for value in (additional_params or {}).values()]
        confidential = [value for value in given if len(value) >= _SHORTEST_SECRET]

        def read(answer: HttpAnswer) -> Lease[OauthToken] | TransientFailure:
            token = self._grant.read_token(answer, self._clock.time(), confidential)
            return token if isinstance(token, TransientFailure) else self._arrived(token)

        return (yield from exchange(request, read, budget))

    def revoke(self, lease: Lease[OauthToken], budget: Budget) -> Steps[None]:
        """Give a token back."""

        def read(answer: HttpAnswer) -> TransientFailure | None:
            return self._grant.read_revocation(answer, self._clock.time(), [lease.key])

        yield from exchange(self._grant.revocation_request(lease.key), read, budget)

    def copied_for(self, bearers: Lifecycle[Any]) -> AccessTokens:
        """The same: it has no state."""
        return self

    def is_stale(self, token: OauthToken) -> bool:
        """Whether the wall clock is past the token's expiry less the skew."""
        return not self._lease(token, math.inf).is_fresh(self._clock)

    def _arrived(self, token: OauthToken) -> Lease[OauthToken]:
        lifetime = math.inf if token.expires_in is None else token.expires_in
        return self._lease(token, self._clock.monotonic() + lifetime)

    def _lease(self, token: OauthToken, monotonic_expiry: float) -> Lease[OauthToken]:
        expired = Term(math.inf if token.expiry is None else token.expiry, monotonic_expiry)
        stale = expired.earlier(self._clock_skew)
        key = token.access_token
        return Lease(token, key, f"Bearer {key}", stale, expired)
