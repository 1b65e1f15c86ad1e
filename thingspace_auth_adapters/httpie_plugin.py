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
            return _auth_from_environment()
        except (ImportError, ValueError) as error:
            _fail(str(error))


def _auth_from_environment() -> Any:
    from .requests import ThingspaceAuth

    return ThingspaceAuth.from_environment(store=_store())


def _store() -> Any:
    """The same store as that of ``thingspace-auth``; ``None`` without its extra."""
    from ._model.checks import variable
    from .stores import FileTokenStore

    try:
        return FileTokenStore(variable("THINGSPACE_AUTH_STORE"))
    except ImportError:
        return None


def _fail(what: str) -> NoReturn:
    # HTTPie would show a traceback.
    sys.stderr.write(f"http: error: {what}\n")
    raise SystemExit(_USAGE_ERROR)
