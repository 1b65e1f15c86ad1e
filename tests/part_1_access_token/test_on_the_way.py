"""The contract, Part 1, rule 11: what a library raises on the way is its own family's error."""

from __future__ import annotations

import errno
import importlib.util
import socket
from pathlib import Path
from typing import Any

import pytest

from thingspace_auth_adapters import OauthToken, ThingspaceAuthError, VzM2mCredentials

from ..support.kinds import INSTALLED, PASSWORD, Kind
from ..support.loopback import Loopback, Raw
from ..support.virtual import API, Answer, Platform, VirtualClock, refusal

PATH = "/api/m2m/v1/devices"
PURPOSES = {"token": "the token endpoint", "login": "the login"}
GIVEN = {"access_token": "given"}


@pytest.fixture(autouse=True)
def _virtual_time(clock: VirtualClock) -> None:
    pass


def fails(kind: Kind, auth: Any, url: str) -> Any:
    with pytest.raises(kind.request_error) as caught:
        kind.get(auth, url)
    return caught.value


def options_for(purpose: str) -> dict[str, Any]:
    """Options for an object whose first call is that of this endpoint."""
    if purpose == "token":
        return {}
    return {"oauth_token": GIVEN, "m2m": VzM2mCredentials("user", PASSWORD)}


ODD_ANSWERS = {
    "negative chunk": b"Transfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
    "no chunk size": b"Transfer-Encoding: chunked\r\n\r\nx\r\nhello\r\n0\r\n\r\n",
    "endless chunk": b"Transfer-Encoding: chunked\r\n\r\nffffffff\r\nhello",
    "negative length": b"Content-Length: -1\r\n\r\n{}",
    "wrong length": b"Content-Length: 999\r\n\r\n{}",
    "no gzip": b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
    "header line": b"\xff\xfe: \x00\r\n\r\n{}",
    "odd encoding": b"Content-Encoding: \xe9\r\nContent-Length: 2\r\n\r\n{}",
}


# httpx leaves generators of its own to the collector if a stream ends early.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", list(ODD_ANSWERS))
@pytest.mark.parametrize("purpose", list(PURPOSES))
def test_malformed_answer(kind: Kind, purpose: str, name: str) -> None:
    platform = Platform()
    platform.tokens = [Raw([b"HTTP/1.1 200 OK\r\n" + ODD_ANSWERS[name]])] * 9
    platform.logins = platform.tokens
    with Loopback(platform) as server:
        error = fails(kind, kind.auth(base_url=server.url, **options_for(purpose)), server.url)
    assert PURPOSES[purpose] in str(error) or isinstance(error, ThingspaceAuthError)
    assert len(platform.login_calls) <= 2


# Newer httpx would have us make the context ourselves; older one passes over the variable.
@pytest.mark.filterwarnings("ignore:.*verify=:DeprecationWarning")
@pytest.mark.parametrize("content", [None, "no certificate\n"], ids=["missing", "unreadable"])
def test_ca_file_that_is_of_no_use_is_no_reason_to_try_again(
    kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: VirtualClock, content: Any
) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(path))
    options: dict[str, Any] = {} if kind.is_requests else {"client_options": {"verify": str(path)}}
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(kind.request_error) as caught:
            kind.fetch_token(kind.auth(base_url=url, **options))
    assert "the token endpoint" in str(caught.value)
    assert clock.pauses == []


PROXIES = ["foo://127.0.0.1:1", "socks5://127.0.0.1:1", "http://127.0.0.1:port", "http://[::1"]


@pytest.mark.parametrize("proxy", PROXIES)
def test_unusable_proxy_is_no_reason_to_try_again(
    kind: Kind, monkeypatch: pytest.MonkeyPatch, clock: VirtualClock, proxy: str
) -> None:
    if kind.is_requests and "socks" in proxy and importlib.util.find_spec("socks") is not None:
        pytest.skip("with PySocks, which HTTPie brings along, it is a proxy like any other")
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    auth = kind.auth(base_url="https://thingspace.invalid", oauth_token=None)
    with pytest.raises(kind.request_error) as caught:
        kind.fetch_token(auth)
    assert "the token endpoint" in str(caught.value)
    assert clock.pauses == []


