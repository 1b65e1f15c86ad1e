"""One auth object, and how the users of its library use it."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx2
import requests
from requests.hooks import default_hooks, dispatch_hook

Step = Callable[[], object]
Caller = Callable[[], int]


class Endpoint(NamedTuple):
    """Where a contender gets its tokens, and the URL that wants one."""

    api_url: str
    base_url: str
    client_id: str
    client_secret: str
    username: str
    password: str

    @property
    def token_url(self) -> str:
        return f"{self.base_url}/api/ts/v1/oauth2/token"

    @property
    def identity(self) -> tuple[str, str]:
        return self.client_id, self.client_secret

    @property
    def our_options(self) -> dict[str, Any]:
        """Our arguments."""
        return {
            "oauth_client_id": self.client_id,
            "oauth_client_secret": self.client_secret,
            "base_url": self.base_url,
            "allowed_hosts": [urlsplit(self.api_url).netloc],
        }


def peer(module: str) -> Any:
    """A peer's module. Few of them have types, and none is imported before its turn."""
    return importlib.import_module(module)


def fetched_token(endpoint: Endpoint) -> str:
    """A token fetched with nothing but requests."""
    form = {"grant_type": "client_credentials"}
    response = requests.post(endpoint.token_url, auth=endpoint.identity, data=form, timeout=30)
    response.raise_for_status()
    return str(response.json()["access_token"])


class Subject:
    """One auth object, shared by all who call with it."""

    def __init__(self, auth: Any, url: str) -> None:
        self.auth = auth
        self.url = url
        self._sessions: list[requests.Session] = []

    def step(self) -> Step:
        """Puts the token on one request, that it always uses again, and sends nothing."""
        return self.step_on(self.request())

    def request(self) -> Any:
        """A request of the library's, prepared."""
        raise NotImplementedError

    def step_on(self, request: Any) -> Step:
        """Puts the token on this request, and sends nothing."""
        raise NotImplementedError

    def life(self) -> None:
        """Take a new request through the auth object to its answer, a 200; send nothing."""
        self.step_on(self.request())()

    def caller(self) -> Caller:
        """Sends a whole request over a connection kept alive, for one thread."""
        raise NotImplementedError

    def close(self) -> None:
        """Close whatever the callers use."""
        for session in self._sessions:
            session.close()

    def _session(self) -> requests.Session:
        self._sessions.append(plain_session())
        return self._sessions[-1]


class OnRequests(Subject):
    """An auth object of requests; each caller has a session of its own."""

    def __init__(self, auth: Any, url: str) -> None:
        super().__init__(auth, url)
        self._prepared: Any = self.request()

    def request(self) -> Any:
        return requests.Request("GET", self.url).prepare()

    def step_on(self, request: Any) -> Step:
        hooks, auth = request.hooks["response"], self.auth

        def step() -> None:
            # Each request that requests prepares comes without hooks.
            hooks.clear()
            auth(request)

        return step

    def life(self) -> None:
        request = self._prepared.copy()
        # A copy shares them with the request that it is a copy of.
        request.hooks = default_hooks()
        self.auth(request)
        answer = requests.Response()
        answer.status_code, answer.url, answer.request = 200, self.url, request
        dispatch_hook("response", request.hooks, answer)

    def caller(self) -> Caller:
        session = self._session()
        session.auth = self.auth
        return lambda: session.get(self.url, timeout=60).status_code


class OnHttpx(Subject):
    """An auth object of httpx or httpx2; the callers share a client, as its users do."""

    def __init__(self, library: Any, auth: Any, url: str, client: Any = None) -> None:
        super().__init__(auth, url)
        self._library = library
        self._parsed_url = library.URL(url)
        self._own_client = client

    @cached_property
    def _client(self) -> Any:
        """The client that is shared; made when it is needed, since that takes its time."""
        if self._own_client is not None:
            return self._own_client
        client = plain_client(self._library)
        client.auth = self.auth
        return client

    def request(self) -> Any:
        return self._library.Request("GET", self._parsed_url)

    def step_on(self, request: Any) -> Step:
        response = self._library.Response(200, request=request)
        auth = self.auth

        def step() -> None:
            flow = auth.sync_auth_flow(request)
            next(flow)
            # Not contextlib.suppress, whose own time would be measured too.
            try:  # noqa: SIM105
                flow.send(response)
            except StopIteration:
                pass

        return step

    def caller(self) -> Caller:
        client = self._client
        return lambda: int(client.get(self.url).status_code)

    def close(self) -> None:
        self._client.close()


class OnAuthlibHttpx(OnHttpx):
    """Authlib's httpx client, which looks at the expiry itself, before its auth object's flow."""

    def __init__(self, client: Any, url: str) -> None:
        super().__init__(httpx2, client.token_auth, url, client)

    def step_on(self, request: Any) -> Step:
        client, run_flow = self._client, super().step_on(request)

        def step() -> None:
            client.ensure_active_token(client.token)
            run_flow()

        return step


class OnSdk(Subject):
    """The SDK's auth handler, driven as the SDK's request builder does, on its own request."""

    def request(self) -> Any:
        return sdk_request(self.url)

    def step_on(self, request: Any) -> Step:
        auth = self.auth

        def step() -> None:
            auth.is_valid()
            auth.apply(request)

        return step

    def caller(self) -> Caller:
        session = self._session()
        return lambda: self._call(session)

    def _call(self, session: requests.Session) -> int:
        if not self.auth.is_valid():
            raise PermissionError(self.auth.error_message)
        request = sdk_request(self.url)
        self.auth.apply(request)
        return session.get(self.url, headers=request.headers, timeout=60).status_code


def sdk_request(url: str) -> Any:
    method = peer("verizon.http.http_method_enum").HttpMethodEnum.GET
    return peer("verizon.http.http_request").HttpRequest(method, url, headers={})


def plain_session() -> requests.Session:
    session = requests.Session()
    # Nobody's time goes to looking for a proxy or a .netrc.
    session.trust_env = False
    return session


def plain_client(library: Any, is_async: bool = False, **options: Any) -> Any:
    """A client that keeps as many connections alive as there are callers."""
    client_type = library.AsyncClient if is_async else library.Client
    return client_type(**pool_options(library), **options)


def pool_options(library: Any) -> dict[str, Any]:
    limits = library.Limits(max_connections=100, max_keepalive_connections=100)
    return {"trust_env": False, "limits": limits, "timeout": 60}


def by_hand_on_requests(endpoint: Endpoint) -> Step:
    """The floor: the header set by hand."""
    prepared: Any = requests.Request("GET", endpoint.api_url).prepare()
    hooks, headers = prepared.hooks["response"], prepared.headers
    header = "Bearer " + fetched_token(endpoint)

    def step() -> None:
        hooks.clear()
        headers["Authorization"] = header

    return step


def by_hand_on_httpx(library: Any, endpoint: Endpoint) -> Step:
    headers = library.Request("GET", endpoint.api_url).headers
    header = "Bearer " + fetched_token(endpoint)

    def step() -> None:
        headers["Authorization"] = header

    return step


def by_hand_on_sdk(endpoint: Endpoint) -> Step:
    request = sdk_request(endpoint.api_url)
    header = "Bearer " + fetched_token(endpoint)
    return lambda: request.add_header("Authorization", header)


def now() -> float:
    return time.perf_counter()
