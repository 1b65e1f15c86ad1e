"""What only httpx and httpx2 can show."""

from __future__ import annotations

import gzip
import io
import json
from typing import Any

import pytest

from thingspace_auth_adapters import InvalidTokenResponseError
from thingspace_auth_adapters.simulator import ThingspaceSimulator

from ..support.kinds import IDENTITY, Kind
from ..support.real import options_for
from ..support.virtual import API, GATEWAY_REFUSAL, Answer, Platform, VirtualClock, refusal

UNLUCKY = {"errorCode": "INVALID_ACCOUNT"}


# The private clients.


OURS = ["auth", "follow_redirects", "event_hooks", "base_url", "cookies", "headers", "timeout"]


@pytest.mark.parametrize("name", OURS)
def test_options_that_cannot_be_set_are_named(httpx_kind: Kind, name: str) -> None:
    with pytest.raises(TypeError, match=f"client_options: '{name}'"):
        httpx_kind.auth(client_options={name: None})


def test_options_that_do_not_exist_are_named(httpx_kind: Kind) -> None:
    with pytest.raises(TypeError, match="have no 'vrify'"):
        httpx_kind.auth(client_options={"vrify": False})
    with pytest.raises(TypeError, match="client_options must be a dict"):
        httpx_kind.auth(client_options=[("verify", False)])


def test_timeout_of_the_object_is_that_of_every_phase(httpx_kind: Kind, platform: Platform) -> None:
    seen: list[Any] = []
    inner = httpx_kind.transport(platform)
    library = httpx_kind.library

    class Noting(library.BaseTransport, library.AsyncBaseTransport):  # type: ignore[name-defined,misc]
        def handle_request(self, request: Any) -> Any:
            seen.append(request.extensions["timeout"])
            return inner.handle_request(request)

        async def handle_async_request(self, request: Any) -> Any:
            seen.append(request.extensions["timeout"])
            return await inner.handle_async_request(request)

    auth = httpx_kind.auth(client_options={"transport": Noting()}, timeout=12)
    httpx_kind.get(auth, API, platform, timeout=1)
    httpx_kind.fetch_token(auth)
    assert seen == [dict.fromkeys(("connect", "read", "write", "pool"), 12)] * 2


@pytest.mark.parametrize("option", ["transport", "mounts"])
def test_transport_that_only_an_asynchronous_client_could_use_is_a_type_error(
    httpx_kind: Kind, option: str
) -> None:
    """Nothing is to be found out by the first request."""
    library = httpx_kind.library

    async def handler(request: Any) -> Any:
        raise AssertionError

    for transport in (library.AsyncHTTPTransport(), library.MockTransport(handler)):
        given = transport if option == "transport" else {"all://": transport}
        with pytest.raises(TypeError, match=r"client_options: .* is asynchronous") as caught:
            httpx_kind.auth(client_options={option: given})
        assert f"{httpx_kind.library_name}.HTTPTransport" in str(caught.value)


def test_mounts_apply(httpx_kind: Kind, platform: Platform) -> None:
    mounts = {"https://thingspace.verizon.com": httpx_kind.transport(platform), "all://": None}
    auth = httpx_kind.auth(client_options={"mounts": mounts, "trust_env": False})
    httpx_kind.get(auth, API, platform)
    assert platform.bearers == ["token-1"]


def test_given_transport_is_not_closed(httpx_kind: Kind, platform: Platform) -> None:
    closed: list[str] = []
    transport = httpx_kind.transport(platform)

    async def aclose() -> None:
        closed.append("aclose")

    transport.close = lambda: closed.append("close")
    transport.aclose = aclose
    auth = httpx_kind.auth(client_options={"transport": transport})
    httpx_kind.fetch_token(auth)
    httpx_kind.fetch_token(auth)
    assert closed == []
    assert len(platform.token_calls) == 2


