"""Part 1, rule 11: what a library raises on the way is of its own family, and names the call."""

from __future__ import annotations

import errno
import importlib.util
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from thingspace_auth_adapters import ThingspaceAuthError, VzM2mCredentials

from ..support.kinds import PASSWORD, Kind
from ..support.loopback import Loopback, Raw
from ..support.virtual import Platform, VirtualClock

pytestmark = pytest.mark.usefixtures("clock")

PURPOSES = {"token": "the token endpoint", "login": "the login"}
INVALID = "https://thingspace.invalid"


def options_for(purpose: str) -> dict[str, Any]:
    """Options for an object whose first call is that of this endpoint."""
    if purpose == "token":
        return {}
    return {"oauth_token": {"access_token": "x"}, "m2m": VzM2mCredentials("user", PASSWORD)}


ODD_ANSWERS = {
    "negative chunk": b"Transfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
    "no chunk size": b"Transfer-Encoding: chunked\r\n\r\nx\r\nhello\r\n0\r\n\r\n",
    "endless chunk": b"Transfer-Encoding: chunked\r\n\r\nffffffff\r\nhello",
    "negative length": b"Content-Length: -1\r\n\r\n{}",
    "wrong length": b"Content-Length: 999\r\n\r\n{}",
    "no gzip": b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
    "header line": b"\xff\xfe: \x00\r\n\r\n{}",
    "odd encoding": b"Content-Encoding: \xe9\r\nContent-Length: 2\r\n\r\n{}",
}


# httpx leaves generators of its own to the collector if a stream ends early.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", list(ODD_ANSWERS))
@pytest.mark.parametrize("purpose", list(PURPOSES))
def test_malformed_answer(kind: Kind, platform: Platform, purpose: str, name: str) -> None:
    platform.tokens = [Raw([b"HTTP/1.1 200 OK\r\n" + ODD_ANSWERS[name]])] * 9
    platform.logins = platform.tokens
    with Loopback(platform) as server:
        auth = kind.auth(base_url=server.url, **options_for(purpose))
        with pytest.raises(kind.request_error) as caught:
            kind.get(auth, server.url)
    assert PURPOSES[purpose] in str(caught.value) or isinstance(caught.value, ThingspaceAuthError)
    assert len(platform.login_calls) <= 2


def assert_named_and_not_tried_again(kind: Kind, auth: Any, clock: VirtualClock) -> None:
    with pytest.raises(kind.request_error, match="the token endpoint could not be reached"):
        kind.fetch_token(auth)
    assert clock.pauses == []


# Newer httpx would have us make the context ourselves; older one passes over the variable.
@pytest.mark.filterwarnings("ignore:.*verify=:DeprecationWarning")
@pytest.mark.parametrize("content", [None, "no certificate\n"], ids=["missing", "unreadable"])
def test_ca_file_that_is_of_no_use_is_no_reason_to_try_again(
    kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: VirtualClock, content: Any
) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(path))
    options: dict[str, Any] = {} if kind.is_requests else {"client_options": {"verify": str(path)}}
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        assert_named_and_not_tried_again(kind, kind.auth(base_url=url, **options), clock)


PROXIES = ["foo://127.0.0.1:1", "socks5://127.0.0.1:1", "http://127.0.0.1:port", "http://[::1"]


@pytest.mark.parametrize("proxy", PROXIES)
def test_unusable_proxy_is_no_reason_to_try_again(
    kind: Kind, monkeypatch: pytest.MonkeyPatch, clock: VirtualClock, proxy: str
) -> None:
    if kind.is_requests and "socks" in proxy and importlib.util.find_spec("socks") is not None:
        pytest.skip("with PySocks, which HTTPie brings along, it is a proxy like any other")
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    assert_named_and_not_tried_again(kind, kind.auth(base_url=INVALID), clock)


@pytest.mark.parametrize("hosts", ["[::1]", "http://[", "a\tb"])
def test_odd_list_of_hosts_without_a_proxy(
    kind: Kind, monkeypatch: pytest.MonkeyPatch, hosts: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", hosts)
    options: dict[str, Any] = {} if kind.is_requests else {"client_options": {"verify": False}}
    with pytest.raises(kind.request_error, match="the token endpoint could not be reached"):
        kind.fetch_token(kind.auth(base_url=INVALID, **options))


@pytest.mark.parametrize("what", ["client", "connection"])
@pytest.mark.parametrize("purpose", list(PURPOSES))
def test_no_file_descriptors_left(
    kind: Kind, platform: Platform, monkeypatch: pytest.MonkeyPatch, purpose: str, what: str
) -> None:
    """Neither for a client nor for its connection. Then there are some again."""

    def no_more(*args: Any, **kwargs: Any) -> Any:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    place: Any = kind.library
    if kind.is_requests:
        from thingspace_auth_adapters._adapters import requests_transport as place
    with Loopback(platform) as server:
        auth = kind.auth(base_url=server.url, **options_for(purpose))
        with monkeypatch.context() as patched:
            if what == "client":
                patched.setattr(place, "Session" if kind.is_requests else "Client", no_more)
            else:
                patched.setattr(socket.socket, "connect", no_more)
            with pytest.raises(kind.request_error) as caught:
                (kind.fetch_token if purpose == "token" else kind.fetch_session)(auth)
        assert f"{PURPOSES[purpose]} could not be reached" in str(caught.value)
        assert os.strerror(errno.EMFILE) in str(caught.value)
        assert kind.get(auth, server.url + "/api").status == 200
    assert len(platform.login_calls) == (purpose == "login")
