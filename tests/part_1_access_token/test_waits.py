"""The contract, rules 4, 5, 6 and 11: how long anybody waits for tokens. Virtual time, T its unit.

Threads and event loops are real, and so is their taking turns; only time is not. A crowd of a
thousand asks for headers, which is what a request does before it is sent; smaller ones send
requests.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Iterator
from contextlib import AbstractContextManager
from enum import Enum
from functools import partial
from typing import Any, Callable, NamedTuple
from urllib.parse import urlsplit

import pytest

from thingspace_auth_adapters import M2mLoginError, VzM2mCredentials
from thingspace_auth_adapters._adapters import auth as adapters
from thingspace_auth_adapters._core import refresh, workers
from thingspace_auth_adapters.stores import StoreBusy, TokenStore

from ..support import kinds
from ..support.coordinated import CoordinatedClock, Sleeper
from ..support.kinds import IDENTITY, PASSWORD, Kind
from ..support.optional import anyio
from ..support.virtual import API, LOGIN_PATH, Call, Platform

T = 2.0
"""The ``timeout`` of every auth object here."""

LONGEST = 8 * T
"""No request waits longer for its tokens."""

CROWDS = (1, 5, 1000)
M2M = VzM2mCredentials(username="user", password=PASSWORD)


class Way(Enum):
    """How an endpoint behaves."""

    HEALTHY = "healthy"
    HANGING = "hanging"
    """It takes the request, and never answers."""
    DRIPPING = "dripping"
    """It answers, a byte at a time, without end."""
    DRIPPING_SLOWLY = "dripping slowly"
    """The same, and each byte comes just before a read would time out."""
    REFUSING = "refusing"
    """It takes no connection."""
    STUCK = "stuck"
    """Its name is looked up, without end: no timeout holds."""
    INTERRUPTING = "interrupting"
    """A signal's handler raises a time limit's exception, a second after the call."""


DRIPS = {Way.DRIPPING: 0.4, Way.DRIPPING_SLOWLY: 0.85 * T}
"""The seconds between two bytes."""

SICK = (Way.HANGING, Way.DRIPPING, Way.DRIPPING_SLOWLY, Way.REFUSING)


class Interrupted(BaseException):
    """What a signal's handler raises."""


class _Failure(Exception):
    """How a call ended, by the name that ``kinds`` has for the library's own error."""


