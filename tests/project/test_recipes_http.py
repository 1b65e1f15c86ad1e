"""The recipes for HTTP libraries and what goes with them do what their page says."""

from __future__ import annotations

import asyncio
import base64
import importlib
import json
import pickle
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest

from thingspace_auth_adapters import M2mLoginError, OauthProviderError, VzM2mCredentials
from thingspace_auth_adapters.simulator import ThingspaceSimulator

from ..support.recipes import (
    PATH,
    assert_both_tokens_are_renewed,
    assert_both_tokens_were_renewed,
    between_losses,
    leaks,
    recipe,
)
from ..support.snippets import DOCS, ROOT

PAGE = (DOCS / "recipes.md").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def simulator(simulator: ThingspaceSimulator) -> ThingspaceSimulator:
    """Every request needs both tokens."""
    simulator.sessions_required = True
    return simulator


@pytest.fixture
def url(simulator: ThingspaceSimulator) -> str:
    return simulator.url + PATH


@pytest.fixture
def requests() -> Any:
    return pytest.importorskip("requests")


@pytest.fixture
def session(requests: Any) -> Iterator[Any]:
    """A requests session with an auth object of the environment."""
    adapter = importlib.import_module("thingspace_auth_adapters.requests")
    with requests.Session() as session:
        session.auth = adapter.ThingspaceAuth.from_environment()
        yield session


def statuses(simulator: ThingspaceSimulator) -> list[int | None]:
    return [request.status for request in simulator.api_requests]


def test_every_recipe_is_on_the_page_and_tested() -> None:
    scripts = {path.stem for path in (DOCS / "recipes").glob("*.py")}
    assert set(re.findall(r"<!-- file: docs/recipes/(\w+)\.py -->", PAGE)) == scripts
    files = Path(__file__).parent.glob("test_recipes_*.py")
    tests = "".join(path.read_text(encoding="utf-8") for path in files)
    assert set(re.findall(r'recipe\("(\w+)"\)', tests)) == scripts


def test_every_example_on_the_page_is_there() -> None:
    names = re.findall(r"<!-- file: (examples/\w+\.py) -->", PAGE)
    assert names
    assert [name for name in names if not (ROOT / name).is_file()] == []


# urllib3's Retry.


