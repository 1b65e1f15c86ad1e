"""Part 1, names: the credentials with their seven fields, the scopes, and tokens."""

from __future__ import annotations

import copy
import json
import pickle
from types import SimpleNamespace
from typing import Any

import pytest

from thingspace_auth_adapters import (
    OauthScopeThingspaceOauthEnum,
    OauthToken,
    ThingspaceOauthCredentials,
)
from thingspace_auth_adapters._model.tokens import as_token

from ..support.frames import frames_of_ours
from ..support.kinds import Kind
from ..support.virtual import API, Platform, VirtualClock

WIRE_VALUES = {
    "DISCOVERYREAD": "discovery:read",
    "SERVICEPROFILEREAD": "serviceprofile:read",
    "SERVICEPROFILEWRITE": "serviceprofile:write",
    "SERVICEREGISTRYREAD": "serviceregistry:read",
    "SERVICEREGISTRYWRITE": "serviceregistry:write",
    "TS_MEC_FULLACCESS": "ts.mec.fullaccess",
    "TS_MEC_LIMITACCESS": "ts.mec.limitaccess",
    "TS_APPLICATION_RO": "ts.application.ro",
    "EDGEDISCOVERYREAD": "edge:discovery:read",
    "EDGESERVICEPROFILEREAD": "edge:serviceprofile:read",
    "EDGESERVICEPROFILEWRITE": "edge:serviceprofile:write",
    "EDGESERVICEREGISTRYREAD": "edge:serviceregistry:read",
    "EDGESERVICEREGISTRYWRITE": "edge:serviceregistry:write",
    "READ": "read",
    "WRITE": "write",
}


def test_the_fifteen_scopes_are_their_wire_values() -> None:
    assert {scope.name: scope.value for scope in OauthScopeThingspaceOauthEnum} == WIRE_VALUES
    for scope in OauthScopeThingspaceOauthEnum:
        wire = WIRE_VALUES[scope.name]
        assert isinstance(scope, str)
        assert scope == wire
        assert str(scope) == f"{scope}" == f"{scope:s}" == "%s" % scope == wire  # noqa: UP031
        assert json.dumps(scope) == json.dumps(wire)
        assert " ".join([scope]) == wire


def test_credentials_have_the_seven_getters() -> None:
    def provider(last: Any, manager: Any) -> None:
        return None

    token = OauthToken("x", "Bearer")
    credentials = ThingspaceOauthCredentials("id", "secret", token, ["read"], provider, print, 60)
    assert credentials.oauth_client_id == "id"
    assert credentials.oauth_client_secret == "secret"
    assert credentials.oauth_token is token
    assert credentials.oauth_scopes == ["read"]
    assert credentials.oauth_token_provider is provider
    assert credentials.oauth_on_token_update is print
    assert credentials.oauth_clock_skew == 60
    assert "secret=<hidden>" in repr(credentials)
    assert "'secret'" not in repr(credentials)


def test_clone_with_changes_only_what_is_named() -> None:
    credentials = ThingspaceOauthCredentials("id", "secret", oauth_clock_skew=60)
    cloned = credentials.clone_with(oauth_scopes=["read"], oauth_clock_skew=None)
    assert (cloned.oauth_client_id, cloned.oauth_client_secret) == ("id", "secret")
    assert (cloned.oauth_scopes, cloned.oauth_clock_skew) == (["read"], None)
    assert (credentials.oauth_scopes, credentials.oauth_clock_skew) == (None, 60)
    with pytest.raises(TypeError):
        credentials.clone_with(client_id="x")


PREFIX = "THINGSPACE_OAUTH_OAUTH_"


