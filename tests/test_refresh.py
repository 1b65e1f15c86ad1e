"""The refresh that everyone waits for, and who leads it."""

from __future__ import annotations

import copy
import os
import pickle
import threading
import time
from typing import Any

import pytest

from thingspace_auth_adapters._core import single_flight
from thingspace_auth_adapters._core.cached_token import CachedToken
from thingspace_auth_adapters._core.effects import (
    Clock,
    SyncIO,
    Wait,
    calling_back,
    run,
    waiting_refresh,
)
from thingspace_auth_adapters._core.single_flight import (
    ABANDONED,
    Failed,
    Refresh,
    SingleFlight,
    Succeeded,
)

from .kinds import Kind
from .optional import anyio
from .real import PATIENCE, Threads
from .test_units import Nothing
from .virtual import VirtualClock

TOKEN = Succeeded(CachedToken("the-token", "Bearer the-token"))
SHORT = 0.05


def refresh(owner: object = None, seconds: float = PATIENCE) -> Refresh:
    return Refresh(owner, time.monotonic() + seconds)


def wait(one: Refresh, clock: Clock | None = None) -> None:
    """Wait as a synchronous caller does."""

    def steps() -> Any:
        yield Wait(one)

    run(steps(), SyncIO(Nothing, clock or Clock()))


async def await_(one: Refresh) -> None:
    """Wait as an asynchronous caller does."""
    from thingspace_auth_adapters._core.async_driver import AsyncIO

    class Nowhere:
        asend = aread_body = None

    await AsyncIO(Nowhere, Clock()).wait(one)


# The outcome.


def test_only_the_first_outcome_counts() -> None:
    one = refresh()
    assert one.outcome is None
    one.settle(TOKEN)
    one.settle(ABANDONED)
    assert one.outcome is TOKEN


def test_everyone_is_woken_once_also_who_comes_late() -> None:
    one, woken = refresh(), []
    one.when_settled(lambda: woken.append("early"))
    one.settle(TOKEN)
    one.settle(ABANDONED)
    one.when_settled(lambda: woken.append("late"))
    assert woken == ["early", "late"]


def test_waiter_that_cannot_be_woken_stops_nobody() -> None:
    def closed() -> None:
        raise RuntimeError("Event loop is closed")

    one, woken = refresh(), threading.Event()
    one.when_settled(closed)
    one.when_settled(woken.set)
    one.settle(TOKEN)
    assert woken.is_set()


def test_failure_is_another_exception_for_everyone() -> None:
    failed = Failed(LookupError("row", 7))
    other = failed.for_another()
    assert other is not failed
    assert other.error is not failed.error
    assert (type(other.error), other.error.args) == (LookupError, ("row", 7))


def test_each_change_of_the_commitment_is_told_at_once() -> None:
    one, told = refresh(), []
    one.on_commitment = lambda is_committed: told.append((is_committed, one.is_committed))
    one.commit()
    one.commit(is_committed=False)
    assert told == [(True, True), (False, False)]


# Who leads.


def test_second_joins_the_first_until_that_is_settled() -> None:
    flight = SingleFlight()
    first, second, third = refresh(), refresh(), refresh()
    assert flight.join_or_start(first) is first
    assert flight.join_or_start(second) is first
    first.settle(ABANDONED)
    assert flight.join_or_start(third) is third


def test_finished_refresh_is_settled_and_not_joined() -> None:
    flight, first, second = SingleFlight(), refresh(), refresh()
    flight.join_or_start(first)
    flight.finish(first, TOKEN)
    assert first.outcome is TOKEN
    assert flight.join_or_start(second) is second


def test_leader_that_was_given_up_does_not_end_its_successor() -> None:
    flight, first, second = SingleFlight(), refresh(), refresh()
    flight.join_or_start(first)
    first.settle(ABANDONED)
    flight.join_or_start(second)
    flight.finish(first, TOKEN)
    assert (first.outcome, second.outcome) == (ABANDONED, None)
    assert flight.join_or_start(refresh()) is second


def test_refresh_of_the_parent_process_is_not_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    flight, parents = SingleFlight(), refresh()
    flight.join_or_start(parents)
    pid = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: pid + 1)
    childs_own = refresh()
    assert flight.join_or_start(childs_own) is childs_own


def test_lock_that_was_held_during_a_fork_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    flight, pid = SingleFlight(), os.getpid()
    with flight.lock:
        monkeypatch.setattr(os, "getpid", lambda: pid + 1)
        assert flight.lock.acquire(blocking=False)


