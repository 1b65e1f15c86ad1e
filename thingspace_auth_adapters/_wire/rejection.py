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

from .messages import json_object

BODY_LIMIT = 64 * 1024
"""How many bytes of an error body are read to judge it."""

_BEARER_FAULTS = ("900901", "900902", "900903", "900904")
_OTHER_FAULTS = r"9008\d\d|90090[6-9]|90091\d"
_BEARER_CHALLENGE = r"(?is)(?:^|,)\s*bearer(?:\s+(?P<params>.*)|$)"
_CHALLENGE_ERROR = r"(?i)\berror\s*=\s*\"?(?P<code>[a-z_]+)"

# Services put names of their own before the code ("UnifiedWebService.", "DeviceService.").
_SESSION_CODE = (
    r"(?:\w+\.)*(?:REQUEST_FAILED|INPUT_INVALID)\.SessionToken\.(?:Expired|Invalid|Format)"
)
_LOCATION_CODE = r"(?:\w+\.)*INVALID_PARAMETER"
_LOCATION_MESSAGE = r"(?i)\s*UWS verification failure\s*\(\s*the session has expired\.?\s*\)\s*"
_CLOUD_DESCRIPTION = r"(?is).*\bUWS\b.*"
_CLOUD_CAUSE = r"(?i)\s*Requested service is unauthorized for given token\.?\s*"


class Credential(Enum):
    """What a request carries that an answer may reject."""

    BEARER = "access token"
    SESSION = "session token"


class Rejection(NamedTuple):
    """A judgement on an answer.

    Attributes:
        credential: what it rejects, if anything.
        is_certain: whether the answer says so. If not, it names no cause, and the request may
            have been acted upon.
    """

    credential: Credential | None
    is_certain: bool = True


_BEARER = Rejection(Credential.BEARER)
_SUSPECTED_BEARER = Rejection(Credential.BEARER, is_certain=False)
_SESSION = Rejection(Credential.SESSION)
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
    fields = json_object(body) or {}
    if _names_session(fields):
        return _SESSION
    return _by_gateway(headers.get("www-authenticate", ""), fields) if status == 401 else _NEITHER


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


def _by_gateway(challenge: str, fields: Mapping[str, Any]) -> Rejection:
    bearer = re.search(_BEARER_CHALLENGE, challenge)
    error = re.search(_CHALLENGE_ERROR, bearer["params"] or "") if bearer else None
    if error is not None:
        return _BEARER if error["code"].lower() == "invalid_token" else _NEITHER
    fault = fields.get("fault")
    if isinstance(fault, dict):
        code = str(fault.get("code"))
        if code in _BEARER_FAULTS:
            return _BEARER
        return _NEITHER if re.fullmatch(_OTHER_FAULTS, code) else _SUSPECTED_BEARER
    # Services name causes of their own: an errorCode (Diagnostics, M2M connectivity), or a cause
    # beside the error (Cloud Connector).
    return _NEITHER if "errorCode" in fields or "cause" in fields else _SUSPECTED_BEARER
