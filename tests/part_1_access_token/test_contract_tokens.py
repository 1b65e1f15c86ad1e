"""The contract, Part 1: when tokens are fetched, shared and renewed. For every client kind."""

from __future__ import annotations

import base64
import json
import logging
import os
from typing import Any

import pytest

from thingspace_auth_adapters import (
    InvalidTokenResponseError,
    OauthProviderError,
    OauthToken,
    ThingspaceOauthCredentials,
)
from thingspace_auth_adapters import (
    OauthScopeThingspaceOauthEnum as Scope,
)

from ..support.kinds import IDENTITY, Kind
from ..support.virtual import (
    API,
    BASE,
    START,
    Answer,
    Platform,
    VirtualClock,
    refusal,
    token_answer,
)

SKEW = 60


@pytest.fixture(autouse=True)
def _virtual_time(clock: VirtualClock) -> None:
    pass


# The wire.


def test_token_request_is_the_grants(kind: Kind, platform: Platform) -> None:
    auth = kind.auth(platform, oauth_scopes=[Scope.DISCOVERYREAD, "serviceprofile:read"])
    kind.get(auth, API, platform)
    (call,) = platform.token_calls
    basic = base64.b64encode(b"the-key:s3cr3t-of-the-key").decode()
    assert call.method == "POST"
    assert call.url == "https://thingspace.verizon.com/api/ts/v1/oauth2/token"
    assert call.authorization == f"Basic {basic}"
    assert call.headers["content-type"] == "application/x-www-form-urlencoded"
    assert call.form == {
        "grant_type": "client_credentials",
        "scope": "discovery:read serviceprofile:read",
    }


def test_no_scope_is_asked_for_where_none_is_given(kind: Kind, platform: Platform) -> None:
    kind.get(kind.auth(platform), API, platform)
    assert platform.token_calls[0].form == {"grant_type": "client_credentials"}


def test_basic_is_the_plain_string_without_percent_encoding(kind: Kind, platform: Platform) -> None:
    kind.get(kind.auth(platform, oauth_client_secret="p%40ss/w+rd é"), API, platform)
    basic = base64.b64encode("the-key:p%40ss/w+rd é".encode()).decode()
    assert platform.token_calls[0].authorization == f"Basic {basic}"


def test_base_url_is_where_the_endpoints_are(kind: Kind, platform: Platform) -> None:
    auth = kind.auth(platform, base_url="https://proxy.example:8443/")
    kind.get(auth, "https://proxy.example:8443/api/x", platform)
    assert platform.token_calls[0].url == "https://proxy.example:8443/api/ts/v1/oauth2/token"
    assert platform.bearers == ["token-1"]


# Rule 1: when a token is fetched.


def test_nothing_is_fetched_at_construction(kind: Kind, platform: Platform) -> None:
    auth = kind.auth(platform)
    assert auth.oauth_token is None
    assert platform.calls == []


def test_fetched_once_and_reused(kind: Kind, platform: Platform) -> None:
    auth = kind.auth(platform)
    assert [kind.get(auth, API, platform).status for _ in range(3)] == [200, 200, 200]
    assert len(platform.token_calls) == 1
    assert platform.bearers == ["token-1"] * 3


def test_expiry_is_arrival_plus_lifetime(
    kind: Kind, platform: Platform, clock: VirtualClock
) -> None:
    platform.on_token = lambda: clock.advance(7)
    auth = kind.auth(platform)
    kind.get(auth, API, platform)
    token = auth.oauth_token
    assert token.expiry == START + 7 + 3600
    assert token.expires_in == 3600
    assert token.scope == "ts.application.ro ts.mec.fullaccess"
    assert token.token_type == "Bearer"


@pytest.mark.parametrize("skew", [None, 0, SKEW])
def test_fetched_again_when_stale(
    kind: Kind, platform: Platform, clock: VirtualClock, skew: int | None
) -> None:
    auth = kind.auth(platform, oauth_clock_skew=skew)
    kind.get(auth, API, platform)
    clock.advance(3600 - (skew or 0) - 1)
    kind.get(auth, API, platform)
    assert len(platform.token_calls) == 1
    clock.advance(1)
    kind.get(auth, API, platform)
    assert len(platform.token_calls) == 2
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


