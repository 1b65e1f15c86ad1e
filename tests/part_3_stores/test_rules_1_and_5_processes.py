"""Part 3, rules 1 and 5, with real processes: contention, and whoever dies in the middle."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from thingspace_auth_adapters import VzM2mCredentials
from thingspace_auth_adapters.simulator import ThingspaceSimulator

from ..support.fleet import KILLED, Fleet, Worker, request_of_each
from ..support.kinds import INSTALLED
from ..support.real import PATIENCE, eventually, options_for
from ..support.redis_server import RedisServer
from ..support.store_kinds import StoreKind, file_kind

pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(os.name != "posix", reason="forks and kills processes as POSIX does"),
]

CROWD = 12
FEW = 4
LOCK_SECONDS = 3.0


class Time:
    """The time of all processes and of the platform."""

    ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@pytest.fixture
def clocks() -> Time:
    return Time()


@pytest.fixture
def simulator(clocks: Time) -> Iterator[ThingspaceSimulator]:
    with ThingspaceSimulator(
        sessions_required=True, login_ends_session=True, clock=clocks
    ) as running:
        yield running


class Crew:
    """Processes of a fleet that share a store, and have one time."""

    def __init__(self, fleet: Fleet, store: StoreKind, clocks: Time) -> None:
        self.fleet = fleet
        self.store = store
        self._clocks = clocks

    def start(self, count: int, **changes: object) -> list[Worker]:
        return [self.fleet.start(self.store.code, **changes) for _ in range(count)]

    def request(self, workers: list[Worker]) -> set[str]:
        """What comes of a request that each of them sends at the same time."""
        return {said["result"] for said in request_of_each(workers, self._clocks.ahead)}


@pytest.fixture
def fleet(parent: int, simulator: ThingspaceSimulator, tmp_path: Path) -> Iterator[Fleet]:
    started = Fleet(parent, simulator, tmp_path, PATIENCE)
    yield started
    started.end()


@pytest.fixture
def crew(fleet: Fleet, store_kind: StoreKind, clocks: Time) -> Crew:
    return Crew(fleet, store_kind, clocks)


def counted(simulator: ThingspaceSimulator) -> tuple[int, int]:
    """How many token requests and logins there were."""
    return len(simulator.token_requests), len(simulator.login_requests)


def test_crowd_of_cold_processes_makes_one_token_request_and_one_login(
    crew: Crew, simulator: ThingspaceSimulator
) -> None:
    assert crew.request(crew.start(CROWD)) == {"200"}
    for _ in range(FEW):
        (worker,) = crew.start(1)
        assert crew.request([worker]) == {"200"}
        worker.end()
    assert counted(simulator) == (1, 1)


@pytest.mark.parametrize("loss", ["expiry", "revoked token", "ended session"])
def test_each_loss_costs_one_token_request_or_one_login(
    crew: Crew, simulator: ThingspaceSimulator, clocks: Time, loss: str
) -> None:
    workers = crew.start(FEW)
    for times in (1, 2, 3):
        for _ in range(2):
            assert crew.request(workers) == {"200"}
        tokens = 1 if loss == "ended session" else times
        assert counted(simulator) == (tokens, 1 if loss == "revoked token" else times)
        if loss == "expiry":
            clocks.ahead += 3600
        elif loss == "revoked token":
            simulator.revoke()
        else:
            simulator.end_sessions()


def test_session_that_one_process_keeps_alive_lives_for_all(
    crew: Crew, simulator: ThingspaceSimulator, clocks: Time
) -> None:
    busy, idle = workers = crew.start(2)
    assert crew.request(workers) == {"200"}
    for _ in range(5):
        clocks.ahead += simulator.idle_timeout / 2
        assert crew.request([busy]) == {"200"}
    assert crew.request([idle]) == {"200"}
    assert len(simulator.login_requests) == 1


def test_wrong_password_is_one_failed_login_for_all_processes(
    crew: Crew, simulator: ThingspaceSimulator
) -> None:
    wrong = {"m2m": [simulator.username, "a wrong password"]}
    workers = crew.start(FEW, **wrong)
    for _ in range(2):
        assert crew.request(workers) == {"M2mLoginError"}
    (said,) = request_of_each(crew.start(1, **wrong))
    assert said["result"] == "M2mLoginError"
    assert simulator.failed_logins == 1
    assert "a wrong password" not in crew.fleet.errors + said["text"]
    assert crew.request(crew.start(1)) == {"200"}


# Whoever dies in the middle.


@pytest.mark.parametrize("endpoint", ["token", "login"])
def test_killed_holder_holds_the_others_up_for_the_time_of_the_lock_at_most(
    crew: Crew, simulator: ThingspaceSimulator, endpoint: str
) -> None:
    """Which is 20 seconds at most, also once it was renewed: test_rule_6_redis.py checks that."""
    index = ("token", "login").index(endpoint)
    holder, *others = crew.start(1 + FEW, lock_seconds=LOCK_SECONDS)
    simulator.fail(endpoint, "hang")
    holder.begin()
    eventually(lambda: counted(simulator)[index])
    for worker in others:
        worker.begin()
    holder.signal(signal.SIGKILL)
    killed_at = time.monotonic()
    assert [worker.outcome()["result"] for worker in others] == ["200"] * FEW
    # Beside the time of the lock, what a busy machine may take for the requests themselves.
    assert time.monotonic() - killed_at < LOCK_SECONDS + 10.0
    assert counted(simulator)[index] == 2
    assert len(simulator.issued_sessions) == 1


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_process_that_is_killed_in_a_write_leaves_nothing_corrupt(
    fleet: Fleet, simulator: ThingspaceSimulator, tmp_path: Path, clocks: Time, number: int
) -> None:
    """The writes of a cold request: token, count of logins before and after, session."""
    crew = Crew(fleet, file_kind(tmp_path), clocks)
    assert crew.request(crew.start(1, dies_in_write=number)) == {KILLED}
    assert crew.request(crew.start(2)) == {"200"}
    assert "corrupt" not in fleet.errors
    assert counted(simulator) == (2 if number == 1 else 1, 1 if number <= 2 else 2)


def test_redis_that_is_restarted_stops_no_request(
    simulator: ThingspaceSimulator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("redis")
    from thingspace_auth_adapters.stores import RedisTokenStore

    server = RedisServer(tmp_path)
    if not server.is_ours:
        pytest.skip("the server is not ours to restart")
    kind, url = INSTALLED[0], simulator.url + "/api/m2m/v1/devices"
    m2m = VzM2mCredentials(simulator.username, simulator.password)
    auth = kind.auth(**options_for(simulator), m2m=m2m, store=RedisTokenStore(server.url))
    try:
        assert kind.get(auth, url).status == 200
        server.stop()
        auth.oauth_token = None
        assert kind.get(auth, url).status == 200
        assert "going on without it" in caplog.text
        server.start()
        auth.oauth_token = None
        assert kind.get(auth, url).status == 200
        assert server.client().keys("thingspace-auth:*")
    finally:
        server.stop()
