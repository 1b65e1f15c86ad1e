"""Part 4: the simulator fails as it is told to, logs what it saw, and starts and stops."""

from __future__ import annotations

import contextlib
import errno
import http.client
import importlib
import operator
import socket
import sys
import threading
import time
from collections.abc import Callable, Generator, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

pytest.importorskip("werkzeug")

from thingspace_auth_adapters.simulator import SimulatedRequest, ThingspaceSimulator
from thingspace_auth_adapters.simulator.http_server import LoopbackServer

from ..support.real import eventually
from ..support.simulator_client import API_PATH, FORM, GRANT, SOON, Client, client_of
from ..support.virtual import REVOKE_PATH, TOKEN_PATH

ENDPOINTS = ("token", "revoke", "login", "logout", "api")


# Latency.


def test_latency_delays_the_endpoint_that_it_names(client: Client) -> None:
    client.simulator.latency["api"] = 0.03
    began = time.monotonic()
    client("GET", API_PATH)
    assert time.monotonic() - began >= 0.03
    client.simulator.latency = {"token": 0.03}
    latency = client.simulator.latency
    assert dict(latency) == {**dict.fromkeys(ENDPOINTS, 0), "token": 0.03}
    began = time.monotonic()
    client.token()
    assert time.monotonic() - began >= 0.03
    latency["logout"] = 0.25
    del latency["token"]
    assert (latency["token"], latency["logout"], len(latency)) == (0, 0.25, 5)
    shown = (f"{name!r}: {0.25 if name == 'logout' else 0.0}" for name in ENDPOINTS)
    assert repr(latency) == f"{{{', '.join(shown)}}}"


MUTATORS: dict[str, Callable[[MutableMapping[str, float]], object]] = {
    "clear": lambda latency: latency.clear(),
    "pop of each": lambda latency: [latency.pop(name) for name in latency],
    "popitem": lambda latency: [latency.popitem() for _ in range(2)],
    "del of each": lambda latency: [operator.delitem(latency, name) for name in latency],
    "assignment": lambda latency: [operator.setitem(latency, name, 0) for name in latency],
    "update": lambda latency: latency.update(dict.fromkeys(latency, 0)),
}


@pytest.mark.parametrize("mutator", list(MUTATORS))
def test_every_mutator_of_the_latency_comes_back(mutator: str) -> None:
    latency = ThingspaceSimulator().latency
    latency.update(token=0.5, api=2)
    assert latency.setdefault("token", 9) == 0.5
    MUTATORS[mutator](latency)
    assert dict(latency) == dict.fromkeys(ENDPOINTS, 0)
    with pytest.raises(KeyError, match="no endpoint has a latency"):
        latency.popitem()


def test_popitem_and_pop_of_the_latency_return_what_was_set() -> None:
    latency = ThingspaceSimulator().latency
    latency.update(login=0.5, api=2)
    assert (latency.popitem(), latency.pop("api"), latency.pop("api")) == (("login", 0.5), 2, 0)
    with pytest.raises(KeyError):
        latency.pop("tokens")


# Failures.


def test_failures_come_in_order_and_then_the_endpoint_answers_again(client: Client) -> None:
    simulator = client.simulator
    simulator.fail("token", 503, times=2, headers={"Retry-After": "1"}, body=b"busy")
    simulator.fail("token", 400, body={"error": "invalid_client"})
    simulator.fail("token", 200, headers={"Content-Type": "text/html"}, body="<p>é")
    answers = [client.form(TOKEN_PATH, GRANT) for _ in range(5)]
    assert [answer.status for answer in answers] == [503, 503, 400, 200, 200]
    assert [answer.headers["Retry-After"] for answer in answers[:3]] == ["1", "1", None]
    assert (answers[0].body, answers[2].json) == (b"busy", {"error": "invalid_client"})
    assert answers[2].headers["Content-Type"] == "application/json"
    assert answers[3].headers["Content-Type"] == "text/html"
    assert answers[3].body == "<p>é".encode()
    assert answers[4].json["access_token"] == simulator.issued_tokens[0]


