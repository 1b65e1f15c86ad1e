"""Part 1, rules 4, 5, 6 and 11: how long anybody waits for tokens. Virtual time, T its unit."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator
from functools import partial
from typing import Any, Callable

import pytest

from thingspace_auth_adapters import M2mLoginError, VzM2mCredentials
from thingspace_auth_adapters._adapters import auth as adapters
from thingspace_auth_adapters._core import refresh, workers

from ..support import kinds
from ..support.coordinated import CoordinatedClock
from ..support.kinds import PASSWORD, Kind
from ..support.optional import anyio
from ..support.sick_endpoints import (
    DRIPS,
    LONGEST,
    SICK,
    SMALL_CROWD,
    BusyStore,
    Crowd,
    Endpoints,
    Interrupted,
    T,
    Wait,
    Way,
)
from ..support.virtual import API, LOGIN_PATH, TOKEN_PATH

LARGE_CROWD = 200
M2M = VzM2mCredentials(username="user", password=PASSWORD)

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

MakeCrowd = Callable[..., Crowd]


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
) -> MakeCrowd:
    """A crowd of callers of these auth objects."""
    if "size" in request.fixturenames and request.getfixturevalue("size") > SMALL_CROWD:
        # Threads that each look around every second are most of what a large crowd costs.
        monkeypatch.setattr(refresh, "WATCH_SECONDS", LONGEST)
    return partial(Crowd, kind, clock, endpoints)


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
small_sizes = pytest.mark.parametrize("size", [1, SMALL_CROWD])


def assert_all_failed(kind: Kind, way: Way, waits: list[Wait]) -> None:
    """Each got an error of its own, the library's, that says of which endpoint."""
    error = kind.connect_error if way is Way.REFUSING else kind.read_timeout
    for wait in waits:
        assert isinstance(wait.outcome, error)
        assert "the token endpoint could not be reached" in str(wait.outcome)
        assert ("the answer did not end in time" in str(wait.outcome)) == (way in DRIPS)
    assert len({id(wait.outcome) for wait in waits}) == len(waits)


@pytest.mark.parametrize(
    ("setting", "size"),
    [
        ("plain", 1),
        ("plain", SMALL_CROWD),
        ("plain", LARGE_CROWD),
        ("login", 1),
        ("login", SMALL_CROWD),
        ("busy store", SMALL_CROWD),
    ],
)
@each_sickness
def test_all_get_the_endpoints_failure_at_once_and_in_time(
    way: Way,
    setting: str,
    size: int,
    kind: Kind,
    clock: CoordinatedClock,
    endpoints: Endpoints,
    crowd: MakeCrowd,
) -> None:
    """A crowd costs the calls of one refresh, whatever that consists of, and ends with it.

    Those who wait do not take turns: a call every 3 T, and an error for nobody.
    """
    options: dict[str, dict[str, Any]] = {
        "plain": {},
        "login": {"m2m": M2M},
        "busy store": {"store": BusyStore(clock)},
    }
    endpoints.token = [way]
    begun_at = clock.steady
    waits = crowd(endpoints.auth(**options[setting])).waits(size)
    assert_all_failed(kind, way, waits)
    (seconds,) = {wait.seconds for wait in waits}
    earliest, latest = ENDS_BETWEEN[way]
    assert earliest <= seconds <= latest
    assert endpoints.begun[TOKEN_PATH][-1] - begun_at <= 2 * T
    assert 1 <= len(endpoints.begun[TOKEN_PATH]) <= MOST_CALLS[way]
    assert endpoints.begun[LOGIN_PATH] == []


@each_sickness
def test_nobody_waits_longer_however_callers_come(
    way: Way, kind: Kind, endpoints: Endpoints, crowd: MakeCrowd
) -> None:
    """One caller every 0.3 s, each of whom joins what is under way or begins anew."""
    endpoints.token = [way]
    waits = crowd(endpoints.auth()).waits(60, pause=0.3)
    assert_all_failed(kind, way, waits)
    assert max(wait.seconds for wait in waits) <= ENDS_BETWEEN[way][1]


