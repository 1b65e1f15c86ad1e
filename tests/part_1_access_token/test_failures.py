"""The contract, Part 1, rules 5, 7, 8, 11 and 13: what goes wrong ends, and ends well.

For every client kind, unless the thing that goes wrong belongs to one library.
"""

from __future__ import annotations

import functools
import gc
import gzip
import importlib.util
import io
import json
import signal
import subprocess
import sys
import time
import tracemalloc
import weakref
import zlib
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any, Callable

import pytest

from thingspace_auth_adapters import (
    InvalidTokenResponseError,
    ThingspaceAuthError,
    VzM2mCredentials,
)
from thingspace_auth_adapters._wire import messages
from thingspace_auth_adapters.simulator import ThingspaceSimulator

from ..support.kinds import IDENTITY, INSTALLED, PASSWORD, Kind
from ..support.loopback import Loopback, Raw, alarm_main_thread, alarm_raises, nobody_listening
from ..support.real import PATIENCE, Threads, eventually, options_for, waiters
from ..support.virtual import (
    API,
    BASE,
    GATEWAY_REFUSAL,
    LOGIN_PATH,
    REVOKE_PATH,
    START,
    TOKEN_PATH,
    Answer,
    Platform,
    VirtualClock,
    refusal,
)

PATH = "/api/m2m/v1/devices"
MIB = 1024 * 1024
TOKEN_BODY = json.dumps({"access_token": "late", "token_type": "Bearer"}).encode()


@pytest.fixture
def simulator() -> Iterator[ThingspaceSimulator]:
    with ThingspaceSimulator() as running:
        yield running


@pytest.fixture
def requests_kind() -> Kind:
    return next((kind for kind in INSTALLED if kind.is_requests), None) or pytest.skip("requests")


# A script that still fetches its own token.


@pytest.mark.parametrize("path", [TOKEN_PATH, REVOKE_PATH])
@pytest.mark.parametrize("name", ["Authorization", "authorization"])
@pytest.mark.parametrize("status", [200, 401])
def test_call_of_an_endpoint_with_a_header_of_its_own_is_left_as_it_is(
    kind: Kind, platform: Platform, clock: VirtualClock, path: str, name: str, status: int
) -> None:
    platform.tokens = [Answer(status, {"error": "invalid_client", "access_token": "theirs"})]
    auth = kind.auth(platform, m2m="a-session", oauth_token={"access_token": "ours"})
    form = {"grant_type": "client_credentials"}
    headers = {name: "Basic dGhlaXI6b3du"}
    seen = kind.send(auth, "POST", BASE + path, platform, headers=headers, data=form)
    assert seen.status == status
    (call,) = platform.calls
    assert call.authorization == "Basic dGhlaXI6b3du"
    assert call.session is None
    assert call.form == form


# Rule 5: what ends the leader from outside is the leader's alone.


class TimeLimit(Exception):
    """As RQ's JobTimeoutException and Celery's SoftTimeLimitExceeded: a plain exception."""


@pytest.fixture
def limit() -> Iterator[TimeLimit]:
    """What a signal handler raises in the main thread when SIGALRM comes."""
    error = TimeLimit("the job took too long")
    with alarm_raises(error):
        yield error


def alarm() -> None:
    """Have SIGALRM come while this very function runs."""
    signal.setitimer(signal.ITIMER_REAL, 0.001)
    for _ in range(1000):
        time.sleep(0.01)


MOMENTS = ["cold", "ahead of expiry", "after a 401"]


def bring_about(
    moment: str, kind: Kind, auth: Any, platform: Platform, clock: VirtualClock | None = None
) -> None:
    """Have the next request lead to a token request."""
    if moment != "cold":
        kind.get(auth, API, platform)
    if moment == "ahead of expiry" and clock is not None:
        clock.advance(3550)
    if moment == "after a 401":
        platform.api = [refusal()]


@pytest.mark.parametrize("moment", MOMENTS)
def test_what_a_signal_handler_raises_reaches_the_leaders_caller(
    sync_kind: Kind, platform: Platform, clock: VirtualClock, limit: TimeLimit, moment: str
) -> None:
    auth = sync_kind.auth(platform, oauth_clock_skew=60)
    bring_about(moment, sync_kind, auth, platform, clock)
    platform.on_token = alarm
    with pytest.raises(TimeLimit) as caught:
        sync_kind.get(auth, API, platform)
    assert caught.value is limit
    platform.on_token = lambda: None
    assert sync_kind.get(auth, API, platform).status == 200


