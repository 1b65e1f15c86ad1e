"""The contract, Part 3: what processes share through a store. For every client kind."""

from __future__ import annotations

import contextlib
import copy
import json
import logging
import pickle
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest

from thingspace_auth_adapters import InsecureStoreError, M2mLoginError, VzM2mCredentials
from thingspace_auth_adapters._core.shared import SharedSource
from thingspace_auth_adapters.stores import StoreUnavailable, TokenStore

from ..support.kinds import IDENTITY, PASSWORD, Kind
from ..support.virtual import (
    API,
    LOGIN_PATH,
    START,
    Answer,
    Call,
    Platform,
    VirtualClock,
    login_refusal,
    refusal,
    session_refusal,
    token_answer,
)

MINUTE = 60
EDGE = "https://5gedge.verizon.com/api/mec/eds"


@pytest.fixture(autouse=True)
def _virtual_time(clock: VirtualClock) -> None:
    pass


class Disk:
    """What all processes share, and what goes wrong with it.

    Attributes:
        entries: the content of each entry.
        broken: the names of the methods that fail, ``"unlock"`` among them.
        events: what was done, in order: a verb and the entry's name.
        held: the names whose locks are held, in the order in which they were taken.
        on_lock: called before a lock is taken.
    """

    def __init__(self) -> None:
        self.entries: dict[str, bytes] = {}
        self.broken: set[str] = set()
        self.events: list[tuple[str, str]] = []
        self.held: list[str] = []
        self.on_lock: Callable[[str], object] = bool
        self.locks: dict[str, threading.Lock] = {}

    def written(self) -> list[str]:
        return [name for verb, name in self.events if verb == "write"]


