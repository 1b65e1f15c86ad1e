"""The contract, Part 3, with real processes: contention, and whoever dies in the middle."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from thingspace_auth_adapters import VzM2mCredentials
from thingspace_auth_adapters.simulator import ThingspaceSimulator

from ..support.kinds import INSTALLED, Kind
from ..support.real import PATIENCE, eventually, options_for
from ..support.redis_server import RedisServer
from ..support.store_kinds import StoreKind, file_kind, redis_kind, sqlite_kind

pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(os.name != "posix", reason="forks and kills processes as POSIX does"),
]

CROWD = 12
FEW = 4
HOUR = 3600
LOCK_SECONDS = 3.0
WORKER = Path(__file__).parent / "store_worker.py"
PATH = "/api/m2m/v1/devices"


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


@pytest.fixture(scope="session")
def parent() -> Iterator[int]:
    """The port of what forks a process for each connection."""
    environment = {**os.environ}
    environment.pop("COVERAGE_PROCESS_START", None)
    with subprocess.Popen(
        [sys.executable, str(WORKER)], env=environment, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline())
        process.kill()


class Worker:
    """Another process that shares the store."""

    def __init__(self, parent: int, task: dict[str, Any], errors: Path) -> None:
        self._errors = errors
        with socket.create_connection(("127.0.0.1", parent), PATIENCE) as connection:
            connection.settimeout(None)
            self._lines = connection.makefile("rw")
        self.tell(json.dumps({**task, "errors": str(errors)}))
        self._process_id = int(self.said())

    def tell(self, line: object) -> None:
        print(line, file=self._lines, flush=True)

    def said(self) -> str:
        """The next line that it says; empty if it is dead."""
        try:
            return self._lines.readline().strip()
        except ConnectionError:
            return ""

    def kill(self) -> None:
        os.kill(self._process_id, signal.SIGKILL)

    def end(self) -> str:
        """What it wrote of errors."""
        self.kill()
        with contextlib.suppress(OSError):
            self._lines.close()
        return self._errors.read_text(encoding="utf-8")


class Fleet:
    """Processes that share a store."""

    def __init__(
        self,
        parent: int,
        simulator: ThingspaceSimulator,
        store: StoreKind,
        clocks: Time,
        directory: Path,
    ) -> None:
        self._parent = parent
        self._simulator = simulator
        self._store = store
        self._clocks = clocks
        self._directory = directory
        self.workers: list[Worker] = []
        # Whatever hangs then says no more, and fails the test.
        self._watchdog = threading.Timer(5 * PATIENCE, self.kill)
        self._watchdog.daemon = True
        self._watchdog.start()

    def start(self, count: int, password: str = "", **options: float) -> list[Worker]:
        """Processes that are ready to send a request."""
        simulator = self._simulator
        task = {
            "options": options_for(simulator),
            "m2m": [simulator.username, password or simulator.password],
            "store": self._store.code,
            "dies_in_write": 0,
            "lock_seconds": 0,
            **options,
        }
        started = []
        for _ in range(count):
            errors = self._directory / f"errors-{len(self.workers)}"
            started.append(Worker(self._parent, task, errors))
            self.workers.append(started[-1])
        return started

    def send(self, workers: list[Worker]) -> None:
        """Have each of them begin a request."""
        for worker in workers:
            worker.tell(self._clocks.ahead)

    def request(self, workers: list[Worker]) -> set[str]:
        """What comes of a request that each of them sends at the same time."""
        self.send(workers)
        return {worker.said() for worker in workers}

    def kill(self) -> None:
        for worker in self.workers:
            worker.kill()

    def end(self) -> None:
        self._watchdog.cancel()
        for worker in self.workers:
            worker.end()


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    pytest.importorskip("redis")
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.stop()


@pytest.fixture(params=["file", "redis", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> StoreKind:
    if request.param == "file":
        return file_kind(tmp_path)
    if request.param == "sqlite":
        return sqlite_kind(tmp_path)
    return redis_kind(tmp_path, request.getfixturevalue("redis_server"))


@pytest.fixture
def fleet(
    parent: int, simulator: ThingspaceSimulator, store: StoreKind, clocks: Time, tmp_path: Path
) -> Iterator[Fleet]:
    started = Fleet(parent, simulator, store, clocks, tmp_path)
    yield started
    started.end()


def counted(simulator: ThingspaceSimulator) -> tuple[int, int]:
    """How many token requests and logins there were."""
    return len(simulator.token_requests), len(simulator.login_requests)


def test_crowd_of_cold_processes_makes_one_token_request_and_one_login(
    fleet: Fleet, simulator: ThingspaceSimulator
) -> None:
    assert fleet.request(fleet.start(CROWD)) == {"200"}
    assert counted(simulator) == (1, 1)


def test_processes_one_after_the_other_make_one_token_request_and_one_login(
    fleet: Fleet, simulator: ThingspaceSimulator
) -> None:
    for _ in range(FEW):
        (worker,) = fleet.start(1)
        assert fleet.request([worker]) == {"200"}
        worker.end()
    assert counted(simulator) == (1, 1)


def test_each_expiry_costs_one_token_request_and_one_login(
    fleet: Fleet, simulator: ThingspaceSimulator, clocks: Time
) -> None:
    workers = fleet.start(FEW)
    for times in (1, 2, 3):
        for _ in range(2):
            assert fleet.request(workers) == {"200"}
        assert counted(simulator) == (times, times)
        clocks.ahead += HOUR


def test_revoked_token_costs_one_token_request(
    fleet: Fleet, simulator: ThingspaceSimulator
) -> None:
    workers = fleet.start(FEW)
    for times in (1, 2, 3):
        assert fleet.request(workers) == {"200"}
        assert counted(simulator) == (times, 1)
        simulator.revoke()


def test_ended_session_costs_one_login(fleet: Fleet, simulator: ThingspaceSimulator) -> None:
    workers = fleet.start(FEW)
    for times in (1, 2, 3):
        assert fleet.request(workers) == {"200"}
        assert counted(simulator) == (1, times)
        simulator.end_sessions()


def test_session_that_one_process_keeps_alive_lives_for_all(
    fleet: Fleet, simulator: ThingspaceSimulator, clocks: Time
) -> None:
    busy, idle = workers = fleet.start(2)
    assert fleet.request(workers) == {"200"}
    for _ in range(5):
        clocks.ahead += simulator.idle_timeout / 2
        assert fleet.request([busy]) == {"200"}
    assert fleet.request([idle]) == {"200"}
    assert len(simulator.login_requests) == 1


def test_wrong_password_is_one_failed_login_for_all_processes(
    fleet: Fleet, simulator: ThingspaceSimulator
) -> None:
    workers = fleet.start(FEW, password="a wrong password")
    for _ in range(2):
        assert fleet.request(workers) == {"M2mLoginError"}
    newcomers = fleet.start(1, password="a wrong password")
    assert fleet.request(newcomers) == {"M2mLoginError"}
    assert simulator.failed_logins == 1
    assert "a wrong password" not in "".join(worker.end() for worker in fleet.workers)
    assert fleet.request(fleet.start(1)) == {"200"}


# Whoever dies in the middle.


@pytest.mark.parametrize("endpoint", ["token", "login"])
def test_killed_holder_holds_the_others_up_for_the_time_of_the_lock_at_most(
    fleet: Fleet, simulator: ThingspaceSimulator, endpoint: str
) -> None:
    """Which is less than 20 seconds, as tests/part_3_stores/test_redis_store.py checks."""
    holder, *others = fleet.start(1 + FEW, lock_seconds=LOCK_SECONDS)
    simulator.fail(endpoint, "hang")
    fleet.send([holder])
    eventually(lambda: requests_to(simulator, endpoint))
    fleet.send(others)
    holder.kill()
    killed_at = time.monotonic()
    assert {worker.said() for worker in others} == {"200"}
    # Beside the time of the lock, what a busy machine may take for the requests themselves.
    assert time.monotonic() - killed_at < LOCK_SECONDS + PATIENCE
    assert requests_to(simulator, endpoint) == 2
    assert len(simulator.issued_sessions) == 1


def requests_to(simulator: ThingspaceSimulator, endpoint: str) -> int:
    tokens, logins = counted(simulator)
    return tokens if endpoint == "token" else logins


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_process_that_is_killed_in_a_write_leaves_nothing_corrupt(
    parent: int, simulator: ThingspaceSimulator, tmp_path: Path, clocks: Time, number: int
) -> None:
    """The writes of a cold request: token, count of logins before and after, session."""
    fleet = Fleet(parent, simulator, file_kind(tmp_path), clocks, tmp_path)
    try:
        (victim,) = fleet.start(1, dies_in_write=number)
        assert fleet.request([victim]) == {""}
        others = fleet.start(2)
        assert fleet.request(others) == {"200"}
        assert "corrupt" not in "".join(worker.end() for worker in others)
    finally:
        fleet.end()
    tokens, logins = counted(simulator)
    assert (tokens, logins) == (2 if number == 1 else 1, 1 if number <= 2 else 2)


def test_redis_that_is_restarted_stops_no_request(
    simulator: ThingspaceSimulator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("redis")
    from thingspace_auth_adapters.stores import RedisTokenStore

    server = RedisServer(tmp_path)
    if not server.is_ours:
        pytest.skip("the server is not ours to restart")
    kind: Kind = INSTALLED[0]
    m2m = VzM2mCredentials(simulator.username, simulator.password)
    store = RedisTokenStore(server.url)
    auth = kind.auth(**options_for(simulator), m2m=m2m, store=store)
    url = simulator.url + PATH
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
