"""Parts 1 and 2: the official SDK's own objects are accepted, where the SDK is installed."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

from ..support.kinds import Kind
from ..support.virtual import API, Platform, VirtualClock, session_refusal

SDK: Any = pytest.importorskip("verizon.http.auth.thingspace_oauth")
MODELS: Any = importlib.import_module("verizon.models.oauth_token")

pytestmark = pytest.mark.usefixtures("clock")


def test_credentials_work_unchanged(kind: Kind, platform: Platform, clock: VirtualClock) -> None:
    credentials = SDK.ThingspaceOauthCredentials(
        oauth_client_id="the-key", oauth_client_secret="the-secret", oauth_clock_skew="60"
    )
    auth = kind.auth(platform, thingspace_oauth_credentials=credentials)
    kind.get(auth, API, platform)
    clock.advance(3540)
    kind.get(auth, API, platform)
    assert platform.bearers == ["token-1", "token-2"]
    assert credentials.oauth_token is None


def test_token_model_without_its_optional_attributes_is_a_token(
    kind: Kind, platform: Platform
) -> None:
    token = MODELS.OauthToken(access_token="sdk-token", token_type="Bearer")
    assert not hasattr(token, "expiry")
    credentials = SDK.ThingspaceOauthCredentials("the-key", "the-secret", oauth_token=token)
    auth = kind.auth(platform, thingspace_oauth_credentials=credentials)
    kind.get(auth, API, platform)
    assert platform.bearers == ["sdk-token"]
    assert auth.is_token_expired(token) is False


def test_provider_may_return_the_sdks_token(
    kind: Kind, platform: Platform, clock: VirtualClock
) -> None:
    told: list[str] = []
    credentials = SDK.ThingspaceOauthCredentials(
        "the-key",
        "the-secret",
        oauth_token_provider=lambda last, manager: MODELS.OauthToken(
            access_token="provided", token_type="Bearer", expiry=int(clock.time()) + 100
        ),
        oauth_on_token_update=lambda token: told.append(token.access_token),
    )
    auth = kind.auth(platform, thingspace_oauth_credentials=credentials)
    kind.get(auth, API, platform)
    assert platform.bearers == ["provided"]
    assert told == ["provided"]


def test_scopes_of_the_older_sdk(kind: Kind, platform: Platform) -> None:
    path = "verizon.models.oauth_scope_thingspace_oauth_enum"
    if importlib.util.find_spec(path) is None:
        pytest.skip("2.0.0 has no scopes")
    scopes: Any = importlib.import_module(path).OauthScopeThingspaceOauthEnum
    credentials = SDK.ThingspaceOauthCredentials(
        "the-key", "the-secret", oauth_scopes=[scopes.DISCOVERYREAD, scopes.SERVICEPROFILEREAD]
    )
    auth = kind.auth(platform, thingspace_oauth_credentials=credentials)
    kind.get(auth, API, platform)
    assert platform.token_calls[0].form["scope"] == "discovery:read serviceprofile:read"


def test_session_token_credentials_work_unchanged(kind: Kind, platform: Platform) -> None:
    sdk: Any = importlib.import_module("verizon.http.auth.vz_m2m_token")
    auth = kind.auth(platform, m2m=sdk.VZM2mTokenCredentials("sdk-session"))
    platform.api = [session_refusal()]
    assert kind.get(auth, API, platform).status == 400
    kind.get(auth, API, platform)
    assert platform.sessions == ["sdk-session"] * 2
    assert platform.login_calls == []
