"""Mistakes that both type checkers must reject. Only type-checked, never run.

Each line that ends in the marker is an error for mypy and for pyright, and no other line is:
``test_typing_mistakes.py`` compares. Neither checker looks at this file otherwise.
"""

from __future__ import annotations

from pathlib import Path

import httpx
import httpx2
import requests

import thingspace_auth_adapters
from thingspace_auth_adapters import ThingspaceOauthCredentials, VzM2mCredentials
from thingspace_auth_adapters import httpx as for_httpx
from thingspace_auth_adapters import httpx2 as for_httpx2
from thingspace_auth_adapters import requests as for_requests
from thingspace_auth_adapters.stores import FileTokenStore

CREDENTIALS = ThingspaceOauthCredentials(oauth_client_id="key", oauth_client_secret="secret")
FIELDS = {"oauth_client_id": "key", "oauth_client_secret": "secret"}


class Forgetful:
    """Not a credentials object: it has no secret."""

    oauth_client_id = "key"


class Numbered:
    """Not one either: its key is no text."""

    oauth_client_id = 1
    oauth_client_secret = "secret"


def mistakes_with_requests() -> None:
    for_requests.ThingspaceAuth()  # mistake
    for_requests.ThingspaceAuth("key")  # mistake
    for_requests.ThingspaceAuth("key", "secret")  # mistake
    for_requests.ThingspaceAuth(FIELDS)  # mistake
    for_requests.ThingspaceAuth(("key", "secret"))  # mistake
    for_requests.ThingspaceAuth(42)  # mistake
    for_requests.ThingspaceAuth(None)  # mistake
    for_requests.ThingspaceAuth(Forgetful())  # mistake
    for_requests.ThingspaceAuth(Numbered())  # mistake
    for_requests.ThingspaceAuth(VzM2mCredentials("user", "password"))  # mistake
    for_requests.ThingspaceAuth(thingspace_oauth_credentials="key")  # mistake
    for_requests.ThingspaceAuth(oauth_client_id="key")  # mistake
    for_requests.ThingspaceAuth(oauth_client_secret="secret")  # mistake
    for_requests.ThingspaceAuth(oauth_client_id=1, oauth_client_secret="secret")  # mistake
    for_requests.ThingspaceAuth(client_id="key", client_secret="secret")  # mistake
    for_requests.ThingspaceAuth(CREDENTIALS, oauth_client_id="key")  # mistake
    for_requests.ThingspaceAuth(CREDENTIALS, oauth_clock_skew=60)  # mistake
    for_requests.ThingspaceAuth(CREDENTIALS, oauth_token_provider=print)  # mistake
    for_requests.ThingspaceAuth(CREDENTIALS, m2m=("user", "pw"))  # mistake
    for_requests.ThingspaceAuth(CREDENTIALS, m2m={"username": "user", "password": "pw"})  # mistake
    for_requests.ThingspaceAuth(CREDENTIALS, base_url=443)  # mistake
    for_requests.ThingspaceAuth(CREDENTIALS, base_url=b"https://thingspace.verizon.com")  # mistake
    for_requests.ThingspaceAuth(CREDENTIALS, base_url=None)  # mistake
    for_requests.ThingspaceAuth(CREDENTIALS, allowed_hosts=443)  # mistake
    for_requests.ThingspaceAuth(CREDENTIALS, timeout="30")  # mistake
    for_requests.ThingspaceAuth(CREDENTIALS, timeout=(3, 30))  # mistake
    for_requests.ThingspaceAuth(CREDENTIALS, timeout=None)  # mistake
    for_requests.ThingspaceAuth(CREDENTIALS, session=httpx.Client())  # mistake
    for_requests.ThingspaceAuth(CREDENTIALS, session=requests.Session)  # mistake
    for_requests.ThingspaceAuth(CREDENTIALS, session=True)  # mistake
    for_requests.ThingspaceAuth(CREDENTIALS, client_options={"verify": False})  # mistake
    for_requests.ThingspaceAuth(CREDENTIALS, store="/var/lib/tokens")  # mistake
    for_requests.ThingspaceAuth(CREDENTIALS, store=Path("tokens"))  # mistake
    for_requests.ThingspaceAuth(CREDENTIALS, store=FileTokenStore)  # mistake
    for_requests.ThingspaceAuth(CREDENTIALS, store={})  # mistake
    for_requests.ThingspaceAuth(CREDENTIALS, tokens=FileTokenStore())  # mistake
    for_requests.ThingspaceAuth.from_environment("key")  # mistake
    for_requests.ThingspaceAuth.from_environment(timeout="30")  # mistake
    for_requests.ThingspaceAuth.from_environment(store="/var/lib/tokens")  # mistake
    for_requests.ThingspaceAuth.from_environment(client_options={})  # mistake