@pytest.mark.parametrize("moment", ["cold", "after a 401"])
def test_what_a_signal_handler_raises_is_not_shared(
    sync_kind: Kind, platform: Platform, limit: TimeLimit, moment: str
) -> None:
    auth = sync_kind.auth(platform)
    bring_about(moment, sync_kind, auth, platform)
    before = len(platform.token_calls)
    threads = Threads()

    def have_others_wait() -> None:
        platform.on_token = lambda: None
        for _ in range(3):
            threads.start(lambda: sync_kind.get(auth, API, platform).status)
        eventually(lambda: waiters(auth) == 3)
        alarm()

    platform.on_token = have_others_wait
    with pytest.raises(TimeLimit) as caught:
        sync_kind.get(auth, API, platform)
    assert caught.value is limit
    assert threads.join() == [200] * 3
    assert len(platform.token_calls) - before == 2


def test_signal_handler_ends_a_wait_for_a_real_answer(
    sync_kind: Kind, platform: Platform, limit: TimeLimit
) -> None:
    platform.tokens = [Answer(failure="held")]
    with Loopback(platform) as server:
        auth = sync_kind.auth(base_url=server.url)
        server.on_held = alarm_main_thread
        with pytest.raises(TimeLimit) as caught:
            sync_kind.get(auth, server.url + PATH)
        assert caught.value is limit
        assert sync_kind.get(auth, server.url + PATH).status == 200


# Rule 11: endpoints that cannot be reached, by name.


def assert_about(error: Any, kind: Kind, path: str) -> None:
    """It is the library's own, and its request is that of the endpoint without its secrets."""
    assert not isinstance(error, ThingspaceAuthError)
    assert str(error.request.url).endswith(path)
    assert "Authorization" not in error.request.headers
    assert not (error.request.body if kind.is_requests else error.request.content)


@pytest.mark.parametrize(
    "failure", ["connect", "connect timeout", "read timeout", "protocol", "certificate", "proxy"]
)
def test_token_endpoint_that_cannot_be_reached_is_named(
    kind: Kind, platform: Platform, clock: VirtualClock, failure: str
) -> None:
    platform.tokens = [Answer(failure=failure) for _ in range(20)]
    with pytest.raises(kind.request_error, match="token endpoint") as caught:
        kind.get(kind.auth(platform), API, platform)
    assert_about(caught.value, kind, TOKEN_PATH)


def test_login_that_cannot_connect_is_named(kind: Kind, clock: VirtualClock) -> None:
    m2m = VzM2mCredentials("user-without-connection", PASSWORD)
    with nobody_listening() as url:
        auth = kind.auth(base_url=url, oauth_token={"access_token": "x"}, m2m=m2m)
        with pytest.raises(kind.request_error, match="login") as caught:
            kind.get(auth, url + PATH)
    assert_about(caught.value, kind, LOGIN_PATH)


# Rule 11: answers of the token endpoint that do not end, or that are too much.

DRIP = 0.03
DRIPS = 400


def dripping(before: bytes, drop: bytes, after: bytes) -> Iterator[bytes]:
    """A token that is complete only long after every limit of a client with a small timeout."""
    yield b"HTTP/1.1 200 OK\r\n" + before
    for _ in range(DRIPS):
        time.sleep(DRIP)
        yield drop
    yield after + TOKEN_BODY


def assert_that_it_ends(kind: Kind, platform: Platform, *parts: bytes) -> None:
    platform.tokens = [Raw(dripping(*parts)) for _ in range(20)]
    with Loopback(platform) as server:
        auth = kind.auth(base_url=server.url, timeout=0.1)
        # Not by getting the token in the end, as one does without a limit.
        with pytest.raises(kind.request_error, match="token endpoint") as caught:
            kind.get(auth, server.url + PATH, timeout=PATIENCE)
    assert not isinstance(caught.value, ThingspaceAuthError)


def test_token_answer_that_comes_a_byte_at_a_time_ends(kind: Kind, platform: Platform) -> None:
    assert_that_it_ends(kind, platform, b"\r\n", b" ", b"")


