"""What tests of stores share: processes that share one, which are auth objects here."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest

from thingspace_auth_adapters import VzM2mCredentials
from thingspace_auth_adapters._core.shared import SharedSource
from thingspace_auth_adapters.stores import StoreUnavailable, TokenStore

from ..support.kinds import PASSWORD, Kind
from ..support.store_kinds import StoreKind, file_kind, redis_kind, sqlite_kind
from ..support.virtual import API, Platform, VirtualClock


class Disk:
    """What all processes share, and what goes wrong with it.

    Attributes:
        entries: the content of each entry.
        broken: the names of the methods that fail, ``"unlock"`` among them.
        events: what was done, in order: a verb and the entry's name.
        held: the names whose locks are held, in the order in which they were taken.
        on_lock: called before a lock is taken.
    """

    def __init__(self) -> None:
        self.entries: dict[str, bytes] = {}
        self.broken: set[str] = set()
        self.events: list[tuple[str, str]] = []
        self.held: list[str] = []
        self.on_lock: Callable[[str], object] = bool
        self.locks: dict[str, threading.Lock] = {}

    def written(self) -> list[str]:
        return [name for verb, name in self.events if verb == "write"]


class MemoryStore(TokenStore):
    """One process's way to the disk."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def read(self, name: str) -> bytes | None:
        self._note("read", name)
        return self._disk.entries.get(name)

    def write(self, name: str, content: bytes) -> None:
        self._note("write", name)
        self._disk.entries[name] = content

    def delete(self, name: str) -> None:
        self._note("delete", name)
        self._disk.entries.pop(name, None)

    @contextlib.contextmanager
    def locked(self, name: str, patience: float) -> Iterator[None]:
        disk = self._disk
        disk.on_lock(name)
        self._note("lock", name)
        with disk.locks.setdefault(name, threading.Lock()):
            disk.held.append(name)
            try:
                yield
            finally:
                disk.held.remove(name)
        self._note("unlock", name)

    def _note(self, verb: str, name: str) -> None:
        if verb in self._disk.broken:
            raise StoreUnavailable("the disk is gone")
        self._disk.events.append((verb, name))

    def __repr__(self) -> str:
        return "MemoryStore()"


def account(username: str = "user", password: str = PASSWORD, **options: Any) -> VzM2mCredentials:
    return VzM2mCredentials(username, password, **options)


class Processes:
    """Auth objects of processes that share a store, each with a store object of its own."""

    def __init__(self, kind: Kind, platform: Platform, disk: Disk, clock: VirtualClock) -> None:
        self.kind = kind
        self.platform = platform
        self.disk = disk
        self.clock = clock
        self.make_store: Callable[[], Any] = lambda: MemoryStore(disk)

    def new(self, **options: Any) -> Any:
        return self.kind.auth(
            self.platform, **{"store": self.make_store(), "m2m": account(), **options}
        )

    def without_m2m(self, **options: Any) -> Any:
        return self.new(m2m=None, **options)

    def get(self, auth: Any, url: str = API) -> int:
        """The status of a request of such a process."""
        return self.kind.get(auth, url, self.platform).status


def names_of(auth: Any) -> dict[str, str]:
    """The names of an auth object's entries."""
    found = {"token": auth._tokens.bearers.source.entry.name}
    if isinstance(auth._tokens.sessions.source, SharedSource):
        found["session"] = auth._tokens.sessions.source.entry.name
        found["logins"] = auth._tokens.session_source.lock.name
    return found


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def on_disk(kind: Kind, platform: Platform, disk: Disk, clock: VirtualClock) -> Processes:
    """Processes in virtual time, whose store in memory a test can look at."""
    return Processes(kind, platform, disk, clock)


# What a store does is its own tests' affair: here it only is one of two.
@pytest.fixture(params=["memory", pytest.param("file", marks=pytest.mark.once)])
def processes(request: pytest.FixtureRequest, on_disk: Processes, tmp_path: Path) -> Processes:
    """Processes in virtual time."""
    if request.param == "file":
        on_disk.make_store = file_kind(tmp_path).make
    return on_disk


@pytest.fixture(params=["file", "redis", "sqlite"])
def store_kind(request: pytest.FixtureRequest, tmp_path: Path) -> StoreKind:
    """Each kind of store, for real processes."""
    if request.param == "file":
        return file_kind(tmp_path)
    if request.param == "sqlite":
        return sqlite_kind(tmp_path)
    return redis_kind(tmp_path, request.getfixturevalue("redis_server"))
