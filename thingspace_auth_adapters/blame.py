"""Whose fault an error answer is: a pure function of status, headers and body.

The table is that of ThingSpace's gateway (WSO2 fault codes), RFC 6750 section 3.1, and the ways in
which ThingSpace's services name causes of their own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from typing import Any

from .grant import json_object

BODY_LIMIT = 64 * 1024
"""How many bytes of an error body are read to judge it."""

_BEARER_FAULTS = ("900901", "900902", "900903", "900904")
_OTHER_FAULTS = r"9008\d\d|90090[6-9]|90091\d"
_BEARER_CHALLENGE = r"(?is)(?:^|,)\s*bearer(?:\s+(?P<params>.*)|$)"
_CHALLENGE_ERROR = r"(?i)\berror\s*=\s*\"?(?P<code>[a-z_]+)"


class Blame(Enum):
    """What an error answer says of the bearer that the request carried."""

    REFUSED = "refused"
    """The gateway or a challenge refused it: the request was not acted upon."""

    SUSPECTED = "suspected"
    """A 401 that names no cause: likely the bearer, but the request may have been acted upon."""

    INNOCENT = "innocent"
    """Something else is to blame."""


def can_matter(status: int) -> bool:
    """Whether an answer with this status can blame the bearer at all."""
    return status == 401


def blame(status: int, headers: Mapping[str, str], body: bytes) -> Blame:
    """Whether an answer blames the bearer.

    Args:
        status (int): the HTTP status.
        headers (Mapping[str, str]): looked up by lower-case name.
        body (bytes): the body's beginning, decoded; :data:`BODY_LIMIT` bytes are enough.
    """
    if not can_matter(status):
        return Blame.INNOCENT
    verdict = _by_challenge(headers.get("www-authenticate", ""))
    return verdict or _by_body(json_object(body) or {})


def _by_challenge(challenge: str) -> Blame | None:
    bearer = re.search(_BEARER_CHALLENGE, challenge)
    error = re.search(_CHALLENGE_ERROR, bearer["params"] or "") if bearer else None
    if error is None:
        return None
    return Blame.REFUSED if error["code"].lower() == "invalid_token" else Blame.INNOCENT


def _by_body(fields: Mapping[str, Any]) -> Blame:
    fault = fields.get("fault")
    if isinstance(fault, dict):
        return _by_fault(str(fault.get("code")))
    # Services name causes of their own: an errorCode (Diagnostics, M2M connectivity), or a cause
    # beside the error (Cloud Connector, where the session token is meant).
    if "errorCode" in fields or "cause" in fields:
        return Blame.INNOCENT
    return Blame.SUSPECTED


def _by_fault(code: str) -> Blame:
    if code in _BEARER_FAULTS:
        return Blame.REFUSED
    return Blame.INNOCENT if re.fullmatch(_OTHER_FAULTS, code) else Blame.SUSPECTED
