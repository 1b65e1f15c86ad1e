"""The contract, Part 2, rules 2 and 5, under load: one login, one refusal, two unknowns at most."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from thingspace_auth_adapters import M2mLoginError, ReentrantRequestError, VzM2mCredentials
from thingspace_auth_adapters.simulator import ThingspaceSimulator

from .kinds import ASYNC_KINDS, Kind
from .optional import anyio
from .real import PATIENCE, Threads, aeventually, eventually, options_for
from .test_single_flight import PATH, crowd

WORKERS = 64
FEW = 8


@pytest.fixture
def simulator() -> Iterator[ThingspaceSimulator]:
    with ThingspaceSimulator(sessions_required=True, login_ends_session=True) as running:
        yield running


def auth_for(kind: Kind, simulator: ThingspaceSimulator, **options: Any) -> Any:
    m2m = VzM2mCredentials(simulator.username, simulator.password)
    return kind.auth(**{**options_for(simulator), "m2m": m2m, **options})


def refusals(outcomes: list[Any]) -> list[Any]:
    assert len({id(outcome) for outcome in outcomes}) == len(outcomes)
    return [outcome for outcome in outcomes if isinstance(outcome, M2mLoginError)]


def test_cold_crowd_makes_one_token_request_and_one_login(
    kind: Kind, simulator: ThingspaceSimulator
) -> None:
    simulator.latency = {"token": 0.1, "login": 0.1}
    auth = auth_for(kind, simulator)
    assert crowd(kind, auth, simulator.url + PATH) == [200] * 20
    assert (len(simulator.token_requests), len(simulator.login_requests)) == (1, 1)


def test_crowd_whose_session_was_ended_makes_one_login(
    kind: Kind, simulator: ThingspaceSimulator
) -> None:
    auth = auth_for(kind, simulator)
    kind.get(auth, simulator.url + PATH)
    simulator.end_sessions()
    simulator.latency["login"] = 0.1
    assert crowd(kind, auth, simulator.url + PATH) == [200] * 20
    assert (len(simulator.token_requests), len(simulator.login_requests)) == (1, 2)


def test_crowd_whose_tokens_are_both_dead_renews_each_once(
    kind: Kind, simulator: ThingspaceSimulator
) -> None:
    auth = auth_for(kind, simulator)
    kind.get(auth, simulator.url + PATH)
    simulator.revoke()
    simulator.end_sessions()
    simulator.latency = {"token": 0.05, "login": 0.05}
    assert crowd(kind, auth, simulator.url + PATH) == [200] * 20
    assert (len(simulator.token_requests), len(simulator.login_requests)) == (2, 2)


def test_wrong_password_is_one_strike(kind: Kind, simulator: ThingspaceSimulator) -> None:
    auth = auth_for(kind, simulator, m2m=VzM2mCredentials(simulator.username, "wrong"))
    for _ in range(3):
        outcomes = crowd(kind, auth, simulator.url + PATH, WORKERS)
        assert len(refusals(outcomes)) == WORKERS
    assert (simulator.failed_logins, len(simulator.login_requests)) == (1, 1)


def test_password_that_becomes_wrong_while_running_is_one_strike(
    kind: Kind, simulator: ThingspaceSimulator
) -> None:
    auth = auth_for(kind, simulator)
    url = simulator.url + PATH
    assert crowd(kind, auth, url, FEW) == [200] * FEW
    simulator.clear()
    simulator.latency["login"] = 0.05
    changed = threading.Thread(target=change_password, args=(simulator,))
    changed.start()
    outcomes = [outcome for _ in range(3) for outcome in crowd(kind, auth, url, WORKERS)]
    changed.join()
    outcomes += crowd(kind, auth, url, WORKERS)
    # Whoever has the platform's refusal in hand gets that, whoever comes later the error.
    assert all(outcome in (200, 400) for outcome in outcomes if isinstance(outcome, int))
    assert all(isinstance(outcome, M2mLoginError) for outcome in crowd(kind, auth, url, FEW))
    assert (simulator.failed_logins, len(simulator.login_requests)) == (1, 1)


def change_password(simulator: ThingspaceSimulator) -> None:
    eventually(lambda: simulator.api_requests)
    simulator.password = "changed"
    simulator.end_sessions()


def test_login_endpoint_that_times_out_is_two_unknowns(
    kind: Kind, simulator: ThingspaceSimulator
) -> None:
    simulator.fail("login", "hang", times=None)
    auth = auth_for(kind, simulator, timeout=0.3)
    outcomes = crowd(kind, auth, simulator.url + PATH, WORKERS)
    assert all(isinstance(outcome, kind.request_error) for outcome in outcomes)
    for _ in range(2):
        outcomes = crowd(kind, auth, simulator.url + PATH, WORKERS)
        assert len(refusals(outcomes)) == WORKERS
        assert {outcome.status_code for outcome in outcomes} == {None}
    assert len(simulator.login_requests) == 2


def test_login_endpoint_that_loses_connections_is_two_unknowns(
    kind: Kind, simulator: ThingspaceSimulator
) -> None:
    simulator.fail("login", "drop", times=None)
    auth = auth_for(kind, simulator)
    for _ in range(2):
        outcomes = crowd(kind, auth, simulator.url + PATH, WORKERS)
        assert all(isinstance(outcome, kind.request_error) for outcome in outcomes)
    assert len(simulator.login_requests) == 2


def test_login_endpoint_that_cannot_be_connected_to_is_no_unknown(
    sync_kind: Kind, simulator: ThingspaceSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    auth = auth_for(sync_kind, simulator, oauth_token={"access_token": "any"})
    monkeypatch.setattr(auth._clock, "sleep", lambda seconds: None)
    simulator.close()
    for _ in range(2):
        with pytest.raises(sync_kind.connect_error):
            auth.fetch_vz_m2m_token()
    auth._sessions.kind.strikes.check()
    assert auth._sessions.kind.strikes.unknowns == 0


def test_failure_that_the_caller_is_handling_excuses_no_login(
    sync_kind: Kind, simulator: ThingspaceSimulator
) -> None:
    """It is the context of what fails meanwhile: a failure to connect, which counts for nothing."""
    simulator.fail("login", "hang", times=None)
    auth = auth_for(sync_kind, simulator, timeout=0.3)
    try:
        sync_kind.get(None, "http://127.0.0.1:1/")
    except sync_kind.connect_error:
        for _ in range(3):
            with pytest.raises(sync_kind.request_error):
                sync_kind.get(auth, simulator.url + PATH)
    else:
        raise AssertionError("somebody listens on port 1")
    assert len(simulator.login_requests) == 2


def test_logins_by_hand_are_strikes_like_any_other(
    sync_kind: Kind, simulator: ThingspaceSimulator
) -> None:
    auth = auth_for(sync_kind, simulator, m2m=VzM2mCredentials(simulator.username, "wrong"))
    simulator.latency["login"] = 0.05
    threads = Threads()
    for number in range(WORKERS):
        if number % 2:
            threads.start(auth.fetch_vz_m2m_token)
        else:
            threads.start(lambda: sync_kind.get(auth, simulator.url + PATH).status)
    assert len(refusals(threads.join())) == WORKERS
    assert (simulator.failed_logins, len(simulator.login_requests)) == (1, 1)


def test_logins_by_hand_on_a_login_endpoint_that_hangs_are_two_unknowns(
    async_kind: Kind, simulator: ThingspaceSimulator
) -> None:
    simulator.fail("login", "hang", times=None)
    auth = auth_for(async_kind, simulator, timeout=0.3)
    errors: list[Exception] = []

    async def login() -> None:
        try:
            await auth.afetch_vz_m2m_token()
        except async_kind.request_error as error:
            errors.append(error)

    async def logins() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(FEW):
                group.start_soon(login)

    async_kind.run(logins)
    assert len(errors) == FEW
    assert len(simulator.login_requests) == 2


def test_impatient_callers_do_not_add_up(httpx_kind: Kind, simulator: ThingspaceSimulator) -> None:
    simulator.fail("login", "hang", times=None)
    auth = auth_for(httpx_kind, simulator)
    httpx_kind.fetch_token(auth)
    for _ in range(4):
        with pytest.raises(httpx_kind.request_error):
            httpx_kind.get(auth, simulator.url + PATH, timeout=0.2)
    assert len(simulator.login_requests) == 2


def test_cancelled_logins_are_unknowns(async_kind: Kind, simulator: ThingspaceSimulator) -> None:
    simulator.fail("login", "hang", times=None)
    auth = auth_for(async_kind, simulator)
    library = async_kind.library

    async def cancelled_in_the_login(number: int) -> None:
        async with library.AsyncClient(auth=auth, verify=False, timeout=30) as client:
            async with anyio.create_task_group() as group:
                group.start_soon(client.get, simulator.url + PATH)
                await aeventually(lambda: len(simulator.login_requests) == number)
                group.cancel_scope.cancel()

    async def story() -> None:
        await cancelled_in_the_login(1)
        await cancelled_in_the_login(2)
        async with library.AsyncClient(auth=auth, verify=False) as client:
            with pytest.raises(M2mLoginError) as caught:
                await client.get(simulator.url + PATH)
            assert caught.value.status_code is None

    async_kind.run(story)
    assert len(simulator.login_requests) == 2


def test_cancelled_leader_of_a_login_is_followed_by_one_waiter(
    async_kind: Kind, simulator: ThingspaceSimulator
) -> None:
    simulator.fail("login", "hang", times=1)
    auth = auth_for(async_kind, simulator)
    library = async_kind.library
    statuses: list[int] = []

    async def story() -> None:
        async with library.AsyncClient(auth=auth, verify=False, timeout=30) as client:

            async def get() -> None:
                statuses.append((await client.get(simulator.url + PATH)).status_code)

            async with anyio.create_task_group() as others:
                async with anyio.create_task_group() as leader:
                    leader.start_soon(get)
                    await aeventually(lambda: simulator.login_requests)
                    for _ in range(5):
                        others.start_soon(get)
                    await aeventually(lambda: login_waiters(auth) == 5)
                    leader.cancel_scope.cancel()

    async_kind.run(story)
    assert statuses == [200] * 5
    assert len(simulator.login_requests) == 2


def login_waiters(auth: Any) -> int:
    flight = auth._sessions._flights._runway.flight
    return 0 if flight is None else len(flight._wakers)


def test_session_provider_does_not_keep_the_others_from_one_login(
    sync_kind: Kind, simulator: ThingspaceSimulator
) -> None:
    asked: list[int] = []

    def provider(last: Any, manager: Any) -> Any:
        asked.append(1)
        return manager.fetch_vz_m2m_token()

    m2m = VzM2mCredentials(simulator.username, simulator.password, vz_m2m_token_provider=provider)
    auth = auth_for(sync_kind, simulator, m2m=m2m)
    simulator.latency["login"] = 0.1
    assert crowd(sync_kind, auth, simulator.url + PATH) == [200] * 20
    assert (len(asked), len(simulator.login_requests)) == (1, 1)


def test_update_callback_of_either_token_may_need_the_other(
    sync_kind: Kind, simulator: ThingspaceSimulator
) -> None:
    seen: list[int] = []

    def tell(value: Any) -> None:
        seen.append(sync_kind.get(auth, simulator.url + PATH).status)

    m2m = VzM2mCredentials(simulator.username, simulator.password, vz_m2m_on_token_update=tell)
    auth = auth_for(sync_kind, simulator, m2m=m2m, oauth_on_token_update=tell)
    assert crowd(sync_kind, auth, simulator.url + PATH) == [200] * 20
    assert seen == [200, 200]
    assert (len(simulator.token_requests), len(simulator.login_requests)) == (1, 1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform cannot fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_forked_children_inherit_the_refusal(
    sync_kind: Kind, simulator: ThingspaceSimulator
) -> None:
    auth = auth_for(sync_kind, simulator, m2m=VzM2mCredentials(simulator.username, "wrong"))
    with pytest.raises(M2mLoginError):
        sync_kind.get(auth, simulator.url + PATH)
    children: list[int] = []
    for _ in range(4):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                sync_kind.get(auth, simulator.url + PATH)
            except M2mLoginError as error:
                status = 0 if error.status_code == 400 else 2
            finally:
                os._exit(status)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
    assert (simulator.failed_logins, len(simulator.login_requests)) == (1, 1)


def test_two_event_loops_and_threads_share_one_login(
    async_kind: Kind, simulator: ThingspaceSimulator
) -> None:
    auth = auth_for(async_kind, simulator)
    simulator.latency["login"] = 0.1
    threads = Threads()
    for _ in range(4):
        threads.start(crowd, async_kind, auth, simulator.url + PATH, FEW)
    assert threads.join() == [[200] * FEW] * 4
    assert len(simulator.login_requests) == 1


def test_token_provider_that_needs_a_session_of_another_flight_gets_a_clear_error(
    sync_kind: Kind, simulator: ThingspaceSimulator
) -> None:
    """The one flight would wait for the other, and that for the first."""
    url = simulator.url + PATH
    in_provider, in_login = threading.Event(), threading.Event()
    errors: list[Exception] = []

    def provider(last: Any, manager: Any) -> Any:
        if threading.current_thread() is not leader:
            return None
        in_provider.set()
        assert in_login.wait(PATIENCE)
        try:
            return sync_kind.get(manager, url)
        except ReentrantRequestError as error:
            errors.append(error)
            return None

    given = {"access_token": "dead", "expiry": time.time() + 30}
    auth = auth_for(
        sync_kind,
        simulator,
        oauth_token=given,
        oauth_clock_skew=60,
        oauth_token_provider=provider,
    )
    threads = Threads()
    leader = threading.Thread(target=lambda: sync_kind.get(auth, url), daemon=True)
    leader.start()
    assert in_provider.wait(PATIENCE)
    threads.start(lambda: sync_kind.get(auth, url).status)
    eventually(lambda: simulator.login_requests)
    in_login.set()
    assert threads.join() == [200]
    leader.join(PATIENCE)
    assert not leader.is_alive()
    assert len(errors) == 1


@pytest.mark.parametrize("backend", ["asyncio"])
def test_blocking_call_beside_a_login_on_the_same_thread_sends_no_second_login(
    backend: str, simulator: ThingspaceSimulator
) -> None:
    kinds = [kind for kind in ASYNC_KINDS if kind.backend == backend]
    for kind in kinds:
        simulator.clear()
        simulator.fail("login", "hang", times=1)
        auth = auth_for(kind, simulator)
        blocked: list[Any] = []

        async def story(kind: Kind = kind, auth: Any = auth, blocked: list[Any] = blocked) -> None:
            library = kind.library
            async with library.AsyncClient(auth=auth, verify=False, timeout=30) as client:
                async with anyio.create_task_group() as group:
                    group.start_soon(client.get, simulator.url + PATH)
                    await aeventually(lambda: simulator.login_requests)
                    with library.Client(auth=auth, verify=False) as blocking:
                        with pytest.raises(M2mLoginError, match="stands still"):
                            blocking.get(simulator.url + PATH)
                    blocked.append(len(simulator.login_requests))
                    simulator.recover()

        kind.run(story)
        assert blocked == [1]
        assert kind.get(auth, simulator.url + PATH).status == 200