def test_a_failure_is_of_its_endpoint_alone_and_lasts_until_recover_if_it_is_to(
    client: Client,
) -> None:
    simulator = client.simulator
    session = client.session()
    simulator.fail("revoke", 501)
    simulator.fail("login", 503)
    simulator.fail("logout", 502, times=None)
    simulator.fail("api", 500, times=None)
    answer = client.api()
    assert (answer.status, answer.body) == (500, b"")
    assert [client.form(REVOKE_PATH, {"token": "t"}).status for _ in range(2)] == [501, 200]
    assert client.attempt(password="wrong").status == 503
    assert simulator.failed_logins == 0
    assert client.attempt().status == 200
    assert [client.logout(session).status for _ in range(3)] == [502] * 3
    simulator.recover("logout")
    assert client.logout(session).status == 200
    assert client.api().status == 500
    simulator.fail("token", 503, times=None)
    assert {client.form(TOKEN_PATH, GRANT).status for _ in range(5)} == {503}
    simulator.recover()
    assert client.api().status == 200


def test_a_length_that_a_test_gives_is_sent(client: Client) -> None:
    client.simulator.fail("api", 200, headers={"Content-Length": "2"}, body="body")
    assert client("GET", API_PATH).body == b"bo"


def test_drop_closes_the_connection_without_an_answer_or_a_traceback(
    client: Client, capfd: pytest.CaptureFixture[str]
) -> None:
    client.simulator.fail("token", "drop")
    with pytest.raises(http.client.RemoteDisconnected):
        client.token()
    assert client.simulator.requests[0].status is None
    assert client.token()["expires_in"] == 3600
    assert capfd.readouterr() == ("", "")


def test_hang_never_answers_until_recover(client: Client) -> None:
    simulator = client.simulator
    simulator.fail("token", "hang")
    with ThreadPoolExecutor(1) as pool:
        hanging = pool.submit(client.token)
        eventually(lambda: simulator.requests)
        with client_of(simulator) as other:
            other.token()
        assert not hanging.done()
        assert [request.status for request in simulator.requests] == [None, 200]
        simulator.recover("token")
        assert hanging.result(SOON)["access_token"] == simulator.issued_tokens[0]


Call = Callable[[Any], object]
MISTAKES: list[tuple[str, Call]] = [
    ("endpoint", lambda simulator: simulator.fail("tokens", 503)),
    ("endpoint", lambda simulator: simulator.recover("tokens")),
    ("endpoint", lambda simulator: simulator.latency.update({"tokens": 1})),
    ("endpoint", lambda simulator: setattr(simulator, "latency", {"tokens": 1})),
    ("failure", lambda simulator: simulator.fail("token", "crash")),
    ("failure", lambda simulator: simulator.fail("token", 99)),
    ("failure", lambda simulator: simulator.fail("token", True)),
    ("times", lambda simulator: simulator.fail("token", 503, times=0)),
    ("latency", lambda simulator: simulator.latency.update({"token": -1})),
    ("token_lifetime", lambda simulator: setattr(simulator, "token_lifetime", -1)),
    ("token_lifetime", lambda _: ThingspaceSimulator(token_lifetime=float("nan"))),
    ("port", lambda _: ThingspaceSimulator(port=65536)),
]


@pytest.mark.parametrize(("argument", "mistake"), MISTAKES)
def test_wrong_arguments_are_value_errors_that_name_the_argument(
    argument: str, mistake: Call
) -> None:
    with pytest.raises(ValueError, match=argument):
        mistake(ThingspaceSimulator())


# The log.


def test_requests_are_logged_in_order_with_all_they_consist_of(client: Client) -> None:
    client.form(TOKEN_PATH, GRANT)
    client.clock.now += 5
    client("DELETE", f"{API_PATH}?a=%20b", b"body", {"X-Mixed-Case": "Value"})
    client.form(REVOKE_PATH, {"token": "t"})
    simulator = client.simulator
    first, second, third = simulator.requests
    assert isinstance(first, SimulatedRequest)
    assert (first.method, first.path, first.query) == ("POST", TOKEN_PATH, "")
    assert (first.body, first.status) == (b"grant_type=client_credentials", 200)
    assert first.headers["content-type"] == FORM
    assert (second.method, second.path, second.query) == ("DELETE", API_PATH, "a=%20b")
    assert (second.body, second.status, second.at) == (b"body", 401, first.at + 5)
    assert second.headers["x-mixed-case"] == "Value"
    assert simulator.token_requests == [first]
    assert simulator.api_requests == [second]
    assert simulator.requests_to("/oauth2/revoke") == [third]


