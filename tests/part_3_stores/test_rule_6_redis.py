"""Part 3, rule 6, for Redis: how long its lock lasts, what is refused, and what is never shown."""

from __future__ import annotations

import copy
import pickle
import re
import socket
import sys
import threading
import time
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


class Lock:
    """The lock of an entry, as the server sees it."""

    def __init__(self, client: Any, prefix: str) -> None:
        self.client = client
        self.key = f"{prefix}ab:lock"

    @property
    def value(self) -> Any:
        return self.client.get(self.key)

    @property
    def lifetime(self) -> int:
        """In milliseconds."""
        return int(self.client.pttl(self.key))

    def set(self, value: str, lifetime: int | None = None) -> None:
        self.client.set(self.key, value, px=lifetime)


@pytest.fixture
def prefix(redis_server: RedisServer, tmp_path: Path) -> str:
    return f"{redis_server.prefix}{tmp_path}:"


@pytest.fixture
def store(redis_server: RedisServer, prefix: str) -> RedisTokenStore:
    return RedisTokenStore(redis_server.url, prefix)


@pytest.fixture
def lock(redis_server: RedisServer, prefix: str) -> Lock:
    return Lock(redis_server.client(), prefix)


@pytest.fixture
def often_renewed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_module, "RENEWAL_SECONDS", 0.01)


def lock_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == LOCK_THREAD]


# How long the lock lasts.


@pytest.fixture
def lifetimes(
    store: RedisTokenStore, lock: Lock, monkeypatch: pytest.MonkeyPatch
) -> list[tuple[float, float]]:
    """The lock's after it was taken and after two renewals, and the time to the next renewal."""
    seen: list[tuple[float, float]] = []

    class Event:
        def wait(self, seconds: float) -> bool:
            seen.append((lock.lifetime / 1000, seconds))
            # A renewal that does nothing would leave it too short.
            lock.client.pexpire(lock.key, 10_000)
            return len(seen) == 3

    start: Any = redis_module._start_renewing
    monkeypatch.setattr(redis_module, "_start_renewing", lambda lock, done: start(lock, Event()))
    with store.locked("ab", PATIENCE):
        eventually(lambda: len(seen) == 3)
    return seen


def test_lock_outlives_a_killed_holder_by_20_seconds_at_most(
    lifetimes: list[tuple[float, float]],
) -> None:
    for lifetime, _ in lifetimes:
        assert 0 < lifetime <= 20 - redis_module._POLL_SECONDS


def test_lock_is_renewed_early_enough_for_a_process_that_is_starved_for_ten_seconds(
    lifetimes: list[tuple[float, float]],
) -> None:
    for lifetime, seconds in lifetimes:
        assert lifetime - seconds > 10


def assert_renewed_and_released(store: RedisTokenStore, lock: Lock) -> None:
    # Those of other tests may be about to end.
    eventually(lambda: not lock_threads())
    with store.locked("ab", PATIENCE):
        assert [thread.daemon for thread in lock_threads()] == [True]
        lock.client.pexpire(lock.key, 12_000)
        eventually(lambda: lock.lifetime > 12_000)
    assert lock.value is None
    eventually(lambda: not lock_threads())


def test_lock_is_renewed_while_it_is_held_and_then_no_more(
    store: RedisTokenStore, lock: Lock, often_renewed: None
) -> None:
    assert_renewed_and_released(store, lock)


@pytest.mark.parametrize("error", [redis.ConnectionError(), ValueError()])
def test_lock_is_renewed_although_that_failed_once(often_renewed: None, error: Exception) -> None:
    asked: list[None] = []
    done = threading.Event()

    class Failing:
        def reacquire(self) -> None:
            asked.append(None)
            if len(asked) == 1:
                raise error
            done.set()

    redis_module._start_renewing(Failing(), done)  # type: ignore[arg-type]
    eventually(lambda: not lock_threads())
    assert len(asked) == 2


