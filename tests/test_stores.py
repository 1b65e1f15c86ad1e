"""The contract, Part 3: what a store keeps, hands out, and refuses."""

from __future__ import annotations

import copy
import json
import math
import os
import pickle
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest

from thingspace_auth_adapters import InsecureStoreError, M2mLoginError, VzM2mCredentials

from .kinds import IDENTITY, PASSWORD, Kind
from .redis_server import RedisServer
from .virtual import (
    API,
    Answer,
    Platform,
    VirtualClock,
    login_refusal,
    refusal,
    session_refusal,
    token_answer,
)

pytest.importorskip("filelock")
pytest.importorskip("platformdirs")

from thingspace_auth_adapters import stores
from thingspace_auth_adapters.stores import FileTokenStore
from thingspace_auth_adapters.stores import file as file_module
from thingspace_auth_adapters.stores.records import (
    CorruptRecord,
    SessionRecord,
    TokenRecord,
)
from thingspace_auth_adapters.stores.store import StoreUnavailable

MakeStore = Callable[[], Any]


@pytest.fixture(autouse=True)
def _virtual_time(clock: VirtualClock) -> None:
    pass


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    pytest.importorskip("redis")
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.stop()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture(params=["file", "redis"])
def make_store(
    request: pytest.FixtureRequest, directory: Path, tmp_path_factory: pytest.TempPathFactory
) -> MakeStore:
    """Makes what another process would make for itself: an object on the same store."""
    if request.param == "file":
        return lambda: FileTokenStore(directory)
    server: RedisServer = request.getfixturevalue("redis_server")
    prefix = f"{server.prefix}{directory}:"
    return lambda: stores.RedisTokenStore(server.url, prefix=prefix)


def process(kind: Kind, platform: Platform, store: Any, **options: Any) -> Any:
    """The auth object of another process that shares the store."""
    m2m = VzM2mCredentials("user", PASSWORD, vz_m2m_token_provider=store)
    return kind.auth(platform, **{"oauth_token_provider": store, "m2m": m2m, **options})


# One token, one session.


def test_processes_share_one_token_and_one_session(
    kind: Kind, platform: Platform, make_store: MakeStore
) -> None:
    for _ in range(3):
        assert kind.get(process(kind, platform, make_store()), API, platform).status == 200
    assert platform.bearers == ["token-1"] * 3
    assert platform.sessions == ["session-1"] * 3
    assert platform.trail == ["token", "login", "api", "api", "api"]


def test_one_object_may_serve_both_hooks_or_either(
    kind: Kind, platform: Platform, make_store: MakeStore
) -> None:
    kind.get(process(kind, platform, make_store()), API, platform)
    m2m = VzM2mCredentials("user", PASSWORD, vz_m2m_token_provider=make_store())
    auth = process(kind, platform, make_store(), m2m=m2m)
    kind.get(auth, API, platform)
    kind.get(process(kind, platform, None, m2m=m2m), API, platform)
    assert platform.sessions == ["session-1"] * 3
    assert platform.bearers == ["token-1", "token-1", "token-2"]


def test_expired_token_is_renewed_for_all(
    kind: Kind, platform: Platform, make_store: MakeStore, clock: VirtualClock
) -> None:
    auths = [process(kind, platform, make_store(), m2m=None) for _ in range(3)]
    for _ in range(3):
        for auth in auths:
            assert kind.get(auth, API, platform).status == 200
        clock.advance(3600)
    assert len(platform.token_calls) == 3


def test_rejected_token_is_renewed_for_all(
    kind: Kind, platform: Platform, make_store: MakeStore
) -> None:
    auths = [process(kind, platform, make_store(), m2m=None) for _ in range(3)]
    for auth in auths:
        kind.get(auth, API, platform)
    for auth in auths:
        platform.api = [refusal()]
        assert kind.get(auth, API, platform).status == 200
    assert len(platform.token_calls) == 2


def test_revoked_token_is_not_handed_out_again(
    kind: Kind, platform: Platform, make_store: MakeStore
) -> None:
    auth = process(kind, platform, make_store(), m2m=None)
    kind.get(auth, API, platform)
    kind.revoke_token(auth)
    kind.get(auth, API, platform)
    kind.get(process(kind, platform, make_store(), m2m=None), API, platform)
    assert platform.bearers == ["token-1", "token-2", "token-2"]


