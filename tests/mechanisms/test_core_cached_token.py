"""The modules ``_core/cached_token`` and ``_core/clock``: a token's times, and the machine's."""

from __future__ import annotations

import math
import pickle
import threading
import time
from concurrent.futures import Future

import pytest

from thingspace_auth_adapters._core import clock
from thingspace_auth_adapters._core.cached_token import CachedToken, Status, status
from thingspace_auth_adapters._core.clock import Clock
from thingspace_auth_adapters._model.settings import Settings, one_source

from ..support.kinds import IDENTITY
from ..support.virtual import BASE


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


def test_new_token_can_be_suspected_at_any_time() -> None:
    assert CachedToken("x", "x").trusted_until == -math.inf


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


def test_settings_show_no_secret() -> None:
    settings = Settings(one_source((None,), IDENTITY, "session"), BASE, None, 30.0)
    assert IDENTITY["oauth_client_secret"] not in repr(settings)


# Time.


def test_clock_is_the_machines() -> None:
    clock = Clock()
    before = clock.monotonic()
    clock.sleep(0)
    assert clock.monotonic() >= before
    assert clock.time() > 1_700_000_000


def test_clock_waits_for_a_future_no_longer_than_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    waited = []
    monkeypatch.setattr(clock, "wait", lambda futures, timeout: waited.append(timeout))
    for seconds in (-1.0, 0.0, 0.5, math.inf):
        Clock().wait(Future(), seconds)
    assert waited == [0.0, 0.0, 0.5, threading.TIMEOUT_MAX]


def test_greenlet_looks_again_and_again_whether_a_future_is_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slept: list[float] = []

    class Ticking(Clock):
        def monotonic(self) -> float:
            return sum(slept)

    # As gevent and eventlet put a function of their own in its place.
    monkeypatch.setattr(time, "sleep", lambda seconds: slept.append(seconds))
    future: Future[None] = Future()
    Ticking().wait(future, 0.04)
    assert slept == [0.01] * 4
    future.set_result(None)
    Ticking().wait(future, math.inf)
    assert slept == [0.01] * 4