def test_logins_and_logouts_are_logged_apart_from_the_api(client: Client) -> None:
    simulator, session = client.simulator, client.session()
    client.attempt(password="wrong")
    client.api(session=session)
    client.logout(session)
    client("POST", REVOKE_PATH)
    assert [request.status for request in simulator.login_requests] == [200, 400]
    assert [request.status for request in simulator.logout_requests] == [200]
    assert [request.path for request in simulator.api_requests] == [API_PATH]
    expected = b'{"username": "simulated-user", "password": "simulated-password"}'
    assert simulator.login_requests[0].body == expected
    assert simulator.logout_requests[0].headers["vz-m2m-token"] == session


def test_requests_is_a_snapshot_and_clear_forgets_even_what_is_unanswered(client: Client) -> None:
    simulator = client.simulator
    simulator.fail("token", "hang")
    with ThreadPoolExecutor(1) as pool:
        hanging = pool.submit(client.token)
        eventually(lambda: simulator.requests)
        before = simulator.requests
        simulator.clear()
        simulator.recover()
        hanging.result(SOON)
        assert simulator.requests == []
        assert [request.status for request in before] == [None]
        assert client.bearer == simulator.issued_tokens[0]
        assert len(simulator.requests) == 1


def test_no_repr_shows_a_secret(client: Client) -> None:
    simulator, session = client.simulator, client.session()
    client.api(session=session)
    assert repr(simulator) == f"<ThingspaceSimulator {simulator.url}>"
    shown = repr(simulator.requests)
    secrets = ("Basic", "client_credentials", session, "simulated-password")
    assert [secret for secret in secrets if secret in shown] == []
    idle = ThingspaceSimulator(client_secret="hush")
    assert "hush" not in repr(idle)
    with pytest.raises(RuntimeError, match="started"):
        _ = idle.url


# Starting and stopping.


@pytest.mark.parametrize("reason", ["hang", "delay", "latency"])
def test_closing_is_prompt_and_ends_answers_that_wait(reason: str) -> None:
    simulator = ThingspaceSimulator()
    simulator.start()
    if reason == "hang":
        simulator.fail("api", "hang")
    simulator.latency["api"] = 60 if reason == "latency" else 0
    with client_of(simulator) as client, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client, "GET", f"{API_PATH}?delay={60 if reason == 'delay' else 0}")
        eventually(lambda: simulator.requests)
        began = time.monotonic()
        simulator.close()
        assert time.monotonic() - began < SOON
        with pytest.raises(http.client.RemoteDisconnected):
            waiting.result(SOON)


def test_closing_is_prompt_with_idle_connections_frees_the_port_and_is_idempotent() -> None:
    with ThingspaceSimulator() as simulator:
        clients = [Client(simulator) for _ in range(3)]
        for client in clients:
            client.token()
        began = time.monotonic()
        simulator.close()
        assert time.monotonic() - began < SOON
        simulator.close()
    address = clients[0].connection.host, clients[0].connection.port
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, SOON)
    for client in clients:
        client.connection.close()
    # The very port again: nothing still holds it.
    with ThingspaceSimulator(port=address[1]) as again, client_of(again) as fresh:
        assert again.url == simulator.url
        fresh.token()


def test_it_can_be_started_again_as_it_was_but_for_its_failures() -> None:
    simulator = ThingspaceSimulator()
    with simulator, client_of(simulator) as client:
        simulator.start()
        token, session = client.bearer, client.session()
        for _ in range(5):
            client.attempt(password="wrong")
        simulator.fail("token", "drop", times=None)
    with simulator, client_of(simulator) as client:
        assert client.bearer == token
        assert client.api(session=session).status == 200
        assert simulator.is_locked


def test_a_port_that_is_taken_is_an_oserror(client: Client) -> None:
    taken = int(client.simulator.url.rpartition(":")[2])
    other = ThingspaceSimulator(port=taken)
    with pytest.raises(OSError, match=str(errno.EADDRINUSE)) as caught:
        other.start()
    assert caught.value.errno == errno.EADDRINUSE
    other.close()


