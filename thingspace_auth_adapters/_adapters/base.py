"""What every adapter's ``ThingspaceAuth`` is: the object that callbacks get as ``auth_manager``.

The header is the state: what a request carries stands in its own headers, and nothing else
remembers it. The life of a request is written here once, as the generator :meth:`_flow`, which an
adapter cuts at its exchanges. An adapter adds how its library's requests and responses are read,
and how endpoints are called.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeVar, cast

from .._core.cached_token import CachedToken, Status, status
from .._core.effects import (
    Call,
    CallbackRaised,
    Clock,
    Exchange,
    ReadBody,
    Steps,
    SyncIO,
    not_awaitable,
    run,
    waiting_refresh,
)
from .._core.lifecycle import REMEMBERED, Lifecycle
from .._core.retry import Budget
from .._core.single_flight import Failed
from .._core.sources import AccessTokens
from .._model.checks import naming, variable
from .._model.credentials import ThingspaceOauthCredentials
from .._model.events import AuthEvent, logger
from .._model.hosts import (
    AUTHORIZATION,
    SESSION_HEADERS,
    Origin,
    is_login_endpoint,
    is_token_endpoint,
    may_be_endpoint,
    origin_of,
)
from .._model.settings import Settings, one_source
from .._model.tokens import OauthToken, OptionalToken, as_token
from .._wire.messages import LOGIN_PATH, TOKEN_PATH
from .._wire.rejection import BODY_LIMIT, Credential, Rejection, classify, may_reject
from ..errors import ThingspaceAuthError
from ..stores.token_store import TokenStore

if TYPE_CHECKING:
    from .._core.login_guard import LoginCount
    from .._core.records import StoreEntry
    from .._core.sessions import Sessions
    from .._model.m2m import M2m

T = TypeVar("T")
A = TypeVar("A", bound="ThingspaceAuth")

ErrorTypes = Mapping[type[ThingspaceAuthError], type[ThingspaceAuthError]]
Sources = tuple[tuple[str, Lifecycle[Any]], ...]
"""The names of a request's headers, and where their values come from."""

Carried = tuple[str, str, Lifecycle[Any]]
"""A header of ours on a request: its name, its value, and where another is to be had."""

_SAFE_TO_REPEAT = ("GET", "HEAD", "OPTIONS", "PUT", "DELETE")
_MOST_TARGETS = 256


class Outgoing(NamedTuple):
    """A request as the flow sees it.

    Attributes:
        origin: where it goes; ``None`` if two parsers might disagree on that.
        location: its URL or path.
        method: its method.
        headers: its headers, looked up without regard to case.
        key: what of its URL determines where it goes.
    """

    origin: Origin | None
    location: str
    method: str
    headers: MutableMapping[str, Any]
    key: Hashable


class Stored(NamedTuple):
    """What a store holds for one auth object.

    Attributes:
        token: the access token, usable or not.
        session: the session token, usable or not.
        logins: how the logins went; ``None`` without an account.
    """

    token: CachedToken[OauthToken] | None
    session: CachedToken[str] | None
    logins: LoginCount | None


