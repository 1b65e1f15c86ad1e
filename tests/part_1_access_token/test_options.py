"""Part 1, names: the options of an auth object, and what the environment gives in their place."""

from __future__ import annotations

import base64
import inspect
import json
import os
import sys
import typing
from typing import Any

import pytest

from thingspace_auth_adapters import M2mLoginError, VzM2mCredentials

from ..support.kinds import PASSWORD, Kind
from ..support.virtual import (
    API,
    BASE,
    GATEWAY_REFUSAL,
    LOGIN_PATH,
    LOGOUT_PATH,
    REVOKE_PATH,
    TOKEN_PATH,
    Answer,
    Platform,
)

pytestmark = pytest.mark.usefixtures("clock")

EDGE = "https://5gedge.verizon.com"
STAGING = "https://staging.thingspace.verizon.com"
M2M = VzM2mCredentials("user", PASSWORD)


# The environment.


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in list(os.environ):
        if name.startswith(("THINGSPACE_", "VZ_M2M_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("THINGSPACE_OAUTH_OAUTH_CLIENT_ID", "the-key")
    monkeypatch.setenv("THINGSPACE_OAUTH_OAUTH_CLIENT_SECRET", "s3cr3t-of-the-key")
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
    environment.setenv("THINGSPACE_BASE_URL", STAGING)
    environment.setenv("VZ_M2M_USERNAME", "the-user")
    with pytest.raises(ValueError, match="VZ_M2M_PASSWORD"):
        from_environment(kind, platform)
    environment.setenv("VZ_M2M_PASSWORD", "the-password")
    kind.get(from_environment(kind, platform), f"{STAGING}/x", platform)
    (login,) = platform.login_calls
    assert json.loads(login.body) == {"username": "the-user", "password": "the-password"}
    for call in (login, platform.token_calls[0]):
        assert call.url.startswith(f"{STAGING}/")


def test_options_come_before_the_environment(
    kind: Kind, platform: Platform, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("THINGSPACE_BASE_URL", STAGING)
    environment.setenv("VZ_M2M_USERNAME", "half an account")
    kind.get(from_environment(kind, platform, m2m="a-session", base_url=BASE), API, platform)
    assert platform.token_calls[0].url.startswith(BASE)
    assert platform.sessions == ["a-session"]


def test_each_signature_shows_the_defaults_that_hold(
    sync_kind: Kind, environment: pytest.MonkeyPatch
) -> None:
    adapter = sync_kind.adapter.ThingspaceAuth
    auth = adapter.from_environment()
    holding = {"base_url": auth.base_url, "timeout": auth.timeout}
    assert holding == {"base_url": BASE, "timeout": 30.0}
    assert shown_defaults(adapter.from_environment) == {"timeout": auth.timeout}
    if sys.version_info >= (3, 11):
        overloads = typing.get_overloads(adapter.__init__)
        assert [shown_defaults(overload) for overload in overloads] == [holding] * 2


def shown_defaults(function: Any) -> dict[str, Any]:
    """Those that are not ``None``; each is of an argument that has to be named."""
    parameters = inspect.signature(function).parameters.values()
    given = [one for one in parameters if one.default is not one.empty]
    assert {one.kind for one in given} == {inspect.Parameter.KEYWORD_ONLY}
    return {one.name: one.default for one in given if one.default is not None}


def test_all_fields_can_be_given_by_name(kind: Kind, platform: Platform) -> None:
    auth = kind.auth(
        platform,
        oauth_client_id="the-key",
        oauth_client_secret="s3cr3t-of-the-key",
        oauth_token=None,
        oauth_scopes=["ts.mec.fullaccess"],
        oauth_token_provider=None,
        oauth_on_token_update=None,
        oauth_clock_skew=60,
    )
    kind.get(auth, API, platform)
    assert platform.token_calls[0].form["scope"] == "ts.mec.fullaccess"


# base_url, and whom it allows.


def test_base_url_is_where_the_endpoints_are(kind: Kind, platform: Platform) -> None:
    auth = kind.auth(platform, base_url="https://proxy.example:8443/", m2m=M2M)
    kind.get(auth, "https://proxy.example:8443/api/x", platform)
    urls = [call.url for call in platform.calls]
    paths = (TOKEN_PATH, LOGIN_PATH, "/api/x")
    assert urls == ["https://proxy.example:8443" + path for path in paths]
    assert platform.bearers == ["token-1"]


ALLOWED = {
    BASE: {
        "https://thingspace.verizon.com": True,
        "https://x.thingspace.verizon.com": True,
        "https://5gedge.verizon.com": True,
        "https://x.5gedge.verizon.com": True,
        "https://verizon.com": False,
    },
    "https://mock.thingspace.verizon.com": {
        "https://mock.thingspace.verizon.com": True,
        BASE: False,
    },
    "https://proxy.example": {
        "https://proxy.example": True,
        "https://thingspace.verizon.com": False,
    },
}
ALLOWED[EDGE] = ALLOWED[BASE]
for _host in ("localhost", "127.0.0.1", "[::1]"):
    ALLOWED[f"http://{_host}:8080"] = {
        f"http://{name}:{port}": port == 8080
        for name in ("localhost", "127.0.0.1", "[::1]")
        for port in (8080, 8081)
    }


@pytest.mark.parametrize("base_url", list(ALLOWED))
def test_hosts_that_are_allowed_by_default(kind: Kind, platform: Platform, base_url: str) -> None:
    auth = kind.auth(platform, base_url=base_url)
    for origin in ALLOWED[base_url]:
        kind.get(auth, f"{origin}/api", platform)
    expected = ["token-1" if is_allowed else None for is_allowed in ALLOWED[base_url].values()]
    assert platform.bearers == expected


def test_session_of_an_edge_base_url_is_opened_at_thingspace(
    kind: Kind, platform: Platform
) -> None:
    auth = kind.auth(platform, base_url=EDGE, m2m=M2M)
    kind.get(auth, API, platform)
    kind.end_session(auth)
    assert [call.url for call in platform.token_calls] == [EDGE + TOKEN_PATH]
    urls = [call.url for call in (*platform.login_calls, *platform.logout_calls)]
    assert urls == [BASE + LOGIN_PATH, BASE + LOGOUT_PATH]


def test_session_of_any_other_base_url_is_opened_there(kind: Kind, platform: Platform) -> None:
    base_url = "https://staging.5gedge.verizon.com"
    kind.fetch_session(kind.auth(platform, base_url=base_url, m2m=M2M))
    assert [call.url for call in platform.login_calls] == [base_url + LOGIN_PATH]


@pytest.mark.parametrize("base_url", [BASE, EDGE])
def test_login_that_refuses_an_edge_token_says_which_base_url_to_use(
    kind: Kind, platform: Platform, base_url: str
) -> None:
    platform.logins = [Answer(401, GATEWAY_REFUSAL)] * 9
    with pytest.raises(M2mLoginError) as caught:
        kind.get(kind.auth(platform, base_url=base_url, m2m=M2M), API, platform)
    assert (f"base_url='{BASE}'" in str(caught.value)) == (base_url == EDGE)


# timeout.


@pytest.mark.parametrize(
    ("options", "of_the_request"),
    [({}, None), ({}, 0.1), ({"timeout": 12}, 5.0), ({"timeout": 12}, None)],
)
def test_timeout_of_the_request_does_not_apply_to_the_endpoints(
    kind: Kind, platform: Platform, options: dict[str, Any], of_the_request: float | None
) -> None:
    timeouts: dict[str, set[float]] = {}
    auth = kind.auth(**options, **recording(kind, platform, timeouts), m2m=M2M)
    kind.get(auth, API, platform, timeout=of_the_request)
    kind.end_session(auth)
    kind.revoke_token(auth)
    endpoints = [BASE + path for path in (TOKEN_PATH, LOGIN_PATH, LOGOUT_PATH, REVOKE_PATH)]
    assert timeouts == {url: {options.get("timeout", 30)} for url in endpoints}


def recording(kind: Kind, platform: Platform, timeouts: dict[str, set[float]]) -> dict[str, Any]:
    """Options with which the calls of the endpoints note their timeouts by URL."""
    if kind.is_requests:
        session = kind.session(platform)
        adapter = session.get_adapter(API)
        send = adapter.send

        def noting(request: Any, **kwargs: Any) -> Any:
            timeout = kwargs["timeout"]
            timeouts[request.url] = {*(timeout if isinstance(timeout, tuple) else (timeout,))}
            return send(request, **kwargs)

        adapter.send = noting
        return {"session": session}

    transport = kind.transport(platform)

    class Transport(kind.library.BaseTransport):  # type: ignore[name-defined,misc]
        def handle_request(self, request: Any) -> Any:
            phases = request.extensions["timeout"]
            assert phases.keys() == {"connect", "read", "write", "pool"}
            timeouts[str(request.url)] = {*phases.values()}
            return transport.handle_request(request)

    return {"client_options": {"transport": Transport()}}
