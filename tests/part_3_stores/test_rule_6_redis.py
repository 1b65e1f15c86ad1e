"""The contract, Part 3, rule 6, for Redis: how long its lock lasts, and what is never shown."""

from __future__ import annotations

import copy
import pickle
import re
import socket
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from thingspace_auth_adapters import stores
from thingspace_auth_adapters.stores import StoreBusy, StoreUnavailable

from ..support.real import PATIENCE, Threads, eventually
from ..support.redis_server import ClusterOfOne, RedisServer
from ..support.snippets import ROOT

pytest.importorskip("redis")

import redis
import redis.lock

from thingspace_auth_adapters.stores import redis as redis_module
from thingspace_auth_adapters.stores.redis import RedisTokenStore

LOCK_THREAD = "thingspace-auth-lock"

PAGE = (ROOT / "docs" / "many-processes.md").read_text(encoding="utf-8")
RESTRICTIONS = {
    "no scripts": "~* +@all -@scripting",
    "what the documentation lists": re.findall(r"ACL SETUSER \w+ on >\w+ (.*)", PAGE)[0],
}


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


@pytest.mark.parametrize("error", [redis.ConnectionError(), ValueError()])
def test_lock_is_renewed_although_that_failed_once(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    asked: list[None] = []
    done = threading.Event()

    class Lock:
        def reacquire(self) -> None:
            asked.append(None)
            if len(asked) == 1:
                raise error
            done.set()

    monkeypatch.setattr(redis_module, "RENEWAL_SECONDS", 0.01)
    redis_module._start_renewing(Lock(), done)  # type: ignore[arg-type]
    eventually(lambda: not lock_threads())
    assert len(asked) == 2


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


def warning(caplog: pytest.LogCaptureFixture) -> str:
    """The only one."""
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("thingspace_auth_adapters", "WARNING")
    return record.getMessage()


def test_lock_that_was_lost_is_a_warning_and_that_of_another_is_left_alone(
    server: RedisServer, store: RedisTokenStore, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    client, key = server.client(), f"{prefix}ab:lock"
    with store.locked("ab", PATIENCE):
        client.set(key, "another's")
    assert client.get(key) == b"another's"
    assert "not released (LockNotOwnedError)" in warning(caplog)


def test_lock_that_has_expired_is_a_warning(
    server: RedisServer, store: RedisTokenStore, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    with store.locked("ab", PATIENCE):
        server.client().delete(f"{prefix}ab:lock")
    assert "not released (LockNotOwnedError)" in warning(caplog)


def test_lock_that_another_takes_while_it_is_released_is_left_alone(
    server: RedisServer,
    store: RedisTokenStore,
    prefix: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    client, key = server.client(), f"{prefix}ab:lock"
    begin = redis.client.Pipeline.multi

    def begin_too_late(pipeline: redis.client.Pipeline) -> None:
        client.set(key, "another's")
        begin(pipeline)

    with store.locked("ab", PATIENCE):
        monkeypatch.setattr(redis.client.Pipeline, "multi", begin_too_late)
    assert client.get(key) == b"another's"
    assert "not released (LockNotOwnedError)" in warning(caplog)


def test_lock_of_another_is_not_renewed(
    server: RedisServer, store: RedisTokenStore, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_module, "RENEWAL_SECONDS", 0.01)
    client, key = server.client(), f"{prefix}ab:lock"
    attempts: list[None] = []
    renew = redis.lock.Lock.reacquire

    def renew_and_count(lock: redis.lock.Lock) -> object:
        try:
            return renew(lock)
        finally:
            attempts.append(None)

    with store.locked("ab", PATIENCE):
        client.set(key, "another's", px=12_000)
        monkeypatch.setattr(redis.lock.Lock, "reacquire", renew_and_count)
        eventually(lambda: len(attempts) > 2)
        assert client.pttl(key) <= 12_000


@pytest.mark.once
def test_many_threads_hold_the_lock_one_after_the_other(
    store: RedisTokenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_module, "_POLL_SECONDS", 0.001)

    def count() -> None:
        for _ in range(40):
            with store.locked("ab", 10 * PATIENCE):
                store.write("cd", b"%d" % (int(store.read("cd") or 0) + 1))

    threads = Threads()
    for _ in range(12):
        threads.start(count)
    assert threads.join() == [None] * 12
    assert store.read("cd") == b"480"


def test_redis_that_dies_under_the_lock_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = RedisServer(tmp_path)
    if not server.is_ours:
        pytest.skip("the server is not ours to stop")
    with RedisTokenStore(server.url).locked("ab", PATIENCE):
        server.stop()
    assert "not released (ConnectionError)" in warning(caplog)


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


# A Redis, or a double of one, that refuses scripts.


@pytest.fixture(params=list(RESTRICTIONS))
def restricted(request: pytest.FixtureRequest, server: RedisServer) -> Iterator[redis.Redis]:
    """The client of a user that may not do everything."""
    if not server.is_ours:
        pytest.skip("the server is not ours to make users in")
    rules = RESTRICTIONS[request.param]
    with server.client() as admin:
        admin.execute_command("ACL", "SETUSER", "restricted", "on", ">word", *rules.split())
        with redis.Redis.from_url(server.url, username="restricted", password="word") as client:
            yield client
        admin.execute_command("ACL", "DELUSER", "restricted")


def assert_lock_is_renewed_and_released(store: RedisTokenStore, client: Any, key: str) -> None:
    with store.locked("ab", PATIENCE):
        client.pexpire(key, 12_000)
        eventually(lambda: client.pttl(key) > 12_000)
    assert client.get(key) is None
    eventually(lambda: not lock_threads())


def assert_it_stores(store: RedisTokenStore) -> None:
    content = bytes(range(256))
    store.write("ab", content)
    assert store.read("ab") == content
    store.delete("ab")
    assert store.read("ab") is None


def test_user_that_may_run_no_scripts_will_do(
    restricted: redis.Redis,
    server: RedisServer,
    prefix: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(redis_module, "RENEWAL_SECONDS", 0.01)
    prefix = f"thingspace-auth:{prefix}"
    store = RedisTokenStore(restricted, prefix)
    assert_it_stores(store)
    assert_lock_is_renewed_and_released(store, server.client(), f"{prefix}ab:lock")
    assert caplog.records == []


def test_release_that_is_refused_is_a_warning_that_says_why(
    server: RedisServer, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Client(redis.Redis):
        def transaction(self, *arguments: Any, **options: Any) -> Any:
            raise redis.exceptions.NoPermissionError("no permission to run 'watch'")

    with RedisTokenStore(Client.from_url(server.url), prefix).locked("ab", PATIENCE):
        pass
    assert "not released (NoPermissionError)" in warning(caplog)


def test_double_without_scripts_will_do(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    client = pytest.importorskip("fakeredis").FakeRedis()
    monkeypatch.setattr(redis_module, "RENEWAL_SECONDS", 0.01)
    store = RedisTokenStore(client, "prefix:")
    assert_it_stores(store)
    assert_lock_is_renewed_and_released(store, client, "prefix:ab:lock")
    assert caplog.records == []


# A cluster.


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterOfOne]:
    if not hasattr(redis.RedisCluster, "transaction"):
        pytest.skip("this redis-py has no transactions for clusters")
    running = ClusterOfOne(tmp_path_factory.mktemp("cluster"))
    yield running
    running.stop()


@pytest.mark.parametrize("decode_responses", [False, True])
def test_cluster_will_do(
    cluster: ClusterOfOne,
    prefix: str,
    decode_responses: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(redis_module, "RENEWAL_SECONDS", 0.01)
    store = RedisTokenStore(cluster.client(decode_responses=decode_responses), prefix)
    assert_it_stores(store)
    client, key = cluster.client(), f"{prefix}ab:lock"
    assert_lock_is_renewed_and_released(store, client, key)
    assert caplog.records == []
    with store.locked("ab", PATIENCE):
        with pytest.raises(StoreBusy):
            store.locked("ab", 0.05).__enter__()
        client.set(key, "another's")
    assert client.get(key) == b"another's"
    assert "not released (LockNotOwnedError)" in warning(caplog)


def test_cluster_of_an_old_redis_py_is_refused_with_the_version_that_it_takes() -> None:
    class OldCluster(redis.RedisCluster):
        # Raises AttributeError.
        transaction = property()

        def __init__(self) -> None:
            pass

    with pytest.raises(TypeError, match=r"a redis\.RedisCluster of redis-py 6\.1 or newer"):
        RedisTokenStore(OldCluster())


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


def holds(store: RedisTokenStore, content: bytes) -> bool:
    return store.read("ab") == content


def test_client_may_cache_its_answers(
    cluster: ClusterOfOne, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # redis-py asks for a newer server than that of the tests, which can do all of it.
    monkeypatch.setattr(redis.connection.CacheProxyConnection, "MIN_ALLOWED_VERSION", "6.0.0")
    client = cluster.node(protocol=3, cache_config=redis.cache.CacheConfig())
    store, other = RedisTokenStore(client, prefix), RedisTokenStore(cluster.node(), prefix)
    for content in (b"old", b"new"):
        other.write("ab", content)
        # The server's word that an answer is outdated is on its way.
        eventually(partial(holds, store, content))
    with store.locked("ab", PATIENCE):
        assert other.read("ab:lock") is not None
    assert other.read("ab:lock") is None


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


@pytest.mark.parametrize(
    ("url", "where"),
    [
        ("redis://localhost", "localhost:6379/0"),
        ("rediss://:hidden@a.example:6380/3", "a.example:6380/3"),
        ("unix:///run/redis.sock?db=2", "/run/redis.sock/2"),
    ],
)
def test_server_is_told_from_others(url: str, where: str) -> None:
    assert where in repr(RedisTokenStore(url))


def test_service_of_a_sentinel_is_told_from_others() -> None:
    sentinel: Any = redis.Sentinel([("127.0.0.1", 1)])  # type: ignore[no-untyped-call]
    assert "'one/0'" in repr(RedisTokenStore(sentinel.master_for("one")))


def test_password_is_never_shown() -> None:
    store = RedisTokenStore("redis://:hidden@no-such-host.invalid:6379/0", "the-prefix:")
    where = "no-such-host.invalid:6379/0"
    assert repr(store) == f"RedisTokenStore({where!r}, prefix='the-prefix:')"
    assert repr(store) != repr(RedisTokenStore("redis://:hidden@other.invalid/0", "the-prefix:"))
    for operation in (
        store.read,
        store.delete,
        lambda name: store.locked(name, PATIENCE).__enter__(),
    ):
        with pytest.raises(StoreUnavailable, match="the-prefix") as caught:
            operation("ab")
        assert caught.value.__context__ is caught.value.__cause__ is None
        assert "hidden" not in str(caught.value)
        assert where in str(caught.value)


def test_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    monkeypatch.delitem(sys.modules, "thingspace_auth_adapters.stores.redis")
    with pytest.raises(ImportError, match=r"thingspace-auth-adapters\[redis\]"):
        stores.RedisTokenStore  # noqa: B018
