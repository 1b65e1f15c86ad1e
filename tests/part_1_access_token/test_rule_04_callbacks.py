"""Part 1, rule 4: callbacks under asyncio and trio, and event loops that end."""

from __future__ import annotations

import asyncio
import functools
import threading
from contextvars import ContextVar
from typing import Any, Callable

import pytest

from thingspace_auth_adapters import OauthToken
from thingspace_auth_adapters._core import refresh, workers

from ..support.kinds import Kind
from ..support.logins import credentials
from ..support.optional import anyio
from ..support.real import PATIENCE, Threads, aeventually, eventually, waiters
from ..support.tasks import PROVIDED, Provider, carried
from ..support.virtual import API, Platform

WHO: ContextVar[str] = ContextVar("who", default="nobody")


@pytest.mark.parametrize("is_plain", [True, False])
def test_callbacks_run_in_the_right_thread_with_the_context_variables_of_their_caller(
    async_kind: Kind, platform: Platform, is_plain: bool
) -> None:
    """Plain functions in a thread of their own, the others on the event loop of the request."""
    seen: list[tuple[str, bool]] = []

    def plain(*args: Any) -> Any:
        seen.append((WHO.get(), threading.get_ident() == this_thread))
        return PROVIDED if len(args) == 2 else None

    async def awaitable(*args: Any) -> Any:
        await anyio.sleep(0)
        return plain(*args)

    this_thread = threading.get_ident()
    callback: Any = plain if is_plain else awaitable
    auth = async_kind.auth(platform, oauth_token_provider=callback, oauth_on_token_update=callback)

    async def scenario() -> str:
        WHO.set("the caller")
        return await carried(async_kind, auth, platform)

    assert async_kind.run(scenario) == "provided"
    assert seen == [("the caller", not is_plain)] * 2


@pytest.mark.parametrize("run", ["anyio.run", "asyncio.run"])
def test_plain_provider_may_run_an_event_loop_of_its_own(
    async_kind: Kind, platform: Platform, run: str
) -> None:
    async def ask() -> dict[str, str]:
        await anyio.sleep(0)
        return PROVIDED

    def provider(last: Any, owner: Any) -> Any:
        return anyio.run(ask) if run == "anyio.run" else asyncio.run(ask())

    auth = async_kind.auth(platform, oauth_token_provider=provider)
    assert async_kind.run(carried, async_kind, auth, platform) == "provided"


def test_anything_that_returns_an_awaitable_is_awaited(
    async_kind: Kind, platform: Platform
) -> None:
    async def provide(name: str, last: Any, manager: Any) -> OauthToken:
        return OauthToken(name, "Bearer")

    class Update:
        def __init__(self) -> None:
            self.told: list[str] = []

        async def __call__(self, token: OauthToken) -> None:
            self.told.append(token.access_token)

    update = Update()
    auth = async_kind.auth(
        platform,
        oauth_token_provider=lambda last, manager: functools.partial(provide, "x")(last, manager),
        oauth_on_token_update=update,
    )
    async_kind.get(auth, API, platform)
    assert platform.bearers == ["x"]
    assert update.told == ["x"]


class Unclosable:
    """An awaitable that is no coroutine."""

    def __await__(self) -> Any:
        pytest.fail("it cannot have been awaited")


async def coroutine(*args: Any) -> None:
    pytest.fail("it cannot have been awaited")


@pytest.mark.parametrize("name", ["oauth_token_provider", "oauth_on_token_update"])
@pytest.mark.parametrize("callback", [coroutine, lambda *args: Unclosable()])
def test_awaitable_under_a_synchronous_client_is_a_type_error(
    sync_kind: Kind, platform: Platform, name: str, callback: Any
) -> None:
    with pytest.raises(TypeError, match=f"{name} returned an awaitable"):
        sync_kind.get(sync_kind.auth(platform, **{name: callback}), API, platform)


def test_what_would_block_a_running_loop_is_an_error(async_kind: Kind, platform: Platform) -> None:
    async def provider(last: Any, manager: Any) -> Any:
        return manager.fetch_token()

    auth = async_kind.auth(platform, m2m=credentials())
    misled = async_kind.auth(platform, oauth_token_provider=provider)
    calls: list[tuple[str, Callable[[], Any]]] = [
        ("afetch_token", auth.fetch_token),
        ("arevoke_token", auth.revoke_token),
        ("aheaders", lambda: auth.headers(API)),
        ("arecover", lambda: auth.recover(API, {}, "GET", 401, {}, b"")),
        ("afetch_vz_m2m_token", auth.fetch_vz_m2m_token),
        ("aend_m2m_session", auth.end_m2m_session),
        ("aallow_login", auth.allow_login),
    ]

    async def scenario() -> None:
        for name, call in calls:
            with pytest.raises(RuntimeError, match=name):
                call()
        with pytest.raises(RuntimeError, match="afetch_token"):
            await carried(async_kind, misled, platform)

    async_kind.run(scenario)
    assert platform.calls == []


