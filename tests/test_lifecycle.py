"""The lifecycle, step by step, in orders of events that only a race brings about."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from thingspace_auth_adapters import (
    OauthProviderError,
    OauthToken,
    ReentrantRequestError,
    ThingspaceOauthCredentials,
)
from thingspace_auth_adapters._core.cached_token import Status, status
from thingspace_auth_adapters._core.effects import Call, CallbackRaised, Pause, Send, Wait
from thingspace_auth_adapters._core.lifecycle import Lifecycle
from thingspace_auth_adapters._core.single_flight import ABANDONED, Failed, SingleFlight
from thingspace_auth_adapters._core.sources import AccessTokens
from thingspace_auth_adapters._model.settings import Settings
from thingspace_auth_adapters._wire.messages import Refused

from .kinds import IDENTITY
from .steps import answered, end, token
from .virtual import BASE, VirtualClock

SKEW = 10


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> VirtualClock:
    monkeypatch.setattr("random.uniform", lambda low, high: high)
    return VirtualClock()


def made(clock: VirtualClock, **fields: Any) -> Any:
    """A lifecycle of access tokens whose owner is itself."""
    credentials = ThingspaceOauthCredentials(**IDENTITY, oauth_clock_skew=SKEW, **fields)
    source = AccessTokens(Settings(credentials, BASE, None, 30.0), "owner", clock)
    return Lifecycle(source, "owner", clock)


@pytest.fixture
def lifecycle(clock: VirtualClock) -> Any:
    return made(clock)


def acquire(lifecycle: Any) -> Any:
    return lifecycle.acquire([])


def acquired(lifecycle: Any, name: str, seconds: int = 100) -> Any:
    """A token that was just fetched."""
    steps = acquire(lifecycle)
    next(steps)
    return end(steps, token(name, seconds))


def assign(lifecycle: Any, name: str) -> None:
    lifecycle.assign(lifecycle.source.cached(OauthToken(name)))


def failure(steps: Any, value: Any = None) -> Exception:
    """The error with which the steps end when they are sent ``value``."""
    with pytest.raises(Failed) as caught:
        steps.send(value)
    return caught.value.error


# What comes in between.


def test_token_rejected_while_its_repetition_was_under_way_is_asked_for_again(
    lifecycle: Any, clock: VirtualClock
) -> None:
    """The answer may be older than the rejection, so that it says nothing about it."""
    acquired(lifecycle, "a")
    clock.advance(90)
    refresh = acquire(lifecycle)
    assert isinstance(next(refresh), Send)
    rejection = lifecycle.replace("Bearer a", [])
    assert isinstance(next(rejection), Wait)
    assert isinstance(refresh.send(token("a", 10)), Send)
    assert end(refresh, token("b")).header == "Bearer b"
    assert end(rejection).header == "Bearer b"


def test_assignment_while_a_fetch_is_under_way_stands(lifecycle: Any) -> None:
    steps = acquire(lifecycle)
    next(steps)
    assign(lifecycle, "assigned")
    assert end(steps, token("fetched")).header == "Bearer assigned"
    assert lifecycle.current.header == "Bearer assigned"


def test_revocation_while_a_fetch_is_under_way_stands(lifecycle: Any, clock: VirtualClock) -> None:
    acquired(lifecycle, "a")
    clock.advance(90)
    refresh = acquire(lifecycle)
    next(refresh)
    lifecycle.revoked("Bearer a")
    assert isinstance(refresh.send(token("a", 10)), Send)
    assert end(refresh, token("b")).header == "Bearer b"


def test_revocation_of_a_token_that_is_no_longer_in_use_changes_nothing(lifecycle: Any) -> None:
    acquired(lifecycle, "a")
    lifecycle.revoked("Bearer old")
    assert end(acquire(lifecycle)).header == "Bearer a"


def test_token_that_was_installed_between_look_and_start_is_used(lifecycle: Any) -> None:
    class Late(SingleFlight):
        def join_or_start(self, mine: Any) -> Any:
            lifecycle._flight = before
            acquired(lifecycle, "just-installed")
            return before.join_or_start(mine)

    before, lifecycle._flight = lifecycle._flight, Late()
    assert end(acquire(lifecycle)).header == "Bearer just-installed"


def test_refresh_that_is_given_up_and_yet_brings_a_token_replaces_no_newer_one(
    lifecycle: Any, clock: VirtualClock
) -> None:
    late, waiting = acquire(lifecycle), acquire(lifecycle)
    next(late)
    overdue = next(waiting).refresh
    assert overdue.ends_at == clock.steady + 90
    clock.advance(90)
    overdue.settle(ABANDONED)
    assert isinstance(waiting.send(None), Send)
    assert end(waiting, token("b")).header == "Bearer b"
    assert end(late, token("a")).header == "Bearer b"
    assert lifecycle.current.header == "Bearer b"


# Whoever takes over.


@pytest.mark.parametrize("error", [KeyboardInterrupt(), LookupError(), GeneratorExit()])
def test_what_ends_the_leader_is_its_own_and_a_waiter_takes_over(
    lifecycle: Any, error: BaseException
) -> None:
    leader, waiting = acquire(lifecycle), acquire(lifecycle)
    next(leader)
    refresh = next(waiting).refresh
    with pytest.raises(type(error)) as caught:
        leader.throw(error)
    assert caught.value is error
    assert refresh.outcome is ABANDONED
    assert isinstance(waiting.send(None), Send)
    assert end(waiting, token("a")).header == "Bearer a"


def test_it_is_the_leaders_own_ahead_of_expiry_and_after_a_rejection_too(
    lifecycle: Any, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    acquired(lifecycle, "a")
    clock.advance(90)
    for steps in (acquire(lifecycle), lifecycle.replace("Bearer a", [])):
        next(steps)
        error = LookupError()
        with pytest.raises(LookupError) as caught:
            steps.throw(error)
        assert caught.value is error
    assert caplog.records == []


def test_new_leader_has_the_attempts_and_the_deadline_that_are_left(
    lifecycle: Any, clock: VirtualClock
) -> None:
    first, second = acquire(lifecycle), acquire(lifecycle)
    ends_at = next(first).ends_at
    next(second)
    for _ in range(2):
        assert isinstance(first.send(answered(503)), Pause)
        clock.advance(5)
        assert isinstance(first.send(None), Send)
    first.close()
    assert second.send(None).ends_at == ends_at
    assert isinstance(second.send(answered(503)), Pause)
    clock.advance(5)
    assert second.send(None).ends_at == ends_at
    assert isinstance(failure(second, answered(503)), OauthProviderError)


def test_new_leader_honours_the_pause_that_the_server_asked_for(
    lifecycle: Any, clock: VirtualClock
) -> None:
    first, second = acquire(lifecycle), acquire(lifecycle)
    next(first)
    next(second)
    assert first.send(answered(429, b"", {"retry-after": "9"})) == Pause(9.0)
    clock.advance(2)
    first.close()
    assert second.send(None) == Pause(7.0)


def test_cancelled_leaders_use_up_no_attempts(lifecycle: Any) -> None:
    leader = acquire(lifecycle)
    next(leader)
    for _ in range(9):
        waiting = acquire(lifecycle)
        next(waiting)
        leader.close()
        leader = waiting
        assert isinstance(leader.send(None), Send)
    assert end(leader, token("a")).header == "Bearer a"


def test_newcomer_after_an_abandoned_refresh_begins_afresh(
    lifecycle: Any, clock: VirtualClock
) -> None:
    first = acquire(lifecycle)
    next(first)
    clock.advance(59)
    first.close()
    clock.advance(100)
    second = acquire(lifecycle)
    next(second)
    assert isinstance(second.send(answered(503)), Pause)


def test_failure_is_shared_and_each_has_an_exception_of_its_own(lifecycle: Any) -> None:
    leader, waiting = acquire(lifecycle), acquire(lifecycle)
    next(leader)
    next(waiting)
    first = failure(leader, answered(401, {"error": "invalid_client"}))
    second = failure(waiting)
    assert first is not second
    assert str(first) == str(second)
    assert vars(first) == vars(second)


# Ahead of expiry.


def test_others_go_on_with_a_stale_token_that_one_refreshes(
    lifecycle: Any, clock: VirtualClock
) -> None:
    acquired(lifecycle, "a")
    clock.advance(90)
    refresh = acquire(lifecycle)
    next(refresh)
    assert end(acquire(lifecycle)).header == "Bearer a"
    assert end(refresh, token("b")).header == "Bearer b"


def test_failed_refresh_is_one_attempt_one_warning_and_a_pause(
    lifecycle: Any, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    acquired(lifecycle, "a")
    clock.advance(90)
    with caplog.at_level(logging.WARNING, "thingspace_auth_adapters"):
        refresh = acquire(lifecycle)
        next(refresh)
        assert end(refresh, answered(503)).header == "Bearer a"
    assert len(caplog.records) == 1
    clock.advance(9.9)
    assert end(acquire(lifecycle)).header == "Bearer a"
    clock.advance(0.1)
    assert isinstance(next(acquire(lifecycle)), Send)


def test_pause_after_a_failed_refresh_does_not_go_beyond_the_tokens_end(
    lifecycle: Any, clock: VirtualClock
) -> None:
    acquired(lifecycle, "a")
    clock.advance(95)
    refresh = acquire(lifecycle)
    next(refresh)
    assert end(refresh, answered(503)).header == "Bearer a"
    clock.advance(5)
    assert isinstance(next(acquire(lifecycle)), Send)


def test_those_who_wait_for_a_refresh_whose_token_ran_out_try_in_earnest(
    lifecycle: Any, clock: VirtualClock
) -> None:
    acquired(lifecycle, "a")
    clock.advance(90)
    refresh = acquire(lifecycle)
    next(refresh)
    clock.advance(10)
    late = acquire(lifecycle)
    assert isinstance(next(late), Wait)
    # The refresher's single attempt fails, and its token has run out meanwhile: it leads again.
    assert isinstance(refresh.send(answered(503)), Send)
    assert isinstance(late.send(None), Wait)
    assert isinstance(refresh.send(answered(503)), Pause)


def test_whoever_takes_over_from_a_refresher_whose_token_ran_out_has_all_attempts(
    lifecycle: Any, clock: VirtualClock
) -> None:
    acquired(lifecycle, "a")
    clock.advance(90)
    refresh = acquire(lifecycle)
    next(refresh)
    clock.advance(10)
    late = acquire(lifecycle)
    assert isinstance(next(late), Wait)
    refresh.close()
    assert isinstance(late.send(None), Send)
    assert isinstance(late.send(answered(503)), Pause)


def test_token_that_arrives_stale_is_used_to_its_end(lifecycle: Any, clock: VirtualClock) -> None:
    acquired(lifecycle, "a", SKEW)
    clock.advance(SKEW - 1)
    assert end(acquire(lifecycle)).header == "Bearer a"
    clock.advance(1)
    assert isinstance(next(acquire(lifecycle)), Send)


# Rejections.


def test_same_token_again_is_not_asked_for_again_for_a_while(
    lifecycle: Any, clock: VirtualClock
) -> None:
    acquired(lifecycle, "a")
    steps = lifecycle.replace("Bearer a", [])
    next(steps)
    assert end(steps, token("a")) is None
    clock.advance(29.9)
    assert end(lifecycle.replace("Bearer a", [])) is None
    clock.advance(0.1)
    assert isinstance(next(lifecycle.replace("Bearer a", [])), Send)


def test_late_rejection_of_an_older_token_discards_no_newer_one(lifecycle: Any) -> None:
    acquired(lifecycle, "a")
    steps = lifecycle.replace("Bearer a", [])
    next(steps)
    end(steps, token("b"))
    assert end(lifecycle.replace("Bearer a", [])).header == "Bearer b"
    assert lifecycle.current.header == "Bearer b"


def test_failure_to_replace_is_only_logged(
    lifecycle: Any, caplog: pytest.LogCaptureFixture
) -> None:
    acquired(lifecycle, "a")
    steps = lifecycle.replace("Bearer a", [])
    next(steps)
    with caplog.at_level(logging.WARNING, "thingspace_auth_adapters"):
        assert end(steps, Refused(ConnectionError("the-secret"))) is None
    (record,) = caplog.records
    assert "the-secret" not in record.getMessage()


def test_only_so_many_rejections_are_remembered(lifecycle: Any) -> None:
    for number in range(100):
        lifecycle.revoked(f"Bearer token-{number}")
    assert len(lifecycle._rejected) < 10
    assert "Bearer token-99" in lifecycle._rejected


def test_assigned_token_counts_as_rejected_no_longer(lifecycle: Any) -> None:
    acquired(lifecycle, "a")
    lifecycle.reject("Bearer a")
    assign(lifecycle, "a")
    assert end(acquire(lifecycle)).header == "Bearer a"


def test_eight_tokens_before_the_current_one_are_held(lifecycle: Any) -> None:
    for number in range(100):
        assign(lifecycle, f"token-{number}")
    assert lifecycle.held == tuple(f"Bearer token-{number}" for number in range(91, 100))


def test_only_the_caller_whose_refresh_changed_the_token_is_told(
    lifecycle: Any, clock: VirtualClock
) -> None:
    leaders: list[Any] = []
    others: list[Any] = []
    leader, waiting = lifecycle.acquire(leaders), lifecycle.acquire(others)
    next(leader)
    next(waiting)
    end(leader, token("a"))
    end(waiting)
    assert ([one.access_token for one in leaders], others) == (["a"], [])
    clock.advance(90)
    refresh = lifecycle.acquire(leaders)
    next(refresh)
    end(refresh, token("a", 10))
    assert len(leaders) == 1


# Providers.


def provider(last: Any, owner: Any) -> Any:
    raise AssertionError("the test takes its place")


def test_provider_may_take_its_time(clock: VirtualClock) -> None:
    lifecycle = made(clock, oauth_token_provider=provider)
    leader, waiting = acquire(lifecycle), acquire(lifecycle)
    call = next(leader)
    assert (call.function, call.args) == (provider, (None, "owner"))
    refresh = next(waiting).refresh
    # But not for ever: its event loop may have been stopped.
    assert refresh.ends_at == clock.steady + 600
    clock.advance(500)
    assert isinstance(leader.send(None), Send)
    assert refresh.ends_at == clock.steady + 90


def test_log_handler_may_use_the_object(
    lifecycle: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, "thingspace_auth_adapters")
    monkeypatch.setattr(caplog.handler, "emit", lambda record: lifecycle.reject("Bearer other"))
    assert acquired(lifecycle, "a").header == "Bearer a"


def test_token_that_is_assigned_again_has_eight_before_it(lifecycle: Any) -> None:
    for name in ("again", *"abcdefgh", "again"):
        assign(lifecycle, name)
    assert set(lifecycle.held) == {f"Bearer {name}" for name in ("again", *"abcdefgh")}
    assert lifecycle.held[-1] == "Bearer again"


def test_request_of_the_provider_that_needs_its_token_is_an_error(clock: VirtualClock) -> None:
    from thingspace_auth_adapters._core.effects import calling_back

    lifecycle = made(clock, oauth_token_provider=provider)
    leader = acquire(lifecycle)
    call = next(leader)
    assert isinstance(call, Call)
    with calling_back(call.refresh):
        with pytest.raises(ReentrantRequestError, match="oauth_token_provider"):
            next(acquire(lifecycle))
    assert end(leader, {"access_token": "provided"}).header == "Bearer provided"


def test_error_of_the_provider_is_shared_and_not_tried_again(clock: VirtualClock) -> None:
    lifecycle = made(clock, oauth_token_provider=provider)
    leader, waiting = acquire(lifecycle), acquire(lifecycle)
    next(leader)
    next(waiting)
    error = LookupError("row", 7)
    with pytest.raises(Failed) as caught:
        leader.throw(CallbackRaised(error))
    assert caught.value.error is error
    assert failure(waiting).args == ("row", 7)


@pytest.mark.parametrize("value", ["a-string", 7, {"access_token": "a\nb"}, object()])
def test_what_is_no_token_is_the_providers_error(clock: VirtualClock, value: Any) -> None:
    lifecycle = made(clock, oauth_token_provider=provider)
    leader = acquire(lifecycle)
    next(leader)
    error = failure(leader, value)
    assert isinstance(error, (TypeError, ValueError))
    assert "what oauth_token_provider returned" in str(error)
    assert "a-string" not in str(error)


def test_provider_that_repeats_a_rejected_token_is_not_heeded(clock: VirtualClock) -> None:
    lifecycle = made(clock, oauth_token_provider=provider)
    leader = acquire(lifecycle)
    next(leader)
    end(leader, {"access_token": "row"})
    steps = lifecycle.replace("Bearer row", [])
    assert isinstance(next(steps), Call)
    assert isinstance(steps.send({"access_token": "row"}), Send)
    assert end(steps, token("fetched")).header == "Bearer fetched"
    assert status(lifecycle.current, clock.wall) is Status.FRESH
