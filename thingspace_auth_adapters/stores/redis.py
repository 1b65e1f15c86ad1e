"""A store in Redis, for the processes of many machines."""

from __future__ import annotations

import logging
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Any, Callable, TypeVar

from .token_store import StoreBusy, StoreUnavailable, TokenStore

try:
    import redis
    from redis.backoff import NoBackoff
    from redis.client import NEVER_DECODE
    from redis.exceptions import LockError, RedisError
    from redis.lock import Lock
    from redis.retry import Retry
except ImportError as error:
    raise ImportError(
        "RedisTokenStore needs redis: pip install 'thingspace-auth-adapters[redis]'"
    ) from error

T = TypeVar("T")

LOCK_SECONDS = 18.0
"""How long the lock outlives a process that was killed while it held it."""

RENEWAL_SECONDS = 4.5
"""How often a holder's thread renews its lock. It may then be starved for ten seconds."""

_SOCKET_TIMEOUT = 0.5
_POLL_SECONDS = 0.05

logger = logging.getLogger("thingspace_auth_adapters")


class RedisTokenStore(TokenStore):
    """Shares tokens through Redis.

    Args:
        client_or_url (redis.Redis | str): a synchronous client (its timeouts are how long a
            request can be held up if Redis does not answer), or a URL such as
            ``redis://localhost:6379/0``, for which half a second is waited.
        prefix (str): what the names of the keys begin with.

    Raises:
        ImportError: the extra ``[redis]`` is not installed.
        TypeError: ``client_or_url`` is neither.
        ValueError: the URL is not one for Redis.
    """

    def __init__(self, client_or_url: redis.Redis | str, prefix: str = "thingspace-auth:") -> None:
        if not isinstance(prefix, str):
            raise TypeError(f"prefix of RedisTokenStore must be a str, not {type(prefix).__name__}")
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
        return f"{type(self).__name__}(prefix={self._prefix!r})"

    def read(self, name: str) -> bytes | None:
        key = self._prefix + name
        content: bytes | None = self._try(
            # The user's client may decode answers; content is bytes.
            lambda: self._client.execute_command("GET", key, **{NEVER_DECODE: True})
        )
        return content

    def write(self, name: str, content: bytes) -> None:
        self._try(lambda: self._client.set(self._prefix + name, content))

    def delete(self, name: str) -> None:
        self._try(lambda: self._client.delete(self._prefix + name))

    @contextmanager
    def locked(self, name: str, patience: float) -> Generator[None, None, None]:
        lock = self._client.lock(
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
            _release(lock)

    def _try(self, command: Callable[[], T]) -> T:
        try:
            return command()
        except (RedisError, OSError, UnicodeError) as error:
            reason = type(error).__name__
        # Not while the error is handled: as this one's context it might show the URL.
        raise StoreUnavailable(f"{self!r} cannot be reached ({reason})")


def _client(client_or_url: redis.Redis | str) -> redis.Redis:
    if isinstance(client_or_url, str):
        return _client_of_url(client_or_url)
    if not isinstance(client_or_url, redis.Redis):
        raise TypeError(
            "client_or_url of RedisTokenStore must be a redis.Redis or a URL,"
            f" not {type(client_or_url).__name__}"
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
            try:
                lock.reacquire()
            except LockError:
                return
            except (RedisError, OSError):
                # Redis may answer the next time, before the lock has run out.
                continue

    threading.Thread(target=renew, name="thingspace-auth-lock", daemon=True).start()


def _release(lock: Lock) -> None:
    try:
        lock.release()
    except (RedisError, OSError):
        logger.warning("the store's lock was lost before it was released")
