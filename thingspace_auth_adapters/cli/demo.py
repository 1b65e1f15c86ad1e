"""The main job: a plain script's worth of requests through the life of a token and a session."""

from __future__ import annotations

import importlib
import importlib.util
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

from .._model.credentials import ThingspaceOauthCredentials
from .._model.m2m import VzM2mCredentials
from ..errors import ThingspaceAuthError

if TYPE_CHECKING:
    from ..simulator import ThingspaceSimulator

CROWD = 20
_VARIABLES = ("THINGSPACE_OAUTH_OAUTH_CLIENT_ID", "THINGSPACE_OAUTH_OAUTH_CLIENT_SECRET")
_SHORT_LIFETIME = 1
_SHORT_IDLE_TIMEOUT = 0.1


class Client(NamedTuple):
    """A kind of client, and how to make ``count`` GET requests at once with it."""

    name: str
    library: str
    get: Callable[[Any, str, int], list[int]]

    @property
    def is_installed(self) -> bool:
        return importlib.util.find_spec(self.library) is not None

    def auth(self, **options: Any) -> Any:
        """A ``ThingspaceAuth`` of this client's library."""
        adapter = importlib.import_module(f"..{self.library}", __package__)
        return adapter.ThingspaceAuth(**options)


def run_demo() -> None:
    """Run against ThingSpace if credentials are in the environment, else the simulator.

    Raises:
        ImportError: no HTTP library is installed, or not what the simulator needs.
        ValueError: one of the two variables is missing.
        ThingspaceAuthError: ThingSpace gave no token.
    """
    clients = [client for client in CLIENTS if client.is_installed]
    if not clients:
        raise ImportError("no HTTP library found: pip install 'thingspace-auth-adapters[all]'")
    if any(os.environ.get(name) for name in _VARIABLES):
        _run_on_platform(clients)
    else:
        _run_on_simulator(clients)


def _run_on_platform(clients: list[Client]) -> None:
    credentials = ThingspaceOauthCredentials.from_environment()
    base_url = os.environ.get("THINGSPACE_BASE_URL") or "https://thingspace.verizon.com"
    print(f"Asking {base_url} for an access token; nothing else is called.\n")
    for client in {client.library: client for client in clients}.values():
        auth = client.auth(thingspace_oauth_credentials=credentials, base_url=base_url)
        token = auth.fetch_token()
        print(f"  {client.library:10} expires in {token.expires_in} s, scope: {token.scope}")
    print("\nThe credentials work. A request would have been sent with this token.")


def _run_on_simulator(clients: list[Client]) -> None:
    from ..simulator import ThingspaceSimulator

    with ThingspaceSimulator() as simulator:
        print(
            f"No credentials in the environment: a simulated ThingSpace runs on {simulator.url}\n"
        )
        for client in clients:
            print(client.name)
            _TokenScene(simulator, client).play()
            print(f"{client.name} and m2m=VzM2mCredentials(…)")
            _SessionScene(simulator, client).play()
    print("No line of the requests' own code knows of tokens: session.auth = ThingspaceAuth(…)")


def _nothing() -> None:
    pass


class _Scene(ABC):
    """One client kind's requests with one auth object, told step by step with counts."""

    def __init__(
        self, simulator: ThingspaceSimulator, client: Client, m2m: VzM2mCredentials | None
    ) -> None:
        self._simulator = simulator
        self._client = client
        self._url = simulator.url + "/api/m2m/v1/devices"
        self._auth = client.auth(
            oauth_client_id=simulator.client_id,
            oauth_client_secret=simulator.client_secret,
            base_url=simulator.url,
            m2m=m2m,
        )

    def play(self) -> None:
        self._simulator.sessions_required = self._auth.m2m is not None
        self._simulator.revoke()
        self._tell()
        print()

    @abstractmethod
    def _tell(self) -> None:
        """Take the steps, in order."""

    def _step(
        self, what: str, why: str, event: Callable[[], None] = _nothing, requests: int = 1
    ) -> None:
        event()
        self._simulator.clear()
        statuses = self._client.get(self._auth, self._url, requests)
        outcome = f"{len(statuses)} x {'/'.join(str(status) for status in sorted(set(statuses)))}"
        sent = _count(len(self._simulator.api_requests), "API request")
        asked = _count(len(self._simulator.token_requests), "token request")
        opened = _count(len(self._simulator.login_requests), "login")
        print(f"  {what:24} {outcome:9} {sent:16} {asked:17} {opened:9} {why}")
        if set(statuses) != {200}:
            raise ThingspaceAuthError("the simulator did not answer every request with 200")

    def _revoke(self) -> None:
        self._simulator.revoke()


