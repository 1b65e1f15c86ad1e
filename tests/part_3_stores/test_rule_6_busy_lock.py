"""Part 3, rule 6: what happens beside another process that holds a store's lock."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from thingspace_auth_adapters import AuthEvent, M2mLoginError, VzM2mCredentials
from thingspace_auth_adapters.stores import StoreBusy

from ..support.kinds import PASSWORD, Kind
from ..support.memory_store import memory_store
from ..support.virtual import API, Platform, VirtualClock


@pytest.fixture
def store(clock: VirtualClock) -> Any:
    class Busy(type(memory_store())):  # type: ignore[misc]
        is_held = True
        seconds_to_read = 0.0

        def __init__(self) -> None:
            super().__init__()
            self.patience: list[float] = []

        def read(self, name: str) -> bytes | None:
            clock.advance(self.seconds_to_read)
            return super().read(name)  # type: ignore[no-any-return]

        @contextmanager
        def locked(self, name: str, patience: float) -> Iterator[None]:
            self.patience.append(patience)
            if self.is_held:
                clock.advance(patience)
                raise StoreBusy("held")
            yield

    return Busy()


@pytest.mark.parametrize(("reading", "waiting"), [(0, 45), (10, 35), (50, 0)])
def test_token_is_fetched_beside_it_after_a_timeout_and_a_half(
    kind: Kind, platform: Platform, clock: VirtualClock, store: Any, reading: float, waiting: float
) -> None:
    auth = kind.auth(platform, store=store, timeout=30)
    begun_at, store.seconds_to_read = clock.steady, reading
    assert kind.get(auth, API, platform).status == 200
    assert platform.trail == ["token", "api"]
    assert store.patience == [waiting]
    assert clock.steady - begun_at == reading + waiting


def test_no_login_is_sent_beside_it(
    kind: Kind,
    platform: Platform,
    clock: VirtualClock,
    store: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "thingspace_auth_adapters")
    auth = kind.auth(platform, m2m=VzM2mCredentials("user", PASSWORD), store=store)
    begun_at = clock.steady
    with pytest.raises(M2mLoginError, match="lock was not free") as caught:
        kind.get(auth, API, platform)
    assert "held" in str(caught.value)
    assert caught.value.retryable
    assert platform.trail == []
    # The holder's last call begins three timeouts after its refresh, and is read for one more.
    assert store.patience == [4 * auth.timeout]
    assert clock.steady - begun_at == 4 * auth.timeout
    assert [one for one in caplog.records if one.levelno > logging.INFO] == []
    events = [getattr(one, "auth_event", None) for one in caplog.records]
    assert AuthEvent("store_busy", "session token") in events
    store.is_held = False
    assert kind.get(auth, API, platform).status == 200
