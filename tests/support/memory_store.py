"""A store that can be down, or full, or lose its locks."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any


def memory_store() -> Any:
    from thingspace_auth_adapters.stores import StoreUnavailable, TokenStore

    class MemoryStore(TokenStore):
        def __init__(self) -> None:
            super().__init__()
            self.entries: dict[str, bytes] = {}
            self.is_down = self.is_full = self.fails_to_unlock = False
            self._locks: dict[str, threading.Lock] = {}

        def _check(self, is_full: bool = False) -> None:
            if self.is_down or is_full:
                raise StoreUnavailable("it is down, or full")

        def read(self, name: str) -> bytes | None:
            self._check()
            return self.entries.get(name)

        def write(self, name: str, content: bytes) -> None:
            self._check(self.is_full)
            self.entries[name] = content

        def delete(self, name: str) -> None:
            self._check()
            self.entries.pop(name, None)

        @contextlib.contextmanager
        def locked(self, name: str, patience: float) -> Iterator[None]:
            self._check()
            with self._locks.setdefault(name, threading.Lock()):
                yield
            self._check(self.fails_to_unlock)

    return MemoryStore()
