"""``headers`` and ``recover``: the whole of the adapter, for clients that have no adapter here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from thingspace_auth_adapters import (
    InsecureTransportError,
    M2mLoginError,
    OauthProviderError,
    OauthToken,
    VzM2mCredentials,
)
from thingspace_auth_adapters._adapters import life

from ..support.kinds import PASSWORD, Kind
from ..support.virtual import (
    API,
    BASE,
    GATEWAY_REFUSAL,
    LOGIN_PATH,
    LOGOUT_PATH,
    REVOKE_PATH,
    SESSION_EXPIRED,
    TOKEN_PATH,
    Answer,
    Platform,
    VirtualClock,
    login_refusal,
    token_answer,
)

FOREIGN = "https://api.example.com/devices"
EDGE = "https://5gedge.verizon.com/api/mec/eds/serviceendpoints"
VEHICLE = "https://imp.thingspace.verizon.com/api/vehicles"
BEARER_1 = {"Authorization": "Bearer token-1"}
BEARER_2 = {"Authorization": "Bearer token-2"}
BOTH_1 = {**BEARER_1, "VZ-M2M-Token": "session-1"}
CLOUD = {
    "error": "unauthorized",
    "error_description": "Failure response received for UWS V1 REST accounts: [400]",
    "cause": "Requested service is unauthorized for given token",
}
LOCATION = {
    "errorCode": "INVALID_PARAMETER",
    "errorMessage": "UWS verification failure (The Session has expired.)",
}


@pytest.fixture(autouse=True)
def _virtual_time(clock: VirtualClock) -> None:
    pass


@pytest.fixture
def auth(kind: Kind, platform: Platform) -> Any:
    return kind.auth(platform)


@pytest.fixture
def m2m_auth(kind: Kind, platform: Platform) -> Any:
    return kind.auth(platform, m2m=VzM2mCredentials("the-user", PASSWORD))


def headers(kind: Kind, auth: Any, url: str = API) -> dict[str, str]:
    """What ``headers`` returns, or what the awaitable one does."""
    found: dict[str, str] = kind.run(auth.aheaders, url) if kind.is_async else auth.headers(url)
    return found


def recover(
    kind: Kind,
    auth: Any,
    sent: Mapping[str, str],
    status: int = 401,
    body: object = GATEWAY_REFUSAL,
    *,
    url: str = API,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
) -> dict[str, str] | None:
    """What ``recover`` returns, or what the awaitable one does."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    args = (url, sent, method, status, headers or {}, content)
    found: dict[str, str] | None
    found = kind.run(auth.arecover, *args) if kind.is_async else auth.recover(*args)
    return found


# headers: when.


def test_headers_are_fetched_once_and_reused(kind: Kind, platform: Platform, auth: Any) -> None:
    assert [headers(kind, auth) for _ in range(3)] == [BEARER_1] * 3
    assert platform.trail == ["token"]


def test_session_is_opened_once_and_reused(kind: Kind, platform: Platform, m2m_auth: Any) -> None:
    assert [headers(kind, m2m_auth) for _ in range(3)] == [BOTH_1] * 3
    assert platform.trail == ["token", "login"]


def test_token_is_fetched_again_when_it_is_expired(
    kind: Kind, clock: VirtualClock, auth: Any
) -> None:
    headers(kind, auth)
    clock.advance(3600)
    assert headers(kind, auth) == BEARER_2


def test_session_that_headers_use_is_not_idle(
    kind: Kind, platform: Platform, clock: VirtualClock, m2m_auth: Any
) -> None:
    for _ in range(3):
        assert headers(kind, m2m_auth) == BOTH_1
        clock.advance(1000)
    clock.advance(200)
    assert headers(kind, m2m_auth)["VZ-M2M-Token"] == "session-2"
    assert len(platform.login_calls) == 2


def test_headers_belong_to_the_caller(kind: Kind, auth: Any) -> None:
    mine = headers(kind, auth)
    assert type(mine) is dict
    mine["Authorization"] = "changed"
    assert headers(kind, auth) == BEARER_1


