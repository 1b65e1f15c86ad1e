"""The contract, Part 2, rule 5, as a table: what a user does, and how many logins that sends.

Each row is a real run against the simulator, most of them of a wrong password. ``pytest -s`` prints
the table.
"""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Callable, NamedTuple

import pytest

from thingspace_auth_adapters import M2mLoginError, VzM2mCredentials
from thingspace_auth_adapters._core import login_guard
from thingspace_auth_adapters.simulator import ThingspaceSimulator

from ..support.command_line import PREFIX, set_up
from ..support.crowds import crowd
from ..support.fleet import SHORT_LOCK_SECONDS, Fleet, Worker, forking, request_of_each
from ..support.kinds import ADAPTER_KINDS, ASYNC_KINDS, INSTALLED, SYNC_KINDS, Kind
from ..support.memory_store import memory_store
from ..support.real import PATIENCE, Threads, eventually, options_for
from ..support.redis_server import ClusterOfOne, RedisServer, started
from ..support.store_kinds import StoreKind, file_kind, redis_kind

pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(os.name != "posix", reason="forks and stops processes as POSIX does"),
    pytest.mark.usefixtures("short_pauses"),
]

PATH = "/api/m2m/v1/devices"
WRONG = "a wrong password"
NO_STORE = "store = None"
MANY = 16
EIGHT = 8
FIVE = range(5)

ASYNCIO_KINDS = [kind for kind in ASYNC_KINDS if kind.backend == "asyncio"]
by_name: Callable[[Any], str] = lambda kind: str(kind.name)  # noqa: E731 (a type checker's wish)


class Row(NamedTuple):
    """A row of the table."""

    action: str
    at_most: int
    sent: int
    failed: int


class Table:
    """What was measured."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def add(
        self,
        action: str,
        simulator: ThingspaceSimulator,
        at_most: int,
        at_least: int = 1,
        locks: bool = False,
    ) -> None:
        """Note how many logins the simulator has got, which must be within these bounds."""
        sent = len(simulator.login_requests)
        self.rows.append(Row(action, at_most, sent, simulator.failed_logins))
        assert at_least <= sent <= at_most
        assert simulator.is_locked == locks

    def __str__(self) -> str:
        head = [
            "| what a user does | logins at most | sent | failed in a row |",
            "| --- | --- | --- | --- |",
        ]
        return "\n".join([*head, *(f"| {' | '.join(map(str, row))} |" for row in self.rows)])


@pytest.fixture(scope="module")
def table() -> Iterator[Table]:
    made = Table()
    yield made
    print(f"\n\n{made}")


@pytest.fixture
def simulator() -> Iterator[ThingspaceSimulator]:
    with ThingspaceSimulator(sessions_required=True, login_ends_session=True) as running:
        yield running


@pytest.fixture(scope="module")
def parent() -> Iterator[int]:
    with forking() as port:
        yield port


@pytest.fixture
def fleet(parent: int, simulator: ThingspaceSimulator, tmp_path: Path) -> Iterator[Fleet]:
    processes = Fleet(parent, simulator, tmp_path, PATIENCE)
    yield processes
    processes.end()


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.stop()


@pytest.fixture(params=["file", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> StoreKind:
    if request.param == "file":
        return file_kind(tmp_path)
    return redis_kind(tmp_path, request.getfixturevalue("redis_server"))


def name_of(store: StoreKind) -> str:
    return "Redis" if "redis" in store.module else "a FileTokenStore"


def auth_for(kind: Kind, simulator: ThingspaceSimulator, **options: Any) -> Any:
    m2m = VzM2mCredentials(simulator.username, WRONG)
    return kind.auth(None, **{**options_for(simulator), "m2m": m2m, **options})


def repeat(times: int, function: Callable[..., Any], *args: Any) -> Exception:
    """What a loop gets in the end that goes on after each failure."""
    errors: list[Exception] = []
    for _ in range(times):
        try:
            function(*args)
        except Exception as error:
            errors.append(error)
    assert len(errors) == times
    return errors[-1]


# One program.

ONCE = """
import os, requests
from thingspace_auth_adapters import ThingspaceAuth

url = os.environ["THINGSPACE_BASE_URL"] + "/api/m2m/v1/devices"
requests.get(url, auth=ThingspaceAuth.from_environment())
"""

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
        await asyncio.wait_for(client.get(url), 1)

asyncio.run(main())
"""

SCRIPTS = {
    "runs a script once": (ONCE, "requests"),
    "runs a script that spawns 64 greenlets with an object each": (GREENLETS, "gevent"),
    "runs a script that fails, and then forks a pool of 8 for 64 tasks": (POOL, "requests"),
}