def test_digit_strings_are_numbers(kind: Kind, platform: Platform, clock: VirtualClock) -> None:
    platform.tokens = [platform.new_token("100")]
    auth = kind.auth(platform)
    kind.get(auth, API, platform)
    assert auth.oauth_token.expiry == START + 100


# Rule 13: clocks. The wall clock alone says how old a token is.


def test_machine_that_slept_finds_its_token_expired(
    kind: Kind, platform: Platform, clock: VirtualClock
) -> None:
    auth = kind.auth(platform)
    kind.get(auth, API, platform)
    clock.wall += 3600
    assert auth.is_token_expired()
    kind.get(auth, API, platform)
    assert platform.bearers == ["token-1", "token-2"]


def test_wall_clock_that_is_set_back_leaves_a_token_that_works(
    kind: Kind, platform: Platform, clock: VirtualClock
) -> None:
    auth = kind.auth(platform)
    kind.get(auth, API, platform)
    clock.wall -= 86400
    clock.steady += 7200
    assert not auth.is_token_expired()
    kind.get(auth, API, platform)
    assert platform.bearers == ["token-1"] * 2
    platform.api = [refusal()]
    assert kind.get(auth, API, platform).status == 200
    assert auth.oauth_token.expiry == clock.wall + 3600


def test_wall_clock_that_jumps_ahead_costs_one_token_request(
    kind: Kind, platform: Platform, clock: VirtualClock
) -> None:
    auth = kind.auth(platform, oauth_clock_skew=SKEW)
    kind.get(auth, API, platform)
    clock.wall += 10 * 365 * 86400
    for _ in range(3):
        kind.get(auth, API, platform)
    assert platform.bearers == ["token-1", *["token-2"] * 3]


# Construction.


VARIABLES = {
    "THINGSPACE_OAUTH_OAUTH_CLIENT_ID": "the-key",
    "THINGSPACE_OAUTH_OAUTH_CLIENT_SECRET": "s3cr3t-of-the-key",
}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in list(os.environ):
        if name.startswith(("THINGSPACE_", "VZ_M2M_")):
            monkeypatch.delenv(name)
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def from_environment(kind: Kind, platform: Platform, **options: Any) -> Any:
    if kind.is_requests:
        options["session"] = kind.session(platform)
    else:
        options["client_options"] = {"transport": kind.transport(platform)}
    return kind.adapter.ThingspaceAuth.from_environment(**options)


def test_from_environment_needs_key_and_secret_alone(
    kind: Kind, platform: Platform, environment: pytest.MonkeyPatch
) -> None:
    auth = from_environment(kind, platform)
    assert type(auth) is kind.adapter.ThingspaceAuth
    assert auth.m2m is None
    kind.get(auth, API, platform)
    basic = base64.b64encode(b"the-key:s3cr3t-of-the-key").decode()
    assert platform.token_calls[0].url.startswith(BASE)
    assert platform.token_calls[0].authorization == f"Basic {basic}"
    environment.delenv("THINGSPACE_OAUTH_OAUTH_CLIENT_SECRET")
    with pytest.raises(ValueError, match="THINGSPACE_OAUTH_OAUTH_CLIENT_SECRET"):
        from_environment(kind, platform)


