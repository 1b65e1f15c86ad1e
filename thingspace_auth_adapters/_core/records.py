"""What a store keeps for an auth object: named, sealed and checked here, not by the store.

An entry's name is a hash of what it belongs to, keyed but for the count of logins, which all
applications share. Its content is JSON; with a key it carries a hash of name and content, so that
only who knows the client secret can write one that counts.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

from .._model.events import AuthEvent, logger
from .._wire.messages import json_object
from ..stores.token_store import StoreBusy, StoreUnavailable, TokenStore


class StoreEntry:
    """One entry of a store. The methods block.

    Args:
        store: where it is kept.
        secret: the client secret, with which names and contents are hashed; ``None`` if all
            applications share the entry.
        parts: what the entry belongs to.
        credential: what it is about, for the log.

    Attributes:
        store: the same.
        name: the entry's.

    Raises of each method:
        StoreUnavailable: the store cannot be reached.
        InsecureStoreError: others could read or change what is stored.
    """

    def __init__(
        self, store: TokenStore, secret: str | None, parts: Sequence[object], credential: str
    ) -> None:
        self.store = store
        self._credential = credential
        self._key = None if secret is None else secret.encode()
        self.name = self._hash("name", parts)

    def read(self, is_reported: bool = True) -> dict[str, Any] | None:
        """What is stored; ``None`` if that is nothing, or not what :meth:`write` wrote.

        Args:
            is_reported: whether the latter is logged.
        """
        content = self.store.read(self.name)
        fields = None if content is None else self._unsealed(content)
        is_corrupt = content is not None and fields is None
        # Crash reporters take the frames of a warning.
        del content
        if is_corrupt and is_reported:
            self.report_corrupt()
        return fields

    def write(self, fields: dict[str, Any]) -> None:
        """Replace what is stored."""
        sealed: dict[str, Any] = {"fields": fields}
        if self._key is not None:
            sealed["seal"] = self._hash(self.name, fields)
        self.store.write(self.name, json.dumps(sealed).encode("ascii"))

    def write_if_reachable(self, fields: dict[str, Any]) -> bool:
        """Replace what is stored, or log that the store cannot be reached."""
        try:
            self.write(fields)
            return True
        except StoreUnavailable as error:
            failure = error
        # Crash reporters take the frames of a warning.
        del fields
        self.report_unavailable(failure)
        return False

    def delete(self) -> None:
        """Forget what is stored."""
        self.store.delete(self.name)

    @contextmanager
    def locked(self, patience: float) -> Generator[None, None, None]:
        """Keep every other process and thread from renewing the entry.

        Waits for so many seconds at most.
        """
        lock = self.store.locked(self.name, patience)
        lock.__enter__()
        try:
            yield
        finally:
            try:
                lock.__exit__(None, None, None)
            except StoreUnavailable as error:
                # What was acquired under the lock is good all the same.
                self.report_unavailable(error, "a lock may not have been released")

    def report_corrupt(self) -> None:
        """Log that the entry is not what a lifecycle writes; the next refresh replaces it."""
        logger.warning("an entry of %r is corrupt, and is replaced", self.store)

    def report_unavailable(
        self, error: StoreUnavailable, consequence: str = "going on without it"
    ) -> None:
        """Log that the store cannot be reached."""
        name = "store_busy" if isinstance(error, StoreBusy) else "store_unavailable"
        event = AuthEvent(name, self._credential, reason=type(error).__name__)
        logger.warning("%s: %s", error, consequence, extra={"auth_event": event})

    def __repr__(self) -> str:
        return f"<StoreEntry in {self.store!r}>"

    def _unsealed(self, content: bytes) -> dict[str, Any] | None:
        sealed = json_object(content) or {}
        fields, seal = sealed.get("fields"), sealed.get("seal")
        is_ours = self._key is None or (
            isinstance(seal, str)
            and hmac.compare_digest(
                seal.encode("utf-8", "replace"), self._hash(self.name, fields).encode()
            )
        )
        return fields if is_ours and isinstance(fields, dict) else None

    def _hash(self, name: str, content: object) -> str:
        text = json.dumps([name, content], sort_keys=True).encode("ascii")
        if self._key is None:
            return hashlib.sha256(text).hexdigest()
        return hmac.new(self._key, text, "sha256").hexdigest()
