"""The small parts, where the contract's suite would only show them from afar."""

from __future__ import annotations

import asyncio
import pickle
import sys
import threading
from typing import Any

import pytest

from thingspace_auth_adapters import (
    InsecureTransportError,
    InvalidTokenResponseError,
    OauthProviderError,
    ReentrantRequestError,
    ThingspaceAuthError,
)
from thingspace_auth_adapters.clock import OVER, Clock, Term
from thingspace_auth_adapters.credentials import checked_settings
from thingspace_auth_adapters.effects import Call, Pause, SyncIO, run
from thingspace_auth_adapters.exchange import Budget, RetryPolicy
from thingspace_auth_adapters.flight import (
    Abandoned,
    Departure,
    Flight,
    Landed,
    SingleFlight,
    calling_back,
    flights_around,
    twin,
)
from thingspace_auth_adapters.lifecycle import Lease
from thingspace_auth_adapters.manager import Rejection

from .kinds import IDENTITY, INSTALLED, Kind
from .virtual import VirtualClock

# Errors.


@pytest.mark.parametrize(
    "error_type",
    [
        OauthProviderError,
        InvalidTokenResponseError,
        InsecureTransportError,
        ReentrantRequestError,
    ],
)
def test_errors_are_ours_the_librarys_and_pickle(error_type: type[ThingspaceAuthError]) -> None:
    for kind in INSTALLED:
        native = getattr(kind.adapter, error_type.__name__)
        error = native("what went wrong")
        assert isinstance(error, (error_type, ThingspaceAuthError))
        assert isinstance(error, kind.request_error)
        revived = pickle.loads(pickle.dumps(error))
        assert type(revived) is native
        assert str(revived) == "what went wrong"


def test_provider_error_keeps_its_fields_when_pickled() -> None:
    error = OauthProviderError("x", status_code=400, error="e", error_description="d")
    revived = pickle.loads(pickle.dumps(error))
    assert vars(revived) == vars(error)


