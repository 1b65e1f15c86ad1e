"""ThingSpace OAuth for ``requests``: ``session.auth = ThingspaceAuth(credentials)``."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from datetime import timedelta
from traceback import walk_tb
from typing import Any, ClassVar
from urllib.parse import urljoin

from . import errors
from .blame import BODY_LIMIT
from .credentials import OauthOnTokenUpdate, OauthTokenProvider, TokenLike, checked_settings
from .effects import HttpAnswer, HttpRequest, Reply, Undelivered
from .flight import twin
from .hosts import AUTHORIZATION, SESSION_HEADERS, is_plain_prefix, origin_of
from .manager import (
    Arrangement,
    Carried,
    ErrorTypes,
    Rejection,
    TokenManager,
    borne,
    may_blame,
)

try:
    from requests import PreparedRequest, Request, Response, Session
    from requests import exceptions as library
    from requests.auth import AuthBase
    from requests.cookies import extract_cookies_to_jar
    from requests.hooks import default_hooks, dispatch_hook
    from requests.sessions import SessionRedirectMixin
    from requests.structures import CaseInsensitiveDict
    from requests.utils import default_headers, requote_uri, rewind_body
except ImportError as error:
    raise ImportError(
        "thingspace_auth_adapters.requests needs requests:"
        " pip install 'thingspace-auth-adapters[requests]'"
    ) from error

from ._replay import peek

__all__ = [
    "InsecureStoreError",
    "InsecureTransportError",
    "InvalidTokenResponseError",
    "M2mLoginError",
    "OauthProviderError",
    "ReentrantRequestError",
    "ThingspaceAuth",
]

_ANSWER_LIMIT = 1024 * 1024
_NOT_SENT = (
    library.ConnectTimeout,
    library.InvalidURL,
    library.InvalidSchema,
    library.InvalidProxyURL,
    library.InvalidHeader,
    library.MissingSchema,
)
_TRANSIENT = (library.ConnectionError, library.Timeout, library.ChunkedEncodingError)


class OauthProviderError(errors.OauthProviderError, library.RequestException):
    __doc__ = errors.OauthProviderError.__doc__


class InvalidTokenResponseError(errors.InvalidTokenResponseError, library.RequestException):
    __doc__ = errors.InvalidTokenResponseError.__doc__


class InsecureTransportError(errors.InsecureTransportError, library.RequestException):
    __doc__ = errors.InsecureTransportError.__doc__


class ReentrantRequestError(errors.ReentrantRequestError, library.RequestException):
    __doc__ = errors.ReentrantRequestError.__doc__


class M2mLoginError(errors.M2mLoginError, library.RequestException):
    __doc__ = errors.M2mLoginError.__doc__


class InsecureStoreError(errors.InsecureStoreError, library.RequestException):
    __doc__ = errors.InsecureStoreError.__doc__


class ThingspaceAuth(TokenManager, AuthBase):
    """ThingSpace's tokens on every request of a session, acquired and renewed as needed.

    Give either a credentials object or its fields by name. One object may serve any number of
    sessions and threads.

    Args:
        thingspace_oauth_credentials: a :class:`ThingspaceOauthCredentials`, or any object with
            its getters, such as the official SDK's.
        oauth_client_id (str): and the six that follow: see :class:`ThingspaceOauthCredentials`.
        base_url (str): where the platform lives.
        allowed_hosts (Iterable[str] | None): the only hosts that are ever sent a token: each
            ``host``, ``host:port`` or ``*.domain``. By default ThingSpace's hosts, or, for
            another ``base_url``, only its host and port.
        timeout (float): seconds for one call to the token endpoint, connect and read each.
        session (requests.Session | None): calls the token endpoint, with its proxies, CA bundle
            and mounted adapters; its ``auth``, headers, cookies and hooks do not apply. By
            default a private one for each call.
        m2m (VzM2mCredentials | str | None): what M2M sessions are opened with, for requests that
            need a session token beside the bearer. A session token, or an object with the getter
            ``vz_m2m_token`` such as the official SDK's, is sent and never renewed.

    Raises:
        TypeError, ValueError: an argument is bad; the message names it.
    """

    _error_types: ClassVar[ErrorTypes] = {
        errors.OauthProviderError: OauthProviderError,
        errors.InvalidTokenResponseError: InvalidTokenResponseError,
        errors.InsecureTransportError: InsecureTransportError,
        errors.ReentrantRequestError: ReentrantRequestError,
        errors.M2mLoginError: M2mLoginError,
        errors.InsecureStoreError: InsecureStoreError,
    }

    def __init__(
        self,
        thingspace_oauth_credentials: Any = None,
        *,
        oauth_client_id: str | None = None,
        oauth_client_secret: str | None = None,
        oauth_token: TokenLike = None,
        oauth_scopes: Iterable[str] | str | None = None,
        oauth_token_provider: OauthTokenProvider | None = None,
        oauth_on_token_update: OauthOnTokenUpdate | None = None,
        oauth_clock_skew: int | float | None = None,
        base_url: str = "https://thingspace.verizon.com",
        allowed_hosts: Iterable[str] | None = None,
        timeout: float = 30.0,
        session: Session | None = None,
        m2m: Any = None,
    ) -> None:
        fields = {
            "oauth_client_id": oauth_client_id,
            "oauth_client_secret": oauth_client_secret,
            "oauth_token": oauth_token,
            "oauth_scopes": oauth_scopes,
            "oauth_token_provider": oauth_token_provider,
            "oauth_on_token_update": oauth_on_token_update,
            "oauth_clock_skew": oauth_clock_skew,
        }
        if session is not None and not isinstance(session, Session):
            raise TypeError(f"session must be a requests.Session, not {type(session).__name__}")
        self._session = session
        self._latest: _Latest | None = None
        super().__init__(
            checked_settings(
                thingspace_oauth_credentials, fields, base_url, allowed_hosts, timeout
            ),
            m2m,
        )

    def __call__(self, r: PreparedRequest) -> PreparedRequest:
        """Put the tokens on a prepared request, if it goes to an allowed host.

        Raises:
            InsecureTransportError: it would go to an allowed host over plain http.
            OauthProviderError, InvalidTokenResponseError: no token is to be had.
            M2mLoginError: no session is.
            requests.RequestException: an endpoint cannot be reached.
        """
        url, headers = r.url or "", r.headers
        arrangement, latest = self._arrangement, self._latest
        # Most requests go where the last one went.
        if (
            latest is None
            or latest.arrangement is not arrangement
            or not url.startswith(latest.origin)
            or (
                (arrangement.sessions or self._known_sessions)
                and self._free_names(latest.names, url, headers) != latest.names
            )
            or not self._are_fresh(latest.carried)
        ):
            latest = self._latest_for(r, url, arrangement)
            if latest is None:
                return r
        for one in latest.carried:
            headers[one.header] = one.lease.header
        hooks: Any = r.hooks.get("response")
        if hooks == []:
            hooks.append(latest.watch)
        else:
            latest.watch.over(r)
        return r

    def _latest_for(
        self, request: PreparedRequest, url: str, arrangement: Arrangement
    ) -> _Latest | None:
        """What a request carries, acquired first if need be; ``None`` where that is nothing."""
        end = url.find("/", 8)
        prefix = url if end < 0 else url[:end]
        names = self._verdicts.get(prefix)
        if names is None:
            key = prefix if is_plain_prefix(prefix) else None
            names = self._header_names(origin_of(url), key, request)
        free = names
        if arrangement.sessions is not None or self._known_sessions:
            free = self._free_names(names, url, request.headers)
        if not free:
            return None
        steps = self._acquired(free, arrangement)
        carried = self._fresh(free, arrangement) or self._run(steps, self._sync_io(), request)
        latest = _Latest(self, carried, prefix + "/", names, arrangement)
        if free == names and prefix in self._verdicts:
            self._latest = latest
        return latest

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_latest": None}

    def _renewed_after(
        self, response: Response, carried: tuple[Carried, ...]
    ) -> tuple[Carried, ...]:
        """What to repeat the request with that ``response`` rejected, or nothing."""
        request = response.request
        carried = borne(carried, request.headers)
        is_suspect = may_blame(response.status_code, carried)
        if not is_suspect or not self._allowed_hosts.allow(origin_of(request.url or "")):
            return ()
        headers = {name.lower(): value for name, value in response.headers.items()}
        body = b"" if request.method == "HEAD" else peek(response, BODY_LIMIT)
        rejection = Rejection(response.status_code, headers, body, request.method or "")
        steps = self._reconsidered(rejection, carried, _can_rewind(request))
        return self._run(steps, self._sync_io(), request)

    def _point_onward(self, response: Response, carried: tuple[Carried, ...]) -> Any:
        """Have what may go to where ``response`` redirects taken along, in the headers of there.

        Returns the headers of which that is true until the next request has been made of them.
        """
        url = _redirect_url(response)
        names = self._names_after_redirect(origin_of(url), url)
        headers = response.request.headers
        found = {one.culprit: one for one in borne(carried, headers)}
        onward = CaseInsensitiveDict(headers.items())
        for one in found.values():
            del onward[one.header]
        for one, name in zip(carried, names):
            if one.culprit in found and name not in onward:
                onward[name] = one.lease.header
        _OnwardHeaders.begin(headers, onward)
        return headers

    def _endpoint_request(self, path: str) -> PreparedRequest:
        return Request("POST", self._settings.base_url + path).prepare()

    def _send(self, request: HttpRequest) -> Reply:
        if self._session is not None:
            return _send_with(self._session, request)
        # For one call only, so that there is nothing to close and no socket to share after a fork.
        with Session() as session:
            return _send_with(session, request)


class _Latest:
    """What the last request carried, for the next one that goes the same way."""

    __slots__ = ("arrangement", "carried", "names", "origin", "watch")

    def __init__(
        self,
        auth: ThingspaceAuth,
        carried: tuple[Carried, ...],
        origin: str,
        names: tuple[str, ...],
        arrangement: Arrangement,
    ) -> None:
        self.carried = carried
        self.origin = origin
        self.names = names
        self.arrangement = arrangement
        self.watch = _Watch(auth, carried)


class _Watch:
    """A response hook that renews and repeats where the platform rejected what a request carried.

    It outlives redirects, since ``requests`` shares a request's hooks with those that follow it.
    What was renewed for one call of the user's is therefore noted there, by putting another watch
    in this one's place until the call has ended.
    """

    __slots__ = ("_auth", "_departing", "_is_first", "carried")

    def __init__(
        self, auth: ThingspaceAuth, carried: tuple[Carried, ...], departing: Any = None
    ) -> None:
        self._auth = auth
        self.carried = carried
        self._departing = departing
        self._is_first = departing is None and all(one.may_renew for one in carried)

    def over(self, request: PreparedRequest) -> None:
        """Watch a request, in the place of any other watch."""
        hooks: Any = request.hooks.get("response") or []
        hooks = [hooks] if callable(hooks) else hooks
        others = [hook for hook in hooks if not isinstance(hook, _Watch)]
        # In front, as at first: the caller's own hooks see what came of it.
        request.hooks["response"] = [self, *others]

    def __call__(self, response: Response, **kwargs: Any) -> Response | None:
        if response.status_code < 300 and self._is_first:
            return None
        if self._departing is not None:
            _OnwardHeaders.end(self._departing)
        answer, carried = self._settled(response, kwargs)
        if answer.is_redirect:
            departing = self._auth._point_onward(answer, carried)
            _Watch(self._auth, carried, departing).over(answer.request)
        elif answer is not response or not self._is_first:
            carried = tuple(one.for_another_call() for one in carried)
            _Watch(self._auth, carried).over(answer.request)
        return None if answer is response else answer

    def _settled(
        self, response: Response, kwargs: dict[str, Any]
    ) -> tuple[Response, tuple[Carried, ...]]:
        """The answer after what repeats there are, and what the call carries by now."""
        carried = self.carried
        while True:
            renewed = self._auth._renewed_after(response, carried)
            has_connection = getattr(response, "connection", None) is not None
            if not renewed or not has_connection or not _rewind(response.request):
                return response, carried
            response, carried = _repeat(response, renewed, kwargs), _merged(carried, renewed)

    def __reduce__(self) -> tuple[Any, ...]:
        # A pickled request can be read where this package is not installed, and takes nothing of
        # ours along but its headers: what stands in for the hook is requests' own, and idle.
        return functools.partial, (dispatch_hook, "response", None)


def _merged(carried: tuple[Carried, ...], renewed: tuple[Carried, ...]) -> tuple[Carried, ...]:
    """The first, with the second's leases: under the header names of the call's first request."""
    by_culprit = {one.culprit: one for one in renewed}
    return tuple(by_culprit.get(one.culprit, one).under(one.header) for one in carried)


class _OnwardHeaders(CaseInsensitiveDict[Any]):
    """A request's headers while it is redirected.

    ``requests`` makes the next request's headers by copying these, with no say for an auth object
    in between; so it is the copy that differs, and the request itself stays as it was sent.
    """

    onward: CaseInsensitiveDict[Any]

    @staticmethod
    def begin(headers: Any, onward: CaseInsensitiveDict[Any]) -> None:
        # In place: response.request may be a stand-in for the request, with the same headers.
        headers.__class__ = _OnwardHeaders
        headers.onward = onward

    @staticmethod
    def end(headers: Any) -> None:
        headers.__class__ = CaseInsensitiveDict
        vars(headers).pop("onward", None)

    def copy(self) -> CaseInsensitiveDict[Any]:
        return CaseInsensitiveDict(self.onward.items())

    def __reduce__(self) -> tuple[Any, ...]:
        return CaseInsensitiveDict, (dict(self.items()),)


def _redirect_url(response: Response) -> str:
    """Where ``requests`` goes from here, by its own functions."""
    target = SessionRedirectMixin().get_redirect_target(response) or ""
    return requote_uri(urljoin(response.url, target))


def _repeat(response: Response, carried: tuple[Carried, ...], kwargs: dict[str, Any]) -> Response:
    """Send the rejected request again, as ``requests``' own digest authentication does."""
    request = response.request
    # The request itself is sent again, so that redirects which follow carry the new token; the
    # rejected response keeps a copy of what it answered.
    response.request = request.copy()
    _drain(response)
    for one in carried:
        request.headers[one.header] = one.lease.header
    jar: Any = request._cookies
    extract_cookies_to_jar(jar, response.request, response.raw)
    request.prepare_cookies(jar)
    started = time.perf_counter()
    repeated: Response = response.connection.send(request, **kwargs)
    repeated.elapsed = timedelta(seconds=time.perf_counter() - started)
    repeated.history = [*response.history, response]
    return repeated


