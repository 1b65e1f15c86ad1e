"""Part 2, rule 4: an answer that blames the session leads to one login and one repeat.

Which answers do is a table: test_rule_07_answers in Part 1.
"""

from __future__ import annotations

import json
import threading
from typing import Any, Callable

import pytest

from thingspace_auth_adapters import M2mLoginError, VzM2mCredentials
from thingspace_auth_adapters._core.cached_token import CachedToken

from ..support.kinds import PASSWORD, Kind
from ..support.logins import MINUTE, credentials
from ..support.real import Threads
from ..support.virtual import (
    API,
    SESSION_EXPIRED,
    Answer,
    Platform,
    VirtualClock,
    login_refusal,
    redirect,
    refusal,
    session_refusal,
)

pytestmark = pytest.mark.usefixtures("clock")

Told = Callable[[], list[str]]


FORMAT = session_refusal({"errorCode": "REQUEST_FAILED.SessionToken.Format"})
CLOUD = Answer(
    401,
    {
        "error": "unauthorized",
        "error_description": "Failure response received for UWS V1 REST accounts: [400]",
        "cause": "Requested service is unauthorized for given token",
    },
)


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "DELETE"])
@pytest.mark.parametrize("answer", [session_refusal(), FORMAT, CLOUD], ids=["", "format", "cloud"])
@pytest.mark.parametrize(
    "url", [API, "https://5gedge.verizon.com/api/mec/performance/v1/firehose"], ids=["", "edge"]
)
def test_blamed_session_leads_to_one_login_and_one_repeat(
    kind: Kind, platform: Platform, auth: Any, method: str, answer: Answer, url: str
) -> None:
    kind.get(auth, API, platform)
    platform.api = [answer]
    assert kind.send(auth, method, url, platform, content=b"payload").status == 200
    assert platform.sessions == ["session-1", "session-1", "session-2"]
    assert [call.body for call in platform.api_calls[1:]] == [b"payload"] * 2
    assert platform.trail == ["token", "login", "api", "api", "login", "api"]


@pytest.mark.parametrize(
    "answer",
    [
        Answer(404, {"errorMessage": "UnifiedWebService.REQUEST_FAILED.SessionToken.Expired"}),
        Answer(500, SESSION_EXPIRED),
        Answer(200, SESSION_EXPIRED),
        Answer(429, {"fault": {"code": "900800"}}),
        Answer(400, b" " * 70_000 + json.dumps(SESSION_EXPIRED).encode()),
        *(
            Answer(400, {"errorCode": "X", "padding": "x" * size})
            for size in (100, 70_000, 300_000)
        ),
    ],
    ids=["message", "500", "200", "throttled", "too long", "short", "long", "longer"],
)
def test_other_answers_are_returned_as_they_came(
    kind: Kind, platform: Platform, auth: Any, answer: Answer
) -> None:
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
    assert kind.get(auth, API, platform).status == 401
    assert platform.trail == ["token", "login", "api", "token", "api", "login", "api"]
    platform.api = [session_refusal(), refusal()]
    seen = kind.get(auth, API, platform)
    assert (seen.status, seen.history) == (200, [400, 401])
    blamed = seen.response.history[1].request.headers
    assert (blamed["VZ-M2M-Token"], blamed["Authorization"]) == ("session-3", "Bearer token-2")


def test_bearer_that_a_login_finds_rejected_costs_one_login_more(
    kind: Kind, platform: Platform, auth: Any
) -> None:
    kind.get(auth, API, platform)
    platform.calls.clear()
    platform.api, platform.logins = [session_refusal()], [refusal()]
    assert kind.get(auth, API, platform).status == 200
    assert platform.trail == ["api", "login", "token", "login", "api"]
    assert platform.bearers == ["token-1", "token-2"]


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


def test_body_that_cannot_be_sent_again_renews_for_the_next_request(
    kind: Kind, platform: Platform, auth: Any
) -> None:
    async def aparts() -> Any:
        yield b"part"

    platform.api = [session_refusal()]
    content = aparts() if kind.is_async else iter([b"part"])
    seen = kind.send(auth, "POST", API, platform, content=content)
    assert (seen.status, json.loads(seen.body)) == (400, SESSION_EXPIRED)
    kind.get(auth, API, platform)
    assert platform.trail == ["token", "login", "api", "login", "api"]


# What happens in the meantime.