def test_lock_of_another_is_not_renewed(
    store: RedisTokenStore, lock: Lock, often_renewed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts: list[None] = []
    renew = redis.lock.Lock.reacquire

    def renew_and_count(lock: redis.lock.Lock) -> object:
        try:
            return renew(lock)
        finally:
            attempts.append(None)

    with store.locked("ab", PATIENCE):
        lock.set("another's", 12_000)
        monkeypatch.setattr(redis.lock.Lock, "reacquire", renew_and_count)
        eventually(lambda: len(attempts) > 2)
        assert lock.lifetime <= 12_000


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


@pytest.mark.parametrize("loss", ["taken", "expired", "taken while it is released"])
def test_lock_that_was_lost_is_a_warning_and_that_of_another_is_left_alone(
    store: RedisTokenStore,
    lock: Lock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    loss: str,
) -> None:
    begin = redis.client.Pipeline.multi

    def begin_too_late(pipeline: redis.client.Pipeline) -> None:
        lock.set("another's")
        begin(pipeline)

    with store.locked("ab", PATIENCE):
        if loss == "taken":
            lock.set("another's")
        elif loss == "expired":
            lock.client.delete(lock.key)
        else:
            monkeypatch.setattr(redis.client.Pipeline, "multi", begin_too_late)
    assert lock.value == (None if loss == "expired" else b"another's")
    assert "not released (LockNotOwnedError)" in warning(caplog)


@pytest.mark.once
def test_many_threads_hold_the_lock_one_after_the_other(
    store: RedisTokenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_module, "_POLL_SECONDS", 0.001)

    def count() -> None:
        for _ in range(20):
            with store.locked("ab", 10 * PATIENCE):
                store.write("cd", b"%d" % (int(store.read("cd") or 0) + 1))

    threads = Threads()
    for _ in range(8):
        threads.start(count)
    assert threads.join() == [None] * 8
    assert store.read("cd") == b"160"


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
    store: RedisTokenStore, lock: Lock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As at the interpreter's end."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with store.locked("ab", PATIENCE):
        assert lock.value is not None
    assert lock.value is None


# A Redis, or a double of one, that refuses scripts; and a cluster.


def assert_it_will_do(store: RedisTokenStore, lock: Lock) -> None:
    content = bytes(range(256))
    store.write("ab", content)
    assert store.read("ab") == content
    store.delete("ab")
    assert store.read("ab") is None
    assert_renewed_and_released(store, lock)


@pytest.fixture(params=list(RESTRICTIONS))
def restricted(request: pytest.FixtureRequest, redis_server: RedisServer) -> Iterator[redis.Redis]:
    """The client of a user that may not do everything."""
    if not redis_server.is_ours:
        pytest.skip("the server is not ours to make users in")
    rules = RESTRICTIONS[request.param]
    with redis_server.client() as admin:
        admin.execute_command("ACL", "SETUSER", "restricted", "on", ">word", *rules.split())
        url = redis_server.url
        with redis.Redis.from_url(url, username="restricted", password="word") as client:
            yield client
        admin.execute_command("ACL", "DELUSER", "restricted")


def test_user_that_may_run_no_scripts_will_do(
    restricted: redis.Redis,
    lock: Lock,
    prefix: str,
    often_renewed: None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    prefix = f"thingspace-auth:{prefix}"
    assert_it_will_do(RedisTokenStore(restricted, prefix), Lock(lock.client, prefix))
    assert caplog.records == []


def test_release_that_is_refused_is_a_warning_that_says_why(
    redis_server: RedisServer, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Client(redis.Redis):
        def transaction(self, *arguments: Any, **options: Any) -> Any:
            raise redis.exceptions.NoPermissionError("no permission to run 'watch'")

    with RedisTokenStore(Client.from_url(redis_server.url), prefix).locked("ab", PATIENCE):
        pass
    assert "not released (NoPermissionError)" in warning(caplog)


def test_double_without_scripts_will_do(
    often_renewed: None, caplog: pytest.LogCaptureFixture
) -> None:
    client = pytest.importorskip("fakeredis").FakeRedis()
    assert_it_will_do(RedisTokenStore(client, "prefix:"), Lock(client, "prefix:"))
    assert caplog.records == []


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
    often_renewed: None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = RedisTokenStore(cluster.client(decode_responses=decode_responses), prefix)
    lock = Lock(cluster.client(), prefix)
    assert_it_will_do(store, lock)
    assert caplog.records == []
    with store.locked("ab", PATIENCE):
        with pytest.raises(StoreBusy):
            store.locked("ab", 0.05).__enter__()
        lock.set("another's")
    assert lock.value == b"another's"
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
        began = time.monotonic()
        with pytest.raises(StoreUnavailable, match="Timeout"):
            store.read("ab")
        assert time.monotonic() - began < 5.0
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


def test_client_may_decode_its_answers(
    redis_server: RedisServer, prefix: str, lock: Lock, often_renewed: None
) -> None:
    client = redis.Redis.from_url(redis_server.url, decode_responses=True)
    assert_it_will_do(RedisTokenStore(client, prefix), lock)


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


def test_prefix_keeps_stores_apart(redis_server: RedisServer, prefix: str) -> None:
    one, other = (RedisTokenStore(redis_server.url, prefix + name) for name in ("1:", "2:"))
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
