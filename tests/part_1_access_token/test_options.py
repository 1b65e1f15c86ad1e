"""Part 1, names: the options of an auth object, and what the environment gives in their place."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from thingspace_auth_adapters import M2mLoginError, OauthToken, VzM2mCredentials

from ..support.kinds import IDENTITY, PASSWORD, Kind
from ..support.virtual import (
    API,
    BASE,
    GATEWAY_REFUSAL,
    LOGIN_PATH,
    LOGOUT_PATH,
    TOKEN_PATH,
    Answer,
    Platform,
    VirtualClock,
    login_refusal,
    redirect,
    refusal,
)

pytestmark = pytest.mark.usefixtures("clock")

EDGE = "https://5gedge.verizon.com"
STAGING = "https://staging.thingspace.verizon.com"
M2M = VzM2mCredentials("user", PASSWORD)


# The environment.


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in list(os.environ):
        if name.startswith(("THINGSPACE_", "VZ_M2M_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("THINGSPACE_OAUTH_OAUTH_CLIENT_ID", "the-key")
    monkeypatch.setenv("THINGSPACE_OAUTH_OAUTH_CLIENT_SECRET", "s3cr3t-of-the-key")
    return monkeypatch


def from_environment(kind: Kind, platform: Platform, **options: Any) -> Any:
    if kind.is_requests:
        options["session"] = kind.session(platform)
    else:
        options["client_options"] = {"transport": kind.transport(platform)}
    return kind.adapter.ThingspaceAuth.from_environment(**options)


def test_from_environment_needs_key_and_secret_alone(
    kind: Kind, platform: Platform, environment: pytest.MonkeyPatch
) -> None:
    auth = from_environment(kind, platform)
    assert type(auth) is kind.adapter.ThingspaceAuth
    assert auth.m2m is None
    kind.get(auth, API, platform)
    basic = base64.b64encode(b"the-key:s3cr3t-of-the-key").decode()
    assert platform.token_calls[0].url.startswith(BASE)
    assert platform.token_calls[0].authorization == f"Basic {basic}"
    environment.delenv("THINGSPACE_OAUTH_OAUTH_CLIENT_SECRET")
    with pytest.raises(ValueError, match="THINGSPACE_OAUTH_OAUTH_CLIENT_SECRET"):
        from_environment(kind, platform)


def test_from_environment_reads_account_and_base_url_where_they_are(
    kind: Kind, platform: Platform, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("THINGSPACE_BASE_URL", STAGING)
    environment.setenv("VZ_M2M_USERNAME", "the-user")
    with pytest.raises(ValueError, match="VZ_M2M_PASSWORD"):
        from_environment(kind, platform)
    environment.setenv("VZ_M2M_PASSWORD", "the-password")
    kind.get(from_environment(kind, platform), f"{STAGING}/x", platform)
    (login,) = platform.login_calls
    assert json.loads(login.body) == {"username": "the-user", "password": "the-password"}
    for call in (login, platform.token_calls[0]):
        assert call.url.startswith(f"{STAGING}/")


def test_options_come_before_the_environment(
    kind: Kind, platform: Platform, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("THINGSPACE_BASE_URL", STAGING)
    environment.setenv("VZ_M2M_USERNAME", "half an account")
    kind.get(from_environment(kind, platform, m2m="a-session", base_url=BASE), API, platform)
    assert platform.token_calls[0].url.startswith(BASE)
    assert platform.sessions == ["a-session"]


# base_url, and whom it allows.


def test_base_url_is_where_the_endpoints_are(kind: Kind, platform: Platform) -> None:
    auth = kind.auth(platform, base_url="https://proxy.example:8443/", m2m=M2M)
    kind.get(auth, "https://proxy.example:8443/api/x", platform)
    urls = [call.url for call in platform.calls]
    paths = (TOKEN_PATH, LOGIN_PATH, "/api/x")
    assert urls == ["https://proxy.example:8443" + path for path in paths]
    assert platform.bearers == ["token-1"]


ALLOWED = {
    BASE: {
        "https://thingspace.verizon.com": True,
        "https://x.thingspace.verizon.com": True,
        "https://5gedge.verizon.com": True,
        "https://x.5gedge.verizon.com": True,
        "https://verizon.com": False,
    },
    "https://mock.thingspace.verizon.com": {
        "https://mock.thingspace.verizon.com": True,
        BASE: False,
    },
    "https://proxy.example": {
        "https://proxy.example": True,
        "https://thingspace.verizon.com": False,
    },
}
ALLOWED[EDGE] = ALLOWED[BASE]
for _host in ("localhost", "127.0.0.1", "[::1]"):
    ALLOWED[f"http://{_host}:8080"] = {
        f"http://{name}:{port}": port == 8080
        for name in ("localhost", "127.0.0.1", "[::1]")
        for port in (8080, 8081)
    }


@pytest.mark.parametrize("base_url", list(ALLOWED))
def test_hosts_that_are_allowed_by_default(kind: Kind, platform: Platform, base_url: str) -> None:
    auth = kind.auth(platform, base_url=base_url)
    for origin in ALLOWED[base_url]:
        kind.get(auth, f"{origin}/api", platform)
    expected = ["token-1" if is_allowed else None for is_allowed in ALLOWED[base_url].values()]
    assert platform.bearers == expected


def test_session_of_an_edge_base_url_is_opened_at_thingspace(
    kind: Kind, platform: Platform
) -> None:
    auth = kind.auth(platform, base_url=EDGE, m2m=M2M)
    kind.get(auth, API, platform)
    kind.end_session(auth)
    assert [call.url for call in platform.token_calls] == [EDGE + TOKEN_PATH]
    urls = [call.url for call in (*platform.login_calls, *platform.logout_calls)]
    assert urls == [BASE + LOGIN_PATH, BASE + LOGOUT_PATH]


@pytest.mark.parametrize("base_url", [BASE, EDGE])
def test_login_that_refuses_an_edge_token_says_which_base_url_to_use(
    kind: Kind, platform: Platform, base_url: str
) -> None:
    platform.logins = [Answer(401, GATEWAY_REFUSAL)] * 9
    with pytest.raises(M2mLoginError) as caught:
        kind.get(kind.auth(platform, base_url=base_url, m2m=M2M), API, platform)
    assert (f"base_url='{BASE}'" in str(caught.value)) == (base_url == EDGE)


# m2m.


@pytest.mark.parametrize("getter", ["vz_m2m_token", "session_token"])
def test_session_token_of_either_getter_is_sent(
    kind: Kind, platform: Platform, getter: str
) -> None:
    """Of the SDK's objects."""
    auth = kind.auth(platform, m2m=SimpleNamespace(**{getter: "the-session"}))
    kind.get(auth, API, platform)
    assert platform.sessions == ["the-session"]
    assert platform.login_calls == []


