"""Part 2, rule 5: test doubles and recorders may look at a login's body, as often as they like."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("requests")

import requests

from thingspace_auth_adapters import VzM2mCredentials
from thingspace_auth_adapters.requests import ThingspaceAuth
from thingspace_auth_adapters.simulator import ThingspaceSimulator

from ..support.kinds import Kind
from ..support.logins import credentials
from ..support.virtual import API as DEVICES
from ..support.virtual import BASE, LOGIN_PATH, TOKEN_PATH, Call, Platform

TOKEN = BASE + TOKEN_PATH
LOGIN = BASE + LOGIN_PATH
GRANTED = {"access_token": "granted", "token_type": "Bearer", "expires_in": 3600}
OPENED = {"sessionToken": "opened"}
BOTH = {"Authorization": "Bearer granted", "VZ-M2M-Token": "opened"}
ACCOUNT: dict[str, Any] = {"username": "user", "password": "pässword&more"}


def auth(**options: Any) -> ThingspaceAuth:
    return ThingspaceAuth(
        oauth_client_id="key",
        oauth_client_secret="secret",
        m2m=VzM2mCredentials(**ACCOUNT),
        **options,
    )


@pytest.fixture
def session() -> Iterator[Any]:
    with requests.Session() as session:
        yield session


def test_requests_mock_reads_a_login_as_json(session: Any) -> None:
    mocker_of = pytest.importorskip("requests_mock").Mocker
    with mocker_of() as mocker:
        mocker.post(TOKEN, json=GRANTED)
        login = mocker.post(
            LOGIN, json=OPENED, additional_matcher=lambda asked: asked.json() == ACCOUNT
        )
        mocker.get(DEVICES, json=[], request_headers=BOTH)
        assert session.get(DEVICES, auth=auth(), timeout=5).json() == []
    assert login.last_request.json() == ACCOUNT
    assert json.loads(login.last_request.text) == ACCOUNT


def test_requests_mock_on_the_auth_objects_own_session(session: Any) -> None:
    adapter = pytest.importorskip("requests_mock").Adapter()
    session.mount("https://", adapter)
    adapter.register_uri("POST", TOKEN, json=GRANTED)
    login = adapter.register_uri("POST", LOGIN, json=OPENED)
    assert auth(session=session).fetch_vz_m2m_token() == "opened"
    assert login.last_request.json() == ACCOUNT


def test_responses_matches_the_form_and_the_body_of_a_login(session: Any) -> None:
    responses = pytest.importorskip("responses")
    account = responses.matchers.json_params_matcher(ACCOUNT)
    both = responses.matchers.header_matcher(BOTH)
    form = responses.matchers.urlencoded_params_matcher({"grant_type": "client_credentials"})
    with responses.RequestsMock() as mocked:
        mocked.post(TOKEN, json=GRANTED, match=[form])
        mocked.post(LOGIN, json=OPENED, match=[account])
        mocked.get(DEVICES, json=[], match=[both])
        assert session.get(DEVICES, auth=auth(), timeout=5).json() == []
        assert json.loads(mocked.calls[1].request.body) == ACCOUNT


def test_pook_matches_the_body_of_a_login(session: Any) -> None:
    pook = pytest.importorskip("pook")
    with pook.use():
        pook.post(TOKEN).reply(200).json(GRANTED)
        login = pook.post(LOGIN).json(ACCOUNT).reply(200).json(OPENED).mock
        pook.get(DEVICES).headers(BOTH).reply(200).json([])
        assert session.get(DEVICES, auth=auth(), timeout=5).json() == []
        assert login.calls == 1


# betamax asks for the time in a way that Python 3.12 deprecates.
@pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")
def test_betamax_records_a_login_and_replays_it(session: Any, tmp_path: Path) -> None:
    betamax = pytest.importorskip("betamax")
    simulator = ThingspaceSimulator("key", "secret", sessions_required=True, **ACCOUNT)
    session.mount("https://", simulator.requests_adapter())
    recorder = betamax.Betamax(session, cassette_library_dir=str(tmp_path))
    options = {"match_requests_on": ["method", "uri", "body"]}
    for record in ("once", "none"):
        with recorder.use_cassette("devices", record=record, **options):
            session.auth = auth(session=session)
            assert session.get(DEVICES, timeout=5).status_code == 200
        simulator.close()
    assert len(simulator.requests) == 3
    recorded = json.loads((tmp_path / "devices.json").read_text(encoding="utf-8"))
    bodies = [one["request"]["body"]["string"] for one in recorded["http_interactions"]]
    assert json.loads(bodies[1]) == ACCOUNT


def test_mock_transport_of_httpx_reads_a_login(httpx_kind: Kind, platform: Platform) -> None:
    library = httpx_kind.library

    def answer(request: Any) -> Any:
        assert request.read() == request.content
        headers = dict(request.headers)
        found = platform.handle(Call(request.method, str(request.url), headers, request.content))
        return library.Response(found.status, content=found.body)

    mock = library.MockTransport(answer)
    auth = httpx_kind.auth(m2m=credentials(), client_options={"transport": mock})
    assert httpx_kind.fetch_session(auth) == "session-1"
    assert json.loads(platform.login_calls[0].body)["username"] == "the-user"
