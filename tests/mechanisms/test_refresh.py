"""The refresh that everyone waits for: its outcome, who leads it, and how it is waited for."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import Future
from typing import Any

import pytest

from thingspace_auth_adapters import ReentrantRequestError
from thingspace_auth_adapters._core import refresh as refresh_module
from thingspace_auth_adapters._core.cached_token import CachedToken
from thingspace_auth_adapters._core.callbacks import CallbackRaised, call_back, waiting_refresh
from thingspace_auth_adapters._core.clock import Clock
from thingspace_auth_adapters._core.refresh import Caller, Failed, Limits, Refresh, SingleFlight

from ..support.real import PATIENCE, Threads
from ..support.virtual import VirtualClock

TOKEN = CachedToken("the-token", "Bearer the-token")
NEVER = float("inf")


def begun(owner: object = None, is_early: bool = False, caller: Caller | None = None) -> Refresh:
    return Refresh(caller or Caller(NEVER), owner, Limits(NEVER, NEVER, 4), is_early=is_early)


def under_way(flight: SingleFlight) -> Refresh:
    """A refresh that somebody leads."""
    flight.refresh = begun()
    return flight.refresh


def soon() -> float:
    return time.monotonic() + PATIENCE


# The outcome.


def test_only_the_first_outcome_counts() -> None:
    flight = SingleFlight()
    one = under_way(flight)
    assert one.outcome is None
    flight.finish(one, TOKEN)
    flight.finish(one, None)
    assert one.outcome is TOKEN


def test_failure_is_another_exception_for_everyone() -> None:
    failed = Failed(LookupError("row", 7))
    other = failed.for_another()
    assert other is not failed
    assert other.error is not failed.error
    assert (type(other.error), other.error.args) == (LookupError, ("row", 7))


def test_who_led_gets_the_failure_itself_and_who_waited_a_copy() -> None:
    leader, waiter, failed = Caller(NEVER), Caller(NEVER), Failed(LookupError("row"))
    one = begun(caller=leader)
    with pytest.raises(Failed) as caught:
        leader.take(one, failed)
    assert caught.value is failed
    with pytest.raises(Failed) as caught:
        waiter.take(one, failed)
    assert caught.value is not failed
    assert caught.value.error is not failed.error


def test_failure_ahead_of_expiry_and_no_outcome_are_looked_behind_and_counted() -> None:
    caller = Caller(NEVER)
    assert caller.take(begun(is_early=True), Failed(LookupError())) is None
    assert caller.take(begun(), None) is None
    assert caller.refreshes == 2
    assert caller.take(begun(), TOKEN) is TOKEN


# Who leads.


def test_it_is_under_way_until_it_is_finished() -> None:
    flight = SingleFlight()
    seen = [flight.under_way]
    one = under_way(flight)
    seen.append(flight.under_way)
    flight.finish(one, None)
    seen.append(flight.under_way)
    assert seen == [None, one, None]


def test_leader_that_was_given_up_does_not_end_its_successor() -> None:
    flight = SingleFlight()
    first = under_way(flight)
    flight.finish(first, None)
    second = under_way(flight)
    flight.finish(first, TOKEN)
    assert (first.outcome, second.outcome) == (None, None)
    assert flight.under_way is second


class Untouchable:
    """What another thread may have held when the process was forked."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"the child touched {name}")


