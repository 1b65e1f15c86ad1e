"""The contract, Part 2: the M2M session token. For every client kind."""

from __future__ import annotations

import copy
import json
import logging
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from thingspace_auth_adapters import (
    M2mLoginError,
    OauthProviderError,
    ThingspaceOauthCredentials,
    VzM2mCredentials,
)
from thingspace_auth_adapters._core.cached_token import CachedToken, Status, status

from ..support.frames import frames_of_ours
from ..support.kinds import PASSWORD, Kind
from ..support.virtual import (
    API,
    BASE,
    GATEWAY_REFUSAL,
    LOGIN_PATH,
    SESSION_EXPIRED,
    Answer,
    Call,
    Platform,
    VirtualClock,
    login_refusal,
    redirect,
    refusal,
    session_refusal,
    token_answer,
)

EDGE = "https://5gedge.verizon.com/api/mec/eds"
VEHICLE = "https://imp.thingspace.verizon.com/api/vehicle/v1"
ELSEWHERE = "https://evil.example/api"


@pytest.fixture(autouse=True)
def _virtual_time(clock: VirtualClock) -> None:
    pass


def credentials(**options: Any) -> VzM2mCredentials:
    return VzM2mCredentials("the-user", PASSWORD, **options)


@pytest.fixture
def auth(kind: Kind, platform: Platform) -> Any:
    return kind.auth(platform, m2m=credentials())


def headers_sent(platform: Platform) -> list[dict[str, str]]:
    names = ("authorization", "vz-m2m-token", "sessiontoken")
    return [
        {name: call.headers[name] for name in names if name in call.headers}
        for call in platform.api_calls
    ]


# Rule 1: which requests carry it, and in which header.


def test_requests_carry_both_tokens(kind: Kind, platform: Platform, auth: Any) -> None:
    for _ in range(3):
        assert kind.get(auth, API, platform).status == 200
    both = {"authorization": "Bearer token-1", "vz-m2m-token": "session-1"}
    assert headers_sent(platform) == [both] * 3
    assert platform.trail == ["token", "login", "api", "api", "api"]


def test_login_is_the_platforms_own(kind: Kind, platform: Platform, auth: Any) -> None:
    kind.get(auth, API, platform)
    (login,) = platform.login_calls
    assert (login.method, login.url) == ("POST", BASE + LOGIN_PATH)
    assert json.loads(login.body) == {"username": "the-user", "password": PASSWORD}
    assert login.headers["content-type"] == "application/json"
    assert login.authorization == "Bearer token-1"
    assert login.session is None


def test_nothing_is_fetched_before_a_request_needs_it(platform: Platform, auth: Any) -> None:
    assert repr(auth)
    assert platform.calls == []


@pytest.mark.parametrize(
    ("url", "header"),
    [
        (API, "vz-m2m-token"),
        ("https://staging.thingspace.verizon.com/api/m2m/v1/x", "vz-m2m-token"),
        (VEHICLE, "sessiontoken"),
        ("https://IMP.thingspace.verizon.com.:443/api", "sessiontoken"),
        ("https://imp-staging.thingspace.verizon.com/api", "sessiontoken"),
        ("https://x.imp.thingspace.verizon.com/api", "sessiontoken"),
        ("https://simp.thingspace.verizon.com/api", "vz-m2m-token"),
        (f"{BASE}/api/m2m/v1/sessions?path=/session/login", "vz-m2m-token"),
        (f"{BASE}/api/m2m/v1/devices?next=/oauth2/token", "vz-m2m-token"),
    ],
)
def test_header_is_the_hosts(
    kind: Kind, platform: Platform, auth: Any, url: str, header: str
) -> None:
    for _ in range(2):
        kind.get(auth, url, platform)
    expected = {"authorization": "Bearer token-1", header: "session-1"}
    assert headers_sent(platform) == [expected] * 2


@pytest.mark.parametrize(
    "url",
    [
        EDGE,
        BASE + LOGIN_PATH,
        BASE + LOGIN_PATH + "?x=1",
        f"{BASE}/api/ts/v1/oauth2/token",
        f"{BASE}/api/ts/v1/oauth2/revoke",
    ],
)
def test_session_is_kept_from_5g_edge_and_the_endpoints_for_credentials(
    kind: Kind, platform: Platform, auth: Any, url: str
) -> None:
    kind.send(auth, "POST", url, platform)
    assert platform.calls[-1].url == url
    assert platform.calls[-1].authorization == "Bearer token-1"
    assert [call.session for call in platform.calls] == [None, None]


@pytest.mark.parametrize("host", ["5gedge.verizon.com", "staging.5gedge.verizon.com"])
@pytest.mark.parametrize(
    ("path", "is_both"),
    [
        ("/api/mec/performance/v1/firehose", True),
        ("/api/mec/performance/?x=1", True),
        ("/api/mec/eds/serviceprofiles", False),
        ("/api/mec/performances", False),
        ("/x/api/mec/performance/", False),
        ("/api/mec/eds?next=/api/mec/performance/", False),
    ],
)
def test_edge_performance_api_gets_both_headers(
    kind: Kind, platform: Platform, auth: Any, host: str, path: str, is_both: bool
) -> None:
    """On 5G Edge's hosts the path decides, whatever went there before."""
    for each in ("/api/mec/eds", path, "/api/mec/performance/x", path):
        kind.get(auth, f"https://{host}{each}", platform)
    bearer = {"authorization": "Bearer token-1"}
    both = {**bearer, "vz-m2m-token": "session-1"}
    expected = both if is_both else bearer
    assert headers_sent(platform) == [bearer, expected, both, expected]


