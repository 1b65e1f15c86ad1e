"""Whose fault an error answer is: a pure function of status, headers and body.

The table is that of ThingSpace's gateway (WSO2 fault codes), RFC 6750 section 3.1, and the ways in
which ThingSpace's services name causes of their own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any, NamedTuple

from .grant import json_object

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


class Culprit(Enum):
    """What a request carried that an error answer may blame."""

    BEARER = "bearer"
    SESSION = "session"
    NEITHER = "neither"


class Blame(NamedTuple):
    """A judgement.

    Attributes:
        culprit: what is to blame.
        is_certain: whether the answer says so. If not, it names no cause, and the request may
            have been acted upon.
    """

    culprit: Culprit
    is_certain: bool = True


_BEARER = Blame(Culprit.BEARER)
_SUSPECTED_BEARER = Blame(Culprit.BEARER, is_certain=False)
_SESSION = Blame(Culprit.SESSION)
_NEITHER = Blame(Culprit.NEITHER)

_STATUSES = {Culprit.BEARER: range(401, 402), Culprit.SESSION: range(400, 500)}


def can_matter(status: int, suspects: Iterable[Culprit]) -> bool:
    """Whether an answer with this status can blame one of the suspects at all."""
    return any(status in _STATUSES[suspect] for suspect in suspects)


def blame(status: int, headers: Mapping[str, str], body: bytes) -> Blame:
    """Whether an answer blames the bearer, the session token, or neither.

    Args:
        status (int): the HTTP status.
        headers (Mapping[str, str]): looked up by lower-case name.
        body (bytes): the body's beginning, decoded; :data:`BODY_LIMIT` bytes are enough.
    """
    if not can_matter(status, _STATUSES):
        return _NEITHER
    fields = json_object(body) or {}
    if _blames_session(fields):
        return _SESSION
    return _by_gateway(headers.get("www-authenticate", ""), fields) if status == 401 else _NEITHER


def _blames_session(fields: Mapping[str, Any]) -> bool:
    code = fields.get("errorCode")
    if _says(code, _LOCATION_CODE):
        return _says(fields.get("errorMessage"), _LOCATION_MESSAGE)
    return _says(code, _SESSION_CODE) or _is_cloud_connectors(fields)


def _is_cloud_connectors(fields: Mapping[str, Any]) -> bool:
    return (
        fields.get("error") == "unauthorized"
        and _says(fields.get("error_description"), _CLOUD_DESCRIPTION)
        and _says(fields.get("cause"), _CLOUD_CAUSE)
    )


def _says(text: object, pattern: str) -> bool:
    return isinstance(text, str) and re.fullmatch(pattern, text) is not None


def _by_gateway(challenge: str, fields: Mapping[str, Any]) -> Blame:
    return _by_challenge(challenge) or _by_body(fields)


def _by_challenge(challenge: str) -> Blame | None:
    bearer = re.search(_BEARER_CHALLENGE, challenge)
    error = re.search(_CHALLENGE_ERROR, bearer["params"] or "") if bearer else None
    if error is None:
        return None
    return _BEARER if error["code"].lower() == "invalid_token" else _NEITHER


def _by_body(fields: Mapping[str, Any]) -> Blame:
    fault = fields.get("fault")
    if isinstance(fault, dict):
        return _by_fault(str(fault.get("code")))
    # Services name causes of their own: an errorCode (Diagnostics, M2M connectivity), or a cause
    # beside the error (Cloud Connector).
    if "errorCode" in fields or "cause" in fields:
        return _NEITHER
    return _SUSPECTED_BEARER


def _by_fault(code: str) -> Blame:
    if code in _BEARER_FAULTS:
        return _BEARER
    return _NEITHER if re.fullmatch(_OTHER_FAULTS, code) else _SUSPECTED_BEARER