class ThingspaceAuth(ABC):
    """The common part of the adapters' ``ThingspaceAuth`` classes."""

    _error_types: ClassVar[ErrorTypes]
    """The library's own subclass of each of our errors."""

    def __init__(
        self,
        thingspace_oauth_credentials: object = None,
        *,
        base_url: str = "https://thingspace.verizon.com",
        allowed_hosts: Iterable[str] | None = None,
        timeout: float = 30.0,
        m2m: M2m = None,
        store: TokenStore | None = None,
        **fields: object,
    ) -> None:
        with naming("ThingspaceAuth"):
            credentials = one_source(thingspace_oauth_credentials, fields)
            settings = Settings(credentials, base_url, allowed_hosts, timeout)
        self._set_up(settings, m2m, store)

    def _set_up(self, settings: Settings, m2m: M2m, store: TokenStore | None) -> None:
        if store is not None and not isinstance(store, TokenStore):
            raise TypeError(
                f"ThingspaceAuth: store must be a TokenStore, such as FileTokenStore(path) or"
                f" RedisTokenStore(url), not {type(store).__name__}"
            )
        self._settings = settings
        self._credentials = settings.credentials
        self._store = store
        self._clock = Clock()
        self._io = SyncIO(self._transport(), self._clock)
        self._access_tokens = AccessTokens(settings, self, self._clock)
        entry = self._entry("token", Credential.BEARER, sorted(settings.scopes))
        self._bearers: Lifecycle[OauthToken] = Lifecycle(
            self._access_tokens, self, self._clock, entry
        )
        self._sessions: Lifecycle[str] | None = None
        self._former_sessions: tuple[str, ...] = ()
        self._targets: dict[Hashable, Sources] = {}
        self._foreign_hosts: set[str] = set()
        self._has_warned_of_replacing = False
        self._given: object = None
        self._adopted: OauthToken | None = None
        with naming("ThingspaceAuth"):
            self._adopt()
        self.m2m = m2m

    @classmethod
    def _from_environment(cls: type[A], options: dict[str, Any]) -> A:
        from .._model.m2m import VARIABLES, VzM2mCredentials

        if "m2m" not in options and any(variable(name) for name in VARIABLES):
            options["m2m"] = VzM2mCredentials.from_environment()
        base_url = variable("THINGSPACE_BASE_URL")
        if base_url is not None:
            options.setdefault("base_url", base_url)
        return cls(ThingspaceOauthCredentials.from_environment(), **options)

    @property
    def oauth_token(self) -> OauthToken | None:
        """The current token, ``None`` before the first fetch.

        Assignable, with all that counts as a token: an :class:`OauthToken`, a dict, an object
        with its attributes; ``None`` forgets. Takes effect on the next request.

        Raises:
            TypeError, ValueError: the assigned value is no usable token.
        """
        self._adopt()
        current = self._bearers.current
        return None if current is None else current.value

    @oauth_token.setter
    def oauth_token(self, oauth_token: OptionalToken) -> None:
        with naming("ThingspaceAuth"):
            token = as_token(oauth_token, "oauth_token")
        self._adopt()
        self._bearers.assign(None if token is None else self._access_tokens.cached(token))

    @property
    def m2m(self) -> M2m:
        """What was given for the M2M session, ``None`` if requests carry no session token.

        Assignable, with a :class:`VzM2mCredentials`, a session token, an object with the getter
        ``vz_m2m_token``, or ``None``. Takes effect on the next request. Failed logins are counted
        for each account, so assigning the same one again does not reset its count.

        Raises:
            TypeError, ValueError: the assigned value is nothing of the kind.
        """
        return self._m2m

    @m2m.setter
    def m2m(self, m2m: M2m) -> None:
        sessions = None if m2m is None else self._sessions_of(m2m)
        self._former_sessions = self._held_sessions[-REMEMBERED:]
        # The headers' sources last: requests that look them up see the whole change.
        self._m2m, self._sessions, self._targets = m2m, sessions, {}

    def is_token_expired(self, oauth_token: OptionalToken = None) -> bool:
        """Whether a token is past its ``expiry - oauth_clock_skew``, as in the official SDK.

        Args:
            oauth_token: the token in question; by default the current one.

        Returns:
            ``True`` also if there is none; ``False`` for a token without ``expiry``.

        Raises:
            TypeError, ValueError: the given value is no token.
        """
        self._adopt()
        token, now = as_token(oauth_token, "oauth_token"), self._clock.time()
        if token is not None:
            return status(self._access_tokens.cached(token), now) is not Status.FRESH
        current = self._bearers.current
        if current is None or status(current, now) is Status.EXPIRED:
            return True
        # One that arrived stale is in use all the same.
        return self.is_token_expired(current.value)

    def fetch_token(self, additional_params: Mapping[str, str] | None = None) -> OauthToken:
        """Ask the token endpoint for a token now. Installs nothing: the caller decides.

        Args:
            additional_params: further form fields of the token request.

        Returns:
            The token, with ``expiry`` set if the endpoint told ``expires_in``.

        Raises:
            OauthProviderError: the endpoint refused.
            InvalidTokenResponseError: it answered something that is no usable token.
            Exception: the HTTP library's own, if no answer came.
        """
        return self._run_for_user(self._fetched(additional_params), "afetch_token", TOKEN_PATH)

    def revoke_token(self) -> None:
        """Revoke the current token at the server and forget it (RFC 7009).

        Every process that uses the same key shares that token, and loses it. If revoking fails
        the token is kept. Without a token this does nothing.

        Raises:
            OauthProviderError: the endpoint refused.
            Exception: the HTTP library's own, if no answer came.
        """
        self._run_for_user(self._revoked(self._bearers), "arevoke_token", TOKEN_PATH)

    def headers(self, url: str) -> dict[str, str]:
        """The headers that a request to this URL carries, fetched first if need be.

        For clients that have no adapter here. Empty for a host that is not allowed.

        Raises:
            InsecureTransportError: the URL is that of an allowed host, over plain http.
            ThingspaceAuthError: no token or no session is to be had.
            Exception: the HTTP library's own, if an endpoint cannot be reached.
        """
        return self._run_for_user(self._headers_for(url), "aheaders", TOKEN_PATH)

    def recover(
        self,
        url: str,
        sent_headers: Mapping[str, str],
        method: str,
        status: int,
        headers: Mapping[str, str],
        body: bytes,
    ) -> dict[str, str] | None:
        """Renew what an answer rejects; the other half of :meth:`headers`.

        Args:
            url: of the request.
            sent_headers: that the request carried.
            method: of the request.
            status: of the answer.
            headers: of the answer.
            body: of the answer, without content encoding. An error's first 64 KiB are enough.

        Returns:
            Our headers to repeat the request with, or ``None`` if the answer is to be kept.
            Repeat a request once for each of them at most.

        Raises:
            Exception: what ``oauth_on_token_update`` raised.
        """
        steps = self._recovered(url, sent_headers, method, status, headers, body)
        return self._run_for_user(steps, "arecover", TOKEN_PATH)

    def fetch_vz_m2m_token(self) -> str:
        """Log in to ThingSpace's M2M session service now. Installs nothing: the caller decides.

        Returns:
            The session token.

        Raises:
            M2mLoginError: the login was refused, or none is risked any more.
            OauthProviderError, InvalidTokenResponseError: there is no bearer to log in with.
            ValueError: there is no ``m2m``.
            Exception: the HTTP library's own, if no answer came.
        """
        return self._run_for_user(self._fetched_session(), "afetch_vz_m2m_token", LOGIN_PATH)

    def end_m2m_session(self) -> None:
        """Log out and forget the session. Without one this does nothing.

        If the logout fails the session is kept.

        Raises:
            M2mLoginError: the logout was refused.
            Exception: the HTTP library's own, if no answer came.
        """
        if self._sessions is not None:
            steps = self._revoked(self._sessions)
            self._run_for_user(steps, "aend_m2m_session", LOGIN_PATH)

    def allow_login(self) -> None:
        """Forget the failed logins of the account, in this process and in the store.

        Correct the credentials first: five failed logins in a row lock the account.

        Raises:
            StoreUnavailable: the store cannot be reached.
            InsecureStoreError: it cannot be trusted.
        """
        self._run_for_user(self._login_allowed(), "aallow_login", LOGIN_PATH)

    def __getstate__(self) -> dict[str, Any]:
        sessions = self._sessions
        return {
            "settings": self._settings,
            "m2m": self._m2m,
            "store": self._store,
            "bearer": self._bearers.current,
            "session": None if sessions is None else sessions.current,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._set_up(state["settings"], state["m2m"], state["store"])
        self._bearers.assign(state["bearer"])
        if self._sessions is not None:
            self._sessions.assign(state["session"])

    def __deepcopy__(self: A, memo: object) -> A:
        """A copy that shares what the user gave."""
        return copy.copy(self)

    def __repr__(self) -> str:
        return f"<{type(self).__module__}.{type(self).__qualname__} for {self._settings.base_url}>"

    # The life of a request.

    def _flow(self, request: Any) -> Steps[Any]:
        """A request from beginning to end; the result is the response to the caller."""
        yield from self._prepare(self._outgoing(request))
        response = yield Exchange(request)
        return (yield from self._settle(response))

    def _prepare(self, outgoing: Outgoing) -> Steps[Sources]:
        """Put the tokens on a request, acquired first if need be; the result is what it carries."""
        sources = self._sources(outgoing)
        updates: list[Any] = []
        tokens = yield from self._telling(updates, self._acquired(sources, updates))
        for name, _ in sources:
            token = tokens[name]
            token.use(self._clock.time())
            if name != AUTHORIZATION and name in outgoing.headers:
                self._warn_of_replacing(name, outgoing.headers[name])
            outgoing.headers[name] = token.header
        return sources

    def _settle(self, response: Any) -> Steps[Any]:
        """Renew what an answer rejects and repeat the request, once for each credential."""
        spent: set[Credential | None] = set()
        while True:
            sent = self._outgoing(response.request)
            carried = self._carried(sent)
            for credential in carried:
                if credential not in spent and may_reject(response.status_code, credential):
                    break
            else:
                return response
            body = yield ReadBody(response)
            rejection = classify(response.status_code, response.headers, body or b"")
            if rejection.credential in spent:
                return response
            status_code = response.status_code
            renewed = yield from self._renewed(carried, rejection, sent.method, status_code)
            if renewed is None:
                return response
            again = None if body is None else self._again(response, renewed)
            if again is None:
                obstacle = "its body cannot be sent again"
                if body is None:
                    obstacle = "its answer was too long to judge"
                _log_repeat(rejection, status_code, obstacle)
                return response
            _log_repeat(rejection, status_code)
            spent.add(rejection.credential)
            response = yield Exchange(again)

    # What adapters build on.

    @abstractmethod
    def _outgoing(self, request: Any) -> Outgoing:
        """The library's request as the flow sees it."""

    @abstractmethod
    def _again(self, response: Any, headers: Mapping[str, str]) -> Any:
        """What repeats a rejected request, or ``None`` if its body cannot be sent again."""

    @abstractmethod
    def _endpoint_request(self, path: str) -> object:
        """A request of the library's that stands for a call of this endpoint in errors."""

    @abstractmethod
    def _transport(self) -> Any:
        """What calls endpoints, and reads responses, with the library."""

    def _put_if_fresh(
        self, key: Hashable, location: str, headers: MutableMapping[str, Any]
    ) -> Sources | None:
        """Put the tokens on a request if nothing needs to be done first: the warm path."""
        sources = self._targets.get(key)
        # may_be_endpoint, spelled out since every request comes by here.
        if sources is None or "/oauth2/" in location or "/session/login" in location:
            return None
        if getattr(self._credentials, "oauth_token", None) is not self._given:
            self._adopt()
        now = self._clock.time()
        for name, lifecycle in sources:
            token = lifecycle.current
            if token is None or now >= token.stale_at:
                return None
            idle_timeout = token.idle_timeout
            if idle_timeout is not None:
                # CachedToken.use, spelled out since every request comes by here.
                token.expires_at = expires_at = now + idle_timeout
                token.stale_at = expires_at if expires_at < token.touch_at else token.touch_at
                if not self._has_warned_of_replacing and name in headers:
                    self._warn_of_replacing(name, headers[name])
            headers[name] = token.header
        return sources

    def _warn_of_replacing(self, name: str, value: object) -> None:
        """Tell once that a session header of the request's own gives way to ours."""
        if not self._has_warned_of_replacing and value not in self._held_sessions:
            self._has_warned_of_replacing = True
            logger.warning("m2m is set: it replaces the %s that a request already has", name)

    def _names_at(self, url: str) -> tuple[str, ...]:
        """The headers that a redirect may take to a URL."""
        origin, hosts = origin_of(url), self._settings.allowed_hosts
        names = hosts.header_names(origin) if hosts.allow(origin) else ()
        is_endpoint = is_token_endpoint(url) or is_login_endpoint(url)
        return names[:1] if is_endpoint else names

    def _sources(self, outgoing: Outgoing) -> Sources:
        """Which headers a request carries.

        Raises:
            InsecureTransportError: it would go to an allowed host over plain http.
        """
        targets, location = self._targets, outgoing.location
        names = self._settings.allowed_hosts.header_names(outgoing.origin)
        if not names:
            self._note_foreign(outgoing.origin)
        sources: Sources = ((names[0], self._bearers),) if names else ()
        if may_be_endpoint(location):
            if is_token_endpoint(location):
                return () if self._has_own_authorization(outgoing) else sources
            if is_login_endpoint(location):
                return sources
        if self._sessions is not None and len(names) > 1:
            sources = (*sources, (names[1], self._sessions))
        if len(targets) >= _MOST_TARGETS:
            targets.clear()
        targets[outgoing.key] = sources
        return sources

    @property
    def _held_sessions(self) -> tuple[str, ...]:
        """Values of session headers that are ours, those of former accounts included."""
        current = () if self._sessions is None else self._sessions.held
        return (*self._former_sessions, *current)

    def _has_own_authorization(self, outgoing: Outgoing) -> bool:
        value = outgoing.headers.get(AUTHORIZATION.lower())
        return value is not None and value not in self._bearers.held

    def _note_foreign(self, origin: Origin | None) -> None:
        name = "a URL that can be read in two ways"
        if origin is not None:
            name = origin.host if origin.port in (80, 443) else f"{origin.host}:{origin.port}"
        if name not in self._foreign_hosts and len(self._foreign_hosts) < _MOST_TARGETS:
            self._foreign_hosts.add(name)
            event = AuthEvent("no_token_for_host", Credential.BEARER.value, reason=name)
            message = "%s is not an allowed host: sent without a token"
            logger.info(message, name, extra={"auth_event": event})

    def _acquired(self, sources: Sources, updates: list[Any]) -> Steps[dict[str, CachedToken[Any]]]:
        """The tokens for these headers, acquired first if need be."""
        self._adopt()
        tokens: dict[str, CachedToken[Any]] = {}
        # The bearer last: a login may renew it.
        for name, lifecycle in reversed(sources):
            tokens[name] = yield from lifecycle.acquire(updates)
        return tokens

    def _carried(self, sent: Outgoing) -> dict[Credential, Carried]:
        """What of ours a request to an allowed host carried."""
        found: dict[Credential, Carried] = {}
        if self._settings.allowed_hosts.allow(sent.origin):
            for name in (AUTHORIZATION, *SESSION_HEADERS):
                is_bearer = name == AUTHORIZATION
                lifecycle = self._bearers if is_bearer else self._sessions
                value = sent.headers.get(name.lower())
                held = self._bearers.held if is_bearer else self._held_sessions
                if lifecycle is not None and value in held:
                    found[lifecycle.source.credential] = (name, value, lifecycle)
        return found

    def _renewed(
        self,
        carried: Mapping[Credential, Carried],
        rejection: Rejection,
        method: str,
        status_code: int,
    ) -> Steps[dict[str, str] | None]:
        """Replace what an answer rejects: the headers to repeat the request with, if it may be."""
        if rejection.credential is None or rejection.credential not in carried:
            return None
        _, value, lifecycle = carried[rejection.credential]
        what = rejection.credential.value
        certainty = "certain" if rejection.is_certain else "suspected"
        event = AuthEvent("rejected", what, status_code=status_code, reason=certainty)
        logger.info("the %s was rejected (%s)", what, certainty, extra={"auth_event": event})
        updates: list[Any] = []
        other = yield from lifecycle.replace(value, updates)
        if updates and self._settings.on_token_update is not None:
            yield from self._notified(updates)
        if other is None:
            _log_repeat(rejection, status_code, obstacle="there is no other token")
            return None
        if not rejection.is_certain and method.upper() not in _SAFE_TO_REPEAT:
            _log_repeat(rejection, status_code, obstacle="it may have been acted upon")
            return None
        headers, now = {}, self._clock.time()
        for key, old, source in carried.values():
            # Renewing a session may have renewed the bearer.
            token = other if source is lifecycle else source.current
            if token is None or status(token, now) is Status.EXPIRED:
                headers[key] = old
                continue
            token.use(now)
            headers[key] = token.header
        return headers

    def _notified(self, updates: list[Any]) -> Steps[None]:
        callback = self._settings.on_token_update
        for token in updates:
            if callback is not None and isinstance(token, OauthToken):
                not_awaitable((yield Call(callback, (token,))), "oauth_on_token_update")

    def _recovered(
        self,
        url: str,
        sent_headers: Mapping[str, str],
        method: str,
        status: int,
        headers: Mapping[str, str],
        body: bytes,
    ) -> Steps[dict[str, str] | None]:
        sent = Outgoing(origin_of(url), url, method, _lower(sent_headers), None)
        carried = self._carried(sent)
        rejection = classify(status, _lower(headers), body[:BODY_LIMIT])
        renewed = yield from self._renewed(carried, rejection, method, status)
        if renewed is not None:
            _log_repeat(rejection, status)
        return renewed

    def _headers_for(self, url: str) -> Steps[dict[str, str]]:
        headers: dict[str, str] = {}
        target = origin_of(url)
        yield from self._prepare(Outgoing(target, url, "GET", headers, target))
        return headers

    def _fetched(self, additional_params: Mapping[str, str] | None) -> Steps[OauthToken]:
        budget = Budget(self._clock, self._settings.timeout)
        token = yield from self._access_tokens.fetch(budget, additional_params)
        refresh = waiting_refresh(self)
        if refresh is not None:
            refresh.fetched = token
        return token.value

    def _fetched_session(self) -> Steps[str]:
        sessions = self._sessions
        if sessions is None:
            raise ValueError("m2m is not set: ThingspaceAuth(…, m2m=VzM2mCredentials(…))")
        self._adopt()
        updates: list[Any] = []
        token = yield from self._telling(updates, sessions.acquire_apart(updates))
        return token.value

    def _revoked(self, lifecycle: Lifecycle[Any]) -> Steps[None]:
        self._adopt()
        updates: list[Any] = []
        token = lifecycle.current
        if token is not None:
            yield from self._telling(updates, lifecycle.source.revoke(token, updates))
            lifecycle.revoked(token.header)

    def _telling(self, updates: list[Any], steps: Steps[T]) -> Steps[T]:
        """Take steps, and tell of the tokens that came into use on the way, also if they fail."""
        try:
            result = yield from steps
        except (Failed, ThingspaceAuthError) as error:
            failure = error
        else:
            if updates and self._settings.on_token_update is not None:
                yield from self._notified(updates)
            return result
        yield from self._notified(updates)
        raise failure

    def _login_allowed(self) -> Steps[None]:
        if self._sessions is not None:
            source = cast("Sessions", self._sessions.source)
            yield from source.allow_login()

    def _stored(self) -> Steps[Stored]:
        """What the store holds for these credentials."""
        token = yield from self._bearers.stored()
        if self._sessions is None:
            return Stored(token, None, None)
        session = yield from self._sessions.stored()
        source = cast("Sessions", self._sessions.source)
        return Stored(token, session, (yield from source.stored_count()))

    def _cleared(self) -> Steps[None]:
        """Forget what the store holds for these credentials, the count of logins included."""
        yield from self._bearers.forget_stored()
        if self._sessions is not None:
            yield from self._sessions.forget_stored()
        yield from self._login_allowed()

    def _run(self, steps: Steps[T], request: object, io: Any, response: Any = None) -> Any:
        """Take steps on behalf of a request, or of an endpoint's path."""
        try:
            return run(steps, io, response)
        except BaseException as error:
            failure = self._shown(error, request)
        try:
            raise failure
        finally:
            del failure

    def _run_for_user(self, steps: Steps[T], async_name: str, path: str) -> T:
        """Take steps that the user's own code asked for; ``async_name`` is the awaitable way."""
        result: T = self._run(steps, path, self._io)
        return result

    def _shown(self, error: BaseException, request: object) -> BaseException:
        """What the caller gets: the library's own error, or the same one without our frames."""
        if isinstance(error, CallbackRaised):
            return error.error
        if isinstance(error, (Failed, ThingspaceAuthError)):
            return self._native(error.error if isinstance(error, Failed) else error, request)
        # The library's frames hold what it was to send, and so do those of its own errors.
        error.__cause__ = error.__context__ = None
        return error.with_traceback(None)

    def _native(self, error: Exception, request: object) -> Exception:
        native_type = self._error_types.get(cast("type[ThingspaceAuthError]", type(error)))
        if native_type is None:
            return error
        native: Any = native_type(*error.args)
        vars(native).update(vars(error))
        native.request = self._endpoint_request(request) if isinstance(request, str) else request
        return cast("Exception", native)

    def _sessions_of(self, m2m: M2m) -> Lifecycle[str]:
        # Imported here so that those who use no session need not wait for it.
        from .._core.sessions import Sessions
        from .._model.m2m import as_m2m_credentials

        with naming("ThingspaceAuth"):
            credentials = as_m2m_credentials(m2m)
        account = (credentials.username, credentials.password)
        entry = count_entry = None
        if credentials.username is not None:
            entry = self._entry("session", Credential.SESSION, *account)
            count_entry = self._entry("logins", Credential.SESSION, *account)
        source = Sessions(credentials, self._settings, self._bearers, self._clock, count_entry)
        sessions: Lifecycle[str] = Lifecycle(source, self, self._clock, entry)
        if credentials.vz_m2m_token is not None:
            sessions.assign(source.cached(credentials.vz_m2m_token, self._clock.time()))
        return sessions

    def _entry(self, kind: str, credential: Credential, *parts: object) -> StoreEntry | None:
        if self._store is None:
            return None
        from .._core.records import StoreEntry

        settings = self._settings
        return StoreEntry(
            self._store,
            settings.client_secret,
            [kind, settings.base_url, settings.client_id, *parts],
            credential.value,
        )

    def _adopt(self) -> None:
        """Adopt a changed ``credentials.oauth_token``; an equal one is no change."""
        given = getattr(self._credentials, "oauth_token", None)
        if given is self._given:
            return
        token = as_token(given, "credentials.oauth_token")
        self._given, previous, self._adopted = given, self._adopted, token
        if token != previous:
            self._bearers.assign(None if token is None else self._access_tokens.cached(token))


def _log_repeat(rejection: Rejection, status_code: int, obstacle: str | None = None) -> None:
    """Log that a request is repeated, or what keeps it from that."""
    credential = cast("Credential", rejection.credential).value
    name = "repeated" if obstacle is None else "not_repeated"
    event = AuthEvent(name, credential, status_code=status_code, reason=obstacle)
    consequence = "repeated" if obstacle is None else f"not repeated, since {obstacle}"
    message = "the request with the rejected %s is %s"
    logger.info(message, credential, consequence, extra={"auth_event": event})


def _lower(headers: Mapping[str, Any]) -> dict[str, Any]:
    return {name.lower(): value for name, value in headers.items()}