class _TokenScene(_Scene):
    """The life of a token."""

    def __init__(self, simulator: ThingspaceSimulator, client: Client) -> None:
        super().__init__(simulator, client, None)

    def _tell(self) -> None:
        self._step("first request", "a request needs a token: fetched")
        self._step("five more", "reused", requests=5)
        self._step(
            "token revoked elsewhere", "401: renewed, repeated; the caller sees 200", self._revoke
        )
        self._step("token expired", "renewed before the request", self._expire)
        self._step(f"{CROWD} at once, no token", "one asks, the others share", self._forget, CROWD)

    def _expire(self) -> None:
        self._forget()
        self._simulator.token_lifetime = _SHORT_LIFETIME
        self._client.get(self._auth, self._url, 1)
        self._simulator.token_lifetime = 3600
        while not self._auth.is_token_expired():
            time.sleep(0.05)

    def _forget(self) -> None:
        self._simulator.revoke()
        self._auth.oauth_token = None


class _SessionScene(_Scene):
    """The life of an M2M session, on a platform that answers no request without one."""

    def __init__(self, simulator: ThingspaceSimulator, client: Client) -> None:
        super().__init__(simulator, client, _account(simulator))

    def _tell(self) -> None:
        self._step("first request", "a login needs a token: both fetched")
        self._step("five more", "both reused", requests=5)
        self._step(
            "session ended elsewhere", "400: renewed, repeated; the caller sees 200", self._end
        )
        self._step("token and session ended", "401, then 400: each renewed once", self._end_both)
        self._step("session idle too long", "renewed before the request", self._idle)
        self._step(
            f"{CROWD} at once, no session", "one logs in, the others share", self._forget, CROWD
        )

    def _end(self) -> None:
        self._simulator.end_sessions()

    def _end_both(self) -> None:
        self._revoke()
        self._end()

    def _idle(self) -> None:
        self._auth.m2m = _account(self._simulator, idle_timeout=_SHORT_IDLE_TIMEOUT)
        self._client.get(self._auth, self._url, 1)
        usual = self._simulator.idle_timeout
        self._simulator.idle_timeout = _SHORT_IDLE_TIMEOUT
        time.sleep(2 * _SHORT_IDLE_TIMEOUT)
        self._simulator.idle_timeout = usual

    def _forget(self) -> None:
        self._simulator.end_sessions()
        self._auth.m2m = _account(self._simulator)


def _account(simulator: ThingspaceSimulator, **options: Any) -> VzM2mCredentials:
    return VzM2mCredentials(simulator.username, simulator.password, **options)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _get_with_requests(auth: Any, url: str, count: int) -> list[int]:
    import requests

    with requests.Session() as session:
        session.auth = auth
        session.trust_env = False
        return _in_threads(lambda: session.get(url, timeout=30).status_code, count)


def _get_with_httpx(library: str) -> Callable[[Any, str, int], list[int]]:
    def get(auth: Any, url: str, count: int) -> list[int]:
        with importlib.import_module(library).Client(auth=auth, trust_env=False) as client:
            return _in_threads(lambda: client.get(url).status_code, count)

    return get


def _get_with_async_httpx(library: str) -> Callable[[Any, str, int], list[int]]:
    async def aget(auth: Any, url: str, count: int) -> list[int]:
        import asyncio

        module = importlib.import_module(library)
        async with module.AsyncClient(auth=auth, trust_env=False) as client:
            responses = await asyncio.gather(*(client.get(url) for _ in range(count)))
        return [response.status_code for response in responses]

    def get(auth: Any, url: str, count: int) -> list[int]:
        import asyncio

        return asyncio.run(aget(auth, url, count))

    return get


def _in_threads(call: Callable[[], int], count: int) -> list[int]:
    with ThreadPoolExecutor(count) as threads:
        calls = [threads.submit(call) for _ in range(count)]
        return [done.result() for done in calls]


CLIENTS = (
    Client("requests.Session", "requests", _get_with_requests),
    Client("httpx.Client", "httpx", _get_with_httpx("httpx")),
    Client("httpx.AsyncClient", "httpx", _get_with_async_httpx("httpx")),
    Client("httpx2.Client", "httpx2", _get_with_httpx("httpx2")),
    Client("httpx2.AsyncClient", "httpx2", _get_with_async_httpx("httpx2")),
)