@pytest.mark.parametrize("action", SCRIPTS)
def test_script(table: Table, simulator: ThingspaceSimulator, action: str) -> None:
    code, needed = SCRIPTS[action]
    pytest.importorskip(needed)
    errors = errors_of(code, simulator)
    assert "M2mLoginError" in errors.splitlines()[-1]
    assert WRONG not in errors
    table.add(action, simulator, 1)


def test_impatient_script_that_is_run_again_and_again(
    table: Table, simulator: ThingspaceSimulator, tmp_path: Path
) -> None:
    simulator.fail("login", "hang", times=None)
    store = str(tmp_path / "store")
    errors = [errors_of(IMPATIENT, simulator, STORE=store) for _ in range(4)]
    last_words = [each.splitlines()[-1] for each in errors]
    assert ["TimeoutError" in each for each in last_words] == [True, True, False, False]
    assert "M2mLoginError" in last_words[-1]
    action = "runs a script four times that ends before the answer, with a FileTokenStore"
    table.add(action, simulator, 2)


def errors_of(code: str, simulator: ThingspaceSimulator, **variables: str) -> str:
    """What a script wrote of errors that got a wrong password by its environment."""
    environment = {**os.environ, **variables_of(simulator), **variables}
    command = [sys.executable, "-W", "ignore", "-c", code]
    ran = subprocess.run(
        command, env=environment, stderr=subprocess.PIPE, text=True, timeout=2 * PATIENCE
    )
    return ran.stderr


def variables_of(simulator: ThingspaceSimulator) -> dict[str, str]:
    return {
        f"{PREFIX}ID": simulator.client_id,
        f"{PREFIX}SECRET": simulator.client_secret,
        "THINGSPACE_BASE_URL": simulator.url,
        "VZ_M2M_USERNAME": simulator.username,
        "VZ_M2M_PASSWORD": WRONG,
    }


@pytest.mark.parametrize("kind", INSTALLED, ids=by_name)
def test_loop_of_50_requests(table: Table, simulator: ThingspaceSimulator, kind: Kind) -> None:
    auth = auth_for(kind, simulator)
    assert isinstance(repeat(50, kind.get, auth, simulator.url + PATH), M2mLoginError)
    table.add(f"makes 50 requests in a loop ({kind.name})", simulator, 1)


@pytest.mark.parametrize("kind", ADAPTER_KINDS, ids=by_name)
def test_loop_of_50_logins_by_hand(
    table: Table, simulator: ThingspaceSimulator, kind: Kind
) -> None:
    auth = auth_for(kind, simulator)
    assert isinstance(repeat(50, kind.fetch_session, auth), M2mLoginError)
    table.add(f"calls fetch_vz_m2m_token() in a loop of 50 ({kind.name})", simulator, 1)


@pytest.mark.parametrize("kind", ADAPTER_KINDS, ids=by_name)
def test_loop_that_makes_an_object_for_each_request(
    table: Table, simulator: ThingspaceSimulator, kind: Kind
) -> None:
    repeat(50, lambda: kind.get(auth_for(kind, simulator), simulator.url + PATH))
    table.add(f"makes an object for each of 50 requests ({kind.name})", simulator, 1)


@pytest.mark.parametrize("kind", SYNC_KINDS, ids=by_name)
def test_64_threads(table: Table, simulator: ThingspaceSimulator, kind: Kind) -> None:
    outcomes = crowd(kind, auth_for(kind, simulator), simulator.url + PATH, 64)
    assert all(isinstance(one, M2mLoginError) for one in outcomes)
    table.add(f"starts 64 threads ({kind.name})", simulator, 1)


@pytest.mark.parametrize("kind", ASYNCIO_KINDS, ids=by_name)
def test_200_tasks(table: Table, simulator: ThingspaceSimulator, kind: Kind) -> None:
    outcomes = crowd(kind, auth_for(kind, simulator), simulator.url + PATH, 200)
    assert all(isinstance(one, M2mLoginError) for one in outcomes)
    table.add(f"starts 200 tasks ({kind.name})", simulator, 1)


def test_64_threads_with_a_password_each(table: Table, simulator: ThingspaceSimulator) -> None:
    kind = SYNC_KINDS[0]
    token = auth_for(kind, simulator).fetch_token()
    threads = Threads()
    for number in range(64):
        m2m = VzM2mCredentials(simulator.username, f"{WRONG} {number}")
        auth = auth_for(kind, simulator, m2m=m2m, oauth_token=token)
        threads.start(kind.get, auth, simulator.url + PATH)
    assert all(isinstance(one, M2mLoginError) for one in threads.join())
    table.add("starts 64 threads, each with an object and a password of its own", simulator, 2)


