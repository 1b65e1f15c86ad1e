"""Who is compared, and how each is set up.

Every peer is set up to renew at expiry and not before, as ours does by default, and gets its token
from the simulator like everyone else.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import httpx
import httpx2
import requests

from .subjects import (
    Endpoint,
    OnAuthlibHttpx,
    OnHttpx,
    OnRequests,
    OnSdk,
    Subject,
    fetched_token,
    peer,
    plain_client,
    plain_session,
    pool_options,
)

_AT_EXPIRY = 1e-9
"""Zero seconds ahead of expiry, for peers that take 0 to mean their default."""


class AsyncContender(NamedTuple):
    """A way to authenticate under asyncio; the fields are those of :class:`Contender`.

    Attributes:
        open_client: makes the client that all tasks share, with a fresh auth object.
    """

    name: str
    library: str
    open_client: Callable[[Endpoint], Any]
    setup: str
    is_ours: bool = False
    note: str = ""
    expiry_note: str = ""


class Contender(NamedTuple):
    """A way to authenticate.

    Attributes:
        name: as the tables show it.
        library: the HTTP library whose requests it authenticates.
        prepare: makes a fresh auth object without a token.
        setup: with which arguments, and how it is used, in Markdown.
        is_ours: whether the targets are for it.
        tracks_expiry: whether it knows when its token expires.
        note: what a reader of its figures has to know.
        expiry_note: the same, where tokens are fetched while the clock runs.
    """

    name: str
    library: str
    prepare: Callable[[Endpoint], Subject]
    setup: str
    is_ours: bool = False
    tracks_expiry: bool = True
    note: str = ""
    expiry_note: str = ""


class MinimalRequestsAuth(requests.auth.AuthBase):
    """One constant header."""

    def __init__(self, header: str) -> None:
        self._header = header

    def __call__(self, r: requests.PreparedRequest) -> requests.PreparedRequest:
        r.headers["Authorization"] = self._header
        return r


@cache
def minimal_httpx_auth(library: Any) -> Any:
    """The type of an ``Auth`` with one constant header."""

    class Minimal(library.Auth):  # type: ignore[misc]
        def __init__(self, header: str) -> None:
            self._header = header

        def auth_flow(self, request: Any) -> Any:
            request.headers["Authorization"] = self._header
            yield request

        # As short as can be: the one that it inherits runs the flow in a flow.
        sync_auth_flow = auth_flow

    return Minimal


def constant_on_requests(endpoint: Endpoint) -> Subject:
    auth = MinimalRequestsAuth("Bearer " + fetched_token(endpoint))
    return OnRequests(auth, endpoint.api_url)


def constant_on_httpx(endpoint: Endpoint) -> Subject:
    auth = minimal_httpx_auth(httpx)("Bearer " + fetched_token(endpoint))
    return OnHttpx(httpx, auth, endpoint.api_url)


def constant_on_httpx2(endpoint: Endpoint) -> Subject:
    auth = minimal_httpx_auth(httpx2)("Bearer " + fetched_token(endpoint))
    return OnHttpx(httpx2, auth, endpoint.api_url)


def constant_on_async_httpx(endpoint: Endpoint) -> Any:
    client = plain_client(httpx, is_async=True)
    client.headers["Authorization"] = "Bearer " + fetched_token(endpoint)
    return client


def ours_on_requests(endpoint: Endpoint) -> Subject:
    from thingspace_auth_adapters.requests import ThingspaceAuth

    return OnRequests(ThingspaceAuth(**endpoint.our_options), endpoint.api_url)


def ours_on_httpx(endpoint: Endpoint) -> Subject:
    from thingspace_auth_adapters.httpx import ThingspaceAuth

    return OnHttpx(httpx, ThingspaceAuth(**endpoint.our_options), endpoint.api_url)


def ours_on_httpx2(endpoint: Endpoint) -> Subject:
    from thingspace_auth_adapters.httpx2 import ThingspaceAuth

    return OnHttpx(httpx2, ThingspaceAuth(**endpoint.our_options), endpoint.api_url)


def requests_auth(endpoint: Endpoint) -> Subject:
    module = peer("requests_auth")
    # Its tokens live in a cache of the process, which would outlive the auth object.
    module.OAuth2.token_cache.clear()
    auth = module.OAuth2ClientCredentials(
        endpoint.token_url, *endpoint.identity, early_expiry=_AT_EXPIRY, session=plain_session()
    )
    return OnRequests(auth, endpoint.api_url)


def httpx_auth(endpoint: Endpoint) -> Subject:
    module = peer("httpx_auth")
    module.OAuth2.token_cache.clear()
    auth = module.OAuth2ClientCredentials(
        endpoint.token_url, *endpoint.identity, early_expiry=_AT_EXPIRY
    )
    return OnHttpx(httpx, auth, endpoint.api_url)


def requests_oauth2client(endpoint: Endpoint) -> Subject:
    module = peer("requests_oauth2client")
    basic = module.ClientSecretBasic(*endpoint.identity)
    # "testing" lets it accept a token endpoint over plain http.
    client = module.OAuth2Client(endpoint.token_url, auth=basic, testing=True)
    return OnRequests(module.OAuth2ClientCredentialsAuth(client, leeway=0), endpoint.api_url)


def _authlib_options(endpoint: Endpoint) -> dict[str, Any]:
    return {
        "client_id": endpoint.client_id,
        "client_secret": endpoint.client_secret,
        "token_endpoint": endpoint.token_url,
        "grant_type": "client_credentials",
        "leeway": 0,
        "token": {"access_token": "none yet", "token_type": "Bearer", "expires_at": 1},
    }


def authlib_on_requests(endpoint: Endpoint) -> Subject:
    module = peer("authlib.integrations.requests_client")
    session = module.OAuth2Session(**_authlib_options(endpoint), trust_env=False)
    return OnRequests(session.token_auth, endpoint.api_url)


def authlib_on_httpx2(endpoint: Endpoint) -> Subject:
    options = {**_authlib_options(endpoint), **pool_options(httpx2)}
    client = peer("authlib.integrations.httpx_client").OAuth2Client(**options)
    return OnAuthlibHttpx(client, endpoint.api_url)


class _Held:
    """The token store and the refresh that users of singleflight-auth write themselves."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._token = ""

    def get(self) -> str:
        return self._token

    def refresh(self) -> str:
        self._token = fetched_token(self._endpoint)
        return self._token