class Doubling(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(f"code {code}")
        self.code = code


class NewNeedsTwo(Exception):
    def __new__(cls, first: object, second: object) -> NewNeedsTwo:
        return super().__new__(cls, first)

    def __init__(self, first: object, second: object) -> None:
        super().__init__(first)


@pytest.mark.parametrize(
    "error", [ValueError("a", 1), OSError(2, "No such file"), Doubling(7), KeyError("k")]
)
def test_twin_is_equal_but_another(error: Exception) -> None:
    other = twin(error)
    assert other is not error
    assert type(other) is type(error)
    assert (other.args, str(other), vars(other)) == (error.args, str(error), vars(error))


def test_exception_that_cannot_be_copied_is_shared_after_all() -> None:
    error = NewNeedsTwo(1, 2)
    assert twin(error) is error


# Time.


def test_clock_is_the_machines() -> None:
    clock = Clock()
    before = clock.monotonic()
    clock.sleep(0)
    assert clock.monotonic() >= before
    assert clock.time() > 1_700_000_000


def test_clock_sleeps_on_every_loop(async_kind: Kind) -> None:
    async_kind.run(Clock().asleep, 0.001)


def test_term_ends_as_soon_as_either_clock_says_so() -> None:
    clock = VirtualClock()
    term = Term(clock.time() + 10, clock.monotonic() + 10)
    assert not term.has_ended(clock)
    assert term.earlier(10).has_ended(clock)
    clock.wall += 10
    assert term.has_ended(clock)
    clock.wall -= 100
    assert not term.has_ended(clock)
    clock.steady += 10
    assert term.has_ended(clock)
    assert not Term().has_ended(clock)
    assert OVER.has_ended(clock)


def test_monotonic_reading_is_not_pickled() -> None:
    assert pickle.loads(pickle.dumps(Term(5.0, 7.0))) == Term(5.0)


def test_budget_grows_its_pauses_within_its_deadline() -> None:
    clock = VirtualClock()
    budget = RetryPolicy(attempts=9, jitter=lambda: 1.0).budget(clock)
    pauses = []
    for _ in range(5):
        budget.spend()
        assert budget.postpone(None)
        pauses.append(budget.pause_left())
        clock.advance(budget.pause_left())
    assert pauses == [0.5, 1, 2, 4, 8]
    budget.spend()
    assert budget.postpone(20)
    clock.advance(20)
    assert not budget.postpone(30)
    assert not budget.is_exhausted
    clock.advance(60)
    assert budget.is_exhausted


def test_default_jitter_stays_between_half_and_whole() -> None:
    jitter = RetryPolicy().jitter
    assert all(0.5 <= jitter() <= 1.0 for _ in range(100))


def test_single_attempt_is_one() -> None:
    budget = RetryPolicy().single_attempt(VirtualClock())
    budget.spend()
    assert budget.is_exhausted
    assert not budget.postpone(None)


# Flights.


def flight(owner: object = None) -> Flight[Any]:
    budget: Budget = RetryPolicy().budget(VirtualClock())
    return Flight(owner, budget, False, Departure(0, ("the-token",)))


def test_only_the_first_outcome_counts() -> None:
    one = flight()
    woken: list[int] = []
    one.when_settled(lambda: woken.append(1))
    one.settle(Landed(1))
    one.settle(Abandoned())
    one.when_settled(lambda: woken.append(2))
    assert one.outcome == Landed(1)
    assert woken == [1, 2]


def test_waiter_that_cannot_be_woken_stops_nobody() -> None:
    def closed() -> None:
        raise RuntimeError("Event loop is closed")

    one, woken = flight(), threading.Event()
    one.when_settled(closed)
    one.when_settled(woken.set)
    one.settle(Landed(1))
    assert woken.is_set()


def test_second_to_board_follows_until_the_flight_is_settled() -> None:
    flights: SingleFlight[Any] = SingleFlight()
    first, second, third = flight(), flight(), flight()
    assert flights.board(first) == (first, True)
    assert flights.board(second) == (first, False)
    first.settle(Abandoned())
    assert flights.board(third) == (third, True)
    assert pickle.loads(pickle.dumps(flights)).board(second)[1]


def test_nothing_on_the_way_shows_a_token() -> None:
    lease = Lease("the-token", "the-token", "Bearer the-token", Term(), Term())
    shown = repr(lease) + repr(Landed(lease)) + repr(flight().departure)
    shown += repr(Call(print, ("the-token",), "name"))
    settings = checked_settings(None, IDENTITY, "https://thingspace.verizon.com", None, 30.0)
    assert IDENTITY["oauth_client_secret"] not in repr(settings)
    shown += repr(Rejection(401, {"x": "the-token"}, b"the-token", "GET"))
    assert "the-token" not in shown


def test_flight_needs_no_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "asyncio")
    one = flight()
    one.abandon_if_stranded()
    assert one.outcome is None


def test_settled_flights_hold_nobody_up() -> None:
    under_way, settled = flight(), flight()
    settled.settle(Abandoned())
    with calling_back(None, (settled, under_way)):
        assert list(flights_around()) == [under_way]
    assert list(flights_around()) == []


# Event loops.


def test_running_loop_is_noticed_with_trio_imported_or_not(
    async_kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    from thingspace_auth_adapters.async_driver import is_on_event_loop

    async def ask() -> bool:
        return is_on_event_loop()

    assert async_kind.run(ask)
    assert not is_on_event_loop()
    monkeypatch.delitem(sys.modules, "trio", raising=False)
    assert not is_on_event_loop()
    if async_kind.backend == "asyncio":
        assert asyncio.run(ask())


# The driver.


def test_what_an_effect_raises_is_raised_in_the_steps() -> None:
    class Failing(SyncIO):
        def __init__(self) -> None:
            self.pause = self.fail

        def fail(self, seconds: float) -> None:
            raise KeyboardInterrupt

    seen = []

    def steps() -> Any:
        try:
            yield Pause(1)
        except KeyboardInterrupt as error:
            seen.append(error)
        return "done"

    assert run(steps(), Failing()) == "done"
    assert len(seen) == 1
