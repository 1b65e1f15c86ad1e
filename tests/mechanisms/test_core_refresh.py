"""The modules ``_core/refresh`` and ``_core/callbacks``: a refresh, and who waits for it."""

from __future__ import annotations

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


def test_who_led_gets_the_failure_itself_and_who_waited_a_copy() -> None:
    leader, waiter, failed = Caller(NEVER), Caller(NEVER), Failed(LookupError("row"))
    one = begun(caller=leader)
    with pytest.raises(Failed) as caught:
        leader.take(one, failed)
    assert caught.value is failed
    with pytest.raises(Failed) as caught:
        waiter.take(one, failed)
    other = caught.value.error
    assert other is not failed.error
    assert (type(other), other.args) == (LookupError, ("row",))


def test_failure_ahead_of_expiry_and_no_outcome_are_looked_behind_and_counted() -> None:
    caller = Caller(NEVER)
    assert caller.take(begun(is_early=True), Failed(LookupError())) is None
    assert caller.take(begun(), None) is None
    assert caller.refreshes == 2
    assert caller.take(begun(), TOKEN) is TOKEN


def test_failure_of_a_refresh_that_had_less_time_is_not_shared() -> None:
    """A login's access token has to come in time for it; others have all their attempts."""
    hurried, patient, failure = Caller(10.0), Caller(240.0), Failed(LookupError())
    one = begun(caller=hurried)
    one.is_curtailed = True
    assert patient.take(one, failure) is None
    with pytest.raises(Failed):
        hurried.take(one, failure)
    one.is_curtailed = False
    with pytest.raises(Failed):
        patient.take(one, failure)


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


def test_signal_handler_may_make_a_request_in_the_middle_of_an_assignment() -> None:
    flight = SingleFlight()
    with flight.lock:
        assert flight.lock.acquire(blocking=False)
        flight.lock.release()


# Waiting.


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
    for _ in range(3):
        threads.start(one.wait, NEVER, Clock())
    threads.start(Clock().wait, one.future, NEVER)
    flight.finish(one, TOKEN)
    assert threads.join() == [None] * 4
    assert one.outcome is TOKEN


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


@pytest.mark.parametrize("error", [LookupError("row"), KeyboardInterrupt()])
def test_error_of_a_callback_is_told_from_what_interrupts_it(error: BaseException) -> None:
    """Neither leaves a mark."""

    def callback() -> None:
        raise error

    expected = CallbackRaised if isinstance(error, Exception) else KeyboardInterrupt
    with pytest.raises(expected) as caught:
        call_back("the_callback", callback, (), None, begun("mine"))
    assert getattr(caught.value, "error", caught.value) is error
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
