"""Part 2, rule 5: logins are counted by user name, at the host that they go to; and the way out."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any, Callable

import pytest

from thingspace_auth_adapters import M2mLoginError, VzM2mCredentials
from thingspace_auth_adapters._core import login_guard
from thingspace_auth_adapters.simulator import ThingspaceSimulator

from ..support.crowds import PATH
from ..support.kinds import INSTALLED, Kind
from ..support.logins import (
    HOUR,
    MINUTE,
    another_process,
    auth_at,
    blocked,
    credentials,
    fails,
    file_store,
    logs_in,
)
from ..support.memory_store import memory_store
from ..support.virtual import Answer, Platform, VirtualClock, login_refusal

FIVE = range(5)
PASSWORDS = [credentials(password=f"password-{number}") for number in FIVE]


# Who logs in to one user name, each with a password of its own unless it says otherwise: two
# logins, however many refusals the platform has in store.


def a_store_each(path: Path) -> list[dict[str, Any]]:
    return [{"store": file_store(path / str(number))} for number in FIVE]


def memory_each(path: Path) -> list[dict[str, Any]]:
    return [{"store": memory_store()} for _ in FIVE]


def every_other_with_a_store(path: Path) -> list[dict[str, Any]]:
    return [{"store": file_store(path / "store") if number % 2 else None} for number in FIVE]


def user_names(path: Path) -> list[dict[str, Any]]:
    names = ("the-user", "The-User", " the-user", "the-user\u00a0", "THE-USER")
    return [{"m2m": credentials(name, password=name)} for name in names]


def base_urls(*hosts: str) -> Callable[[Path], list[dict[str, Any]]]:
    return lambda path: [{"base_url": host} for host in hosts]


def keys(path: Path) -> list[dict[str, Any]]:
    return [
        {"oauth_client_id": f"key-{number}", "oauth_client_secret": f"secret-{number}"}
        for number in FIVE
    ]


def keys_and_one_password(path: Path) -> list[dict[str, Any]]:
    """Whose password it is that the other application was refused, none of them knows."""
    return [{**key, "m2m": PASSWORDS[0]} for key in keys(path)]


WAYS: dict[str, Callable[[Path], list[dict[str, Any]]]] = {
    "objects": lambda path: [{}] * 5,
    "stores": a_store_each,
    "stores in memory": memory_each,
    "every other with a store": every_other_with_a_store,
    "user names": user_names,
    "keys": keys,
    "keys, one password": keys_and_one_password,
    "base URLs": base_urls(
        "https://thingspace.verizon.com",
        "https://THINGSPACE.verizon.com",
        "https://thingspace.verizon.com:443",
        "https://thingspace.verizon.com/",
        "https://5gedge.verizon.com",
    ),
    "loopback": base_urls(
        "http://127.0.0.1:8000",
        "http://localhost:8000",
        "http://LocalHost:8000",
        "http://[::1]:8000",
        "http://[0:0:0:0:0:0:0:1]:8000",
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_user_name_has_one_count_in_a_process(
    kind: Kind, platform: Platform, clock: VirtualClock, way: str, tmp_path: Path
) -> None:
    platform.logins = [login_refusal()] * 9
    for m2m, options in zip(PASSWORDS, WAYS[way](tmp_path)):
        auth = kind.auth(platform, **{"m2m": m2m, **options})
        with pytest.raises(M2mLoginError):
            kind.fetch_session(auth)
    assert len(platform.login_calls) == 2


def test_user_name_has_one_count_for_all_kinds_of_clients(
    platform: Platform, clock: VirtualClock
) -> None:
    platform.logins = [login_refusal()] * 9
    for number, kind in enumerate(INSTALLED * 2):
        m2m = credentials(password=f"password-{number}")
        fails(kind, kind.auth(platform, m2m=m2m), platform)
    assert len(platform.login_calls) == 2


@pytest.mark.parametrize("way", ["objects", "user names", "keys", "keys, one password"])
def test_user_name_has_one_count_in_a_store(
    kind: Kind, platform: Platform, clock: VirtualClock, make_store: Any, way: str, tmp_path: Path
) -> None:
    platform.logins = [login_refusal()] * 9
    for m2m, options in zip(PASSWORDS, WAYS[way](tmp_path)):
        process = another_process(kind, platform, make_store(), **{"m2m": m2m, **options})
        fails(kind, process, platform)
    assert len(platform.login_calls) == 2


def test_passwords_that_are_assigned_to_one_object_count_together(
    kind: Kind, platform: Platform, auth: Any, clock: VirtualClock
) -> None:
    platform.logins = [login_refusal()] * 9
    for pause, logins in ((0, 2), (5 * MINUTE, 3), (HOUR, 4), (HOUR, 4)):
        clock.advance(pause)
        for _ in range(3):
            auth.m2m = credentials(password=f"password-{len(platform.login_calls)}")
            fails(kind, auth, platform)
        assert len(platform.login_calls) == logins


@pytest.mark.parametrize(
    "options",
    [
        {"m2m": credentials(password="another password")},
        {"m2m": credentials("another user")},
        {"base_url": "https://staging.thingspace.verizon.com"},
        {"base_url": "https://thingspace.verizon.com:8443"},
    ],
    ids=["password", "user name", "host", "port"],
)
def test_others_are_not_refused_with_it(
    kind: Kind, platform: Platform, clock: VirtualClock, any_store: Any, options: dict[str, Any]
) -> None:
    common = {"allowed_hosts": ["thingspace.verizon.com"], "store": any_store}
    auth = kind.auth(platform, m2m=credentials(), **common)
    other = kind.auth(platform, **{"m2m": credentials(), **common, **options})
    platform.logins = [login_refusal()]
    fails(kind, auth, platform)
    logs_in(kind, other, platform)
    blocked(kind, auth, platform)


def test_refused_password_stays_refused_when_another_succeeds(
    kind: Kind, platform: Platform, clock: VirtualClock, any_store: Any
) -> None:
    auth = kind.auth(platform, m2m=credentials(), store=any_store)
    platform.logins = [login_refusal()]
    fails(kind, auth, platform)
    auth.m2m = credentials()
    blocked(kind, auth, platform)
    auth.m2m = credentials(password="corrected")
    logs_in(kind, auth, platform)
    auth.m2m = credentials()
    blocked(kind, auth, platform)


def test_success_ends_the_row_for_all_of_the_process(
    kind: Kind, platform: Platform, clock: VirtualClock
) -> None:
    lonely = kind.auth(platform, m2m=credentials())
    platform.logins = [Answer(404)]
    fails(kind, lonely, platform)
    logs_in(kind, kind.auth(platform, m2m=credentials(), store=memory_store()), platform)
    platform.calls.clear()
    platform.logins = [Answer(404)] * 9
    for _ in range(3):
        fails(kind, lonely, platform)
    assert len(platform.login_calls) == 2


# The way out.


@pytest.mark.parametrize(
    "answers", [[login_refusal()], [Answer(500)] * 2, [Answer(500)] * 4], ids=["400", "2", "4"]
)
def test_allow_login_is_the_way_out_and_the_count_begins_anew(
    kind: Kind, platform: Platform, clock: VirtualClock, any_store: Any, answers: list[Answer]
) -> None:
    auth = kind.auth(platform, m2m=credentials(), store=any_store)
    for _ in range(2):
        platform.logins = list(answers)
        fails(kind, auth, platform)
        while platform.logins:
            clock.advance(HOUR + MINUTE)
            fails(kind, auth, platform)
        blocked(kind, auth, platform)
        kind.allow_login(auth)
    logs_in(kind, auth, platform)


def test_allow_login_is_for_all_objects_of_the_process(kind: Kind, platform: Platform) -> None:
    lonely = kind.auth(platform, m2m=credentials())
    platform.logins = [login_refusal()]
    fails(kind, lonely, platform)
    kind.allow_login(kind.auth(platform, m2m=credentials(), store=memory_store()))
    logs_in(kind, lonely, platform)


def test_passwords_are_not_kept() -> None:
    # One that no other test has: as a user name, a password may be in an account's key.
    m2m = VzM2mCredentials("user", "kept-nowhere")
    INSTALLED[0].auth(m2m=m2m)
    assert "kept-nowhere" not in str(vars(login_guard))


# Objects that come from elsewhere: a real platform, for they do not travel with one in memory.


@pytest.mark.usefixtures("short_pauses")
@pytest.mark.parametrize(("status", "logins"), [(500, 2), (None, 1)], ids=["500", "refused"])
def test_objects_that_are_unpickled_per_task_share_the_count(
    kind: Kind, simulator: ThingspaceSimulator, status: int | None, logins: int
) -> None:
    pickled = pickle.dumps(auth_at(simulator, kind))
    if status is None:
        simulator.password = "changed"
    else:
        simulator.fail("login", status, times=None)
    for _ in range(8):
        with pytest.raises(M2mLoginError):
            kind.get(pickle.loads(pickled), simulator.url + PATH)
    assert len(simulator.login_requests) == logins


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform cannot fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_forked_children_start_with_their_parents_count(
    sync_kind: Kind, simulator: ThingspaceSimulator
) -> None:
    wrong = {"m2m": VzM2mCredentials(simulator.username, "wrong")}
    parents = auth_at(simulator, sync_kind, **wrong)
    with pytest.raises(M2mLoginError):
        sync_kind.get(parents, simulator.url + PATH)
    for is_new in (False, True):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                auth = auth_at(simulator, sync_kind, **wrong) if is_new else parents
                sync_kind.get(auth, simulator.url + PATH)
            except M2mLoginError as error:
                status = 0 if error.status_code == 400 else 2
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
    assert len(simulator.login_requests) == 1
