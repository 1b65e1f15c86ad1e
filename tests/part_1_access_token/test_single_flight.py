"""The contract, rule 5: one expiry, one token request, one outcome. Real sockets and schedulers."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from thingspace_auth_adapters import OauthProviderError, ReentrantRequestError
from thingspace_auth_adapters.simulator import ThingspaceSimulator

from ..support.crowds import CROWD, PATH, crowd
from ..support.kinds import HTTPX_KINDS, Kind
from ..support.optional import anyio
from ..support.real import PATIENCE, Threads, aeventually, eventually, options_for, waiters


@pytest.fixture
def simulator() -> Iterator[ThingspaceSimulator]:
    with ThingspaceSimulator() as running:
        yield running


@pytest.fixture
def auth(kind: Kind, simulator: ThingspaceSimulator) -> Any:
    return kind.auth(**options_for(simulator))


def test_cold_crowd_makes_one_token_request(
    kind: Kind, auth: Any, simulator: ThingspaceSimulator
) -> None:
    simulator.latency["token"] = 0.1
    assert crowd(kind, auth, simulator.url + PATH) == [200] * CROWD
    assert len(simulator.token_requests) == 1


def test_crowd_whose_token_was_revoked_makes_one_renewal(
    kind: Kind, auth: Any, simulator: ThingspaceSimulator
) -> None:
    kind.get(auth, simulator.url + PATH)
    simulator.revoke()
    simulator.latency["token"] = 0.1
    assert crowd(kind, auth, simulator.url + PATH) == [200] * CROWD
    assert len(simulator.token_requests) == 2


def test_refusal_is_shared_and_each_gets_an_exception_of_its_own(
    kind: Kind, auth: Any, simulator: ThingspaceSimulator
) -> None:
    simulator.latency["token"] = 0.3
    simulator.fail("token", 401, times=None, body={"error": "invalid_client"})
    outcomes = crowd(kind, auth, simulator.url + PATH)
    assert all(isinstance(outcome, OauthProviderError) for outcome in outcomes)
    assert len({id(outcome) for outcome in outcomes}) == CROWD
    assert len(simulator.token_requests) == 1


def test_provider_that_raises_is_asked_once_for_all(
    kind: Kind, simulator: ThingspaceSimulator
) -> None:
    asked: list[int] = []

    def provider(last: Any, manager: Any) -> Any:
        asked.append(1)
        eventually(lambda: waiters(auth) == 5)
        raise LookupError("row", 7)

    auth = kind.auth(**options_for(simulator), oauth_token_provider=provider)
    caught: list[Exception] = []
    client: Any = None

    async def acall() -> None:
        try:
            await client.get(simulator.url + PATH)
        except LookupError as error:
            caught.append(error)

    async def acalls() -> None:
        nonlocal client
        async with (
            kind.library.AsyncClient(auth=auth, verify=False) as client,
            anyio.create_task_group() as group,
        ):
            for _ in range(6):
                group.start_soon(acall)

    if kind.is_async:
        kind.run(acalls)
    else:
        threads = Threads()
        for _ in range(6):
            threads.start(kind.get, auth, simulator.url + PATH)
        caught = threads.join()
    assert [error.args for error in caught] == [("row", 7)] * 6
    assert len({id(error) for error in caught}) == 6
    assert asked == [1]


def test_stale_token_is_refreshed_by_one_while_the_others_go_on(
    kind: Kind, simulator: ThingspaceSimulator
) -> None:
    auth = kind.auth(**options_for(simulator), oauth_clock_skew=10_000)
    auth.oauth_token = kind.fetch_token(auth)
    simulator.fail("token", "hang")
    refresher = Threads()
    refresher.start(lambda: kind.get(auth, simulator.url + PATH).status)
    eventually(lambda: len(simulator.token_requests) == 2)
    assert crowd(kind, auth, simulator.url + PATH) == [200] * CROWD
    simulator.recover()
    assert refresher.join() == [200]
    assert len(simulator.token_requests) == 2


def test_cancelled_caller_ends_no_refresh(async_kind: Kind, simulator: ThingspaceSimulator) -> None:
    auth = async_kind.auth(**options_for(simulator))
    simulator.fail("token", "hang")
    statuses: list[int] = []

    async def scenario() -> None:
        async with async_kind.library.AsyncClient(
            auth=auth, timeout=PATIENCE, verify=False
        ) as client:

            async def call() -> None:
                statuses.append((await client.get(simulator.url + PATH)).status_code)

            async def lead(scope: anyio.CancelScope) -> None:
                with scope:
                    await call()

            scope = anyio.CancelScope()
            async with anyio.create_task_group() as group:
                group.start_soon(lead, scope)
                await aeventually(lambda: simulator.token_requests)
                for _ in range(CROWD):
                    group.start_soon(call)
                await aeventually(lambda: waiters(auth) == CROWD)
                scope.cancel()
                simulator.recover()

    async_kind.run(scenario)
    assert statuses == [200] * CROWD
    assert len(simulator.token_requests) == 1


def test_cancelled_waiter_cancels_nobody_else(
    async_kind: Kind, simulator: ThingspaceSimulator
) -> None:
    auth = async_kind.auth(**options_for(simulator))
    simulator.fail("token", "hang")
    statuses: list[int] = []

    async def scenario() -> None:
        async with async_kind.library.AsyncClient(
            auth=auth, timeout=PATIENCE, verify=False
        ) as client:

            async def call() -> None:
                statuses.append((await client.get(simulator.url + PATH)).status_code)

            async def wait_a_little(scope: anyio.CancelScope) -> None:
                with scope:
                    await call()

            scope = anyio.CancelScope()
            async with anyio.create_task_group() as group:
                group.start_soon(call)
                await aeventually(lambda: simulator.token_requests)
                group.start_soon(wait_a_little, scope)
                group.start_soon(call)
                await aeventually(lambda: waiters(auth) == 2)
                scope.cancel()
                simulator.recover()

    async_kind.run(scenario)
    assert statuses == [200] * 2
    assert len(simulator.token_requests) == 1


def test_threads_and_event_loops_share_one_refresh(simulator: ThingspaceSimulator) -> None:
    for library in {kind.library_name for kind in HTTPX_KINDS}:
        simulator.revoke()
        simulator.clear()
        simulator.fail("token", "hang")
        alike = [kind for kind in HTTPX_KINDS if kind.library_name == library]
        share_one_refresh(alike * 3, simulator)
        assert len(simulator.token_requests) == 1


def share_one_refresh(kinds: list[Kind], simulator: ThingspaceSimulator) -> None:
    auth = kinds[0].auth(**options_for(simulator))
    threads = Threads()
    for kind in kinds:
        threads.start(kind.get, auth, simulator.url + PATH, None)
    eventually(lambda: waiters(auth) == len(kinds) - 1)
    simulator.recover()
    assert [seen.status for seen in threads.join()] == [200] * len(kinds)


def test_blocking_call_on_the_loops_own_thread_shares_its_refresh(
    async_kind: Kind, simulator: ThingspaceSimulator
) -> None:
    """A refresh needs no event loop, so it goes on while the loop is blocked."""
    auth = async_kind.auth(**options_for(simulator))
    library = async_kind.library
    simulator.latency["token"] = 0.2
    statuses: list[int] = []

    async def scenario() -> None:
        async with library.AsyncClient(auth=auth, timeout=PATIENCE, verify=False) as client:

            async def lead() -> None:
                statuses.append((await client.get(simulator.url + PATH)).status_code)

            async with anyio.create_task_group() as group:
                group.start_soon(lead)
                await aeventually(lambda: simulator.token_requests)
                with library.Client(auth=auth, verify=False) as blocking:
                    statuses.append(blocking.get(simulator.url + PATH).status_code)

    async_kind.run(scenario)
    assert statuses == [200, 200]
    assert len(simulator.token_requests) == 1


ASYNCIO_KINDS = [kind for kind in HTTPX_KINDS if kind.backend == "asyncio"]


@pytest.mark.parametrize("kind", ASYNCIO_KINDS, ids=lambda kind: kind.name)
def test_waiter_whose_loop_was_closed_does_not_stop_the_others(
    kind: Kind, simulator: ThingspaceSimulator
) -> None:
    auth = kind.auth(**options_for(simulator))
    simulator.fail("token", "hang")
    leader = Threads()
    leader.start(lambda: kind.get(auth, simulator.url + PATH, timeout=PATIENCE).status)
    eventually(lambda: simulator.token_requests)

    async def give_up() -> None:
        async with kind.library.AsyncClient(auth=auth, verify=False) as client:
            task = asyncio.ensure_future(client.get(simulator.url + PATH))
            await aeventually(lambda: waiters(auth) == 1)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(give_up())
    simulator.recover()
    assert leader.join() == [200]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform cannot fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_forked_child_does_not_wait_for_its_parents_refresh(
    sync_kind: Kind, simulator: ThingspaceSimulator
) -> None:
    auth = sync_kind.auth(**options_for(simulator))
    simulator.fail("token", "hang")
    threads = Threads()
    threads.start(lambda: sync_kind.get(auth, simulator.url + PATH).status)
    eventually(lambda: simulator.token_requests)
    lock = auth._tokens.bearers._flight.lock
    lock.acquire()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if sync_kind.get(auth, simulator.url + PATH).status == 200 else 2
        finally:
            os._exit(status)
    lock.release()
    _, wait_status = os.waitpid(child, 0)
    assert wait_status == 0
    simulator.recover()
    assert threads.join() == [200]


# A provider's own requests.


def test_provider_that_needs_its_own_token_gets_a_clear_error(
    kind: Kind, simulator: ThingspaceSimulator
) -> None:
    library = kind.library
    url = simulator.url + PATH

    async def aprovider(last: Any, manager: Any) -> Any:
        async with library.AsyncClient(auth=manager, verify=False) as client:
            return await client.get(url)

    def provider(last: Any, manager: Any) -> Any:
        if kind.is_requests:
            return library.get(url, auth=manager)
        with library.Client(auth=manager, verify=False) as client:
            return client.get(url)

    for candidate in [provider, aprovider] if kind.is_async else [provider]:
        auth = kind.auth(**options_for(simulator), oauth_token_provider=candidate)
        with pytest.raises(ReentrantRequestError, match="oauth_token_provider") as caught:
            kind.get(auth, url)
        # A bug, and no failed request.
        assert not isinstance(caught.value, kind.request_error)
    assert simulator.requests == []


def test_provider_that_needs_its_own_token_in_a_child_task(
    async_kind: Kind, simulator: ThingspaceSimulator
) -> None:
    url = simulator.url + PATH
    caught: list[Exception] = []

    async def provider(last: Any, manager: Any) -> Any:
        async def child() -> None:
            async with async_kind.library.AsyncClient(auth=manager, verify=False) as client:
                try:
                    await client.get(url)
                except ReentrantRequestError as error:
                    caught.append(error)

        async with anyio.create_task_group() as group:
            group.start_soon(child)

    auth = async_kind.auth(**options_for(simulator), oauth_token_provider=provider)
    assert async_kind.get(auth, url).status == 200
    assert len(caught) == 1


def test_update_callback_holds_up_nobody_else(
    sync_kind: Kind, simulator: ThingspaceSimulator
) -> None:
    may_end = threading.Event()
    auth = sync_kind.auth(
        **options_for(simulator), oauth_on_token_update=lambda token: may_end.wait(PATIENCE)
    )
    leader = Threads()
    leader.start(lambda: sync_kind.get(auth, simulator.url + PATH).status)
    eventually(lambda: auth.oauth_token is not None)
    assert crowd(sync_kind, auth, simulator.url + PATH, 3) == [200] * 3
    assert leader.outcomes == []
    may_end.set()
    assert leader.join() == [200]


@pytest.mark.once
def test_workers_live_through_many_lifetimes_without_a_failed_call(
    sync_kind: Kind, simulator: ThingspaceSimulator
) -> None:
    """Tokens of one second, repeated with whole seconds: at most two requests for each."""
    auth = sync_kind.auth(**options_for(simulator))
    simulator.token_lifetime = 1
    simulator.latency["api"] = 0.02
    statuses: list[Any] = []

    def work() -> None:
        while len(simulator.issued_tokens) < 3:
            statuses.append(sync_kind.get(auth, simulator.url + PATH).status)

    threads = Threads()
    for _ in range(4):
        threads.start(work)
    assert threads.join() == [None] * 4
    assert set(statuses) == {200}
    assert len(simulator.token_requests) <= 2 * len(simulator.issued_tokens)


def test_plain_callback_needs_no_thread_that_its_waiters_hold(
    async_kind: Kind, simulator: ThingspaceSimulator
) -> None:
    """Blocking handlers may use up an event loop's threads while they wait for one token."""
    library = async_kind.library
    may_go_on = threading.Event()

    def provider(last: Any, manager: Any) -> Any:
        return manager.fetch_token()

    auth = async_kind.auth(**options_for(simulator), oauth_token_provider=provider)
    statuses: list[int] = []

    def block() -> None:
        with library.Client(auth=auth, verify=False, timeout=PATIENCE) as client:
            statuses.append(client.get(simulator.url + PATH).status_code)

    async def lead() -> None:
        async with library.AsyncClient(auth=auth, verify=False, timeout=PATIENCE) as client:
            statuses.append((await client.get(simulator.url + PATH)).status_code)

    async def scenario() -> None:
        anyio.to_thread.current_default_thread_limiter().total_tokens = 2
        async with anyio.create_task_group() as group:
            for _ in range(2):
                group.start_soon(anyio.to_thread.run_sync, may_go_on.wait)
            group.start_soon(lead)
            await aeventually(lambda: waiters(auth) or simulator.token_requests)
            may_go_on.set()
            for _ in range(2):
                group.start_soon(anyio.to_thread.run_sync, block)

    async_kind.run(scenario)
    assert statuses == [200] * 3
    assert len(simulator.token_requests) == 1