def test_dead_session_of_the_edge_performance_api_is_replaced(
    kind: Kind, platform: Platform, auth: Any
) -> None:
    url = "https://5gedge.verizon.com/api/mec/performance/v1/firehose"
    platform.api = [session_refusal()]
    assert kind.get(auth, url, platform).status == 200
    assert platform.sessions == ["session-1", "session-2"]


def test_staging_of_5g_edge_gets_the_bearer_alone(kind: Kind, platform: Platform) -> None:
    auth = kind.auth(platform, m2m=credentials(), allowed_hosts=["*.5gedge.verizon.com"])
    kind.get(auth, "https://staging.5gedge.verizon.com/api/mec/eds", platform)
    assert headers_sent(platform) == [{"authorization": "Bearer token-1"}]


def test_other_hosts_get_neither(kind: Kind, platform: Platform, auth: Any) -> None:
    kind.get(auth, ELSEWHERE, platform, headers={"VZ-M2M-Token": "theirs"})
    assert headers_sent(platform) == [{"vz-m2m-token": "theirs"}]
    assert platform.trail == ["api"]


REPLACED = "it replaces the VZ-M2M-Token that a request already has"


def test_ours_replaces_a_session_header_that_the_request_has(
    kind: Kind, platform: Platform, auth: Any, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("vz-m2m-token", "VZ-M2M-Token"):
        platform.api = [session_refusal()]
        assert kind.get(auth, API, platform, headers={name: "their-own"}).status == 200
    assert platform.sessions == ["session-1", "session-2", "session-2", "session-3"]
    (warning,) = [record for record in caplog.records if REPLACED in record.getMessage()]
    assert (warning.name, warning.levelno) == ("thingspace_auth_adapters", logging.WARNING)
    for value in ("their-own", "session-1"):
        assert value not in caplog.text


def test_warning_comes_on_the_warm_path_too_and_once_for_both_names(
    kind: Kind, platform: Platform, auth: Any, caplog: pytest.LogCaptureFixture
) -> None:
    kind.get(auth, API, platform)
    kind.get(auth, VEHICLE, platform, headers={"sessiontoken": "their-own"})
    kind.get(auth, API, platform, headers={"VZ-M2M-Token": "their-own"})
    assert caplog.text.count("that a request already has") == 1
    assert "their-own" not in str(headers_sent(platform))


def test_header_that_has_our_session_is_replaced_in_silence(
    kind: Kind, platform: Platform, auth: Any, caplog: pytest.LogCaptureFixture
) -> None:
    kind.get(auth, API, platform)
    platform.api = [session_refusal()]
    kind.get(auth, API, platform)
    for older in ("session-1", "session-2"):
        kind.get(auth, API, platform, headers={"VZ-M2M-Token": older})
    assert platform.sessions[-2:] == ["session-2"] * 2
    assert "already has" not in caplog.text


def test_login_of_a_script_that_is_being_retrofitted_keeps_its_header(
    kind: Kind, platform: Platform, auth: Any, caplog: pytest.LogCaptureFixture
) -> None:
    kind.send(auth, "POST", BASE + LOGIN_PATH, platform, headers={"VZ-M2M-Token": "their-own"})
    kind.get(auth, EDGE, platform, headers={"VZ-M2M-Token": "their-own"})
    assert [call.session for call in platform.calls] == [None, "their-own", "their-own"]
    assert "already has" not in caplog.text


def test_header_of_another_family_does_not_stand_for_the_hosts(
    kind: Kind, platform: Platform, auth: Any
) -> None:
    kind.get(auth, VEHICLE, platform, headers={"VZ-M2M-Token": "their-own"})
    (sent,) = headers_sent(platform)
    assert (sent["vz-m2m-token"], sent["sessiontoken"]) == ("their-own", "session-1")


def test_without_m2m_there_is_no_session(kind: Kind, platform: Platform) -> None:
    auth = kind.auth(platform, m2m=None)
    assert auth.m2m is None
    platform.api = [session_refusal()]
    assert kind.get(auth, API, platform).status == 400
    kind.end_session(auth)
    assert platform.trail == ["token", "api"]
    with pytest.raises(ValueError, match="m2m is not set"):
        kind.fetch_session(auth)


def test_without_m2m_a_session_header_is_not_touched(
    kind: Kind, platform: Platform, caplog: pytest.LogCaptureFixture
) -> None:
    auth = kind.auth(platform)
    for url, name in ((API, "VZ-M2M-Token"), (VEHICLE, "SessionToken")):
        platform.api = [session_refusal()]
        assert kind.get(auth, url, platform, headers={name: "their-own"}).status == 400
    bearer = {"authorization": "Bearer token-1"}
    assert headers_sent(platform) == [
        {**bearer, "vz-m2m-token": "their-own"},
        {**bearer, "sessiontoken": "their-own"},
    ]
    assert caplog.text.count("m2m=") == 1


def sender(kind: Kind, auth: Any, platform: Platform, **options: Any) -> Callable[[Any], Any]:
    """Sends an httpx request that was made by hand."""
    library = kind.library
    options = {"auth": auth, "transport": kind.transport(platform), **options}

    async def asend(request: Any) -> Any:
        async with library.AsyncClient(**options) as client:
            return await client.send(request)

    def send(request: Any) -> Any:
        if kind.is_async:
            return kind.run(asend, request)
        with library.Client(**options) as client:
            return client.send(request)

    return send


def test_a_request_that_is_sent_again_carries_the_newer_session(
    httpx_kind: Kind, platform: Platform, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A request that was sent holds our header: it is ours all the same, not its own."""
    auth = httpx_kind.auth(platform, m2m=credentials())
    send = sender(httpx_kind, auth, platform)
    request = httpx_kind.library.Request("GET", API, extensions={"timeout": {}})
    send(request)
    for _ in range(8):
        clock.advance(60)
        platform.api = [session_refusal()]
        httpx_kind.get(auth, API, platform)
    send(request)
    assert platform.sessions[-1] == "session-9"
    assert "already has" not in caplog.text
    auth.m2m = None
    send(request)
    auth.m2m = "another"
    send(request)
    assert platform.sessions[-2:] == ["session-9", "another"]


# A session that is given, and one that is fetched by hand.


def test_given_session_is_used_first(kind: Kind, platform: Platform) -> None:
    auth = kind.auth(platform, m2m=credentials(vz_m2m_token="given"))
    kind.get(auth, API, platform)
    assert platform.trail == ["token", "api"]
    platform.api = [session_refusal()]
    kind.get(auth, API, platform)
    assert platform.sessions == ["given", "given", "session-1"]


def test_given_session_that_is_idle_is_renewed(
    kind: Kind, platform: Platform, clock: VirtualClock
) -> None:
    auth = kind.auth(platform, m2m=credentials(vz_m2m_token="given"))
    clock.advance(1200)
    kind.get(auth, API, platform)
    assert platform.sessions == ["session-1"]


def test_fetch_logs_in_and_installs_nothing(kind: Kind, platform: Platform, auth: Any) -> None:
    assert kind.fetch_session(auth) == "session-1"
    assert kind.fetch_session(auth) == "session-2"
    kind.get(auth, API, platform)
    assert platform.sessions == ["session-3"]


def test_blocking_fetch_on_an_event_loop_names_the_awaitable_one(
    async_kind: Kind, platform: Platform
) -> None:
    auth = async_kind.auth(platform, m2m=credentials())

    async def block() -> None:
        with pytest.raises(RuntimeError, match="afetch_vz_m2m_token"):
            auth.fetch_vz_m2m_token()
        with pytest.raises(RuntimeError, match="aend_m2m_session"):
            auth.end_m2m_session()

    async_kind.get(auth, API, platform)
    async_kind.run(block)


def test_error_of_the_bearers_update_callback_is_not_lost_in_a_login(
    kind: Kind, platform: Platform, clock: VirtualClock
) -> None:
    def tell(token: Any) -> None:
        if token.access_token == "token-2":
            raise LookupError("disk full")

    auth = kind.auth(platform, m2m=credentials(), oauth_on_token_update=kind.callback(tell))
    kind.get(auth, API, platform)

    def expire_meanwhile(call: Any, answer: Any = platform.handle) -> Answer:
        if call.url == API:
            clock.advance(3600)
        return answer(call)  # type: ignore[no-any-return]

    platform.handle = expire_meanwhile  # type: ignore[method-assign]
    platform.api = [session_refusal()]
    with pytest.raises(LookupError, match="disk full"):
        kind.get(auth, API, platform)
    assert len(platform.login_calls) == 2
    assert auth.oauth_token.access_token == "token-2"


def test_changed_token_of_the_credentials_serves_a_login_by_hand(
    kind: Kind, platform: Platform
) -> None:
    given = ThingspaceOauthCredentials("the-key", "the-secret")
    auth = kind.auth(platform, thingspace_oauth_credentials=given, m2m=credentials())
    given.oauth_token = {"access_token": "changed"}
    kind.fetch_session(auth)
    assert platform.login_calls[0].authorization == "Bearer changed"


# Rule 3: idleness.


def test_idle_session_is_renewed_before_the_request(
    kind: Kind, platform: Platform, auth: Any, clock: VirtualClock
) -> None:
    kind.get(auth, API, platform)
    clock.advance(1200)
    kind.get(auth, API, platform)
    assert platform.sessions == ["session-1", "session-2"]
    assert platform.trail == ["token", "login", "api", "login", "api"]


def test_use_keeps_a_session_alive(
    kind: Kind, platform: Platform, auth: Any, clock: VirtualClock
) -> None:
    for _ in range(4):
        kind.get(auth, API, platform)
        clock.advance(899)
    assert platform.sessions == ["session-1"] * 4


def test_use_of_what_the_bearer_opens_alone_is_no_use_of_the_session(
    kind: Kind, platform: Platform, auth: Any, clock: VirtualClock
) -> None:
    kind.get(auth, API, platform)
    clock.advance(800)
    kind.get(auth, EDGE, platform)
    clock.advance(400)
    kind.get(auth, API, platform)
    assert len(platform.login_calls) == 2


def test_use_while_the_bearer_was_renewed_counts(
    kind: Kind, platform: Platform, auth: Any, clock: VirtualClock
) -> None:
    platform.tokens = [token_answer("short", 600)]
    kind.get(auth, API, platform)
    clock.advance(600)
    kind.get(auth, API, platform)
    clock.advance(1199)
    kind.get(auth, API, platform)
    assert platform.sessions == ["session-1"] * 3
    assert platform.bearers == ["short", "token-1", "token-1"]


def test_request_that_got_no_bearer_is_no_use_of_the_session(
    kind: Kind, platform: Platform, auth: Any, clock: VirtualClock
) -> None:
    kind.get(auth, API, platform)
    clock.advance(1100)
    auth.oauth_token = None
    platform.tokens = [Answer(401, {"error": "invalid_client"})]
    with pytest.raises(OauthProviderError):
        kind.get(auth, API, platform)
    clock.advance(100)
    kind.get(auth, API, platform)
    assert platform.sessions == ["session-1", "session-2"]


def test_idle_timeout_is_the_users(kind: Kind, platform: Platform, clock: VirtualClock) -> None:
    auth = kind.auth(platform, m2m=credentials(idle_timeout=60))
    for pause in (59, 60):
        kind.get(auth, API, platform)
        clock.advance(pause)
    kind.get(auth, API, platform)
    assert platform.sessions == ["session-1", "session-1", "session-2"]


def test_session_is_idle_by_the_wall_clock_alone(
    kind: Kind, platform: Platform, auth: Any, clock: VirtualClock
) -> None:
    kind.get(auth, API, platform)
    clock.wall += 1200
    kind.get(auth, API, platform)
    clock.steady += 7200
    kind.get(auth, API, platform)
    assert platform.sessions == ["session-1", "session-2", "session-2"]


def test_session_after_a_clock_that_was_ahead_is_used_until_it_is_rejected(
    kind: Kind, platform: Platform, auth: Any, clock: VirtualClock
) -> None:
    kind.get(auth, API, platform)
    clock.wall -= 86400
    kind.get(auth, API, platform)
    clock.wall += 1200
    kind.get(auth, API, platform)
    assert platform.sessions == ["session-1", "session-1", "session-2"]


# Rule 4: an answer that blames the session.

BLAMING: dict[str, Answer] = {
    "expired": session_refusal(),
    "invalid": session_refusal(
        {"errorCode": "UnifiedWebService.INPUT_INVALID.SessionToken.Invalid"}
    ),
    "format": session_refusal({"errorCode": "REQUEST_FAILED.SessionToken.Format"}),
    "other service": session_refusal(
        {"errorCode": "DeviceService.REQUEST_FAILED.SessionToken.Expired"}
    ),
    "location": session_refusal(
        {
            "errorCode": "INVALID_PARAMETER",
            "errorMessage": "UWS verification failure (The Session has expired.)",
        }
    ),
    "cloud connector": Answer(
        401,
        {
            "error": "unauthorized",
            "error_description": "Failure response received for UWS V1 REST accounts: [400]",
            "cause": "Requested service is unauthorized for given token",
        },
    ),
}


@pytest.mark.parametrize(
    ("method", "name"),
    [
        *(("POST", name) for name in BLAMING),
        *((one, "format") for one in ("GET", "PATCH", "DELETE")),
    ],
)
def test_blamed_session_leads_to_one_login_and_one_repeat(
    kind: Kind, platform: Platform, auth: Any, method: str, name: str
) -> None:
    kind.get(auth, API, platform)
    platform.api = [BLAMING[name]]
    assert kind.send(auth, method, API, platform, content=b"payload").status == 200
    assert platform.sessions == ["session-1", "session-1", "session-2"]
    assert [call.body for call in platform.api_calls[1:]] == [b"payload"] * 2
    assert platform.trail == ["token", "login", "api", "api", "login", "api"]


NOT_BLAMING: dict[str, Answer] = {
    "account": session_refusal(
        {
            "errorCode": "INVALID_PARAMETER",
            "errorMessage": "UWS verification failure (Could not find account 0000123456-00001)",
        }
    ),
    "other field": session_refusal(
        {"errorMessage": "UnifiedWebService.REQUEST_FAILED.SessionToken.Expired"}
    ),
    "server error": Answer(500, SESSION_EXPIRED),
    "success": Answer(200, SESSION_EXPIRED),
    "throttled": Answer(429, {"fault": {"code": "900800"}}),
    "large": Answer(400, b" " * 70_000 + json.dumps(SESSION_EXPIRED).encode()),
}


@pytest.mark.parametrize("name", list(NOT_BLAMING))
def test_other_answers_are_returned_as_they_came(
    kind: Kind, platform: Platform, auth: Any, name: str
) -> None:
    answer = NOT_BLAMING[name]
    platform.api = [answer]
    seen = kind.get(auth, API, platform)
    assert (seen.status, seen.body) == (answer.status, answer.body)
    assert platform.trail == ["token", "login", "api"]


def test_second_blame_is_returned_as_it_came(kind: Kind, platform: Platform, auth: Any) -> None:
    platform.api = [session_refusal(), session_refusal()]
    seen = kind.get(auth, API, platform)
    assert (seen.status, json.loads(seen.body)) == (400, SESSION_EXPIRED)
    assert platform.trail == ["token", "login", "api", "login", "api"]


def test_bearer_and_session_are_each_renewed_once_for_one_request(
    kind: Kind, platform: Platform, auth: Any
) -> None:
    platform.api = [refusal(), session_refusal(), refusal(), session_refusal()]
    seen = kind.get(auth, API, platform)
    assert seen.status == 401
    assert platform.trail == ["token", "login", "api", "token", "api", "login", "api"]
    platform.api = [session_refusal(), refusal()]
    assert kind.get(auth, API, platform).status == 200


def test_history_is_what_a_hand_set_header_would_have_seen(
    kind: Kind, platform: Platform, auth: Any
) -> None:
    platform.api = [
        redirect("/api/m2m/v1/2"),
        refusal(),
        redirect("/api/m2m/v1/3"),
        session_refusal(),
        redirect("/api/m2m/v1/4"),
    ]
    seen = kind.get(auth, API, platform)
    assert seen.status == 200
    if kind.is_requests:
        assert seen.history == [302, 302, 302]
    else:
        # The redirects before a repeat may be missing.
        assert [status for status in seen.history if status != 302] == [401, 400]
        assert seen.history[-1] == 302
    assert platform.sessions == ["session-1"] * 4 + ["session-2"] * 2
    assert platform.bearers == ["token-1"] * 2 + ["token-2"] * 4


def test_history_holds_both_rejected_responses(kind: Kind, platform: Platform, auth: Any) -> None:
    platform.api = [refusal(), session_refusal()]
    seen = kind.get(auth, API, platform)
    assert (seen.status, seen.history) == (200, [401, 400])
    blamed = seen.response.history[1].request.headers
    assert (blamed["VZ-M2M-Token"], blamed["Authorization"]) == ("session-1", "Bearer token-2")


def test_body_that_cannot_be_sent_again_renews_for_the_next_request(
    kind: Kind, platform: Platform, auth: Any
) -> None:
    platform.api = [session_refusal()]

    def parts() -> Any:
        yield b"part"

    async def aparts() -> Any:
        yield b"part"

    seen = kind.send(auth, "POST", API, platform, content=(aparts if kind.is_async else parts)())
    assert (seen.status, json.loads(seen.body)) == (400, SESSION_EXPIRED)
    kind.get(auth, API, platform)
    assert platform.trail == ["token", "login", "api", "login", "api"]


@pytest.mark.parametrize("size", [100, 70_000, 300_000])
def test_error_body_that_was_judged_is_complete_for_the_caller(
    kind: Kind, platform: Platform, auth: Any, size: int
) -> None:
    body = json.dumps({"errorCode": "X", "padding": "x" * size}).encode()
    platform.api = [Answer(400, body)]
    assert kind.get(auth, API, platform).body == body


def test_late_rejection_of_an_older_session_causes_no_login(
    kind: Kind, platform: Platform, auth: Any
) -> None:
    def renew_meanwhile(call: Any, answer: Any = platform.handle) -> Answer:
        if call.url == API and not platform.api_calls:
            platform.calls.append(call)
            auth._tokens.sessions.assign(CachedToken("newer", "newer"))
            return session_refusal()
        return answer(call)  # type: ignore[no-any-return]

    platform.handle = renew_meanwhile  # type: ignore[method-assign]
    assert kind.get(auth, API, platform).status == 200
    assert platform.sessions == ["session-1", "newer"]
    assert len(platform.login_calls) == 1


def test_failed_login_after_a_blame_returns_the_answer_and_then_raises(
    kind: Kind, platform: Platform, auth: Any, caplog: pytest.LogCaptureFixture
) -> None:
    platform.logins = [platform.new_session(), login_refusal()]
    platform.api = [session_refusal()]
    seen = kind.get(auth, API, platform)
    assert (seen.status, json.loads(seen.body)) == (400, SESSION_EXPIRED)
    assert "refreshing the rejected session token failed" in caplog.text
    with pytest.raises(M2mLoginError):
        kind.get(auth, API, platform)
    assert platform.trail == ["token", "login", "api", "login"]


# The least possible number of calls.


def test_calls_where_both_tokens_were_ended_elsewhere(
    kind: Kind, platform: Platform, auth: Any
) -> None:
    kind.get(auth, API, platform)
    platform.calls.clear()
    platform.api = [refusal(), session_refusal()]
    assert kind.get(auth, API, platform).status == 200
    assert platform.trail == ["api", "token", "api", "login", "api"]


def test_bearer_that_was_forgotten_during_the_login_is_sent_as_it_was(
    kind: Kind, platform: Platform, auth: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind.get(auth, API, platform)
    handle = platform.handle

    def forget_and_handle(call: Call) -> Answer:
        if call.path.endswith(LOGIN_PATH):
            auth.oauth_token = None
        return handle(call)

    monkeypatch.setattr(platform, "handle", forget_and_handle)
    platform.api = [session_refusal()]
    assert kind.get(auth, API, platform).status == 200
    assert platform.sessions == ["session-1", "session-1", "session-2"]
    assert platform.bearers == ["token-1"] * 3


def test_calls_where_both_tokens_are_known_to_be_over(
    kind: Kind, platform: Platform, auth: Any, clock: VirtualClock
) -> None:
    kind.get(auth, API, platform)
    platform.calls.clear()
    clock.advance(3600)
    assert kind.get(auth, API, platform).status == 200
    assert platform.trail == ["token", "login", "api"]


def test_calls_where_somebody_elses_login_ended_the_session(
    kind: Kind, platform: Platform, auth: Any
) -> None:
    kind.get(auth, API, platform)
    platform.calls.clear()
    platform.api = [session_refusal()]
    assert kind.get(auth, API, platform).status == 200
    assert platform.trail == ["api", "login", "api"]


def test_calls_where_the_session_was_idle_for_too_long(
    kind: Kind, platform: Platform, auth: Any, clock: VirtualClock
) -> None:
    kind.get(auth, API, platform)
    platform.calls.clear()
    clock.advance(1200)
    assert kind.get(auth, API, platform).status == 200
    assert platform.trail == ["login", "api"]


def test_calls_where_a_login_meets_an_expired_bearer(
    kind: Kind, platform: Platform, auth: Any, clock: VirtualClock
) -> None:
    kind.get(auth, API, platform)
    platform.calls.clear()
    clock.advance(1200)
    platform.logins = [refusal()]
    assert kind.get(auth, API, platform).status == 200
    assert platform.trail == ["login", "token", "login", "api"]
    assert platform.bearers == ["token-2"]


def test_calls_where_the_session_and_then_the_logins_bearer_are_rejected(
    kind: Kind, platform: Platform, auth: Any
) -> None:
    told: list[Any] = []
    auth = kind.auth(platform, m2m=credentials(), oauth_on_token_update=told.append)
    kind.get(auth, API, platform)
    platform.calls.clear()
    platform.api = [session_refusal()]
    platform.logins = [refusal()]
    assert kind.get(auth, API, platform).status == 200
    assert platform.trail == ["api", "login", "token", "login", "api"]
    assert platform.bearers == ["token-1", "token-2"]
    assert [token.access_token for token in told] == ["token-1", "token-2"]


# Rule 5: logins. What is counted, and what follows, is for test_login_guard.


def test_refused_login_leaves_requests_that_need_no_session_alone(
    kind: Kind, platform: Platform, auth: Any
) -> None:
    platform.logins = [login_refusal()]
    with pytest.raises(M2mLoginError) as caught:
        kind.get(auth, API, platform)
    assert str(caught.value.request.url) == API  # type: ignore[attr-defined]
    assert kind.get(auth, EDGE, platform).status == 200
    assert kind.get(auth, ELSEWHERE, platform).status == 200
    assert platform.trail == ["token", "login", "api", "api"]


def test_credentials_that_were_assigned_meanwhile_are_those_that_log_in(
    kind: Kind, platform: Platform, auth: Any
) -> None:
    def assign_meanwhile(call: Any, answer: Any = platform.handle) -> Answer:
        if call.url == API and len(platform.api_calls) == 1:
            auth.m2m = VzM2mCredentials("the-user", "another password")
        return answer(call)  # type: ignore[no-any-return]

    platform.handle = assign_meanwhile  # type: ignore[method-assign]
    kind.get(auth, API, platform)
    platform.api = [session_refusal()]
    assert kind.get(auth, API, platform).status == 200
    passwords = [json.loads(call.body)["password"] for call in platform.login_calls]
    assert passwords == [PASSWORD, "another password"]
    assert platform.sessions == ["session-1", "session-1", "session-2"]


def test_no_session_is_opened_for_what_was_taken_away_meanwhile(
    kind: Kind, platform: Platform, auth: Any
) -> None:
    def take_away(call: Any, answer: Any = platform.handle) -> Answer:
        if call.url == API:
            auth.m2m = None
        return answer(call)  # type: ignore[no-any-return]

    platform.handle = take_away  # type: ignore[method-assign]
    platform.api = [session_refusal()]
    assert kind.get(auth, API, platform).status == 400
    assert len(platform.login_calls) == 1


def test_gateways_401_renews_the_bearer_once_for_a_login(
    kind: Kind, platform: Platform, auth: Any
) -> None:
    platform.logins = [refusal(), refusal()]
    with pytest.raises(M2mLoginError) as caught:
        kind.get(auth, API, platform)
    assert (caught.value.status_code, caught.value.error_code) == (401, "900901")
    assert platform.trail == ["token", "login", "token", "login"]
    assert kind.get(auth, API, platform).status == 200


def test_login_whose_bearer_comes_back_the_same_is_not_sent_again(
    kind: Kind, platform: Platform, auth: Any, clock: VirtualClock
) -> None:
    """Not by this request, nor by those of the next 30 seconds."""
    platform.tokens = [token_answer("same"), token_answer("same")]
    platform.logins = [refusal()]
    for _ in range(5):
        with pytest.raises(M2mLoginError) as caught:
            kind.get(auth, API, platform)
        assert (caught.value.status_code, caught.value.error_code) == (401, "900901")
    assert platform.trail == ["token", "login", "token"]
    clock.advance(30)
    assert kind.get(auth, API, platform).status == 200
    assert platform.trail == ["token", "login", "token", "login", "api"]


def test_token_endpoint_that_fails_a_login_is_what_the_caller_learns_of(
    kind: Kind, platform: Platform, auth: Any
) -> None:
    platform.logins = [refusal()]
    platform.tokens = [token_answer("first"), Answer(401, {"error": "invalid_client"})]
    with pytest.raises(OauthProviderError):
        kind.get(auth, API, platform)
    assert kind.get(auth, API, platform).status == 200


# Rule 13 of Part 1: copies.


def test_copies_begin_with_the_same_session(kind: Kind, platform: Platform, auth: Any) -> None:
    kind.get(auth, API, platform)
    twin = copy.copy(auth)
    kind.get(twin, API, platform)
    platform.api = [session_refusal()]
    kind.get(twin, API, platform)
    kind.get(auth, API, platform)
    assert platform.sessions == ["session-1", "session-1", "session-1", "session-2", "session-1"]


def test_pickles_begin_with_the_same_session(kind: Kind, platform: Platform) -> None:
    auth = kind.auth(m2m=credentials(vz_m2m_token="given"))
    pickled = pickle.dumps(auth)
    assert PASSWORD.encode() in pickled
    revived = pickle.loads(pickled)
    revived.oauth_token = {"access_token": "known"}
    kind.get(revived, API, platform)
    assert platform.sessions == ["given"]


def test_unpickled_session_is_idle_by_the_wall_clock(kind: Kind, clock: VirtualClock) -> None:
    pickled = pickle.dumps(kind.auth(m2m=credentials(vz_m2m_token="given")))
    clock.wall += 1199
    assert status(pickle.loads(pickled)._tokens.sessions.current, clock.wall) is Status.FRESH
    clock.wall += 1
    assert status(pickle.loads(pickled)._tokens.sessions.current, clock.wall) is Status.EXPIRED


def test_copy_of_what_was_rejected_uses_it_no_more(
    kind: Kind, platform: Platform, auth: Any
) -> None:
    kind.get(auth, API, platform)
    platform.logins = [Answer(500)] * 2
    platform.api = [session_refusal()]
    assert kind.get(auth, API, platform).status == 400
    auth.allow_login()
    kind.get(copy.copy(auth), API, platform)
    assert platform.sessions == ["session-1", "session-1", "session-2"]


# Rule 6: redirects.


def test_redirect_within_the_host_keeps_the_session(
    kind: Kind, platform: Platform, auth: Any
) -> None:
    platform.api = [redirect("/api/m2m/v1/elsewhere")]
    seen = kind.get(auth, API, platform)
    assert (seen.status, platform.sessions) == (200, ["session-1"] * 2)
    assert len(platform.login_calls) == 1


# Rule 7: logging out.


def test_end_logs_out_and_forgets(kind: Kind, platform: Platform, auth: Any) -> None:
    kind.end_session(auth)
    assert platform.calls == []
    kind.get(auth, API, platform)
    kind.end_session(auth)
    (logout,) = platform.logout_calls
    assert (logout.method, logout.session) == ("POST", "session-1")
    assert logout.authorization == "Bearer token-1"
    kind.end_session(auth)
    kind.get(auth, API, platform)
    assert platform.trail == ["token", "login", "api", "logout", "login", "api"]
    assert platform.sessions == ["session-1", "session-2"]


def test_session_that_is_gone_already_is_forgotten(
    kind: Kind, platform: Platform, auth: Any
) -> None:
    kind.get(auth, API, platform)
    platform.logouts = [session_refusal()]
    kind.end_session(auth)
    kind.get(auth, API, platform)
    assert platform.sessions == ["session-1", "session-2"]


def test_logout_renews_a_rejected_bearer(kind: Kind, platform: Platform, auth: Any) -> None:
    kind.get(auth, API, platform)
    platform.logouts = [refusal()]
    kind.end_session(auth)
    assert platform.trail == ["token", "login", "api", "logout", "token", "logout"]


@pytest.mark.parametrize(
    "answers",
    [[Answer(400, {"errorCode": "X"})], [Answer(503)] * 9, [refusal(), refusal()]],
    ids=["refused", "down", "bearer"],
)
def test_failed_logout_keeps_the_session_and_raises(
    kind: Kind, platform: Platform, auth: Any, answers: list[Answer]
) -> None:
    kind.get(auth, API, platform)
    platform.logouts = list(answers)
    with pytest.raises(M2mLoginError) as caught:
        kind.end_session(auth)
    assert isinstance(caught.value, kind.request_error)
    assert caught.value.status_code == answers[0].status
    kind.get(auth, API, platform)
    assert platform.sessions == ["session-1"] * 2


# Tokens that are sent and never renewed.


class SdkCredentials:
    """As the official SDK's VZM2mTokenCredentials."""

    vz_m2m_token = "fixed"


FIXED: dict[str, Callable[[], Any]] = {
    "text": lambda: "fixed",
    "sdk": SdkCredentials,
    "credentials": lambda: VzM2mCredentials(None, None, vz_m2m_token="fixed"),
}


@pytest.mark.parametrize("name", list(FIXED))
def test_session_token_alone_is_sent_and_never_renewed(
    kind: Kind, platform: Platform, clock: VirtualClock, name: str
) -> None:
    auth = kind.auth(platform, m2m=FIXED[name]())
    for _ in range(3):
        platform.api = [session_refusal()]
        assert kind.get(auth, API, platform).status == 400
        clock.advance(1201)
    assert platform.sessions == ["fixed"] * 3
    assert platform.login_calls == []
    with pytest.raises(M2mLoginError, match="username and password"):
        kind.fetch_session(auth)


def test_ended_token_alone_leaves_none(kind: Kind, platform: Platform) -> None:
    auth = kind.auth(platform, m2m="fixed")
    kind.end_session(auth)
    with pytest.raises(M2mLoginError, match="assign"):
        kind.get(auth, API, platform)
    auth.m2m = "another"
    kind.get(auth, API, platform)
    assert platform.sessions == ["another"]


@pytest.mark.parametrize("m2m", [7, object(), b"token", {"username": "x"}])
def test_what_is_no_m2m_is_a_type_error(kind: Kind, m2m: Any) -> None:
    with pytest.raises(TypeError, match="m2m must be"):
        kind.auth(m2m=m2m)


@pytest.mark.parametrize("m2m", ["", " ", "a b", "a\r\nX: y"])
def test_what_is_no_session_token_is_a_value_error(kind: Kind, m2m: Any) -> None:
    with pytest.raises(ValueError, match="m2m"):
        kind.auth(m2m=m2m)


def test_bad_assignment_changes_nothing(kind: Kind, platform: Platform, auth: Any) -> None:
    with pytest.raises(TypeError):
        auth.m2m = 7
    assert kind.get(auth, API, platform).status == 200


def test_assigning_none_ends_the_second_header(kind: Kind, platform: Platform, auth: Any) -> None:
    kind.get(auth, API, platform)
    auth.m2m = None
    kind.get(auth, API, platform)
    assert platform.sessions == ["session-1", None]


# Secrets.

HIDDEN = (PASSWORD, "p4ssw0rd%26more", "session-1", "session-2", "token-1")
TELLTALE = f"{PASSWORD} p4ssw0rd%26more token-1 \r\nforged"


@pytest.mark.parametrize(
    "logins",
    [
        [Answer(400, {"errorCode": TELLTALE, "errorMessage": TELLTALE})],
        [Answer(400, {"fault": {"code": TELLTALE, "message": TELLTALE}})],
        [Answer(503, {"errorCode": TELLTALE})] * 2,
        [Answer(200, {"sessionToken": "session-1\n"})] * 2,
        [Answer(failure="read timeout")] * 2,
        [Answer(failure="connect timeout")] * 4,
        [Answer(failure="certificate")],
        [refusal(), refusal()],
    ],
    ids=range(8),
)
def test_no_failed_login_shows_a_secret(
    kind: Kind, platform: Platform, auth: Any, logins: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    platform.logins = list(logins)
    with pytest.raises(kind.request_error) as caught:
        kind.get(auth, API, platform)
    error = caught.value
    shown = str(error) + repr(error) + repr(vars(error)) + caplog.text + repr(auth)
    for secret in HIDDEN:
        assert secret not in shown
        assert secret not in frames_of_ours(error)
        assert secret not in repr(error.__cause__) + repr(error.__context__)
    assert "\n" not in str(error)


def test_no_failed_logout_shows_a_secret(kind: Kind, platform: Platform, auth: Any) -> None:
    kind.get(auth, API, platform)
    platform.logouts = [Answer(400, {"errorMessage": f"session-1 {TELLTALE}"})]
    with pytest.raises(M2mLoginError) as caught:
        kind.end_session(auth)
    shown = str(caught.value) + repr(vars(caught.value)) + frames_of_ours(caught.value)
    for secret in HIDDEN:
        assert secret not in shown


def test_logout_that_cannot_be_sent_does_not_show_the_session(
    kind: Kind, platform: Platform, auth: Any
) -> None:
    kind.get(auth, API, platform)
    platform.logouts = [Answer(failure="connect timeout")] * 4
    with pytest.raises(kind.request_error) as caught:
        kind.end_session(auth)
    request = caught.value.request  # type: ignore[attr-defined]
    assert str(request.url).endswith("/session/logout")
    assert "session-1" not in str(dict(request.headers))
    assert "token-1" not in str(dict(request.headers))


def test_logs_say_what_happened_and_no_secret(
    kind: Kind, platform: Platform, auth: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    platform.api = [session_refusal()]
    kind.get(auth, API, platform)
    texts = [r.getMessage() for r in caplog.records if r.name == "thingspace_auth_adapters"]
    assert "a new session token was fetched" in texts
    assert "the session token was rejected (certain)" in texts
    for secret in HIDDEN:
        assert secret not in "\n".join(texts)


def test_login_failure_knows_the_login_request_without_its_secrets(
    kind: Kind, platform: Platform, auth: Any
) -> None:
    platform.logins = [Answer(failure="connect timeout")] * 4
    with pytest.raises(kind.request_error) as caught:
        kind.get(auth, API, platform)
    request = caught.value.request  # type: ignore[attr-defined]
    assert str(request.url) == BASE + LOGIN_PATH
    assert "authorization" not in {name.lower() for name in request.headers}
    assert PASSWORD not in str(getattr(request, "body", "") or getattr(request, "_content", ""))
    with pytest.raises(M2mLoginError) as refused:
        platform.logins = [login_refusal()]
        kind.fetch_session(auth)
    assert str(refused.value.request.url) == BASE + LOGIN_PATH  # type: ignore[attr-defined]


def test_gateway_refusal_keeps_blaming_the_bearer_alone(
    kind: Kind, platform: Platform, auth: Any
) -> None:
    platform.api = [refusal(), refusal()]
    seen = kind.get(auth, API, platform)
    assert (seen.status, json.loads(seen.body)) == (401, GATEWAY_REFUSAL)
    assert len(platform.login_calls) == 1
