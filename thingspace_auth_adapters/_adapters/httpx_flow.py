"""The adapter for httpx and httpx2: one piece of code, told which library it is for.

The two libraries' classes have the same names and ways but no common base, so what is one's or the
other's object has no narrower type than ``Any`` here.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Generator, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Callable, NoReturn, TypeVar, overload

from .._core.cached_token import CachedToken
from .._core.callbacks import is_in_blocking_callback
from .._core.refresh import Failed
from .._model.checks import Hidden, naming
from .._model.credentials import HasOauthCredentials, OauthOnTokenUpdate, OauthTokenProvider
from .._model.events import logger
from .._model.hosts import SESSION_HEADERS, origin
from .._model.tokens import OauthToken, OptionalToken
from .._wire.messages import LOGIN_PATH, TOKEN_PATH
from .._wire.rejection import Credential
from . import auth
from .case import Case, Outgoing, lower, to_answer, to_url
from .httpx_transport import HttpxTransport, can_resend, checked_options

if TYPE_CHECKING:
    from .._model.m2m import M2m
    from ..stores.token_store import TokenStore

T = TypeVar("T")
A = TypeVar("A", bound="ThingspaceAuth")


class ThingspaceAuth(auth.ThingspaceAuth):
    """ThingSpace's tokens on every request of a client, acquired and renewed as needed.

    Give either a credentials object or its fields by name. One object may serve any number of
    clients, synchronous and asynchronous, threads, and event loops (asyncio or trio).

    Args:
        thingspace_oauth_credentials: a :class:`ThingspaceOauthCredentials`, or any object with
            its getters, such as the official SDK's.
        oauth_client_id (str): and the six that follow: see :class:`ThingspaceOauthCredentials`.
            Under an asynchronous client both callbacks may be plain functions or ``async def``.
        base_url (str): scheme, host and port of the platform.
        allowed_hosts (Iterable[str] | None): the only hosts that are ever sent a token: each
            ``host``, ``host:port`` or ``*.domain``. By default ThingSpace's hosts, or, for
            another ``base_url``, only its host and port.
        timeout (float): seconds for one call of the token, revocation, login or logout endpoint,
            for connecting and for each read. The request's own timeout does not apply to it.
        client_options (Mapping[str, Any] | None): keyword arguments for the private client that
            calls these endpoints (``verify``, ``proxy``, ``mounts``, ``transport``, …). It is a
            synchronous one, also for the requests of an asynchronous client.
        m2m (VzM2mCredentials | str | None): what M2M sessions are opened with, for requests that
            need a session token beside the bearer. A session token, or an object with the getter
            ``vz_m2m_token`` or ``session_token`` such as the official SDK's, is sent and never
            renewed. The client copies the session token to every redirect's target, so leave
            ``follow_redirects=False``, or add ``event_hooks={"request": [auth.guard]}``.
        store (TokenStore | None): shares the tokens with other processes.

    Raises:
        TypeError, ValueError: an argument is bad; the message names it.
    """

    _library: Any
    _for_calls = "client_options"
    _transport: HttpxTransport

    @overload
    def __init__(
        self,
        thingspace_oauth_credentials: HasOauthCredentials,
        *,
        base_url: str = "https://thingspace.verizon.com",
        allowed_hosts: Iterable[str] | None = None,
        timeout: float = 30.0,
        client_options: Mapping[str, Any] | None = None,
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
        client_options: Mapping[str, Any] | None = None,
        m2m: M2m = None,
        store: TokenStore | None = None,
    ) -> None: ...

    @naming("ThingspaceAuth")
    def __init__(
        self, *args: Any, client_options: Mapping[str, Any] | None = None, **options: Any
    ) -> None:
        self._client_options = checked_options(self._library, client_options)
        super().__init__(*args, **options)

    @classmethod
    @naming()
    def from_environment(
        cls: type[A],
        *,
        base_url: str | None = None,
        allowed_hosts: Iterable[str] | None = None,
        timeout: float = 30.0,
        client_options: Mapping[str, Any] | None = None,
        m2m: M2m = None,
        store: TokenStore | None = None,
    ) -> A:
        """An auth object from the environment.

        Reads what :meth:`ThingspaceOauthCredentials.from_environment` reads; the M2M account as
        :meth:`VzM2mCredentials.from_environment` does, if it is there; and
        ``THINGSPACE_BASE_URL``, if it is there.

        Args:
            base_url (str | None): as in the constructor; by default the environment's.
            allowed_hosts, timeout, client_options, store: as in the constructor.
            m2m (VzM2mCredentials | str | None): as there; by default the environment's account.

        Raises:
            TypeError, ValueError: a variable is missing or bad; the message names it.
        """
        return cls._from_environment(
            base_url,
            m2m,
            allowed_hosts=allowed_hosts,
            timeout=timeout,
            client_options=client_options,
            store=store,
        )

    def sync_auth_flow(self, request: Any) -> Generator[Any, Any, None]:
        """What ``httpx.Client`` runs for each request: see :class:`httpx.Auth`."""
        if not self._is_ready(request):
            self._run(request, self._prepare, self._outgoing(request))
        response = yield request
        spent: set[Credential] = set()
        while response.status_code >= 400 or response.history:
            self._warn_of_leaks(response)
            read = self._transport.read_body
            again = self._run(request, self._repetition, response, spent, read)
            if again is None:
                return
            response = yield again

    async def async_auth_flow(self, request: Any) -> AsyncGenerator[Any, Any]:
        """What ``httpx.AsyncClient`` runs for each request: see :class:`httpx.Auth`."""
        if not self._is_ready(request):
            await self._arun(request, self._aprepare, self._outgoing(request))
        response = yield request
        spent: set[Credential] = set()
        while response.status_code >= 400 or response.history:
            self._warn_of_leaks(response)
            again = await self._arun(request, self._arepetition, response, spent)
            if again is None:
                return
            response = yield again

    def guard(self, request: Any) -> None:
        """An event hook that takes our headers off requests that must not carry them.

        For a client that follows redirects: ``event_hooks={"request": [auth.guard]}``.
        """
        url, life = request.url, self._life
        unwanted = life.known_unwanted((url.scheme, url.raw_host, url.port), url.path)
        if unwanted is None:
            unwanted = life.unwanted(self._outgoing(request))
        life.withhold(unwanted, request.headers)

    async def aguard(self, request: Any) -> None:
        """As :meth:`guard`, for an asynchronous client."""
        self.guard(request)

    async def afetch_token(self, additional_params: Mapping[str, str] | None = None) -> OauthToken:
        """As :meth:`fetch_token`, without blocking the event loop."""
        params = Hidden(additional_params)
        # This frame is in the traceback of an error.
        del additional_params
        return await self._in_thread(TOKEN_PATH, self._tokens.fetch, params)

    async def arevoke_token(self) -> None:
        """As :meth:`revoke_token`, without blocking the event loop."""
        await self._in_thread(TOKEN_PATH, self._tokens.revoke)

    async def aheaders(self, url: str) -> dict[str, str]:
        """As :meth:`headers`, without blocking the event loop."""
        headers: dict[str, str] = {}
        await self._arun(TOKEN_PATH, self._aprepare, to_url(url, headers))
        return headers

    async def arecover(
        self,
        url: str,
        sent_headers: Mapping[str, str],
        method: str,
        status: int,
        headers: Mapping[str, str],
        body: bytes,
    ) -> dict[str, str] | None:
        """As :meth:`recover`, without blocking the event loop."""
        try:
            sent = to_url(url, lower("sent_headers", sent_headers), method)
        finally:
            # This frame is in the traceback of an error.
            del sent_headers
        answer = to_answer(status, headers, body)
        return await self._arun(TOKEN_PATH, self._arecovered, sent, set(), None, *answer)

    async def afetch_vz_m2m_token(self) -> str:
        """As :meth:`fetch_vz_m2m_token`, without blocking the event loop."""
        return await self._on_loop(self._tokens.fetch_session)

    async def aend_m2m_session(self) -> None:
        """As :meth:`end_m2m_session`, without blocking the event loop."""
        await self._on_loop(self._tokens.end_session)

    async def aallow_login(self) -> None:
        """As :meth:`allow_login`, without blocking the event loop."""
        await self._in_thread(LOGIN_PATH, self._tokens.allow_login)

    def __call__(self, request: object) -> NoReturn:
        """What other libraries call: an object of another library's is needed there."""
        ours, theirs = self._library.__name__, type(request).__module__.partition(".")[0]
        raise TypeError(
            f"this ThingspaceAuth is for {ours}: with {theirs} use"
            f" thingspace_auth_adapters.{theirs}.ThingspaceAuth"
        )

    def _is_ready(self, request: Any) -> bool:
        """Put the tokens on a request, if nothing needs to be done first."""
        url = request.url
        key = (url.scheme, url.raw_host, url.port)
        return self._life.put_if_fresh(key, url.path, request.headers) is not None

    def _outgoing(self, request: Any) -> Outgoing:
        url = request.url
        key = (url.scheme, url.raw_host, url.port)
        # By the parts with which the library connects: there is no second reading of the text.
        target = origin(url.scheme, url.raw_host.decode("ascii"), url.port)
        return Outgoing(target, url.path, request.method, request.headers, key)

    def _again(self, response: Any, headers: Mapping[str, str]) -> Any:
        rejected, library = response.request, self._library
        if not can_resend(rejected, library):
            return None
        request = library.Request(
            rejected.method,
            rejected.url,
            headers=rejected.headers,
            stream=rejected.stream,
            extensions=rejected.extensions,
        )
        if isinstance(rejected.stream, library.ByteStream):
            request.read()
        request.headers.update(headers)
        return request

    async def _aprepare(self, outgoing: Outgoing) -> None:
        """As :meth:`_prepare`, awaiting."""
        # Imported here so that those who use no asynchronous client need not wait for it.
        from .._core import workers

        sources = self._life.sources(outgoing)
        self._tokens.adopt()
        caller = self._tokens.caller(workers.running_loop())
        # The bearer last: a login may renew it.
        found = [await workers.acquire(lifecycle, caller) for _, lifecycle in reversed(sources)]
        self._life.put(outgoing, sources, found[::-1])

    async def _arepetition(self, response: Any, spent: set[Credential]) -> Any:
        """As :meth:`_repetition`, awaiting."""
        sent, status_code = self._outgoing(response.request), response.status_code
        if not self._life.may_be_rejected(sent, status_code, spent):
            return None
        answer = status_code, response.headers, await self._transport.aread_body(response)
        return await self._arecovered(sent, spent, response, *answer)

    async def _arecovered(
        self, sent: Outgoing, spent: set[Credential], response: Any, *answer: Any
    ) -> Any:
        """As :meth:`_recovered`, awaiting."""
        case = self._life.case(sent, *answer, spent=spent)
        if case is None:
            return None
        other = await self._aother(case)
        suspected = None if case.is_certain else self._life.other_case(case, other)
        if suspected is not None:
            case, other = suspected, await self._aother(suspected)
        return self._repeated(response, case, other, spent)

    async def _aother(self, case: Case) -> CachedToken[Any] | Failed | None:
        """As :meth:`_other`, awaiting."""
        from .._core import workers

        caller = self._tokens.caller(workers.running_loop())
        try:
            is_worth_it = case.may_be_replaced(caller)
            return await workers.acquire(case.lifecycle, caller) if is_worth_it else None
        except Failed as failure:
            return failure

    def _warn_of_leaks(self, response: Any) -> None:
        """Tell if a redirect took our session header to a host that is not allowed."""
        for past in (*response.history, response) if response.history else ():
            sent = self._outgoing(past.request)
            if self._settings.allowed_hosts.allow(sent.origin):
                continue
            if any(
                sent.headers.get(name) in self._tokens.held_sessions for name in SESSION_HEADERS
            ):
                logger.warning(
                    "a redirect took the session token to %s, which is not allowed: do not follow"
                    " redirects with m2m, or add event_hooks={'request': [auth.guard]}",
                    past.request.url.host,
                )
                return

    def _endpoint_request(self, path: str) -> Any:
        return self._library.Request("POST", self._settings.base_url + path)

    def _new_transport(self) -> HttpxTransport:
        return HttpxTransport(self._library, self._client_options, self._clock)

    async def _arun(self, request: object, function: Callable[..., Awaitable[T]], *args: Any) -> T:
        """As :meth:`_run`, awaiting."""
        try:
            return await function(*args)
        except BaseException as error:
            failure = self._shown(error, request)
        try:
            raise failure
        finally:
            del failure

    async def _in_thread(self, path: str, function: Callable[..., T], *args: Any) -> T:
        """Call a function for the user's own code, and await it."""
        from .._core import workers

        return await self._arun(path, workers.in_thread, function, *args)

    async def _on_loop(self, function: Callable[..., T]) -> T:
        """The same for what needs a session: the running loop awaits its callbacks."""
        from .._core import workers

        return await self._in_thread(LOGIN_PATH, function, workers.running_loop())

    def _shown(self, error: BaseException, request: object) -> BaseException:
        shown: Any = super()._shown(error, request)
        if isinstance(error, self._library.RequestError) and not isinstance(request, str):
            # An error body was read outside the client, which would have told of which request.
            shown.request = request
        return shown  # type: ignore[no-any-return]

    def _for_user(self, async_name: str, path: str, function: Callable[..., T], *args: Any) -> T:
        from .._core import workers

        # A blocking client in async code blocks the loop anyway, and so may its callbacks.
        if workers.running_loop() is not None and not is_in_blocking_callback():
            raise RuntimeError(
                f"this would block the running event loop: await {async_name}() instead"
            )
        return super()._for_user(async_name, path, function, *args)
