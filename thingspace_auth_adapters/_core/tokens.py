"""Both tokens of one auth object, and what can be done with them. Everything blocks."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from .._model.checks import Hidden, described
from .._model.settings import Settings
from .._model.tokens import OauthToken, as_token, with_expiry
from .._wire.rejection import Credential
from .access_tokens import AccessTokens
from .cached_token import CachedToken, Status, status
from .callbacks import CallbackInterrupted, call_back, waiting_refresh
from .clock import Clock
from .endpoint import Transport
from .lifecycle import REMEMBERED, Lifecycle, TokenSource
from .refresh import Caller, EventLoop

if TYPE_CHECKING:
    from .._model.m2m import VzM2mCredentials
    from ..stores.token_store import TokenStore
    from .records import StoreEntry
    from .sessions import Sessions
    from .shared import StorableSource

T = TypeVar("T")

LONGEST_WAIT = 8
"""For how many timeouts a caller waits for a token: for two refreshes in a row."""

Sources = tuple[tuple[str, Lifecycle[Any]], ...]
"""The names of a request's headers, and where their values come from."""


class Tokens:
    """The access token and, with an account, the session token.

    Args:
        settings: those of the auth object.
        owner: the auth object, which providers get as ``auth_manager``.
        transport: calls the endpoints.
        clock: the time.
        store: shares them with other processes, if given.

    Attributes:
        bearers: the access token's life.
        sessions: the session token's, if there is one.
        session_source: what logs in for it.
        given: the user's ``credentials.oauth_token`` as it was last seen.
    """

    def __init__(
        self,
        settings: Settings,
        owner: object,
        transport: Transport,
        clock: Clock,
        store: TokenStore | None,
    ) -> None:
        self.clock = clock
        self.sessions: Lifecycle[str] | None = None
        self.given: object = None
        self._adopted: OauthToken | None = None
        self._former: tuple[Lifecycle[str], ...] = ()
        self.session_source: Sessions | None = None
        self._settings = settings
        self._owner = owner
        self._transport = transport
        self._store = store
        self._access_tokens = AccessTokens(settings, owner, transport, clock)
        entry = self._entry("token", Credential.BEARER, sorted(settings.scopes))
        self.bearers = self._lifecycle(self._access_tokens, entry)
        self.adopt()

    @property
    def held_sessions(self) -> tuple[str, ...]:
        """Values of session headers that are ours, those of former accounts included."""
        # A login that was out when its account was replaced may have ended since.
        known = (*self._former, self.sessions)
        return tuple(value for one in known if one is not None for value in one.held)

    def open_sessions(self, credentials: VzM2mCredentials | None) -> None:
        """Have sessions of this account from now on, or none."""
        source = sessions = None
        if credentials is not None:
            source, sessions = self._sessions_of(credentials)
        if self.sessions is not None:
            self._former = (*self._former[1 - REMEMBERED :], self.sessions)
        self.session_source, self.sessions = source, sessions

    def caller(self, loop: EventLoop | None = None) -> Caller:
        """Somebody who begins to need tokens now."""
        patience = LONGEST_WAIT * self._settings.timeout
        return Caller(self.clock.monotonic() + patience, loop)

    def acquire(self, sources: Sources) -> list[CachedToken[Any]]:
        """The tokens for these headers, acquired first if need be. Raises :class:`Failed`."""
        caller = self.caller()
        found: list[CachedToken[Any]] = []
        # The bearer last: a login may renew it.
        for _, lifecycle in reversed(sources):
            found = [lifecycle.acquire(caller), *found]
        return found

    def adopt(self) -> None:
        """Adopt a changed ``credentials.oauth_token``; an equal one is no change.

        Raises:
            TypeError, ValueError: it is no token.
        """
        given = getattr(self._settings.credentials, "oauth_token", None)
        if given is self.given:
            return
        token = as_token(given, "credentials.oauth_token")
        self.given, previous, self._adopted = given, self._adopted, token
        if token != previous:
            self.assign(token)

    def assign(self, token: OauthToken | None) -> None:
        """Put an access token in the current one's place, or with ``None`` forget it."""
        self.bearers.assign(None if token is None else self._handed_over(token))

    def is_expired(self, token: OauthToken | None) -> bool:
        """Whether a token, by default the current one, is past its expiry less the skew."""
        now = self.clock.time()
        if token is not None:
            return status(self._handed_over(token), now) is not Status.FRESH
        current = self.bearers.current
        if current is None or status(current, now) is Status.EXPIRED:
            return True
        # One that arrived stale is in use all the same.
        return self.is_expired(current.value)

    def fetch(self, additional_params: Hidden[Mapping[str, str] | None]) -> OauthToken:
        """Ask the token endpoint, and install nothing. Raises :class:`Failed`."""
        params = additional_params.value
        if not isinstance(params, (Mapping, type(None))):
            raise TypeError(f"additional_params must be a dict, not {described(params)}")
        token = self._access_tokens.fetch(additional_params=params)
        refresh = waiting_refresh(self._owner)
        if refresh is not None:
            refresh.fetched = token
        return token.value

    def fetch_session(self, loop: EventLoop | None = None) -> str:
        """Log in, and install nothing.

        Raises:
            Failed: there is no session to be had.
            ValueError: there is no account.
        """
        sessions = self.sessions
        if sessions is None:
            raise ValueError("m2m is not set: ThingspaceAuth(…, m2m=VzM2mCredentials(…))")
        self.adopt()
        return sessions.acquire_apart(self.caller(loop)).value

    def revoke(self) -> None:
        """Revoke the access token at the server, and forget it. Raises :class:`Failed`."""
        self.adopt()
        token = self.bearers.current
        if token is not None:
            self._access_tokens.revoke(token)
            self.bearers.revoked(token.header)

    def end_session(self, loop: EventLoop | None = None) -> None:
        """Log out, and forget the session. Raises :class:`Failed`."""
        sessions, source = self.sessions, self.session_source
        token = None if sessions is None else sessions.current
        if sessions is not None and source is not None and token is not None:
            self.adopt()
            source.revoke(token, self.caller(loop))
            sessions.revoked(token.header)

    def allow_login(self) -> None:
        """Forget how the logins went, in this process and in the store."""
        source = self.session_source
        if source is not None:
            source.guard.allow()

    def _handed_over(self, token: OauthToken) -> CachedToken[OauthToken]:
        return self._access_tokens.cached(with_expiry(token, self.clock.time()))

    def _tell(self, updates: list[Any], loop: EventLoop | None) -> None:
        """Call the update callback for each token that came into use."""
        callback: Any = self._settings.on_token_update
        for token in updates:
            # If its event loop is gone, so is the caller who would learn of it.
            with suppress(CallbackInterrupted):
                if isinstance(token, OauthToken):
                    call_back("oauth_on_token_update", callback, (token,), loop)

    def _sessions_of(self, credentials: VzM2mCredentials) -> tuple[Sessions, Lifecycle[str]]:
        # Imported here so that those who use no session need not wait for it.
        from .sessions import Sessions, login_user

        username, entry, count_entry = credentials.username, None, None
        if username is not None and self._store is not None:
            from .records import StoreEntry

            entry = self._entry("session", Credential.SESSION, username, credentials.password)
            parts = ["logins", login_user(self._settings, username)]
            count_entry = StoreEntry(self._store, None, parts, Credential.SESSION.value)
        source = Sessions(
            credentials, self._settings, self.bearers, self._transport, self.clock, count_entry
        )
        # A login takes the lock of its count: all who count together take turns.
        sessions = self._lifecycle(source, entry, count_entry)
        if credentials.vz_m2m_token is not None:
            sessions.assign(source.cached(credentials.vz_m2m_token, self.clock.time()))
        return source, sessions

    def _lifecycle(
        self,
        source: StorableSource[T],
        entry: StoreEntry | None,
        locked: StoreEntry | None = None,
    ) -> Lifecycle[T]:
        chosen: TokenSource[T] = source
        if entry is not None:
            from .shared import SharedSource

            chosen = SharedSource(source, entry, self.clock, locked)
        tell = None if self._settings.on_token_update is None else self._tell
        return Lifecycle(chosen, self._owner, self.clock, tell)

    def _entry(self, kind: str, credential: Credential, *parts: object) -> StoreEntry | None:
        if self._store is None:
            return None
        from .records import StoreEntry

        settings = self._settings
        return StoreEntry(
            self._store,
            settings.client_secret,
            [kind, settings.base_url, settings.client_id, *parts],
            credential.value,
        )
