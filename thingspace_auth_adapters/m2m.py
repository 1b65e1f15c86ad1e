"""What the user knows of the M2M session: the account's user name and password, or a token."""

from __future__ import annotations

import os
import re
from typing import Any, Callable, Optional

from .credentials import checked_callback, checked_identifier, checked_positive

VzM2mTokenProvider = Callable[[Optional[str], Any], Any]
VzM2mOnTokenUpdate = Callable[[str], Any]

_FIELD_VALUE = r"[\x21-\x7e]+"


class VzM2mCredentials:
    """The credentials of a ThingSpace M2M ("UWS") account: what a session is opened with.

    Args:
        username (str | None): the account's user name. It and the password may be ``None`` where
            ``vz_m2m_token`` is all there is: that one is sent then, and never renewed.
        password (str | None): its password.
        vz_m2m_token (str | None): a session token to begin with.
        vz_m2m_token_provider (Callable[[str | None, ThingspaceAuth], str | None] | None): called
            in place of the login when the last session token is missing, idle for too long or
            rejected.
        vz_m2m_on_token_update (Callable[[str], None] | None): called after the session token in
            use has changed.
        idle_timeout (int | float): seconds without use after which a session counts as stale.

    Raises:
        TypeError, ValueError: an argument is bad; the message names it.
    """

    def __init__(
        self,
        username: str | None,
        password: str | None,
        *,
        vz_m2m_token: str | None = None,
        vz_m2m_token_provider: VzM2mTokenProvider | None = None,
        vz_m2m_on_token_update: VzM2mOnTokenUpdate | None = None,
        idle_timeout: int | float = 1200,
    ) -> None:
        is_token_alone = username is None and password is None and vz_m2m_token is not None
        if not is_token_alone:
            username = checked_identifier("username", username)
            password = checked_identifier("password", password)
        elif vz_m2m_token_provider is not None:
            raise TypeError("vz_m2m_token_provider needs username and password beside it")
        self._username = username
        self._password = password
        self._vz_m2m_token = session_token(vz_m2m_token, "vz_m2m_token")
        self._vz_m2m_token_provider: VzM2mTokenProvider | None = checked_callback(
            "vz_m2m_token_provider", vz_m2m_token_provider
        )
        self._vz_m2m_on_token_update: VzM2mOnTokenUpdate | None = checked_callback(
            "vz_m2m_on_token_update", vz_m2m_on_token_update
        )
        self._idle_timeout = checked_positive("idle_timeout", idle_timeout)

    @property
    def username(self) -> str | None:
        """The account's user name."""
        return self._username

    @property
    def password(self) -> str | None:
        """Its password."""
        return self._password

    @property
    def vz_m2m_token(self) -> str | None:
        """The session token to begin with."""
        return self._vz_m2m_token

    @property
    def vz_m2m_token_provider(self) -> VzM2mTokenProvider | None:
        """What is called in place of the login."""
        return self._vz_m2m_token_provider

    @property
    def vz_m2m_on_token_update(self) -> VzM2mOnTokenUpdate | None:
        """What is told of a new session token."""
        return self._vz_m2m_on_token_update

    @property
    def idle_timeout(self) -> float:
        """Seconds without use after which a session counts as stale."""
        return self._idle_timeout

    @classmethod
    def from_environment(cls) -> VzM2mCredentials:
        """Credentials from the environment.

        ``VZ_M2M_USERNAME`` and ``VZ_M2M_PASSWORD``, or the official SDK's
        ``VZ_M2M_TOKEN_VZ_M2M_TOKEN`` alone, or all three.

        Raises:
            ValueError: a variable is missing or empty; the message names it.
        """
        username, password, token = (_variable(name) for name in _VARIABLES)
        if token is None or username is not None or password is not None:
            missing = [name for name in _VARIABLES[:2] if _variable(name) is None]
            if missing:
                raise ValueError(f"the environment variable {missing[0]} is missing or empty")
        return cls(username, password, vz_m2m_token=token)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(username={self._username!r}, password=<hidden>)"


_VARIABLES = ("VZ_M2M_USERNAME", "VZ_M2M_PASSWORD", "VZ_M2M_TOKEN_VZ_M2M_TOKEN")


def _variable(name: str) -> str | None:
    return os.environ.get(name, "").strip() or None


def as_m2m_credentials(m2m: object) -> VzM2mCredentials:
    """What a user gave as ``m2m``, as credentials.

    Raises:
        TypeError, ValueError: it is nothing of the kind; the message names ``m2m``.
    """
    if isinstance(m2m, VzM2mCredentials):
        return m2m
    token = m2m if isinstance(m2m, str) else getattr(m2m, "vz_m2m_token", None)
    if token is None:
        raise TypeError(
            "m2m must be a VzM2mCredentials, a session token, or an object with the getter"
            f" vz_m2m_token (that is not None), not {type(m2m).__name__}"
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
        raise TypeError(f"{source} must be a str, not {type(value).__name__}")
    if not is_session_token(value):
        raise ValueError(f"{source} is empty or holds a blank or control character: strip() it")
    return value


def is_session_token(value: object) -> bool:
    """Whether ``value`` can be sent as a session token."""
    return isinstance(value, str) and re.fullmatch(_FIELD_VALUE, value) is not None
