"""Part 3, rule 1: processes that share a store share one token and one session."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any, Callable

import pytest

from thingspace_auth_adapters import M2mLoginError

from ..support.kinds import Kind
from ..support.store_kinds import file_kind
from ..support.virtual import (
    API,
    LOGIN_PATH,
    START,
    Answer,
    Call,
    Platform,
    login_refusal,
    refusal,
    session_refusal,
    token_answer,
)
from .conftest import Processes, account, names_of


def test_processes_share_one_token_and_one_session(processes: Processes) -> None:
    store = processes.make_store()
    # One store object may serve many auth objects.
    for options in ({}, {}, {"store": store}, {"store": store}):
        auth = processes.new(**options)
        for _ in range(2):
            assert processes.get(auth) == 200
    assert processes.platform.bearers == ["token-1"] * 8
    assert processes.platform.sessions == ["session-1"] * 8
    assert processes.platform.trail == ["token", "login", *["api"] * 8]


def test_stored_token_keeps_its_times(processes: Processes) -> None:
    first, second = processes.without_m2m(), processes.without_m2m()
    processes.get(first)
    processes.clock.advance(100)
    processes.get(second)
    assert second.oauth_token == first.oauth_token
    assert second.oauth_token.expiry == START + 3600
    assert second.oauth_token.scope == "ts.application.ro ts.mec.fullaccess"


def test_what_the_store_costs(on_disk: Processes) -> None:
    auth = on_disk.new()
    on_disk.get(auth)
    on_disk.disk.events.clear()
    for _ in range(5):
        on_disk.get(auth)
    # Nothing is read or locked while the token is fresh.
    assert on_disk.disk.events == []
    on_disk.get(on_disk.new())
    # Who finds a token takes no lock and writes nothing.
    assert {verb for verb, _ in on_disk.disk.events} == {"read"}


@pytest.mark.parametrize("loss", ["expiry", "rejected token", "ended session"])
def test_what_is_lost_is_renewed_once_for_all(processes: Processes, loss: str) -> None:
    m2m = account() if loss == "ended session" else None
    auths = [processes.new(m2m=m2m) for _ in range(3)]
    for auth in auths:
        processes.get(auth)
    if loss == "expiry":
        processes.clock.advance(3600)
    for auth in auths:
        processes.platform.api = {
            "expiry": [],
            "rejected token": [refusal()],
            "ended session": [session_refusal()],
        }[loss]
        assert processes.get(auth) == 200
    renewed = processes.platform.login_calls if m2m else processes.platform.token_calls
    assert len(renewed) == 2


def test_what_was_revoked_or_logged_out_is_not_taken_from_the_store_again(
    processes: Processes,
) -> None:
    auth = processes.new()
    processes.get(auth)
    processes.kind.revoke_token(auth)
    processes.get(auth)
    processes.kind.end_session(auth)
    processes.get(auth)
    processes.get(processes.new())
    assert processes.platform.bearers == ["token-1", *["token-2"] * 3]
    assert processes.platform.sessions == ["session-1"] * 2 + ["session-2"] * 2


@pytest.mark.parametrize(("rejections", "is_taken"), [(1, False), (8, False), (9, True)])
def test_last_eight_rejected_tokens_are_not_taken_from_the_store_again(
    on_disk: Processes, rejections: int, is_taken: bool
) -> None:
    auth = on_disk.without_m2m()
    on_disk.get(auth)
    first = dict(on_disk.disk.entries)
    for number in range(1, rejections + 1):
        if number == rejections:
            on_disk.disk.entries = dict(first)
        on_disk.platform.api = [refusal()]
        assert on_disk.get(auth) == 200
    assert on_disk.platform.bearers[-1] == ("token-1" if is_taken else f"token-{rejections + 1}")


def test_token_that_the_platform_repeats_is_asked_for_once_by_all(processes: Processes) -> None:
    """With a skew, on a platform that repeats a token until it expires."""
    processes.platform.tokens = [token_answer("same", 3600), token_answer("same", 50)]
    auths = [processes.without_m2m(oauth_clock_skew=60) for _ in range(3)]
    for auth in auths:
        processes.get(auth)
    processes.clock.advance(3550)
    for _ in range(3):
        for auth in auths:
            assert processes.get(auth) == 200
    newcomer = processes.without_m2m(oauth_clock_skew=60)
    processes.get(newcomer)
    assert len(processes.platform.token_calls) == 2
    processes.clock.advance(50)
    for auth in [*auths, newcomer]:
        assert processes.get(auth) == 200
    assert len(processes.platform.token_calls) == 3


def test_rejected_token_that_the_platform_repeats_is_not_asked_for_by_each_request(
    processes: Processes,
) -> None:
    processes.platform.tokens = [token_answer("same"), token_answer("same")]
    auth = processes.without_m2m()
    for _ in range(3):
        processes.platform.api = [refusal()]
        assert processes.get(auth) == 401
    assert len(processes.platform.token_calls) == 2


def test_token_without_an_expiry_is_shared(processes: Processes) -> None:
    processes.platform.tokens = [Answer(200, {"access_token": "eternal"})]
    for _ in range(2):
        processes.get(processes.without_m2m())
        processes.clock.advance(10**8)
    assert processes.platform.bearers == ["eternal"] * 2


def test_failure_of_the_endpoint_stores_nothing(on_disk: Processes) -> None:
    on_disk.platform.tokens = [Answer(401, {"error": "invalid_client"})]
    auth = on_disk.without_m2m()
    with pytest.raises(on_disk.kind.request_error):
        on_disk.get(auth)
    assert on_disk.disk.entries == {}
    assert on_disk.disk.held == []
    assert on_disk.get(auth) == 200


@pytest.mark.parametrize("m2m", [None, account()], ids=["token", "session"])
def test_what_another_process_renewed_while_the_lock_was_waited_for_is_used(
    on_disk: Processes, m2m: Any
) -> None:
    overtakers: list[Any] = []

    def overtake(name: str) -> None:
        while overtakers:
            assert on_disk.get(overtakers.pop()) == 200

    on_disk.disk.on_lock = overtake
    late = on_disk.new(m2m=m2m)
    for times in (1, 2):
        overtakers.append(on_disk.new(m2m=m2m))
        assert on_disk.get(late) == 200
        assert overtakers == []
        assert len(on_disk.platform.token_calls) == times
        assert len(on_disk.platform.login_calls) == (0 if m2m is None else times)
        on_disk.clock.advance(3600)


def test_stale_token_of_the_store_is_used_if_it_cannot_be_renewed(processes: Processes) -> None:
    processes.get(processes.without_m2m(oauth_clock_skew=60))
    processes.clock.advance(3550)
    processes.platform.tokens = [Answer(503)] * 9
    assert processes.get(processes.without_m2m(oauth_clock_skew=60)) == 200
    assert processes.platform.bearers == ["token-1"] * 2


# The store wraps the endpoint or the provider; the update callback is told of both.


def test_provider_is_asked_once_for_all(processes: Processes) -> None:
    asked: list[Any] = []

    def provider(last: Any, manager: Any) -> Any:
        asked.append(last and last.access_token)
        return {"access_token": f"provided-{len(asked)}", "expiry": processes.clock.time() + 100}

    options = {"oauth_token_provider": processes.kind.callback(provider)}
    auths = [processes.without_m2m(**options) for _ in range(3)]
    for _ in range(2):
        for auth in auths:
            processes.get(auth)
        processes.clock.advance(100)
    assert processes.platform.bearers == ["provided-1"] * 3 + ["provided-2"] * 3
    assert asked == [None, "provided-1"]
    assert processes.platform.token_calls == []


def test_provided_token_that_was_rejected_is_fetched_once_for_all(processes: Processes) -> None:
    row = {"access_token": "row"}
    options = {"oauth_token_provider": lambda last, manager: row}
    auths = [processes.without_m2m(**options) for _ in range(3)]
    for auth in auths:
        processes.get(auth)
    for auth in auths:
        processes.platform.api = [refusal()]
        assert processes.get(auth) == 200
    assert processes.platform.bearers[-1] == "token-1"
    assert len(processes.platform.token_calls) == 1


def test_error_of_a_provider_reaches_the_caller_and_frees_the_lock(on_disk: Processes) -> None:
    def provider(last: Any, manager: Any) -> Any:
        if len(failures) < 2:
            failures.append(LookupError("no row"))
            raise failures[-1]
        return {"access_token": "row"}

    failures: list[Exception] = []
    auth = on_disk.without_m2m(oauth_token_provider=provider)
    for _ in range(2):
        with pytest.raises(LookupError, match="no row"):
            on_disk.get(auth)
        assert on_disk.disk.held == []
    on_disk.get(auth)
    assert on_disk.platform.bearers == ["row"]


def test_update_callback_is_told_of_a_token_from_the_store_and_once(processes: Processes) -> None:
    told: list[str] = []
    update = processes.kind.callback(lambda token: told.append(token.access_token))
    processes.get(processes.without_m2m())
    auth = processes.new(oauth_on_token_update=update)
    for _ in range(5):
        processes.get(auth)
        processes.clock.advance(100)
    assert told == ["token-1"]
    processes.clock.advance(3600)
    processes.get(processes.without_m2m())
    processes.get(auth)
    assert told == ["token-1", "token-2"]
    assert len(processes.platform.token_calls) == 2


def test_no_lock_is_held_while_the_update_callback_runs(on_disk: Processes) -> None:
    held: list[list[str]] = []
    update = on_disk.kind.callback(lambda token: held.append(list(on_disk.disk.held)))
    auth = on_disk.new(oauth_on_token_update=update)
    on_disk.get(auth)
    on_disk.platform.api = [refusal()]
    on_disk.get(auth)
    assert held == [[], []]


# What is assigned, given or fetched by hand is not shared.


def test_assigned_token_is_not_stored_and_a_forgotten_one_is_found_again(
    processes: Processes,
) -> None:
    auth = processes.without_m2m()
    processes.get(auth)
    auth.oauth_token = {"access_token": "assigned"}
    processes.get(auth)
    processes.get(processes.without_m2m())
    auth.oauth_token = None
    processes.get(auth)
    assert processes.platform.bearers == ["token-1", "assigned", "token-1", "token-1"]
    assert len(processes.platform.token_calls) == 1


def test_token_that_is_fetched_by_hand_is_not_stored(on_disk: Processes) -> None:
    auth = on_disk.without_m2m()
    assert on_disk.kind.fetch_token(auth).access_token == "token-1"
    assert on_disk.disk.entries == {}
    on_disk.get(auth)
    assert on_disk.platform.bearers == ["token-2"]


def test_login_by_hand_is_under_the_stores_lock_and_installs_nothing(on_disk: Processes) -> None:
    auth = on_disk.new()
    on_disk.get(auth)
    names = names_of(auth)
    before = on_disk.disk.entries[names["session"]]
    held: list[list[str]] = []

    def note(call: Call, answer: Any = on_disk.platform.handle) -> Answer:
        if call.path == LOGIN_PATH:
            held.append(list(on_disk.disk.held))
        return answer(call)  # type: ignore[no-any-return]

    on_disk.platform.handle = note  # type: ignore[method-assign]
    assert on_disk.kind.fetch_session(auth) == "session-2"
    assert held == [[names["logins"]]]
    assert on_disk.disk.held == []
    assert on_disk.disk.entries[names["session"]] == before
    for each in (auth, on_disk.new()):
        on_disk.get(each)
    assert on_disk.platform.sessions == ["session-1"] * 3


def test_session_that_lives_is_used_although_another_login_was_refused(
    processes: Processes,
) -> None:
    auth = processes.new()
    processes.get(auth)
    processes.platform.logins = [login_refusal()]
    with pytest.raises(M2mLoginError):
        processes.kind.fetch_session(auth)
    processes.clock.advance(61)
    assert processes.get(auth) == 200
    assert processes.platform.sessions == ["session-1"] * 2


def test_session_without_username_and_password_is_not_stored(on_disk: Processes) -> None:
    auth = on_disk.new(m2m="fixed")
    for _ in range(3):
        on_disk.get(auth)
        on_disk.clock.advance(1000)
    assert on_disk.platform.sessions == ["fixed"] * 3
    assert set(on_disk.disk.entries) == {names_of(auth)["token"]}


def test_given_session_is_used_and_is_not_stored(processes: Processes) -> None:
    """That it was used is written only if the entry holds it."""
    auth = processes.new(m2m=account(vz_m2m_token="given"))
    processes.get(auth)
    processes.clock.advance(60)
    processes.get(auth)
    processes.get(processes.new())
    assert processes.platform.sessions == ["given", "given", "session-1"]


# Copies and pickles: Part 1, rule 13.


@pytest.mark.parametrize("copying", [copy.copy, copy.deepcopy])
def test_copies_share_the_store(on_disk: Processes, copying: Callable[[Any], Any]) -> None:
    auth = on_disk.new()
    copied = copying(auth)
    for _ in range(2):
        for each in (auth, copied):
            assert on_disk.get(each) == 200
        on_disk.clock.advance(3600)
    assert (len(on_disk.platform.token_calls), len(on_disk.platform.login_calls)) == (2, 2)


def test_pickles_find_the_same_files(kind: Kind, platform: Platform, tmp_path: Path) -> None:
    store = file_kind(tmp_path)
    kind.get(kind.auth(platform, m2m=account(), store=store.make()), API, platform)
    auth = kind.auth(m2m=account(), store=store.make())
    kind.get(pickle.loads(pickle.dumps(auth)), API, platform)
    assert platform.bearers == ["token-1"] * 2
    assert platform.sessions == ["session-1"] * 2
