"""A source behind a store, through which processes share what one of them acquired."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Callable, Protocol, TypeVar

from .._model.events import AuthEvent, logger
from ..errors import InsecureStoreError
from ..stores.token_store import StoreBusy, StoreUnavailable
from .cached_token import CachedToken, Status, status
from .clock import Clock
from .endpoint import warn_of_failure
from .lifecycle import TokenSource
from .records import StoreEntry
from .refresh import Failed, Limits, Refresh

T = TypeVar("T")


class StorableSource(TokenSource[T], Protocol[T]):
    """A source whose tokens a store can keep."""

    def touched(self, token: CachedToken[T], now: float) -> CachedToken[T] | None:
        """A token that is stale only since the store has to be told of its use, as just used."""
        ...

    def lock_until(self, limits: Limits) -> float:
        """Reading of the monotonic clock until which the store's lock is waited for."""
        ...

    def beside(self, refresh: Refresh, busy: StoreBusy) -> CachedToken[T]:
        """What can be had beside another process that holds the lock. Raises :class:`Failed`."""
        ...

    def to_fields(self, token: CachedToken[T], now: float) -> dict[str, Any]:
        """What a store keeps of a token that was acquired, or used, just now."""
        ...

    def from_fields(self, fields: Mapping[str, Any]) -> CachedToken[T]:
        """The token that :meth:`to_fields` wrote. Raises ``KeyError``, or as a bad argument."""
        ...


class SharedSource(TokenSource[T]):
    """Looks into the store, takes its lock, looks again, acquires from another source, and writes.

    Args:
        source: what it acquires from.
        entry: where in the store the token is kept.
        clock: the time.
        locked: the entry whose lock is taken, by default the same.

    Attributes:
        entry: the same.
    """

    def __init__(
        self,
        source: StorableSource[T],
        entry: StoreEntry,
        clock: Clock,
        locked: StoreEntry | None = None,
    ) -> None:
        self.credential = source.credential
        self.timeout = source.timeout
        self.longest = source.longest
        self._source = source
        self.entry = entry
        self._clock = clock
        self._locked = locked or entry

    def acquire(self, refresh: Refresh) -> CachedToken[T]:
        try:
            if refresh.is_apart:
                return self._under_lock(refresh, self._source.acquire)
            found = self._without_lock(refresh)
            return self._under_lock(refresh, self._acquired) if found is None else found
        except InsecureStoreError as error:
            raise Failed(error) from None

    def can_replace(self) -> bool:
        return self._source.can_replace()

    def overdue(self) -> Exception:
        return self._source.overdue()

    def _without_lock(self, refresh: Refresh) -> CachedToken[T] | None:
        """What needs no lock: the store's token, or ours, of which it has to be told the use."""
        stored = failure = None
        try:
            # It is read again under the lock: what is wrong with it is told then.
            stored = self._stored(refresh, is_reported=False)
        except StoreUnavailable as error:
            failure = error
        taken = self._taken(stored, refresh)
        touched = self._touched(refresh.last, refresh) if taken is None else None
        if touched is not None and failure is not None:
            self.entry.report_unavailable(failure)
        elif touched is not None and stored is not None and stored.header == touched.header:
            self._write(touched)
        return touched if taken is None else taken

    def _taken(self, stored: CachedToken[T] | None, refresh: Refresh) -> CachedToken[T] | None:
        """The store's token, if it is good, or is so once the store was told of its use."""
        if stored is None or self._is_good(stored, refresh):
            return stored and self._loaded(refresh, stored)
        touched = self._touched(stored, refresh)
        if touched is not None:
            self._write(touched)
            self._loaded(refresh, touched)
        return touched

    def _touched(self, token: CachedToken[T] | None, refresh: Refresh) -> CachedToken[T] | None:
        """A token as just used, if it is good but for that."""
        now = self._clock.time()
        if token is None or token.header == refresh.caller.suspects:
            return None
        return self._source.touched(token, now) if status(token, now) is Status.STALE else None

    def _write(self, token: CachedToken[T]) -> None:
        self.entry.write_if_reachable(self._source.to_fields(token, self._clock.time()))

    def _under_lock(
        self, refresh: Refresh, acquire: Callable[[Refresh], CachedToken[T]]
    ) -> CachedToken[T]:
        """Acquire under the store's lock, or without a store if it cannot be had."""
        patience = self._source.lock_until(refresh.limits) - self._clock.monotonic()
        try:
            with self._locked.locked(max(patience, 0.0)):
                refresh.holds_lock = True
                return acquire(refresh)
        except StoreUnavailable as error:
            failure = error
        refresh.holds_lock = False
        if isinstance(failure, StoreBusy):
            found = self._source.beside(refresh, failure)
            self.entry.report_unavailable(failure)
            return found
        self.entry.report_unavailable(failure)
        return acquire(refresh)

    def _acquired(self, refresh: Refresh) -> CachedToken[T]:
        stored = self._stored(refresh) if refresh.holds_lock else None
        taken = self._taken(stored, refresh)
        if taken is not None:
            return taken
        try:
            token = self._source.acquire(refresh)
        except Failed as failure:
            return self._put_off(stored, failure)
        if refresh.holds_lock and not refresh.is_makeshift:
            # What was acquired is good, whether or not it can be written.
            self._write(token)
        return token

    def _is_good(self, stored: CachedToken[T], refresh: Refresh) -> bool:
        is_suspected = stored.header == refresh.caller.suspects
        return not is_suspected and status(stored, self._clock.time()) is Status.FRESH

    def _put_off(self, stored: CachedToken[T] | None, failure: Failed) -> CachedToken[T]:
        """Go on with a stored token that is stale but not expired."""
        now = self._clock.time()
        if stored is None or status(stored, now) is not Status.STALE:
            raise failure
        what = "refreshing the %s ahead of its expiry failed: %s"
        warn_of_failure(what, self.credential.value, failure.error)
        return stored.put_off(now)

    def _loaded(self, refresh: Refresh, token: CachedToken[T]) -> CachedToken[T]:
        if refresh.last is None or refresh.last.header != token.header:
            credential = self.credential.value
            event = AuthEvent("loaded", credential)
            logger.info("a new %s was loaded", credential, extra={"auth_event": event})
        return token

    def _stored(self, refresh: Refresh, is_reported: bool = True) -> CachedToken[T] | None:
        """What the store holds, unless the platform has rejected it."""
        token = self.read(is_reported)
        refresh.stored = None if token is None or token.header in refresh.rejected else token
        return refresh.stored

    def read(self, is_reported: bool = True) -> CachedToken[T] | None:
        """What the store holds, usable or not.

        Raises:
            StoreUnavailable, InsecureStoreError: it cannot be reached, or not be trusted.
        """
        fields, token = self.entry.read(is_reported), None
        is_there = fields is not None
        with suppress(KeyError, TypeError, ValueError):
            token = None if fields is None else self._source.from_fields(fields)
        # Crash reporters take the frames of a warning.
        del fields
        if is_there and token is None and is_reported:
            self.entry.report_corrupt()
        return token