class MemoryStore(TokenStore):
    """One process's way to the disk."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def read(self, name: str) -> bytes | None:
        self._note("read", name)
        return self._disk.entries.get(name)

    def write(self, name: str, content: bytes) -> None:
        self._note("write", name)
        self._disk.entries[name] = content

    def delete(self, name: str) -> None:
        self._note("delete", name)
        self._disk.entries.pop(name, None)

    @contextlib.contextmanager
    def locked(self, name: str, patience: float) -> Iterator[None]:
        disk = self._disk
        disk.on_lock(name)
        self._note("lock", name)
        with disk.locks.setdefault(name, threading.Lock()):
            disk.held.append(name)
            try:
                yield
            finally:
                disk.held.remove(name)
        self._note("unlock", name)

    def _note(self, verb: str, name: str) -> None:
        if verb in self._disk.broken:
            raise StoreUnavailable("the disk is gone")
        self._disk.events.append((verb, name))

    def __repr__(self) -> str:
        return "MemoryStore()"


MakeStore = Callable[[], Any]


@pytest.fixture
def disk() -> Disk:
    return Disk()


# What a store does is its own tests' affair: here it only is one of two.
@pytest.fixture(params=["memory", pytest.param("file", marks=pytest.mark.once)])
def make_store(request: pytest.FixtureRequest, disk: Disk, tmp_path: Path) -> MakeStore:
    """Makes what another process would make for itself: an object on the same store."""
    if request.param == "memory":
        return lambda: MemoryStore(disk)
    return lambda: file_store(tmp_path / "store")


def file_store(directory: Path) -> Any:
    pytest.importorskip("filelock")
    pytest.importorskip("platformdirs")
    from thingspace_auth_adapters.stores import FileTokenStore

    return FileTokenStore(directory)


def account(username: str = "user", password: str = PASSWORD, **options: Any) -> VzM2mCredentials:
    return VzM2mCredentials(username, password, **options)


def process(kind: Kind, platform: Platform, store: Any, **options: Any) -> Any:
    """The auth object of another process that shares the store."""
    return kind.auth(platform, **{"store": store, "m2m": account(), **options})


def bearer_of(kind: Kind, platform: Platform, store: Any, **options: Any) -> Any:
    """The same, without M2M."""
    return process(kind, platform, store, m2m=None, **options)


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    records = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert {record.name for record in records} <= {"thingspace_auth_adapters"}
    return [record.getMessage() for record in records]


# Rule 1: one token, one session.


def test_processes_share_one_token_and_one_session(
    kind: Kind, platform: Platform, make_store: MakeStore
) -> None:
    for _ in range(3):
        auth = process(kind, platform, make_store())
        for _ in range(2):
            assert kind.get(auth, API, platform).status == 200
    assert platform.bearers == ["token-1"] * 6
    assert platform.sessions == ["session-1"] * 6
    assert platform.trail == ["token", "login", *["api"] * 6]


def test_one_store_object_may_serve_many_auth_objects(
    kind: Kind, platform: Platform, make_store: MakeStore
) -> None:
    store = make_store()
    for _ in range(3):
        kind.get(process(kind, platform, store), API, platform)
    assert platform.trail == ["token", "login", *["api"] * 3]


def test_stored_token_keeps_its_times(
    kind: Kind, platform: Platform, make_store: MakeStore, clock: VirtualClock
) -> None:
    first, second = (bearer_of(kind, platform, make_store()) for _ in range(2))
    kind.get(first, API, platform)
    clock.advance(100)
    kind.get(second, API, platform)
    assert second.oauth_token == first.oauth_token
    assert second.oauth_token.expiry == START + 3600
    assert second.oauth_token.scope == "ts.application.ro ts.mec.fullaccess"


def test_nothing_is_read_or_locked_while_the_token_is_fresh(
    kind: Kind, platform: Platform, disk: Disk
) -> None:
    auth = process(kind, platform, MemoryStore(disk))
    kind.get(auth, API, platform)
    disk.events.clear()
    for _ in range(5):
        kind.get(auth, API, platform)
    assert disk.events == []


def test_process_that_finds_a_token_takes_no_lock_and_writes_nothing(
    kind: Kind, platform: Platform, disk: Disk
) -> None:
    kind.get(process(kind, platform, MemoryStore(disk)), API, platform)
    disk.events.clear()
    kind.get(process(kind, platform, MemoryStore(disk)), API, platform)
    assert {verb for verb, _ in disk.events} == {"read"}


def test_expired_token_is_renewed_for_all(
    kind: Kind, platform: Platform, make_store: MakeStore, clock: VirtualClock
) -> None:
    auths = [bearer_of(kind, platform, make_store()) for _ in range(3)]
    for _ in range(3):
        for auth in auths:
            assert kind.get(auth, API, platform).status == 200
        clock.advance(3600)
    assert len(platform.token_calls) == 3


def test_rejected_token_is_renewed_for_all(
    kind: Kind, platform: Platform, make_store: MakeStore
) -> None:
    auths = [bearer_of(kind, platform, make_store()) for _ in range(3)]
    for auth in auths:
        kind.get(auth, API, platform)
    for auth in auths:
        platform.api = [refusal()]
        assert kind.get(auth, API, platform).status == 200
    assert len(platform.token_calls) == 2


def test_revoked_token_is_not_taken_from_the_store_again(
    kind: Kind, platform: Platform, make_store: MakeStore
) -> None:
    auth = bearer_of(kind, platform, make_store())
    kind.get(auth, API, platform)
    kind.revoke_token(auth)
    kind.get(auth, API, platform)
    kind.get(bearer_of(kind, platform, make_store()), API, platform)
    assert platform.bearers == ["token-1", "token-2", "token-2"]


def test_token_that_the_platform_repeats_is_asked_for_once_by_all(
    kind: Kind, platform: Platform, make_store: MakeStore, clock: VirtualClock
) -> None:
    """With a skew, on a platform that repeats a token until it expires."""
    platform.tokens = [token_answer("same", 3600), token_answer("same", 50)]
    auths = [bearer_of(kind, platform, make_store(), oauth_clock_skew=60) for _ in range(3)]
    for auth in auths:
        kind.get(auth, API, platform)
    clock.advance(3550)
    for _ in range(3):
        for auth in auths:
            assert kind.get(auth, API, platform).status == 200
    newcomer = bearer_of(kind, platform, make_store(), oauth_clock_skew=60)
    kind.get(newcomer, API, platform)
    assert len(platform.token_calls) == 2
    clock.advance(50)
    for auth in [*auths, newcomer]:
        assert kind.get(auth, API, platform).status == 200
    assert len(platform.token_calls) == 3


def test_rejected_token_that_the_platform_repeats_is_not_asked_for_by_each_request(
    kind: Kind, platform: Platform, make_store: MakeStore
) -> None:
    platform.tokens = [token_answer("same"), token_answer("same")]
    auth = bearer_of(kind, platform, make_store())
    for _ in range(3):
        platform.api = [refusal()]
        assert kind.get(auth, API, platform).status == 401
    assert len(platform.token_calls) == 2


def test_token_without_an_expiry_is_shared(
    kind: Kind, platform: Platform, make_store: MakeStore, clock: VirtualClock
) -> None:
    platform.tokens = [Answer(200, {"access_token": "eternal"})]
    for _ in range(2):
        kind.get(bearer_of(kind, platform, make_store()), API, platform)
        clock.advance(10**8)
    assert platform.bearers == ["eternal"] * 2


def test_session_that_was_ended_is_renewed_for_all(
    kind: Kind, platform: Platform, make_store: MakeStore
) -> None:
    auths = [process(kind, platform, make_store()) for _ in range(3)]
    for auth in auths:
        kind.get(auth, API, platform)
    for auth in auths:
        platform.api = [session_refusal()]
        assert kind.get(auth, API, platform).status == 200
    assert len(platform.login_calls) == 2


def test_session_that_was_logged_out_is_not_taken_from_the_store_again(
    kind: Kind, platform: Platform, make_store: MakeStore
) -> None:
    auth = process(kind, platform, make_store())
    kind.get(auth, API, platform)
    kind.end_session(auth)
    kind.get(auth, API, platform)
    kind.get(process(kind, platform, make_store()), API, platform)
    assert platform.sessions == ["session-1", "session-2", "session-2"]


def test_failure_of_the_endpoint_stores_nothing(kind: Kind, platform: Platform, disk: Disk) -> None:
    platform.tokens = [Answer(401, {"error": "invalid_client"})]
    auth = bearer_of(kind, platform, MemoryStore(disk))
    with pytest.raises(kind.request_error):
        kind.get(auth, API, platform)
    assert disk.entries == {}
    assert disk.held == []
    assert kind.get(auth, API, platform).status == 200


@pytest.mark.parametrize("m2m", [None, account()], ids=["token", "session"])
def test_what_another_process_renewed_while_the_lock_was_waited_for_is_used(
    kind: Kind, platform: Platform, disk: Disk, clock: VirtualClock, m2m: Any
) -> None:
    overtakers: list[Any] = []

    def overtake(name: str) -> None:
        while overtakers:
            assert kind.get(overtakers.pop(), API, platform).status == 200

    disk.on_lock = overtake
    late = process(kind, platform, MemoryStore(disk), m2m=m2m)
    for times in (1, 2):
        overtakers.append(process(kind, platform, MemoryStore(disk), m2m=m2m))
        assert kind.get(late, API, platform).status == 200
        assert overtakers == []
        assert len(platform.token_calls) == times
        assert len(platform.login_calls) == (0 if m2m is None else times)
        clock.advance(3600)


# Rule 1: the store wraps the endpoint or the provider.


def test_provider_is_asked_once_for_all(
    kind: Kind, platform: Platform, make_store: MakeStore, clock: VirtualClock
) -> None:
    asked: list[Any] = []

    def provider(last: Any, manager: Any) -> Any:
        asked.append(last and last.access_token)
        return {"access_token": f"provided-{len(asked)}", "expiry": clock.time() + 100}

    options = {"oauth_token_provider": kind.callback(provider)}
    auths = [bearer_of(kind, platform, make_store(), **options) for _ in range(3)]
    for _ in range(2):
        for auth in auths:
            kind.get(auth, API, platform)
        clock.advance(100)
    assert platform.bearers == ["provided-1"] * 3 + ["provided-2"] * 3
    assert asked == [None, "provided-1"]
    assert platform.token_calls == []


def test_provided_token_that_was_rejected_is_fetched_once_for_all(
    kind: Kind, platform: Platform, make_store: MakeStore
) -> None:
    row = {"access_token": "row"}
    options = {"oauth_token_provider": lambda last, manager: row}
    auths = [bearer_of(kind, platform, make_store(), **options) for _ in range(3)]
    for auth in auths:
        kind.get(auth, API, platform)
    for auth in auths:
        platform.api = [refusal()]
        assert kind.get(auth, API, platform).status == 200
    assert platform.bearers[-1] == "token-1"
    assert len(platform.token_calls) == 1


def test_error_of_a_provider_reaches_the_caller_and_frees_the_lock(
    kind: Kind, platform: Platform, disk: Disk
) -> None:
    def provider(last: Any, manager: Any) -> Any:
        if len(failures) < 2:
            failures.append(LookupError("no row"))
            raise failures[-1]
        return {"access_token": "row"}

    failures: list[Exception] = []
    auth = bearer_of(kind, platform, MemoryStore(disk), oauth_token_provider=provider)
    for _ in range(2):
        with pytest.raises(LookupError, match="no row"):
            kind.get(auth, API, platform)
        assert disk.held == []
    kind.get(auth, API, platform)
    assert platform.bearers == ["row"]


def test_update_callback_is_told_of_a_token_from_the_store_and_once(
    kind: Kind, platform: Platform, make_store: MakeStore, clock: VirtualClock
) -> None:
    told: list[str] = []
    update = kind.callback(lambda token: told.append(token.access_token))
    kind.get(bearer_of(kind, platform, make_store()), API, platform)
    auth = process(kind, platform, make_store(), oauth_on_token_update=update)
    for _ in range(5):
        kind.get(auth, API, platform)
        clock.advance(100)
    assert told == ["token-1"]
    clock.advance(3600)
    kind.get(bearer_of(kind, platform, make_store()), API, platform)
    kind.get(auth, API, platform)
    assert told == ["token-1", "token-2"]
    assert len(platform.token_calls) == 2


def test_no_lock_is_held_while_the_update_callback_runs(
    kind: Kind, platform: Platform, disk: Disk
) -> None:
    held: list[list[str]] = []
    update = kind.callback(lambda token: held.append(list(disk.held)))
    auth = process(kind, platform, MemoryStore(disk), oauth_on_token_update=update)
    kind.get(auth, API, platform)
    platform.api = [refusal()]
    kind.get(auth, API, platform)
    assert held == [[], []]


# What is assigned, given or fetched by hand is not shared.


def test_assigned_token_is_not_stored_and_a_forgotten_one_is_found_again(
    kind: Kind, platform: Platform, make_store: MakeStore
) -> None:
    auth = bearer_of(kind, platform, make_store())
    kind.get(auth, API, platform)
    auth.oauth_token = {"access_token": "assigned"}
    kind.get(auth, API, platform)
    kind.get(bearer_of(kind, platform, make_store()), API, platform)
    auth.oauth_token = None
    kind.get(auth, API, platform)
    assert platform.bearers == ["token-1", "assigned", "token-1", "token-1"]
    assert len(platform.token_calls) == 1


def test_token_that_is_fetched_by_hand_is_not_stored(
    kind: Kind, platform: Platform, disk: Disk
) -> None:
    auth = bearer_of(kind, platform, MemoryStore(disk))
    assert kind.fetch_token(auth).access_token == "token-1"
    assert disk.entries == {}
    kind.get(auth, API, platform)
    assert platform.bearers == ["token-2"]


def test_login_by_hand_is_under_the_stores_lock_and_installs_nothing(
    kind: Kind, platform: Platform, disk: Disk
) -> None:
    auth = process(kind, platform, MemoryStore(disk))
    kind.get(auth, API, platform)
    names = names_of(auth)
    before = disk.entries[names["session"]]
    held: list[list[str]] = []

    def note(call: Call, answer: Any = platform.handle) -> Answer:
        if call.path == LOGIN_PATH:
            held.append(list(disk.held))
        return answer(call)  # type: ignore[no-any-return]

    platform.handle = note  # type: ignore[method-assign]
    assert kind.fetch_session(auth) == "session-2"
    assert held == [[names["logins"]]]
    assert disk.held == []
    assert disk.entries[names["session"]] == before
    for each in (auth, process(kind, platform, MemoryStore(disk))):
        kind.get(each, API, platform)
    assert platform.sessions == ["session-1"] * 3


def test_session_that_lives_is_used_although_another_login_was_refused(
    kind: Kind, platform: Platform, make_store: MakeStore, clock: VirtualClock
) -> None:
    auth = process(kind, platform, make_store())
    kind.get(auth, API, platform)
    platform.logins = [login_refusal()]
    with pytest.raises(M2mLoginError):
        kind.fetch_session(auth)
    clock.advance(MINUTE + 1)
    assert kind.get(auth, API, platform).status == 200
    assert platform.sessions == ["session-1"] * 2


def test_session_without_username_and_password_is_not_stored(
    kind: Kind, platform: Platform, disk: Disk, clock: VirtualClock
) -> None:
    auth = process(kind, platform, MemoryStore(disk), m2m="fixed")
    for _ in range(3):
        kind.get(auth, API, platform)
        clock.advance(1000)
    assert platform.sessions == ["fixed"] * 3
    assert set(disk.entries) == {names_of(auth)["token"]}


def test_given_session_is_used_and_is_not_stored(
    kind: Kind, platform: Platform, make_store: MakeStore, clock: VirtualClock
) -> None:
    """That it was used is written only if the entry holds it."""
    auth = process(kind, platform, make_store(), m2m=account(vz_m2m_token="given"))
    kind.get(auth, API, platform)
    clock.advance(MINUTE)
    kind.get(auth, API, platform)
    kind.get(process(kind, platform, make_store()), API, platform)
    assert platform.sessions == ["given", "given", "session-1"]


# Rule 4: a session's idle time is that of its latest use by any process.


def test_session_that_another_process_uses_is_not_idle(
    kind: Kind, platform: Platform, make_store: MakeStore, clock: VirtualClock
) -> None:
    busy, idle = (process(kind, platform, make_store()) for _ in range(2))
    kind.get(idle, API, platform)
    for _ in range(16):
        kind.get(busy, API, platform)
        clock.advance(100)
    kind.get(idle, API, platform)
    kind.get(process(kind, platform, make_store()), API, platform)
    assert len(platform.login_calls) == 1
    clock.advance(1200)
    kind.get(idle, API, platform)
    assert len(platform.login_calls) == 2


def test_use_is_written_at_most_once_a_minute(
    kind: Kind, platform: Platform, disk: Disk, clock: VirtualClock
) -> None:
    auth = process(kind, platform, MemoryStore(disk))
    kind.get(auth, API, platform)
    session = names_of(auth)["session"]
    disk.events.clear()
    for _ in range(48):
        kind.get(auth, API, platform)
        clock.advance(5)
    written = disk.written()
    assert set(written) == {session}
    assert 3 <= len(written) <= 4


def test_use_is_written_once_a_minute_by_all_together(
    kind: Kind, platform: Platform, disk: Disk, clock: VirtualClock
) -> None:
    auths = [process(kind, platform, MemoryStore(disk)) for _ in range(3)]
    for auth in auths:
        kind.get(auth, API, platform)
    disk.events.clear()
    for _ in range(24):
        for auth in auths:
            kind.get(auth, API, platform)
        clock.advance(10)
    assert 3 <= len(disk.written()) <= 4
    assert len(platform.login_calls) == 1


def test_use_within_the_minute_after_a_write_is_use(
    kind: Kind, platform: Platform, make_store: MakeStore, clock: VirtualClock
) -> None:
    auth = process(kind, platform, make_store())
    for pause in (40, 1180, 0):
        kind.get(auth, API, platform)
        clock.advance(pause)
    assert len(platform.login_calls) == 1


@pytest.mark.parametrize(("idle_timeout", "pause"), [(60, 5), (90, 50), (4, 2)])
def test_short_idle_timeout_is_looked_after_more_often(
    kind: Kind,
    platform: Platform,
    disk: Disk,
    clock: VirtualClock,
    idle_timeout: float,
    pause: float,
) -> None:
    m2m = account(idle_timeout=idle_timeout)
    busy, idle = (process(kind, platform, MemoryStore(disk), m2m=m2m) for _ in range(2))
    kind.get(idle, API, platform)
    for _ in range(round(2 * idle_timeout / pause) + 1):
        kind.get(busy, API, platform)
        clock.advance(pause)
    kind.get(idle, API, platform)
    assert len(platform.login_calls) == 1


def test_session_in_hand_is_used_although_its_entry_is_gone_and_not_stored_again(
    kind: Kind, platform: Platform, disk: Disk, clock: VirtualClock
) -> None:
    """Whoever cleared the store wanted that, and whoever needs a session logs in."""
    auth = process(kind, platform, MemoryStore(disk))
    kind.get(auth, API, platform)
    disk.entries.clear()
    for _ in range(3):
        clock.advance(MINUTE + 1)
        kind.get(auth, API, platform)
    assert disk.entries == {}
    assert platform.sessions == ["session-1"] * 4


def test_use_is_not_written_over_the_session_of_another_process(
    kind: Kind, platform: Platform, disk: Disk, clock: VirtualClock
) -> None:
    first, second = (process(kind, platform, MemoryStore(disk)) for _ in range(2))
    kind.get(first, API, platform)
    platform.api = [session_refusal()]
    kind.get(second, API, platform)
    clock.advance(MINUTE + 1)
    kind.get(first, API, platform)
    assert platform.sessions == ["session-1", "session-1", "session-2", "session-2"]
    assert len(platform.login_calls) == 2


def test_no_lock_is_taken_to_write_a_use(
    kind: Kind, platform: Platform, disk: Disk, clock: VirtualClock
) -> None:
    auth = process(kind, platform, MemoryStore(disk))
    kind.get(auth, API, platform)
    disk.on_lock = lambda name: pytest.fail("a lock was taken")
    for _ in range(3):
        clock.advance(MINUTE + 1)
        disk.events.clear()
        kind.get(auth, API, platform)
        assert disk.written() == [names_of(auth)["session"]]


def test_write_of_a_use_that_fails_is_a_warning_and_the_session_lives_on(
    kind: Kind,
    platform: Platform,
    disk: Disk,
    clock: VirtualClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    auth = process(kind, platform, MemoryStore(disk))
    kind.get(auth, API, platform)
    disk.broken = {"write"}
    for _ in range(25):
        clock.advance(MINUTE)
        assert kind.get(auth, API, platform).status == 200
    assert platform.trail.count("login") == 1
    assert 20 <= len(warnings_in(caplog)) <= 30


# Rule 3: entries are kept apart.

TENANTS: list[dict[str, Any]] = [
    {"oauth_client_id": "another"},
    {"oauth_client_secret": "another"},
    {
        "base_url": "https://staging.thingspace.verizon.com",
        "allowed_hosts": ["*.verizon.com", "thingspace.verizon.com"],
    },
]


@pytest.mark.parametrize("other", TENANTS, ids=lambda other: next(iter(other)))
def test_tenants_never_get_each_others_token_or_session(
    kind: Kind, platform: Platform, make_store: MakeStore, other: dict[str, Any]
) -> None:
    for _ in range(2):
        for options in ({}, other):
            kind.get(process(kind, platform, make_store(), **options), API, platform)
    assert platform.bearers == ["token-1", "token-2"] * 2
    assert platform.sessions == ["session-1", "session-2"] * 2


def test_scopes_have_tokens_of_their_own_whatever_their_order(
    kind: Kind, platform: Platform, make_store: MakeStore
) -> None:
    for scopes in (["read", "write"], ["write", "read"], ["read"], None):
        kind.get(process(kind, platform, make_store(), oauth_scopes=scopes), API, platform)
    assert platform.bearers == ["token-1", "token-1", "token-2", "token-3"]
    assert platform.sessions == ["session-1"] * 4


@pytest.mark.parametrize("other", [("other", PASSWORD), ("user", "other")])
def test_accounts_never_get_each_others_session(
    kind: Kind, platform: Platform, make_store: MakeStore, other: tuple[str, str]
) -> None:
    for _ in range(2):
        for m2m in (account(), account(*other)):
            kind.get(process(kind, platform, make_store(), m2m=m2m), API, platform)
    assert platform.bearers == ["token-1"] * 4
    assert platform.sessions == ["session-1", "session-2"] * 2


def test_account_that_is_assigned_has_its_own_session_in_the_store(
    kind: Kind, platform: Platform, make_store: MakeStore
) -> None:
    auth = process(kind, platform, make_store())
    for m2m in (account(), account("bob"), account()):
        auth.m2m = m2m
        kind.get(auth, API, platform)
    assert platform.sessions == ["session-1", "session-2", "session-1"]


class Named(Platform):
    """Each session bears the name of whose it is."""

    def handle(self, call: Call) -> Answer:
        answer = super().handle(call)
        if call.path == LOGIN_PATH:
            return Answer(200, {"sessionToken": f"of-{json.loads(call.body)['username']}"})
        return answer


@pytest.mark.parametrize("moment", ["lock", "login"])
def test_account_that_is_assigned_while_another_logs_in_is_not_taken_for_it(
    kind: Kind, disk: Disk, moment: str
) -> None:
    platform = Named()
    auth = process(kind, platform, MemoryStore(disk), m2m=account("alice"))
    lock = names_of(auth)["logins"]
    assigned: list[bool] = []

    def assign() -> None:
        if not assigned:
            assigned.append(True)
            auth.m2m = account("bob")

    def before_lock(name: str) -> None:
        if moment == "lock" and name == lock:
            assign()

    def during_login(call: Call, answer: Any = platform.handle) -> Answer:
        if moment == "login" and call.path == LOGIN_PATH:
            assign()
        return answer(call)  # type: ignore[no-any-return]

    disk.on_lock = before_lock
    platform.handle = during_login  # type: ignore[method-assign]
    assert kind.get(auth, API, platform).status == 200
    assert assigned
    for name in ("alice", "bob", "alice"):
        newcomer = process(kind, platform, MemoryStore(disk), m2m=account(name))
        assert kind.get(newcomer, API, platform).status == 200
        assert platform.sessions[-1] == f"of-{name}"
    kind.get(auth, API, platform)
    assert platform.sessions[-1] == "of-bob"
    users = [json.loads(call.body)["username"] for call in platform.login_calls]
    assert users == ["alice", "bob"]


def test_names_and_contents_tell_neither_secret_nor_password_nor_who_it_is(
    kind: Kind, platform: Platform, disk: Disk
) -> None:
    auth = process(kind, platform, MemoryStore(disk), m2m=account("the-user-name"))
    kind.get(auth, API, platform)
    assert len(disk.entries) == 3
    for name, content in disk.entries.items():
        assert len(name) == 64
        assert set(name) <= set("0123456789abcdef")
        json.loads(content)
        shown = name + content.decode("ascii")
        for secret in (*IDENTITY.values(), PASSWORD, "the-user-name"):
            assert secret not in shown


def names_of(auth: Any) -> dict[str, str]:
    """The names of an auth object's entries."""
    found = {"token": auth._tokens.bearers.source.entry.name}
    if isinstance(auth._tokens.sessions.source, SharedSource):
        found["session"] = auth._tokens.sessions.source.entry.name
        found["logins"] = auth._tokens.session_source.lock.name
    return found


