"""The recipes of the documentation do what its page says, each where its libraries are there."""

from __future__ import annotations

import asyncio
import base64
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from thingspace_auth_adapters import M2mLoginError, OauthProviderError
from thingspace_auth_adapters.simulator import ThingspaceSimulator

DOCS = Path(__file__).parent.parent / "docs"
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


# requests-cache.


@pytest.fixture
def caching(simulator: ThingspaceSimulator, tmp_path: Path) -> Any:
    module = recipe("requests_cache_session")
    module.path = tmp_path / "cache.sqlite"
    return module


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
