"""What locked accounts, or locked their owners out, in the first version: each as it was found."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from thingspace_auth_adapters import M2mLoginError, VzM2mCredentials
from thingspace_auth_adapters.simulator import ThingspaceSimulator

from ..support.kinds import ASYNC_KINDS, INSTALLED, LOOP_KINDS, Kind
from ..support.optional import anyio
from ..support.real import PATIENCE, Threads, aeventually, eventually, options_for
from ..support.virtual import LOGIN_REFUSED, Answer, Platform, VirtualClock
from .test_login_guard import (
    HOUR,
    Policy,
    blocked,
    credentials,
    fails,
    logs_in,
    retrying,
    through,
)

PATH = "/api/m2m/v1/devices"
ROOT = Path(__file__).resolve().parents[2]
CROWD = 8
SHORT = 0.5

REQUESTS_KINDS = [kind for kind in INSTALLED if kind.is_requests]
ASYNCIO_KINDS = [kind for kind in ASYNC_KINDS if kind.backend == "asyncio"]


@pytest.fixture
def simulator() -> Iterator[ThingspaceSimulator]:
    with ThingspaceSimulator(sessions_required=True, login_ends_session=True) as running:
        yield running


@pytest.fixture(params=REQUESTS_KINDS, ids=lambda kind: kind.name)
def requests_kind(request: pytest.FixtureRequest) -> Kind:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(params=ASYNCIO_KINDS, ids=lambda kind: kind.name)
def asyncio_kind(request: pytest.FixtureRequest) -> Kind:
    return request.param  # type: ignore[no-any-return]


def auth_for(kind: Kind, simulator: ThingspaceSimulator, **options: Any) -> Any:
    m2m = VzM2mCredentials(simulator.username, simulator.password)
    return kind.auth(**{**options_for(simulator), "m2m": m2m, **options})


def wrong(simulator: ThingspaceSimulator) -> VzM2mCredentials:
    return VzM2mCredentials(simulator.username, "wrong")


def assert_two_logins_at_most(
    kind: Kind, auth: Any, simulator: ThingspaceSimulator, requests: int = 4
) -> None:
    """However many requests need a session, and then none is attempted."""
    for _ in range(requests):
        with pytest.raises(kind.request_error):
            kind.get(auth, simulator.url + PATH)
    assert 1 <= len(simulator.login_requests) <= 2
    assert not simulator.is_locked
    with pytest.raises(M2mLoginError):
        kind.get(auth, simulator.url + PATH)
    assert len(simulator.login_requests) <= 2


def make_fail(simulator: ThingspaceSimulator, failure: Any) -> None:
    if failure == "drop":
        simulator.fail("login", failure, times=None)
    elif failure == "500":
        simulator.fail("login", 500, times=None)
    else:
        simulator.password = "changed"


FAILURES = ["drop", "500", "wrong password"]


# What is beneath the adapter and repeats a login.


@pytest.mark.usefixtures("short_pauses")
@pytest.mark.parametrize("failure", FAILURES)
def test_session_whose_adapter_retries_posts(
    requests_kind: Kind, simulator: ThingspaceSimulator, failure: str
) -> None:
    auth = auth_for(requests_kind, simulator, session=retrying_session())
    make_fail(simulator, failure)
    assert_two_logins_at_most(requests_kind, auth, simulator)


def retrying_session() -> Any:
    import requests
    from urllib3.util import Retry

    forcelist = [400, 401, 403, 429, 500, 502, 503, 504]
    retry = Retry(total=5, allowed_methods=None, status_forcelist=forcelist)
    session = requests.Session()
    session.trust_env = False
    session.mount("http://", requests.adapters.HTTPAdapter(max_retries=retry))
    return session


def test_session_whose_last_retry_cannot_connect(requests_kind: Kind) -> None:
    with ThingspaceSimulator() as found:
        port = int(found.url.rpartition(":")[2])
    simulator = ThingspaceSimulator(port=port, sessions_required=True)
    simulator.start()
    auth = auth_for(requests_kind, simulator, session=retrying_session())
    auth.oauth_token = auth.fetch_token()
    for _ in range(3):
        outcome = get_while_it_goes_away(requests_kind, auth, simulator)
        assert isinstance(outcome, requests_kind.request_error)
    assert len(simulator.login_requests) == 2
    with pytest.raises(M2mLoginError):
        requests_kind.get(auth, simulator.url + PATH)


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


def connect(kind: Kind, request: Any) -> Generator[None, Any, Any]:
    """A function of this name is in the traceback of whatever fails."""
    return (yield)


def falling_back(kind: Kind, request: Any) -> Generator[None, Any, Any]:
    try:
        HTTPConnection("127.0.0.1", 1, timeout=PATIENCE).connect()
    except ConnectionError:
        return (yield)
    raise AssertionError("somebody listens on port 1")


def out_of_reach_after_sending(kind: Kind, request: Any) -> Generator[None, Any, Any]:
    try:
        yield
    except Exception as error:
        raise kind.library.ConnectTimeout("the last retry could not connect") from error


@pytest.mark.usefixtures("short_pauses")
@pytest.mark.parametrize(
    ("policy", "failure"),
    [
        *((retrying, failure) for failure in FAILURES),
        (connect, "drop"),
        (falling_back, "drop"),
        (out_of_reach_after_sending, "drop"),
    ],
)
def test_adapters_and_transports_of_all_sorts(
    kind: Kind, simulator: ThingspaceSimulator, policy: Policy, failure: str
) -> None:
    if kind.is_requests and policy is out_of_reach_after_sending:
        pytest.skip("an adapter that says of what it sent that it did not is believed")
    auth = auth_for(kind, simulator, **through(kind, policy))
    make_fail(simulator, failure)
    assert_two_logins_at_most(kind, auth, simulator)


@pytest.mark.usefixtures("short_pauses")
@pytest.mark.parametrize("methods", [("GET", "HEAD"), ("GET", "HEAD", "POST")], ids=["get", "post"])
def test_session_that_caches(
    requests_kind: Kind, simulator: ThingspaceSimulator, methods: tuple[str, ...]
) -> None:
    requests_cache = pytest.importorskip("requests_cache")
    options = {"backend": "memory", "allowable_methods": methods, "stale_if_error": True}
    with requests_cache.CachedSession(**options) as session:
        session.trust_env = False
        auth = auth_for(requests_kind, simulator, session=session)
        assert requests_kind.get(auth, simulator.url + PATH).status == 200
        assert len(simulator.login_requests) == 1
    simulator.clear()
    with requests_cache.CachedSession(**options) as session:
        session.trust_env = False
        auth = auth_for(requests_kind, simulator, session=session)
        simulator.fail("login", "drop", times=None)
        assert_two_logins_at_most(requests_kind, auth, simulator)


# Whose count it is.


@pytest.mark.usefixtures("short_pauses")
@pytest.mark.parametrize(("failure", "logins"), [("500", 2), ("wrong password", 1)])
def test_objects_that_are_unpickled_per_task(
    kind: Kind, simulator: ThingspaceSimulator, failure: str, logins: int
) -> None:
    pickled = pickle.dumps(auth_for(kind, simulator))
    make_fail(simulator, failure)
    for _ in range(8):
        with pytest.raises(M2mLoginError):
            kind.get(pickle.loads(pickled), simulator.url + PATH)
    assert len(simulator.login_requests) == logins


@pytest.mark.usefixtures("short_pauses")
@pytest.mark.parametrize(("failure", "logins"), [("drop", 2), ("wrong password", 1)])
def test_objects_that_log_in_at_the_same_time(
    kind: Kind, simulator: ThingspaceSimulator, failure: str, logins: int
) -> None:
    token = token_of(kind, simulator)
    auths = [auth_for(kind, simulator, oauth_token=token) for _ in range(CROWD)]
    make_fail(simulator, failure)
    simulator.latency["login"] = 0.1
    outcomes = at_the_same_time(kind, auths, simulator.url + PATH)
    assert len(outcomes) == CROWD
    assert [one for one in outcomes if not isinstance(one, kind.request_error)] == []
    eventually(lambda: len(simulator.login_requests) >= logins)
    assert len(simulator.login_requests) == logins


def token_of(kind: Kind, simulator: ThingspaceSimulator) -> Any:
    """A token in advance: it is not to be had within the short timeout that a test may need."""
    return kind.fetch_token(auth_for(kind, simulator))


def at_the_same_time(kind: Kind, auths: list[Any], url: str) -> list[Any]:
    """What one caller for each object gets: each in a thread, or on either of two event loops."""
    threads = Threads()
    if not kind.is_async:
        for auth in auths:
            threads.start(kind.get, auth, url)
        return threads.join()
    outcomes: list[Any] = []
    for half in (auths[::2], auths[1::2]):
        threads.start(kind.run, on_one_loop, kind, half, url, outcomes)
    assert threads.join() == [None, None]
    return outcomes


async def on_one_loop(kind: Kind, auths: list[Any], url: str, outcomes: list[Any]) -> None:
    async with anyio.create_task_group() as group:
        for auth in auths:
            group.start_soon(get, kind, auth, url, outcomes)


async def get(kind: Kind, auth: Any, url: str, outcomes: list[Any]) -> None:
    async with kind.library.AsyncClient(auth=auth, verify=False, timeout=PATIENCE) as client:
        try:
            outcomes.append((await client.get(url)).status_code)
        except kind.request_error as error:
            outcomes.append(error)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform cannot fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_objects_of_forked_children(sync_kind: Kind, simulator: ThingspaceSimulator) -> None:
    with pytest.raises(M2mLoginError):
        sync_kind.get(auth_for(sync_kind, simulator, m2m=wrong(simulator)), simulator.url + PATH)
    children: list[int] = []
    for _ in range(3):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                auth = auth_for(sync_kind, simulator, m2m=wrong(simulator))
                sync_kind.get(auth, simulator.url + PATH)
            except M2mLoginError as error:
                status = 0 if error.status_code == 400 else 2
            finally:
                os._exit(status)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 3
    assert len(simulator.login_requests) == 1


PROCESS = """
import json, sys
from tests.support.kinds import INSTALLED
from thingspace_auth_adapters import VzM2mCredentials
from thingspace_auth_adapters.stores import FileTokenStore
task = json.loads(sys.argv[1])
auth = INSTALLED[0].auth(
    **task["options"], m2m=VzM2mCredentials(*task["m2m"]), store=FileTokenStore(task["store"])
)
INSTALLED[0].get(auth, task["options"]["base_url"] + task["path"])
"""


@pytest.mark.once
@pytest.mark.skipif(os.name != "posix", reason="kills processes as POSIX does")
@pytest.mark.parametrize("logins", [1, 2], ids=["first login", "second login"])
def test_processes_that_are_killed_in_their_logins(
    simulator: ThingspaceSimulator, tmp_path: Path, logins: int
) -> None:
    pytest.importorskip("filelock")
    pytest.importorskip("platformdirs")
    for _ in range(3):
        if logins == 2:
            simulator.fail("login", "drop")
        simulator.fail("login", "hang")
    errors = [killed_in_its_login(simulator, tmp_path / "store", logins) for _ in range(3)]
    assert len(simulator.login_requests) == 2
    assert all("M2mLoginError" in each for each in errors[2:])


def killed_in_its_login(simulator: ThingspaceSimulator, store: Path, logins: int) -> str:
    """What a process wrote that was killed as soon as so many logins arrived, or that ended."""
    task = {
        "options": options_for(simulator),
        "m2m": [simulator.username, simulator.password],
        "store": str(store),
        "path": PATH,
    }
    awaited = len(simulator.login_requests) + logins
    process = subprocess.Popen(
        [sys.executable, "-c", PROCESS, json.dumps(task)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        eventually(lambda: len(simulator.login_requests) == awaited or process.poll() is not None)
    finally:
        process.kill()
        _, errors = process.communicate()
    return errors


# Answers that were taken for something else.


@pytest.mark.parametrize(
    "answer",
    [
        Answer(504, {"fault": {"code": 101504, "type": "Status report"}}),
        Answer(504, {"fault": {"code": "101504", "message": "Send timeout"}}),
        Answer(500, {"fault": {"code": "101503", "message": "Error connecting to the back end"}}),
    ],
    ids=["504", "504 text", "500"],
)
def test_connection_behind_the_gateway_that_timed_out_is_of_unknown_outcome(
    kind: Kind, platform: Platform, clock: VirtualClock, answer: Answer
) -> None:
    auth = kind.auth(platform, m2m=credentials())
    platform.logins = [answer] * 99
    for _ in range(5):
        fails(kind, auth, platform)
    blocked(kind, auth, platform)
    assert len(platform.login_calls) == 2


@pytest.mark.parametrize(
    "answer",
    [
        Answer(401, {"error": "invalid_token", **LOGIN_REFUSED}),
        Answer(401, LOGIN_REFUSED, {"WWW-Authenticate": 'Bearer error="invalid_token"'}),
    ],
    ids=["body", "header"],
)
def test_401_with_invalid_token_and_an_error_code_of_the_logins_own_is_a_refusal(
    kind: Kind, platform: Platform, clock: VirtualClock, answer: Answer
) -> None:
    auth = kind.auth(platform, m2m=credentials())
    platform.logins = [answer] * 99
    for _ in range(5):
        assert fails(kind, auth, platform).status_code == 401
    blocked(kind, auth, platform)
    assert len(platform.login_calls) == 1


def test_error_page_of_a_proxy_is_not_a_refusal(
    kind: Kind, platform: Platform, clock: VirtualClock
) -> None:
    page = Answer(403, b"<html>Request blocked.</html>", {"Content-Type": "text/html"})
    auth = kind.auth(platform, m2m=credentials())
    platform.logins = [page] * 2
    fails(kind, auth, platform)
    fails(kind, auth, platform)
    assert blocked(kind, auth, platform).status_code is None
    clock.advance(HOUR + 1)
    logs_in(kind, auth, platform)


# Impatient callers.


def test_callers_who_are_cancelled_while_they_connect_lock_nobody_out(
    async_kind: Kind, simulator: ThingspaceSimulator
) -> None:
    """The login goes on without them, and serves whoever comes next."""
    library = async_kind.library
    connecting, may_connect = threading.Event(), threading.Event()

    class Connecting(library.HTTPTransport):  # type: ignore[name-defined,misc]
        def handle_request(self, request: Any) -> Any:
            if "login" in request.url.path:
                connecting.set()
                may_connect.wait(PATIENCE)
            return super().handle_request(request)

    transport = Connecting(verify=False)
    auth = auth_for(async_kind, simulator, client_options={"transport": transport})

    async def cancelled_while_connecting(client: Any) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(client.get, simulator.url + PATH)
            await aeventually(connecting.is_set)
            group.cancel_scope.cancel()

    async def story() -> None:
        async with library.AsyncClient(auth=auth, verify=False, timeout=PATIENCE) as client:
            for _ in range(5):
                await cancelled_while_connecting(client)
            may_connect.set()
            assert (await client.get(simulator.url + PATH)).status_code == 200

    async_kind.run(story)
    transport.close()
    assert len(simulator.login_requests) == 1


class Callers:
    """Tasks that make a request each on one event loop."""

    def __init__(self, kind: Kind, auth: Any, url: str) -> None:
        self._kind = kind
        self._auth = auth
        self._url = url
        self.outcomes: list[Any] = []
        self.begun = 0

    async def patient(self) -> None:
        self.begun += 1
        await get(self._kind, self._auth, self._url, self.outcomes)

    async def impatient(self, scope: Any) -> None:
        with scope:
            await get(self._kind, self._auth, self._url, [])


def test_impatient_callers_of_a_slow_login_lock_nobody_out(
    async_kind: Kind, simulator: ThingspaceSimulator
) -> None:
    simulator.fail("login", "hang", times=None)
    auth = auth_for(async_kind, simulator)
    callers = Callers(async_kind, auth, simulator.url + PATH)

    async def story() -> None:
        async with anyio.create_task_group() as group:
            first = anyio.CancelScope()
            group.start_soon(callers.impatient, first)
            await aeventually(lambda: simulator.login_requests)
            first.cancel()
            second = anyio.CancelScope(deadline=anyio.current_time() + 0.1)
            group.start_soon(callers.impatient, second)
            await aeventually(lambda: second.cancel_called)
            for _ in range(CROWD):
                group.start_soon(callers.patient)
            await aeventually(lambda: callers.begun == CROWD)
            simulator.recover("login")

    async_kind.run(story)
    assert callers.outcomes == [200] * CROWD
    assert len(simulator.login_requests) == 1


def test_refusal_of_a_login_whose_caller_was_cancelled_counts(
    async_kind: Kind, simulator: ThingspaceSimulator
) -> None:
    simulator.fail("login", "hang", times=1)
    auth = auth_for(async_kind, simulator, m2m=wrong(simulator))
    callers = Callers(async_kind, auth, simulator.url + PATH)

    async def story() -> None:
        async with anyio.create_task_group() as group:
            scope = anyio.CancelScope()
            group.start_soon(callers.impatient, scope)
            await aeventually(lambda: simulator.login_requests)
            scope.cancel()
            simulator.recover("login")
        for _ in range(3):
            await callers.patient()

    async_kind.run(story)
    assert [outcome.status_code for outcome in callers.outcomes] == [400] * 3
    assert (len(simulator.login_requests), simulator.failed_logins) == (1, 1)


@pytest.mark.parametrize("kind", LOOP_KINDS, ids=lambda kind: kind.name)
def test_login_whose_caller_was_cancelled_ends_with_the_timeout(
    kind: Kind, simulator: ThingspaceSimulator
) -> None:
    simulator.fail("login", "hang", times=None)
    token = token_of(kind, simulator)
    auth = auth_for(kind, simulator, oauth_token=token, timeout=SHORT)
    callers = Callers(kind, auth, simulator.url + PATH)

    async def story() -> None:
        async with anyio.create_task_group() as group:
            scope = anyio.CancelScope()
            group.start_soon(callers.impatient, scope)
            await aeventually(lambda: simulator.login_requests)
            scope.cancel()
            for _ in range(CROWD):
                group.start_soon(callers.patient)
        while len(simulator.login_requests) < 2:
            await callers.patient()
        await callers.patient()

    kind.run(story)
    assert len(callers.outcomes) > CROWD
    assert all(isinstance(outcome, kind.request_error) for outcome in callers.outcomes)
    assert isinstance(callers.outcomes[-1], M2mLoginError)
    assert len(simulator.login_requests) == 2


def test_login_goes_on_after_the_end_of_its_event_loop(
    asyncio_kind: Kind, simulator: ThingspaceSimulator
) -> None:
    """The next caller, on another loop, gets what it brings."""
    simulator.fail("login", "hang", times=None)
    auth = auth_for(asyncio_kind, simulator)
    callers = Callers(asyncio_kind, auth, simulator.url + PATH)

    async def cancelled_in_the_login() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(callers.patient)
            await aeventually(lambda: simulator.login_requests)
            group.cancel_scope.cancel()

    for _ in range(2):
        asyncio_kind.run(cancelled_in_the_login)
    simulator.recover("login")
    asyncio_kind.run(callers.patient)
    assert callers.outcomes == [200]
    assert len(simulator.login_requests) == 1
