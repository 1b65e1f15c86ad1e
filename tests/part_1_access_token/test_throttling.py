"""The contract, Part 1, rule 11: an endpoint that asks for a pause is left alone. Virtual."""

from __future__ import annotations

import gzip
import logging
import zlib
from typing import Any

import pytest

from thingspace_auth_adapters import (
    AuthEvent,
    InvalidTokenResponseError,
    M2mLoginError,
    OauthProviderError,
    VzM2mCredentials,
)

from ..support.kinds import PASSWORD, Kind
from ..support.virtual import API, Answer, Platform, VirtualClock, refusal, token_answer

EDGE = "https://5gedge.verizon.com/api/mec/eds"
MINUTE = 60

# What is answered, and for how many seconds the endpoint is then left alone.
THROTTLES: dict[str, tuple[Answer, float]] = {
    "429 with Retry-After": (Answer(429, b"", {"Retry-After": "90"}), 90),
    "429 for an hour": (Answer(429, b"", {"Retry-After": "3600"}), 5 * MINUTE),
    "429 alone": (Answer(429), 10),
    "503 with Retry-After": (Answer(503, b"", {"Retry-After": "100"}), 100),
    "gateway's fault": (Answer(503, {"fault": {"code": "900800"}}), 10),
    "gateway's fault, flat": (Answer(403, {"code": 900803}), 10),
    "gateway's fault in XML": (
        Answer(503, b"<amt:fault xmlns:amt='x'><amt:code>900802</amt:code></amt:fault>"),
        10,
    ),
}


@pytest.fixture(autouse=True)
def _virtual_time(clock: VirtualClock) -> None:
    pass


def events_in(caplog: pytest.LogCaptureFixture) -> list[AuthEvent]:
    return [one.auth_event for one in caplog.records if hasattr(one, "auth_event")]


def fails(kind: Kind, auth: Any, platform: Platform) -> Any:
    with pytest.raises(kind.request_error) as caught:
        kind.get(auth, API, platform)
    return caught.value


@pytest.mark.parametrize("name", list(THROTTLES))
def test_token_endpoint_is_left_alone_until_the_moment_it_named(
    kind: Kind,
    platform: Platform,
    clock: VirtualClock,
    name: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    answer, seconds = THROTTLES[name]
    platform.tokens = [answer] * 9
    auth = kind.auth(platform)
    first = fails(kind, auth, platform)
    calls, begun_at = len(platform.token_calls), clock.steady
    for _ in range(50):
        error = fails(kind, auth, platform)
        assert error is not first
        assert isinstance(error, OauthProviderError)
        assert (error.status_code, str(error)) == (answer.status, str(first))
        assert error.retryable
    assert "is not called again before" in str(first)
    with pytest.raises(OauthProviderError):
        kind.fetch_token(auth)
    assert (len(platform.token_calls), clock.steady) == (calls, begun_at)
    (event,) = [one for one in events_in(caplog) if one.name == "throttled"]
    assert (event.seconds, event.status_code) == (seconds, answer.status)
    platform.tokens = []
    clock.advance(seconds - 1)
    fails(kind, auth, platform)
    clock.advance(1)
    assert kind.get(auth, API, platform).status == 200


def test_pause_that_ends_within_a_refresh_is_waited_for(
    kind: Kind, platform: Platform, clock: VirtualClock
) -> None:
    platform.tokens = [Answer(429, b"", {"Retry-After": "20"})]
    begun_at = clock.steady
    assert kind.get(kind.auth(platform), API, platform).status == 200
    assert clock.steady - begun_at == 20


def test_failure_that_is_no_throttling_is_asked_about_again(kind: Kind, platform: Platform) -> None:
    platform.tokens = [Answer(503)] * 4
    auth = kind.auth(platform)
    fails(kind, auth, platform)
    assert kind.get(auth, API, platform).status == 200


def test_token_that_is_stale_goes_on_being_used(
    kind: Kind, platform: Platform, clock: VirtualClock
) -> None:
    auth = kind.auth(platform, oauth_clock_skew=10 * MINUTE)
    kind.get(auth, API, platform)
    clock.advance(3600 - 5 * MINUTE)
    platform.tokens = [THROTTLES["429 for an hour"][0]] * 99
    for _ in range(8):
        assert kind.get(auth, API, platform).status == 200
        clock.advance(30)
    assert platform.bearers == ["token-1"] * 9
    assert len(platform.token_calls) == 2


def test_answer_to_a_rejected_token_is_returned_as_it_came(kind: Kind, platform: Platform) -> None:
    auth = kind.auth(platform)
    kind.get(auth, API, platform)
    platform.tokens = [THROTTLES["429 for an hour"][0]]
    platform.api = [refusal()]
    assert kind.get(auth, API, platform).status == 401
    assert isinstance(fails(kind, auth, platform), OauthProviderError)
    assert len(platform.token_calls) == 2


def test_assigned_token_is_used_at_once(kind: Kind, platform: Platform) -> None:
    auth = kind.auth(platform)
    platform.tokens = [THROTTLES["429 for an hour"][0]]
    fails(kind, auth, platform)
    auth.oauth_token = {"access_token": "assigned"}
    assert kind.get(auth, API, platform).status == 200
    assert platform.bearers == ["assigned"]


def test_store_and_provider_are_still_asked(kind: Kind, platform: Platform) -> None:
    from ..support.memory_store import memory_store

    store, rows = memory_store(), [None, None, {"access_token": "provided"}]
    shared = kind.auth(platform, store=store)
    asked = kind.auth(platform, oauth_token_provider=lambda last, manager: rows.pop(0))
    platform.tokens = [THROTTLES["429 for an hour"][0]] * 2
    for auth in (shared, asked):
        fails(kind, auth, platform)
    fails(kind, asked, platform)
    assert kind.get(asked, API, platform).status == 200
    kind.get(kind.auth(platform, store=store), API, platform)
    assert kind.get(shared, API, platform).status == 200
    assert platform.bearers == ["provided", "token-1", "token-1"]


@pytest.mark.parametrize("name", ["429 with Retry-After", "503 with Retry-After"])
def test_login_has_a_moment_of_its_own(
    kind: Kind, platform: Platform, clock: VirtualClock, name: str
) -> None:
    answer, seconds = THROTTLES[name]
    platform.logins = [answer] * 99
    auth = kind.auth(platform, m2m=VzM2mCredentials("user", PASSWORD))
    for _ in range(50):
        assert isinstance(fails(kind, auth, platform), M2mLoginError)
    assert len(platform.login_calls) == 1
    assert kind.get(auth, EDGE, platform).status == 200
    platform.logins = []
    clock.advance(seconds)
    assert kind.get(auth, API, platform).status == 200


def test_revocation_is_not_left_alone_with_the_token_endpoint(
    kind: Kind, platform: Platform
) -> None:
    auth = kind.auth(platform)
    auth.oauth_token = {"access_token": "assigned"}
    platform.tokens = [THROTTLES["429 for an hour"][0]]
    with pytest.raises(OauthProviderError):
        kind.fetch_token(auth)
    kind.revoke_token(auth)
    assert auth.oauth_token is None


# What is tried again, and what says that it may help.


@pytest.mark.parametrize("status", [200, 400, 401, 408, 425])
@pytest.mark.parametrize("code", ["server_error", "temporarily_unavailable", "invalid_client"])
def test_codes_that_may_pass_are_tried_again_whatever_the_status(
    kind: Kind, platform: Platform, status: int, code: str
) -> None:
    platform.tokens = [Answer(status, {"error": code})] * 9
    error = fails(kind, kind.auth(platform), platform)
    is_transient = code != "invalid_client" or status in (408, 425)
    assert error.retryable is is_transient
    assert len(platform.token_calls) == (4 if is_transient else 1)


def test_each_error_says_whether_trying_again_may_help(kind: Kind, platform: Platform) -> None:
    platform.tokens = [Answer(200, b"<html>")]
    error = fails(kind, kind.auth(platform), platform)
    assert isinstance(error, InvalidTokenResponseError)
    assert error.retryable
    platform.tokens = [Answer(407, b"")]
    error = fails(kind, kind.auth(platform), platform)
    assert not error.retryable
    assert len(platform.token_calls) == 2


# What is encoded although it was asked not to be.


def deflated(body: bytes, is_raw: bool) -> bytes:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS if is_raw else zlib.MAX_WBITS)
    return compressor.compress(body) + compressor.flush()


