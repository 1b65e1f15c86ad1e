"""The module ``_core/endpoint``: what a call may cost."""

from __future__ import annotations

from typing import Any

import pytest

from thingspace_auth_adapters._core.endpoint import MOST_ATTEMPTS, Endpoint
from thingspace_auth_adapters._core.refresh import Failed, Limits
from thingspace_auth_adapters._wire.messages import HttpAnswer, HttpRequest, Refused

from ..support.steps import answered
from ..support.virtual import BASE, VirtualClock

TIMEOUT = 30.0
REQUEST = HttpRequest("the token endpoint", BASE, {}, b"")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> VirtualClock:
    monkeypatch.setattr("random.uniform", lambda low, high: high)
    return VirtualClock()


class Replies:
    """A transport that replies with these, each of which takes so long."""

    def __init__(self, clock: VirtualClock, *replies: HttpAnswer | Refused) -> None:
        self.clock = clock
        self.replies = list(replies)
        self.seconds = 0.0
        self.sent: list[tuple[HttpRequest, float, float]] = []

    def send(self, request: HttpRequest, timeout: float, ends_at: float) -> HttpAnswer | Refused:
        self.sent.append((request, timeout, ends_at))
        self.clock.advance(self.seconds)
        return self.replies.pop(0) if self.replies else answered(200)

    def overdue(self, request: HttpRequest) -> Refused:
        return Refused(TimeoutError("no answer came in time"), is_transient=True)


def lost(retry_after: float | None = None, is_transient: bool = True) -> Refused:
    return Refused(ConnectionError("lost"), is_transient, retry_after)


def called(transport: Replies, attempts: int = MOST_ATTEMPTS) -> Any:
    """What a call brings, or its error."""
    endpoint = Endpoint(transport, transport.clock, TIMEOUT)
    begins_by, ends_at, _ = endpoint.limits
    try:
        return endpoint.call(REQUEST, lambda answer: answer, Limits(begins_by, ends_at, attempts))
    except Failed as failure:
        return failure.error


def test_pauses_grow(clock: VirtualClock) -> None:
    transport = Replies(clock, *[lost()] * 5)
    assert isinstance(called(transport, attempts=9), HttpAnswer)
    assert clock.pauses == [0.5, 1, 2, 4, 8]


def test_pauses_are_between_half_and_whole() -> None:
    for _ in range(100):
        clock = VirtualClock()
        called(Replies(clock, lost()))
        (pause,) = clock.pauses
        assert 0.25 <= pause <= 0.5


def test_server_may_ask_for_a_longer_pause_but_not_for_a_shorter(clock: VirtualClock) -> None:
    called(Replies(clock, lost(0.1)))
    called(Replies(clock, lost(20.0)))
    assert clock.pauses == [0.5, 20.0]


@pytest.mark.parametrize("attempts", [1, MOST_ATTEMPTS])
def test_there_are_only_so_many_attempts(clock: VirtualClock, attempts: int) -> None:
    refusals = [lost() for _ in range(9)]
    transport = Replies(clock, *refusals)
    assert called(transport, attempts) is refusals[attempts - 1].error
    assert len(transport.sent) == attempts


def test_attempts_begin_within_two_timeouts_of_the_first(clock: VirtualClock) -> None:
    for asked, attempts in ((20.0, 1), (19.9, 2)):
        transport = Replies(clock, lost(asked), lost())
        transport.seconds = 40.0
        assert isinstance(called(transport), ConnectionError)
        assert len(transport.sent) == attempts


def test_all_attempts_end_one_timeout_later(clock: VirtualClock) -> None:
    transport, begun_at = Replies(clock, lost(), lost()), clock.steady
    transport.seconds = 25.0
    called(transport)
    assert transport.sent == [(REQUEST, TIMEOUT, begun_at + 3 * TIMEOUT)] * 3


def test_call_that_would_begin_too_late_is_the_librarys_timeout(clock: VirtualClock) -> None:
    transport = Replies(clock)
    endpoint = Endpoint(transport, clock, TIMEOUT)
    limits = Limits(clock.steady - 1, clock.steady + TIMEOUT, MOST_ATTEMPTS)
    with pytest.raises(Failed) as caught:
        endpoint.call(REQUEST, lambda answer: answer, limits)
    assert isinstance(caught.value.error, TimeoutError)
    assert transport.sent == []


def test_what_is_raised_on_the_way_ends_a_call_as_it_is(clock: VirtualClock) -> None:
    error = KeyboardInterrupt()

    def interrupt(answer: HttpAnswer) -> HttpAnswer:
        raise error

    endpoint = Endpoint(Replies(clock), clock, TIMEOUT)
    with pytest.raises(KeyboardInterrupt) as caught:
        endpoint.call(REQUEST, interrupt, endpoint.limits)
    assert caught.value is error
