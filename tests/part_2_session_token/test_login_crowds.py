"""The contract, Part 2, rules 2 and 5, under load: one login, one refusal, two unknowns at most.

Single callers are in test_login_guard, what locked accounts once is in test_login_defects.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from thingspace_auth_adapters import M2mLoginError, ReentrantRequestError, VzM2mCredentials
from thingspace_auth_adapters.simulator import ThingspaceSimulator

from ..support.crowds import CROWD, PATH, crowd
from ..support.kinds import ASYNC_KINDS, LOOP_KINDS, Kind
from ..support.optional import anyio
from ..support.real import PATIENCE, Threads, aeventually, eventually, options_for
from ..support.virtual import LOGIN_PATH

WORKERS = 20
FEW = 8
SHORT = 0.4

pytestmark = pytest.mark.usefixtures("short_pauses")


@pytest.fixture
def simulator() -> Iterator[ThingspaceSimulator]:
    with ThingspaceSimulator(sessions_required=True, login_ends_session=True) as running:
        yield running


def auth_for(kind: Kind, simulator: ThingspaceSimulator, **options: Any) -> Any:
    m2m = VzM2mCredentials(simulator.username, simulator.password)
    return kind.auth(**{**options_for(simulator), "m2m": m2m, **options})


def token_of(kind: Kind, simulator: ThingspaceSimulator) -> Any:
    """A token that was fetched in peace."""
    return kind.fetch_token(kind.auth(**options_for(simulator)))


def refusals(outcomes: list[Any]) -> list[Any]:
    assert len({id(outcome) for outcome in outcomes}) == len(outcomes)
    return [outcome for outcome in outcomes if isinstance(outcome, M2mLoginError)]


def test_cold_crowd_makes_one_token_request_and_one_login(
    kind: Kind, simulator: ThingspaceSimulator
) -> None:
    simulator.latency = {"token": 0.05, "login": 0.05}
    auth = auth_for(kind, simulator)
    assert crowd(kind, auth, simulator.url + PATH) == [200] * CROWD
    assert (len(simulator.token_requests), len(simulator.login_requests)) == (1, 1)


def test_crowd_whose_session_was_ended_makes_one_login(
    kind: Kind, simulator: ThingspaceSimulator
) -> None:
    auth = auth_for(kind, simulator)
    kind.get(auth, simulator.url + PATH)
    simulator.end_sessions()
    simulator.latency["login"] = 0.1
    assert crowd(kind, auth, simulator.url + PATH) == [200] * CROWD
    assert (len(simulator.token_requests), len(simulator.login_requests)) == (1, 2)


def test_crowd_whose_tokens_are_both_dead_renews_each_once(
    kind: Kind, simulator: ThingspaceSimulator
) -> None:
    auth = auth_for(kind, simulator)
    kind.get(auth, simulator.url + PATH)
    simulator.revoke()
    simulator.end_sessions()
    simulator.latency = {"token": 0.05, "login": 0.05}
    assert crowd(kind, auth, simulator.url + PATH) == [200] * CROWD
    assert (len(simulator.token_requests), len(simulator.login_requests)) == (2, 2)


def test_wrong_password_is_one_refusal(kind: Kind, simulator: ThingspaceSimulator) -> None:
    auth = auth_for(kind, simulator, m2m=VzM2mCredentials(simulator.username, "wrong"))
    for _ in range(3):
        outcomes = crowd(kind, auth, simulator.url + PATH, WORKERS)
        assert len(refusals(outcomes)) == WORKERS
    assert (simulator.failed_logins, len(simulator.login_requests)) == (1, 1)


def test_password_that_becomes_wrong_while_running_is_one_refusal(
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
    auth = auth_for(kind, simulator, oauth_token=token_of(kind, simulator), timeout=SHORT)
    outcomes = crowd(kind, auth, simulator.url + PATH)
    assert all(isinstance(outcome, kind.request_error) for outcome in outcomes)
    for _ in range(2):
        outcomes = crowd(kind, auth, simulator.url + PATH, FEW)
        assert len(refusals(outcomes)) == FEW
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


def test_logins_by_hand_count_like_any_other(
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


@pytest.mark.parametrize("kind", LOOP_KINDS, ids=lambda kind: kind.name)
def test_logins_by_hand_on_a_login_endpoint_that_hangs_are_two_unknowns(
    kind: Kind, simulator: ThingspaceSimulator
) -> None:
    simulator.fail("login", "hang", times=None)
    token = token_of(kind, simulator)
    auth = auth_for(kind, simulator, oauth_token=token, timeout=SHORT)
    errors: list[Exception] = []

    async def login() -> None:
        try:
            await auth.afetch_vz_m2m_token()
        except kind.request_error as error:
            errors.append(error)

    async def logins() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(FEW):
                group.start_soon(login)

    kind.run(logins)
    assert len(errors) == FEW
    assert len(simulator.login_requests) == 2


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


def test_token_provider_that_needs_a_session_of_another_refresh_gets_a_clear_error(
    sync_kind: Kind, simulator: ThingspaceSimulator
) -> None:
    """The one refresh would wait for the other, and that for the first."""
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
    # The login itself carries the bearer alone.
    leader = threading.Thread(target=auth.headers, args=(simulator.url + LOGIN_PATH,), daemon=True)
    leader.start()
    assert in_provider.wait(PATIENCE)
    threads.start(lambda: sync_kind.get(auth, url).status)
    eventually(lambda: simulator.login_requests)
    in_login.set()
    assert threads.join() == [200]
    leader.join(PATIENCE)
    assert not leader.is_alive()
    assert len(errors) == 1


def test_update_callback_of_the_bearer_may_need_both(
    sync_kind: Kind, simulator: ThingspaceSimulator
) -> None:
    seen: list[int] = []

    def tell(value: Any) -> None:
        seen.append(sync_kind.get(auth, simulator.url + PATH).status)

    auth = auth_for(sync_kind, simulator, oauth_on_token_update=tell)
    assert crowd(sync_kind, auth, simulator.url + PATH) == [200] * CROWD
    assert seen == [200]
    assert (len(simulator.token_requests), len(simulator.login_requests)) == (1, 1)


def test_object_of_the_same_account_waits_for_a_login_that_may_yet_succeed(
    sync_kind: Kind, simulator: ThingspaceSimulator
) -> None:
    """Also after one of unknown outcome: the one under way has not failed yet."""
    url = simulator.url + PATH
    simulator.fail("login", 500)
    simulator.latency["login"] = 0.1
    first, second = Threads(), Threads()
    auth, other = auth_for(sync_kind, simulator), auth_for(sync_kind, simulator)
    other.oauth_token = auth.oauth_token = auth.fetch_token()
    first.start(lambda: sync_kind.get(auth, url).status)
    eventually(lambda: len(simulator.login_requests) == 2)
    second.start(lambda: sync_kind.get(other, url).status)
    assert (first.join(), second.join()) == ([200], [200])


@pytest.mark.parametrize("kind", ASYNC_KINDS, ids=lambda kind: kind.name)
def test_blocking_call_beside_a_login_on_the_same_thread_shares_it(
    kind: Kind, simulator: ThingspaceSimulator
) -> None:
    """A login needs no event loop, so it goes on while the loop is blocked."""
    simulator.latency["login"] = 0.2
    auth, library = auth_for(kind, simulator), kind.library
    statuses: list[int] = []

    async def story() -> None:
        async with library.AsyncClient(auth=auth, verify=False, timeout=PATIENCE) as client:

            async def get() -> None:
                statuses.append((await client.get(simulator.url + PATH)).status_code)

            async with anyio.create_task_group() as group:
                group.start_soon(get)
                await aeventually(lambda: simulator.login_requests)
                with library.Client(auth=auth, verify=False) as blocking:
                    statuses.append(blocking.get(simulator.url + PATH).status_code)

    kind.run(story)
    assert statuses == [200, 200]
    assert len(simulator.login_requests) == 1