def singleflight_on_requests(endpoint: Endpoint) -> Subject:
    held = _Held(endpoint)
    auth = peer("singleflight_auth").RequestsSingleFlightAuth(held.get, held.refresh)
    return OnRequests(auth, endpoint.api_url)


def singleflight_on_httpx(endpoint: Endpoint) -> Subject:
    held = _Held(endpoint)
    auth = peer("singleflight_auth").SingleFlightAuth(held.get, held.refresh)
    return OnHttpx(httpx, auth, endpoint.api_url)


def official_sdk(endpoint: Endpoint) -> Subject:
    oauth = peer("verizon.http.auth.thingspace_oauth")
    credentials = oauth.ThingspaceOauthCredentials(*endpoint.identity, oauth_clock_skew=0)
    configuration = peer("verizon.configuration").Configuration(
        thingspace_oauth_credentials=credentials
    )
    configuration.get_base_uri = lambda server=None: f"{endpoint.base_url}/api/ts/v1"
    client = peer("verizon.verizon_client").VerizonClient(config=configuration)
    return OnSdk(client.auth_managers["thingspace_oauth"], endpoint.api_url)


def ours_on_async_httpx(endpoint: Endpoint) -> Any:
    from thingspace_auth_adapters.httpx import ThingspaceAuth

    client = plain_client(httpx, is_async=True)
    client.auth = ThingspaceAuth(**endpoint.our_options)
    return client


class _AsyncHeld(_Held):
    async def arefresh(self) -> str:
        form = {"grant_type": "client_credentials"}
        endpoint = self._endpoint
        async with plain_client(httpx, is_async=True) as client:
            response = await client.post(endpoint.token_url, auth=endpoint.identity, data=form)
        response.raise_for_status()
        self._token = str(response.json()["access_token"])
        return self._token


def singleflight_on_async_httpx(endpoint: Endpoint) -> Any:
    held = _AsyncHeld(endpoint)
    client = plain_client(httpx, is_async=True)
    client.auth = peer("singleflight_auth").AsyncSingleFlightAuth(held.get, held.arefresh)
    return client


def authlib_on_async_httpx2(endpoint: Endpoint) -> Any:
    options = {**_authlib_options(endpoint), **pool_options(httpx2)}
    return peer("authlib.integrations.httpx_client").AsyncOAuth2Client(**options)


_NEVER = "takes an `expires_in` of 0 for a token that never expires."
_AS_JWT = "where `expires_in` is 0 it reads the token as a JWT, and fails on one that is not."
_ON_401 = "does not know when a token expires: it renews on a 401."
_OWN_REQUEST = "measured on its own request object."

