"""Part 3, rule 2: what every store promises, also one that a user writes; and who locks what."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable

import pytest

from thingspace_auth_adapters import stores
from thingspace_auth_adapters.stores import StoreBusy, StoreUnavailable, TokenStore

from ..support.imported import modules_after
from ..support.real import PATIENCE, Threads
from ..support.store_kinds import StoreKind, made, sqlite_kind
from ..support.virtual import EDGE, refusal, session_refusal
from .conftest import Processes, names_of

NAME = "0123456789abcdef" * 4
OTHER = "fedcba9876543210" * 4
CONTENT = bytes(range(256))

HOLD = f"""
with store.locked({NAME!r}, 30):
    print("held", flush=True)
    sys.stdin.read()
"""

COUNT = f"""
import threading

def count():
    for _ in range(5):
        with store.locked({NAME!r}, 30):
            assert store.read({OTHER!r}) is None, "somebody else holds the lock"
            store.write({OTHER!r}, b"held")
            counted = int(store.read({NAME!r}) or 0)
            store.write({NAME!r}, b"%d" % (counted + 1))
            store.delete({OTHER!r})

threads = [threading.Thread(target=count) for _ in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


@pytest.fixture
def store(store_kind: StoreKind) -> Any:
    return store_kind.make()


def started(code: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", f"import sys\n{code}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


@contextmanager
def holder(kind: StoreKind) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that holds the lock."""
    process = started(f"{kind.code}\n{HOLD}")
    try:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == b"held"
        yield process
    finally:
        process.kill()
        process.communicate()


def assert_locked(store: TokenStore) -> None:
    with pytest.raises(StoreBusy, match="locked"):
        with store.locked(NAME, 0.05):
            raise AssertionError("locked twice")


def assert_free(store: TokenStore) -> None:
    with store.locked(NAME, PATIENCE):
        pass


# Entries.


def test_what_one_process_writes_the_others_read(store_kind: StoreKind) -> None:
    one, other = store_kind.make(), store_kind.make()
    # By it the logins of a process are counted.
    assert repr(one) == repr(other)
    for content in (CONTENT, b"", b"shorter"):
        one.write(NAME, content)
        assert other.read(NAME) == content
    other.delete(NAME)
    assert one.read(NAME) is None


def test_entries_are_kept_apart_and_missing_ones_read_as_none(store: TokenStore) -> None:
    assert store.read(NAME) is None
    store.delete(NAME)
    store.write(NAME, b"one")
    store.write(OTHER, b"other")
    store.delete(NAME)
    store.delete(NAME)
    assert (store.read(NAME), store.read(OTHER)) == (None, b"other")


def test_many_threads_may_use_one_store(store: TokenStore) -> None:
    """Whoever reads sees all of an old or all of a new entry."""
    whole = {bytes([number]) * 5000 for number in range(4)}
    start = threading.Barrier(8)

    def write(content: bytes) -> None:
        start.wait(PATIENCE)
        for _ in range(10):
            store.write(NAME, content)

    def read() -> set[bytes | None]:
        start.wait(PATIENCE)
        return {store.read(NAME) for _ in range(10)}

    threads = Threads()
    for content in whole:
        threads.start(write, content)
        threads.start(read)
    seen = [outcome for outcome in threads.join() if outcome is not None]
    assert len(seen) == 4
    for contents in seen:
        assert contents <= {None, *whole}


def entered(store: TokenStore) -> None:
    with store.locked(NAME, PATIENCE):
        raise AssertionError("locked a store that nobody can reach")


OPERATIONS: dict[str, Callable[[TokenStore], object]] = {
    "read": lambda store: store.read(NAME),
    "write": lambda store: store.write(NAME, b"hidden"),
    "delete": lambda store: store.delete(NAME),
    "locked": entered,
}


@pytest.mark.parametrize("operation", list(OPERATIONS))
def test_what_cannot_be_reached_is_unavailable(store_kind: StoreKind, operation: str) -> None:
    with pytest.raises(StoreUnavailable) as caught:
        OPERATIONS[operation](made(store_kind.unreachable))
    assert "cannot be reached" in str(caught.value)
    assert "hidden" not in str(caught.value)


# Locks.


def test_lock_excludes_other_threads_until_it_is_released(store: TokenStore) -> None:
    threads = Threads()
    with store.locked(NAME, PATIENCE):
        threads.start(assert_locked, store)
        assert threads.join() == [None]
    threads.start(assert_free, store)
    assert threads.join() == [None, None]


@pytest.mark.once
def test_lock_excludes_other_processes_until_it_is_released(
    store_kind: StoreKind, store: TokenStore
) -> None:
    with holder(store_kind) as process:
        assert_locked(store)
        # It holds up no other name, under which the token's lock may be, and no reader or writer.
        with store.locked(OTHER, PATIENCE):
            for name in (NAME, OTHER):
                store.write(name, b"written")
                assert store.read(name) == b"written"
                store.delete(name)
        process.communicate(timeout=PATIENCE)
        assert_free(store)


@pytest.mark.once
def test_no_two_threads_or_processes_ever_hold_the_lock_at_once(
    store_kind: StoreKind, store: TokenStore
) -> None:
    processes = [started(f"{store_kind.code}\n{COUNT}") for _ in range(3)]
    for process in processes:
        process.communicate(timeout=4 * PATIENCE)
        assert process.returncode == 0
    assert store.read(NAME) == b"30"


@pytest.mark.once
@pytest.mark.skipif(os.name != "posix", reason="kills a process as POSIX does")
def test_lock_of_a_killed_process_is_free(store_kind: StoreKind, store: TokenStore) -> None:
    if store_kind.module.endswith("redis"):
        pytest.skip("takes 18 seconds; test_rule_6_redis.py looks at its time to live")
    with holder(store_kind) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert_free(store)


def test_lock_can_be_released_on_another_thread(store: TokenStore) -> None:
    lock = store.locked(NAME, PATIENCE)
    lock.__enter__()
    threads = Threads()
    threads.start(lock.__exit__, None, None, None)
    assert threads.join()[0] in (None, False)
    assert_free(store)


@pytest.mark.parametrize("error", [OSError("ours"), sqlite3.Error("ours"), KeyboardInterrupt()])
def test_what_happens_under_the_lock_passes_through_and_frees_it(
    store: TokenStore, error: BaseException
) -> None:
    with pytest.raises(type(error)) as caught:
        with store.locked(NAME, PATIENCE):
            raise error
    assert caught.value is error
    assert_free(store)


def test_tokens_lock_is_taken_under_the_sessions_and_never_the_other_way_round(
    on_disk: Processes,
) -> None:
    auth = on_disk.new(oauth_clock_skew=60)
    names = names_of(auth)
    nested: list[list[str]] = []
    on_disk.disk.on_lock = lambda name: nested.append([*on_disk.disk.held, name])
    on_disk.get(auth)
    assert nested == [[names["logins"]], [names["logins"], names["token"]]]
    on_disk.platform.api = [refusal()]
    on_disk.get(auth)
    on_disk.platform.api = [session_refusal(), refusal()]
    on_disk.get(auth)
    on_disk.clock.advance(61)
    on_disk.get(auth)
    on_disk.clock.advance(3500)
    on_disk.platform.logins = [refusal()]
    on_disk.get(auth)
    on_disk.clock.advance(3600)
    on_disk.get(auth, EDGE)
    on_disk.kind.fetch_session(auth)
    on_disk.kind.end_session(auth)
    on_disk.kind.revoke_token(auth)
    assert on_disk.get(auth) == 200
    allowed = [[names["logins"]], [names["token"]], [names["logins"], names["token"]]]
    assert [taken for taken in nested if taken not in allowed] == []
    assert len(nested) > 8
    assert on_disk.disk.held == []


# The port, and the example of the documentation.


class OnlyTheMethods(TokenStore):
    read = write = delete = locked = lambda *arguments: None  # type: ignore[assignment]


def test_a_store_needs_no_more_than_the_four_methods() -> None:
    assert OnlyTheMethods().how_to_clear == ""
    with pytest.raises(TypeError, match="abstract"):
        TokenStore()  # type: ignore[abstract]


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
def test_files_of_the_example_are_for_the_user_alone(tmp_path: Path) -> None:
    previous = os.umask(0)
    try:
        store = sqlite_kind(tmp_path).make()
        store.write(NAME, CONTENT)
        assert_free(store)
    finally:
        os.umask(previous)
    assert {file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {0o600}


def test_names_of_the_package_are_offered_and_resolved_on_first_use() -> None:
    names = ["FileTokenStore", "RedisTokenStore", "StoreBusy", "StoreUnavailable", "TokenStore"]
    assert dir(stores) == names
    with pytest.raises(AttributeError, match="no attribute 'Other'"):
        stores.Other  # noqa: B018


@pytest.mark.once
def test_the_port_needs_and_imports_no_store() -> None:
    extras = {"redis", "filelock", "platformdirs"}
    loaded = modules_after("import thingspace_auth_adapters.stores")
    assert loaded.isdisjoint({*extras, "secrets"})
    modules_after(
        f"sys.modules.update(dict.fromkeys({extras!r}))\n"
        "from thingspace_auth_adapters.stores import *\nTokenStore, FileTokenStore"
    )
