"""The OAuth token: what the server gives, a value."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Optional, Protocol, Union

from .checks import described, naming, optional_str, seconds

_VSCHAR = r"[\x20-\x7e]+"
_FIELDS = ("access_token", "token_type", "expires_in", "scope", "expiry", "refresh_token")


class OauthToken:
    """An access token and what is known of it. Immutable; its ``repr`` shows no secret.

    Args:
        access_token (str): the token itself.
        token_type (str): ``"Bearer"``; ``None`` counts as that.
        expires_in (int | float | None): seconds that the token had left when it arrived.
        scope (str | None): the granted scopes, space-delimited.
        expiry (int | float | None): unix timestamp (UTC) of its end; without one it never
            counts as expired.
        refresh_token (str | None): carried, never used (the grant has none, RFC 6749
            section 4.4.3).

    Raises:
        TypeError: a field has the wrong type.
        ValueError: ``access_token`` is empty or holds a character that no header may carry
            (RFC 6749 appendix A.12), ``token_type`` is not Bearer, or a number is none.
    """

    __slots__ = _FIELDS

    access_token: str
    token_type: str
    expires_in: float | None
    scope: str | None
    expiry: float | None
    refresh_token: str | None

    @naming()
    def __init__(
        self,
        access_token: str,
        token_type: str | None = None,
        expires_in: int | float | None = None,
        scope: str | None = None,
        expiry: int | float | None = None,
        refresh_token: str | None = None,
    ) -> None:
        kind = optional_str("token_type", token_type)
        kind = "Bearer" if kind is None else kind
        if kind.lower() != "bearer":
            raise ValueError("token_type must be Bearer: no other type is supported")
        values = (
            _checked_access_token(access_token),
            kind,
            seconds("expires_in", expires_in),
            optional_str("scope", scope),
            seconds("expiry", expiry),
            optional_str("refresh_token", refresh_token),
        )
        for name, value in zip(_FIELDS, values):
            object.__setattr__(self, name, value)

    @classmethod
    @naming()
    def from_dict(cls, fields: Mapping[str, Any]) -> OauthToken:
        """The token that :meth:`to_dict` wrote, or a token endpoint's JSON object.

        Args:
            fields (Mapping[str, Any]): by name; unknown ones are passed over.

        Raises:
            TypeError, ValueError: as the constructor.
        """
        return cls(*(fields.get(name) for name in _FIELDS))  # type: ignore[arg-type]

    def to_dict(self) -> dict[str, Any]:
        """The fields that are set, ready for ``json.dumps``. They hold the secret."""
        fields = {name: getattr(self, name) for name in _FIELDS}
        return {name: value for name, value in fields.items() if value is not None}

    def __setattr__(self, name: str, value: object) -> None:
        # This frame is in the traceback.
        del value
        raise AttributeError(f"OauthToken is immutable: cannot set {name}; make a new one")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"OauthToken is immutable: cannot delete {name}")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, OauthToken):
            return NotImplemented
        return self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash(self.access_token)

    def __repr__(self) -> str:
        return (
            f"OauthToken(access_token=<hidden>, token_type={self.token_type!r},"
            f" expires_in={self.expires_in!r}, scope={self.scope!r}, expiry={self.expiry!r})"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return OauthToken, tuple(getattr(self, name) for name in _FIELDS)


class HasAccessToken(Protocol):
    """Any object with a token's attributes; one that it lacks counts as ``None``."""

    @property
    def access_token(self) -> str: ...


TokenLike = Union[OauthToken, Mapping[str, object], HasAccessToken]
"""An :class:`OauthToken`, a mapping with its fields, or any object with its attributes."""

OptionalToken = Optional[TokenLike]


def as_token(value: object, source: str) -> OauthToken | None:
    """What a user handed over as a token, as an :class:`OauthToken`; ``None`` stays ``None``.

    Args:
        value (object): an :class:`OauthToken`, a mapping, or any object with its attributes.
        source (str): where it came from, for the error.

    Raises:
        TypeError, ValueError: it is no token; the message names ``source``, never the value.
    """
    if value is None or isinstance(value, OauthToken):
        return value
    problem: Exception
    try:
        return OauthToken.from_dict(_fields_of(value))
    except (TypeError, ValueError) as error:
        problem = type(error)(f"{source}: {error}")
    raise problem


def with_expiry(token: OauthToken, now: float) -> OauthToken:
    """A token that knows only ``expires_in``, as one that was issued at unix time ``now``."""
    if token.expiry is not None or token.expires_in is None:
        return token
    return OauthToken.from_dict({**token.to_dict(), "expiry": now + token.expires_in})


def _fields_of(value: object) -> Mapping[str, Any]:
    if isinstance(value, Mapping):
        return value
    if isinstance(value, (str, bytes)) or not hasattr(value, "access_token"):
        raise TypeError(
            f"expected an OauthToken, a dict or an object with its attributes,"
            f" got {described(value)}; for a bare access token"
            " use OauthToken(access_token=…, token_type='Bearer')"
        )
    return {name: getattr(value, name, None) for name in _FIELDS}


def _checked_access_token(value: object) -> str:
    if value is None:
        raise ValueError("access_token is missing")
    if not isinstance(value, str):
        raise TypeError(f"access_token must be a str, not {described(value)}")
    if not re.fullmatch(_VSCHAR, value) or value != value.strip():
        raise ValueError(
            "access_token must be printable ASCII, without surrounding blanks or line breaks,"
            " and not empty"
        )
    return value
