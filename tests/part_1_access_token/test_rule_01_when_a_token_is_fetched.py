"""Part 1, rule 1: a token is fetched lazily, by the grant, and again when it is stale."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from thingspace_auth_adapters import OauthScopeThingspaceOauthEnum as Scope
from thingspace_auth_adapters import OauthToken

from ..support.kinds import Kind
from ..support.virtual import API, START, Answer, Platform, VirtualClock

pytestmark = pytest.mark.usefixtures("clock")

SKEW = 60


@pytest.mark.parametrize(
    ("make_scopes", "asked_for"),
    [
        (lambda: None, None),
        (
            lambda: [Scope.DISCOVERYREAD, "serviceprofile:read"],
            "discovery:read serviceprofile:read",
        ),
        (lambda: (Scope.READ, Scope.WRITE), "read write"),
        (lambda: iter(["discovery:read", "read"]), "discovery:read read"),
        (lambda: " discovery:read  read ", "discovery:read read"),
        (lambda: Scope.READ, "read"),
    ],
)
def test_token_request_is_the_grants(
    kind: Kind, platform: Platform, make_scopes: Any, asked_for: str | None
) -> None:
    kind.get(kind.auth(platform, oauth_scopes=make_scopes()), API, platform)
    (call,) = platform.token_calls
    assert (call.method, call.url) == (
        "POST",
        "https://thingspace.verizon.com/api/ts/v1/oauth2/token",
    )
    assert call.headers["content-type"] == "application/x-www-form-urlencoded"
    scope = {} if asked_for is None else {"scope": asked_for}
    assert call.form == {"grant_type": "client_credentials", **scope}


@pytest.mark.parametrize("secret", ["s3cr3t-of-the-key", "p%40ss/w+rd é"])
def test_basic_is_the_plain_string_without_percent_encoding(
    kind: Kind, platform: Platform, secret: str
) -> None:
    kind.get(kind.auth(platform, oauth_client_secret=secret), API, platform)
    basic = base64.b64encode(f"the-key:{secret}".encode()).decode()
    assert platform.token_calls[0].authorization == f"Basic {basic}"


def test_nothing_is_fetched_at_construction_and_one_token_serves_all_requests(
    kind: Kind, platform: Platform
) -> None:
    auth = kind.auth(platform)
    assert auth.oauth_token is None
    assert platform.calls == []
    assert [kind.get(auth, API, platform).status for _ in range(3)] == [200, 200, 200]
    assert platform.trail == ["token", "api", "api", "api"]
    assert platform.bearers == ["token-1"] * 3


@pytest.mark.parametrize("lifetime", [3600, "3600"])
def test_expiry_is_arrival_plus_lifetime(
    kind: Kind, platform: Platform, clock: VirtualClock, lifetime: Any
) -> None:
    platform.tokens = [platform.new_token(lifetime)]
    platform.on_token = lambda: clock.advance(7)
    auth = kind.auth(platform)
    kind.get(auth, API, platform)
    assert auth.oauth_token == OauthToken(
        "token-1", "Bearer", 3600, "ts.application.ro ts.mec.fullaccess", START + 7 + 3600
    )


@pytest.mark.parametrize("skew", [None, 0, SKEW, str(SKEW)])
def test_fetched_again_when_stale(
    kind: Kind, platform: Platform, clock: VirtualClock, skew: Any
) -> None:
    """The SDK's environment has the skew as a string of digits."""
    auth = kind.auth(platform, oauth_clock_skew=skew)
    kind.get(auth, API, platform)
    clock.advance(3600 - int(skew or 0) - 1)
    assert not auth.is_token_expired()
    kind.get(auth, API, platform)
    assert len(platform.token_calls) == 1
    clock.advance(1)
    assert auth.is_token_expired()
    kind.get(auth, API, platform)
    assert platform.bearers == ["token-1", "token-1", "token-2"]


def test_token_without_lifetime_is_kept(
    kind: Kind, platform: Platform, clock: VirtualClock
) -> None:
    platform.tokens = [Answer(200, {"access_token": "eternal", "token_type": "bearer"})]
    auth = kind.auth(platform)
    kind.get(auth, API, platform)
    clock.advance(10**9)
    kind.get(auth, API, platform)
    assert platform.bearers == ["eternal", "eternal"]
    assert auth.is_token_expired() is False


def test_token_at_construction_is_used_until_stale(
    kind: Kind, platform: Platform, clock: VirtualClock
) -> None:
    given = OauthToken("given", "Bearer", expiry=START + 100)
    auth = kind.auth(platform, oauth_token=given, oauth_clock_skew=10)
    kind.get(auth, API, platform)
    clock.advance(90)
    kind.get(auth, API, platform)
    assert platform.bearers == ["given", "token-1"]
