"""What a store holds for one auth object."""

from __future__ import annotations

from typing import Any, NamedTuple

from .._core.cached_token import CachedToken
from .._core.login_count import LoginCount
from .._core.shared import SharedSource
from .._core.tokens import Tokens
from ..errors import M2mLoginError
from .advice import Problem


class Stored(NamedTuple):
    """What a store holds for one auth object.

    Attributes:
        token: the access token, usable or not.
        session: the session token, usable or not.
        logins: how the logins went; ``None`` without an account.
        password_hash: a keyed hash of the account's password.
        objection: why no login is tried now, if none is.
    """

    token: CachedToken[Any] | None = None
    session: CachedToken[str] | None = None
    logins: LoginCount | None = None
    password_hash: str = ""
    objection: M2mLoginError | None = None


def stored_by(tokens: Tokens) -> Stored:
    """What the store of these tokens holds.

    Raises:
        StoreUnavailable, InsecureStoreError: it cannot be reached, or not be trusted.
    """
    token, session = (None if one is None else one.read() for one in _shared(tokens))
    source = tokens.session_source
    if source is None:
        return Stored(token, session)
    guard = source.guard
    return Stored(token, session, guard.count(), guard.password_hash, guard.objection())


def see_that_logins_are_counted(auth: Any) -> None:
    """See that an auth object's logins are counted where the next process sees it.

    Otherwise each call of a command would log in, and five failed logins in a row lock the account.

    Raises:
        Problem: it has no store.
        StoreUnavailable, InsecureStoreError: the store cannot be reached, or not be trusted.
    """
    if auth.m2m is None or auth.m2m.username is None:
        return
    if auth._store is None:
        raise Problem(
            "no login is tried: without a store of tokens each call would log in, and five failed"
            " logins in a row lock the account",
            "pip install 'thingspace-auth-adapters[files]'",
        )
    # Whatever its name, an entry that is not there can be looked for.
    auth._store.read("reachable")


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