@pytest.mark.parametrize(
    "encoding", ["gzip", "deflate", "raw deflate", "utf-8", "none", "identity", "aws-chunked"]
)
def test_encoded_answers_give_a_token_all_the_same(
    kind: Kind, platform: Platform, encoding: str
) -> None:
    body = token_answer("encoded").body
    encoded = {
        "gzip": gzip.compress(body),
        "deflate": deflated(body, False),
        "raw deflate": deflated(body, True),
    }
    name = "deflate" if "deflate" in encoding else encoding
    headers = {"Content-Encoding": name, "Content-Type": "application/json"}
    platform.tokens = [Answer(200, encoded.get(encoding, body), headers)]
    auth = kind.auth(platform, m2m=VzM2mCredentials("user", PASSWORD))
    platform.logins = [Answer(200, gzip.compress(b'{"sessionToken": "s"}'), {**headers})]
    platform.logins[0].headers["Content-Encoding"] = "gzip"
    assert kind.get(auth, API, platform).status == 200
    assert (platform.bearers, platform.sessions) == (["encoded"], ["s"])


def test_session_that_is_merely_idle_is_sent_while_the_login_is_left_alone(
    kind: Kind, platform: Platform, clock: VirtualClock
) -> None:
    auth = kind.auth(platform, m2m=VzM2mCredentials("user", PASSWORD))
    kind.get(auth, API, platform)
    platform.logins = [THROTTLES["429 for an hour"][0]]
    with pytest.raises(M2mLoginError):
        kind.fetch_session(auth)
    clock.advance(20 * MINUTE)
    platform.logins = [THROTTLES["429 for an hour"][0]]
    with pytest.raises(M2mLoginError):
        kind.fetch_session(auth)
    assert kind.get(auth, API, platform).status == 200
    assert platform.sessions == ["session-1"] * 2


def test_revocation_that_is_throttled_is_left_alone_too(kind: Kind, platform: Platform) -> None:
    auth = kind.auth(platform)
    auth.oauth_token = {"access_token": "assigned"}
    platform.tokens = [THROTTLES["429 for an hour"][0]]
    for _ in range(3):
        with pytest.raises(OauthProviderError) as caught:
            kind.revoke_token(auth)
        assert caught.value.retryable
    assert len(platform.calls) == 1
    assert auth.oauth_token is not None
