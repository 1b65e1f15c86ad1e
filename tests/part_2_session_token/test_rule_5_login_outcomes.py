"""Part 2, rule 5: what becomes of a login, what that counts as, and what follows.

What each answer of the platform counts as is another table: test_rule_07_answers in Part 1.
"""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from thingspace_auth_adapters import M2mLoginError, OauthProviderError

from ..support.kinds import Kind
from ..support.logins import (
    HOUR,
    MINUTE,
    YEARS,
    another_process,
    blocked,
    credentials,
    fails,
    file_store,
    logs_in,
    through,
)
from ..support.memory_store import memory_store
from ..support.virtual import (
    API,
    LOGIN_REFUSED,
    Answer,
    Platform,
    VirtualClock,
    login_refusal,
    refusal,
    session_refusal,
    token_answer,
)

pytestmark = pytest.mark.usefixtures("clock")


class Outcome(NamedTuple):
    """What becomes of a login, and what that counts as."""

    counts_as: str
    answer: Answer


REFUSED, UNKNOWN, NO_ATTEMPT = "refused", "unknown", "no attempt"
INVALID_TOKEN = {"WWW-Authenticate": 'Bearer error="invalid_token"'}

OUTCOMES = {
    "wrong password": Outcome(REFUSED, login_refusal()),
    "invalid_token and a code": Outcome(REFUSED, Answer(401, LOGIN_REFUSED, INVALID_TOKEN)),
    "timeout": Outcome(UNKNOWN, Answer(failure="read timeout")),
    "lost": Outcome(UNKNOWN, Answer(failure="protocol")),
    "500": Outcome(UNKNOWN, Answer(500, b"oops")),
    "504 of the gateway": Outcome(UNKNOWN, Answer(504, {"fault": {"code": "101504"}})),
    "unexplained 401": Outcome(UNKNOWN, Answer(401)),
    "404": Outcome(UNKNOWN, Answer(404, {"error": "x"})),
    "empty code": Outcome(UNKNOWN, Answer(400, {"errorCode": None, "errorMessage": "x"})),
    "redirect": Outcome(UNKNOWN, Answer(302, b"", {"Location": "https://elsewhere.example/"})),
    "204": Outcome(UNKNOWN, Answer(204)),
    "no token": Outcome(UNKNOWN, Answer(200, {"ok": True})),
    "empty token": Outcome(UNKNOWN, Answer(200, {"sessionToken": ""})),
    "odd token": Outcome(UNKNOWN, Answer(200, {"sessionToken": "a\nb"})),
    "number for a token": Outcome(UNKNOWN, Answer(200, {"sessionToken": 5})),
    "html for a token": Outcome(UNKNOWN, Answer(200, b"<html>welcome</html>")),
    "fault as a success": Outcome(UNKNOWN, Answer(200, {"fault": {"code": "900800"}})),
    "429": Outcome(NO_ATTEMPT, Answer(429, b"slow down")),
    "no connection": Outcome(NO_ATTEMPT, Answer(failure="connect")),
    "no connection in time": Outcome(NO_ATTEMPT, Answer(failure="connect timeout")),
    "bad certificate": Outcome(NO_ATTEMPT, Answer(failure="certificate")),
}

WHEN = (0, 5 * MINUTE - 30, 30, HOUR - 30, 30, YEARS)
"""The pauses before the moments of the table."""

LOGINS = {REFUSED: [1, 0, 0, 0, 0, 0], UNKNOWN: [2, 0, 1, 0, 1, 0]}
"""How many logins three requests at each of these moments send, if all have the same outcome."""


def one_process(kind: Kind, platform: Platform) -> Iterator[Any]:
    """The count is the process's, whichever of its objects logs in."""
    first = kind.auth(platform, m2m=credentials())
    while True:
        yield from (first, copy.copy(first), copy.deepcopy(first))
        yield kind.auth(platform, m2m=credentials())


def many_processes(kind: Kind, platform: Platform, store: str, path: Path) -> Iterator[Any]:
    """The count is the store's: each request is that of a process of its own."""
    memory = memory_store()
    while True:
        yield another_process(
            kind, platform, memory if store == "memory" else file_store(path / "store")
        )


FILE = pytest.param("file", marks=pytest.mark.once)


@pytest.mark.parametrize("name", OUTCOMES)
def test_outcome_counts_as_the_table_says_for_all_objects_of_a_process(
    kind: Kind, platform: Platform, clock: VirtualClock, name: str
) -> None:
    assert_counted(kind, platform, clock, OUTCOMES[name], one_process(kind, platform))


@pytest.mark.parametrize("store", ["memory", FILE])
@pytest.mark.parametrize("name", ["wrong password", "404", "lost", "429", "no connection"])
def test_outcome_counts_as_the_table_says_for_all_processes_of_a_store(
    kind: Kind, platform: Platform, clock: VirtualClock, name: str, store: str, tmp_path: Path
) -> None:
    auths = many_processes(kind, platform, store, tmp_path)
    assert_counted(kind, platform, clock, OUTCOMES[name], auths)


