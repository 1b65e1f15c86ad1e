"""Which token is usable now, who refreshes it, and what a failure means to those who wait.

Theory of operation. A lifecycle publishes one :class:`CachedToken` by one assignment. Whoever
finds it missing, stale, expired or rejected joins the refresh under way, or leads one: asks the
source, publishes what that brings, and settles the future for which everyone else waits. If the
token is merely stale, the others go on with it.

Shared state is read once, into a local: attributes are read and assigned as a whole, with or
without a GIL, and what they refer to is not changed in place but for the times of a session's use.
What has to change together changes under the lock of the single flight.
"""

from __future__ import annotations

import threading
from logging import INFO
from typing import Any, Callable, Generic, Protocol, TypeVar

from .._model.events import AuthEvent, logger
from .._wire.rejection import Credential
from ..errors import ReentrantRequestError
from .cached_token import CachedToken, Status, status
from .callbacks import CallbackInterrupted, waiting_refresh
from .clock import Clock
from .endpoint import MOST_ATTEMPTS, warn_of_failure
from .refresh import (
    MOST_REFRESHES,
    Caller,
    EventLoop,
    Failed,
    Limits,
    Outcome,
    Refresh,
    SingleFlight,
)

T = TypeVar("T")

SAME_AGAIN_SECONDS = 30.0
"""How long a rejected token that the endpoint gave out again is not asked for again."""

LONGEST_TRUST_SECONDS = 600.0
"""How long a token is not suspected at most: one that came of a suspicion."""

REMEMBERED = 8


class TokenSource(Protocol[T]):
    """Where tokens come from. All methods block.

    Attributes:
        credential: what they are.
        timeout: seconds for one call of an endpoint.
        longest: seconds after which the last call of an acquisition has ended.
    """

    credential: Credential
    timeout: float
    longest: float

    def acquire(self, refresh: Refresh) -> CachedToken[T]:
        """Another token than ``refresh.last``.

        Raises:
            Failed: what an endpoint, a provider or a store did.
        """
        ...

    def can_replace(self) -> bool:
        """Whether another one can be had now in the place of one that was rejected."""
        ...

    def overdue(self) -> Exception:
        """What a caller gets who has waited for too long."""
        ...


