"""Part 2, rule 5: the count in a store, and what a process knows that the store does not."""

from __future__ import annotations

import json
from typing import Any, Callable

import pytest

from thingspace_auth_adapters import InsecureStoreError, M2mLoginError
from thingspace_auth_adapters.stores import StoreBusy, StoreUnavailable

from ..support.kinds import Kind
from ..support.logins import HOUR, another_process, blocked, credentials, fails, logs_in
from ..support.memory_store import memory_store
from ..support.virtual import (
    API,
    Answer,
    Platform,
    VirtualClock,
    login_refusal,
)

pytestmark = pytest.mark.usefixtures("clock")

Told = Callable[[], list[str]]


@pytest.fixture
def store() -> Any:
    return memory_store()


@pytest.fixture
def auth(kind: Kind, platform: Platform, store: Any) -> Any:
    return kind.auth(platform, m2m=credentials(), store=store)


def failures_known(auth: Any) -> int:
    """In a row, as a look at the count says."""
    return int(auth._tokens.session_source.guard.count().failures)


def another_failure(auth: Any, at: float = 1.0) -> None:
    """Another process that shares the store has failed, too."""
    auth._tokens.session_source.lock.write({"count": [1, at, []]})


# The store decides, while it can be read.


def test_login_is_counted_before_it_is_sent(kind: Kind, platform: Platform, store: Any) -> None:
    """What a process leaves behind that is killed while it waits for the answer."""
    left: list[dict[str, bytes]] = []
    platform.on_login = lambda: left.append(dict(store.entries))
    for number in (1, 2):
        kind.get(another_process(kind, platform, store), API, platform)
        assert len(left) == number
        store.entries = dict(left[-1])
    assert blocked(kind, another_process(kind, platform, store), platform).status_code is None


def test_allow_login_in_one_process_is_for_all(
    kind: Kind, platform: Platform, make_store: Callable[[], Any]
) -> None:
    platform.logins = [login_refusal()]
    fails(kind, another_process(kind, platform, make_store()), platform)
    kind.allow_login(another_process(kind, platform, make_store()))
    logs_in(kind, another_process(kind, platform, make_store()), platform)


def test_running_process_forgets_what_is_cleared_from_the_store(
    kind: Kind, platform: Platform, auth: Any, store: Any
) -> None:
    platform.logins = [login_refusal()]
    fails(kind, auth, platform)
    blocked(kind, auth, platform)
    # A look at a store that is down brings nothing back.
    store.is_down = True
    blocked(kind, auth, platform)
    store.is_down = False
    store.entries.clear()
    logs_in(kind, auth, platform)


# What the process has seen decides, while it cannot be read.


@pytest.mark.parametrize("is_down", [False, True], ids=["refused before", "refused meanwhile"])
def test_process_has_a_count_of_its_own_while_the_store_cannot_be_reached(
    kind: Kind, platform: Platform, auth: Any, store: Any, is_down: bool
) -> None:
    store.is_down = is_down
    platform.logins = [login_refusal()]
    fails(kind, auth, platform)
    store.is_down = True
    assert blocked(kind, auth, platform).status_code == 400
    assert blocked(kind, kind.auth(platform, m2m=credentials()), platform).status_code == 400


def test_refusal_that_could_not_be_written_is_written_before_the_next_login(
    kind: Kind, platform: Platform, auth: Any, store: Any
) -> None:
    """By whichever object of the process comes first, and for all others."""
    platform.logins = [login_refusal()]
    store.is_down = True
    fails(kind, auth, platform)
    store.is_down = False
    blocked(kind, kind.auth(platform, m2m=credentials(), store=store), platform)
    assert blocked(kind, another_process(kind, platform, store), platform).status_code == 400
    assert len(platform.login_calls) == 1


