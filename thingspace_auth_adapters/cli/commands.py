"""What each command does.

Each raises what went wrong; who catches it tells the user.
"""

from __future__ import annotations

import argparse
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from .._model.m2m import VzM2mCredentials
from ..errors import ThingspaceAuthError
from . import demo as clients
from .check import Finding, Verdict, findings
from .environment import Environment
from .terminal import ask_for_consent, complain, is_interactive, tell


def token(options: argparse.Namespace) -> None:
    """Print a valid access token."""
    environment = Environment.beside(options.env_file)
    auth = _auth(environment, options.scope, _store(environment, options))
    (header,) = auth.headers(environment.base_url).values()
    tell(header.partition(" ")[2])


def headers(options: argparse.Namespace) -> None:
    """Print the headers that a request to the platform needs."""
    environment = Environment.beside(options.env_file)
    store = _store(environment, options)
    auth = _auth(environment, options.scope, store, environment.m2m_credentials())
    for name, value in auth.headers(environment.base_url).items():
        tell(f"{name}: {value}")


def check(options: argparse.Namespace) -> None:
    """Try the credentials step by step.

    Raises:
        ThingspaceAuthError: there is something wrong with them.
    """
    wrong: list[str] = []
    for finding in _checked(options):
        tell(str(finding))
        if finding.verdict is Verdict.WRONG:
            wrong.append(finding.step)
    if wrong:
        raise ThingspaceAuthError(f"the check failed: {', '.join(wrong)} (see above)")


def _checked(options: argparse.Namespace) -> Iterator[Finding]:
    environment = Environment.beside(options.env_file)
    try:
        auth = _auth(environment, options.scope, None, environment.m2m_credentials())
    except (TypeError, ValueError) as error:
        remedy = "correct it: thingspace-auth check --help lists what is read"
        yield Finding(Verdict.WRONG, "settings", str(error), remedy)
        return
    library = type(auth).__module__.rpartition(".")[2]
    what = f"all that is needed is set; trying it with {library} on {environment.base_url}"
    yield Finding(Verdict.OK, "settings", what)
    yield from findings(auth, _no_objection if options.yes else _ask)


def _no_objection(username: str) -> None:
    """The user said --yes."""


def _ask(username: str) -> str | None:
    if not is_interactive():
        return "a login is not tried without being asked for"
    question = f"Try a login as {username}? Five failed ones in a row lock the account."
    return None if ask_for_consent(question) else "you did not want a login to be tried"


def revoke(options: argparse.Namespace) -> None:
    """Revoke the current token at the server, and forget it."""
    environment = Environment.beside(options.env_file)
    auth = _auth(environment, options.scope, _store(environment, options))
    # What the server would give out now is what is current, whatever was stored.
    auth.oauth_token = auth.fetch_token()
    auth.revoke_token()
    _forget_stored(auth)
    tell("the access token was revoked, for every program that uses the same key")


def clear(options: argparse.Namespace) -> None:
    """Forget what is stored for the credentials, the failed logins included."""
    from ..stores import FileTokenStore

    environment = Environment.beside(options.env_file)
    store, m2m = FileTokenStore(environment.store_path), environment.m2m_credentials()
    _forget_stored(_auth(environment, options.scope, store, m2m))
    if m2m is not None and m2m.username is not None:
        tell(f"forgot the access token, the session and the failed logins in {store.path}")
    else:
        tell(f"forgot the access token in {store.path}; no VZ_M2M_USERNAME is set")


def demo(options: argparse.Namespace) -> None:
    """Show the main job."""
    clients.run_demo()


def simulate(options: argparse.Namespace) -> None:
    """Serve a simulated ThingSpace until interrupted."""
    from ..simulator import ThingspaceSimulator

    with ThingspaceSimulator(
        port=options.port,
        token_lifetime=options.token_lifetime,
        sessions_required=options.sessions_required,
    ) as simulator:
        tell(f"THINGSPACE_BASE_URL={simulator.url}")
        tell(f"THINGSPACE_OAUTH_OAUTH_CLIENT_ID={simulator.client_id}")
        tell(f"THINGSPACE_OAUTH_OAUTH_CLIENT_SECRET={simulator.client_secret}")
        tell(f"VZ_M2M_USERNAME={simulator.username}")
        tell(f"VZ_M2M_PASSWORD={simulator.password}")
        with suppress(KeyboardInterrupt):
            threading.Event().wait()


def _auth(
    environment: Environment, scopes: list[str], store: Any, m2m: VzM2mCredentials | None = None
) -> Any:
    """An auth object of whichever library is installed.

    Raises:
        ImportError: none is.
        TypeError, ValueError: a setting is missing or bad; the message names it.
    """
    client = next((client for client in clients.CLIENTS if client.is_installed), None)
    if client is None:
        raise ImportError("no HTTP library found: pip install 'thingspace-auth-adapters[all]'")
    return client.auth(
        thingspace_oauth_credentials=environment.oauth_credentials(scopes),
        base_url=environment.base_url,
        m2m=m2m,
        store=store,
    )


def _store(environment: Environment, options: argparse.Namespace) -> Any:
    """The store of tokens, or ``None`` if there is to be none, or can be none."""
    if options.no_store:
        return None
    try:
        from ..stores import FileTokenStore

        return FileTokenStore(environment.store_path)
    except ImportError as error:
        complain(f"going on without a store of tokens ({error})")
        return None


def _forget_stored(auth: Any) -> None:
    """Forget what the auth object's store holds for it; without a store there is nothing."""
    auth._run_for_user(auth._cleared(), "", "")
