"""The settings of a command: from the environment, a file beside it, and questions.

Never from the command line, which every user of the machine can read.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import NamedTuple

from .._model.checks import duration, identifier
from .._model.credentials import ThingspaceOauthCredentials
from .._model.hosts import AllowedHosts, checked_base_url, default_entries, origin_of
from .._model.m2m import VzM2mCredentials, session_token
from .advice import Problem
from .env_file import read_env_file
from .terminal import ask_for, ask_for_secret, complain, is_interactive
from .variables import (
    BASE_URL,
    CLIENT_ID,
    CLIENT_SECRET,
    CLOCK_SKEW,
    PASSWORD,
    SESSION_TOKEN,
    STORE,
    USERNAME,
)

_CORRECT_IT = "correct the variable: thingspace-auth check --help lists them"
DEFAULT_BASE_URL = "https://thingspace.verizon.com"

_USUAL_PORT = 443
_THINGSPACE = AllowedHosts(default_entries(checked_base_url(DEFAULT_BASE_URL)[1]))
_STANDARD_VALUES = {BASE_URL: DEFAULT_BASE_URL}


class Origin(Enum):
    """Where a setting comes from."""

    FILE = "file"
    ENVIRONMENT = "environment"
    PROMPT = "prompt"
    STANDARD = "standard"


class Setting(NamedTuple):
    """A setting that is there.

    Attributes:
        label: what it is.
        value: what it is set to; ``None`` for a secret.
        variable: the name that it is set by.
        origin: where it comes from.
        where: the same in words.
    """

    label: str
    value: str | None
    variable: str
    origin: Origin
    where: str

    def __str__(self) -> str:
        return self.where if self.value is None else f"{self.value} ({self.where})"

    def to_json(self) -> dict[str, str | None]:
        """Ready for ``json.dumps``."""
        return {"value": self.value, "variable": self.variable, "from": self.origin.value}


_LABELS = {
    CLIENT_ID: "key",
    CLIENT_SECRET: "secret",
    USERNAME: "user",
    PASSWORD: "password",
    SESSION_TOKEN: "session token",
    BASE_URL: "host",
}
_SECRETS = (CLIENT_SECRET, PASSWORD, SESSION_TOKEN)


class Environment:
    """The settings by the names of their variables; an empty one counts as missing.

    Args:
        values (Mapping[str, str]): of the process's environment.
        file_values (Mapping[str, str]): of a file, which come before those.
        path (str | None): of the file.
    """

    def __init__(
        self,
        values: Mapping[str, str],
        file_values: Mapping[str, str] | None = None,
        path: str | None = None,
    ) -> None:
        self._path = path
        self._answers: dict[str, str] = {}
        in_file = file_values or {}
        self._values = {
            Origin.FILE: in_file,
            # What is empty in the file is to be missing.
            Origin.ENVIRONMENT: {name: values[name] for name in values if name not in in_file},
            Origin.PROMPT: self._answers,
            Origin.STANDARD: _STANDARD_VALUES,
        }

    @classmethod
    def beside(cls, path: str | None) -> Environment:
        """The process's environment, and a file whose values come before it.

        A base URL that is not ThingSpace's is told to the user.

        Raises:
            Problem: the file cannot be read, or a line of it is doubtful; the message names the
                line, never its content.
        """
        environment = cls(os.environ, None if path is None else read_env_file(path), path)
        environment._tell_foreign_host()
        return environment

    def settings(self) -> list[Setting]:
        """Which settings there are, and where each comes from; secrets without their values."""
        found = ((name, self._found(name)) for name in _LABELS)
        return [self._setting(name, *one) for name, one in found if one is not None]

    @property
    def base_url(self) -> str:
        """Where the platform lives.

        Raises:
            Problem: the variable holds no URL that will do.
        """
        try:
            return checked_base_url(self.get(BASE_URL))[0]
        except ValueError:
            raise Problem(
                f"{BASE_URL} must be scheme, host and port alone, like {DEFAULT_BASE_URL} (http is"
                " for this machine only)",
                _CORRECT_IT,
            ) from None

    @property
    def store_path(self) -> str | None:
        """The directory of the store, if it is not the usual one."""
        return self.get(STORE)

    def oauth_credentials(self, scopes: Iterable[str]) -> ThingspaceOauthCredentials:
        """The application's key and secret; what is missing is asked for.

        Raises:
            Problem: a variable is missing, cannot be sent, or is no number; the message names it.
        """
        return ThingspaceOauthCredentials(
            oauth_client_id=self._sendable(
                CLIENT_ID, "Key of the ThingSpace application", forbidden=":"
            ),
            oauth_client_secret=self._sendable(
                CLIENT_SECRET, "Secret of the ThingSpace application"
            ),
            oauth_scopes=" ".join(scopes),
            oauth_clock_skew=self._seconds(CLOCK_SKEW),
        )

    def m2m_credentials(self) -> VzM2mCredentials | None:
        """The M2M account's, if there are any; what is missing of one is asked for.

        Raises:
            Problem: one of the user name and the password is missing, or a variable cannot be
                sent; the message names it.
        """
        try:
            token = session_token(self.get(SESSION_TOKEN), SESSION_TOKEN)
        except ValueError:
            raise _unsendable(SESSION_TOKEN, "a blank or another character") from None
        if self.get(USERNAME) is None and self.get(PASSWORD) is None:
            return VzM2mCredentials(None, None, vz_m2m_token=token) if token else None
        username = self._sendable(USERNAME, "M2M (UWS) user name")
        password = self._sendable(PASSWORD, f"Password of the M2M (UWS) user {username}")
        return VzM2mCredentials(username, password, vz_m2m_token=token)

    def get(self, name: str) -> str | None:
        """The value of a variable, ``None`` if it is missing or empty."""
        found = self._found(name)
        return None if found is None else found[1]

    def _found(self, name: str) -> tuple[Origin, str] | None:
        """The first that has a value for a variable, and the value."""
        for origin, values in self._values.items():
            value = values.get(name, "").strip()
            if value:
                return origin, value
        return None

    def _setting(self, name: str, origin: Origin, value: str) -> Setting:
        where = {
            Origin.FILE: f"from {name} in {self._path}",
            Origin.ENVIRONMENT: f"from {name} in the environment",
            Origin.PROMPT: "from the prompt",
            Origin.STANDARD: "the standard one",
        }
        shown = _host_of(value) if name == BASE_URL else value
        return Setting(
            _LABELS[name], None if name in _SECRETS else shown, name, origin, where[origin]
        )

    def _required(self, name: str, question: str) -> str:
        """The value of a variable, asked for if it is missing and somebody is there."""
        if self.get(name) is None and is_interactive():
            ask = ask_for_secret if name in _SECRETS else ask_for
            self._answers[name] = ask(question)
        value = self.get(name)
        if value is None:
            raise Problem(
                f"the environment variable {name} is missing or empty",
                "set it, or give a file that has it with --env-file",
            )
        return value

    def _sendable(self, name: str, question: str, forbidden: str = "") -> str:
        """The same of what can be sent alone."""
        try:
            return identifier(name, self._required(name, question), forbidden)
        except ValueError:
            other = f"{forbidden!r} or a" if forbidden else "a"
            raise _unsendable(name, f"{other} character") from None

    def _tell_foreign_host(self) -> None:
        """Say so if the base URL leads elsewhere than to ThingSpace."""
        base_url = self.get(BASE_URL) or ""
        target = origin_of(base_url)
        if target is not None and not _THINGSPACE.allow(target):
            complain(f"note: {BASE_URL} leads to {_host_of(base_url)}, not to ThingSpace")

    def _seconds(self, name: str) -> float | None:
        text = self.get(name)
        try:
            return None if text is None else duration(name, text)
        except (TypeError, ValueError):
            what = f"{name} must be a number of seconds, and not negative"
            raise Problem(what, _CORRECT_IT) from None


def _unsendable(name: str, what: str) -> Problem:
    """About a variable whose value is not to be shown."""
    return Problem(f"{name} holds {what} that cannot be sent, such as a line break", _CORRECT_IT)


def _host_of(base_url: str) -> str | None:
    """Host and port; not what else may be in a URL that is none of ThingSpace's."""
    target = origin_of(base_url)
    if target is None:
        return None
    return target.host if target.port == _USUAL_PORT else f"{target.host}:{target.port}"
