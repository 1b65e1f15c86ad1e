"""The lifecycle, step by step, in orders of events that only a race brings about."""

from __future__ import annotations

from typing import Any

import pytest

from thingspace_auth_adapters import OauthProviderError
from thingspace_auth_adapters.access_tokens import AccessTokens
from thingspace_auth_adapters.credentials import checked_settings
from thingspace_auth_adapters.effects import (
    CallersOwnFailure,
    HttpAnswer,
    Pause,
    Send,
    Undelivered,
    Wait,
)
from thingspace_auth_adapters.exchange import RetryPolicy
from thingspace_auth_adapters.flight import SingleFlight
from thingspace_auth_adapters.lifecycle import Lifecycle

from .kinds import IDENTITY
from .virtual import VirtualClock, token_answer


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def lifecycle(clock: VirtualClock) -> Any:
    fields = {**IDENTITY, "oauth_clock_skew": 10}
    checked = checked_settings(None, fields, "https://thingspace.verizon.com", None, 30.0)
    policy = RetryPolicy(jitter=lambda: 1.0)
    return Lifecycle(AccessTokens(checked, clock), None, clock, policy)


def answer(name: str, seconds: int = 100) -> HttpAnswer:
    return HttpAnswer(200, {}, token_answer(name, seconds).body)


def end(steps: Any, value: Any = None) -> Any:
    """What the steps return when they are sent ``value``."""
    with pytest.raises(StopIteration) as caught:
        steps.send(value)
    return caught.value.value


def acquired(lifecycle: Any, name: str, seconds: int = 100) -> Any:
    steps = lifecycle.acquire()
    next(steps)
    return end(steps, answer(name, seconds))


def test_token_rejected_while_its_repetition_was_under_way_is_asked_for_again(
    lifecycle: Any, clock: VirtualClock
) -> None:
    """The answer may be older than the rejection, so that it says nothing about it."""
    acquired(lifecycle, "a")
    clock.advance(90)
    refresh = lifecycle.acquire()
    assert isinstance(next(refresh), Send)
    rejection = lifecycle.replace("a")
    assert isinstance(next(rejection), Wait)
    assert isinstance(refresh.send(answer("a", 10)), Send)
    assert end(refresh, answer("b")).key == "b"
    assert end(rejection).key == "b"


def test_assignment_while_a_fetch_is_under_way_stands(lifecycle: Any) -> None:
    steps = lifecycle.acquire()
    next(steps)
    lifecycle.assign(lifecycle.kind.given({"access_token": "assigned"}, "test"))
    assert end(steps, answer("fetched")).key == "fetched"
    assert lifecycle.lease.key == "assigned"


def test_revocation_while_a_fetch_is_under_way_stands(lifecycle: Any, clock: VirtualClock) -> None:
    acquired(lifecycle, "a")
    clock.advance(90)
    refresh = lifecycle.acquire()
    next(refresh)
    lifecycle.revoked("a")
    assert isinstance(refresh.send(answer("a", 10)), Send)
    assert end(refresh, answer("b")).key == "b"


def test_revocation_of_a_token_that_is_no_longer_in_use_changes_nothing(lifecycle: Any) -> None:
    acquired(lifecycle, "a")
    lifecycle.revoked("old")
    assert lifecycle.lease.key == "a"


def test_token_that_landed_between_look_and_boarding_is_used(
    lifecycle: Any, clock: VirtualClock
) -> None:
    class Late(SingleFlight[Any]):
        def board(self, departing: Any) -> Any:
            lifecycle._flights = before
            acquired(lifecycle, "landed")
            return before.board(departing)

    before, lifecycle._flights = lifecycle._flights, Late()
    assert end(lifecycle.acquire()).key == "landed"


def test_lonely_caller_that_is_cut_near_the_deadline_gets_its_timeout(
    lifecycle: Any, clock: VirtualClock
) -> None:
    steps = lifecycle.acquire()
    next(steps)
    clock.advance(59.8)
    with pytest.raises(TimeoutError, match="cut"):
        steps.send(Undelivered(TimeoutError("cut"), True, is_callers_own=True))


def test_heir_has_the_attempts_and_the_deadline_that_are_left(
    lifecycle: Any, clock: VirtualClock
) -> None:
    first, second = lifecycle.acquire(), lifecycle.acquire()
    next(first)
    waiting = next(second)
    waiting.flight.when_settled(lambda: None)
    for _ in range(2):
        assert isinstance(first.send(HttpAnswer(503, {}, b"")), Pause)
        clock.advance(5)
        assert isinstance(first.send(None), Send)
    first.close()
    assert isinstance(second.send(None), Send)
    assert isinstance(second.send(HttpAnswer(503, {}, b"")), Pause)
    clock.advance(5)
    assert isinstance(second.send(None), Send)
    with pytest.raises(OauthProviderError):
        second.send(HttpAnswer(503, {}, b""))


