"""The contract, Part 2, rule 6: where redirects take the session header."""

from __future__ import annotations

import copy
import logging
import pickle
from typing import Any
from urllib.parse import urlsplit

import pytest

from ..support.kinds import HTTPX_KINDS, INSTALLED, Kind
from ..support.virtual import (
    API,
    BASE,
    LOGIN_PATH,
    TOKEN_PATH,
    Answer,
    Call,
    Platform,
    VirtualClock,
    redirect,
    refusal,
    session_refusal,
)
from .test_contract_sessions import (
    EDGE,
    ELSEWHERE,
    VEHICLE,
    credentials,
    headers_sent,
    sender,
)

REQUESTS_KINDS = [kind for kind in INSTALLED if kind.is_requests]
STAGING = "https://staging.thingspace.verizon.com/api"
BEARER = {"authorization": "Bearer token-1"}
SESSION = {"vz-m2m-token": "session-1"}
BOTH = {**BEARER, **SESSION}
WARNING = "a redirect took the session token to evil.example"


@pytest.fixture(autouse=True)
def _virtual_time(clock: VirtualClock) -> None:
    pass


@pytest.fixture(params=REQUESTS_KINDS, ids=lambda kind: kind.name)
def requests_kind(request: pytest.FixtureRequest) -> Kind:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(params=HTTPX_KINDS, ids=lambda kind: kind.name)
def httpx_kind(request: pytest.FixtureRequest) -> Kind:
    return request.param  # type: ignore[no-any-return]


def guarded(kind: Kind, auth: Any) -> dict[str, Any]:
    """What a user of httpx adds who follows redirects."""
    if kind.is_requests:
        return {}
    return {"event_hooks": {"request": [auth.aguard if kind.is_async else auth.guard]}}


def followed(
    kind: Kind, platform: Platform, auth: Any, targets: list[str], status: int, **kwargs: Any
) -> Any:
    platform.api = [redirect(target, status) for target in targets]
    try:
        return kind.get(auth, API, platform, **kwargs)
    except (kind.request_error, ValueError):
        return None


def sent_to_the_end(platform: Platform) -> list[dict[str, str]]:
    """The tokens on each request but those for a token or a login of our own."""
    names = ("authorization", "vz-m2m-token", "sessiontoken")
    calls = [call for call in platform.calls if call.method == "GET"]
    return [{name: call.headers[name] for name in names if name in call.headers} for call in calls]


# What a redirect may take along: in requests, and in httpx with its guard. The libraries themselves
# keep Authorization on the host where it was.

ONWARD: dict[str, dict[str, str]] = {
    ELSEWHERE: {},
    "//evil.example/x": {},
    "http://thingspace.verizon.com/api/x": {},
    "https://thingspace.verizon.com:8443/api/x": {},
    "https://thingspace.verizon.com@evil.example/": {},
    "https://thingspace.verizon.com.evil.example/": {},
    EDGE: {},
    VEHICLE: {},
    STAGING: SESSION,
    BASE + LOGIN_PATH + "?x": BEARER,
    BASE + TOKEN_PATH: BEARER,
    "/api/m2m/v1/x": BOTH,
    "x?session/login": BOTH,
    "//thingspace.verizon.com/api/x": BOTH,
    "HTTPS://ThingSpace.Verizon.com:443/api/x": BOTH,
}


@pytest.mark.parametrize("target", list(ONWARD))
def test_session_goes_along_where_it_would_be_sent_under_that_name(
    kind: Kind, platform: Platform, target: str, caplog: pytest.LogCaptureFixture
) -> None:
    auth = kind.auth(platform, m2m=credentials())
    for status in (301, 302, 303, 307, 308):
        platform.calls.clear()
        assert followed(kind, platform, auth, [target], status, **guarded(kind, auth)).status == 200
        assert sent_to_the_end(platform) == [BOTH, ONWARD[target]]
    assert "redirect took" not in caplog.text


def test_url_that_can_be_read_in_two_ways_is_judged_by_where_it_leads(
    kind: Kind, platform: Platform
) -> None:
    auth = kind.auth(platform, m2m=credentials())
    target = "https://evil.example\\@thingspace.verizon.com/"
    followed(kind, platform, auth, [target], 302, **guarded(kind, auth))
    for call in platform.api_calls:
        if urlsplit(call.url).hostname != "thingspace.verizon.com":
            assert (call.authorization, call.session) == (None, None)