@pytest.mark.parametrize("kind", SYNC_KINDS, ids=by_name)
def test_user_who_presses_ctrl_c_in_each_login(
    table: Table, simulator: ThingspaceSimulator, kind: Kind
) -> None:
    simulator.fail("login", "hang", times=None)
    auth = auth_for(kind, simulator)
    for number in range(2):
        with interrupted_once(partial(has_sent, simulator, number + 1)):
            with pytest.raises(KeyboardInterrupt):
                kind.get(auth, simulator.url + PATH)
    assert isinstance(repeat(6, kind.get, auth, simulator.url + PATH), M2mLoginError)
    table.add(f"presses Ctrl-C in each login, and tries again ({kind.name})", simulator, 2)


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
    table: Table,
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
    at_least = 0 if command == ["check"] else 1
    table.add(f"runs thingspace-auth {' '.join(command)} six times", simulator, 1, at_least)


# Many processes.


def crowd_of(fleet: Fleet, count: int, store: str, **changes: Any) -> list[dict[str, Any]]:
    """What comes of the first request of so many processes with a wrong password."""
    return request_of_each([wrong_worker(fleet, store, **changes) for _ in range(count)])


def wrong_worker(fleet: Fleet, store: str, number: int = 0, **changes: Any) -> Worker:
    """A process with one of many wrong passwords."""
    return fleet.start(store, **{"m2m": [fleet.username, f"{WRONG} {number}"], **changes})


def assert_all_retryable(outcomes: list[dict[str, Any]], *parts: str) -> None:
    """Each got an error that says what is wrong, and that trying again may help."""
    for outcome in outcomes:
        assert (outcome["result"], outcome["retryable"]) == ("M2mLoginError", True)
        assert all(part in outcome["text"] for part in parts)


def test_processes_without_a_store(
    table: Table, simulator: ThingspaceSimulator, fleet: Fleet
) -> None:
    workers = [wrong_worker(fleet, NO_STORE) for _ in range(EIGHT)]
    request_of_each(workers)
    outcomes = request_of_each(workers)
    assert {outcome["result"] for outcome in outcomes} == {"M2mLoginError"}
    assert all("processes that log in with one user name a store" in o["text"] for o in outcomes)
    table.add(
        f"starts {EIGHT} processes without a store, two requests each", simulator, EIGHT, locks=True
    )


def test_processes_with_a_store(
    table: Table, simulator: ThingspaceSimulator, fleet: Fleet, store: StoreKind
) -> None:
    outcomes = crowd_of(fleet, MANY, store.code)
    assert {outcome["result"] for outcome in outcomes} == {"M2mLoginError"}
    assert {outcome["retryable"] for outcome in outcomes} == {False}
    table.add(f"starts {MANY} processes with {name_of(store)}", simulator, 1)


def test_processes_with_a_password_each(
    table: Table, simulator: ThingspaceSimulator, fleet: Fleet, store: StoreKind
) -> None:
    request_of_each([wrong_worker(fleet, store.code, number) for number in range(MANY)])
    action = f"starts {MANY} processes with {name_of(store)} and a password each"
    table.add(action, simulator, 2)


def test_processes_with_a_key_each(
    table: Table, simulator: ThingspaceSimulator, fleet: Fleet, store: StoreKind
) -> None:
    """A refusal of another application counts in the row alone, for its password is not known."""
    keys = [other_key(simulator, number) for number in range(MANY)]
    request_of_each([wrong_worker(fleet, store.code, options=key) for key in keys])
    table.add(f"starts {MANY} processes with {name_of(store)} and a key each", simulator, 2)


def other_key(simulator: ThingspaceSimulator, number: int) -> dict[str, Any]:
    """Another application, that has a token: the simulator knows but one that can get one."""
    return {
        "oauth_client_id": f"key-{number}",
        "oauth_client_secret": f"secret-{number}",
        "oauth_token": {"access_token": token_of(simulator), "token_type": "Bearer"},
    }


def token_of(simulator: ThingspaceSimulator) -> str:
    issued = simulator.issued_tokens
    if not issued:
        SYNC_KINDS[0].auth(**options_for(simulator)).fetch_token()
        issued = simulator.issued_tokens
    return issued[-1]


def test_supervisor_that_starts_a_process_again_and_again(
    table: Table, simulator: ThingspaceSimulator, fleet: Fleet, store: StoreKind
) -> None:
    for _ in range(6):
        crowd_of(fleet, 1, store.code)
    action = f"has a supervisor start a process six times with {name_of(store)}"
    table.add(action, simulator, 1)


