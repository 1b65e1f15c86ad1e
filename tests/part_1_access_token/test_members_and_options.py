"""The contract, Part 1: the options and members of an auth object, and what its copies keep."""

from __future__ import annotations

import copy
import errno
import logging
import os
import pickle
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, SimpleNamespace
from typing import Any, Callable

import pytest

from thingspace_auth_adapters import (
    M2mLoginError,
    OauthToken,
    ReentrantRequestError,
    VzM2mCredentials,
)
from thingspace_auth_adapters._core import tokens as tokens_module
from thingspace_auth_adapters._core.lifecycle import Lifecycle
from thingspace_auth_adapters._core.refresh import Caller, Failed, Limits, Refresh
from thingspace_auth_adapters.simulator import ThingspaceSimulator
from thingspace_auth_adapters.stores import StoreBusy, StoreUnavailable, TokenStore

from ..support.kinds import ADAPTER_KINDS, ASYNC_KINDS, PASSWORD, Kind
from ..support.optional import anyio
from ..support.real import PATIENCE, Threads, aeventually, eventually, options_for
from ..support.virtual import (
    API,
    BASE,
    GATEWAY_REFUSAL,
    LOGIN_PATH,
    Answer,
    Platform,
    VirtualClock,
    login_refusal,
    session_refusal,
)

EDGE = "https://5gedge.verizon.com"
PATH = "/api/m2m/v1/devices"


@pytest.fixture
def simulator() -> Iterator[ThingspaceSimulator]:
    with ThingspaceSimulator() as running:
        yield running


def account() -> VzM2mCredentials:
    return VzM2mCredentials("user", PASSWORD)


# What is in force, and cannot be changed.


def test_settings_can_be_read(kind: Kind) -> None:
    auth = kind.auth(base_url="https://proxy.example:8443", timeout=7)
    assert (auth.base_url, auth.timeout) == ("https://proxy.example:8443", 7)
    assert auth.allowed_hosts == ("proxy.example:8443",)
    assert kind.auth(allowed_hosts=["*.example", "x.test"]).allowed_hosts == ("*.example", "x.test")


@pytest.mark.parametrize("name", ["base_url", "allowed_hosts", "timeout"])
def test_assigned_setting_is_an_error_that_says_to_make_a_new_object(kind: Kind, name: str) -> None:
    auth = kind.auth()
    before = getattr(auth, name)
    with pytest.raises(AttributeError, match=f"{name} of a ThingspaceAuth .* make a new one"):
        setattr(auth, name, before)
    assert getattr(auth, name) == before


# Hosts that get a token by default.


@pytest.mark.parametrize("base_url", [BASE, EDGE])
def test_both_hosts_of_the_platform_and_their_subdomains_are_allowed(
    kind: Kind, platform: Platform, base_url: str
) -> None:
    auth = kind.auth(platform, base_url=base_url)
    for host in ("thingspace", "x.thingspace", "5gedge", "x.5gedge"):
        kind.get(auth, f"https://{host}.verizon.com/api", platform)
    assert platform.bearers == ["token-1"] * 4


@pytest.mark.parametrize("host", ["mock.thingspace.verizon.com", "proxy.example"])
def test_elsewhere_only_the_host_of_the_base_url_is_allowed(
    kind: Kind, platform: Platform, host: str
) -> None:
    auth = kind.auth(platform, base_url=f"https://{host}")
    for url in (API, f"https://{host}/api"):
        kind.get(auth, url, platform)
    assert platform.bearers == [None, "token-1"]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_loopback_is_allowed_by_each_of_its_names(
    kind: Kind, platform: Platform, host: str
) -> None:
    auth = kind.auth(platform, base_url=f"http://{host}:8080")
    for name in ("localhost", "127.0.0.1", "[::1]"):
        kind.get(auth, f"http://{name}:8080/api", platform)
        kind.get(auth, f"http://{name}:8081/api", platform)
    assert platform.bearers == ["token-1", None] * 3


# 5G Edge's host as base URL.