def mistakes_with_httpx() -> None:
    for_httpx.ThingspaceAuth()  # mistake
    for_httpx.ThingspaceAuth("key")  # mistake
    for_httpx.ThingspaceAuth("key", "secret")  # mistake
    for_httpx.ThingspaceAuth(FIELDS)  # mistake
    for_httpx.ThingspaceAuth(("key", "secret"))  # mistake
    for_httpx.ThingspaceAuth(None)  # mistake
    for_httpx.ThingspaceAuth(Forgetful())  # mistake
    for_httpx.ThingspaceAuth(thingspace_oauth_credentials=FIELDS)  # mistake
    for_httpx.ThingspaceAuth(oauth_client_id="key")  # mistake
    for_httpx.ThingspaceAuth(oauth_client_secret="secret")  # mistake
    for_httpx.ThingspaceAuth(CREDENTIALS, oauth_client_secret="secret")  # mistake
    for_httpx.ThingspaceAuth(CREDENTIALS, oauth_scopes=["read"])  # mistake
    for_httpx.ThingspaceAuth(CREDENTIALS, m2m=("user", "pw"))  # mistake
    for_httpx.ThingspaceAuth(CREDENTIALS, m2m=42)  # mistake
    for_httpx.ThingspaceAuth(CREDENTIALS, base_url=httpx.URL("https://a.example"))  # mistake
    for_httpx.ThingspaceAuth(CREDENTIALS, timeout=httpx.Timeout(30))  # mistake
    for_httpx.ThingspaceAuth(CREDENTIALS, timeout="30")  # mistake
    for_httpx.ThingspaceAuth(CREDENTIALS, session=requests.Session())  # mistake
    for_httpx.ThingspaceAuth(CREDENTIALS, client_options="verify")  # mistake
    for_httpx.ThingspaceAuth(CREDENTIALS, client_options=[("verify", False)])  # mistake
    for_httpx.ThingspaceAuth(CREDENTIALS, client_options=httpx.Client())  # mistake
    for_httpx.ThingspaceAuth(CREDENTIALS, store="/var/lib/tokens")  # mistake
    for_httpx.ThingspaceAuth(CREDENTIALS, store=FileTokenStore)  # mistake
    for_httpx.ThingspaceAuth.from_environment(timeout="30")  # mistake
    for_httpx.ThingspaceAuth.from_environment(session=requests.Session())  # mistake


def mistakes_with_httpx2() -> None:
    for_httpx2.ThingspaceAuth()  # mistake
    for_httpx2.ThingspaceAuth("key")  # mistake
    for_httpx2.ThingspaceAuth("key", "secret")  # mistake
    for_httpx2.ThingspaceAuth(FIELDS)  # mistake
    for_httpx2.ThingspaceAuth(("key", "secret"))  # mistake
    for_httpx2.ThingspaceAuth(None)  # mistake
    for_httpx2.ThingspaceAuth(Forgetful())  # mistake
    for_httpx2.ThingspaceAuth(oauth_client_id="key")  # mistake
    for_httpx2.ThingspaceAuth(oauth_client_secret="secret")  # mistake
    for_httpx2.ThingspaceAuth(CREDENTIALS, oauth_client_id="key")  # mistake
    for_httpx2.ThingspaceAuth(CREDENTIALS, m2m=("user", "pw"))  # mistake
    for_httpx2.ThingspaceAuth(CREDENTIALS, base_url=httpx2.URL("https://a.example"))  # mistake
    for_httpx2.ThingspaceAuth(CREDENTIALS, timeout=httpx2.Timeout(30))  # mistake
    for_httpx2.ThingspaceAuth(CREDENTIALS, session=requests.Session())  # mistake
    for_httpx2.ThingspaceAuth(CREDENTIALS, client_options="verify")  # mistake
    for_httpx2.ThingspaceAuth(CREDENTIALS, client_options=[("verify", False)])  # mistake
    for_httpx2.ThingspaceAuth(CREDENTIALS, store="/var/lib/tokens")  # mistake
    for_httpx2.ThingspaceAuth(CREDENTIALS, store=FileTokenStore)  # mistake
    for_httpx2.ThingspaceAuth.from_environment(timeout="30")  # mistake


