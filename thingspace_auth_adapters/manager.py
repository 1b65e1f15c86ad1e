"""What every adapter's ``ThingspaceAuth`` is: the object that callbacks get as ``auth_manager``.

An adapter adds how its library sends a token request, and where in its flow a header is set and
an answer comes back. Whatever is decided about tokens is decided here or below.
"""

from __future__ import annotations

import copy
import logging
from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, MutableMapping
from typing import Any, ClassVar, NamedTuple, TypeVar, cast

from .access_tokens import AccessTokens
from .blame import Culprit, blame, can_matter
from .clock import Clock
from .credentials import Settings, TokenLike
from .effects import CallersOwnFailure, HttpRequest, Reply, Steps, SyncIO, run
from .errors import ThingspaceAuthError
from .exchange import RetryPolicy
from .flight import ios_around
from .hosts import AUTHORIZATION, SESSION_HEADERS, Origin, wants_bearer_alone
from .lifecycle import Lease, Lifecycle
from .tokens import OauthToken, as_token

T = TypeVar("T")
M = TypeVar("M", bound="TokenManager")

ErrorTypes = Mapping[type[ThingspaceAuthError], type[ThingspaceAuthError]]

_SAFE_TO_REPEAT = ("GET", "HEAD", "OPTIONS", "PUT", "DELETE")

logger = logging.getLogger("thingspace_auth_adapters")


class Carried:
    """A credential as one request carries it. Never changed, only replaced.

    Attributes:
        header: the name of the header.
        lease: what the header holds.
        source: where another is to be had.
        may_renew: whether one may be, for this call of the user's: once it may.
    """

    # Slots rather than a named tuple's fields: every request reads them.
    __slots__ = ("header", "lease", "may_renew", "source")

    def __init__(
        self, header: str, lease: Lease[Any], source: Lifecycle[Any], may_renew: bool = True
    ) -> None:
        self.header = header
        self.lease = lease
        self.source = source
        self.may_renew = may_renew

    def under(self, header: str) -> Carried:
        """The same in another header."""
        return Carried(header, self.lease, self.source, self.may_renew)

    def with_lease(self, lease: Lease[Any]) -> Carried:
        return Carried(self.header, lease, self.source, self.may_renew)

    def renewed(self, lease: Lease[Any], source: Lifecycle[Any]) -> Carried:
        """Another in its place, for the one time that this may happen."""
        return Carried(self.header, lease, source, may_renew=False)

    def for_another_call(self) -> Carried:
        return Carried(self.header, self.lease, self.source)

    @property
    def culprit(self) -> Culprit:
        return self.source.kind.culprit


class Arrangement:
    """What ``m2m`` stands for: assigned as a whole, so that nobody sees half of a change.

    Attributes:
        m2m: what the user gave.
        sessions: what comes of it.
        remembered: what requests carried the last time, by the names of the headers.
    """

    __slots__ = ("m2m", "remembered", "sessions")

    def __init__(self, m2m: Any, sessions: Lifecycle[str] | None) -> None:
        self.m2m = m2m
        self.sessions = sessions
        self.remembered: dict[tuple[str, ...], tuple[Carried, ...]] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return Arrangement, (self.m2m, self.sessions)


