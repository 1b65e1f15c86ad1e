"""How to test one's own code through expiry and revocation. Run it with pytest, or as it is."""

from __future__ import annotations

import requests

from thingspace_auth_adapters.requests import ThingspaceAuth
from thingspace_auth_adapters.simulator import ThingspaceSimulator


def count_devices(session: requests.Session, base_url: str) -> int:
    """One's own code: it knows nothing of tokens."""
    response = session.get(f"{base_url}/api/m2m/v1/devices", timeout=30)
    response.raise_for_status()
    return len(response.json())


def test_my_code_survives_revocation() -> None:
    with ThingspaceSimulator() as simulator, requests.Session() as session:
        session.auth = ThingspaceAuth(
            oauth_client_id=simulator.client_id,
            oauth_client_secret=simulator.client_secret,
            base_url=simulator.url,
        )
        assert count_devices(session, simulator.url) > 0
        simulator.revoke()
        assert count_devices(session, simulator.url) > 0
        assert len(simulator.token_requests) == 2


if __name__ == "__main__":
    test_my_code_survives_revocation()
    print("survived")
