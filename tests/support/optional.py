"""What only asynchronous clients bring along."""

from __future__ import annotations

from typing import Any

try:
    import anyio as _anyio
except ImportError:  # requests is tested alone
    anyio: Any = None
else:
    anyio = _anyio

__all__ = ["anyio"]