# A store that does not do what it should.


def test_redis_whose_user_may_only_read(
    table: Table, simulator: ThingspaceSimulator, fleet: Fleet, redis_server: RedisServer
) -> None:
    if not redis_server.is_ours:
        pytest.skip("the server is not ours to make users in")
    with redis_server.client() as admin:
        admin.execute_command("ACL", "SETUSER", "reader", "on", ">word", "~*", "+@read")
    url = redis_server.url.replace("unix://", "unix://reader:word@")
    outcomes = crowd_of(fleet, MANY, redis_at(url))
    assert_all_retryable(outcomes, "RedisTokenStore", "cannot be written")
    action = f"starts {MANY} processes with a Redis whose user may only read"
    table.add(action, simulator, 0, at_least=0)


def test_redis_that_is_a_replica(
    table: Table, simulator: ThingspaceSimulator, fleet: Fleet, tmp_path: Path
) -> None:
    path = tmp_path / "replica.socket"
    options = ("--unixsocket", str(path), "--port", "0", "--replicaof", "127.0.0.1", "1")
    process = started(*options)
    try:
        eventually(path.exists)
        outcomes = crowd_of(fleet, MANY, redis_at(f"unix://{path}?db=0"))
    finally:
        process.kill()
        process.wait()
    assert_all_retryable(outcomes, "RedisTokenStore", "cannot be written")
    action = f"starts {MANY} processes with a Redis that is a replica"
    table.add(action, simulator, 0, at_least=0)


def test_redis_that_is_full(
    table: Table, simulator: ThingspaceSimulator, fleet: Fleet, tmp_path: Path
) -> None:
    server = RedisServer(tmp_path)
    if not server.is_ours:
        pytest.skip("the server is not ours to fill")
    try:
        with server.client() as admin:
            admin.config_set("maxmemory", "1")
        outcomes = crowd_of(fleet, MANY, redis_at(server.url))
    finally:
        server.stop()
    assert_all_retryable(outcomes, "RedisTokenStore", "cannot be written")
    table.add(f"starts {MANY} processes with a Redis that is full", simulator, 0, at_least=0)


def redis_at(url: str) -> str:
    return (
        "from thingspace_auth_adapters.stores import RedisTokenStore\n"
        f"store = RedisTokenStore({url!r})"
    )


def test_directory_that_cannot_be_written(
    table: Table, simulator: ThingspaceSimulator, tmp_path: Path
) -> None:
    (tmp_path / "store").mkdir(mode=0o500)
    with forking(*without_privileges()) as parent:
        fleet = Fleet(parent, simulator, tmp_path, PATIENCE)
        try:
            outcomes = crowd_of(fleet, MANY, file_kind(tmp_path).code)
        finally:
            fleet.end()
    assert_all_retryable(outcomes, "FileTokenStore", "cannot be written", "Permission denied")
    action = f"starts {MANY} processes with a directory that cannot be written"
    table.add(action, simulator, 0, at_least=0)


def without_privileges() -> list[str]:
    """A command for which permissions hold, although root starts it."""
    if os.geteuid() != 0:
        return []
    if subprocess.run(["which", "setpriv"], stdout=subprocess.DEVNULL).returncode:
        pytest.skip("permissions hold for nobody but root here")
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]


def test_disk_that_is_full(
    table: Table, simulator: ThingspaceSimulator, fleet: Fleet, tmp_path: Path
) -> None:
    outcomes = crowd_of(fleet, MANY, file_kind(tmp_path).code, has_full_disk=True)
    assert_all_retryable(outcomes, "FileTokenStore", "cannot be written")
    table.add(f"starts {MANY} processes with a disk that is full", simulator, 0, at_least=0)


def test_store_that_nobody_can_reach(
    table: Table, simulator: ThingspaceSimulator, fleet: Fleet, store: StoreKind
) -> None:
    """Then each process counts for itself."""
    workers = [wrong_worker(fleet, store.unreachable) for _ in range(EIGHT)]
    for _ in range(3):
        outcomes = request_of_each(workers)
        assert {outcome["result"] for outcome in outcomes} == {"M2mLoginError"}
    action = f"starts {EIGHT} processes with {name_of(store)} that is out of reach, 3 requests each"
    table.add(action, simulator, EIGHT, locks=True)


