"""Part 1, rule 13: clocks that jump, threads, forks in the middle of a refresh, and copies."""

from __future__ import annotations

import copy
import os
import pickle
import signal
import threading
import time
from contextlib import ExitStack
from datetime import datetime, timezone
from typing import Any, Callable

import pytest

from thingspace_auth_adapters import VzM2mCredentials
from thingspace_auth_adapters.simulator import ThingspaceSimulator

from ..support.crowds import PATH
from ..support.kinds import ADAPTER_KINDS, IDENTITY, Kind
from ..support.logins import auth_at, credentials
from ..support.memory_store import memory_store
from ..support.real import PATIENCE, Threads, eventually, options_for
from ..support.virtual import (
    API,
    BASE,
    START,
    Answer,
    Platform,
    VirtualClock,
    refusal,
    session_refusal,
)

M2M = credentials()

# The wall clock alone says how old a token is.


def test_machine_that_slept_finds_its_token_expired(
    kind: Kind, platform: Platform, clock: VirtualClock
) -> None:
    auth = kind.auth(platform)
    kind.get(auth, API, platform)
    clock.wall += 3600
    assert auth.is_token_expired()
    kind.get(auth, API, platform)
    assert platform.bearers == ["token-1", "token-2"]


def test_wall_clock_that_is_set_back_leaves_a_token_that_works(
    kind: Kind, platform: Platform, clock: VirtualClock
) -> None:
    auth = kind.auth(platform)
    kind.get(auth, API, platform)
    clock.wall -= 86400
    clock.steady += 7200
    assert not auth.is_token_expired()
    kind.get(auth, API, platform)
    assert platform.bearers == ["token-1"] * 2
    platform.api = [refusal()]
    assert kind.get(auth, API, platform).status == 200
    assert auth.oauth_token.expiry == clock.wall + 3600


def test_wall_clock_that_jumps_ahead_costs_one_token_request(
    kind: Kind, platform: Platform, clock: VirtualClock
) -> None:
    auth = kind.auth(platform, oauth_clock_skew=60)
    kind.get(auth, API, platform)
    clock.wall += 10 * 365 * 86400
    for _ in range(3):
        kind.get(auth, API, platform)
    assert platform.bearers == ["token-1", *["token-2"] * 3]


def freezegun(time_stamp: float) -> Any:
    return pytest.importorskip("freezegun").freeze_time(
        datetime.fromtimestamp(time_stamp, timezone.utc)
    )


def time_machine(time_stamp: float) -> Any:
    return pytest.importorskip("time_machine").travel(time_stamp, tick=False)


@pytest.mark.parametrize("frozen", [freezegun, time_machine])
def test_frozen_time_that_moves_forward_expires_both_tokens(
    kind: Kind, platform: Platform, frozen: Callable[[float], Any]
) -> None:
    with frozen(START):
        auth = kind.auth(platform, m2m=M2M)
        kind.get(auth, API, platform)
        kind.get(auth, API, platform)
        assert auth.oauth_token.expiry == START + 3600
        assert not auth.is_token_expired()
    with frozen(START + 7200):
        assert auth.is_token_expired()
        kind.get(auth, API, platform)
        assert auth.oauth_token.expiry == START + 7200 + 3600
    assert platform.bearers == ["token-1", "token-1", "token-2"]
    assert platform.sessions == ["session-1", "session-1", "session-2"]


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="this system's time zone cannot be set")
@pytest.mark.parametrize("zone", ["XXX+12", "XXX-14", "XXX+5YYY,J1/0,J365/0"])
def test_time_zone_may_be_anything(
    kind: Kind, platform: Platform, monkeypatch: pytest.MonkeyPatch, zone: str
) -> None:
    """And it may be another one while a token is in use. The clock is the machine's."""
    monkeypatch.setenv("TZ", zone)
    auth = kind.auth(platform)
    kind.get(auth, API, platform)
    time.tzset()
    try:
        assert abs(auth.oauth_token.expiry - time.time() - 3600) < 60
        assert not auth.is_token_expired()
        kind.get(auth, API, platform)
        assert platform.bearers == ["token-1"] * 2
    finally:
        monkeypatch.undo()
        time.tzset()


# Threads.


