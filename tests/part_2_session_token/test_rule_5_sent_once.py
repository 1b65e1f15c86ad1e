"""Part 2, rule 5: a login's body is sent once, so nothing beneath the object repeats a login."""

from __future__ import annotations

import errno
import http.client
import json
from collections.abc import Generator
from contextlib import suppress
from functools import partial
from http.client import HTTPConnection
from typing import Any, Callable, NamedTuple

import pytest

from thingspace_auth_adapters import M2mLoginError
from thingspace_auth_adapters.simulator import ThingspaceSimulator

from ..support import kinds
from ..support.crowds import PATH
from ..support.kinds import INSTALLED, Kind
from ..support.logins import (
    GENERAL,
    Policy,
    auth_at,
    blocked,
    credentials,
    fails,
    logs_in,
    retrying,
    through,
)
from ..support.real import PATIENCE, Threads, eventually
from ..support.virtual import (
    API,
    LOGIN_PATH,
    TOKEN_PATH,
    Answer,
    Call,
    Platform,
    login_refusal,
)

# In memory, with what may stand between the object and the network.


@pytest.mark.parametrize("total", [1, 5])
def test_login_alone_is_sent_without_the_retries_of_the_users_adapter(
    requests_kind: Kind, platform: Platform, total: int
) -> None:
    requests, asked_to_retry = requests_kind.library, {}

    class Adapter(requests.adapters.HTTPAdapter):  # type: ignore[name-defined,misc]
        def send(self, request: Any, **kwargs: Any) -> Any:
            asked_to_retry[request.path_url] = self.max_retries.total
            return kinds.requests_adapter(platform).send(request, **kwargs)

    session = requests.Session()
    for prefix in ("http://", "https://"):
        session.mount(prefix, Adapter(max_retries=total))
    auth = requests_kind.auth(session=session, m2m=credentials())
    assert auth.fetch_vz_m2m_token() == "session-1"
    assert asked_to_retry == {TOKEN_PATH: total, LOGIN_PATH: 0}


def test_body_of_a_login_has_its_length_announced(
    kind: Kind, platform: Platform, auth: Any
) -> None:
    kind.get(auth, API, platform)
    (login,) = platform.login_calls
    assert login.headers["content-length"] == str(len(login.body))
    assert "transfer-encoding" not in login.headers


def falling_back(kind: Kind, request: Any) -> Generator[None, Any, Any]:
    """What was tried first found no connection, which says nothing of what came then."""
    try:
        HTTPConnection("127.0.0.1", 1, timeout=PATIENCE).connect()
    except ConnectionError:
        return (yield)
    raise AssertionError("somebody listens on port 1")


def failing_in_its_own_words(kind: Kind, request: Any) -> Generator[None, Any, Any]:
    yield
    raise ConnectionResetError(errno.ECONNRESET, "the line went dead")


LOST = Answer(failure="protocol")


@pytest.mark.parametrize(
    ("policy", "answer"),
    [
        (retrying, login_refusal()),
        (retrying, Answer(500)),
        (retrying, LOST),
        (retrying, Answer(429)),
        (falling_back, LOST),
        (failing_in_its_own_words, Answer(500)),
    ],
)
@pytest.mark.usefixtures("clock")
def test_no_login_is_repeated_by_what_is_beneath_the_object(
    kind: Kind, platform: Platform, policy: Policy, answer: Answer
) -> None:
    platform.logins = [answer] * 99
    auth = kind.auth(m2m=credentials(), **through(kind, policy, platform))
    for _ in range(4):
        fails(kind, auth, platform)
    blocked(kind, auth, platform)
    assert 1 <= len(platform.login_calls) <= 2


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("way", ["read", "stream"])
def test_transport_may_take_the_body_in_its_own_way(
    httpx_kind: Kind, platform: Platform, way: str
) -> None:
    """As httpx-curl-cffi and httpx-aiohttp do; a lost connection may be called anything there."""
    library = httpx_kind.library

    class Transport(library.BaseTransport):  # type: ignore[name-defined,misc]
        def handle_request(self, request: Any) -> Any:
            looks = [request.content, request.read()] if way == "read" else []
            body = b"".join(request.stream) if way == "stream" else looks[0]
            assert looks in ([], [body, body])
            call = Call(request.method, str(request.url), dict(request.headers), body)
            answer = platform.handle(call)
            if call.path == LOGIN_PATH:
                raise library.ConnectTimeout("the server went away")
            return library.Response(answer.status, content=answer.body)

    auth = httpx_kind.auth(m2m=credentials(), client_options={"transport": Transport()})
    for _ in range(4):
        fails(httpx_kind, auth, platform)
    blocked(httpx_kind, auth, platform)
    assert len(platform.login_calls) == 2
    assert json.loads(platform.login_calls[0].body)["username"] == "the-user"


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("name", ["ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError"])
def test_failed_connect_of_httpx_before_the_body_was_read_is_no_attempt(
    httpx_kind: Kind, platform: Platform, name: str
) -> None:
    is_out_of_reach = True

    def unreachable(kind: Kind, request: Any) -> Generator[None, Any, Any]:
        if is_out_of_reach:
            raise getattr(kind.library, name)("no connection")
        return (yield)

    auth = httpx_kind.auth(m2m=credentials(), **through(httpx_kind, unreachable, platform))
    for _ in range(4):
        fails(httpx_kind, auth, platform)
    is_out_of_reach = False
    logs_in(httpx_kind, auth, platform)
    assert len(platform.login_calls) == 1


