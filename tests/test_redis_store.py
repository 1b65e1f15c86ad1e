"""The contract, Part 3, rule 6, for Redis: how long its lock lasts, and what is never shown."""

from __future__ import annotations

import copy
import pickle
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from thingspace_auth_adapters import stores
from thingspace_auth_adapters.stores import StoreBusy, StoreUnavailable

from .real import PATIENCE, eventually
from .redis_server import RedisServer

pytest.importorskip("redis")

import redis
import redis.lock

from thingspace_auth_adapters.stores import redis as redis_module
from thingspace_auth_adapters.stores.redis import RedisTokenStore

LOCK_THREAD = "thingspace-auth-lock"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    started = RedisServer(tmp_path_factory.mktemp("redis"))
    yield started
    started.stop()


@pytest.fixture
def prefix(server: RedisServer, tmp_path: Path) -> str:
    return f"{server.prefix}{tmp_path}:"


@pytest.fixture
def store(server: RedisServer, prefix: str) -> RedisTokenStore:
    return RedisTokenStore(server.url, prefix)


def lock_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == LOCK_THREAD]


# How long the lock lasts.


def test_lock_outlives_a_killed_holder_by_20_seconds_at_most(
    server: RedisServer, store: RedisTokenStore, prefix: str
) -> None:
    with store.locked("ab", PATIENCE):
        lifetime = server.client().pttl(f"{prefix}ab:lock")
    assert 0 < lifetime <= 20_000 - 1000 * redis_module._POLL_SECONDS


def test_lock_is_renewed_early_enough_for_a_process_that_is_starved_for_ten_seconds() -> None:
    assert redis_module.LOCK_SECONDS - redis_module.RENEWAL_SECONDS > 10


def test_lock_is_renewed_while_it_is_held_and_then_no_more(
    server: RedisServer, store: RedisTokenStore, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_module, "RENEWAL_SECONDS", 0.01)
    client, key = server.client(), f"{prefix}ab:lock"
    with store.locked("ab", PATIENCE):
        assert [thread.daemon for thread in lock_threads()] == [True]
        client.pexpire(key, 12_000)
        eventually(lambda: client.pttl(key) > 12_000)
    eventually(lambda: not lock_threads())
    assert client.get(key) is None


def test_lock_is_renewed_although_redis_does_not_answer_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers: list[Exception | None] = [redis.ConnectionError(), None, redis.exceptions.LockError()]
    asked: list[Any] = []

    class Lock:
        def reacquire(self) -> None:
            asked.append(answers[len(asked)])
            if asked[-1] is not None:
                raise asked[-1]

    monkeypatch.setattr(redis_module, "RENEWAL_SECONDS", 0.01)
    redis_module._start_renewing(Lock(), threading.Event())  # type: ignore[arg-type]
    eventually(lambda: not lock_threads())
    assert asked == answers


