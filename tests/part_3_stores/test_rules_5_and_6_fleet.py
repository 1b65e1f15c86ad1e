"""Part 3, rules 5 and 6: a fleet that shares a store, and whose processes are killed at any moment.

They are killed for some seconds, or for as many as an environment variable says. In a long run the
locks of Redis last as long as they do for users.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from thingspace_auth_adapters import VzM2mCredentials
from thingspace_auth_adapters.simulator import ThingspaceSimulator
from thingspace_auth_adapters.simulator.log import SimulatedRequest

from ..support.fleet import KILLED, SHORT_LOCK_SECONDS, Fleet, Worker, request_of_each
from ..support.real import Threads, options_for
from ..support.store_kinds import StoreKind

pytest.importorskip("requests")
pytest.importorskip("filelock")
pytest.importorskip("redis")

pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(os.name != "posix", reason="forks and kills processes as POSIX does"),
]

VARIABLE = "THINGSPACE_TEST_FLEET_SECONDS"
SECONDS = float(os.environ.get(VARIABLE, "5"))
LONG_RUN = 30.0

CREW = 8
SENDER = "x-sender"

IDLE_SECONDS = 0.5
TOKEN_SECONDS = 3.0
LATENCY = {"login": 0.06, "token": 0.06}
WAVE_SECONDS = 0.4
REST_SECONDS = IDLE_SECONDS + 0.1
LONGEST_WAIT = 25.0


class Request(NamedTuple):
    """A request, with the times at which it began and was over."""

    sender: int
    begun: float
    ended: float
    result: str

    @property
    def seconds(self) -> float:
        return self.ended - self.begun


class Unrest:
    """A fleet at work, and what befalls it.

    The requests come in waves. Between them everything is idle for so long that the next one needs
    another session. What the platform ends, and who is killed in a login, is left to chance.

    Args:
        fleet: whose processes are killed.
        simulator: the platform.
        store: what they share.
        lock_seconds: how long a lock lasts; 0 for as long as it does for users.

    Attributes:
        requests: all that were made.
        ended_at: when the platform ended the session.
        revoked_at: when it revoked the token.
        freed: how often the operator had to allow logins again.
    """

    def __init__(
        self, fleet: Fleet, simulator: ThingspaceSimulator, store: StoreKind, lock_seconds: int
    ) -> None:
        self._fleet = fleet
        self._simulator = simulator
        self._store = store
        self._lock_seconds = lock_seconds
        self._operator = operator_of(simulator, store)
        self._wave, self._over = threading.Event(), threading.Event()
        self._crew: dict[int, Worker] = {}
        self._killed: set[int] = set()
        self._failures = 0
        self.requests: list[Request] = []
        self.ended_at: list[float] = []
        self.revoked_at: list[float] = []
        self.freed = 0

    @property
    def survivors(self) -> list[Worker]:
        return [one for one in self._crew.values() if one.process_id not in self._killed]

    def last(self, seconds: float) -> None:
        threads = Threads()
        for place in range(CREW):
            threads.start(self._work, place)
        threads.start(self._kill)
        ends_at = time.monotonic() + seconds
        while time.monotonic() < ends_at:
            self._wave.set()
            time.sleep(WAVE_SECONDS / 2)
            self._meddle()
            time.sleep(WAVE_SECONDS / 2)
            self._wave.clear()
            time.sleep(REST_SECONDS)
            self._free()
        self._over.set()
        assert threads.join() == [None] * (CREW + 1)
        self._operator.allow_login()

    def _work(self, place: int) -> None:
        while not self._over.is_set():
            if place not in self._crew:
                self._crew[place] = self._fleet.start(
                    self._store.code, idle_timeout=IDLE_SECONDS, lock_seconds=self._lock_seconds
                )
            if self._wave.wait(0.05):
                self._request(place)

    def _request(self, place: int) -> None:
        worker, begun = self._crew[place], time.time()
        worker.begin()
        result = worker.outcome()["result"]
        self.requests.append(Request(worker.process_id, begun, time.time(), result))
        if result == KILLED:
            del self._crew[place]
        time.sleep(random.uniform(0.0, 0.06))

    def _kill(self) -> None:
        while not self._over.is_set():
            if random.random() < 0.5:
                victim = self._sender_of_the_next_login()
            else:
                time.sleep(random.uniform(0.1, 0.5))
                victim = random.choice([0, *(one.process_id for one in self.survivors)])
            if victim:
                self._killed.add(victim)
                os.kill(victim, signal.SIGKILL)

    def _sender_of_the_next_login(self) -> int:
        """Who logs in right now; 0 if nobody does within some waves."""
        before, gives_up_at = len(self._simulator.login_requests), time.monotonic() + 2.0
        while time.monotonic() < gives_up_at:
            logins = self._simulator.login_requests[before:]
            if logins:
                # Some die before the answer, some while they write what came of it.
                time.sleep(random.uniform(0.0, 1.5 * LATENCY["login"]))
                return sender_of(logins[0])
            time.sleep(0.01)
        return 0

    def _meddle(self) -> None:
        """Now and then the platform forgets what it gave."""
        chance = random.random()
        if chance < 0.2:
            # Before and after: what arrives in between may come to either.
            self.ended_at.append(time.time())
            self._simulator.end_sessions()
            self.ended_at.append(time.time())
        elif chance < 0.4:
            self.revoked_at.append(time.time())
            self._simulator.revoke()

    def _free(self) -> None:
        """What an operator does, once two in a row were killed in their logins."""
        failures = sum(one.result not in ("200", KILLED) for one in list(self.requests))
        if failures > self._failures:
            self._failures = failures
            self.freed += 1
            self._operator.allow_login()


class Story:
    """What happened, told by the processes and by the platform.

    Attributes:
        unexplained: logins although there was a session, each with the one before it.
        failed: requests that should have succeeded.
        stuck: requests that took longer than anyone who died can explain.
    """

    def __init__(self, unrest: Unrest, simulator: ThingspaceSimulator) -> None:
        self._requests = unrest.requests
        self._ended_at, self._revoked_at = unrest.ended_at, unrest.revoked_at
        self._freed = unrest.freed
        self._died = {one.sender: one for one in self._requests if one.result == KILLED}
        self._logins, self._fetches = simulator.login_requests, simulator.token_requests
        self._used_at = [one.at for one in simulator.api_requests]
        pairs = zip(self._logins, self._logins[1:])
        self.unexplained = [pair for pair in pairs if not self._has_cause(*pair)]
        self.failed = [one for one in self._requests if not self._has_excuse(one)]
        self.stuck = [one for one in self._requests if self._was_stuck(one)]

    def __str__(self) -> str:
        results = [one.result for one in self._requests]
        told = {result: results.count(result) for result in sorted(set(results))}
        longest = max(one.seconds for one in self._requests)
        return (
            f"{len(results)} requests {told}, {len(self._fetches)} token requests,"
            f" {len(self._logins)} logins, {sum(map(self._died_in, self._logins))} of them by"
            f" processes that were killed in it; the longest request took {longest:.1f} s;"
            f" allow_login() was called {self._freed} times"
        )

    def _has_cause(self, earlier: SimulatedRequest, later: SimulatedRequest) -> bool:
        """Whether what one login brought, if anything, could not serve until the next one."""
        was_ended = any(earlier.at < at <= later.at for at in self._ended_at)
        brought_none = earlier.status == 401 or self._died_in(earlier)
        return was_ended or brought_none or self._was_idle(earlier.at, later.at)

    def _died_in(self, call: SimulatedRequest) -> bool:
        """Whether the one who made this call was killed before its request was over."""
        died = self._died.get(sender_of(call))
        return died is not None and died.begun <= call.at

    def _was_idle(self, begun: float, ended: float) -> bool:
        moments = [begun, *(at for at in self._used_at if begun < at < ended), ended]
        longest = max(after - before for before, after in zip(moments, moments[1:]))
        # Its use is written four times in that time at most, so others may see one as longer ago.
        return longest >= 0.7 * IDLE_SECONDS

    def _has_excuse(self, request: Request) -> bool:
        """Whether a request need not have succeeded."""
        if request.result in ("200", KILLED):
            return True
        # Each token is renewed once for a request: it may have been given out again since.
        forgotten_at = {"400": self._ended_at, "401": self._revoked_at}.get(request.result, [])
        was_forgotten = any(request.begun <= at <= request.ended for at in forgotten_at)
        is_about_login = request.result in ("400", "M2mLoginError")
        return was_forgotten or (is_about_login and self._was_barred(request))

    def _was_barred(self, request: Request) -> bool:
        """Whether two in a row may have been killed in their logins before."""
        brought = [one.at for one in self._logins if one.status == 200 and not self._died_in(one)]
        latest = max((at for at in brought if at < request.begun), default=0.0)
        died = self._died.values()
        return sum(one.ended >= latest and one.begun <= request.ended for one in died) > 1

    def _was_stuck(self, request: Request) -> bool:
        if request.seconds <= LONGEST_WAIT:
            return False
        calls = [*self._logins, *self._fetches]
        since = request.begun - LONGEST_WAIT
        holders = {sender_of(one) for one in calls if one.at > since and self._died_in(one)}
        times = sum(self._died[holder].ended < request.ended for holder in holders)
        return request.seconds > times * LONGEST_WAIT


def operator_of(simulator: ThingspaceSimulator, store: StoreKind) -> Any:
    from thingspace_auth_adapters.requests import ThingspaceAuth

    m2m = VzM2mCredentials(simulator.username, simulator.password)
    return ThingspaceAuth(**options_for(simulator), m2m=m2m, store=store.make())


def sender_of(request: SimulatedRequest) -> int:
    return int(request.headers[SENDER])


@pytest.fixture
def simulator() -> Iterator[ThingspaceSimulator]:
    with ThingspaceSimulator(
        sessions_required=True, login_ends_session=True, token_lifetime=TOKEN_SECONDS
    ) as running:
        running.latency = LATENCY
        yield running


@pytest.fixture
def unrest(
    parent: int, simulator: ThingspaceSimulator, store_kind: StoreKind, tmp_path: Path
) -> Iterator[Unrest]:
    fleet = Fleet(parent, simulator, tmp_path, SECONDS)
    lock_seconds = 0 if SECONDS >= LONG_RUN else SHORT_LOCK_SECONDS
    yield Unrest(fleet, simulator, store_kind, lock_seconds)
    fleet.end()


@pytest.mark.parametrize("store_kind", ["file", "redis"], indirect=True)
def test_processes_that_are_killed_at_any_moment(
    unrest: Unrest, simulator: ThingspaceSimulator, tmp_path: Path
) -> None:
    unrest.last(SECONDS)
    story = Story(unrest, simulator)
    print(f"\n{story}; {len(leftovers(tmp_path))} temporary files were left behind")
    assert (story.unexplained, story.failed, story.stuck) == ([], [], [])
    assert (simulator.failed_logins, simulator.is_locked) == (0, False)
    leave_for_a_minute(leftovers(tmp_path))
    simulator.revoke()
    assert {said["result"] for said in request_of_each(unrest.survivors)} == {"200"}
    assert leftovers(tmp_path) == []


def leftovers(directory: Path) -> list[Path]:
    """What killed writers left behind."""
    return list(directory.glob("store/*.new"))


def leave_for_a_minute(files: list[Path]) -> None:
    for file in files:
        then = time.time() - 61.0
        os.utime(file, (then, then))
