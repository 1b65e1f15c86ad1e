"""How users write it, with types. Only type-checked, never run: nothing here may be an error."""

from __future__ import annotations

from collections.abc import Awaitable, Generator
from contextlib import contextmanager
from typing import Any, Callable

import httpx
import httpx2
import requests

import thingspace_auth_adapters
from thingspace_auth_adapters import (
    InsecureTransportError,
    M2mLoginError,
    OauthProviderError,
    OauthScopeThingspaceOauthEnum,
    OauthToken,
    ThingspaceAuthError,
    ThingspaceOauthCredentials,
    VzM2mCredentials,
)
from thingspace_auth_adapters import httpx as httpx_adapter
from thingspace_auth_adapters import httpx2 as httpx2_adapter
from thingspace_auth_adapters import requests as requests_adapter
from thingspace_auth_adapters.simulator import ThingspaceSimulator
from thingspace_auth_adapters.stores import (
    FileTokenStore,
    RedisTokenStore,
    StoreUnavailable,
    TokenStore,
)

URL = "https://thingspace.verizon.com/api/m2m/v1/devices"

# Callbacks.


def provider(last: OauthToken | None, auth_manager: Any) -> OauthToken | None:
    return last


def provider_of_rows(last: OauthToken | None, auth_manager: Any) -> dict[str, Any]:
    return {"access_token": "from a database", "expiry": 1.0}


def provider_that_knows_its_manager(
    last: OauthToken | None, auth_manager: requests_adapter.ThingspaceAuth
) -> OauthToken:
    return auth_manager.fetch_token()


async def async_provider(last: OauthToken | None, auth_manager: Any) -> OauthToken:
    token: OauthToken = await auth_manager.afetch_token()
    return token


def update(token: OauthToken) -> None:
    print(token.to_dict())


async def async_update(token: OauthToken) -> None:
    print(token.access_token, token.expiry)


# What credentials may be. The official SDK's classes are not annotated.


class SdkCredentials:
    def __init__(self, oauth_client_id=None, oauth_client_secret=None):  # type: ignore[no-untyped-def]
        self._oauth_client_id = oauth_client_id
        self._oauth_client_secret = oauth_client_secret

    @property
    def oauth_client_id(self):  # type: ignore[no-untyped-def]
        return self._oauth_client_id

    @property
    def oauth_client_secret(self):  # type: ignore[no-untyped-def]
        return self._oauth_client_secret


class SdkSession:
    def __init__(self, vz_m2m_token=None):  # type: ignore[no-untyped-def]
        self._vz_m2m_token = vz_m2m_token

    @property
    def vz_m2m_token(self):  # type: ignore[no-untyped-def]
        return self._vz_m2m_token


class Row:
    """Somebody's own settings, with plain attributes."""

    oauth_client_id: str = "key"
    oauth_client_secret: str | None = None


def make_credentials() -> ThingspaceOauthCredentials:
    credentials = ThingspaceOauthCredentials(
        oauth_client_id="key",
        oauth_client_secret="secret",
        oauth_token=OauthToken("x", "Bearer"),
        oauth_scopes=[OauthScopeThingspaceOauthEnum.DISCOVERYREAD, "write"],
        oauth_token_provider=provider,
        oauth_on_token_update=update,
        oauth_clock_skew=60,
    )
    credentials.oauth_token = None
    clone: ThingspaceOauthCredentials = credentials.clone_with(oauth_clock_skew=30)
    found: ThingspaceOauthCredentials = ThingspaceOauthCredentials.from_environment()
    print(clone.oauth_client_id, clone.oauth_client_secret, clone.oauth_clock_skew)
    return found


def make_token() -> OauthToken:
    token = OauthToken(
        access_token="x", token_type="Bearer", expires_in=3600, scope="read write", expiry=1.0
    )
    return OauthToken.from_dict(token.to_dict())


# The two forms of the constructor, for each library.


