"""The kinds of stores: how a process makes one."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest

from .redis_server import RedisServer

EXAMPLES = Path(__file__).parents[2] / "examples"


class StoreKind(NamedTuple):
    """A kind of store.

    Attributes:
        module: where its class is.
        code: makes ``store``, in this process or in another.
        unreachable: the same, for one that nobody can reach.
    """

    module: str
    code: str
    unreachable: str

    def make(self) -> Any:
        return made(self.code)


def made(code: str) -> Any:
    names: dict[str, Any] = {}
    exec(code, names)
    return names["store"]


def file_kind(directory: Path) -> StoreKind:
    pytest.importorskip("filelock")
    pytest.importorskip("platformdirs")
    code = (
        "from thingspace_auth_adapters.stores import FileTokenStore as Store\nstore = Store({!r})"
    )
    (directory / "file").touch()
    return StoreKind(
        "thingspace_auth_adapters.stores.file",
        code.format(str(directory / "store")),
        code.format(str(directory / "file" / "store")),
    )


def redis_kind(directory: Path, server: RedisServer) -> StoreKind:
    code = (
        "from thingspace_auth_adapters.stores import RedisTokenStore as Store\n"
        "store = Store({!r}, prefix={!r})"
    )
    prefix = f"{server.prefix}{directory}:"
    return StoreKind(
        "thingspace_auth_adapters.stores.redis",
        code.format(server.url, prefix),
        code.format("unix:///nowhere/redis.socket", prefix),
    )


def sqlite_kind(directory: Path) -> StoreKind:
    pytest.importorskip("requests")
    code = (
        f"import sys\nsys.path.insert(0, {str(EXAMPLES)!r})\n"
        "from sqlite_store import SqliteTokenStore\nsys.path.pop(0)\n"
        "store = SqliteTokenStore({!r})"
    )
    return StoreKind(
        "sqlite_store",
        code.format(str(directory / "tokens.db")),
        code.format(str(directory / "nowhere" / "tokens.db")),
    )
