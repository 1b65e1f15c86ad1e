"""Part 3, rules 4 and 6: a session's idle time is that of its latest use by any process."""

from __future__ import annotations

from typing import Callable

import pytest

from ..support.virtual import session_refusal
from .conftest import Processes, account, names_of

MINUTE = 60


def test_session_that_another_process_uses_is_not_idle(processes: Processes) -> None:
    busy, idle = processes.new(), processes.new()
    processes.get(idle)
    for _ in range(16):
        processes.get(busy)
        processes.clock.advance(100)
    processes.get(idle)
    processes.get(processes.new())
    assert len(processes.platform.login_calls) == 1
    processes.clock.advance(1200)
    processes.get(idle)
    assert len(processes.platform.login_calls) == 2


@pytest.mark.parametrize("count", [1, 3])
def test_use_is_written_at_most_once_a_minute_by_all_together(
    on_disk: Processes, count: int
) -> None:
    auths = [on_disk.new() for _ in range(count)]
    for auth in auths:
        on_disk.get(auth)
    on_disk.disk.events.clear()
    for _ in range(24):
        for auth in auths:
            on_disk.get(auth)
        on_disk.clock.advance(10)
    assert set(on_disk.disk.written()) == {names_of(auths[0])["session"]}
    assert 3 <= len(on_disk.disk.written()) <= 4
    assert len(on_disk.platform.login_calls) == 1


def test_use_of_another_session_than_that_of_the_entry_is_not_written(on_disk: Processes) -> None:
    on_disk.get(on_disk.new())
    on_disk.clock.advance(1201)
    auth = on_disk.new(m2m=account(vz_m2m_token="given"))
    before = dict(on_disk.disk.entries)
    for _ in range(2):
        on_disk.get(auth)
        on_disk.clock.advance(61)
    assert on_disk.platform.sessions[-2:] == ["given"] * 2
    assert on_disk.disk.entries == before


def test_use_within_the_minute_after_a_write_is_use(processes: Processes) -> None:
    auth = processes.new()
    for pause in (40, 1180, 0):
        processes.get(auth)
        processes.clock.advance(pause)
    assert len(processes.platform.login_calls) == 1


@pytest.mark.parametrize(("idle_timeout", "pause"), [(60, 5), (90, 50), (4, 2)])
def test_short_idle_timeout_is_looked_after_more_often(
    on_disk: Processes, idle_timeout: float, pause: float
) -> None:
    m2m = account(idle_timeout=idle_timeout)
    busy, idle = on_disk.new(m2m=m2m), on_disk.new(m2m=m2m)
    on_disk.get(idle)
    for _ in range(round(2 * idle_timeout / pause) + 1):
        on_disk.get(busy)
        on_disk.clock.advance(pause)
    on_disk.get(idle)
    assert len(on_disk.platform.login_calls) == 1


def test_session_in_hand_is_used_although_its_entry_is_gone_and_not_stored_again(
    on_disk: Processes,
) -> None:
    """Whoever cleared the store wanted that, and whoever needs a session logs in."""
    auth = on_disk.new()
    on_disk.get(auth)
    on_disk.disk.entries.clear()
    for _ in range(3):
        on_disk.clock.advance(MINUTE + 1)
        on_disk.get(auth)
    assert on_disk.disk.entries == {}
    assert on_disk.platform.sessions == ["session-1"] * 4


def test_use_is_not_written_over_the_session_of_another_process(on_disk: Processes) -> None:
    first, second = on_disk.new(), on_disk.new()
    on_disk.get(first)
    on_disk.platform.api = [session_refusal()]
    on_disk.get(second)
    on_disk.clock.advance(MINUTE + 1)
    on_disk.get(first)
    assert on_disk.platform.sessions == ["session-1", "session-1", "session-2", "session-2"]
    assert len(on_disk.platform.login_calls) == 2


def test_no_lock_is_taken_to_write_a_use(on_disk: Processes) -> None:
    auth = on_disk.new()
    on_disk.get(auth)
    for _ in range(3):
        on_disk.clock.advance(MINUTE + 1)
        on_disk.disk.events.clear()
        on_disk.get(auth)
        session = names_of(auth)["session"]
        assert on_disk.disk.events == [("read", session), ("write", session)]


def test_write_of_a_use_that_fails_is_a_warning_and_the_session_lives_on(
    on_disk: Processes, told: Callable[[], list[str]]
) -> None:
    auth = on_disk.new()
    on_disk.get(auth)
    on_disk.disk.broken = {"write"}
    for _ in range(25):
        on_disk.clock.advance(MINUTE)
        assert on_disk.get(auth) == 200
    assert on_disk.platform.trail.count("login") == 1
    assert 20 <= len(told()) <= 30


def test_session_that_was_used_while_another_waited_for_the_lock_is_taken(
    on_disk: Processes,
) -> None:
    """Its entry then says since when it is in use, which is longer ago than is to be written."""
    overtakers = [on_disk.new()]

    def overtake(name: str) -> None:
        while overtakers:
            assert on_disk.get(overtakers.pop()) == 200
            on_disk.clock.advance(MINUTE + 1)

    on_disk.disk.on_lock = overtake
    assert on_disk.get(on_disk.new()) == 200
    assert on_disk.platform.sessions == ["session-1"] * 2
    assert len(on_disk.platform.login_calls) == 1
