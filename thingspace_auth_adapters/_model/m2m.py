"""What the user knows of the M2M session: the account's user name and password, or a token."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NoReturn, Protocol, TypeVar, Union

from .checks import (
    described,
    identifier,
    naming,
    positive_duration,
    required_variable,
    shown,
    variable,
)

_FIELD_VALUE = r"[\x21-\x7e]+"


C = TypeVar("C", bound="VzM2mCredentials")


class VzM2mCredentials:
    """The credentials of a ThingSpace M2M ("UWS") account: what a session is opened with.

    Args:
        username (str | None): the account's user name. It and the password may be ``None`` if
            ``vz_m2m_token`` is all there is: that one is sent then, and never renewed.
        password (str | None): its password.
        vz_m2m_token (str | None): a session token to begin with.
        idle_timeout (int | float): seconds without use after which a session counts as stale.

    Raises:
        TypeError, ValueError: an argument is bad; the message names it.
    """

    @naming("VzM2mCredentials")
    def __init__(
        self,
        username: str | None,
        password: str | None,
        *,
        vz_m2m_token: str | None = None,
        idle_timeout: int | float = 1200,
    ) -> None:
        is_token_alone = username is None and password is None and vz_m2m_token is not None
        if not is_token_alone:
            username = identifier("username", username)
            password = identifier("password", password)
        self.username = username
        self.password = password
        self.vz_m2m_token = session_token(vz_m2m_token, "vz_m2m_token")
        self.idle_timeout = positive_duration("idle_timeout", idle_timeout)

    @classmethod
    @naming()
    def from_environment(cls: type[C]) -> C:
        """Credentials from the environment.

        ``VZ_M2M_USERNAME`` and ``VZ_M2M_PASSWORD``, or the official SDK's
        ``VZ_M2M_TOKEN_VZ_M2M_TOKEN`` alone, or all three.

        Raises:
            ValueError: a variable is missing or empty; the message names it.
        """
        username, password, token = (variable(name) for name in VARIABLES)
        if token is None or username is not None or password is not None:
            username, password = (required_variable(name) for name in VARIABLES[:2])
        return cls(username, password, vz_m2m_token=token)

    if not TYPE_CHECKING:  # Checkers should go on rejecting it as an auth object.

        def __call__(self, request: object) -> NoReturn:
            raise TypeError(
                "an M2M account is no auth object: write ThingspaceAuth(…, m2m=account)"
            )

    def __repr__(self) -> str:
        username = shown(self.username, self.password)
        return f"{type(self).__name__}(username={username}, password=<hidden>)"


VARIABLES = ("VZ_M2M_USERNAME", "VZ_M2M_PASSWORD", "VZ_M2M_TOKEN_VZ_M2M_TOKEN")


class HasM2mToken(Protocol):
    """An object with a session token, such as the official SDK's ``VZM2mTokenCredentials``."""

    @property
    def vz_m2m_token(self) -> str | None: ...


class HasSessionToken(Protocol):
    """The same, such as the official SDK's ``SessionTokenCredentials``."""

    @property
    def session_token(self) -> str | None: ...


M2m = Union[VzM2mCredentials, HasM2mToken, HasSessionToken, str, None]


def as_m2m_credentials(m2m: object) -> VzM2mCredentials:
    """What a user gave as ``m2m``, as credentials.

    Raises:
        TypeError, ValueError: it is nothing of the kind; the message names ``m2m``.
    """
    if isinstance(m2m, VzM2mCredentials):
        return m2m
    token = m2m if isinstance(m2m, str) else getattr(m2m, "vz_m2m_token", None)
    if token is None:
        token = getattr(m2m, "session_token", None)
    if token is None or isinstance(m2m, type):
        raise TypeError(
            "m2m must be a VzM2mCredentials, a session token, or an object with the getter"
            f" vz_m2m_token (that is not None), not {described(m2m)}"
        )
    return VzM2mCredentials(None, None, vz_m2m_token=session_token(token, "m2m"))


def session_token(value: object, source: str) -> str | None:
    """What a user handed over as a session token; ``None`` stays ``None``.

    Raises:
        TypeError, ValueError: it is none; the message names ``source``, never the value.
    """
    if value is None:
        return None
    if not isinstance(value, str):
        raise TypeError(f"{source} must be a str, not {described(value)}")
    if not is_session_token(value):
        raise ValueError(f"{source} is empty or holds a blank or control character: strip() it")
    return value


def is_session_token(value: object) -> bool:
    """Whether ``value`` can be sent as a session token."""
    return isinstance(value, str) and re.fullmatch(_FIELD_VALUE, value) is not None