class Rejection(NamedTuple):
    """An answer that may blame what its request carried."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    method: str

    def __repr__(self) -> str:
        return f"<Rejection {self.status}>"


class TokenManager(ABC):
    """The common part of the adapters' ``ThingspaceAuth`` classes."""

    _error_types: ClassVar[ErrorTypes]
    """The library's own subclass of each of our errors."""

    def __init__(self, settings: Settings, m2m: Any) -> None:
        self._settings = settings
        self._credentials = settings.credentials
        self._allowed_hosts = settings.allowed_hosts
        self._verdicts = settings.allowed_hosts.verdicts
        self._clock = Clock()
        self._policy = RetryPolicy()
        self._tokens = AccessTokens(settings, self._clock)
        self._lifecycle: Lifecycle[OauthToken] = Lifecycle(
            self._tokens, self, self._clock, self._policy
        )
        self._known_sessions: dict[str, None] = {}
        self._adopted: object = None
        self._adopt()
        self.m2m = m2m

    @property
    def oauth_token(self) -> OauthToken | None:
        """The current token, ``None`` before the first fetch.

        Assignable, with all that counts as a token: an :class:`OauthToken`, a dict, an object
        with its attributes; ``None`` forgets. Takes effect on the next request.

        Raises:
            TypeError, ValueError: the assigned value is no usable token.
        """
        self._adopt()
        lease = self._lifecycle.lease
        return None if lease is None else lease.value

    @oauth_token.setter
    def oauth_token(self, oauth_token: TokenLike) -> None:
        self._adopt()
        self._lifecycle.assign(self._tokens.given(oauth_token, "oauth_token"))

    @property
    def m2m(self) -> Any:
        """What was given for the M2M session: ``None`` where requests carry no session token.

        Assignable, with a :class:`VzM2mCredentials`, a session token, an object with the getter
        ``vz_m2m_token``, or ``None``. Takes effect on the next request, and begins anew to count
        failed logins.

        Raises:
            TypeError, ValueError: the assigned value is nothing of the kind.
        """
        return self._arrangement.m2m

    @m2m.setter
    def m2m(self, m2m: Any) -> None:
        sessions = None if m2m is None else self._sessions_of(m2m)
        self._arrangement = Arrangement(m2m, sessions)

    def is_token_expired(self, oauth_token: TokenLike = None) -> bool:
        """Whether a token is past its ``expiry - oauth_clock_skew``, as in the official SDK.

        Args:
            oauth_token: the token in question; by default the current one.

        Returns:
            ``True`` also where there is none; ``False`` for a token without ``expiry``.

        Raises:
            TypeError, ValueError: the given value is no token.
        """
        token = as_token(oauth_token, "oauth_token")
        if token is not None:
            return self._tokens.is_stale(token)
        self._adopt()
        lease = self._lifecycle.lease
        return (
            lease is None or self._tokens.is_stale(lease.value) or not lease.is_usable(self._clock)
        )

    def fetch_token(self, additional_params: Mapping[str, str] | None = None) -> OauthToken:
        """Ask the token endpoint for a token now. Installs nothing: the caller decides.

        Args:
            additional_params: further form fields of the token request.

        Returns:
            The token, with ``expiry`` set where the endpoint told ``expires_in``.

        Raises:
            OauthProviderError: the endpoint refused.
            InvalidTokenResponseError: it answered something that is no usable token.
            Exception: the HTTP library's own, where no answer came.
        """
        fetch = self._lifecycle.fetch(additional_params)
        return self._run_for_user(fetch, "afetch_token", self._lifecycle).value

    def revoke_token(self) -> None:
        """Revoke the current token at the server and forget it (RFC 7009).

        Every process that uses the same key shares that token, and loses it. Where revoking fails
        the token is kept. Without a token this does nothing.

        Raises:
            OauthProviderError: the endpoint refused.
            Exception: the HTTP library's own, where no answer came.
        """
        self._run_for_user(self._revoked(self._lifecycle), "arevoke_token", self._lifecycle)

    def fetch_vz_m2m_token(self) -> str:
        """Log in to ThingSpace's M2M session service now. Installs nothing: the caller decides.

        Returns:
            The session token.

        Raises:
            M2mLoginError: the login was refused, or is not risked after such a refusal.
            OauthProviderError, InvalidTokenResponseError: there is no bearer to log in with.
            ValueError: there is no ``m2m``.
            Exception: the HTTP library's own, where no answer came.
        """
        sessions = self._demanded_sessions()
        return self._run_for_user(sessions.fetch(), "afetch_vz_m2m_token", sessions).value

    def end_m2m_session(self) -> None:
        """Log out and forget the session. Without one this does nothing.

        Where the logout fails the session is kept.

        Raises:
            M2mLoginError: the logout was refused.
            Exception: the HTTP library's own, where no answer came.
        """
        sessions = self._sessions
        if sessions is not None:
            self._run_for_user(self._revoked(sessions), "aend_m2m_session", sessions)

    def __copy__(self: M) -> M:
        """A copy with a life of its own, that shares what the user gave."""
        copied = type(self).__new__(type(self))
        vars(copied).update(self.__getstate__())
        bearers = copied._lifecycle = self._lifecycle.copied_for(copied)
        sessions = self._sessions
        if sessions is not None:
            sessions = sessions.copied_for(copied, bearers)
        copied._arrangement = Arrangement(self.m2m, sessions)
        return copied

    def __getstate__(self) -> dict[str, Any]:
        return dict(vars(self))

    def __deepcopy__(self: M, memo: object) -> M:
        return copy.copy(self)

    def __repr__(self) -> str:
        return f"<{type(self).__module__}.{type(self).__qualname__} for {self._settings.base_url}>"

    def _headers(self, with_session: bool) -> dict[str, str]:
        """What a request to the platform would carry now."""
        self._adopt()
        names = (AUTHORIZATION, SESSION_HEADERS[0]) if with_session else (AUTHORIZATION,)
        steps = self._acquired(names, self._arrangement)
        carried = self._run_for_user(steps, "a request", self._lifecycle)
        return {one.header: one.lease.header for one in carried}

    # What adapters build on.

    @abstractmethod
    def _send(self, request: HttpRequest) -> Reply:
        """Send a token request with the adapter's library, blocking."""

    @abstractmethod
    def _endpoint_request(self, path: str) -> object:
        """A request of the library's that stands for a call of this endpoint in errors."""

    def _attach_request(self, error: Any, request: Any) -> None:
        """Tell the library's own error which request it is about."""
        error.request = request

    def _header_names(
        self, target: Origin | None, key: Hashable, request: object
    ) -> tuple[str, ...]:
        """The headers in which ``request``, to ``target``, carries credentials.

        They are remembered under ``key``, unless that is ``None``.

        Raises:
            InsecureTransportError: it would go to an allowed host over plain http.
        """
        try:
            names = self._allowed_hosts.header_names(target)
        except ThingspaceAuthError as error:
            failure = error
        else:
            return names if key is None else self._allowed_hosts.remember(key, names)
        raise self._native(failure, request)

    @property
    def _sessions(self) -> Lifecycle[str] | None:
        return self._arrangement.sessions

    def _free_names(
        self, names: tuple[str, ...], location: str, headers: MutableMapping[str, Any]
    ) -> tuple[str, ...]:
        """Those of the header names that are ours to set, on a request to this URL or path.

        A session token of the request's own is left alone. One of ours, that came along with a
        request which was made from another, is taken off where none is to go.
        """
        if len(names) > 1 and self._arrangement.sessions and not wants_bearer_alone(location):
            name = names[1]
            return names if name not in headers or self._is_ours(headers[name]) else names[:1]
        for name in SESSION_HEADERS:
            if name in headers and self._is_ours(headers[name]):
                del headers[name]
        return names[:1]

    def _is_ours(self, session_token: Any) -> bool:
        return session_token in self._known_sessions

    def _names_after_redirect(self, target: Origin | None, location: str) -> tuple[str, ...]:
        """The headers in which credentials may be taken along to a redirect's target."""
        if not self._allowed_hosts.allow(target):
            return ()
        names = self._allowed_hosts.header_names(target)
        return names[:1] if wants_bearer_alone(location) else names

    def _fresh(self, names: tuple[str, ...], arrangement: Arrangement) -> tuple[Carried, ...]:
        """What goes into these headers, where nothing needs to be done first."""
        carried = arrangement.remembered.get(names, ())
        return carried if self._are_fresh(carried) else ()

    def _are_fresh(self, carried: tuple[Carried, ...]) -> bool:
        """Whether nothing needs to be done before this is sent again: the warm path."""
        if getattr(self._credentials, "oauth_token", None) is not self._adopted:
            self._adopt()
        clock = self._clock
        wall, monotonic = clock.time(), clock.monotonic()
        for one in carried:
            lease = one.lease
            if one.source.ready is not lease or not lease.use(wall, monotonic):
                return False
        return True

    def _acquired(
        self, names: tuple[str, ...], arrangement: Arrangement
    ) -> Steps[tuple[Carried, ...]]:
        """What goes into these headers, renewed first if need be."""
        sources: list[Lifecycle[Any]] = [self._lifecycle]
        if arrangement.sessions is not None:
            sources.append(arrangement.sessions)
        carried: list[Carried] = []
        # The bearer last: a login may have renewed it.
        for name, source in reversed([*zip(names, sources)]):
            lease = yield from source.acquire()
            carried.insert(0, Carried(name, lease, source))
        for one in carried:
            one.lease.use(self._clock.time(), self._clock.monotonic())
        arrangement.remembered[names] = tuple(carried)
        return tuple(carried)

    def _reconsidered(
        self, rejection: Rejection, carried: tuple[Carried, ...], can_resend: bool
    ) -> Steps[tuple[Carried, ...]]:
        """What to repeat a request with that carried this, or nothing."""
        verdict = blame(rejection.status, rejection.headers, rejection.body)
        suspects = (one for one in carried if one.may_renew)
        blamed = next((one for one in suspects if one.culprit is verdict.culprit), None)
        if blamed is None:
            return ()
        certainty = "certain" if verdict.is_certain else "suspected"
        logger.info("the %s was rejected (%s)", blamed.source.kind.name, certainty)
        source = self._current(blamed.source)
        other = None if source is None else (yield from source.replace(blamed.lease.key))
        is_safe = verdict.is_certain or rejection.method.upper() in _SAFE_TO_REPEAT
        if source is None or other is None or not is_safe or not can_resend:
            return ()
        renewed = blamed.renewed(other, source)
        return (yield from self._up_to_date(carried, blamed, renewed))

    def _current(self, source: Lifecycle[Any]) -> Lifecycle[Any] | None:
        """The source, or what was put in its place by assigning ``m2m``."""
        return source if source is self._lifecycle else self._sessions

    def _up_to_date(
        self, carried: tuple[Carried, ...], blamed: Carried, renewed: Carried
    ) -> Steps[tuple[Carried, ...]]:
        """The same with ``renewed``; renewing that one may have renewed the others."""
        for one in carried:
            yield from one.source.tell()
        return tuple(
            renewed if one is blamed else one.with_lease(one.source.latest(one.lease))
            for one in carried
        )

    def _recalled(self, strayed: Carried, host: str) -> Steps[None]:
        """Renew a credential that a redirect took to a host that is not allowed."""
        logger.warning(
            "a redirect took the %s to %s, which is not allowed: do not follow redirects with m2m"
            " (follow_redirects=False)",
            strayed.source.kind.name,
            host,
        )
        source = self._current(strayed.source)
        if source is not None:
            yield from source.replace(strayed.lease.key)

    def _sessions_of(self, m2m: Any) -> Lifecycle[str]:
        # Imported here so that those who use no session need not wait for it.
        from .m2m import as_m2m_credentials
        from .session_tokens import SessionTokens

        credentials = as_m2m_credentials(m2m)
        kind = SessionTokens(credentials, self._settings, self._lifecycle, self._clock)
        sessions: Lifecycle[str] = Lifecycle(
            kind, self, self._clock, self._policy, self._known_sessions
        )
        sessions.assign(kind.given(credentials.vz_m2m_token, "vz_m2m_token"))
        return sessions

    def _demanded_sessions(self) -> Lifecycle[str]:
        self._adopt()
        sessions = self._sessions
        if sessions is None:
            raise ValueError("m2m is not set: ThingspaceAuth(…, m2m=VzM2mCredentials(…))")
        return sessions

    def _revoked(self, source: Lifecycle[T]) -> Steps[None]:
        self._adopt()
        lease = source.lease
        if lease is not None:
            yield from source.kind.revoke(lease, self._policy.budget(self._clock))
            source.revoked(lease.key)

    def _run(self, steps: Steps[T], io: SyncIO, request: object) -> T:
        try:
            return run(steps, io)
        except (ThingspaceAuthError, CallersOwnFailure) as error:
            failure = error
        raise self._native(failure, request)

    def _native(self, error: Exception, request: object) -> Exception:
        """The error as the library's own, about ``request``."""
        if isinstance(error, CallersOwnFailure):
            return error.error
        native_type = self._error_types.get(cast("type[ThingspaceAuthError]", type(error)))
        if native_type is None:
            return error
        native = native_type(*error.args)
        vars(native).update(vars(error))
        self._attach_request(native, request)
        return native

    def _run_for_user(self, steps: Steps[T], async_name: str, source: Lifecycle[Any]) -> T:
        """Run steps that the user's own code asked for; ``async_name`` is the awaitable way."""
        io = self._io_around()
        io = io if isinstance(io, SyncIO) else self._sync_io()
        return self._run(steps, io, self._endpoint_request(source.kind.fetch_path))

    def _sync_io(self) -> SyncIO:
        return SyncIO(self, self._send, self._clock)

    def _io_around(self) -> object:
        """What called the callback of ours in which the code is running, or ``None``."""
        return next((io for io in ios_around() if getattr(io, "owner", None) is self), None)

    def _adopt(self) -> None:
        """Adopt a changed ``credentials.oauth_token``."""
        given = getattr(self._credentials, "oauth_token", None)
        if given is not self._adopted:
            self._lifecycle.adopt(self._tokens.given(given, "credentials.oauth_token"))
            self._adopted = given


def borne(carried: tuple[Carried, ...], headers: Mapping[str, Any]) -> tuple[Carried, ...]:
    """What of this a request really had, and where: redirects take some off, or rename it."""
    found: list[Carried] = []
    for one in carried:
        for name in (one.header, *SESSION_HEADERS):
            if headers.get(name) == one.lease.header:
                found.append(one.under(name))
                break
    return tuple(found)


def may_blame(status: int, carried: tuple[Carried, ...]) -> bool:
    """Whether an answer with this status may blame what can still be renewed of this."""
    return can_matter(status, [one.culprit for one in carried if one.may_renew])