class Endpoints:
    """The token endpoint and the login, each of them healthy or sick.

    Attributes:
        token: how the token endpoint takes its calls, in order; the last way is for all further.
        login: the same of the login.
        token_calls: readings of the clock at which the token endpoint was called.
        login_calls: the same of the login.
        platform: answers where an endpoint is healthy, and every request to the API.
    """

    def __init__(self, kind: Kind, clock: CoordinatedClock) -> None:
        self.token = [Way.HEALTHY]
        self.login = [Way.HEALTHY]
        self.token_calls: list[float] = []
        self.login_calls: list[float] = []
        self.platform = Platform()
        self.is_released = False
        self._kind = kind
        self._clock = clock
        self._stuck: list[Sleeper] = []

    def auth(self, **options: Any) -> Any:
        """An auth object that calls these endpoints."""
        if self._kind.is_requests:
            options["session"] = self._session()
        else:
            options["client_options"] = {"transport": self._transport()}
        return self._kind.adapter.ThingspaceAuth(**{**IDENTITY, "timeout": T, **options})

    def release(self) -> None:
        """Have every name look-up that is under way fail at last."""
        self.is_released = True
        for sleeper in self._stuck:
            self._clock.wake(sleeper)

    def _session(self) -> Any:
        import requests
        from urllib3 import HTTPResponse

        endpoints = self

        class Adapter(requests.adapters.HTTPAdapter):
            def send(
                self, request: Any, stream: Any = False, timeout: Any = None, *args: Any, **kw: Any
            ) -> Any:
                def read() -> bytes:
                    body = request.body
                    if isinstance(body, (bytes, str)):
                        return body.encode() if isinstance(body, str) else body
                    return b"".join(body)

                try:
                    parts = endpoints._answer(request.url, timeout, read)
                except _Failure as failure:
                    error = kinds.requests_failure(str(failure), request)
                else:
                    raw = HTTPResponse(_Body(parts), status=200, preload_content=False)
                    return self.build_response(request, raw)
                raise error

        session = requests.Session()
        session.trust_env = False
        session.mount("https://", Adapter())
        return session

    def _transport(self) -> Any:
        endpoints, library = self, self._kind.library

        class Stream(library.SyncByteStream):  # type: ignore[name-defined,misc]
            def __init__(self, parts: Iterator[bytes]) -> None:
                self._parts = parts

            def __iter__(self) -> Iterator[bytes]:
                return self._parts

        class Transport(library.BaseTransport):  # type: ignore[name-defined,misc]
            def handle_request(self, request: Any) -> Any:
                timeout = request.extensions["timeout"]["read"]
                try:
                    parts = endpoints._answer(
                        str(request.url), timeout, lambda: b"".join(request.stream)
                    )
                except _Failure as failure:
                    error = kinds.httpx_failure(library, str(failure), request)
                else:
                    return library.Response(200, stream=Stream(parts))
                raise error

        return Transport()

    def _answer(self, url: str, timeout: float, read: Callable[[], bytes]) -> Iterator[bytes]:
        is_login = urlsplit(url).path == LOGIN_PATH
        ways, calls = (self.login, self.login_calls) if is_login else (self.token, self.token_calls)
        way = ways[min(len(calls), len(ways) - 1)]
        calls.append(self._clock.monotonic())
        if way is Way.STUCK:
            self._stand_still()
        if way in (Way.STUCK, Way.REFUSING):
            raise _Failure("connect")
        body = read()
        if way is Way.INTERRUPTING:
            self._clock.block(Sleeper(), self._clock.monotonic() + 1.0)
            raise Interrupted
        if way is Way.HANGING:
            self._clock.block(Sleeper(), self._clock.monotonic() + timeout)
            raise _Failure("read timeout")
        if way in DRIPS:
            return self._dripped(DRIPS[way])
        return iter([self.platform.handle(Call("POST", url, {}, body)).body])

    def _stand_still(self) -> None:
        sleeper = Sleeper(is_patient=True)
        self._stuck.append(sleeper)
        if not self.is_released:
            self._clock.block(sleeper, float("inf"))

    def _dripped(self, pause: float) -> Iterator[bytes]:
        begun_at, number = self._clock.monotonic(), 0
        while True:
            number += 1
            # Each moment is reckoned anew, or else rounding errors would add up.
            self._clock.block(Sleeper(), round(begun_at + number * pause, 6))
            yield b" "


class _Body(io.RawIOBase):
    """A body for urllib3, which comes in these parts."""

    def __init__(self, parts: Iterator[bytes]) -> None:
        self._parts = parts
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        part = self._rest or next(self._parts, b"")
        size = min(len(part), len(buffer))
        buffer[:size] = part[:size]
        self._rest = part[size:]
        return size


class BusyStore(TokenStore):
    """A store in memory whose lock somebody else holds for ever."""

    def __init__(self, clock: CoordinatedClock) -> None:
        self._clock = clock
        self._entries: dict[str, bytes] = {}

    def read(self, name: str) -> bytes | None:
        return self._entries.get(name)

    def write(self, name: str, content: bytes) -> None:
        self._entries[name] = content

    def delete(self, name: str) -> None:
        self._entries.pop(name, None)

    def locked(self, name: str, patience: float) -> AbstractContextManager[None]:
        return _HeldLock(self._clock, patience)


class _HeldLock(AbstractContextManager[None]):
    def __init__(self, clock: CoordinatedClock, patience: float) -> None:
        self._clock = clock
        self._patience = patience

    def __enter__(self) -> None:
        self._clock.block(Sleeper(), self._clock.monotonic() + self._patience)
        raise StoreBusy("somebody else holds the lock")

    def __exit__(self, *exc_info: object) -> None:
        pass


