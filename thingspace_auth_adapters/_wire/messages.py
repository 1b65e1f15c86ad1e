"""Calls of the platform's endpoints and their answers, as values whose ``repr`` shows no secret."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import unquote_plus

from .._model.version import __version__

COMMON_HEADERS = {
    "Accept": "application/json",
    "Accept-Encoding": "identity",
    "Cache-Control": "no-store",
    "User-Agent": f"thingspace-auth-adapters/{__version__}",
}
"""What every call of an endpoint says; a transport adds its library's name to the last."""

TOKEN_PATH = "/api/ts/v1/oauth2/token"
REVOCATION_PATH = "/api/ts/v1/oauth2/revoke"
LOGIN_PATH = "/api/m2m/v1/session/login"
LOGOUT_PATH = "/api/m2m/v1/session/logout"

LONGEST_ANSWER = 64 * 1024
"""How many bytes of an endpoint's answer are read."""

WITHHELD = "(withheld, since it holds a secret)"

_LONGEST_QUOTE = 300
_LEVELS_OF_ESCAPING = 2
_BACKSLASHED = r"(?s)\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|(.))"

# HTTP libraries decode them, some without any limit; one gzip or deflate is decoded within ours.
_REFUSED_CODINGS = r".*,.*|br|zstd"

_XML_FAULT = rb"(?is)\s*(?:<\?xml[^>]*>\s*)?<([\w.-]+:)?fault\b.{0,2000}?<\1?code>\s*(\d+)\s*<"
_FLAT_CODE = r"9\d{5}"
_THROTTLED = r"9008\d\d"
_TRANSIENT_CODES = ("server_error", "temporarily_unavailable")


class AlreadySentError(Exception):
    """Something beneath the auth object tried to send a request twice that must be sent once."""


class AnswerTooLate(Exception):
    """An endpoint's answer did not end in time."""


class SentOnce(bytes):
    """The body of a request that must reach the platform at most once.

    Whoever looks at it sees bytes, as often as they like. What sends it a second time, or rewinds
    it for that, gets an :class:`AlreadySentError`.

    Attributes:
        was_seen: whether anything had its bytes, and so may have sent them.
    """

    was_seen = False
    _was_begun = False

    def look(self) -> bytes:
        """The bytes, for what may send them."""
        self.was_seen = True
        return bytes(self)

    def tell(self) -> int:
        """What begins to send it asks for this first: urllib3, and our own streams."""
        if self._was_begun:
            raise AlreadySentError("the request was sent already, and is not repeated")
        self._was_begun = True
        return 0

    def seek(self, position: int, whence: int = 0) -> int:
        """What repeats it asks for this first."""
        return self.tell()

    def __repr__(self) -> str:
        return "<SentOnce>"

    __str__ = __repr__


class HttpRequest:
    """A POST to one of the platform's endpoints.

    Args:
        purpose: what is called, for messages.
        url: where it is.
        headers: to be sent.
        body: to be sent.
    """

    __slots__ = ("body", "headers", "purpose", "url")

    def __init__(self, purpose: str, url: str, headers: Mapping[str, str], body: bytes) -> None:
        self.purpose = purpose
        self.url = url
        self.headers = headers
        self.body = body

    @property
    def shown_headers(self) -> dict[str, str]:
        """The headers without credentials, for errors."""
        secret = ("Authorization", "VZ-M2M-Token")
        return {name: value for name, value in self.headers.items() if name not in secret}

    def __repr__(self) -> str:
        return f"<HttpRequest POST {self.url}>"


class HttpAnswer:
    """What an endpoint answers, taken chunk by chunk: not for too long, and not too much.

    Args:
        status: the HTTP status.
        headers: looked up in lower case.

    Attributes:
        body: what was taken.
        flaw: why the body is of no use, if it is not.
    """

    __slots__ = ("body", "flaw", "headers", "status")

    def __init__(self, status: int, headers: Mapping[str, str]) -> None:
        self.status = status
        self.headers = headers
        self.body = bytearray()
        coding = headers.get("content-encoding", "").strip().lower()
        is_refused = re.fullmatch(_REFUSED_CODINGS, coding) is not None
        self.flaw = "it is compressed, which was not asked for" if is_refused else None

    @property
    def gateway_code(self) -> str | None:
        """The code of a fault of the platform's gateway, if it is one."""
        return gateway_code(self.body)

    @property
    def is_turned_away(self) -> bool:
        """Whether the gateway did not let the request through, since there are too many."""
        is_fault = re.fullmatch(_THROTTLED, self.gateway_code or "") is not None
        return self.status == 429 or (is_fault and self.status >= 400)

    @property
    def is_throttled(self) -> bool:
        """Whether the endpoint asks to be left alone."""
        return self.is_turned_away or (self.status == 503 and "retry-after" in self.headers)

    def is_transient(self, code: str | None = None) -> bool:
        """Whether trying again may help, with this error code in it (RFC 6749 section 5.2)."""
        is_passing = self.status in (408, 425) or self.status >= 500 or code in _TRANSIENT_CODES
        return is_passing or self.is_throttled

    def take(self, chunk: bytes, now: float, ends_at: float) -> bool:
        """Take a chunk; the result is whether more is wanted.

        Raises:
            AnswerTooLate: the deadline has passed.
        """
        if now > ends_at:
            raise AnswerTooLate("the answer did not end in time")
        self.body += chunk
        if len(self.body) > LONGEST_ANSWER:
            self.body.clear()
            self.flaw = f"it is too long: more than {LONGEST_ANSWER // 1024} KiB"
        return self.flaw is None

    def __repr__(self) -> str:
        return f"<HttpAnswer {self.status}>"


