"""How many logins may still be risked: five failed ones in a row lock an account."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from .errors import M2mLoginError

MOST_UNKNOWNS = 2


class Refusal(NamedTuple):
    """What a refused login was told."""

    status_code: int | None
    error_code: str | None
    error_message: str | None

    def error(self) -> M2mLoginError:
        details = [text for text in (self.error_code, self.error_message) if text]
        what = ": ".join([f"the login was refused (status {self.status_code})", *details])
        return M2mLoginError(
            f"{what}; none is tried again until auth.m2m is assigned, since five failed ones lock"
            " the account",
            **self._asdict(),
        )


class Strikes:
    """How the logins so far went, and whether another may be risked.

    Attributes:
        refusal: what the platform said when it refused one.
        unknowns: how many in a row were of unknown outcome.
        pending_in: the process that has one under way, if any; a child inherits that of its parent.
    """

    def __init__(self) -> None:
        self.refusal: Refusal | None = None
        self.unknowns = 0
        self.pending_in: int | None = None

    def __getstate__(self) -> dict[str, Any]:
        # Nobody who gets a copy learns what becomes of a login that is under way.
        pending = 0 if self.pending_in is None else 1
        return {**vars(self), "unknowns": self.unknowns + pending, "pending_in": None}

    def check(self) -> None:
        """Raises :class:`M2mLoginError` where there is to be no login any more."""
        if self.refusal is not None:
            raise self.refusal.error()
        if self.unknowns >= MOST_UNKNOWNS:
            raise M2mLoginError(
                f"{MOST_UNKNOWNS} logins in a row had no readable outcome; none is tried again"
                " until auth.m2m is assigned, since five failed ones lock the account"
            )

    def begin(self) -> None:
        """Count a login before it is sent, so that whatever becomes of its caller it is counted.

        Raises:
            M2mLoginError: it must not be risked.
        """
        if self.pending_in == os.getpid():
            raise M2mLoginError(
                "a login is under way in a task or event loop that stands still while this one"
                " runs: none is sent beside it"
            )
        if self.pending_in is not None:
            self.lose()
        self.check()
        self.pending_in = os.getpid()

    def succeed(self) -> None:
        self.unknowns = 0
        self.pending_in = None

    def take_back(self) -> None:
        """It was no login attempt after all."""
        self.pending_in = None

    def lose(self) -> None:
        """Nobody knows what became of it."""
        self.unknowns += 1
        self.pending_in = None

    def refuse(self, error: M2mLoginError) -> None:
        self.refusal = Refusal(error.status_code, error.error_code, error.error_message)
        self.pending_in = None
