"""Part 2, rule 5: how many logins programs, commands and many processes send at most.

Each test is a real run against the simulator, most of them with a wrong password.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Callable

import pytest

from thingspace_auth_adapters import M2mLoginError, VzM2mCredentials
from thingspace_auth_adapters._core import login_guard
from thingspace_auth_adapters.simulator import ThingspaceSimulator

from ..support.command_line import PREFIX, set_up
from ..support.crowds import PATH
from ..support.fleet import SHORT_LOCK_SECONDS, Fleet, Worker, forking, request_of_each
from ..support.kinds import SYNC_KINDS, Kind
from ..support.logins import auth_at
from ..support.real import PATIENCE, eventually
from ..support.redis_server import ClusterOfOne, RedisServer, started
from ..support.store_kinds import StoreKind, file_kind, redis_kind

pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(os.name != "posix", reason="forks and stops processes as POSIX does"),
    pytest.mark.usefixtures("short_pauses"),
]

WRONG = "a wrong password"
NO_STORE = "store = None"
MANY = 16
EIGHT = 8


@pytest.fixture
def fleet(parent: int, simulator: ThingspaceSimulator, tmp_path: Path) -> Iterator[Fleet]:
    processes = Fleet(parent, simulator, tmp_path, PATIENCE)
    yield processes
    processes.end()


@pytest.fixture(params=["file", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> StoreKind:
    if request.param == "file":
        return file_kind(tmp_path)
    return redis_kind(tmp_path, request.getfixturevalue("redis_server"))


def assert_sent(simulator: ThingspaceSimulator, at_most: int, at_least: int = 1) -> None:
    assert at_least <= len(simulator.login_requests) <= at_most
    assert not simulator.is_locked


# One program.

GREENLETS = """
from gevent import monkey
monkey.patch_all()

import os, gevent, requests
from thingspace_auth_adapters import M2mLoginError, ThingspaceAuth

url = os.environ["THINGSPACE_BASE_URL"] + "/api/m2m/v1/devices"

def get():
    try:
        requests.get(url, auth=ThingspaceAuth.from_environment())
    except M2mLoginError:
        return
    raise SystemExit("it succeeded")

gevent.joinall([gevent.spawn(get) for _ in range(64)], raise_error=True)
requests.get(url, auth=ThingspaceAuth.from_environment())
"""

POOL = """
import multiprocessing, os, requests
from thingspace_auth_adapters import M2mLoginError, ThingspaceAuth

url = os.environ["THINGSPACE_BASE_URL"] + "/api/m2m/v1/devices"

def get(number):
    try:
        requests.get(url, auth=ThingspaceAuth.from_environment())
    except M2mLoginError:
        return number

get(0)
with multiprocessing.get_context("fork").Pool(8) as pool:
    assert pool.map(get, range(64), chunksize=1) == list(range(64))
requests.get(url, auth=ThingspaceAuth.from_environment())
"""

IMPATIENT = """
import asyncio, os, httpx
from thingspace_auth_adapters.httpx import ThingspaceAuth
from thingspace_auth_adapters.stores import FileTokenStore

url = os.environ["THINGSPACE_BASE_URL"] + "/api/m2m/v1/devices"
auth = ThingspaceAuth.from_environment(store=FileTokenStore(os.environ["STORE"]))

async def main():
    async with httpx.AsyncClient(auth=auth) as client:
        await asyncio.wait_for(client.get(url), 0.3)

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("code", "needed"), [(GREENLETS, "gevent"), (POOL, "requests")], ids=["greenlets", "pool"]
)
def test_script_whose_greenlets_or_children_have_an_object_each(
    simulator: ThingspaceSimulator, code: str, needed: str
) -> None:
    pytest.importorskip(needed)
    errors = errors_of(code, simulator)
    assert "M2mLoginError" in errors.splitlines()[-1]
    assert WRONG not in errors
    assert_sent(simulator, 1)


def test_script_that_ends_before_the_answer_again_and_again(
    simulator: ThingspaceSimulator, tmp_path: Path
) -> None:
    """With a store."""
    pytest.importorskip("httpx")
    simulator.fail("login", "hang", times=None)
    store = str(tmp_path / "store")
    last_words = [errors_of(IMPATIENT, simulator, STORE=store).splitlines()[-1] for _ in range(4)]
    assert ["TimeoutError" in words for words in last_words] == [True, True, False, False]
    assert "M2mLoginError" in last_words[-1]
    assert_sent(simulator, 2)