def test_token_that_the_platform_repeats_is_asked_for_once_by_all(
    kind: Kind, platform: Platform, make_store: MakeStore, clock: VirtualClock
) -> None:
    """A leeway on a platform that repeats a token until it expires."""
    platform.tokens = [token_answer("same", 3600), token_answer("same", 50)]
    auths = [process(kind, platform, make_store(), m2m=None, oauth_clock_skew=60) for _ in range(3)]
    for auth in auths:
        kind.get(auth, API, platform)
    clock.advance(3550)
    for _ in range(3):
        for auth in auths:
            assert kind.get(auth, API, platform).status == 200
    newcomer = process(kind, platform, make_store(), m2m=None, oauth_clock_skew=60)
    kind.get(newcomer, API, platform)
    assert len(platform.token_calls) == 2
    clock.advance(50)
    for auth in [*auths, newcomer]:
        assert kind.get(auth, API, platform).status == 200
    assert len(platform.token_calls) == 3


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


def test_sessions_idle_time_is_that_of_its_latest_use_by_any_process(
    kind: Kind, platform: Platform, make_store: MakeStore, clock: VirtualClock
) -> None:
    busy, idle = (process(kind, platform, make_store()) for _ in range(2))
    kind.get(idle, API, platform)
    for _ in range(30):
        kind.get(busy, API, platform)
        clock.advance(100)
    kind.get(idle, API, platform)
    kind.get(process(kind, platform, make_store()), API, platform)
    assert len(platform.login_calls) == 1
    clock.advance(1200)
    kind.get(idle, API, platform)
    assert len(platform.login_calls) == 2


def test_use_is_written_at_most_once_a_minute(
    kind: Kind, platform: Platform, directory: Path, clock: VirtualClock
) -> None:
    written: list[str] = []

    class Counting(FileTokenStore):
        def write(self, name: str, content: bytes) -> None:
            written.append(name)
            super().write(name, content)

    auth = process(kind, platform, Counting(directory))
    kind.get(auth, API, platform)
    written.clear()
    for _ in range(600):
        kind.get(auth, API, platform)
        clock.advance(1)
    assert 8 <= len(written) <= 10


def test_update_callbacks_are_told_once(
    kind: Kind, platform: Platform, make_store: MakeStore, clock: VirtualClock
) -> None:
    told: list[Any] = []
    store = make_store()
    m2m = VzM2mCredentials(
        "user", PASSWORD, vz_m2m_token_provider=store, vz_m2m_on_token_update=told.append
    )
    auth = process(kind, platform, store, m2m=m2m)
    for _ in range(5):
        kind.get(auth, API, platform)
        clock.advance(100)
    assert told == ["session-1"]
    assert type(told[0]) is str


# Refused logins, and those of unknown outcome.


def test_refused_login_is_remembered_for_every_process_until_the_credentials_change(
    kind: Kind, platform: Platform, make_store: MakeStore
) -> None:
    platform.logins = [login_refusal()]
    for _ in range(3):
        for _ in range(2):
            with pytest.raises(M2mLoginError) as caught:
                kind.get(process(kind, platform, make_store()), API, platform)
            assert caught.value.status_code == 400
            assert caught.value.error_code == "UnifiedWebService.REQUEST_FAILED.InvalidCredentials"
            assert isinstance(caught.value, kind.request_error)
    assert len(platform.login_calls) == 1
    store = make_store()
    m2m = VzM2mCredentials("user", "corrected", vz_m2m_token_provider=store)
    assert kind.get(process(kind, platform, store, m2m=m2m), API, platform).status == 200


def test_unknown_outcomes_add_up_over_processes_for_an_hour(
    kind: Kind, platform: Platform, make_store: MakeStore, clock: VirtualClock
) -> None:
    platform.logins = [Answer(500)] * 9
    for _ in range(4):
        with pytest.raises(M2mLoginError):
            kind.get(process(kind, platform, make_store()), API, platform)
    assert len(platform.login_calls) == 2
    clock.advance(3600)
    platform.logins = []
    assert kind.get(process(kind, platform, make_store()), API, platform).status == 200


