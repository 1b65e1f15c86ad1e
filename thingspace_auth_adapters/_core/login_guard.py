"""How many logins may still be risked: five failed ones in a row lock a user name.

Logins are counted per process and user name, whatever objects log in with it: this is the
package's only global state. A store keeps the same count for all processes that share it.
"""

from __future__ import annotations

import math
import time
from contextlib import suppress
from typing import Callable

from .._model.events import AuthEvent, logger
from .._wire.rejection import Credential
from ..errors import InsecureStoreError, M2mLoginError
from ..stores.token_store import StoreBusy, StoreUnavailable
from .clock import Clock
from .login_count import LOCKING_FAILURE, LoginCount, Refusal
from .records import StoreEntry
from .refresh import Failed, SingleFlight


class Barred(Failed):
    """No login is attempted, which protects the account."""


class _Account:
    """What this process knows of one user name's logins.

    Attributes:
        seen: how they went, by the place that the count is kept in.
        unwritten: what a store may hold, by its place, that does not hold the latest.
        logins: lets one login at a time go out.
    """

    def __init__(self) -> None:
        self.seen: dict[str, LoginCount] = {}
        self.unwritten: dict[str, LoginCount] = {}
        self.logins = SingleFlight()


_accounts: dict[str, _Account] = {}


def forget_all() -> None:
    """Forget the counts of this process, for tests."""
    for known in _accounts.values():
        known.seen.clear()
        known.unwritten.clear()


