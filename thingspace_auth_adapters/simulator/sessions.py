"""M2M sessions as ThingSpace keeps them: open while they are used, behind logins that can lock."""

from __future__ import annotations

import math
import threading
import uuid
from dataclasses import dataclass, field

from .tokens import Clock

_FAILURES_THAT_LOCK = 5


class WrongCredentials(Exception):
    """The username or the password is wrong."""


class AccountLocked(Exception):
    """Too many logins in a row have failed; even the right password is refused."""


@dataclass
class _Session:
    number: int
    value: str = field(repr=False)
    used_at: float
    ended: bool = False


class SessionRegistry:
    """Opens, checks and ends the sessions of one account; usable from any thread.

    Attributes:
        username: the only one that can log in.
        password: its password.
        login_ends_session: whether a login ends the sessions that were open.
    """

    def __init__(
        self,
        clock: Clock,
        username: str,
        password: str,
        idle_timeout: float,
        login_ends_session: bool,
    ) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._sessions: dict[str, _Session] = {}
        self._failed_logins = 0
        self.username = username
        self.password = password
        self._idle_timeout = _checked(idle_timeout)
        self.login_ends_session = login_ends_session

    @property
    def idle_timeout(self) -> float:
        """Seconds without use after which a session is gone; assignable, for open ones too."""
        return self._idle_timeout

    @idle_timeout.setter
    def idle_timeout(self, seconds: float) -> None:
        _checked(seconds)
        with self._lock:
            now = self._clock()
            # What is gone stays gone: a longer timeout must not bring it back.
            for session in self._sessions.values():
                session.ended = not self._is_live(session, now)
            self._idle_timeout = seconds

    def log_in(self, username: str, password: str) -> str:
        """Opens a session and returns its token.

        Raises:
            AccountLocked: whatever the password.
            WrongCredentials: and the failed login is counted.
        """
        with self._lock:
            if self._failed_logins >= _FAILURES_THAT_LOCK:
                raise AccountLocked
            if (username, password) != (self.username, self.password):
                self._failed_logins += 1
                raise WrongCredentials
            self._failed_logins = 0
            if self.login_ends_session:
                self._end_all()
            return self._new().value

    def _new(self) -> _Session:
        session = _Session(len(self._sessions) + 1, str(uuid.uuid4()), self._clock())
        self._sessions[session.value] = session
        return session

    def use(self, value: str) -> int | None:
        """Keeps a live session from going idle.

        Returns:
            Its 1-based position among those issued; ``None`` if it is not live.
        """
        with self._lock:
            session = self._live(value)
            if session is None:
                return None
            session.used_at = self._clock()
            return session.number

    def log_out(self, value: str) -> bool:
        """Ends a session; returns whether it was live."""
        with self._lock:
            session = self._live(value)
            if session is None:
                return False
            session.ended = True
            return True

    def _live(self, value: str) -> _Session | None:
        session = self._sessions.get(value)
        if session is None or not self._is_live(session, self._clock()):
            return None
        return session

    def _is_live(self, session: _Session, now: float) -> bool:
        return not session.ended and now - session.used_at < self._idle_timeout

    def end_all(self) -> None:
        """Ends every session."""
        with self._lock:
            self._end_all()

    def _end_all(self) -> None:
        for session in self._sessions.values():
            session.ended = True

    def was_issued(self, value: str) -> bool:
        """Whether this is a session's token, live or not."""
        with self._lock:
            return value in self._sessions

    def issued(self) -> list[str]:
        """Every session's token so far, in order of issue."""
        with self._lock:
            return list(self._sessions)

    @property
    def failed_logins(self) -> int:
        """How many logins in a row have failed; those refused by a lock are not counted."""
        return self._failed_logins

    @property
    def is_locked(self) -> bool:
        """Whether every login is refused."""
        return self._failed_logins >= _FAILURES_THAT_LOCK

    def unlock(self) -> None:
        """Lets logins succeed again, and counts the failed ones from 0."""
        with self._lock:
            self._failed_logins = 0


def _checked(seconds: float) -> float:
    if not (math.isfinite(seconds) and seconds > 0):
        raise ValueError(f"idle_timeout must be more than 0 seconds, not {seconds!r}")
    return seconds
