"""Calls of an endpoint, tried again after transient failures, unless it asks to be left alone."""

from __future__ import annotations

import random
import time
from typing import Callable, NamedTuple, Protocol, TypeVar

from .._model.events import AuthEvent, logger
from .._wire.messages import AlreadySentError, AnswerTooLate, HttpAnswer, HttpRequest, Refused
from ..errors import ThingspaceAuthError
from .clock import Clock
from .refresh import Failed, Limits, copy_exception

T = TypeVar("T")

MOST_ATTEMPTS = 4
_FIRST_PAUSE_SECONDS = 0.5

THROTTLED_SECONDS = 10.0
"""How long an endpoint is left alone that asked for it without saying for how long."""

LONGEST_THROTTLED_SECONDS = 300.0

RAISED_ON_THE_WAY = (
    AlreadySentError,
    AnswerTooLate,
    ImportError,
    LookupError,
    OSError,
    ValueError,
)
"""What HTTP libraries raise besides their own family, for example for an unusable proxy setting.

What a signal handler raises is of a type of its own, and passes.
"""


class Transport(Protocol):
    """Calls endpoints with the HTTP library at hand."""

    def send(self, request: HttpRequest, timeout: float, ends_at: float) -> HttpAnswer | Refused:
        """Call an endpoint; the answer, or why there is none.

        Args:
            request: what is sent.
            timeout: seconds for connecting, and for each read.
            ends_at: reading of the monotonic clock at which the answer must have been read.
        """
        ...

    def overdue(self, request: HttpRequest) -> Refused:
        """The library's own timeout, of a call that has brought no answer in time."""
        ...


class LibraryErrors(NamedTuple):
    """An HTTP library's own errors: the family, and those that stand for ours."""

    family: type[Exception]
    too_late: type[Exception]
    already_sent: type[Exception]
    other: type[Exception]

    def own(self, error: Exception) -> Exception:
        """An error that was raised on the way, as one of the family."""
        if isinstance(error, AnswerTooLate):
            return self.too_late(str(error))
        if isinstance(error, AlreadySentError):
            return self.already_sent(str(error))
        if isinstance(error, self.family):
            return copy_exception(error)
        return self.other(f"{type(error).__name__} {error}")


class _Throttling(NamedTuple):
    """Until when an endpoint is left alone (by the monotonic clock), and what says so."""

    until: float
    error: Exception


class Endpoint:
    """One of the platform's endpoints.

    Args:
        transport: calls it.
        clock: for pauses and deadlines.
        timeout: seconds for connecting, and for each read.
    """

    def __init__(self, transport: Transport, clock: Clock, timeout: float) -> None:
        self._transport = transport
        self._clock = clock
        self._timeout = timeout
        self._throttling: _Throttling | None = None

    @property
    def limits(self) -> Limits:
        """Those of a call that no refresh is for, and that begins now."""
        begins_by = self._clock.monotonic() + 2 * self._timeout
        return Limits(begins_by, begins_by + self._timeout, MOST_ATTEMPTS)

    def send(self, request: HttpRequest, limits: Limits) -> HttpAnswer | Refused:
        """Call it once, if it is not too late for that."""
        if self._clock.monotonic() > limits.begins_by:
            late = self._transport.overdue(request)
            late.had_no_effect = True
            return late
        return self._transport.send(request, self._timeout, limits.ends_at)

    def overdue(self, request: HttpRequest) -> Exception:
        """The library's own timeout, which says what was called."""
        return self._transport.overdue(request).error

    def call(
        self,
        request: HttpRequest,
        read: Callable[[HttpAnswer], T | Refused],
        limits: Limits,
        credential: str | None = None,
    ) -> T:
        """Call it until an answer brings something: what was read from that.

        Raises:
            Failed: with the last attempt's error.
        """

        def attempt() -> T | Refused:
            reply = self.send(request, limits)
            return read(reply) if isinstance(reply, HttpAnswer) else reply

        return self.tried(attempt, request.purpose, limits, credential)

    def tried(
        self,
        attempt: Callable[[], T | Refused],
        purpose: str,
        limits: Limits,
        credential: str | None = None,
    ) -> T:
        """Make attempts until one brings something or the limits are reached.

        Args:
            attempt: calls the endpoint.
            purpose: what is called, for the log.
            limits: what may be spent.
            credential: what is fetched, if anything is.

        Raises:
            Failed: with the last attempt's error.
        """
        throttled = None if self._throttling is None else self.left_alone()
        if throttled is not None:
            raise Failed(throttled)
        number = 1
        while True:
            begun_at = self._clock.monotonic()
            outcome = attempt()
            seconds = self._clock.monotonic() - begun_at
            if not isinstance(outcome, Refused):
                if credential is not None:
                    event = AuthEvent("fetched", credential, seconds, number)
                    logger.info("a new %s was fetched", credential, extra={"auth_event": event})
                return outcome
            log_failure(purpose, outcome.error, credential, seconds, number)
            pause = _pause(number, outcome.retry_after)
            is_too_late = self._clock.monotonic() + pause >= limits.begins_by
            if not outcome.is_transient or number >= limits.attempts or is_too_late:
                if outcome.is_throttled:
                    self._leave_alone(outcome, purpose, credential)
                raise Failed(outcome.error)
            self._clock.sleep(pause)
            number += 1

    def left_alone(self) -> Exception | None:
        """What it failed with, if it asked to be left alone until later than now."""
        throttling = self._throttling
        if throttling is None or self._clock.monotonic() >= throttling.until:
            return None
        return copy_exception(throttling.error)

    def _leave_alone(self, refused: Refused, purpose: str, credential: str | None) -> None:
        """Have calls fail for a while without being made, and the error say so."""
        asked_for = THROTTLED_SECONDS if refused.retry_after is None else refused.retry_after
        seconds, error = min(asked_for, LONGEST_THROTTLED_SECONDS), refused.error
        until = time.strftime("%H:%M:%S UTC", time.gmtime(self._clock.time() + seconds))
        told = f"; it asked for a pause, so {purpose} is not called again before {until}"
        error.args = (f"{error}{told}", *error.args[1:])
        self._throttling = _Throttling(self._clock.monotonic() + seconds, error)
        if credential is not None:
            status_code = getattr(error, "status_code", None)
            event = AuthEvent("throttled", credential, seconds, None, status_code)
            logger.info("%s is left alone", purpose, extra={"auth_event": event})


def _pause(number: int, retry_after: float | None) -> float:
    """Seconds between an attempt and the next one."""
    jitter = random.uniform(0.5, 1.0)  # noqa: S311 (it spreads load, and guards nothing)
    growing: float = _FIRST_PAUSE_SECONDS * 2 ** (number - 1)
    return max(growing * jitter, retry_after or 0.0)


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


def warn_of_failure(what: str, credential: str, error: Exception) -> None:
    """Warn that a refresh failed of which nobody learns by an exception."""
    # Messages that are not ours may hold anything.
    reason = error if isinstance(error, ThingspaceAuthError) else type(error).__name__
    status_code = getattr(error, "status_code", None)
    event = AuthEvent(
        "refresh_failed", credential, status_code=status_code, reason=reason_of(error)
    )
    logger.warning(what, credential, reason, extra={"auth_event": event})


def reason_of(error: Exception) -> str:
    """The platform's code for it, or the error's type: what is not ours may hold anything."""
    code: str | None = None
    if isinstance(error, ThingspaceAuthError):
        code = getattr(error, "error", None) or getattr(error, "error_code", None)
    return code or type(error).__name__
