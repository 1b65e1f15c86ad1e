"""The small parts, where the contract's suite would only show them from afar."""

from __future__ import annotations

import asyncio
import pickle
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from thingspace_auth_adapters import (
    InsecureStoreError,
    InsecureTransportError,
    InvalidTokenResponseError,
    M2mLoginError,
    OauthProviderError,
    ReentrantRequestError,
    ThingspaceAuthError,
)
from thingspace_auth_adapters._core.cached_token import CachedToken, Status, status
from thingspace_auth_adapters._core.effects import (
    Block,
    Call,
    CallbackRaised,
    Clock,
    Exchange,
    Hold,
    Pause,
    SyncIO,
    not_awaitable,
    run,
)
from thingspace_auth_adapters._core.retry import MOST_ATTEMPTS, Budget, retried
from thingspace_auth_adapters._core.single_flight import Failed, copy_exception
from thingspace_auth_adapters._model.settings import Settings, one_source
from thingspace_auth_adapters._wire.messages import HttpRequest, Refused

from .kinds import IDENTITY, INSTALLED, Kind
from .steps import end
from .virtual import BASE, VirtualClock

# Errors.


@pytest.mark.parametrize(
    "error_type",
    [
        InsecureStoreError,
        InsecureTransportError,
        InvalidTokenResponseError,
        M2mLoginError,
        OauthProviderError,
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


def test_reentrancy_is_a_bug_and_no_failed_request() -> None:
    for kind in INSTALLED:
        assert not hasattr(kind.adapter, "ReentrantRequestError")
    assert not issubclass(ReentrantRequestError, OSError)
    assert issubclass(ReentrantRequestError, ThingspaceAuthError)


@pytest.mark.parametrize(
    "error",
    [
        OauthProviderError("x", status_code=400, error="e", error_description="d", error_uri="u"),
        M2mLoginError("x", status_code=400, error_code="e", error_message="m", refused_at=1.0),
    ],
)
def test_errors_keep_their_fields_when_pickled(error: Exception) -> None:
    assert vars(pickle.loads(pickle.dumps(error))) == vars(error)


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
def test_copied_exception_is_equal_but_another(error: Exception) -> None:
    other = copy_exception(error)
    assert other is not error
    assert type(other) is type(error)
    assert (other.args, str(other), vars(other)) == (error.args, str(error), vars(error))


def test_exception_that_cannot_be_copied_is_shared_after_all() -> None:
    error = NewNeedsTwo(1, 2)
    assert copy_exception(error) is error


# A token and its times.


def test_status_is_the_one_answer_to_whether_a_token_can_be_used() -> None:
    token = CachedToken("x", "Bearer x", stale_at=10.0, expires_at=20.0)
    assert [status(token, now) for now in (9.9, 10.0, 19.9, 20.0)] == [
        Status.FRESH,
        Status.STALE,
        Status.STALE,
        Status.EXPIRED,
    ]
    assert status(None, 0.0) is Status.MISSING


def test_token_without_times_is_good_for_ever() -> None:
    assert status(CachedToken("x", "Bearer x"), 1e300) is Status.FRESH


def test_use_puts_off_the_end_of_what_expires_without_use() -> None:
    session = CachedToken("x", "x", 15.0, 20.0, idle_timeout=20.0)
    session.use(10.0)
    assert [status(session, now) for now in (29.9, 30.0)] == [Status.FRESH, Status.EXPIRED]
    token = CachedToken("x", "Bearer x", 15.0, 20.0)
    token.use(10.0)
    assert [status(token, now) for now in (15.0, 20.0)] == [Status.STALE, Status.EXPIRED]


def test_use_does_not_put_off_when_the_store_is_told_of_it() -> None:
    session = CachedToken("x", "x", 5.0, 20.0, idle_timeout=20.0, touch_at=5.0)
    session.use(4.0)
    assert [status(session, now) for now in (4.9, 5.0, 24.0)] == [
        Status.FRESH,
        Status.STALE,
        Status.EXPIRED,
    ]


def test_rejected_token_is_over_for_good_even_if_the_clock_jumps_back() -> None:
    rejected = CachedToken("x", "x", 10.0, 20.0, idle_timeout=5.0).rejected()
    assert (rejected.value, rejected.header, rejected.idle_timeout) == ("x", "x", None)
    for now in (-1e300, 0.0, 1e300):
        assert status(rejected, now) is Status.EXPIRED


def test_cached_token_travels_with_pickles_and_shows_no_secret() -> None:
    token = CachedToken("the-token", "Bearer the-token", 10.0, 20.0, 5.0)
    revived = pickle.loads(pickle.dumps(token))
    for name in CachedToken.__slots__:
        assert getattr(revived, name) == getattr(token, name)
    assert "the-token" not in repr(token)


# Time.


def test_clock_is_the_machines() -> None:
    clock = Clock()
    before = clock.monotonic()
    clock.sleep(0)
    assert clock.monotonic() >= before
    assert clock.time() > 1_700_000_000


def test_clock_sleeps_on_every_loop(async_kind: Kind) -> None:
    async_kind.run(Clock().asleep, 0.001)


# What an acquisition may cost.

REQUEST = HttpRequest("the token endpoint", BASE, {}, b"")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> VirtualClock:
    monkeypatch.setattr("random.uniform", lambda low, high: high)
    return VirtualClock()


def test_pauses_grow(clock: VirtualClock) -> None:
    budget, pauses = Budget(clock, 30.0, attempts=9), []
    for _ in range(5):
        budget.attempt(REQUEST)
        assert budget.postpone(None)
        pauses.append(budget.seconds_to_wait)
        clock.advance(budget.seconds_to_wait)
    assert pauses == [0.5, 1, 2, 4, 8]


def test_pauses_are_between_half_and_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(100):
        budget = Budget(VirtualClock(), 30.0)
        budget.attempt(REQUEST)
        budget.postpone(None)
        assert 0.25 <= budget.seconds_to_wait <= 0.5


def test_server_may_ask_for_a_longer_pause_but_not_for_a_shorter(clock: VirtualClock) -> None:
    for asked, pause in ((0.1, 0.5), (20.0, 20.0)):
        budget = Budget(clock, 30.0)
        budget.attempt(REQUEST)
        assert budget.postpone(asked)
        assert budget.seconds_to_wait == pause


def test_there_are_only_so_many_attempts(clock: VirtualClock) -> None:
    for attempts in (1, MOST_ATTEMPTS):
        budget = Budget(clock, 30.0, attempts)
        outcomes = []
        for _ in range(attempts):
            assert not budget.is_spent
            budget.attempt(REQUEST)
            outcomes.append(budget.postpone(0.0))
        assert outcomes == [*[True] * (attempts - 1), False]
        assert budget.is_spent


def test_attempts_begin_within_two_timeouts_of_the_first(clock: VirtualClock) -> None:
    budget = Budget(clock, 30.0, attempts=99)
    clock.advance(1000)
    assert not budget.is_spent
    budget.attempt(REQUEST)
    clock.advance(40)
    assert not budget.postpone(20.0)
    assert budget.postpone(19.9)
    clock.advance(19.9)
    assert not budget.is_spent
    clock.advance(0.1)
    assert budget.is_spent


def test_all_attempts_end_one_timeout_later(clock: VirtualClock) -> None:
    budget, begun_at = Budget(clock, 30.0), clock.steady
    for _ in range(3):
        send = budget.attempt(REQUEST)
        assert (send.request, send.timeout, send.ends_at) == (REQUEST, 30.0, begun_at + 90)
        clock.advance(29)


def test_attempt_whose_caller_went_away_is_not_counted(clock: VirtualClock) -> None:
    budget = Budget(clock, 30.0)
    for _ in range(9):
        budget.attempt(REQUEST)
    assert not budget.is_spent


def test_attempts_are_made_until_one_brings_something(clock: VirtualClock) -> None:
    replies: list[Any] = [Refused(ValueError("a"), True, 3.0), Refused(ValueError("b"), True), "x"]
    steps = retried(lambda: _attempt(replies), Budget(clock, 30.0), "the token endpoint")
    assert next(steps) == "attempt"
    assert steps.send(None) == Pause(3.0)
    clock.advance(3.0)
    assert steps.send(None) == "attempt"
    assert steps.send(None) == Pause(1.0)
    clock.advance(1.0)
    assert steps.send(None) == "attempt"
    assert end(steps) == "x"


def test_refusal_is_not_tried_again(clock: VirtualClock) -> None:
    refused = Refused(ValueError("no"))
    steps = retried(lambda: _attempt([refused]), Budget(clock, 30.0), "the token endpoint")
    next(steps)
    with pytest.raises(Failed) as caught:
        steps.send(None)
    assert caught.value.error is refused.error


def _attempt(replies: list[Any]) -> Any:
    budget_is_used = yield "attempt"
    assert budget_is_used is None
    return replies.pop(0)


# Nothing on the way shows a secret.


def test_values_of_the_core_show_no_secret() -> None:
    settings = Settings(one_source(None, IDENTITY), BASE, None, 30.0)
    assert IDENTITY["oauth_client_secret"] not in repr(settings)


# Event loops.


def test_running_loop_is_noticed_with_trio_imported_or_not(
    async_kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    from thingspace_auth_adapters._core.async_driver import is_on_event_loop

    async def ask() -> bool:
        return is_on_event_loop()

    assert async_kind.run(ask)
    assert not is_on_event_loop()
    monkeypatch.delitem(sys.modules, "trio", raising=False)
    assert not is_on_event_loop()
    if async_kind.backend == "asyncio":
        assert asyncio.run(ask())


# The driver of the synchronous clients.


class Nothing:
    """A transport that nothing is sent with."""

    send = read_body = None


@pytest.fixture
def io(clock: VirtualClock) -> SyncIO:
    return SyncIO(Nothing, clock)


def test_what_an_effect_raises_is_raised_in_the_steps(io: SyncIO) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    def steps() -> Any:
        try:
            yield Block(interrupt)
        except KeyboardInterrupt as error:
            return error

    assert isinstance(run(steps(), io), KeyboardInterrupt)


def test_exchange_is_handed_to_the_caller_and_its_response_back(io: SyncIO) -> None:
    def steps() -> Any:
        yield Pause(1)
        return (yield Exchange("request"))

    under_way = steps()
    assert run(under_way, io) == Exchange("request")
    assert run(under_way, io, "response") == "response"


def test_lock_is_held_around_its_steps_and_released_whatever_they_raise(io: SyncIO) -> None:
    trail: list[str] = []

    @contextmanager
    def lock() -> Iterator[None]:
        trail.append("locked")
        try:
            yield
        finally:
            trail.append("released")

    def inner(error: BaseException | None) -> Any:
        yield Block(lambda: trail.append("step"))
        if error is not None:
            raise error
        return "done"

    def outer(error: BaseException | None) -> Any:
        return (yield Hold(lock, inner(error)))

    assert run(outer(None), io) == "done"
    for error in (LookupError(), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            run(outer(error), io)
    assert trail == ["locked", "step", "released"] * 3


def test_error_of_a_callback_is_told_from_our_own(io: SyncIO) -> None:
    error = LookupError("row")

    def callback(value: int) -> int:
        if value == 0:
            raise error
        return value

    def steps(value: int) -> Any:
        try:
            return (yield Call(callback, (value,)))
        except CallbackRaised as raised:
            return raised.error

    assert run(steps(7), io) == 7
    assert run(steps(0), io) is error


def test_awaitable_that_nobody_awaited_is_closed() -> None:
    async def callback() -> None:
        pytest.fail("it cannot have been awaited")

    with pytest.raises(TypeError, match="the_callback returned an awaitable"):
        not_awaitable(callback(), "the_callback")
    assert not_awaitable("x", "the_callback") == "x"