def test_awaitable_provider_under_a_blocking_leader_fails_no_awaiting_waiter(
    async_kind: Kind, simulator: ThingspaceSimulator
) -> None:
    library = async_kind.library
    entered, may_go_on = threading.Event(), threading.Event()

    def provider(last: Any, manager: Any) -> Any:
        entered.set()
        may_go_on.wait(PATIENCE)
        return manager.afetch_token()

    auth = async_kind.auth(**options_for(simulator), oauth_token_provider=provider)

    def lead() -> None:
        with library.Client(auth=auth, verify=False) as client:
            client.get(simulator.url + PATH)

    leader, waiting = Threads(), Threads()
    leader.start(lead)
    assert entered.wait(PATIENCE)
    waiting.start(lambda: async_kind.get(auth, simulator.url + PATH).status)
    eventually(lambda: waiters(auth) == 1)
    may_go_on.set()
    (error,) = leader.join()
    assert isinstance(error, TypeError)
    assert waiting.join() == [200]


@pytest.mark.parametrize("kind", ASYNCIO_KINDS, ids=lambda kind: kind.name)
def test_no_cancellation_of_a_waiter_is_lost(kind: Kind, simulator: ThingspaceSimulator) -> None:
    """Not even one that comes while another waiter is cancelled."""
    auth = kind.auth(**options_for(simulator))
    simulator.fail("token", "hang")
    leader = Threads()
    leader.start(lambda: kind.get(auth, simulator.url + PATH, timeout=PATIENCE).status)
    eventually(lambda: simulator.token_requests)

    async def scenario() -> list[Any]:
        async with kind.library.AsyncClient(auth=auth, verify=False) as client:
            tasks = [asyncio.ensure_future(client.get(simulator.url + PATH)) for _ in range(50)]
            await aeventually(lambda: waiters(auth) == 50)
            for number, task in enumerate(tasks):
                asyncio.get_running_loop().call_later(number * 0.0005, task.cancel)
            done, pending = await asyncio.wait(tasks, timeout=PATIENCE)
            simulator.recover()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert not pending
            return [task.cancelled() for task in done]

    assert asyncio.run(scenario()) == [True] * 50
    assert leader.join() == [200]


