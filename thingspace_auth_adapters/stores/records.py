"""What stores keep, as values: to and from JSON, checked like an answer of the endpoint.

Nothing here has a secret that was not made to be shared: an entry is named by a keyed hash of what
it belongs to, and holds a token or what became of a login, never what they were got with.
"""

from __future__ import annotations

import hmac
import json
import math
from typing import Any, NamedTuple

from ..grant import json_object
from ..m2m import is_session_token
from ..strikes import Refusal
from ..tokens import OauthToken, seconds

_UNKNOWNS_SECONDS = 3600.0
"""How long logins of unknown outcome are remembered."""


class CorruptRecord(ValueError):
    """An entry is not what a store writes."""


class TokenRecord(NamedTuple):
    """An access token.

    Attributes:
        token: the token.
        renewed_at: unix timestamp of the token request that brought it.
    """

    token: OauthToken
    renewed_at: float

    def __repr__(self) -> str:
        return "<TokenRecord>"

    def to_json(self) -> bytes:
        return _json({"token": self.token.to_dict(), "renewed_at": self.renewed_at})

    @classmethod
    def from_json(cls, content: bytes) -> TokenRecord:
        """Raises :class:`CorruptRecord`."""
        fields = _fields(content)
        try:
            token = OauthToken.from_dict(fields["token"])
            renewed_at = _timestamp(fields, "renewed_at")
        except (AttributeError, KeyError, TypeError, ValueError):
            raise CorruptRecord from None
        return cls(token, renewed_at)


class SessionRecord(NamedTuple):
    """An M2M session, and how the logins went.

    Attributes:
        session_token: the session token, if there is one.
        used_at: unix timestamp of its latest use by any process.
        unknowns: how many logins in a row were of unknown outcome, one under way included.
        unknown_at: unix timestamp of the last of them.
        refusal: what a login was refused with.
    """

    session_token: str | None = None
    used_at: float = 0.0
    unknowns: int = 0
    unknown_at: float = 0.0
    refusal: Refusal | None = None

    def __repr__(self) -> str:
        return "<SessionRecord>"

    def recent_unknowns(self, now: float) -> int:
        """Those that still count."""
        # A clock that was ahead must not make them count for longer.
        is_recent = 0 <= now - self.unknown_at < _UNKNOWNS_SECONDS
        return self.unknowns if is_recent else 0

    def to_json(self) -> bytes:
        fields = self._asdict()
        fields["refusal"] = None if self.refusal is None else self.refusal._asdict()
        return _json(fields)

    @classmethod
    def from_json(cls, content: bytes) -> SessionRecord:
        """Raises :class:`CorruptRecord`."""
        fields = _fields(content)
        try:
            return cls(
                session_token=_session_token(fields["session_token"]),
                used_at=_timestamp(fields, "used_at"),
                unknowns=int(_timestamp(fields, "unknowns")),
                unknown_at=_timestamp(fields, "unknown_at"),
                refusal=_refusal(fields["refusal"]),
            )
        except (KeyError, TypeError, ValueError):
            raise CorruptRecord from None


def record_name(secret: str, parts: list[Any]) -> str:
    """The name of what belongs to these parts, from which they cannot be guessed."""
    return hmac.new(secret.encode(), _json(parts), "sha256").hexdigest()


def _json(value: Any) -> bytes:
    return json.dumps(value).encode("ascii")


def _fields(content: bytes) -> dict[str, Any]:
    fields = json_object(content)
    if fields is None:
        raise CorruptRecord
    return fields


def _timestamp(fields: dict[str, Any], name: str) -> float:
    number = seconds(name, fields[name])
    if number is None or not math.isfinite(number):
        raise ValueError(name)
    return number


def _session_token(value: Any) -> str | None:
    if value is not None and not is_session_token(value):
        raise ValueError("session_token")
    return value  # type: ignore[no-any-return]


def _refusal(value: Any) -> Refusal | None:
    if value is None:
        return None
    status_code, texts = value["status_code"], (value["error_code"], value["error_message"])
    if not isinstance(status_code, (int, type(None))):
        raise TypeError("status_code")
    if not all(isinstance(text, (str, type(None))) for text in texts):
        raise TypeError("error_code")
    return Refusal(status_code, *texts)
