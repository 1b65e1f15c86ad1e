"""ThingSpace's tokens for ``requests``: ``session.auth = ThingspaceAuth(credentials)``."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, overload
from urllib.parse import urljoin

from . import errors
from ._adapters import auth
from ._adapters.case import Outgoing
from ._model.checks import described, naming
from ._model.credentials import HasOauthCredentials, OauthOnTokenUpdate, OauthTokenProvider
from ._model.hosts import SESSION_HEADERS, origin_of
from ._model.settings import Settings
from ._model.tokens import OptionalToken
from ._wire.rejection import Credential

try:
    from requests import PreparedRequest, Response, Session
    from requests import exceptions as library
    from requests.auth import AuthBase
    from requests.hooks import dispatch_hook
    from requests.sessions import SessionRedirectMixin
    from requests.utils import rewind_body
except ImportError as error:
    raise ImportError(
        "thingspace_auth_adapters.requests needs requests:"
        " pip install 'thingspace-auth-adapters[requests]'"
    ) from error

from ._adapters.requests_transport import RequestsTransport, endpoint_request

if TYPE_CHECKING:
    from ._model.m2m import M2m
    from .stores.token_store import TokenStore

__all__ = ["ThingspaceAuth"]

A = TypeVar("A", bound="ThingspaceAuth")

_SHORTEST_AUTHORITY = len("https://")


class ThingspaceAuth(auth.ThingspaceAuth, AuthBase):
    """ThingSpace's tokens on every request of a session, acquired and renewed as needed.

    Give either a credentials object or its fields by name. One object may serve any number of
    sessions, threads and greenlets.

    Args:
        thingspace_oauth_credentials: a :class:`ThingspaceOauthCredentials`, or any object with
            its getters, such as the official SDK's.
        oauth_client_id (str): and the six that follow: see :class:`ThingspaceOauthCredentials`.
        base_url (str): scheme, host and port of the platform.
        allowed_hosts (Iterable[str] | None): the only hosts that are ever sent a token: each
            ``host``, ``host:port`` or ``*.domain``. By default ThingSpace's hosts, or, for
            another ``base_url``, only its host and port.
        timeout (float): seconds for one call of the token, revocation, login or logout endpoint,
            for connecting and for each read. The request's own timeout does not apply to it.
        session (requests.Session | None): calls these endpoints, with its proxies, CA bundle
            and mounted adapters; its ``auth``, headers, cookies and hooks do not apply. By
            default a private one for each call.
        m2m (VzM2mCredentials | str | None): what M2M sessions are opened with, for requests that
            need a session token beside the bearer. A session token, or an object with the getter
            ``vz_m2m_token`` or ``session_token`` such as the official SDK's, is sent and never
            renewed.
        store (TokenStore | None): shares the tokens with other processes.

    Raises:
        TypeError, ValueError: an argument is bad; the message names it.
    """

    _error_types = errors.native_errors(library.RequestException, __name__)
    _for_calls = "session"
    _transport: RequestsTransport

    @overload
    def __init__(
        self,
        thingspace_oauth_credentials: HasOauthCredentials,
        *,
        base_url: str = "https://thingspace.verizon.com",
        allowed_hosts: Iterable[str] | None = None,
        timeout: float = 30.0,
        session: Session | None = None,
        m2m: M2m = None,
        store: TokenStore | None = None,
    ) -> None: ...

    @overload
    def __init__(
        self,
        *,
        oauth_client_id: str,
        oauth_client_secret: str,
        oauth_token: OptionalToken = None,
        oauth_scopes: Iterable[str] | str | None = None,
        oauth_token_provider: OauthTokenProvider | None = None,
        oauth_on_token_update: OauthOnTokenUpdate | None = None,
        oauth_clock_skew: int | float | None = None,
        base_url: str = "https://thingspace.verizon.com",
        allowed_hosts: Iterable[str] | None = None,
        timeout: float = 30.0,
        session: Session | None = None,
        m2m: M2m = None,
        store: TokenStore | None = None,
    ) -> None: ...

    @naming("ThingspaceAuth")
    def __init__(self, *args: Any, session: Any = None, **options: Any) -> None:
        if session is not None and not isinstance(session, Session):
            raise TypeError(f"session must be a requests.Session, not {described(session)}")
        self._session = session
        super().__init__(*args, **options)

    def _set_up(self, settings: Settings, m2m: M2m, store: TokenStore | None) -> None:
        super()._set_up(settings, m2m, store)
        self._hook = _AfterResponse(self)

    @classmethod
    @naming()
    def from_environment(
        cls: type[A],
        *,
        base_url: str | None = None,
        allowed_hosts: Iterable[str] | None = None,
        timeout: float = 30.0,
        session: Session | None = None,
        m2m: M2m = None,
        store: TokenStore | None = None,
    ) -> A:
        """An auth object from the environment.

        Reads what :meth:`ThingspaceOauthCredentials.from_environment` reads; the M2M account as
        :meth:`VzM2mCredentials.from_environment` does, if it is there; and
        ``THINGSPACE_BASE_URL``, if it is there.

        Args:
            base_url (str | None): as in the constructor; by default the environment's.
            allowed_hosts, timeout, session, store: as in the constructor.
            m2m (VzM2mCredentials | str | None): as there; by default the environment's account.

        Raises:
            TypeError, ValueError: a variable is missing or bad; the message names it.
        """
        return cls._from_environment(
            base_url,
            m2m,
            allowed_hosts=allowed_hosts,
            timeout=timeout,
            session=session,
            store=store,
        )

    def __call__(self, r: PreparedRequest) -> PreparedRequest:
        """Put the tokens on a prepared request, if it goes to an allowed host.

        Raises:
            InsecureTransportError: it would go to an allowed host over plain http.
            OauthProviderError, InvalidTokenResponseError: no token is to be had.
            M2mLoginError: no session is.
            requests.RequestException: an endpoint cannot be reached.
        """
        url: Any = r.url
        if not isinstance(url, str):
            _refuse_other_library(r)
        end = url.find("/", _SHORTEST_AUTHORITY)
        key = url if end < 0 else url[:end]
        if self._life.put_if_fresh(key, url, r.headers) is None:
            self._run(r, self._prepare, self._outgoing(r))
        # Also without a token of ours: it is told of if one was wanted.
        hooks: Any = r.hooks.get("response")
        hooks = [hooks] if callable(hooks) else hooks
        if not hooks:
            r.hooks["response"] = [self._hook]
        elif self._hook not in hooks:
            # In front: the caller's own hooks see what came of it.
            r.hooks["response"] = [self._hook, *hooks]
        return r

    def _after(self, response: Response, **kwargs: Any) -> Response:
        """The second half of a request's life, as a response hook."""
        # After a repeat the rejected response is in the history; at this point nothing else is.
        if response.status_code < 300 or response.history:
            return response
        transport, request, is_streamed = self._transport, response.request, kwargs.get("stream")
        if is_streamed and self._life.would_only_warn(response.status_code):
            # What is read of a stream is gone, and a warning is not worth that.
            return response
        read = transport.read_streamed_body if is_streamed else transport.read_body
        spent: set[Credential] = set()
        while True:
            again = self._run(request, self._repetition, response, spent, read)
            if again is None:
                break
            response = _repeat(response, again, kwargs)
        if response.is_redirect and self._tokens.held_sessions:
            self._run(request, self._withhold_session, response)
        return response

    def _withhold_session(self, response: Response) -> None:
        """Take our session header off a request if its redirect must not carry it.

        ``requests`` makes the next request's headers by copying these.
        """
        location = SessionRedirectMixin().get_redirect_target(response) or ""
        url, headers = urljoin(response.url, location), response.request.headers
        target = Outgoing(origin_of(url), url, "", headers, None)
        names = [name for name in self._life.unwanted(target) if name in SESSION_HEADERS]
        self._life.withhold(names, headers)

    def _outgoing(self, request: Any) -> Outgoing:
        url: str = request.url or ""
        end = url.find("/", _SHORTEST_AUTHORITY)
        key = url if end < 0 else url[:end]
        return Outgoing(origin_of(url), url, request.method or "", request.headers, key)

    def _again(self, response: Any, headers: Mapping[str, str]) -> Any:
        request = response.request
        if getattr(response, "connection", None) is None:
            return None  # it came from a cache
        try:
            if not isinstance(request.body, (str, bytes, bytearray, type(None))):
                rewind_body(request)
        except (library.UnrewindableBodyError, ValueError):
            return None
        # The request itself is sent again, so that redirects which follow carry the new token; the
        # rejected response keeps a copy of what it answered.
        response.request = request.copy()
        request.headers.update(headers)
        return request

    def _endpoint_request(self, path: str) -> PreparedRequest:
        return endpoint_request(self._settings.base_url + path)

    def _new_transport(self) -> RequestsTransport:
        return RequestsTransport(self._session, self._clock)