def test_assigned_token_is_used(kind: Kind, platform: Platform, auth: Any) -> None:
    auth.oauth_token = {"access_token": "mine", "token_type": "Bearer"}
    assert headers(kind, auth) == {"Authorization": "Bearer mine"}
    assert platform.calls == []


def test_update_callback_is_told(kind: Kind, platform: Platform) -> None:
    told: list[str] = []
    auth = kind.auth(
        platform, oauth_on_token_update=kind.callback(lambda token: told.append(token.access_token))
    )
    sent = headers(kind, auth)
    assert headers(kind, auth) == sent
    assert told == ["token-1"]
    recover(kind, auth, sent)
    assert told == ["token-1", "token-2"]


def test_refused_credentials_are_the_librarys_error_too(
    kind: Kind, platform: Platform, auth: Any
) -> None:
    platform.tokens = [Answer(401, {"error": "invalid_client"})]
    with pytest.raises(OauthProviderError, match="invalid_client") as caught:
        headers(kind, auth)
    assert isinstance(caught.value, kind.request_error)


# headers: where. Rule 9, and Part 2, rule 1.


@pytest.mark.parametrize(
    ("url", "session_header"),
    [
        (API, "VZ-M2M-Token"),
        ("https://THINGSPACE.verizon.com./api/x", "VZ-M2M-Token"),
        (f"{BASE}:443/api/x?a=b#c", "VZ-M2M-Token"),
        ("https://staging.thingspace.verizon.com/api/x", "VZ-M2M-Token"),
        (BASE + LOGOUT_PATH, "VZ-M2M-Token"),
        (VEHICLE, "SessionToken"),
        (EDGE, None),
        (BASE + LOGIN_PATH, None),
    ],
)
def test_session_goes_beside_the_bearer_where_it_is_wanted(
    kind: Kind, m2m_auth: Any, url: str, session_header: str | None
) -> None:
    session = {} if session_header is None else {session_header: "session-1"}
    assert headers(kind, m2m_auth, url) == {**BEARER_1, **session}


@pytest.mark.parametrize("path", [TOKEN_PATH, REVOKE_PATH])
def test_endpoints_of_the_token_are_sent_no_session(kind: Kind, m2m_auth: Any, path: str) -> None:
    assert {"VZ-M2M-Token", "SessionToken"}.isdisjoint(headers(kind, m2m_auth, BASE + path))


@pytest.mark.parametrize("url", [API, VEHICLE, EDGE])
def test_without_m2m_there_is_only_a_bearer(kind: Kind, auth: Any, url: str) -> None:
    assert headers(kind, auth, url) == BEARER_1


@pytest.mark.parametrize(
    "url",
    [
        FOREIGN,
        "http://api.example.com/devices",
        "https://verizon.com/",
        "https://evil-thingspace.verizon.com/",
        "https://thingspace.verizon.com.evil.example/",
        "https://thingspace.verizon.com@evil.example/",
        "https://evil.example\\@thingspace.verizon.com/",
        "https://thingspace.verizon.com:8443/",
        "https://x.y5gedge.verizon.com/",
        "https://127.0.0.1/",
    ],
)
def test_foreign_host_gets_nothing(kind: Kind, platform: Platform, m2m_auth: Any, url: str) -> None:
    assert headers(kind, m2m_auth, url) == {}
    assert platform.calls == []


def test_allowed_hosts_replace_the_default(kind: Kind, platform: Platform) -> None:
    auth = kind.auth(platform, allowed_hosts=["api.example.com"])
    assert headers(kind, auth, FOREIGN) == BEARER_1
    assert headers(kind, auth, API) == {}


@pytest.mark.parametrize("host", ["thingspace.verizon.com", "imp.thingspace.verizon.com"])
def test_plain_http_to_an_allowed_host_is_refused(
    kind: Kind, platform: Platform, m2m_auth: Any, host: str
) -> None:
    with pytest.raises(InsecureTransportError, match=host) as caught:
        headers(kind, m2m_auth, f"http://{host}/api/x")
    assert isinstance(caught.value, kind.request_error)
    assert platform.calls == []


