"""Which token is usable now, who refreshes it, and what a failure means to those who wait.

Theory of operation. A lifecycle publishes one :class:`CachedToken` by one assignment, so the warm
path reads it without a lock. Whoever finds it missing, stale, expired or rejected joins the
*refresh* under way or starts one. Its leader looks into the store, takes the store's lock, asks
the source, writes and publishes. Everyone else waits for the outcome or, if the token is merely
stale, goes on with it. Only what an endpoint, a provider or a store did is shared. If anything
else ends the leader, the refresh is abandoned: those who waited join again, and the first of them
leads with what is left of the budget.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Callable, Generic, TypeVar

from .._model.events import AuthEvent, logger
from ..errors import InsecureStoreError, ReentrantRequestError, ThingspaceAuthError
from ..stores.token_store import LOCK_PATIENCE_SECONDS, StoreUnavailable
from .cached_token import CachedToken, Status, status
from .effects import Block, Clock, Hold, Shelter, Steps, Wait, waiting_refresh
from .retry import MOST_ATTEMPTS, Budget, reason_of
from .single_flight import ABANDONED, Failed, Outcome, Refresh, SingleFlight, Succeeded
from .sources import TokenSource

if TYPE_CHECKING:
    from .records import StoreEntry

T = TypeVar("T")

SAME_AGAIN_SECONDS = 30.0
"""How long a rejected token that the endpoint gave out again is not asked for again."""

REFRESH_PAUSE_SECONDS = 10.0
"""The pause after a failed refresh of a token that is stale but not expired."""

REMEMBERED = 8


class Lifecycle(Generic[T]):
    """The life of one token, shared by threads, greenlets, tasks and event loops.

    Args:
        source: what acquires a token.
        owner: the auth object, which providers get as ``auth_manager``.
        clock: the time.
        entry: where other processes find the token, if it is shared.

    Attributes:
        current: the latest token, usable or not.
        held: the header values of the current token and the eight before it.
    """

    def __init__(
        self,
        source: TokenSource[T],
        owner: object,
        clock: Clock,
        entry: StoreEntry | None = None,
    ) -> None:
        self.source = source
        self.entry = entry
        self.current: CachedToken[T] | None = None
        self.held: tuple[str, ...] = ()
        self._owner = owner
        self._clock = clock
        self._flight = SingleFlight()
        self._generation = 0
        self._rejected: tuple[str, ...] = ()
        self._same_again: tuple[str, float] = ("", 0.0)

    def acquire(self, updates: list[Any]) -> Steps[CachedToken[T]]:
        """A usable token, refreshed first if need be.

        Args:
            updates: gets the new value if this caller's refresh changed the token in use.

        Raises:
            Failed: there is none to be had.
            ReentrantRequestError: called on behalf of the provider that is to bring it.
        """
        budget: Budget | None = None
        may_lock = True
        while True:
            token, state = self.current, status(self.current, self._clock.time())
            is_providers = state is Status.STALE and waiting_refresh(self._owner) is not None
            if token is not None and (state is Status.FRESH or is_providers):
                return token
            mine = self._begun(state is Status.STALE, budget)
            mine.may_lock = may_lock
            refresh = self._flight.join_or_start(mine)
            if refresh is mine:
                if self.source.is_sheltered:
                    yield Shelter(mine, self._lead(mine, token), self.source.timeout)
                else:
                    yield from self._lead(mine, token)
                updates += mine.updates
            elif token is not None and state is Status.STALE:
                return token
            else:
                yield from self._waited(refresh)
            outcome = refresh.outcome
            if isinstance(outcome, Succeeded):
                return outcome.token
            if isinstance(outcome, Failed) and not refresh.is_early:
                raise outcome if refresh is mine else outcome.for_another()
            budget = None if refresh.is_early else refresh.budget
            # A leader that this thread has overtaken may hold the store's lock.
            may_lock = not refresh.is_overtaken

    def replace(self, header: str, updates: list[Any]) -> Steps[CachedToken[T] | None]:
        """Another token than the one with this header value, which the platform rejected.

        A failure is logged and no more: the caller has the platform's answer in hand.
        """
        if not self.reject(header):
            return None
        try:
            token = yield from self.acquire(updates)
        except Failed as failure:
            self._warn("refreshing the rejected %s failed: %s", failure)
            return None
        return None if token.header == header else token

    def reject(self, header: str) -> bool:
        """Note that the platform rejected this one; whether asking for another may help."""
        with self._flight.lock:
            current = self.current
            is_current = current is not None and current.header == header
            given_again, until = self._same_again
            is_same_again = given_again == header and self._clock.monotonic() < until
            if not self.source.is_renewable or (is_current and is_same_again):
                return False
            if header not in self._rejected:
                self._rejected = (*self._rejected[1 - REMEMBERED :], header)
            if current is not None and is_current:
                self.current = current.rejected()
            return True

    def assign(self, token: CachedToken[T] | None) -> None:
        """Put a token in the current one's place, or with ``None`` forget it."""
        with self._flight.lock:
            self._same_again = ("", 0.0)
            if token is not None:
                self._rejected = tuple(one for one in self._rejected if one != token.header)
            self._publish(token)
            refresh = waiting_refresh(self._owner)
            if refresh is not None:
                # What a provider assigns does not make its own answer outdated.
                refresh.generation = self._generation

    def revoked(self, header: str) -> None:
        """Forget what was revoked; from now on it counts as rejected."""
        self.reject(header)
        with self._flight.lock:
            if self.current is not None and self.current.header == header:
                self._publish(None)

    def acquire_apart(self, updates: list[Any]) -> Steps[CachedToken[T]]:
        """Acquire a token under the store's lock, and install nothing."""
        refresh = self._begun(is_early=False, inherited=None)
        steps = self._in_store(refresh, lambda: self.source.acquire(refresh, None))
        try:
            token: CachedToken[T] = yield Shelter(refresh, steps, self.source.timeout)
        finally:
            updates += refresh.updates
        return token

    def stored(self) -> Steps[CachedToken[T] | None]:
        """What the store holds, usable or not.

        Raises:
            StoreUnavailable, InsecureStoreError: it cannot be reached, or not be trusted.
        """
        return None if self.entry is None else (yield from self._stored(self.entry))

    def forget_stored(self) -> Steps[None]:
        """Delete the entry of the store.

        Raises:
            StoreUnavailable, InsecureStoreError: it cannot be reached, or not be trusted.
        """
        if self.entry is not None:
            yield Block(self.entry.delete)

    def _waited(self, refresh: Refresh) -> Steps[None]:
        begun_at = self._clock.monotonic()
        yield Wait(refresh)
        credential, seconds = self.source.credential.value, self._clock.monotonic() - begun_at
        event = AuthEvent("waited", credential, seconds)
        logger.info("waited for the %s", credential, extra={"auth_event": event})

    def _begun(self, is_early: bool, inherited: Budget | None) -> Refresh:
        if waiting_refresh(self._owner) is not None:
            raise ReentrantRequestError(
                f"oauth_token_provider made a request that needs the"
                f" {self.source.credential.value}, which waits for what the provider returns:"
                " use auth_manager.fetch_token() or another client there"
            )
        if inherited is None or inherited.is_spent:
            inherited = Budget(self._clock, self.source.timeout, 1 if is_early else MOST_ATTEMPTS)
        patience = self.source.patience + (LOCK_PATIENCE_SECONDS if self.entry else 0.0)
        ends_at = self._clock.monotonic() + patience
        refresh = Refresh(self._owner, ends_at, inherited, is_early)
        refresh.generation, refresh.rejected = self._generation, self._rejected
        return refresh

    def _lead(self, refresh: Refresh, last: CachedToken[T] | None) -> Steps[None]:
        outcome: Outcome = ABANDONED
        try:
            # Another refresh may have ended between the look at the token and the start of this.
            if self.current is last:
                token = yield from self._refreshed(refresh, last)
                outcome = self._install(refresh, token)
        except Failed as failure:
            outcome = failure
            if last is not None and status(last, self._clock.time()) is Status.STALE:
                outcome = Succeeded(self._put_off(last, failure))
        finally:
            self._flight.finish(refresh, outcome)

    def _warn(self, what: str, failure: Failed) -> None:
        # Messages that are not ours may hold anything.
        is_ours = isinstance(failure.error, ThingspaceAuthError)
        reason = failure.error if is_ours else type(failure.error).__name__
        credential = self.source.credential.value
        status_code = getattr(failure.error, "status_code", None)
        event = AuthEvent(
            "refresh_failed",
            credential,
            status_code=status_code,
            reason=reason_of(failure.error),
        )
        logger.warning(what, credential, reason, extra={"auth_event": event})

    def _refreshed(self, refresh: Refresh, last: CachedToken[T] | None) -> Steps[CachedToken[T]]:
        entry = self.entry
        if entry is None:
            return (yield from self._renewed(refresh, last))
        try:
            with suppress(StoreUnavailable):
                # It is read again under the lock: what is wrong with it is told then.
                stored = yield from self._stored(entry, is_reported=False)
                if stored is not None and status(stored, self._clock.time()) is Status.FRESH:
                    return self._loaded(stored)
            return (yield from self._in_store(refresh, lambda: self._renewed(refresh, last)))
        except InsecureStoreError as error:
            raise Failed(error) from None

    def _in_store(
        self, refresh: Refresh, steps: Callable[[], Steps[CachedToken[T]]]
    ) -> Steps[CachedToken[T]]:
        """Take steps under the store's lock, or without a store if it cannot be reached."""
        if self.entry is not None and refresh.may_lock:
            refresh.is_shared = True
            try:
                token: CachedToken[T] = yield Hold(self.entry.locked, steps())
                return token
            except StoreUnavailable as error:
                self.entry.report_unavailable(error)
            refresh.is_shared = False
        return (yield from steps())

    def _renewed(self, refresh: Refresh, last: CachedToken[T] | None) -> Steps[CachedToken[T]]:
        entry, stored = self.entry if refresh.is_shared else None, None
        if entry is not None:
            stored = yield from self._stored(entry)
        now = self._clock.time()
        if stored is not None and status(stored, now) is Status.FRESH:
            return self._loaded(stored)
        known = last if status(stored, now) in (Status.MISSING, Status.EXPIRED) else stored
        is_usable = status(known, now) is Status.STALE
        token = self.source.extended(known, now) if known is not None and is_usable else None
        if token is None:
            try:
                token = yield from self.source.acquire(refresh, last)
            except Failed as failure:
                if stored is None or status(stored, self._clock.time()) is not Status.STALE:
                    raise
                return self._put_off(stored, failure)
        if entry is not None:
            # What was acquired is good, whether or not it can be written.
            fields = self.source.to_fields(token, self._clock.time())
            yield Block(partial(entry.write_if_reachable, fields))
        return token

    def _loaded(self, token: CachedToken[T]) -> CachedToken[T]:
        credential = self.source.credential.value
        if self.current is None or self.current.header != token.header:
            event = AuthEvent("loaded", credential)
            logger.info("a new %s was loaded", credential, extra={"auth_event": event})
        return token

    def _put_off(self, token: CachedToken[T], failure: Failed) -> CachedToken[T]:
        """Go on with a token that is stale but not expired, and try again after a pause."""
        pause_ends_at = self._clock.time() + REFRESH_PAUSE_SECONDS
        token.touch_at = token.stale_at = min(pause_ends_at, token.expires_at)
        self._warn("refreshing the %s ahead of its expiry failed: %s", failure)
        return token

    def _stored(self, entry: StoreEntry, is_reported: bool = True) -> Steps[CachedToken[T] | None]:
        fields = yield Block(partial(entry.read, is_reported))
        if fields is None:
            return None
        try:
            token = self.source.from_fields(fields)
        except (KeyError, TypeError, ValueError):
            if is_reported:
                entry.report_corrupt()
            return None
        return None if token.header in self._rejected else token

    def _install(self, refresh: Refresh, token: CachedToken[T]) -> Outcome:
        header = token.header
        with self._flight.lock:
            was_rejected = header in self._rejected
            is_outdated = was_rejected and header not in refresh.rejected
            if is_outdated or refresh.generation != self._generation:
                # Something came in between: the answer may be older than that.
                return ABANDONED
            if was_rejected:
                self._same_again = (header, self._clock.monotonic() + SAME_AGAIN_SECONDS)
            is_update = self.current is None or self.current.header != header
            self._publish(token)
        if is_update:
            refresh.updates.append(token.value)
        return Succeeded(token)

    def _publish(self, token: CachedToken[T] | None) -> None:
        self._generation += 1
        self.current = token
        if token is not None:
            held = [*self.held]
            if token.header in held:
                held.remove(token.header)
            self.held = (*held[-REMEMBERED:], token.header)