def test_holder_of_the_lock_that_is_stopped(
    table: Table, simulator: ThingspaceSimulator, fleet: Fleet, store: StoreKind
) -> None:
    simulator.fail("login", "hang")
    holder = fleet.start(store.code)
    holder.begin()
    eventually(lambda: simulator.login_requests)
    holder.signal(signal.SIGSTOP)
    others = [fleet.start(store.code, options={"timeout": 0.3}) for _ in range(EIGHT)]
    parts = (f"{name_of(store).split()[-1]}", "locked by another process", "lock was not free")
    assert_all_retryable(request_of_each(others), *parts)
    action = f"stops a process in its login, while {EIGHT} others need one ({name_of(store)})"
    table.add(action, simulator, 1)
    holder.signal(signal.SIGCONT)
    simulator.recover("login")
    assert [one["result"] for one in (holder.outcome(), *request_of_each(others))] == ["200"] * 9
    assert len(simulator.login_requests) == 1


@pytest.mark.parametrize("deaths", [1, 2])
def test_holders_of_the_lock_that_are_killed(
    table: Table, simulator: ThingspaceSimulator, fleet: Fleet, store: StoreKind, deaths: int
) -> None:
    workers = [fleet.start(store.code, lock_seconds=SHORT_LOCK_SECONDS) for _ in range(4)]
    for number in range(deaths):
        simulator.fail("login", "hang")
        holder = workers.pop()
        holder.begin()
        eventually(partial(has_sent, simulator, number + 1))
        holder.end()
    outcomes = request_of_each(workers)
    expected = "200" if deaths == 1 else "M2mLoginError"
    assert [outcome["result"] for outcome in outcomes] == [expected] * len(workers)
    action = f"kills {deaths} of 4 processes in the login ({name_of(store)})"
    table.add(action, simulator, 2)


# Processes that end each other's sessions.


def alternate(workers: list[Worker], times: int) -> list[dict[str, Any]]:
    """What comes of so many requests of each, one after the other."""
    return [outcome for _ in range(times) for one in workers for outcome in request_of_each([one])]


def test_processes_without_a_store_that_end_each_others_sessions(
    table: Table, simulator: ThingspaceSimulator, fleet: Fleet
) -> None:
    workers = [fleet.start(NO_STORE) for _ in range(2)]
    results = [outcome["result"] for outcome in alternate(workers, 12)]
    assert results[:7] == ["200"] * 7
    assert set(results) == {"200", "400"}
    assert "a store that all share helps" in fleet.errors
    action = "has two processes without a store end each other's sessions for 24 requests"
    # The first login of each, and three that replace it.
    table.add(action, simulator, 8)


def test_processes_with_a_store_that_share_a_session(
    table: Table, simulator: ThingspaceSimulator, fleet: Fleet, store: StoreKind
) -> None:
    workers = [fleet.start(store.code) for _ in range(2)]
    assert {outcome["result"] for outcome in alternate(workers, 12)} == {"200"}
    table.add(f"has two processes share {name_of(store)} for 24 requests", simulator, 1)


# Five passwords.


class Way(NamedTuple):
    """A way to try five passwords in one process."""

    name: str
    auths: Callable[[Kind, ThingspaceSimulator, Path], Iterable[Any]]


def account(simulator: ThingspaceSimulator, number: int, username: str = "") -> VzM2mCredentials:
    return VzM2mCredentials(username or simulator.username, f"{WRONG} {number}")


def one_object(kind: Kind, simulator: ThingspaceSimulator, directory: Path) -> Iterable[Any]:
    auth = auth_for(kind, simulator)
    for number in FIVE:
        auth.m2m = account(simulator, number)
        yield auth


def five_objects(kind: Kind, simulator: ThingspaceSimulator, directory: Path) -> Iterable[Any]:
    return [auth_for(kind, simulator, m2m=account(simulator, number)) for number in FIVE]


def five_with(make: Callable[[Path, int], Any]) -> Callable[..., Iterable[Any]]:
    """Five objects, with what is made for each of them as its store."""

    def auths(kind: Kind, simulator: ThingspaceSimulator, directory: Path) -> Iterable[Any]:
        for number in FIVE:
            store = make(directory, number)
            yield auth_for(kind, simulator, m2m=account(simulator, number), store=store)

    return auths


def file_store(path: Path) -> Any:
    from thingspace_auth_adapters.stores import FileTokenStore

    return FileTokenStore(path)


def five_kinds(kind: Kind, simulator: ThingspaceSimulator, directory: Path) -> Iterable[Any]:
    for number, each in enumerate(INSTALLED):
        yield auth_for(each, simulator, m2m=account(simulator, number))


def five_user_names(kind: Kind, simulator: ThingspaceSimulator, directory: Path) -> Iterable[Any]:
    name = simulator.username
    spellings = (name, name.upper(), name.title(), f" {name}", f"{name.capitalize()}\u00a0 ")
    for number, spelling in enumerate(spellings):
        yield auth_for(kind, simulator, m2m=account(simulator, number, spelling))