def test_proxy_that_httpx_cannot_get_through_is_no_attempt(
    httpx_kind: Kind, platform: Platform, clock: VirtualClock
) -> None:
    """An error of requests' for that says nothing of what was sent: test_rule_5_sent_once."""
    outcome = Outcome(NO_ATTEMPT, Answer(failure="proxy"))
    assert_counted(httpx_kind, platform, clock, outcome, one_process(httpx_kind, platform))


def assert_counted(
    kind: Kind, platform: Platform, clock: VirtualClock, outcome: Outcome, auths: Iterator[Any]
) -> None:
    counts_as, answer = outcome
    platform.logins = [answer] * 999
    sent, refused_at = [], clock.wall
    for pause in WHEN:
        clock.advance(pause)
        before = len(platform.login_calls)
        for auth in itertools.islice(auths, 3):
            error = fails(kind, auth, platform)
        sent.append(len(platform.login_calls) - before)
    if counts_as == NO_ATTEMPT:
        assert all(sent)
        # A throttled login is left alone for a while.
        clock.advance(10)
        logs_in(kind, next(auths), platform)
        return
    assert sent == LOGINS[counts_as]
    assert isinstance(error, M2mLoginError)
    assert not error.retryable
    is_refused = counts_as == REFUSED
    assert error.status_code == (answer.status if is_refused else None)
    assert error.error_code == (json.loads(answer.body)["errorCode"] if is_refused else None)
    assert error.refused_at == (refused_at if is_refused else None)
    blocked(kind, next(auths), platform)
    kind.allow_login(next(auths))
    logs_in(kind, next(auths), platform)


# What the table cannot say.


def test_login_by_hand_counts_like_any_other(kind: Kind, platform: Platform, auth: Any) -> None:
    platform.logins = [login_refusal()]
    for _ in range(2):
        with pytest.raises(M2mLoginError):
            kind.fetch_session(auth)
    blocked(kind, auth, platform)
    assert platform.trail == ["token", "login"]


@pytest.mark.parametrize("name", ["timeout", "lost", "500"])
def test_transient_unknown_outcome_is_tried_once_more_at_once(
    kind: Kind, platform: Platform, auth: Any, name: str
) -> None:
    platform.logins = [OUTCOMES[name].answer]
    assert kind.get(auth, API, platform).status == 200
    assert platform.trail == ["token", "login", "login", "api"]


def test_refusal_after_an_unknown_outcome_is_a_refusal(
    kind: Kind, platform: Platform, auth: Any, clock: VirtualClock
) -> None:
    platform.logins = [Answer(500), login_refusal()]
    assert fails(kind, auth, platform).status_code == 400
    clock.advance(YEARS)
    assert blocked(kind, auth, platform).status_code == 400
    assert len(platform.login_calls) == 2


@pytest.mark.parametrize("name", ["timeout", "500", "unexplained 401"])
def test_success_resets_the_count(
    kind: Kind, platform: Platform, auth: Any, clock: VirtualClock, name: str
) -> None:
    for _ in range(3):
        platform.logins = [OUTCOMES[name].answer, platform.new_session()]
        # An unexplained 401 is sent once more with another bearer, the others as they are.
        assert kind.get(auth, API, platform).status == 200
        clock.advance(20 * MINUTE)
    assert len(platform.login_calls) == 6


def test_no_attempt_does_not_reset_the_count(
    kind: Kind, platform: Platform, auth: Any, clock: VirtualClock
) -> None:
    platform.logins = [Answer(500), Answer(429), Answer(500), Answer(429)]
    for _ in range(3):
        fails(kind, auth, platform)
        clock.advance(10)
    blocked(kind, auth, platform)
    assert len(platform.login_calls) == 3


@pytest.mark.parametrize("is_sent", [False, True], ids=["connecting", "sent"])
def test_interrupt_makes_a_synchronous_login_unknown(
    sync_kind: Kind, platform: Platform, is_sent: bool
) -> None:
    """Also while it connects: what beneath us has begun cannot be known."""
    interrupt = KeyboardInterrupt()

    def interrupted(kind: Kind, request: Any) -> Generator[None, Any, Any]:
        if is_sent:
            yield
        raise interrupt

    auth = sync_kind.auth(m2m=credentials(), **through(sync_kind, interrupted, platform))
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt) as caught:
            sync_kind.get(auth, API, platform)
        assert caught.value is interrupt
    assert len(platform.login_calls) == (2 if is_sent else 0)
    assert blocked(sync_kind, auth, platform).status_code is None


# A bearer that the login refuses is renewed, and the login sent once more if it is another one.


