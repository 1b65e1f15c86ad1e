"""An adapter for the standard library's ``http.client``, as small as an adapter can be."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any, NamedTuple
from urllib.parse import urlsplit, urlunsplit
from wsgiref.headers import Headers

from thingspace_auth_adapters import errors
from thingspace_auth_adapters._adapters import auth
from thingspace_auth_adapters._adapters.case import Outgoing
from thingspace_auth_adapters._core.clock import Clock
from thingspace_auth_adapters._model.hosts import origin_of
from thingspace_auth_adapters._wire.messages import (
    AlreadySentError,
    AnswerTooLate,
    HttpAnswer,
    HttpRequest,
    Refused,
    SentOnce,
    is_unusable_certificate,
    undelivered_text,
)
from thingspace_auth_adapters._wire.rejection import BODY_LIMIT, Credential

# The client. http.client has no requests as objects: these take their place.


class Request(NamedTuple):
    method: str
    url: str
    # Looked up without regard to case.
    headers: Any
    body: bytes = b""


class Response(NamedTuple):
    request: Request
    status_code: int
    headers: Any
    body: bytes


def connection_to(url: str, timeout: float) -> HTTPConnection:
    scheme, host, *_ = urlsplit(url)
    return (HTTPSConnection if scheme == "https" else HTTPConnection)(host, timeout=timeout)


def target_of(url: str) -> str:
    _, _, path, query, _ = urlsplit(url)
    return urlunsplit(("", "", path or "/", query, ""))


def send(request: Request, timeout: float) -> Response:
    with closing(connection_to(request.url, timeout)) as connection:
        headers = dict(request.headers.items())
        connection.request(request.method, target_of(request.url), request.body, headers)
        answer = connection.getresponse()
        return Response(request, answer.status, answer.headers, answer.read())


# The adapter.


class ThingspaceAuth(auth.ThingspaceAuth):
    """ThingSpace's tokens on requests that are sent with :meth:`send`."""

    _error_types = errors.native_errors(OSError, __name__)
    _for_calls = "timeout"

    def send(self, request: Request, timeout: float = 30.0) -> Response:
        self._run(request, self._prepare, self._outgoing(request))
        spent: set[Credential] = set()
        while True:
            response = send(request, timeout)
            again = self._run(request, self._repetition, response, spent, body_of)
            if again is None:
                return response
            request = again

    def _outgoing(self, request: Request) -> Outgoing:
        origin = origin_of(request.url)
        return Outgoing(origin, request.url, request.method, request.headers, origin)

    def _again(self, response: Response, headers: Mapping[str, str]) -> Request:
        # A copy: the rejected request keeps the headers that it was sent with.
        request = response.request
        again = request._replace(headers=Headers(request.headers.items()))
        for name, value in headers.items():
            again.headers[name] = value
        return again

    def _endpoint_request(self, path: str) -> Request:
        return Request("POST", self._settings.base_url + path, Headers([]))

    def _new_transport(self) -> Transport:
        return Transport(self._clock)


def body_of(response: Response) -> bytes | None:
    return response.body[:BODY_LIMIT]


class Transport:
    """Calls the platform's endpoints."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def send(self, request: HttpRequest, timeout: float, ends_at: float) -> HttpAnswer | Refused:
        try:
            if isinstance(request.body, SentOnce):
                request.body.tell()
            return self._answer(request, timeout, ends_at)
        except (OSError, HTTPException, AlreadySentError, AnswerTooLate) as error:
            is_transient = not is_unusable_certificate(error)
            # A refused connection: nothing was sent. If that is not certain, it must be False.
            is_unsent = isinstance(error, ConnectionRefusedError)
            return Refused(self._own(error, request), is_transient, had_no_effect=is_unsent)

    def overdue(self, request: HttpRequest) -> Refused:
        return Refused(self._own(AnswerTooLate("no answer came in time"), request), True)

    def _answer(self, request: HttpRequest, timeout: float, ends_at: float) -> HttpAnswer:
        seconds = max(min(timeout, ends_at - self._clock.monotonic()), 0.001)
        with closing(connection_to(request.url, seconds)) as connection:
            headers = dict(request.headers)
            connection.request("POST", target_of(request.url), request.body, headers)
            response: Any = connection.getresponse()
            answer = HttpAnswer(response.status, response.headers)
            # A server may send a byte at a time: each chunk is checked against the deadline.
            while chunk := response.read1(BODY_LIMIT):
                if not answer.take(chunk, self._clock.monotonic(), ends_at):
                    break
        return answer

    def _own(self, error: Exception, request: HttpRequest) -> OSError:
        """An error of the library's own family, which refers to nothing that was sent."""
        kind = TimeoutError if isinstance(error, AnswerTooLate) else ConnectionError
        return kind(undelivered_text(request, error))


# Under their names, so that they can be pickled.
globals().update({one.__name__: one for one in ThingspaceAuth._error_types.values()})