def five_base_urls(kind: Kind, simulator: ThingspaceSimulator, directory: Path) -> Iterable[Any]:
    port = simulator.url.rpartition(":")[2]
    names = ("127.0.0.1", "localhost", "LocalHost", "[::1]", "[0:0:0:0:0:0:0:1]")
    with relayed(int(port)):
        for number, name in enumerate(names):
            options = {"base_url": f"http://{name}:{port}", "m2m": account(simulator, number)}
            yield auth_for(kind, simulator, **options)


@contextmanager
def relayed(port: int) -> Generator[None, None, None]:
    """Have what comes to this port of ``::1`` go to that of 127.0.0.1."""
    try:
        server = socket.create_server(("::1", port), family=socket.AF_INET6)
    except OSError:
        pytest.skip("there is no ::1 here")

    def serve() -> None:
        with suppress(OSError):
            while True:
                near, _ = server.accept()
                far = socket.create_connection(("127.0.0.1", port))
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=pass_on, args=pair, daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    yield
    # To close it would not wake the thread.
    server.shutdown(socket.SHUT_RDWR)
    server.close()


def pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while part := source.recv(65536):
            target.sendall(part)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def five_keys(kind: Kind, simulator: ThingspaceSimulator, directory: Path) -> Iterable[Any]:
    for number in FIVE:
        options = {**other_key(simulator, number), "m2m": account(simulator, number)}
        yield auth_for(kind, simulator, **options)


def five_keys_and_one_password(
    kind: Kind, simulator: ThingspaceSimulator, directory: Path
) -> Iterable[Any]:
    return [auth_for(kind, simulator, **other_key(simulator, number)) for number in FIVE]


WAYS = [
    Way("one object", one_object),
    Way("five objects", five_objects),
    Way("five objects, one FileTokenStore", five_with(lambda path, _: file_store(path / "store"))),
    Way(
        "five objects, five FileTokenStores",
        five_with(lambda path, number: file_store(path / f"store-{number}")),
    ),
    Way("five objects, five stores of one's own", five_with(lambda path, number: memory_store())),
    Way(
        "five objects, every other one with a FileTokenStore",
        five_with(lambda path, number: file_store(path / "store") if number % 2 else None),
    ),
    Way("objects for each kind of client", five_kinds),
    Way("five spellings of the user name", five_user_names),
    Way("five spellings of base_url", five_base_urls),
    Way("five client keys", five_keys),
]


@pytest.mark.parametrize("kind", ADAPTER_KINDS, ids=by_name)
@pytest.mark.parametrize("way", WAYS, ids=by_name)
def test_five_passwords(
    table: Table, simulator: ThingspaceSimulator, kind: Kind, way: Way, tmp_path: Path
) -> None:
    for auth in way.auths(kind, simulator, tmp_path):
        with pytest.raises(M2mLoginError):
            owner_of(auth, kind).get(auth, auth.base_url + PATH)
    table.add(f"tries five passwords: {way.name} ({kind.name})", simulator, 2)


def owner_of(auth: Any, otherwise: Kind) -> Kind:
    """The kind of client that an object is for."""
    kinds = (kind for kind in INSTALLED if isinstance(auth, kind.adapter.ThingspaceAuth))
    return next(kinds, otherwise)


def test_five_passwords_with_five_databases_of_a_redis(
    table: Table, simulator: ThingspaceSimulator, redis_server: RedisServer
) -> None:
    from thingspace_auth_adapters.stores import RedisTokenStore

    if not redis_server.is_ours:
        pytest.skip("nobody knows how many databases the server has")
    kind = SYNC_KINDS[0]
    for number in FIVE:
        store = RedisTokenStore(redis_server.url.replace("db=0", f"db={number}"))
        auth = auth_for(kind, simulator, m2m=account(simulator, number), store=store)
        with pytest.raises(M2mLoginError):
            kind.get(auth, simulator.url + PATH)
    action = "tries five passwords: five objects, five databases of a Redis"
    table.add(action, simulator, 2)


def test_three_passwords_with_three_clusters(
    table: Table, simulator: ThingspaceSimulator, tmp_path: Path
) -> None:
    from thingspace_auth_adapters.stores import RedisTokenStore

    kind = SYNC_KINDS[0]
    with ExitStack() as stack:
        for number in range(3):
            directory = tmp_path / str(number)
            directory.mkdir()
            cluster = ClusterOfOne(directory)
            stack.callback(cluster.stop)
            store = RedisTokenStore(stack.enter_context(cluster.client()))
            auth = auth_for(kind, simulator, m2m=account(simulator, number), store=store)
            with pytest.raises(M2mLoginError):
                kind.get(auth, simulator.url + PATH)
    table.add("tries three passwords: three objects, three clusters of Redis", simulator, 2)


