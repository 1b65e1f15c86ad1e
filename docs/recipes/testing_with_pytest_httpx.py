"""How to test one's own code with pytest-httpx: run it with pytest."""

from __future__ import annotations

import httpx
from pytest_httpx import HTTPXMock

from thingspace_auth_adapters.httpx import ThingspaceAuth

BASE_URL = "https://thingspace.verizon.com"
TOKEN_URL = f"{BASE_URL}/api/ts/v1/oauth2/token"
DEVICES_URL = f"{BASE_URL}/api/m2m/v1/devices"


def count_devices(client: httpx.Client) -> int:
    """One's own code: it knows nothing of tokens."""
    response = client.get(DEVICES_URL)
    response.raise_for_status()
    return len(response.json())


def test_my_code_survives_a_rejected_token(httpx_mock: HTTPXMock) -> None:
    for name in "ab":
        httpx_mock.add_response(url=TOKEN_URL, json={"access_token": name, "expires_in": 3600})
    httpx_mock.add_response(url=DEVICES_URL, status_code=401)
    httpx_mock.add_response(
        url=DEVICES_URL, json=["one", "two"], match_headers={"Authorization": "Bearer b"}
    )
    auth = ThingspaceAuth(oauth_client_id="key", oauth_client_secret="secret")
    with httpx.Client(auth=auth) as client:
        assert count_devices(client) == 2