class Wait(NamedTuple):
    """What became of a caller.

    Attributes:
        seconds: how long it waited.
        outcome: the bearer that it got, or the error.
    """

    seconds: float
    outcome: Any


class Crowd:
    """Callers of one auth object, or of several in turn.

    Args:
        kind: their client's.
        clock: the time.
        platform: answers their requests to the API.
        auths: the auth objects.
    """

    def __init__(
        self, kind: Kind, clock: CoordinatedClock, platform: Platform, *auths: Any
    ) -> None:
        self._kind = kind
        self._clock = clock
        self._platform = platform
        self._auths = auths

    def waits(self, size: int, pause: float = 0.0) -> list[Wait]:
        """What became of so many callers, who came one after another with this pause."""
        found = self.all_waits(size, pause)
        came_back = [wait for wait in found if wait is not None]
        assert len(came_back) == size
        return came_back

    def all_waits(self, size: int, pause: float = 0.0) -> list[Wait | None]:
        """The same; ``None`` for a caller who never came back."""
        found: list[Wait | None] = [None] * size
        if self._kind.is_async:
            self._clock.run(self._kind.backend, partial(self._tasks, found, pause))
        else:
            with self._clock.taking_part():
                for number in range(size):
                    self._clock.start(partial(self._call, found, number, pause))
        self._clock.settle()
        return found

    def _since(self, begun_at: float) -> float:
        """The seconds since then, without a float's last digits."""
        return round(self._clock.monotonic() - begun_at, 6)

    def _call(self, found: list[Wait | None], number: int, pause: float) -> None:
        self._clock.block(Sleeper(), self._clock.monotonic() + number * pause)
        begun_at = self._clock.monotonic()
        auth = self._auths[number % len(self._auths)]
        outcome: Any
        try:
            if len(found) > CROWDS[1]:
                outcome = auth.headers(API)["Authorization"]
            else:
                outcome = self._kind.get(auth, API, self._platform).sent["authorization"]
        except BaseException as error:
            outcome = error
        found[number] = Wait(self._since(begun_at), outcome)

    async def _tasks(self, found: list[Wait | None], pause: float) -> None:
        transport = self._kind.transport(self._platform)
        options = {"transport": transport, "trust_env": False}
        async with self._kind.library.AsyncClient(**options) as client:

            async def call(number: int) -> None:
                await anyio.sleep(number * pause)
                begun_at = self._clock.monotonic()
                auth = self._auths[number % len(self._auths)]
                outcome: Any
                try:
                    if len(found) > CROWDS[1]:
                        outcome = (await auth.aheaders(API))["Authorization"]
                    else:
                        response = await client.get(API, auth=auth)
                        outcome = response.request.headers["Authorization"]
                except Exception as error:
                    outcome = error
                found[number] = Wait(self._since(begun_at), outcome)

            async with anyio.create_task_group() as group:
                for number in range(len(found)):
                    group.start_soon(call, number)


@pytest.fixture(params=kinds.params(kinds.AVAILABLE, lambda kind: kind.is_requests, once="trio"))
def kind(request: pytest.FixtureRequest) -> Kind:
    """Here each pair of a library and an event loop is a kind of its own."""
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> CoordinatedClock:
    coordinated = CoordinatedClock()
    monkeypatch.setattr(adapters, "Clock", lambda: coordinated)
    monkeypatch.setattr(workers, "threading", coordinated.for_threading)
    return coordinated


@pytest.fixture
def endpoints(kind: Kind, clock: CoordinatedClock) -> Iterator[Endpoints]:
    made = Endpoints(kind, clock)
    yield made
    made.release()
    assert clock.left() == []


@pytest.fixture
def crowd(
    kind: Kind,
    clock: CoordinatedClock,
    endpoints: Endpoints,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Crowd]:
    """A crowd of callers of these auth objects."""
    if "size" in request.fixturenames and request.getfixturevalue("size") > CROWDS[1]:
        # A thousand threads that each look around every second are most of what a test costs.
        monkeypatch.setattr(refresh, "WATCH_SECONDS", LONGEST)
    return partial(Crowd, kind, clock, endpoints.platform)