def test_heir_honours_the_pause_that_the_server_asked_for(
    lifecycle: Any, clock: VirtualClock
) -> None:
    first, second = lifecycle.acquire(), lifecycle.acquire()
    next(first)
    next(second)
    assert first.send(HttpAnswer(429, {"retry-after": "9"}, b"")) == Pause(9.0)
    clock.advance(2)
    first.close()
    assert second.send(None) == Pause(7.0)


def test_newcomer_after_an_abandoned_flight_begins_afresh(
    lifecycle: Any, clock: VirtualClock
) -> None:
    first = lifecycle.acquire()
    next(first)
    clock.advance(59)
    first.close()
    clock.advance(100)
    second = lifecycle.acquire()
    next(second)
    assert isinstance(second.send(HttpAnswer(503, {}, b"")), Pause)


def test_call_is_given_no_more_time_than_the_deadline_leaves(
    lifecycle: Any, clock: VirtualClock
) -> None:
    steps = lifecycle.acquire()
    assert next(steps).request.timeout == 30
    clock.advance(40)
    steps.send(HttpAnswer(503, {}, b""))
    clock.advance(0.5)
    assert steps.send(None).request.timeout == pytest.approx(19.5)


def test_those_who_wait_for_a_refresh_whose_token_ran_out_try_in_earnest(
    lifecycle: Any, clock: VirtualClock
) -> None:
    acquired(lifecycle, "a")
    clock.advance(90)
    refresh = lifecycle.acquire()
    next(refresh)
    clock.advance(10)
    late = lifecycle.acquire()
    assert isinstance(next(late), Wait)
    # The refresher's single attempt fails, and its token has run out meanwhile: it leads again.
    assert isinstance(refresh.send(HttpAnswer(503, {}, b"")), Send)
    assert isinstance(late.send(None), Wait)
    assert isinstance(refresh.send(HttpAnswer(503, {}, b"")), Pause)


def test_only_so_many_rejections_are_remembered(lifecycle: Any) -> None:
    for number in range(100):
        lifecycle.revoked(f"token-{number}")
    assert len(lifecycle._rejected) < 10
    lifecycle.assign(lifecycle.kind.given({"access_token": "token-99"}, "test"))
    assert "token-99" not in lifecycle._rejected


def test_token_whose_announcement_was_cancelled_is_told_by_the_next_caller(
    lifecycle: Any,
) -> None:
    told: list[str] = []
    lifecycle.kind.on_update = lambda token: told.append(token.access_token)
    first = lifecycle.acquire()
    next(first)
    first.send(answer("a"))
    first.close()
    assert lifecycle.lease.key == "a"
    assert not lifecycle.ready
    second = lifecycle.acquire()
    next(second).begin()
    assert end(second).key == "a"
    assert told == ["a"]
    assert lifecycle.ready.key == "a"


def test_token_that_was_never_told_is_not_told_after_its_successor(
    lifecycle: Any, clock: VirtualClock
) -> None:
    told: list[str] = []
    lifecycle.kind.on_update = lambda token: told.append(token.access_token)
    first = lifecycle.acquire()
    next(first)
    first.send(answer("a"))
    first.close()
    clock.advance(100)
    second = lifecycle.acquire()
    next(second)
    second.send(answer("b")).begin()
    assert end(second).key == "b"
    assert told == ["b"]
    assert lifecycle.ready.key == "b"


def test_token_of_the_credentials_is_adopted_once(lifecycle: Any) -> None:
    lease = lifecycle.kind.given({"access_token": "a"}, "test")
    lifecycle.adopt(lease)
    lifecycle.assign(None)
    lifecycle.adopt(lifecycle.kind.given({"access_token": "a"}, "test"))
    assert lifecycle.lease is None
    lifecycle.adopt(None)
    lifecycle.adopt(lease)
    assert lifecycle.lease is lease


def test_cut_calls_are_not_counted_while_others_wait(lifecycle: Any, clock: VirtualClock) -> None:
    leader = lifecycle.acquire()
    next(leader)
    for _ in range(9):
        waiting = lifecycle.acquire()
        next(waiting).flight.when_settled(lambda: None)
        with pytest.raises(CallersOwnFailure):
            leader.send(Undelivered(TimeoutError("cut"), True, is_callers_own=True))
        leader = waiting
        assert isinstance(leader.send(None), Send)
    assert end(leader, answer("a")).key == "a"


def test_callers_own_failure_of_a_refresh_is_only_logged(
    lifecycle: Any, clock: VirtualClock
) -> None:
    acquired(lifecycle, "a")
    clock.advance(90)
    refresh = lifecycle.acquire()
    next(refresh)
    with pytest.raises(StopIteration) as caught:
        refresh.throw(CallersOwnFailure(TypeError("awaitable")))
    assert caught.value.value.key == "a"


def test_token_that_was_superseded_before_it_was_told_is_not_told(lifecycle: Any) -> None:
    told: list[str] = []
    lifecycle.kind.on_update = lambda token: told.append(token.access_token)
    first = lifecycle.acquire()
    next(first)
    first.send(answer("a"))
    lifecycle.assign(lifecycle.kind.given({"access_token": "mine"}, "test"))
    first.close()
    assert end(lifecycle.acquire()).key == "mine"
    assert told == []
