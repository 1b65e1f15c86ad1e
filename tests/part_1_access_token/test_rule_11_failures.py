"""Part 1, rule 11: what a call of the endpoints fails with, and what is tried again."""

from __future__ import annotations

import errno
import gc
import gzip
import importlib.util
import os
import socket
import weakref
import zlib
from pathlib import Path
from typing import Any, Callable

import pytest

from thingspace_auth_adapters import (
    InvalidTokenResponseError,
    OauthProviderError,
    ThingspaceAuthError,
)

from ..support.kinds import IDENTITY, PASSWORD, Kind
from ..support.logins import credentials, fails
from ..support.loopback import Loopback, Raw
from ..support.real import eventually
from ..support.virtual import (
    API,
    BASE,
    LOGIN_PATH,
    LOGOUT_PATH,
    TOKEN_PATH,
    Answer,
    Platform,
    VirtualClock,
    login_refusal,
    refusal,
    token_answer,
)

pytestmark = pytest.mark.usefixtures("clock")


# What the endpoint answers.


def test_refusal_is_one_clear_error_and_is_not_tried_again(kind: Kind, platform: Platform) -> None:
    body = {
        "error": "invalid_client",
        "error_description": "Client authentication failed",
        "error_uri": "https://example.com/help",
    }
    platform.tokens = [Answer(401, body)]
    auth = kind.auth(platform)
    error = fails(kind, auth, platform)
    assert isinstance(error, OauthProviderError)
    assert isinstance(error, kind.adapter.OauthProviderError)
    assert (error.status_code, error.error) == (401, "invalid_client")
    assert error.error_description == "Client authentication failed"
    assert error.error_uri == "https://example.com/help"
    assert not error.retryable
    assert str(error).startswith("the token endpoint refused (status 401): invalid_client")
    assert str(error).endswith(
        "; asked at https://thingspace.verizon.com with the key the-key; to look into it, run"
        " `thingspace-auth check`"
    )
    # It is about the request that could not be made.
    assert str(error.request.url) == API
    assert platform.trail == ["token"]
    # The next request tries again.
    assert kind.get(auth, API, platform).status == 200


def test_refusal_of_a_call_by_hand_knows_that_call(kind: Kind, platform: Platform) -> None:
    def of(call: Callable[..., object], *args: Any) -> str:
        platform.tokens = [Answer(401, {"error": "invalid_client"})]
        with pytest.raises(kind.request_error) as caught:
            call(*args)
        return str(caught.value.request.url)  # type: ignore[attr-defined]

    provided = kind.auth(platform, oauth_token_provider=lambda last, auth: auth.fetch_token())
    assert of(kind.fetch_token, kind.auth(platform)) == BASE + TOKEN_PATH
    assert of(kind.get, provided, API, platform) == BASE + TOKEN_PATH
    platform.logins = [login_refusal()]
    account = kind.auth(platform, m2m=credentials(), oauth_token={"access_token": "in-use"})
    assert of(kind.fetch_session, account) == BASE + LOGIN_PATH


NO_TOKENS = [
    Answer(200, b"<html>captive portal</html>"),
    Answer(200, {"token": "x"}),
    Answer(200, {"access_token": "x", "token_type": "mac"}),
    Answer(200, {"access_token": "x\n"}),
]


@pytest.mark.parametrize("answer", NO_TOKENS, ids=lambda one: repr(one.body))
def test_answer_that_is_no_token(kind: Kind, platform: Platform, answer: Answer) -> None:
    platform.tokens = [answer]
    error = fails(kind, kind.auth(platform), platform)
    assert isinstance(error, InvalidTokenResponseError)
    assert error.retryable
    assert len(platform.calls) == 1


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_transient_answers_are_tried_again(
    kind: Kind, platform: Platform, clock: VirtualClock, status: int
) -> None:
    """A few times, with growing and jittered pauses; then the endpoint's error is the request's."""
    platform.tokens = [Answer(status) for _ in range(2)]
    auth = kind.auth(platform)
    assert kind.get(auth, API, platform).status == 200
    first, second = clock.pauses
    assert 0.25 <= first <= 0.5 <= second <= 1
    auth.oauth_token = None
    platform.tokens = [Answer(status, {"error": "busy"}) for _ in range(4)]
    error = fails(kind, auth, platform)
    assert (error.status_code, error.error, error.retryable) == (status, "busy", True)
    # The key is not blamed for what passes.
    assert "the-key" not in str(error)
    assert platform.tokens == []


def test_proxy_that_wants_credentials_is_not_asked_again(kind: Kind, platform: Platform) -> None:
    platform.tokens = [Answer(407)]
    assert not fails(kind, kind.auth(platform), platform).retryable
    assert len(platform.calls) == 1


@pytest.mark.parametrize("code", ["server_error", "temporarily_unavailable"])
@pytest.mark.parametrize("status", [200, 400, 401])
def test_codes_that_may_pass_are_tried_again_whatever_the_status(
    kind: Kind, platform: Platform, status: int, code: str
) -> None:
    platform.tokens = [Answer(status, {"error": code}) for _ in range(9)]
    assert fails(kind, kind.auth(platform), platform).retryable
    assert len(platform.token_calls) == 4


