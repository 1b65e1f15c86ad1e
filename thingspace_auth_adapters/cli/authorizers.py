"""The auth object and the store of a command."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from .._model.credentials import ThingspaceOauthCredentials
from ..stores.token_store import StoreUnavailable
from .clients import Client, installed
from .environment import Environment
from .kept import Stored, clear, stored_by
from .terminal import complain

if TYPE_CHECKING:
    from ..stores import FileTokenStore


def authorizer(
    environment: Environment,
    scopes: Sequence[str],
    store: FileTokenStore | None,
    with_account: bool = True,
) -> Any:
    """A ``ThingspaceAuth`` of whichever library is installed.

    Args:
        environment: the settings; what is missing is asked for.
        scopes: what to ask for.
        store: where tokens are kept, if anywhere.
        with_account: whether it is for sessions, too, if there is an account.

    Raises:
        Problem: none is, or a setting is missing or bad; the message names it.
    """
    client = installed()[0]
    credentials = environment.oauth_credentials(scopes)
    m2m = environment.m2m_credentials() if with_account else None
    return authorizer_of(client, credentials, environment.base_url, store=store, m2m=m2m)


def authorizer_of(
    client: Client, credentials: ThingspaceOauthCredentials, base_url: str, **options: Any
) -> Any:
    """A ``ThingspaceAuth`` of this client's library."""
    return client.auth(thingspace_oauth_credentials=credentials, base_url=base_url, **options)


def store_if_wanted(environment: Environment, is_unwanted: bool) -> FileTokenStore | None:
    """The store of tokens; ``None`` if there is to be none, or can be none."""
    if is_unwanted:
        return None
    try:
        return store_of(environment)
    except ImportError as error:
        complain(f"warning: going on without a store of tokens ({error})")
        return None


def store_of(environment: Environment) -> FileTokenStore:
    """The store of tokens.

    Raises:
        ImportError: the extra ``[files]`` is not installed.
    """
    from ..stores import FileTokenStore

    return FileTokenStore(environment.store_path)


def reject_kept(auth: Any) -> None:
    """Have the auth object get other tokens than those that it, or its store, has now."""
    tokens = auth._tokens
    # Whoever gets the tokens is warned of that.
    stored = Stored()
    with suppress(StoreUnavailable):
        stored = auth._run("", stored_by, tokens)
    _reject(tokens.bearers, stored.token)
    _reject(tokens.sessions, stored.session)


def forget_stored(auth: Any) -> None:
    """Forget what the auth object's store holds for it; without a store there is nothing."""
    auth._run("", clear, auth._tokens)
    if auth._store is not None:
        auth._store.remove_temporary_files()


def _reject(lifecycle: Any, stored: Any) -> None:
    if lifecycle is not None:
        for token in filter(None, (stored, lifecycle.current)):
            lifecycle.reject(token.header)