def _drain(response: Response) -> None:
    """Give the connection back, with the body read where it is short and in order."""
    if getattr(response.raw, "is_whole", True):
        with suppress(library.RequestException):
            _ = response.content
    response.close()


def _can_rewind(request: PreparedRequest) -> bool:
    body: Any = request.body
    if body is None or isinstance(body, (str, bytes, bytearray)):
        return True
    return isinstance(request._body_position, int) and hasattr(body, "seek")


def _rewind(request: PreparedRequest) -> bool:
    if request._body_position is None:
        return True
    try:
        rewind_body(request)
    except (library.UnrewindableBodyError, ValueError):
        return False
    return True


def _send_with(session: Session, request: HttpRequest) -> Reply:
    headers = {**default_headers(), **request.headers}
    prepared = Request("POST", request.url, headers=headers, data=request.body).prepare()
    answers: list[HttpAnswer] = []
    # What the caller is handling becomes the context of whatever fails here, and is none of it.
    handled = sys.exc_info()[1]
    prepared.hooks["response"] = [functools.partial(_take_answer, answers)]
    try:
        session.send(
            prepared,
            timeout=request.timeout,
            allow_redirects=False,
            **_transport_settings(session, request.url),
        )
    except library.RequestException as error:
        failure = error
    else:
        return answers[-1]
    return _undelivered(failure, prepared, _is_connect_failure(failure, handled))


