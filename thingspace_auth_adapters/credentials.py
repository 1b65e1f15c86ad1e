"""What the user knows and configures: credentials, scopes, and settings made from them.

Settings are checked once, with errors that name the argument and the remedy.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any, Callable, NamedTuple, Optional, Union

from .hosts import AllowedHosts, checked_base_url, default_entries
from .tokens import OauthToken, seconds

_SCOPE_TOKEN = r"[\x21\x23-\x5b\x5d-\x7e]+"
_CONTROL = r"[\x00-\x1f\x7f]"

TokenLike = Union[OauthToken, Mapping[str, Any], Any]
"""An :class:`OauthToken`, a mapping with its fields, or any object with its attributes."""

OauthTokenProvider = Callable[[Optional[OauthToken], Any], Any]
OauthOnTokenUpdate = Callable[[OauthToken], Any]


class OauthScopeThingspaceOauthEnum(str, Enum):
    """The scopes of ThingSpace. Each member is a ``str`` equal to its wire value."""

    DISCOVERYREAD = "discovery:read"
    SERVICEPROFILEREAD = "serviceprofile:read"
    SERVICEPROFILEWRITE = "serviceprofile:write"
    SERVICEREGISTRYREAD = "serviceregistry:read"
    SERVICEREGISTRYWRITE = "serviceregistry:write"
    TS_MEC_FULLACCESS = "ts.mec.fullaccess"
    TS_MEC_LIMITACCESS = "ts.mec.limitaccess"
    TS_APPLICATION_RO = "ts.application.ro"
    EDGEDISCOVERYREAD = "edge:discovery:read"
    EDGESERVICEPROFILEREAD = "edge:serviceprofile:read"
    EDGESERVICEPROFILEWRITE = "edge:serviceprofile:write"
    EDGESERVICEREGISTRYREAD = "edge:serviceregistry:read"
    EDGESERVICEREGISTRYWRITE = "edge:serviceregistry:write"
    READ = "read"
    WRITE = "write"

    __str__ = str.__str__
    __format__ = str.__format__  # type: ignore[assignment]


class ThingspaceOauthCredentials:
    """The credentials of a ThingSpace application, with the official SDK's field names.

    Args:
        oauth_client_id (str): the application's key.
        oauth_client_secret (str): its secret.
        oauth_token (OauthToken | dict | None): a token to begin with. Assignable later: each
            :class:`ThingspaceAuth` of these credentials adopts a changed value on its next
            request, and never writes here.
        oauth_scopes (Iterable[str] | str | None): what to ask for; a string is
            space-delimited. Without scopes full access is given.
        oauth_token_provider (Callable[[OauthToken | None, ThingspaceAuth], OauthToken] | None):
            called in place of the fetch when the last token is missing, stale or rejected.
        oauth_on_token_update (Callable[[OauthToken], None] | None): called after the access
            token in use has changed.
        oauth_clock_skew (int | float | None): seconds before its expiry at which a token
            counts as stale.

    The values are checked where they are used, by ``ThingspaceAuth``.
    """

    def __init__(
        self,
        oauth_client_id: str,
        oauth_client_secret: str,
        oauth_token: TokenLike = None,
        oauth_scopes: Iterable[str] | str | None = None,
        oauth_token_provider: OauthTokenProvider | None = None,
        oauth_on_token_update: OauthOnTokenUpdate | None = None,
        oauth_clock_skew: int | float | None = None,
    ) -> None:
        self._oauth_client_id = oauth_client_id
        self._oauth_client_secret = oauth_client_secret
        self.oauth_token = oauth_token
        self._oauth_scopes = oauth_scopes
        self._oauth_token_provider = oauth_token_provider
        self._oauth_on_token_update = oauth_on_token_update
        self._oauth_clock_skew = oauth_clock_skew

    @property
    def oauth_client_id(self) -> str:
        """The application's key."""
        return self._oauth_client_id

    @property
    def oauth_client_secret(self) -> str:
        """The application's secret."""
        return self._oauth_client_secret

    @property
    def oauth_scopes(self) -> Iterable[str] | str | None:
        """What to ask for."""
        return self._oauth_scopes

    @property
    def oauth_token_provider(self) -> OauthTokenProvider | None:
        """What is called in place of the fetch."""
        return self._oauth_token_provider

    @property
    def oauth_on_token_update(self) -> OauthOnTokenUpdate | None:
        """What is told of a new token."""
        return self._oauth_on_token_update

    @property
    def oauth_clock_skew(self) -> int | float | None:
        """Seconds before its expiry at which a token counts as stale."""
        return self._oauth_clock_skew

    def clone_with(self, **changes: Any) -> ThingspaceOauthCredentials:
        """A copy with the given fields changed; ``None`` clears one.

        Raises:
            TypeError: a name is none of the seven fields.
        """
        fields = {name: getattr(self, name) for name in FIELDS}
        return type(self)(**{**fields, **changes})

    @classmethod
    def from_environment(cls) -> ThingspaceOauthCredentials:
        """Credentials from the official SDK's environment variables.

        ``THINGSPACE_OAUTH_OAUTH_CLIENT_ID``, ``THINGSPACE_OAUTH_OAUTH_CLIENT_SECRET`` and,
        optional, ``THINGSPACE_OAUTH_OAUTH_CLOCK_SKEW`` (seconds).

        Raises:
            ValueError: a variable is missing, empty or no number; the message names it.
        """
        return cls(
            oauth_client_id=_required_variable("THINGSPACE_OAUTH_OAUTH_CLIENT_ID"),
            oauth_client_secret=_required_variable("THINGSPACE_OAUTH_OAUTH_CLIENT_SECRET"),
            oauth_clock_skew=_seconds_variable("THINGSPACE_OAUTH_OAUTH_CLOCK_SKEW"),
        )

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(oauth_client_id={self._oauth_client_id!r},"
            " oauth_client_secret=<hidden>)"
        )