def test_lock_is_waited_for_as_long_as_the_caller_says(
    store: RedisTokenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []

    def give_up(lock: redis.lock.Lock) -> bool:
        waited.append(lock.blocking_timeout or 0)
        return False

    monkeypatch.setattr(redis.lock.Lock, "acquire", give_up)
    with pytest.raises(StoreBusy, match="locked by another process"):
        store.locked("ab", PATIENCE).__enter__()
    assert waited == [PATIENCE]


def test_lock_that_was_lost_is_a_warning_and_that_of_another_is_left_alone(
    server: RedisServer, store: RedisTokenStore, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    client, key = server.client(), f"{prefix}ab:lock"
    with store.locked("ab", PATIENCE):
        client.set(key, "another's")
    assert client.get(key) == b"another's"
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("thingspace_auth_adapters", "WARNING")
    assert "lost" in record.getMessage()


def test_redis_that_dies_under_the_lock_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = RedisServer(tmp_path)
    if not server.is_ours:
        pytest.skip("the server is not ours to stop")
    with RedisTokenStore(server.url).locked("ab", PATIENCE):
        server.stop()
    assert "lost" in caplog.text


def test_lock_can_be_had_when_no_thread_can_be_started(
    server: RedisServer, store: RedisTokenStore, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As at the interpreter's end."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with store.locked("ab", PATIENCE):
        assert server.client().get(f"{prefix}ab:lock") is not None
    assert server.client().get(f"{prefix}ab:lock") is None


# A Redis that does not answer, and the user's own client.


def test_redis_that_hangs_is_waited_for_half_a_second_and_asked_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        store = RedisTokenStore(f"redis://127.0.0.1:{listener.getsockname()[1]}/0")
        with pytest.raises(StoreUnavailable, match="Timeout"):
            store.read("ab")
        listener.accept()[0].close()
        listener.settimeout(0.01)
        with pytest.raises(socket.timeout):
            listener.accept()


def test_timeouts_are_half_a_second_but_the_urls_own_count() -> None:
    def timeouts(url: str) -> list[float]:
        options = RedisTokenStore(url)._client.connection_pool.connection_kwargs
        return [options["socket_timeout"], options["socket_connect_timeout"]]

    assert timeouts("redis://localhost") == [0.5, 0.5]
    assert timeouts("redis://localhost?socket_timeout=2") == [2, 0.5]


def test_client_may_decode_its_answers(server: RedisServer, prefix: str) -> None:
    client = redis.Redis.from_url(server.url, decode_responses=True)
    store = RedisTokenStore(client, prefix)
    store.write("ab", bytes(range(256)))
    assert store.read("ab") == bytes(range(256))
    assert store.read("cd") is None
    with store.locked("ab", PATIENCE):
        pass


def test_prefix_keeps_stores_apart(server: RedisServer, prefix: str) -> None:
    one, other = (RedisTokenStore(server.url, prefix + name) for name in ("1:", "2:"))
    one.write("ab", b"one")
    assert other.read("ab") is None
    with one.locked("ab", PATIENCE), other.locked("ab", PATIENCE):
        pass


@pytest.mark.parametrize("duplicate", [lambda it: pickle.loads(pickle.dumps(it)), copy.deepcopy])
def test_store_of_a_url_can_be_copied_and_pickled(store: RedisTokenStore, duplicate: Any) -> None:
    twin = duplicate(store)
    store.write("ab", b"content")
    assert twin.read("ab") == b"content"


# What is refused, and what is never shown.


@pytest.mark.parametrize("argument", [None, 7, object()])
def test_wrong_types_are_refused_by_name(argument: Any) -> None:
    with pytest.raises(TypeError, match=r"client_or_url of RedisTokenStore"):
        RedisTokenStore(argument)
    with pytest.raises(TypeError, match=r"prefix of RedisTokenStore"):
        RedisTokenStore("redis://localhost", prefix=argument)


URLS = [
    "nowhere",
    "redis://:hidden/word@host:6379/0",
    "redis://:hidden@host:port/0",
    "redis://:hidden@host:6379/0?no_such_option=1",
]


@pytest.mark.parametrize("url", URLS)
def test_wrong_urls_are_refused_at_once_and_not_quoted(url: str) -> None:
    with pytest.raises(ValueError, match="client_or_url of RedisTokenStore") as caught:
        RedisTokenStore(url)
    assert caught.value.__context__ is caught.value.__cause__ is None
    assert "hidden" not in str(caught.value)


def test_neither_password_nor_host_is_ever_shown() -> None:
    store = RedisTokenStore("redis://:hidden@no-such-host.invalid:6379/0", "the-prefix:")
    assert repr(store) == "RedisTokenStore(prefix='the-prefix:')"
    for operation in (
        store.read,
        store.delete,
        lambda name: store.locked(name, PATIENCE).__enter__(),
    ):
        with pytest.raises(StoreUnavailable, match="the-prefix") as caught:
            operation("ab")
        assert caught.value.__context__ is caught.value.__cause__ is None
        assert "hidden" not in str(caught.value)
        assert "no-such-host" not in str(caught.value)


def test_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    monkeypatch.delitem(sys.modules, "thingspace_auth_adapters.stores.redis")
    with pytest.raises(ImportError, match=r"thingspace-auth-adapters\[redis\]"):
        stores.RedisTokenStore  # noqa: B018
