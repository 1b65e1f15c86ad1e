"""How to test a script whose URLs are fixed, without a change to it: run this with pytest.

Whatever session or client the script makes is answered by the simulator, and so are the calls of
the endpoints. Nothing is sent.
"""

from __future__ import annotations

import httpx
import pytest
import requests

from thingspace_auth_adapters.httpx import ThingspaceAuth as HttpxAuth
from thingspace_auth_adapters.requests import ThingspaceAuth
from thingspace_auth_adapters.simulator import ThingspaceSimulator

URL = "https://thingspace.verizon.com/api/m2m/v1/devices"


def script_with_requests() -> int:
    session = requests.Session()
    session.auth = ThingspaceAuth.from_environment()
    return session.get(URL, timeout=30).status_code


def script_with_httpx() -> int:
    with httpx.Client(auth=HttpxAuth.from_environment()) as client:
        return client.get(URL).status_code


@pytest.fixture
def platform(
    thingspace_simulator: ThingspaceSimulator, monkeypatch: pytest.MonkeyPatch
) -> ThingspaceSimulator:
    simulator = thingspace_simulator
    simulator.sessions_required = True
    monkeypatch.delenv("THINGSPACE_BASE_URL", raising=False)
    monkeypatch.setenv("THINGSPACE_OAUTH_OAUTH_CLIENT_ID", simulator.client_id)
    monkeypatch.setenv("THINGSPACE_OAUTH_OAUTH_CLIENT_SECRET", simulator.client_secret)
    monkeypatch.setenv("VZ_M2M_USERNAME", simulator.username)
    monkeypatch.setenv("VZ_M2M_PASSWORD", simulator.password)

    adapter, transport = simulator.requests_adapter(), simulator.httpx_transport()
    monkeypatch.setattr(requests.Session, "get_adapter", lambda session, url: adapter)
    monkeypatch.setattr(
        httpx.HTTPTransport,
        "handle_request",
        lambda own, request: transport.handle_request(request),
    )
    # An asynchronous script needs the same for AsyncHTTPTransport.handle_async_request.
    return simulator


def test_script_with_requests(platform: ThingspaceSimulator) -> None:
    assert script_with_requests() == 200
    assert len(platform.login_requests) == 1


def test_script_with_httpx(platform: ThingspaceSimulator) -> None:
    platform.fail("api", 503)
    assert script_with_httpx() == 503