def test_expired_bearer_costs_one_login_more(
    kind: Kind, platform: Platform, clock: VirtualClock
) -> None:
    told: list[Any] = []
    auth = kind.auth(platform, m2m=credentials(), oauth_on_token_update=kind.callback(told.append))
    kind.get(auth, API, platform)
    platform.calls.clear()
    clock.advance(20 * MINUTE)
    platform.logins = [refusal()]
    assert kind.get(auth, API, platform).status == 200
    assert platform.trail == ["login", "token", "login", "api"]
    assert platform.bearers == ["token-2"]
    assert [token.access_token for token in told] == ["token-1", "token-2"]


def test_bearer_is_renewed_once_for_a_login(kind: Kind, platform: Platform, auth: Any) -> None:
    platform.logins = [refusal(), refusal()]
    error = fails(kind, auth, platform)
    assert (error.status_code, error.error_code) == (401, "900901")
    assert platform.trail == ["token", "login", "token", "login"]
    assert kind.get(auth, API, platform).status == 200


def test_login_is_not_sent_with_a_bearer_that_it_refused_in_the_last_30_seconds(
    kind: Kind, platform: Platform, auth: Any, clock: VirtualClock
) -> None:
    platform.tokens = [token_answer("same"), token_answer("same")]
    platform.logins = [refusal()]
    for _ in range(5):
        error = fails(kind, auth, platform)
        assert (error.status_code, error.error_code) == (401, "900901")
    assert platform.trail == ["token", "login", "token"]
    clock.advance(30)
    assert kind.get(auth, API, platform).status == 200
    assert platform.trail == ["token", "login", "token", "login", "api"]


def test_token_endpoint_that_fails_a_login_is_what_the_caller_learns_of(
    kind: Kind, platform: Platform, auth: Any
) -> None:
    platform.logins = [refusal()]
    platform.tokens = [token_answer("first"), Answer(401, {"error": "invalid_client"})]
    assert isinstance(fails(kind, auth, platform), OauthProviderError)
    assert kind.get(auth, API, platform).status == 200


def test_bearer_is_renewed_although_no_login_may_follow(
    kind: Kind, platform: Platform, clock: VirtualClock
) -> None:
    auth = kind.auth(platform, m2m=credentials(), oauth_token={"access_token": "dead"})
    platform.logins = [Answer(404), Answer(401)]
    fails(kind, auth, platform)
    # The second failure in a row: no other login now, but another bearer.
    fails(kind, auth, platform)
    assert platform.trail == ["login", "login", "token"]
    clock.advance(5 * MINUTE)
    assert kind.get(auth, API, platform).status == 200
    assert platform.bearers == ["token-1"]


# While none is attempted.


def test_session_that_is_merely_idle_is_sent_and_does_not_count_as_used(
    kind: Kind, platform: Platform, any_store: Any, clock: VirtualClock
) -> None:
    """If it is dead in a form that nobody knows, a login follows as soon as one may be tried."""
    auth = kind.auth(platform, m2m=credentials(), store=any_store)
    kind.get(auth, API, platform)
    clock.advance(30 * MINUTE)
    platform.logins = [Answer(404), Answer(404)]
    for _ in range(2):
        with pytest.raises(M2mLoginError):
            kind.fetch_session(auth)
    for _ in range(4):
        platform.api = [Answer(400, {"message": "no"})]
        assert kind.get(auth, API, platform).status == 400
        clock.advance(MINUTE)
    assert len(platform.login_calls) == 3
    clock.advance(MINUTE)
    assert kind.get(auth, API, platform).status == 200
    assert platform.sessions[-1] == "session-2"


def test_session_that_was_rejected_is_not_sent_again(
    kind: Kind, platform: Platform, auth: Any, clock: VirtualClock
) -> None:
    kind.get(auth, API, platform)
    platform.logins = [login_refusal()]
    with pytest.raises(M2mLoginError):
        kind.fetch_session(auth)
    clock.advance(30 * MINUTE)
    platform.api = [Answer(200), session_refusal()]
    assert kind.get(auth, API, platform).status == 200
    assert kind.get(auth, API, platform).status == 400
    blocked(kind, auth, platform)
    assert platform.sessions == ["session-1"] * 3
    assert len(platform.login_calls) == 2


def test_rejected_bearer_is_renewed_all_the_same(kind: Kind, platform: Platform, auth: Any) -> None:
    kind.get(auth, API, platform)
    platform.logins = [login_refusal()]
    with pytest.raises(M2mLoginError):
        kind.fetch_session(auth)
    platform.api = [refusal()]
    assert kind.get(auth, API, platform).status == 200
    assert platform.bearers[-1] == "token-2"


def test_requests_that_need_no_session_are_left_alone(
    kind: Kind, platform: Platform, auth: Any
) -> None:
    platform.logins = [login_refusal()]
    assert str(fails(kind, auth, platform).request.url) == API
    for url in ("https://5gedge.verizon.com/api/mec/eds", "https://elsewhere.example/"):
        assert kind.get(auth, url, platform).status == 200
    assert platform.trail == ["token", "login", "api", "api"]