def test_late_rejection_of_an_older_session_causes_no_login(
    kind: Kind, platform: Platform, auth: Any
) -> None:
    platform.on_api = lambda: auth._tokens.sessions.assign(CachedToken("newer", "newer"))
    platform.api = [session_refusal()]
    assert kind.get(auth, API, platform).status == 200
    assert platform.sessions == ["session-1", "newer"]
    assert len(platform.login_calls) == 1


def test_bearer_that_is_forgotten_during_the_login_is_sent_as_it_was(
    kind: Kind, platform: Platform, auth: Any
) -> None:
    kind.get(auth, API, platform)
    platform.on_login = lambda: setattr(auth, "oauth_token", None)
    platform.api = [session_refusal()]
    assert kind.get(auth, API, platform).status == 200
    assert platform.sessions == ["session-1", "session-1", "session-2"]
    assert platform.bearers == ["token-1"] * 3


def test_credentials_that_are_assigned_meanwhile_are_those_that_log_in(
    kind: Kind, platform: Platform, auth: Any
) -> None:
    kind.get(auth, API, platform)
    other = VzM2mCredentials("the-user", "another password")
    platform.on_api = lambda: setattr(auth, "m2m", other)
    platform.api = [session_refusal()]
    assert kind.get(auth, API, platform).status == 200
    passwords = [json.loads(call.body)["password"] for call in platform.login_calls]
    assert passwords == [PASSWORD, "another password"]
    assert platform.sessions == ["session-1", "session-1", "session-2"]


def test_no_session_is_opened_for_an_account_that_is_taken_away_meanwhile(
    kind: Kind, platform: Platform, auth: Any
) -> None:
    platform.on_api = lambda: setattr(auth, "m2m", None)
    platform.api = [session_refusal()]
    assert kind.get(auth, API, platform).status == 400
    assert len(platform.login_calls) == 1


def test_session_that_is_taken_away_meanwhile_fails_no_request(
    sync_kind: Kind, platform: Platform
) -> None:
    """``auth.m2m`` may be assigned at any moment: here on each look at it."""
    auth = sync_kind.auth(platform, m2m=credentials())
    threads, assigning, is_over = Threads(), Threads(), threading.Event()

    def assign() -> None:
        while not is_over.is_set():
            auth.m2m = None
            auth.m2m = credentials()

    def work() -> list[int]:
        platform.api = [session_refusal()] * 5
        return [sync_kind.get(auth, API, platform).status for _ in range(60)]

    threads.start(work)
    assigning.start(assign)
    try:
        (statuses,) = threads.join()
    finally:
        is_over.set()
    assert {*statuses} <= {200, 400}
    assert assigning.join() == [None]


# Logins that fail, or do not help.


def test_failed_login_returns_the_answer_and_then_raises(
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


def test_api_that_always_blames_the_session_costs_three_logins_a_minute(
    kind: Kind, platform: Platform, clock: VirtualClock, told: Told
) -> None:
    auth = kind.auth(platform, m2m=credentials())
    for minute in (1, 2):
        for _ in range(20):
            platform.api = [session_refusal()] * 2
            assert kind.get(auth, API, platform).status == 400
        assert len(platform.login_calls) == 1 + 3 * minute
        clock.advance(MINUTE)
    platform.api = []
    assert kind.get(auth, API, platform).status == 200
    (warning,) = told()
    assert "Another process" in warning
    assert "store" in warning


# Without an account.


@pytest.mark.parametrize("status", [400, 401])
def test_forgotten_account_is_told_once_for_each_object(
    kind: Kind, platform: Platform, caplog: pytest.LogCaptureFixture, told: Told, status: int
) -> None:
    for auth in (kind.auth(platform), kind.auth(platform)):
        caplog.clear()
        platform.api = [Answer(status, SESSION_EXPIRED) for _ in range(3)]
        for _ in range(3):
            assert kind.get(auth, API, platform).status == status
        (warning,) = told()
        assert "m2m=VzM2mCredentials" in warning


def test_streamed_answer_is_left_to_the_caller(
    requests_kind: Kind, platform: Platform, told: Told
) -> None:
    """Under requests what is read of a stream is gone, and a warning is not worth that."""
    platform.api = [Answer(400, {"errorCode": "INPUT_INVALID"}), Answer(400, SESSION_EXPIRED)]
    session = requests_kind.session(platform)
    session.auth = requests_kind.auth(platform)
    assert b"INPUT_INVALID" in session.get(API, stream=True).raw.read()
    assert told() == []
    session.get(API)
    assert len(told()) == 1