def test_session_of_an_edge_base_url_is_opened_at_thingspace(
    kind: Kind, platform: Platform
) -> None:
    auth = kind.auth(platform, base_url=EDGE, m2m=account())
    kind.get(auth, API, platform)
    kind.end_session(auth)
    assert [call.url for call in platform.token_calls] == [f"{EDGE}/api/ts/v1/oauth2/token"]
    urls = [call.url for call in (*platform.login_calls, *platform.logout_calls)]
    assert urls == [f"{BASE}{LOGIN_PATH}", f"{BASE}/api/m2m/v1/session/logout"]


def test_login_that_refuses_an_edge_token_says_which_base_url_to_use(
    kind: Kind, platform: Platform, clock: VirtualClock
) -> None:
    platform.logins = [Answer(401, GATEWAY_REFUSAL)] * 9
    auth = kind.auth(platform, base_url=EDGE, m2m=account())
    with pytest.raises(M2mLoginError, match=f"base_url='{BASE}'"):
        kind.get(auth, API, platform)


def test_login_that_refuses_any_other_token_names_no_base_url(
    kind: Kind, platform: Platform, clock: VirtualClock
) -> None:
    platform.logins = [Answer(401, GATEWAY_REFUSAL)] * 9
    with pytest.raises(M2mLoginError) as caught:
        kind.get(kind.auth(platform, m2m=account()), API, platform)
    assert "base_url" not in str(caught.value)


# The session token of the SDK's objects.


@pytest.mark.parametrize("getter", ["vz_m2m_token", "session_token"])
def test_session_token_of_either_getter_is_sent(
    kind: Kind, platform: Platform, getter: str
) -> None:
    auth = kind.auth(platform, m2m=SimpleNamespace(**{getter: "the-session"}))
    kind.get(auth, API, platform)
    assert platform.sessions == ["the-session"]
    assert platform.login_calls == []


# A token that tells only how long it lives.


def test_token_without_expiry_counts_from_when_it_is_handed_over(
    kind: Kind, platform: Platform, clock: VirtualClock
) -> None:
    """An endpoint's own JSON has ``expires_in`` alone."""
    given = {"access_token": "given", "token_type": "Bearer", "expires_in": 60}
    by_provider = kind.auth(platform, oauth_token_provider=lambda last, manager: given)
    by_option, by_assignment = kind.auth(platform, oauth_token=given), kind.auth(platform)
    by_assignment.oauth_token = given
    for auth in (by_provider, by_option, by_assignment):
        kind.get(auth, API, platform)
        assert auth.oauth_token.expiry == clock.wall + 60
    assert not by_option.is_token_expired(given)
    clock.advance(61)
    for auth in (by_provider, by_option, by_assignment):
        assert auth.is_token_expired()
    kind.get(by_option, API, platform)
    assert platform.bearers == ["given"] * 3 + ["token-1"]


# A session of the user's whose send() raises for an error status (requests).


def test_status_that_a_session_raises_for_counts_as_the_answer(platform: Platform) -> None:
    requests = pytest.importorskip("requests")
    kind = next(kind for kind in ADAPTER_KINDS if kind.is_requests)

    class Raising(requests.Session):  # type: ignore[name-defined,misc]
        def send(self, request: Any, **kwargs: Any) -> Any:
            response = super().send(request, **kwargs)
            response.raise_for_status()
            return response

    session = Raising()
    for prefix, adapter in kind.session(platform).adapters.items():
        session.mount(prefix, adapter)
    session.trust_env = False
    auth = kind.adapter.ThingspaceAuth(
        oauth_client_id="k", oauth_client_secret="a-secret", session=session, m2m=account()
    )
    platform.logins = [login_refusal()] * 9
    for _ in range(3):
        with pytest.raises(M2mLoginError) as caught:
            kind.get(auth, API, platform)
        assert caught.value.status_code == 400
    assert len(platform.login_calls) == 1


# headers() and recover() of something that is no URL.


