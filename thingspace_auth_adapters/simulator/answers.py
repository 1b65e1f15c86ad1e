"""The bodies that ThingSpace answers with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Callable

from werkzeug.wrappers import Response

# Takes the path of the request that it refuses.
Refusal = Callable[[str], Response]

_ERROR_URI = "https://www.rfc-editor.org/rfc/rfc6749#section-5.2"

GATEWAY_MESSAGES = {
    "900800": "Message throttled out",
    "900901": "Invalid Credentials",
    "900902": "Missing Credentials",
    "900903": "Access Token Expired",
    "900904": "Access Token Inactive",
}
_ADVICE = {
    "900800": "You have exceeded your quota",
    "900902": "Make sure you have sent an Authorization header",
}
_USUAL_ADVICE = "Make sure you have given the correct access token"


def json_answer(status: int, content: object, headers: Mapping[str, str] | None = None) -> Response:
    """An ``application/json`` answer."""
    return Response(json.dumps(content), status, headers, mimetype="application/json")


def fault(status: int, code: str, path: str, headers: Mapping[str, str] | None = None) -> Response:
    """A refusal by the gateway, which stands before every API.

    Args:
        code: the gateway's, one of :data:`GATEWAY_MESSAGES`.
        path: that of the request; the description names the API that it belongs to.
    """
    context, version = _api_of(path)
    advice = _ADVICE.get(code, _USUAL_ADVICE)
    description = f"Access failure for API: {context}, version: {version}. {advice}"
    content = {"code": code, "message": GATEWAY_MESSAGES[code], "description": description}
    return json_answer(status, {"fault": content}, headers)


def _api_of(path: str) -> tuple[str, str]:
    segments = path.split("/")[2:]
    for position, segment in enumerate(segments):
        if segment[:1] == "v" and segment[1:].isdigit():
            return "/" + "/".join(segments[: position + 1]), segment
    return "/" + "/".join(segments[:1]), "v1"


def oauth_error(status: int, error: str, description: str) -> Response:
    """A refusal by the token or the revoke endpoint, as in RFC 6749, section 5.2."""
    content = {"error": error, "error_description": description, "error_uri": _ERROR_URI}
    return json_answer(status, content, {"Cache-Control": "no-store"})


def uws_error(status: int, code: str, message: str) -> Response:
    """A refusal in the form of the Unified Web Service, which most APIs share."""
    return json_answer(status, {"errorCode": code, "errorMessage": message})
