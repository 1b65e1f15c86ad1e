"""How to test one's own script through expiry, revocation and an ended session: run it with pytest.

The fixture ``thingspace_simulator`` comes with the package, and is there without an import.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import requests

from thingspace_auth_adapters import ThingspaceOauthCredentials, VzM2mCredentials
from thingspace_auth_adapters.requests import ThingspaceAuth
from thingspace_auth_adapters.simulator import ThingspaceSimulator


def count_devices(session: requests.Session, base_url: str) -> int:
    """One's own code: it knows nothing of tokens."""
    response = session.get(f"{base_url}/api/m2m/v1/devices", timeout=30)
    response.raise_for_status()
    return len(response.json())


@pytest.fixture
def session(thingspace_simulator: ThingspaceSimulator) -> Iterator[requests.Session]:
    thingspace_simulator.sessions_required = True
    with requests.Session() as session:
        session.auth = ThingspaceAuth(
            ThingspaceOauthCredentials(
                thingspace_simulator.client_id, thingspace_simulator.client_secret
            ),
            base_url=thingspace_simulator.url,
            m2m=VzM2mCredentials(thingspace_simulator.username, thingspace_simulator.password),
        )
        yield session


def test_my_code_survives_expiry(
    thingspace_simulator: ThingspaceSimulator, session: requests.Session
) -> None:
    thingspace_simulator.token_lifetime = 1
    assert count_devices(session, thingspace_simulator.url) > 0
    time.sleep(1.1)
    assert count_devices(session, thingspace_simulator.url) > 0
    assert len(thingspace_simulator.issued_tokens) == 2


def test_my_code_survives_revocation(
    thingspace_simulator: ThingspaceSimulator, session: requests.Session
) -> None:
    assert count_devices(session, thingspace_simulator.url) > 0
    thingspace_simulator.revoke()
    assert count_devices(session, thingspace_simulator.url) > 0
    assert len(thingspace_simulator.token_requests) == 2


def test_my_code_survives_an_ended_session(
    thingspace_simulator: ThingspaceSimulator, session: requests.Session
) -> None:
    assert count_devices(session, thingspace_simulator.url) > 0
    thingspace_simulator.end_sessions()
    assert count_devices(session, thingspace_simulator.url) > 0
    assert len(thingspace_simulator.login_requests) == 2


def test_my_code_reports_an_outage(
    thingspace_simulator: ThingspaceSimulator, session: requests.Session
) -> None:
    thingspace_simulator.fail("api", 500)
    with pytest.raises(requests.HTTPError):
        count_devices(session, thingspace_simulator.url)
