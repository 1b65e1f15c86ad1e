"""What only requests can show."""

from __future__ import annotations

import gzip
import io
import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

requests = pytest.importorskip("requests")
requests_mock = pytest.importorskip("requests_mock")

import urllib3  # noqa: E402
from requests.adapters import HTTPAdapter  # noqa: E402

from thingspace_auth_adapters import InvalidTokenResponseError  # noqa: E402
from thingspace_auth_adapters import ThingspaceAuth as TopLevelThingspaceAuth  # noqa: E402
from thingspace_auth_adapters.requests import ThingspaceAuth  # noqa: E402
from thingspace_auth_adapters.simulator import ThingspaceSimulator  # noqa: E402

from ..support.kinds import IDENTITY, INSTALLED, requests_adapter  # noqa: E402
from ..support.real import options_for  # noqa: E402
from ..support.virtual import (  # noqa: E402
    API,
    BASE,
    GATEWAY_REFUSAL,
    Answer,
    Platform,
    VirtualClock,
    refusal,
)

KIND = next(kind for kind in INSTALLED if kind.is_requests)
TOKEN_URL = BASE + "/api/ts/v1/oauth2/token"


@pytest.fixture
def session(platform: Platform) -> Any:
    session = KIND.session(platform)
    session.auth = KIND.auth(platform)
    return session


@pytest.fixture
def simulator() -> Iterator[ThingspaceSimulator]:
    with ThingspaceSimulator() as running:
        yield running


def test_top_level_name_is_this_adapter() -> None:
    assert TopLevelThingspaceAuth is ThingspaceAuth
    assert issubclass(ThingspaceAuth, requests.auth.AuthBase)


def test_works_with_requests_mock_alone() -> None:
    with requests_mock.Mocker() as mocker:
        mocker.post(TOKEN_URL, json={"access_token": "x", "expires_in": 3600})
        mocker.get(API, text="served")
        assert requests.get(API, auth=ThingspaceAuth(**IDENTITY), timeout=5).text == "served"
        assert mocker.last_request.headers["Authorization"] == "Bearer x"


# The session that calls the token endpoint.


def test_given_session_lends_its_transport_and_nothing_else(platform: Platform) -> None:
    called: list[Any] = []

    class Adapter(HTTPAdapter):
        def send(self, request: Any, **kwargs: Any) -> Any:  # type: ignore[override]
            called.append((request, kwargs))
            return requests_adapter(platform).send(request, **kwargs)

    given = requests.Session()
    given.trust_env = False
    given.mount("https://", Adapter())
    given.proxies = {"https": "http://proxy.example:3128"}
    given.verify = "/etc/company.pem"
    given.cert = "/etc/client.pem"
    given.auth = ("other", "auth")
    given.headers["X-Spy"] = "1"
    given.cookies.set("spy", "1", domain="thingspace.verizon.com")
    given.params = {"spy": "1"}
    given.hooks["response"] = [lambda response, **kwargs: pytest.fail("hook was called")]
    answer = platform.new_token()
    answer.headers["Set-Cookie"] = "tracking=1; Path=/"
    platform.tokens = [answer]

    auth = ThingspaceAuth(**IDENTITY, session=given, timeout=12)
    assert auth.fetch_token().access_token == "token-1"
    ((request, kwargs),) = called
    assert request.url == TOKEN_URL
    assert request.headers["Authorization"].startswith("Basic dGhlLWtleTp")
    assert "X-Spy" not in request.headers
    assert "Cookie" not in request.headers
    assert kwargs["proxies"]["https"] == "http://proxy.example:3128"
    assert (kwargs["verify"], kwargs["cert"]) == ("/etc/company.pem", "/etc/client.pem")
    assert kwargs["timeout"] == 12
    assert [cookie.name for cookie in given.cookies] == ["spy"]


