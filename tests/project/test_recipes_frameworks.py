"""The recipes for SDKs and frameworks do what their page says, each where its libraries are."""

from __future__ import annotations

import asyncio
import importlib
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from thingspace_auth_adapters import M2mLoginError, VzM2mCredentials
from thingspace_auth_adapters.simulator import ThingspaceSimulator

from ..support.recipes import (
    PATH,
    assert_both_tokens_are_renewed,
    assert_both_tokens_were_renewed,
    between_losses,
    recipe,
)
from ..support.snippets import ROOT, at_home_in

ACCOUNT = "0000123456-00001"


@pytest.fixture(autouse=True)
def simulator(simulator: ThingspaceSimulator) -> ThingspaceSimulator:
    """Every request needs both tokens."""
    simulator.sessions_required = True
    return simulator


# The official SDK.


@pytest.fixture
def sdk(simulator: ThingspaceSimulator, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The recipe, and an SDK that takes the simulator for production."""
    module = recipe("official_sdk")
    configuration = importlib.import_module("verizon.configuration")
    servers = configuration.Configuration.environments[configuration.Environment.PRODUCTION]
    for server, url in servers.items():
        local = url.replace("https://thingspace.verizon.com", simulator.url)
        monkeypatch.setitem(servers, server, local)
    return module


def test_sdks_client_gets_both_tokens_renewed_and_its_callers_see_our_errors(
    sdk: Any, simulator: ThingspaceSimulator
) -> None:
    with sdk.requests.Session() as session:
        session.auth = sdk.ThingspaceAuth.from_environment()
        callbacks = sdk.client_on(session).connectivity_callbacks
        assert_both_tokens_are_renewed(
            simulator, lambda: callbacks.list_registered_callbacks(ACCOUNT)
        )
        simulator.password = "changed"
        simulator.end_sessions()
        session.auth.m2m = VzM2mCredentials(simulator.username, "wrong")
        with pytest.raises(M2mLoginError):
            callbacks.list_registered_callbacks(ACCOUNT)


def test_sdks_own_token_is_fetched_and_replaced(sdk: Any, simulator: ThingspaceSimulator) -> None:
    credentials = sdk.ThingspaceOauthCredentials(simulator.client_id, simulator.client_secret)
    with sdk.requests.Session() as session:
        session.auth = sdk.ThingspaceAuth.from_environment()
        client = sdk.VerizonClient(
            http_client_instance=session,
            thingspace_oauth_credentials=credentials,
            vz_m2m_token_credentials=sdk.VZM2mTokenCredentials("replaced"),
        )
        client.connectivity_callbacks.list_registered_callbacks(ACCOUNT)
    assert [request.status for request in simulator.requests] == [200] * 4
    assert len(simulator.token_requests) == 2


def test_sdks_vehicle_apis_get_both_tokens_renewed_at_their_real_address() -> None:
    module = recipe("official_sdk_imp")
    simulator = ThingspaceSimulator(sessions_required=True)
    with module.requests.Session() as session:
        session.mount("https://", simulator.requests_adapter())
        session.auth = module.ThingspaceAuth(
            oauth_client_id=simulator.client_id,
            oauth_client_secret=simulator.client_secret,
            m2m=VzM2mCredentials(simulator.username, simulator.password),
            session=session,
        )
        roles = module.client_on(session).device_role_controller
        assert_both_tokens_are_renewed(
            simulator, lambda: roles.get_acl_rules_by_vendor_id("vendor")
        )
    assert {one.headers["host"] for one in simulator.api_requests} == {"imp.thingspace.verizon.com"}
    carried = [one.headers["sessiontoken"] for one in simulator.api_requests]
    assert carried[0] == simulator.issued_sessions[0]
    assert carried[-1] == simulator.issued_sessions[-1]


# The next generation's SDK.


@pytest.fixture
def next_sdk(simulator: ThingspaceSimulator) -> Any:
    """A client of it, on the simulator, and the recipe's HTTP client."""
    module = recipe("next_sdk")
    http = module.ThingspaceClient(module.ThingspaceAuth.from_environment())
    server = {"thingspace": {"production": {"base_url": f"{simulator.url}/api"}}}
    with module.VerizonClient(custom_http_client=http, server_config=server) as client:
        yield client


@pytest.mark.once
def test_next_sdk_gets_both_tokens_renewed(next_sdk: Any, simulator: ThingspaceSimulator) -> None:
    def send() -> None:
        with suppress(ValueError):
            # The simulator's answer is none of its models.
            next_sdk.connectivity_callbacks.with_raw_response.list_registered_callbacks(ACCOUNT)

    assert_both_tokens_are_renewed(simulator, send)
    simulator.revoke()
    simulator.end_sessions()
    simulator.clear()
    send()
    assert [request.status for request in simulator.api_requests] == [401, 400, 200]


@pytest.mark.once
def test_next_sdks_callers_see_our_errors(next_sdk: Any, simulator: ThingspaceSimulator) -> None:
    simulator.password = "changed"
    with pytest.raises(M2mLoginError):
        next_sdk.connectivity_callbacks.list_registered_callbacks(ACCOUNT)
    assert simulator.failed_logins == 1


@pytest.mark.once
def test_next_sdks_own_errors_stay(next_sdk: Any, simulator: ThingspaceSimulator) -> None:
    errors = importlib.import_module("verizon.core")
    simulator.fail("api", 404)
    with pytest.raises(errors.ApiError):
        next_sdk.connectivity_callbacks.list_registered_callbacks(ACCOUNT)
    simulator.end_sessions()
    simulator.password = "changed"
    with pytest.raises(errors.ApiError):
        next_sdk.connectivity_callbacks.list_registered_callbacks(ACCOUNT)
    assert simulator.failed_logins == 1


# Airflow. It warns of itself, as others do below.


@pytest.fixture
def airflow(simulator: ThingspaceSimulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The recipe, and Airflow's connection to the simulator."""
    at_home_in(tmp_path, monkeypatch)
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    pair = f"{simulator.client_id}:{simulator.client_secret}"
    monkeypatch.setenv("AIRFLOW_CONN_THINGSPACE", simulator.url.replace("//", f"//{pair}@"))
    return recipe("airflow_http")


@pytest.mark.once
@pytest.mark.filterwarnings("ignore")
def test_airflows_hook_and_operator_get_both_tokens_renewed(
    airflow: Any, simulator: ThingspaceSimulator
) -> None:
    assert airflow.list_devices()["path"] == PATH
    simulator.revoke()
    assert airflow.list_devices()["path"] == PATH
    simulator.end_sessions()
    assert json.loads(airflow.list_devices_task().execute({}))["path"] == PATH
    assert_both_tokens_were_renewed(simulator)


@pytest.mark.once
@pytest.mark.filterwarnings("ignore")
def test_airflows_callers_see_our_errors_and_airflows(
    airflow: Any, simulator: ThingspaceSimulator
) -> None:
    exceptions = importlib.import_module("airflow.exceptions")
    simulator.fail("api", 500)
    with pytest.raises(exceptions.AirflowException, match="500"):
        airflow.list_devices()
    auth = airflow.thingspace_auth(simulator.client_id, simulator.client_secret)
    auth.m2m = VzM2mCredentials(simulator.username, "wrong")
    with pytest.raises(M2mLoginError):
        airflow.list_devices()


@pytest.mark.once
@pytest.mark.filterwarnings("ignore")
def test_airflows_trigger_waits_with_both_tokens(
    airflow: Any, simulator: ThingspaceSimulator
) -> None:
    deferred = importlib.import_module("airflow.sdk.exceptions").TaskDeferred
    operator = airflow.ThingspaceGet(task_id="get", url=simulator.url + PATH)
    with pytest.raises(deferred) as raised:
        operator.execute({})
    name, arguments = raised.value.trigger.serialize()
    assert (name, arguments) == ("airflow_http.ThingspaceTrigger", {"url": simulator.url + PATH})

    async def events() -> list[Any]:
        return [event.payload async for event in airflow.ThingspaceTrigger(**arguments).run()]

    (event,) = asyncio.run(events())
    assert json.loads(operator.answered({}, event))["path"] == PATH
    with pytest.raises(RuntimeError, match="404"):
        operator.answered({}, {"status": 404, "text": ""})


# dlt.


@pytest.fixture
def dlt(simulator: ThingspaceSimulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    at_home_in(tmp_path, monkeypatch)
    monkeypatch.chdir(tmp_path)
    return recipe("dlt_source")


@pytest.mark.once
@pytest.mark.filterwarnings("ignore")
def test_dlts_client_and_source_get_both_tokens_renewed(
    dlt: Any, simulator: ThingspaceSimulator
) -> None:
    assert dlt.client().get(PATH).status_code == 200
    simulator.revoke()
    assert [device["path"] for device in dlt.source().resources["devices"]] == [PATH]
    simulator.end_sessions()
    assert dlt.client().get(PATH).status_code == 200
    assert_both_tokens_were_renewed(simulator)


@pytest.mark.once
@pytest.mark.filterwarnings("ignore")
def test_dlts_callers_find_our_error_as_the_cause(dlt: Any, simulator: ThingspaceSimulator) -> None:
    exceptions = importlib.import_module("dlt.extract.exceptions")
    simulator.password = "changed"
    with pytest.raises(exceptions.ResourceExtractionError) as raised:
        list(dlt.source().resources["devices"])
    assert isinstance(raised.value.__cause__, M2mLoginError)
    assert simulator.failed_logins == 1


# pandas and fsspec.


@pytest.fixture
def tables(simulator: ThingspaceSimulator, monkeypatch: pytest.MonkeyPatch) -> Any:
    pytest.importorskip("aiohttp", minversion="3.12")
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    return recipe("pandas_fsspec")


@pytest.mark.once
@pytest.mark.filterwarnings("ignore")
def test_pandas_and_fsspec_get_both_tokens_renewed(
    tables: Any, simulator: ThingspaceSimulator
) -> None:
    assert tables.table(PATH).loc["path", "value"] == PATH
    files = tables.filesystem()
    texts = between_losses(simulator, lambda: files.cat_file(simulator.url + PATH))
    assert [json.loads(text)["path"] for text in texts] == [PATH] * 3
    assert [request.status for request in simulator.api_requests[1:]] == [200, 401, 200, 400, 200]


@pytest.mark.once
@pytest.mark.filterwarnings("ignore")
def test_fsspecs_callers_see_an_error_of_aiohttp(
    tables: Any, simulator: ThingspaceSimulator
) -> None:
    aiohttp = importlib.import_module("aiohttp")
    simulator.password = "changed"
    with pytest.raises(aiohttp.ClientError, match="login"):
        tables.filesystem().cat_file(simulator.url + PATH)
