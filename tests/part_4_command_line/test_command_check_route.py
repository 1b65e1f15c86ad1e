"""Part 4: ``thingspace-auth check`` tells what is in the way: names, routes, TLS and proxies."""

from __future__ import annotations

import gc
import importlib
import socket
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("click")
pytest.importorskip("rich")
pytest.importorskip("filelock")
pytest.importorskip("platformdirs")

from thingspace_auth_adapters.cli import check as check_module
from thingspace_auth_adapters.cli import clients
from thingspace_auth_adapters.simulator import ThingspaceSimulator

from ..support.command_line import PROXY_PASSWORD, Check, Shell, raising
from ..support.sockets import SELF_SIGNED, listening

LIBRARIES = {client.library: client for client in clients.CLIENTS if client.is_installed}
EXAMPLE = "https://thingspace.example"


@pytest.fixture(params=LIBRARIES.values(), ids=lambda client: client.library, autouse=True)
def client(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> clients.Client:
    """Each library that is installed, as if it were the only one."""
    found: clients.Client = request.param
    monkeypatch.setattr(clients, "CLIENTS", (found,))
    return found


def test_connection_refused(check: Check, closed_port: int) -> None:
    check.shell.set("THINGSPACE_BASE_URL", f"http://127.0.0.1:{closed_port}")
    wrong = check().wrong
    assert wrong.step == "route"
    assert "refused" in wrong.what
    assert str(closed_port) in wrong.what


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (socket.gaierror(-2, "Name or service not known"), "DNS"),
        (socket.timeout("timed out"), "no answer within"),
        (OSError(101, "Network is unreachable"), "no route"),
    ],
)
def test_no_route(check: Check, error: OSError, told: str) -> None:
    check.shell.set("THINGSPACE_BASE_URL", EXAMPLE)
    check.shell.patch.setattr(socket, "create_connection", raising(error))
    wrong = check().wrong
    assert wrong.step == "route"
    assert told in wrong.what
    assert "thingspace.example:443" in wrong.what


# TLS.


def test_tls_interception(check: Check, tmp_path: Path) -> None:
    pem = tmp_path / "self-signed.pem"
    pem.write_text(SELF_SIGNED)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    with listening(lambda plain: context.wrap_socket(plain, server_side=True).close()) as port:
        check.shell.set("THINGSPACE_BASE_URL", f"https://127.0.0.1:{port}")
        wrong = check().wrong
    assert wrong.step == "tls"
    assert "could not be verified" in wrong.what
    assert "REQUESTS_CA_BUNDLE" in wrong.remedy


def test_ca_certificates_that_are_not_there(check: Check, client: clients.Client) -> None:
    for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
        check.shell.set(name, "/no/such/file")
    with suppress(OSError):
        if client.library == "httpx" and importlib.import_module("httpx").create_ssl_context():
            pytest.skip("this httpx takes no notice of a file that is not there")
    check.shell.set("THINGSPACE_BASE_URL", check.simulator.url.replace("http:", "https:"))
    wrong = check().wrong
    assert wrong.step == "tls"
    assert "CA certificates" in wrong.what
    assert "REQUESTS_CA_BUNDLE" in wrong.remedy
    steps = [(finding["verdict"], finding["step"]) for finding in check.json()[3:]]
    assert steps == [("ok", "settings"), ("ok", "route"), ("wrong", "tls")]


def test_something_that_does_not_speak_tls(check: Check) -> None:
    check.shell.set("THINGSPACE_BASE_URL", check.simulator.url.replace("http:", "https:"))
    wrong = check().wrong
    assert (wrong.step, "does not speak TLS" in wrong.what) == ("tls", True)


# Proxies.


