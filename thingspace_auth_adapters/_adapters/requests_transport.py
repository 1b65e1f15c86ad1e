"""How the platform's endpoints are called with requests, and an error's body is read."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from typing import Any, TypeVar

from requests import PreparedRequest, Request, Response, Session
from requests import exceptions as library
from requests.adapters import HTTPAdapter
from requests.utils import default_headers, default_user_agent
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError
from urllib3.util import Retry

from .._core.clock import Clock
from .._core.endpoint import RAISED_ON_THE_WAY, LibraryErrors
from .._wire.messages import (
    AnswerTooLate,
    HttpAnswer,
    HttpRequest,
    Refused,
    SentOnce,
    is_unusable_certificate,
    undelivered_text,
)
from .._wire.rejection import BODY_LIMIT, is_readable

T = TypeVar("T")

_ERRORS = LibraryErrors(
    library.RequestException,
    library.ReadTimeout,
    library.ConnectionError,
    library.RequestException,
)
_TRANSIENT = (library.ConnectionError, library.Timeout, library.ChunkedEncodingError)
_NEVER_CONNECTED = (NewConnectionError, ConnectTimeoutError)
_NEVER_SENT = (library.ConnectTimeout, library.InvalidURL, library.InvalidSchema)


class RequestsTransport:
    """Calls endpoints with the user's session, or with one for each call.

    Args:
        session: the user's, if any.
        clock: for deadlines.
    """

    def __init__(self, session: Session | None, clock: Clock) -> None:
        self._session = session
        self._clock = clock

    def send(self, request: HttpRequest, timeout: float, ends_at: float) -> HttpAnswer | Refused:
        """Call an endpoint."""
        is_begun = False
        try:
            # By default one for each call: nothing to close, and no socket to share after a fork.
            with Session() if self._session is None else nullcontext(self._session) as session:
                sender = _unrepeated(session) if isinstance(request.body, SentOnce) else session
                settings = _transport_settings(sender, request.url)
                prepared = _prepared(request)
                is_begun = True
                return self._answer(sender, prepared, {**settings, "timeout": timeout}, ends_at)
        except TimeoutError:
            # What a signal handler raised, as a time limit.
            raise
        except (*RAISED_ON_THE_WAY, HTTPError) as error:
            return _undelivered(error, request, is_begun)

    def overdue(self, request: HttpRequest) -> Refused:
        """The library's own timeout."""
        return _undelivered(AnswerTooLate("no answer came in time"), request)

    def read_body(self, response: Response) -> bytes | None:
        """An error's body, which stays readable by ``content``."""
        content: Any = response.content
        if not isinstance(content, bytes):
            # As with niquests' AsyncSession, whose requests look like those of requests.
            getattr(content, "close", int)()
            raise TypeError(
                "this ThingspaceAuth is for synchronous sessions: for an asynchronous one use"
                " aheaders() and arecover() of thingspace_auth_adapters.httpx.ThingspaceAuth"
            )
        return content[:BODY_LIMIT]

    def read_streamed_body(self, response: Response) -> bytes | None:
        """As :meth:`read_body`, of a response that was asked for with ``stream=True``."""
        return self.read_body(response) if is_readable(response.headers) else None

    def _answer(
        self, session: Session, prepared: PreparedRequest, settings: dict[str, Any], ends_at: float
    ) -> HttpAnswer:
        try:
            response = session.send(prepared, allow_redirects=False, **settings)
        except library.HTTPError as error:
            # The user's own session raises for an error status: that is an answer, too.
            if error.response is None:
                raise
            response = error.response
        answer = HttpAnswer(response.status_code, response.headers)
        if response.raw is None:
            # One that was made by hand has nothing to read from or to close.
            answer.take(response.content, self._clock.monotonic(), ends_at)
            return answer
        with response:
            # One byte at a time: requests would wait for a longer chunk until it is complete.
            for byte in response.iter_content(1) if answer.flaw is None else ():
                if not answer.take(byte, self._clock.monotonic(), ends_at):
                    break
        return answer