FIELDS = (
    "oauth_client_id",
    "oauth_client_secret",
    "oauth_token",
    "oauth_scopes",
    "oauth_token_provider",
    "oauth_on_token_update",
    "oauth_clock_skew",
)


def _required_variable(name: str) -> str:
    value = os.environ.get(name, "").strip()
    if not value:
        raise ValueError(f"the environment variable {name} is missing or empty")
    return value


def _seconds_variable(name: str) -> float | None:
    text = os.environ.get(name, "").strip()
    if not text:
        return None
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"the environment variable {name} must be a number of seconds") from None


class Settings(NamedTuple):
    """Checked settings. ``credentials`` is kept for its ``oauth_token``, which may change."""

    credentials: Any
    client_id: str
    client_secret: str
    scopes: tuple[str, ...]
    token_provider: OauthTokenProvider | None
    on_token_update: OauthOnTokenUpdate | None
    clock_skew: float
    base_url: str
    allowed_hosts: AllowedHosts
    timeout: float

    def __repr__(self) -> str:
        return f"<Settings {self.base_url}>"


def checked_settings(
    credentials: Any,
    fields: dict[str, Any],
    base_url: object,
    allowed_hosts: Iterable[str] | None,
    timeout: object,
) -> Settings:
    """The settings from either form of the constructor.

    Raises:
        TypeError, ValueError: an argument is bad; the message names it.
    """
    source = _one_source(credentials, fields)
    given = {name: getattr(source, name, None) for name in FIELDS}
    url, base = checked_base_url(base_url)
    return Settings(
        credentials=source,
        client_id=checked_identifier("oauth_client_id", given["oauth_client_id"], forbidden=":"),
        client_secret=checked_identifier("oauth_client_secret", given["oauth_client_secret"]),
        scopes=_scopes(given["oauth_scopes"]),
        token_provider=checked_callback("oauth_token_provider", given["oauth_token_provider"]),
        on_token_update=checked_callback("oauth_on_token_update", given["oauth_on_token_update"]),
        clock_skew=_duration("oauth_clock_skew", given["oauth_clock_skew"] or 0),
        base_url=url,
        allowed_hosts=AllowedHosts(
            default_entries(base) if allowed_hosts is None else allowed_hosts
        ),
        timeout=checked_positive("timeout", timeout),
    )


def _one_source(credentials: Any, fields: dict[str, Any]) -> Any:
    is_given = [name for name, value in fields.items() if value is not None]
    if credentials is None:
        return ThingspaceOauthCredentials(**fields)
    if is_given:
        raise TypeError(
            "give either thingspace_oauth_credentials or its fields, not both:"
            f" got {is_given[0]} too"
        )
    if not hasattr(credentials, "oauth_client_id"):
        raise TypeError(
            "thingspace_oauth_credentials must be a ThingspaceOauthCredentials or an object with"
            f" its getters, not {type(credentials).__name__}; to pass the fields directly, name"
            " them: ThingspaceAuth(oauth_client_id=…, oauth_client_secret=…)"
        )
    return credentials


def checked_identifier(name: str, value: object, forbidden: str = "") -> str:
    if value is None:
        raise TypeError(f"{name} is missing (None): is the setting or variable it comes from set?")
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not {type(value).__name__}")
    if not value.strip():
        raise ValueError(f"{name} must not be empty")
    if re.search(_CONTROL, value):
        raise ValueError(f"{name} holds a line break or control character: strip() it")
    if forbidden and forbidden in value:
        raise ValueError(f"{name} must not hold {forbidden!r} (RFC 7617 section 2)")
    return value


def _scopes(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, str):
        value = str.__str__(value).split()
    if isinstance(value, bytes) or not isinstance(value, Iterable):
        raise TypeError(f"oauth_scopes must be a list of str, not {type(value).__name__}")
    return tuple(_scope(scope) for scope in value)


def _scope(scope: object) -> str:
    if not isinstance(scope, str):
        raise TypeError(f"oauth_scopes must hold str, not {type(scope).__name__}")
    if not re.fullmatch(_SCOPE_TOKEN, scope):
        raise ValueError(f"oauth_scopes: {str.__str__(scope)!r} is no scope (RFC 6749 section 3.3)")
    return str.__str__(scope)


def checked_callback(name: str, value: Any) -> Any:
    if value is not None and not callable(value):
        raise TypeError(f"{name} must be callable, not {type(value).__name__}")
    return value


def _duration(name: str, value: object) -> float:
    number = seconds(name, value)
    if number is None:
        raise TypeError(f"{name} must be a number of seconds, not None")
    if number < 0:
        raise ValueError(f"{name} must not be negative")
    return number


def checked_positive(name: str, value: object) -> float:
    number = _duration(name, value)
    if number == 0:
        raise ValueError(f"{name} must be more than 0 seconds")
    return number