@pytest.fixture
def retrying(simulator: ThingspaceSimulator, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The recipe, whose retries do not pause."""
    module = recipe("urllib3_retry")
    monkeypatch.setattr(module.Retry, "sleep", lambda retry, response=None: None)
    return module


def test_urllib3_tries_a_failing_api_again_and_rejected_tokens_are_renewed_beside_it(
    retrying: Any, simulator: ThingspaceSimulator, url: str
) -> None:
    with retrying.session_that_retries() as session:
        assert_both_tokens_are_renewed(simulator, lambda: session.get(url, timeout=30))
        simulator.clear()
        simulator.fail("api", 503, times=2)
        assert session.get(url, timeout=30).status_code == 200
    assert [request.status for request in simulator.requests] == [503, 503, 200]


@pytest.mark.parametrize("status", [401, 400])
def test_rejection_that_is_retried_never_reaches_the_auth_object(
    retrying: Any,
    simulator: ThingspaceSimulator,
    url: str,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
) -> None:
    monkeypatch.setattr(retrying, "TRANSIENT", (*retrying.TRANSIENT, status))
    with retrying.session_that_retries() as session:
        session.get(url, timeout=30)
        (simulator.revoke if status == 401 else simulator.end_sessions)()
        simulator.clear()
        for _ in range(2):
            with pytest.raises(retrying.requests.exceptions.RetryError, match=f"many {status}"):
                session.get(url, timeout=30)
    assert [request.status for request in simulator.requests] == [status] * 8
    assert len(simulator.issued_tokens) == len(simulator.issued_sessions) == 1


# tenacity.


@pytest.fixture
def tenacious(simulator: ThingspaceSimulator, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The recipe, whose retries do not pause."""
    module = recipe("tenacity_retry")
    monkeypatch.setattr(module.list_devices.retry, "sleep", lambda seconds: None)
    return module


def test_tenacity_tries_a_failing_api_again_and_no_refusal(
    tenacious: Any, session: Any, simulator: ThingspaceSimulator
) -> None:
    simulator.fail("api", 503, times=3)
    assert tenacious.list_devices(session)["path"] == PATH
    assert statuses(simulator) == [503, 503, 503, 200]
    assert len(simulator.token_requests) == len(simulator.login_requests) == 1
    simulator.clear()
    simulator.fail("token", 401, body={"error": "invalid_client"}, times=None)
    session.auth.oauth_token = None
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


# requests: pickles, netrc, hooks.


def test_cold_object_that_is_pickled_into_each_task_costs_a_request_each(
    requests: Any, session: Any, simulator: ThingspaceSimulator, url: str
) -> None:
    def send(pickled: bytes) -> None:
        requests.get(url, auth=pickle.loads(pickled), timeout=30)

    cold = pickle.dumps(session.auth)
    for _ in range(3):
        send(cold)
    assert len(simulator.token_requests) == 3
    session.get(url, timeout=30)
    for _ in range(3):
        send(pickle.dumps(session.auth))
    assert len(simulator.token_requests) == 4


@pytest.mark.parametrize(("trusts_the_environment", "status"), [(True, 401), (False, 200)])
def test_netrc_beats_an_auth_object_on_redirects(
    session: Any,
    simulator: ThingspaceSimulator,
    url: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    trusts_the_environment: bool,
    status: int,
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login user password other\n", encoding="utf-8")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    session.trust_env = trusts_the_environment
    assert session.get(f"{url}?redirect={PATH}/other", timeout=30).status_code == status
    sent = [one.headers["authorization"].partition(" ")[0] for one in simulator.api_requests]
    assert sent == ["Bearer", "Bearer" if status == 200 else "Basic"]


def test_raising_hook_of_requests_comes_after_the_auth_object(
    requests: Any, session: Any, simulator: ThingspaceSimulator, url: str
) -> None:
    session.hooks["response"].append(lambda response, **_: response.raise_for_status())
    assert_both_tokens_are_renewed(simulator, lambda: session.get(url, timeout=30))
    with pytest.raises(requests.HTTPError, match="503"):
        session.get(url, params={"status": 503}, timeout=30)


# requests-cache.


@pytest.fixture
def caching(simulator: ThingspaceSimulator, tmp_path: Path) -> Any:
    module = recipe("requests_cache_session")
    module.path = tmp_path / "cache.sqlite"
    return module


def test_cached_answer_needs_no_token(
    caching: Any, simulator: ThingspaceSimulator, url: str
) -> None:
    with caching.session_with_cache(caching.path) as session:
        assert not session.get(url, timeout=30).from_cache
        assert session.get(url, timeout=30).from_cache
    assert len(simulator.requests) == 3
    simulator.close()
    with caching.session_with_cache(caching.path) as session:
        assert session.get(url, timeout=30).from_cache


def test_cache_holds_no_token(caching: Any, simulator: ThingspaceSimulator, url: str) -> None:
    urls = iter([url, f"{url}/renewed", f"{url}?redirect={PATH}"])
    with caching.session_with_cache(caching.path) as session:
        between_losses(simulator, lambda: session.get(next(urls), timeout=30))
    assert len(simulator.issued_tokens) == len(simulator.issued_sessions) == 2
    content = caching.path.read_bytes()
    assert PATH.encode() in content
    assert leaks(simulator, content.decode("latin-1")) == []


def test_auth_of_a_cached_session_acquires_a_token_before_the_cache_is_asked(
    caching: Any, simulator: ThingspaceSimulator, url: str
) -> None:
    with caching.CachedSession(backend="memory") as session:
        session.auth = caching.ThingspaceAuth.from_environment()
        session.get(url, timeout=30)
        session.auth.oauth_token = None
        assert session.get(url, timeout=30).from_cache
    assert len(simulator.api_requests) == 1
    assert len(simulator.token_requests) == 2


# vcrpy.

VCRPY_FOR = {"httpx": "8.0", "httpx2": "9.0"}


def renewed_on_the_way(library: str, simulator: ThingspaceSimulator) -> list[int]:
    """The statuses of three requests, while first the bearer and then the session is lost."""
    client = importlib.import_module(library)
    adapter = importlib.import_module(f"thingspace_auth_adapters.{library}")
    auth, url = adapter.ThingspaceAuth.from_environment(), simulator.url + PATH
    return between_losses(simulator, lambda: client.get(url, auth=auth, timeout=30).status_code)


def told_by(cassette: Path) -> str:
    """A cassette's text, and what YAML has encoded in it."""
    text = cassette.read_text(encoding="utf-8")
    blocks = re.findall(r"!!binary \|\n((?: +[\w+/=]+\n)+)", text)
    return text + "".join(base64.b64decode(block).decode("latin-1") for block in blocks)


@pytest.mark.parametrize("library", ["requests", "httpx", "httpx2"])
def test_cassette_replays_renewals_without_a_server_and_holds_no_secret(
    library: str, simulator: ThingspaceSimulator, tmp_path: Path
) -> None:
    pytest.importorskip(library)
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
    requests: Any, simulator: ThingspaceSimulator, tmp_path: Path
) -> None:
    vcr, cassette = pytest.importorskip("vcr", minversion="9.4"), tmp_path / "cassette.yaml"
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
        assert_both_tokens_are_renewed(simulator, lambda: client.get(PATH))
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
            for lose in (simulator.revoke, simulator.end_sessions, bool):
                await client.get(PATH)
                lose()
            assert_both_tokens_were_renewed(simulator)
            with pytest.raises(module.httpx.HTTPStatusError, match="503"):
                await client.get(PATH, params={"status": 503})

    asyncio.run(requests())


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
    "requests": "token login devices devices devices",
    "httpx": "token login devices devices token devices devices login devices",
}


