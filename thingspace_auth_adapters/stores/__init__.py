"""Stores: one access token and one M2M session for many processes.

``FileTokenStore`` needs the extra ``[files]``, ``RedisTokenStore`` the extra ``[redis]``. Subclass
``TokenStore`` for a store of your own.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from .token_store import StoreBusy, StoreUnavailable, TokenStore

if TYPE_CHECKING:
    from .file import FileTokenStore as FileTokenStore
    from .redis import RedisTokenStore as RedisTokenStore

# Without RedisTokenStore, which needs redis: a star import must not.
__all__ = ["FileTokenStore", "StoreBusy", "StoreUnavailable", "TokenStore"]

_RESOLVED_ON_FIRST_USE = {"FileTokenStore": "file", "RedisTokenStore": "redis"}


def __getattr__(name: str) -> object:
    if name in _RESOLVED_ON_FIRST_USE:
        return getattr(import_module(f".{_RESOLVED_ON_FIRST_USE[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *_RESOLVED_ON_FIRST_USE})
