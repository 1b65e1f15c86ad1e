"""Part 1, names: the members of an auth object, which callbacks get as ``auth_manager``."""

from __future__ import annotations

from typing import Any, Callable

import pytest

from thingspace_auth_adapters import OauthProviderError, OauthToken, ThingspaceOauthCredentials
from thingspace_auth_adapters.simulator import ThingspaceSimulator

from ..support.crowds import PATH
from ..support.kinds import IDENTITY, Kind
from ..support.real import options_for
from ..support.virtual import API, BASE, START, Answer, Platform, VirtualClock

pytestmark = pytest.mark.usefixtures("clock")


def test_object_may_be_that_of_one_request_alone(
    kind: Kind, simulator: ThingspaceSimulator
) -> None:
    """``requests.get(url, auth=…)``, ``httpx.get(url, auth=…)`` and per-request ``auth=``."""
    auth, url = kind.auth(**options_for(simulator)), simulator.url + PATH

    async def get() -> Any:
        async with kind.library.AsyncClient(trust_env=False, verify=False) as client:
            return await client.get(url, auth=auth)

    for _ in range(2):
        response = kind.run(get) if kind.is_async else kind.library.get(url, auth=auth)
        assert response.status_code == 200
    assert len(simulator.token_requests) == 1


def test_fetch_token_installs_nothing(kind: Kind, platform: Platform) -> None:
    auth = kind.auth(platform)
    token = kind.fetch_token(auth, {"extra": "yes"})
    assert isinstance(token, OauthToken)
    assert (token.access_token, token.expiry) == ("token-1", START + 3600)
    assert platform.token_calls[0].form["extra"] == "yes"
    assert auth.oauth_token is None


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


class Incomparable:
    """As the official SDK's tokens, which do not compare equal."""

    access_token = "stored"
    expiry = START + 10


@pytest.mark.parametrize(
    "make", [lambda: {"access_token": "stored", "expiry": START + 10}, Incomparable]
)
def test_getter_that_makes_an_equal_token_each_time_is_no_change(
    kind: Kind, platform: Platform, clock: VirtualClock, make: Callable[[], Any]
) -> None:
    class Credentials:
        oauth_client_id = "key"
        oauth_client_secret = "secret"
        oauth_token = property(lambda self: make())

    auth = kind.auth(platform, thingspace_oauth_credentials=Credentials())
    kind.get(auth, API, platform)
    auth.oauth_token = OauthToken("assigned", "Bearer", expiry=START + 10)
    kind.get(auth, API, platform)
    clock.advance(11)
    for _ in range(3):
        kind.get(auth, API, platform)
    assert platform.bearers == ["stored", "assigned", *["token-1"] * 3]


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


def test_settings_can_be_read(kind: Kind) -> None:
    auth = kind.auth(base_url="https://proxy.example:8443", timeout=7)
    assert (auth.base_url, auth.timeout) == ("https://proxy.example:8443", 7)
    assert auth.allowed_hosts == ("proxy.example:8443",)
    assert kind.auth(allowed_hosts=["*.example", "x.test"]).allowed_hosts == ("*.example", "x.test")
    assert (kind.auth().base_url, kind.auth().timeout) == (BASE, 30.0)


@pytest.mark.parametrize("name", ["base_url", "allowed_hosts", "timeout"])
def test_assigned_setting_is_an_error_that_says_to_make_a_new_object(kind: Kind, name: str) -> None:
    auth = kind.auth()
    before = getattr(auth, name)
    with pytest.raises(AttributeError, match=f"{name} of a ThingspaceAuth .* make a new one"):
        setattr(auth, name, before)
    assert getattr(auth, name) == before


BAD_URL: Any = 7


@pytest.mark.parametrize(
    "url", ["/api/m2m/v1/devices", "thingspace.verizon.com/api", "", "https:", BAD_URL]
)
def test_url_without_scheme_or_host_is_a_value_error(
    kind: Kind, platform: Platform, url: str
) -> None:
    auth = kind.auth(platform)
    recovered: tuple[Any, ...] = (url, {}, "GET", 401, {}, b"")
    calls: list[Callable[[], Any]] = [lambda: auth.headers(url), lambda: auth.recover(*recovered)]
    if kind.is_async:
        calls = [lambda: kind.run(auth.aheaders, url), lambda: kind.run(auth.arecover, *recovered)]
    for call in calls:
        with pytest.raises(ValueError, match="url must have a scheme and a host"):
            call()
    assert platform.calls == []


def test_parameters_that_are_no_dict_are_named(kind: Kind, platform: Platform) -> None:
    with pytest.raises(TypeError, match="additional_params must be a dict"):
        kind.fetch_token(kind.auth(platform), 7)
    assert platform.calls == []


def test_without_an_account_there_is_no_login_to_allow(kind: Kind, platform: Platform) -> None:
    auth = kind.auth(platform)
    kind.allow_login(auth)
    assert platform.calls == []
