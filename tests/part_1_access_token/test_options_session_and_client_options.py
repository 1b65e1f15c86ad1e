"""Part 1, options ``session`` and ``client_options``: what of the user's calls the endpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from thingspace_auth_adapters import InvalidTokenResponseError
from thingspace_auth_adapters.simulator import ThingspaceSimulator

from ..support.clients import send_by_hand
from ..support.kinds import IDENTITY, Kind, requests_adapter
from ..support.real import options_for
from ..support.virtual import API, BASE, TOKEN_PATH, Answer, Platform, VirtualClock

# Both.


def test_environments_proxy_is_not_used_for_loopback(
    kind: Kind, monkeypatch: pytest.MonkeyPatch, clock: VirtualClock
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with ThingspaceSimulator() as simulator:
        auth = kind.adapter.ThingspaceAuth(**options_for(simulator))
        assert kind.fetch_token(auth).access_token in simulator.issued_tokens
    assert clock.pauses == []


# httpx leaves generators of its own open where a body is not read to its end.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_endless_answer_of_the_token_endpoint_is_cut_off(kind: Kind, platform: Platform) -> None:
    # Whoever reads it all finds a token.
    platform.tokens = [Answer(200, b" " * 100_000 + b'{"access_token": "x"}')]
    with pytest.raises(InvalidTokenResponseError):
        kind.fetch_token(kind.auth(platform))


# requests: a session.


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


def test_netrc_does_not_replace_the_clients_credentials(
    requests_kind: Kind, platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine thingspace.verizon.com login other password other\n")
    monkeypatch.setenv("NETRC", str(netrc))
    given = requests_kind.session(platform)
    given.trust_env = True
    requests_kind.adapter.ThingspaceAuth(**IDENTITY, session=given).fetch_token()
    assert (platform.token_calls[0].authorization or "").startswith("Basic dGhlLWtleTp")


def test_session_that_retries_by_itself_gives_its_last_answer(
    requests_kind: Kind, platform: Platform
) -> None:
    import requests

    class Retrying(requests.Session):
        def send(self, request: Any, **kwargs: Any) -> Any:
            response = super().send(request, **kwargs)
            return response if response.status_code < 500 else super().send(request, **kwargs)

    given = Retrying()
    given.trust_env = False
    given.mount("https://", requests_adapter(platform))
    platform.tokens = [Answer(503)]
    auth = requests_kind.adapter.ThingspaceAuth(**IDENTITY, session=given)
    assert auth.fetch_token().access_token == "token-1"
    assert len(platform.token_calls) == 2


# httpx: client_options. Names that do not fit are in test_bad_input.


def test_timeout_of_the_object_is_that_of_every_phase(httpx_kind: Kind, platform: Platform) -> None:
    seen: list[Any] = []
    inner = httpx_kind.transport(platform)

    class Noting(httpx_kind.library.BaseTransport):  # type: ignore[name-defined,misc]
        def handle_request(self, request: Any) -> Any:
            seen.append(request.extensions["timeout"])
            return inner.handle_request(request)

    auth = httpx_kind.auth(client_options={"transport": Noting()}, timeout=12)
    httpx_kind.get(auth, API, platform, timeout=1)
    httpx_kind.fetch_token(auth)
    assert seen == [dict.fromkeys(("connect", "read", "write", "pool"), 12)] * 2


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


def test_given_transport_is_not_closed(httpx_kind: Kind, platform: Platform) -> None:
    closed: list[str] = []
    transport = httpx_kind.transport(platform)

    async def aclose() -> None:
        closed.append("aclose")

    transport.close = lambda: closed.append("close")
    transport.aclose = aclose
    auth = httpx_kind.auth(client_options={"transport": transport})
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
