"""The auth object and the store of a command."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .._model.m2m import VzM2mCredentials
from .advice import Problem
from .clients import installed
from .environment import Environment
from .terminal import complain

if TYPE_CHECKING:
    from ..stores import FileTokenStore


def authorizer(
    environment: Environment,
    scopes: Sequence[str],
    store: FileTokenStore | None,
    m2m: VzM2mCredentials | None = None,
) -> Any:
    """A ``ThingspaceAuth`` of whichever library is installed.

    Raises:
        Problem: none is, or a setting is missing or bad; the message names it.
    """
    client = installed()[0]
    credentials = environment.oauth_credentials(scopes)
    try:
        return client.auth(
            thingspace_oauth_credentials=credentials,
            base_url=environment.base_url,
            m2m=m2m,
            store=store,
        )
    except (TypeError, ValueError) as error:
        raise Problem(
            str(error), "correct the variable: thingspace-auth check --help lists them"
        ) from None


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


def forget_stored(auth: Any) -> None:
    """Forget what the auth object's store holds for it; without a store there is nothing."""
    auth._run_for_user(auth._cleared(), "", "")
