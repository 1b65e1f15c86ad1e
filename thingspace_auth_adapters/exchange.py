"""One exchange with an endpoint of the platform, transient failures tried again."""

from __future__ import annotations

import logging
import random
from typing import Callable, NamedTuple, TypeVar

from .clock import Clock
from .effects import (
    CallersOwnFailure,
    HttpAnswer,
    HttpRequest,
    Pause,
    Reply,
    Steps,
    Undelivered,
    send,
)
from .grant import TransientFailure

T = TypeVar("T")

_SHORTEST_TIMEOUT = 1.0

logger = logging.getLogger("thingspace_auth_adapters")


def _jitter() -> float:
    return random.uniform(0.5, 1.0)  # noqa: S311 (it spreads load, and guards nothing)


class RetryPolicy(NamedTuple):
    """The limits of one exchange with an endpoint, retries included.

    Attributes:
        attempts: calls in all.
        first_pause: seconds before the second call; each later pause is twice as long.
        deadline: seconds from the first call within which the last must have begun.
        jitter: a factor for each pause, so that many clients do not call in step.
    """

    attempts: int = 4
    first_pause: float = 0.5
    deadline: float = 60.0
    jitter: Callable[[], float] = _jitter

    def budget(self, clock: Clock) -> Budget:
        """A fresh budget that starts now."""
        return Budget(self, clock)

    def single_attempt(self, clock: Clock) -> Budget:
        """A budget for one call and no more."""
        return Budget(self._replace(attempts=1), clock)


class Budget:
    """What is left of a policy's limits. Handed on when a flight changes its leader."""

    def __init__(self, policy: RetryPolicy, clock: Clock) -> None:
        self._policy = policy
        self._clock = clock
        self._spent = 0
        self._deadline = clock.monotonic() + policy.deadline
        self._not_before = 0.0

    def spend(self) -> None:
        """Count one call. A call that was cancelled is not counted: it has no outcome."""
        self._spent += 1

    @property
    def is_exhausted(self) -> bool:
        return self._spent >= self._policy.attempts or self.seconds_left() <= 0

    def seconds_left(self) -> float:
        return self._deadline - self._clock.monotonic()

    def pause_left(self) -> float:
        """Seconds to wait before the next call; a new leader honours the old one's pause."""
        return self._not_before - self._clock.monotonic()

    def postpone(self, retry_after: float | None) -> bool:
        """Schedule the next call, or answer that there is none.

        Args:
            retry_after: the seconds that the server asked for, if it did.
        """
        backoff = self._policy.first_pause * 2 ** (self._spent - 1) * self._policy.jitter()
        pause = max(backoff, retry_after or 0.0)
        if self.is_exhausted or pause >= self.seconds_left():
            return False
        self._not_before = self._clock.monotonic() + pause
        return True


def exchange(
    request: HttpRequest,
    read: Callable[[HttpAnswer], T | TransientFailure],
    budget: Budget,
    send: Callable[[HttpRequest], Steps[Reply]] = send,
) -> Steps[T]:
    """Send ``request`` until ``read`` makes something of the answer or the budget is spent.

    Raises:
        CallersOwnFailure: a limit of the caller's request cut the call.
        Exception: what ``read`` raised, or the last transient failure's error.
    """
    while True:
        if budget.pause_left() > 0:
            yield Pause(budget.pause_left())
        timeout = min(request.timeout, max(budget.seconds_left(), _SHORTEST_TIMEOUT))
        reply = yield from send(request._replace(timeout=timeout))
        if isinstance(reply, Undelivered) and reply.is_callers_own and budget.seconds_left() > 0:
            raise CallersOwnFailure(reply.error)
        budget.spend()
        outcome = _undelivered(reply) if isinstance(reply, Undelivered) else read(reply)
        if not isinstance(outcome, TransientFailure):
            return outcome
        if not budget.postpone(outcome.retry_after):
            raise outcome.error
        logger.info("a call of %s failed, trying again", request.url)


def _undelivered(reply: Undelivered) -> TransientFailure:
    if not reply.is_transient:
        raise reply.error
    return TransientFailure(reply.error)
