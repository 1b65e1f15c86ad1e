"""The small parts, where the contract's suite would only show them from afar."""

from __future__ import annotations

import asyncio
import pickle
import sys
from concurrent.futures import Future
from types import ModuleType
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
from thingspace_auth_adapters._core.callbacks import CallbackRaised, call_back
from thingspace_auth_adapters._core.clock import Clock
from thingspace_auth_adapters._core.endpoint import MOST_ATTEMPTS, Endpoint
from thingspace_auth_adapters._core.refresh import Failed, Limits, copy_exception
from thingspace_auth_adapters._model.settings import Settings, one_source
from thingspace_auth_adapters._wire.messages import HttpAnswer, HttpRequest, Refused

from ..support.kinds import IDENTITY, INSTALLED, Kind
from ..support.steps import answered
from ..support.virtual import BASE, VirtualClock

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


def test_clock_waits_for_a_future_no_longer_than_asked() -> None:
    future: Future[None] = Future()
    for seconds in (-1.0, 0.0, 0.001):
        Clock().wait(future, seconds)
    future.set_result(None)
    Clock().wait(future, float("inf"))


# What a call may cost.

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


def test_refusal_is_not_tried_again(clock: VirtualClock) -> None:
    refused = lost(is_transient=False)
    assert called(Replies(clock, refused)) is refused.error
    assert clock.pauses == []


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


# Nothing on the way shows a secret.


def test_values_of_the_core_show_no_secret() -> None:
    settings = Settings(one_source((None,), IDENTITY, "session"), BASE, None, 30.0)
    assert IDENTITY["oauth_client_secret"] not in repr(settings)


# Event loops.


def test_running_loop_is_noticed_with_trio_imported_or_not(
    async_kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    from thingspace_auth_adapters._core.workers import running_loop

    async def ask() -> bool:
        return running_loop() is not None

    assert async_kind.run(ask)
    assert running_loop() is None
    monkeypatch.delitem(sys.modules, "trio", raising=False)
    assert running_loop() is None
    if async_kind.backend == "asyncio":
        assert asyncio.run(ask())


@pytest.mark.parametrize("has_lowlevel", [True, False])
def test_running_loop_is_noticed_while_another_thread_imports_trio(
    has_lowlevel: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from thingspace_auth_adapters._core.workers import running_loop

    half: Any = ModuleType("trio")
    if has_lowlevel:
        half.lowlevel = ModuleType("trio.lowlevel")
    monkeypatch.setitem(sys.modules, "trio", half)

    async def ask() -> bool:
        return running_loop() is not None

    assert running_loop() is None
    assert asyncio.run(ask())


# Callbacks.


def test_error_of_a_callback_is_told_from_our_own() -> None:
    error = LookupError("row")

    def callback(value: int) -> int:
        if value == 0:
            raise error
        return value

    assert call_back("the_callback", callback, (7,), None) == 7
    with pytest.raises(CallbackRaised) as caught:
        call_back("the_callback", callback, (0,), None)
    assert caught.value.error is error


def test_what_interrupts_a_callback_is_not_its_error() -> None:
    def callback() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        call_back("the_callback", callback, (), None)


def test_awaitable_that_nobody_awaits_is_closed() -> None:
    async def callback() -> None:
        pytest.fail("it cannot have been awaited")

    with pytest.raises(TypeError, match="the_callback returned an awaitable"):
        call_back("the_callback", callback, (), None)
