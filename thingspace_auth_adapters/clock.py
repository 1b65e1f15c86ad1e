"""Time: the one place that reads clocks and waits, so that tests can put another in its stead."""

from __future__ import annotations

import math
import time
from typing import Any, Callable, NamedTuple


class Clock:
    """The machine's clocks. All values are seconds."""

    # The functions themselves, since every request reads both.
    monotonic: Callable[[], float] = staticmethod(time.monotonic)
    """Never runs backwards, but stands still on some machines while they sleep."""

    time: Callable[[], float] = staticmethod(time.time)
    """Unix timestamp (UTC): comparable between processes and machines, but it may jump."""

    def sleep(self, seconds: float) -> None:
        """Block this thread."""
        time.sleep(seconds)

    async def asleep(self, seconds: float) -> None:
        """Suspend this task, on asyncio or trio."""
        from anyio import sleep

        await sleep(seconds)


class Term(NamedTuple):
    """When something ends, by both clocks; it has ended as soon as either says so.

    The wall clock is comparable between processes but may jump; the monotonic one is not, but
    does not. ``math.inf`` stands for never.
    """

    wall: float = math.inf
    monotonic: float = math.inf

    def has_ended(self, clock: Clock) -> bool:
        return clock.time() >= self.wall or clock.monotonic() >= self.monotonic

    def earlier(self, seconds: float) -> Term:
        return Term(self.wall - seconds, self.monotonic - seconds)

    def __reduce__(self) -> tuple[Any, ...]:
        # A monotonic reading means nothing in another process.
        return Term, (self.wall,)


OVER = Term(-math.inf, -math.inf)