def test_plain_http_is_allowed_for_loopback(kind: Kind, platform: Platform) -> None:
    auth = kind.auth(platform, base_url="http://127.0.0.1:8080")
    assert headers(kind, auth, "http://127.0.0.1:8080/api/x") == BEARER_1
    assert headers(kind, auth, "http://127.0.0.1:8081/api/x") == {}


# recover: the bearer. Rule 7.


def test_rejected_token_is_renewed(kind: Kind, platform: Platform, auth: Any) -> None:
    assert recover(kind, auth, headers(kind, auth)) == BEARER_2
    assert headers(kind, auth) == BEARER_2
    assert platform.trail == ["token", "token"]


def test_arguments_can_be_named(sync_kind: Kind, platform: Platform) -> None:
    auth = sync_kind.auth(platform)
    again = auth.recover(
        url=API,
        sent_headers=auth.headers(url=API),
        method="GET",
        status=401,
        headers={},
        body=json.dumps(GATEWAY_REFUSAL).encode(),
    )
    assert again == BEARER_2


def test_session_stays_when_the_token_is_renewed(
    kind: Kind, platform: Platform, m2m_auth: Any
) -> None:
    sent = headers(kind, m2m_auth)
    assert recover(kind, m2m_auth, sent) == {**BEARER_2, "VZ-M2M-Token": "session-1"}
    assert len(platform.login_calls) == 1


@pytest.mark.parametrize("case", [str.lower, str.upper, str.title])
def test_names_of_headers_have_no_case(kind: Kind, platform: Platform, case: Any) -> None:
    auth = kind.auth(platform)
    sent = {case(name): value for name, value in headers(kind, auth).items()}
    challenge = {case("WWW-Authenticate"): 'Bearer error="invalid_token"'}
    assert recover(kind, auth, sent, body=b"", method="POST", headers=challenge) == BEARER_2


def test_other_headers_of_the_request_do_not_matter(kind: Kind, auth: Any) -> None:
    sent = {"Accept": "*/*", **headers(kind, auth), "VZ-M2M-Token": "the caller's own"}
    assert recover(kind, auth, sent) == BEARER_2


@pytest.mark.parametrize("status", [200, 204, 301, 304, 400, 403, 404, 407, 429, 500, 503])
def test_only_a_401_can_blame_the_token(
    kind: Kind, platform: Platform, auth: Any, status: int
) -> None:
    assert recover(kind, auth, headers(kind, auth), status) is None
    assert headers(kind, auth) == BEARER_1
    assert len(platform.token_calls) == 1


@pytest.mark.parametrize(
    ("body", "challenge"),
    [
        ({"errorCode": "INVALID_ACCOUNT"}, None),
        ({"fault": {"code": "900906"}}, None),
        ({"fault": {"code": "900800"}}, None),
        (CLOUD, None),
        (SESSION_EXPIRED, None),
        (b"", 'Bearer error="insufficient_scope"'),
    ],
    ids=["diagnostics", "resource", "throttled", "cloud", "session", "scope"],
)
def test_401_that_names_another_cause_does_not_renew(
    kind: Kind, platform: Platform, auth: Any, body: object, challenge: str | None
) -> None:
    answer = {} if challenge is None else {"WWW-Authenticate": challenge}
    assert recover(kind, auth, headers(kind, auth), body=body, headers=answer) is None
    assert headers(kind, auth) == BEARER_1
    assert len(platform.token_calls) == 1


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "POST", "PATCH"])
@pytest.mark.parametrize("body", [b"", b"<html>\xff</html>"], ids=["empty", "html"])
def test_unrecognised_401_renews_but_only_some_methods_are_repeated(
    kind: Kind, platform: Platform, auth: Any, method: str, body: object
) -> None:
    is_repeated = method not in ("POST", "PATCH")
    again = recover(kind, auth, headers(kind, auth), body=body, method=method)
    assert again == (BEARER_2 if is_repeated else None)
    assert headers(kind, auth) == BEARER_2
    assert len(platform.token_calls) == 2


