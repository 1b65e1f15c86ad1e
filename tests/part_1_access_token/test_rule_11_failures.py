"""Part 1, rule 11: what a call of the endpoints fails with, and what is tried again."""

from __future__ import annotations

import gc
import gzip
import weakref
import zlib
from typing import Any

import pytest

from thingspace_auth_adapters import (
    InvalidTokenResponseError,
    M2mLoginError,
    OauthProviderError,
    ThingspaceAuthError,
    VzM2mCredentials,
)

from ..support.kinds import PASSWORD, Kind
from ..support.real import eventually
from ..support.virtual import (
    API,
    LOGIN_PATH,
    LOGIN_REFUSED,
    TOKEN_PATH,
    Answer,
    Platform,
    VirtualClock,
    refusal,
    token_answer,
)

pytestmark = pytest.mark.usefixtures("clock")


def fails(kind: Kind, auth: Any, platform: Platform) -> Any:
    """The error of a request, which is one of its library's."""
    with pytest.raises(kind.request_error) as caught:
        kind.get(auth, API, platform)
    return caught.value


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


def test_wrong_password_names_host_and_user(kind: Kind, platform: Platform) -> None:
    platform.logins = [Answer(400, LOGIN_REFUSED)]
    auth = kind.auth(platform, m2m=VzM2mCredentials("Uws-User", "wrong"))
    with pytest.raises(M2mLoginError, match=r"as Uws-User at thingspace.verizon.com:443 is tried"):
        kind.get(auth, API, platform)


REDIRECTS = ["https://evil.example/", "x:y", "http://[::1", "//", "\x7f", "https://a:b:c/"]
NO_TOKENS = [
    Answer(200, b"<html>captive portal</html>"),
    Answer(200, {"token": "x"}),
    Answer(200, {"access_token": "x", "token_type": "mac"}),
    Answer(200, {"access_token": "x\n"}),
    *[Answer(302 + 5 * (n % 2), b"", {"Location": to}) for n, to in enumerate(REDIRECTS)],
]


@pytest.mark.parametrize("answer", NO_TOKENS, ids=lambda one: f"{one.body!r} {one.headers}")
def test_answer_that_is_no_token(kind: Kind, platform: Platform, answer: Answer) -> None:
    platform.tokens = [answer]
    error = fails(kind, kind.auth(platform), platform)
    assert isinstance(error, InvalidTokenResponseError)
    assert error.retryable
    assert (str(answer.status) in str(error)) or answer.status == 200
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
    kind.get(kind.auth(platform, m2m=VzM2mCredentials("user", PASSWORD)), API, platform)
    assert (platform.bearers, platform.sessions) == (["encoded"], ["s"])
    assert platform.token_calls[0].headers["accept-encoding"] == "identity"


# An endpoint that cannot be reached.


def assert_about(error: Any, kind: Kind, path: str) -> None:
    """It is the library's own, and its request is that of the endpoint without its secrets."""
    assert not isinstance(error, ThingspaceAuthError)
    assert str(error.request.url).endswith(path)
    assert "authorization" not in {name.lower() for name in error.request.headers}
    assert not (error.request.body if kind.is_requests else error.request.content)


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
    auth = kind.auth(platform, m2m=VzM2mCredentials("user", PASSWORD))
    error = fails(kind, auth, platform)
    assert "the login could not be reached" in str(error)
    assert_about(error, kind, LOGIN_PATH)
    assert len(platform.login_calls) == calls


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