def test_environments_proxy_is_not_used_for_loopback(
    httpx_kind: Kind, monkeypatch: pytest.MonkeyPatch, clock: VirtualClock
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with ThingspaceSimulator() as simulator:
        auth = httpx_kind.adapter.ThingspaceAuth(**options_for(simulator))
        assert httpx_kind.fetch_token(auth).access_token in simulator.issued_tokens
    assert clock.pauses == []


# httpx leaves generators of its own open where a body is not read to its end.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_endless_answer_of_the_token_endpoint_is_cut_off(
    httpx_kind: Kind, platform: Platform
) -> None:
    platform.tokens = [Answer(200, b"x" * 3_000_000)]
    with pytest.raises(InvalidTokenResponseError):
        httpx_kind.fetch_token(httpx_kind.auth(platform))


# Streams.


def stream(
    kind: Kind, platform: Platform, how: str, auth: Any = None, method: str = "POST", **options: Any
) -> tuple[int, bytes]:
    """Stream a request and read its body in the given way."""
    auth = auth or kind.auth(platform)
    transport = kind.transport(platform)
    library = kind.library
    if kind.is_async:

        async def acollect(response: Any) -> bytes:
            if how == "read":
                return bytes(await response.aread())
            return b"".join([part async for part in getattr(response, f"a{how}")()])

        async def astream() -> tuple[int, bytes]:
            async with library.AsyncClient(transport=transport, auth=auth, **options) as client:
                async with client.stream(method, API) as response:
                    return response.status_code, await acollect(response)

        return kind.run(astream)  # type: ignore[no-any-return]
    with library.Client(transport=transport, auth=auth, **options) as client:
        with client.stream(method, API) as response:
            if how == "read":
                return response.status_code, response.read()
            return response.status_code, b"".join(getattr(response, how)())


@pytest.mark.parametrize("size", [100, 64 * 1024, 200_000])
@pytest.mark.parametrize("how", ["read", "iter_bytes", "iter_raw"])
def test_streamed_refusal_is_complete(
    httpx_kind: Kind, platform: Platform, how: str, size: int
) -> None:
    body = (b"0123456789" * size)[:size]
    platform.api = [Answer(401, body)]
    assert stream(httpx_kind, platform, how) == (401, body)


def test_streamed_compressed_refusal_is_judged_and_complete(
    httpx_kind: Kind, platform: Platform
) -> None:
    body = gzip.compress(json.dumps(UNLUCKY).encode())
    auth = httpx_kind.auth(platform)
    platform.api = [Answer(401, body, {"Content-Encoding": "gzip"})] * 2
    assert stream(httpx_kind, platform, "iter_raw", auth) == (401, body)
    _, decoded = stream(httpx_kind, platform, "iter_bytes", auth)
    assert json.loads(decoded) == UNLUCKY
    assert len(platform.token_calls) == 1


@pytest.mark.parametrize("refused", [GATEWAY_REFUSAL, UNLUCKY], ids=["bearer", "account"])
def test_streamed_refusal_without_a_length_is_read_to_its_end(
    httpx_kind: Kind, platform: Platform, refused: Any
) -> None:
    """Its first 64 KiB are judged."""
    blanks = b" " * 300_000
    for body in (blanks + json.dumps(refused).encode(), json.dumps(refused).encode() + blanks):
        platform.api = [Answer(401, body)] * 2
        assert stream(httpx_kind, platform, "iter_raw") == (401, body)


UNREAD = {
    "long": {"Content-Length": "65537"},
    "no number": {"Content-Length": "many"},
    "br": {"Content-Encoding": "br"},
    "gzip twice": {"Content-Encoding": "gzip, gzip"},
    "unknown": {"Content-Encoding": "x-own"},
}


@pytest.mark.parametrize("name", list(UNREAD))
def test_streamed_refusal_that_is_not_read_is_whole_and_renews(
    httpx_kind: Kind, platform: Platform, name: str
) -> None:
    body = b"z" * 65537
    auth = httpx_kind.auth(platform)
    platform.api = [Answer(401, body, UNREAD[name])]
    assert stream(httpx_kind, platform, "iter_raw", auth) == (401, body)
    assert len(platform.token_calls) == 2
    assert platform.bearers == ["token-1"]