@pytest.mark.parametrize("library", list(TRACED))
def test_spans_tell_of_token_login_and_api_and_hold_no_secret(
    simulator: ThingspaceSimulator, spans: Any, library: str
) -> None:
    assert renewed_on_the_way(library, simulator) == [200] * 3
    urls = [span.attributes["http.url"] for span in spans()]
    assert " ".join(url.rpartition("/")[2] for url in urls) == TRACED[library]
    shown = "".join(span.to_json() for span in spans())
    assert "authorization" in shown
    assert leaks(simulator, shown) == []


# Credentials.


@pytest.mark.once
def test_keyring_has_the_secret_and_the_password(
    simulator: ThingspaceSimulator, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = recipe("keyring_credentials")
    kept = {
        ("thingspace", simulator.client_id): simulator.client_secret,
        ("thingspace-m2m", simulator.username): simulator.password,
    }
    monkeypatch.setattr(module.keyring, "get_password", lambda *asked: kept.get(asked))
    auth = module.auth_for(simulator.client_id, simulator.username)
    assert module.requests.get(url, auth=auth, timeout=30).status_code == 200
    with pytest.raises(SystemExit, match="keyring set thingspace another"):
        module.auth_for("another", simulator.username)


def test_password_is_changed_kept_and_used(simulator: ThingspaceSimulator, url: str) -> None:
    module = recipe("change_password")
    simulator.fail("api", 200, body={"newPassword": "made by ThingSpace"})
    auth, old = module.ThingspaceAuth.from_environment(), simulator.password
    kept: list[str] = []
    module.change_password(auth, simulator.username, old, kept.append)
    asked = simulator.api_requests[0]
    assert (asked.method, asked.path) == ("PUT", "/api/m2m/v1/session/password/actions/reset")
    assert json.loads(asked.body) == {"oldPassword": old}
    assert kept == ["made by ThingSpace"]
    simulator.password = kept[0]
    simulator.end_sessions()
    assert module.requests.get(url, auth=auth, timeout=30).status_code == 200
    assert simulator.failed_logins == 0


def test_new_password_is_tried_although_the_old_one_was_refused(
    session: Any, simulator: ThingspaceSimulator, url: str
) -> None:
    simulator.password = "changed elsewhere"
    for _ in range(3):
        with pytest.raises(M2mLoginError):
            session.get(url, timeout=30)
    assert simulator.failed_logins == 1
    session.auth.m2m = VzM2mCredentials(simulator.username, "changed elsewhere")
    assert session.get(url, timeout=30).status_code == 200


# A company's network.


def test_requests_settings_of_the_session_hold_for_the_endpoints(
    url: str, monkeypatch: pytest.MonkeyPatch
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
        session.get(url, timeout=30)
        session.get(url, timeout=30, verify=False, proxies={"https": "http://x"})
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

    monkeypatch.delenv("THINGSPACE_BASE_URL")
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
        server.shutdown()


def test_httpx_settings_hold_for_the_endpoints(
    simulator: ThingspaceSimulator, proxied: tuple[str, list[str]]
) -> None:
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
    lengths = between_losses(simulator, lambda: module.post(auth, PATH, {"a": 1})["body_length"])
    assert lengths == [8] * 3
    assert_both_tokens_were_renewed(simulator)
    simulator.revoke()
    simulator.end_sessions()
    simulator.clear()
    assert module.post(auth, PATH, {"a": 1})["method"] == "POST"
    assert statuses(simulator) == [401, 400, 200]


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
