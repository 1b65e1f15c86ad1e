"""How many logins may still be risked: five failed ones in a row lock an account.

Logins are counted per process and account, whatever objects log in with it: this is the package's
only global state. A store keeps the same count for all processes that share it.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from .._model.checks import optional_str, seconds
from .._wire.messages import printable
from ..errors import M2mLoginError
from .refresh import SingleFlight

MOST_UNKNOWNS_IN_AN_HOUR = 2
MOST_UNKNOWNS = 4

_HOUR = 3600.0


class Refusal(NamedTuple):
    """What a refused login was told, and when (unix timestamp)."""

    status_code: int | None
    error_code: str | None
    error_message: str | None
    refused_at: float


class LoginCount(NamedTuple):
    """How the logins so far went. A value: each transition makes another.

    Attributes:
        unknowns: how many in a row were of unknown outcome, one under way included.
        unknown_at: unix timestamp of the last of them.
        refusal: what the platform said when it refused one.
    """

    unknowns: int = 0
    unknown_at: float = 0.0
    refusal: Refusal | None = None

    def begun(self, now: float) -> LoginCount:
        """A login is about to be sent: it counts as unknown, whatever becomes of its caller."""
        return LoginCount(self.unknowns + 1, now, self.refusal)

    def refused(self, error: Any, now: float) -> LoginCount:
        """The platform refused one."""
        refusal = Refusal(error.status_code, error.error_code, error.error_message, now)
        return LoginCount(refusal=refusal)

    def blocked_until(self, now: float) -> float | None:
        """Unix timestamp until which no login is to be tried, infinite if until it is allowed.

        ``None`` if one may be tried at unix time ``now``.
        """
        if self.refusal is not None or self.unknowns >= MOST_UNKNOWNS:
            return math.inf
        # Clocks of a fleet differ; one that was far ahead must not make them count for longer.
        is_recent = abs(now - self.unknown_at) < _HOUR
        is_blocked = self.unknowns == MOST_UNKNOWNS_IN_AN_HOUR and is_recent
        return self.unknown_at + _HOUR if is_blocked else None

    def objection(self, now: float, remembered: str, remedy: str) -> M2mLoginError | None:
        """Why no login is to be tried at unix time ``now``, if so.

        Args:
            now: unix timestamp.
            remembered: where the count is kept, for the message.
            remedy: how to go on, for the message.
        """
        until = self.blocked_until(now)
        if until is None:
            return None
        when = "again" if math.isinf(until) else f"until {_moment(until)}"
        end = (
            f" No login is tried {when}. This is remembered in {remembered}, and protects the"
            f" account: {_PROTECTS}. {remedy}"
        )
        if self.refusal is not None:
            return _refused(self.refusal, end)
        last = _moment(self.unknown_at)
        summary = f"{self.unknowns} logins in a row had no readable outcome, the last one at {last}"
        return M2mLoginError(f"{summary}.{end}", summary=summary)

    def to_fields(self) -> dict[str, Any]:
        """Ready for ``json.dumps``."""
        refusal = None if self.refusal is None else list(self.refusal)
        return {"unknowns": self.unknowns, "unknown_at": self.unknown_at, "refusal": refusal}

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any] | None) -> LoginCount:
        """The count that :meth:`to_fields` wrote; none was failed if it is nothing of the kind."""
        if fields is None:
            return cls()
        with suppress(KeyError, TypeError, ValueError):
            refusal = fields["refusal"]
            return cls(
                unknowns=int(seconds("unknowns", fields["unknowns"]) or 0),
                unknown_at=seconds("unknown_at", fields["unknown_at"]) or 0.0,
                refusal=None if refusal is None else _read_refusal(refusal),
            )
        return cls()


class Account:
    """What this process knows of one account's logins.

    Attributes:
        count: how they went so far.
        logins: lets one login at a time go out.
    """

    def __init__(self) -> None:
        self.count = LoginCount()
        self.logins = SingleFlight()


_accounts: dict[str, Account] = {}


def account(base_url: str, username: str, password: str) -> Account:
    """This process's account, the same for every object that logs in with it."""
    text = json.dumps([base_url, username, password])
    key = hashlib.sha256(text.encode("ascii")).hexdigest()
    return _accounts.setdefault(key, Account())


def forget_all() -> None:
    """Forget the counts of this process, for tests."""
    for known in _accounts.values():
        known.count = LoginCount()


_PROTECTS = "five failed logins in a row lock it"


def _refused(refusal: Refusal, end: str) -> M2mLoginError:
    texts = (refusal.error_code, (refusal.error_message or "").rstrip("."))
    details = [text for text in texts if text]
    when = f"the login was refused at {_moment(refusal.refused_at)} (status {refusal.status_code})"
    summary = ": ".join([when, *details])
    return M2mLoginError(
        f"{summary}.{end}",
        summary=summary,
        status_code=refusal.status_code,
        error_code=refusal.error_code,
        error_message=refusal.error_message,
        refused_at=refusal.refused_at,
    )


def _read_refusal(fields: Any) -> Refusal:
    status_code, code, message, refused_at = fields
    texts = (optional_str("text", code), optional_str("text", message))
    error_code, error_message = (None if text is None else printable(text) for text in texts)
    status = seconds("status_code", status_code)
    moment = seconds("refused_at", refused_at) or 0.0
    return Refusal(None if status is None else int(status), error_code, error_message, moment)


def _moment(timestamp: float) -> str:
    moment = time.gmtime(min(max(timestamp, 0.0), 4e9) if math.isfinite(timestamp) else 0.0)
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", moment)
