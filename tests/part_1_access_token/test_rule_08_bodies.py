"""Part 1, rule 8: bodies are sent again whole or not at all, and only what is judged is read."""

from __future__ import annotations

import gzip
import io
import json
from typing import Any

import pytest

from thingspace_auth_adapters.simulator import ThingspaceSimulator

from ..support.clients import streamed
from ..support.kinds import Kind
from ..support.logins import credentials
from ..support.real import options_for
from ..support.virtual import (
    API,
    ELSEWHERE,
    GATEWAY_REFUSAL,
    Answer,
    Platform,
    refusal,
    session_refusal,
)

pytestmark = [
    pytest.mark.usefixtures("clock"),
    # httpx leaves generators of its own open where a body is not read to its end.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

OTHER_CAUSE = {"errorCode": "INVALID_ACCOUNT", "errorMessage": "No such account"}
LIMIT = 64 * 1024
SIZES = [10, LIMIT, 300_000]


def sized(size: int) -> bytes:
    return (b"0123456789" * size)[:size]


# The body of a request.


@pytest.mark.parametrize(
    "kwargs",
    [
        {"content": b"bytes"},
        {"json": {"a": [1, 2]}},
        {"data": {"a": "1", "b": "ä"}},
        {"files": {"f": ("n.txt", b"in memory")}},
        {"files": {"f": ("n.txt", "text")}, "data": {"a": "1"}},
    ],
    ids=["bytes", "json", "form", "multipart", "multipart with fields"],
)
def test_body_is_sent_again_whole(kind: Kind, platform: Platform, auth: Any, kwargs: Any) -> None:
    platform.api = [refusal()]
    assert kind.send(auth, "POST", API, platform, **kwargs).status == 200
    first, second = (call.body for call in platform.api_calls)
    assert first == second
    assert first


def test_repeated_request_shows_its_content(httpx_kind: Kind, platform: Platform) -> None:
    platform.api = [refusal()]
    seen = httpx_kind.send(httpx_kind.auth(platform), "POST", API, platform, json={"a": 1})
    assert json.loads(seen.response.request.content) == {"a": 1}


def test_seekable_file_in_a_multipart_is_sent_again_whole(
    kind: Kind, platform: Platform, auth: Any
) -> None:
    platform.api = [refusal()]
    file = io.BytesIO(sized(100_000))
    assert kind.send(auth, "POST", API, platform, files={"f": ("n", file)}).status == 200
    first, second = (call.body for call in platform.api_calls)
    assert first == second
    assert len(first) > 100_000


def test_file_is_rewound_to_where_it_stood(requests_kind: Kind, platform: Platform) -> None:
    file = io.BytesIO(b"header" + sized(4000))
    file.seek(6)
    platform.api = [refusal()]
    seen = requests_kind.send(requests_kind.auth(platform), "POST", API, platform, content=file)
    assert seen.status == 200
    assert [call.body for call in platform.api_calls] == [sized(4000)] * 2


class Unseekable(io.BytesIO):
    def seekable(self) -> bool:
        return False

    def seek(self, *args: Any) -> int:
        raise io.UnsupportedOperation("seek")


class ClosedMeanwhile(io.BytesIO):
    def read(self, *args: Any) -> bytes:
        data = super().read(*args)
        self.close()
        return data


class Untellable(io.BytesIO):
    def tell(self) -> int:
        raise OSError("a pipe")


class Reader:
    """A file that is no more than readable."""

    def __init__(self, content: bytes) -> None:
        self._parts = [content, b""]

    def read(self, size: int = -1) -> bytes:
        return self._parts.pop(0)


def assert_not_sent_again(kind: Kind, platform: Platform, **body: Any) -> None:
    """The answer is the caller's, and the token is renewed for the next request."""
    auth = kind.auth(platform)
    platform.api = [refusal()]
    seen = kind.send(auth, "POST", API, platform, **body)
    assert (seen.status, json.loads(seen.body)) == (401, GATEWAY_REFUSAL)
    assert platform.bearers == ["token-1"]
    kind.get(auth, API, platform)
    assert platform.bearers == ["token-1", "token-2"]


def test_iterator_is_not_sent_again(kind: Kind, platform: Platform) -> None:
    async def chunks() -> Any:
        yield b"once"

    content = chunks() if kind.is_async else iter([b"once"])
    assert_not_sent_again(kind, platform, content=content)


@pytest.mark.parametrize("file_type", [Unseekable, ClosedMeanwhile, Untellable])
def test_file_that_cannot_be_rewound_is_not_sent_again(
    requests_kind: Kind, platform: Platform, file_type: Any
) -> None:
    assert_not_sent_again(requests_kind, platform, content=file_type(b"once"))


@pytest.mark.parametrize("file_type", [Unseekable, Reader])
def test_file_in_a_multipart_that_cannot_be_rewound_is_not_sent_again(
    httpx_kind: Kind, platform: Platform, file_type: Any
) -> None:
    assert_not_sent_again(httpx_kind, platform, files={"f": ("name", file_type(b"once"))})


# The body of an answer that is judged.


@pytest.mark.parametrize("size", SIZES)
def test_refusal_that_is_returned_is_complete(
    kind: Kind, platform: Platform, auth: Any, size: int
) -> None:
    platform.api = [Answer(401, sized(size))] * 2
    seen = kind.get(auth, API, platform)
    assert (seen.status, seen.body) == (401, sized(size))


def test_compressed_refusal_is_understood(kind: Kind, platform: Platform, auth: Any) -> None:
    body = gzip.compress(json.dumps(OTHER_CAUSE).encode())
    platform.api = [Answer(401, body, {"Content-Encoding": "gzip"})]
    assert json.loads(kind.get(auth, API, platform).body) == OTHER_CAUSE
    assert len(platform.token_calls) == 1


def test_refusal_that_cannot_be_decoded_is_unrecognised(
    kind: Kind, platform: Platform, auth: Any
) -> None:
    platform.api = [Answer(401, b"no gzip", {"Content-Encoding": "gzip"})]
    with pytest.raises(kind.request_error):
        kind.send(auth, "POST", API, platform)
    # requests fails at reading it, which comes first.
    assert len(platform.token_calls) == (1 if kind.is_requests else 2)


def long(answer: Answer) -> Answer:
    """The same, with a body that is longer than 64 KiB and says so."""
    body = answer.body + b" " * LIMIT
    return Answer(answer.status, body, {**answer.headers, "Content-Length": str(len(body))})


def test_long_refusal_is_judged_where_the_library_reads_it_anyway(
    kind: Kind, platform: Platform, auth: Any
) -> None:
    """requests has read it before; in httpx the token is renewed for the next request."""
    platform.api = [long(refusal())]
    assert kind.get(auth, API, platform).status == (200 if kind.is_requests else 401)
    assert kind.get(auth, API, platform).status == 200
    assert platform.bearers[-1] == "token-2"
    assert len(platform.token_calls) == 2


def test_long_refusal_is_judged_by_its_headers(kind: Kind, platform: Platform, auth: Any) -> None:
    answer = long(refusal(b"", WWW_Authenticate='Bearer error="insufficient_scope"'))
    platform.api = [answer]
    seen = kind.get(auth, API, platform)
    assert (seen.status, seen.body) == (401, answer.body)
    assert len(platform.token_calls) == 1


@pytest.mark.parametrize("word", ["large", "gateway"])
def test_real_refusal_is_complete_and_timed(kind: Kind, word: str) -> None:
    with ThingspaceSimulator() as simulator:
        auth = kind.auth(**options_for(simulator))
        seen = kind.get(auth, f"{simulator.url}/api/m2m/v1/x?refuse={word}")
        assert seen.status == 401
        assert json.loads(seen.body)
        assert seen.response.elapsed.total_seconds() > 0
        assert len(simulator.token_requests) == 2


# Streams in httpx: the raw stream is read and put back.


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("how", ["read", "iter_bytes", "iter_raw"])
def test_streamed_refusal_is_complete_in_every_way(
    httpx_kind: Kind, platform: Platform, how: str, size: int
) -> None:
    platform.api = [Answer(401, sized(size))]
    found = streamed(httpx_kind, httpx_kind.auth(platform), platform, how)
    assert found == (401, sized(size))


def test_streamed_compressed_refusal_is_judged_and_complete(
    httpx_kind: Kind, platform: Platform
) -> None:
    body = gzip.compress(json.dumps(OTHER_CAUSE).encode())
    auth = httpx_kind.auth(platform)
    platform.api = [Answer(401, body, {"Content-Encoding": "gzip"})] * 2
    assert streamed(httpx_kind, auth, platform, "iter_raw") == (401, body)
    _, decoded = streamed(httpx_kind, auth, platform, "iter_bytes")
    assert json.loads(decoded) == OTHER_CAUSE
    assert len(platform.token_calls) == 1


@pytest.mark.parametrize("refused", [GATEWAY_REFUSAL, OTHER_CAUSE], ids=["bearer", "account"])
@pytest.mark.parametrize("is_first", [True, False], ids=["judged", "after 64 KiB"])
def test_streamed_refusal_without_a_length_is_read_to_its_end(
    httpx_kind: Kind, platform: Platform, refused: Any, is_first: bool
) -> None:
    """Its first 64 KiB are judged."""
    told, blanks = json.dumps(refused).encode(), b" " * 300_000
    body = told + blanks if is_first else blanks + told
    platform.api = [Answer(401, body)] * 2
    found = streamed(httpx_kind, httpx_kind.auth(platform), platform, "iter_raw")
    assert found == (401, body)
    is_known = is_first and refused is OTHER_CAUSE
    assert len(platform.token_calls) == (1 if is_known else 2)


UNREAD = {
    "long": {"Content-Length": "65537"},
    "no number": {"Content-Length": "many"},
    "br": {"Content-Encoding": "br"},
    "gzip twice": {"Content-Encoding": "gzip, gzip"},
    "unknown": {"Content-Encoding": "x-own"},
}


@pytest.mark.parametrize("name", UNREAD)
def test_streamed_refusal_that_is_not_read_is_whole_and_renews(
    httpx_kind: Kind, platform: Platform, name: str
) -> None:
    platform.api = [Answer(401, sized(65537), UNREAD[name])]
    found = streamed(httpx_kind, httpx_kind.auth(platform), platform, "iter_raw")
    assert found == (401, sized(65537))
    assert len(platform.token_calls) == 2
    assert platform.bearers == ["token-1"]


@pytest.mark.parametrize("refused", [GATEWAY_REFUSAL, OTHER_CAUSE], ids=["bearer", "account"])
def test_hook_that_reads_the_response_is_no_hindrance(
    httpx_kind: Kind, platform: Platform, refused: Any
) -> None:
    async def ahook(response: Any) -> None:
        await response.aread()

    hook = ahook if httpx_kind.is_async else lambda response: response.read()
    platform.api = [refusal(refused)]
    hooks = {"response": [hook]}
    seen = httpx_kind.get(httpx_kind.auth(platform), API, platform, event_hooks=hooks)
    assert seen.status == (200 if refused is GATEWAY_REFUSAL else 401)


def test_hook_that_takes_the_body_away_leaves_an_unrecognised_refusal(
    httpx_kind: Kind, platform: Platform
) -> None:
    async def ahook(response: Any) -> None:
        await response.aclose()

    hook = ahook if httpx_kind.is_async else lambda response: response.close()
    platform.api = [refusal(OTHER_CAUSE)]
    auth, hooks = httpx_kind.auth(platform), {"response": [hook]}
    with pytest.raises(httpx_kind.library.StreamError):
        streamed(httpx_kind, auth, platform, event_hooks=hooks)
    assert len(platform.token_calls) == 2


def breaking_off(library: Any) -> Any:
    """A body that fails at its second part."""

    class Breaking(library.SyncByteStream, library.AsyncByteStream):  # type: ignore[misc]
        def __iter__(self) -> Any:
            yield b"begin"
            raise library.ReadError("connection broken")

        async def __aiter__(self) -> Any:
            yield b"begin"
            raise library.ReadError("connection broken")

    return Breaking()


def first_answer(kind: Kind, auth: Any, response: Any) -> None:
    """Hand an answer of httpx' to the auth flow, which is to end there."""
    request = response.request

    async def aflow() -> None:
        flow = auth.async_auth_flow(request)
        await flow.__anext__()
        with pytest.raises(StopAsyncIteration):
            await flow.asend(response)

    if kind.is_async:
        kind.run(aflow)
        return
    flow = auth.sync_auth_flow(request)
    next(flow)
    with pytest.raises(StopIteration):
        flow.send(response)


def broken_off(kind: Kind, auth: Any, status: int, url: str = API) -> None:
    """Hand an answer to the auth flow whose body fails whoever reads it."""
    library = kind.library
    request = library.Request("GET", url)
    response = library.Response(status, stream=breaking_off(library), request=request)
    first_answer(kind, auth, response)


@pytest.mark.parametrize("status", [200, 302, 400, 401, 403, 404, 429, 499, 500, 503])
@pytest.mark.parametrize("m2m", [None, credentials()], ids=["", "m2m"])
def test_body_is_read_of_an_answer_that_has_to_be_judged_and_an_error_at_that_is_raised(
    httpx_kind: Kind, platform: Platform, status: int, m2m: Any
) -> None:
    auth = httpx_kind.auth(platform, m2m=m2m)
    if status == 401 or (status // 100 == 4 if m2m else status == 400):
        with pytest.raises(httpx_kind.library.ReadError) as caught:
            broken_off(httpx_kind, auth, status)
        assert caught.value.request.url == API
    else:
        broken_off(httpx_kind, auth, status)


def test_body_of_a_foreign_hosts_answer_is_not_read(httpx_kind: Kind, platform: Platform) -> None:
    broken_off(httpx_kind, httpx_kind.auth(platform, m2m=credentials()), 401, ELSEWHERE)


def test_400_is_not_read_once_a_warning_said_that_a_session_is_wanted(
    httpx_kind: Kind, platform: Platform, caplog: pytest.LogCaptureFixture
) -> None:
    auth = httpx_kind.auth(platform)
    platform.api = [session_refusal()]
    httpx_kind.get(auth, API, platform)
    assert "m2m=" in caplog.text
    broken_off(httpx_kind, auth, 400)
