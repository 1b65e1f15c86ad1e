"""The port behind which processes share tokens: four methods over names and bytes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager

from .._model.checks import described


class StoreUnavailable(Exception):
    """A store cannot be reached, or its lock cannot be had. It never stops a request."""


class StoreBusy(StoreUnavailable):
    """A store's lock was not free in time."""


class TokenStore(ABC):
    """Keeps entries that processes share; subclass it to keep them where you like.

    What is stored for whom, and how long it is good, is not the store's affair. The rules:

    - A name is up to 64 characters of ``[0-9a-f]``.
    - Two stores that share what they keep have an equal ``repr``, and others have another one: a
      process tells their counts of logins apart by it, and messages name it.
    - Content is opaque bytes. It holds tokens, so nobody else may read it; it never holds the
      client secret or a password.
    - Methods block, and may run on any thread, several at a time. Under an asynchronous client
      they run in the daemon thread that leads the refresh.
    - A lock excludes threads as well as processes. It may be released on another thread than the
      one that took it. It does not outlive its process by more than 20 seconds.
    - While one name is locked, other names can be locked, and every entry can be read and written.
    - What cannot be reached, for whatever reason, is a :class:`StoreUnavailable`. Its message goes
      to the log: it quotes no content and no password.
    """

    @property
    def how_to_clear(self) -> str:
        """How an operator forgets what is stored, for messages; empty if there is no advice."""
        return ""

    @abstractmethod
    def read(self, name: str) -> bytes | None:
        """Return an entry's content, or ``None`` if there is no such entry.

        Raises:
            StoreUnavailable: the store cannot be reached.
        """

    @abstractmethod
    def write(self, name: str, content: bytes) -> None:
        """Make or replace an entry, so that nobody ever reads half of it.

        Raises:
            StoreUnavailable: the store cannot be reached.
        """

    @abstractmethod
    def delete(self, name: str) -> None:
        """Delete an entry, if there is one.

        Raises:
            StoreUnavailable: the store cannot be reached.
        """

    @abstractmethod
    def locked(self, name: str, patience: float) -> AbstractContextManager[object]:
        """Return a context manager that holds the lock of this name, and waits for it first.

        What its body raises passes through unchanged, and the lock is released.

        Args:
            name: of the entry.
            patience: the seconds that it waits at most.

        Raises:
            StoreBusy: on entering, the lock was not free in time.
            StoreUnavailable: on entering, the store cannot be reached.
        """


def check_store(store: object) -> None:
    """Raise :class:`TypeError` unless it is one."""
    if not isinstance(store, TokenStore):
        raise TypeError(
            "store must be a TokenStore, such as FileTokenStore(path) or RedisTokenStore(url),"
            f" not {described(store)}"
        )
