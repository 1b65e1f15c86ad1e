"""How to test one's own code with respx: run it with pytest."""

from __future__ import annotations

import httpx
import respx

from thingspace_auth_adapters.httpx import ThingspaceAuth

BASE_URL = "https://thingspace.verizon.com"


def count_devices(client: httpx.Client) -> int:
    """One's own code: it knows nothing of tokens."""
    response = client.get("/api/m2m/v1/devices")
    response.raise_for_status()
    return len(response.json())


@respx.mock(base_url=BASE_URL)
def test_my_code_survives_a_rejected_token(respx_mock: respx.MockRouter) -> None:
    tokens = respx_mock.post("/api/ts/v1/oauth2/token")
    tokens.side_effect = [
        httpx.Response(200, json={"access_token": name, "expires_in": 3600}) for name in "ab"
    ]
    devices = respx_mock.get("/api/m2m/v1/devices")
    devices.side_effect = [httpx.Response(401), httpx.Response(200, json=["one", "two"])]
    auth = ThingspaceAuth(oauth_client_id="key", oauth_client_secret="secret")
    with httpx.Client(base_url=BASE_URL, auth=auth) as client:
        assert count_devices(client) == 2
    sent = [call.request.headers["Authorization"] for call in devices.calls]
    assert sent == ["Bearer a", "Bearer b"]