@pytest.mark.parametrize("how", ["full", "down"])
def test_success_that_could_not_be_written_is_written_later(
    kind: Kind, platform: Platform, auth: Any, store: Any, clock: VirtualClock, how: str
) -> None:
    platform.on_login = lambda: setattr(store, f"is_{how}", True)
    assert kind.get(auth, API, platform).status == 200
    store.is_down = store.is_full = False
    assert failures_known(auth) == 0
    clock.advance(HOUR)
    platform.logins = [Answer(404)]
    fails(kind, auth, platform)
    store.is_down = store.is_full = False
    assert failures_known(auth) == 1
    # Nor does what failed to be written block the others.
    for _ in range(3):
        clock.advance(HOUR)
        assert kind.get(auth, API, platform).status == 200
        store.is_down = store.is_full = False
    assert kind.get(another_process(kind, platform, store), API, platform).status == 200


def test_failures_of_an_outage_are_added_to_those_of_others(
    kind: Kind, platform: Platform, auth: Any, store: Any, clock: VirtualClock
) -> None:
    platform.logins = [Answer(404)] * 9
    store.is_down = True
    for _ in range(2):
        fails(kind, auth, platform)
    store.is_down = False
    another_failure(auth, clock.wall)
    # Once, however often it is looked at.
    assert [failures_known(auth) for _ in range(5)] == [3] * 5
    assert "3 logins in a row failed" in str(blocked(kind, auth, platform))
    name = auth._tokens.session_source.lock.name
    assert json.loads(store.entries[name])["fields"]["count"][0] == 3


def test_outcome_is_kept_in_the_process_if_others_can_read_the_store_by_now(
    kind: Kind, platform: Platform, auth: Any, store: Any
) -> None:
    def insecure(name: str) -> bytes | None:
        raise InsecureStoreError("others can read it")

    def turn_insecure() -> None:
        store.read = insecure
        found.update(store.entries)

    read, found = store.read, dict[str, bytes]()
    platform.on_login = turn_insecure
    platform.logins = [login_refusal()]
    fails(kind, auth, platform)
    assert store.entries == found
    store.read = read
    assert blocked(kind, auth, platform).status_code == 400
    assert len(platform.login_calls) == 1


# No login is sent that cannot be counted.


def busy(name: str, patience: float) -> Any:
    raise StoreBusy("somebody else has the lock")


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"is_full": True}, "the store's count cannot be written: it is down, or full"),
        ({"locked": busy}, "the store's lock was not free in time: somebody else has the lock"),
    ],
    ids=["full", "busy"],
)
def test_login_that_cannot_be_counted_is_not_sent(
    kind: Kind, platform: Platform, auth: Any, store: Any, fault: dict[str, Any], words: str
) -> None:
    healthy = {name: getattr(store, name) for name in fault}
    vars(store).update(fault)
    for _ in range(3):
        error = fails(kind, auth, platform)
        assert isinstance(error, M2mLoginError)
        assert error.retryable
        assert words in str(error)
    assert platform.login_calls == []
    vars(store).update(healthy)
    logs_in(kind, auth, platform)


def lockless(name: str, patience: float) -> Any:
    raise StoreUnavailable("this file system has no locks")


def test_login_is_counted_and_sent_without_a_lock_where_there_is_none(
    kind: Kind, platform: Platform, store: Any, told: Told
) -> None:
    store.locked = lockless
    bearer = {"oauth_token": {"access_token": "in-use"}}
    # Counted before it is sent: this is the only entry then.
    counted: list[int] = []
    platform.on_login = lambda: counted.append(len(store.entries))
    kind.get(another_process(kind, platform, store, **bearer), API, platform)
    assert counted == [1]
    (warning,) = told()
    assert "this file system has no locks" in warning
    store.entries.clear()
    platform.logins = [login_refusal()] * 9
    for _ in range(3):
        process = another_process(kind, platform, store, **bearer)
        assert fails(kind, process, platform).status_code == 400
    assert len(platform.login_calls) == 2


def test_count_whose_writing_was_reported_to_fail_and_did_not_bars_nobody(
    kind: Kind, platform: Platform, auth: Any, store: Any
) -> None:
    write = store.write

    def reported(name: str, content: bytes) -> None:
        write(name, content)
        raise StoreUnavailable("no answer in time")

    store.write = reported
    for _ in range(6):
        assert fails(kind, auth, platform).retryable
    store.write = write
    logs_in(kind, auth, platform)
    assert len(platform.login_calls) == 1
