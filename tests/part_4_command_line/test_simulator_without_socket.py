"""Part 4: without a socket the simulator is what it is with one, for every library and knob."""

from __future__ import annotations

import gzip
import importlib
import io
import socket
import sys
import threading
from collections.abc import Iterator
from typing import Any, Callable, NamedTuple

import pytest

pytest.importorskip("werkzeug")

from thingspace_auth_adapters import VzM2mCredentials
from thingspace_auth_adapters.simulator import SimulatedRequest, ThingspaceSimulator
from thingspace_auth_adapters.simulator.application import Application
from thingspace_auth_adapters.simulator.in_process import InProcessServer, Unreachable
from thingspace_auth_adapters.simulator.refusals import REFUSALS

from ..support.imported import modules_after
from ..support.kinds import ADAPTER_KINDS, Kind
from ..support.optional import anyio
from ..support.real import PATIENCE, Threads, aeventually, eventually
from ..support.recipes import assert_both_tokens_were_renewed, between_losses
from ..support.virtual import BASE, LOGIN_PATH, TOKEN_PATH

PATH = "/api/m2m/v1/devices"
SHORT = 0.2
# For a body that never ends: its beginning has to come in time on a busy machine, too.
ENOUGH_FOR_A_HEAD = 0.5


class Outcome(NamedTuple):
    """What a caller gets: an answer, or an error."""

    status: int = 0
    reason: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    cookies: tuple[tuple[str, str], ...] = ()
    error: str = ""


class Client:
    """A client of one kind, over a socket or without."""

    def __init__(self, kind: Kind, simulator: ThingspaceSimulator, *, has_socket: bool) -> None:
        self.kind = kind
        self.pair = (simulator.client_id, simulator.client_secret)
        self.base = simulator.url if has_socket else BASE
        self.double = None if has_socket else double_of(kind, simulator)

    def send(self, method: str = "GET", target: str = PATH, **options: Any) -> Outcome:
        url = target if "://" in target else self.base + target
        options = {"timeout": PATIENCE, **options}
        try:
            if self.kind.is_requests:
                return self._requests(method, url, options)
            if self.kind.is_async:
                outcome: Outcome = self.kind.run(self._async_httpx, method, url, options)
                return outcome
            return self._httpx(method, url, options)
        except self.kind.request_error as error:
            return Outcome(error=described(error))

    def ask_for_token(self, **options: Any) -> Outcome:
        data = {"grant_type": "client_credentials"}
        return self.send("POST", TOKEN_PATH, data=data, auth=self.pair, **options)

    def _requests(self, method: str, url: str, options: dict[str, Any]) -> Outcome:
        if "content" in options:
            options["data"] = options.pop("content")
        with self.kind.library.Session() as session:
            session.trust_env = False
            if self.double is not None:
                session.mount("https://", self.double)
            answer = session.request(method, url, allow_redirects=False, **options)
            cookies = tuple(session.cookies.get_dict().items())
        headers = shown(answer.headers)
        return Outcome(answer.status_code, answer.reason, headers, answer.content, cookies)

    def _httpx(self, method: str, url: str, options: dict[str, Any]) -> Outcome:
        with self.kind.library.Client(**self._settings()) as client:
            return seen_by(client, client.request(method, url, **options))

    async def _async_httpx(self, method: str, url: str, options: dict[str, Any]) -> Outcome:
        async with self.kind.library.AsyncClient(**self._settings()) as client:
            return seen_by(client, await client.request(method, url, **options))

    def _settings(self) -> dict[str, Any]:
        return {"transport": self.double, "trust_env": False, "verify": False}


def double_of(kind: Kind, simulator: ThingspaceSimulator) -> Any:
    if kind.is_requests:
        return simulator.requests_adapter()
    return getattr(simulator, f"{kind.library_name}_transport")()


def seen_by(client: Any, answer: Any) -> Outcome:
    headers, cookies = shown(answer.headers), tuple(client.cookies.items())
    return Outcome(answer.status_code, answer.reason_phrase, headers, answer.content, cookies)


def shown(headers: Any) -> tuple[tuple[str, str], ...]:
    """All but those with which the server on the socket introduces itself."""
    pairs = ((name.lower(), value) for name, value in headers.items())
    return tuple(sorted(pair for pair in pairs if pair[0] not in ("date", "server")))