# A leader that never comes back.


class Suspended:
    """A leader on an event loop that stands still in the middle of its token request."""

    def __init__(self, kind: Kind, auth: Any, simulator: ThingspaceSimulator) -> None:
        simulator.fail("token", "hang")
        self.loop = asyncio.new_event_loop()
        flow = auth.async_auth_flow(kind.library.Request("GET", simulator.url + PATH))
        self.task = self.loop.create_task(flow.__anext__())
        while not simulator.token_requests:
            self.loop.run_until_complete(asyncio.sleep(0.002))

    def go_on(self) -> Any:
        outcome = self.loop.run_until_complete(asyncio.gather(self.task, return_exceptions=True))
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()
        return outcome[0]


@pytest.mark.parametrize("kind", ASYNCIO_KINDS[:1], ids=lambda kind: kind.name)
def test_leader_on_a_loop_that_stands_still_holds_nobody_up_for_ever(
    kind: Kind, simulator: ThingspaceSimulator
) -> None:
    """Such a task is neither cancelled nor does it go on; an answer may come for so long."""
    # So long that its second attempt begins in time, also on a busy machine.
    auth = kind.auth(**options_for(simulator), timeout=1.5)
    leader = Suspended(kind, auth, simulator)
    alike = [other for other in HTTPX_KINDS if other.library_name == kind.library_name]
    others = Threads()
    for other in alike * 2:
        others.start(lambda other=other: other.get(auth, simulator.url + PATH).status)
    assert others.join() == [200] * len(alike) * 2
    assert len(simulator.token_requests) == 2
    simulator.recover()
    assert leader.go_on() is not None
    assert auth.oauth_token.access_token == simulator.issued_tokens[-1]
