"""Part 2, rule 6: where redirects take the session header."""

from __future__ import annotations

import copy
import logging
import pickle
from typing import Any
from urllib.parse import urlsplit

import pytest

from ..support.clients import send_by_hand
from ..support.kinds import Kind
from ..support.logins import credentials
from ..support.virtual import (
    API,
    BASE,
    EDGE,
    ELSEWHERE,
    LOGIN_PATH,
    TOKEN_PATH,
    VEHICLE,
    Answer,
    Platform,
    redirect,
    refusal,
    session_refusal,
)

pytestmark = pytest.mark.usefixtures("clock")

STAGING = "https://staging.thingspace.verizon.com/api"
BEARER = {"authorization": "Bearer token-1"}
SESSION = {"vz-m2m-token": "session-1"}
BOTH = {**BEARER, **SESSION}
WARNING = "a redirect took the session token to evil.example"


@pytest.fixture
def httpx_auth(httpx_kind: Kind, platform: Platform) -> Any:
    return httpx_kind.auth(platform, m2m=credentials())


def guarded(kind: Kind, auth: Any) -> dict[str, Any]:
    """What a user of httpx adds who follows redirects."""
    if kind.is_requests:
        return {}
    return {"event_hooks": {"request": [auth.aguard if kind.is_async else auth.guard]}}


def followed(
    kind: Kind, platform: Platform, auth: Any, targets: list[str], status: int, **kwargs: Any
) -> Any:
    platform.api = [redirect(target, status) for target in targets]
    return kind.get(auth, API, platform, **kwargs)


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
    kind: Kind, platform: Platform, auth: Any, target: str, caplog: pytest.LogCaptureFixture
) -> None:
    for status in (301, 302, 303, 307, 308):
        platform.calls.clear()
        assert followed(kind, platform, auth, [target], status, **guarded(kind, auth)).status == 200
        assert sent_to_the_end(platform) == [BOTH, ONWARD[target]]
    assert "redirect took" not in caplog.text


def test_url_that_can_be_read_in_two_ways_is_judged_by_where_it_leads(
    kind: Kind, platform: Platform, auth: Any
) -> None:
    target = "https://evil.example\\@thingspace.verizon.com/"
    assert followed(kind, platform, auth, [target], 302, **guarded(kind, auth)).status == 200
    (_, second) = platform.api_calls
    # As all the libraries read it. For requests it is one that two parsers might disagree on.
    assert urlsplit(second.url).hostname == "thingspace.verizon.com"
    assert second.session == (None if kind.is_requests else "session-1")


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
    kind: Kind, platform: Platform, auth: Any, targets: list[str], sent: list[dict[str, str]]
) -> None:
    seen = followed(kind, platform, auth, targets, 302, **guarded(kind, auth))
    assert (seen.status, seen.history) == (200, [302] * len(targets))
    assert platform.tokens_sent == sent
    assert len(platform.login_calls) == 1


def test_redirect_after_a_repeat_is_no_different(kind: Kind, platform: Platform, auth: Any) -> None:
    platform.api = [session_refusal(), redirect(ELSEWHERE)]
    assert kind.get(auth, API, platform, **guarded(kind, auth)).status == 200
    renewed = {**BEARER, "vz-m2m-token": "session-2"}
    assert platform.tokens_sent == [BOTH, renewed, {}]


def test_session_that_was_blamed_after_a_redirect_is_renewed(
    kind: Kind, platform: Platform, auth: Any
) -> None:
    platform.api = [redirect("/api/m2m/v1/x"), session_refusal()]
    seen = kind.get(auth, API, platform)
    assert (seen.status, platform.sessions) == (200, ["session-1", "session-1", "session-2"])


def test_session_that_is_renewed_after_a_redirect_puts_no_bearer_back(
    kind: Kind, platform: Platform, auth: Any
) -> None:
    platform.api = [redirect(STAGING), session_refusal()]
    assert kind.get(auth, API, platform).status == 200
    assert platform.tokens_sent[1:] == [SESSION, {"vz-m2m-token": "session-2"}]


def test_blame_by_a_host_that_was_not_sent_the_session_renews_nothing(
    kind: Kind, platform: Platform, auth: Any
) -> None:
    platform.api = [redirect(ELSEWHERE), session_refusal()]
    assert kind.get(auth, API, platform, **guarded(kind, auth)).status == 400
    assert len(platform.login_calls) == 1


def test_session_is_renewed_once_for_a_request_and_in_requests_each_hop_is_one(
    kind: Kind, platform: Platform, auth: Any
) -> None:
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
    assert platform.tokens_sent == [
        {**BEARER, "vz-m2m-token": "their-own"},
        {"vz-m2m-token": "their-own"},
    ]


def test_users_own_header_for_the_new_host_is_left_alone(
    kind: Kind, platform: Platform, auth: Any
) -> None:
    platform.api = [redirect(VEHICLE)]
    theirs = {"headers": {"SessionToken": "their-own"}}
    kind.get(auth, API, platform, **theirs, **guarded(kind, auth))
    assert platform.tokens_sent[1] == {"sessiontoken": "their-own"}


def test_session_of_an_account_that_was_taken_away_meanwhile_is_still_ours(
    kind: Kind, platform: Platform, auth: Any
) -> None:
    platform.on_api = lambda: setattr(auth, "m2m", None)
    platform.api = [redirect(ELSEWHERE)]
    assert kind.get(auth, API, platform, **guarded(kind, auth)).status == 200
    assert platform.tokens_sent == [BOTH, {}]


