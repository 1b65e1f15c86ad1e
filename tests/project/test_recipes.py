"""The recipes of the documentation do what its page says, each where its libraries are there."""

from __future__ import annotations

import asyncio
import base64
import importlib.util
import json
import pickle
import re
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest

from thingspace_auth_adapters import M2mLoginError, OauthProviderError, VzM2mCredentials
from thingspace_auth_adapters.simulator import ThingspaceSimulator

from ..support.snippets import at_home_in

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "recipes.md").read_text(encoding="utf-8")
PATH = "/api/m2m/v1/devices"


@pytest.fixture
def simulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[ThingspaceSimulator]:
    """What the recipes find in their environment; every request needs both tokens."""
    with ThingspaceSimulator(sessions_required=True) as running:
        monkeypatch.setenv("THINGSPACE_BASE_URL", running.url)
        monkeypatch.setenv("THINGSPACE_OAUTH_OAUTH_CLIENT_ID", running.client_id)
        monkeypatch.setenv("THINGSPACE_OAUTH_OAUTH_CLIENT_SECRET", running.client_secret)
        monkeypatch.setenv("VZ_M2M_USERNAME", running.username)
        monkeypatch.setenv("VZ_M2M_PASSWORD", running.password)
        yield running


def recipe(name: str) -> Any:
    """A recipe as a module; skips the test if one of its libraries is missing."""
    path = DOCS / "recipes" / f"{name}.py"
    for library in re.findall(r"^(?:from|import) ([\w.]+)", path.read_text("utf-8"), re.MULTILINE):
        if not library.startswith("thingspace_auth_adapters"):
            pytest.importorskip(library)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def secrets_of(simulator: ThingspaceSimulator) -> list[str]:
    pair = f"{simulator.client_id}:{simulator.client_secret}"
    return [
        *simulator.issued_tokens,
        *simulator.issued_sessions,
        simulator.password,
        simulator.client_secret,
        base64.b64encode(pair.encode()).decode(),
    ]


def leaks(simulator: ThingspaceSimulator, shown: str) -> list[str]:
    return [secret for secret in secrets_of(simulator) if secret in shown]


def assert_both_tokens_were_renewed(simulator: ThingspaceSimulator) -> None:
    assert [request.status for request in simulator.api_requests] == [200, 401, 200, 400, 200]
    assert len(simulator.issued_tokens) == len(simulator.token_requests) == 2
    assert len(simulator.issued_sessions) == len(simulator.login_requests) == 2


def test_every_recipe_is_on_the_page_and_tested() -> None:
    scripts = {path.stem for path in (DOCS / "recipes").glob("*.py")}
    assert set(re.findall(r"<!-- file: docs/recipes/(\w+)\.py -->", PAGE)) == scripts
    tests = Path(__file__).read_text(encoding="utf-8")
    assert set(re.findall(r'recipe\("(\w+)"\)', tests)) == scripts


def test_every_example_on_the_page_is_there() -> None:
    names = re.findall(r"<!-- file: (examples/\w+\.py) -->", PAGE)
    assert names
    assert [name for name in names if not (DOCS.parent / name).is_file()] == []


# urllib3's Retry.


