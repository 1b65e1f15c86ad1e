"""Part 3, rule 6: a store that cannot be reached never stops a request."""

from __future__ import annotations

import contextlib
from typing import Any, Callable

import pytest

from thingspace_auth_adapters import InsecureStoreError, M2mLoginError
from thingspace_auth_adapters.stores import TokenStore

from ..support.virtual import API, Answer, refusal, session_refusal
from .conftest import Processes

METHODS = ("read", "write", "lock", "unlock")


@pytest.mark.parametrize("broken", ["write", "write lock", "write unlock"])
def test_login_that_cannot_be_counted_in_the_store_is_not_sent(
    on_disk: Processes, broken: str
) -> None:
    """A read-only replica, a full disk: each new process would try a wrong password again."""
    on_disk.disk.broken = set(broken.split())
    for _ in range(6):
        with pytest.raises(M2mLoginError) as caught:
            on_disk.get(on_disk.new())
        assert caught.value.retryable
        assert "the store's count cannot be written: the disk is gone" in str(caught.value)
    assert on_disk.platform.login_calls == []
    assert on_disk.get(on_disk.without_m2m()) == 200
    on_disk.disk.broken = set()
    assert on_disk.get(on_disk.new()) == 200


@pytest.mark.parametrize("broken", ["read", "lock", "unlock", "read write", " ".join(METHODS)])
def test_broken_store_is_a_warning_and_no_more(
    on_disk: Processes, broken: str, told: Callable[[], list[str]]
) -> None:
    on_disk.disk.broken = set(broken.split())
    auth = on_disk.new()
    for _ in range(3):
        assert on_disk.get(auth) == 200
        on_disk.clock.advance(100)
    assert on_disk.platform.sessions == ["session-1"] * 3
    assert on_disk.platform.bearers == ["token-1"] * 3
    assert on_disk.platform.trail == ["token", "login", "api", "api", "api"]
    assert any("the disk is gone" in text for text in told())
    on_disk.platform.api = [refusal(), session_refusal()]
    assert on_disk.get(auth) == 200
    on_disk.clock.advance(3600)
    assert on_disk.get(auth) == 200
    assert (len(on_disk.platform.token_calls), len(on_disk.platform.login_calls)) == (3, 3)


@pytest.mark.parametrize("broken", ["read", "lock", "unlock", "write", " ".join(METHODS)])
def test_outage_is_told_once_in_a_refresh(
    on_disk: Processes, broken: str, told: Callable[[], list[str]]
) -> None:
    on_disk.disk.broken = set(broken.split())
    on_disk.get(on_disk.without_m2m())
    assert len(told()) == 1


def test_process_that_went_on_without_the_store_comes_back_to_it(on_disk: Processes) -> None:
    on_disk.disk.broken = set(METHODS)
    lonely = on_disk.new()
    on_disk.get(lonely)
    on_disk.disk.broken = set()
    on_disk.get(on_disk.new())
    on_disk.clock.advance(61)
    on_disk.get(lonely)
    on_disk.clock.advance(3600)
    for auth in (lonely, on_disk.new()):
        on_disk.get(auth)
    assert on_disk.platform.sessions[:2] == ["session-1", "session-2"]
    assert on_disk.platform.sessions[-2:] == ["session-3"] * 2
    assert on_disk.platform.bearers[-2:] == ["token-3"] * 2


def test_session_in_hand_survives_a_long_outage_that_is_told_each_minute(
    on_disk: Processes, told: Callable[[], list[str]]
) -> None:
    auth = on_disk.new()
    on_disk.get(auth)
    on_disk.disk.broken = set(METHODS)
    for minute in range(1, 26):
        on_disk.clock.advance(60)
        assert on_disk.get(auth) == 200
        assert len(told()) == minute
    on_disk.disk.broken = set()
    on_disk.clock.advance(61)
    on_disk.get(auth)
    assert on_disk.platform.trail.count("login") == 1


@pytest.mark.parametrize("broken", ["read", "lock", "write"])
def test_token_that_is_stale_is_renewed_ahead_without_the_store(
    on_disk: Processes, broken: str
) -> None:
    auth = on_disk.without_m2m(oauth_clock_skew=60)
    on_disk.get(auth)
    on_disk.disk.broken = {broken}
    on_disk.clock.advance(3550)
    for _ in range(3):
        on_disk.get(auth)
    assert on_disk.platform.bearers == ["token-1", *["token-2"] * 3]


def test_outage_of_endpoint_and_store_is_the_endpoints_error(on_disk: Processes) -> None:
    on_disk.disk.broken = set(METHODS)
    on_disk.platform.tokens = [Answer(failure="connect")] * 9
    with pytest.raises(on_disk.kind.connect_error, match="the token endpoint"):
        on_disk.get(on_disk.without_m2m())
    assert len(on_disk.platform.token_calls) == 4


class Turning(TokenStore):
    """An empty store, which may turn out to be insecure."""

    is_insecure = False

    def read(self, name: str) -> bytes | None:
        if self.is_insecure:
            raise InsecureStoreError("others can read it")
        return None

    def write(self, name: str, content: bytes) -> None: ...
    def delete(self, name: str) -> None: ...
    def locked(self, name: str, patience: float) -> Any:
        return contextlib.nullcontext()


def test_insecure_store_is_an_error_and_nothing_is_fetched(on_disk: Processes) -> None:
    store = Turning()
    store.is_insecure = True
    auth = on_disk.new(store=store)
    for _ in range(2):
        with pytest.raises(InsecureStoreError, match="others can read it") as caught:
            on_disk.get(auth)
        assert isinstance(caught.value, on_disk.kind.request_error)
        assert str(caught.value.request.url) == API  # type: ignore[attr-defined]
    assert on_disk.platform.calls == []


def test_store_that_becomes_insecure_is_told_once_and_the_stale_token_goes_on(
    on_disk: Processes, caplog: pytest.LogCaptureFixture
) -> None:
    store = Turning()
    auth = on_disk.without_m2m(store=store, oauth_clock_skew=60)
    on_disk.get(auth)
    on_disk.clock.advance(3550)
    store.is_insecure = True
    for _ in range(3):
        assert on_disk.get(auth) == 200
    assert caplog.text.count("others can read it") == 1
    on_disk.clock.advance(60)
    with pytest.raises(InsecureStoreError):
        on_disk.get(auth)
