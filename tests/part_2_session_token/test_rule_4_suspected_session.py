"""Part 2, rule 4: sessions that may be dead, since an answer says nothing that is known."""

from __future__ import annotations

from typing import Any, Callable

import pytest

from ..support.kinds import Kind
from ..support.logins import MINUTE, credentials
from ..support.memory_store import memory_store
from ..support.virtual import API, Answer, Platform, VirtualClock, session_refusal, token_answer

pytestmark = pytest.mark.usefixtures("clock")

Told = Callable[[], list[str]]

UNKNOWN_CAUSE = Answer(401, {"error": "x", "cause": "y"})
FORBIDDEN = Answer(403, {"error": "forbidden", "description": "no"})

SUSPECT = {
    "Diagnostics' account": Answer(401, {"errorCode": "INVALID_ACCOUNT"}),
    "another cause": UNKNOWN_CAUSE,
    "vehicles' 403": FORBIDDEN,
    "text": Answer(409, {"message": "Session token is missing"}),
}
INNOCENT = {
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
    "500": Answer(500, {"message": "session expired"}),
}


@pytest.fixture
def auth(kind: Kind, platform: Platform, clock: VirtualClock) -> Any:
    """An object whose session is two minutes old, and so can be suspected."""
    made = kind.auth(platform, m2m=credentials())
    assert kind.get(made, API, platform).status == 200
    clock.advance(2 * MINUTE)
    return made


# Which answers make it suspect: all others are in test_rule_07_answers in Part 1.


@pytest.mark.parametrize("name", [*SUSPECT, *INNOCENT])
def test_suspected_session_is_replaced_and_the_request_repeated(
    kind: Kind, platform: Platform, auth: Any, name: str
) -> None:
    answer = {**SUSPECT, **INNOCENT}[name]
    platform.api = [answer]
    is_suspect = name in SUSPECT
    assert kind.get(auth, API, platform).status == (200 if is_suspect else answer.status)
    assert platform.sessions[1:] == ["session-1", "session-2"][: 1 + is_suspect]
    assert len(platform.token_calls) == 1


@pytest.mark.parametrize("name", [*INNOCENT, *SUSPECT])
def test_without_an_account_nothing_is_said_of_a_session(
    kind: Kind, platform: Platform, name: str, told: Told
) -> None:
    answer = {**INNOCENT, **SUSPECT}[name]
    platform.api = [answer]
    assert kind.get(kind.auth(platform), API, platform).status == answer.status
    assert told() == []


@pytest.mark.parametrize("is_same", [False, True], ids=["another bearer", "the same bearer"])
def test_unexplained_401_blames_the_bearer_and_then_the_session(
    kind: Kind, platform: Platform, auth: Any, is_same: bool
) -> None:
    platform.api = [Answer(401)] * (1 if is_same else 2)
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


# What follows.


def test_post_is_not_repeated_and_the_next_request_has_another_session(
    kind: Kind, platform: Platform, auth: Any
) -> None:
    platform.api = [FORBIDDEN]
    assert kind.send(auth, "POST", API, platform).status == 403
    assert kind.send(auth, "POST", API, platform).status == 200
    assert platform.sessions == ["session-1", "session-1", "session-2"]


@pytest.mark.parametrize("failure", [Answer(404), Answer(503)], ids=["unknown", "transient"])
def test_suspected_session_is_kept_if_the_single_login_fails(
    kind: Kind,
    platform: Platform,
    auth: Any,
    clock: VirtualClock,
    failure: Answer,
    told: Told,
) -> None:
    platform.api = [UNKNOWN_CAUSE]
    platform.logins = [failure]
    assert kind.get(auth, API, platform).status == 401
    assert kind.get(auth, API, platform).status == 200
    assert platform.sessions == ["session-1"] * 3
    assert any("suspect" in text for text in told())
    # None is made on a suspicion as long as one has failed.
    for _ in range(5):
        clock.advance(15 * MINUTE)
        platform.api = [UNKNOWN_CAUSE]
        assert kind.get(auth, API, platform).status == 401
    assert len(platform.login_calls) == 2
    assert platform.sessions[-1] == "session-1"


