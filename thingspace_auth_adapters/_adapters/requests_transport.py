"""How the platform's endpoints are called with requests, and an error's body is read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from requests import PreparedRequest, Request, Response, Session
from requests import exceptions as library
from requests.utils import default_headers

from .._core.clock import Clock
from .._core.refresh import copy_exception
from .._wire.messages import (
    AlreadySentError,
    AnswerTooLate,
    HttpAnswer,
    HttpRequest,
    Refused,
    SentOnce,
    undelivered_text,
)
from .._wire.rejection import BODY_LIMIT, is_readable

_TRANSIENT = (library.ConnectionError, library.Timeout, library.ChunkedEncodingError)


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
        try:
            if self._session is not None:
                return self._answer(self._session, request, timeout, ends_at)
            # For one call, so that there is nothing to close and no socket to share after a fork.
            with Session() as session:
                return self._answer(session, request, timeout, ends_at)
        except TimeoutError:
            # What a signal handler raised, as a time limit.
            raise
        except (AlreadySentError, AnswerTooLate, OSError) as error:
            return _undelivered(error, request)

    def overdue(self, request: HttpRequest) -> Refused:
        """The library's own timeout."""
        return _undelivered(AnswerTooLate("no answer came in time"), request)

    def read_body(self, response: Response) -> bytes | None:
        """An error's body, which stays readable by ``content``."""
        return response.content[:BODY_LIMIT]

    def read_streamed_body(self, response: Response) -> bytes | None:
        """As :meth:`read_body`, of a response that was asked for with ``stream=True``."""
        return self.read_body(response) if is_readable(response.headers) else None

    def _answer(
        self, session: Session, request: HttpRequest, timeout: float, ends_at: float
    ) -> HttpAnswer:
        seconds = max(min(timeout, ends_at - self._clock.monotonic()), 0.001)
        settings = _transport_settings(session, request.url)
        try:
            response = session.send(
                _prepared(request), timeout=seconds, allow_redirects=False, **settings
            )
        except library.HTTPError as error:
            # The user's own session raises for an error status: that is an answer, too.
            if error.response is None:
                raise
            response = error.response
        answer = HttpAnswer(response.status_code, response.headers)
        with response:
            # One byte at a time: requests would wait for a longer chunk until it is complete.
            for byte in response.iter_content(1) if answer.flaw is None else ():
                if not answer.take(byte, self._clock.monotonic(), ends_at):
                    break
        return answer


class _OnceBody:
    """A body of known length that the connection can take once."""

    def __init__(self, body: bytes, once: SentOnce) -> None:
        self._body = body
        self._once = once

    def __len__(self) -> int:
        return len(self._body)

    def __iter__(self) -> Iterator[bytes]:
        yield self._once.take(self._body)

    def tell(self) -> int:
        """For urllib3, which then rewinds before it repeats anything."""
        return 0

    def seek(self, position: int, whence: int = 0) -> int:
        """Raises :class:`AlreadySentError` if the body was taken."""
        if self._once.was_sent:
            self._once.take(self._body)
        return position


def endpoint_request(url: str) -> PreparedRequest:
    """What stands in errors for a call of an endpoint: without credentials and body."""
    return Request("POST", url).prepare()


def _prepared(request: HttpRequest) -> PreparedRequest:
    headers = {**default_headers(), **request.headers}
    body: Any = request.body if request.once is None else _OnceBody(request.body, request.once)
    prepared = Request("POST", request.url, headers=headers, data=body).prepare()
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


def _undelivered(error: Exception, request: HttpRequest) -> Refused:
    """The library's own error, without what it refers to: its request carries secrets."""
    clean = _own(error)
    is_transient = isinstance(clean, _TRANSIENT) and "CERTIFICATE_VERIFY_FAILED" not in str(clean)
    clean.args = (undelivered_text(request, clean),)
    shown = endpoint_request(request.url)
    shown.headers.update(request.shown_headers)
    vars(clean).update(request=shown, response=None)
    return Refused(clean, is_transient)


def _own(error: Exception) -> Exception:
    """An error of the library's own family."""
    if isinstance(error, AnswerTooLate):
        return library.ReadTimeout(str(error))
    if isinstance(error, AlreadySentError):
        return library.ConnectionError(str(error))
    if isinstance(error, library.RequestException):
        return copy_exception(error)
    # CA certificates that cannot be read, or too many open files: nothing was sent.
    return library.RequestException(f"{type(error).__name__} {error}")
