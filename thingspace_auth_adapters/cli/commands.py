"""The commands, their options, and the help on them.

Each raises what went wrong; who runs it tells the user.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from shlex import quote
from typing import Any, Callable

import click

from .. import __version__
from ..errors import M2mLoginError
from . import demo as demos
from . import simulate as simulation
from . import status as statuses
from .advice import Problem, advice_on_login
from .authorizers import authorizer, forget_stored, reject_kept, store_if_wanted, store_of
from .check import Finding, Verdict, findings, settings_findings
from .environment import Environment
from .kept import see_that_logins_are_counted
from .terminal import ask_for_consent, is_interactive, tell, tell_entry, tell_json

# RFC 6749 section 3.3.
_SCOPE = r"[\x21\x23-\x5b\x5d-\x7e]+"

_VARIABLES = """\b
The credentials are read from the environment, never from the command line:
  THINGSPACE_OAUTH_OAUTH_CLIENT_ID      the key of your application, from
                                        its page on ThingSpace
  THINGSPACE_OAUTH_OAUTH_CLIENT_SECRET  its secret
What is missing is asked for if you are at a terminal.
"""
_SESSION_VARIABLES = """\b
For the APIs that need an M2M session (most but 5G Edge do):
  VZ_M2M_USERNAME, VZ_M2M_PASSWORD      the account's "UWS" user name and
                                        password; if one of them is set, the
                                        other is asked for, too
  VZ_M2M_TOKEN_VZ_M2M_TOKEN             or a session token that you have
"""
_OPTIONAL_VARIABLES = """\b
If need be:
  THINGSPACE_BASE_URL                   another base URL
  THINGSPACE_OAUTH_OAUTH_CLOCK_SKEW     seconds before its expiry at which a
                                        token is renewed
"""
_STORE_VARIABLE = """\
  THINGSPACE_AUTH_STORE                 the directory in which tokens are kept
                                        for the next call (by default in your
                                        cache directory)
"""
_BEARER_EPILOG = "\n".join((_VARIABLES, _OPTIONAL_VARIABLES + _STORE_VARIABLE))
_BOTH_EPILOG = "\n".join((_VARIABLES, _SESSION_VARIABLES, _OPTIONAL_VARIABLES + _STORE_VARIABLE))
_EPILOG = """\b
Exit status: 0 success, 1 failure, 2 wrong usage, 130 after Ctrl-C.

\b
Completion of commands and options, in bash (or zsh, or fish):
  eval "$(_THINGSPACE_AUTH_COMPLETE=bash_source thingspace-auth)"
"""


class UnknownCommand(click.UsageError):
    """There is no such command.

    Args:
        typed: what was typed; it is not quoted, since it may be a secret.
    """

    def __init__(self, typed: str) -> None:
        super().__init__("there is no such command")
        self.typed = typed


class _Command(click.Command):
    """Says of each usage error that it is its own."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            error.ctx = ctx
            raise


class _InOrder(click.Group):
    """Lists its commands in the order of their definition."""

    command_class = _Command

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError:
            raise UnknownCommand(args[0]) from None


def _scopes(context: click.Context, option: click.Parameter, scopes: Sequence[str]) -> list[str]:
    words = [word for text in scopes for word in text.split()]
    is_empty = not all(text.split() for text in scopes)
    if is_empty or not all(re.fullmatch(_SCOPE, word) for word in words):
        raise click.BadParameter("must be a scope, for example ts.mec.fullaccess")
    return words


_env_file = click.option(
    "--env-file",
    metavar="FILE",
    help="Read variables from a file, too: NAME=value lines, as python-dotenv reads them."
    " They come before the environment's.",
)
_scope = click.option(
    "--scope",
    "scopes",
    multiple=True,
    callback=_scopes,
    help="What the token is to be good for, for example ts.mec.fullaccess; may be repeated."
    " By default everything that the key is good for.",
)
_no_store = click.option(
    "--no-store",
    is_flag=True,
    help="Neither use nor change the tokens that are kept for the next call.",
)
_fresh = click.option(
    "--fresh",
    is_flag=True,
    help="Get other tokens than those that are kept: for when ThingSpace rejects them.",
)


_json = click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print JSON, for programs. If the command fails, none is printed.",
)