def test_no_thread_outlives_the_simulator() -> None:
    before = set(threading.enumerate())
    with ThingspaceSimulator() as simulator, client_of(simulator) as client:
        client.token()
        started = set(threading.enumerate()) - before
        assert started
        assert all(thread.daemon for thread in started)
    eventually(lambda: not any(thread.is_alive() for thread in started))


# HTTP.


def test_one_connection_serves_many_requests_without_stalling(client: Client) -> None:
    client.connection.connect()
    connection, token = client.connection.sock, client.bearer
    began = time.monotonic()
    for _ in range(100):
        assert client.api(bearer=token).status == 200
        assert client.api("/elsewhere", bearer=token).status == 404
        assert client.api(f"{API_PATH}?refuse=large", bearer=token).status == 401
    # Nagle's algorithm against delayed acknowledgements would cost 40 ms each: 12 seconds.
    assert time.monotonic() - began < 8
    assert client.connection.sock is connection


def test_a_client_that_asks_for_it_gets_its_connection_closed(client: Client) -> None:
    answer = client("GET", API_PATH, headers={"Connection": "close"})
    assert answer.headers["Connection"] == "close"
    with raw(client, b"GET / HTTP/1.0\r\n\r\n") as answer_in_full:
        assert b"404" in answer_in_full.splitlines()[0]


def test_expect_100_continue_is_answered_before_the_body_is_sent(client: Client) -> None:
    address = client.connection.host, client.connection.port
    with socket.create_connection(address, SOON) as connection:
        connection.sendall(
            b"PUT /api/x HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
        )
        assert connection.recv(1024) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"body")
        assert connection.recv(1024).startswith(b"HTTP/1.1 401 ")
    assert client.simulator.requests[0].body == b"body"


@contextlib.contextmanager
def raw(client: Client, request: bytes) -> Generator[bytes, None, None]:
    """All that comes back until the server closes, for bytes that no HTTP client would send."""
    address = client.connection.host, client.connection.port
    with socket.create_connection(address, SOON) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        with connection.makefile("rb") as stream:
            yield stream.read()


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"POST /api/x HTTP/1.1\r\nContent-Length: 10\r\n\r\nshort",
        b"POST /api/x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_a_broken_body_gets_no_answer_and_leaves_no_trace(
    client: Client, capfd: pytest.CaptureFixture[str], request_bytes: bytes
) -> None:
    with raw(client, request_bytes) as answer:
        assert answer == b""
    assert client.simulator.requests == []
    assert capfd.readouterr() == ("", "")


def test_a_client_that_goes_away_in_mid_answer_leaves_no_trace(
    client: Client, capfd: pytest.CaptureFixture[str]
) -> None:
    headers = {"Authorization": f"Bearer {client.bearer}"}
    client.connection.request("GET", f"{API_PATH}?bytes={50_000_000}", headers=headers)
    # Waiting for the head shows that the answer is under way.
    client.connection.getresponse().close()
    client.connection.close()
    client.simulator.close()
    assert capfd.readouterr() == ("", "")


def test_nothing_but_a_mistake_of_the_simulator_is_reported(
    capfd: pytest.CaptureFixture[str],
) -> None:
    server = LoopbackServer(0, lambda environ, start_response: [])
    with contextlib.closing(server.socket):
        for error in (BrokenPipeError("gone"), LookupError("a mistake")):
            try:
                raise error
            except (OSError, LookupError):
                server.handle_error(None, ("127.0.0.1", 1))
    err = capfd.readouterr().err
    assert "LookupError: a mistake" in err
    assert "BrokenPipeError" not in err


# Importing.


@pytest.mark.parametrize(
    ("missing", "told"),
    [
        ("werkzeug", r"pip install 'thingspace-auth-adapters\[simulator\]'"),
        ("thingspace_auth_adapters.simulator.tokens", r"simulator\.tokens"),
    ],
)
def test_only_werkzeug_is_blamed_on_the_extra(
    monkeypatch: pytest.MonkeyPatch, missing: str, told: str
) -> None:
    package = "thingspace_auth_adapters.simulator"
    for name in [name for name in sys.modules if name.startswith((package, f"{missing}."))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=told):
        importlib.import_module(package)
