"""The simulator as tests see it: a server to start and close, knobs, and a log."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, MutableMapping
from types import TracebackType
from typing import TYPE_CHECKING, Literal

from .application import Application, Platform
from .endpoints import API, LOGIN_PATH, LOGOUT_PATH, TOKEN_PATH, endpoint_of
from .failures import Failures, failure_of
from .guard import Guard
from .http_server import HOST, LoopbackServer
from .in_process import InProcessServer
from .latency import Latency
from .log import RequestLog, SimulatedRequest
from .oauth import OauthEndpoints
from .sessions import SessionRegistry
from .tokens import Clock, TokenRegistry
from .uws import UwsEndpoints

if TYPE_CHECKING:
    from typing_extensions import Self

    from .httpx2_transport import SimulatedHttpx2Transport
    from .httpx_transport import SimulatedHttpxTransport
    from .requests_adapter import SimulatedAdapter


class ThingspaceSimulator:
    """A ThingSpace on a loopback port: real HTTP, tokens that repeat, expire and are revoked.

    A context manager. Endpoints are named ``"token"``, ``"revoke"``, ``"login"``, ``"logout"``
    and ``"api"``, the last for every other path. Any path below ``/api/`` answers a valid bearer
    with a JSON description of the request; its query can ask for something else: ``status=N``,
    ``bytes=N``, ``redirect=URL&code=N``, ``delay=SECONDS``, or ``refuse=WORD`` with one of
    gateway, expired, inactive, diagnostics, empty, html, challenge, scope, forbidden, throttled,
    large, session, location, location-account, cloud.

    A login opens an M2M session, which is gone once it is idle, logged out or ended. A request
    with a dead one in ``VZ-M2M-Token`` (the vehicle APIs: ``SessionToken``) is refused in the way
    of the API that its path belongs to. Five failed logins in a row lock the account.

    Args:
        client_id: the only client id that is accepted.
        client_secret: its secret.
        token_lifetime: seconds that a token lives from its first issue.
        port: the port on 127.0.0.1; 0 for any free one.
        clock: returns the time in seconds; decides when tokens and sessions expire, not
            how long to wait.
        username: the only username that can log in.
        password: its password.
        idle_timeout: seconds without use after which a session is gone.
        login_ends_session: whether a login ends the sessions that were open.
        sessions_required: whether every API but 5G Edge discovery (``/api/mec/``) needs a live
            session; otherwise only a session that a request carries is checked.

    Raises:
        ValueError: ``token_lifetime`` is negative, ``idle_timeout`` not positive, either is not
            finite, or ``port`` is not a port.
    """

    def __init__(
        self,
        client_id: str = "simulated-key",
        client_secret: str = "simulated-secret",
        token_lifetime: float = 3600,
        port: int = 0,
        clock: Clock = time.time,
        username: str = "simulated-user",
        password: str = "simulated-password",
        idle_timeout: float = 1200,
        login_ends_session: bool = False,
        sessions_required: bool = False,
    ) -> None:
        if not 0 <= port <= 65535:
            raise ValueError(f"port must be from 0 to 65535, not {port!r}")
        self._client_id = client_id
        self._client_secret = client_secret
        self._port = port
        tokens = TokenRegistry(clock, token_lifetime)
        sessions = SessionRegistry(clock, username, password, idle_timeout, login_ends_session)
        guard = Guard(tokens, sessions, sessions_required)
        self._platform = Platform(
            oauth=OauthEndpoints(client_id, client_secret, tokens),
            uws=UwsEndpoints(guard, sessions),
            tokens=tokens,
            sessions=sessions,
            guard=guard,
            failures=Failures(),
            latency=Latency({}),
            log=RequestLog(),
            clock=clock,
        )
        self._lifecycle = threading.Lock()
        self._application = Application(self._platform)
        self._server: LoopbackServer | None = None
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
            if self._application.closing.is_set():
                self._application = Application(self._platform)
            self._server = LoopbackServer(self._port, self._application)
            self._url = f"http://{HOST}:{self._server.port}"
            self._server.start()

    def close(self) -> None:
        """Stops serving and frees the port; requests without an answer get none.

        Forgets pending failures; tokens, sessions and the log stay. Does nothing if it
        is closed.
        """
        with self._lifecycle:
            if self._application.closing.is_set():
                return
            # In this order: what hangs must find the simulator closing when it is let go.
            self._application.closing.set()
            self._platform.failures.recover()
            server, self._server = self._server, None
            if server is not None:
                server.stop()

    def requests_adapter(self) -> SimulatedAdapter:
        """Answers for ThingSpace's real hosts without a socket: mount it on a ``requests.Session``.

        It needs no :meth:`start`. The hosts are ``thingspace.verizon.com``,
        ``5gedge.verizon.com`` and the names below them; no other can be reached through it.
        """
        from .requests_adapter import SimulatedAdapter

        return SimulatedAdapter(InProcessServer(lambda: self._application))

    def httpx_transport(self) -> SimulatedHttpxTransport:
        """The same for httpx: ``transport=`` of a Client or an AsyncClient, on asyncio or trio."""
        from .httpx_transport import SimulatedHttpxTransport

        return SimulatedHttpxTransport(InProcessServer(lambda: self._application))

    def httpx2_transport(self) -> SimulatedHttpx2Transport:
        """The same for httpx2."""
        from .httpx2_transport import SimulatedHttpx2Transport

        return SimulatedHttpx2Transport(InProcessServer(lambda: self._application))

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
    def username(self) -> str:
        """The only username that can log in; assignable."""
        return self._platform.sessions.username

    @username.setter
    def username(self, username: str) -> None:
        self._platform.sessions.username = username

    @property
    def password(self) -> str:
        """The password of a login; assigning changes it for logins from then on."""
        return self._platform.sessions.password

    @password.setter
    def password(self, password: str) -> None:
        self._platform.sessions.password = password

    @property
    def idle_timeout(self) -> float:
        """Seconds without use after which a session is gone; assigning holds for open ones too."""
        return self._platform.sessions.idle_timeout

    @idle_timeout.setter
    def idle_timeout(self, seconds: float) -> None:
        self._platform.sessions.idle_timeout = seconds

    @property
    def login_ends_session(self) -> bool:
        """Whether a login ends the sessions that were open; assignable."""
        return self._platform.sessions.login_ends_session

    @login_ends_session.setter
    def login_ends_session(self, ends: bool) -> None:
        self._platform.sessions.login_ends_session = ends

    @property
    def sessions_required(self) -> bool:
        """Whether every API but 5G Edge discovery needs a live session; assignable."""
        return self._platform.guard.sessions_required

    @sessions_required.setter
    def sessions_required(self, required: bool) -> None:
        self._platform.guard.sessions_required = required

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

    def end_sessions(self) -> None:
        """Ends the live sessions, as somebody else's login could."""
        self._platform.sessions.end_all()

    @property
    def failed_logins(self) -> int:
        """How many logins in a row had a wrong pair; those refused by a lock are not counted."""
        return self._platform.sessions.failed_logins

    @property
    def is_locked(self) -> bool:
        """Whether every login is refused, after five in a row that failed."""
        return self._platform.sessions.is_locked

    def unlock(self) -> None:
        """Unlocks the account, as Verizon's support would, and counts failed logins from 0."""
        self._platform.sessions.unlock()

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
            endpoint: ``"token"``, ``"revoke"``, ``"login"``, ``"logout"`` or ``"api"``.
            failure: the status to answer with; ``"drop"`` to close the connection without an
                answer; ``"hang"`` not to answer before :meth:`recover` or :meth:`close`.
            times: for how many requests; ``None``: until :meth:`recover`.
            headers: of the answer, if ``failure`` is a status.
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
    def login_requests(self) -> list[SimulatedRequest]:
        """The requests to the login endpoint."""
        return self.requests_to(LOGIN_PATH)

    @property
    def logout_requests(self) -> list[SimulatedRequest]:
        """The requests to the logout endpoint."""
        return self.requests_to(LOGOUT_PATH)

    @property
    def api_requests(self) -> list[SimulatedRequest]:
        """The requests to none of the token, revoke, login and logout endpoints."""
        return [request for request in self.requests if endpoint_of(request.path) == API]

    @property
    def issued_tokens(self) -> list[str]:
        """Each token that was issued, once, in order."""
        return self._platform.tokens.issued()

    @property
    def issued_sessions(self) -> list[str]:
        """The token of each session that was opened, in order."""
        return self._platform.sessions.issued()

    def clear(self) -> None:
        """Forgets the logged requests; tokens, sessions and failures stay."""
        self._platform.log.clear()