@each_way
@pytest.mark.parametrize("sick", ["token", "login"])
def test_nobody_waits_longer_for_a_session_however_callers_come(
    sick: str, way: Way, kind: Kind, endpoints: Endpoints, crowd: MakeCrowd
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
        assert len(endpoints.begun[LOGIN_PATH]) <= 2


@small_sizes
@each_sickness
def test_sick_login_ends_in_time_and_risks_two_logins_at_most(
    way: Way, size: int, kind: Kind, endpoints: Endpoints, crowd: MakeCrowd
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
    assert len(endpoints.begun[TOKEN_PATH]) == 1
    if way is Way.REFUSING:
        assert len(endpoints.begun[LOGIN_PATH]) == 3 * MOST_CALLS[way]
        assert all(isinstance(outcome, kind.connect_error) for outcome in outcomes)
    else:
        assert len(endpoints.begun[LOGIN_PATH]) == 2
        assert isinstance(outcomes[-1], M2mLoginError)


@each_sickness
def test_two_objects_of_one_account_wait_in_time_and_risk_two_logins_at_most(
    way: Way, kind: Kind, endpoints: Endpoints, crowd: MakeCrowd
) -> None:
    """One login at a time goes out for an account, whatever objects log in with it."""
    endpoints.login = [way]
    waits = crowd(endpoints.auth(m2m=M2M), endpoints.auth(m2m=M2M)).waits(5)
    assert all(isinstance(wait.outcome, kind.request_error) for wait in waits)
    assert max(wait.seconds for wait in waits) <= LONGEST
    if way is not Way.REFUSING:
        assert len(endpoints.begun[LOGIN_PATH]) <= 2


def test_no_object_of_the_account_logs_in_while_another_login_may_be_answered(
    clock: CoordinatedClock, endpoints: Endpoints, crowd: MakeCrowd
) -> None:
    """That is for 4 T, whichever object's login it is."""
    endpoints.login = [Way.STUCK, Way.HEALTHY]
    crowd(endpoints.auth(m2m=M2M), endpoints.auth(m2m=M2M)).all_waits(4)
    first, *later = endpoints.begun[LOGIN_PATH]
    assert all(begun - first >= 4 * T for begun in later)


@pytest.mark.parametrize("size", [SMALL_CROWD, LARGE_CROWD])
def test_leader_that_never_comes_back_is_given_up(
    size: int, kind: Kind, clock: CoordinatedClock, endpoints: Endpoints, crowd: MakeCrowd
) -> None:
    """Those who wait give up after 4 T, one of them begins anew, and what it gets is for all."""
    endpoints.token = [Way.STUCK, Way.HEALTHY]
    waits = crowd(endpoints.auth()).all_waits(size)
    came_back = [wait for wait in waits if wait is not None]
    # A thread cannot leave what it leads; a task can.
    assert len(came_back) == (size if kind.is_async else size - 1)
    assert {wait.seconds for wait in came_back} == {4 * T}
    assert {wait.outcome for wait in came_back} == {"Bearer token-1"}
    assert len(endpoints.begun[TOKEN_PATH]) == 2
    assert len(clock.left()) == 1


def test_second_leader_that_never_comes_back_is_the_last_one(
    kind: Kind, clock: CoordinatedClock, endpoints: Endpoints, crowd: MakeCrowd
) -> None:
    """Nobody waits for a third: after 8 T everyone has the library's timeout error."""
    endpoints.token = [Way.STUCK]
    waits = crowd(endpoints.auth()).all_waits(5)
    came_back = [wait for wait in waits if wait is not None]
    assert len(came_back) == (5 if kind.is_async else 3)
    assert_all_failed(kind, Way.STUCK, came_back)
    assert {wait.seconds for wait in came_back} == {LONGEST}
    begun_at = endpoints.begun[TOKEN_PATH][0]
    assert endpoints.begun[TOKEN_PATH] == [begun_at, begun_at + 4 * T]
    # Of all threads only those two stay behind, and they end when the look-up does.
    assert len(clock.left()) == 2
    endpoints.release()
    assert clock.left() == []


@only_sync
def test_second_leader_that_is_interrupted_is_the_last_one(
    kind: Kind, endpoints: Endpoints, crowd: MakeCrowd
) -> None:
    """The interrupt is the leader's own. Who has waited for two refreshes begins no third."""
    endpoints.token = [Way.INTERRUPTING]
    waits = sorted(crowd(endpoints.auth()).waits(5), key=lambda wait: wait.seconds)
    assert [wait.seconds for wait in waits] == [1.0, 2.0, 2.0, 2.0, 2.0]
    others = [wait for wait in waits if not isinstance(wait.outcome, Interrupted)]
    assert len(others) == 3
    assert_all_failed(kind, Way.INTERRUPTING, others)
    assert len(endpoints.begun[TOKEN_PATH]) == 2


@each_way
@pytest.mark.parametrize("stuck", ["token", "token of a login", "login"])
def test_sick_endpoint_after_a_leader_that_never_came_back_ends_in_time(
    stuck: str, way: Way, kind: Kind, endpoints: Endpoints, crowd: MakeCrowd
) -> None:
    """After 4 T, or 5 T for a login, one of those who wait begins anew; by 8 T all have failed."""
    is_login = stuck == "login"
    setattr(endpoints, "login" if is_login else "token", [Way.STUCK, way])
    auth = endpoints.auth(m2m=None if stuck == "token" else M2M)
    waits = [wait for wait in crowd(auth).all_waits(5) if wait is not None]
    assert len(waits) >= (5 if kind.is_async else 3)
    assert all(isinstance(wait.outcome, kind.request_error) for wait in waits)
    assert max(wait.seconds for wait in waits) <= LONGEST
    first, second = (endpoints.begun[LOGIN_PATH] if is_login else endpoints.begun[TOKEN_PATH])[:2]
    if stuck == "token of a login":
        assert second - first <= 5 * T
    else:
        assert second - first == (5 if is_login else 4) * T
    if is_login:
        assert len(endpoints.begun[LOGIN_PATH]) <= (5 if way is Way.REFUSING else 2)
        if way is Way.STUCK:
            assert {type(wait.outcome) for wait in waits} == {kind.read_timeout}
            assert all("the login could not be reached" in str(wait.outcome) for wait in waits)
        return
    assert endpoints.begun[LOGIN_PATH] == []
    if stuck == "token":
        assert_all_failed(kind, way, waits)
        assert len({wait.seconds for wait in waits}) == 1


def test_callers_that_give_up_behind_a_store_are_told_of_the_endpoint(
    kind: Kind, clock: CoordinatedClock, endpoints: Endpoints, crowd: MakeCrowd
) -> None:
    endpoints.token = [Way.STUCK, Way.STUCK]
    waits = [wait for wait in crowd(endpoints.auth(store=BusyStore(clock))).all_waits(5) if wait]
    assert len(waits) >= 3
    assert {type(wait.outcome) for wait in waits} == {kind.read_timeout}
    assert all("the token endpoint could not be reached" in str(one.outcome) for one in waits)
    assert max(wait.seconds for wait in waits) <= LONGEST


@each_sickness
def test_renewal_ahead_of_expiry_holds_up_one_caller_for_one_attempt(
    way: Way, clock: CoordinatedClock, endpoints: Endpoints, crowd: MakeCrowd
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
    assert len(endpoints.begun[TOKEN_PATH]) == 1
    if way in DRIPS:
        assert led <= ENDS_BETWEEN[way][1]
    else:
        assert led == (T if way is Way.HANGING else 0.0)


@small_sizes
def test_store_whose_lock_is_held_for_ever_stops_nobody(
    size: int, clock: CoordinatedClock, endpoints: Endpoints, crowd: MakeCrowd
) -> None:
    """A busy lock is waited for, and then the token is asked for beside its holder."""
    waits = crowd(endpoints.auth(store=BusyStore(clock))).waits(size)
    assert {wait.outcome for wait in waits} == {"Bearer token-1"}
    assert len({wait.seconds for wait in waits}) == 1
    assert 0 < waits[0].seconds <= LONGEST
    assert len(endpoints.begun[TOKEN_PATH]) == 1


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
        assert await limited(kind.backend, auth.aheaders(API))
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
