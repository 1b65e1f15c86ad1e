"""The contract, Part 2, rule 4: sessions that may be dead, and logins that do not help. Virtual."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from thingspace_auth_adapters import M2mLoginError, VzM2mCredentials

from ..support.kinds import PASSWORD, Kind
from ..support.virtual import (
    API,
    Answer,
    Platform,
    VirtualClock,
    login_refusal,
    refusal,
    session_refusal,
    token_answer,
)

MINUTE = 60

SUSPECT: dict[str, Answer] = {
    "Diagnostics' account": Answer(401, {"errorCode": "INVALID_ACCOUNT"}),
    "vehicles' 401": Answer(401, {"error": "unauthorized", "description": "no"}),
    "vehicles' 403": Answer(403, {"error": "forbidden", "description": "no"}),
    "vehicles' 400": Answer(400, {"error": "bad", "description": "the session has expired"}),
    "response code": Answer(
        400,
        {"responseCode": "INVALID_ACCESS", "message": "UWS verification failure (Common)"},
    ),
    "another cause": Answer(401, {"error": "x", "cause": "y"}),
    "forbidden device": Answer(403, {"message": "not your device"}),
    "text": Answer(409, {"message": "Session token is missing"}),
}

INNOCENT: dict[str, Answer] = {
    "a CDN's 403": Answer(403, b"<html>Forbidden</html>"),
    "the gateway's 403": Answer(403, {"fault": {"code": "900908"}}),
    "no data session": Answer(404, {"message": "no active data session"}),
    "wrong account": Answer(
        400,
        {
            "errorCode": "INVALID_PARAMETER",
            "errorMessage": "UWS verification failure (Could not find account 1)",
        },
    ),
    "400": Answer(400, {"message": "the imei is invalid"}),
    "500": Answer(500, {"message": "session expired"}),
}


@pytest.fixture(autouse=True)
def _virtual_time(clock: VirtualClock) -> None:
    pass


@pytest.fixture
def auth(kind: Kind, platform: Platform, clock: VirtualClock) -> Any:
    """An object whose session is two minutes old, and so can be suspected."""
    made = kind.auth(platform, m2m=VzM2mCredentials("user", PASSWORD))
    assert kind.get(made, API, platform).status == 200
    clock.advance(2 * MINUTE)
    return made


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]


@pytest.mark.parametrize("name", list(SUSPECT))
def test_session_that_an_unknown_answer_makes_suspect_is_replaced(
    kind: Kind, platform: Platform, auth: Any, name: str
) -> None:
    platform.api = [SUSPECT[name]]
    assert kind.get(auth, API, platform).status == 200
    assert platform.sessions == ["session-1", "session-1", "session-2"]
    assert len(platform.token_calls) == 1


@pytest.mark.parametrize("name", list(INNOCENT))
def test_other_answers_cost_no_living_session(
    kind: Kind, platform: Platform, auth: Any, name: str
) -> None:
    platform.api = [INNOCENT[name]]
    assert kind.get(auth, API, platform).status == INNOCENT[name].status
    assert kind.get(auth, API, platform).status == 200
    assert len(platform.login_calls) == 1


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"message": "no"}'], ids=["", "html", "json"])
@pytest.mark.parametrize("is_same", [False, True], ids=["another bearer", "the same bearer"])
def test_unexplained_401_blames_the_bearer_and_then_the_session(
    kind: Kind, platform: Platform, auth: Any, body: bytes, is_same: bool
) -> None:
    platform.api = [Answer(401, body)] * (1 if is_same else 2)
    platform.tokens = [token_answer("token-1")] if is_same else []
    assert kind.get(auth, API, platform).status == 200
    assert platform.sessions[-1] == "session-2"
    assert platform.bearers[-1] == ("token-1" if is_same else "token-2")
    assert (len(platform.token_calls), len(platform.login_calls)) == (2, 2)
    assert platform.trail[-1] == "api"


def test_bearer_that_is_known_to_be_the_same_is_not_asked_for_again(
    kind: Kind, platform: Platform, auth: Any, clock: VirtualClock
) -> None:
    platform.tokens = [token_answer("token-1")]
    platform.api = [Answer(401), Answer(401)]
    assert kind.get(auth, API, platform).status == 401
    # Within ten minutes of a suspicion there is no other.
    clock.advance(20)
    platform.api = [Answer(401)]
    assert kind.get(auth, API, platform).status == 401
    assert (len(platform.token_calls), len(platform.login_calls)) == (2, 2)


def test_post_is_not_repeated_on_a_suspicion_and_the_next_request_has_another_session(
    kind: Kind, platform: Platform, auth: Any
) -> None:
    platform.api = [SUSPECT["vehicles' 403"]]
    assert kind.send(auth, "POST", API, platform).status == 403
    assert kind.send(auth, "POST", API, platform).status == 200
    assert platform.sessions == ["session-1", "session-1", "session-2"]


def test_suspected_session_is_used_until_there_is_another(
    kind: Kind, platform: Platform, auth: Any, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    platform.api = [SUSPECT["another cause"]]
    platform.logins = [Answer(404)]
    assert kind.get(auth, API, platform).status == 401
    assert kind.get(auth, API, platform).status == 200
    assert platform.sessions == ["session-1"] * 3
    assert len(platform.login_calls) == 2
    assert any("suspect" in text for text in warnings_in(caplog))
    # None is made on a suspicion as long as one has failed.
    for _ in range(5):
        clock.advance(30 * MINUTE // 2)
        platform.api = [SUSPECT["another cause"]]
        assert kind.get(auth, API, platform).status == 401
    assert len(platform.login_calls) == 2
    assert platform.sessions[-1] == "session-1"


def test_login_on_a_suspicion_is_a_single_attempt(
    kind: Kind, platform: Platform, auth: Any
) -> None:
    platform.api = [SUSPECT["another cause"]]
    platform.logins = [Answer(503)] * 9
    assert kind.get(auth, API, platform).status == 401
    assert len(platform.login_calls) == 2


def test_session_is_not_suspected_in_its_first_minute(
    kind: Kind, platform: Platform, clock: VirtualClock
) -> None:
    auth = kind.auth(platform, m2m=VzM2mCredentials("user", PASSWORD))
    for pause, logins in ((MINUTE - 1, 1), (1, 2)):
        kind.get(auth, API, platform)
        clock.advance(pause)
        platform.api = [SUSPECT["another cause"]]
        kind.get(auth, API, platform)
        assert len(platform.login_calls) == logins


def test_session_that_came_of_a_suspicion_is_not_suspected_for_ten_minutes(
    kind: Kind, platform: Platform, auth: Any, clock: VirtualClock
) -> None:
    """What always refuses, a forbidden device for example, costs six logins an hour."""
    for _ in range(60):
        platform.api = [SUSPECT["forbidden device"]] * 2
        assert kind.get(auth, API, platform).status == 403
        platform.api = []
        clock.advance(MINUTE)
    assert 5 <= len(platform.login_calls) - 1 <= 6


def test_given_session_can_be_suspected_at_once(kind: Kind, platform: Platform) -> None:
    auth = kind.auth(platform, m2m=VzM2mCredentials("user", PASSWORD, vz_m2m_token="given"))
    platform.api = [SUSPECT["another cause"]]
    assert kind.get(auth, API, platform).status == 200
    assert platform.sessions == ["given", "session-1"]


def test_session_token_alone_cannot_be_replaced(kind: Kind, platform: Platform) -> None:
    auth = kind.auth(platform, m2m="given")
    platform.api = [SUSPECT["another cause"]]
    assert kind.get(auth, API, platform).status == 401
    assert kind.get(auth, API, platform).status == 200
    assert platform.login_calls == []


# With a store, one timestamp says so to all.


def test_suspicion_is_for_all_who_share_a_store(
    kind: Kind, platform: Platform, clock: VirtualClock
) -> None:
    from ..support.memory_store import memory_store

    store = memory_store()
    m2m = VzM2mCredentials("user", PASSWORD)
    first, second = (kind.auth(platform, m2m=m2m, store=store) for _ in range(2))
    for each in (first, second):
        kind.get(each, API, platform)
    clock.advance(2 * MINUTE)
    platform.api = [SUSPECT["another cause"]]
    assert kind.get(first, API, platform).status == 200
    assert kind.get(second, API, platform).status == 200
    assert platform.sessions[-1] == "session-2"
    assert len(platform.login_calls) == 2
    for each in (first, second, kind.auth(platform, m2m=m2m, store=store)):
        platform.api = [SUSPECT["another cause"]]
        kind.get(each, API, platform)
    assert len(platform.login_calls) == 2


# Logins that do not help.


def test_api_that_always_blames_the_session_costs_three_logins_a_minute(
    kind: Kind, platform: Platform, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    auth = kind.auth(platform, m2m=VzM2mCredentials("user", PASSWORD))
    for minute in (1, 2):
        for _ in range(20):
            platform.api = [session_refusal()] * 2
            assert kind.get(auth, API, platform).status == 400
        assert len(platform.login_calls) == 1 + 3 * minute
        clock.advance(MINUTE)
    platform.api = []
    assert kind.get(auth, API, platform).status == 200
    (warning,) = warnings_in(caplog)
    assert "another process" in warning.lower()
    assert "store" in warning


# Without an account.


@pytest.mark.parametrize("status", [400, 401])
def test_platform_that_wants_a_session_is_told_of_once(
    kind: Kind, platform: Platform, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    auth = kind.auth(platform)
    for _ in range(3):
        platform.api = [Answer(status, session_refusal().body)]
        assert kind.get(auth, API, platform).status == status
    (warning,) = warnings_in(caplog)
    assert "m2m=" in warning


@pytest.mark.parametrize("name", [*INNOCENT, *SUSPECT])
def test_other_answers_say_nothing_of_a_session_that_nobody_has(
    kind: Kind, platform: Platform, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    answer = {**INNOCENT, **SUSPECT}[name]
    platform.api = [answer]
    assert kind.get(kind.auth(platform), API, platform).status == answer.status
    assert warnings_in(caplog) == []


# While no login is attempted.


def test_session_that_is_merely_idle_is_sent_while_logins_are_barred(
    kind: Kind, platform: Platform, auth: Any, clock: VirtualClock
) -> None:
    platform.logins = [login_refusal()]
    with pytest.raises(M2mLoginError):
        kind.fetch_session(auth)
    clock.advance(30 * MINUTE)
    assert kind.get(auth, API, platform).status == 200
    assert platform.sessions == ["session-1"] * 2
    # The platform decides, and what it rejected is not sent again.
    clock.advance(30 * MINUTE)
    platform.api = [session_refusal()]
    assert kind.get(auth, API, platform).status == 400
    with pytest.raises(M2mLoginError):
        kind.get(auth, API, platform)
    assert len(platform.login_calls) == 2


def test_rejected_bearer_is_renewed_all_the_same_while_logins_are_barred(
    kind: Kind, platform: Platform, auth: Any
) -> None:
    platform.logins = [login_refusal()]
    with pytest.raises(M2mLoginError):
        kind.fetch_session(auth)
    platform.api = [refusal()]
    assert kind.get(auth, API, platform).status == 200
    assert platform.bearers[-1] == "token-2"