@pytest.mark.parametrize("kind", ADAPTER_KINDS, ids=by_name)
def test_one_password_with_five_keys(
    table: Table, simulator: ThingspaceSimulator, kind: Kind, tmp_path: Path
) -> None:
    for auth in five_keys_and_one_password(kind, simulator, tmp_path):
        with pytest.raises(M2mLoginError):
            kind.get(auth, simulator.url + PATH)
    table.add(f"tries one password with five client keys ({kind.name})", simulator, 2)


# What repeats a login beneath the object, or around it.


class Make(NamedTuple):
    """Something that retries.

    Attributes:
        name: of the row.
        library: whose it is.
        options: of an object that has it.
        passes_on: whether it passes the answer on that refuses a password.
    """

    name: str
    library: str
    options: Callable[[Any], dict[str, Any]]
    passes_on: bool = False


def retrying_requests_adapter(requests: Any) -> Any:
    from urllib3.util import Retry

    statuses = [400, 401, 403, 408, 429, 500, 502, 503, 504]
    retry = Retry(total=5, allowed_methods=None, status_forcelist=statuses)
    return requests.adapters.HTTPAdapter(max_retries=retry)


def session_with(requests: Any, adapter: Any, session: Any = None) -> dict[str, Any]:
    made = requests.Session() if session is None else session
    made.trust_env = False
    if adapter is not None:
        made.mount("http://", adapter)
    return {"session": made}


def usual_adapter(requests: Any) -> dict[str, Any]:
    return session_with(requests, retrying_requests_adapter(requests))


def adapter_around_another(requests: Any) -> dict[str, Any]:
    inner = retrying_requests_adapter(requests)

    class Around(requests.adapters.BaseAdapter):  # type: ignore[misc]
        def send(self, request: Any, *args: Any, **kwargs: Any) -> Any:
            return inner.send(request, *args, **kwargs)

        def close(self) -> None:
            inner.close()

    return session_with(requests, Around())


def adapter_that_sends_again(requests: Any) -> dict[str, Any]:
    class Again(requests.adapters.HTTPAdapter):  # type: ignore[misc]
        def send(self, request: Any, *args: Any, **kwargs: Any) -> Any:
            return tried(partial(super().send, request, *args, **kwargs))

    return session_with(requests, Again())


def session_that_sends_again(requests: Any) -> dict[str, Any]:
    class Again(requests.Session):  # type: ignore[misc]
        def send(self, request: Any, **kwargs: Any) -> Any:
            send = super().send

            def send_copy() -> Any:
                return send(request.copy(), **kwargs)

            return tried(send_copy)

    return session_with(requests, None, Again())


def session_that_raises_for_status(requests: Any) -> dict[str, Any]:
    class Raising(requests.Session):  # type: ignore[misc]
        def send(self, request: Any, **kwargs: Any) -> Any:
            response = super().send(request, **kwargs)
            response.raise_for_status()
            return response

    return session_with(requests, None, Raising())


def tried(send: Callable[[], Any]) -> Any:
    """Six times, until there is a success."""
    for _ in range(5):
        with suppress(Exception):
            response = send()
            if response.status_code < 400:
                return response
            response.close()
    return send()


def transport_around(library: Any, handle: Callable[[Any, Any], Any]) -> dict[str, Any]:
    """Options with a transport that hands the login and everything else to a function."""
    # Without connections that are kept: nobody closes a transport of the user's.
    limits = library.Limits(max_keepalive_connections=0)
    inner = library.HTTPTransport(verify=False, limits=limits)

    class Around(library.BaseTransport):  # type: ignore[misc]
        def handle_request(self, request: Any) -> Any:
            return handle(inner, request)

        def close(self) -> None:
            inner.close()

    return {"client_options": {"transport": Around()}}


def transport_that_sends_again(httpx: Any) -> dict[str, Any]:
    def handle(inner: Any, request: Any) -> Any:
        return tried(partial(inner.handle_request, request))

    return transport_around(httpx, handle)


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


def httpx_retries_transport(httpx: Any) -> dict[str, Any]:
    httpx_retries = pytest.importorskip("httpx_retries")
    retry = httpx_retries.Retry(
        total=5, allowed_methods=["GET", "POST"], status_forcelist=[400, 500, 503]
    )
    limits = httpx.Limits(max_keepalive_connections=0)
    inner = httpx.HTTPTransport(verify=False, limits=limits)
    transport = httpx_retries.RetryTransport(transport=inner, retry=retry)
    return {"client_options": {"transport": transport}}