ENDS_BETWEEN = {
    # One attempt, a pause, and another one.
    Way.HANGING: (2 * T, 3 * T),
    # The first byte after three timeouts ends it.
    Way.DRIPPING: (3 * T, 3 * T + DRIPS[Way.DRIPPING]),
    Way.DRIPPING_SLOWLY: (3 * T, 3 * T + DRIPS[Way.DRIPPING_SLOWLY]),
    # As many attempts as there are, with pauses.
    Way.REFUSING: (0, 2 * T),
}
MOST_CALLS = {Way.HANGING: 2, Way.DRIPPING: 1, Way.DRIPPING_SLOWLY: 1, Way.REFUSING: 4}


def name_of(way: Way | None) -> str:
    return "busy-store" if way is None else way.value.replace(" ", "-")


each_sickness = pytest.mark.parametrize("way", SICK, ids=name_of)
each_way = pytest.mark.parametrize("way", [Way.STUCK, *SICK], ids=name_of)
only_sync = pytest.mark.parametrize(
    "kind", kinds.params(kinds.SYNC_KINDS, lambda kind: kind.is_requests)
)
only_async = pytest.mark.parametrize(
    "kind", kinds.params(kinds.ASYNC_KINDS, lambda kind: kind.backend)
)
each_size = pytest.mark.parametrize("size", CROWDS)
small_sizes = pytest.mark.parametrize("size", CROWDS[:2])


def library_error(kind: Kind, way: Way) -> type[Exception]:
    return kind.connect_error if way is Way.REFUSING else kind.read_timeout


def assert_all_failed(waits: list[Wait], error: type[Exception], words: str) -> None:
    """Each got an error of its own of this type, which says these words."""
    for wait in waits:
        assert isinstance(wait.outcome, error)
        assert words in str(wait.outcome)
    assert len({id(wait.outcome) for wait in waits}) == len(waits)


@each_size
@each_sickness
def test_all_get_the_endpoints_failure_at_once_and_in_time(
    way: Way, size: int, kind: Kind, endpoints: Endpoints, crowd: Callable[..., Crowd]
) -> None:
    """A crowd costs the calls of one refresh, and ends at the moment at which that ends."""
    endpoints.token = [way]
    waits = crowd(endpoints.auth()).waits(size)
    assert_all_failed(waits, library_error(kind, way), "the token endpoint could not be reached")
    assert len({wait.seconds for wait in waits}) == 1
    earliest, latest = ENDS_BETWEEN[way]
    assert earliest <= waits[0].seconds <= latest
    begun_after = [moment - endpoints.token_calls[0] for moment in endpoints.token_calls]
    assert begun_after[-1] <= 2 * T
    assert 1 <= len(begun_after) <= MOST_CALLS[way]


@each_sickness
def test_nobody_waits_longer_however_callers_come(
    way: Way, kind: Kind, endpoints: Endpoints, crowd: Callable[..., Crowd]
) -> None:
    """One caller every 0.3 s, each of whom joins what is under way or begins anew."""
    endpoints.token = [way]
    waits = crowd(endpoints.auth()).waits(60, pause=0.3)
    assert_all_failed(waits, library_error(kind, way), "the token endpoint could not be reached")
    assert max(wait.seconds for wait in waits) <= ENDS_BETWEEN[way][1]


@each_way
@pytest.mark.parametrize("sick", ["token", "login"])
def test_nobody_waits_longer_for_a_session_however_callers_come(
    sick: str, way: Way, kind: Kind, endpoints: Endpoints, crowd: Callable[..., Crowd]
) -> None:
    """The same with an account, also if nobody who leads ever comes back."""
    setattr(endpoints, sick, [way])
    found = crowd(endpoints.auth(m2m=M2M)).all_waits(60, pause=0.3)
    waits = [wait for wait in found if wait is not None]
    # A thread cannot leave what it leads; a task can. Each five timeouts somebody begins anew.
    assert len(waits) >= (60 if kind.is_async or way is not Way.STUCK else 55)
    assert all(isinstance(wait.outcome, kind.request_error) for wait in waits)
    assert max(wait.seconds for wait in waits) <= LONGEST
    if way is not Way.REFUSING:
        assert len(endpoints.login_calls) <= 2


