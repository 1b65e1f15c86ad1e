"""Part 1, rule 11: answers of the token endpoint that do not end, or that are too much."""

from __future__ import annotations

import functools
import gzip
import io
import json
import threading
import time
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest

from thingspace_auth_adapters import InvalidTokenResponseError, ThingspaceAuthError
from thingspace_auth_adapters._wire import messages

from ..support.kinds import Kind
from ..support.loopback import Loopback, Raw
from ..support.real import PATIENCE
from ..support.virtual import API, Answer, Platform

PATH = "/api/m2m/v1/devices"
MIB = 1024 * 1024
OK = b"HTTP/1.1 200 OK\r\n"
TOKEN_BODY = json.dumps({"access_token": "late", "token_type": "Bearer"}).encode()


class Dripping:
    """Loopback whose token endpoint goes on with the same few bytes until this is left.

    Args:
        before: what comes first.
        drop: what then comes again and again.
        pause: the seconds before each drop.
        after: with what the token begins that comes in the end, as one gets it without a limit.
    """

    def __init__(self, before: bytes, drop: bytes, pause: float, after: bytes) -> None:
        self.platform = Platform()
        self.is_left = threading.Event()
        self.platform.tokens = [
            Raw(self._parts(before, drop, pause, after + TOKEN_BODY)) for _ in range(9)
        ]
        self._server = Loopback(self.platform)
        self.url = self._server.url

    def _parts(self, before: bytes, drop: bytes, pause: float, rest: bytes) -> Iterator[bytes]:
        yield OK + before
        while not self.is_left.wait(pause):
            yield drop
        yield rest

    def __enter__(self) -> Dripping:
        self._server.__enter__()
        self._ends = threading.Timer(PATIENCE, self.is_left.set)
        self._ends.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._ends.cancel()
        self.is_left.set()
        self._server.__exit__(*exc_info)


def assert_that_it_ends(kind: Kind, endpoint: Dripping) -> None:
    """By an error, and well before the token would come at last."""
    with endpoint:
        auth = kind.auth(base_url=endpoint.url, timeout=0.1)
        begun_at = time.monotonic()
        with pytest.raises(kind.request_error, match="token endpoint") as caught:
            kind.get(auth, endpoint.url + PATH, timeout=PATIENCE)
        assert time.monotonic() - begun_at < PATIENCE / 2
    assert not isinstance(caught.value, ThingspaceAuthError)


def test_body_that_comes_a_byte_at_a_time_ends(kind: Kind) -> None:
    assert_that_it_ends(kind, Dripping(b"\r\n", b" ", 0.03, b""))


def test_header_lines_that_come_one_at_a_time_end_under_async(async_kind: Kind) -> None:
    """The thread that leads reads on; those who wait give up when their patience ends."""
    assert_that_it_ends(async_kind, Dripping(b"", b"X-Patience: 1\r\n", 0.03, b"\r\n"))


class Memory:
    """How much more memory than before was in use at most."""

    def __enter__(self) -> Memory:
        tracemalloc.start()
        self._before = tracemalloc.get_traced_memory()[0]
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.peak = tracemalloc.get_traced_memory()[1] - self._before
        tracemalloc.stop()


@functools.lru_cache(None)
def bomb(encoding: str) -> bytes:
    """16 MiB of nothing, in a few kilobytes."""
    nothing = bytes(16 * MIB)
    if encoding == "br":
        compressed: bytes = pytest.importorskip("brotli").compress(nothing, quality=5)
    elif encoding == "zstd":
        compressed = pytest.importorskip("zstandard").compress(nothing)
    else:
        compressed = gzip.compress(nothing)
    if encoding == "gzip, gzip":
        compressed = gzip.compress(compressed)
    assert len(compressed) < 20_000
    return compressed


@pytest.mark.parametrize("encoding", ["gzip", "gzip, gzip", "br", "zstd"])
def test_compressed_token_answer_is_refused_before_it_grows(
    kind: Kind, platform: Platform, encoding: str
) -> None:
    platform.tokens = [Answer(200, bomb(encoding), {"Content-Encoding": encoding})]
    auth = kind.auth(platform)
    with Memory() as memory, pytest.raises(InvalidTokenResponseError):
        kind.get(auth, API, platform)
    assert memory.peak < 4 * MIB


# httpx leaves generators of its own to the collector if a stream ends early, and trio warns of it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("length", [True, False], ids=["announced", "not announced"])
def test_long_token_answer_is_cut_and_called_too_long(
    kind: Kind, platform: Platform, length: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # requests reads it a byte at a time, so that 64 KiB take seconds where memory is traced.
    monkeypatch.setattr(messages, "LONGEST_ANSWER", 4096)
    part, number = b"x" * 64 * 1024, 128

    def parts() -> Iterator[bytes]:
        yield OK + (b"Content-Length: %d\r\n\r\n" % (number * len(part)) if length else b"\r\n")
        for _ in range(number):
            yield part

    platform.tokens = [Raw(parts())]
    with Loopback(platform) as server:
        auth = kind.auth(base_url=server.url)
        with Memory() as memory, pytest.raises(InvalidTokenResponseError, match="too long"):
            kind.get(auth, server.url + PATH, timeout=PATIENCE)
    assert memory.peak < 4 * MIB


class Endless(io.RawIOBase):
    """A body without end, on a connection that the user's pool wants back."""

    is_given_back = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        buffer[:] = b"x" * len(buffer)
        return len(buffer)

    def __iter__(self) -> Any:
        while True:
            yield b"x" * 4096

    def close(self) -> None:
        self.is_given_back = True
        super().close()


def test_connection_of_a_cut_answer_goes_back_to_the_users_own_pool(
    sync_kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messages, "LONGEST_ANSWER", 4096)
    body, library, options = Endless(), sync_kind.library, dict[str, Any]()
    if sync_kind.is_requests:
        import urllib3

        class Adapter(library.adapters.HTTPAdapter):  # type: ignore[name-defined,misc]
            def send(self, request: Any, *args: Any, **kwargs: Any) -> Any:
                raw = urllib3.HTTPResponse(body, status=200, preload_content=False)
                return self.build_response(request, raw)

        options["session"] = library.Session()
        options["session"].mount("https://", Adapter())
    else:

        class Stream(library.SyncByteStream):  # type: ignore[name-defined,misc]
            def __iter__(self) -> Any:
                return iter(body)

            def close(self) -> None:
                body.close()

        answer = library.MockTransport(lambda request: library.Response(200, stream=Stream()))
        options["client_options"] = {"transport": answer}
    with pytest.raises(InvalidTokenResponseError, match="too long"):
        sync_kind.auth(**options).fetch_token()
    assert body.is_given_back