def test_what_was_no_login_attempt_is_not_counted(
    kind: Kind, platform: Platform, make_store: MakeStore
) -> None:
    platform.logins = [Answer(403, {"fault": {"code": "900908"}})] * 3
    for _ in range(3):
        with pytest.raises(M2mLoginError):
            kind.get(process(kind, platform, make_store()), API, platform)
    assert kind.get(process(kind, platform, make_store()), API, platform).status == 200


def test_clear_forgets_token_session_and_refusal(
    kind: Kind, platform: Platform, make_store: MakeStore
) -> None:
    platform.logins = [login_refusal()]
    store = make_store()
    auth = process(kind, platform, store)
    with pytest.raises(M2mLoginError):
        kind.get(auth, API, platform)
    store.clear(auth)
    assert kind.get(process(kind, platform, make_store()), API, platform).status == 200
    assert platform.bearers == ["token-2"]
    store.clear(kind.auth(platform, m2m="fixed"))
    assert kind.get(process(kind, platform, make_store()), API, platform).status == 200
    assert platform.bearers[-1] == "token-3"


def test_refusal_learnt_from_the_store_holds_when_the_store_is_gone(
    kind: Kind, platform: Platform, directory: Path
) -> None:
    platform.logins = [login_refusal()]
    with pytest.raises(M2mLoginError):
        kind.get(process(kind, platform, FileTokenStore(directory)), API, platform)
    others = [process(kind, platform, FileTokenStore(directory)) for _ in range(3)]
    for gone in (False, True):
        if gone:
            shutil.rmtree(directory)
            directory.write_text("in the way")
        for other in others:
            with pytest.raises(M2mLoginError) as caught:
                kind.get(other, API, platform)
            assert caught.value.status_code == 400
    assert len(platform.login_calls) == 1


def test_unknown_outcomes_of_a_clock_that_was_ahead_do_not_count_for_ever(
    kind: Kind, platform: Platform, make_store: MakeStore, clock: VirtualClock
) -> None:
    clock.wall += 20 * 365 * 86400
    platform.logins = [Answer(500)] * 2
    with pytest.raises(M2mLoginError):
        kind.get(process(kind, platform, make_store()), API, platform)
    clock.wall -= 20 * 365 * 86400
    assert kind.get(process(kind, platform, make_store()), API, platform).status == 200


# A session in hand.


def test_session_in_hand_is_stored_again_where_its_entry_is_lost(
    kind: Kind, platform: Platform, directory: Path, clock: VirtualClock
) -> None:
    auth = process(kind, platform, FileTokenStore(directory))
    kind.get(auth, API, platform)
    for entry in directory.glob("*.json"):
        entry.unlink()
    for _ in range(3):
        clock.advance(61)
        kind.get(auth, API, platform)
    kind.get(process(kind, platform, FileTokenStore(directory)), API, platform)
    assert platform.sessions == ["session-1"] * 5


def test_session_in_hand_survives_a_long_outage_of_the_store(
    kind: Kind, platform: Platform, directory: Path, clock: VirtualClock
) -> None:
    store = FileTokenStore(directory)
    auth = process(kind, platform, store)
    kind.get(auth, API, platform)
    directory.rename(directory.with_suffix(".away"))
    directory.write_text("in the way")
    for _ in range(50):
        clock.advance(30)
        assert kind.get(auth, API, platform).status == 200
    directory.unlink()
    directory.with_suffix(".away").rename(directory)
    store._shunned_until = 0.0
    clock.advance(61)
    kind.get(auth, API, platform)
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
    make_store: MakeStore,
    clock: VirtualClock,
    idle_timeout: float,
    pause: float,
) -> None:
    store = make_store()
    m2m = VzM2mCredentials("user", PASSWORD, vz_m2m_token_provider=store, idle_timeout=idle_timeout)
    auth = process(kind, platform, store, m2m=m2m)
    for _ in range(40):
        kind.get(auth, API, platform)
        clock.advance(pause)
    assert len(platform.login_calls) == 1


def test_process_that_logged_in_without_the_store_comes_back_to_it(
    kind: Kind, platform: Platform, directory: Path, clock: VirtualClock
) -> None:
    store = FileTokenStore(directory)
    store._shunned_until = math.inf
    lonely = process(kind, platform, store)
    kind.get(lonely, API, platform)
    kind.get(process(kind, platform, FileTokenStore(directory)), API, platform)
    store._shunned_until = 0.0
    clock.advance(61)
    kind.get(lonely, API, platform)
    assert platform.sessions == ["session-1", "session-2", "session-2"]