def test_from_environment_reads_account_and_base_url_where_they_are(
    kind: Kind, platform: Platform, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("THINGSPACE_BASE_URL", "https://staging.thingspace.verizon.com")
    environment.setenv("VZ_M2M_USERNAME", "the-user")
    with pytest.raises(ValueError, match="VZ_M2M_PASSWORD"):
        from_environment(kind, platform)
    environment.setenv("VZ_M2M_PASSWORD", "the-password")
    kind.get(from_environment(kind, platform), "https://staging.thingspace.verizon.com/x", platform)
    (login,) = platform.login_calls
    assert json.loads(login.body) == {"username": "the-user", "password": "the-password"}
    for call in (login, platform.token_calls[0]):
        assert call.url.startswith("https://staging.thingspace.verizon.com/")


def test_options_come_before_the_environment(
    kind: Kind, platform: Platform, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("THINGSPACE_BASE_URL", "https://staging.thingspace.verizon.com")
    environment.setenv("VZ_M2M_USERNAME", "half an account")
    kind.get(from_environment(kind, platform, m2m="a-session", base_url=BASE), API, platform)
    assert platform.token_calls[0].url.startswith(BASE)
    assert platform.sessions == ["a-session"]


# The members.


def test_fetch_token_installs_nothing(kind: Kind, platform: Platform) -> None:
    auth = kind.auth(platform)
    token = kind.fetch_token(auth, {"extra": "yes"})
    assert isinstance(token, OauthToken)
    assert (token.access_token, token.expiry) == ("token-1", START + 3600)
    assert platform.token_calls[0].form["extra"] == "yes"
    assert auth.oauth_token is None


def test_assigned_token_takes_effect_on_the_next_request(kind: Kind, platform: Platform) -> None:
    auth = kind.auth(platform)
    kind.get(auth, API, platform)
    auth.oauth_token = {"access_token": "mine", "token_type": "Bearer"}
    kind.get(auth, API, platform)
    auth.oauth_token = None
    assert auth.oauth_token is None
    kind.get(auth, API, platform)
    assert platform.bearers == ["token-1", "mine", "token-2"]


def test_changed_token_of_the_credentials_is_adopted(kind: Kind, platform: Platform) -> None:
    credentials = ThingspaceOauthCredentials(**IDENTITY)
    auth = kind.auth(platform, thingspace_oauth_credentials=credentials)
    kind.get(auth, API, platform)
    credentials.oauth_token = OauthToken("theirs", "Bearer")
    kind.get(auth, API, platform)
    kind.get(auth, API, platform)
    credentials.oauth_token = None
    kind.get(auth, API, platform)
    assert platform.bearers == ["token-1", "theirs", "theirs", "token-2"]
    assert credentials.oauth_token is None


def test_equal_token_object_of_the_credentials_is_no_change(kind: Kind, platform: Platform) -> None:
    class Credentials:
        oauth_client_id = "key"
        oauth_client_secret = "secret"

        @property
        def oauth_token(self) -> dict[str, Any]:
            return {"access_token": "stored", "expiry": START + 10}

    auth = kind.auth(platform, thingspace_oauth_credentials=Credentials())
    kind.get(auth, API, platform)
    auth.oauth_token = OauthToken("assigned", "Bearer")
    kind.get(auth, API, platform)
    assert platform.bearers == ["stored", "assigned"]


def test_getter_that_makes_a_new_object_each_time_is_no_change(
    kind: Kind, platform: Platform
) -> None:
    """The official SDK's tokens do not compare equal."""

    class Token:
        access_token = "old"
        expiry = 1

    class Credentials:
        oauth_client_id = "key"
        oauth_client_secret = "secret"
        oauth_token = property(lambda self: Token())

    auth = kind.auth(platform, thingspace_oauth_credentials=Credentials())
    for _ in range(5):
        kind.get(auth, API, platform)
    assert len(platform.token_calls) == 1


def test_token_at_construction_is_used_until_stale(
    kind: Kind, platform: Platform, clock: VirtualClock
) -> None:
    given = OauthToken("given", "Bearer", expiry=START + 100)
    auth = kind.auth(platform, oauth_token=given, oauth_clock_skew=10)
    kind.get(auth, API, platform)
    clock.advance(90)
    kind.get(auth, API, platform)
    assert platform.bearers == ["given", "token-1"]


@pytest.mark.parametrize("age", [0, 89])
def test_is_token_expired_is_past_expiry_less_skew(
    kind: Kind, platform: Platform, clock: VirtualClock, age: int
) -> None:
    auth = kind.auth(platform, oauth_clock_skew=10)
    assert auth.is_token_expired()
    token = {"access_token": "x", "expiry": START + 100}
    clock.advance(age)
    assert not auth.is_token_expired(token)
    clock.advance(90 - age)
    assert auth.is_token_expired(token)
    assert not auth.is_token_expired({"access_token": "x"})


def test_revoked_token_is_forgotten_and_never_used_again(kind: Kind, platform: Platform) -> None:
    auth = kind.auth(platform)
    kind.revoke_token(auth)
    assert platform.calls == []
    kind.get(auth, API, platform)
    kind.revoke_token(auth)
    (call,) = platform.revoke_calls
    assert call.url == "https://thingspace.verizon.com/api/ts/v1/oauth2/revoke"
    assert call.form == {"token": "token-1"}
    assert (call.authorization or "").startswith("Basic ")
    assert auth.oauth_token is None
    kind.get(auth, API, platform)
    assert platform.bearers == ["token-1", "token-2"]


def test_token_is_kept_where_revoking_fails(kind: Kind, platform: Platform) -> None:
    auth = kind.auth(platform)
    kind.get(auth, API, platform)
    platform.tokens = [Answer(400, {"error": "invalid_request"})]
    with pytest.raises(OauthProviderError) as caught:
        kind.revoke_token(auth)
    assert caught.value.error == "invalid_request"
    assert auth.oauth_token.access_token == "token-1"


def test_revoked_token_counts_as_rejected_for_providers_too(kind: Kind, platform: Platform) -> None:
    row = {"access_token": "stored", "token_type": "Bearer"}
    auth = kind.auth(platform, oauth_token_provider=lambda last, manager: row)
    kind.get(auth, API, platform)
    kind.revoke_token(auth)
    kind.get(auth, API, platform)
    assert platform.bearers == ["stored", "token-1"]


# Rule 2: the provider.


def test_provider_is_asked_in_place_of_the_fetch(
    kind: Kind, platform: Platform, clock: VirtualClock
) -> None:
    asked: list[Any] = []

    def provider(last: Any, manager: Any) -> Any:
        asked.append((last and last.access_token, manager))
        return {"access_token": f"p{len(asked)}", "expiry": clock.time() + 100}

    auth = kind.auth(platform, oauth_token_provider=provider)
    kind.get(auth, API, platform)
    kind.get(auth, API, platform)
    clock.advance(100)
    kind.get(auth, API, platform)
    assert platform.bearers == ["p1", "p1", "p2"]
    assert asked == [(None, auth), ("p1", auth)]
    assert platform.token_calls == []


def test_provider_may_be_awaitable_under_async_clients(kind: Kind, platform: Platform) -> None:
    provider = kind.callback(lambda last, manager: OauthToken("mine", "Bearer"))
    kind.get(kind.auth(platform, oauth_token_provider=provider), API, platform)
    assert platform.bearers == ["mine"]


def test_seeds_provider_survives_the_expiry_of_its_stored_token(
    kind: Kind, platform: Platform, clock: VirtualClock
) -> None:
    stored = OauthToken("row", "Bearer", expiry=START + 10)
    auth = kind.auth(platform, oauth_token_provider=lambda last, manager: stored)
    kind.get(auth, API, platform)
    clock.advance(10)
    kind.get(auth, API, platform)
    clock.advance(3600)
    kind.get(auth, API, platform)
    assert platform.bearers == ["row", "token-1", "token-2"]


def test_seeds_provider_survives_the_revocation_of_its_stored_token(
    kind: Kind, platform: Platform
) -> None:
    stored = OauthToken("row", "Bearer")
    platform.api = [Answer(200), refusal()]
    auth = kind.auth(platform, oauth_token_provider=lambda last, manager: stored)
    kind.get(auth, API, platform)
    assert kind.get(auth, API, platform).status == 200
    assert platform.bearers == ["row", "row", "token-1"]


@pytest.mark.parametrize("provided", [None, {"access_token": "old", "expiry": START - 1}])
def test_fetched_where_the_provider_has_nothing_usable(
    kind: Kind, platform: Platform, provided: Any
) -> None:
    auth = kind.auth(platform, oauth_token_provider=lambda last, manager: provided)
    kind.get(auth, API, platform)
    assert platform.bearers == ["token-1"]


def test_stale_row_that_nobody_renewed_is_fetched_afresh(
    kind: Kind, platform: Platform, clock: VirtualClock
) -> None:
    row = OauthToken("row", "Bearer", expiry=START + 100)
    auth = kind.auth(
        platform, oauth_token_provider=lambda last, manager: row, oauth_clock_skew=SKEW
    )
    kind.get(auth, API, platform)
    clock.advance(50)
    kind.get(auth, API, platform)
    assert platform.bearers == ["row", "token-1"]


def test_what_the_provider_fetched_is_judged_as_fetched(
    kind: Kind, platform: Platform, clock: VirtualClock
) -> None:
    """A provider that fetches, on a server that repeats its token: no request per call."""

    async def aprovider(last: Any, manager: Any) -> Any:
        return await manager.afetch_token()

    def provider(last: Any, manager: Any) -> Any:
        return manager.fetch_token()

    platform.tokens = [
        token_answer("same", 100),
        token_answer("same", 50),
        token_answer("new", 100),
    ]
    auth = kind.auth(
        platform,
        oauth_token_provider=aprovider if kind.is_async else provider,
        oauth_clock_skew=SKEW,
    )
    kind.get(auth, API, platform)
    clock.advance(50)
    for _ in range(5):
        kind.get(auth, API, platform)
    assert len(platform.token_calls) == 2
    clock.advance(50)
    kind.get(auth, API, platform)
    assert platform.bearers == ["same"] * 6 + ["new"]
    assert len(platform.token_calls) == 3


def test_plain_provider_may_fetch_under_every_client(kind: Kind, platform: Platform) -> None:
    auth = kind.auth(platform, oauth_token_provider=lambda last, manager: manager.fetch_token())
    kind.get(auth, API, platform)
    assert platform.bearers == ["token-1"]
    assert len(platform.token_calls) == 1


def test_exception_of_a_provider_is_not_retried(kind: Kind, platform: Platform) -> None:
    asked = []

    def provider(last: Any, manager: Any) -> Any:
        asked.append(1)
        raise LookupError("no database")

    auth = kind.auth(platform, oauth_token_provider=provider)
    with pytest.raises(LookupError, match="no database"):
        kind.get(auth, API, platform)
    assert len(asked) == 1
    assert platform.calls == []


def test_exception_of_a_provider_is_only_logged_while_the_token_lives(
    kind: Kind, platform: Platform, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    def provider(last: Any, manager: Any) -> Any:
        if last is None:
            return {"access_token": "first", "expiry": START + 100}
        raise LookupError("secret detail")

    auth = kind.auth(platform, oauth_token_provider=provider, oauth_clock_skew=SKEW)
    kind.get(auth, API, platform)
    clock.advance(50)
    kind.get(auth, API, platform)
    (record,) = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert "LookupError" in record.getMessage()
    assert "secret detail" not in caplog.text
    clock.advance(50)
    with pytest.raises(LookupError):
        kind.get(auth, API, platform)
    assert platform.bearers == ["first", "first"]


@pytest.mark.parametrize(
    ("provided", "error"),
    [
        ("token", TypeError),
        (b"token", TypeError),
        (object(), TypeError),
        ({"token": "x"}, ValueError),
        ({"access_token": "a\r\nX: y"}, ValueError),
        ({"access_token": 7}, TypeError),
    ],
)
def test_bad_provider_gets_one_clear_error(
    kind: Kind, platform: Platform, provided: Any, error: type[Exception]
) -> None:
    auth = kind.auth(platform, oauth_token_provider=lambda last, manager: provided)
    with pytest.raises(error, match="oauth_token_provider returned"):
        kind.get(auth, API, platform)
    assert platform.calls == []


# Rule 3: the update callback.


def test_update_callback_is_told_each_new_token_once(
    kind: Kind, platform: Platform, clock: VirtualClock
) -> None:
    told: list[Any] = []
    platform.tokens = [token_answer("a", 100), token_answer("a", 50), token_answer("b", 100)]
    auth = kind.auth(
        platform,
        oauth_on_token_update=kind.callback(lambda token: told.append((token, auth.oauth_token))),
        oauth_clock_skew=SKEW,
    )
    kind.get(auth, API, platform)
    clock.advance(50)
    kind.get(auth, API, platform)
    clock.advance(50)
    kind.get(auth, API, platform)
    assert [token.access_token for token, _ in told] == ["a", "b"]
    assert all(token is installed for token, installed in told)
    assert json.dumps(told[0][0].to_dict())


def test_update_callback_is_not_told_of_assigned_tokens(kind: Kind, platform: Platform) -> None:
    told: list[Any] = []
    auth = kind.auth(
        platform,
        oauth_token={"access_token": "given"},
        oauth_on_token_update=lambda token: told.append(token.access_token),
    )
    kind.get(auth, API, platform)
    auth.oauth_token = {"access_token": "assigned"}
    kind.get(auth, API, platform)
    assert told == []


def test_update_callback_is_told_what_a_provider_brought(kind: Kind, platform: Platform) -> None:
    told: list[Any] = []
    auth = kind.auth(
        platform,
        oauth_token_provider=lambda last, manager: {"access_token": "p"},
        oauth_on_token_update=lambda token: told.append(token.access_token),
    )
    kind.get(auth, API, platform)
    assert told == ["p"]


def test_update_callback_that_raises_reaches_the_caller_and_keeps_the_token(
    kind: Kind, platform: Platform
) -> None:
    def update(token: Any) -> None:
        raise OSError("disk full")

    auth = kind.auth(platform, oauth_on_token_update=update)
    with pytest.raises(OSError, match="disk full"):
        kind.get(auth, API, platform)
    kind.get(auth, API, platform)
    assert platform.bearers == ["token-1"]
    assert len(platform.token_calls) == 1


def test_update_callback_may_use_the_object(kind: Kind, platform: Platform) -> None:
    def update(token: Any) -> None:
        if not kind.is_async:
            kind.get(auth, API + "/from-callback", platform)

    auth = kind.auth(platform, oauth_on_token_update=update)
    kind.get(auth, API, platform)
    assert len(platform.token_calls) == 1


# Rule 6: the same token again.


def test_token_that_arrives_stale_is_used_until_it_expires(
    kind: Kind, platform: Platform, clock: VirtualClock
) -> None:
    platform.tokens = [token_answer("short", 30)]
    auth = kind.auth(platform, oauth_clock_skew=SKEW)
    for _ in range(3):
        kind.get(auth, API, platform)
        clock.advance(9)
    assert len(platform.token_calls) == 1
    clock.advance(3)
    kind.get(auth, API, platform)
    assert platform.bearers == ["short"] * 3 + ["token-1"]


def test_one_more_request_at_the_start_of_the_skew_window_and_no_more(
    kind: Kind, platform: Platform, clock: VirtualClock
) -> None:
    platform.tokens = [token_answer("same", 3600), token_answer("same", 60)]
    auth = kind.auth(platform, oauth_clock_skew=SKEW)
    kind.get(auth, API, platform)
    clock.advance(3540)
    for _ in range(60):
        kind.get(auth, API, platform)
        clock.advance(1)
    assert len(platform.token_calls) == 2
    kind.get(auth, API, platform)
    assert platform.bearers == ["same"] * 61 + ["token-1"]


def test_failed_refresh_goes_on_with_the_current_token(
    kind: Kind, platform: Platform, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    auth = kind.auth(platform, oauth_clock_skew=SKEW)
    kind.get(auth, API, platform)
    clock.advance(3540)
    platform.tokens = [Answer(503), Answer(503)]
    for _ in range(3):
        assert kind.get(auth, API, platform).status == 200
    assert len(platform.token_calls) == 2
    assert clock.pauses == []
    warnings = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert len(warnings) == 1
    clock.advance(30)
    kind.get(auth, API, platform)
    assert len(platform.token_calls) == 3
    clock.advance(30)
    kind.get(auth, API, platform)
    assert platform.bearers == ["token-1"] * 5 + ["token-2"]


def test_token_that_arrives_expired_is_a_transient_failure(
    kind: Kind, platform: Platform, clock: VirtualClock
) -> None:
    platform.tokens = [token_answer("dead", 0), token_answer("dead", -1)]
    kind.get(kind.auth(platform), API, platform)
    assert platform.bearers == ["token-1"]
    assert len(clock.pauses) == 2
    assert all(0 < pause <= 2 for pause in clock.pauses)


# Rule 11: failures of the endpoint.


def test_refusal_is_one_clear_error_and_is_not_retried(kind: Kind, platform: Platform) -> None:
    body = {
        "error": "invalid_client",
        "error_description": "Client authentication failed",
        "error_uri": "https://example.com/help",
    }
    platform.tokens = [Answer(401, body)]
    with pytest.raises(OauthProviderError, match="invalid_client") as caught:
        kind.get(kind.auth(platform), API, platform)
    error = caught.value
    assert (error.status_code, error.error) == (401, "invalid_client")
    assert error.error_description == "Client authentication failed"
    assert error.error_uri == "https://example.com/help"
    assert isinstance(error, kind.request_error)
    assert isinstance(error, kind.adapter.OauthProviderError)
    assert len(platform.token_calls) == 1
    assert platform.api_calls == []


def test_own_errors_know_the_request_they_are_about(kind: Kind, platform: Platform) -> None:
    platform.tokens = [Answer(400, {"error": "invalid_scope"})]
    with pytest.raises(kind.request_error) as caught:
        kind.get(kind.auth(platform), API, platform)
    assert str(caught.value.request.url) == API  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, b"<html>captive portal</html>"),
        Answer(200, {"token": "x"}),
        Answer(200, {"access_token": "x", "token_type": "mac"}),
        Answer(200, {"access_token": "x\n"}),
        Answer(302, b"", {"Location": "https://evil.example/"}),
    ],
    ids=["html", "no token", "mac", "line break", "redirect"],
)
def test_answer_that_is_no_token(kind: Kind, platform: Platform, answer: Answer) -> None:
    platform.tokens = [answer]
    with pytest.raises(InvalidTokenResponseError) as caught:
        kind.get(kind.auth(platform), API, platform)
    assert isinstance(caught.value, kind.request_error)
    assert len(platform.calls) == 1


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_transient_answers_are_tried_again(
    kind: Kind, platform: Platform, clock: VirtualClock, status: int
) -> None:
    platform.tokens = [Answer(status), Answer(status)]
    assert kind.get(kind.auth(platform), API, platform).status == 200
    assert len(platform.token_calls) == 3
    first, second = clock.pauses
    assert 0.25 <= first <= 0.5 <= second <= 1


@pytest.mark.parametrize("failure", ["connect", "read timeout", "protocol"])
def test_connection_failures_are_tried_again(kind: Kind, platform: Platform, failure: str) -> None:
    platform.tokens = [Answer(failure=failure)]
    assert kind.get(kind.auth(platform), API, platform).status == 200
    assert len(platform.token_calls) == 2


@pytest.mark.parametrize("failure", ["certificate", "proxy", "unsupported"])
def test_failures_that_stay_are_not_tried_again(
    kind: Kind, platform: Platform, failure: str
) -> None:
    platform.tokens = [Answer(failure=failure)]
    with pytest.raises(kind.request_error):
        kind.get(kind.auth(platform), API, platform)
    assert len(platform.token_calls) == 1


def test_lasting_failure_ends_in_the_endpoints_error(kind: Kind, platform: Platform) -> None:
    platform.tokens = [Answer(503, {"fault": {"code": "900800", "message": "Throttled"}})] * 10
    with pytest.raises(OauthProviderError) as caught:
        kind.get(kind.auth(platform), API, platform)
    assert (caught.value.status_code, caught.value.error) == (503, "900800")
    assert 2 <= len(platform.token_calls) <= 6


def test_connection_failure_surfaces_as_the_librarys_own(kind: Kind, platform: Platform) -> None:
    platform.tokens = [Answer(failure="connect")] * 10
    with pytest.raises(kind.connect_error) as caught:
        kind.get(kind.auth(platform), API, platform)
    request: Any = caught.value.request  # type: ignore[attr-defined]
    assert str(request.url) == BASE + "/api/ts/v1/oauth2/token"
    assert "authorization" not in {name.lower() for name in request.headers}
    assert not (request.body if kind.is_requests else request.content)


def test_retry_after_is_honoured(kind: Kind, platform: Platform, clock: VirtualClock) -> None:
    platform.tokens = [Answer(429, b"", {"Retry-After": "7"})]
    kind.get(kind.auth(platform), API, platform)
    assert clock.pauses == [7.0]


def test_retry_after_beyond_the_deadline_is_not_waited_for(
    kind: Kind, platform: Platform, clock: VirtualClock
) -> None:
    platform.tokens = [Answer(503, b"", {"Retry-After": "3600"})]
    with pytest.raises(OauthProviderError):
        kind.get(kind.auth(platform), API, platform)
    assert clock.pauses == []


def test_deadline_of_sixty_seconds_counts_the_calls_themselves(
    kind: Kind, platform: Platform, clock: VirtualClock
) -> None:
    platform.on_token = lambda: clock.advance(29)
    platform.tokens = [Answer(failure="connect")] * 10
    with pytest.raises(kind.connect_error):
        kind.get(kind.auth(platform), API, platform)
    assert len(platform.token_calls) == 3
    assert clock.time() - START < 90


def test_next_request_after_a_failure_tries_again(kind: Kind, platform: Platform) -> None:
    platform.tokens = [Answer(400, {"error": "invalid_scope"})]
    auth = kind.auth(platform)
    with pytest.raises(OauthProviderError):
        kind.get(auth, API, platform)
    assert kind.get(auth, API, platform).status == 200
