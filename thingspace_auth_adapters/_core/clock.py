"""The machine's clocks, and how a caller lets time pass. Nothing else reads or waits."""

from __future__ import annotations

import threading
import time
import types
from concurrent.futures import Future, wait
from typing import Any

POLL_SECONDS = 0.01
"""How often a greenlet looks whether a future is done."""


class Clock:
    """All values are seconds. Looked up at each call, so that freezegun and time-machine work."""

    def time(self) -> float:
        """Unix timestamp (UTC). Tokens end by this clock, which may jump."""
        return time.time()

    def monotonic(self) -> float:
        """Never runs backwards. Waits and deadlines go by this clock."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Block this thread, or suspend this greenlet."""
        time.sleep(seconds)

    def wait(self, future: Future[Any], seconds: float) -> None:
        """As :meth:`sleep`, but no longer than until the future is done."""
        if not self.has_greenlets:
            wait([future], min(max(seconds, 0.0), threading.TIMEOUT_MAX))
            return
        # A lock would stop the greenlet that leads, unless locks were replaced, too.
        ends_at = self.monotonic() + seconds
        while not future.done() and self.monotonic() < ends_at:
            time.sleep(POLL_SECONDS)

    @property
    def has_greenlets(self) -> bool:
        """Whether callers may share a thread: gevent and eventlet replace ``time.sleep``."""
        return not isinstance(time.sleep, types.BuiltinFunctionType)