def test_header_lines_that_come_one_at_a_time_end_under_async(
    async_kind: Kind, platform: Platform
) -> None:
    assert_that_it_ends(async_kind, platform, b"", b"X-Patience: 1\r\n", b"\r\n")


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
    """16 MiB of nothing, in about a kilobyte."""
    nothing = bytes(16 * MIB)
    if encoding == "br":
        compressed: bytes = pytest.importorskip("brotli").compress(nothing, quality=5)
    elif encoding == "zstd":
        compressed = pytest.importorskip("zstandard").compress(nothing)
    else:
        compressed = gzip.compress(gzip.compress(nothing))
    assert len(compressed) < 8192
    return compressed


ENCODINGS = ["gzip, gzip", "br", "zstd"]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_compressed_token_answer_is_refused_without_decompressing_it(
    kind: Kind, platform: Platform, clock: VirtualClock, encoding: str
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
    size = 8 * MIB

    def parts() -> Iterator[bytes]:
        part = b"x" * 64 * 1024
        yield b"HTTP/1.1 200 OK\r\n"
        yield b"Content-Length: %d\r\n\r\n" % size if length else b"\r\n"
        for _ in range(size // len(part)):
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


def test_connection_of_a_cut_answer_goes_back_to_the_users_own_pool(sync_kind: Kind) -> None:
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


# Rule 8: answers that are not read to be judged.


def streamed(kind: Kind, auth: Any, platform: Platform, is_read: bool) -> tuple[int, bytes]:
    """Status and body of a streamed request; the body only if it is to be read."""
    if kind.is_requests:
        with kind.session(platform) as session:
            response = session.get(API, auth=auth, stream=True)
            return response.status_code, response.content if is_read else b""
    if kind.is_async:
        return kind.run(_astreamed, kind, auth, platform, is_read)  # type: ignore[no-any-return]
    with kind.library.Client(auth=auth, transport=kind.transport(platform)) as client:
        with client.stream("GET", API) as response:
            return response.status_code, response.read() if is_read else b""


async def _astreamed(kind: Kind, auth: Any, platform: Platform, is_read: bool) -> tuple[int, bytes]:
    async with kind.library.AsyncClient(auth=auth, transport=kind.transport(platform)) as client:
        async with client.stream("GET", API) as response:
            return response.status_code, await response.aread() if is_read else b""


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_streamed_401_in_another_encoding_is_not_decompressed(
    kind: Kind, platform: Platform, clock: VirtualClock, encoding: str
) -> None:
    platform.api = [Answer(401, bomb(encoding), {"Content-Encoding": encoding})]
    auth = kind.auth(platform)
    with Memory() as memory:
        status, _ = streamed(kind, auth, platform, is_read=False)
    assert memory.peak < 4 * MIB
    assert (status, len(platform.api_calls)) == (401, 1)
    kind.get(auth, API, platform)
    assert platform.bearers == ["token-1", "token-2"]


def test_streamed_401_that_is_long_is_returned_as_it_came(
    kind: Kind, platform: Platform, clock: VirtualClock
) -> None:
    body = json.dumps(GATEWAY_REFUSAL).encode() + b" " * 64 * 1024
    platform.api = [Answer(401, body, {"Content-Length": str(len(body))})]
    auth = kind.auth(platform)
    assert streamed(kind, auth, platform, is_read=True) == (401, body)
    assert len(platform.api_calls) == 1
    kind.get(auth, API, platform)
    assert platform.bearers == ["token-1", "token-2"]


@pytest.mark.parametrize("encoding", [None, "gzip", "deflate"])
def test_streamed_401_of_the_usual_kind_is_repeated(
    kind: Kind, platform: Platform, clock: VirtualClock, encoding: str | None
) -> None:
    body = json.dumps(GATEWAY_REFUSAL).encode()
    compress: dict[str | None, Callable[[bytes], bytes]]
    compress = {None: bytes, "gzip": gzip.compress, "deflate": zlib.compress}
    platform.api = [
        Answer(401, compress[encoding](body), {"Content-Encoding": encoding} if encoding else {})
    ]
    auth = kind.auth(platform)
    assert streamed(kind, auth, platform, is_read=True) == (200, b'{"ok": true}')
    assert platform.bearers == ["token-1", "token-2"]


# Rule 5: greenlets, with network and time patched but threads not, as grequests does.

GREENLETS = """
import importlib, json, sys, warnings
patch, library, url, options, m2m = json.loads(sys.argv[1])
exec(patch)
http = importlib.import_module(library)
adapter = importlib.import_module("thingspace_auth_adapters." + library)
from thingspace_auth_adapters import VzM2mCredentials

# What the library imports on first use does not bear greenlets.
http.get(url, timeout=60, verify=False)
auth = adapter.ThingspaceAuth(**options, m2m=VzM2mCredentials(**m2m))

def call():
    try:
        return http.get(url, auth=auth, timeout=60, verify=False).status_code
    except Exception as error:
        return f"{type(error).__name__}: {error}"

print(json.dumps(run_all(call, 20)))
"""
GEVENT = """
from gevent import monkey
monkey.patch_all(thread=False, select=False)
import gevent

def run_all(call, times):
    jobs = [gevent.spawn(call) for _ in range(times)]
    gevent.joinall(jobs, timeout=60)
    return [job.value for job in jobs]
"""
EVENTLET = """
warnings.simplefilter("ignore")
sys.modules["trio"] = None  # it cannot be imported beside a patched socket module
import eventlet
eventlet.monkey_patch(os=False, thread=False)

def run_all(call, times):
    jobs = [eventlet.spawn(call) for _ in range(times)]
    with eventlet.Timeout(60):
        return [job.wait() for job in jobs]
"""


def python(code: str, *arguments: Any) -> Any:
    """What the last line of a program's output says, as JSON."""
    finished = subprocess.run(
        [sys.executable, "-c", code, *(json.dumps(argument) for argument in arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=80,
    )
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    ("library", "patch"),
    [
        pytest.param("gevent", GEVENT, id="gevent"),
        pytest.param("eventlet", EVENTLET, id="eventlet", marks=pytest.mark.once),
    ],
)
def test_greenlets_share_one_token_and_one_login(
    sync_kind: Kind, simulator: ThingspaceSimulator, library: str, patch: str
) -> None:
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    simulator.latency["token"] = simulator.latency["login"] = 0.2
    m2m = {"username": simulator.username, "password": simulator.password}
    url, options = simulator.url + PATH, options_for(simulator)
    job = [patch, sync_kind.library_name, url, options, m2m]
    assert python(GREENLETS, job) == [200] * 20
    assert (len(simulator.token_requests), len(simulator.login_requests)) == (1, 1)


# requests-cache, and other sessions that have a mind of their own.


def test_works_where_requests_cache_was_installed_before_the_import(
    requests_kind: Kind, simulator: ThingspaceSimulator
) -> None:
    pytest.importorskip("requests_cache")
    code = """
import json, sys
import requests_cache
requests_cache.install_cache(backend="memory")
import requests
from thingspace_auth_adapters.requests import ThingspaceAuth

url, options = json.loads(sys.argv[1])
auth = ThingspaceAuth(**options)
# The last of these answers comes from the cache.
statuses = [requests.get(url, auth=auth, timeout=60).status_code for _ in range(2)]
token = ThingspaceAuth(**options).fetch_token().access_token
print(json.dumps([statuses, token]))
"""
    statuses, token = python(code, [simulator.url + PATH, options_for(simulator)])
    assert statuses == [200, 200]
    assert token in simulator.issued_tokens
    assert len(simulator.token_requests) == 2


@pytest.fixture
def cached(requests_kind: Kind, platform: Platform) -> Iterator[Any]:
    """A CachedSession, which reaches the platform on a miss."""
    requests_cache = pytest.importorskip("requests_cache")
    from ..support.kinds import requests_adapter

    with requests_cache.CachedSession(backend="memory") as session:
        session.trust_env = False
        session.mount("https://", requests_adapter(platform))
        yield session


def test_cached_session_may_call_the_endpoints(
    requests_kind: Kind, platform: Platform, clock: VirtualClock, cached: Any
) -> None:
    m2m = VzM2mCredentials("user-of-the-cached-session", PASSWORD)
    auth = requests_kind.adapter.ThingspaceAuth(**IDENTITY, session=cached, m2m=m2m)
    for _ in range(2):
        assert requests_kind.get(auth, API, platform).status == 200
        clock.advance(7200)
    assert platform.bearers == ["token-1", "token-2"]
    assert platform.sessions == ["session-1", "session-2"]


def test_session_whose_send_reads_the_answer_may_call_the_endpoints(
    requests_kind: Kind, platform: Platform, clock: VirtualClock
) -> None:
    import requests

    read: list[str] = []

    class Logging(requests.Session):
        def send(self, request: Any, **kwargs: Any) -> Any:
            response = super().send(request, **kwargs)
            read.append(f"{response.url} {response.headers} {response.text}")
            return response

    session = Logging()
    session.trust_env = False
    session.mount("https://", requests_kind.session(platform).get_adapter(API))
    m2m = VzM2mCredentials("user-of-the-logging-session", PASSWORD)
    auth = requests_kind.adapter.ThingspaceAuth(**IDENTITY, session=session, m2m=m2m)
    assert requests_kind.get(auth, API, platform).status == 200
    assert (platform.bearers, platform.sessions) == (["token-1"], ["session-1"])
    assert len(read) == 2


def test_redirect_to_a_page_in_the_cache(
    requests_kind: Kind, platform: Platform, clock: VirtualClock, cached: Any
) -> None:
    cached.auth = requests_kind.auth(platform)
    page = API + "/page"
    platform.api = [Answer(200, b"the page"), Answer(302, b"", {"Location": page})]
    cached.get(page)
    response = cached.get(API)
    assert (response.status_code, response.content) == (200, b"the page")
    assert platform.bearers == ["token-1", "token-1"]


@pytest.mark.parametrize("times", [1, 9])
def test_401_through_a_cached_session(
    requests_kind: Kind, platform: Platform, clock: VirtualClock, cached: Any, times: int
) -> None:
    cached.auth = requests_kind.auth(platform)
    platform.api = [refusal() for _ in range(times)]
    assert cached.get(API).status_code == (200 if times == 1 else 401)
    assert platform.bearers == ["token-1", "token-2"]
    assert len(platform.token_calls) == 2


# The timeout of a call of an endpoint.


@pytest.mark.parametrize("options", [{}, {"timeout": 12}], ids=["default", "given"])
@pytest.mark.parametrize("of_the_request", [None, 5.0, 0.1])
def test_timeout_of_the_request_does_not_apply_to_the_endpoints(
    kind: Kind,
    platform: Platform,
    clock: VirtualClock,
    options: dict[str, Any],
    of_the_request: float | None,
) -> None:
    timeouts: dict[str, Any] = {}
    m2m = VzM2mCredentials("user-in-no-hurry", PASSWORD)
    auth = kind.adapter.ThingspaceAuth(
        **IDENTITY, **options, **recording(kind, platform, timeouts), m2m=m2m
    )
    kind.get(auth, API, platform, timeout=of_the_request)
    assert platform.trail == ["token", "login", "api"]
    assert [set(each) for each in timeouts.values()] == [{options.get("timeout", 30)}] * 2


def recording(kind: Kind, platform: Platform, timeouts: dict[str, Any]) -> dict[str, Any]:
    """Options with which the calls of the endpoints note their timeouts by URL."""
    if kind.is_requests:
        from requests.adapters import BaseAdapter

        inner = kind.session(platform).get_adapter(API)

        class Adapter(BaseAdapter):
            def send(self, request: Any, **kwargs: Any) -> Any:  # type: ignore[override]
                timeout = kwargs["timeout"]
                timeouts[request.url] = timeout if isinstance(timeout, tuple) else (timeout,)
                return inner.send(request, **kwargs)

            def close(self) -> None:
                pass

        session = kind.session(platform)
        session.mount("https://", Adapter())
        return {"session": session}

    transport = kind.transport(platform)

    class Transport(kind.library.BaseTransport, kind.library.AsyncBaseTransport):  # type: ignore[name-defined,misc]
        def handle_request(self, request: Any) -> Any:
            self._note(request)
            return transport.handle_request(request)

        async def handle_async_request(self, request: Any) -> Any:
            self._note(request)
            return await transport.handle_async_request(request)

        def _note(self, request: Any) -> None:
            limits = request.extensions["timeout"]
            timeouts[str(request.url)] = (limits["connect"], limits["read"])

    return {"client_options": {"transport": Transport()}}


# Headers that a server should not send.


@pytest.mark.parametrize("charset", ["latin-1", "utf-8"])
def test_401_with_a_cookie_that_is_not_ascii(
    kind: Kind, platform: Platform, clock: VirtualClock, charset: str
) -> None:
    cookie: Any = "who=J\xfcrgen; Path=/".encode(charset)
    headers = {"Set-Cookie": cookie.decode("latin-1") if kind.is_requests else cookie}
    platform.api = [Answer(401, GATEWAY_REFUSAL, headers)]
    assert kind.get(kind.auth(platform), API, platform).status == 200
    assert platform.bearers == ["token-1", "token-2"]


@pytest.mark.parametrize("location", ["x:y", "http://[::1", "//", "\x7f", "https://a:b:c/"])
@pytest.mark.parametrize("status", [302, 307])
def test_token_endpoint_that_redirects_to_nonsense(
    kind: Kind, platform: Platform, clock: VirtualClock, location: str, status: int
) -> None:
    platform.tokens = [Answer(status, b"", {"Location": location})]
    with pytest.raises(InvalidTokenResponseError, match=str(status)):
        kind.get(kind.auth(platform), API, platform)
    assert len(platform.calls) == 1


# What is left behind.


class Thing:
    """Something that a caller has on its stack."""


LAST_WORDS: dict[str, Callable[[], list[Answer]]] = {
    "refused": lambda: [Answer(401, {"error": "invalid_client"})],
    "lost": lambda: [Answer(failure="connect") for _ in range(20)],
    "no token": lambda: [Answer(200, b"<html>")],
}


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("words", list(LAST_WORDS))
def test_failed_fetch_keeps_nothing_of_the_caller_alive(
    kind: Kind,
    platform: Platform,
    clock: VirtualClock,
    words: str,
    moment: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    auth = kind.auth(platform, oauth_clock_skew=60)
    bring_about(moment, kind, auth, platform, clock)
    platform.tokens = LAST_WORDS[words]()

    def caller() -> weakref.ref[Thing]:
        thing = Thing()
        try:
            kind.get(auth, API, platform)
        except kind.request_error:
            assert moment == "cold"
        return weakref.ref(thing)

    # What is there already is nothing that the collector would have to look through.
    gc.freeze()
    left = caller()
    caplog.clear()

    def is_gone() -> bool:
        gc.collect()
        return left() is None

    # Under an asynchronous client a thread may be about to end.
    eventually(is_gone)
    gc.unfreeze()
    platform.tokens = []
    assert kind.get(auth, API, platform).status == 200


# Rule 13: libraries that move the clock.


def freezegun(time_stamp: float) -> Any:
    return pytest.importorskip("freezegun").freeze_time(
        datetime.fromtimestamp(time_stamp, timezone.utc)
    )


def time_machine(time_stamp: float) -> Any:
    return pytest.importorskip("time_machine").travel(time_stamp, tick=False)


@pytest.mark.parametrize("frozen", [freezegun, time_machine])
def test_frozen_time_that_moves_forward_expires_both_tokens(
    kind: Kind, platform: Platform, frozen: Callable[[float], Any]
) -> None:
    m2m = VzM2mCredentials("user-in-frozen-time", PASSWORD)
    with frozen(START):
        auth = kind.auth(platform, m2m=m2m)
        kind.get(auth, API, platform)
        kind.get(auth, API, platform)
        assert auth.oauth_token.expiry == START + 3600
        assert not auth.is_token_expired()
    with frozen(START + 7200):
        assert auth.is_token_expired()
        kind.get(auth, API, platform)
        assert auth.oauth_token.expiry == START + 7200 + 3600
    assert platform.bearers == ["token-1", "token-1", "token-2"]
    assert platform.sessions == ["session-1", "session-1", "session-2"]


# An object of one library, given to another.

LIBRARIES = {kind.library_name: kind for kind in INSTALLED if not kind.is_async}


@pytest.mark.parametrize("other", list(LIBRARIES))
def test_object_of_another_library_is_a_type_error_that_names_the_import(
    kind: Kind, platform: Platform, other: str
) -> None:
    if other == kind.library_name:
        pytest.skip("this is the right one")
    auth = LIBRARIES[other].auth(platform)
    wanted = rf"thingspace_auth_adapters\.{kind.library_name}\b"
    with pytest.raises(TypeError, match=wanted) as caught:
        kind.get(auth, API, platform)
    assert "ThingspaceAuth" in str(caught.value)
    assert platform.calls == []