# Over sockets: what users put beneath the object so that it retries.


class Make(NamedTuple):
    """Something that retries.

    Attributes:
        library: whose it is.
        options: of an object that has it.
        passes_on: whether it passes the answer on that refuses a password.
    """

    library: str
    options: Callable[[Any], dict[str, Any]]
    passes_on: bool = False


def retrying_adapter(requests: Any) -> Any:
    from urllib3.util import Retry

    statuses = [400, 401, 403, 408, 429, 500, 502, 503, 504]
    retry = Retry(total=5, allowed_methods=None, status_forcelist=statuses)
    return requests.adapters.HTTPAdapter(max_retries=retry)


def session_with(adapter: Any, session: Any) -> dict[str, Any]:
    session.trust_env = False
    if adapter is not None:
        session.mount("http://", adapter)
    return {"session": session}


def usual_adapter(requests: Any) -> dict[str, Any]:
    return session_with(retrying_adapter(requests), requests.Session())


def adapter_around_another(requests: Any) -> dict[str, Any]:
    inner = retrying_adapter(requests)

    class Around(requests.adapters.BaseAdapter):  # type: ignore[misc]
        def send(self, request: Any, *args: Any, **kwargs: Any) -> Any:
            return inner.send(request, *args, **kwargs)

        def close(self) -> None:
            inner.close()

    return session_with(Around(), requests.Session())


def adapter_that_sends_again(requests: Any) -> dict[str, Any]:
    class Again(requests.adapters.HTTPAdapter):  # type: ignore[misc]
        def send(self, request: Any, *args: Any, **kwargs: Any) -> Any:
            return tried(partial(super().send, request, *args, **kwargs))

    return session_with(Again(), requests.Session())


def session_that_sends_copies_again(requests: Any) -> dict[str, Any]:
    class Again(requests.Session):  # type: ignore[misc]
        def send(self, request: Any, **kwargs: Any) -> Any:
            send = super().send
            return tried(lambda: send(request.copy(), **kwargs))

    return session_with(None, Again())


def session_that_raises_for_status(requests: Any) -> dict[str, Any]:
    class Raising(requests.Session):  # type: ignore[misc]
        def send(self, request: Any, **kwargs: Any) -> Any:
            response = super().send(request, **kwargs)
            response.raise_for_status()
            return response

    return session_with(None, Raising())


def tried(send: Callable[[], Any]) -> Any:
    """Six times, until there is a success."""
    for _ in range(5):
        with suppress(Exception):
            response = send()
            if response.status_code < 400:
                return response
            response.close()
    return send()


def real_transport(library: Any) -> Any:
    # Without connections that are kept: nobody closes a transport of the user's.
    return library.HTTPTransport(verify=False, limits=library.Limits(max_keepalive_connections=0))


def transport_around(library: Any, handle: Callable[[Any, Any], Any]) -> dict[str, Any]:
    inner = real_transport(library)

    class Around(library.BaseTransport):  # type: ignore[misc]
        def handle_request(self, request: Any) -> Any:
            return handle(inner, request)

        def close(self) -> None:
            inner.close()

    return {"client_options": {"transport": Around()}}


def transport_that_sends_again(httpx: Any) -> dict[str, Any]:
    return transport_around(
        httpx, lambda inner, request: tried(partial(inner.handle_request, request))
    )


def transport_that_sends_what_it_read(httpx: Any) -> dict[str, Any]:
    """Once: if it repeated that by itself, nothing could stop it."""

    def handle(inner: Any, request: Any) -> Any:
        body = request.read()
        connection = http.client.HTTPConnection(request.url.host, request.url.port, timeout=5)
        try:
            connection.request(request.method, request.url.path, body, dict(request.headers))
            answer = connection.getresponse()
            return httpx.Response(answer.status, headers=answer.getheaders(), content=answer.read())
        except OSError as error:
            raise httpx.ReadError(str(error)) from error
        finally:
            connection.close()

    return transport_around(httpx, handle)