def test_session_that_is_used_is_not_idle_while_its_provider_fails(
    kind: Kind, platform: Platform, directory: Path, clock: VirtualClock
) -> None:
    auth = process(kind, platform, FileTokenStore(directory))
    kind.get(auth, API, platform)
    directory.chmod(0o755)
    for _ in range(50):
        clock.advance(30)
        assert kind.get(auth, API, platform).status == 200
    assert len(platform.login_calls) == 1


# Tenants, and what is stored.

TENANTS: list[dict[str, Any]] = [
    {"oauth_client_id": "another"},
    {"oauth_client_secret": "another"},
    {"oauth_scopes": ["read"]},
    {"base_url": "https://staging.thingspace.verizon.com"},
]


@pytest.mark.parametrize("other", TENANTS, ids=lambda other: next(iter(other)))
def test_tenants_never_get_each_others_token_or_session(
    kind: Kind, platform: Platform, make_store: MakeStore, other: dict[str, Any]
) -> None:
    for options in ({}, other):
        kind.get(process(kind, platform, make_store(), **options), API, platform)
    assert platform.bearers == ["token-1", "token-2"]
    assert platform.sessions == ["session-1", "session-2"]


@pytest.mark.parametrize("account", [("other", PASSWORD), ("user", "other")])
def test_accounts_never_get_each_others_session(
    kind: Kind, platform: Platform, make_store: MakeStore, account: tuple[str, str]
) -> None:
    kind.get(process(kind, platform, make_store()), API, platform)
    store = make_store()
    m2m = VzM2mCredentials(*account, vz_m2m_token_provider=store)
    kind.get(process(kind, platform, store, m2m=m2m), API, platform)
    assert platform.bearers == ["token-1"] * 2
    assert platform.sessions == ["session-1", "session-2"]


def test_order_of_scopes_does_not_matter(
    kind: Kind, platform: Platform, make_store: MakeStore
) -> None:
    for scopes in (["read", "write"], ["write", "read"]):
        auth = process(kind, platform, make_store(), m2m=None, oauth_scopes=scopes)
        kind.get(auth, API, platform)
    assert len(platform.token_calls) == 1


def test_nothing_stored_holds_secret_password_or_user_name(
    kind: Kind, platform: Platform, directory: Path
) -> None:
    kind.get(process(kind, platform, FileTokenStore(directory)), API, platform)
    entries = sorted(directory.glob("*.json"))
    assert len(entries) == 2
    for entry in entries:
        json.loads(entry.read_text())
        shown = entry.name + entry.read_text()
        for secret in (IDENTITY["oauth_client_secret"], IDENTITY["oauth_client_id"], PASSWORD):
            assert secret not in shown


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
def test_files_are_for_the_user_alone(kind: Kind, platform: Platform, directory: Path) -> None:
    previous = os.umask(0)
    try:
        kind.get(process(kind, platform, FileTokenStore(directory)), API, platform)
    finally:
        os.umask(previous)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    for file in directory.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


# What a file store refuses.


def entry_of(directory: Path) -> Path:
    (entry,) = directory.glob("*.json")
    return entry


@pytest.fixture
def stored(kind: Kind, platform: Platform, directory: Path) -> Path:
    """The entry of a token that another process stored."""
    kind.get(process(kind, platform, FileTokenStore(directory), m2m=None), API, platform)
    return entry_of(directory)


def refused(kind: Kind, platform: Platform, directory: Path) -> str:
    auth = process(kind, platform, FileTokenStore(directory), m2m=None)
    with pytest.raises(InsecureStoreError) as caught:
        kind.get(auth, API, platform)
    assert len(platform.token_calls) == 1
    return str(caught.value)


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610])
def test_wider_permissions_are_refused(
    kind: Kind, platform: Platform, directory: Path, stored: Path, mode: int
) -> None:
    stored.chmod(mode)
    assert f"{stored} can be reached by other users: chmod 600" in refused(
        kind, platform, directory
    )