class _AfterResponse:
    """An auth object's response hook, which holds nothing of any request."""

    def __init__(self, auth: ThingspaceAuth) -> None:
        self._auth = auth

    def __call__(self, response: Response, **kwargs: Any) -> Response:
        return self._auth._after(response, **kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        # A pickled request can be read where this package is not installed, and takes nothing of
        # ours along but its headers: what stands in for the hook is requests' own, and idle.
        return functools.partial, (dispatch_hook, "response", None)


def _repeat(response: Response, request: PreparedRequest, kwargs: Mapping[str, Any]) -> Response:
    """Send a rejected request again, as ``requests``' own digest authentication does."""
    known = filter(kwargs.__contains__, ("stream", "timeout", "verify", "cert", "proxies"))
    arguments = {name: kwargs[name] for name in known}
    started = time.perf_counter()
    repeated: Response = response.connection.send(request, **arguments)
    repeated.elapsed = timedelta(seconds=time.perf_counter() - started)
    repeated.history = [*response.history, response]
    return repeated


def _refuse_other_library(request: object) -> NoReturn:
    name = type(request).__module__.partition(".")[0]
    raise TypeError(
        "this ThingspaceAuth is for requests: with"
        f" {name} use thingspace_auth_adapters.{name}.ThingspaceAuth"
    )


# Under their names, so that they can be pickled.
globals().update({one.__name__: one for one in ThingspaceAuth._error_types.values()})
