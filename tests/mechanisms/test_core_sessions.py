"""The figures of ``_core/sessions.py``, to the second."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from ..support.kinds import Kind
from ..support.logins import credentials, fails
from ..support.memory_store import memory_store
from ..support.virtual import (
    API,
    Answer,
    Platform,
    VirtualClock,
    login_refusal,
    session_refusal,
)

IDLE = 1300


@pytest.fixture
def kind(sync_kind: Kind) -> Kind:
    return sync_kind


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Any:
    """The warnings since the last call."""

    def taken() -> list[str]:
        found = [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]
        caplog.clear()
        return found

    return taken


def idle_and_refused(kind: Kind, platform: Platform, clock: VirtualClock, auth: Any) -> None:
    """A session that is past its idle timeout, and no login is attempted."""
    assert kind.get(auth, API, platform).status == 200
    clock.advance(IDLE)
    platform.logins = [login_refusal()]
    fails(kind, auth, platform)


def test_going_on_with_an_idle_session_is_told_once_in_ten_seconds(
    kind: Kind, platform: Platform, clock: VirtualClock, warnings: Any
) -> None:
    auth = kind.auth(platform, m2m=credentials())
    idle_and_refused(kind, platform, clock, auth)
    warnings()
    told = []
    for pause in (0, 5, 5):
        clock.advance(pause)
        assert kind.get(auth, API, platform).status == 200
        told.append(len(warnings()))
    assert told == [1, 0, 1]
    assert platform.sessions == ["session-1"] * 4


def test_going_on_with_an_idle_session_does_not_make_it_new_for_others(
    kind: Kind, platform: Platform, clock: VirtualClock
) -> None:
    store = memory_store()
    auth = kind.auth(platform, m2m=credentials(), store=store)
    idle_and_refused(kind, platform, clock, auth)
    before = dict(store.entries)
    assert kind.get(auth, API, platform).status == 200
    assert store.entries == before


def test_login_by_hand_may_follow_one_of_unknown_outcome(
    kind: Kind, platform: Platform, clock: VirtualClock
) -> None:
    auth = kind.auth(platform, m2m=credentials())
    platform.logins = [Answer(400)]
    fails(kind, auth, platform)
    assert kind.fetch_session(auth) == "session-1"


@pytest.mark.parametrize(("idle_timeout", "seconds"), [(1200, 60), (100, 25)])
def test_use_is_written_once_a_minute_and_four_times_in_an_idle_timeout(
    kind: Kind, platform: Platform, clock: VirtualClock, idle_timeout: int, seconds: int
) -> None:
    store = memory_store()
    auth = kind.auth(platform, m2m=credentials(idle_timeout=idle_timeout), store=store)
    assert kind.get(auth, API, platform).status == 200
    before = dict(store.entries)
    clock.advance(seconds - 0.5)
    kind.get(auth, API, platform)
    assert store.entries == before
    clock.advance(0.5)
    kind.get(auth, API, platform)
    assert store.entries != before


def test_sessions_are_replaced_three_times_in_sixty_seconds(
    kind: Kind, platform: Platform, clock: VirtualClock, warnings: Any
) -> None:
    auth = kind.auth(platform, m2m=credentials())
    platform.api = [Answer(200), *[answer for _ in range(3) for answer in refused_and_repeated()]]
    assert [kind.get(auth, API, platform).status for _ in range(4)] == [200] * 4
    assert (len(platform.login_calls), warnings()) == (4, [])
    clock.advance(59.5)
    platform.api = [session_refusal()]
    assert kind.get(auth, API, platform).status == 400
    assert len(platform.login_calls) == 4
    (told,) = warnings()
    assert "another process may be ending them" in told.lower()
    clock.advance(0.5)
    platform.api = refused_and_repeated()
    assert kind.get(auth, API, platform).status == 200
    assert len(platform.login_calls) == 5


def refused_and_repeated() -> list[Answer]:
    return [session_refusal(), Answer(200)]


@pytest.mark.parametrize(("age", "logins"), [(599.5, 2), (600, 3)])
def test_session_that_came_of_a_suspicion_is_trusted_for_ten_minutes(
    kind: Kind, platform: Platform, clock: VirtualClock, age: float, logins: int
) -> None:
    auth = kind.auth(platform, m2m=credentials())
    assert kind.get(auth, API, platform).status == 200
    for pause in (120, age):
        clock.advance(pause)
        platform.api = [Answer(403, {"error": "no"})]
        kind.get(auth, API, platform)
    assert len(platform.login_calls) == logins
