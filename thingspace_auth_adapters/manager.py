"""What every adapter's ``ThingspaceAuth`` is: the object that callbacks get as ``auth_manager``.

An adapter adds how its library sends a token request, and where in its flow a header is set and
an answer comes back. Whatever is decided about tokens is decided here or below.
"""

from __future__ import annotations

import copy
import logging
from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping
from typing import Any, ClassVar, NamedTuple, TypeVar, cast

from .access_tokens import AccessTokens
from .blame import Blame, blame
from .clock import Clock
from .credentials import Settings, TokenLike
from .effects import CallersOwnFailure, HttpRequest, Reply, Steps, SyncIO, run
from .errors import ThingspaceAuthError
from .exchange import RetryPolicy
from .flight import ios_around
from .hosts import Origin
from .lifecycle import Lease, Lifecycle
from .tokens import OauthToken, as_token

T = TypeVar("T")
M = TypeVar("M", bound="TokenManager")

ErrorTypes = Mapping[type[ThingspaceAuthError], type[ThingspaceAuthError]]

_SAFE_TO_REPEAT = ("GET", "HEAD", "OPTIONS", "PUT", "DELETE")

logger = logging.getLogger("thingspace_auth_adapters")


class Rejection(NamedTuple):
    """An answer that may blame the bearer, and the request that it answers."""

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

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._credentials = settings.credentials
        self._allowed_hosts = settings.allowed_hosts
        self._verdicts = settings.allowed_hosts.verdicts
        self._clock = Clock()
        self._tokens = AccessTokens(settings, self._clock)
        self._lifecycle: Lifecycle[OauthToken] = Lifecycle(
            self._tokens, self, self._clock, RetryPolicy()
        )
        self._adopted: object = None
        self._adopt()

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
        return self._run_for_user(self._lifecycle.fetch(additional_params), "afetch_token").value

    def revoke_token(self) -> None:
        """Revoke the current token at the server and forget it (RFC 7009).

        Every process that uses the same key shares that token, and loses it. Where revoking fails
        the token is kept. Without a token this does nothing.

        Raises:
            OauthProviderError: the endpoint refused.
            Exception: the HTTP library's own, where no answer came.
        """
        self._run_for_user(self._revocation(), "arevoke_token")

    def __copy__(self: M) -> M:
        """A copy with a life of its own, that shares what the user gave."""
        copied = type(self).__new__(type(self))
        vars(copied).update(self.__getstate__())
        copied._lifecycle = self._lifecycle.copied_for(copied)
        return copied

    def __getstate__(self) -> dict[str, Any]:
        return dict(vars(self))

    def __deepcopy__(self: M, memo: object) -> M:
        return copy.copy(self)

    def __repr__(self) -> str:
        return f"<{type(self).__module__}.{type(self).__qualname__} for {self._settings.base_url}>"

    # What adapters build on.

    @abstractmethod
    def _send(self, request: HttpRequest) -> Reply:
        """Send a token request with the adapter's library, blocking."""

    @abstractmethod
    def _endpoint_request(self) -> object:
        """A request of the library's that stands for a call of the token endpoint in errors."""

    def _attach_request(self, error: Any, request: Any) -> None:
        """Tell the library's own error which request it is about."""
        error.request = request

    def _may_carry(self, target: Origin | None, key: Hashable, request: object) -> bool:
        """Whether ``request``, to ``target``, gets the token.

        The verdict is remembered under ``key``, unless that is ``None``.

        Raises:
            InsecureTransportError: it would go to an allowed host over plain http.
        """
        try:
            verdict = self._allowed_hosts.check(target)
        except ThingspaceAuthError as error:
            failure = error
        else:
            return verdict if key is None else self._allowed_hosts.remember(key, verdict)
        raise self._native(failure, request)

    def _fresh(self) -> Lease[OauthToken] | None:
        """The lease, where nothing needs to be done about it: the warm path."""
        if getattr(self._credentials, "oauth_token", None) is not self._adopted:
            self._adopt()
        return self._lifecycle.fresh()

    def _acquired(self) -> Steps[Lease[OauthToken]]:
        return self._lifecycle.acquire()

    def _reconsidered(
        self, rejection: Rejection, lease: Lease[OauthToken], can_resend: bool
    ) -> Steps[Lease[OauthToken] | None]:
        """The lease with which to repeat a request that carried ``lease``, or ``None``."""
        verdict = blame(rejection.status, rejection.headers, rejection.body)
        if verdict is Blame.INNOCENT:
            return None
        logger.info("an access token was rejected (%s)", verdict.value)
        other = yield from self._lifecycle.replace(lease.key)
        is_safe = verdict is Blame.REFUSED or rejection.method.upper() in _SAFE_TO_REPEAT
        return other if is_safe and can_resend else None

    def _revocation(self) -> Steps[None]:
        self._adopt()
        lease = self._lifecycle.lease
        if lease is not None:
            budget = self._lifecycle.policy.budget(self._clock)
            yield from self._tokens.revoke(lease.key, budget)
            self._lifecycle.revoked(lease.key)

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

    def _run_for_user(self, steps: Steps[T], async_name: str) -> T:
        """Run steps that the user's own code asked for; ``async_name`` is the awaitable way."""
        io = self._io_around()
        io = io if isinstance(io, SyncIO) else self._sync_io()
        return self._run(steps, io, self._endpoint_request())

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
