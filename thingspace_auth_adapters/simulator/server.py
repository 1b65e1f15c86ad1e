"""The simulator as tests see it: a server to start and close, knobs, and a log."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, MutableMapping
from types import TracebackType
from typing import TYPE_CHECKING, Literal

from .application import Application, Platform
from .endpoints import API, TOKEN_PATH, endpoint_of
from .failures import Failures, failure_of
from .http_server import HOST, LoopbackServer
from .latency import Latency
from .log import RequestLog, SimulatedRequest
from .oauth import OauthEndpoints
from .tokens import Clock, TokenRegistry

if TYPE_CHECKING:
    from typing_extensions import Self


class ThingspaceSimulator:
    """A ThingSpace on a loopback port: real HTTP, tokens that repeat, expire and are revoked.

    A context manager. Endpoints are named ``"token"``, ``"revoke"`` and ``"api"``, the last for
    every other path. Any path below ``/api/`` answers a valid bearer with a JSON description of
    the request; its query can ask for something else: ``status=N``, ``bytes=N``,
    ``redirect=URL&code=N``, ``delay=SECONDS``, or ``refuse=WORD`` with one of gateway, expired,
    inactive, diagnostics, empty, html, challenge, scope, forbidden, throttled, large.

    Args:
        client_id: the only client id that is accepted.
        client_secret: its secret.
        token_lifetime: seconds that a token lives from its first issue.
        port: the port on 127.0.0.1; 0 for any free one.
        clock: returns the time in seconds; decides when tokens expire, not how long to wait.

    Raises:
        ValueError: ``token_lifetime`` is negative, or ``port`` not a port.
    """

    def __init__(
        self,
        client_id: str = "simulated-key",
        client_secret: str = "simulated-secret",
        token_lifetime: float = 3600,
        port: int = 0,
        clock: Clock = time.time,
    ) -> None:
        if not 0 <= port <= 65535:
            raise ValueError(f"port must be from 0 to 65535, not {port!r}")
        self._client_id = client_id
        self._client_secret = client_secret
        self._port = port
        self._platform = _platform(client_id, client_secret, token_lifetime, clock)
        self._lifecycle = threading.Lock()
        self._server: LoopbackServer | None = None
        self._closing = threading.Event()
        self._url: str | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<ThingspaceSimulator {self._url or 'not started'}>"

    def start(self) -> None:
        """Begins to serve; does nothing while it is serving, and may follow :meth:`close`.

        Raises:
            OSError: the port is not free.
        """
        with self._lifecycle:
            if self._server is not None:
                return
            self._closing = threading.Event()
            self._server = LoopbackServer(self._port, Application(self._platform, self._closing))
            self._url = f"http://{HOST}:{self._server.port}"
            self._server.start()

    def close(self) -> None:
        """Stops serving and frees the port; requests without an answer get none.

        Forgets pending failures; tokens and the log stay. Does nothing where it is not serving.
        """
        with self._lifecycle:
            server, self._server = self._server, None
            if server is None:
                return
            # In this order: what hangs must find the simulator closing when it is let go.
            self._closing.set()
            self._platform.failures.recover()
            server.stop()

    @property
    def url(self) -> str:
        """The base URL, without a trailing slash; after closing still the last one.

        Raises:
            RuntimeError: never started.
        """
        if self._url is None:
            raise RuntimeError("the simulator has no url before it is started")
        return self._url

    @property
    def client_id(self) -> str:
        """The accepted client id."""
        return self._client_id

    @property
    def client_secret(self) -> str:
        """The accepted client secret."""
        return self._client_secret

    @property
    def token_lifetime(self) -> float:
        """Seconds that a token lives; assigning changes it for tokens issued from then on."""
        return self._platform.tokens.lifetime

    @token_lifetime.setter
    def token_lifetime(self, seconds: float) -> None:
        self._platform.tokens.lifetime = seconds

    @property
    def latency(self) -> MutableMapping[str, float]:
        """Seconds before an answer by endpoint name; may be changed in place, or assigned."""
        return self._platform.latency

    @latency.setter
    def latency(self, seconds: Mapping[str, float]) -> None:
        self._platform.latency = Latency(seconds)

    def revoke(self) -> None:
        """Revokes the valid tokens, as another process with the same key could."""
        self._platform.tokens.revoke_all()

    def fail(
        self,
        endpoint: str,
        failure: int | Literal["drop", "hang"],
        times: int | None = 1,
        headers: Mapping[str, str] | None = None,
        body: object = None,
    ) -> None:
        """Makes the next requests to an endpoint fail; failures of several calls queue up.

        Args:
            endpoint: ``"token"``, ``"revoke"`` or ``"api"``.
            failure: the status to answer with; ``"drop"`` to close the connection without an
                answer; ``"hang"`` not to answer before :meth:`recover` or :meth:`close`.
            times: for how many requests; ``None``: until :meth:`recover`.
            headers: of the answer, where ``failure`` is a status.
            body: of the answer: bytes, text, or anything else as JSON; ``None`` is empty.

        Raises:
            ValueError: an unknown endpoint or failure, or ``times`` less than 1.
        """
        self._platform.failures.add(endpoint, failure_of(failure, headers, body), times)

    def recover(self, endpoint: str | None = None) -> None:
        """Forgets the failures of an endpoint, or of all; requests that hang are answered.

        Raises:
            ValueError: an unknown endpoint.
        """
        self._platform.failures.recover(endpoint)

    @property
    def requests(self) -> list[SimulatedRequest]:
        """The requests so far, in order of arrival."""
        return self._platform.log.snapshot()

    def requests_to(self, path: str) -> list[SimulatedRequest]:
        """The requests whose path ends with this."""
        return [request for request in self.requests if request.path.endswith(path)]

    @property
    def token_requests(self) -> list[SimulatedRequest]:
        """The requests to the token endpoint."""
        return self.requests_to(TOKEN_PATH)

    @property
    def api_requests(self) -> list[SimulatedRequest]:
        """The requests to neither the token nor the revoke endpoint."""
        return [request for request in self.requests if endpoint_of(request.path) == API]

    @property
    def issued_tokens(self) -> list[str]:
        """Each token that was issued, once, in order."""
        return self._platform.tokens.issued()

    def clear(self) -> None:
        """Forgets the logged requests; tokens and failures stay."""
        self._platform.log.clear()


def _platform(client_id: str, client_secret: str, token_lifetime: float, clock: Clock) -> Platform:
    tokens = TokenRegistry(clock, token_lifetime)
    return Platform(
        oauth=OauthEndpoints(client_id, client_secret, tokens),
        tokens=tokens,
        failures=Failures(),
        latency=Latency({}),
        log=RequestLog(),
        clock=clock,
    )