@pytest.mark.parametrize("is_guarded", [False, True], ids=["without the guard", "guarded"])
@pytest.mark.parametrize(
    ("target", "sent"),
    [
        (ELSEWHERE, {}),
        (EDGE, BEARER),
        (BASE + LOGIN_PATH, BEARER),
        (API + "/y", BOTH),
        ("/api/m2m/v1/x", BOTH),
    ],
)
def test_redirect_that_is_followed_by_hand_takes_nothing_where_it_must_not_go(
    httpx_kind: Kind,
    platform: Platform,
    httpx_auth: Any,
    target: str,
    sent: dict[str, str],
    is_guarded: bool,
) -> None:
    """Also without the guard: the client copied our headers to ``next_request``."""
    options = guarded(httpx_kind, httpx_auth) if is_guarded else {}
    for _ in range(2):
        platform.api = [redirect(target, 307)]
        request = httpx_kind.library.Request("GET", API, extensions={"timeout": {}})
        response = send_by_hand(httpx_kind, httpx_auth, platform, request, **options)
        send_by_hand(httpx_kind, httpx_auth, platform, response.next_request, **options)
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
    httpx_kind: Kind, platform: Platform, httpx_auth: Any, caplog: pytest.LogCaptureFixture
) -> None:
    platform.api = [redirect(ELSEWHERE)]
    assert httpx_kind.get(httpx_auth, API, platform).status == 200
    assert platform.tokens_sent == [BOTH, SESSION]
    (warning,) = [record for record in caplog.records if WARNING in record.getMessage()]
    assert (warning.name, warning.levelno) == ("thingspace_auth_adapters", logging.WARNING)
    assert "auth.guard" in caplog.text
    assert "session-1" not in caplog.text
    httpx_kind.get(httpx_auth, API, platform)
    assert platform.trail == ["token", "login", "api", "api", "api"]


@pytest.mark.parametrize(
    ("answers", "leaks"),
    [
        ([redirect(ELSEWHERE), redirect(API)], 1),
        ([redirect("http://thingspace.verizon.com/api/x")], 1),
        ([redirect("/api/m2m/v1/x"), redirect(ELSEWHERE)], 1),
        ([redirect("https://thingspace.verizon.com:8443/x")], 1),
        ([refusal(), redirect(ELSEWHERE)], 1),
        ([session_refusal(), redirect(ELSEWHERE)], 1),
        ([redirect("/x"), redirect(VEHICLE), redirect(EDGE)], 0),
    ],
    ids=["and back", "http", "later", "port", "bearer renewed", "session renewed", "none"],
)
@pytest.mark.parametrize("is_warm", [False, True], ids=["cold", "warm"])
def test_leak_is_noticed_wherever_it_was(
    httpx_kind: Kind,
    platform: Platform,
    httpx_auth: Any,
    answers: list[Answer],
    leaks: int,
    is_warm: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if is_warm:
        httpx_kind.get(httpx_auth, API, platform)
    platform.api = list(answers)
    seen = httpx_kind.get(httpx_auth, API, platform)
    assert (seen.status, seen.history) == (200, [answer.status for answer in answers])
    assert caplog.text.count("which is not allowed") == leaks


@pytest.mark.parametrize("becomes", ["fixed", None], ids=["cannot be renewed", "taken away"])
def test_leak_of_a_session_without_an_account_is_warned_of(
    httpx_kind: Kind,
    platform: Platform,
    httpx_auth: Any,
    becomes: str | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if becomes is None:
        platform.on_api = lambda: setattr(httpx_auth, "m2m", None)
    else:
        httpx_auth.m2m = becomes
    platform.api = [redirect(ELSEWHERE)]
    assert httpx_kind.get(httpx_auth, API, platform).status == 200
    assert caplog.text.count(WARNING) == 1
    assert "fixed" not in caplog.text


# httpx: the guard by itself.


@pytest.mark.parametrize("url", [ELSEWHERE, EDGE, VEHICLE, API])
def test_guard_takes_off_ours_alone(
    httpx_kind: Kind, platform: Platform, httpx_auth: Any, url: str
) -> None:
    httpx_kind.get(httpx_auth, API, platform)
    theirs = {"Authorization": "Basic theirs", "VZ-M2M-Token": "their-own", "SessionToken": "x"}
    request = httpx_kind.library.Request("GET", url, headers={**theirs, "X-Trace": "7"})
    before = dict(request.headers)
    guard(httpx_kind, httpx_auth, request)
    assert dict(request.headers) == before
    ours = {"Authorization": "Bearer token-1", "VZ-M2M-Token": "session-1"}
    request = httpx_kind.library.Request("GET", url, headers={**ours, "X-Trace": "7"})
    guard(httpx_kind, httpx_auth, request)
    left = {API: BOTH, VEHICLE: BEARER, EDGE: BEARER, ELSEWHERE: {}}[url]
    names = ("authorization", "vz-m2m-token")
    assert {name: request.headers[name] for name in names if name in request.headers} == left
    assert request.headers["x-trace"] == "7"


def test_guard_takes_off_older_tokens_too(
    httpx_kind: Kind, platform: Platform, httpx_auth: Any
) -> None:
    platform.api = [refusal(), session_refusal()]
    httpx_kind.get(httpx_auth, API, platform)
    older = {"Authorization": "Bearer token-1", "VZ-M2M-Token": "session-1"}
    request = httpx_kind.library.Request("GET", ELSEWHERE, headers=older)
    guard(httpx_kind, httpx_auth, request)
    assert not {"authorization", "vz-m2m-token"} & set(request.headers)


def guard(kind: Kind, auth: Any, request: Any) -> None:
    if kind.is_async:
        kind.run(auth.aguard, request)
    else:
        auth.guard(request)