def test_dripping_endpoint_gives_each_of_five_callers_a_timeout(
    kind: Kind, endpoints: Endpoints, crowd: Callable[..., Crowd]
) -> None:
    """They once took turns for ever: nobody got an error, and a call went out every 3 T."""
    endpoints.token = [Way.DRIPPING]
    waits = crowd(endpoints.auth()).waits(5)
    assert_all_failed(waits, kind.read_timeout, "the answer did not end in time")
    (seconds,) = {wait.seconds for wait in waits}
    assert 3 * T <= seconds <= 3 * T + DRIPS[Way.DRIPPING]
    assert len(endpoints.token_calls) == 1


@small_sizes
@each_sickness
def test_sick_token_endpoint_ends_a_login_in_time(
    way: Way, size: int, kind: Kind, endpoints: Endpoints, crowd: Callable[..., Crowd]
) -> None:
    """A login needs a bearer: those who wait for the one get the failure of the other at once."""
    endpoints.token = [way]
    waits = crowd(endpoints.auth(m2m=M2M)).waits(size)
    assert_all_failed(waits, library_error(kind, way), "the token endpoint could not be reached")
    assert len({wait.seconds for wait in waits}) == 1
    assert waits[0].seconds <= ENDS_BETWEEN[way][1]
    assert not endpoints.login_calls


@small_sizes
@each_sickness
def test_sick_login_ends_in_time_and_risks_two_logins_at_most(
    way: Way, size: int, kind: Kind, endpoints: Endpoints, crowd: Callable[..., Crowd]
) -> None:
    """Three crowds, one after another: after two logins of unknown outcome none is sent."""
    endpoints.login = [way]
    callers = crowd(endpoints.auth(m2m=M2M))
    outcomes = []
    for _ in range(3):
        waits = callers.waits(size)
        outcomes.append(waits[0].outcome)
        assert all(isinstance(wait.outcome, kind.request_error) for wait in waits)
        assert len({wait.seconds for wait in waits}) == 1
        assert waits[0].seconds <= 4 * T + DRIPS.get(way, 0)
    assert len(endpoints.token_calls) == 1
    if way is Way.REFUSING:
        assert len(endpoints.login_calls) == 3 * MOST_CALLS[way]
        assert all(isinstance(outcome, kind.connect_error) for outcome in outcomes)
    else:
        assert len(endpoints.login_calls) == 2
        assert isinstance(outcomes[-1], M2mLoginError)


@each_sickness
def test_two_objects_of_one_account_wait_in_time_and_risk_two_logins_at_most(
    way: Way, kind: Kind, endpoints: Endpoints, crowd: Callable[..., Crowd]
) -> None:
    """One login at a time goes out for an account, whatever objects log in with it."""
    endpoints.login = [way]
    waits = crowd(endpoints.auth(m2m=M2M), endpoints.auth(m2m=M2M)).waits(5)
    assert all(isinstance(wait.outcome, kind.request_error) for wait in waits)
    assert max(wait.seconds for wait in waits) <= LONGEST
    if way is not Way.REFUSING:
        assert len(endpoints.login_calls) <= 2


@pytest.mark.parametrize("size", CROWDS[1:])
def test_leader_that_never_comes_back_is_given_up(
    size: int,
    kind: Kind,
    clock: CoordinatedClock,
    endpoints: Endpoints,
    crowd: Callable[..., Crowd],
) -> None:
    """Those who wait give up after 4 T, one of them begins anew, and what it gets is for all."""
    endpoints.token = [Way.STUCK, Way.HEALTHY]
    waits = crowd(endpoints.auth()).all_waits(size)
    came_back = [wait for wait in waits if wait is not None]
    # A thread cannot leave what it leads; a task can.
    assert len(came_back) == (size if kind.is_async else size - 1)
    assert {wait.seconds for wait in came_back} == {4 * T}
    assert {wait.outcome for wait in came_back} == {"Bearer token-1"}
    assert len(endpoints.token_calls) == 2
    assert len(clock.left()) == 1