def test_body_of_a_success_is_not_read(httpx_kind: Kind, platform: Platform) -> None:
    auth = httpx_kind.auth(platform)
    library = httpx_kind.library

    class Untouchable(library.SyncByteStream, library.AsyncByteStream):  # type: ignore[name-defined,misc]
        def __iter__(self) -> Any:
            pytest.fail("the body was read")

        __aiter__ = __iter__

    for status in (200, 302, 403, 500):
        request = library.Request("GET", API)
        response = library.Response(status, stream=Untouchable(), request=request)
        if httpx_kind.is_async:

            async def aflow() -> None:
                flow = auth.async_auth_flow(request)  # noqa: B023
                await flow.__anext__()
                with pytest.raises(StopAsyncIteration):
                    await flow.asend(response)  # noqa: B023

            httpx_kind.run(aflow)
        else:
            flow = auth.sync_auth_flow(request)
            next(flow)
            with pytest.raises(StopIteration):
                flow.send(response)


@pytest.mark.parametrize("refused", [GATEWAY_REFUSAL, UNLUCKY], ids=["bearer", "account"])
def test_hook_that_reads_the_response_is_no_hindrance(
    httpx_kind: Kind, platform: Platform, refused: Any
) -> None:
    async def ahook(response: Any) -> None:
        await response.aread()

    hook = ahook if httpx_kind.is_async else lambda response: response.read()
    platform.api = [refusal(refused)]
    seen = httpx_kind.get(
        httpx_kind.auth(platform), API, platform, event_hooks={"response": [hook]}
    )
    assert seen.status == (200 if refused is GATEWAY_REFUSAL else 401)


def test_hook_that_takes_the_body_away_leaves_an_unrecognised_refusal(
    httpx_kind: Kind, platform: Platform
) -> None:
    async def ahook(response: Any) -> None:
        await response.aclose()

    hook = ahook if httpx_kind.is_async else lambda response: response.close()
    platform.api = [refusal(UNLUCKY)]
    auth = httpx_kind.auth(platform)
    library = httpx_kind.library

    async def asend() -> None:
        options = {"transport": httpx_kind.transport(platform), "event_hooks": {"response": [hook]}}
        async with library.AsyncClient(auth=auth, **options) as client:
            async with client.stream("POST", API) as response:
                assert response.status_code == 401

    if httpx_kind.is_async:
        httpx_kind.run(asend)
    else:
        transport = httpx_kind.transport(platform)
        with library.Client(
            auth=auth, transport=transport, event_hooks={"response": [hook]}
        ) as client:
            with client.stream("POST", API) as response:
                assert response.status_code == 401
    assert len(platform.token_calls) == 2


def breaking_transport(library: Any) -> Any:
    """Answers with a 401 whose body breaks off."""

    class Breaking(library.SyncByteStream, library.AsyncByteStream):  # type: ignore[misc]
        def __iter__(self) -> Any:
            yield b"begin"
            raise library.ReadError("connection broken")

        async def __aiter__(self) -> Any:
            yield b"begin"
            raise library.ReadError("connection broken")

    class Transport(library.BaseTransport, library.AsyncBaseTransport):  # type: ignore[misc]
        def handle_request(self, request: Any) -> Any:
            return library.Response(401, stream=Breaking())

        async def handle_async_request(self, request: Any) -> Any:
            return self.handle_request(request)

    return Transport()


def sent_over(kind: Kind, transport: Any, auth: Any, method: str) -> Any:
    library = kind.library

    async def asend() -> Any:
        async with library.AsyncClient(transport=transport, auth=auth) as client:
            return await client.request(method, API)

    if kind.is_async:
        return kind.run(asend)
    with library.Client(transport=transport, auth=auth) as client:
        return client.request(method, API)