def test_credentials_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PREFIX + "CLIENT_ID", "id ")
    monkeypatch.setenv(PREFIX + "CLIENT_SECRET", "secret\n")
    monkeypatch.delenv(PREFIX + "CLOCK_SKEW", raising=False)
    credentials = ThingspaceOauthCredentials.from_environment()
    assert (credentials.oauth_client_id, credentials.oauth_client_secret) == ("id", "secret")
    assert credentials.oauth_clock_skew is None
    monkeypatch.setenv(PREFIX + "CLOCK_SKEW", "30")
    assert ThingspaceOauthCredentials.from_environment().oauth_clock_skew == 30
    monkeypatch.setenv(PREFIX + "CLOCK_SKEW", "half a minute")
    with pytest.raises(ValueError, match=PREFIX + "CLOCK_SKEW"):
        ThingspaceOauthCredentials.from_environment()


@pytest.mark.parametrize("missing", ["CLIENT_ID", "CLIENT_SECRET"])
@pytest.mark.parametrize("value", [None, ""])
def test_missing_variable_is_named(
    monkeypatch: pytest.MonkeyPatch, missing: str, value: str | None
) -> None:
    monkeypatch.setenv(PREFIX + "CLIENT_ID", "id")
    monkeypatch.setenv(PREFIX + "CLIENT_SECRET", "secret")
    if value is None:
        monkeypatch.delenv(PREFIX + missing)
    else:
        monkeypatch.setenv(PREFIX + missing, value)
    with pytest.raises(ValueError, match=PREFIX + missing):
        ThingspaceOauthCredentials.from_environment()


# Both forms of the constructor.


def test_credentials_are_given_whole_or_by_field(
    kind: Kind, platform: Platform, clock: VirtualClock
) -> None:
    credentials = ThingspaceOauthCredentials("id", "secret")
    auth_type = kind.adapter.ThingspaceAuth
    by_position = auth_type(credentials)
    by_name = auth_type(thingspace_oauth_credentials=credentials)
    by_field = auth_type(oauth_client_id="id", oauth_client_secret="secret")
    assert {type(auth) for auth in (by_position, by_name, by_field)} == {auth_type}


def test_missing_getters_count_as_none(kind: Kind, platform: Platform, clock: VirtualClock) -> None:
    class Minimal:
        oauth_client_id = "id"
        oauth_client_secret = "secret"

    kind.get(kind.auth(platform, thingspace_oauth_credentials=Minimal()), API, platform)
    assert platform.bearers == ["token-1"]


# Tokens.


def test_token_round_trips_through_json() -> None:
    token = OauthToken("x", "Bearer", 3600, "read write", 1_700_003_600, "r")
    assert OauthToken.from_dict(json.loads(json.dumps(token.to_dict()))) == token
    assert OauthToken("x", "Bearer").to_dict() == {"access_token": "x", "token_type": "Bearer"}


def test_token_is_a_value() -> None:
    token = OauthToken("x", "Bearer", 3600)
    assert token == OauthToken("x", "Bearer", 3600)
    assert hash(token) == hash(OauthToken("x", "Bearer", 3600))
    assert token != OauthToken("x", "Bearer")
    assert token != "x"
    assert copy.deepcopy(token) == pickle.loads(pickle.dumps(token)) == token
    with pytest.raises(AttributeError, match="immutable") as caught:
        token.access_token = "an0ther"
    assert "an0ther" not in frames_of_ours(caught.value)
    with pytest.raises(AttributeError, match="immutable"):
        del token.access_token
    assert "hidden" in repr(token)
    assert "'x'" not in repr(token)


@pytest.mark.parametrize("expiry", [100, 100.0, "100", "1e2"])
def test_numbers_of_any_kind_are_numbers(expiry: Any) -> None:
    assert OauthToken("x", "Bearer", expiry=expiry).expiry == 100


def test_whole_seconds_stay_whole() -> None:
    token = OauthToken("x", "Bearer", expires_in=3600, expiry=100.0)
    assert json.dumps(token.to_dict()).endswith('"expires_in": 3600, "expiry": 100.0}')