# timeout.


@pytest.mark.parametrize(
    ("options", "of_the_request"),
    [({}, None), ({}, 0.1), ({"timeout": 12}, 5.0), ({"timeout": 12}, None)],
)
def test_timeout_of_the_request_does_not_apply_to_the_endpoints(
    kind: Kind, platform: Platform, options: dict[str, Any], of_the_request: float | None
) -> None:
    timeouts: dict[str, set[float]] = {}
    auth = kind.auth(**options, **recording(kind, platform, timeouts), m2m=M2M)
    kind.get(auth, API, platform, timeout=of_the_request)
    assert platform.trail == ["token", "login", "api"]
    assert list(timeouts.values()) == [{options.get("timeout", 30)}] * 2


def recording(kind: Kind, platform: Platform, timeouts: dict[str, set[float]]) -> dict[str, Any]:
    """Options with which the calls of the endpoints note their timeouts by URL."""
    if kind.is_requests:
        session = kind.session(platform)
        adapter = session.get_adapter(API)
        send = adapter.send

        def noting(request: Any, **kwargs: Any) -> Any:
            timeout = kwargs["timeout"]
            timeouts[request.url] = {*(timeout if isinstance(timeout, tuple) else (timeout,))}
            return send(request, **kwargs)

        adapter.send = noting
        return {"session": session}

    transport = kind.transport(platform)

    class Transport(kind.library.BaseTransport):  # type: ignore[name-defined,misc]
        def handle_request(self, request: Any) -> Any:
            limits = request.extensions["timeout"]
            timeouts[str(request.url)] = {limits["connect"], limits["read"]}
            return transport.handle_request(request)

    return {"client_options": {"transport": Transport()}}


# session (requests): whatever its send() makes of an answer.


def mounted(session: Any, kind: Kind, platform: Platform) -> Any:
    """The session, with the platform behind it."""
    session.trust_env = False
    session.mount("https://", kind.session(platform).get_adapter(API))
    return session


@pytest.fixture
def cached(requests_kind: Kind, platform: Platform) -> Iterator[Any]:
    """A session that keeps what it may, answers to POST included."""
    requests_cache = pytest.importorskip("requests_cache")
    methods = ("GET", "POST")
    with requests_cache.CachedSession(backend="memory", allowable_methods=methods) as session:
        yield mounted(session, requests_kind, platform)


def test_cached_session_may_call_the_endpoints(
    requests_kind: Kind, platform: Platform, clock: VirtualClock, cached: Any
) -> None:
    auth = requests_kind.auth(session=cached, m2m=M2M)
    for _ in range(2):
        assert requests_kind.get(auth, API, platform).status == 200
        clock.advance(7200)
    assert platform.bearers == ["token-1", "token-2"]
    assert platform.sessions == ["session-1", "session-2"]


def test_redirect_to_a_page_in_the_cache(
    requests_kind: Kind, platform: Platform, cached: Any
) -> None:
    cached.auth = requests_kind.auth(platform)
    platform.api = [Answer(200, b"the page"), redirect(API + "/page")]
    cached.get(API + "/page")
    response = cached.get(API)
    assert (response.status_code, response.content) == (200, b"the page")
    assert platform.bearers == ["token-1", "token-1"]