def deflated(body: bytes, wbits: int) -> bytes:
    compressor = zlib.compressobj(wbits=wbits)
    return compressor.compress(body) + compressor.flush()


@pytest.mark.parametrize(
    "encoding", ["gzip", "deflate", "raw deflate", "utf-8", "none", "identity", "aws-chunked"]
)
def test_encoded_answers_give_a_token_all_the_same(
    kind: Kind, platform: Platform, encoding: str
) -> None:
    """Although they were asked not to be encoded; an unknown coding counts as none."""
    body = token_answer("encoded").body
    encoded = {
        "gzip": gzip.compress(body),
        "deflate": deflated(body, zlib.MAX_WBITS),
        "raw deflate": deflated(body, -zlib.MAX_WBITS),
    }
    name = encoding.replace("raw ", "")
    platform.tokens = [Answer(200, encoded.get(encoding, body), {"Content-Encoding": name})]
    session = gzip.compress(b'{"sessionToken": "s"}')
    platform.logins = [Answer(200, session, {"Content-Encoding": "gzip"})]
    kind.get(kind.auth(platform, m2m=credentials()), API, platform)
    assert (platform.bearers, platform.sessions) == (["encoded"], ["s"])
    assert platform.token_calls[0].headers["accept-encoding"] == "identity"


# An endpoint that cannot be reached.


def assert_about(error: Any, kind: Kind, path: str) -> None:
    """It is the library's own, and its request is that of the endpoint without its secrets."""
    assert not isinstance(error, ThingspaceAuthError)
    request = error.request
    assert str(request.url) == BASE + path
    assert "authorization" not in {name.lower() for name in request.headers}
    assert not (request.body if kind.is_requests else request.content)
    held = str(dict(request.headers))
    secrets = (IDENTITY["oauth_client_secret"], PASSWORD, "token-1", "session-1")
    assert [secret for secret in secrets if secret in held] == []


@pytest.mark.parametrize(
    ("failure", "calls"),
    [
        ("connect", 4),
        ("connect timeout", 4),
        ("read timeout", 4),
        ("protocol", 4),
        ("certificate", 1),
        ("proxy", 1),
        ("unsupported", 1),
    ],
)
def test_token_endpoint_that_cannot_be_reached_is_named(
    kind: Kind, platform: Platform, failure: str, calls: int
) -> None:
    """What stays as it is, is not tried again."""
    platform.tokens = [Answer(failure=failure) for _ in range(20)]
    error = fails(kind, kind.auth(platform), platform)
    assert "the token endpoint could not be reached" in str(error)
    assert_about(error, kind, TOKEN_PATH)
    assert len(platform.token_calls) == calls
    expected = {"connect": kind.connect_error, "read timeout": kind.read_timeout}
    assert isinstance(error, expected.get(failure, kind.request_error))


@pytest.mark.parametrize(("failure", "calls"), [("connect", 4), ("proxy", 1)])
def test_login_that_cannot_be_reached_is_named(
    kind: Kind, platform: Platform, failure: str, calls: int
) -> None:
    """Through a proxy that says no it is tried once: its 407s lock the user's domain account."""
    platform.logins = [Answer(failure=failure) for _ in range(20)]
    error = fails(kind, kind.auth(platform, m2m=credentials()), platform)
    assert "the login could not be reached" in str(error)
    assert_about(error, kind, LOGIN_PATH)
    assert len(platform.login_calls) == calls


def test_logout_that_cannot_be_reached_is_named(kind: Kind, platform: Platform) -> None:
    auth = kind.auth(platform, m2m=credentials())
    kind.get(auth, API, platform)
    platform.logouts = [Answer(failure="connect timeout")] * 9
    with pytest.raises(kind.request_error, match="the logout could not be reached") as caught:
        kind.end_session(auth)
    assert_about(caught.value, kind, LOGOUT_PATH)


# Whatever a library raises on the way is of its own family, and names the call.

PURPOSES = {"token": "the token endpoint", "login": "the login"}
INVALID = "https://thingspace.invalid"


def options_for(purpose: str) -> dict[str, Any]:
    """Options for an object whose first call is that of this endpoint."""
    if purpose == "token":
        return {}
    return {"oauth_token": {"access_token": "x"}, "m2m": credentials()}


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
def test_malformed_answer(kind: Kind, platform: Platform, purpose: str, name: str) -> None:
    platform.tokens = [Raw([b"HTTP/1.1 200 OK\r\n" + ODD_ANSWERS[name]])] * 9
    platform.logins = platform.tokens
    with Loopback(platform) as server:
        auth = kind.auth(base_url=server.url, **options_for(purpose))
        with pytest.raises(kind.request_error) as caught:
            kind.get(auth, server.url)
    assert PURPOSES[purpose] in str(caught.value) or isinstance(caught.value, ThingspaceAuthError)
    assert len(platform.login_calls) <= 2