# Rule 3: what is not ours, or no token, is replaced with a warning.


def damaged(content: bytes) -> dict[str, bytes]:
    sealed = json.loads(content)
    return {
        "empty": b"",
        "truncated": content[:-5],
        "no object": b"[]",
        "pickle": pickle.dumps({"fields": {}}),
        "no utf-8": b"\xff\xfe" + content,
        "unsealed": json.dumps({"fields": sealed["fields"]}).encode(),
        "changed": content.replace(b"-1", b"-9"),
        "other seal": json.dumps({**sealed, "seal": "0" * 64}).encode(),
    }


DAMAGES = list(damaged(b'{"fields": {}, "seal": ""}'))


@pytest.mark.parametrize("which", ["token", "session"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_corrupt_entry_is_replaced_with_a_warning(
    kind: Kind,
    platform: Platform,
    disk: Disk,
    damage: str,
    which: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    auth = process(kind, platform, MemoryStore(disk))
    kind.get(auth, API, platform)
    name = names_of(auth)[which]
    disk.entries[name] = damaged(disk.entries[name])[damage]
    kind.get(process(kind, platform, MemoryStore(disk)), API, platform)
    texts = warnings_in(caplog)
    assert sum("corrupt" in text for text in texts) == 1
    assert "token-1" not in "".join(texts)
    kind.get(process(kind, platform, MemoryStore(disk)), API, platform)
    assert warnings_in(caplog) == texts
    other = "token-2" if which == "token" else "session-2"
    carried = platform.bearers if which == "token" else platform.sessions
    assert carried[1:] == [other] * 2


def test_corrupt_count_of_logins_is_replaced_with_a_warning(
    kind: Kind, platform: Platform, disk: Disk, caplog: pytest.LogCaptureFixture
) -> None:
    auth = process(kind, platform, MemoryStore(disk))
    disk.entries[names_of(auth)["logins"]] = b"{"
    assert kind.get(auth, API, platform).status == 200
    assert any("corrupt" in text for text in warnings_in(caplog))
    json.loads(disk.entries[names_of(auth)["logins"]])


ODD_TOKENS: dict[str, dict[str, Any]] = {
    "no token": {"arrived_at": START},
    "null": {"token": None, "arrived_at": START},
    "no object": {"token": ["a"], "arrived_at": START},
    "line break": {"token": {"access_token": "a\nb"}, "arrived_at": START},
    "other type": {"token": {"access_token": "a", "token_type": "mac"}, "arrived_at": START},
    "no number": {"token": {"access_token": "a"}, "arrived_at": "soon"},
    "no arrival": {"token": {"access_token": "a"}},
    "null arrival": {"token": {"access_token": "a"}, "arrived_at": None},
}
ODD_SESSIONS: dict[str, dict[str, Any]] = {
    "no session": {"used_at": START},
    "null": {"session_token": None, "used_at": START, "trusted_until": START},
    "number": {"session_token": 7, "used_at": START, "trusted_until": START},
    "blank": {"session_token": "a b", "used_at": START, "trusted_until": START},
    "no number": {"session_token": "a", "used_at": "soon", "trusted_until": START},
    "null use": {"session_token": "a", "used_at": None, "trusted_until": START},
    "null trust": {"session_token": "a", "used_at": START, "trusted_until": None},
    "no trust": {"session_token": "a", "used_at": START},
}


@pytest.mark.parametrize("name", list(ODD_TOKENS))
def test_sealed_entry_that_is_no_token_is_replaced_with_a_warning(
    sync_kind: Kind, platform: Platform, disk: Disk, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    auth = bearer_of(sync_kind, platform, MemoryStore(disk))
    auth._tokens.bearers.source.entry.write(ODD_TOKENS[name])
    sync_kind.get(auth, API, platform)
    assert platform.bearers == ["token-1"]
    assert sum("corrupt" in text for text in warnings_in(caplog)) == 1
    sync_kind.get(bearer_of(sync_kind, platform, MemoryStore(disk)), API, platform)
    assert platform.bearers == ["token-1"] * 2


@pytest.mark.parametrize("name", list(ODD_SESSIONS))
def test_sealed_entry_that_is_no_session_is_replaced_with_a_warning(
    sync_kind: Kind, platform: Platform, disk: Disk, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    auth = process(sync_kind, platform, MemoryStore(disk))
    auth._tokens.sessions.source.entry.write(ODD_SESSIONS[name])
    sync_kind.get(auth, API, platform)
    assert platform.sessions == ["session-1"]
    assert sum("corrupt" in text for text in warnings_in(caplog)) == 1
    sync_kind.get(process(sync_kind, platform, MemoryStore(disk)), API, platform)
    assert platform.sessions == ["session-1"] * 2


# Rule 6: a store that cannot be reached never stops a request.

METHODS = ("read", "write", "lock", "unlock")


@pytest.mark.parametrize("broken", ["write", "write lock", "write unlock"])
def test_login_that_cannot_be_counted_in_the_store_is_not_sent(
    kind: Kind, platform: Platform, disk: Disk, broken: str, clock: VirtualClock
) -> None:
    """A read-only replica, a full disk: each new process would try a wrong password again."""
    disk.broken = set(broken.split())
    for _ in range(6):
        with pytest.raises(M2mLoginError) as caught:
            kind.get(process(kind, platform, MemoryStore(disk)), API, platform)
        assert caught.value.retryable
        assert "the store's count cannot be written: the disk is gone" in str(caught.value)
    assert platform.login_calls == []
    assert kind.get(bearer_of(kind, platform, MemoryStore(disk)), API, platform).status == 200
    disk.broken = set()
    assert kind.get(process(kind, platform, MemoryStore(disk)), API, platform).status == 200


@pytest.mark.parametrize("broken", ["read", "lock", "unlock", "read write", " ".join(METHODS)])
def test_broken_store_is_a_warning_and_no_more(
    kind: Kind,
    platform: Platform,
    disk: Disk,
    broken: str,
    clock: VirtualClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    disk.broken = set(broken.split())
    auth = process(kind, platform, MemoryStore(disk))
    for _ in range(3):
        assert kind.get(auth, API, platform).status == 200
        clock.advance(100)
    assert platform.sessions == ["session-1"] * 3
    assert platform.bearers == ["token-1"] * 3
    assert platform.trail == ["token", "login", "api", "api", "api"]
    assert any("the disk is gone" in text for text in warnings_in(caplog))
    platform.api = [refusal(), session_refusal()]
    assert kind.get(auth, API, platform).status == 200
    clock.advance(3600)
    assert kind.get(auth, API, platform).status == 200
    assert (len(platform.token_calls), len(platform.login_calls)) == (3, 3)


def test_process_that_went_on_without_the_store_comes_back_to_it(
    kind: Kind, platform: Platform, disk: Disk, clock: VirtualClock
) -> None:
    disk.broken = set(METHODS)
    lonely = process(kind, platform, MemoryStore(disk))
    kind.get(lonely, API, platform)
    disk.broken = set()
    kind.get(process(kind, platform, MemoryStore(disk)), API, platform)
    clock.advance(MINUTE + 1)
    kind.get(lonely, API, platform)
    clock.advance(3600)
    for auth in (lonely, process(kind, platform, MemoryStore(disk))):
        kind.get(auth, API, platform)
    assert platform.sessions[:2] == ["session-1", "session-2"]
    assert platform.sessions[-2:] == ["session-3"] * 2
    assert platform.bearers[-2:] == ["token-3"] * 2


def test_session_in_hand_survives_a_long_outage(
    kind: Kind, platform: Platform, disk: Disk, clock: VirtualClock
) -> None:
    auth = process(kind, platform, MemoryStore(disk))
    kind.get(auth, API, platform)
    disk.broken = set(METHODS)
    for _ in range(25):
        clock.advance(60)
        assert kind.get(auth, API, platform).status == 200
    disk.broken = set()
    clock.advance(MINUTE + 1)
    kind.get(auth, API, platform)
    assert platform.trail.count("login") == 1


@pytest.mark.parametrize("broken", ["read", "lock", "write"])
def test_token_that_is_stale_is_renewed_ahead_without_the_store(
    kind: Kind, platform: Platform, disk: Disk, broken: str, clock: VirtualClock
) -> None:
    auth = bearer_of(kind, platform, MemoryStore(disk), oauth_clock_skew=60)
    kind.get(auth, API, platform)
    disk.broken = {broken}
    clock.advance(3550)
    for _ in range(3):
        kind.get(auth, API, platform)
    assert platform.bearers == ["token-1", *["token-2"] * 3]


def test_outage_of_endpoint_and_store_is_the_endpoints_error(
    kind: Kind, platform: Platform, disk: Disk
) -> None:
    disk.broken = set(METHODS)
    platform.tokens = [Answer(failure="connect")] * 9
    with pytest.raises(kind.connect_error, match="the token endpoint"):
        kind.get(bearer_of(kind, platform, MemoryStore(disk)), API, platform)
    assert len(platform.token_calls) == 4


def test_insecure_store_is_an_error_and_nothing_is_fetched(
    kind: Kind, platform: Platform, disk: Disk
) -> None:
    class Insecure(MemoryStore):
        def read(self, name: str) -> bytes | None:
            raise InsecureStoreError("others can read it")

    auth = process(kind, platform, Insecure(disk))
    for _ in range(2):
        with pytest.raises(InsecureStoreError, match="others can read it") as caught:
            kind.get(auth, API, platform)
        assert isinstance(caught.value, kind.request_error)
        assert str(caught.value.request.url) == API  # type: ignore[attr-defined]
    assert platform.calls == []


# Rule 2: the order of locks.


def test_tokens_lock_is_taken_under_the_sessions_and_never_the_other_way_round(
    kind: Kind, platform: Platform, disk: Disk, clock: VirtualClock
) -> None:
    auth = process(kind, platform, MemoryStore(disk), oauth_clock_skew=60)
    names = names_of(auth)
    nested: list[list[str]] = []

    def note(name: str) -> None:
        assert name in (names["token"], names["logins"])
        nested.append([*disk.held, name])

    disk.on_lock = note
    kind.get(auth, API, platform)
    assert nested == [[names["logins"]], [names["logins"], names["token"]]]
    platform.api = [refusal()]
    kind.get(auth, API, platform)
    platform.api = [session_refusal(), refusal()]
    kind.get(auth, API, platform)
    clock.advance(MINUTE + 1)
    kind.get(auth, API, platform)
    clock.advance(3500)
    platform.logins = [refusal()]
    kind.get(auth, API, platform)
    clock.advance(3600)
    kind.get(auth, EDGE, platform)
    kind.fetch_session(auth)
    kind.end_session(auth)
    kind.revoke_token(auth)
    assert kind.get(auth, API, platform).status == 200
    session_alone, token_alone = [names["logins"]], [names["token"]]
    allowed = [session_alone, token_alone, [names["logins"], names["token"]]]
    assert [taken for taken in nested if taken not in allowed] == []
    assert len(nested) > 8
    assert disk.held == []


# Part 1, rule 13: copies and pickles.


@pytest.mark.parametrize("copying", [copy.copy, copy.deepcopy])
def test_copies_share_the_store(
    kind: Kind, platform: Platform, disk: Disk, copying: Callable[[Any], Any], clock: VirtualClock
) -> None:
    auth = process(kind, platform, MemoryStore(disk))
    copied = copying(auth)
    for _ in range(2):
        for each in (auth, copied):
            assert kind.get(each, API, platform).status == 200
        clock.advance(3600)
    assert (len(platform.token_calls), len(platform.login_calls)) == (2, 2)


def test_pickles_find_the_same_files(kind: Kind, platform: Platform, tmp_path: Path) -> None:
    kind.get(process(kind, platform, file_store(tmp_path / "store")), API, platform)
    auth = kind.auth(m2m=account(), store=file_store(tmp_path / "store"))
    revived = pickle.loads(pickle.dumps(auth))
    kind.get(revived, API, platform)
    assert platform.bearers == ["token-1"] * 2
    assert platform.sessions == ["session-1"] * 2


def test_stale_token_of_the_store_is_used_if_it_cannot_be_renewed(
    kind: Kind, platform: Platform, make_store: MakeStore, clock: VirtualClock
) -> None:
    kind.get(bearer_of(kind, platform, make_store(), oauth_clock_skew=60), API, platform)
    clock.advance(3550)
    platform.tokens = [Answer(503)] * 9
    newcomer = bearer_of(kind, platform, make_store(), oauth_clock_skew=60)
    assert kind.get(newcomer, API, platform).status == 200
    assert platform.bearers == ["token-1"] * 2


def test_store_that_becomes_insecure_is_told_once_and_the_stale_token_goes_on(
    kind: Kind, platform: Platform, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    class Turning(TokenStore):
        is_insecure = False

        def read(self, name: str) -> bytes | None:
            if self.is_insecure:
                raise InsecureStoreError("others can read it")
            return None

        def write(self, name: str, content: bytes) -> None: ...
        def delete(self, name: str) -> None: ...
        def locked(self, name: str, patience: float) -> Any:
            return contextlib.nullcontext()

    store = Turning()
    auth = bearer_of(kind, platform, store, oauth_clock_skew=60)
    kind.get(auth, API, platform)
    clock.advance(3550)
    store.is_insecure = True
    for _ in range(3):
        assert kind.get(auth, API, platform).status == 200
    assert caplog.text.count("others can read it") == 1
    clock.advance(60)
    with pytest.raises(InsecureStoreError):
        kind.get(auth, API, platform)