@pytest.mark.parametrize(
    ("targets", "sent"),
    [
        ([ELSEWHERE, API], [BOTH, {}, {}]),
        ([VEHICLE, API], [BOTH, {}, {}]),
        ([STAGING, API], [BOTH, SESSION, SESSION]),
        ([STAGING, ELSEWHERE], [BOTH, SESSION, {}]),
        (["/api/m2m/v1/x", ELSEWHERE, ELSEWHERE], [BOTH, BOTH, {}, {}]),
    ],
    ids=["away and back", "other name and back", "stays", "stays and away", "later"],
)
def test_so_it_is_at_every_redirect(
    kind: Kind, platform: Platform, targets: list[str], sent: list[dict[str, str]]
) -> None:
    auth = kind.auth(platform, m2m=credentials())
    seen = followed(kind, platform, auth, targets, 302, **guarded(kind, auth))
    assert (seen.status, seen.history) == (200, [302] * len(targets))
    assert headers_sent(platform) == sent
    assert len(platform.login_calls) == 1


def test_redirect_after_a_repeat_is_no_different(kind: Kind, platform: Platform) -> None:
    auth = kind.auth(platform, m2m=credentials())
    platform.api = [session_refusal(), redirect(ELSEWHERE)]
    assert kind.get(auth, API, platform, **guarded(kind, auth)).status == 200
    renewed = {**BEARER, "vz-m2m-token": "session-2"}
    assert headers_sent(platform) == [BOTH, renewed, {}]


def test_session_that_was_blamed_after_a_redirect_is_renewed(
    kind: Kind, platform: Platform
) -> None:
    auth = kind.auth(platform, m2m=credentials())
    platform.api = [redirect("/api/m2m/v1/x"), session_refusal()]
    seen = kind.get(auth, API, platform)
    assert (seen.status, platform.sessions) == (200, ["session-1", "session-1", "session-2"])


def test_session_that_is_renewed_after_a_redirect_puts_no_bearer_back(
    kind: Kind, platform: Platform
) -> None:
    auth = kind.auth(platform, m2m=credentials())
    platform.api = [redirect(STAGING), session_refusal()]
    assert kind.get(auth, API, platform).status == 200
    assert headers_sent(platform)[1:] == [SESSION, {"vz-m2m-token": "session-2"}]


def test_blame_by_a_host_that_was_not_sent_the_session_renews_nothing(
    kind: Kind, platform: Platform
) -> None:
    auth = kind.auth(platform, m2m=credentials())
    platform.api = [redirect(ELSEWHERE), session_refusal()]
    assert kind.get(auth, API, platform, **guarded(kind, auth)).status == 400
    assert len(platform.login_calls) == 1


def test_session_is_renewed_once_for_a_request_and_in_requests_each_hop_is_one(
    kind: Kind, platform: Platform
) -> None:
    auth = kind.auth(platform, m2m=credentials())
    platform.api = [session_refusal(), redirect("/api/m2m/v1/2"), *[session_refusal()] * 2]
    assert kind.get(auth, API, platform).status == 400
    hop = ["session-2", "session-3"] if kind.is_requests else ["session-2"]
    assert platform.sessions == ["session-1", "session-2", *hop]


def test_session_header_of_the_requests_own_goes_where_the_library_takes_it(
    kind: Kind, platform: Platform
) -> None:
    """Without m2m it is none of ours, with the guard as without it."""
    auth = kind.auth(platform)
    platform.api = [redirect(ELSEWHERE)]
    theirs = {"headers": {"VZ-M2M-Token": "their-own"}}
    kind.get(auth, API, platform, **theirs, **guarded(kind, auth))
    assert headers_sent(platform) == [
        {**BEARER, "vz-m2m-token": "their-own"},
        {"vz-m2m-token": "their-own"},
    ]


def test_users_own_header_for_the_new_host_is_left_alone(kind: Kind, platform: Platform) -> None:
    auth = kind.auth(platform, m2m=credentials())
    platform.api = [redirect(VEHICLE)]
    theirs = {"headers": {"SessionToken": "their-own"}}
    kind.get(auth, API, platform, **theirs, **guarded(kind, auth))
    assert headers_sent(platform)[1] == {"sessiontoken": "their-own"}


def taking_away(platform: Platform, auth: Any) -> None:
    """Have ``m2m`` taken away while the platform answers the first request."""

    def handle(call: Call, answer: Any = platform.handle) -> Answer:
        if call.url == API:
            auth.m2m = None
        return answer(call)  # type: ignore[no-any-return]

    platform.handle = handle  # type: ignore[method-assign]


def test_session_of_an_account_that_was_taken_away_meanwhile_is_still_ours(
    kind: Kind, platform: Platform
) -> None:
    auth = kind.auth(platform, m2m=credentials())
    taking_away(platform, auth)
    platform.api = [redirect(ELSEWHERE)]
    assert kind.get(auth, API, platform, **guarded(kind, auth)).status == 200
    assert headers_sent(platform) == [BOTH, {}]