def tenacity_in_the_transport(httpx: Any) -> dict[str, Any]:
    tenacity = pytest.importorskip("tenacity")
    retrying = tenacity.Retrying(stop=tenacity.stop_after_attempt(6), reraise=True)

    def handle(inner: Any, request: Any) -> Any:
        return retrying(inner.handle_request, request)

    return transport_around(httpx, handle)


def close(options: dict[str, Any]) -> None:
    """What is the user's own, nobody else closes."""
    made = options.get("session") or options["client_options"]["transport"]
    made.close()


MAKES = [
    Make("HTTPAdapter(Retry(allowed_methods=None))", "requests", usual_adapter, passes_on=True),
    Make("an adapter around such an HTTPAdapter", "requests", adapter_around_another),
    Make("an HTTPAdapter whose send() sends again", "requests", adapter_that_sends_again),
    Make("a session whose send() sends copies again", "requests", session_that_sends_again),
    Make("a session that raises for status", "requests", session_that_raises_for_status, True),
    Make("a transport that sends again", "httpx", transport_that_sends_again),
    Make("a transport that sends what it read", "httpx", transport_that_sends_what_it_read, True),
    Make("httpx-retries", "httpx", httpx_retries_transport),
    Make("tenacity in the transport", "httpx", tenacity_in_the_transport, passes_on=True),
]

GENERAL = {
    "errorCode": "UnifiedWebService.REQUEST_FAILED.UnexpectedError",
    "errorMessage": "Something went wrong.",
}
FAILURES: dict[str, Callable[[ThingspaceSimulator], object]] = {
    "loses each login": lambda simulator: simulator.fail("login", "drop", times=None),
    "answers 500": lambda simulator: simulator.fail("login", 500, times=None),
    "answers 400 with a general code": lambda simulator: simulator.fail(
        "login", 400, times=None, body=GENERAL
    ),
    "refuses the password": lambda simulator: setattr(simulator, "password", "another"),
}


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("make", MAKES, ids=by_name)
def test_what_retries_beneath_the_object(
    table: Table, simulator: ThingspaceSimulator, make: Make, failure: str
) -> None:
    library = pytest.importorskip(make.library)
    kind = next(kind for kind in INSTALLED if kind.library_name == make.library)
    FAILURES[failure](simulator)
    m2m = VzM2mCredentials(simulator.username, simulator.password)
    if failure == "refuses the password":
        m2m = VzM2mCredentials(simulator.username, WRONG)
    options = make.options(library)
    auth = auth_for(kind, simulator, m2m=m2m, **options)
    last = repeat(6, kind.get, auth, simulator.url + PATH)
    close(options)
    assert isinstance(last, M2mLoginError)
    # Who sends a refused one again, and gets an error for that, never tells that it was refused.
    at_most = 1 if failure == "refuses the password" and make.passes_on else 2
    table.add(
        f"retries with {make.name} ({make.library}): the server {failure}", simulator, at_most
    )


@pytest.mark.parametrize("kind", SYNC_KINDS, ids=by_name)
@pytest.mark.parametrize("failure", FAILURES)
def test_what_retries_around_the_request(
    table: Table, simulator: ThingspaceSimulator, kind: Kind, failure: str
) -> None:
    tenacity = pytest.importorskip("tenacity")
    FAILURES[failure](simulator)
    auth = auth_for(kind, simulator)
    retry = tenacity.Retrying(stop=tenacity.stop_after_attempt(10), reraise=True)
    with pytest.raises(M2mLoginError):
        retry(kind.get, auth, simulator.url + PATH)
    at_most = 1 if failure == "refuses the password" else 2
    action = f"retries with tenacity around the request ({kind.name}): the server {failure}"
    table.add(action, simulator, at_most)


@pytest.mark.parametrize("kind", ADAPTER_KINDS, ids=by_name)
def test_general_code_says_nothing_of_the_password(
    table: Table, simulator: ThingspaceSimulator, kind: Kind
) -> None:
    simulator.fail("login", 400, body=GENERAL)
    m2m = VzM2mCredentials(simulator.username, simulator.password)
    auth = auth_for(kind, simulator, m2m=m2m)
    with pytest.raises(M2mLoginError):
        kind.get(auth, simulator.url + PATH)
    assert kind.get(auth, simulator.url + PATH).status == 200
    table.add(f"logs in again after one general code ({kind.name})", simulator, 2)
