"""Stores: providers that let many processes share one access token and one M2M session.

Each needs an extra of its own: ``FileTokenStore`` ``[files]``, ``RedisTokenStore`` ``[redis]``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .file import FileTokenStore as FileTokenStore
    from .redis import RedisTokenStore as RedisTokenStore

__all__ = ["FileTokenStore", "RedisTokenStore"]

_RESOLVED_ON_FIRST_USE = {"FileTokenStore": "file", "RedisTokenStore": "redis"}


def __getattr__(name: str) -> Any:
    if name in _RESOLVED_ON_FIRST_USE:
        return getattr(import_module(f".{_RESOLVED_ON_FIRST_USE[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
