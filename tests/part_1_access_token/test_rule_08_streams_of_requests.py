"""Part 1, rule 8, in requests: an answer that has to be judged is read by ``content``."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterator
from typing import Any

import pytest

requests = pytest.importorskip("requests")
requests_mock = pytest.importorskip("requests_mock")

import urllib3  # noqa: E402
from requests.adapters import HTTPAdapter  # noqa: E402

from thingspace_auth_adapters.requests import ThingspaceAuth  # noqa: E402
from thingspace_auth_adapters.simulator import ThingspaceSimulator  # noqa: E402

from ..support.kinds import Kind  # noqa: E402
from ..support.logins import credentials  # noqa: E402
from ..support.real import options_for  # noqa: E402
from ..support.virtual import API, GATEWAY_REFUSAL, Answer, Platform  # noqa: E402


@pytest.fixture
def real(simulator: ThingspaceSimulator) -> Iterator[Any]:
    """A session at the simulator, with one connection that must come back to its pool."""
    with requests.Session() as session:
        session.trust_env = False
        session.mount("http://", HTTPAdapter(pool_connections=1, pool_maxsize=1, pool_block=True))
        session.auth = ThingspaceAuth(**options_for(simulator))
        yield session


WAYS: dict[str, Any] = {
    "content": lambda response: response.content,
    "text": lambda response: response.text.encode(),
    "iter_content": lambda response: b"".join(response.iter_content(1000)),
    "iter_lines": lambda response: b"\n".join(response.iter_lines()),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size", [100, 64 * 1024, 200_000])
def test_refusal_is_complete_in_every_way_but_raw(
    session: Any, platform: Platform, way: str, size: int
) -> None:
    body = (b"0123456789" * size)[:size]
    platform.api = [Answer(401, body)]
    response = session.post(API, stream=True)
    assert response.status_code == 401
    assert WAYS[way](response) == body
    assert response.raw.read() == b""


@pytest.mark.parametrize(
    "headers",
    [{"Content-Length": "65537"}, {"Content-Encoding": "br"}, {"Content-Encoding": "gzip, gzip"}],
    ids=["long", "br", "gzip twice"],
)
def test_raw_of_a_refusal_that_is_not_read_is_whole(
    session: Any, platform: Platform, headers: dict[str, str]
) -> None:
    body = b"z" * 65537
    platform.api = [Answer(401, body, headers)]
    response = session.post(API, stream=True)
    assert response.raw.read(decode_content=False) == body
    assert len(platform.token_calls) == 2
    assert platform.bearers == ["token-1"]


def test_compressed_refusal_is_judged_and_complete(session: Any, platform: Platform) -> None:
    body = gzip.compress(json.dumps({"errorCode": "X", "pad": "y" * 30_000}).encode())
    platform.api = [Answer(401, body, {"Content-Encoding": "gzip"})]
    assert session.post(API, stream=True).json()["errorCode"] == "X"
    assert len(platform.token_calls) == 1


@pytest.mark.parametrize("status", [200, 302, 400, 401, 403, 404, 429, 500])
@pytest.mark.parametrize("m2m", [None, credentials()], ids=["", "m2m"])
def test_stream_is_read_of_an_answer_that_has_to_be_judged_alone(
    requests_kind: Kind, platform: Platform, status: int, m2m: Any
) -> None:
    session = requests_kind.session(platform)
    session.auth = requests_kind.auth(platform, m2m=m2m)
    platform.api = [Answer(status, b"x" * 1000)]
    response = session.post(API, stream=True)
    is_read = status == 401 or (m2m is not None and status // 100 == 4)
    assert response.raw.tell() == (1000 if is_read else 0)
    assert len(response.content) == 1000


@pytest.mark.parametrize("stream", [False, True])
def test_refusal_that_breaks_off_raises(session: Any, stream: bool) -> None:
    class Broken(io.BytesIO):
        def read(self, *args: Any) -> bytes:
            raise urllib3.exceptions.ProtocolError("connection broken")

        read1 = read

    def breaking(request: Any, context: Any = None) -> Any:
        return requests_mock.create_response(request, status_code=401, body=Broken())

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


# Over a socket.


@pytest.mark.parametrize("stream", [False, True])
def test_connection_is_used_again_after_a_repeat(
    simulator: ThingspaceSimulator, real: Any, stream: bool
) -> None:
    real.get(simulator.url + "/api/m2m/v1/x")
    simulator.revoke()
    response = real.get(simulator.url + "/api/m2m/v1/x?bytes=100000", stream=stream)
    assert (response.status_code, len(response.content)) == (200, 100_000)
    pools = real.get_adapter(simulator.url).poolmanager.pools
    (pool,) = pools._container.values()
    assert pool.num_connections == 1


@pytest.mark.parametrize(("word", "sizes"), [("diagnostics", (1, 1000)), ("large", (999, 10**6))])
def test_chunked_refusal_is_complete_and_gives_its_connection_back(
    simulator: ThingspaceSimulator, real: Any, word: str, sizes: tuple[int, ...]
) -> None:
    url = f"{simulator.url}/api/m2m/v1/x?refuse={word}"
    whole = real.get(url)
    assert whole.status_code == 401
    for size in sizes:
        real.get(url, stream=True).close()
        assert b"".join(real.get(url, stream=True).iter_content(size)) == whole.content
    assert real.get(simulator.url + "/api/m2m/v1/x").status_code == 200


def test_refusal_of_a_head_request_has_no_body_to_read(
    simulator: ThingspaceSimulator, real: Any
) -> None:
    url = simulator.url + "/api/m2m/v1/x"
    assert real.head(url).status_code == 200
    simulator.revoke()
    assert real.head(url).status_code == 200
    for word in ("diagnostics", "large", "gateway"):
        response = real.head(f"{url}?refuse={word}", stream=True)
        assert (response.status_code, response.content) == (401, b"")
