"""Calls of an endpoint, tried again after transient failures."""

from __future__ import annotations

import logging
import math
import random
from typing import Callable, TypeVar

from .._wire.messages import HttpRequest, Refused
from .clock import Clock
from .effects import Pause, Send, Steps
from .single_flight import Failed

T = TypeVar("T")

MOST_ATTEMPTS = 4
_FIRST_PAUSE_SECONDS = 0.5

logger = logging.getLogger("thingspace_auth_adapters")


class Budget:
    """What may be spent on one acquisition. A new leader goes on with what is left.

    Args:
        clock: the time.
        timeout: seconds for connecting, and for each read. Attempts begin within two of them, and
            one later all must have ended.
        attempts: calls in all.
    """

    def __init__(self, clock: Clock, timeout: float, attempts: int = MOST_ATTEMPTS) -> None:
        self._clock = clock
        self._timeout = timeout
        self._attempts = attempts
        self._spent = 0
        self._begun_at = math.inf
        self._not_before = 0.0

    @property
    def is_spent(self) -> bool:
        """Whether no further attempt may begin."""
        age = self._clock.monotonic() - self._begun_at
        return self._spent >= self._attempts or age >= 2 * self._timeout

    @property
    def seconds_to_wait(self) -> float:
        """Until the next attempt may begin; a new leader honours the old one's pause."""
        return self._not_before - self._clock.monotonic()

    def attempt(self, request: HttpRequest) -> Send:
        """The effect that sends a request within the limits."""
        now = self._clock.monotonic()
        self._begun_at = min(self._begun_at, now)
        ends_at = max(self._begun_at + 3 * self._timeout, now + self._timeout)
        return Send(request, self._timeout, ends_at)

    def postpone(self, retry_after: float | None) -> bool:
        """Count an attempt and schedule the next one, or answer that there is none.

        An attempt whose caller was cancelled is not counted: it has no outcome.

        Args:
            retry_after: the seconds that the server asked for, if it did.
        """
        jitter = random.uniform(0.5, 1.0)  # noqa: S311 (it spreads load, and guards nothing)
        pause = max(_FIRST_PAUSE_SECONDS * 2**self._spent * jitter, retry_after or 0.0)
        self._spent += 1
        self._not_before = self._clock.monotonic() + pause
        is_in_time = self._not_before < self._begun_at + 2 * self._timeout
        return is_in_time and not self.is_spent


def retried(attempt: Callable[[], Steps[T | Refused]], budget: Budget, purpose: str) -> Steps[T]:
    """Make attempts until one brings something or the budget is spent.

    Raises:
        Failed: with the last attempt's error.
    """
    while True:
        if budget.seconds_to_wait > 0:
            yield Pause(budget.seconds_to_wait)
        outcome = yield from attempt()
        if not isinstance(outcome, Refused):
            return outcome
        if not outcome.is_transient or not budget.postpone(outcome.retry_after):
            raise Failed(outcome.error)
        logger.info("a call of %s failed, trying again", purpose)