class LoginGuard:
    """Says whether a login may be risked, and counts it.

    While the store's count can be read it decides, and then a login is sent only once it is
    counted there. While it cannot, what this process has seen decides.

    Args:
        user: the user name and where it logs in, the same for all of their spellings.
        as_whom: the same for messages.
        password_hash: a keyed hash of the password.
        clock: the time.
        entry: the count of all who share the store, if there is one.

    Attributes:
        logins: lets one login to the user name at a time go out in this process.
        password_hash: the same.
    """

    def __init__(
        self,
        user: str,
        as_whom: str,
        password_hash: str,
        clock: Clock,
        entry: StoreEntry | None,
    ) -> None:
        self._as_whom = as_whom
        self._account = _accounts.setdefault(user, _Account())
        self.logins = self._account.logins
        self.password_hash = password_hash
        self._clock = clock
        self._entry = entry
        self._place = "" if entry is None else repr(entry.store)

    def count(self) -> LoginCount:
        """How the logins went so far."""
        self._look()
        return self._seen

    def check(self, is_suspicion: bool) -> None:
        """See that a login may be tried.

        Args:
            is_suspicion: whether it would be for a session that may yet be good.

        Raises:
            Barred: none is to be tried.
        """
        self._look()
        self._object(is_suspicion)

    def begin(self, is_suspicion: bool) -> LoginCount:
        """Count a login that is about to be sent, in the store, too, if that can be read.

        Returns:
            The count before it.

        Raises:
            Barred: as :meth:`check`, or it cannot be counted.
        """
        is_readable = self._look()
        self._object(is_suspicion)
        before, unwritten = self._seen, self._account.unwritten
        begun = before.begun(self._clock.time())
        if self._entry is not None and is_readable:
            try:
                self._entry.write(begun.to_fields())
            except StoreUnavailable as error:
                # It may hold this all the same.
                unwritten.setdefault(self._place, begun)
                raise self.uncounted(error, "the store's count cannot be written") from None
            unwritten.pop(self._place, None)
        self._account.seen[self._place] = begun
        return before

    def catch_up(self) -> None:
        """Write what could not be written when it was known; the store's lock is held."""
        known = self._account.unwritten.get(self._place)
        if known is not None and self._look():
            self._write(known)

    def succeeded(self) -> None:
        """The login brought a session."""
        for place, count in list(self._account.seen.items()):
            if place != self._place:
                self._account.seen[place] = count.succeeded()
        self._settle(LoginCount.succeeded)

    def withdrawn(self, before: LoginCount) -> None:
        """The login counts towards no lock-out."""

        def change(held: LoginCount) -> LoginCount:
            # It may have been allowed, or counted by another process, in the meantime.
            return before if held == before.begun(held.failed_at) else held

        self._settle(change)

    def refused(self, error: M2mLoginError) -> None:
        """The platform refused the login."""
        told = (error.status_code, error.error_code, error.error_message)
        refusal = Refusal(*told, self._clock.time(), self.password_hash)
        self._settle(lambda held: held.refused(refusal))
        self._log("login_refused", "the login was refused", error)

    def allow(self) -> None:
        """Forget the count, in this process and in the store."""
        self._account.seen.clear()
        self._account.unwritten.clear()
        if self._entry is not None:
            self._entry.delete()

    def objection(self) -> M2mLoginError | None:
        """Why no login is to be tried, by what this process has seen."""
        total, everywhere = self._seen, list(self._account.seen.values())
        # Two places that hold the same share it.
        for count in {*everywhere} - {total}:
            total = total.joined(count)
        until = total.blocked_until(self._clock.time(), self.password_hash)
        return None if until is None else self._explained(total, until)

    def uncounted(self, error: StoreUnavailable, what: str) -> Barred:
        """No login is sent, since it cannot be counted in the store."""
        blocked = M2mLoginError(
            f"no login is attempted, since {what}: {error}. Each login is counted there before it"
            " is sent, since five failed ones in a row lock the user name. Try again later",
            retryable=True,
        )
        name = "store_busy" if isinstance(error, StoreBusy) else "store_unavailable"
        self._log(name, "no login is attempted", blocked)
        return Barred(blocked)

    def _object(self, is_suspicion: bool) -> None:
        error = self.objection()
        if error is None and is_suspicion and self._seen.failures:
            error = M2mLoginError("a login failed: none is tried for a session that may be good")
        if error is not None:
            self._log("login_blocked", "no login is attempted", error)
            raise Barred(error)

    @property
    def _seen(self) -> LoginCount:
        return self._account.seen.get(self._place, LoginCount())

    def _look(self) -> bool:
        """Take over the store's count, and what it does not know of; whether it can be read."""
        if self._entry is None:
            return False
        seen, unwritten = self._seen, self._account.unwritten
        try:
            stored = LoginCount.from_fields(self._entry.read())
        except StoreUnavailable:
            # Whoever waits for its lock is told of that.
            unwritten.setdefault(self._place, seen)
            return False
        known = unwritten.get(self._place)
        if known is None or known == seen:
            # Nothing happened here that the store does not know of.
            unwritten.pop(self._place, None)
            seen = stored
        elif stored != known:
            seen = stored.joined(seen.since(known))
            unwritten[self._place] = stored
        self._account.seen[self._place] = seen
        return True

    def _settle(self, change: Callable[[LoginCount], LoginCount]) -> None:
        is_readable = False
        # Whoever looks next is told that others could read it.
        with suppress(InsecureStoreError):
            is_readable = self._look()
        held = self._seen
        self._account.seen[self._place] = change(held)
        if is_readable:
            self._write(held)
        elif self._entry is not None:
            self._account.unwritten.setdefault(self._place, held)

    def _write(self, held: LoginCount) -> None:
        """Have the store hold what this process has seen, if not now then later."""
        unwritten = self._account.unwritten
        unwritten.setdefault(self._place, held)
        if self._entry is not None and self._entry.write_if_reachable(self._seen.to_fields()):
            unwritten.pop(self._place, None)

    def _explained(self, count: LoginCount, until: float) -> M2mLoginError:
        refusal, is_for_good = count.refusal_of(self.password_hash), math.isinf(until)
        summary = _summary(count, refusal)
        when = "again" if is_for_good else f"until {_moment(until)}"
        with_what = "" if refusal is None else " with this password"
        left = LOCKING_FAILURE - count.failures
        more = f", and {left} more would" if count.failures > 1 and left > 0 else ""
        return M2mLoginError(
            f"{summary}. No login {self._as_whom} is tried {when}{with_what}. This is remembered in"
            f" {self._remembered}, and protects the account: five failed logins in a row lock the"
            f" user name until Verizon's support unlocks it{more}. {self._remedy(count)}",
            summary=summary,
            retryable=not is_for_good,
            **({} if refusal is None else refusal.told),
        )

    @property
    def _remembered(self) -> str:
        if self._entry is None:
            return "this process alone (give processes that log in with one user name a store)"
        return f"{self._entry.store!r} for every process that shares it"

    def _remedy(self, count: LoginCount) -> str:
        how_to_clear = "" if self._entry is None else self._entry.store.how_to_clear
        clear = f", or {how_to_clear}" if how_to_clear else ""
        # After several failures another password is not tried either.
        first = "correct the credentials: assign auth.m2m, or start again with the right ones"
        if count.failures > 1:
            first = "see that the user name is not locked, and that the password is right"
        return f"To go on, {first}. To have the same tried again, call auth.allow_login(){clear}."

    def _log(self, name: str, message: str, error: M2mLoginError) -> None:
        what, told = Credential.SESSION.value, (error.status_code, error.error_code)
        event = AuthEvent(name, what, None, None, *told)
        logger.info(message, extra={"auth_event": event})


def _summary(count: LoginCount, refusal: Refusal | None) -> str:
    if refusal is None:
        last = _moment(count.failed_at)
        return f"{count.failures} logins in a row failed, the last one at {last}"
    texts = (refusal.error_code, (refusal.error_message or "").rstrip("."))
    when = f"the login was refused at {_moment(refusal.refused_at)} (status {refusal.status_code})"
    return ": ".join([when, *filter(None, texts)])


def _moment(timestamp: float) -> str:
    moment = time.gmtime(min(max(timestamp, 0.0), 4e9))
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", moment)