def use_requests(credentials: ThingspaceOauthCredentials) -> None:
    session = requests.Session()
    session.auth = requests_adapter.ThingspaceAuth(credentials)
    session.auth = requests_adapter.ThingspaceAuth(thingspace_oauth_credentials=credentials)
    session.auth = requests_adapter.ThingspaceAuth.from_environment()
    session.auth = thingspace_auth_adapters.ThingspaceAuth(
        oauth_client_id="key",
        oauth_client_secret="secret",
        oauth_token={"access_token": "x", "expiry": 1.0},
        oauth_scopes=[OauthScopeThingspaceOauthEnum.READ, "write"],
        oauth_token_provider=provider_that_knows_its_manager,
        oauth_on_token_update=update,
        oauth_clock_skew=60,
        base_url="https://thingspace.verizon.com",
        allowed_hosts=["api.example.com"],
        timeout=10,
        session=requests.Session(),
        m2m=None,
        store=None,
    )
    requests.get(URL, auth=session.auth, timeout=5)
    requests_adapter.ThingspaceAuth(oauth_client_id="key", oauth_client_secret="secret")
    requests_adapter.ThingspaceAuth(Row(), allowed_hosts=("api.example.com",))
    found: requests_adapter.ThingspaceAuth = requests_adapter.ThingspaceAuth.from_environment(
        timeout=10, session=session, store=FileTokenStore()
    )
    print(found)


def use_members(auth: requests_adapter.ThingspaceAuth) -> None:
    token: OauthToken = auth.fetch_token()
    current: OauthToken | None = auth.oauth_token
    expired: bool = auth.is_token_expired(current) or auth.is_token_expired()
    auth.fetch_token({"extra": "1"})
    auth.fetch_token(additional_params={"extra": "1"})
    auth.oauth_token = token
    auth.oauth_token = {"access_token": "x", "expiry": 1.0}
    auth.oauth_token = None
    auth.revoke_token()
    print(expired)


def use_httpx(credentials: ThingspaceOauthCredentials) -> None:
    auth = httpx_adapter.ThingspaceAuth(
        credentials, client_options={"verify": False, "proxy": "http://proxy"}
    )
    with httpx.Client(auth=auth) as client:
        client.get(URL)
    httpx.get(URL, auth=auth)
    httpx_adapter.ThingspaceAuth(
        oauth_client_id="key",
        oauth_client_secret="secret",
        oauth_token_provider=provider_of_rows,
        oauth_on_token_update=update,
        client_options=None,
    )
    httpx_adapter.ThingspaceAuth(Row())
    found: httpx_adapter.ThingspaceAuth = httpx_adapter.ThingspaceAuth.from_environment(
        client_options={"trust_env": False}
    )
    print(found)


async def use_httpx_asynchronously(credentials: ThingspaceOauthCredentials) -> None:
    auth = httpx_adapter.ThingspaceAuth(
        oauth_client_id="key",
        oauth_client_secret="secret",
        oauth_token_provider=async_provider,
        oauth_on_token_update=async_update,
    )
    async with httpx.AsyncClient(auth=auth) as client:
        await client.get(URL, auth=auth)
    token: OauthToken = await auth.afetch_token({"extra": "1"})
    await auth.arevoke_token()
    print(token)


async def use_httpx2(credentials: ThingspaceOauthCredentials) -> None:
    auth = httpx2_adapter.ThingspaceAuth(credentials, client_options={"verify": False})
    with httpx2.Client(auth=auth) as client:
        client.get(URL)
    async with httpx2.AsyncClient(auth=auth) as aclient:
        await aclient.get(URL)
    httpx2_adapter.ThingspaceAuth(Row())
    httpx2_adapter.ThingspaceAuth(
        oauth_client_id="key", oauth_client_secret="secret", oauth_token_provider=async_provider
    )
    token: OauthToken = await auth.afetch_token()
    found: httpx2_adapter.ThingspaceAuth = httpx2_adapter.ThingspaceAuth.from_environment()
    print(token, found)


def use_what_the_sdk_has(credentials: SdkCredentials, session: SdkSession) -> None:
    requests_adapter.ThingspaceAuth(credentials, m2m=session, timeout=2.5)
    httpx_adapter.ThingspaceAuth(credentials, m2m=session)
    httpx2_adapter.ThingspaceAuth(thingspace_oauth_credentials=credentials, m2m=session)


# Sessions.


