"""A store in Redis, for the processes of many machines."""

from __future__ import annotations

import logging
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from .store import LOCK_PATIENCE_SECONDS, StoreUnavailable, TokenStore

try:
    import redis
    from redis.backoff import NoBackoff
    from redis.exceptions import LockError, RedisError
    from redis.retry import Retry
except ImportError as error:
    raise ImportError(
        "RedisTokenStore needs redis: pip install 'thingspace-auth-adapters[redis]'"
    ) from error

LOCK_SECONDS = 4.0
"""How long the lock outlives a process that was killed while it held it."""

_SOCKET_TIMEOUT = 0.5
_POLL_SECONDS = 0.05

logger = logging.getLogger("thingspace_auth_adapters")


class RedisTokenStore(TokenStore):
    """Shares one access token and one M2M session through Redis.

    Args:
        client_or_url (redis.Redis | str): a client (its timeouts are how long a request can be
            held up where Redis does not answer; its commands must not be ``asyncio``'s), or a URL
            such as ``redis://localhost:6379/0``, for which half a second is waited.
        prefix (str): what the names of the keys begin with.

    Raises:
        ImportError: the extra ``[redis]`` is not installed.
        TypeError: ``client_or_url`` is neither.
        ValueError: it is no URL of Redis's.
    """

    def __init__(self, client_or_url: Any, prefix: str = "thingspace-auth:") -> None:
        super().__init__()
        if not isinstance(prefix, str):
            raise TypeError(f"prefix must be a str, not {type(prefix).__name__}")
        self._client_or_url = client_or_url
        self._client = _client(client_or_url)
        self._prefix = prefix

    def __getstate__(self) -> dict[str, Any]:
        # The client of a URL is made anew where a pickle is read.
        return {**super().__getstate__(), "_client": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._client = _client(self._client_or_url)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(prefix={self._prefix!r})"

    def read(self, name: str) -> bytes | None:
        with self._reported():
            content = self._client.get(self._prefix + name)
        return content.encode() if isinstance(content, str) else content

    def write(self, name: str, content: bytes) -> None:
        with self._reported():
            self._client.set(self._prefix + name, content)

    def delete(self, name: str) -> None:
        with self._reported():
            self._client.delete(self._prefix + name)

    @contextmanager
    def locked(self, name: str) -> Generator[None, None, None]:
        lock = self._client.lock(
            f"{self._prefix}{name}:lock",
            timeout=LOCK_SECONDS,
            blocking_timeout=LOCK_PATIENCE_SECONDS,
            sleep=_POLL_SECONDS,
            # The thread that keeps the lock alive is not the one that acquired it.
            thread_local=False,
        )
        with self._reported():
            if not lock.acquire():
                raise StoreUnavailable(f"{self!r} is locked by another process")
        alive = _kept_alive(lock)
        try:
            yield
        finally:
            alive.set()
            _release(lock)

    @contextmanager
    def _reported(self) -> Generator[None, None, None]:
        try:
            yield
        except (RedisError, OSError, UnicodeError) as error:
            reason = type(error).__name__
        else:
            return
        raise StoreUnavailable(f"{self!r} cannot be reached ({reason})")


def _client(client_or_url: Any) -> Any:
    if isinstance(client_or_url, str):
        return _client_of_url(client_or_url)
    if not isinstance(client_or_url, redis.Redis):
        raise TypeError(
            f"client_or_url must be a redis.Redis or a URL, not {type(client_or_url).__name__}"
        )
    return client_or_url


def _client_of_url(url: str) -> Any:
    try:
        return redis.Redis.from_url(
            url,
            socket_timeout=_SOCKET_TIMEOUT,
            socket_connect_timeout=_SOCKET_TIMEOUT,
            # A store that does not answer at once is gone on without.
            retry=Retry(NoBackoff(), 0),
        )
    except ValueError:
        # Told anew: the original may quote a part of the URL, and so of a password.
        problem = ValueError(
            "client_or_url is no Redis URL like redis://localhost:6379/0"
            " (user name and password in it are percent-encoded)"
        )
    raise problem


def _kept_alive(lock: Any) -> threading.Event:
    """Have a thread renew the lock, which a killed process cannot, until the event is set."""
    done = threading.Event()

    def renew() -> None:
        while not done.wait(LOCK_SECONDS / 4):
            try:
                lock.reacquire()
            except LockError:
                return
            except (RedisError, OSError):
                # It may answer the next time, before the lock has run out.
                continue

    threading.Thread(target=renew, name="thingspace-auth-lock", daemon=True).start()
    return done


def _release(lock: Any) -> None:
    try:
        lock.release()
    except (LockError, RedisError, OSError):
        logger.warning("the lock of the store was lost before it was released")