def assert_named_and_not_tried_again(kind: Kind, auth: Any, clock: VirtualClock) -> None:
    with pytest.raises(kind.request_error, match="the token endpoint could not be reached"):
        kind.fetch_token(auth)
    assert clock.pauses == []


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
        assert_named_and_not_tried_again(kind, kind.auth(base_url=url, **options), clock)


PROXIES = ["foo://127.0.0.1:1", "socks5://127.0.0.1:1", "http://127.0.0.1:port", "http://[::1"]


@pytest.mark.parametrize("proxy", PROXIES)
def test_unusable_proxy_is_no_reason_to_try_again(
    kind: Kind, monkeypatch: pytest.MonkeyPatch, clock: VirtualClock, proxy: str
) -> None:
    if kind.is_requests and "socks" in proxy and importlib.util.find_spec("socks") is not None:
        pytest.skip("with PySocks, which HTTPie brings along, it is a proxy like any other")
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    assert_named_and_not_tried_again(kind, kind.auth(base_url=INVALID), clock)


# http.client leaves the socket of a refused tunnel to the garbage collector, on Python 3.9.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("purpose", list(PURPOSES))
def test_proxy_that_refuses_a_tunnel_keeps_calls_from_being_sent(
    kind: Kind, platform: Platform, monkeypatch: pytest.MonkeyPatch, purpose: str
) -> None:
    # Loopback knows no CONNECT.
    with Loopback(platform) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        auth = kind.auth(base_url=INVALID, **options_for(purpose))
        for _ in range(3):
            with pytest.raises(kind.request_error) as caught:
                (kind.fetch_token if purpose == "token" else kind.fetch_session)(auth)
            assert f"{PURPOSES[purpose]} could not be reached" in str(caught.value)
    assert platform.calls == []


@pytest.mark.parametrize("hosts", ["[::1]", "http://[", "a\tb"])
def test_odd_list_of_hosts_without_a_proxy(
    kind: Kind, monkeypatch: pytest.MonkeyPatch, hosts: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", hosts)
    options: dict[str, Any] = {} if kind.is_requests else {"client_options": {"verify": False}}
    with pytest.raises(kind.request_error, match="the token endpoint could not be reached"):
        kind.fetch_token(kind.auth(base_url=INVALID, **options))


@pytest.mark.parametrize("what", ["client", "connection"])
@pytest.mark.parametrize("purpose", list(PURPOSES))
def test_no_file_descriptors_left(
    kind: Kind, platform: Platform, monkeypatch: pytest.MonkeyPatch, purpose: str, what: str
) -> None:
    """Neither for a client nor for its connection: nothing is sent. Then there are some again."""

    def no_more(*args: Any, **kwargs: Any) -> Any:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    place: Any = kind.library
    if kind.is_requests:
        from thingspace_auth_adapters._adapters import requests_transport as place
    with Loopback(platform) as server:
        auth = kind.auth(base_url=server.url, **options_for(purpose))
        with monkeypatch.context() as patched:
            if what == "client":
                patched.setattr(place, "Session" if kind.is_requests else "Client", no_more)
            else:
                patched.setattr(socket.socket, "connect", no_more)
            for _ in range(3):
                with pytest.raises(kind.request_error) as caught:
                    (kind.fetch_token if purpose == "token" else kind.fetch_session)(auth)
                assert f"{PURPOSES[purpose]} could not be reached" in str(caught.value)
                assert os.strerror(errno.EMFILE) in str(caught.value)
        assert kind.get(auth, server.url + "/api").status == 200
    assert len(platform.login_calls) == (purpose == "login")


# What is left behind.


class Thing:
    """Something that a caller has on its stack."""


REFUSED = Answer(401, {"error": "invalid_client"})
LOST = Answer(failure="connect")


@pytest.mark.parametrize(
    ("moment", "answer"),
    [
        ("cold", REFUSED),
        ("cold", LOST),
        ("cold", Answer(200, b"<html>")),
        ("ahead of expiry", REFUSED),
        ("ahead of expiry", LOST),
        ("after a 401", REFUSED),
        ("after a 401", LOST),
    ],
)
def test_failed_fetch_keeps_nothing_of_the_caller_alive(
    kind: Kind,
    platform: Platform,
    clock: VirtualClock,
    moment: str,
    answer: Answer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    auth = kind.auth(platform, oauth_clock_skew=60)
    if moment != "cold":
        kind.get(auth, API, platform)
    if moment == "ahead of expiry":
        clock.advance(3550)
    platform.api = [refusal()] if moment == "after a 401" else []
    platform.tokens = [answer] * 20

    def caller() -> weakref.ref[Thing]:
        thing = Thing()
        if moment == "cold":
            fails(kind, auth, platform)
        else:
            kind.get(auth, API, platform)
        return weakref.ref(thing)

    # What is there already is nothing that the collector would have to look through.
    gc.freeze()
    left = caller()
    caplog.clear()

    def is_gone() -> bool:
        gc.collect()
        return left() is None

    # Under an asynchronous client a thread may be about to end.
    eventually(is_gone)
    gc.unfreeze()
    platform.tokens = []
    assert kind.get(auth, API, platform).status == 200
