"""What happens to a request: it is logged, delayed, failed if a test wants that, and answered."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Request, Response

from .api import ApiEndpoint
from .endpoints import API_PREFIX, LOGIN, LOGOUT, REVOKE, TOKEN, endpoint_of
from .failures import ConnectionDropped, Failures
from .guard import Guard
from .latency import Latency
from .log import RequestLog, SimulatedRequest
from .oauth import OauthEndpoints
from .sessions import SessionRegistry
from .tokens import Clock, TokenRegistry
from .uws import UwsEndpoints

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


@dataclass
class Platform:
    """The state that the endpoints and the test's knobs share."""

    oauth: OauthEndpoints
    uws: UwsEndpoints
    tokens: TokenRegistry
    sessions: SessionRegistry
    guard: Guard
    failures: Failures
    latency: Latency
    log: RequestLog
    clock: Clock


class Application:
    """The platform as a WSGI application.

    Args:
        platform: the state to work on.

    Attributes:
        closing: set when the simulator closes; every request that still waits is then dropped.
    """

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self.closing = threading.Event()
        self._api = ApiEndpoint(platform.guard, self._pause)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Raises :class:`ConnectionDropped` if there is to be no answer."""
        request = Request(environ)
        # Read here, whoever answers: what is left of a body would pass for the next request.
        number = self._platform.log.arrived(self._logged(request, request.get_data()))
        response = self._answer(request)
        self._platform.log.answered(number, response.status_code)
        return response(environ, start_response)

    def _logged(self, request: Request, body: bytes) -> SimulatedRequest:
        return SimulatedRequest(
            method=request.method,
            path=request.path,
            query=request.query_string.decode("latin-1"),
            headers={name.lower(): value for name, value in request.headers.items()},
            body=body,
            at=self._platform.clock(),
        )

    def _answer(self, request: Request) -> Response:
        endpoint = endpoint_of(request.path)
        # Taken before any waiting, so that failures meet the requests in order of arrival.
        failure = self._platform.failures.take(endpoint)
        self._pause(self._platform.latency[endpoint])
        response = None if failure is None else failure.respond()
        # A hanging request is let go by a recovery, which answers it, or by closing.
        self._pause(0)
        return self._own_answer(endpoint, request) if response is None else response

    def _own_answer(self, endpoint: str, request: Request) -> Response:
        try:
            return self._route(endpoint, request)
        except HTTPException as refusal:
            return Response.force_type(refusal.get_response())

    def _route(self, endpoint: str, request: Request) -> Response:
        if endpoint == TOKEN:
            return self._platform.oauth.token(request)
        if endpoint == REVOKE:
            return self._platform.oauth.revoke(request)
        if endpoint == LOGIN:
            return self._platform.uws.login(request)
        if endpoint == LOGOUT:
            return self._platform.uws.logout(request)
        if request.path.startswith(API_PREFIX):
            return self._api.answer(request)
        return Response("Not Found", 404)

    def _pause(self, seconds: float) -> None:
        if self.closing.wait(seconds):
            raise ConnectionDropped