def described(error: BaseException) -> str:
    """Its type, and those of the errors in it; and what the library says of an answer."""
    inner = error.args[0] if error.args else None
    inside = [inner, getattr(inner, "reason", None), *getattr(inner, "args", ())]
    names = [type(one).__name__ for one in (error, *inside) if isinstance(one, Exception)]
    return " of ".join(names)


@pytest.fixture
def bare() -> Iterator[ThingspaceSimulator]:
    """One that was never started."""
    simulator = ThingspaceSimulator()
    yield simulator
    simulator.close()


# Each knob, and the requests that feel it.

Sent = dict[str, Any]


def get(target: str = PATH, **options: Any) -> Sent:
    return {"method": "GET", "target": target, **options}


def fails(status: int, **answer: Any) -> Callable[[ThingspaceSimulator], object]:
    return lambda simulator: simulator.fail("api", status, **answer)


def hang(simulator: ThingspaceSimulator) -> None:
    simulator.fail("api", "hang")


def nothing(simulator: ThingspaceSimulator) -> None:
    pass


def latency(**seconds: float) -> Callable[[ThingspaceSimulator], object]:
    return lambda simulator: setattr(simulator, "latency", seconds)


def chunked(body: bytes) -> Callable[[ThingspaceSimulator], object]:
    return fails(200, headers={"Transfer-Encoding": "chunked"}, body=body)


