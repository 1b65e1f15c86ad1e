"""The commands, their options, and the help on them."""

from __future__ import annotations

import argparse
import math
import textwrap
from typing import TYPE_CHECKING, Callable

from .. import __version__
from . import commands

_VARIABLES = """\
The credentials are read from the environment, never from the command line:
  THINGSPACE_OAUTH_OAUTH_CLIENT_ID      the key of your application, from its
                                        page on thingspace.verizon.com
  THINGSPACE_OAUTH_OAUTH_CLIENT_SECRET  its secret; asked for if it is
                                        missing and you are at a terminal
"""
_SESSION_VARIABLES = """\
and, for the APIs that need an M2M session (most but 5G Edge do):
  VZ_M2M_USERNAME, VZ_M2M_PASSWORD      the account's "UWS" user name and
                                        password; the latter is asked for, too
  VZ_M2M_TOKEN_VZ_M2M_TOKEN             or a session token that you have
"""
_OPTIONAL_VARIABLES = """\
and, if need be:
  THINGSPACE_BASE_URL                   another place where the platform lives
  THINGSPACE_OAUTH_OAUTH_CLOCK_SKEW     seconds before its end at which a token
                                        is no longer used
"""
_STORE_VARIABLE = """\
  THINGSPACE_AUTH_STORE                 the directory in which tokens are kept
                                        for the next call (by default in your
                                        cache directory)
"""

_WIDTH = 79

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

Run = Callable[[argparse.Namespace], None]


def parser() -> argparse.ArgumentParser:
    """The parser of the command line: ``run`` of what it makes is the command."""
    made = argparse.ArgumentParser(
        prog="thingspace-auth",
        description=_wrapped(
            "Access tokens and sessions of Verizon ThingSpace. To begin with, put the key and the"
            " secret of your application into the environment variables"
            " THINGSPACE_OAUTH_OAUTH_CLIENT_ID and THINGSPACE_OAUTH_OAUTH_CLIENT_SECRET, and run"
            " 'thingspace-auth check'. Each command has a --help of its own."
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.add_argument("--version", action="version", version=__version__)
    added = made.add_subparsers(required=True, metavar="COMMAND")
    _add_token(added)
    _add_headers(added)
    _add_check(added)
    _add_revoke(added)
    _add_clear(added)
    _add_demo(added)
    _add_simulate(added)
    return made


def _add_token(added: Commands) -> None:
    token = _command(
        added,
        "token",
        commands.token,
        "print a valid access token",
        "Print a valid access token, and nothing else. It is kept for the next call, so that a"
        " loop in a shell asks ThingSpace once an hour.",
        _VARIABLES + _OPTIONAL_VARIABLES + _STORE_VARIABLE,
    )
    _add_scope(token)
    _add_no_store(token)


def _add_headers(added: Commands) -> None:
    headers = _command(
        added,
        "headers",
        commands.headers,
        "print the headers of a request, for curl -H @-",
        "Print the headers that a request to ThingSpace needs, one a line, as in:"
        " thingspace-auth headers | curl -H @- URL. Without M2M credentials it is the access"
        " token's alone. Both tokens are kept for the next call.",
        _VARIABLES + _SESSION_VARIABLES + _OPTIONAL_VARIABLES + _STORE_VARIABLE,
    )
    _add_scope(headers)
    _add_no_store(headers)


def _add_check(added: Commands) -> None:
    check = _command(
        added,
        "check",
        commands.check,
        "try the credentials, and say what is wrong and what to do",
        "Try the credentials step by step, and say what is wrong and what to do. Tokens kept by"
        " other commands are not used. A login to the M2M account is tried only after you have"
        " said yes: five that fail in a row lock the account.",
        _VARIABLES + _SESSION_VARIABLES + _OPTIONAL_VARIABLES,
    )
    _add_scope(check)
    check.add_argument(
        "--yes", action="store_true", help="try the login to the M2M account without asking"
    )


def _add_revoke(added: Commands) -> None:
    revoke = _command(
        added,
        "revoke",
        commands.revoke,
        "make the current access token worthless",
        "Revoke the current access token at ThingSpace: every program that uses the same key"
        " needs another then. It is also forgotten where it was kept.",
        _VARIABLES + _OPTIONAL_VARIABLES + _STORE_VARIABLE,
    )
    _add_scope(revoke)
    _add_no_store(revoke)


def _add_clear(added: Commands) -> None:
    clear = _command(
        added,
        "clear",
        commands.clear,
        "forget what is stored, a refused login included",
        "Forget the access token, the session and the failed logins that are stored for these"
        " credentials. No server is asked: nothing is revoked, and nobody is logged out. After a"
        " refused login this allows another one with the same user name and password; five that"
        " fail in a row lock the account.",
        _VARIABLES + _SESSION_VARIABLES + _OPTIONAL_VARIABLES + _STORE_VARIABLE,
    )
    _add_scope(clear)


def _add_demo(added: Commands) -> None:
    demo = added.add_parser(
        "demo",
        help="show the life of a token and of a session with each installed HTTP library",
        description="Show the life of a token and of an M2M session with each installed HTTP"
        " library: against the embedded simulator; or, with THINGSPACE_OAUTH_OAUTH_CLIENT_ID and"
        " THINGSPACE_OAUTH_OAUTH_CLIENT_SECRET in the environment, a harmless round with"
        " ThingSpace itself, without a login (THINGSPACE_BASE_URL names another base URL).",
    )
    demo.set_defaults(run=commands.demo)


def _add_simulate(added: Commands) -> None:
    simulate = added.add_parser(
        "simulate",
        help="serve a simulated ThingSpace on this machine, until interrupted",
        description="Serve a simulated ThingSpace on 127.0.0.1, until interrupted.",
    )
    simulate.add_argument("--port", type=_port, default=0, help="by default any free one")
    simulate.add_argument(
        "--token-lifetime", type=_lifetime, default=3600, metavar="SECONDS", help="default: 3600"
    )
    simulate.add_argument(
        "--sessions-required", action="store_true", help="refuse requests without an M2M session"
    )
    simulate.set_defaults(run=commands.simulate)


def _command(
    added: Commands,
    name: str,
    run: Run,
    summary: str,
    description: str,
    variables: str,
) -> argparse.ArgumentParser:
    """A command that needs credentials."""
    command = added.add_parser(
        name,
        help=summary,
        description=_wrapped(description),
        epilog=variables,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command.add_argument(
        "--env-file",
        metavar="FILE",
        help="read variables from a file, too: NAME=value lines, and comments that begin with #;"
        " they come before the environment's",
    )
    command.set_defaults(run=run)
    return command


def _wrapped(text: str) -> str:
    # argparse itself would break the program's name at its hyphen.
    return textwrap.fill(text, _WIDTH, break_on_hyphens=False)


def _add_scope(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--scope",
        action="append",
        default=[],
        help="what the token is to be good for, for example ts.mec.fullaccess; may be repeated"
        " (default: everything that the key is good for)",
    )


def _add_no_store(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--no-store",
        action="store_true",
        help="neither use nor change the tokens that are kept for the next call",
    )


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise ValueError
    return port


def _lifetime(text: str) -> float:
    lifetime = float(text)
    if not 0 <= lifetime < math.inf:
        raise ValueError
    return lifetime


_port.__name__ = "port"
_lifetime.__name__ = "number of seconds"
