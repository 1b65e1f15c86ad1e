"""How to test one's own code with requests-mock alone. Run it with pytest, or as it is."""

from __future__ import annotations

import requests
import requests_mock

from thingspace_auth_adapters.requests import ThingspaceAuth

BASE_URL = "https://thingspace.verizon.com"


def count_devices(session: requests.Session) -> int:
    """One's own code: it knows nothing of tokens."""
    response = session.get(f"{BASE_URL}/api/m2m/v1/devices", timeout=30)
    response.raise_for_status()
    return len(response.json())


def test_my_code_counts_devices() -> None:
    with requests_mock.Mocker() as mocker, requests.Session() as session:
        mocker.post(
            f"{BASE_URL}/api/ts/v1/oauth2/token", json={"access_token": "abc", "expires_in": 3600}
        )
        devices = mocker.get(f"{BASE_URL}/api/m2m/v1/devices", json=["one", "two"])
        session.auth = ThingspaceAuth(oauth_client_id="key", oauth_client_secret="secret")
        assert count_devices(session) == 2
        assert devices.request_history[0].headers["Authorization"] == "Bearer abc"


if __name__ == "__main__":
    test_my_code_counts_devices()
    print("counted")