@pytest.mark.skipif(os.name != "posix", reason="owners are POSIX's")
def test_foreign_owner_is_refused(
    kind: Kind, platform: Platform, directory: Path, stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: stored.stat().st_uid + 1)
    assert "belongs to another user" in refused(kind, platform, directory)


@pytest.mark.skipif(os.name != "posix", reason="links are POSIX's")
def test_symbolic_link_is_refused(
    kind: Kind, platform: Platform, directory: Path, stored: Path, tmp_path: Path
) -> None:
    stored.rename(tmp_path / "elsewhere")
    stored.symlink_to(tmp_path / "elsewhere")
    assert "symbolic link" in refused(kind, platform, directory)


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
def test_directory_of_others_is_refused(
    kind: Kind, platform: Platform, directory: Path, stored: Path
) -> None:
    directory.chmod(0o755)
    for is_stored in (True, False):
        if not is_stored:
            stored.unlink()
        auth = process(kind, platform, FileTokenStore(directory), m2m=None)
        with pytest.raises(InsecureStoreError, match="chmod 700"):
            kind.get(auth, API, platform)


@pytest.mark.skipif(os.name != "posix", reason="links are POSIX's")
def test_link_to_a_directory_is_refused(
    kind: Kind, platform: Platform, directory: Path, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    directory.symlink_to(tmp_path / "elsewhere")
    auth = process(kind, platform, FileTokenStore(directory), m2m=None)
    with pytest.raises(InsecureStoreError, match="symbolic link"):
        kind.get(auth, API, platform)


@pytest.mark.skipif(os.name != "posix", reason="links are POSIX's")
def test_link_in_the_place_of_what_is_written_is_not_followed(
    kind: Kind, platform: Platform, directory: Path, stored: Path, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    stored.unlink()
    stored.with_suffix(".new").symlink_to(victim)
    auth = process(kind, platform, FileTokenStore(directory), m2m=None)
    assert kind.get(auth, API, platform).status == 200
    assert victim.read_text() == "untouched"


def test_where_there_are_no_owners_none_is_asked_for(
    kind: Kind, platform: Platform, directory: Path, stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_module, "_HAS_OWNERS", False)
    stored.chmod(0o644)
    auth = process(kind, platform, FileTokenStore(directory), m2m=None)
    assert kind.get(auth, API, platform).status == 200
    assert len(platform.token_calls) == 1


# What is corrupt, or out of reach.

CORRUPT = [
    b"",
    b"{",
    b"[]",
    b'{"token": null, "renewed_at": 1}',
    b'{"token": {"access_token": "a\\nb", "token_type": "Bearer"}, "renewed_at": 1}',
    b'{"token": {"access_token": "a", "token_type": "Bearer"}}',
    b'{"token": {"access_token": "a", "token_type": "Bearer"}, "renewed_at": null}',
    b'{"token": ["a"], "renewed_at": 1}',
    b"\x80\x04K\x01.",
]


@pytest.mark.parametrize("content", CORRUPT)
def test_corrupt_entry_is_replaced_with_a_warning(
    kind: Kind, platform: Platform, directory: Path, content: bytes, caplog: Any
) -> None:
    for _ in range(2):
        kind.get(process(kind, platform, FileTokenStore(directory), m2m=None), API, platform)
        entry = entry_of(directory)
        if not caplog.text:
            entry.write_bytes(content)
    assert len(platform.token_calls) == 2
    assert "corrupt" in caplog.text
    TokenRecord.from_json(entry.read_bytes())


@pytest.mark.parametrize(
    "fields",
    [
        {"session_token": 7},
        {"session_token": "a b"},
        {"used_at": "soon"},
        {"used_at": None},
        {"unknowns": [1]},
        {"refusal": {"status_code": "400", "error_code": None, "error_message": None}},
        {"refusal": {"status_code": 400, "error_code": 7, "error_message": None}},
        {"refusal": {"status_code": 400}},
        {"refusal": 400},
    ],
)
def test_session_entries_are_checked(fields: dict[str, Any]) -> None:
    good = json.loads(SessionRecord("session", 1.0).to_json())
    assert SessionRecord.from_json(json.dumps(good).encode()) == SessionRecord("session", 1.0)
    with pytest.raises(CorruptRecord):
        SessionRecord.from_json(json.dumps({**good, **fields}).encode())


def test_records_show_no_token() -> None:
    token = {"access_token": "hidden", "token_type": "Bearer"}
    content = json.dumps({"token": token, "renewed_at": 1}).encode()
    assert "hidden" not in repr(TokenRecord.from_json(content)) + repr(SessionRecord("hidden"))


UNREACHABLE = Path("/proc/nowhere/store")


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs a directory nobody can write to")
def test_file_store_that_cannot_be_reached_never_stops_a_request(
    kind: Kind, platform: Platform, caplog: pytest.LogCaptureFixture, clock: VirtualClock
) -> None:
    auth = process(kind, platform, FileTokenStore(UNREACHABLE))
    for _ in range(3):
        assert kind.get(auth, API, platform).status == 200
        clock.advance(100)
    assert platform.sessions == ["session-1"] * 3
    assert len(platform.token_calls) == 1
    assert caplog.text.count("cannot be reached") >= 1
    assert "going on without it" in caplog.text


def test_file_in_the_place_of_the_directory_never_stops_a_request(
    kind: Kind, platform: Platform, directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory.write_text("in the way")
    auth = process(kind, platform, FileTokenStore(directory))
    assert kind.get(auth, API, platform).status == 200
    assert "cannot be reached" in caplog.text


def test_full_disk_never_stops_a_request(
    kind: Kind,
    platform: Platform,
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    auth = process(kind, platform, FileTokenStore(directory))
    for _ in range(3):
        assert kind.get(auth, API, platform).status == 200
    assert platform.trail == ["token", "login", "api", "api", "api"]
    assert "No space left on device" in caplog.text


def test_no_home_directory_never_stops_a_request(
    kind: Kind,
    platform: Platform,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(file_module, "_default_path", lambda: Path("~/.cache/thingspace-auth"))
    auth = process(kind, platform, FileTokenStore())
    assert kind.get(auth, API, platform).status == 200
    assert "there is no home directory" in caplog.text
    assert not Path("~").exists()


def test_default_directory_is_in_the_users_cache() -> None:
    path = FileTokenStore().path
    assert path.is_absolute()
    assert path.name == "thingspace-auth"


def test_store_that_failed_is_left_alone_for_a_minute(
    kind: Kind, platform: Platform, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    class Broken(FileTokenStore):
        def read(self, name: str) -> bytes | None:
            asked.append(name)
            raise StoreUnavailable("broken")

    store = Broken(directory)
    now = [1000.0]
    monkeypatch.setattr("thingspace_auth_adapters.stores.store.time.monotonic", lambda: now[0])
    auth = process(kind, platform, store, m2m=None)
    for step in (0, 59, 1):
        now[0] += step
        auth.oauth_token = None
        assert kind.get(auth, API, platform).status == 200
    assert len(asked) == 2
    assert platform.bearers == ["token-1", "token-2", "token-3"]


def test_locked_out_process_goes_on_without_the_store(
    kind: Kind,
    platform: Platform,
    directory: Path,
    stored: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    from filelock import FileLock

    monkeypatch.setattr(file_module, "LOCK_PATIENCE_SECONDS", 0.05)
    stored.unlink()
    with FileLock(stored.with_suffix(".lock")):
        auth = process(kind, platform, FileTokenStore(directory), m2m=None)
        assert kind.get(auth, API, platform).status == 200
    assert "locked by another process" in caplog.text


def test_redis_that_cannot_be_reached_never_stops_a_request(
    kind: Kind, platform: Platform, caplog: pytest.LogCaptureFixture, clock: VirtualClock
) -> None:
    pytest.importorskip("redis")
    auth = process(kind, platform, stores.RedisTokenStore("unix:///nowhere/redis.socket"))
    for _ in range(3):
        assert kind.get(auth, API, platform).status == 200
        clock.advance(100)
    assert platform.sessions == ["session-1"] * 3
    assert "cannot be reached" in caplog.text


def test_redis_that_hangs_is_asked_once_a_minute(
    sync_kind: Kind, platform: Platform, clock: VirtualClock
) -> None:
    import socket

    pytest.importorskip("redis")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)
        url = f"redis://127.0.0.1:{server.getsockname()[1]}/0"
        auth = process(sync_kind, platform, stores.RedisTokenStore(url))
        for _ in range(3):
            auth.oauth_token = None
            assert sync_kind.get(auth, API, platform).status == 200
            clock.advance(1200)
        connections = []
        with pytest.raises(socket.timeout):
            while True:
                connections.append(server.accept()[0])
        assert len(connections) == 1
        connections[0].close()


def test_session_that_lives_is_used_although_another_login_was_refused(
    kind: Kind, platform: Platform, make_store: MakeStore, clock: VirtualClock
) -> None:
    auth = process(kind, platform, make_store())
    kind.get(auth, API, platform)
    platform.logins = [login_refusal()]
    with pytest.raises(M2mLoginError):
        kind.fetch_session(auth)
    clock.advance(61)
    assert kind.get(auth, API, platform).status == 200
    assert platform.sessions == ["session-1"] * 2


def test_session_lives_on_while_the_store_cannot_be_reached(
    kind: Kind, platform: Platform, directory: Path, clock: VirtualClock
) -> None:
    class Failing(FileTokenStore):
        is_down = False

        def read(self, name: str) -> bytes | None:
            if self.is_down:
                raise StoreUnavailable("down")
            return super().read(name)

    store = Failing(directory)
    auth = process(kind, platform, store)
    kind.get(auth, API, platform)
    store.is_down = True
    for _ in range(3):
        clock.advance(61)
        assert kind.get(auth, API, platform).status == 200
    assert platform.trail == ["token", "login", "api", "api", "api", "api"]


def test_what_another_process_renewed_while_the_lock_was_waited_for_is_used(
    kind: Kind, platform: Platform, directory: Path, clock: VirtualClock
) -> None:
    class Overtaken(FileTokenStore):
        def locked(self, name: str) -> Any:
            while overtakers:
                kind.get(overtakers.pop(), API, platform)
            return super().locked(name)

    overtakers = [process(kind, platform, FileTokenStore(directory))]
    auth = process(kind, platform, Overtaken(directory))
    assert kind.get(auth, API, platform).status == 200
    overtakers = [process(kind, platform, FileTokenStore(directory))]
    clock.advance(1200)
    m2m = VzM2mCredentials("user", PASSWORD, vz_m2m_token_provider=Overtaken(directory))
    assert kind.get(process(kind, platform, None, m2m=m2m), API, platform).status == 200
    assert len(platform.login_calls) == 2


def test_redis_lock_is_kept_while_it_is_needed_and_its_loss_is_survived(
    redis_server: RedisServer, directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from thingspace_auth_adapters.stores import redis as redis_module

    from .real import eventually

    store = stores.RedisTokenStore(redis_server.client(), prefix=f"{directory}:")
    client = redis_server.client()
    key = f"{directory}:entry:lock"
    with store.locked("entry"):
        client.pexpire(key, 1500)
        eventually(lambda: client.pttl(key) > 1500)
    assert client.get(key) is None
    with store.locked("entry"):
        client.delete(key)
    assert "the lock of the store was lost" in caplog.text
    with store.locked("entry"):
        client.set(key, "somebody else's")
        eventually(lambda: not lock_threads())
    assert redis_module.LOCK_SECONDS <= 4
    client.delete(key)


def lock_threads() -> list[Any]:
    import threading

    return [thread for thread in threading.enumerate() if thread.name == "thingspace-auth-lock"]


def test_redis_lock_is_kept_although_redis_does_not_answer_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    redis = pytest.importorskip("redis")
    from thingspace_auth_adapters.stores import redis as redis_module

    from .real import eventually

    answers: list[Exception | None] = [redis.ConnectionError(), None, redis.exceptions.LockError()]
    asked: list[Any] = []

    class Lock:
        def reacquire(self) -> None:
            asked.append(answers[len(asked)])
            if asked[-1] is not None:
                raise asked[-1]

    monkeypatch.setattr(redis_module, "LOCK_SECONDS", 0.04)
    redis_module._kept_alive(Lock())
    eventually(lambda: not lock_threads())
    assert asked == answers


def test_redis_lock_of_another_is_waited_for_no_longer_than_patience(
    redis_server: RedisServer, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from thingspace_auth_adapters.stores import redis as redis_module

    monkeypatch.setattr(redis_module, "LOCK_PATIENCE_SECONDS", 0.05)
    store = stores.RedisTokenStore(redis_server.url, prefix=f"{directory}:")
    with store.locked("x"), pytest.raises(StoreUnavailable, match="locked"):
        with store.locked("x"):
            raise AssertionError("locked twice")


def test_redis_may_decode_its_answers(
    kind: Kind, platform: Platform, redis_server: RedisServer, directory: Path
) -> None:
    redis = pytest.importorskip("redis")
    client = redis.Redis.from_url(redis_server.url, decode_responses=True)
    for _ in range(2):
        store = stores.RedisTokenStore(client, prefix=f"{directory}:")
        kind.get(process(kind, platform, store), API, platform)
    assert len(platform.token_calls) == 1


@pytest.mark.parametrize("argument", [None, 7, object()])
def test_redis_store_wants_a_client_or_a_url(argument: Any) -> None:
    pytest.importorskip("redis")
    with pytest.raises(TypeError, match="client_or_url"):
        stores.RedisTokenStore(argument)
    with pytest.raises(ValueError, match="Redis URL"):
        stores.RedisTokenStore("nowhere")
    with pytest.raises(ValueError, match="Redis URL") as caught:
        stores.RedisTokenStore("redis://:hidden/word@host:6379/0")
    shown = repr(caught.value) + repr(caught.value.__cause__) + repr(caught.value.__context__)
    assert "hidden" not in shown
    with pytest.raises(TypeError, match="prefix"):
        stores.RedisTokenStore("redis://localhost", prefix=argument)


def test_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"thingspace-auth-adapters\[files\]"):
        FileTokenStore()
    monkeypatch.setitem(sys.modules, "redis", None)
    monkeypatch.delitem(sys.modules, "thingspace_auth_adapters.stores.redis", raising=False)
    with pytest.raises(ImportError, match=r"thingspace-auth-adapters\[redis\]"):
        stores.RedisTokenStore  # noqa: B018
    with pytest.raises(AttributeError, match="no attribute 'Other'"):
        stores.Other  # noqa: B018


def test_no_soft_lock_is_fallen_back_to(
    kind: Kind, platform: Platform, directory: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    """It would outlive a process that was killed."""
    fcntl = pytest.importorskip("fcntl")

    def unsupported(*args: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    monkeypatch.setattr(file_module, "LOCK_PATIENCE_SECONDS", 0.2)
    auth = process(kind, platform, FileTokenStore(directory), m2m=None)
    assert kind.get(auth, API, platform).status == 200
    assert "going on without it" in caplog.text


def test_path_with_a_null_character_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="null character"):
        FileTokenStore("a\0b")


def test_redis_store_of_a_url_pickles(
    kind: Kind, platform: Platform, redis_server: RedisServer, directory: Path
) -> None:
    store = stores.RedisTokenStore(redis_server.url, prefix=f"{directory}:")
    store._shunned_until = math.inf
    for twin in (pickle.loads(pickle.dumps(store)), copy.deepcopy(store)):
        assert not twin.is_shunned
        kind.get(process(kind, platform, twin, m2m=None), API, platform)
    assert len(platform.token_calls) == 1


def test_redis_answer_that_is_no_text_stops_no_request(
    kind: Kind, platform: Platform, redis_server: RedisServer, directory: Path
) -> None:
    redis = pytest.importorskip("redis")
    prefix = f"{directory}:"
    kind.get(
        process(kind, platform, stores.RedisTokenStore(redis_server.url, prefix), m2m=None),
        API,
        platform,
    )
    (key,) = redis_server.client().keys(prefix + "*")
    redis_server.client().set(key, b"\xff\xfe")
    client = redis.Redis.from_url(redis_server.url, decode_responses=True)
    auth = process(kind, platform, stores.RedisTokenStore(client, prefix), m2m=None)
    assert kind.get(auth, API, platform).status == 200


def test_file_store_pickles_and_shows_its_directory(directory: Path) -> None:
    store = pickle.loads(pickle.dumps(FileTokenStore(directory)))
    assert store.path == directory
    assert repr(store) == f"FileTokenStore({str(directory)!r})"


def test_store_called_by_hand_provides_by_what_is_last(
    sync_kind: Kind, platform: Platform, make_store: MakeStore
) -> None:
    store = make_store()
    auth = process(sync_kind, platform, store)
    assert store(None, auth).access_token == "token-1"
    assert store("any session", auth) == "session-1"