@pytest.mark.parametrize(
    ("target", "sent"),
    [(ELSEWHERE, {}), (EDGE, BEARER), (BASE + LOGIN_PATH, BEARER), (API + "/y", BOTH)],
)
def test_redirect_that_is_followed_by_hand_takes_nothing_where_it_must_not_go(
    httpx_kind: Kind, platform: Platform, target: str, sent: dict[str, str]
) -> None:
    """Without the guard: the client copied our headers to ``next_request``."""
    auth = httpx_kind.auth(platform, m2m=credentials())
    send = sender(httpx_kind, auth, platform)
    for _ in range(2):
        platform.api = [redirect(target, 307)]
        response = send(httpx_kind.library.Request("GET", API, extensions={"timeout": {}}))
        send(response.next_request)
    assert sent_to_the_end(platform) == [BOTH, sent] * 2


# requests: what is left of the request that was redirected.


def test_redirect_that_is_not_followed_shows_a_next_request_without_the_session(
    requests_kind: Kind, platform: Platform
) -> None:
    auth = requests_kind.auth(platform, m2m=credentials())
    platform.api = [redirect(ELSEWHERE), redirect("/api/m2m/v1/x")]
    for expected in (None, "session-1"):
        seen = requests_kind.get(auth, API, platform, follow_redirects=False)
        assert seen.response.next.headers.get("VZ-M2M-Token") == expected


def test_history_shows_the_bearer_and_no_other_session(
    requests_kind: Kind, platform: Platform
) -> None:
    auth = requests_kind.auth(platform, m2m=credentials())
    seen = followed(requests_kind, platform, auth, [STAGING, ELSEWHERE], 302)
    first, second = (past.request.headers for past in seen.response.history)
    assert first["Authorization"] == "Bearer token-1"
    assert "Authorization" not in second
    assert {first.get("VZ-M2M-Token"), second.get("VZ-M2M-Token")} <= {None, "session-1"}
    assert "VZ-M2M-Token" not in seen.response.request.headers


def test_redirected_request_copies_and_pickles_as_without_us(
    requests_kind: Kind, platform: Platform
) -> None:
    auth = requests_kind.auth(platform, m2m=credentials())
    request = followed(requests_kind, platform, auth, [ELSEWHERE], 302).response.history[0].request
    for headers in (request.headers, request.copy().headers, copy.deepcopy(request.headers)):
        assert type(headers).__module__ == "requests.structures"
    pickled = pickle.dumps(request)
    assert b"thingspace_auth_adapters" not in pickled
    assert pickle.loads(pickled).headers == request.headers


def test_prepared_request_that_was_turned_elsewhere_by_hand_is_not_repeated(
    requests_kind: Kind, platform: Platform
) -> None:
    import requests

    auth = requests_kind.auth(platform, m2m=credentials())
    with requests_kind.session(platform) as session:
        prepared = session.prepare_request(requests.Request("GET", API, auth=auth))
        prepared.url = ELSEWHERE
        platform.api = [session_refusal()]
        assert session.send(prepared).status_code == 400
    assert len(platform.login_calls) == 1


# httpx without the guard: a warning, and no more.


def test_session_that_leaked_is_warned_of(
    httpx_kind: Kind, platform: Platform, caplog: pytest.LogCaptureFixture
) -> None:
    auth = httpx_kind.auth(platform, m2m=credentials())
    platform.api = [redirect(ELSEWHERE)]
    assert httpx_kind.get(auth, API, platform).status == 200
    assert headers_sent(platform) == [BOTH, SESSION]
    (warning,) = [record for record in caplog.records if WARNING in record.getMessage()]
    assert (warning.name, warning.levelno) == ("thingspace_auth_adapters", logging.WARNING)
    assert "auth.guard" in caplog.text
    assert "session-1" not in caplog.text
    httpx_kind.get(auth, API, platform)
    assert platform.trail == ["token", "login", "api", "api", "api"]


