"""The module ``_adapters/obstacle``: why a call brought no answer, told by types."""

from __future__ import annotations

import copy
import socket
import ssl
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Callable

import pytest

from thingspace_auth_adapters._adapters.obstacle import Obstacle, obstacle_of
from thingspace_auth_adapters._wire.messages import COMMON_HEADERS, HttpRequest, Refused

from ..support.kinds import INSTALLED, Kind
from ..support.loopback import nobody_listening
from ..support.sockets import SELF_SIGNED, listening

PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY")
LIBRARIES = list({kind.library_name: kind for kind in INSTALLED}.values())
SHORT_TIMEOUT = 0.2

Get = Callable[..., Any]


@pytest.fixture(params=LIBRARIES, ids=lambda kind: kind.library_name)
def undelivered(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Get:
    """Calls an endpoint with each library; the result is the error that it ends with."""
    kind: Kind = request.param
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)

    def call(base_url: str, timeout: float = 20.0) -> Exception:
        auth = kind.auth(oauth_client_id="k", oauth_client_secret="s3cret", base_url=base_url)
        request = HttpRequest("the token endpoint", f"{base_url}/token", dict(COMMON_HEADERS), b"")
        reply = auth._transport.send(request, timeout, time.monotonic() + 2 * timeout)
        assert isinstance(reply, Refused)
        return reply.error

    return call


def close(connection: socket.socket) -> None:
    connection.recv(65536)


def hang(connection: socket.socket) -> None:
    connection.settimeout(20)
    # Until the client has gone.
    while connection.recv(65536):
        pass


def answer_407(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 407 Who asks?\r\nContent-Length: 0\r\n\r\n")


def answer_403(connection: socket.socket) -> None:
    """Whose words hold the digits of another refusal."""
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 403 See 407 \r\nContent-Length: 0\r\n\r\n")


def raises(error: Exception) -> Callable[..., Any]:
    def fail(*args: object, **options: object) -> Any:
        raise error

    return fail


@pytest.mark.parametrize(
    ("serve", "scheme", "obstacle"),
    [
        (close, "http", Obstacle.LOST),
        (hang, "http", Obstacle.TIMEOUT),
        (answer_407, "https", Obstacle.TLS),
    ],
)
def test_an_endpoint_that_is_of_no_use(
    undelivered: Get, serve: Callable[[socket.socket], None], scheme: str, obstacle: Obstacle
) -> None:
    with listening(serve) as port:
        timeout = SHORT_TIMEOUT if serve is hang else 20.0
        assert undelivered(f"{scheme}://127.0.0.1:{port}", timeout).obstacle is obstacle


def test_a_port_at_which_nobody_listens(undelivered: Get) -> None:
    with nobody_listening() as url:
        assert undelivered(url).obstacle is Obstacle.ROUTE


@pytest.mark.parametrize(
    ("place", "error", "obstacle"),
    [
        ("socket.getaddrinfo", socket.gaierror(-2, "Name not known"), Obstacle.NAME),
        ("socket.socket.connect", socket.timeout("timed out"), Obstacle.CONNECT_TIMEOUT),
    ],
)
def test_a_connection_that_is_not_made(
    undelivered: Get,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    error: Exception,
    obstacle: Obstacle,
) -> None:
    monkeypatch.setattr(place, raises(error))
    assert undelivered("https://localhost:9").obstacle is obstacle


def test_a_certificate_that_nobody_vouches_for(undelivered: Get, tmp_path: Path) -> None:
    pem = tmp_path / "self-signed.pem"
    pem.write_text(SELF_SIGNED)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    with listening(lambda plain: context.wrap_socket(plain, server_side=True).close()) as port:
        error = undelivered(f"https://127.0.0.1:{port}")
    assert error.obstacle is Obstacle.CERTIFICATE


# http.client leaves the socket of a refused tunnel to the garbage collector, on Python 3.9.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("serve", "obstacle"),
    [(answer_407, Obstacle.PROXY_CREDENTIALS), (answer_403, Obstacle.PROXY)],
)
def test_a_proxy_that_refuses(
    undelivered: Get,
    monkeypatch: pytest.MonkeyPatch,
    serve: Callable[[socket.socket], None],
    obstacle: Obstacle,
) -> None:
    with listening(serve) as port:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
        assert undelivered("https://thingspace.example").obstacle is obstacle


