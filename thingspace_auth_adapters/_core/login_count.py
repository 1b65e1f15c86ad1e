"""How the logins of a user name went: a value, which a store can keep."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from .._model.checks import optional_str, seconds
from .._wire.messages import printable

LOCKING_FAILURE = 5
MOST_FAILURES = LOCKING_FAILURE - 1
REMEMBERED_REFUSALS = 8

_PAUSES = {2: 300.0, 3: 3600.0}
"""For how many seconds no login is tried after so many failures in a row."""


class Refusal(NamedTuple):
    """What a refused login was told, when (unix timestamp), and the password's keyed hash."""

    status_code: int | None
    error_code: str | None
    error_message: str | None
    refused_at: float
    password_hash: str

    @property
    def told(self) -> dict[str, Any]:
        """What an error says of it."""
        return {
            "status_code": self.status_code,
            "error_code": self.error_code,
            "error_message": self.error_message,
            "refused_at": self.refused_at,
        }


class LoginCount(NamedTuple):
    """How the logins of a user name so far went. A value: each transition makes another.

    Attributes:
        failures: how many in a row failed, one under way included.
        failed_at: unix timestamp of the last of them.
        refusals: what was said of the last eight passwords that were refused.
    """

    failures: int = 0
    failed_at: float = 0.0
    refusals: tuple[Refusal, ...] = ()

    def begun(self, now: float) -> LoginCount:
        """A login is about to be sent: it counts as failed until it is known to be none."""
        return LoginCount(self.failures + 1, now, self.refusals)

    def refused(self, refusal: Refusal) -> LoginCount:
        """The platform refused the one that was begun."""
        failures, refusals = max(self.failures, 1), _latest((*self.refusals, refusal))
        return LoginCount(failures, self.failed_at, refusals)

    def succeeded(self) -> LoginCount:
        """One succeeded: the failures in a row are over."""
        return LoginCount(refusals=self.refusals)

    def joined(self, other: LoginCount) -> LoginCount:
        """This one and another that has nothing in common with it."""
        return LoginCount(
            self.failures + other.failures,
            max(self.failed_at, other.failed_at),
            _latest((*self.refusals, *other.refusals)),
        )

    def since(self, known: LoginCount) -> LoginCount:
        """What has failed since another count."""
        new = tuple(one for one in self.refusals if one not in known.refusals)
        return LoginCount(max(self.failures - known.failures, 0), self.failed_at, new)

    def refusal_of(self, password_hash: str) -> Refusal | None:
        """What was said of this password, if it was refused."""
        return next((one for one in self.refusals if one.password_hash == password_hash), None)

    def blocked_until(self, now: float, password_hash: str) -> float | None:
        """Unix timestamp until which no login is to be tried, infinite if until it is allowed.

        ``None`` if one may be tried with this password at unix time ``now``.
        """
        if self.refusal_of(password_hash) is not None or self.failures >= MOST_FAILURES:
            return math.inf
        pause = _PAUSES.get(self.failures, 0.0)
        # Clocks of a fleet differ; one that was far ahead must not make them count for longer.
        return self.failed_at + pause if abs(now - self.failed_at) < pause else None

    def to_fields(self) -> dict[str, Any]:
        """Ready for ``json.dumps``."""
        return {"count": self}

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any] | None) -> LoginCount:
        """The count that :meth:`to_fields` wrote; none was failed if it is nothing of the kind."""
        if fields is None:
            return cls()
        with suppress(KeyError, TypeError, ValueError):
            failures, failed_at, refusals = fields["count"]
            return cls(
                int(seconds("failures", failures) or 0),
                seconds("failed_at", failed_at) or 0.0,
                _latest(_read_refusal(*one) for one in refusals),
            )
        return cls()


def _latest(refusals: Iterable[Refusal]) -> tuple[Refusal, ...]:
    """The last eight, one for each password."""
    by_password = {
        one.password_hash: one for one in sorted(refusals, key=lambda one: one.refused_at)
    }
    in_order = sorted(by_password.values(), key=lambda one: one.refused_at)
    return tuple(in_order[-REMEMBERED_REFUSALS:])


def _read_refusal(
    status_code: object, code: object, message: object, refused_at: object, password: object
) -> Refusal:
    texts = (optional_str("text", text) for text in (code, message))
    error_code, error_message = (None if text is None else printable(text) for text in texts)
    status, moment = seconds("status_code", status_code), seconds("refused_at", refused_at) or 0.0
    told = None if status is None else int(status), error_code, error_message
    return Refusal(*told, moment, optional_str("password", password) or "")