def test_refusal_that_breaks_off_raises(httpx_kind: Kind, platform: Platform) -> None:
    transport = breaking_transport(httpx_kind.library)
    with pytest.raises(httpx_kind.library.ReadError) as caught:
        sent_over(httpx_kind, transport, httpx_kind.auth(platform), "GET")
    assert caught.value.request.url == API


@pytest.mark.parametrize("word", ["large", "gateway"])
def test_real_refusal_is_complete_and_timed(httpx_kind: Kind, word: str) -> None:
    with ThingspaceSimulator() as simulator:
        auth = httpx_kind.auth(**options_for(simulator))
        url = f"{simulator.url}/api/m2m/v1/x?refuse={word}"
        seen = httpx_kind.get(auth, url)
        assert seen.status == 401
        assert json.loads(seen.body)
        assert seen.response.elapsed.total_seconds() > 0
        assert len(simulator.token_requests) == 2


# Bodies.


class Unseekable(io.BytesIO):
    def seekable(self) -> bool:
        return False

    def seek(self, *args: Any) -> int:
        raise io.UnsupportedOperation("seek")


def test_multipart_of_a_file_that_cannot_be_rewound_is_not_sent_again(
    httpx_kind: Kind, platform: Platform
) -> None:
    platform.api = [refusal()]
    auth = httpx_kind.auth(platform)
    files = {"f": ("name", Unseekable(b"once"))}
    seen = httpx_kind.send(auth, "POST", API, platform, files=files)
    assert (seen.status, json.loads(seen.body)) == (401, GATEWAY_REFUSAL)
    assert len(platform.token_calls) == 2


def test_multipart_of_a_file_without_seekable_is_not_sent_again(
    httpx_kind: Kind, platform: Platform
) -> None:
    class Reader:
        def __init__(self) -> None:
            self.parts = [b"once", b""]

        def read(self, size: int = -1) -> bytes:
            return self.parts.pop(0)

    platform.api = [refusal()]
    auth = httpx_kind.auth(platform)
    seen = httpx_kind.send(auth, "POST", API, platform, files={"f": ("name", Reader())})
    assert seen.status == 401


def test_multipart_with_form_fields_is_sent_again(httpx_kind: Kind, platform: Platform) -> None:
    platform.api = [refusal()]
    seen = httpx_kind.send(
        httpx_kind.auth(platform),
        "POST",
        API,
        platform,
        data={"a": "1"},
        files={"f": ("name", "text")},
    )
    assert seen.status == 200


def test_repeated_request_shows_its_content(httpx_kind: Kind, platform: Platform) -> None:
    platform.api = [refusal()]
    seen = httpx_kind.send(httpx_kind.auth(platform), "POST", API, platform, json={"a": 1})
    assert json.loads(seen.response.request.content) == {"a": 1}


def test_is_an_auth_of_its_library(httpx_kind: Kind) -> None:
    auth = httpx_kind.adapter.ThingspaceAuth(**IDENTITY)
    assert isinstance(auth, httpx_kind.library.Auth)
    assert auth.requires_request_body is False
    assert auth.requires_response_body is False


def test_transport_whose_answers_are_read_already_works(httpx_kind: Kind) -> None:
    library = httpx_kind.library

    def answer(request: Any) -> Any:
        if request.url.path.endswith("/oauth2/token"):
            return library.Response(200, json={"access_token": "mocked", "expires_in": 3600})
        return library.Response(200, json={"sent": request.headers["Authorization"]})

    transport = library.MockTransport(answer)
    auth = httpx_kind.auth(client_options={"transport": transport})
    if httpx_kind.is_async:

        async def get() -> Any:
            async with library.AsyncClient(auth=auth, transport=transport) as client:
                return await client.get(API)

        response = httpx_kind.run(get)
    else:
        with library.Client(auth=auth, transport=transport) as client:
            response = client.get(API)
    assert response.json() == {"sent": "Bearer mocked"}
