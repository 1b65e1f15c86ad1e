"""What every store does; where its entries lie and how they are locked is the subclass's affair.

Theory of operation. A store is a provider. It hands out what its entry holds, if that is good, and
otherwise renews it under a lock that all processes share, having looked again, and writes what it
got. Whoever cannot reach the store goes on without it. A session's entry says when it was last
used, so what is handed out for a session asks to be provided again after a minute.
"""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Callable, TypeVar

from ..blame import Culprit
from ..errors import M2mLoginError
from ..flight import flights_around
from ..strikes import MOST_UNKNOWNS
from ..tokens import OauthToken
from .records import CorruptRecord, SessionRecord, TokenRecord, record_name

R = TypeVar("R", TokenRecord, SessionRecord)
T = TypeVar("T")

REVISIT_SECONDS = 60.0
"""How often a process tells the store that it uses a session, at most."""

_REVISITS_IN_IDLE_TIMEOUT = 4

LOCK_PATIENCE_SECONDS = 75.0
"""How long a renewal by another process is waited for: an endpoint's retries may take as long."""

SHUN_SECONDS = 60.0
"""How long a store that could not be reached is left alone."""

logger = logging.getLogger("thingspace_auth_adapters")


class StoreUnavailable(Exception):
    """The store cannot be reached, or its lock not be had."""


class SharedSession(str):
    """A session token that other processes use, too.

    Attributes:
        revisit_after: seconds after which it is to be provided again.
    """

    revisit_after: float


class TokenStore(ABC):
    """A provider for ``oauth_token_provider`` and ``vz_m2m_token_provider`` alike.

    One object may serve both, and any number of auth objects.
    """

    def __init__(self) -> None:
        self._shunned_until = 0.0

    def __getstate__(self) -> dict[str, Any]:
        # A reading of the monotonic clock means nothing where a pickle is read.
        return {**vars(self), "_shunned_until": 0.0}

    def __call__(self, last: Any, auth_manager: Any) -> Any:
        """The shared token or session; a new one where there is none that is good.

        Raises:
            M2mLoginError: a login was refused, in this process or in another.
            InsecureStoreError: others could read or change what is stored.
            Exception: what fetching a new one raised.
        """
        entry = _SessionEntry if _is_for_session(last) else _TokenEntry
        return entry(self, auth_manager).provide(last)

    def clear(self, auth_manager: Any) -> None:
        """Forget what is stored for this auth object's credentials, refused logins included."""
        for name in _names(auth_manager):
            with self.reachable(), self.locked(name):
                self.delete(name)

    @contextmanager
    def reachable(self) -> Generator[None, None, None]:
        """Whatever keeps the store from being reached is logged, and passed over for a while."""
        try:
            yield
        except StoreUnavailable as error:
            self._shunned_until = time.monotonic() + SHUN_SECONDS
            logger.warning("%s: going on without it", error)

    @property
    def is_shunned(self) -> bool:
        return time.monotonic() < self._shunned_until

    @abstractmethod
    def read(self, name: str) -> bytes | None:
        """An entry, or ``None`` where there is none.

        Raises:
            StoreUnavailable: it cannot be read.
        """

    @abstractmethod
    def write(self, name: str, content: bytes) -> None:
        """Replace an entry, which is locked. Raises :class:`StoreUnavailable`."""

    @abstractmethod
    def delete(self, name: str) -> None:
        """Delete an entry, which is locked, if it is there. Raises :class:`StoreUnavailable`."""

    @abstractmethod
    def locked(self, name: str) -> AbstractContextManager[Any]:
        """Keep every other process from renewing an entry. Raises :class:`StoreUnavailable`."""


def _is_for_session(last: Any) -> bool:
    """Whether it is the session that is to be provided: the innermost flight tells."""
    flights = [*flights_around()]
    if not flights:
        return isinstance(last, str)
    owner: Any = flights[-1].owner
    return owner.kind.culprit is Culprit.SESSION


def _names(auth_manager: Any) -> list[str]:
    names = [_token_name(auth_manager)]
    sessions = auth_manager._sessions
    if sessions is not None and sessions.kind.is_renewable:
        names.append(_session_name(auth_manager))
    return names


def _token_name(auth_manager: Any) -> str:
    settings = auth_manager._settings
    return record_name(settings.client_secret, ["token", *_identity(settings)])


def _session_name(auth_manager: Any) -> str:
    settings, m2m = auth_manager._settings, auth_manager.m2m
    parts = ["session", *_identity(settings), m2m.username, m2m.password]
    return record_name(settings.client_secret, parts)


def _identity(settings: Any) -> list[Any]:
    return [settings.base_url, settings.client_id, sorted(settings.scopes)]


class _Entry(ABC):
    """One provider call: what is stored, whether it is good, and how it is renewed."""

    name: str

    def __init__(self, store: TokenStore, auth_manager: Any) -> None:
        self._store = store
        self._manager = auth_manager

    @property
    def _now(self) -> float:
        now: float = self._manager._clock.time()
        return now

    def provide(self, last: Any) -> Any:
        if not self._store.is_shunned:
            with self._store.reachable():
                return self._provided(last)
        return self._without_store(last)

    @abstractmethod
    def _provided(self, last: Any) -> Any:
        """From the store, or renewed under its lock. Raises :class:`StoreUnavailable`."""

    @abstractmethod
    def _without_store(self, last: Any) -> Any:
        """What to go on with; ``None`` has the auth object get a new one for itself."""

    def _read(self, from_json: Callable[[bytes], R]) -> R | None:
        content = self._store.read(self.name)
        if content is None:
            return None
        try:
            return from_json(content)
        except CorruptRecord:
            logger.warning("an entry of the store is corrupt, and is replaced")
            return None

    def _write(self, record: TokenRecord | SessionRecord) -> None:
        # What was fetched is good, whether or not it can be written.
        with self._store.reachable():
            self._store.write(self.name, record.to_json())


