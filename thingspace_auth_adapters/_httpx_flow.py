"""The adapter for httpx and httpx2: one piece of code, told which library it is for.

The two libraries' classes have the same names and ways but no common base, so what is one's or the
other's object has no narrower type than ``Any`` here.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from ._httpx_client import PrivateClients, TokenCall
from ._httpx_streams import (
    AsyncReplayedStream,
    ReplayedStream,
    aread_beginning,
    can_resend,
    loaded,
    read_beginning,
)
from .credentials import OauthOnTokenUpdate, OauthTokenProvider, TokenLike, checked_settings
from .effects import CallersOwnFailure, HttpRequest, Reply, Steps, SyncIO
from .errors import ThingspaceAuthError
from .hosts import Origin, origin
from .lifecycle import Lifecycle
from .manager import Carried, Rejection, TokenManager, borne, may_blame
from .tokens import OauthToken

if TYPE_CHECKING:
    from .async_driver import AsyncIO

T = TypeVar("T")


class HttpxTokenManager(TokenManager):
    """ThingSpace's tokens on every request of a client, acquired and renewed as needed.

    Give either a credentials object or its fields by name. One object may serve any number of
    clients, synchronous and asynchronous, threads, and event loops (asyncio or trio).

    Args:
        thingspace_oauth_credentials: a :class:`ThingspaceOauthCredentials`, or any object with
            its getters, such as the official SDK's.
        oauth_client_id (str): and the six that follow: see :class:`ThingspaceOauthCredentials`.
            Under an asynchronous client both callbacks may be plain functions or ``async def``.
        base_url (str): where the platform lives.
        allowed_hosts (Iterable[str] | None): the only hosts that are ever sent a token: each
            ``host``, ``host:port`` or ``*.domain``. By default ThingSpace's hosts, or, for
            another ``base_url``, only its host and port.
        timeout (float): seconds for one call to the token endpoint, connect and read each; a
            shorter timeout of the request being authenticated wins.
        client_options (Mapping[str, Any] | None): keyword arguments for the private clients that
            call the token endpoint (``verify``, ``proxy``, ``mounts``, ``transport``, …); a value
            may be a function of ``is_async``.
        m2m (VzM2mCredentials | str | None): what M2M sessions are opened with, for requests that
            need a session token beside the bearer. A session token, or an object with the getter
            ``vz_m2m_token`` such as the official SDK's, is sent and never renewed. The client
            copies the session token to every redirect's target, so leave
            ``follow_redirects=False``.

    Raises:
        TypeError, ValueError: an argument is bad; the message names it.
    """

    _library: Any
    _replayed_stream: type[ReplayedStream]
    _async_replayed_stream: type[AsyncReplayedStream]

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
        client_options: Mapping[str, Any] | None = None,
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
        self._clients = PrivateClients(type(self)._library, client_options or {})
        super().__init__(
            checked_settings(
                thingspace_oauth_credentials, fields, base_url, allowed_hosts, timeout
            ),
            m2m,
        )

    def sync_auth_flow(self, request: Any) -> Generator[Any, Any, None]:
        """What ``httpx.Client`` runs for each request: see :class:`httpx.Auth`."""
        arrangement = self._arrangement
        names = self._names_on(request)
        if not names:
            yield request
            return
        carried = self._fresh(names, arrangement)
        if not carried:
            steps = self._acquired(names, arrangement)
            carried = self._run(steps, self._sync_io_for(request), request)
        response = yield _with(request, carried)
        repeats, redirects = 0, response.history
        while redirects or response.status_code >= 400:
            suspects = self._suspects(response, carried)
            body = self._peeked(response) if suspects else b""
            steps = self._after(response, redirects, carried, suspects, body)
            carried = self._run(steps, self._sync_io_for(request), request)
            if not carried:
                break
            past, repeats = [*response.history, response], repeats + 1
            response = yield self._repeat(response, carried)
            redirects = response.history[repeats:]
            response.history = [*past, *redirects]

    async def async_auth_flow(self, request: Any) -> AsyncGenerator[Any, Any]:
        """What ``httpx.AsyncClient`` runs for each request: see :class:`httpx.Auth`."""
        arrangement = self._arrangement
        names = self._names_on(request)
        if not names:
            yield request
            return
        carried = self._fresh(names, arrangement)
        if not carried:
            steps = self._acquired(names, arrangement)
            carried = await self._arun(steps, self._async_io_for(request), request)
        response = yield _with(request, carried)
        repeats, redirects = 0, response.history
        while redirects or response.status_code >= 400:
            suspects = self._suspects(response, carried)
            body = await self._apeeked(response) if suspects else b""
            steps = self._after(response, redirects, carried, suspects, body)
            carried = await self._arun(steps, self._async_io_for(request), request)
            if not carried:
                break
            past, repeats = [*response.history, response], repeats + 1
            response = yield self._repeat(response, carried)
            redirects = response.history[repeats:]
            response.history = [*past, *redirects]

    async def afetch_token(self, additional_params: Mapping[str, str] | None = None) -> OauthToken:
        """As :meth:`fetch_token`, without blocking the event loop."""
        fetch = self._lifecycle.fetch(additional_params)
        return (await self._arun_for_user(fetch, self._lifecycle)).value

    async def arevoke_token(self) -> None:
        """As :meth:`revoke_token`, without blocking the event loop."""
        await self._arun_for_user(self._revoked(self._lifecycle), self._lifecycle)

    async def afetch_vz_m2m_token(self) -> str:
        """As :meth:`fetch_vz_m2m_token`, without blocking the event loop."""
        sessions = self._demanded_sessions()
        return (await self._arun_for_user(sessions.fetch(), sessions)).value

    async def aend_m2m_session(self) -> None:
        """As :meth:`end_m2m_session`, without blocking the event loop."""
        sessions = self._sessions
        if sessions is not None:
            await self._arun_for_user(self._revoked(sessions), sessions)

    def _names_on(self, request: Any) -> tuple[str, ...]:
        url = request.url
        key = (url.scheme, url.raw_host, url.port)
        names = self._verdicts.get(key)
        if names is None:
            names = self._header_names(_origin_of(url), key, request)
        if self._arrangement.sessions or self._known_sessions:
            names = self._free_names(names, url.path, request.headers)
        return names

    def _suspects(self, response: Any, carried: tuple[Carried, ...]) -> tuple[Carried, ...]:
        """What the request of ``response`` carried, where it is worth reading what it blames."""
        if not may_blame(response.status_code, carried):
            return ()
        request = response.request
        if not self._allowed_hosts.allow(_origin_of(request.url)):
            return ()
        suspects = borne(carried, request.headers)
        return suspects if may_blame(response.status_code, suspects) else ()

    def _after(
        self,
        response: Any,
        redirects: list[Any],
        carried: tuple[Carried, ...],
        suspects: tuple[Carried, ...],
        body: bytes,
    ) -> Steps[tuple[Carried, ...]]:
        """What to repeat the request of ``response`` with, or nothing."""
        for strayed, host in self._strayed(response, redirects, carried):
            yield from self._recalled(strayed, host)
        if not suspects:
            return ()
        request = response.request
        rejection = Rejection(response.status_code, response.headers, body, request.method)
        can_repeat = can_resend(request, self._library)
        return (yield from self._reconsidered(rejection, suspects, can_repeat))

    def _strayed(
        self, response: Any, redirects: list[Any], carried: tuple[Carried, ...]
    ) -> list[tuple[Carried, str]]:
        """What redirects took to hosts that are not allowed, and where."""
        requests = [past.request for past in (*redirects, response)] if redirects else []
        return [
            (one, request.url.host)
            for request in requests
            if not self._allowed_hosts.allow(_origin_of(request.url))
            for one in borne(carried, request.headers)
        ]

    def _repeat(self, response: Any, carried: tuple[Carried, ...]) -> Any:
        """The request that got ``response``, once more; the response keeps its own."""
        if isinstance(response.stream, (ReplayedStream, AsyncReplayedStream)):
            # The client reads the rejected body to its end, however long or broken it is.
            response.stream.cut()
        rejected = response.request
        request = self._library.Request(
            rejected.method,
            rejected.url,
            headers=rejected.headers,
            stream=rejected.stream,
            extensions=rejected.extensions,
        )
        if isinstance(request.stream, self._library.ByteStream):
            request.read()
        for one in carried:
            request.headers[one.header] = one.lease.header
        # Not response.cookies: that leaves a lock behind in the response, which then cannot pickle.
        cookies = self._library.Cookies()
        cookies.extract_cookies(response)
        cookies.set_cookie_header(request)
        return request

    def _peeked(self, response: Any) -> bytes:
        body = loaded(response, self._library)
        if body is not None:
            return body
        rest = iter(response.stream)
        beginning = read_beginning(rest, self._library)
        response.stream = self._replayed_stream(beginning, rest, response.stream)
        return beginning.decoded(response, self._library)

    async def _apeeked(self, response: Any) -> bytes:
        body = loaded(response, self._library)
        if body is not None:
            return body
        rest = response.stream.__aiter__()
        beginning = await aread_beginning(rest, self._library)
        response.stream = self._async_replayed_stream(beginning, rest, response.stream)
        return beginning.decoded(response, self._library)

    def _endpoint_request(self, path: str) -> Any:
        return self._library.Request("POST", self._settings.base_url + path)

    def _send(self, request: HttpRequest) -> Reply:
        return self._clients.send(TokenCall(request, {}))

    def _sync_io_for(self, request: Any) -> SyncIO:
        limits = request.extensions.get("timeout") or {}
        return SyncIO(self, lambda call: self._clients.send(TokenCall(call, limits)), self._clock)

    def _async_io_for(self, request: Any = None) -> AsyncIO:
        # Imported here so that those who use no asynchronous client need not wait for it.
        from .async_driver import AsyncIO

        limits = {} if request is None else request.extensions.get("timeout") or {}
        return AsyncIO(self, lambda call: self._clients.asend(TokenCall(call, limits)), self._clock)

    async def _arun(self, steps: Steps[T], io: AsyncIO, request: object) -> T:
        from .async_driver import arun

        try:
            return await arun(steps, io)
        except (ThingspaceAuthError, CallersOwnFailure) as error:
            failure = error
        raise self._native(failure, request)

    async def _arun_for_user(self, steps: Steps[T], source: Lifecycle[Any]) -> T:
        from .async_driver import AsyncIO

        io = self._io_around()
        io = io if isinstance(io, AsyncIO) else self._async_io_for()
        return await self._arun(steps, io, self._endpoint_request(source.kind.fetch_path))

    def _run_for_user(self, steps: Steps[T], async_name: str, source: Lifecycle[Any]) -> T:
        from .async_driver import WorkerIO, is_on_event_loop

        io = self._io_around()
        if isinstance(io, WorkerIO) and io.is_here():
            request = self._endpoint_request(source.kind.fetch_path)
            return io.run(lambda: self._arun(steps, io.io, request))
        if not isinstance(io, SyncIO) and is_on_event_loop():
            raise RuntimeError(
                f"this would block the running event loop: await {async_name}() instead"
            )
        return super()._run_for_user(steps, async_name, source)


def _with(request: Any, carried: tuple[Carried, ...]) -> Any:
    headers = request.headers
    for one in carried:
        headers[one.header] = one.lease.header
    return request


def _origin_of(url: Any) -> Origin | None:
    # By the parts with which the library connects, so that there is no second reading of the text.
    return origin(url.scheme, url.raw_host.decode("ascii"), url.port)
