"""The families of APIs: where each looks for the session, and how it refuses a dead one."""

from __future__ import annotations

from dataclasses import dataclass

from werkzeug.wrappers import Request, Response

from .answers import Refusal, json_answer, uws_error

_VEHICLE_HOST = "imp.thingspace.verizon.com"


@dataclass(frozen=True)
class Family:
    """APIs that treat a session alike.

    Attributes:
        expired: refuses a session that was issued and is no longer live.
        unknown: refuses one that was never issued, or is missing.
        header: the one that carries the session.
        needs_session: whether a session can be required at all.
    """

    expired: Refusal
    unknown: Refusal
    header: str = "VZ-M2M-Token"
    needs_session: bool = True


def _uws(code: str, message: str) -> Refusal:
    return lambda _path: uws_error(400, code, message)


def location_refusal(reason: str) -> Refusal:
    """Device Location's refusal: its code is always the same, only the message tells why."""
    return _uws("INVALID_PARAMETER", f"UWS verification failure ({reason})")


def _cloud(_path: str) -> Response:
    content = {
        "error": "unauthorized",
        "error_description": "Failure response received for UWS V1 REST accounts: [400]",
        "cause": "Requested service is unauthorized for given token",
    }
    return json_answer(403, content)


_EXPIRED = "The session token has expired."
_M2M_EXPIRED = _uws("UnifiedWebService.REQUEST_FAILED.SessionToken.Expired", _EXPIRED)
_M2M_UNKNOWN = _uws(
    "UnifiedWebService.INPUT_INVALID.SessionToken.Invalid", "The session token is not valid."
)
_LOCATION = location_refusal("The Session has expired.")
_DIAGNOSTICS = _uws("DeviceService.REQUEST_FAILED.SessionToken.Expired", _EXPIRED)
_VEHICLE = _uws(
    "REQUEST_FAILED.SessionToken.Format", "The session token does not have the right format."
)

M2M = Family(_M2M_EXPIRED, _M2M_UNKNOWN)
LOCATION = Family(_LOCATION, _LOCATION)
CLOUD = Family(_cloud, _cloud)
DIAGNOSTICS = Family(_DIAGNOSTICS, _DIAGNOSTICS)
VEHICLE = Family(_VEHICLE, _VEHICLE, header="SessionToken")
EDGE = Family(_M2M_EXPIRED, _M2M_UNKNOWN, needs_session=False)

_BY_PREFIX = {
    "/api/m2m/": M2M,
    "/api/loc/": LOCATION,
    "/api/cc/": CLOUD,
    "/api/diagnostics/": DIAGNOSTICS,
    "/api/vehicle/": VEHICLE,
    "/api/mec/": EDGE,
}


def family_of(request: Request) -> Family:
    """The family that a request is for; what belongs to none is treated as M2M connectivity is."""
    host = request.headers.get("Host", "").partition(":")[0]
    if host.lower() == _VEHICLE_HOST:
        return VEHICLE
    for prefix, family in _BY_PREFIX.items():
        if request.path.startswith(prefix):
            return family
    return M2M
