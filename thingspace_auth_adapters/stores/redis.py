"""A store in Redis, for the processes of many machines."""

from __future__ import annotations

import logging
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Any, Callable, TypeVar, Union

from .._model.checks import described, naming
from .token_store import StoreBusy, StoreUnavailable, TokenStore

try:
    import redis
    from redis.backoff import NoBackoff
    from redis.client import NEVER_DECODE
    from redis.exceptions import LockNotOwnedError, RedisError
    from redis.lock import Lock
    from redis.retry import Retry
except ImportError as error:
    raise ImportError(
        "RedisTokenStore needs redis: pip install 'thingspace-auth-adapters[redis]'"
    ) from error

Client = Union[redis.Redis, redis.RedisCluster]
T = TypeVar("T")

LOCK_SECONDS = 18
"""How long the lock outlives a process that was killed while it held it."""

RENEWAL_SECONDS = 4.5
"""How often a holder's thread renews its lock. It may then be starved for ten seconds."""

_SOCKET_TIMEOUT = 0.5
_POLL_SECONDS = 0.05

logger = logging.getLogger("thingspace_auth_adapters")


class RedisTokenStore(TokenStore):
    """Shares tokens through Redis.

    Args:
        client_or_url (redis.Redis | redis.RedisCluster | str): a synchronous client (its timeouts
            are how long a request can be held up if Redis does not answer), or a URL such as
            ``redis://localhost:6379/0``, for which half a second is waited.
        prefix (str): what the names of the keys begin with.

    Raises:
        ImportError: the extra ``[redis]`` is not installed.
        TypeError: ``client_or_url`` is neither, or redis-py is too old for a cluster.
        ValueError: the URL is not one for Redis.
    """

    @naming()
    def __init__(self, client_or_url: Client | str, prefix: str = "thingspace-auth:") -> None:
        if not isinstance(prefix, str):
            raise TypeError(f"prefix of RedisTokenStore must be a str, not {described(prefix)}")
        self._client_or_url = client_or_url
        self._client: Any = _client(client_or_url)
        self._prefix = prefix

    def __getstate__(self) -> dict[str, Any]:
        # The client of a URL is made again where a pickle is read.
        return {**vars(self), "_client": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._client = _client(self._client_or_url)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({_where(self._client)!r}, prefix={self._prefix!r})"

    def read(self, name: str) -> bytes | None:
        return self._try(lambda: _get(self._client, self._prefix + name))

    def write(self, name: str, content: bytes) -> None:
        self._try(lambda: self._client.set(self._prefix + name, content))

    def delete(self, name: str) -> None:
        self._try(lambda: self._client.delete(self._prefix + name))

    @contextmanager
    def locked(self, name: str, patience: float) -> Generator[None, None, None]:
        lock = _Lock(
            self._client,
            f"{self._prefix}{name}:lock",
            timeout=LOCK_SECONDS,
            blocking_timeout=patience,
            sleep=_POLL_SECONDS,
            # Renewed, and perhaps released, on another thread than the one that took it.
            thread_local=False,
        )
        if not self._try(lock.acquire):
            raise StoreBusy(f"{self!r} is locked by another process")
        done = threading.Event()
        try:
            # At the interpreter's end no thread starts any more; the lock then lasts LOCK_SECONDS.
            with suppress(RuntimeError):
                _start_renewing(lock, done)
            yield
        finally:
            done.set()
            try:
                lock.release()
            # Whatever it is, it must not take the place of what became of the body.
            except Exception as error:
                logger.warning("the store's lock was not released (%s)", type(error).__name__)

    def _try(self, command: Callable[[], T]) -> T:
        try:
            return command()
        except (RedisError, OSError, UnicodeError) as error:
            reason = type(error).__name__
        # Not while the error is handled: as this one's context it might show the URL.
        raise StoreUnavailable(f"{self!r} cannot be reached ({reason})")


class _Lock(Lock):
    """redis-py's lock without its scripts, which a restricted user may not run."""

    def register_scripts(self) -> None:
        pass

    def do_release(self, expected_token: Any) -> None:
        self._if_owned(expected_token, lambda pipe: pipe.delete(self.name))

    def do_reacquire(self) -> Any:
        self._if_owned(self.local.token, lambda pipe: pipe.pexpire(self.name, LOCK_SECONDS * 1000))

    def _if_owned(self, token: bytes, command: Callable[[Any], object]) -> None:
        """Send the command, unless the lock was lost before Redis executes it."""

        def step(pipe: Any) -> None:
            if _get(pipe, self.name) != token:
                raise LockNotOwnedError("the lock has expired or is another's")
            pipe.multi()
            command(pipe)

        self.redis.transaction(step, self.name)


def _get(client: Any, key: str) -> bytes | None:
    # The user's client may decode answers, and a client that caches them wants to know the keys.
    content: bytes | None = client.execute_command("GET", key, keys=[key], **{NEVER_DECODE: True})
    return content


def _where(client: Any) -> str:
    """What tells servers apart, without a password."""
    is_cluster = isinstance(client, redis.RedisCluster)
    if is_cluster:
        return str(min(node.name for node in client.get_nodes()))
    at: dict[str, Any] = client.get_connection_kwargs()
    # A sentinel's client knows the name of a service, and asks where that is.
    service = getattr(client.connection_pool, "service_name", None)
    host, port = at.get("host", "localhost"), at.get("port", 6379)
    server = service or at.get("path") or f"{host}:{port}"
    return f"{server}/{at.get('db', 0)}"


def _client(client_or_url: Client | str) -> Client:
    if isinstance(client_or_url, str):
        return _client_of_url(client_or_url)
    is_client = isinstance(client_or_url, (redis.Redis, redis.RedisCluster))
    if not is_client or not hasattr(client_or_url, "transaction"):
        raise TypeError(
            "client_or_url of RedisTokenStore must be a redis.Redis, a URL, or a redis.RedisCluster"
            f" of redis-py 6.1 or newer, not {described(client_or_url)}"
        )
    return client_or_url


def _client_of_url(url: str) -> redis.Redis:
    with suppress(TypeError, ValueError, RedisError):
        client = redis.Redis.from_url(
            url,
            socket_timeout=_SOCKET_TIMEOUT,
            socket_connect_timeout=_SOCKET_TIMEOUT,
            # The request goes on without a store that does not answer at once.
            retry=Retry(NoBackoff(), 0),
        )
        # An unknown option in the URL would show only when a command connects.
        pool = client.connection_pool
        pool.connection_class(**pool.connection_kwargs)
        return client
    # In words of our own: redis' may quote part of the URL, and so of a password.
    raise ValueError(
        "client_or_url of RedisTokenStore is not a Redis URL like redis://localhost:6379/0"
        " (user name and password in it are percent-encoded)"
    )


def _start_renewing(lock: Lock, done: threading.Event) -> None:
    """Renew the lock on a thread, which dies with its process, until the event is set."""

    def renew() -> None:
        while not done.wait(RENEWAL_SECONDS):
            # Redis may answer the next time, before the lock has run out.
            with suppress(Exception):
                lock.reacquire()

    threading.Thread(target=renew, name="thingspace-auth-lock", daemon=True).start()