def httpx_retries(httpx: Any) -> dict[str, Any]:
    made = pytest.importorskip("httpx_retries")
    forcelist = [400, 500, 503]
    retry = made.Retry(total=5, allowed_methods=["GET", "POST"], status_forcelist=forcelist)
    transport = made.RetryTransport(transport=real_transport(httpx), retry=retry)
    return {"client_options": {"transport": transport}}


def tenacity_in_the_transport(httpx: Any) -> dict[str, Any]:
    tenacity = pytest.importorskip("tenacity")
    retry = tenacity.Retrying(stop=tenacity.stop_after_attempt(6), reraise=True)
    return transport_around(httpx, lambda inner, request: retry(inner.handle_request, request))


def session_that_caches(requests: Any) -> dict[str, Any]:
    requests_cache = pytest.importorskip("requests_cache")
    options = {"backend": "memory", "allowable_methods": ("GET", "POST"), "stale_if_error": True}
    return session_with(None, requests_cache.CachedSession(**options))


MAKES = [
    Make("requests", usual_adapter, passes_on=True),
    Make("requests", adapter_around_another),
    Make("requests", adapter_that_sends_again),
    Make("requests", session_that_sends_copies_again),
    Make("requests", session_that_raises_for_status, passes_on=True),
    Make("requests", session_that_caches, passes_on=True),
    Make("httpx", transport_that_sends_again),
    Make("httpx", transport_that_sends_what_it_read, passes_on=True),
    Make("httpx", httpx_retries),
    Make("httpx", tenacity_in_the_transport, passes_on=True),
]

FAILURES: dict[str, Callable[[ThingspaceSimulator], object]] = {
    "lost": lambda simulator: simulator.fail("login", "drop", times=None),
    "500": lambda simulator: simulator.fail("login", 500, times=None),
    "general code": lambda simulator: simulator.fail("login", 400, times=None, body=GENERAL),
    "refused": lambda simulator: setattr(simulator, "password", "another"),
}


@pytest.mark.once
@pytest.mark.usefixtures("short_pauses")
@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("make", MAKES, ids=lambda make: make.options.__name__)
def test_what_retries_beneath_the_object_repeats_no_login(
    simulator: ThingspaceSimulator, make: Make, failure: str
) -> None:
    library = pytest.importorskip(make.library)
    kind = next(kind for kind in INSTALLED if kind.library_name == make.library)
    options = make.options(library)
    auth = auth_at(simulator, kind, **options)
    FAILURES[failure](simulator)
    for _ in range(6):
        with pytest.raises(kind.request_error) as caught:
            kind.get(auth, simulator.url + PATH)
    (options.get("session") or options["client_options"]["transport"]).close()
    assert isinstance(caught.value, M2mLoginError)
    # Who sends a refused one again, and gets an error for that, never tells that it was refused.
    at_most = 1 if failure == "refused" and make.passes_on else 2
    assert 1 <= len(simulator.login_requests) <= at_most
    assert not simulator.is_locked


@pytest.mark.usefixtures("short_pauses")
def test_retry_that_finds_no_connection_does_not_hide_what_was_sent(requests_kind: Kind) -> None:
    with ThingspaceSimulator() as found:
        port = int(found.url.rpartition(":")[2])
    simulator = ThingspaceSimulator(port=port, sessions_required=True)
    simulator.start()
    options = usual_adapter(requests_kind.library)
    auth = auth_at(simulator, requests_kind, **options)
    auth.oauth_token = auth.fetch_token()
    for _ in range(4):
        outcome = get_while_it_goes_away(requests_kind, auth, simulator)
        assert isinstance(outcome, requests_kind.request_error)
    # The server may also have gone before it noted what it got.
    assert 1 <= len(simulator.login_requests) <= 2
    assert isinstance(outcome, M2mLoginError)


def get_while_it_goes_away(kind: Kind, auth: Any, simulator: ThingspaceSimulator) -> Any:
    """The outcome of a request whose login loses its connection to a server that is then gone."""
    simulator.start()
    simulator.fail("login", "hang")
    before = len(simulator.login_requests)
    threads = Threads()
    threads.start(kind.get, auth, simulator.url + PATH)
    eventually(lambda: len(simulator.login_requests) > before or threads.outcomes)
    simulator.close()
    (outcome,) = threads.join()
    return outcome