@pytest.fixture
def retrying(simulator: ThingspaceSimulator, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The recipe, whose retries do not pause."""
    module = recipe("urllib3_retry")
    monkeypatch.setattr(module.Retry, "sleep", lambda retry, response=None: None)
    return module


def test_failing_api_is_tried_again_by_the_session(
    retrying: Any, simulator: ThingspaceSimulator
) -> None:
    simulator.fail("api", 503, times=2)
    with retrying.session_that_retries() as session:
        assert session.get(simulator.url + PATH, timeout=30).status_code == 200
    assert [request.status for request in simulator.api_requests] == [503, 503, 200]
    assert len(simulator.token_requests) == len(simulator.login_requests) == 1


def test_rejected_tokens_are_renewed_beside_the_retries(
    retrying: Any, simulator: ThingspaceSimulator
) -> None:
    with retrying.session_that_retries() as session:
        assert session.get(simulator.url + PATH, timeout=30).status_code == 200
        simulator.revoke()
        assert session.get(simulator.url + PATH, timeout=30).status_code == 200
        simulator.end_sessions()
        assert session.get(simulator.url + PATH, timeout=30).status_code == 200
    assert_both_tokens_were_renewed(simulator)


@pytest.mark.parametrize("status", [401, 400])
def test_rejection_that_is_retried_never_reaches_the_auth_object(
    retrying: Any, simulator: ThingspaceSimulator, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr(retrying, "TRANSIENT", (*retrying.TRANSIENT, status))
    with retrying.session_that_retries() as session:
        session.get(simulator.url + PATH, timeout=30)
        (simulator.revoke if status == 401 else simulator.end_sessions)()
        simulator.clear()
        for _ in range(2):
            with pytest.raises(retrying.requests.exceptions.RetryError, match=f"many {status}"):
                session.get(simulator.url + PATH, timeout=30)
    assert [request.status for request in simulator.requests] == [status] * 8
    assert len(simulator.issued_tokens) == len(simulator.issued_sessions) == 1


# tenacity.


@pytest.fixture
def tenacious(simulator: ThingspaceSimulator, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The recipe, whose retries do not pause."""
    module = recipe("tenacity_retry")
    monkeypatch.setattr(module.list_devices.retry, "sleep", lambda seconds: None)
    return module


@pytest.fixture
def session(tenacious: Any) -> Iterator[Any]:
    with tenacious.requests.Session() as session:
        session.auth = tenacious.ThingspaceAuth.from_environment()
        yield session


def test_failing_api_is_tried_again_by_tenacity(
    tenacious: Any, session: Any, simulator: ThingspaceSimulator
) -> None:
    simulator.fail("api", 503, times=3)
    assert tenacious.list_devices(session)["path"] == PATH
    assert [request.status for request in simulator.api_requests] == [503, 503, 503, 200]
    assert len(simulator.token_requests) == len(simulator.login_requests) == 1


def test_refusals_are_not_tried_again(
    tenacious: Any, session: Any, simulator: ThingspaceSimulator
) -> None:
    simulator.fail("token", 401, body={"error": "invalid_client"}, times=None)
    with pytest.raises(OauthProviderError):
        tenacious.list_devices(session)
    assert len(simulator.requests) == 1


@pytest.mark.parametrize("is_careful", [True, False], ids=["recipe", "retry of everything"])
def test_refused_login_is_not_repeated_by_tenacity(
    tenacious: Any, session: Any, simulator: ThingspaceSimulator, is_careful: bool
) -> None:
    simulator.password = "changed"
    tries: list[int] = []
    options: dict[str, Any] = {"before": lambda state: tries.append(state.attempt_number)}
    if not is_careful:
        error = tenacious.requests.RequestException
        options["retry"] = importlib.import_module("tenacity").retry_if_exception_type(error)
    with pytest.raises(M2mLoginError):
        tenacious.list_devices.retry_with(sleep=lambda seconds: None, **options)(session)
    assert tries == ([1] if is_careful else [1, 2, 3, 4])
    assert simulator.failed_logins == len(simulator.login_requests) == 1


@pytest.fixture
def caching(simulator: ThingspaceSimulator, tmp_path: Path) -> Any:
    module = recipe("requests_cache_session")
    module.path = tmp_path / "cache.sqlite"
    return module


def test_cold_object_that_is_pickled_into_each_task_costs_a_request_each(
    simulator: ThingspaceSimulator,
) -> None:
    requests = pytest.importorskip("requests")
    adapter = importlib.import_module("thingspace_auth_adapters.requests")
    simulator.sessions_required = False
    cold = pickle.dumps(adapter.ThingspaceAuth.from_environment(m2m=None))
    for _ in range(3):
        requests.get(simulator.url + PATH, auth=pickle.loads(cold), timeout=30)
    assert len(simulator.token_requests) == 3
    warm = adapter.ThingspaceAuth.from_environment(m2m=None)
    requests.get(simulator.url + PATH, auth=warm, timeout=30)
    for _ in range(3):
        requests.get(simulator.url + PATH, auth=pickle.loads(pickle.dumps(warm)), timeout=30)
    assert len(simulator.token_requests) == 4


@pytest.mark.parametrize(("trusts_the_environment", "status"), [(True, 401), (False, 200)])
def test_netrc_beats_an_auth_object_on_redirects(
    simulator: ThingspaceSimulator,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    trusts_the_environment: bool,
    status: int,
) -> None:
    requests = pytest.importorskip("requests")
    adapter = importlib.import_module("thingspace_auth_adapters.requests")
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login user password other\n", encoding="utf-8")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with requests.Session() as session:
        session.auth = adapter.ThingspaceAuth.from_environment()
        session.trust_env = trusts_the_environment
        url = f"{simulator.url}{PATH}?redirect={PATH}/other"
        assert session.get(url, timeout=30).status_code == status
    sent = [one.headers["authorization"].partition(" ")[0] for one in simulator.api_requests]
    assert sent == ["Bearer", "Bearer" if status == 200 else "Basic"]


# requests-cache.


def test_cached_answer_needs_no_token(caching: Any, simulator: ThingspaceSimulator) -> None:
    with caching.session_with_cache(caching.path) as session:
        assert not session.get(simulator.url + PATH, timeout=30).from_cache
        assert session.get(simulator.url + PATH, timeout=30).from_cache
    assert len(simulator.requests) == 3
    simulator.close()
    with caching.session_with_cache(caching.path) as session:
        assert session.get(simulator.url + PATH, timeout=30).from_cache


def test_cache_holds_no_token(caching: Any, simulator: ThingspaceSimulator) -> None:
    with caching.session_with_cache(caching.path) as session:
        session.get(simulator.url + PATH, timeout=30)
        simulator.revoke()
        session.get(f"{simulator.url}{PATH}/renewed", timeout=30)
        simulator.end_sessions()
        session.get(f"{simulator.url}{PATH}?redirect={PATH}", timeout=30)
    assert len(simulator.issued_tokens) == len(simulator.issued_sessions) == 2
    content = caching.path.read_bytes()
    assert PATH.encode() in content
    assert leaks(simulator, content.decode("latin-1")) == []


def test_auth_of_a_cached_session_acquires_a_token_before_the_cache_is_asked(
    caching: Any, simulator: ThingspaceSimulator
) -> None:
    with caching.CachedSession(backend="memory") as session:
        session.auth = caching.ThingspaceAuth.from_environment()
        session.get(simulator.url + PATH, timeout=30)
        session.auth.oauth_token = None
        assert session.get(simulator.url + PATH, timeout=30).from_cache
    assert len(simulator.api_requests) == 1
    assert len(simulator.token_requests) == 2


# vcrpy.

VCRPY_FOR = {"httpx": "8.0", "httpx2": "9.0"}


@pytest.fixture(params=["requests", "httpx", "httpx2"])
def library(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    pytest.importorskip(name)
    return name


def renewed_on_the_way(library: str, simulator: ThingspaceSimulator) -> list[int]:
    """The statuses of three requests, while first the bearer and then the session is lost."""
    client = importlib.import_module(library)
    auth = importlib.import_module(f"thingspace_auth_adapters.{library}")
    ours = auth.ThingspaceAuth.from_environment()
    statuses = []
    for lose in (simulator.revoke, simulator.end_sessions, simulator.clear):
        statuses.append(client.get(simulator.url + PATH, auth=ours, timeout=30).status_code)
        lose()
    return statuses


def told_by(cassette: Path) -> str:
    """A cassette's text, and what YAML has encoded in it."""
    text = cassette.read_text(encoding="utf-8")
    blocks = re.findall(r"!!binary \|\n((?: +[\w+/=]+\n)+)", text)
    return text + "".join(base64.b64decode(block).decode("latin-1") for block in blocks)


def test_cassette_replays_renewals_without_a_server_and_holds_no_secret(
    library: str, simulator: ThingspaceSimulator, tmp_path: Path
) -> None:
    module, cassette = recipe("vcr_cassette"), tmp_path / "cassette.yaml"
    if library != "requests":
        pytest.importorskip("vcr", minversion=VCRPY_FOR[library])
    with module.RECORDER.use_cassette(str(cassette)):
        assert renewed_on_the_way(library, simulator) == [200] * 3
    assert len(simulator.issued_tokens) == len(simulator.issued_sessions) == 2
    assert leaks(simulator, told_by(cassette)) == []
    simulator.close()
    with module.RECORDER.use_cassette(str(cassette), record_mode="none") as replayed:
        assert renewed_on_the_way(library, simulator) == [200] * 3
    assert replayed.all_played


def test_vcrpys_own_filter_of_fields_hides_the_password_of_a_login(
    simulator: ThingspaceSimulator, tmp_path: Path
) -> None:
    vcr, cassette = pytest.importorskip("vcr", minversion="9.4"), tmp_path / "cassette.yaml"
    pytest.importorskip("requests")
    with vcr.use_cassette(str(cassette), filter_post_data_parameters=["password"]):
        renewed_on_the_way("requests", simulator)
    assert simulator.username in told_by(cassette)
    assert simulator.password not in told_by(cassette)


# httpx clients that raise.


def test_raising_event_hook_keeps_the_401_from_the_auth_object(
    simulator: ThingspaceSimulator,
) -> None:
    module = recipe("httpx_raise_for_status")
    hooks = {"response": [lambda response: response.raise_for_status()]}
    auth = module.ThingspaceAuth.from_environment()
    with module.httpx.Client(base_url=simulator.url, auth=auth, event_hooks=hooks) as client:
        assert client.get(PATH).status_code == 200
        simulator.revoke()
        for _ in range(2):
            with pytest.raises(module.httpx.HTTPStatusError, match="401"):
                client.get(PATH)
    assert len(simulator.token_requests) == 1


def test_raising_client_raises_after_the_auth_object_has_renewed(
    simulator: ThingspaceSimulator,
) -> None:
    module = recipe("httpx_raise_for_status")
    auth = module.ThingspaceAuth.from_environment()
    with module.RaisingClient(base_url=simulator.url, auth=auth) as client:
        client.get(PATH)
        simulator.revoke()
        client.get(PATH)
        simulator.end_sessions()
        client.get(PATH)
        assert_both_tokens_were_renewed(simulator)
        with pytest.raises(module.httpx.HTTPStatusError, match="503"):
            client.get(PATH, params={"status": 503})
        with pytest.raises(module.httpx.HTTPStatusError, match="404"):
            client.stream("GET", PATH, params={"status": 404}).__enter__()


def test_asynchronous_raising_client_raises_after_the_auth_object_has_renewed(
    simulator: ThingspaceSimulator,
) -> None:
    module = recipe("httpx_raise_for_status")

    async def requests() -> None:
        auth = module.ThingspaceAuth.from_environment()
        async with module.AsyncRaisingClient(base_url=simulator.url, auth=auth) as client:
            await client.get(PATH)
            simulator.revoke()
            await client.get(PATH)
            simulator.end_sessions()
            await client.get(PATH)
            assert_both_tokens_were_renewed(simulator)
            with pytest.raises(module.httpx.HTTPStatusError, match="503"):
                await client.get(PATH, params={"status": 503})

    asyncio.run(requests())


def test_raising_hook_of_requests_comes_after_the_auth_object(
    simulator: ThingspaceSimulator,
) -> None:
    requests = pytest.importorskip("requests")
    adapter = importlib.import_module("thingspace_auth_adapters.requests")
    with requests.Session() as session:
        session.auth = adapter.ThingspaceAuth.from_environment()
        session.hooks["response"].append(lambda response, **_: response.raise_for_status())
        session.get(simulator.url + PATH, timeout=30)
        simulator.revoke()
        session.get(simulator.url + PATH, timeout=30)
        simulator.end_sessions()
        session.get(simulator.url + PATH, timeout=30)
        assert_both_tokens_were_renewed(simulator)
        with pytest.raises(requests.HTTPError, match="503"):
            session.get(simulator.url + PATH, params={"status": 503}, timeout=30)


# Mocks.


def test_respx_mocks_the_token_endpoint() -> None:
    recipe("testing_with_respx").test_my_code_survives_a_rejected_token()


def test_pytest_httpx_mocks_the_token_endpoint(request: pytest.FixtureRequest) -> None:
    module = recipe("testing_with_pytest_httpx")
    module.test_my_code_survives_a_rejected_token(request.getfixturevalue("httpx_mock"))


# OpenTelemetry.


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The spans so far, with every header captured, but for what the page has hidden."""
    module = recipe("opentelemetry_tracing")
    export = importlib.import_module("opentelemetry.sdk.trace.export")
    memory = importlib.import_module(f"{export.__name__}.in_memory_span_exporter")
    (hidden,) = re.findall(r"^export (\w+SANITIZE_FIELDS)=(\S+)$", PAGE, re.MULTILINE)
    monkeypatch.setenv(*hidden)
    for kind in ("REQUEST", "RESPONSE"):
        monkeypatch.setenv(f"OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_CLIENT_{kind}", ".*")
    exporter = memory.InMemorySpanExporter()
    provider = module.TracerProvider()
    provider.add_span_processor(export.SimpleSpanProcessor(exporter))
    module.instrument(provider)
    yield exporter.get_finished_spans
    module.RequestsInstrumentor().uninstrument()
    module.HTTPXClientInstrumentor().uninstrument()
    provider.shutdown()


TRACED = {
    "requests": ["token", "login", "devices", "devices", "devices"],
    "httpx": [
        *["token", "login", "devices"],
        *["devices", "token", "devices"],
        *["devices", "login", "devices"],
    ],
}


@pytest.mark.parametrize("library", list(TRACED))
def test_spans_tell_of_token_login_and_api_and_hold_no_secret(
    simulator: ThingspaceSimulator, spans: Any, library: str
) -> None:
    assert renewed_on_the_way(library, simulator) == [200] * 3
    urls = [span.attributes["http.url"] for span in spans()]
    assert [url.rpartition("/")[2] for url in urls] == TRACED[library]
    shown = "".join(span.to_json() for span in spans())
    assert "authorization" in shown
    assert leaks(simulator, shown) == []


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


def test_sdks_client_gets_both_tokens_renewed(sdk: Any, simulator: ThingspaceSimulator) -> None:
    with sdk.requests.Session() as session:
        session.auth = sdk.ThingspaceAuth.from_environment()
        callbacks = sdk.client_on(session).connectivity_callbacks
        for lose in (simulator.revoke, simulator.end_sessions, lambda: None):
            callbacks.list_registered_callbacks("0000123456-00001")
            lose()
    assert_both_tokens_were_renewed(simulator)


def test_sdks_callers_see_our_errors(sdk: Any, simulator: ThingspaceSimulator) -> None:
    simulator.password = "changed"
    with sdk.requests.Session() as session:
        session.auth = sdk.ThingspaceAuth.from_environment()
        callbacks = sdk.client_on(session).connectivity_callbacks
        with pytest.raises(M2mLoginError):
            callbacks.list_registered_callbacks("0000123456-00001")


def test_sdks_own_token_is_fetched_and_replaced(sdk: Any, simulator: ThingspaceSimulator) -> None:
    credentials = sdk.ThingspaceOauthCredentials(simulator.client_id, simulator.client_secret)
    with sdk.requests.Session() as session:
        session.auth = sdk.ThingspaceAuth.from_environment()
        client = sdk.VerizonClient(
            http_client_instance=session,
            thingspace_oauth_credentials=credentials,
            vz_m2m_token_credentials=sdk.VZM2mTokenCredentials("replaced"),
        )
        client.connectivity_callbacks.list_registered_callbacks("0000123456-00001")
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
        client = module.client_on(session)
        for lose in (simulator.revoke, simulator.end_sessions, lambda: None):
            client.device_role_controller.get_acl_rules_by_vendor_id("vendor")
            lose()
    assert_both_tokens_were_renewed(simulator)
    assert {one.headers["host"] for one in simulator.api_requests} == {"imp.thingspace.verizon.com"}
    carried = [one.headers["sessiontoken"] for one in simulator.api_requests]
    assert carried[0] == simulator.issued_sessions[0]
    assert carried[-1] == simulator.issued_sessions[-1]


@pytest.fixture
def next_sdk(simulator: ThingspaceSimulator) -> Any:
    """A client of the next generation's SDK, on the simulator, and the recipe's HTTP client."""
    module = recipe("next_sdk")
    http = module.ThingspaceClient(module.ThingspaceAuth.from_environment())
    server = {"thingspace": {"production": {"base_url": f"{simulator.url}/api"}}}
    with module.VerizonClient(custom_http_client=http, server_config=server) as client:
        yield client


@pytest.mark.once
def test_next_sdk_gets_both_tokens_renewed(next_sdk: Any, simulator: ThingspaceSimulator) -> None:
    callbacks = next_sdk.connectivity_callbacks.with_raw_response
    for lose in (simulator.revoke, simulator.end_sessions, lambda: None):
        with suppress(ValueError):
            # The simulator's answer is none of its models.
            callbacks.list_registered_callbacks("0000123456-00001")
        lose()
    assert_both_tokens_were_renewed(simulator)
    simulator.revoke()
    simulator.end_sessions()
    simulator.clear()
    with suppress(ValueError):
        callbacks.list_registered_callbacks("0000123456-00001")
    assert [request.status for request in simulator.api_requests] == [401, 400, 200]


@pytest.mark.once
def test_next_sdks_callers_see_our_errors(next_sdk: Any, simulator: ThingspaceSimulator) -> None:
    simulator.password = "changed"
    with pytest.raises(M2mLoginError):
        next_sdk.connectivity_callbacks.list_registered_callbacks("0000123456-00001")
    assert simulator.failed_logins == 1


@pytest.mark.once
def test_next_sdks_own_errors_stay(next_sdk: Any, simulator: ThingspaceSimulator) -> None:
    errors = importlib.import_module("verizon.core")
    simulator.fail("api", 404)
    with pytest.raises(errors.ApiError):
        next_sdk.connectivity_callbacks.list_registered_callbacks("0000123456-00001")
    simulator.end_sessions()
    simulator.password = "changed"
    with pytest.raises(errors.ApiError):
        next_sdk.connectivity_callbacks.list_registered_callbacks("0000123456-00001")
    assert simulator.failed_logins == 1


# Airflow.


@pytest.fixture
def airflow(simulator: ThingspaceSimulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The recipe, and Airflow's connection to the simulator."""
    at_home_in(tmp_path, monkeypatch)
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    pair = f"{simulator.client_id}:{simulator.client_secret}"
    monkeypatch.setenv("AIRFLOW_CONN_THINGSPACE", simulator.url.replace("//", f"//{pair}@"))
    return recipe("airflow_http")


@pytest.mark.once
# Airflow warns of itself.
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
    monkeypatch.syspath_prepend(str(DOCS.parent / "examples"))
    return recipe("pandas_fsspec")


@pytest.mark.once
@pytest.mark.filterwarnings("ignore")
def test_pandas_and_fsspec_get_both_tokens_renewed(
    tables: Any, simulator: ThingspaceSimulator
) -> None:
    assert tables.table(PATH).loc["path", "value"] == PATH
    files = tables.filesystem()
    for lose in (simulator.revoke, simulator.end_sessions, lambda: None):
        assert json.loads(files.cat_file(simulator.url + PATH))["path"] == PATH
        lose()
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


# Credentials.


@pytest.mark.once
def test_keyring_has_the_secret_and_the_password(
    simulator: ThingspaceSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = recipe("keyring_credentials")
    kept = {
        ("thingspace", simulator.client_id): simulator.client_secret,
        ("thingspace-m2m", simulator.username): simulator.password,
    }
    monkeypatch.setattr(module.keyring, "get_password", lambda *asked: kept.get(asked))
    auth = module.auth_for(simulator.client_id, simulator.username)
    assert module.requests.get(simulator.url + PATH, auth=auth, timeout=30).status_code == 200
    with pytest.raises(SystemExit, match="keyring set thingspace another"):
        module.auth_for("another", simulator.username)


@pytest.fixture
def password(simulator: ThingspaceSimulator) -> Any:
    """The recipe, and a platform that makes a new password."""
    module = recipe("change_password")
    simulator.fail("api", 200, body={"newPassword": "made by ThingSpace"})
    return module


def test_password_is_changed_kept_and_used(password: Any, simulator: ThingspaceSimulator) -> None:
    auth = password.ThingspaceAuth.from_environment()
    kept: list[str] = []
    old = simulator.password
    password.change_password(auth, simulator.username, old, kept.append)
    asked = simulator.api_requests[0]
    assert (asked.method, asked.path) == ("PUT", "/api/m2m/v1/session/password/actions/reset")
    assert json.loads(asked.body) == {"oldPassword": old}
    assert kept == ["made by ThingSpace"]
    simulator.password = kept[0]
    simulator.end_sessions()
    assert password.requests.get(simulator.url + PATH, auth=auth, timeout=30).status_code == 200
    assert simulator.failed_logins == 0


def test_new_password_is_tried_although_the_old_one_was_refused(
    password: Any, simulator: ThingspaceSimulator
) -> None:
    simulator.recover()
    auth = password.ThingspaceAuth.from_environment()
    simulator.password = "changed elsewhere"
    for _ in range(3):
        with pytest.raises(M2mLoginError):
            password.requests.get(simulator.url + PATH, auth=auth, timeout=30)
    assert simulator.failed_logins == 1
    auth.m2m = VzM2mCredentials(simulator.username, "changed elsewhere")
    assert password.requests.get(simulator.url + PATH, auth=auth, timeout=30).status_code == 200


# A company's network.


def test_requests_settings_of_the_session_hold_for_the_endpoints(
    simulator: ThingspaceSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, used = recipe("company_network"), []
    # In requests they beat what is set on the session.
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)

    class Adapter(module.requests.adapters.HTTPAdapter):  # type: ignore[name-defined,misc]
        def send(self, request: Any, **options: Any) -> Any:
            used.append((request.url, options["proxies"].get("https"), options["verify"]))
            return super().send(request, **options)

    with module.requests_session("http://127.0.0.1:9", "/no/such.pem") as session:
        session.mount("http://", Adapter())
        session.get(simulator.url + PATH, timeout=30)
        session.get(simulator.url + PATH, timeout=30, verify=False, proxies={"https": "http://x"})
    paths = [url.rpartition("/")[2] for url, _, _ in used]
    assert paths == ["token", "login", "devices", "devices"]
    assert {one[1:] for one in used[:3]} == {("http://127.0.0.1:9", "/no/such.pem")}
    assert used[3][1:] == ("http://x", False)


@pytest.fixture
def proxied(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, list[str]]]:
    """A proxy that refuses, and what it was asked for."""
    asked: list[str] = []

    class Refusing(BaseHTTPRequestHandler):
        def do_CONNECT(self) -> None:
            asked.append(self.path)
            self.send_error(403)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    for name in ("ID", "SECRET"):
        monkeypatch.setenv(f"THINGSPACE_OAUTH_OAUTH_CLIENT_{name}", name)
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
        server.shutdown()


def test_httpx_settings_hold_for_the_endpoints(proxied: tuple[str, list[str]]) -> None:
    pytest.importorskip("httpx", minversion="0.26")  # the first with proxy=
    module, (proxy, asked) = recipe("company_network"), proxied
    with module.httpx_client(proxy, module.ssl.create_default_context()) as client:
        with pytest.raises(module.httpx.ProxyError, match="token endpoint"):
            client.get(f"https://thingspace.verizon.com{PATH}")
        with pytest.raises(module.httpx.ProxyError):
            client.get(f"https://5gedge.verizon.com{PATH}", auth=None)
    assert asked == ["thingspace.verizon.com:443", "5gedge.verizon.com:443"]


# urllib.


def test_urllib_posts_and_gets_both_tokens_renewed(simulator: ThingspaceSimulator) -> None:
    module = recipe("urllib_post")
    auth = module.ThingspaceAuth.from_environment()
    for lose in (simulator.revoke, simulator.end_sessions, lambda: None):
        assert module.post(auth, PATH, {"a": 1})["body_length"] == 8
        lose()
    assert_both_tokens_were_renewed(simulator)
    simulator.revoke()
    simulator.end_sessions()
    simulator.clear()
    assert module.post(auth, PATH, {"a": 1})["method"] == "POST"
    assert [request.status for request in simulator.api_requests] == [401, 400, 200]


@pytest.mark.parametrize("query", ["status=503", "redirect=/api/other"])
def test_urllib_raises_what_is_no_rejection_and_follows_no_redirect(
    simulator: ThingspaceSimulator, query: str
) -> None:
    module = recipe("urllib_post")
    auth = module.ThingspaceAuth.from_environment()
    with pytest.raises(HTTPError) as raised:
        module.post(auth, f"{PATH}?{query}", {})
    raised.value.close()
    assert len(simulator.api_requests) == 1


# Libraries that choose between httpx and httpx2.


@pytest.mark.once
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("starlette.testclient", "TestClient"),
        ("authlib.integrations.httpx_client", "OAuth2Client"),
    ],
)
def test_httpx2_is_used_as_soon_as_it_is_there(module: str, name: str) -> None:
    httpx2 = pytest.importorskip("httpx2")
    assert issubclass(getattr(pytest.importorskip(module), name), httpx2.Client)