def _take_answer(answers: list[HttpAnswer], response: Response, **kwargs: Any) -> None:
    """Read the answer before the session sees it: it gets no cookie and no redirect to prepare."""
    body = b""
    for chunk in response.iter_content(8192):
        body += chunk
        if len(body) > _ANSWER_LIMIT:
            break
    headers = {name.lower(): value for name, value in response.headers.items()}
    answers.append(HttpAnswer(response.status_code, headers, body))
    response.close()
    response.raw = None
    response.headers.pop("Location", None)


def _transport_settings(session: Session, url: str) -> dict[str, Any]:
    if url.lower().startswith("http:"):
        # Plain http is loopback: no proxy from the environment can reach this machine's own.
        return {
            "proxies": dict(session.proxies),
            "stream": True,
            "verify": session.verify,
            "cert": session.cert,
        }
    return session.merge_environment_settings(url, {}, True, None, None)


def _undelivered(
    error: library.RequestException, prepared: PreparedRequest, is_connect_failure: bool
) -> Undelivered:
    """The library's own error without what it refers to: its request carries the secret."""
    shown = prepared.copy()
    for name in (AUTHORIZATION, *SESSION_HEADERS):
        shown.headers.pop(name, None)
    shown.body = None
    shown.hooks = default_hooks()
    clean = twin(error)
    clean.args = (str(error),)
    vars(clean).update(request=shown, response=None)
    is_transient = isinstance(error, _TRANSIENT) and "CERTIFICATE_VERIFY_FAILED" not in str(error)
    return Undelivered(clean, is_transient, may_have_arrived=not is_connect_failure)


def _is_connect_failure(error: BaseException, handled: BaseException | None) -> bool:
    """Whether there never was a connection to send anything over.

    ``requests`` has one ConnectionError, and one SSLError and ProxyError each, for what happens
    before and after that; where in the code it happened tells, and ``handled`` happened before.
    """
    if isinstance(error, _NOT_SENT):
        return True
    cause: BaseException | None = error
    while cause is not None and cause is not handled:
        names = {frame.f_code.co_name for frame, _ in walk_tb(cause.__traceback__)}
        if names & {"connect", "_prepare_proxy"}:
            return True
        cause = cause.__context__
    return False