def test_session_is_not_suspected_in_its_first_minute(
    kind: Kind, platform: Platform, clock: VirtualClock
) -> None:
    auth = kind.auth(platform, m2m=credentials())
    for pause, logins in ((MINUTE - 1, 1), (1, 2)):
        kind.get(auth, API, platform)
        clock.advance(pause)
        platform.api = [UNKNOWN_CAUSE]
        kind.get(auth, API, platform)
        assert len(platform.login_calls) == logins


def test_session_that_came_of_a_suspicion_is_not_suspected_for_ten_minutes(
    kind: Kind, platform: Platform, auth: Any, clock: VirtualClock
) -> None:
    """What always refuses, a forbidden device for example, costs six logins an hour."""
    for _ in range(60):
        platform.api = [FORBIDDEN] * 2
        assert kind.get(auth, API, platform).status == 403
        platform.api = []
        clock.advance(MINUTE)
    assert 5 <= len(platform.login_calls) - 1 <= 6


def test_given_session_can_be_suspected_at_once(kind: Kind, platform: Platform) -> None:
    auth = kind.auth(platform, m2m=credentials(vz_m2m_token="given"))
    platform.api = [UNKNOWN_CAUSE]
    assert kind.get(auth, API, platform).status == 200
    assert platform.sessions == ["given", "session-1"]


def test_login_that_could_not_be_sent_for_a_suspicion_is_tried_again_after_a_minute(
    kind: Kind, platform: Platform, auth: Any, clock: VirtualClock
) -> None:
    for pause, more in ((0, 1), (MINUTE - 1, 0), (1, 1)):
        clock.advance(pause)
        before = len(platform.login_calls)
        platform.api, platform.logins = [UNKNOWN_CAUSE], [Answer(failure="certificate")]
        assert kind.get(auth, API, platform).status == 401
        assert len(platform.login_calls) - before == more
    assert set(platform.sessions) == {"session-1"}


def test_suspicions_and_rejections_share_the_three_logins_a_minute(
    kind: Kind, platform: Platform
) -> None:
    auth = kind.auth(platform, m2m=credentials(vz_m2m_token="given"))
    platform.api = [UNKNOWN_CAUSE]
    assert kind.get(auth, API, platform).status == 200
    for status in (200, 200, 400):
        platform.api = [session_refusal()]
        assert kind.get(auth, API, platform).status == status
    assert len(platform.login_calls) == 3


def test_one_timestamp_says_so_to_all_who_share_a_store(
    kind: Kind, platform: Platform, clock: VirtualClock
) -> None:
    store = memory_store()

    def process() -> Any:
        return kind.auth(platform, m2m=credentials(), store=store)

    first, second = process(), process()
    for each in (first, second):
        kind.get(each, API, platform)
    clock.advance(2 * MINUTE)
    platform.api = [UNKNOWN_CAUSE]
    assert kind.get(first, API, platform).status == 200
    assert kind.get(second, API, platform).status == 200
    assert platform.sessions[-1] == "session-2"
    for each in (first, second, process()):
        platform.api = [UNKNOWN_CAUSE]
        kind.get(each, API, platform)
    assert len(platform.login_calls) == 2


def test_suspicion_of_an_older_session_brings_the_newer_one(
    kind: Kind, platform: Platform, auth: Any
) -> None:
    older = {"Authorization": "Bearer token-1", "VZ-M2M-Token": "session-1"}
    kind.recover(auth, older, 400, {"errorCode": "REQUEST_FAILED.SessionToken.Expired"})
    again = kind.recover(auth, older, 401, {"errorCode": "INVALID_ACCOUNT"})
    assert again["VZ-M2M-Token"] == "session-2"
    assert len(platform.login_calls) == 2