# http.client leaves the socket of a refused tunnel to the garbage collector, on Python 3.9.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_proxy_that_wants_to_know_who_asks(check: Check) -> None:
    def refuse(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 407 Who asks?\r\nContent-Length: 0\r\n\r\n")

    with listening(refuse) as port:
        check.shell.set("HTTPS_PROXY", f"http://user:{PROXY_PASSWORD}@127.0.0.1:{port}")
        check.shell.set("THINGSPACE_BASE_URL", EXAMPLE)
        checked = check()
    gc.collect()
    assert checked.line("route").what == f"the proxy 127.0.0.1:{port} can be reached"
    assert checked.wrong.step == "proxy"
    assert "407" in checked.wrong.what
    assert "http://user:password@host:port" in checked.wrong.remedy


@pytest.mark.parametrize("form", ["http://user:{0}@127.0.0.1:{1}", "user:{0}@127.0.0.1:{1}"])
def test_a_proxy_that_cannot_be_reached(check: Check, closed_port: int, form: str) -> None:
    check.shell.set("ALL_PROXY", form.format(PROXY_PASSWORD, closed_port))
    check.shell.set("THINGSPACE_BASE_URL", EXAMPLE)
    wrong = check().wrong
    assert wrong.step == "route"
    assert f"the proxy 127.0.0.1:{closed_port}" in wrong.what
    assert "HTTPS_PROXY" in wrong.remedy


def test_a_proxy_that_cannot_be_reached_is_no_reason_to_set_one(
    shell: Shell, simulator: ThingspaceSimulator, closed_port: int
) -> None:
    shell.patch.setattr("thingspace_auth_adapters._core.lifecycle.MOST_ATTEMPTS", 1)
    shell.set("HTTPS_PROXY", f"http://user:{PROXY_PASSWORD}@127.0.0.1:{closed_port}")
    shell.set("THINGSPACE_BASE_URL", EXAMPLE)
    ran = shell.failure("token", "--no-store")
    assert ran.complaint.startswith("thingspace-auth: the proxy ")
    assert "set HTTPS_PROXY" not in ran.remedy


@pytest.mark.parametrize("proxy", ["http://", f"http://user:{PROXY_PASSWORD}@host:port"])
def test_a_proxy_setting_that_is_no_url(check: Check, proxy: str) -> None:
    check.shell.set("HTTPS_PROXY", proxy)
    check.shell.set("THINGSPACE_BASE_URL", EXAMPLE)
    wrong = check().wrong
    assert (wrong.step, "HTTPS_PROXY" in wrong.what) == ("proxy", True)


@pytest.mark.parametrize("proxy", ["http://user:{0}/x@127.0.0.1:9", "foo://user:{0}@127.0.0.1:9"])
def test_a_proxy_setting_that_the_library_cannot_use_has_the_same_remedy_in_each_command(
    shell: Shell, simulator: ThingspaceSimulator, proxy: str
) -> None:
    shell.set("HTTPS_PROXY", proxy.format(PROXY_PASSWORD))
    shell.set("THINGSPACE_BASE_URL", EXAMPLE)
    ran = shell.failure("token", "--no-store")
    assert "HTTPS_PROXY" in ran.complaint
    assert ran.remedy.startswith("correct it: it is like http://host:port")


def test_a_proxy_whose_scheme_the_library_does_not_know_is_found(check: Check) -> None:
    with listening(lambda connection: None) as port:
        check.shell.set("HTTPS_PROXY", f"foo://user:{PROXY_PASSWORD}@127.0.0.1:{port}")
        check.shell.set("THINGSPACE_BASE_URL", EXAMPLE)
        wrong = check().wrong
    assert (wrong.step, "HTTPS_PROXY" in wrong.what) == ("proxy", True)


@pytest.mark.parametrize(
    ("proxy", "port"),
    [("http://proxy", 80), ("https://proxy", 443), ("socks5://proxy", 1080), ("proxy:3128", 3128)],
)
def test_the_port_of_a_proxy_is_the_usual_one_of_its_kind(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, proxy: str, port: int
) -> None:
    tried: list[tuple[str, int]] = []

    def connect(address: tuple[str, int], timeout: float) -> Any:
        tried.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", connect)
    shell.set("HTTPS_PROXY", proxy)
    assert check_module._route_finding(EXAMPLE).verdict is check_module.Verdict.WRONG
    assert tried == [("proxy", port)]


def test_a_host_that_needs_no_proxy_is_reached_without(
    shell: Shell, simulator: ThingspaceSimulator, closed_port: int
) -> None:
    def verdict(url: str) -> str:
        return check_module._route_finding(url).verdict.name

    https = simulator.url.replace("http:", "https:")
    shell.set("HTTPS_PROXY", f"http://127.0.0.1:{closed_port}")
    assert (verdict(simulator.url), verdict(https)) == ("OK", "WRONG")
    shell.set("NO_PROXY", "127.0.0.1")
    assert verdict(https) == "OK"