def test_second_leader_that_never_comes_back_is_the_last_one(
    kind: Kind,
    clock: CoordinatedClock,
    endpoints: Endpoints,
    crowd: Callable[..., Crowd],
) -> None:
    """Nobody waits for a third: after 8 T everyone has the library's timeout error."""
    endpoints.token = [Way.STUCK]
    waits = crowd(endpoints.auth()).all_waits(5)
    came_back = [wait for wait in waits if wait is not None]
    assert len(came_back) == (5 if kind.is_async else 3)
    assert_all_failed(came_back, kind.read_timeout, "the token endpoint could not be reached")
    assert {wait.seconds for wait in came_back} == {LONGEST}
    begun_at = endpoints.token_calls[0]
    assert endpoints.token_calls == [begun_at, begun_at + 4 * T]
    # Of all threads only those two stay behind, and they end when the look-up does.
    assert len(clock.left()) == 2
    endpoints.release()
    assert clock.left() == []


@only_sync
def test_second_leader_that_is_interrupted_is_the_last_one(
    kind: Kind, endpoints: Endpoints, crowd: Callable[..., Crowd]
) -> None:
    """The interrupt is the leader's own. Who has waited for two refreshes begins no third."""
    endpoints.token = [Way.INTERRUPTING]
    waits = sorted(crowd(endpoints.auth()).waits(5), key=lambda wait: wait.seconds)
    assert [wait.seconds for wait in waits] == [1.0, 2.0, 2.0, 2.0, 2.0]
    others = [wait for wait in waits if not isinstance(wait.outcome, Interrupted)]
    assert len(others) == 3
    assert_all_failed(others, kind.read_timeout, "the token endpoint could not be reached")
    assert len(endpoints.token_calls) == 2


@each_sickness
def test_sick_endpoint_after_a_leader_that_never_came_back_ends_in_time(
    way: Way, kind: Kind, endpoints: Endpoints, crowd: Callable[..., Crowd]
) -> None:
    """The second refresh's failure is everyone's, by 8 T."""
    endpoints.token = [Way.STUCK, way]
    waits = [wait for wait in crowd(endpoints.auth()).all_waits(5) if wait is not None]
    assert_all_failed(waits, library_error(kind, way), "the token endpoint could not be reached")
    assert len({wait.seconds for wait in waits}) == 1
    assert waits[0].seconds <= LONGEST


@each_way
def test_login_that_never_comes_back_is_given_up(
    way: Way, kind: Kind, endpoints: Endpoints, crowd: Callable[..., Crowd]
) -> None:
    """After 5 T one of those who wait begins anew; by 8 T everyone has an error."""
    endpoints.login = [Way.STUCK, way]
    waits = [wait for wait in crowd(endpoints.auth(m2m=M2M)).all_waits(5) if wait is not None]
    assert len(waits) >= (5 if kind.is_async else 3)
    assert all(isinstance(wait.outcome, kind.request_error) for wait in waits)
    assert max(wait.seconds for wait in waits) <= LONGEST
    assert endpoints.login_calls[1] - endpoints.login_calls[0] == 5 * T
    assert len(endpoints.login_calls) <= (5 if way is Way.REFUSING else 2)


@each_way
def test_bearer_that_never_comes_back_to_a_login_is_given_up(
    way: Way, kind: Kind, endpoints: Endpoints, crowd: Callable[..., Crowd]
) -> None:
    """The same where it is the login's bearer that somebody is stuck for."""
    endpoints.token = [Way.STUCK, way]
    waits = [wait for wait in crowd(endpoints.auth(m2m=M2M)).all_waits(5) if wait is not None]
    assert len(waits) >= (5 if kind.is_async else 3)
    assert all(isinstance(wait.outcome, kind.request_error) for wait in waits)
    assert max(wait.seconds for wait in waits) <= LONGEST
    assert endpoints.token_calls[1] - endpoints.token_calls[0] <= 5 * T
    assert not endpoints.login_calls