def endpoint_request(url: str) -> PreparedRequest:
    """What stands in errors for a call of an endpoint: without credentials and body."""
    return Request("POST", url).prepare()


def _prepared(request: HttpRequest) -> PreparedRequest:
    headers = {**default_headers(), **request.headers}
    headers["User-Agent"] += f" {default_user_agent()}"
    prepared = Request("POST", request.url, headers=headers).prepare()
    # Given to Request it would be copied, or looked at as a file. A form is text, as requests' own
    # are: test doubles rely on that.
    is_once = isinstance(request.body, SentOnce)
    prepared.body = request.body if is_once else request.body.decode("ascii")
    prepared.headers["Content-Length"] = str(len(request.body))
    prepared.register_hook("response", _drop_location)
    return prepared


def _drop_location(response: Response, **kwargs: Any) -> None:
    # Even if it does not follow it, requests would prepare a redirect, and read the body for it.
    response.headers.pop("Location", None)


def _transport_settings(session: Session, url: str) -> dict[str, Any]:
    settings = dict(session.merge_environment_settings(url, {}, True, None, None))
    if url.lower().startswith("http:"):
        # Plain http is loopback: no proxy from the environment can reach this machine's own.
        settings["proxies"] = dict(session.proxies)
    return settings


def _undelivered(error: Exception, request: HttpRequest, is_begun: bool = True) -> Refused:
    """The library's own error, without what it refers to: its request carries secrets."""
    clean = _ERRORS.own(error)
    is_permanent = isinstance(clean, library.ProxyError) or is_unusable_certificate(clean)
    is_transient = isinstance(clean, _TRANSIENT) and not is_permanent
    clean.args = (undelivered_text(request, clean),)
    shown = endpoint_request(request.url)
    shown.headers.update(request.shown_headers)
    vars(clean).update(request=shown, response=None, obstacle=_obstacle(error))
    return Refused(clean, is_transient, had_no_effect=not is_begun or _never_connected(error))


def _obstacle(error: Exception) -> str:
    # Imported here because only errors need it.
    from .obstacle import obstacle_of

    return obstacle_of(
        error,
        proxy=(library.ProxyError,),
        tls=(library.SSLError,),
        connect_timeout=(library.ConnectTimeout,),
        connect=(NewConnectionError,),
        timeout=(library.Timeout, AnswerTooLate),
        invalid_url=(library.InvalidURL, library.InvalidSchema),
    )


def _never_connected(error: Exception) -> bool:
    """Whether it is certain that nothing was sent."""
    reason = getattr(error.args[0], "reason", None) if error.args else None
    # A proxy's error wraps what kept it from being reached, or from letting us through.
    reason = getattr(reason, "original_error", reason)
    if isinstance(error, _NEVER_SENT) or isinstance(reason, _NEVER_CONNECTED):
        return True
    # http.client's of a refused tunnel, and requests' of a missing CA file, come from no system.
    is_own = any(type(one) is OSError and one.errno is None for one in (error, reason))
    return is_own or is_unusable_certificate(error)


def _unrepeated(session: Session) -> Session:
    """The same session, whose adapters send a request once, whatever the user has them retry."""
    ordinary = {at: one for at, one in session.adapters.items() if isinstance(one, HTTPAdapter)}
    if all(one.max_retries.total == 0 for one in ordinary.values()):
        return session
    once = _twin(session)
    once.adapters = copy.copy(session.adapters)
    for prefix, adapter in ordinary.items():
        once.adapters[prefix] = twin = _twin(adapter)
        twin.max_retries = Retry(0, read=False)
    return once


def _twin(original: T) -> T:
    # copy.copy keeps only what the library lists in __attrs__, and not what a subclass added.
    twin = object.__new__(type(original))
    vars(twin).update(vars(original))
    return twin
