"""What a store holds for one auth object."""

from __future__ import annotations

from typing import Any, NamedTuple

from .._core.cached_token import CachedToken
from .._core.login_count import LoginCount
from .._core.shared import SharedSource
from .._core.tokens import Tokens


class Stored(NamedTuple):
    """What a store holds for one auth object.

    Attributes:
        token: the access token, usable or not.
        session: the session token, usable or not.
        logins: how the logins went; ``None`` without an account.
        password: a keyed hash of the account's password.
    """

    token: CachedToken[Any] | None
    session: CachedToken[str] | None
    logins: LoginCount | None
    password: str


def stored_by(tokens: Tokens) -> Stored:
    """What the store of these tokens holds.

    Raises:
        StoreUnavailable, InsecureStoreError: it cannot be reached, or not be trusted.
    """
    token, session = (None if one is None else one.read() for one in _shared(tokens))
    source = tokens.session_source
    if source is None:
        return Stored(token, session, None, "")
    return Stored(token, session, source.guard.count(), source.guard.password_hash)


def clear(tokens: Tokens) -> None:
    """Forget what the store holds, the count of logins included. Raises as :func:`stored_by`."""
    for source in _shared(tokens):
        if source is not None:
            source.entry.delete()
    if tokens.session_source is not None:
        tokens.session_source.guard.allow()


def _shared(tokens: Tokens) -> list[SharedSource[Any] | None]:
    """The sources of the access token and of the session that are behind a store."""
    found: list[SharedSource[Any] | None] = []
    for lifecycle in (tokens.bearers, tokens.sessions):
        source = None if lifecycle is None else lifecycle.source
        found.append(source if isinstance(source, SharedSource) else None)
    return found