@pytest.mark.parametrize("method", ["POST", "PATCH"])
@pytest.mark.parametrize("code", ["900901", "900902", "900903", "900904"])
def test_every_method_is_repeated_where_the_gateway_refused(
    kind: Kind, auth: Any, method: str, code: str
) -> None:
    sent = headers(kind, auth)
    assert recover(kind, auth, sent, body={"fault": {"code": code}}, method=method) == BEARER_2


@pytest.mark.parametrize(
    "sent",
    [
        {},
        {"Authorization": "Bearer somebody-else"},
        {"Authorization": "Basic dXNlcjpwYXNzd29yZA=="},
        {"Authorization": "token-1"},
        {"Authorization": ""},
        {"X-Authorization": "Bearer token-1"},
        {"Proxy-Authorization": "Bearer token-1"},
    ],
)
def test_only_a_token_of_ours_is_renewed(
    kind: Kind, platform: Platform, auth: Any, sent: dict[str, str]
) -> None:
    headers(kind, auth)
    assert recover(kind, auth, sent) is None
    assert headers(kind, auth) == BEARER_1
    assert len(platform.token_calls) == 1


def test_nothing_is_ours_before_the_first_token(kind: Kind, platform: Platform, auth: Any) -> None:
    assert recover(kind, auth, {"Authorization": "Bearer token-1"}) is None
    assert platform.calls == []


@pytest.mark.parametrize("url", [FOREIGN, "http://api.example.com/", "https://verizon.com/"])
def test_answer_of_a_foreign_host_says_nothing(
    kind: Kind, platform: Platform, auth: Any, url: str
) -> None:
    assert recover(kind, auth, headers(kind, auth), url=url) is None
    assert headers(kind, auth) == BEARER_1
    assert len(platform.token_calls) == 1


def test_late_refusal_of_an_older_token_costs_nothing(
    kind: Kind, platform: Platform, auth: Any
) -> None:
    sent = headers(kind, auth)
    assert [recover(kind, auth, sent) for _ in range(5)] == [BEARER_2] * 5
    assert len(platform.token_calls) == 2


def renew_by_rejection(kind: Kind, auth: Any, clock: VirtualClock) -> None:
    recover(kind, auth, headers(kind, auth))


def renew_by_expiry(kind: Kind, auth: Any, clock: VirtualClock) -> None:
    clock.advance(3600)
    headers(kind, auth)


def renew_by_assignment(kind: Kind, auth: Any, clock: VirtualClock) -> None:
    name, number = auth.oauth_token.access_token.split("-")
    auth.oauth_token = OauthToken(f"{name}-{int(number) + 1}", "Bearer")
    headers(kind, auth)


@pytest.mark.parametrize("renew", [renew_by_rejection, renew_by_expiry, renew_by_assignment])
def test_eight_tokens_before_the_current_one_are_ours(
    kind: Kind, platform: Platform, clock: VirtualClock, auth: Any, renew: Any
) -> None:
    headers(kind, auth)
    for _ in range(9):
        renew(kind, auth, clock)
    current = {"Authorization": "Bearer token-10"}
    assert headers(kind, auth) == current
    asked = len(platform.token_calls)
    for number in range(2, 10):
        assert recover(kind, auth, {"Authorization": f"Bearer token-{number}"}) == current
    assert recover(kind, auth, {"Authorization": "Bearer token-1"}) is None
    assert len(platform.token_calls) == asked


def test_same_token_again_is_no_recovery_and_is_not_asked_for_at_once(
    kind: Kind, platform: Platform, clock: VirtualClock, auth: Any
) -> None:
    sent = headers(kind, auth)
    platform.tokens = [token_answer("token-1")]
    assert [recover(kind, auth, sent) for _ in range(3)] == [None] * 3
    assert len(platform.token_calls) == 2
    assert headers(kind, auth) == BEARER_1
    clock.advance(31)
    assert recover(kind, auth, sent) == BEARER_2