@pytest.mark.parametrize("is_plain", [True, False])
def test_providers_fetch_goes_over_a_synchronous_client(
    async_kind: Kind, platform: Platform, is_plain: bool
) -> None:
    """The private client is synchronous also if an asynchronous one's request needs it."""
    library, inner = async_kind.library, async_kind.transport(platform)

    class Synchronous(library.BaseTransport):  # type: ignore[name-defined,misc]
        def handle_request(self, request: Any) -> Any:
            return inner.handle_request(request)

    async def awaitable(last: Any, manager: Any) -> Any:
        return await manager.afetch_token({"extra": "1"})

    def plain(last: Any, manager: Any) -> Any:
        return manager.fetch_token({"extra": "1"})

    auth = async_kind.auth(
        client_options={"transport": Synchronous()},
        oauth_token_provider=plain if is_plain else awaitable,
    )
    async_kind.get(auth, API, platform)
    (call,) = platform.token_calls
    assert call.form["extra"] == "1"


@pytest.fixture
def watchful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever watches an event loop, within a second, does so all the time."""
    for module in (workers, refresh):
        assert module.WATCH_SECONDS <= 1.0
        monkeypatch.setattr(module, "WATCH_SECONDS", 0.005)


# Event loops that end or stand still.


class Forgetful:
    """A provider that the first time awaits for ever, on a loop that is left."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, last: Any, owner: Any) -> Any:
        self.calls += 1
        return anyio.sleep_forever() if self.calls == 1 else PROVIDED


@pytest.mark.usefixtures("watchful")
@pytest.mark.parametrize("is_closed", [True, False])
def test_provider_on_a_loop_that_stands_still_or_was_closed_counts_as_interrupted(
    asyncio_kind: Kind, platform: Platform, is_closed: bool
) -> None:
    provider = Forgetful()
    auth = asyncio_kind.auth(platform, oauth_token_provider=provider)
    loop = asyncio.new_event_loop()

    async def begin() -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.ensure_future(auth.aheaders(API))
        await aeventually(lambda: provider.calls)
        return task

    task = loop.run_until_complete(begin())
    if is_closed:
        # Nobody complains of what is destroyed with it.
        loop.set_exception_handler(lambda loop, context: None)
        loop.close()

    async def next_one() -> str:
        return await asyncio.wait_for(carried(asyncio_kind, auth, platform), PATIENCE)

    assert asyncio.run(next_one()) == "provided"
    assert provider.calls == 2
    if not is_closed:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            loop.run_until_complete(task)
        loop.close()


@pytest.mark.usefixtures("watchful")
@pytest.mark.parametrize("is_task", [True, False])
def test_whoever_waits_takes_over_from_a_provider_whose_event_loop_ended(
    async_kind: Kind, platform: Platform, is_task: bool
) -> None:
    provider, threads = Forgetful(), Threads()
    auth = async_kind.auth(platform, oauth_token_provider=provider)

    def call() -> str:
        if is_task:
            return str(async_kind.run(carried, async_kind, auth, platform))
        return str(auth.headers(API)["Authorization"].replace("Bearer ", ""))

    async def begin() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(carried, async_kind, auth, platform)
            await aeventually(lambda: provider.calls)
            threads.start(call)
            await aeventually(lambda: waiters(auth) == 1)
            group.cancel_scope.cancel()

    async_kind.run(begin)
    assert threads.join() == ["provided"]
    assert provider.calls == 2


def test_task_whose_loop_was_closed_is_not_woken_and_stops_nobody_else(
    asyncio_kind: Kind, platform: Platform, caplog: pytest.LogCaptureFixture
) -> None:
    provider, threads = Provider(), Threads()
    auth = asyncio_kind.auth(platform, oauth_token_provider=provider)
    loop = asyncio.new_event_loop()

    async def begin() -> list[asyncio.Task[Any]]:
        tasks = [asyncio.ensure_future(auth.aheaders(API)) for _ in range(2)]
        await aeventually(lambda: provider.calls and waiters(auth) == 1)
        return tasks

    loop.set_exception_handler(lambda loop, context: None)
    tasks = loop.run_until_complete(begin())
    threads.start(lambda: auth.headers(API)["Authorization"])
    eventually(lambda: waiters(auth) == 2)
    loop.close()
    provider.may_end.set()
    assert threads.join() == ["Bearer provided-1"]
    assert not any(task.done() for task in tasks)
    # Nobody complains, either.
    assert caplog.records == []


@pytest.mark.usefixtures("watchful")
def test_callback_that_takes_its_time_on_a_running_loop_is_waited_for(
    async_kind: Kind, platform: Platform
) -> None:
    async def provider(last: Any, manager: Any) -> Any:
        for _ in range(20):
            await anyio.sleep(0.002)
        return PROVIDED

    async_kind.get(async_kind.auth(platform, oauth_token_provider=provider), API, platform)
    assert platform.bearers == ["provided"]