_OURS_SETUP = (
    "`ThingspaceAuth(oauth_client_id=…, oauth_client_secret=…, base_url=…, allowed_hosts=[…])`; all"
    " else as it is by default."
)
_CONSTANT_SETUP = "An `Auth` of the library that sets one header to a token fetched beforehand."
_REQUESTS_AUTH_SETUP = (
    "`OAuth2ClientCredentials(url, id, secret, early_expiry=1e-9, session=…)`: renews 30 s ahead of"
    " expiry by default, and takes 0 for that default. Its tokens are in a cache of the process,"
    " which is emptied for each new auth object."
)
_HTTPX_AUTH_SETUP = _REQUESTS_AUTH_SETUP.replace(", session=…", "")
_OAUTH2CLIENT_SETUP = (
    "`OAuth2ClientCredentialsAuth(OAuth2Client(url, auth=ClientSecretBasic(id, secret),"
    " testing=True), leeway=0)`: renews 20 s ahead of expiry by default; `testing` makes it accept"
    " plain http."
)
_AUTHLIB_SETUP = (
    '`OAuth2Session(…, token_endpoint=url, grant_type="client_credentials", leeway=0, token=…)`,'
    " and its `token_auth` as the auth object: renews 60 s ahead of expiry by default. It fetches"
    " no first token by itself, so it starts with one that has expired."
)
_AUTHLIB_HTTPX_SETUP = (
    _AUTHLIB_SETUP.replace("OAuth2Session", "OAuth2Client")
    + " The client looks at the expiry, so `ensure_active_token` is called before the auth"
    " object's flow, as the client does."
)
_AUTHLIB_ASYNC_SETUP = _AUTHLIB_SETUP.replace("OAuth2Session", "AsyncOAuth2Client").replace(
    ", and its `token_auth` as the auth object", ""
)
_SINGLEFLIGHT_SETUP = (
    "`{}(get, refresh)`: its user writes the token store and the refresh function; here a variable,"
    " and a plain POST."
)
_SDK_SETUP = (
    "`ThingspaceOauthCredentials(id, secret, oauth_clock_skew=0)`. Its token URL is fixed, so"
    " `Configuration.get_base_uri` is overridden. It works on its own request object and not on a"
    " prepared request: its auth handler is called as its request builder does, and compared with"
    " setting the header on that object by hand. Whole requests are then sent with requests."
)

_MINIMAL = "a minimal `Auth`, one constant header"
MINIMAL = (
    Contender(_MINIMAL, "requests", constant_on_requests, _CONSTANT_SETUP, tracks_expiry=False),
    Contender(_MINIMAL, "httpx", constant_on_httpx, _CONSTANT_SETUP, tracks_expiry=False),
    Contender(_MINIMAL, "httpx2", constant_on_httpx2, _CONSTANT_SETUP, tracks_expiry=False),
)
MINIMAL_ASYNC = AsyncContender(
    "one constant header", "httpx, asyncio", constant_on_async_httpx,
    "A client whose header is set once to a token fetched beforehand.",
)  # fmt: skip
OURS = (
    Contender("ThingspaceAuth", "requests", ours_on_requests, _OURS_SETUP, is_ours=True),
    Contender("ThingspaceAuth", "httpx", ours_on_httpx, _OURS_SETUP, is_ours=True),
    Contender("ThingspaceAuth", "httpx2", ours_on_httpx2, _OURS_SETUP, is_ours=True),
)
PEERS = (
    Contender(
        "requests_auth", "requests", requests_auth, _REQUESTS_AUTH_SETUP, expiry_note=_AS_JWT
    ),
    Contender(
        "requests_oauth2client", "requests", requests_oauth2client, _OAUTH2CLIENT_SETUP,
        expiry_note=_NEVER,
    ),
    Contender("Authlib", "requests", authlib_on_requests, _AUTHLIB_SETUP, expiry_note=_NEVER),
    Contender(
        "singleflight-auth", "requests", singleflight_on_requests,
        _SINGLEFLIGHT_SETUP.format("RequestsSingleFlightAuth"),
        tracks_expiry=False, note=_ON_401,
    ),
    Contender(
        "official SDK", "requests", official_sdk, _SDK_SETUP, note=_OWN_REQUEST,
        expiry_note=_NEVER,
    ),
    Contender("httpx_auth", "httpx", httpx_auth, _HTTPX_AUTH_SETUP, expiry_note=_AS_JWT),
    Contender(
        "singleflight-auth", "httpx", singleflight_on_httpx,
        _SINGLEFLIGHT_SETUP.format("SingleFlightAuth"),
        tracks_expiry=False, note=_ON_401,
    ),
    Contender("Authlib", "httpx2", authlib_on_httpx2, _AUTHLIB_HTTPX_SETUP, expiry_note=_NEVER),
)  # fmt: skip
ALL = OURS + PEERS
OURS_ASYNC = AsyncContender(
    "ThingspaceAuth", "httpx, asyncio", ours_on_async_httpx, _OURS_SETUP, is_ours=True
)
PEERS_ASYNC = (
    AsyncContender(
        "singleflight-auth", "httpx, asyncio", singleflight_on_async_httpx,
        _SINGLEFLIGHT_SETUP.format("AsyncSingleFlightAuth"),
        note=_ON_401,
    ),
    AsyncContender(
        "Authlib", "httpx2, asyncio", authlib_on_async_httpx2, _AUTHLIB_ASYNC_SETUP,
        expiry_note=_NEVER,
    ),
)  # fmt: skip
ALL_ASYNC = (OURS_ASYNC, *PEERS_ASYNC)


def on_sdk(contender: Contender) -> bool:
    """Whether its floor is the SDK's request object."""
    return contender.prepare is official_sdk
