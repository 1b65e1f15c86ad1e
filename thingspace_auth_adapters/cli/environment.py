"""The settings of a command: from the environment, a file beside it, and questions.

Never from the command line, which every user of the machine can read.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Mapping
from shlex import quote
from typing import IO

from .._model.checks import identifier
from .._model.credentials import ThingspaceOauthCredentials
from .._model.m2m import VzM2mCredentials, session_token
from .advice import Problem
from .terminal import ask_for_secret, complain, is_interactive

CLIENT_ID = "THINGSPACE_OAUTH_OAUTH_CLIENT_ID"
CLIENT_SECRET = "THINGSPACE_OAUTH_OAUTH_CLIENT_SECRET"
CLOCK_SKEW = "THINGSPACE_OAUTH_OAUTH_CLOCK_SKEW"
BASE_URL = "THINGSPACE_BASE_URL"
USERNAME = "VZ_M2M_USERNAME"
PASSWORD = "VZ_M2M_PASSWORD"
SESSION_TOKEN = "VZ_M2M_TOKEN_VZ_M2M_TOKEN"
STORE = "THINGSPACE_AUTH_STORE"

DEFAULT_BASE_URL = "https://thingspace.verizon.com"

_ACCESS_OF_OTHERS = {
    "read": stat.S_IRGRP | stat.S_IROTH,
    "change": stat.S_IWGRP | stat.S_IWOTH,
}
_ASSIGNMENT = r"""(?x)
    (?: export \s+ )? (?P<name> [A-Za-z_][A-Za-z0-9_]* ) \s* = \s*
    (?P<quote> ["']? ) (?P<value> .*? ) (?P=quote)
"""


class Environment:
    """The settings by the names of their variables; an empty one counts as missing.

    Args:
        values (Mapping[str, str]): of the variables.
    """

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values

    @classmethod
    def beside(cls, path: str | None) -> Environment:
        """The process's environment, and a file whose values come before it.

        Raises:
            Problem: the file cannot be read, or holds something else than ``NAME=value`` lines;
                the message names the line, never its content.
        """
        return cls({**os.environ, **(read_env_file(path) if path is not None else {})})

    @property
    def base_url(self) -> str:
        """Where the platform lives."""
        return self.get(BASE_URL) or DEFAULT_BASE_URL

    @property
    def store_path(self) -> str | None:
        """The directory of the store, if it is not the usual one."""
        return self.get(STORE)

    def oauth_credentials(self, scopes: Iterable[str]) -> ThingspaceOauthCredentials:
        """The application's key and secret; a missing secret is asked for.

        Raises:
            Problem: a variable is missing or no number; the message names it.
        """
        return ThingspaceOauthCredentials(
            oauth_client_id=self._required(CLIENT_ID),
            oauth_client_secret=self._secret(CLIENT_SECRET, "Secret of the ThingSpace application"),
            oauth_scopes=" ".join(scopes),
            oauth_clock_skew=self._seconds(CLOCK_SKEW),
        )

    def m2m_credentials(self) -> VzM2mCredentials | None:
        """The M2M account's, if there are any; a missing password is asked for.

        Raises:
            Problem: one of the user name and the password is missing, or a variable cannot be
                sent; the message names it.
        """
        try:
            token = session_token(self.get(SESSION_TOKEN), SESSION_TOKEN)
            if self.get(USERNAME) is None and self.get(PASSWORD) is None:
                return VzM2mCredentials(None, None, vz_m2m_token=token) if token else None
            username = identifier(USERNAME, self._required(USERNAME))
            question = f"Password of the M2M (UWS) user in {USERNAME}"
            password = identifier(PASSWORD, self._secret(PASSWORD, question))
        except ValueError as error:
            # Behind the colon is what a Python program would do.
            raise Problem(str(error).partition(":")[0], "correct the variable") from None
        return VzM2mCredentials(username, password, vz_m2m_token=token)

    def get(self, name: str) -> str | None:
        """The value of a variable, ``None`` if it is missing or empty."""
        return self._values.get(name, "").strip() or None

    def _required(self, name: str) -> str:
        return _present(name, self.get(name))

    def _secret(self, name: str, what: str) -> str:
        value = self.get(name)
        if value is None and is_interactive():
            value = ask_for_secret(what)
        return _present(name, value)

    def _seconds(self, name: str) -> float | None:
        text = self.get(name)
        try:
            return None if text is None else float(text)
        except ValueError:
            raise Problem(f"{name} is not a number of seconds", "correct it") from None


def read_env_file(path: str) -> dict[str, str]:
    """The variables in a file of ``NAME=value`` lines, blank ones, and ``#`` comments.

    A file that others can read or change is warned of.

    Raises:
        Problem: it cannot be read, or a line is nothing of the kind, or no UTF-8; the message
            never quotes the line.
    """
    try:
        with open(path, "rb") as file:
            _warn_of_others(path, file)
            lines = file.read().splitlines()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no file name"
        raise Problem(
            f"{path!r} cannot be read: {reason}", "give --env-file a file of NAME=value lines"
        ) from None
    pairs = (_assignment(path, number, line) for number, line in enumerate(lines, 1))
    return dict(pair for pair in pairs if pair is not None)


def _warn_of_others(path: str, file: IO[bytes]) -> None:
    mode = os.fstat(file.fileno()).st_mode
    can = " and ".join(verb for verb, bits in _ACCESS_OF_OTHERS.items() if mode & bits)
    if os.name == "posix" and can:
        complain(f"warning: other users can {can} {path}", f"chmod 600 {quote(path)}")


def _assignment(path: str, number: int, line: bytes) -> tuple[str, str] | None:
    text = line.decode("utf-8-sig", "replace").strip()
    if not text or text.startswith("#"):
        return None
    match = re.fullmatch(_ASSIGNMENT, text)
    if match is None or "\N{REPLACEMENT CHARACTER}" in text:
        raise Problem(f"line {number} of {path} is not NAME=value in UTF-8", "correct the line")
    return match["name"], match["value"]


def _present(name: str, value: str | None) -> str:
    if not value:
        raise Problem(
            f"the environment variable {name} is missing or empty",
            "set it, or give a file that has it with --env-file",
        )
    return value
