"""Tokens as ThingSpace hands them out: one for each set of scopes, until it expires."""

from __future__ import annotations

import math
import threading
import uuid
from dataclasses import dataclass
from typing import Callable, NamedTuple

Clock = Callable[[], float]
Scopes = tuple[str, ...]


class IssuedToken(NamedTuple):
    """A token and the whole seconds it has left."""

    value: str
    expires_in: int


@dataclass
class _Token:
    number: int
    value: str
    issued_at: float
    lifetime: float
    revoked: bool = False

    def remaining(self, now: float) -> float:
        # Written this way round, a token that is 0 seconds old has exactly its lifetime left;
        # issued_at + lifetime - now may lose the last digit and then a whole second to rounding.
        return self.lifetime - (now - self.issued_at)

    def is_valid(self, now: float) -> bool:
        return not self.revoked and self.remaining(now) > 0


class TokenRegistry:
    """Issues, checks and revokes tokens; usable from any thread."""

    def __init__(self, clock: Clock, lifetime: float) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._tokens: dict[str, _Token] = {}
        self._latest: dict[Scopes, _Token] = {}
        self.lifetime = lifetime

    @property
    def lifetime(self) -> float:
        """Seconds that a token issued from now on lives; assignable."""
        return self._lifetime

    @lifetime.setter
    def lifetime(self, seconds: float) -> None:
        if not (math.isfinite(seconds) and seconds >= 0):
            raise ValueError(f"token_lifetime must be 0 seconds or more, not {seconds!r}")
        self._lifetime = seconds

    def issue(self, scopes: Scopes) -> IssuedToken:
        """The valid token of these scopes, or a new one; the scopes must be sorted."""
        with self._lock:
            now = self._clock()
            token = self._latest.get(scopes)
            if token is None or not token.is_valid(now):
                token = self._new(scopes, now)
            return IssuedToken(token.value, math.floor(token.remaining(now)))

    def _new(self, scopes: Scopes, now: float) -> _Token:
        token = _Token(len(self._tokens) + 1, str(uuid.uuid4()), now, self._lifetime)
        self._tokens[token.value] = self._latest[scopes] = token
        return token

    def number_of(self, value: str) -> int | None:
        """The 1-based position of a valid token among those issued; ``None`` if not valid."""
        with self._lock:
            token = self._tokens.get(value)
            if token is None or not token.is_valid(self._clock()):
                return None
            return token.number

    def revoke(self, value: str) -> bool:
        """Revokes a token; returns whether it was one that was ever issued."""
        with self._lock:
            token = self._tokens.get(value)
            if token is None:
                return False
            token.revoked = True
            return True

    def revoke_all(self) -> None:
        """Revokes every token."""
        with self._lock:
            for token in self._tokens.values():
                token.revoked = True

    def issued(self) -> list[str]:
        """Every token so far, in order of issue."""
        with self._lock:
            return list(self._tokens)