class _TokenEntry(_Entry):
    def __init__(self, store: TokenStore, auth_manager: Any) -> None:
        super().__init__(store, auth_manager)
        self.name = _token_name(auth_manager)
        self._lifecycle = auth_manager._lifecycle

    def _provided(self, last: Any) -> Any:
        record = self._good_record()
        if record is None:
            with self._store.locked(self.name):
                record = self._good_record() or self._renewed()
        return record.token

    def _without_store(self, last: Any) -> Any:
        return None

    def _good_record(self) -> TokenRecord | None:
        record = self._read(TokenRecord.from_json)
        return record if record is not None and self._is_good(record) else None

    def _is_good(self, record: TokenRecord) -> bool:
        token, lease = record.token, self._lifecycle.lease
        if self._lifecycle.has_rejected(token.access_token) or self._is_past(token.expiry):
            return False
        is_last = self._was_renewed_late(record)
        if lease is None or lease.key != token.access_token:
            return is_last or not self._manager.is_token_expired(token)
        if is_last:
            # The platform repeats a token until it expires; another process has just asked.
            self._lifecycle.vouch(lease)
        return is_last

    def _was_renewed_late(self, record: TokenRecord) -> bool:
        """Whether the token was asked for when it was stale already: asking again is no use."""
        expiry: float | None = record.token.expiry
        clock_skew: float = self._manager._settings.clock_skew
        return expiry is not None and record.renewed_at >= expiry - clock_skew

    def _is_past(self, timestamp: float | None) -> bool:
        return timestamp is not None and self._now >= timestamp

    def _renewed(self) -> TokenRecord:
        token: OauthToken = self._manager.fetch_token()
        record = TokenRecord(token, self._manager._clock.time())
        self._write(record)
        return record


class _SessionEntry(_Entry):
    def __init__(self, store: TokenStore, auth_manager: Any) -> None:
        super().__init__(store, auth_manager)
        self.name = _session_name(auth_manager)
        self._sessions = auth_manager._sessions
        self._idle_timeout: float = auth_manager.m2m.idle_timeout
        self._written_at = 0.0
        self._revisit_after = min(REVISIT_SECONDS, self._idle_timeout / _REVISITS_IN_IDLE_TIMEOUT)

    def _provided(self, last: Any) -> Any:
        record = self._latest()
        if not self._is_good(record) or self._is_to_be_touched():
            with self._store.locked(self.name):
                record = self._touched_or_renewed()
        return self._shared(record.session_token or "")

    def _without_store(self, last: Any) -> Any:
        own = self._own()
        return self._shared(own.session_token or self._manager.fetch_vz_m2m_token())

    def _shared(self, session_token: str) -> SharedSession:
        shared = SharedSession(session_token)
        shared.revisit_after = self._revisit_after
        self._sessions.vouch(self._sessions.kind.given(shared, "a store"))
        return shared

    def _latest(self) -> SessionRecord:
        """What is stored; where that is no good, or gone, what this process has in hand."""
        stored = self._read(SessionRecord.from_json) or SessionRecord()
        own = self._own()
        self._written_at = stored.used_at
        if own.session_token == stored.session_token:
            return stored._replace(used_at=max(own.used_at, stored.used_at))
        if own.session_token is None or self._is_good(stored):
            return stored
        self._written_at = 0.0
        return own

    def _own(self) -> SessionRecord:
        lease = self._sessions.lease
        if lease is None or not lease.is_usable(self._manager._clock):
            return SessionRecord()
        return SessionRecord(lease.value, lease.used_at)

    def _touched_or_renewed(self) -> SessionRecord:
        record = self._latest()
        if not self._is_good(record):
            return self._renewed(record)
        if self._is_to_be_touched():
            record = record._replace(used_at=self._now)
            self._write(record)
        return record

    def _is_good(self, record: SessionRecord) -> bool:
        token = record.session_token
        if token is None or self._sessions.has_rejected(token):
            return False
        return self._now - record.used_at < self._idle_timeout

    def _is_to_be_touched(self) -> bool:
        is_due: bool = self._now - self._written_at >= self._revisit_after
        return is_due

    def _renewed(self, record: SessionRecord) -> SessionRecord:
        strikes = self._sessions.kind.strikes
        if record.refusal is not None:
            # For this process, too, should the store be out of reach the next time.
            strikes.refusal = record.refusal
        strikes.check()
        self._check_unknowns(record)
        unknowns, unknowns_before = record.recent_unknowns(self._now), strikes.unknowns
        # Counted before it is sent, so that it counts whatever becomes of this process.
        risky = SessionRecord(unknowns=unknowns + 1, unknown_at=self._now)
        self._store.write(self.name, risky.to_json())
        try:
            session_token = self._manager.fetch_vz_m2m_token()
        except BaseException:
            more = max(strikes.unknowns - unknowns_before, 0)
            self._write(risky._replace(unknowns=unknowns + more, refusal=strikes.refusal))
            raise
        renewed = SessionRecord(session_token, used_at=self._now)
        self._write(renewed)
        return renewed

    def _check_unknowns(self, record: SessionRecord) -> None:
        if record.recent_unknowns(self._now) >= MOST_UNKNOWNS:
            raise M2mLoginError(
                f"{MOST_UNKNOWNS} logins of processes that share the store had no readable"
                " outcome; none is tried again for an hour, since five failed ones lock the"
                " account"
            )