def test_netrc_does_not_replace_the_clients_credentials(
    platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine thingspace.verizon.com login other password other\n")
    monkeypatch.setenv("NETRC", str(netrc))
    given = KIND.session(platform)
    given.trust_env = True
    ThingspaceAuth(**IDENTITY, session=given).fetch_token()
    assert (platform.token_calls[0].authorization or "").startswith("Basic dGhlLWtleTp")


def test_environments_proxy_is_not_used_for_loopback(
    simulator: ThingspaceSimulator, monkeypatch: pytest.MonkeyPatch, clock: VirtualClock
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    auth = ThingspaceAuth(**options_for(simulator))
    assert auth.fetch_token().access_token in simulator.issued_tokens
    assert clock.pauses == []


def test_endless_answer_of_the_token_endpoint_is_cut_off(platform: Platform) -> None:
    platform.tokens = [Answer(200, b"x" * 3_000_000)]
    with pytest.raises(InvalidTokenResponseError):
        KIND.auth(platform).fetch_token()


def test_redirect_without_a_sane_location_is_an_invalid_answer(platform: Platform) -> None:
    platform.tokens = [Answer(302, b"", {"Location": "http://[::1"})]
    with pytest.raises(InvalidTokenResponseError, match="302"):
        KIND.auth(platform).fetch_token()


# Bodies.


def test_file_is_rewound_to_where_it_stood(session: Any, platform: Platform) -> None:
    file = io.BytesIO(b"header" + b"body" * 1000)
    file.seek(6)
    platform.api = [refusal()]
    assert session.post(API, data=file).status_code == 200
    assert [call.body for call in platform.api_calls] == [b"body" * 1000] * 2


class Unseekable(io.BytesIO):
    def seek(self, *args: Any) -> int:
        raise OSError("a pipe")


class ClosedMeanwhile(io.BytesIO):
    def read(self, *args: Any) -> bytes:
        data = super().read(*args)
        self.close()
        return data


class Untellable(io.BytesIO):
    def tell(self) -> int:
        raise OSError("a pipe")


@pytest.mark.parametrize("file_type", [Unseekable, ClosedMeanwhile, Untellable])
def test_file_that_cannot_be_rewound_is_not_sent_again(
    session: Any, platform: Platform, file_type: type[io.BytesIO]
) -> None:
    platform.api = [refusal()]
    response = session.post(API, data=file_type(b"body"))
    assert response.status_code == 401
    assert response.json() == GATEWAY_REFUSAL
    session.get(API)
    assert platform.bearers == ["token-1", "token-2"]


# Streams. What has to be judged is read by ``content``, as for digest authentication.


def streamed(session: Any, **kwargs: Any) -> Any:
    return session.post(API, stream=True, **kwargs)


WAYS: dict[str, Any] = {
    "content": lambda response: response.content,
    "text": lambda response: response.text.encode(),
    "iter_content": lambda response: b"".join(response.iter_content(1000)),
    "iter_lines": lambda response: b"\n".join(response.iter_lines()),
}


@pytest.mark.parametrize("way", list(WAYS))
@pytest.mark.parametrize("size", [100, 64 * 1024, 200_000])
def test_streamed_refusal_is_complete_in_every_way_but_raw(
    session: Any, platform: Platform, way: str, size: int
) -> None:
    body = (b"0123456789" * size)[:size]
    platform.api = [Answer(401, body)]
    response = streamed(session)
    assert response.status_code == 401
    assert WAYS[way](response) == body
    assert response.raw.read() == b""


@pytest.mark.parametrize(
    "headers",
    [{"Content-Length": "65537"}, {"Content-Encoding": "br"}, {"Content-Encoding": "gzip, gzip"}],
    ids=["long", "br", "gzip twice"],
)
def test_raw_of_a_streamed_refusal_that_is_not_read_is_whole(
    session: Any, platform: Platform, headers: dict[str, str]
) -> None:
    body = b"z" * 65537
    platform.api = [Answer(401, body, headers)]
    response = streamed(session)
    assert response.raw.read(decode_content=False) == body
    assert len(platform.token_calls) == 2
    assert platform.bearers == ["token-1"]


def test_streamed_compressed_refusal_is_judged_and_complete(
    session: Any, platform: Platform
) -> None:
    body = gzip.compress(json.dumps({"errorCode": "X", "pad": "y" * 30_000}).encode())
    platform.api = [Answer(401, body, {"Content-Encoding": "gzip"})]
    assert streamed(session).json()["errorCode"] == "X"
    assert len(platform.token_calls) == 1


def test_body_of_a_success_is_not_read(session: Any, platform: Platform) -> None:
    platform.api = [Answer(200, b"x" * 1000), Answer(403, b"y" * 1000)]
    for _ in range(2):
        response = streamed(session)
        assert response.raw.tell() == 0
        assert len(response.content) == 1000


@pytest.mark.parametrize("stream", [False, True])
def test_refusal_that_breaks_off_raises(session: Any, stream: bool) -> None:
    class Broken(io.BytesIO):
        def read(self, *args: Any) -> bytes:
            raise urllib3.exceptions.ProtocolError("connection broken")

        read1 = read

    def breaking(request: Any, context: Any = None) -> Any:
        if not request.path.startswith("/api/m2m"):
            return None
        return requests_mock.create_response(request, status_code=401, body=Broken())

    session.get(API + "/warm")
    adapter = requests_mock.Adapter()
    adapter.add_matcher(breaking)
    session.mount(API, adapter)
    with pytest.raises(requests.exceptions.ChunkedEncodingError, match="connection broken"):
        session.post(API, stream=stream)


def test_raw_of_another_make_is_read_by_its_own_means(session: Any, platform: Platform) -> None:
    class Adapter(HTTPAdapter):
        def send(self, request: Any, **kwargs: Any) -> Any:  # type: ignore[override]
            response = requests.Response()
            response.status_code = 401
            response.request = request
            response.url = request.url
            response.raw = io.BytesIO(json.dumps(GATEWAY_REFUSAL).encode())
            return response

    session.mount(API, Adapter())
    response = session.get(API)
    assert (response.status_code, response.json()) == (401, GATEWAY_REFUSAL)
    assert len(platform.token_calls) == 2


def test_real_connection_is_used_again_after_a_repeat(simulator: ThingspaceSimulator) -> None:
    with requests.Session() as session:
        session.trust_env = False
        session.auth = ThingspaceAuth(**options_for(simulator))
        session.get(simulator.url + "/api/m2m/v1/x")
        for stream in (False, True):
            simulator.revoke()
            response = session.get(simulator.url + "/api/m2m/v1/x?bytes=100000", stream=stream)
            assert (response.status_code, len(response.content)) == (200, 100_000)
        pools = session.get_adapter(simulator.url).poolmanager.pools
        (pool,) = pools._container.values()
        assert pool.num_connections == 1


def test_real_large_refusal_is_complete(simulator: ThingspaceSimulator) -> None:
    with requests.Session() as session:
        session.trust_env = False
        session.auth = ThingspaceAuth(**options_for(simulator))
        url = simulator.url + "/api/m2m/v1/x?refuse=large"
        whole = session.get(url)
        streamed = session.get(url, stream=True)
        assert whole.status_code == streamed.status_code == 401
        assert b"".join(streamed.iter_content(999)) == whole.content
        assert len(whole.content) > 150_000


# Prepared requests.


def test_prepared_request_can_be_sent_again_and_recovers_each_time(
    session: Any, platform: Platform
) -> None:
    prepared = session.prepare_request(requests.Request("POST", API, data=b"x"))
    for number in range(1, 4):
        platform.api = [refusal()]
        response = session.send(prepared)
        assert response.status_code == 200
        assert prepared.headers["Authorization"] == f"Bearer token-{number + 1}"
        assert platform.bearers[-1] == f"token-{number + 1}"


def test_old_prepared_request_is_repeated_with_the_current_token(
    session: Any, platform: Platform
) -> None:
    prepared = session.prepare_request(requests.Request("GET", API))
    session.auth.oauth_token = {"access_token": "newer"}
    platform.api = [refusal()]
    assert session.send(prepared).status_code == 200
    assert platform.bearers == ["token-1", "newer"]
    assert len(platform.token_calls) == 1


def test_request_prepared_twice_is_watched_once(session: Any, platform: Platform) -> None:
    prepared = session.prepare_request(requests.Request("GET", API))
    session.auth(prepared)
    assert len(prepared.hooks["response"]) == 1
    platform.api = [refusal(), refusal()]
    assert session.send(prepared).status_code == 401
    assert len(platform.api_calls) == 2


def test_repeat_that_is_not_followed_can_be_followed_by_hand(
    session: Any, platform: Platform
) -> None:
    platform.api = [refusal(), Answer(302, b"", {"Location": "/api/m2m/v1/next"})]
    response = session.get(API, allow_redirects=False)
    assert response.status_code == 302
    followed = session.send(response.next)
    assert followed.status_code == 200
    assert platform.bearers == ["token-1", "token-2", "token-2"]


def test_response_without_a_connection_cannot_be_repeated(session: Any, platform: Platform) -> None:
    class Adapter(HTTPAdapter):
        def send(self, request: Any, **kwargs: Any) -> Any:  # type: ignore[override]
            response = requests_adapter(platform).send(request, **kwargs)
            del response.connection
            return response

    session.mount(API, Adapter())
    platform.api = [refusal()]
    assert session.get(API).status_code == 401
    assert len(platform.token_calls) == 2


def test_repeat_is_timed_and_keeps_its_settings(session: Any, platform: Platform) -> None:
    seen: list[Any] = []

    class Adapter(HTTPAdapter):
        def send(self, request: Any, **kwargs: Any) -> Any:  # type: ignore[override]
            seen.append(kwargs)
            response = requests_adapter(platform).send(request, **kwargs)
            response.connection = self
            return response

    session.mount(API, Adapter())
    platform.api = [refusal()]
    response = session.get(
        API, timeout=(3, 4), verify=False, cert="c.pem", proxies={"https": "http://p:1"}
    )
    assert response.elapsed.total_seconds() > 0
    first, second = seen
    assert first == second
    assert (first["timeout"], first["verify"], first["cert"]) == ((3, 4), False, "c.pem")


def test_pickled_request_can_be_read_and_sent_without_this_package(
    session: Any, platform: Platform
) -> None:
    prepared = session.prepare_request(requests.Request("GET", API))
    revived = pickle.loads(pickle.dumps(prepared))
    platform.api = [refusal()]
    assert session.send(revived).status_code == 401
    (hook,) = revived.hooks["response"]
    assert hook.func is requests.hooks.dispatch_hook


def test_refusal_of_a_head_request_has_no_body_to_read(simulator: ThingspaceSimulator) -> None:
    with requests.Session() as session:
        session.trust_env = False
        session.auth = ThingspaceAuth(**options_for(simulator))
        url = simulator.url + "/api/m2m/v1/x"
        assert session.head(url).status_code == 200
        simulator.revoke()
        assert session.head(url).status_code == 200
        for word in ("diagnostics", "large", "gateway"):
            response = session.head(f"{url}?refuse={word}", stream=True)
            assert (response.status_code, response.content) == (401, b"")


def test_real_chunked_refusal_can_be_read_in_every_way(simulator: ThingspaceSimulator) -> None:
    with requests.Session() as session:
        session.trust_env = False
        session.auth = ThingspaceAuth(**options_for(simulator))
        for word, sizes in (("diagnostics", (1, 1000)), ("large", (1000, 10**6))):
            url = f"{simulator.url}/api/m2m/v1/x?refuse={word}"
            whole = session.get(url).content
            for size in sizes:
                response = session.get(url, stream=True)
                assert b"".join(response.iter_content(size)) == whole


def test_callers_hooks_are_kept_behind_ours(platform: Platform) -> None:
    auth = KIND.auth(platform)
    shapes: list[dict[str, Any]] = [{}, {"response": []}, {"response": [print]}]
    for hooks in shapes:
        request = requests.Request("GET", API).prepare()
        request.hooks = hooks
        auth(request)
        watch, *others = request.hooks["response"]
        assert others in ([], [print])
        assert callable(watch)


def test_pickled_object_watches_with_its_own_token(platform: Platform) -> None:
    auth = ThingspaceAuth(**IDENTITY, oauth_token={"access_token": "a"})
    auth(requests.Request("GET", API).prepare())
    revived = pickle.loads(pickle.dumps(auth))
    request = revived(requests.Request("GET", API).prepare())
    (watch,) = request.hooks["response"]
    assert watch._auth is revived


def test_large_refusal_gives_its_connection_back(simulator: ThingspaceSimulator) -> None:
    with requests.Session() as session:
        session.trust_env = False
        session.mount("http://", HTTPAdapter(pool_connections=1, pool_maxsize=1, pool_block=True))
        session.auth = ThingspaceAuth(**options_for(simulator))
        url = simulator.url + "/api/m2m/v1/x?refuse=large"
        for _ in range(3):
            assert session.get(url).status_code == 401
            session.get(url, stream=True).close()
        assert len(session.get(url, stream=True).content) > 150_000
        assert session.get(simulator.url + "/api/m2m/v1/x").status_code == 200


def test_callers_hook_never_sees_the_refusal_that_was_repeated(
    session: Any, platform: Platform
) -> None:
    session.hooks["response"] = [lambda response, **kwargs: response.raise_for_status()]
    prepared = session.prepare_request(requests.Request("GET", API))
    for _ in range(3):
        platform.api = [refusal()]
        assert session.send(prepared).status_code == 200


def test_session_that_retries_by_itself_gives_its_last_answer(platform: Platform) -> None:
    class Retrying(requests.Session):  # type: ignore[misc,name-defined]
        def send(self, request: Any, **kwargs: Any) -> Any:
            response = super().send(request, **kwargs)
            return response if response.status_code < 500 else super().send(request, **kwargs)

    given = Retrying()
    given.trust_env = False
    given.mount("https://", requests_adapter(platform))
    platform.tokens = [Answer(503)]
    assert ThingspaceAuth(**IDENTITY, session=given).fetch_token().access_token == "token-1"
    assert len(platform.token_calls) == 2