@pytest.mark.parametrize("url", ["/api/m2m/v1/devices", "thingspace.verizon.com/api", "", "https:"])
def test_url_without_scheme_or_host_is_a_value_error(
    kind: Kind, platform: Platform, url: str
) -> None:
    auth = kind.auth(platform)
    recovered: tuple[Any, ...] = (url, {}, "GET", 401, {}, b"")
    calls: list[Callable[[], Any]] = [lambda: auth.headers(url), lambda: auth.recover(*recovered)]
    if kind.is_async:
        calls = [lambda: kind.run(auth.aheaders, url), lambda: kind.run(auth.arecover, *recovered)]
    for call in calls:
        with pytest.raises(ValueError, match="url must have a scheme and a host"):
            call()
    assert platform.calls == []


# Copies.


def test_copy_has_times_of_its_own(kind: Kind, platform: Platform, clock: VirtualClock) -> None:
    """Use of one object's session does not keep the other's from going idle."""
    auth = kind.auth(platform, m2m=account())
    kind.get(auth, API, platform)
    twin = copy.copy(auth)
    clock.advance(1000)
    kind.get(auth, API, platform)
    clock.advance(1000)
    kind.get(twin, API, platform)
    assert platform.sessions == ["session-1", "session-1", "session-2"]


@pytest.mark.parametrize("kind", ADAPTER_KINDS, ids=lambda kind: kind.name)
def test_what_a_subclass_adds_is_in_copies_and_pickles(
    kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Named(kind.adapter.ThingspaceAuth):  # type: ignore[name-defined,misc]
        def __init__(self, name: str, **options: Any) -> None:
            super().__init__(**options)
            self.name = name

    # As if it were at the top of a module: otherwise it could not be pickled.
    Named.__qualname__ = "Named"
    monkeypatch.setitem(globals(), "Named", Named)
    auth = Named("mine", oauth_client_id="k", oauth_client_secret="a-secret", timeout=3)
    for twin in (copy.copy(auth), copy.deepcopy(auth), pickle.loads(pickle.dumps(auth))):
        assert (type(twin), twin.name, twin.timeout) == (Named, "mine", 3)
        twin.name = "its own"
    assert auth.name == "mine"


# What is owed although the request fails.


def test_token_that_a_failed_login_fetched_is_told(
    kind: Kind, platform: Platform, clock: VirtualClock
) -> None:
    told: list[OauthToken] = []
    auth = kind.auth(platform, m2m=account(), oauth_on_token_update=told.append)
    platform.logins = [login_refusal()]
    with pytest.raises(M2mLoginError):
        kind.get(auth, API, platform)
    assert [token.access_token for token in told] == ["token-1"]


# Rule 9: what a request to a foreign host loses.


def test_value_of_ours_is_removed_from_a_request_to_another_host(
    kind: Kind, platform: Platform, caplog: pytest.LogCaptureFixture
) -> None:
    auth = kind.auth(platform, m2m=account())
    kind.get(auth, API, platform)
    ours = {"Authorization": "Bearer token-1", "VZ-M2M-Token": "session-1"}
    for _ in range(3):
        kind.get(auth, "https://evil.example/", platform, headers=ours)
    assert platform.bearers == ["token-1", None, None, None]
    assert platform.sessions == ["session-1", None, None, None]
    (warning,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "evil.example" in warning.getMessage()
    assert "allowed_hosts" in warning.getMessage()
    assert "token-1" not in warning.getMessage()


def test_value_of_ones_own_is_not_removed(kind: Kind, platform: Platform) -> None:
    auth = kind.auth(platform, m2m=account())
    kind.get(auth, API, platform)
    own = {"Authorization": "Bearer own", "VZ-M2M-Token": "own"}
    for _ in range(2):
        kind.get(auth, "https://other.example/", platform, headers=own)
    assert platform.bearers[1:] == ["own", "own"]
    assert platform.sessions[1:] == ["own", "own"]


# Resources that are used up.


def test_too_many_open_files_are_an_error_of_the_library(
    kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "Session" if kind.is_requests else "Client"
    module: Any = kind.library
    if kind.is_requests:
        from thingspace_auth_adapters._adapters import requests_transport as module

    def too_many(*args: Any, **kwargs: Any) -> Any:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    auth = kind.auth()
    monkeypatch.setattr(module, name, too_many)
    with pytest.raises(kind.request_error, match="token endpoint could not be reached") as caught:
        kind.fetch_token(auth)
    assert os.strerror(errno.EMFILE) in str(caught.value)


# State that other threads change meanwhile.


def test_session_that_is_taken_away_meanwhile_fails_no_request(
    sync_kind: Kind, platform: Platform
) -> None:
    """``auth.m2m`` may be assigned at any moment: here on each look at it."""
    auth = sync_kind.auth(platform, m2m=account())
    threads, is_over = Threads(), threading.Event()

    def assign() -> None:
        while not is_over.is_set():
            auth.m2m = None
            auth.m2m = account()

    def work() -> list[int]:
        platform.api = [session_refusal()] * 5
        return [sync_kind.get(auth, API, platform).status for _ in range(60)]

    threads.start(work)
    assigning = Threads()
    assigning.start(assign)
    try:
        (statuses,) = threads.join()
    finally:
        is_over.set()
    assert {*statuses} <= {200, 400}
    assert assigning.join() == [None]


def test_token_is_read_once_for_one_decision(
    sync_kind: Kind, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever reads it twice may judge one token and return another, which may be over."""
    reads: list[int] = []

    class Counting(Lifecycle[Any]):
        @property
        def current(self) -> Any:
            reads.append(1)
            return self.__dict__["current"]

        @current.setter
        def current(self, token: Any) -> None:
            self.__dict__["current"] = token

    monkeypatch.setattr(tokens_module, "Lifecycle", Counting)
    auth = sync_kind.auth(platform)
    sync_kind.get(auth, API, platform)
    reads.clear()
    found = auth._tokens.bearers.look(auth._tokens.caller())
    assert (found.header, len(reads)) == ("Bearer token-1", 1)


# Leaders that are somewhere else.


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform cannot fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("credential", ["access token", "login"])
def test_child_that_was_forked_inside_the_future_of_a_refresh_goes_on(
    sync_kind: Kind, simulator: ThingspaceSimulator, credential: str
) -> None:
    """The future's own lock is held in the child for ever."""
    m2m = VzM2mCredentials(simulator.username, simulator.password)
    auth = sync_kind.auth(**options_for(simulator), m2m=m2m)
    simulator.fail("token" if credential == "access token" else "login", "hang")
    threads = Threads()
    threads.start(lambda: sync_kind.get(auth, simulator.url + PATH).status)
    is_login = credential == "login"
    eventually(lambda: simulator.login_requests if is_login else simulator.token_requests)
    tokens = auth._tokens
    flights = [
        tokens.bearers._flight,
        tokens.sessions._flight,
        tokens.session_source.guard.logins,
    ]
    futures = [flight.refresh.future for flight in flights if flight.refresh is not None]
    for future in futures:
        future._condition.acquire()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if sync_kind.get(auth, simulator.url + PATH).status == 200 else 2
        finally:
            os._exit(status)
    for future in futures:
        future._condition.release()
    assert futures
    assert os.waitpid(child, 0)[1] == 0
    simulator.recover()
    assert threads.join() == [200]


@pytest.mark.parametrize("kind", ASYNC_KINDS, ids=lambda kind: kind.name)
def test_synchronous_request_on_a_loops_thread_waits_for_the_login_under_way(
    kind: Kind, simulator: ThingspaceSimulator
) -> None:
    """It needs no second login: the first one goes on though the loop stands still."""
    m2m = VzM2mCredentials(simulator.username, simulator.password)
    auth = kind.auth(**options_for(simulator), m2m=m2m)
    simulator.fail("login", "hang")
    url, library = simulator.url + PATH, kind.library
    statuses: list[int] = []

    async def story() -> None:
        async def lead() -> None:
            async with library.AsyncClient(auth=auth, timeout=PATIENCE, verify=False) as client:
                statuses.append((await client.get(url)).status_code)

        async with anyio.create_task_group() as group:
            group.start_soon(lead)
            await aeventually(lambda: simulator.login_requests)
            threading.Timer(0.1, simulator.recover).start()
            with library.Client(auth=auth, timeout=PATIENCE, verify=False) as blocking:
                statuses.append(blocking.get(url).status_code)

    kind.run(story)
    assert statuses == [200, 200]
    assert len(simulator.login_requests) == 1


@pytest.mark.parametrize("kind", ASYNC_KINDS, ids=lambda kind: kind.name)
def test_job_whose_event_loop_ends_holds_up_nobody(
    kind: Kind, simulator: ThingspaceSimulator
) -> None:
    """One event loop per job, with a time limit that is shorter than the token fetch takes."""
    auth = kind.auth(**options_for(simulator))
    simulator.fail("token", "hang")
    url = simulator.url + PATH

    async def job(until: Callable[[], object]) -> None:
        async with kind.library.AsyncClient(auth=auth, timeout=PATIENCE, verify=False) as client:
            async with anyio.create_task_group() as group:
                group.start_soon(client.get, url)
                await aeventually(until)
                group.cancel_scope.cancel()

    for _ in range(3):
        kind.run(job, lambda: simulator.token_requests)
    simulator.recover()
    with kind.library.Client(auth=auth, verify=False) as client:
        assert client.get(url).status_code == 200
    assert kind.get(auth, url).status == 200
    assert len(simulator.token_requests) == 1


class HeldStore(TokenStore):
    """A store of nothing, whose lock somebody else holds."""

    def __init__(self) -> None:
        self.waiting = 0
        self.lock = threading.Lock()
        self.lock.acquire()

    def read(self, name: str) -> bytes | None:
        return None

    def write(self, name: str, content: bytes) -> None: ...
    def delete(self, name: str) -> None: ...

    @contextmanager
    def locked(self, name: str, patience: float) -> Iterator[None]:
        self.waiting += 1
        if not self.lock.acquire(timeout=patience):
            raise StoreBusy("held")
        try:
            yield
        finally:
            self.lock.release()


@pytest.mark.parametrize("kind", ASYNC_KINDS, ids=lambda kind: kind.name)
def test_calls_cancelled_behind_a_stores_lock_end_at_once_and_leave_no_threads(
    kind: Kind, simulator: ThingspaceSimulator
) -> None:
    store = HeldStore()
    auth = kind.auth(**options_for(simulator), store=store)
    before = threading.active_count()
    most: list[int] = []

    async def story() -> None:
        async with kind.library.AsyncClient(auth=auth, timeout=PATIENCE, verify=False) as client:
            for _ in range(100):
                async with anyio.create_task_group() as group:
                    group.start_soon(client.get, simulator.url + PATH)
                    await aeventually(lambda: store.waiting)
                    await anyio.sleep(0)
                    group.cancel_scope.cancel()
            most.append(threading.active_count())
            store.lock.release()
            assert (await client.get(simulator.url + PATH)).status_code == 200

    kind.run(story)
    # One leads; asyncio and trio may keep one of their own.
    assert most[0] <= before + 3
    assert store.waiting == 1


# What was found by trying.


class AssigningPlatform(Platform):
    """Something is assigned while its first login is out."""

    assign: Callable[[], object]

    def new_session(self) -> Answer:
        if self.opened == 0:
            self.assign()
        return super().new_session()


@pytest.mark.parametrize("successor", [None, "another"])
def test_session_of_a_login_that_outlived_its_account_goes_to_no_foreign_host(
    kind: Kind, successor: str | None
) -> None:
    """``auth.m2m`` is assigned while the login is out: its session is ours all the same."""
    platform, evil = AssigningPlatform(), "https://evil.example/"
    auth = kind.auth(platform, m2m=account())
    m2m = None if successor is None else VzM2mCredentials(successor, PASSWORD)
    platform.assign = lambda: setattr(auth, "m2m", m2m)
    platform.api = [Answer(307, b"", {"Location": evil})]
    options: dict[str, Any] = {}
    if not kind.is_requests:
        options["event_hooks"] = {"request": [auth.aguard if kind.is_async else auth.guard]}
    kind.get(auth, API, platform, **options)
    assert platform.sessions == ["session-1", None]


@pytest.mark.parametrize("kind", ASYNC_KINDS, ids=lambda kind: kind.name)
def test_synchronous_request_that_would_wait_for_its_own_loop_is_refused_also_with_a_session(
    kind: Kind, platform: Platform
) -> None:
    """The login waits for a provider that needs the very loop on which the request blocks."""
    asked: list[int] = []

    async def provider(last: Any, manager: Any) -> Any:
        asked.append(1)
        while len(refused) == 0:
            await anyio.sleep(0.001)
        return await manager.afetch_token()

    auth = kind.auth(platform, m2m=account(), oauth_token_provider=provider)
    refused: list[BaseException] = []
    statuses: list[int] = []

    async def story() -> None:
        async def ask() -> None:
            transport = kind.transport(platform)
            async with kind.library.AsyncClient(auth=auth, transport=transport) as client:
                statuses.append((await client.get(API)).status_code)

        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await aeventually(lambda: asked)
            with kind.library.Client(auth=auth, transport=kind.transport(platform)) as client:
                with pytest.raises(ReentrantRequestError) as caught:
                    client.get(API)
            refused.append(caught.value)

    kind.run(story)
    assert statuses == [200]
    assert len(platform.login_calls) == 1


def test_provider_may_assign_a_session(kind: Kind, platform: Platform) -> None:
    """That makes its own answer no older than it is."""

    def provider(last: Any, manager: Any) -> Any:
        manager.m2m = "the-session"
        return {"access_token": "provided"}

    auth = kind.auth(platform, oauth_token_provider=provider)
    kind.get(auth, API, platform)
    assert platform.bearers == ["provided"]


def test_no_login_is_sent_beside_another_process_that_holds_the_lock(
    kind: Kind, platform: Platform, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    class Busy(HeldStore):
        @contextmanager
        def locked(self, name: str, patience: float) -> Iterator[None]:
            if self.lock.locked():
                clock.advance(patience)
                raise StoreBusy("held")
            yield

    auth = kind.auth(platform, m2m=account(), store=Busy())
    begun_at = clock.steady
    with pytest.raises(M2mLoginError) as caught:
        kind.get(auth, API, platform)
    assert platform.trail == []
    assert "held" in str(caught.value)
    assert "lock was not free" in str(caught.value)
    assert caught.value.retryable
    assert clock.steady - begun_at <= 4 * auth.timeout
    assert [one for one in caplog.records if one.levelno > logging.INFO] == []
    auth._store.lock.release()
    assert kind.get(auth, API, platform).status == 200


class Stack(logging.Handler):
    """Keeps what the package's frames hold while a record is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        frame: FrameType | None = sys._getframe()
        while frame is not None:
            if "thingspace_auth_adapters" in frame.f_code.co_filename:
                self.shown.append(repr(frame.f_locals))
            frame = frame.f_back


class ForgedStore(HeldStore):
    """A store of corrupt entries, in which tokens cannot be written."""

    def read(self, name: str) -> bytes | None:
        return b'{"fields": {"token": "token-0"}, "seal": "forged"}'

    def write(self, name: str, content: bytes) -> None:
        if b"token" in content:
            raise StoreUnavailable("disk full")

    @contextmanager
    def locked(self, name: str, patience: float) -> Iterator[None]:
        yield


@pytest.fixture
def stack() -> Iterator[Stack]:
    handler, logger = Stack(), logging.getLogger("thingspace_auth_adapters")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


def test_what_our_frames_hold_while_a_warning_is_logged_shows_no_token(
    kind: Kind, platform: Platform, stack: Stack
) -> None:
    """Crash reporters take the live stack, too."""
    auth = kind.auth(platform, m2m=account(), store=ForgedStore())
    for _ in range(2):
        kind.get(auth, API, platform, headers={"VZ-M2M-Token": "hers-1"})
    ours = {"Authorization": "Bearer token-1", "VZ-M2M-Token": "session-1"}
    for url in ("https://evil.example/", f"{EDGE}/api/mec/eds"):
        kind.get(auth, url, platform, headers=ours)
    assert len(stack.shown) > 5
    for secret in ("token-0", "token-1", "session-1", "hers-1", PASSWORD, "s3cr3t"):
        assert not [text for text in stack.shown if secret in text]


def test_failure_of_a_refresh_that_had_less_time_is_not_shared(clock: VirtualClock) -> None:
    """A login's access token has to come in time for it; others have all their attempts."""
    hurried, patient = Caller(clock.steady + 10), Caller(clock.steady + 240)
    failure = Failed(LookupError())
    refresh = Refresh(hurried, None, Limits(0.0, 0.0, 4))
    refresh.is_curtailed = True
    assert patient.take(refresh, failure) is None
    with pytest.raises(Failed):
        hurried.take(refresh, failure)
    refresh.is_curtailed = False
    with pytest.raises(Failed):
        patient.take(refresh, failure)


class Limit(TimeoutError):
    """What a signal handler raises when a job's time is up."""


def raising(kind: Kind, error: Exception) -> dict[str, Any]:
    """Options for an object whose calls of endpoints raise this error."""
    if not kind.is_requests:
        library = kind.library

        class Transport(library.BaseTransport):  # type: ignore[name-defined,misc]
            def handle_request(self, request: Any) -> Any:
                raise error

        return {"client_options": {"transport": Transport()}}
    import requests

    class Adapter(requests.adapters.BaseAdapter):
        def send(self, *args: Any, **kwargs: Any) -> Any:
            raise error

        def close(self) -> None: ...

    session = requests.Session()
    session.mount("https://", Adapter())
    return {"session": session}


def test_time_limit_that_is_a_timeout_error_reaches_its_caller(sync_kind: Kind) -> None:
    """It is the caller's own, and no timeout of the token endpoint's."""
    limit = Limit()
    auth = sync_kind.auth(**raising(sync_kind, limit))
    with pytest.raises(Limit) as caught:
        auth.headers(API)
    assert caught.value is limit


def test_error_of_a_session_that_holds_no_response_is_no_answer() -> None:
    requests = pytest.importorskip("requests")
    kind = next(kind for kind in ADAPTER_KINDS if kind.is_requests)
    auth = kind.auth(**raising(kind, requests.HTTPError("odd")))
    with pytest.raises(requests.RequestException, match="token endpoint could not be reached"):
        auth.fetch_token()


def test_without_an_account_there_is_no_login_to_allow(kind: Kind, platform: Platform) -> None:
    auth = kind.auth(platform)
    if kind.is_async:
        kind.run(auth.aallow_login)
    else:
        auth.allow_login()
    assert platform.calls == []


def test_who_waits_behind_a_store_for_too_long_is_told_of_the_endpoint(
    kind: Kind, platform: Platform
) -> None:
    auth = kind.auth(platform, m2m=account(), store=HeldStore())
    for lifecycle, name in (
        (auth._tokens.bearers, "token endpoint"),
        (auth._tokens.sessions, "login"),
    ):
        error = lifecycle.source.overdue()
        assert isinstance(error, kind.read_timeout)
        assert f"{name} could not be reached" in str(error)


def test_what_stands_in_for_requests_shows_no_token(kind: Kind, platform: Platform) -> None:
    from thingspace_auth_adapters._adapters.case import Case, Outgoing

    sent = Outgoing(None, API, "GET", {"authorization": "Bearer the-token"}, None)
    bearer = ("Authorization", kind.auth(platform)._tokens.bearers)
    case = Case(sent, (bearer,), bearer, True, 401, None)
    assert case.value == "Bearer the-token"
    assert "the-token" not in repr(case) + repr(sent)