def mistakes_with_the_top_level_name() -> None:
    thingspace_auth_adapters.ThingspaceAuth()  # mistake
    thingspace_auth_adapters.ThingspaceAuth("key", "secret")  # mistake
    thingspace_auth_adapters.ThingspaceAuth(CREDENTIALS, client_options={})  # mistake


def mistakes_with_credentials() -> None:
    ThingspaceOauthCredentials()  # mistake
    ThingspaceOauthCredentials("key")  # mistake
    ThingspaceOauthCredentials(oauth_client_id="key")  # mistake
    ThingspaceOauthCredentials(oauth_client_id=1, oauth_client_secret="secret")  # mistake
    ThingspaceOauthCredentials("key", "secret", oauth_clock_skew="60")  # mistake
    ThingspaceOauthCredentials("key", "secret", oauth_token_provider="provider")  # mistake
    ThingspaceOauthCredentials("key", "secret", oauth_on_token_update=42)  # mistake
    VzM2mCredentials()  # mistake
    VzM2mCredentials("user")  # mistake
    VzM2mCredentials(username="user")  # mistake
    VzM2mCredentials(("user", "pw"))  # mistake
    VzM2mCredentials("user", "pw", "token")  # mistake
    VzM2mCredentials("user", "pw", idle_timeout="1200")  # mistake
    VzM2mCredentials("user", "pw", vz_m2m_token_provider=print)  # mistake


def mistakes_with_members(
    auth: for_requests.ThingspaceAuth, other: for_httpx.ThingspaceAuth
) -> None:
    auth.m2m = ("user", "pw")  # mistake
    other.m2m = 42  # mistake
    auth.headers()  # mistake
    auth.headers({"url": "https://thingspace.verizon.com"})  # mistake
    auth.recover("https://thingspace.verizon.com", {}, "GET", "401", {}, b"")  # mistake
    auth.recover("https://thingspace.verizon.com", {}, "GET", 401, {}, "text")  # mistake
    auth.fetch_token(["extra"])  # mistake
    auth.afetch_token()  # mistake
    other.revoke()  # mistake


def want(number: int) -> None:
    """Says of what type its argument is: any other is an error, and only ``Any`` is none."""


async def nothing_that_is_returned_is_any(
    auth: for_requests.ThingspaceAuth, other: for_httpx.ThingspaceAuth
) -> None:
    want(auth.oauth_token)  # mistake
    want(auth.m2m)  # mistake
    want(auth.fetch_token())  # mistake
    want(auth.fetch_vz_m2m_token())  # mistake
    want(auth.headers("https://thingspace.verizon.com"))  # mistake
    want(auth.recover("https://thingspace.verizon.com", {}, "GET", 401, {}, b""))  # mistake
    want(for_requests.ThingspaceAuth.from_environment())  # mistake
    want(await other.afetch_token())  # mistake
    want(await other.afetch_vz_m2m_token())  # mistake
    want(await other.aheaders("https://thingspace.verizon.com"))  # mistake
    want(await other.arecover("https://thingspace.verizon.com", {}, "GET", 401, {}, b""))  # mistake
    want(for_httpx.ThingspaceAuth.from_environment())  # mistake
    want(for_httpx2.ThingspaceAuth.from_environment())  # mistake
    want(CREDENTIALS.oauth_client_id)  # mistake
    want(CREDENTIALS.oauth_token_provider)  # mistake
    want(CREDENTIALS.clone_with(oauth_clock_skew=60))  # mistake
    want(ThingspaceOauthCredentials.from_environment())  # mistake
    want(VzM2mCredentials.from_environment())  # mistake
