"""Part 1, rule 11: an endpoint that asks for a pause is left alone."""

from __future__ import annotations

import logging
import time
from typing import Any

import pytest

from thingspace_auth_adapters import M2mLoginError, OauthProviderError

from ..support.kinds import Kind
from ..support.logins import MINUTE, credentials, fails
from ..support.memory_store import memory_store
from ..support.virtual import API, EDGE, Answer, Platform, VirtualClock, refusal

pytestmark = pytest.mark.usefixtures("clock")

XML = b"<amt:fault xmlns:amt='x'><amt:code>900802</amt:code></amt:fault>"

# What is answered, and for how many seconds the endpoint is then left alone.
THROTTLES: dict[str, tuple[Answer, float]] = {
    "429 with Retry-After": (Answer(429, b"", {"Retry-After": "90"}), 90),
    "429 for an hour": (Answer(429, b"", {"Retry-After": "3600"}), 5 * MINUTE),
    "429 alone": (Answer(429), 10),
    "503 with Retry-After": (Answer(503, b"", {"Retry-After": "100"}), 100),
    "gateway's fault": (Answer(503, {"fault": {"code": "900800"}}), 10),
    "gateway's fault, flat": (Answer(403, {"code": 900803}), 10),
    "gateway's fault in XML": (Answer(503, XML), 10),
}
FOR_AN_HOUR = THROTTLES["429 for an hour"][0]


@pytest.mark.parametrize("name", list(THROTTLES))
def test_token_endpoint_is_left_alone_until_the_moment_it_named(
    kind: Kind,
    platform: Platform,
    auth: Any,
    clock: VirtualClock,
    name: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    answer, seconds = THROTTLES[name]
    platform.tokens = [answer] * 9
    first = fails(kind, auth, platform)
    until = time.strftime("%H:%M:%S UTC", time.gmtime(clock.wall + seconds))
    assert f"is not called again before {until}" in str(first)
    calls, begun_at = len(platform.token_calls), clock.steady
    # What is too far ahead is not waited for.
    assert calls == (4 if seconds == 10 else 1)
    for _ in range(10):
        error = fails(kind, auth, platform)
        assert error is not first
        assert isinstance(error, OauthProviderError)
        assert (error.status_code, str(error)) == (answer.status, str(first))
        assert error.retryable
    with pytest.raises(OauthProviderError):
        kind.fetch_token(auth)
    assert (len(platform.token_calls), clock.steady) == (calls, begun_at)
    records = [one for one in caplog.records if hasattr(one, "auth_event")]
    ((event, level),) = [
        (one.auth_event, one.levelno) for one in records if one.auth_event.name == "throttled"
    ]
    assert (event.seconds, event.status_code, level) == (seconds, answer.status, logging.INFO)
    platform.tokens = []
    clock.advance(seconds - 1)
    fails(kind, auth, platform)
    clock.advance(1)
    assert kind.get(auth, API, platform).status == 200


@pytest.mark.parametrize("status", [429, 503])
def test_pause_that_ends_within_a_refresh_is_waited_for(
    kind: Kind, platform: Platform, auth: Any, clock: VirtualClock, status: int
) -> None:
    platform.tokens = [Answer(status, b"", {"Retry-After": "20"})]
    assert kind.get(auth, API, platform).status == 200
    assert clock.pauses == [20.0]


@pytest.mark.parametrize("answer", [Answer(503), Answer(200, {"fault": {"code": "900800"}})])
def test_failure_that_is_no_throttling_is_asked_about_again(
    kind: Kind, platform: Platform, auth: Any, answer: Answer
) -> None:
    platform.tokens = [answer] * 4
    fails(kind, auth, platform)
    platform.tokens = []
    assert kind.get(auth, API, platform).status == 200


def test_token_that_is_stale_goes_on_being_used(
    kind: Kind, platform: Platform, clock: VirtualClock
) -> None:
    auth = kind.auth(platform, oauth_clock_skew=10 * MINUTE)
    kind.get(auth, API, platform)
    clock.advance(3600 - 5 * MINUTE)
    platform.tokens = [FOR_AN_HOUR] * 99
    for _ in range(8):
        assert kind.get(auth, API, platform).status == 200
        clock.advance(30)
    assert platform.bearers == ["token-1"] * 9
    assert len(platform.token_calls) == 2


def test_answer_to_a_rejected_token_is_returned_as_it_came(
    kind: Kind, platform: Platform, auth: Any
) -> None:
    kind.get(auth, API, platform)
    platform.tokens = [FOR_AN_HOUR]
    platform.api = [refusal()]
    assert kind.get(auth, API, platform).status == 401
    assert isinstance(fails(kind, auth, platform), OauthProviderError)
    assert len(platform.token_calls) == 2


def test_assigned_token_is_used_at_once(kind: Kind, platform: Platform, auth: Any) -> None:
    platform.tokens = [FOR_AN_HOUR]
    fails(kind, auth, platform)
    auth.oauth_token = {"access_token": "assigned"}
    assert kind.get(auth, API, platform).status == 200
    assert platform.bearers == ["assigned"]


def test_store_and_provider_are_still_asked(kind: Kind, platform: Platform) -> None:
    store, rows = memory_store(), [None, None, {"access_token": "provided"}]
    shared = kind.auth(platform, store=store)
    asked = kind.auth(platform, oauth_token_provider=lambda last, manager: rows.pop(0))
    platform.tokens = [FOR_AN_HOUR] * 2
    for auth in (shared, asked, asked):
        fails(kind, auth, platform)
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
    auth = kind.auth(platform, m2m=credentials())
    for _ in range(10):
        assert isinstance(fails(kind, auth, platform), M2mLoginError)
    assert len(platform.login_calls) == 1
    assert kind.get(auth, EDGE, platform).status == 200
    platform.logins = []
    clock.advance(seconds)
    assert kind.get(auth, API, platform).status == 200


def test_session_that_is_merely_idle_is_sent_while_the_login_is_left_alone(
    kind: Kind, platform: Platform, clock: VirtualClock
) -> None:
    auth = kind.auth(platform, m2m=credentials())
    kind.get(auth, API, platform)
    for pause in (0, 20 * MINUTE):
        clock.advance(pause)
        platform.logins = [FOR_AN_HOUR]
        with pytest.raises(M2mLoginError):
            kind.fetch_session(auth)
    assert kind.get(auth, API, platform).status == 200
    assert platform.sessions == ["session-1"] * 2


def test_revocation_has_a_moment_of_its_own(kind: Kind, platform: Platform, auth: Any) -> None:
    auth.oauth_token = {"access_token": "assigned"}
    platform.tokens = [FOR_AN_HOUR]
    for _ in range(3):
        with pytest.raises(OauthProviderError) as caught:
            kind.revoke_token(auth)
        assert caught.value.retryable
    assert len(platform.calls) == 1
    assert auth.oauth_token is not None
    other = kind.auth(platform, oauth_token={"access_token": "assigned"})
    platform.tokens = [FOR_AN_HOUR]
    with pytest.raises(OauthProviderError):
        kind.fetch_token(other)
    kind.revoke_token(other)
    assert other.oauth_token is None