def test_a_proxy_that_is_not_there_on_a_port_of_these_digits(
    undelivered: Get, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = ConnectionRefusedError(111, "Connection refused")
    monkeypatch.setattr("socket.socket.connect", raises(refused))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:407")
    assert undelivered("https://thingspace.example").obstacle in (Obstacle.PROXY, Obstacle.ROUTE)


@pytest.mark.parametrize("proxy", ["http://user:x/y@127.0.0.1:9", "foo://127.0.0.1:9"])
def test_a_proxy_that_is_no_url(
    undelivered: Get, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    assert undelivered("https://thingspace.example").obstacle is Obstacle.PROXY_SETTING


def test_a_file_of_ca_certificates_that_holds_none(
    undelivered: Get, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "empty.pem"
    file.write_text("nothing")
    for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.setenv(name, str(file))
    with listening(close) as port:
        assert undelivered(f"https://127.0.0.1:{port}").obstacle is Obstacle.CA_FILE


def test_a_copy_of_an_error_says_it_too(undelivered: Get) -> None:
    with listening(close) as port:
        error = undelivered(f"http://127.0.0.1:{port}")
    assert copy.copy(error).obstacle is Obstacle.LOST


class Proxy(Exception):
    """Stands for a library's own error, as those below do."""


class Connect(Exception):
    pass


class ConnectTime(Connect):
    pass


class Time(Exception):
    pass


class Url(Exception):
    pass


class Tls(Exception):
    pass


def raised(*errors: Exception) -> Exception:
    """The last of some errors each of which led to the next."""
    for one, other in zip(errors, errors[1:]):
        other.__context__ = one
    return errors[-1]


def ssl_error(library: str) -> ssl.SSLError:
    error = ssl.SSLError(1, "whatever")
    error.library = library
    return error


def unverified(code: int) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "whatever")
    error.verify_code = code
    return error


@pytest.mark.parametrize(
    ("errors", "obstacle"),
    [
        ([Proxy("403 Forbidden")], Obstacle.PROXY),
        ([Proxy("407 Who asks?")], Obstacle.PROXY_CREDENTIALS),
        ([Proxy("407 ")], Obstacle.PROXY_CREDENTIALS),
        (
            [OSError("Tunnel connection failed: 407 Who asks?"), Proxy()],
            Obstacle.PROXY_CREDENTIALS,
        ),
        ([OSError("port 407 refused"), Proxy("(port 407 refused)")], Obstacle.PROXY),
        ([Proxy("403 See 407 ")], Obstacle.PROXY),
        ([unverified(9), Connect()], Obstacle.CERTIFICATE_DATE),
        ([unverified(10), Connect()], Obstacle.CERTIFICATE_DATE),
        ([unverified(18), Connect()], Obstacle.CERTIFICATE),
        ([ssl_error("X509")], Obstacle.CA_FILE),
        ([ssl_error("PEM")], Obstacle.CA_FILE),
        ([ssl_error("SSL"), Connect()], Obstacle.TLS),
        ([Tls()], Obstacle.TLS),
        ([FileNotFoundError(2, "No such file")], Obstacle.CA_FILE),
        ([OSError("Could not find a suitable bundle")], Obstacle.CA_FILE),
        ([PermissionError(13, "Denied"), Connect()], Obstacle.ROUTE),
        ([ConnectTime()], Obstacle.CONNECT_TIMEOUT),
        ([Time()], Obstacle.TIMEOUT),
        ([Url()], Obstacle.PROXY_SETTING),
        ([ImportError("socksio")], Obstacle.PROXY_SETTING),
        ([ValueError("a chunk's length"), Exception()], Obstacle.LOST),
        ([OSError(104, "reset")], Obstacle.LOST),
    ],
    ids=repr,
)
def test_each_error_says_what_it_came_of(errors: Sequence[Exception], obstacle: Obstacle) -> None:
    found = obstacle_of(
        raised(*errors),
        proxy=(Proxy,),
        connect_timeout=(ConnectTime,),
        connect=(Connect,),
        timeout=(Time,),
        invalid_url=(Url,),
        tls=(Tls,),
    )
    assert found is obstacle


def test_errors_that_led_to_each_other_in_a_circle_come_to_an_end() -> None:
    one, other = Exception(), Exception()
    one.__context__, other.__context__ = other, one
    none: tuple[type[Exception], ...] = ()
    assert obstacle_of(one, none, none, none, none, none) is Obstacle.LOST
