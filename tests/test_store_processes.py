"""The contract, Part 3, with real processes: contention, and whoever dies in the middle."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from thingspace_auth_adapters.simulator import ThingspaceSimulator

from .kinds import INSTALLED, Kind
from .real import PATIENCE, eventually, options_for
from .redis_server import RedisServer

pytest.importorskip("filelock")
pytest.importorskip("platformdirs")

pytestmark = pytest.mark.skipif(os.name != "posix", reason="kills processes as POSIX does")

CROWD = 32
FEW = 4
WORKER = Path(__file__).parent / "store_worker.py"
PATH = "/api/m2m/v1/devices"


@pytest.fixture
def simulator() -> Iterator[ThingspaceSimulator]:
    with ThingspaceSimulator(sessions_required=True, login_ends_session=True) as running:
        yield running


class Fleet:
    """Processes that share a store."""

    def __init__(self, simulator: ThingspaceSimulator, where: dict[str, Any]) -> None:
        self._simulator = simulator
        self.where = where
        self._processes: list[subprocess.Popen[str]] = []

    def start(self, count: int = 1, **task: Any) -> list[subprocess.Popen[str]]:
        task = {
            "client_id": self._simulator.client_id,
            "client_secret": self._simulator.client_secret,
            "base_url": self._simulator.url,
            "username": self._simulator.username,
            "password": self._simulator.password,
            **self.where,
            **task,
        }
        environment = {**os.environ, "STORE_TASK": json.dumps(task)}
        environment.pop("COVERAGE_PROCESS_START", None)
        started = [
            subprocess.Popen(
                [sys.executable, str(WORKER)],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for _ in range(count)
        ]
        self._processes += started
        return started

    def end(self) -> None:
        for process in self._processes:
            process.kill()
            process.communicate()


@pytest.fixture(params=["file", "redis"])
def fleet(
    request: pytest.FixtureRequest, simulator: ThingspaceSimulator, tmp_path: Path
) -> Iterator[Fleet]:
    if request.param == "file":
        started = Fleet(simulator, {"store": "file", "where": str(tmp_path / "store")})
        yield started
        started.end()
        return
    pytest.importorskip("redis")
    server = RedisServer(tmp_path)
    where = {"store": "redis", "where": server.url, "prefix": server.prefix}
    started = Fleet(simulator, where)
    yield started
    started.end()
    server.stop()


def statuses(process: subprocess.Popen[str], patience: float = 2 * PATIENCE) -> list[int]:
    output, errors = process.communicate(timeout=patience)
    assert process.returncode == 0, errors
    return json.loads(output)  # type: ignore[no-any-return]


def test_crowd_of_cold_processes_makes_one_token_request_and_one_login(
    fleet: Fleet, simulator: ThingspaceSimulator
) -> None:
    for process in fleet.start(CROWD):
        assert statuses(process) == [200]
    assert len(simulator.token_requests) == 1
    assert len(simulator.login_requests) == 1


def test_each_expiry_costs_one_token_request(fleet: Fleet, simulator: ThingspaceSimulator) -> None:
    simulator.token_lifetime = 3
    for process in fleet.start(FEW, seconds=8):
        assert set(statuses(process)) == {200}
    lifetimes = len(simulator.issued_tokens)
    assert lifetimes >= 3
    # The platform repeats a token until it expires: once more where the last second is cut off.
    assert len(simulator.token_requests) <= 2 * lifetimes
    assert len(simulator.login_requests) == 1


def test_short_lived_processes_make_one_token_request_and_one_login_in_all(
    fleet: Fleet, simulator: ThingspaceSimulator
) -> None:
    for _ in range(20):
        (process,) = fleet.start()
        assert statuses(process) == [200]
    assert len(simulator.token_requests) == 1
    assert len(simulator.login_requests) == 1


@pytest.mark.parametrize("endpoint", ["token", "login"])
def test_killed_holder_of_the_lock_holds_nobody_up(
    fleet: Fleet, simulator: ThingspaceSimulator, endpoint: str
) -> None:
    simulator.fail(endpoint, "hang", times=1)
    (holder,) = fleet.start()
    eventually(lambda: requests_to(simulator, endpoint))
    others = fleet.start(FEW)
    # Long enough for them to wait for the lock, on a slow machine, too.
    time.sleep(2)
    holder.send_signal(signal.SIGKILL)
    killed = time.monotonic()
    for process in others:
        assert statuses(process) == [200]
    assert time.monotonic() - killed < PATIENCE
    assert len(requests_to(simulator, endpoint)) == 2
    assert len(simulator.issued_sessions) == 1


def requests_to(simulator: ThingspaceSimulator, endpoint: str) -> list[Any]:
    return simulator.token_requests if endpoint == "token" else simulator.login_requests


def test_process_that_is_killed_in_a_write_corrupts_nothing(
    simulator: ThingspaceSimulator, tmp_path: Path
) -> None:
    fleet = Fleet(simulator, {"store": "file", "where": str(tmp_path / "store")})
    (victim,) = fleet.start(dies_in_a_write=True)
    victim.communicate(timeout=PATIENCE)
    assert victim.returncode == -signal.SIGKILL
    for process in fleet.start(FEW):
        output, errors = process.communicate(timeout=2 * PATIENCE)
        assert json.loads(output) == [200]
        assert "corrupt" not in errors
    assert len(simulator.login_requests) == 1


def test_wrong_password_is_one_strike_for_all_processes(
    fleet: Fleet, simulator: ThingspaceSimulator
) -> None:
    for process in fleet.start(FEW, password="wrong"):
        _, errors = process.communicate(timeout=2 * PATIENCE)
        assert "M2mLoginError" in errors
        assert "wrong" not in errors.replace("store_worker", "")
    assert simulator.failed_logins == 1


def test_redis_that_is_restarted_stops_no_request(
    simulator: ThingspaceSimulator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("redis")
    server = RedisServer(tmp_path)
    if not server.is_ours:
        pytest.skip("the server is not ours to restart")
    from thingspace_auth_adapters import VzM2mCredentials
    from thingspace_auth_adapters.stores import RedisTokenStore

    kind: Kind = INSTALLED[0]
    store = RedisTokenStore(server.url)
    m2m = VzM2mCredentials(simulator.username, simulator.password, vz_m2m_token_provider=store)
    auth = kind.auth(**options_for(simulator), oauth_token_provider=store, m2m=m2m)
    url = simulator.url + PATH
    assert kind.get(auth, url).status == 200
    server.stop()
    auth.oauth_token = None
    assert kind.get(auth, url).status == 200
    assert "going on without it" in caplog.text
    server.start()
    store._shunned_until = 0.0
    auth.oauth_token = None
    assert kind.get(auth, url).status == 200
    assert server.client().keys("thingspace-auth:*")
    server.stop()