@each_sickness
def test_renewal_ahead_of_expiry_holds_up_one_caller_for_one_attempt(
    way: Way,
    clock: CoordinatedClock,
    endpoints: Endpoints,
    crowd: Callable[..., Crowd],
) -> None:
    """The others go on at once, and all of them with the current token."""
    endpoints.token = [way]
    auth = endpoints.auth(oauth_clock_skew=600)
    expiry = clock.time() + 300
    auth.oauth_token = {"access_token": "current", "token_type": "Bearer", "expiry": expiry}
    waits = crowd(auth).waits(5)
    assert {wait.outcome for wait in waits} == {"Bearer current"}
    *others, led = sorted(wait.seconds for wait in waits)
    assert others == [0.0] * 4
    assert len(endpoints.token_calls) == 1
    if way in DRIPS:
        assert led <= ENDS_BETWEEN[way][1]
    else:
        assert led == (T if way is Way.HANGING else 0.0)


@small_sizes
def test_store_whose_lock_is_held_for_ever_stops_nobody(
    size: int, clock: CoordinatedClock, endpoints: Endpoints, crowd: Callable[..., Crowd]
) -> None:
    """A busy lock is waited for, and then the token is asked for beside its holder."""
    waits = crowd(endpoints.auth(store=BusyStore(clock))).waits(size)
    assert {wait.outcome for wait in waits} == {"Bearer token-1"}
    assert len({wait.seconds for wait in waits}) == 1
    assert 0 < waits[0].seconds <= LONGEST
    assert len(endpoints.token_calls) == 1


@each_sickness
def test_sick_endpoint_behind_a_lock_that_is_held_for_ever_ends_in_time(
    way: Way,
    kind: Kind,
    clock: CoordinatedClock,
    endpoints: Endpoints,
    crowd: Callable[..., Crowd],
) -> None:
    """A refresh has one deadline, whatever it consists of."""
    endpoints.token = [way]
    waits = crowd(endpoints.auth(store=BusyStore(clock))).waits(5)
    assert_all_failed(waits, library_error(kind, way), "the token endpoint could not be reached")
    assert len({wait.seconds for wait in waits}) == 1
    assert waits[0].seconds <= ENDS_BETWEEN[way][1]


@only_async
@pytest.mark.parametrize("way", [Way.HANGING, Way.DRIPPING, Way.STUCK, None], ids=name_of)
def test_time_limit_of_a_tasks_own_holds(
    way: Way | None, kind: Kind, clock: CoordinatedClock, endpoints: Endpoints
) -> None:
    """Whoever leads and whoever waits is released after a second, and fails nobody else."""
    endpoints.token = [way or Way.HEALTHY, Way.HEALTHY]
    auth = endpoints.auth(store=BusyStore(clock) if way is None else None)
    released: list[float] = []
    got: list[str] = []
    begun_at = clock.monotonic()

    async def impatient() -> None:
        if await limited(kind.backend, auth.aheaders(API)):
            released.append(clock.monotonic() - begun_at)

    async def patient() -> None:
        try:
            got.append((await auth.aheaders(API))["Authorization"])
        except kind.read_timeout:
            got.append("timeout")

    async def main() -> None:
        async with anyio.create_task_group() as group:
            for task in (impatient, impatient, patient, impatient):
                group.start_soon(task)

    clock.run(kind.backend, main)
    assert released == [1.0] * 3
    assert got == ["timeout" if way is Way.DRIPPING else "Bearer token-1"]


async def limited(backend: str, call: Awaitable[object]) -> bool:
    """Await a call for one second at most; whether that was not enough."""
    if backend == "trio":
        import trio

        with trio.move_on_after(1.0) as scope:
            await call
        return scope.cancelled_caught
    try:
        await asyncio.wait_for(call, 1.0)
    except asyncio.TimeoutError:
        return True
    return False