def test_renewal_that_fails_leaves_the_answer_to_the_caller(
    kind: Kind, platform: Platform, auth: Any
) -> None:
    sent = headers(kind, auth)
    platform.tokens = [Answer(401, {"error": "invalid_client"})]
    assert recover(kind, auth, sent) is None
    assert headers(kind, auth) == BEARER_2


def test_token_of_another_object_is_not_ours(kind: Kind, platform: Platform, auth: Any) -> None:
    other = kind.auth(platform)
    sent = headers(kind, other)
    headers(kind, auth)
    assert recover(kind, auth, sent) is None
    assert len(platform.token_calls) == 2


# recover: the session. Part 2, rule 4.


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, SESSION_EXPIRED),
        (401, SESSION_EXPIRED),
        (400, {"errorCode": "UnifiedWebService.INPUT_INVALID.SessionToken.Invalid"}),
        (400, {"errorCode": "DeviceService.REQUEST_FAILED.SessionToken.Format"}),
        (400, LOCATION),
        (403, CLOUD),
    ],
    ids=["expired", "401", "invalid", "format", "location", "cloud"],
)
def test_rejected_session_leads_to_one_login(
    kind: Kind, platform: Platform, m2m_auth: Any, method: str, status: int, body: object
) -> None:
    sent = headers(kind, m2m_auth)
    again = recover(kind, m2m_auth, sent, status, body, method=method)
    assert again == {**BEARER_1, "VZ-M2M-Token": "session-2"}
    assert platform.trail == ["token", "login", "login"]


def test_session_of_the_vehicle_apis_has_another_name(kind: Kind, m2m_auth: Any) -> None:
    sent = headers(kind, m2m_auth, VEHICLE)
    again = recover(kind, m2m_auth, sent, 400, SESSION_EXPIRED, url=VEHICLE)
    assert again == {**BEARER_1, "SessionToken": "session-2"}


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, {"errorCode": "UnifiedWebService.REQUEST_FAILED.Expired"}),
        (400, {**LOCATION, "errorMessage": "UWS verification failure (Could not find account 1)"}),
        (400, b""),
        (404, {"errorCode": "NOT_FOUND"}),
        (200, SESSION_EXPIRED),
        (500, SESSION_EXPIRED),
    ],
    ids=["other code", "account", "empty", "404", "200", "500"],
)
def test_answer_that_does_not_blame_the_session_leaves_it(
    kind: Kind, platform: Platform, m2m_auth: Any, status: int, body: object
) -> None:
    assert recover(kind, m2m_auth, headers(kind, m2m_auth), status, body) is None
    assert headers(kind, m2m_auth) == BOTH_1
    assert platform.trail == ["token", "login"]


@pytest.mark.parametrize("session", [{}, {"VZ-M2M-Token": "somebody else's"}])
def test_only_a_session_of_ours_is_renewed(
    kind: Kind, platform: Platform, m2m_auth: Any, session: dict[str, str]
) -> None:
    headers(kind, m2m_auth)
    assert recover(kind, m2m_auth, {**BEARER_1, **session}, 400, SESSION_EXPIRED) is None
    assert len(platform.login_calls) == 1


def test_late_refusal_of_an_older_session_costs_nothing(
    kind: Kind, platform: Platform, m2m_auth: Any
) -> None:
    sent = headers(kind, m2m_auth)
    expected = {**BEARER_1, "VZ-M2M-Token": "session-2"}
    found = [recover(kind, m2m_auth, sent, 400, SESSION_EXPIRED) for _ in range(5)]
    assert found == [expected] * 5
    assert len(platform.login_calls) == 2


