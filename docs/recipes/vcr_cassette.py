"""Cassettes that replay the whole conversation, tokens and login included, and hold no secret."""

from __future__ import annotations

import hashlib
import os
import re
from typing import Any

import requests
import vcr
from vcr.request import Request

from thingspace_auth_adapters.requests import ThingspaceAuth

BASE_URL = os.environ.get("THINGSPACE_BASE_URL", "https://thingspace.verizon.com")
SECRET_HEADERS = [(name, "hidden") for name in ("Authorization", "VZ-M2M-Token", "SessionToken")]
ENDPOINTS = ("/oauth2/token", "/session/login")
TOKENS = re.compile(rb'("(?:access_token|sessionToken)"\s*:\s*)"([^"]*)"')


def without_password(request: Request) -> Request:
    if request.path.endswith(ENDPOINTS):
        return Request(request.method, request.uri, b"hidden", request.headers)
    return request


def without_tokens(response: dict[str, Any]) -> dict[str, Any]:
    body = TOKENS.sub(pseudonym, response["body"]["string"])
    return {**response, "body": {"string": body}}


def pseudonym(found: re.Match[bytes]) -> bytes:
    """Different tokens stay different, so that a recorded renewal can be replayed."""
    return found[1] + b'"hidden-%s"' % hashlib.sha256(found[2]).hexdigest()[:8].encode()


RECORDER = vcr.VCR(
    filter_headers=SECRET_HEADERS,
    before_record_request=without_password,
    before_record_response=without_tokens,
)


def main() -> None:
    with RECORDER.use_cassette("devices.yaml"):
        auth = ThingspaceAuth.from_environment()
        print(requests.get(f"{BASE_URL}/api/m2m/v1/devices", auth=auth, timeout=30).status_code)


if __name__ == "__main__":
    main()