def errors_of(code: str, simulator: ThingspaceSimulator, **variables: str) -> str:
    """What a script wrote of errors that got a wrong password by its environment."""
    environment = {**os.environ, **variables_of(simulator), **variables}
    command = [sys.executable, "-W", "ignore", "-c", code]
    return subprocess.run(
        command, env=environment, stderr=subprocess.PIPE, text=True, timeout=2 * PATIENCE
    ).stderr


def variables_of(simulator: ThingspaceSimulator) -> dict[str, str]:
    return {
        f"{PREFIX}ID": simulator.client_id,
        f"{PREFIX}SECRET": simulator.client_secret,
        "THINGSPACE_BASE_URL": simulator.url,
        "VZ_M2M_USERNAME": simulator.username,
        "VZ_M2M_PASSWORD": WRONG,
    }


def test_user_who_presses_ctrl_c_in_each_login(
    sync_kind: Kind, simulator: ThingspaceSimulator, interruptible: None
) -> None:
    simulator.fail("login", "hang", times=None)
    auth = auth_at(simulator, sync_kind)
    for number in (1, 2):
        with interrupted_once(partial(has_sent, simulator, number)):
            with pytest.raises(KeyboardInterrupt):
                sync_kind.get(auth, simulator.url + PATH)
    for _ in range(4):
        with pytest.raises(M2mLoginError):
            sync_kind.get(auth, simulator.url + PATH)
    assert_sent(simulator, 2, at_least=2)


def has_sent(simulator: ThingspaceSimulator, logins: int) -> bool:
    return len(simulator.login_requests) == logins


@contextmanager
def interrupted_once(condition: Callable[[], object]) -> Generator[None, None, None]:
    def interrupt() -> None:
        eventually(condition)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt, daemon=True)
    thread.start()
    yield
    thread.join(PATIENCE)