def test_synchronous_object_starts_no_thread(
    sync_kind: Kind, platform: Platform, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[threading.Thread] = []

    def start(thread: threading.Thread) -> None:
        started.append(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    auth = sync_kind.auth(platform, m2m=M2M, oauth_clock_skew=60, store=memory_store())
    platform.api = [Answer(200), refusal(), Answer(200), session_refusal()]
    for _ in range(3):
        assert sync_kind.get(auth, API, platform).status == 200
        clock.advance(3550)
    auth.end_m2m_session()
    auth.revoke_token()
    assert len(platform.token_calls) > 2
    assert len(platform.login_calls) > 2
    assert started == []


# Forks.


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform cannot fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("path", ["token", "login"])
def test_child_that_was_forked_in_the_middle_of_a_refresh_goes_on(
    sync_kind: Kind, path: str
) -> None:
    """Of what the parent's threads hold, locks and futures, nothing is ever released in it."""
    threads, is_held, may_end = Threads(), threading.Event(), threading.Event()
    with ThingspaceSimulator() as simulator:
        m2m = VzM2mCredentials(simulator.username, simulator.password)
        auth, url = sync_kind.auth(**options_for(simulator), m2m=m2m), simulator.url + PATH
        simulator.fail(path, "hang")
        threads.start(lambda: sync_kind.get(auth, url).status)
        requests = {"token": "token_requests", "login": "login_requests"}[path]
        eventually(lambda: getattr(simulator, requests))

        def hold() -> None:
            # Not in the thread that forks: to that one they are open, in the child as well.
            tokens = auth._tokens
            logins = tokens.session_source.guard.logins
            flights = [tokens.bearers._flight, tokens.sessions._flight, logins]
            with ExitStack() as held:
                for flight in flights:
                    held.enter_context(flight.lock)
                    if flight.refresh is not None:
                        held.enter_context(flight.refresh.future._condition)
                is_held.set()
                may_end.wait(PATIENCE)

        threads.start(hold)
        assert is_held.wait(PATIENCE)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                # Ends it, should it wait for what only the parent's threads could release.
                signal.alarm(int(PATIENCE))
                status = 0 if sync_kind.get(auth, url).status == 200 else 2
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
        may_end.set()
        simulator.recover()
        assert sorted(threads.join(), key=str) == [200, None]


# Copies and pickles.


def test_copies_share_no_state(kind: Kind, platform: Platform) -> None:
    auth = kind.auth(platform)
    kind.get(auth, API, platform)
    for copied in (copy.copy(auth), copy.deepcopy(auth)):
        assert copied.oauth_token == auth.oauth_token
        copied.oauth_token = {"access_token": "other"}
        assert auth.oauth_token.access_token == "token-1"
        kind.get(copied, API, platform)
        assert platform.bearers[-1] == "other"


COPYING: dict[str, Callable[[Any], Any]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda auth: pickle.loads(pickle.dumps(auth)),
}
each_way_to_copy = pytest.mark.parametrize("copying", COPYING.values(), ids=COPYING)


@each_way_to_copy
def test_copy_goes_on_with_the_current_token_and_session(
    kind: Kind, copying: Callable[[Any], Any]
) -> None:
    """Over sockets, for an object does not travel with a platform in memory."""
    with ThingspaceSimulator() as simulator:
        auth = auth_at(simulator, kind)
        for one in (auth, copying(auth), copying(copying(auth))):
            # The first of them has nothing yet when it is copied.
            assert kind.get(one, simulator.url + PATH).status == 200
            assert kind.get(copying(one), simulator.url + PATH).status == 200
        assert len(simulator.token_requests) == 3
        assert len(simulator.login_requests) == 3


@each_way_to_copy
def test_copy_has_the_settings(
    kind: Kind, platform: Platform, clock: VirtualClock, copying: Callable[[Any], Any]
) -> None:
    settings: dict[str, Any] = {
        "base_url": "https://proxy.example:8443",
        "allowed_hosts": ["*.example"],
        "timeout": 7,
    }
    token = {"access_token": "kept", "expiry": START + 100}
    twin = copying(kind.auth(**settings, oauth_token=token, oauth_clock_skew=5, m2m="kept-too"))
    assert (twin.base_url, twin.timeout) == (settings["base_url"], 7)
    assert twin.allowed_hosts == ("*.example",)
    kind.get(twin, "https://x.example/", platform)
    kind.get(twin, BASE, platform)
    assert (platform.bearers, platform.sessions) == (["kept", None], ["kept-too", None])
    clock.advance(95)
    assert twin.is_token_expired()


def test_pickle_holds_the_secret(kind: Kind) -> None:
    assert IDENTITY["oauth_client_secret"].encode() in pickle.dumps(kind.auth())


def test_what_the_user_gave_may_forbid_pickling(kind: Kind) -> None:
    auth = kind.auth(oauth_on_token_update=lambda token: None)
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps(auth)
    copy.deepcopy(auth)


def test_copy_has_times_of_its_own(kind: Kind, platform: Platform, clock: VirtualClock) -> None:
    """Use of one object's session does not keep the other's from going idle."""
    auth = kind.auth(platform, m2m=M2M)
    kind.get(auth, API, platform)
    twin = copy.copy(auth)
    clock.advance(1000)
    kind.get(auth, API, platform)
    clock.advance(1000)
    kind.get(twin, API, platform)
    assert platform.sessions == ["session-1", "session-1", "session-2"]


@pytest.mark.parametrize("kind", ADAPTER_KINDS, ids=lambda kind: kind.name)
def test_what_a_subclass_adds_is_in_copies_and_pickles(
    kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Named(kind.adapter.ThingspaceAuth):  # type: ignore[name-defined,misc]
        def __init__(self, name: str, **options: Any) -> None:
            super().__init__(**options)
            self.name = name

    # As if it were at the top of a module: otherwise it could not be pickled.
    Named.__qualname__ = "Named"
    monkeypatch.setitem(globals(), "Named", Named)
    auth = Named("mine", **IDENTITY, timeout=3)
    for twin in (copy.copy(auth), copy.deepcopy(auth), pickle.loads(pickle.dumps(auth))):
        assert (type(twin), twin.name, twin.timeout) == (Named, "mine", 3)
        twin.name = "its own"
    assert auth.name == "mine"