@pytest.mark.parametrize("times", [1, 9])
def test_401_through_a_cached_session(
    requests_kind: Kind, platform: Platform, cached: Any, times: int
) -> None:
    cached.auth = requests_kind.auth(platform)
    platform.api = [refusal() for _ in range(times)]
    assert cached.get(API).status_code == (200 if times == 1 else 401)
    assert platform.bearers == ["token-1", "token-2"]
    assert len(platform.token_calls) == 2


def test_session_whose_send_reads_the_answer_may_call_the_endpoints(
    requests_kind: Kind, platform: Platform
) -> None:
    import requests

    read: list[str] = []

    class Logging(requests.Session):
        def send(self, request: Any, **kwargs: Any) -> Any:
            response = super().send(request, **kwargs)
            read.append(f"{response.url} {response.headers} {response.text}")
            return response

    session = mounted(Logging(), requests_kind, platform)
    auth = requests_kind.auth(session=session, m2m=M2M)
    assert requests_kind.get(auth, API, platform).status == 200
    assert (platform.bearers, platform.sessions) == (["token-1"], ["session-1"])
    assert len(read) == 2


def test_status_that_a_session_raises_for_counts_as_the_answer(
    requests_kind: Kind, platform: Platform
) -> None:
    import requests

    class Raising(requests.Session):
        def send(self, request: Any, **kwargs: Any) -> Any:
            response = super().send(request, **kwargs)
            response.raise_for_status()
            return response

    session = mounted(Raising(), requests_kind, platform)
    auth = requests_kind.auth(session=session, m2m=M2M)
    platform.logins = [login_refusal()] * 9
    for _ in range(3):
        with pytest.raises(M2mLoginError) as caught:
            requests_kind.get(auth, API, platform)
        assert caught.value.status_code == 400
    assert len(platform.login_calls) == 1


def test_error_that_a_session_raises_without_a_response_is_no_answer(
    requests_kind: Kind,
) -> None:
    import requests

    class Raising(requests.Session):
        def send(self, request: Any, **kwargs: Any) -> Any:
            raise requests.HTTPError("odd")

    with pytest.raises(requests.RequestException, match="token endpoint could not be reached"):
        requests_kind.auth(session=Raising()).fetch_token()


def handmade(status: int, body: bytes, request: Any) -> Any:
    """A response that has no raw."""
    import requests

    response = requests.Response()
    response.status_code = status
    response._content = body
    response.url, response.request = request.url, request
    return response


def test_session_whose_responses_are_made_by_hand_may_call_the_endpoints(
    requests_kind: Kind, platform: Platform
) -> None:
    import requests

    class Handmade(requests.Session):
        def send(self, request: Any, **kwargs: Any) -> Any:
            is_token = request.url.endswith(TOKEN_PATH)
            answer = platform.new_token() if is_token else platform.new_session()
            return handmade(200, answer.body, request)

    auth = requests_kind.auth(session=Handmade(), m2m=M2M)
    assert isinstance(auth.fetch_token(), OauthToken)
    assert auth.fetch_vz_m2m_token() == "session-1"


def test_rejected_response_that_was_made_by_hand_is_returned(
    requests_kind: Kind, platform: Platform
) -> None:
    """Nothing leads back to where it came from."""
    import requests

    auth = requests_kind.auth(platform)
    prepared = requests.Request("GET", API, auth=auth).prepare()
    (hook,) = prepared.hooks["response"]
    assert hook(handmade(401, refusal().body, prepared)).status_code == 401
    assert len(platform.token_calls) == 2


def test_asynchronous_session_is_told_what_to_use_instead(
    requests_kind: Kind, platform: Platform
) -> None:
    """niquests' requests and responses look like those of requests, but for their bodies."""
    import requests

    async def read() -> bytes:
        return b""

    class Response(requests.Response):
        content: Any = property(lambda self: read())

    prepared = requests.Request("GET", API, auth=requests_kind.auth(platform)).prepare()
    rejected: Any = Response()
    rejected.status_code, rejected.request, rejected.url = 401, prepared, prepared.url
    (hook,) = prepared.hooks["response"]
    with pytest.raises(TypeError, match=r"aheaders\(\) and arecover\(\)"):
        hook(rejected)


def test_works_where_requests_cache_was_installed_before_the_import(
    requests_kind: Kind, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which puts its own class in the place of ``requests.Session``, ours included."""
    requests_cache = pytest.importorskip("requests_cache")
    from thingspace_auth_adapters._adapters import requests_transport

    made: list[Any] = []

    class Installed(requests_cache.CacheMixin, requests_kind.library.Session):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            super().__init__(backend="memory", allowable_methods=("GET", "POST"))
            made.append(mounted(self, requests_kind, platform))

    monkeypatch.setattr(requests_transport, "Session", Installed)
    auth = requests_kind.adapter.ThingspaceAuth(**IDENTITY)
    tokens = {auth.fetch_token().access_token for _ in range(2)}
    assert tokens == {"token-1", "token-2"}
    assert made