def _port(context: click.Context, option: click.Parameter, text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or int(text) > 65535:
        raise click.BadParameter("must be a port from 0 to 65535")
    return int(text)


def _seconds(context: click.Context, option: click.Parameter, text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,9}(?:\.[0-9]{1,9})?", text):
        raise click.BadParameter("must be a number of seconds")
    return float(text)


@click.group(
    cls=_InOrder,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=_EPILOG,
)
@click.version_option(__version__, message="%(version)s")
@click.pass_context
def thingspace_auth(context: click.Context) -> None:
    """Access tokens and sessions of Verizon ThingSpace.

    To begin with, put the key and the secret of your application into the environment variables
    THINGSPACE_OAUTH_OAUTH_CLIENT_ID and THINGSPACE_OAUTH_OAUTH_CLIENT_SECRET, and run
    'thingspace-auth check'. To see it work without any, run 'thingspace-auth demo'.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@thingspace_auth.command()
def demo() -> None:
    """Show the life of a token and of a session.

    With each installed HTTP library, against an embedded simulator of ThingSpace, beside a script
    that is written by hand. If THINGSPACE_OAUTH_OAUTH_CLIENT_ID and
    THINGSPACE_OAUTH_OAUTH_CLIENT_SECRET are in the environment, each library asks ThingSpace
    itself for a token instead, and nothing else is called (THINGSPACE_BASE_URL names another base
    URL).
    """
    demos.run_demo()


@thingspace_auth.command(epilog=_BOTH_EPILOG)
@_env_file
@_scope
@click.option("--yes", is_flag=True, help="Try the login to the M2M account without asking.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def check(env_file: str | None, scopes: Sequence[str], yes: bool, as_json: bool) -> None:
    """Try the credentials: what is wrong, and what to do.

    Each step is tried once. Tokens kept by other commands are not used. A login to the M2M account
    is tried only after you have said yes: five that fail in a row lock the account.
    """
    found = []
    for finding in _checked(env_file, scopes, _no_objection if yes else _ask):
        found.append(finding)
        if not as_json:
            _tell_finding(finding)
    if as_json:
        tell_json([finding.to_json() for finding in found])
    wrong = [finding.step for finding in found if finding.verdict is Verdict.WRONG]
    if wrong:
        raise Problem(f"the check failed: {', '.join(wrong)}")


def _checked(
    env_file: str | None, scopes: Sequence[str], objection: Callable[[str], str | None]
) -> Iterator[Finding]:
    try:
        environment = Environment.beside(env_file)
    except Problem as problem:
        yield _bad_settings(problem)
        return
    # Only logins are counted in it: other commands' tokens are not used.
    store = store_if_wanted(environment, False)
    try:
        auth = authorizer(environment, scopes, store)
    except (Problem, TypeError, ValueError) as error:
        yield from settings_findings(environment.settings())
        yield _bad_settings(error)
        return
    yield from settings_findings(environment.settings())
    library = type(auth).__module__.rpartition(".")[2]
    yield Finding(Verdict.OK, "settings", f"all that is needed is set; trying it with {library}")
    yield from findings(auth, objection, "" if store is None else _clear_command(env_file))


def _bad_settings(error: Exception) -> Finding:
    return Finding(Verdict.WRONG, "settings", str(error), getattr(error, "remedy", "correct it"))


_STYLES = {Verdict.OK: "green", Verdict.WRONG: "bold red", Verdict.SKIPPED: "dim"}


def _tell_finding(finding: Finding) -> None:
    verdict = finding.verdict
    tell_entry(verdict.value, f"{finding.step}: {finding.what}", finding.remedy, _STYLES[verdict])


def _no_objection(username: str) -> None:
    """The user said --yes."""


def _ask(username: str) -> str | None:
    if not is_interactive():
        return "a login is not tried without being asked for"
    question = f"Try a login as {username}? Five failed ones in a row lock the account."
    return None if ask_for_consent(question) else "you did not want a login to be tried"


@thingspace_auth.command(epilog=_BEARER_EPILOG)
@_env_file
@_scope
@_no_store
@_fresh
@_json
def token(
    env_file: str | None, scopes: Sequence[str], no_store: bool, fresh: bool, as_json: bool
) -> None:
    """Print a valid access token.

    And nothing else. It is kept for the next call, so that a loop in a shell asks ThingSpace once
    an hour. --json tells its type, scope and expiry (a unix timestamp), too.
    """
    environment = Environment.beside(env_file)
    auth = authorizer(
        environment, scopes, store_if_wanted(environment, no_store), with_account=False
    )
    if fresh:
        reject_kept(auth)
    (header,) = auth.headers(environment.base_url).values()
    if not as_json:
        tell(header.partition(" ")[2])
        return
    current = auth.oauth_token
    tell_json(
        {
            "access_token": current.access_token,
            "token_type": current.token_type,
            "expires_at": None if current.expiry is None else int(current.expiry),
            "scope": current.scope,
        }
    )


@thingspace_auth.command(epilog=_BOTH_EPILOG)
@_env_file
@_scope
@_no_store
@_fresh
@_json
def headers(
    env_file: str | None, scopes: Sequence[str], no_store: bool, fresh: bool, as_json: bool
) -> None:
    """Print the headers of a request, for curl -H @-.

    One a line, as in: thingspace-auth headers | curl -H @- URL. Without M2M credentials it is the
    access token's alone. Both tokens are kept for the next call. If there is no token, curl sends
    the request without one; HTTPie, with 'http -A thingspace URL', does not.
    """
    environment = Environment.beside(env_file)
    store = store_if_wanted(environment, no_store)
    auth = authorizer(environment, scopes, store)
    if not no_store:
        see_that_logins_are_counted(auth)
    if fresh:
        reject_kept(auth)
    found = _headers_of(auth, _clear_command(env_file) if store is not None else "")
    if as_json:
        tell_json(found)
        return
    for name, value in found.items():
        tell(f"{name}: {value}")


def _headers_of(auth: Any, clear: str) -> dict[str, str]:
    """The headers of a request; a login that fails says how to go on in the shell."""
    try:
        found: dict[str, str] = auth.headers(auth._settings.base_url)
    except M2mLoginError as error:
        advice = advice_on_login(error, clear)
        raise Problem(advice.what, advice.remedy) from None
    return found


def _clear_command(env_file: str | None) -> str:
    """The command that forgets what is stored for the same credentials."""
    return f"thingspace-auth clear{f' --env-file {quote(env_file)}' if env_file else ''}"


@thingspace_auth.command(epilog=_BOTH_EPILOG)
@_env_file
@_scope
@_json
def status(env_file: str | None, scopes: Sequence[str], as_json: bool) -> None:
    """Show which credentials are used, and what is stored for them.

    Where each setting comes from, where the store is, when the tokens expire, and which failed
    logins are remembered. No token is shown, and no server is asked. The exit status is 0 also if
    nothing is stored: then a token is fetched when one is needed. In JSON, times are unix
    timestamps.
    """
    environment = Environment.beside(env_file)
    store = store_of(environment)
    try:
        auth = authorizer(environment, scopes, store)
    except Problem:
        # Where the store is can be said without any credentials.
        if not as_json:
            statuses.show_place(environment.settings(), store.path)
        raise
    settings = environment.settings()
    found = statuses.status_of(auth, settings, _clear_command(env_file))
    if as_json:
        tell_json(found)
    else:
        statuses.show(found, settings)


@thingspace_auth.command(epilog=_BOTH_EPILOG)
@_env_file
@_scope
def clear(env_file: str | None, scopes: Sequence[str]) -> None:
    """Forget what is stored, a refused login included.

    The access token, the session and the failed logins that are stored for these credentials. No
    server is asked: nothing is revoked, and nobody is logged out. After a refused login this allows
    another one with the same user name and password; five that fail in a row lock the account.
    """
    environment = Environment.beside(env_file)
    store = store_of(environment)
    auth = authorizer(environment, scopes, store)
    forget_stored(auth)
    if auth.m2m is not None and auth.m2m.username is not None:
        tell(f"forgot the access token, the session and the failed logins in {store.path}")
    else:
        tell(f"forgot the access token in {store.path}; no VZ_M2M_USERNAME is set")


@thingspace_auth.command(epilog=_BEARER_EPILOG)
@_env_file
@_scope
@_no_store
def revoke(env_file: str | None, scopes: Sequence[str], no_store: bool) -> None:
    """Make the current access token worthless.

    Revokes it at ThingSpace: every program that uses the same key needs another then. It is also
    forgotten where it was kept, but not with --no-store.
    """
    environment = Environment.beside(env_file)
    auth = authorizer(
        environment, scopes, store_if_wanted(environment, no_store), with_account=False
    )
    # What the server would give out now is what is current, whatever was stored.
    auth.oauth_token = auth.fetch_token()
    auth.revoke_token()
    forget_stored(auth)
    tell("the access token was revoked, for every program that uses the same key")
    if no_store:
        tell("the store was left as it is: if it has the token, call the next command with --fresh")


@thingspace_auth.command(context_settings={"allow_interspersed_args": False})
@click.option(
    "--port", callback=_port, default="0", metavar="PORT", help="By default any free one."
)
@click.option(
    "--token-lifetime",
    callback=_seconds,
    default="3600",
    metavar="SECONDS",
    help="By default 3600.",
)
@click.option("--sessions-required", is_flag=True, help="Refuse requests without an M2M session.")
@click.option("--log", "is_logged", is_flag=True, help="Write each request to stderr.")
@click.argument("command", metavar="[-- COMMAND...]", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def simulate(
    context: click.Context,
    port: int,
    token_lifetime: float,
    sessions_required: bool,
    is_logged: bool,
    command: Sequence[str],
) -> None:
    """Serve a simulated ThingSpace on this machine.

    On 127.0.0.1. Prints the environment variables that point to it, as lines for a shell, and
    serves until it is stopped with Ctrl-C.

    With a COMMAND it prints nothing: it runs the command with these variables set, and ends with
    it. The exit status is the command's then.
    """
    how = simulation.Service(port, token_lifetime, sessions_required, is_logged)
    if command:
        context.exit(simulation.run_beside(how, command))
    simulation.serve(how)
