"""The plug-in for HTTPie: ``http -A thingspace URL``.

HTTPie loads it at every start, whatever is called, so all else is imported when it is used.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    # HTTPie has no types, and need not be there for those who check ours.
    AuthPlugin = object
else:
    from httpie.plugins import AuthPlugin

__all__ = ["ThingspacePlugin"]

_USAGE_ERROR = 2


class ThingspacePlugin(AuthPlugin):
    """ThingSpace's tokens, by the credentials in the environment and the store of this user."""

    name = "ThingSpace"
    auth_type = "thingspace"
    description = "Verizon ThingSpace's access token, and its M2M session token"
    auth_require = False
    auth_parse = False
    netrc_parse = False
    prompt_password = False
    raw_auth: str | None = None

    def get_auth(self, username: str | None = None, password: str | None = None) -> Any:
        """A ``ThingspaceAuth`` of ``requests``, which HTTPie is built on.

        Raises:
            SystemExit: a setting is missing or bad; a line on stderr says which.
        """
        if self.raw_auth is not None:
            _fail(
                "-a is not for -A thingspace: the key and the secret come from"
                " THINGSPACE_OAUTH_OAUTH_CLIENT_ID and THINGSPACE_OAUTH_OAUTH_CLIENT_SECRET"
            )
        try:
            return _Told(_auth_from_environment())
        except (ImportError, TypeError, ValueError) as error:
            _fail(str(error))


class _Told:
    """An auth object whose errors are told as ``thingspace-auth`` tells them.

    Their own messages are for Python programs.
    """

    def __init__(self, auth: Any) -> None:
        self._auth = auth

    def __call__(self, request: Any) -> Any:
        from .cli.kept import see_that_logins_are_counted
        from .errors import ThingspaceAuthError
        from .stores.token_store import StoreUnavailable

        try:
            see_that_logins_are_counted(self._auth)
            return self._auth(request)
        except (ThingspaceAuthError, StoreUnavailable) as error:
            _fail(*_advice_on(error))


def _advice_on(error: Exception) -> tuple[str, str]:
    """What is the case, and what to do about it in a shell."""
    from .cli.advice import advice_on, advice_on_login
    from .errors import M2mLoginError

    advice = advice_on(error)
    if isinstance(error, M2mLoginError):
        advice = advice_on_login(error, "thingspace-auth clear")
    return advice.what, advice.remedy


def _auth_from_environment() -> Any:
    from ._model.checks import variable
    from .requests import ThingspaceAuth
    from .stores import FileTokenStore

    # Each call is a process of its own: without a store each would log in, and five failed logins
    # in a row lock the account.
    return ThingspaceAuth.from_environment(store=FileTokenStore(variable("THINGSPACE_AUTH_STORE")))


def _fail(what: str, remedy: str = "") -> NoReturn:
    from ._wire.messages import printable

    sys.stderr.write(f"http: error: {printable(what)}\n")
    if remedy:
        sys.stderr.write(f"  {printable(remedy)}\n")
    # HTTPie would show the traceback of any other error.
    raise SystemExit(_USAGE_ERROR)
