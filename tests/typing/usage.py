"""How users write it, with types. Only type-checked, never run."""

from __future__ import annotations

from typing import Any

import httpx
import requests

import thingspace_auth_adapters
from thingspace_auth_adapters import (
    M2mLoginError,
    OauthProviderError,
    OauthScopeThingspaceOauthEnum,
    OauthToken,
    ThingspaceAuthError,
    ThingspaceOauthCredentials,
    VzM2mCredentials,
)
from thingspace_auth_adapters import httpx as httpx_adapter
from thingspace_auth_adapters import requests as requests_adapter
from thingspace_auth_adapters.simulator import ThingspaceSimulator


def provider(last: OauthToken | None, auth_manager: Any) -> OauthToken | None:
    return last


async def async_provider(last: OauthToken | None, auth_manager: Any) -> OauthToken:
    token: OauthToken = await auth_manager.afetch_token()
    return token


def no_proxy(is_async: bool) -> None:
    return None


def update(token: OauthToken) -> None:
    print(token.to_dict())


def use_requests(credentials: ThingspaceOauthCredentials) -> None:
    session = requests.Session()
    session.auth = requests_adapter.ThingspaceAuth(credentials)
    session.auth = thingspace_auth_adapters.ThingspaceAuth(
        oauth_client_id="key",
        oauth_client_secret="secret",
        oauth_scopes=[OauthScopeThingspaceOauthEnum.READ, "write"],
        oauth_token_provider=provider,
        oauth_on_token_update=update,
        oauth_clock_skew=60,
        allowed_hosts=["api.example.com"],
        timeout=10,
        session=requests.Session(),
    )
    requests.get("https://thingspace.verizon.com", auth=session.auth, timeout=5)
    auth = requests_adapter.ThingspaceAuth(credentials)
    token: OauthToken = auth.fetch_token()
    current: OauthToken | None = auth.oauth_token
    expired: bool = auth.is_token_expired(current) or auth.is_token_expired()
    auth.oauth_token = token
    auth.oauth_token = {"access_token": "x", "expiry": 1.0}
    auth.oauth_token = None
    auth.revoke_token()
    print(expired)


async def use_httpx(credentials: ThingspaceOauthCredentials) -> None:
    auth = httpx_adapter.ThingspaceAuth(
        credentials, client_options={"verify": False, "proxy": no_proxy}
    )
    with httpx.Client(auth=auth) as client:
        client.get("https://thingspace.verizon.com")
    async with httpx.AsyncClient(auth=auth) as aclient:
        await aclient.get("https://thingspace.verizon.com", auth=auth)
    token: OauthToken = await auth.afetch_token({"extra": "1"})
    await auth.arevoke_token()
    httpx.get("https://thingspace.verizon.com", auth=auth)
    httpx_adapter.ThingspaceAuth(
        oauth_client_id="key", oauth_client_secret="secret", oauth_token_provider=async_provider
    )
    print(token)


def handle_errors(auth: requests_adapter.ThingspaceAuth) -> None:
    try:
        auth.fetch_token()
    except requests_adapter.OauthProviderError as error:
        code: str | None = error.error
        status: int | None = error.status_code
        request = error.request
        print(code, status, request)
    except OauthProviderError as error:
        print(error.error_description, error.error_uri)
    except ThingspaceAuthError:
        raise


def use_simulator() -> None:
    with ThingspaceSimulator(token_lifetime=2) as simulator:
        url: str = simulator.url
        simulator.fail("token", 503, times=2)
        print(url, simulator.requests)


def session_provider(last: str | None, auth_manager: Any) -> str | None:
    return last


async def use_sessions(credentials: ThingspaceOauthCredentials) -> None:
    m2m = VzM2mCredentials(
        "user",
        "password",
        vz_m2m_token="token",
        vz_m2m_token_provider=session_provider,
        vz_m2m_on_token_update=print,
        idle_timeout=600,
    )
    auth = requests_adapter.ThingspaceAuth(credentials, m2m=m2m)
    other = httpx_adapter.ThingspaceAuth(credentials, m2m="a session token")
    other.m2m = VzM2mCredentials.from_environment()
    try:
        token: str = auth.fetch_vz_m2m_token()
        same: str = await other.afetch_vz_m2m_token()
    except M2mLoginError as error:
        print(error.status_code, error.error_code, error.error_message)
    else:
        print(token == same)
    auth.end_m2m_session()
    await other.aend_m2m_session()
