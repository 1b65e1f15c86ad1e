"""What the user knows: the credentials of an application, and the scopes to ask for."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from enum import Enum
from typing import TYPE_CHECKING, Any, Callable, NoReturn, Optional, Protocol, TypeVar, Union

from .checks import naming, required_variable, seconds_variable, shown
from .tokens import OauthToken, OptionalToken

OauthTokenProvider = Callable[
    [Optional[OauthToken], Any], Union[OptionalToken, Awaitable[OptionalToken]]
]
OauthOnTokenUpdate = Callable[[OauthToken], object]


C = TypeVar("C", bound="ThingspaceOauthCredentials")


class HasOauthCredentials(Protocol):
    """Any object with the getters of credentials; one that it lacks counts as ``None``."""

    @property
    def oauth_client_id(self) -> str | None: ...
    @property
    def oauth_client_secret(self) -> str | None: ...


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
            ``ThingspaceAuth`` of these credentials adopts a changed value on its next
            request, and never writes here.
        oauth_scopes (Iterable[str] | str | None): what to ask for; a string is
            space-delimited. Without scopes full access is given.
        oauth_token_provider (Callable[[OauthToken | None, Any], OauthToken] | None): called as
            ``provider(last_oauth_token, auth_manager)`` in place of the fetch when the last token
            is missing, stale or rejected. ``auth_manager`` is the ``ThingspaceAuth``.
        oauth_on_token_update (Callable[[OauthToken], None] | None): called after the access
            token in use has changed.
        oauth_clock_skew (int | float | None): seconds before its expiry at which a token
            counts as stale.

    The values are checked and read by ``ThingspaceAuth``: but for ``oauth_token``, later changes
    have no effect on it.
    """

    @naming("ThingspaceOauthCredentials")
    def __init__(
        self,
        oauth_client_id: str,
        oauth_client_secret: str,
        oauth_token: OptionalToken = None,
        oauth_scopes: Iterable[str] | str | None = None,
        oauth_token_provider: OauthTokenProvider | None = None,
        oauth_on_token_update: OauthOnTokenUpdate | None = None,
        oauth_clock_skew: int | float | None = None,
    ) -> None:
        self.oauth_client_id = oauth_client_id
        self.oauth_client_secret = oauth_client_secret
        self.oauth_token = oauth_token
        self.oauth_scopes = oauth_scopes
        self.oauth_token_provider = oauth_token_provider
        self.oauth_on_token_update = oauth_on_token_update
        self.oauth_clock_skew = oauth_clock_skew

    @naming()
    def clone_with(self: C, **changes: object) -> C:
        """A copy with the given fields changed; ``None`` clears one.

        Raises:
            TypeError: a name is none of the seven fields.
        """
        fields: dict[str, Any] = {name: getattr(self, name) for name in FIELDS}
        fields.update(changes)
        return type(self)(**fields)

    @classmethod
    @naming()
    def from_environment(cls: type[C]) -> C:
        """Credentials from the official SDK's environment variables.

        ``THINGSPACE_OAUTH_OAUTH_CLIENT_ID``, ``THINGSPACE_OAUTH_OAUTH_CLIENT_SECRET`` and,
        optional, ``THINGSPACE_OAUTH_OAUTH_CLOCK_SKEW`` (seconds).

        Raises:
            ValueError: a variable is missing, empty or no number; the message names it.
        """
        return cls(
            oauth_client_id=required_variable(f"{_PREFIX}CLIENT_ID"),
            oauth_client_secret=required_variable(f"{_PREFIX}CLIENT_SECRET"),
            oauth_clock_skew=seconds_variable(f"{_PREFIX}CLOCK_SKEW"),
        )

    if not TYPE_CHECKING:  # Checkers should go on rejecting it as an auth object.

        def __call__(self, request: object) -> NoReturn:
            raise TypeError("credentials are no auth object: write ThingspaceAuth(credentials)")

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}"
            f"(oauth_client_id={shown(self.oauth_client_id, self.oauth_client_secret)},"
            " oauth_client_secret=<hidden>)"
        )


_PREFIX = "THINGSPACE_OAUTH_OAUTH_"

FIELDS = (
    "oauth_client_id",
    "oauth_client_secret",
    "oauth_token",
    "oauth_scopes",
    "oauth_token_provider",
    "oauth_on_token_update",
    "oauth_clock_skew",
)
