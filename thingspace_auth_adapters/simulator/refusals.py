"""Refusals of an API that a test can ask for, one for each family of them."""

from __future__ import annotations

from werkzeug.wrappers import Response

from .answers import Refusal, fault, json_answer, uws_error
from .families import CLOUD, LOCATION, M2M, location_refusal

_LARGE = 200 * 1024

_FORBIDDEN = (
    '<am:fault xmlns:am="http://wso2.org/apimanager"><am:code>900908</am:code>'
    "<am:type>Status report</am:type><am:message>Resource forbidden</am:message>"
    "<am:description>The subscription does not cover this API</am:description></am:fault>"
)


def _fault(status: int, code: str) -> Refusal:
    return lambda path: fault(status, code, path)


def _challenge(status: int, error: str) -> Refusal:
    header = {"WWW-Authenticate": f'Bearer error="{error}"'}
    return lambda _path: Response(status=status, headers=header)


def _throttled(path: str) -> Response:
    return fault(429, "900800", path, {"Retry-After": "1"})


def _diagnostics(_path: str) -> Response:
    return uws_error(401, "INVALID_ACCOUNT", "The account is not valid")


def _empty(_path: str) -> Response:
    return Response(status=401)


def _html(_path: str) -> Response:
    page = "<!DOCTYPE html><html><body><h1>401 Unauthorized</h1></body></html>"
    return Response(page, 401, mimetype="text/html")


def _forbidden(_path: str) -> Response:
    return Response(_FORBIDDEN, 403, mimetype="application/xml")


def _large(_path: str) -> Response:
    frame = len('{"report": ""}')
    return json_answer(401, {"report": "x" * (_LARGE - frame)})


REFUSALS: dict[str, Refusal] = {
    "gateway": _fault(401, "900901"),
    "expired": _fault(401, "900903"),
    "inactive": _fault(401, "900904"),
    "diagnostics": _diagnostics,
    "empty": _empty,
    "html": _html,
    "challenge": _challenge(401, "invalid_token"),
    "scope": _challenge(403, "insufficient_scope"),
    "forbidden": _forbidden,
    "throttled": _throttled,
    "large": _large,
    "session": M2M.expired,
    "location": LOCATION.expired,
    "location-account": location_refusal("Could not find account 0000123456-00001"),
    "cloud": CLOUD.expired,
}