@pytest.mark.parametrize(
    "targets",
    [
        [ELSEWHERE, API],
        ["http://thingspace.verizon.com/api/x"],
        ["/api/m2m/v1/x", ELSEWHERE],
        ["https://thingspace.verizon.com:8443/x"],
    ],
    ids=["and back", "http", "later", "port"],
)
@pytest.mark.parametrize("is_warm", [False, True], ids=["cold", "warm"])
def test_leak_is_noticed_wherever_it_was(
    httpx_kind: Kind,
    platform: Platform,
    targets: list[str],
    is_warm: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    auth = httpx_kind.auth(platform, m2m=credentials())
    if is_warm:
        httpx_kind.get(auth, API, platform)
    seen = followed(httpx_kind, platform, auth, targets, 302)
    assert (seen.status, seen.history) == (200, [302] * len(targets))
    assert caplog.text.count("which is not allowed") == 1
    assert len(platform.login_calls) == 1


@pytest.mark.parametrize("refused", [refusal(), session_refusal()], ids=["bearer", "session"])
def test_leak_after_a_repeat_is_noticed(
    httpx_kind: Kind, platform: Platform, refused: Answer, caplog: pytest.LogCaptureFixture
) -> None:
    auth = httpx_kind.auth(platform, m2m=credentials())
    platform.api = [refused, redirect(ELSEWHERE)]
    seen = httpx_kind.get(auth, API, platform)
    assert (seen.status, seen.history) == (200, [refused.status, 302])
    assert caplog.text.count(WARNING) == 1


def test_redirects_that_stay_are_no_leak(
    httpx_kind: Kind, platform: Platform, caplog: pytest.LogCaptureFixture
) -> None:
    auth = httpx_kind.auth(platform, m2m=credentials())
    assert followed(httpx_kind, platform, auth, ["/x", VEHICLE, EDGE], 302).status == 200
    assert "redirect took" not in caplog.text


def test_session_that_cannot_be_renewed_is_warned_of_too(
    httpx_kind: Kind, platform: Platform, caplog: pytest.LogCaptureFixture
) -> None:
    auth = httpx_kind.auth(platform, m2m="fixed")
    assert followed(httpx_kind, platform, auth, [ELSEWHERE], 302).status == 200
    assert WARNING in caplog.text
    assert "fixed" not in caplog.text


def test_leak_of_a_session_whose_account_was_taken_away_meanwhile_is_warned_of(
    httpx_kind: Kind, platform: Platform, caplog: pytest.LogCaptureFixture
) -> None:
    auth = httpx_kind.auth(platform, m2m=credentials())
    taking_away(platform, auth)
    platform.api = [redirect(ELSEWHERE)]
    assert httpx_kind.get(auth, API, platform).status == 200
    assert caplog.text.count(WARNING) == 1


# httpx: the guard by itself.


@pytest.mark.parametrize("url", [ELSEWHERE, EDGE, VEHICLE, API])
def test_guard_takes_off_ours_alone(httpx_kind: Kind, platform: Platform, url: str) -> None:
    auth = httpx_kind.auth(platform, m2m=credentials())
    httpx_kind.get(auth, API, platform)
    theirs = {"Authorization": "Basic theirs", "VZ-M2M-Token": "their-own", "SessionToken": "x"}
    request = httpx_kind.library.Request("GET", url, headers={**theirs, "X-Trace": "7"})
    before = dict(request.headers)
    guard(httpx_kind, auth, request)
    assert dict(request.headers) == before
    ours = {"Authorization": "Bearer token-1", "VZ-M2M-Token": "session-1"}
    request = httpx_kind.library.Request("GET", url, headers={**ours, "X-Trace": "7"})
    guard(httpx_kind, auth, request)
    left = {API: BOTH, VEHICLE: BEARER, EDGE: BEARER, ELSEWHERE: {}}[url]
    names = ("authorization", "vz-m2m-token")
    assert {name: request.headers[name] for name in names if name in request.headers} == left
    assert request.headers["x-trace"] == "7"


def test_guard_takes_off_older_tokens_too(httpx_kind: Kind, platform: Platform) -> None:
    auth = httpx_kind.auth(platform, m2m=credentials())
    platform.api = [refusal(), session_refusal()]
    httpx_kind.get(auth, API, platform)
    older = {"Authorization": "Bearer token-1", "VZ-M2M-Token": "session-1"}
    request = httpx_kind.library.Request("GET", ELSEWHERE, headers=older)
    guard(httpx_kind, auth, request)
    assert not {"authorization", "vz-m2m-token"} & set(request.headers)


def guard(kind: Kind, auth: Any, request: Any) -> None:
    if kind.is_async:
        kind.run(auth.aguard, request)
    else:
        auth.guard(request)


@pytest.mark.parametrize(
    ("target", "sent"),
    [(ELSEWHERE, {}), (EDGE, BEARER), (BASE + LOGIN_PATH, BEARER), ("/api/m2m/v1/x", BOTH)],
)
def test_guard_holds_for_redirects_that_are_followed_by_hand(
    httpx_kind: Kind, platform: Platform, target: str, sent: dict[str, str]
) -> None:
    auth = httpx_kind.auth(platform, m2m=credentials())
    send = sender(httpx_kind, auth, platform, **guarded(httpx_kind, auth))
    platform.api = [redirect(target, 307)]
    response = send(httpx_kind.library.Request("GET", API, extensions={"timeout": {}}))
    send(response.next_request)
    assert sent_to_the_end(platform) == [BOTH, sent]
