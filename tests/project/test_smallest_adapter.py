"""The adapter that the documentation shows to contributors keeps the promises of all adapters."""

from __future__ import annotations

import pickle
import time
from collections.abc import Iterator
from typing import Any
from wsgiref.headers import Headers

import pytest

from thingspace_auth_adapters import (
    M2mLoginError,
    OauthProviderError,
    ThingspaceOauthCredentials,
    VzM2mCredentials,
)
from thingspace_auth_adapters._wire.messages import LOGIN_PATH, HttpAnswer, HttpRequest, SentOnce
from thingspace_auth_adapters.simulator import ThingspaceSimulator

from ..support.real import PATIENCE
from ..support.snippets import docs_script

pytestmark = pytest.mark.once

adapter = docs_script("smallest_adapter")


@pytest.fixture
def simulator() -> Iterator[ThingspaceSimulator]:
    with ThingspaceSimulator(sessions_required=True) as simulator:
        yield simulator


def auth_for(simulator: ThingspaceSimulator, **options: Any) -> Any:
    credentials = ThingspaceOauthCredentials(simulator.client_id, simulator.client_secret)
    options.setdefault("m2m", VzM2mCredentials(simulator.username, simulator.password))
    return adapter.ThingspaceAuth(credentials, base_url=simulator.url, **options)


def request_to(simulator: ThingspaceSimulator) -> Any:
    url = f"{simulator.url}/api/m2m/v1/devices?status=200"
    return adapter.Request("POST", url, Headers([]), b"{}")


def test_tokens_are_fetched_once_and_replaced_when_they_are_lost(
    simulator: ThingspaceSimulator,
) -> None:
    auth = auth_for(simulator)

    def lose_nothing() -> None:
        pass

    def lose_both() -> None:
        simulator.revoke()
        simulator.end_sessions()

    for lose in (lose_nothing, lose_nothing, simulator.revoke, simulator.end_sessions, lose_both):
        lose()
        response = auth.send(request_to(simulator))
        assert response.status_code == 200
    assert len(simulator.token_requests) == len(simulator.login_requests) == 3
    assert {request.query for request in simulator.api_requests} == {"status=200"}
    assert {request.body for request in simulator.api_requests} == {b"{}"}


def test_expired_token_is_replaced_before_the_request(simulator: ThingspaceSimulator) -> None:
    auth = auth_for(simulator)
    auth.send(request_to(simulator))
    auth.oauth_token = {"access_token": "old", "token_type": "Bearer", "expiry": 1}
    auth.send(request_to(simulator))
    assert [request.status for request in simulator.api_requests] == [200, 200]


def test_rejected_request_keeps_its_headers(simulator: ThingspaceSimulator) -> None:
    auth, request = auth_for(simulator), request_to(simulator)
    auth.headers(request.url)
    simulator.revoke()
    response = auth.send(request)
    assert response.request.headers["authorization"] != request.headers["authorization"]


def test_refusal_is_an_error_of_the_librarys_family(simulator: ThingspaceSimulator) -> None:
    auth = auth_for(simulator)
    simulator.fail("token", 401)
    with pytest.raises(OSError, match="the token endpoint refused") as raised:
        auth.send(request_to(simulator))
    assert isinstance(raised.value, OauthProviderError)
    assert isinstance(pickle.loads(pickle.dumps(raised.value)), OauthProviderError)


def test_refused_login_is_sent_once(simulator: ThingspaceSimulator) -> None:
    auth = auth_for(simulator, m2m=VzM2mCredentials(simulator.username, "wrong"))
    for _ in range(3):
        with pytest.raises(M2mLoginError):
            auth.send(request_to(simulator))
    assert len(simulator.login_requests) == 1


@pytest.mark.parametrize("failure", ["drop", 503])
def test_call_of_the_endpoint_is_tried_again(
    simulator: ThingspaceSimulator, failure: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    auth = auth_for(simulator)
    monkeypatch.setattr(auth._clock, "sleep", lambda seconds: None)
    simulator.fail("token", failure)
    assert auth.send(request_to(simulator)).status_code == 200
    assert len(simulator.token_requests) == 2


def test_endpoint_that_does_not_answer_is_a_timeout(simulator: ThingspaceSimulator) -> None:
    auth = auth_for(simulator, timeout=0.2)
    simulator.fail("token", "hang", times=None)
    with pytest.raises(OSError, match="the token endpoint could not be reached: timed out"):
        auth.fetch_token()


def test_endpoint_that_cannot_be_reached_is_a_connection_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with ThingspaceSimulator() as simulator:
        auth = auth_for(simulator)
    monkeypatch.setattr(auth._clock, "sleep", lambda seconds: None)
    with pytest.raises(ConnectionError, match="the token endpoint could not be reached"):
        auth.fetch_token()
    with pytest.raises(ConnectionError):
        auth.fetch_vz_m2m_token()


def test_body_of_a_login_is_sent_once(simulator: ThingspaceSimulator) -> None:
    transport = auth_for(simulator)._transport
    login = HttpRequest("the login", simulator.url + LOGIN_PATH, {}, SentOnce(b"{}"))
    ends_at = time.monotonic() + PATIENCE
    assert isinstance(transport.send(login, PATIENCE, ends_at), HttpAnswer)
    refused = transport.send(login, PATIENCE, ends_at)
    assert isinstance(refused.error, ConnectionError)
    assert "sent already" in str(refused.error)
    assert len(simulator.login_requests) == 1


def test_token_goes_to_no_other_host(simulator: ThingspaceSimulator) -> None:
    with ThingspaceSimulator() as other:
        auth_for(simulator).send(request_to(other))
        (request,) = other.requests
    assert "authorization" not in request.headers
    assert simulator.requests == []


def test_object_is_pickled(simulator: ThingspaceSimulator) -> None:
    auth = pickle.loads(pickle.dumps(auth_for(simulator)))
    assert auth.send(request_to(simulator)).status_code == 200
