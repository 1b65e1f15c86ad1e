"""Calls of an endpoint, tried again after transient failures."""

from __future__ import annotations

import math
import random
from typing import Callable, TypeVar

from .._model.events import AuthEvent, logger
from .._wire.messages import HttpRequest, Refused
from ..errors import ThingspaceAuthError
from .effects import Clock, Pause, Send, Steps
from .single_flight import Failed

T = TypeVar("T")

MOST_ATTEMPTS = 4
_FIRST_PAUSE_SECONDS = 0.5


class Budget:
    """What may be spent on one acquisition. A new leader goes on with what is left.

    Args:
        clock: the time.
        timeout: seconds for connecting, and for each read. Attempts begin within two of them, and
            one later all must have ended.
        attempts: calls in all.

    Attributes:
        spent: the attempts that have failed.
    """

    def __init__(self, clock: Clock, timeout: float, attempts: int = MOST_ATTEMPTS) -> None:
        self.clock = clock
        self.spent = 0
        self._timeout = timeout
        self._attempts = attempts
        self._begun_at = math.inf
        self._not_before = 0.0

    @property
    def is_spent(self) -> bool:
        """Whether no further attempt may begin."""
        age = self.clock.monotonic() - self._begun_at
        return self.spent >= self._attempts or age >= 2 * self._timeout

    @property
    def seconds_to_wait(self) -> float:
        """Until the next attempt may begin; a new leader honours the old one's pause."""
        return self._not_before - self.clock.monotonic()

    def attempt(self, request: HttpRequest) -> Send:
        """The effect that sends a request within the limits."""
        now = self.clock.monotonic()
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
        pause = max(_FIRST_PAUSE_SECONDS * 2**self.spent * jitter, retry_after or 0.0)
        self.spent += 1
        self._not_before = self.clock.monotonic() + pause
        is_in_time = self._not_before < self._begun_at + 2 * self._timeout
        return is_in_time and not self.is_spent


def retried(
    attempt: Callable[[], Steps[T | Refused]],
    budget: Budget,
    purpose: str,
    credential: str | None = None,
) -> Steps[T]:
    """Make attempts until one brings something or the budget is spent.

    Args:
        attempt: calls the endpoint once.
        budget: what may be spent.
        purpose: what is called, for the log.
        credential: what is fetched, if anything is.

    Raises:
        Failed: with the last attempt's error.
    """
    while True:
        if budget.seconds_to_wait > 0:
            yield Pause(budget.seconds_to_wait)
        number, begun_at = budget.spent + 1, budget.clock.monotonic()
        outcome = yield from attempt()
        seconds = budget.clock.monotonic() - begun_at
        if not isinstance(outcome, Refused):
            if credential is not None:
                event = AuthEvent("fetched", credential, seconds, number)
                logger.info("a new %s was fetched", credential, extra={"auth_event": event})
            return outcome
        log_failure(purpose, outcome.error, credential, seconds, number)
        if not outcome.is_transient or not budget.postpone(outcome.retry_after):
            raise Failed(outcome.error)


def log_failure(
    what: str, error: Exception, credential: str | None, seconds: float, number: int | None = None
) -> None:
    """Log that an attempt failed to which ``credential`` was, if anything, to be fetched."""
    extra = None
    if credential is not None:
        status_code = getattr(error, "status_code", None)
        event = AuthEvent(
            "fetch_failed", credential, seconds, number, status_code, reason_of(error)
        )
        extra = {"auth_event": event}
    logger.info("a call of %s failed", what, extra=extra)


def reason_of(error: Exception) -> str:
    """The platform's code for it, or the error's type: what is not ours may hold anything."""
    code: str | None = None
    if isinstance(error, ThingspaceAuthError):
        code = getattr(error, "error", None) or getattr(error, "error_code", None)
    return code or type(error).__name__
