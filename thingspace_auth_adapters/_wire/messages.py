"""Calls of the platform's endpoints and their answers, as values whose ``repr`` shows no secret."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

TOKEN_PATH = "/api/ts/v1/oauth2/token"
REVOCATION_PATH = "/api/ts/v1/oauth2/revoke"
LOGIN_PATH = "/api/m2m/v1/session/login"
LOGOUT_PATH = "/api/m2m/v1/session/logout"

LONGEST_ANSWER = 64 * 1024
"""How many bytes of an endpoint's answer are read."""

_LONGEST_QUOTE = 300
_ENTITIES = {"&": "amp", "<": "lt", ">": "gt", '"': "quot", "'": "apos"}


class AlreadySentError(Exception):
    """Something beneath the auth object tried to send a request twice that must be sent once."""


class AnswerTooLate(Exception):
    """An endpoint's answer did not end in time."""


class SentOnce:
    """Whether a request that must not be repeated was sent: its body can be taken once.

    Attributes:
        was_sent: whether the connection took the body.
    """

    def __init__(self) -> None:
        self.was_sent = False

    def take(self, body: bytes) -> bytes:
        """The body. Raises :class:`AlreadySentError` the second time."""
        if self.was_sent:
            raise AlreadySentError("the request was sent already, and is not repeated")
        self.was_sent = True
        return body


class HttpRequest:
    """A POST to one of the platform's endpoints.

    Args:
        purpose: what is called, for messages.
        url: where it is.
        headers: to be sent.
        body: to be sent.
        once: given if the request must reach the platform at most once.
    """

    __slots__ = ("body", "headers", "once", "purpose", "url")

    def __init__(
        self,
        purpose: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        once: SentOnce | None = None,
    ) -> None:
        self.purpose = purpose
        self.url = url
        self.headers = headers
        self.body = body
        self.once = once

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
        encoding = headers.get("content-encoding", "").strip().lower()
        is_plain = encoding in ("", "identity")
        self.flaw = None if is_plain else "it is compressed, which was not asked for"

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
    """

    __slots__ = ("error", "is_transient", "retry_after")

    def __init__(
        self, error: Exception, is_transient: bool = False, retry_after: float | None = None
    ) -> None:
        self.error = error
        self.is_transient = is_transient
        self.retry_after = retry_after


def undelivered_text(request: HttpRequest, error: Exception) -> str:
    """The message of an error on a call that brought no answer."""
    text = re.sub(r"//[^/@\s]*@", "//<hidden>@", str(error) or type(error).__name__)
    return printable(f"{request.purpose} could not be reached: {text}")


def is_transient(status: int) -> bool:
    """Whether a refusal with this status may pass."""
    return status == 429 or status >= 500


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


def error_fields(body: bytes | bytearray, code: str, message: str, *others: str) -> dict[str, str]:
    """What an error's JSON says under these names; a gateway's ``fault`` says the first two."""
    fields: dict[str, Any] = json_object(body) or {}
    fault: Any = fields.get("fault")
    if isinstance(fault, dict):
        fields = {code: str(fault.get("code")), message: fault.get("message")}
    names = (code, message, *others)
    found: dict[str, Any] = {name: fields.get(name) for name in names}
    return {name: text for name, text in found.items() if isinstance(text, str)}


def quoted(text: str, *secrets: str) -> str:
    """A server's words without these secrets, in whatever escaping: short and printable."""
    for secret in filter(None, secrets):
        text = re.sub("".join(map(_escapings, secret)), "<hidden>", text)
    return printable(text)[:_LONGEST_QUOTE]


def printable(text: str) -> str:
    """The text with a blank for each control character."""
    return "".join(char if char.isprintable() else " " for char in text)


def _escapings(char: str) -> str:
    """A pattern for a character as JSON, JavaScript, HTML and URLs write it, also twice over."""
    code, names = ord(char), _ENTITIES.get(char, "(?!)")
    units = char.encode("utf-16-be", "surrogatepass").hex()
    # Repetitions are bounded, so that no text takes long.
    unicode = "".join(rf"\\{{1,8}}u{units[at : at + 4]}" for at in range(0, len(units), 4))
    percent = "".join(rf"%(?:25){{0,4}}{byte:02x}" for byte in char.encode("utf-8", "replace"))
    entity = rf"&(?:amp;){{0,4}}(?:#0{{0,6}}{code};?|#x0{{0,6}}{code:x};?|{names};?)"
    plain = r"[ +]" if char == " " else re.escape(char)
    return rf"(?i:\\{{0,8}}{plain}|{unicode}|\\{{1,8}}x{code:02x}|{percent}|{entity})"