def test_eight_sessions_before_the_current_one_are_ours(
    kind: Kind, platform: Platform, m2m_auth: Any, clock: VirtualClock
) -> None:
    for _ in range(9):
        clock.advance(60)
        recover(kind, m2m_auth, headers(kind, m2m_auth), 400, SESSION_EXPIRED)
    current = {**BEARER_1, "VZ-M2M-Token": "session-10"}
    assert headers(kind, m2m_auth) == current
    for number in range(2, 10):
        sent = {"VZ-M2M-Token": f"session-{number}"}
        again = recover(kind, m2m_auth, sent, 400, SESSION_EXPIRED) or {}
        assert again["VZ-M2M-Token"] == "session-10"
    oldest = {**BEARER_1, "VZ-M2M-Token": "session-1"}
    assert recover(kind, m2m_auth, oldest, 400, SESSION_EXPIRED) is None
    assert len(platform.login_calls) == 10


def test_session_that_was_given_is_never_renewed(kind: Kind, platform: Platform) -> None:
    auth = kind.auth(platform, m2m="given")
    sent = headers(kind, auth)
    assert sent == {**BEARER_1, "VZ-M2M-Token": "given"}
    assert recover(kind, auth, sent, 400, SESSION_EXPIRED) is None
    assert headers(kind, auth) == sent
    assert platform.login_calls == []


def test_refused_login_leaves_the_answer_and_then_raises(kind: Kind, platform: Platform) -> None:
    # Logins are counted per account in a process: so an account of its own.
    auth = kind.auth(platform, m2m=VzM2mCredentials(f"refused-by-{kind.name}", PASSWORD))
    sent = headers(kind, auth)
    platform.logins = [login_refusal()]
    assert recover(kind, auth, sent, 400, SESSION_EXPIRED) is None
    with pytest.raises(M2mLoginError):
        headers(kind, auth)
    assert headers(kind, auth, EDGE) == BEARER_1
    assert len(platform.login_calls) == 2


# One request is repeated at most once on account of each credential: the caller leaves out of
# ``sent_headers`` what has been renewed for this request.


def test_both_can_be_renewed_for_one_request(kind: Kind, platform: Platform, m2m_auth: Any) -> None:
    sent = headers(kind, m2m_auth)
    again = recover(kind, m2m_auth, sent)
    assert again == {**BEARER_2, "VZ-M2M-Token": "session-1"}
    once_more = recover(kind, m2m_auth, again, 400, SESSION_EXPIRED)
    assert once_more == {**BEARER_2, "VZ-M2M-Token": "session-2"}
    assert platform.trail == ["token", "login", "token", "login"]


def test_credential_that_is_left_out_is_not_renewed(
    kind: Kind, platform: Platform, m2m_auth: Any
) -> None:
    session = {"VZ-M2M-Token": headers(kind, m2m_auth)["VZ-M2M-Token"]}
    assert recover(kind, m2m_auth, session) is None
    assert recover(kind, m2m_auth, BEARER_1, 400, SESSION_EXPIRED) is None
    assert platform.trail == ["token", "login"]
    again = recover(kind, m2m_auth, session, 400, SESSION_EXPIRED) or {}
    assert again["VZ-M2M-Token"] == "session-2"


def test_hosts_are_remembered_but_not_without_end(
    sync_kind: Kind,
    platform: Platform,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level("INFO", "thingspace_auth_adapters")
    auth = sync_kind.auth(platform)
    monkeypatch.setattr(life, "_MOST_TARGETS", 256)
    for number in (*range(300), 0):
        assert auth.headers(f"https://host{number}.example/") == {}
    assert len(auth._life._targets) <= 256
    assert caplog.text.count("host0.example is not an allowed host") == 1


def test_suspicion_of_an_older_session_brings_the_newer_one(
    kind: Kind, platform: Platform, m2m_auth: Any, clock: VirtualClock
) -> None:
    older = headers(kind, m2m_auth)
    recover(kind, m2m_auth, older, 400, SESSION_EXPIRED)
    again = recover(kind, m2m_auth, older, 401, {"errorCode": "INVALID_ACCOUNT"})
    assert again is not None
    assert again["VZ-M2M-Token"] == "session-2"
    assert len(platform.login_calls) == 2