def test_child_asks_for_its_process_before_it_touches_the_parents_future(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    flight, pid = SingleFlight(), os.getpid()
    parents: Any = under_way(flight)
    parents.future = Untouchable()
    monkeypatch.setattr(os, "getpid", lambda: pid + 1)
    assert flight.under_way is None


def test_child_has_a_lock_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    flight, pid, threads = SingleFlight(), os.getpid(), Threads()
    with flight.lock:
        threads.start(flight.lock.acquire, False)
        assert threads.join() == [False]
        monkeypatch.setattr(os, "getpid", lambda: pid + 1)
        threads.start(flight.lock.acquire, False)
        assert threads.join() == [False, True]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_child_of_a_process_that_is_in_the_middle_of_everything_begins_anew() -> None:
    flight, threads = SingleFlight(), Threads()
    parents, may_end, is_held = under_way(flight), threading.Event(), threading.Event()

    def hold() -> None:
        with flight.lock, parents.future._condition:
            is_held.set()
            may_end.wait(PATIENCE)

    threads.start(hold)
    assert is_held.wait(PATIENCE)
    child = os.fork()
    if child == 0:
        # If it waits for what only the parent's thread could release, the alarm ends it.
        import signal

        signal.alarm(int(PATIENCE))
        with flight.lock:
            os._exit(0 if flight.under_way is None else 1)
    _, status = os.waitpid(child, 0)
    may_end.set()
    threads.join()
    assert status == 0


def test_signal_handler_may_make_a_request_in_the_middle_of_an_assignment() -> None:
    flight = SingleFlight()
    with flight.lock:
        assert flight.lock.acquire(blocking=False)
        flight.lock.release()


# Waiting.


def test_threads_wait_for_the_outcome() -> None:
    flight, threads = SingleFlight(), Threads()
    one = under_way(flight)
    for _ in range(3):
        threads.start(one.wait, soon(), Clock())
    flight.finish(one, TOKEN)
    assert threads.join() == [None] * 3
    assert one.outcome is TOKEN


def test_waiting_ends_at_the_deadline_raises_nothing_and_settles_nothing() -> None:
    """So a time limit of the caller's that is a TimeoutError is never taken for one of ours."""
    for seconds in (-1, 0, 0.01):
        one = begun()
        one.wait(time.monotonic() + seconds, Clock())
        assert not one.future.done()


def test_deadline_may_be_infinite() -> None:
    """The wait must not be too long for the machine's timers."""
    flight, threads = SingleFlight(), Threads()
    one = under_way(flight)
    threads.start(one.wait, NEVER, Clock())
    threads.start(Clock().wait, one.future, NEVER)
    flight.finish(one, TOKEN)
    assert threads.join() == [None, None]


def test_thread_without_which_the_leader_cannot_go_on_gets_an_error() -> None:
    one = begun()
    one.thread = threading.get_ident()
    with pytest.raises(ReentrantRequestError, match="only this thread"):
        one.wait(soon(), Clock())


def test_it_is_noticed_too_if_the_leader_comes_to_need_it_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(refresh_module, "WATCH_SECONDS", 0.001)
    one, threads, idents = begun(), Threads(), []

    class Told(Clock):
        def wait(self, future: Future[Any], seconds: float) -> None:
            idents.append(threading.get_ident())
            super().wait(future, seconds)
            one.thread = idents[-1]

    threads.start(one.wait, soon(), Told())
    (error,) = threads.join()
    assert isinstance(error, ReentrantRequestError)
    assert len(idents) == 1


def test_its_own_outcome_is_no_reentrancy() -> None:
    flight = SingleFlight()
    one = under_way(flight)
    one.thread = threading.get_ident()
    flight.finish(one, TOKEN)
    one.wait(soon(), Clock())


def test_greenlets_poll_because_a_lock_would_stop_their_leader(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    flight, naps = SingleFlight(), []
    one = under_way(flight)
    # The leader may be another greenlet of the same thread.
    one.thread = threading.get_ident()

    def patched_sleep(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 3:
            flight.finish(one, TOKEN)

    monkeypatch.setattr(time, "sleep", patched_sleep)
    one.wait(soon(), Clock())
    assert (one.outcome, len(naps)) == (TOKEN, 3)


def test_greenlets_wait_no_longer_than_until_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = VirtualClock()
    monkeypatch.setattr(time, "sleep", lambda seconds: clock.advance(1))
    until = clock.steady + 10
    begun().wait(until, clock)
    assert clock.steady == until


# Who waits for the code that is running now.


def test_callback_knows_the_refresh_that_waits_for_it() -> None:
    mine, anothers_own = begun("mine"), begun("another's")

    def innermost() -> list[Refresh | None]:
        return [waiting_refresh(owner) for owner in ("mine", "another's", "nobody's")]

    def inner() -> Any:
        return call_back(
            "inner", lambda: call_back("", innermost, (), None), (), None, anothers_own
        )

    assert call_back("outer", inner, (), None, mine) == [mine, anothers_own, None]
    assert waiting_refresh("mine") is None


def test_callback_that_raised_leaves_no_mark() -> None:
    with pytest.raises(CallbackRaised):
        call_back("it", {}.__getitem__, ("key",), None, begun("mine"))
    assert waiting_refresh("mine") is None


def test_settled_refresh_waits_for_nobody() -> None:
    flight, mine = SingleFlight(), begun("mine")

    def inside() -> Any:
        flight.finish(mine, None)
        return waiting_refresh("mine")

    assert call_back("it", inside, (), None, mine) is None


def test_refresh_shows_no_token() -> None:
    one = Refresh(Caller(NEVER), None, Limits(1, 2, 3), TOKEN, rejected=("Bearer the-token",))
    SingleFlight().finish(one, TOKEN)
    assert "the-token" not in repr(one) + repr(one.outcome) + repr(one.future)