@pytest.mark.parametrize("command", [["check"], ["check", "--yes"], ["headers"]], ids=str)
def test_command_that_is_run_again_and_again(
    simulator: ThingspaceSimulator,
    command: list[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("click")
    from thingspace_auth_adapters.__main__ import main

    set_up(monkeypatch, tmp_path / "store")
    for name, value in variables_of(simulator).items():
        monkeypatch.setenv(name, value)
    for _ in range(6):
        main(command)
        # What a new process does not know.
        login_guard.forget_all()
    assert WRONG not in "".join(capsys.readouterr())
    # Without --yes, the check asks a user who is not there.
    logins = 0 if command == ["check"] else 1
    assert_sent(simulator, logins, at_least=logins)


# Many processes, with and without a store.


def wrong_worker(fleet: Fleet, store: str, number: int = 0, **changes: Any) -> Worker:
    """A process with one of many wrong passwords."""
    return fleet.start(store, **{"m2m": [fleet.username, f"{WRONG} {number}"], **changes})


def crowd_of(fleet: Fleet, count: int, store: str, **changes: Any) -> list[dict[str, Any]]:
    """What comes of the first request of so many processes with a wrong password."""
    return request_of_each([wrong_worker(fleet, store, **changes) for _ in range(count)])


def results(outcomes: list[dict[str, Any]]) -> set[str]:
    return {outcome["result"] for outcome in outcomes}


def test_processes_that_share_nothing_lock_the_name_and_are_told_of_a_store(
    simulator: ThingspaceSimulator, fleet: Fleet
) -> None:
    workers = [wrong_worker(fleet, NO_STORE) for _ in range(EIGHT)]
    outcomes = [*request_of_each(workers), *request_of_each(workers)]
    assert results(outcomes) == {"M2mLoginError"}
    assert all(
        "processes that log in with one user name a store" in o["text"] for o in outcomes[8:]
    )
    assert len(simulator.login_requests) == EIGHT
    assert simulator.is_locked


def test_store_that_nobody_can_reach_leaves_each_process_a_count_of_its_own(
    simulator: ThingspaceSimulator, fleet: Fleet, store: StoreKind
) -> None:
    workers = [wrong_worker(fleet, store.unreachable) for _ in range(EIGHT)]
    for _ in range(3):
        assert results(request_of_each(workers)) == {"M2mLoginError"}
    assert len(simulator.login_requests) == EIGHT


def other_key(number: int, token: str) -> dict[str, Any]:
    """Another application, that has a token: the simulator knows but one that can get one."""
    given = {"access_token": token, "token_type": "Bearer"}
    key, secret = f"key-{number}", f"secret-{number}"
    return {"oauth_client_id": key, "oauth_client_secret": secret, "oauth_token": given}


@pytest.mark.parametrize(
    ("own", "at_most"), [("nothing", 1), ("passwords", 2), ("keys", 2)], ids=str
)
def test_processes_with_a_store(
    simulator: ThingspaceSimulator, fleet: Fleet, store: StoreKind, own: str, at_most: int
) -> None:
    """Each with a password or a key of its own, or with the same as all."""
    token = auth_at(simulator, SYNC_KINDS[0]).fetch_token().access_token
    workers = [
        wrong_worker(
            fleet,
            store.code,
            number if own == "passwords" else 0,
            options=other_key(number, token) if own == "keys" else {},
        )
        for number in range(MANY)
    ]
    outcomes = request_of_each(workers)
    assert results(outcomes) == {"M2mLoginError"}
    if own == "nothing":
        assert {outcome["retryable"] for outcome in outcomes} == {False}
    assert_sent(simulator, at_most)


# A store that can be read and not be written: nobody logs in.


def assert_nobody_logs_in(
    simulator: ThingspaceSimulator, outcomes: list[dict[str, Any]], *parts: str
) -> None:
    """Each got an error that says what is wrong, and that trying again may help."""
    for outcome in outcomes:
        assert (outcome["result"], outcome["retryable"]) == ("M2mLoginError", True)
        assert [part for part in (*parts, "cannot be written") if part not in outcome["text"]] == []
    assert_sent(simulator, 0, at_least=0)


@contextmanager
def for_readers_only(server: RedisServer, directory: Path) -> Generator[str, None, None]:
    if not server.is_ours:
        pytest.skip("the server is not ours to make users in")
    with server.client() as admin:
        admin.execute_command("ACL", "SETUSER", "reader", "on", ">word", "~*", "+@read")
    yield server.url.replace("unix://", "unix://reader:word@")


@contextmanager
def replica(server: RedisServer, directory: Path) -> Generator[str, None, None]:
    path = directory / "replica.socket"
    options = ("--unixsocket", str(path), "--port", "0", "--replicaof", "127.0.0.1", "1")
    process = started(*options)
    try:
        eventually(path.exists)
        yield f"unix://{path}?db=0"
    finally:
        process.kill()
        process.wait()


@contextmanager
def full(server: RedisServer, directory: Path) -> Generator[str, None, None]:
    own = RedisServer(directory)
    if not own.is_ours:
        pytest.skip("the server is not ours to fill")
    try:
        with own.client() as admin:
            admin.config_set("maxmemory", "1")
        yield own.url
    finally:
        own.stop()


@pytest.mark.parametrize("made", [for_readers_only, replica, full], ids=lambda one: one.__name__)
def test_redis_that_cannot_be_written(
    simulator: ThingspaceSimulator,
    fleet: Fleet,
    redis_server: RedisServer,
    tmp_path: Path,
    made: Any,
) -> None:
    with made(redis_server, tmp_path) as url:
        code = (
            "from thingspace_auth_adapters.stores import RedisTokenStore\n"
            f"store = RedisTokenStore({url!r})"
        )
        assert_nobody_logs_in(simulator, crowd_of(fleet, EIGHT, code), "RedisTokenStore")


def test_disk_that_is_full(simulator: ThingspaceSimulator, fleet: Fleet, tmp_path: Path) -> None:
    outcomes = crowd_of(fleet, EIGHT, file_kind(tmp_path).code, has_full_disk=True)
    assert_nobody_logs_in(simulator, outcomes, "FileTokenStore")


def test_directory_that_cannot_be_written(simulator: ThingspaceSimulator, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir(mode=0o500)
    with forking(*without_privileges()) as parent:
        fleet = Fleet(parent, simulator, tmp_path, PATIENCE)
        try:
            outcomes = crowd_of(fleet, EIGHT, file_kind(tmp_path).code)
        finally:
            fleet.end()
    assert_nobody_logs_in(simulator, outcomes, "FileTokenStore", "Permission denied")


def without_privileges() -> list[str]:
    """A command for which permissions hold, although root starts it."""
    if os.geteuid() != 0:
        return []
    if subprocess.run(["which", "setpriv"], stdout=subprocess.DEVNULL).returncode:
        pytest.skip("permissions hold for nobody but root here")
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]


# Processes that are stopped or killed in a login.


def test_holder_of_the_lock_that_is_stopped(
    simulator: ThingspaceSimulator, fleet: Fleet, store: StoreKind
) -> None:
    simulator.fail("login", "hang")
    holder = fleet.start(store.code)
    holder.begin()
    eventually(lambda: simulator.login_requests)
    holder.signal(signal.SIGSTOP)
    others = [fleet.start(store.code, options={"timeout": 0.3}) for _ in range(EIGHT)]
    name = "RedisTokenStore" if "redis" in store.module else "FileTokenStore"
    for outcome in request_of_each(others):
        assert (outcome["result"], outcome["retryable"]) == ("M2mLoginError", True)
        for part in (name, "locked by another process", "lock was not free"):
            assert part in outcome["text"]
    assert_sent(simulator, 1)
    holder.signal(signal.SIGCONT)
    simulator.recover("login")
    assert results([holder.outcome(), *request_of_each(others)]) == {"200"}
    assert_sent(simulator, 1)


@pytest.mark.parametrize("deaths", [1, 2])
def test_holders_of_the_lock_that_are_killed(
    simulator: ThingspaceSimulator, fleet: Fleet, store: StoreKind, deaths: int
) -> None:
    workers = [fleet.start(store.code, lock_seconds=SHORT_LOCK_SECONDS) for _ in range(4)]
    for number in range(1, deaths + 1):
        simulator.fail("login", "hang")
        holder = workers.pop()
        holder.begin()
        eventually(partial(has_sent, simulator, number))
        holder.end()
    assert results(request_of_each(workers)) == {"200" if deaths == 1 else "M2mLoginError"}
    assert_sent(simulator, 2, at_least=2)


def test_process_that_is_killed_in_the_second_login_of_a_request(
    simulator: ThingspaceSimulator, fleet: Fleet, tmp_path: Path
) -> None:
    simulator.fail("login", "drop")
    simulator.fail("login", "hang")
    code = file_kind(tmp_path).code
    holder = fleet.start(code)
    holder.begin()
    eventually(partial(has_sent, simulator, 2))
    holder.end()
    assert results(request_of_each([fleet.start(code)])) == {"M2mLoginError"}
    assert_sent(simulator, 2)


# Processes that end each other's sessions.


def alternate(workers: list[Worker], times: int) -> list[str]:
    """What comes of so many requests of each, one after the other."""
    outcomes = [request_of_each([one])[0] for _ in range(times) for one in workers]
    return [outcome["result"] for outcome in outcomes]


def test_processes_without_a_store_that_end_each_others_sessions(
    simulator: ThingspaceSimulator, fleet: Fleet
) -> None:
    found = alternate([fleet.start(NO_STORE) for _ in range(2)], 12)
    assert found[:7] == ["200"] * 7
    assert set(found) == {"200", "400"}
    assert "a store that all share helps" in fleet.errors
    # The first login of each, and three that replace it.
    assert_sent(simulator, 8)


def test_processes_with_a_store_share_a_session(
    simulator: ThingspaceSimulator, fleet: Fleet, store: StoreKind
) -> None:
    assert set(alternate([fleet.start(store.code) for _ in range(2)], 12)) == {"200"}
    assert_sent(simulator, 1)


# Stores that share nothing, in one process.


def five_databases(server: RedisServer, directory: Path, stack: ExitStack) -> list[Any]:
    if not server.is_ours:
        pytest.skip("nobody knows how many databases the server has")
    return [server.url.replace("db=0", f"db={number}") for number in range(5)]


def three_clusters(server: RedisServer, directory: Path, stack: ExitStack) -> list[Any]:
    paths = [directory / str(number) for number in range(3)]
    for path in paths:
        path.mkdir()
    # Each takes its time.
    with ThreadPoolExecutor() as pool:
        clusters = list(pool.map(ClusterOfOne, paths))
    for cluster in clusters:
        stack.callback(cluster.stop)
    return [stack.enter_context(cluster.client()) for cluster in clusters]


@pytest.mark.parametrize("made", [five_databases, three_clusters], ids=lambda one: one.__name__)
def test_redis_each(
    simulator: ThingspaceSimulator, redis_server: RedisServer, tmp_path: Path, made: Any
) -> None:
    """The process counts for all of them."""
    from thingspace_auth_adapters.stores import RedisTokenStore

    kind = SYNC_KINDS[0]
    with ExitStack() as stack:
        for number, given in enumerate(made(redis_server, tmp_path, stack)):
            m2m = VzM2mCredentials(simulator.username, f"{WRONG} {number}")
            auth = auth_at(simulator, kind, m2m=m2m, store=RedisTokenStore(given))
            with pytest.raises(M2mLoginError):
                kind.get(auth, simulator.url + PATH)
    assert_sent(simulator, 2, at_least=2)
