"""Part 3, rule 6: no login is sent beside another process that holds the lock."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from thingspace_auth_adapters import M2mLoginError, VzM2mCredentials
from thingspace_auth_adapters.stores import StoreBusy

from ..support.kinds import PASSWORD, Kind
from ..support.memory_store import memory_store
from ..support.virtual import API, Platform, VirtualClock


def test_no_login_is_sent_beside_another_process_that_holds_the_lock(
    kind: Kind, platform: Platform, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    class Busy(type(memory_store())):  # type: ignore[misc]
        is_held = True

        @contextmanager
        def locked(self, name: str, patience: float) -> Iterator[None]:
            if self.is_held:
                clock.advance(patience)
                raise StoreBusy("held")
            yield

    store: Any = Busy()
    auth = kind.auth(platform, m2m=VzM2mCredentials("user", PASSWORD), store=store)
    begun_at = clock.steady
    with pytest.raises(M2mLoginError, match="lock was not free") as caught:
        kind.get(auth, API, platform)
    assert "held" in str(caught.value)
    assert caught.value.retryable
    assert platform.trail == []
    assert clock.steady - begun_at <= 4 * auth.timeout
    assert [one for one in caplog.records if one.levelno > logging.INFO] == []
    store.is_held = False
    assert kind.get(auth, API, platform).status == 200