class Refused:
    """An answer that brings nothing, or none at all.

    Args:
        error: what to raise.
        is_transient: whether trying again may help.
        retry_after: the seconds that the server asked for, if it did.
        is_throttled: whether the endpoint asked to be left alone.
        had_no_effect: whether the request certainly never reached what it was for.
    """

    __slots__ = ("error", "had_no_effect", "is_throttled", "is_transient", "retry_after")

    def __init__(
        self,
        error: Exception,
        is_transient: bool = False,
        retry_after: float | None = None,
        is_throttled: bool = False,
        had_no_effect: bool = False,
    ) -> None:
        self.error = error
        self.is_transient = is_transient
        self.retry_after = retry_after
        self.is_throttled = is_throttled
        self.had_no_effect = had_no_effect


def undelivered_text(request: HttpRequest, error: Exception) -> str:
    """The message of an error on a call that brought no answer."""
    text = re.sub(r"//[^/@\s]*@", "//<hidden>@", str(error) or type(error).__name__)
    return printable(f"{request.purpose} could not be reached: {text}")


def is_unusable_certificate(error: Exception) -> bool:
    """Whether a connection failed for a certificate, or for a CA file, that stays as it is."""
    return re.search(r"CERTIFICATE_VERIFY_FAILED|\[X509|\bPEM\b", str(error)) is not None


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds from ``now`` that a Retry-After header asks for (RFC 9110 section 10.2.3)."""
    text = headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]{1,9}", text):
        return float(text)
    if not text:
        return None
    # Imported here because it brings the socket module with it on some versions.
    from datetime import timezone
    from email.utils import parsedate_to_datetime

    try:
        moment = parsedate_to_datetime(text)
        # One of HTTP's three forms says no zone, and means UTC.
        moment = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
        return max(0.0, moment.timestamp() - now)
    except (TypeError, ValueError, OverflowError):
        return None


def json_object(body: bytes | bytearray) -> dict[str, Any] | None:
    """The JSON object in ``body``, or ``None`` if there is none, whatever the bytes."""
    # Not all that calls itself JSON is UTF-8, as RFC 8259 section 8.1 would have it.
    for text in (body, body.decode("latin-1")):
        with suppress(ValueError, RecursionError):
            value = json.loads(text)
            return value if isinstance(value, dict) else None
    return None


def gateway_code(body: bytes | bytearray) -> str | None:
    """The code of a fault of ThingSpace's gateway (WSO2), in each of its forms, or ``None``.

    ``{"fault": {"code": …}}``, flat JSON with a code of the gateway's, XML with any prefix.
    """
    fields = json_object(body)
    if fields is None:
        match = re.match(_XML_FAULT, body)
        return None if match is None else match[2].decode("ascii")
    fault = fields.get("fault")
    if isinstance(fault, dict):
        return str(fault.get("code"))
    code = str(fields.get("code"))
    return code if re.fullmatch(_FLAT_CODE, code) else None


def error_fields(body: bytes | bytearray, code: str, message: str, *others: str) -> dict[str, str]:
    """What an error's JSON says under these names; a gateway's fault says the first two."""
    fields: dict[str, Any] = json_object(body) or {}
    fault_code = gateway_code(body)
    if fault_code is not None:
        fault = fields.get("fault")
        told = fault if isinstance(fault, dict) else fields
        fields = {code: fault_code, message: told.get("message")}
    names = (code, message, *others)
    found: dict[str, Any] = {name: fields.get(name) for name in names}
    return {name: text for name, text in found.items() if isinstance(text, str)}


def quoted(text: str, *secrets: str) -> str:
    """A server's words, short and printable, unless they hold one of these secrets."""
    told = [secret.casefold() for secret in secrets if secret]
    if any(secret in form.casefold() for form in _forms(text) for secret in told):
        return WITHHELD
    return printable(text)[:_LONGEST_QUOTE]


def printable(text: str) -> str:
    """The text with a blank for each control character."""
    return "".join(char if char.isprintable() else " " for char in text)


def _forms(text: str) -> set[str]:
    """The text, and what it says once the escaping of JSON, HTML and URLs is undone, also twice."""
    # Imported here because only errors need it.
    from html import unescape

    forms = {text}
    for _ in range(_LEVELS_OF_ESCAPING):
        forms |= {undo(form) for form in forms for undo in (unescape, unquote_plus, _unescaped)}
    return forms


def _unescaped(text: str) -> str:
    """The text without the backslashes of JSON and JavaScript."""

    def character(match: re.Match[str]) -> str:
        code = match[1] or match[2]
        return chr(int(code, 16)) if code else match[3]

    plain = re.sub(_BACKSLASHED, character, text)
    # JSON writes what lies beyond the basic plane as two surrogates.
    return plain.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
