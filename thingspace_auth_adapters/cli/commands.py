"""The commands, their options, and the help on them.

Each raises what went wrong; who runs it tells the user.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from shlex import quote
from typing import Any, Callable

import click

from .. import __version__
from ..errors import M2mLoginError
from . import curl as curls
from . import demo as demos
from . import simulate as simulation
from . import status as statuses
from .advice import Problem, advice_on_login
from .authorizers import authorizer, forget_stored, reject_kept, store_if_wanted, store_of
from .check import Finding, Verdict, findings
from .environment import Environment
from .terminal import ask_for_consent, is_interactive, tell, tell_entry, tell_json

# RFC 6749 section 3.3.
_SCOPE = r"[\x21\x23-\x5b\x5d-\x7e]+"

_VARIABLES = """\b
The credentials are read from the environment, never from the command line:
  THINGSPACE_OAUTH_OAUTH_CLIENT_ID      the key of your application, from
                                        its page on ThingSpace
  THINGSPACE_OAUTH_OAUTH_CLIENT_SECRET  its secret; asked for if it is
                                        missing and you are at a terminal
"""
_SESSION_VARIABLES = """\b
For the APIs that need an M2M session (most but 5G Edge do):
  VZ_M2M_USERNAME, VZ_M2M_PASSWORD      the account's "UWS" user name and
                                        password; the latter is asked for, too
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


def _scopes(context: click.Context, option: click.Parameter, scopes: Sequence[str]) -> list[str]:
    words = [word for text in scopes for word in text.split()]
    is_empty = not all(text.split() for text in scopes)
    if is_empty or not all(re.fullmatch(_SCOPE, word) for word in words):
        raise click.BadParameter("must be a scope, for example ts.mec.fullaccess")
    return words


_env_file = click.option(
    "--env-file",
    metavar="FILE",
    help="Read variables from a file, too: NAME=value lines, and comments that begin with #."
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
        tell_json([{**finding._asdict(), "verdict": finding.verdict.value} for finding in found])
    wrong = [finding.step for finding in found if finding.verdict is Verdict.WRONG]
    if wrong:
        raise Problem(f"the check failed: {', '.join(wrong)}")


def _checked(
    env_file: str | None, scopes: Sequence[str], objection: Callable[[str], str | None]
) -> Iterator[Finding]:
    try:
        environment = Environment.beside(env_file)
        # Only logins are counted in it: other commands' tokens are not used.
        store = store_if_wanted(environment, False)
        auth = authorizer(environment, scopes, store, environment.m2m_credentials())
    except (Problem, TypeError, ValueError) as error:
        remedy = getattr(error, "remedy", "correct it")
        yield Finding(Verdict.WRONG, "settings", str(error), remedy)
        return
    library = type(auth).__module__.rpartition(".")[2]
    what = f"all that is needed is set; trying it with {library} on {environment.base_url}"
    yield Finding(Verdict.OK, "settings", what)
    clear = "" if store is None else _clear_command(env_file)
    yield from findings(auth, objection, clear)


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
    auth = authorizer(environment, scopes, store_if_wanted(environment, no_store))
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
    the request without one: 'thingspace-auth curl URL' does not.
    """
    with _both_tokens(env_file, scopes, no_store, fresh) as auth:
        found = auth.headers(auth._settings.base_url)
    if as_json:
        tell_json(found)
        return
    for name, value in found.items():
        tell(f"{name}: {value}")


@contextmanager
def _both_tokens(
    env_file: str | None, scopes: Sequence[str], no_store: bool, fresh: bool
) -> Generator[Any, None, None]:
    """An auth object for both tokens; a login that fails says how to go on in the shell."""
    environment = Environment.beside(env_file)
    store = store_if_wanted(environment, no_store)
    auth = authorizer(environment, scopes, store, environment.m2m_credentials())
    if fresh:
        reject_kept(auth)
    try:
        yield auth
    except M2mLoginError as error:
        advice = advice_on_login(error, _clear_command(env_file) if store is not None else "")
        raise Problem(advice.what, advice.remedy) from None


def _clear_command(env_file: str | None) -> str:
    """The command that forgets what is stored for the same credentials."""
    return f"thingspace-auth clear{f' --env-file {quote(env_file)}' if env_file else ''}"


@thingspace_auth.command(
    context_settings={
        "ignore_unknown_options": True,
        "allow_interspersed_args": False,
        # A -h may be among the letters of an option of curl's.
        "help_option_names": ["--help"],
    },
    epilog=_BOTH_EPILOG,
)
@_env_file
@_scope
@_no_store
@_fresh
@click.argument("arguments", metavar="CURL-ARGUMENTS...", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def curl(
    context: click.Context,
    env_file: str | None,
    scopes: Sequence[str],
    no_store: bool,
    fresh: bool,
    arguments: Sequence[str],
) -> None:
    """Run curl with the headers that its URLs need.

    The headers appear in no process list. Each URL must be one that may get them. curl's -L,
    --next, -K and -k are refused, since others could get the headers; so is what reads standard
    input, and what this command does not know. It does not read ~/.curlrc. If there is no token,
    curl is not run. The exit status is curl's.

    Tokens that ThingSpace rejects are not renewed: --fresh gets others.

    Options of this command come before curl's arguments.
    """
    with _both_tokens(env_file, scopes, no_store, fresh) as auth:
        context.exit(curls.run_curl(auth, arguments))


@thingspace_auth.command(epilog=_BOTH_EPILOG)
@_env_file
@_scope
@_json
def status(env_file: str | None, scopes: Sequence[str], as_json: bool) -> None:
    """Show what is stored for these credentials.

    Where the store is, when the tokens expire, and which failed logins are remembered. No token is
    shown, and no server is asked. The exit status is 0 also if nothing is stored: then a token is
    fetched when one is needed. In JSON, times are unix timestamps.
    """
    environment = Environment.beside(env_file)
    store, m2m = store_of(environment), environment.m2m_credentials()
    found = statuses.status_of(authorizer(environment, scopes, store, m2m))
    if as_json:
        tell_json(found)
    else:
        statuses.show(found, _clear_command(env_file))


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
    store, m2m = store_of(environment), environment.m2m_credentials()
    forget_stored(authorizer(environment, scopes, store, m2m))
    if m2m is not None and m2m.username is not None:
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
    auth = authorizer(environment, scopes, store_if_wanted(environment, no_store))
    # What the server would give out now is what is current, whatever was stored.
    auth.oauth_token = auth.fetch_token()
    auth.revoke_token()
    forget_stored(auth)
    tell("the access token was revoked, for every program that uses the same key")
    if no_store:
        tell("the store was left as it is: if it has the token, call the next command with --fresh")


@thingspace_auth.command()
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
def simulate(port: int, token_lifetime: float, sessions_required: bool, is_logged: bool) -> None:
    """Serve a simulated ThingSpace on this machine.

    On 127.0.0.1, until it is stopped with Ctrl-C. Prints the environment variables that point to
    it, as lines for a shell.
    """
    simulation.serve(port, token_lifetime, sessions_required, is_logged)