SITUATIONS: dict[str, tuple[Callable[[ThingspaceSimulator], object], Sent]] = {
    "an answer": (nothing, get()),
    "a query": (nothing, get(f"{PATH}?a=%20b&c=%2F")),
    "a path with escapes": (nothing, get(f"{PATH}/a%20b%2Fc%C3%A9")),
    "an unknown path": (nothing, get("/elsewhere")),
    "a host of its own": (nothing, get(headers={"Host": "imp.thingspace.verizon.com"})),
    "HEAD": (nothing, {"method": "HEAD", "target": PATH}),
    "a body": (nothing, {"method": "POST", "target": PATH, "content": b"\xff\x00 body"}),
    "a form": (nothing, {"method": "PUT", "target": PATH, "data": {"a": "é&"}}),
    "json": (nothing, {"method": "PATCH", "target": PATH, "json": {"a": ["é"]}}),
    "bytes=": (nothing, get(f"{PATH}?bytes=200001")),
    "status=": (nothing, get(f"{PATH}?status=404")),
    "redirect=": (nothing, get(f"{PATH}?redirect=/api/other&code=307")),
    "delay= that is too long": (nothing, get(f"{PATH}?delay=60", timeout=SHORT)),
    "delay= within the timeout": (nothing, get(f"{PATH}?delay=0.01")),
    "latency": (latency(api=0.01), get()),
    "latency that is too long": (latency(api=60), get(timeout=SHORT)),
    "latency and no timeout": (latency(api=0.01), get(timeout=None)),
    "drop": (lambda simulator: simulator.fail("api", "drop"), get()),
    "hang": (hang, get(timeout=SHORT)),
    "another endpoint's failure": (lambda simulator: simulator.fail("login", "drop"), get()),
    "500 without a body": (fails(500), get()),
    "503 with a header": (fails(503, headers={"Retry-After": "7"}), get()),
    "text": (fails(400, body="été"), get()),
    "bytes": (fails(409, body=b"\x00"), get()),
    "json of an error": (fails(401, body={"error": "invalid_token"}), get()),
    "204": (fails(204, body="never seen"), get()),
    "304": (fails(304, body="never seen"), get()),
    "599": (fails(599, body="no such status"), get()),
    "a cookie": (fails(200, headers={"Set-Cookie": "a=b; Path=/"}), get()),
    "gzip": (
        fails(200, headers={"Content-Encoding": "gzip"}, body=gzip.compress(b"long " * 99)),
        get(),
    ),
    "gzip that is none": (fails(200, headers={"Content-Encoding": "gzip"}, body=b"plain"), get()),
    "less than announced": (
        fails(200, headers={"Content-Length": "99"}, body=b"short"),
        get(timeout=ENOUGH_FOR_A_HEAD),
    ),
    "more than announced": (fails(200, headers={"Content-Length": "2"}, body=b"long"), get()),
    "a length that is none": (
        fails(200, headers={"Content-Length": "x"}, body=b"y"),
        get(timeout=ENOUGH_FOR_A_HEAD),
    ),
    "chunks": (chunked(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"), get()),
    "chunks that are none": (chunked(b"no chunk\r\n"), get()),
    "half a chunk": (chunked(b"9\r\nabc"), get(timeout=ENOUGH_FOR_A_HEAD)),
    "a revoked token": (lambda simulator: simulator.revoke(), get(headers={"X-Note": "revoked"})),
    "a session that is needed": (
        lambda simulator: setattr(simulator, "sessions_required", True),
        get(),
    ),
    "a session that nobody opened": (nothing, get(headers={"VZ-M2M-Token": "dead"})),
    "a login": (
        nothing,
        {
            "method": "POST",
            "target": LOGIN_PATH,
            "json": {"username": "simulated-user", "password": "wrong"},
        },
    ),
    **{f"refuse={word}": (nothing, get(f"{PATH}?refuse={word}")) for word in REFUSALS},
}


def told(kind: Kind, turn: Any, sent: Sent, *, has_socket: bool) -> tuple[Any, ...]:
    """What comes of a request, and what the log says, for a new simulator."""
    with ThingspaceSimulator(clock=lambda: 1_700_000_000.0) as simulator:
        client = Client(kind, simulator, has_socket=has_socket)
        assert client.ask_for_token().status == 200
        turn(simulator)
        bearer = {"Authorization": f"Bearer {simulator.issued_tokens[0]}"}
        outcome = client.send(**{**sent, "headers": {**bearer, **sent.get("headers", {})}})
        log = [logged(request, simulator) for request in simulator.requests]
        return outcome, log, simulator.failed_logins


def logged(request: SimulatedRequest, simulator: ThingspaceSimulator) -> tuple[Any, ...]:
    host = request.headers["host"].replace(simulator.url.partition("//")[2], BASE[8:])
    headers = {**request.headers, "host": host}
    headers["authorization"] = headers["authorization"].partition(" ")[0]
    return request.method, request.path, request.query, headers, request.body, request.status


# Under trio httpx leaves generators to the collector if a body cannot be decoded.
@pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning")
@pytest.mark.parametrize("situation", list(SITUATIONS))
def test_each_knob_shows_as_over_a_socket(kind: Kind, situation: str) -> None:
    assert_same_over_a_socket(kind, *SITUATIONS[situation])


def assert_same_over_a_socket(kind: Kind, turn: Any, sent: Sent) -> None:
    # At the same time, since some wait for a timeout.
    threads = Threads()
    for has_socket in (False, True):
        threads.start(lambda has_socket=has_socket: told(kind, turn, sent, has_socket=has_socket))
    without, over = threads.join()
    assert isinstance(without, tuple), without
    assert without == over


UPLOADS: dict[str, Callable[[], Any]] = {
    "text": lambda: "text",
    "bytearray": lambda: bytearray(b"abc"),
    "file": lambda: io.BytesIO(b"a file"),
    "iterator": lambda: iter([b"an ", b"iterator"]),
    "iterator of text": lambda: iter(["an ", "iterator"]),
    "nothing": lambda: None,
}


@pytest.mark.parametrize("name", list(UPLOADS))
def test_bodies_and_headers_of_requests_arrive_as_over_a_socket(name: str) -> None:
    pytest.importorskip("requests")
    (kind,) = (one for one in ADAPTER_KINDS if one.is_requests)
    headers = {b"X-Bytes": b"\xe9", "X-Text": "text"}

    def sent() -> Sent:
        return {"method": "POST", "target": PATH, "data": UPLOADS[name](), "headers": headers}

    without = told(kind, nothing, sent(), has_socket=False)
    assert without == told(kind, nothing, sent(), has_socket=True)


@pytest.mark.parametrize("timeout", [SHORT, (30, SHORT), "urllib3", "total"])
def test_timeouts_of_requests_are_understood(timeout: Any, bare: ThingspaceSimulator) -> None:
    requests = pytest.importorskip("requests")
    urllib3 = importlib.import_module("urllib3")
    timeouts = {
        "urllib3": urllib3.Timeout(connect=30, read=SHORT),
        "total": urllib3.Timeout(total=SHORT),
    }
    hang(bare)
    with requests.Session() as session, pytest.raises(requests.ReadTimeout, match="timed out"):
        session.mount("https://", bare.requests_adapter())
        session.get(BASE + PATH, timeout=timeouts.get(timeout, timeout))


# Where it answers.


@pytest.mark.parametrize(
    "host", ["thingspace.verizon.com", "5gedge.verizon.com", "imp.thingspace.verizon.com"]
)
def test_it_answers_for_the_real_hosts(kind: Kind, bare: ThingspaceSimulator, host: str) -> None:
    outcome = Client(kind, bare, has_socket=False).send(target=f"https://{host}{PATH}")
    assert outcome.status == 401
    assert [request.headers["host"] for request in bare.requests] == [host]


@pytest.mark.parametrize("host", ["verizon.com", "notthingspace.verizon.com", "127.0.0.1"])
def test_no_other_host_can_be_reached_through_it(
    kind: Kind, bare: ThingspaceSimulator, host: str
) -> None:
    outcome = Client(kind, bare, has_socket=False).send(target=f"https://{host}{PATH}")
    assert outcome.error.startswith("Connect")
    assert bare.requests == []


def test_message_for_another_host_names_those_it_answers_for(bare: ThingspaceSimulator) -> None:
    with pytest.raises(Unreachable) as error:
        InProcessServer(lambda: Application(bare._platform)).connect("example.com")
    assert str(error.value) == (
        "the simulator without a socket answers for thingspace.verizon.com, 5gedge.verizon.com and"
        " the names below them, not for 'example.com'"
    )


def test_asyncio_needs_no_trio(
    async_kind: Kind, bare: ThingspaceSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    if async_kind.backend == "trio":
        pytest.skip("this one does")
    monkeypatch.setitem(sys.modules, "trio", None)
    assert Client(async_kind, bare, has_socket=False).send().status == 401


def test_no_socket_is_opened_and_no_start_is_needed(
    kind: Kind, bare: ThingspaceSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*args: Any) -> None:
        raise AssertionError("a connection")

    monkeypatch.setattr(socket.socket, "connect", forbidden)
    monkeypatch.setattr(socket.socket, "bind", forbidden)
    assert Client(kind, bare, has_socket=False).send().status == 401


def test_httpx2_has_a_transport_of_its_own(bare: ThingspaceSimulator) -> None:
    httpx2 = pytest.importorskip("httpx2")
    with httpx2.Client(transport=bare.httpx2_transport()) as client:
        assert client.get(BASE + PATH).status_code == 401


@pytest.mark.once
@pytest.mark.parametrize("library", ["requests", "httpx", "httpx2"])
def test_only_the_library_that_is_asked_for_is_imported(library: str) -> None:
    pytest.importorskip(library)
    method = "requests_adapter" if library == "requests" else f"{library}_transport"
    before = "from thingspace_auth_adapters.simulator import ThingspaceSimulator"
    assert modules_after(before).isdisjoint({"requests", "httpx", "httpx2"})
    after = modules_after(f"{before}; ThingspaceSimulator().{method}()")
    assert after & {"requests", "httpx", "httpx2"} == {library}


# The whole: a client whose URLs are fixed, and the auth object that it has.


def session_on(kind: Kind, double: Any) -> Any:
    session = kind.library.Session()
    session.mount("https://", double)
    return session


def test_both_tokens_are_acquired_and_renewed_at_the_real_address(
    kind: Kind, bare: ThingspaceSimulator
) -> None:
    bare.sessions_required = True
    double = double_of(kind, bare)
    if kind.is_requests:
        options: dict[str, Any] = {"session": session_on(kind, double)}
    else:
        options = {"client_options": {"transport": double}}
    auth = kind.adapter.ThingspaceAuth(
        oauth_client_id=bare.client_id,
        oauth_client_secret=bare.client_secret,
        m2m=VzM2mCredentials(bare.username, bare.password),
        **options,
    )
    client = Client(kind, bare, has_socket=False)
    assert between_losses(bare, lambda: client.send(auth=auth).status) == [200] * 3
    assert_both_tokens_were_renewed(bare)
    assert {request.headers["host"] for request in bare.requests} == {BASE[8:]}


# Time.


def test_what_a_client_gave_up_on_happens_all_the_same(
    kind: Kind, bare: ThingspaceSimulator
) -> None:
    bare.fail("token", "hang")
    client = Client(kind, bare, has_socket=False)
    late = client.ask_for_token(timeout=SHORT)
    assert late.error.startswith("ReadTimeout")
    assert bare.issued_tokens == []
    bare.recover()
    eventually(lambda: bare.issued_tokens)


def test_closing_ends_what_waits_and_a_start_answers_again(
    kind: Kind, bare: ThingspaceSimulator
) -> None:
    hang(bare)
    client, threads = Client(kind, bare, has_socket=False), Threads()
    threads.start(client.send)
    eventually(lambda: bare.requests)
    bare.close()
    (dropped,) = threads.join()
    assert dropped.error.startswith(("ConnectionError of Protocol", "RemoteProtocolError"))
    assert client.send().error.startswith("Connect")
    with bare:
        assert client.send().status == 401


def test_closing_ends_a_body_that_is_waited_for(kind: Kind, bare: ThingspaceSimulator) -> None:
    bare.fail("api", 200, headers={"Content-Length": "99"}, body=b"short")
    threads = Threads()
    threads.start(Client(kind, bare, has_socket=False).send)
    eventually(lambda: any(request.status for request in bare.requests))
    bare.close()
    (broken,) = threads.join()
    if kind.is_requests and broken.body:
        # The urllib3 of old takes what came for the whole.
        assert importlib.import_module("urllib3").__version__.startswith("1.")
    else:
        assert broken.error.startswith(("ChunkedEncodingError", "RemoteProtocolError"))


def test_body_is_read_as_it_is_asked_for(sync_kind: Kind, bare: ThingspaceSimulator) -> None:
    Client(sync_kind, bare, has_socket=False).ask_for_token()
    bearer = {"Authorization": f"Bearer {bare.issued_tokens[0]}"}
    url, double = f"{BASE}{PATH}?bytes={2**60}", double_of(sync_kind, bare)
    if sync_kind.is_requests:
        with session_on(sync_kind, double) as session:
            with session.get(url, headers=bearer, stream=True) as answer:
                part = next(answer.iter_content(1000))
    else:
        with sync_kind.library.Client(transport=double) as client:
            with client.stream("GET", url, headers=bearer) as answer:
                part = next(answer.iter_bytes(1000))
    assert (answer.status_code, part[:3], len(part)) == (200, b"\x00\x01\x02", 1000)


def test_waiting_request_holds_up_no_other_task_and_can_be_cancelled(
    async_kind: Kind, bare: ThingspaceSimulator, caplog: pytest.LogCaptureFixture
) -> None:
    hang(bare)

    async def main() -> None:
        transport = double_of(async_kind, bare)
        async with async_kind.library.AsyncClient(transport=transport, timeout=None) as client:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(client.get, BASE + PATH)
                await aeventually(lambda: bare.requests)
                assert (await client.get(BASE + PATH)).status_code == 401
                tasks.cancel_scope.cancel()

    async_kind.run(main)
    # The loop has ended: nobody is left to be woken.
    bare.recover()
    eventually(lambda: bare.requests[0].status == 401)
    eventually(lambda: "thingspace-simulator" not in {one.name for one in threading.enumerate()})
    assert "concurrent.futures" not in {record.name for record in caplog.records}


def test_answer_that_cannot_be_made_is_an_error_of_its_own(
    kind: Kind, bare: ThingspaceSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Application, "__call__", broken)
    with pytest.raises(ZeroDivisionError):
        Client(kind, bare, has_socket=False).send()


@pytest.mark.parametrize("timeout", ["soon", 0, -1, (1, 2, 3), True])
def test_what_requests_refuses_as_a_timeout_is_refused(
    bare: ThingspaceSimulator, timeout: Any
) -> None:
    """A test that passes with the double should not fail with the network."""
    requests = pytest.importorskip("requests")
    with requests.Session() as session:
        session.mount("https://", bare.requests_adapter())
        with pytest.raises(ValueError):  # noqa: PT011 (the messages are others')
            session.get(BASE + PATH, timeout=timeout)
