"""Part 1, rule 5: one expiry, one token request, one outcome, whoever shares the object."""

from __future__ import annotations

import threading
from functools import partial
from typing import Any

import pytest

from thingspace_auth_adapters import ReentrantRequestError
from thingspace_auth_adapters.simulator import ThingspaceSimulator

from ..support.crowds import CROWD, PATH, crowd
from ..support.kinds import HTTPX_KINDS, Kind
from ..support.optional import anyio
from ..support.real import PATIENCE, Threads, eventually, options_for, waiters
from ..support.virtual import API, Answer, Call, Platform, refusal


def have_others_wait(auth: Any, size: int = CROWD) -> bool:
    """Whether of so many callers all but the one that leads wait for it."""
    return waiters(auth) == size - 1


def all_others_wait(auth: Any) -> None:
    """For the one that leads."""
    eventually(lambda: have_others_wait(auth))


class Revoking(Platform):
    """Rejects one of its tokens from some moment on."""

    revoked: str | None = None

    def handle(self, call: Call) -> Answer:
        answer = super().handle(call)
        return refusal() if call.authorization == f"Bearer {self.revoked}" else answer


@pytest.mark.parametrize("is_rejected", [False, True])
def test_crowd_makes_one_token_request(kind: Kind, is_rejected: bool) -> None:
    """A cold one, and one whose token was rejected."""
    platform = Revoking()
    auth = kind.auth(platform)
    if is_rejected:
        kind.get(auth, API, platform)
        platform.revoked = "token-1"
    before = len(platform.token_calls)
    platform.on_token = lambda: all_others_wait(auth)
    assert crowd(kind, auth, API, platform=platform) == [200] * CROWD
    assert len(platform.token_calls) - before == 1


def test_refusal_is_shared_and_each_gets_an_exception_of_its_own(
    kind: Kind, platform: Platform
) -> None:
    auth = kind.auth(platform)
    platform.on_token = lambda: all_others_wait(auth)
    platform.tokens = [Answer(401, {"error": "invalid_client"})]
    outcomes = crowd(kind, auth, API, platform=platform)
    assert {type(outcome) for outcome in outcomes} == {kind.adapter.OauthProviderError}
    assert len({str(outcome) for outcome in outcomes}) == 1
    assert len({id(outcome) for outcome in outcomes}) == CROWD
    assert len(platform.token_calls) == 1


def test_provider_that_raises_is_asked_once_for_all(kind: Kind, platform: Platform) -> None:
    asked: list[Any] = []

    def provider(last: Any, manager: Any) -> Any:
        asked.append(last)
        all_others_wait(manager)
        raise LookupError("row", 7)

    auth = kind.auth(platform, oauth_token_provider=provider)
    caught = crowd(kind, auth, API, platform=platform)
    assert [(type(error), error.args) for error in caught] == [(LookupError, ("row", 7))] * CROWD
    assert len({id(error) for error in caught}) == CROWD
    assert asked == [None]
    assert platform.calls == []


def test_threads_and_event_loops_share_one_refresh(simulator: ThingspaceSimulator) -> None:
    for library in {kind.library_name for kind in HTTPX_KINDS}:
        simulator.revoke()
        simulator.clear()
        simulator.fail("token", "hang")
        alike = [kind for kind in HTTPX_KINDS if kind.library_name == library] * 3
        auth, threads = alike[0].auth(**options_for(simulator)), Threads()
        for kind in alike:
            threads.start(kind.get, auth, simulator.url + PATH, None)
        eventually(partial(have_others_wait, auth, len(alike)))
        simulator.recover()
        assert [seen.status for seen in threads.join()] == [200] * len(alike)
        assert len(simulator.token_requests) == 1


def test_awaitable_provider_under_a_blocking_leader_fails_no_awaiting_waiter(
    async_kind: Kind, platform: Platform
) -> None:
    entered, may_go_on = threading.Event(), threading.Event()

    def provider(last: Any, manager: Any) -> Any:
        entered.set()
        assert may_go_on.wait(PATIENCE)
        return manager.afetch_token()

    auth = async_kind.auth(platform, oauth_token_provider=provider)
    leader, waiting = Threads(), Threads()
    leader.start(auth.headers, API)
    assert entered.wait(PATIENCE)
    waiting.start(lambda: async_kind.get(auth, API, platform).status)
    eventually(lambda: waiters(auth) == 1)
    may_go_on.set()
    (error,) = leader.join()
    assert isinstance(error, TypeError)
    assert waiting.join() == [200]


def test_update_callback_holds_up_nobody_else(kind: Kind, platform: Platform) -> None:
    """Neither those who waited for the token nor those who come later."""
    may_end = threading.Event()
    auth = kind.auth(platform, oauth_on_token_update=lambda token: may_end.wait(PATIENCE))
    platform.on_token = lambda: all_others_wait(auth)
    callers = Threads()
    for _ in range(CROWD):
        callers.start(lambda: kind.get(auth, API, platform).status)
    eventually(lambda: len(callers.outcomes) == CROWD - 1)
    assert crowd(kind, auth, API, 3, platform) == [200] * 3
    assert callers.outcomes == [200] * (CROWD - 1)
    may_end.set()
    assert callers.join() == [200] * CROWD


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


# A provider's own requests.


def test_provider_that_needs_its_own_token_gets_a_clear_error(
    kind: Kind, platform: Platform
) -> None:
    async def aprovider(last: Any, manager: Any) -> Any:
        transport = kind.transport(platform)
        async with kind.library.AsyncClient(auth=manager, transport=transport) as client:
            return await client.get(API)

    def provider(last: Any, manager: Any) -> Any:
        if kind.is_requests:
            return kind.get(manager, API, platform)
        with kind.library.Client(auth=manager, transport=kind.transport(platform)) as client:
            return client.get(API)

    for candidate in [provider, aprovider] if kind.is_async else [provider]:
        auth = kind.auth(platform, oauth_token_provider=candidate)
        with pytest.raises(ReentrantRequestError, match="oauth_token_provider") as caught:
            kind.get(auth, API, platform)
        # A bug, and no failed request.
        assert not isinstance(caught.value, kind.request_error)
    assert platform.calls == []


def test_provider_that_needs_its_own_token_in_a_child_task(
    async_kind: Kind, platform: Platform
) -> None:
    caught: list[Exception] = []

    async def provider(last: Any, manager: Any) -> Any:
        async def child() -> None:
            try:
                await manager.aheaders(API)
            except ReentrantRequestError as error:
                caught.append(error)

        async with anyio.create_task_group() as group:
            group.start_soon(child)

    auth = async_kind.auth(platform, oauth_token_provider=provider)
    assert async_kind.get(auth, API, platform).status == 200
    assert len(caught) == 1


def test_callbacks_of_another_object_are_no_reentrancy(kind: Kind, platform: Platform) -> None:
    other = kind.auth(platform)

    def provider(last: Any, manager: Any) -> Any:
        other.headers(API)
        return {"access_token": "from-provider"}

    auth = kind.auth(platform, oauth_token_provider=provider)
    kind.get(auth, API, platform)
    kind.get(other, API, platform)
    assert platform.bearers == ["from-provider", "token-1"]