@pytest.mark.parametrize("hosts", ["[::1]", "http://[", "a\tb"])
def test_odd_list_of_hosts_without_a_proxy(
    kind: Kind, monkeypatch: pytest.MonkeyPatch, hosts: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", hosts)
    with pytest.raises(kind.request_error) as caught:
        kind.fetch_token(kind.auth(base_url="https://thingspace.invalid"))
    assert "the token endpoint" in str(caught.value)


def test_no_file_descriptors_left(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_more(*args: Any, **kwargs: Any) -> Any:
        raise OSError(errno.EMFILE, "Too many open files")

    platform = Platform()
    with Loopback(platform) as server:
        auth = kind.auth(base_url=server.url, **options_for("login"))
        token = kind.auth(base_url=server.url)
        monkeypatch.setattr(socket.socket, "connect", no_more)
        found = []
        for one in (auth, token):
            with pytest.raises(kind.request_error) as caught:
                (kind.fetch_session if one is auth else kind.fetch_token)(one)
            found.append(caught.value)
        monkeypatch.undo()
        assert kind.get(auth, server.url + PATH).status == 200
    assert len(found) == 2
    assert len(platform.login_calls) == 1


@pytest.mark.parametrize("failure", ["proxy"])
def test_login_through_a_proxy_that_says_no_is_tried_once_a_request(
    kind: Kind, platform: Platform, failure: str
) -> None:
    """Its 407s lock the user's domain account."""
    platform.logins = [Answer(failure=failure)] * 99
    auth = kind.auth(platform, m2m=VzM2mCredentials("user", PASSWORD))
    with pytest.raises(kind.request_error):
        kind.get(auth, API, platform)
    assert len(platform.login_calls) == 1


# Responses that were made by hand.

REQUESTS = [kind for kind in INSTALLED if kind.is_requests]
ONLY_REQUESTS = pytest.mark.skipif(not REQUESTS, reason="requests is not installed")


def handmade(status: int, body: bytes, request: Any) -> Any:
    import requests

    response = requests.Response()
    response.status_code = status
    response._content = body
    response.url, response.request = request.url, request
    return response


@pytest.fixture
def handmade_session(platform: Platform) -> Any:
    """A session whose adapter answers with responses that have no raw."""
    import requests

    class Adapter(requests.adapters.BaseAdapter):
        def send(self, request: Any, *args: Any, **kwargs: Any) -> Any:
            is_token = request.url.endswith("/oauth2/token")
            answer = platform.new_token() if is_token else platform.new_session()
            return handmade(200, answer.body, request)

        def close(self) -> None: ...

    session = requests.Session()
    session.mount("https://", Adapter())
    return session


@ONLY_REQUESTS
def test_session_whose_responses_are_made_by_hand(
    platform: Platform, handmade_session: Any
) -> None:
    options = {"session": handmade_session, "m2m": VzM2mCredentials("user", PASSWORD)}
    auth = REQUESTS[0].auth(**options)
    assert isinstance(auth.fetch_token(), OauthToken)
    assert auth.fetch_vz_m2m_token() == "session-1"


@ONLY_REQUESTS
def test_rejected_response_that_was_made_by_hand_is_returned(platform: Platform) -> None:
    """Nothing leads back to where it came from."""
    import requests

    auth = REQUESTS[0].auth(platform)
    prepared = requests.Request("GET", API, auth=auth).prepare()
    rejected = handmade(401, refusal().body, prepared)
    (hook,) = prepared.hooks["response"]
    assert hook(rejected).status_code == 401
    assert len(platform.token_calls) == 2


@ONLY_REQUESTS
def test_asynchronous_session_is_told_what_to_use_instead(platform: Platform) -> None:
    """niquests' requests and responses look like those of requests, but for their bodies."""
    import requests

    auth = REQUESTS[0].auth(platform)
    prepared = requests.Request("GET", API, auth=auth).prepare()

    async def read() -> bytes:
        return b""

    class Response(requests.Response):
        content: Any = property(lambda self: read())

    rejected: Any = Response()
    rejected.status_code, rejected.request, rejected.url = 401, prepared, prepared.url
    (hook,) = prepared.hooks["response"]
    with pytest.raises(TypeError, match=r"aheaders\(\) and arecover\(\)"):
        hook(rejected)
