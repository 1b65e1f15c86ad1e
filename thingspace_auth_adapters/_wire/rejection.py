"""Which credential an error answer rejects: a pure function of status, headers and body.

The table is that of ThingSpace's gateway (WSO2 fault codes), RFC 6750 section 3.1, and the ways in
which ThingSpace's services name causes of their own.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from contextlib import suppress
from enum import Enum
from typing import Any, NamedTuple

from .messages import gateway_code, json_object

BODY_LIMIT = 64 * 1024
"""How many bytes of an error body are read to judge it."""

BEARER_FAULTS = ("900901", "900902", "900903", "900904")
"""The gateway's codes for an access token that is wrong, missing, expired or inactive."""

_OTHER_FAULTS = r"9008\d\d|90090[6-9]|90091\d"
_CHALLENGE_PARAMETER = r'(\w+)\s*=\s*("(?:[^"\\]|\\.)*"|[^\s,"]*)'

# Services put names of their own before the code ("UnifiedWebService.", "DeviceService.").
_SESSION_CODE = (
    r"(?:\w+\.)*(?:REQUEST_FAILED|INPUT_INVALID)\.SessionToken\.(?:Expired|Invalid|Format)"
)
_LOCATION_CODE = r"(?:\w+\.)*INVALID_PARAMETER"
_LOCATION_MESSAGE = r"(?i)\s*UWS verification failure\s*\(\s*the session has expired\.?\s*\)\s*"
_WRONG_ACCOUNT = r"(?i)\s*UWS verification failure\s*\(\s*could not find account"
_CLOUD_DESCRIPTION = r"(?is).*\bUWS\b.*"
_CLOUD_CAUSE = r"(?i)\s*Requested service is unauthorized for given token\.?\s*"
_JSON = rb"\s*[\[{]"
_SPEAKS_OF_A_SESSION = r"(?is)UWS|session ?token|session.{0,30}?(?:expired|invalid)"


class Credential(Enum):
    """What a request carries that an answer may reject."""

    BEARER = "access token"
    SESSION = "session token"


class Rejection(NamedTuple):
    """A judgement on an answer.

    Attributes:
        credential: what it rejects, if anything.
        is_certain: whether the answer says so. If not, that is merely likely, and the request may
            have been acted upon.
    """

    credential: Credential | None
    is_certain: bool = True


_BEARER = Rejection(Credential.BEARER)
_SUSPECTED_BEARER = Rejection(Credential.BEARER, is_certain=False)
_SESSION = Rejection(Credential.SESSION)
_SUSPECTED_SESSION = Rejection(Credential.SESSION, is_certain=False)
_NEITHER = Rejection(None)


def may_reject(status: int, credential: Credential) -> bool:
    """Whether an answer with this status can reject this credential at all."""
    return status == 401 if credential is Credential.BEARER else 400 <= status < 500


def is_readable(headers: Mapping[str, Any]) -> bool:
    """Whether an error's body is read to judge it: not if it may be long, or grow when decoded.

    Args:
        headers (Mapping[str, str]): looked up by lower-case name.
    """
    encoding = str(headers.get("content-encoding", "")).strip().lower()
    length = str(headers.get("content-length", "0")).strip()
    is_short = re.fullmatch("[0-9]{1,9}", length) is not None and int(length) <= BODY_LIMIT
    return is_short and encoding in ("", "identity", "gzip", "deflate")


def decoded(raw: bytes, headers: Mapping[str, Any]) -> bytes:
    """The beginning of an error's body; what cannot be decoded counts as empty."""
    encoding = str(headers.get("content-encoding", "")).strip().lower()
    if encoding not in ("gzip", "deflate"):
        return raw[:BODY_LIMIT]
    for window_bits in (zlib.MAX_WBITS | 32, -zlib.MAX_WBITS):
        with suppress(zlib.error):
            return zlib.decompressobj(window_bits).decompress(raw, BODY_LIMIT)
    return b""


def classify(status: int, headers: Mapping[str, str], body: bytes | bytearray) -> Rejection:
    """Whether an answer rejects the access token, the session token, or neither.

    Args:
        status (int): the HTTP status.
        headers (Mapping[str, str]): looked up by lower-case name.
        body (bytes): the body's beginning, decoded; :data:`BODY_LIMIT` bytes are enough.
    """
    if not 400 <= status < 500:
        return _NEITHER
    fields, code = json_object(body), gateway_code(body)
    if code is None and _names_session(fields or {}):
        return _SESSION
    if status == 401 and code in BEARER_FAULTS:
        return _BEARER
    errors = _challenge_errors(headers.get("www-authenticate", "")) if status == 401 else ()
    if "invalid_token" in errors:
        return _BEARER
    if errors or (code is not None and (status != 401 or re.fullmatch(_OTHER_FAULTS, code))):
        return _NEITHER
    is_json = fields is not None or re.match(_JSON, body) is not None
    return _likely(status, fields or {}, is_json)


def _likely(status: int, fields: Mapping[str, Any], is_json: bool) -> Rejection:
    """What an answer rejects that says so in no form that is known."""
    texts = [text for text in fields.values() if isinstance(text, str)]
    if any(re.match(_WRONG_ACCOUNT, text) for text in texts):
        return _NEITHER
    if status == 401:
        return _SUSPECTED_SESSION if _names_cause(fields) else _SUSPECTED_BEARER
    speaks_of_session = any(re.search(_SPEAKS_OF_A_SESSION, text) for text in texts)
    is_forbidden = status == 403 and is_json
    return _SUSPECTED_SESSION if speaks_of_session or is_forbidden else _NEITHER


def _names_cause(fields: Mapping[str, Any]) -> bool:
    """Whether a service names a cause of its own, which is not the bearer."""
    is_vehicles = "error" in fields and "description" in fields
    return is_vehicles or not fields.keys().isdisjoint(("errorCode", "responseCode", "cause"))


def _challenge_errors(challenge: str) -> list[str]:
    """The errors that a challenge names, whatever its scheme (RFC 6750 section 3)."""
    found = re.findall(_CHALLENGE_PARAMETER, challenge)
    return [value.strip('"').lower() for name, value in found if name.lower() == "error"]


def _names_session(fields: Mapping[str, Any]) -> bool:
    code, message = fields.get("errorCode"), fields.get("errorMessage")
    if isinstance(code, str) and re.fullmatch(_LOCATION_CODE, code):
        # Here only the message tells.
        return isinstance(message, str) and re.fullmatch(_LOCATION_MESSAGE, message) is not None
    if isinstance(code, str):
        return re.fullmatch(_SESSION_CODE, code) is not None
    description, cause = fields.get("error_description"), fields.get("cause")
    if fields.get("error") != "unauthorized" or not isinstance(description, str):
        return False
    is_cause = isinstance(cause, str) and re.fullmatch(_CLOUD_CAUSE, cause) is not None
    return is_cause and re.fullmatch(_CLOUD_DESCRIPTION, description) is not None
