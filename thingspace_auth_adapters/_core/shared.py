"""A source behind a store, through which processes share what one of them acquired."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Callable, Protocol, TypeVar

from .._model.events import AuthEvent, logger
from ..errors import InsecureStoreError
from ..stores.token_store import StoreUnavailable
from .cached_token import CachedToken, Status, status
from .clock import Clock
from .endpoint import warn_of_failure
from .lifecycle import TokenSource
from .records import StoreEntry
from .refresh import Failed, Refresh

T = TypeVar("T")

LOCK_PATIENCE = 1.5
"""For how many timeouts a lock is waited for: an access token has to be asked for within two."""


class StorableSource(TokenSource[T], Protocol[T]):
    """A source whose tokens a store can keep."""

    def extended(self, token: CachedToken[T], now: float) -> CachedToken[T] | None:
        """A stale token made fresh by use, if that is possible."""
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

    Attributes:
        entry: the same.
    """

    def __init__(self, source: StorableSource[T], entry: StoreEntry, clock: Clock) -> None:
        self.credential = source.credential
        self.timeout = source.timeout
        self.longest = source.longest
        self.is_renewable = source.is_renewable
        self._source = source
        self.entry = entry
        self._clock = clock

    def acquire(self, refresh: Refresh) -> CachedToken[T]:
        try:
            if refresh.is_apart:
                return self._under_lock(refresh, self._source.acquire)
            with suppress(StoreUnavailable):
                # It is read again under the lock: what is wrong with it is told then.
                stored = self._stored(refresh, is_reported=False)
                if stored is not None and status(stored, self._clock.time()) is Status.FRESH:
                    return self._loaded(refresh, stored)
            return self._under_lock(refresh, self._acquired)
        except InsecureStoreError as error:
            raise Failed(error) from None

    def overdue(self) -> Exception:
        return self._source.overdue()

    def _under_lock(
        self, refresh: Refresh, acquire: Callable[[Refresh], CachedToken[T]]
    ) -> CachedToken[T]:
        """Acquire under the store's lock, or without a store if it cannot be had."""
        # Beside a holder that stands still, half a timeout is left in which to begin the call.
        left = refresh.limits.begins_by - self._clock.monotonic() - self.timeout / 2
        patience = max(min(left, LOCK_PATIENCE * self.timeout), 0.0)
        try:
            with self.entry.locked(patience):
                refresh.is_shared = True
                return acquire(refresh)
        except StoreUnavailable as error:
            self.entry.report_unavailable(error)
        refresh.is_shared = False
        return acquire(refresh)

    def _acquired(self, refresh: Refresh) -> CachedToken[T]:
        stored = self._stored(refresh) if refresh.is_shared else None
        now = self._clock.time()
        state = status(stored, now)
        if stored is not None and state is Status.FRESH:
            return self._loaded(refresh, stored)
        known = refresh.last if state in (Status.MISSING, Status.EXPIRED) else stored
        is_usable = known is not None and status(known, now) is Status.STALE
        token = self._source.extended(known, now) if known is not None and is_usable else None
        if token is None:
            try:
                token = self._source.acquire(refresh)
            except Failed as failure:
                return self._put_off(stored, failure)
        if refresh.is_shared:
            # What was acquired is good, whether or not it can be written.
            self.entry.write_if_reachable(self._source.to_fields(token, self._clock.time()))
        return token

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
        return None if token is None or token.header in refresh.rejected else token

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
