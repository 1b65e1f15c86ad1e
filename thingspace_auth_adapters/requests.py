"""ThingSpace OAuth for ``requests``: ``session.auth = ThingspaceAuth(credentials)``."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterable
from contextlib import suppress
from datetime import timedelta
from typing import Any, ClassVar

from . import errors
from .blame import BODY_LIMIT, can_matter
from .credentials import OauthOnTokenUpdate, OauthTokenProvider, TokenLike, checked_settings
from .effects import HttpAnswer, HttpRequest, Reply, Undelivered
from .flight import twin
from .grant import TOKEN_PATH
from .hosts import is_plain_prefix, origin_of
from .lifecycle import Lease
from .manager import ErrorTypes, Rejection, TokenManager
from .tokens import OauthToken

try:
    from requests import PreparedRequest, Request, Response, Session
    from requests import exceptions as library
    from requests.auth import AuthBase
    from requests.cookies import extract_cookies_to_jar
    from requests.hooks import default_hooks, dispatch_hook
    from requests.utils import default_headers, rewind_body
except ImportError as error:
    raise ImportError(
        "thingspace_auth_adapters.requests needs requests:"
        " pip install 'thingspace-auth-adapters[requests]'"
    ) from error

from ._replay import peek

__all__ = [
    "InsecureTransportError",
    "InvalidTokenResponseError",
    "OauthProviderError",
    "ReentrantRequestError",
    "ThingspaceAuth",
]

_ANSWER_LIMIT = 1024 * 1024
_TRANSIENT = (library.ConnectionError, library.Timeout, library.ChunkedEncodingError)


class OauthProviderError(errors.OauthProviderError, library.RequestException):
    __doc__ = errors.OauthProviderError.__doc__


class InvalidTokenResponseError(errors.InvalidTokenResponseError, library.RequestException):
    __doc__ = errors.InvalidTokenResponseError.__doc__


class InsecureTransportError(errors.InsecureTransportError, library.RequestException):
    __doc__ = errors.InsecureTransportError.__doc__


class ReentrantRequestError(errors.ReentrantRequestError, library.RequestException):
    __doc__ = errors.ReentrantRequestError.__doc__


class ThingspaceAuth(TokenManager, AuthBase):
    """ThingSpace's OAuth token on every request of a session, fetched and renewed as needed.

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

    Raises:
        TypeError, ValueError: an argument is bad; the message names it.
    """

    _error_types: ClassVar[ErrorTypes] = {
        errors.OauthProviderError: OauthProviderError,
        errors.InvalidTokenResponseError: InvalidTokenResponseError,
        errors.InsecureTransportError: InsecureTransportError,
        errors.ReentrantRequestError: ReentrantRequestError,
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
        self._watch: _Watch | None = None
        super().__init__(
            checked_settings(thingspace_oauth_credentials, fields, base_url, allowed_hosts, timeout)
        )

    def __call__(self, r: PreparedRequest) -> PreparedRequest:
        """Put the token on a prepared request, if it goes to an allowed host.

        Raises:
            InsecureTransportError: it would go to an allowed host over plain http.
            OauthProviderError, InvalidTokenResponseError: no token is to be had.
            requests.RequestException: the token endpoint cannot be reached.
        """
        url = r.url or ""
        end = url.find("/", 8)
        prefix = url if end < 0 else url[:end]
        may_carry = self._verdicts.get(prefix)
        if may_carry is None:
            key = prefix if is_plain_prefix(prefix) else None
            may_carry = self._may_carry(origin_of(url), key, r)
        if may_carry:
            lease = self._fresh() or self._run(self._acquired(), self._sync_io(), r)
            r.headers["Authorization"] = lease.header
            watch = self._watch
            if watch is None or watch.lease is not lease:
                watch = self._watch = _Watch(self, lease)
            hooks: Any = r.hooks.get("response")
            if hooks == []:
                hooks.append(watch)
            else:
                watch.over(r)
        return r

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_watch": None}

    def _renewed_after(self, response: Response, lease: Lease[OauthToken]) -> Any:
        """The lease with which to repeat the request that ``response`` rejected, or ``None``."""
        request = response.request
        carried = request.headers.get("Authorization") == lease.header
        if not carried or not self._allowed_hosts.allow(origin_of(request.url or "")):
            return None
        headers = {name.lower(): value for name, value in response.headers.items()}
        body = b"" if request.method == "HEAD" else peek(response, BODY_LIMIT)
        rejection = Rejection(response.status_code, headers, body, request.method or "")
        steps = self._reconsidered(rejection, lease, _can_rewind(request))
        return self._run(steps, self._sync_io(), request)

    def _endpoint_request(self) -> PreparedRequest:
        return Request("POST", self._settings.base_url + TOKEN_PATH).prepare()

    def _send(self, request: HttpRequest) -> Reply:
        if self._session is not None:
            return _send_with(self._session, request)
        # For one call only, so that there is nothing to close and no socket to share after a fork.
        with Session() as session:
            return _send_with(session, request)


class _Watch:
    """A response hook that renews and repeats where the platform rejected a lease's token.

    It outlives redirects, since ``requests`` shares a request's hooks with those that follow it.
    What is known of one call of the user's, that it was repeated, is therefore kept there, by
    putting another hook in this one's place.
    """

    __slots__ = ("_auth", "lease")

    def __init__(self, auth: ThingspaceAuth, lease: Lease[OauthToken]) -> None:
        self._auth = auth
        self.lease = lease

    def over(self, request: PreparedRequest) -> None:
        """Watch a request, in the place of any other watch."""
        hooks: Any = request.hooks.get("response") or []
        hooks = [hooks] if callable(hooks) else hooks
        others = [hook for hook in hooks if not isinstance(hook, _Watch)]
        # In front, as at first: the caller's own hooks see what came of it.
        request.hooks["response"] = [self, *others]

    def __call__(self, response: Response, **kwargs: Any) -> Response | None:
        if not can_matter(response.status_code):
            return None
        request = response.request
        lease = self._auth._renewed_after(response, self.lease)
        has_connection = getattr(response, "connection", None) is not None
        if lease is None or not has_connection or not _rewind(request):
            return None
        repeated = _repeat(response, lease.header, kwargs)
        watch = _Watch(self._auth, lease)
        if repeated.is_redirect:
            _Repeated(watch).over(request)
        else:
            watch.over(request)
        return repeated

    def __reduce__(self) -> tuple[Any, ...]:
        # A pickled request takes no credentials along, and can be read where this package is
        # not installed: what stands in for the hook is requests' own and does nothing.
        return functools.partial, (dispatch_hook, "response", None)


class _Repeated(_Watch):
    """The hook while a call that was repeated follows redirects: it is not repeated again."""

    __slots__ = ("_next_call",)

    def __init__(self, next_call: _Watch) -> None:
        super().__init__(next_call._auth, next_call.lease)
        self._next_call = next_call

    def __call__(self, response: Response, **kwargs: Any) -> Response | None:
        if not response.is_redirect:
            self._next_call.over(response.request)
        return None


def _repeat(response: Response, header: str, kwargs: dict[str, Any]) -> Response:
    """Send the rejected request again, as ``requests``' own digest authentication does."""
    request = response.request
    # The request itself is sent again, so that redirects which follow carry the new token; the
    # rejected response keeps a copy of what it answered.
    response.request = request.copy()
    _drain(response)
    request.headers["Authorization"] = header
    jar: Any = request._cookies
    extract_cookies_to_jar(jar, response.request, response.raw)
    request.prepare_cookies(jar)
    started = time.perf_counter()
    repeated: Response = response.connection.send(request, **kwargs)
    repeated.elapsed = timedelta(seconds=time.perf_counter() - started)
    repeated.history.append(response)
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
    return _undelivered(failure, prepared)


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


def _undelivered(error: library.RequestException, prepared: PreparedRequest) -> Undelivered:
    """The library's own error without what it refers to: its request carries the secret."""
    shown = prepared.copy()
    shown.headers.pop("Authorization", None)
    shown.body = None
    shown.hooks = default_hooks()
    clean = twin(error)
    clean.args = (str(error),)
    vars(clean).update(request=shown, response=None)
    is_transient = isinstance(error, _TRANSIENT) and "CERTIFICATE_VERIFY_FAILED" not in str(error)
    return Undelivered(clean, is_transient)