@pytest.mark.parametrize(
    ("fields", "error", "word"),
    [
        ({}, ValueError, "access_token is missing"),
        ({"access_token": ""}, ValueError, "access_token"),
        ({"access_token": 7}, TypeError, "access_token"),
        ({"access_token": "ü"}, ValueError, "access_token"),
        ({"access_token": "a\r\nb"}, ValueError, "access_token"),
        ({"access_token": " x"}, ValueError, "access_token"),
        ({"access_token": "x", "token_type": 7}, TypeError, "token_type"),
        ({"access_token": "x", "token_type": "mac"}, ValueError, "token_type"),
        ({"access_token": "x", "expires_in": "soon"}, TypeError, "expires_in"),
        ({"access_token": "x", "expires_in": True}, TypeError, "expires_in"),
        ({"access_token": "x", "expires_in": [60]}, TypeError, "expires_in"),
        ({"access_token": "x", "expires_in": 10**400}, ValueError, "expires_in"),
        ({"access_token": "x", "expiry": float("nan")}, ValueError, "expiry"),
        ({"access_token": "x", "scope": ["read"]}, TypeError, "scope"),
        ({"access_token": "x", "refresh_token": 7}, TypeError, "refresh_token"),
    ],
)
def test_bad_token_field_is_named(
    fields: dict[str, Any], error: type[Exception], word: str
) -> None:
    with pytest.raises(error, match=word):
        OauthToken.from_dict(fields)


def test_any_object_with_the_attributes_is_a_token() -> None:
    class Row:
        access_token = "x"
        expiry = 100

    assert as_token(Row(), "row") == OauthToken("x", "Bearer", expiry=100)
    assert as_token(None, "row") is None
    for value in (object(), "x", b"x"):
        with pytest.raises(TypeError, match="row: expected an OauthToken") as caught:
            as_token(value, "row")
        assert caught.value.__context__ is None


@pytest.mark.parametrize(
    "make",
    [
        lambda fields: OauthToken(**fields),
        lambda fields: fields,
        lambda fields: SimpleNamespace(**fields),
    ],
    ids=["token", "dict", "object"],
)
def test_token_in_any_form_is_taken_wherever_one_is(
    kind: Kind, platform: Platform, clock: VirtualClock, make: Any
) -> None:
    """With a time, and without one: what it lacks counts as ``None``."""
    over = make({"access_token": "over", "expiry": clock.time() - 1})
    given = make({"access_token": "given"})
    assigned = kind.auth(platform)
    assigned.oauth_token = given
    provided = kind.auth(platform, oauth_token_provider=lambda last, manager: given)
    for auth in (kind.auth(platform, oauth_token=given), assigned, provided):
        kind.get(auth, API, platform)
        assert auth.oauth_token == OauthToken("given", "Bearer")
        assert (auth.is_token_expired(given), auth.is_token_expired(over)) == (False, True)
    assert platform.bearers == ["given"] * 3
    assert platform.token_calls == []


def test_token_that_tells_only_how_long_it_lives_counts_from_when_it_is_handed_over(
    kind: Kind, platform: Platform, clock: VirtualClock
) -> None:
    """An endpoint's own JSON has ``expires_in`` alone."""
    given = {"access_token": "given", "token_type": "Bearer", "expires_in": 60}
    by_provider = kind.auth(platform, oauth_token_provider=lambda last, manager: given)
    by_option, by_assignment = kind.auth(platform, oauth_token=given), kind.auth(platform)
    by_assignment.oauth_token = given
    for auth in (by_provider, by_option, by_assignment):
        kind.get(auth, API, platform)
        assert auth.oauth_token.expiry == clock.wall + 60
    assert not by_option.is_token_expired(given)
    clock.advance(61)
    for auth in (by_provider, by_option, by_assignment):
        assert auth.is_token_expired()
    kind.get(by_option, API, platform)
    assert platform.bearers == ["given"] * 3 + ["token-1"]
