"""Part 3, rule 3: entries are kept apart, tell nothing, and are replaced if they are corrupt."""

from __future__ import annotations

import json
from typing import Any, Callable

import pytest

from ..support.kinds import IDENTITY, PASSWORD, Kind
from ..support.virtual import LOGIN_PATH, START, Answer, Call, Platform, VirtualClock
from .conftest import Disk, Processes, account, names_of

Told = Callable[[], list[str]]

TENANTS: dict[str, dict[str, Any]] = {
    "key": {"oauth_client_id": "another"},
    "secret": {"oauth_client_secret": "another"},
    "base URL": {
        "base_url": "https://staging.thingspace.verizon.com",
        "allowed_hosts": ["*.verizon.com", "thingspace.verizon.com"],
    },
    "user name": {"m2m": account("other", PASSWORD)},
    "password": {"m2m": account("user", "other")},
}


@pytest.mark.parametrize("differs", list(TENANTS))
def test_tenants_and_accounts_never_get_each_others_token_or_session(
    processes: Processes, differs: str
) -> None:
    for _ in range(2):
        for options in ({}, TENANTS[differs]):
            processes.get(processes.new(**options))
    # One application may have two accounts.
    second = "token-1" if "m2m" in TENANTS[differs] else "token-2"
    assert processes.platform.bearers == ["token-1", second] * 2
    assert processes.platform.sessions == ["session-1", "session-2"] * 2


def test_scopes_have_tokens_of_their_own_whatever_their_order(processes: Processes) -> None:
    for scopes in (["read", "write"], ["write", "read"], ["read"], None):
        processes.get(processes.new(oauth_scopes=scopes))
    assert processes.platform.bearers == ["token-1", "token-1", "token-2", "token-3"]
    assert processes.platform.sessions == ["session-1"] * 4


def test_account_that_is_assigned_has_its_own_session_in_the_store(processes: Processes) -> None:
    auth = processes.new()
    for m2m in (account(), account("bob"), account()):
        auth.m2m = m2m
        processes.get(auth)
    assert processes.platform.sessions == ["session-1", "session-2", "session-1"]


class Named(Platform):
    """Each session bears the name of whose it is."""

    on_login: Callable[[], object] = bool

    def handle(self, call: Call) -> Answer:
        if call.path == LOGIN_PATH:
            self.on_login()
        answer = super().handle(call)
        if call.path == LOGIN_PATH:
            return Answer(200, {"sessionToken": f"of-{json.loads(call.body)['username']}"})
        return answer


@pytest.mark.parametrize("moment", ["lock", "login"])
def test_account_that_is_assigned_while_another_logs_in_is_not_taken_for_it(
    on_disk: Processes, moment: str
) -> None:
    platform = on_disk.platform = Named()
    auth = on_disk.new(m2m=account("alice"))
    lock = names_of(auth)["logins"]
    assigned: list[bool] = []

    def assign() -> None:
        if not assigned:
            assigned.append(True)
            auth.m2m = account("bob")

    if moment == "lock":
        on_disk.disk.on_lock = lambda name: assign() if name == lock else None
    else:
        platform.on_login = assign
    assert on_disk.get(auth) == 200
    assert assigned
    for name in ("alice", "bob", "alice"):
        assert on_disk.get(on_disk.new(m2m=account(name))) == 200
        assert platform.sessions[-1] == f"of-{name}"
    on_disk.get(auth)
    assert platform.sessions[-1] == "of-bob"
    users = [json.loads(call.body)["username"] for call in platform.login_calls]
    assert users == ["alice", "bob"]


def test_names_and_contents_tell_neither_secret_nor_password_nor_who_it_is(
    on_disk: Processes,
) -> None:
    on_disk.get(on_disk.new(m2m=account("the-user-name")))
    assert len(on_disk.disk.entries) == 3
    for name, content in on_disk.disk.entries.items():
        assert len(name) == 64
        assert set(name) <= set("0123456789abcdef")
        json.loads(content)
        shown = name + content.decode("ascii")
        for secret in (*IDENTITY.values(), PASSWORD, "the-user-name"):
            assert secret not in shown


# What is not ours, or no token, is replaced with a warning. All that may be wrong with an entry is
# in tests/mechanisms/test_core_records.py.

DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda content: content[:-5],
    "changed": lambda content: content.replace(b"-1", b"-9"),
}


@pytest.mark.parametrize("which", ["token", "session"])
@pytest.mark.parametrize("damage", list(DAMAGES))
def test_corrupt_entry_is_replaced_with_a_warning(
    on_disk: Processes, told: Told, damage: str, which: str
) -> None:
    auth = on_disk.new()
    on_disk.get(auth)
    name = names_of(auth)[which]
    on_disk.disk.entries[name] = DAMAGES[damage](on_disk.disk.entries[name])
    on_disk.get(on_disk.new())
    texts = told()
    assert sum("corrupt" in text for text in texts) == 1
    assert "token-1" not in "".join(texts)
    on_disk.get(on_disk.new())
    assert told() == texts
    carried = on_disk.platform.bearers if which == "token" else on_disk.platform.sessions
    assert carried[1:] == [f"{which}-2"] * 2


def test_corrupt_count_of_logins_is_replaced_with_a_warning(on_disk: Processes, told: Told) -> None:
    auth = on_disk.new()
    on_disk.disk.entries[names_of(auth)["logins"]] = b"{"
    assert on_disk.get(auth) == 200
    assert any("corrupt" in text for text in told())
    json.loads(on_disk.disk.entries[names_of(auth)["logins"]])


def token(**fields: Any) -> tuple[str, dict[str, Any]]:
    return "token", {"token": {"access_token": "a"}, "arrived_at": START, **fields}


def session(**fields: Any) -> tuple[str, dict[str, Any]]:
    return "session", {"session_token": "a", "used_at": START, "trusted_until": START, **fields}


ODD: dict[str, tuple[str, dict[str, Any]]] = {
    "no token": ("token", {"arrived_at": START}),
    "null token": token(token=None),
    "token that is no object": token(token=["a"]),
    "token with a line break": token(token={"access_token": "a\nb"}),
    "token of another type": token(token={"access_token": "a", "token_type": "mac"}),
    "arrival that is no number": token(arrived_at="soon"),
    "no arrival": ("token", {"token": {"access_token": "a"}}),
    "null arrival": token(arrived_at=None),
    "no session": ("session", {"used_at": START}),
    "null session": session(session_token=None),
    "session that is a number": session(session_token=7),
    "session with a blank": session(session_token="a b"),
    "use that is no number": session(used_at="soon"),
    "null use": session(used_at=None),
    "null trust": session(trusted_until=None),
    "no trust": ("session", {"session_token": "a", "used_at": START}),
}


@pytest.mark.parametrize("name", list(ODD))
def test_sealed_entry_that_is_no_token_or_session_is_replaced_with_a_warning(
    sync_kind: Kind, platform: Platform, disk: Disk, clock: VirtualClock, told: Told, name: str
) -> None:
    processes = Processes(sync_kind, platform, disk, clock)
    which, fields = ODD[name]
    auth = processes.new()
    tokens = auth._tokens.bearers if which == "token" else auth._tokens.sessions
    tokens.source.entry.write(fields)
    processes.get(auth)
    assert sum("corrupt" in text for text in told()) == 1
    processes.get(processes.new())
    assert platform.bearers == ["token-1"] * 2
    assert platform.sessions == ["session-1"] * 2
