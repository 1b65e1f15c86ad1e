"""Part 1, options ``session`` and ``client_options``: what of the user's calls the endpoints."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from thingspace_auth_adapters import M2mLoginError, OauthToken

from ..support.clients import send_by_hand
from ..support.kinds import IDENTITY, Kind, requests_adapter
from ..support.logins import credentials
from ..support.virtual import (
    API,
    BASE,
    TOKEN_PATH,
    Answer,
    Platform,
    VirtualClock,
    login_refusal,
    redirect,
    refusal,
)

pytestmark = pytest.mark.usefixtures("clock")

# requests: a session.


def mounted(session: Any, platform: Platform) -> Any:
    """The session, with the platform behind it."""
    session.trust_env = False
    session.mount("https://", requests_adapter(platform))
    return session


def test_given_session_lends_its_transport_and_nothing_else(
    requests_kind: Kind, platform: Platform
) -> None:
    import requests

    called: list[Any] = []

    class Adapter(requests.adapters.HTTPAdapter):
        def send(self, request: Any, **kwargs: Any) -> Any:  # type: ignore[override]
            called.append((request, kwargs))
            return requests_adapter(platform).send(request, **kwargs)

    given = requests.Session()
    given.trust_env = False
    given.mount("https://", Adapter())
    given.proxies = {"https": "http://proxy.example:3128"}
    given.verify = "/etc/company.pem"
    given.cert = "/etc/client.pem"
    given.auth = ("other", "auth")
    given.headers["X-Spy"] = "1"
    given.cookies.set("spy", "1", domain="thingspace.verizon.com")
    given.params = {"spy": "1"}
    given.hooks["response"] = [lambda response, **kwargs: pytest.fail("hook was called")]
    answer = platform.new_token()
    answer.headers["Set-Cookie"] = "tracking=1; Path=/"
    platform.tokens = [answer]

    auth = requests_kind.adapter.ThingspaceAuth(**IDENTITY, session=given, timeout=12)
    assert auth.fetch_token().access_token == "token-1"
    ((request, kwargs),) = called
    assert request.url == BASE + TOKEN_PATH
    assert request.headers["Authorization"].startswith("Basic dGhlLWtleTp")
    assert "X-Spy" not in request.headers
    assert "Cookie" not in request.headers
    assert kwargs["proxies"]["https"] == "http://proxy.example:3128"
    assert (kwargs["verify"], kwargs["cert"]) == ("/etc/company.pem", "/etc/client.pem")
    assert kwargs["timeout"] == 12
    assert [cookie.name for cookie in given.cookies] == ["spy"]


def test_session_that_retries_by_itself_gives_its_last_answer(
    requests_kind: Kind, platform: Platform
) -> None:
    import requests

    class Retrying(requests.Session):
        def send(self, request: Any, **kwargs: Any) -> Any:
            response = super().send(request, **kwargs)
            return response if response.status_code < 500 else super().send(request, **kwargs)

    given = mounted(Retrying(), platform)
    platform.tokens = [Answer(503)]
    auth = requests_kind.adapter.ThingspaceAuth(**IDENTITY, session=given)
    assert auth.fetch_token().access_token == "token-1"
    assert len(platform.token_calls) == 2


# Whatever its send() makes of an answer.


@pytest.fixture
def cached(requests_kind: Kind, platform: Platform) -> Iterator[Any]:
    """A session that keeps what it may, answers to POST included."""
    requests_cache = pytest.importorskip("requests_cache")
    methods = ("GET", "POST")
    with requests_cache.CachedSession(backend="memory", allowable_methods=methods) as session:
        yield mounted(session, platform)


def test_cached_session_may_call_the_endpoints(
    requests_kind: Kind, platform: Platform, clock: VirtualClock, cached: Any
) -> None:
    auth = requests_kind.auth(session=cached, m2m=credentials())
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

    session = mounted(Logging(), platform)
    auth = requests_kind.auth(session=session, m2m=credentials())
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

    session = mounted(Raising(), platform)
    auth = requests_kind.auth(session=session, m2m=credentials())
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

    auth = requests_kind.auth(session=Handmade(), m2m=credentials())
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
            made.append(mounted(self, platform))

    monkeypatch.setattr(requests_transport, "Session", Installed)
    auth = requests_kind.adapter.ThingspaceAuth(**IDENTITY)
    tokens = {auth.fetch_token().access_token for _ in range(2)}
    assert tokens == {"token-1", "token-2"}
    assert made


# httpx: client_options. Names that do not fit are in test_mistakes.


@pytest.mark.parametrize("option", ["transport", "mounts"])
def test_transport_that_only_an_asynchronous_client_could_use_is_a_type_error(
    httpx_kind: Kind, option: str
) -> None:
    """Nothing is to be found out by the first request."""
    library = httpx_kind.library

    async def handler(request: Any) -> Any:
        raise AssertionError

    for transport in (library.AsyncHTTPTransport(), library.MockTransport(handler)):
        given = transport if option == "transport" else {"all://": transport}
        with pytest.raises(TypeError, match=r"client_options: .* is asynchronous") as caught:
            httpx_kind.auth(client_options={option: given})
        assert f"{httpx_kind.library_name}.HTTPTransport" in str(caught.value)


def test_mounts_apply(httpx_kind: Kind, platform: Platform) -> None:
    mounts = {"https://thingspace.verizon.com": httpx_kind.transport(platform), "all://": None}
    auth = httpx_kind.auth(client_options={"mounts": mounts, "trust_env": False})
    httpx_kind.get(auth, API, platform)
    assert platform.bearers == ["token-1"]


@pytest.mark.parametrize("option", ["transport", "mounts"])
def test_given_transport_is_not_closed(httpx_kind: Kind, platform: Platform, option: str) -> None:
    closed: list[str] = []
    transport = httpx_kind.transport(platform)

    async def aclose() -> None:
        closed.append("aclose")

    transport.close = lambda: closed.append("close")
    transport.aclose = aclose
    given = transport if option == "transport" else {"all://": transport}
    auth = httpx_kind.auth(client_options={option: given})
    for _ in range(2):
        httpx_kind.fetch_token(auth)
    assert closed == []
    assert len(platform.token_calls) == 2


def test_transport_whose_answers_are_read_already_works(httpx_kind: Kind) -> None:
    library = httpx_kind.library

    def answer(request: Any) -> Any:
        if request.url.path.endswith("/oauth2/token"):
            return library.Response(200, json={"access_token": "mocked", "expires_in": 3600})
        return library.Response(200, json={"sent": request.headers["Authorization"]})

    transport = library.MockTransport(answer)
    auth = httpx_kind.auth(client_options={"transport": transport})
    request = library.Request("GET", API, extensions={"timeout": {}})
    response = send_by_hand(httpx_kind, auth, None, request, transport=transport)
    assert response.json() == {"sent": "Bearer mocked"}


def test_object_is_an_auth_of_its_library(httpx_kind: Kind) -> None:
    auth = httpx_kind.adapter.ThingspaceAuth(**IDENTITY)
    assert isinstance(auth, httpx_kind.library.Auth)
    assert auth.requires_request_body is False
    assert auth.requires_response_body is False