def test_lock_that_was_never_released_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its holder was interrupted on the way out of the few assignments that it guards."""
    monkeypatch.setattr(single_flight, "LOCK_PATIENCE_SECONDS", 0.01)
    flight = SingleFlight()
    flight.lock.acquire()
    mine = refresh()
    assert flight.join_or_start(mine) is mine


def test_waiting_raises_nothing_of_its_own() -> None:
    """So a time limit of the caller's that is a TimeoutError is never taken for one of ours."""
    refresh().wait(0.0)


@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))]
)
def test_copies_and_pickles_have_nothing_under_way(duplicate: Any) -> None:
    flight = SingleFlight()
    flight.join_or_start(refresh())
    mine = refresh()
    with flight.lock:
        assert duplicate(flight).join_or_start(mine) is mine


# Waiting.


def test_thread_waits_for_the_outcome() -> None:
    one, threads = refresh(), Threads()
    one.thread = 0
    for _ in range(3):
        threads.start(wait, one)
    one.settle(TOKEN)
    assert threads.join() == [None] * 3
    assert one.outcome is TOKEN


def test_task_waits_for_an_outcome_that_another_thread_brings(async_kind: Kind) -> None:
    one, threads = refresh(), Threads()

    async def scenario() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(await_, one)
            await anyio.sleep(0)
            threads.start(one.settle, TOKEN)

    async_kind.run(scenario)
    threads.join()
    assert one.outcome is TOKEN


def test_leader_that_never_settles_is_given_up_at_the_deadline() -> None:
    one = refresh(seconds=SHORT)
    one.thread = 0
    wait(one)
    assert one.outcome is ABANDONED


def test_leader_that_never_settles_is_given_up_by_tasks_too(async_kind: Kind) -> None:
    one = refresh(seconds=SHORT)
    async_kind.run(await_, one)
    assert one.outcome is ABANDONED


def test_leader_that_is_overdue_is_not_waited_for(async_kind: Kind) -> None:
    for waiting in (wait, lambda one: async_kind.run(await_, one)):
        one = refresh(seconds=-1)
        one.thread = 0
        waiting(one)
        assert one.outcome is ABANDONED


def test_outcome_that_came_before_the_deadline_was_noticed_stands() -> None:
    one = refresh(seconds=-1)
    one.thread = 0
    one.settle(TOKEN)
    wait(one)
    assert one.outcome is TOKEN


def test_deadline_may_be_put_off_without_end(async_kind: Kind) -> None:
    """A provider may take its time; the wait must not be too long for the machine's timers."""
    for waiting in (wait, lambda one: async_kind.run(await_, one)):
        one, threads = refresh(seconds=float("inf")), Threads()
        one.thread = 0
        threads.start(waiting, one)
        one.settle(TOKEN)
        assert threads.join() == [None]


def test_leader_that_is_suspended_beneath_its_own_waiter_is_given_up_at_once() -> None:
    """It cannot go on before the waiter does."""
    one = refresh()
    wait(one, VirtualClock())
    assert one.outcome is ABANDONED


def test_greenlets_poll_because_a_lock_would_stop_their_leader(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one, naps = refresh(), []

    def patched_sleep(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 3:
            one.settle(TOKEN)

    monkeypatch.setattr(time, "sleep", patched_sleep)
    wait(one)
    assert (one.outcome, len(naps)) == (TOKEN, 3)


def test_greenlets_give_up_a_leader_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = VirtualClock()
    one = Refresh(None, clock.steady + 10)
    monkeypatch.setattr(time, "sleep", lambda seconds: clock.advance(1))
    wait(one, clock)
    assert one.outcome is ABANDONED
    assert clock.steady == one.ends_at


def test_waiter_whose_loop_was_closed_is_not_woken(async_kind: Kind) -> None:
    one = refresh()

    async def give_up() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(await_, one)
            await anyio.sleep(0)
            group.cancel_scope.cancel()

    async_kind.run(give_up)
    one.settle(TOKEN)
    assert one.outcome is TOKEN


# Who waits for the code that is running now.


def test_callback_knows_the_refresh_that_waits_for_it() -> None:
    mine, anothers_own = refresh("mine"), refresh("another's")
    with calling_back(mine), calling_back(anothers_own), calling_back(None):
        assert waiting_refresh("mine") is mine
        assert waiting_refresh("another's") is anothers_own
        assert waiting_refresh("nobody's") is None
    assert waiting_refresh("mine") is None


def test_settled_refresh_waits_for_nobody() -> None:
    mine = refresh("mine")
    with calling_back(mine):
        mine.settle(ABANDONED)
        assert waiting_refresh("mine") is None


def test_refresh_shows_no_token() -> None:
    one = refresh()
    one.rejected = ("Bearer the-token",)
    one.settle(TOKEN)
    assert "the-token" not in repr(one) + repr(one.outcome)