async def use_sessions(credentials: ThingspaceOauthCredentials) -> None:
    m2m = VzM2mCredentials("user", "password", vz_m2m_token="token", idle_timeout=600)
    auth = requests_adapter.ThingspaceAuth(credentials, m2m=m2m)
    requests_adapter.ThingspaceAuth(
        oauth_client_id="key",
        oauth_client_secret="secret",
        m2m=VzM2mCredentials(username="user", password="password"),
    )
    other = httpx_adapter.ThingspaceAuth(credentials, m2m="a session token")
    other.m2m = VzM2mCredentials.from_environment()
    other.m2m = None
    try:
        token: str = auth.fetch_vz_m2m_token()
        same: str = await other.afetch_vz_m2m_token()
    except M2mLoginError as error:
        status: int | None = error.status_code
        print(status, error.error_code, error.error_message, error.refused_at)
    else:
        print(token == same)
    auth.end_m2m_session()
    await other.aend_m2m_session()


async def go_on_after_a_refused_login(
    auth: requests_adapter.ThingspaceAuth, other: httpx_adapter.ThingspaceAuth
) -> None:
    auth.allow_login()
    other.allow_login()
    await other.aallow_login()


async def follow_redirects_with_sessions(
    auth: httpx_adapter.ThingspaceAuth, newer: httpx2_adapter.ThingspaceAuth
) -> None:
    guard: Callable[[httpx.Request], None] = auth.guard
    aguard: Callable[[httpx.Request], Awaitable[None]] = auth.aguard
    with httpx.Client(auth=auth, event_hooks={"request": [guard]}, follow_redirects=True):
        pass
    async with httpx.AsyncClient(auth=auth, event_hooks={"request": [aguard, auth.aguard]}):
        pass
    newer_guard: Callable[[httpx2.Request], None] = newer.guard
    newer_aguard: Callable[[httpx2.Request], Awaitable[None]] = newer.aguard
    with httpx2.Client(auth=newer, event_hooks={"request": [newer_guard]}):
        pass
    async with httpx2.AsyncClient(auth=newer, event_hooks={"request": [newer_aguard]}):
        pass


# Stores.


class MemoryStore(TokenStore):
    """A store of one's own."""

    def __init__(self) -> None:
        super().__init__()
        self._entries: dict[str, bytes] = {}

    def read(self, name: str) -> bytes | None:
        return self._entries.get(name)

    def write(self, name: str, content: bytes) -> None:
        self._entries[name] = content

    def delete(self, name: str) -> None:
        if self._entries.pop(name, None) is None:
            raise StoreUnavailable("no such entry")

    @contextmanager
    def locked(self, name: str, patience: float) -> Generator[None, None, None]:
        yield


def use_stores(credentials: ThingspaceOauthCredentials) -> None:
    requests_adapter.ThingspaceAuth(credentials, store=FileTokenStore("/var/lib/tokens"))
    httpx_adapter.ThingspaceAuth(credentials, store=RedisTokenStore("redis://localhost"))
    httpx2_adapter.ThingspaceAuth(
        oauth_client_id="key", oauth_client_secret="secret", store=MemoryStore()
    )
    store: TokenStore | None = None
    requests_adapter.ThingspaceAuth(credentials, store=store)


# Clients that have no adapter.


def use_headers(auth: requests_adapter.ThingspaceAuth, body: bytes) -> None:
    headers: dict[str, str] = auth.headers(URL)
    again: dict[str, str] | None = auth.recover(URL, headers, "GET", 401, {"Server": "x"}, body)
    print(again)


async def use_headers_asynchronously(auth: httpx_adapter.ThingspaceAuth, body: bytes) -> None:
    headers: dict[str, str] = await auth.aheaders(URL)
    again: dict[str, str] | None = await auth.arecover(
        url=URL, sent_headers=headers, method="GET", status=401, headers={}, body=body
    )
    print(again, auth.headers(URL), auth.recover(URL, headers, "GET", 401, {}, body))


# Errors, and the simulator.


def handle_errors(auth: requests_adapter.ThingspaceAuth) -> None:
    try:
        auth.fetch_token()
    except OauthProviderError as error:
        code: str | None = error.error
        status: int | None = error.status_code
        print(code, status, error.error_description, error.error_uri)
    except (InsecureTransportError, requests.RequestException):
        raise
    except ThingspaceAuthError:
        raise


def use_simulator() -> None:
    with ThingspaceSimulator(token_lifetime=2) as simulator:
        url: str = simulator.url
        simulator.fail("token", 503, times=2)
        print(url, simulator.requests)