class Lifecycle(Generic[T]):
    """The life of one token, shared by threads, greenlets, tasks and event loops.

    Args:
        source: what acquires a token.
        owner: the auth object, which providers get as ``auth_manager``.
        clock: the time.
        tell: is given tokens that came into use, and the event loop for callbacks; if anybody
            wants to know.

    Attributes:
        clock: the time.
        current: the latest token, usable or not.
        held: the header values of the current token and the eight before it.
    """

    def __init__(
        self,
        source: TokenSource[T],
        owner: object,
        clock: Clock,
        tell: Callable[[list[Any], EventLoop | None], object] | None,
    ) -> None:
        self.source = source
        self.current: CachedToken[T] | None = None
        self.held: tuple[str, ...] = ()
        self._owner = owner
        self.clock = clock
        self._tell = tell
        self._flight = SingleFlight()
        self._generation = 0
        self._rejected: tuple[str, ...] = ()
        self._same_again: tuple[str, float] = ("", 0.0)

    def acquire(self, caller: Caller) -> CachedToken[T]:
        """A usable token, refreshed first if need be.

        ``workers.acquire`` is the same for tasks: what there is to decide is decided here.

        Raises:
            Failed: there is none to be had.
            ReentrantRequestError: who is to bring it waits for this caller.
        """
        while True:
            try:
                found = self.look(caller)
                if isinstance(found, CachedToken):
                    return found
                if caller.outer is not None:
                    caller.outer.inner = found
                is_leader = found.caller is caller
                outcome = self.lead(found) if is_leader else self._wait(found, caller)
            except BaseException:
                self.abandon(caller)
                raise
            token = caller.take(found, outcome)
            if token is not None:
                return token

    def look(self, caller: Caller) -> CachedToken[T] | Refresh:
        """A usable token, or the refresh to wait for, or to lead if it is this caller's."""
        while True:
            token = self.current
            state = status(token, self.clock.time())
            is_suspected = token is not None and token.header == caller.suspects
            if token is not None and state is Status.FRESH and not is_suspected:
                return token
            provider = waiting_refresh(self._owner)
            if token is not None and state in (Status.FRESH, Status.STALE):
                may_wait = provider is None and caller.refreshes < MOST_REFRESHES
                refresh = self._joined(token, True, caller) if may_wait else None
                if refresh is None or not (refresh.caller is caller or is_suspected):
                    return token
                return refresh
            if provider is not None:
                raise self._reentrant()
            if caller.refreshes >= MOST_REFRESHES:
                raise self._given_up(caller)
            refresh = self._joined(token, False, caller)
            if refresh is not None:
                return refresh

    def lead(self, refresh: Refresh) -> Outcome:
        """Refresh the token, and tell of it after everyone who waits was served."""
        outcome: Outcome = None
        try:
            refresh.thread = threading.get_ident()
            outcome = self._installed(refresh, self.source.acquire(refresh))
        except CallbackInterrupted:
            pass
        except Failed as failure:
            outcome = failure
            if refresh.is_early:
                self._put_off(refresh, failure)
        finally:
            refresh.has_ended = True
            self._flight.finish(refresh, outcome)
        outer = refresh.caller.outer
        if outer is not None:
            outer.updates += refresh.updates
        elif refresh.updates and self._tell is not None:
            self._tell(refresh.updates, refresh.caller.loop)
        return outcome

    def abandon(self, caller: Caller) -> None:
        """For an interrupt before a caller led its refresh, or in the middle of its end."""
        mine = self._flight.refresh
        if mine is not None and mine.caller is caller:
            self._flight.finish(mine, None)

    def waits_until(self, refresh: Refresh, caller: Caller) -> float:
        """Reading of the monotonic clock until which a caller waits for a refresh.

        One read longer than an answer may take, so that the leader's own end comes first.
        """
        return min(refresh.limits.ends_at + self.source.timeout, caller.gives_up_at)

    def waited(self, refresh: Refresh, begun_at: float) -> Outcome:
        """What came of a refresh that was waited for from this moment on."""
        now = self.clock.monotonic()
        if now >= refresh.limits.ends_at + self.source.timeout:
            self._flight.finish(refresh, None)
        # Asked first, since there may be thousands who waited.
        if logger.isEnabledFor(INFO):
            credential = self.source.credential.value
            event = AuthEvent("waited", credential, now - begun_at)
            logger.info("waited for the %s", credential, extra={"auth_event": event})
        return refresh.outcome

    def reject(self, header: str) -> bool:
        """Note that the platform rejected this one; whether asking for another may help."""
        with self._flight.lock:
            current = self.current
            is_current = current is not None and current.header == header
            given_again, until = self._same_again
            is_same_again = given_again == header and self.clock.monotonic() < until
            if is_current and (is_same_again or not self.source.can_replace()):
                return False
            if header not in self._rejected:
                self._rejected = (*self._rejected[1 - REMEMBERED :], header)
            if current is not None and is_current:
                self.current = current.rejected()
            return True

    def suspect(self, header: str, caller: Caller) -> bool:
        """Have a caller ask for another one than this, which may be dead; whether that may help.

        Everybody else goes on with it until there is another.
        """
        current = self.current
        if current is not None and current.header == header:
            trusted_for = current.trusted_until - self.clock.time()
            # A clock that was far ahead must not make it trusted for longer.
            if 0 < trusted_for <= LONGEST_TRUST_SECONDS or not self.source.can_replace():
                return False
            caller.suspects = header
        return True

    def assign(self, token: CachedToken[T] | None) -> None:
        """Put a token in the current one's place, or with ``None`` forget it."""
        with self._flight.lock:
            self._same_again = ("", 0.0)
            if token is not None:
                self._rejected = tuple(one for one in self._rejected if one != token.header)
            self._publish(token)
            refresh = waiting_refresh(self._owner)
            if refresh is not None and refresh is self._flight.refresh:
                # What a provider assigns does not make its own answer outdated.
                refresh.generation = self._generation

    def revoked(self, header: str) -> None:
        """Forget what was revoked; from now on it counts as rejected."""
        self.reject(header)
        with self._flight.lock:
            if self.current is not None and self.current.header == header:
                self._publish(None)

    def acquire_apart(self, caller: Caller) -> CachedToken[T]:
        """Acquire a token, and install nothing. Raises :class:`Failed`."""
        refresh = self._begun(None, False, caller)
        refresh.is_apart = True
        token = caller.take(refresh, self.lead(refresh))
        if token is None:
            raise Failed(self.source.overdue())
        return token

    def _joined(
        self, last: CachedToken[T] | None, is_early: bool, caller: Caller
    ) -> Refresh | None:
        """The refresh under way, or this caller's; ``None`` if the token changed meanwhile."""
        with self._flight.lock:
            if self.current is not last:
                return None
            refresh = self._flight.under_way
            if refresh is None:
                self._flight.refresh = refresh = self._begun(last, is_early, caller)
            return refresh

    def _begun(self, last: CachedToken[T] | None, is_early: bool, caller: Caller) -> Refresh:
        timeout, attempts = self.source.timeout, 1 if is_early else MOST_ATTEMPTS
        its_own = self.clock.monotonic() + self.source.longest
        # The last read may begin at the end, so the end comes one read before its caller's.
        ends_at = min(its_own, caller.gives_up_at - timeout)
        limits = Limits(ends_at - timeout, ends_at, attempts)
        now = self._generation, self._rejected
        refresh = Refresh(caller, self._owner, limits, last, is_early, *now)
        refresh.is_curtailed = ends_at < its_own
        return refresh

    def _wait(self, refresh: Refresh, caller: Caller) -> Outcome:
        begun_at = self.clock.monotonic()
        refresh.wait(self.waits_until(refresh, caller), self.clock)
        return self.waited(refresh, begun_at)

    def _installed(self, refresh: Refresh, token: CachedToken[T]) -> Outcome:
        """Publish a token, unless something came in between that may be newer than it."""
        if refresh.is_apart:
            return token
        header = token.header
        with self._flight.lock:
            was_rejected = header in self._rejected
            is_outdated = was_rejected and header not in refresh.rejected
            if is_outdated or refresh.generation != self._generation:
                return None
            if was_rejected:
                self._same_again = (header, self.clock.monotonic() + SAME_AGAIN_SECONDS)
            is_update = self.current is None or self.current.header != header
            self._publish(token)
        if is_update:
            refresh.updates.append(token.value)
        return token

    def _put_off(self, refresh: Refresh, failure: Failed) -> None:
        """Go on with a token that is still usable, and try again after a pause."""
        last, now = refresh.last, self.clock.time()
        what = "refreshing the %s ahead of its expiry failed: %s"
        if refresh.is_suspicion:
            what = "replacing the %s, which an answer makes suspect, failed: %s"
        with self._flight.lock:
            # It may have been rejected or replaced in the meantime.
            if last is not None and self.current is last:
                self.current = last.trusted(now) if refresh.is_suspicion else last.put_off(now)
        warn_of_failure(what, self.source.credential.value, failure.error)

    def _publish(self, token: CachedToken[T] | None) -> None:
        self._generation += 1
        self.current = token
        if token is not None:
            held = [*self.held]
            if token.header in held:
                held.remove(token.header)
            self.held = (*held[-REMEMBERED:], token.header)

    def _given_up(self, caller: Caller) -> Failed:
        if caller.failure is not None:
            return caller.failure.for_another()
        return Failed(self.source.overdue())

    def _reentrant(self) -> ReentrantRequestError:
        return ReentrantRequestError(
            f"oauth_token_provider made a request that needs the"
            f" {self.source.credential.value}, which waits for what the provider returns:"
            " use auth_manager.fetch_token() or another client there"
        )
