"""Time: the one place that reads clocks and waits, so that tests can put another in its stead."""

from __future__ import annotations

import time


class Clock:
    """The machine's clocks. All values are seconds."""

    # Looked up at each call, so that freezegun and time-machine can move them.

    def time(self) -> float:
        """Unix timestamp (UTC). Tokens end by this clock, which may jump."""
        return time.time()

    def monotonic(self) -> float:
        """Never runs backwards. Waits and deadlines go by this clock."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Block this thread, or suspend this greenlet."""
        time.sleep(seconds)

    async def asleep(self, seconds: float) -> None:
        """Suspend this task, on asyncio or trio."""
        from anyio import sleep

        await sleep(seconds)
