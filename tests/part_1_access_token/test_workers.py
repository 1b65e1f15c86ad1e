"""Under asyncio and trio: a thread leads, tasks only wait, and no event loop carries a token."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import ModuleType
from typing import Any, Callable

import pytest

from thingspace_auth_adapters import ReentrantRequestError, VzM2mCredentials
from thingspace_auth_adapters._core import workers
from thingspace_auth_adapters.stores import TokenStore

from ..support.kinds import ASYNC_KINDS, SYNC_KINDS, Kind
from ..support.optional import anyio
from ..support.real import PATIENCE, Threads, aeventually, eventually, waiters
from ..support.virtual import API, LOGIN_PATH, Answer, Call, Platform

pytestmark = pytest.mark.skipif(not ASYNC_KINDS, reason="no asynchronous client is installed")

ASYNCIO_KINDS = [kind for kind in ASYNC_KINDS if kind.backend == "asyncio"]
LEADERS_NAME = "thingspace-auth"
PROVIDED = {"access_token": "provided"}


@pytest.fixture
def asyncio_kind() -> Kind:
    return ASYNCIO_KINDS[0]


class Provider:
    """A plain provider that takes its time, and can be seen at it."""

    def __init__(self) -> None:
        self.calls = 0
        self.may_end = threading.Event()

    def __call__(self, last: Any, owner: Any) -> dict[str, str]:
        self.calls += 1
        assert self.may_end.wait(PATIENCE)
        return {"access_token": f"provided-{self.calls}"}


async def carried(auth: Any) -> str:
    """What a request of this task's carries."""
    headers = await auth.aheaders(API)
    return str(headers["Authorization"].replace("Bearer ", ""))


def leaders() -> int:
    """How many threads lead now."""
    return [thread.name for thread in threading.enumerate()].count(LEADERS_NAME)


# A cancelled task stops waiting, and that is all.


def test_refresh_goes_on_without_its_first_caller_and_serves_whoever_comes_next(
    async_kind: Kind, platform: Platform
) -> None:
    provider = Provider()
    auth = async_kind.auth(platform, oauth_token_provider=provider)

    async def scenario() -> str:
        async with anyio.create_task_group() as group:
            group.start_soon(carried, auth)
            await aeventually(lambda: provider.calls)
            # This comes back although the provider does not.
            group.cancel_scope.cancel()
        found: list[str] = []

        async def next_one() -> None:
            found.append(await carried(auth))

        async with anyio.create_task_group() as group:
            group.start_soon(next_one)
            await aeventually(lambda: waiters(auth) == 1)
            provider.may_end.set()
        return found[0]

    assert async_kind.run(scenario) == "provided-1"
    assert provider.calls == 1


def test_what_was_begun_is_installed_although_nobody_waits_any_more(
    async_kind: Kind, platform: Platform
) -> None:
    provider = Provider()
    auth = async_kind.auth(platform, oauth_token_provider=provider)

    async def scenario() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(carried, auth)
            await aeventually(lambda: provider.calls)
            group.cancel_scope.cancel()

    async_kind.run(scenario)
    # Its event loop has ended.
    provider.may_end.set()
    eventually(lambda: auth.oauth_token is not None)
    assert async_kind.run(carried, auth) == "provided-1"


def test_cancelling_those_who_wait_cancels_nobody_else(
    async_kind: Kind, platform: Platform
) -> None:
    provider, found = Provider(), []
    auth = async_kind.auth(platform, oauth_token_provider=provider)

    async def call() -> None:
        found.append(await carried(auth))

    async def scenario() -> None:
        async with anyio.create_task_group() as outer:
            outer.start_soon(call)
            await aeventually(lambda: provider.calls)
            outer.start_soon(call)
            async with anyio.create_task_group() as inner:
                for _ in range(3):
                    inner.start_soon(call)
                await aeventually(lambda: waiters(auth) == 4)
                inner.cancel_scope.cancel()
            assert found == []
            provider.may_end.set()

    async_kind.run(scenario)
    assert found == ["provided-1"] * 2
    assert provider.calls == 1


def test_login_goes_on_to_its_end_without_its_caller(async_kind: Kind) -> None:
    is_at_it, may_end = threading.Event(), threading.Event()

    class Slow(Platform):
        def handle(self, call: Call) -> Answer:
            if call.path.endswith(LOGIN_PATH):
                is_at_it.set()
                assert may_end.wait(PATIENCE)
            return super().handle(call)

    platform = Slow()
    auth = async_kind.auth(platform, m2m=VzM2mCredentials("user", "password"))

    async def scenario() -> dict[str, str]:
        async with anyio.create_task_group() as group:
            group.start_soon(auth.aheaders, API)
            await aeventually(is_at_it.is_set)
            group.cancel_scope.cancel()
        may_end.set()
        headers: dict[str, str] = await auth.aheaders(API)
        return headers

    assert async_kind.run(scenario)["VZ-M2M-Token"] == "session-1"
    assert len(platform.login_calls) == 1


def test_caller_in_a_stores_lock_can_be_cancelled_and_the_lock_is_released(
    async_kind: Kind, platform: Platform
) -> None:
    store = Shelf()
    auth = async_kind.auth(platform, store=store)

    async def scenario() -> str:
        store.lock.acquire()
        async with anyio.create_task_group() as group:
            group.start_soon(carried, auth)
            await aeventually(lambda: store.entered)
            group.cancel_scope.cancel()
        store.lock.release()
        return await carried(auth)

    assert async_kind.run(scenario) == "token-1"
    assert (store.entered, store.left) == (1, 1)
    assert len(platform.token_calls) == 1


class Shelf(TokenStore):
    """A store in memory whose lock shows who is at it."""

    def __init__(self) -> None:
        self.entries: dict[str, bytes] = {}
        self.lock = threading.Lock()
        self.entered = self.left = 0

    def read(self, name: str) -> bytes | None:
        return self.entries.get(name)

    def write(self, name: str, content: bytes) -> None:
        self.entries[name] = content

    def delete(self, name: str) -> None:
        self.entries.pop(name, None)

    @contextmanager
    def locked(self, name: str, patience: float) -> Iterator[None]:
        self.entered += 1
        assert self.lock.acquire(timeout=PATIENCE)
        try:
            yield
        finally:
            self.lock.release()
            self.left += 1


def test_nobody_complains_of_an_error_whose_caller_is_gone(
    asyncio_kind: Kind,
    platform: Platform,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    is_at_it, may_end = threading.Event(), threading.Event()
    complaints: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", complaints.append)

    def provider(last: Any, owner: Any) -> Any:
        is_at_it.set()
        assert may_end.wait(PATIENCE)
        raise LookupError

    auth = asyncio_kind.auth(platform, oauth_token_provider=provider)

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: complaints.append(context))
        task = asyncio.ensure_future(carried(auth))
        await aeventually(is_at_it.is_set)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        del task
        may_end.set()
        await aeventually(lambda: not leaders())
        for _ in range(5):
            await asyncio.sleep(0)

    asyncio.run(scenario())
    assert complaints == []
    assert [record for record in caplog.records if record.name == "asyncio"] == []


# What threads there are.


def test_however_many_tasks_wait_one_thread_leads(async_kind: Kind, platform: Platform) -> None:
    provider, found = Provider(), []
    auth = async_kind.auth(platform, oauth_token_provider=provider)

    async def call() -> None:
        found.append(await carried(auth))

    async def scenario() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(50):
                group.start_soon(call)
            await aeventually(lambda: provider.calls and waiters(auth) == 49)
            assert leaders() == 1
            provider.may_end.set()

    eventually(lambda: not leaders())
    async_kind.run(scenario)
    assert found == ["provided-1"] * 50


@contextmanager
def no_thread_to_be_had(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", start)
        yield


def test_where_no_thread_can_be_started_the_tasks_own_leads(
    async_kind: Kind, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []

    def provider(last: Any, owner: Any) -> None:
        threads.append(threading.get_ident())

    auth = async_kind.auth(platform, oauth_token_provider=provider)

    async def scenario() -> tuple[str, str]:
        with no_thread_to_be_had(monkeypatch):
            token = await auth.afetch_token()
            return token.access_token, await carried(auth)

    assert async_kind.run(scenario) == ("token-1", "token-2")
    assert threads == [threading.get_ident()]


def test_without_a_thread_an_async_callback_is_an_error_that_says_so(
    async_kind: Kind, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def provider(last: Any, owner: Any) -> Any:
        return PROVIDED

    auth = async_kind.auth(platform, oauth_token_provider=provider)

    async def scenario() -> str:
        with no_thread_to_be_had(monkeypatch):
            with pytest.raises(ReentrantRequestError, match="no thread"):
                await carried(auth)
        # It leaves nothing behind.
        return await carried(auth)

    assert async_kind.run(scenario) == "provided"


def test_programs_end_does_not_wait_for_a_provider_that_hangs(asyncio_kind: Kind) -> None:
    script = f"""
        import asyncio, threading
        from thingspace_auth_adapters.{asyncio_kind.library_name} import ThingspaceAuth

        entered = threading.Event()

        def provider(last, owner):
            entered.set()
            threading.Event().wait()

        auth = ThingspaceAuth(
            oauth_client_id="id", oauth_client_secret="secret", oauth_token_provider=provider
        )

        async def main():
            task = asyncio.ensure_future(auth.aheaders("{API}"))
            while not entered.is_set():
                await asyncio.sleep(0.001)
            task.cancel()

        asyncio.run(main())
        print("the end")
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "the end\n", "")


# No value passes through an event loop.


@pytest.mark.parametrize("is_plain", [True, False])
def test_debug_mode_of_asyncio_logs_no_part_of_a_token(
    asyncio_kind: Kind, platform: Platform, caplog: pytest.LogCaptureFixture, is_plain: bool
) -> None:
    part = "s3cr3t"
    seen: list[Any] = []

    def plain(last: Any, owner: Any) -> dict[str, str]:
        return {"access_token": part * 20}

    async def awaitable(last: Any, owner: Any) -> dict[str, str]:
        await asyncio.sleep(0)
        return plain(last, owner)

    async def told(token: Any) -> None:
        await asyncio.sleep(0)
        seen.append(token)

    provider: Any = plain if is_plain else awaitable
    update: Any = seen.append if is_plain else told
    m2m = VzM2mCredentials("user", "password", vz_m2m_token=part * 10)
    auth = asyncio_kind.auth(
        platform, oauth_token_provider=provider, oauth_on_token_update=update, m2m=m2m
    )
    caplog.set_level(logging.DEBUG, "asyncio")

    async def call() -> None:
        # A task's result is its user's affair.
        assert (await carried(auth)).startswith(part)

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        loop.set_debug(True)
        loop.slow_callback_duration = 0
        await asyncio.gather(call(), call(), call())
        assert await auth.afetch_vz_m2m_token() == "session-1"
        assert (await auth.afetch_token()).access_token == "token-1"

    asyncio.run(scenario())
    assert len(seen) == 1
    texts = [record.getMessage() for record in caplog.records if record.name == "asyncio"]
    assert any("took" in text for text in texts)
    words = (part, "session-1", "token-1")
    assert [text for text in texts if any(word in text for word in words)] == []


# Callbacks.

WHO: ContextVar[str] = ContextVar("who", default="nobody")


@pytest.mark.parametrize("is_plain", [True, False])
def test_callbacks_see_the_context_variables_of_their_caller(
    async_kind: Kind, platform: Platform, is_plain: bool
) -> None:
    seen: list[str] = []

    def plain(*args: Any) -> Any:
        seen.append(WHO.get())
        return PROVIDED if len(args) == 2 else None

    async def awaitable(*args: Any) -> Any:
        await anyio.sleep(0)
        return plain(*args)

    callback: Any = plain if is_plain else awaitable
    auth = async_kind.auth(platform, oauth_token_provider=callback, oauth_on_token_update=callback)

    async def scenario() -> str:
        WHO.set("the caller")
        return await carried(auth)

    assert async_kind.run(scenario) == "provided"
    assert seen == ["the caller"] * 2


@pytest.mark.parametrize("run", ["anyio.run", "asyncio.run"])
def test_plain_provider_may_run_an_event_loop_of_its_own(
    async_kind: Kind, platform: Platform, run: str
) -> None:
    async def ask() -> dict[str, str]:
        await anyio.sleep(0)
        return PROVIDED

    runners: dict[str, Callable[[Any], Any]] = {"anyio.run": anyio.run, "asyncio.run": call_asyncio}
    auth = async_kind.auth(platform, oauth_token_provider=lambda last, owner: runners[run](ask))
    assert async_kind.run(carried, auth) == "provided"


def call_asyncio(function: Callable[[], Any]) -> Any:
    return asyncio.run(function())


def test_async_callbacks_run_on_the_event_loop_of_the_request(
    async_kind: Kind, platform: Platform
) -> None:
    seen: list[int] = []

    async def provider(last: Any, owner: Any) -> dict[str, str]:
        await anyio.sleep(0)
        seen.append(threading.get_ident())
        return PROVIDED

    async def update(token: Any) -> None:
        await anyio.sleep(0)
        seen.append(threading.get_ident())

    auth = async_kind.auth(platform, oauth_token_provider=provider, oauth_on_token_update=update)
    assert async_kind.run(carried, auth) == "provided"
    assert seen == [threading.get_ident()] * 2


def test_blocking_request_on_the_loop_that_an_async_callback_waits_for_is_an_error(
    async_kind: Kind, platform: Platform
) -> None:
    """And no deadlock; what it disturbed goes on."""
    is_entered, found = threading.Event(), []

    events: list[Any] = []

    async def provider(last: Any, owner: Any) -> dict[str, str]:
        is_entered.set()
        await events[0].wait()
        return PROVIDED

    auth = async_kind.auth(platform, oauth_token_provider=provider)

    async def call() -> None:
        found.append(await carried(auth))

    async def scenario() -> None:
        events.append(anyio.Event())
        transport = async_kind.transport(platform)
        with async_kind.library.Client(auth=auth, transport=transport) as client:
            async with anyio.create_task_group() as group:
                group.start_soon(call)
                await aeventually(is_entered.is_set)
                with pytest.raises(ReentrantRequestError, match="event loop"):
                    client.get(API)
                events[0].set()

    async_kind.run(scenario)
    assert found == ["provided"]


# Event loops that end, or are not what they seem.


class Forgetful:
    """An ``async def`` provider that never ends the first time, on a loop that is left."""

    def __init__(self) -> None:
        self.calls = 0

    async def __call__(self, last: Any, owner: Any) -> dict[str, str]:
        self.calls += 1
        if self.calls == 1:
            await anyio.sleep_forever()
        return {"access_token": f"provided-{self.calls}"}


@pytest.mark.parametrize("is_closed", [True, False])
def test_provider_on_a_loop_that_no_longer_runs_counts_as_interrupted(
    asyncio_kind: Kind, platform: Platform, is_closed: bool
) -> None:
    provider = Forgetful()
    auth = asyncio_kind.auth(platform, oauth_token_provider=provider)
    loop = asyncio.new_event_loop()

    async def begin() -> asyncio.Task[str]:
        task = asyncio.ensure_future(carried(auth))
        await aeventually(lambda: provider.calls)
        return task

    task = loop.run_until_complete(begin())
    if is_closed:
        # Nobody complains of what is destroyed with it.
        loop.set_exception_handler(lambda loop, context: None)
        loop.close()

    async def next_one() -> str:
        return await asyncio.wait_for(carried(auth), PATIENCE)

    assert asyncio.run(next_one()) == "provided-2"
    assert provider.calls == 2
    if not is_closed:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            loop.run_until_complete(task)
        loop.close()


def test_provider_whose_event_loop_ended_counts_as_interrupted(
    async_kind: Kind, platform: Platform
) -> None:
    provider = Forgetful()
    auth = async_kind.auth(platform, oauth_token_provider=provider)

    async def begin() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(carried, auth)
            await aeventually(lambda: provider.calls)
            group.cancel_scope.cancel()

    async_kind.run(begin)

    async def next_one() -> str:
        with anyio.fail_after(PATIENCE):
            return await carried(auth)

    assert async_kind.run(next_one) == "provided-2"


def test_who_waits_in_a_thread_takes_over_from_a_loop_that_ended(
    asyncio_kind: Kind, platform: Platform
) -> None:
    calls, threads = [], Threads()

    def provider(last: Any, owner: Any) -> Any:
        calls.append(threading.current_thread().name)
        if calls == [LEADERS_NAME]:
            return anyio.sleep_forever()
        return PROVIDED

    auth = asyncio_kind.auth(platform, oauth_token_provider=provider)

    async def scenario() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(carried, auth)
            await aeventually(lambda: calls)
            threads.start(lambda: auth.headers(API)["Authorization"])
            await aeventually(lambda: waiters(auth) == 1)
            group.cancel_scope.cancel()

    asyncio_kind.run(scenario)
    assert threads.join() == ["Bearer provided"]
    assert len(calls) == 2


def test_task_whose_loop_was_closed_is_not_woken(asyncio_kind: Kind, platform: Platform) -> None:
    provider = Provider()
    auth = asyncio_kind.auth(platform, oauth_token_provider=provider)
    loop = asyncio.new_event_loop()

    async def begin() -> asyncio.Task[str]:
        task = asyncio.ensure_future(carried(auth))
        await aeventually(lambda: provider.calls)
        return task

    loop.set_exception_handler(lambda loop, context: None)
    task = loop.run_until_complete(begin())
    loop.close()
    provider.may_end.set()
    assert asyncio.run(carried(auth)) == "provided-1"
    assert not task.done()


@pytest.mark.parametrize("has_lowlevel", [True, False])
def test_trio_that_another_thread_is_importing_breaks_nothing(
    asyncio_kind: Kind, platform: Platform, has_lowlevel: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    half: Any = ModuleType("trio")
    if has_lowlevel:
        half.lowlevel = ModuleType("trio.lowlevel")

    async def provider(last: Any, owner: Any) -> dict[str, str]:
        return PROVIDED

    auth = asyncio_kind.auth(platform, oauth_token_provider=provider)

    async def scenario() -> str:
        # Not for anyio, which has a look of its own.
        monkeypatch.setitem(sys.modules, "trio", half)
        try:
            return await carried(auth)
        finally:
            monkeypatch.undo()

    assert asyncio.run(scenario()) == "provided"
    for kind in SYNC_KINDS:
        with monkeypatch.context() as patched:
            patched.setitem(sys.modules, "trio", half)
            assert kind.auth(platform).headers(API)["Authorization"].startswith("Bearer token-")


def test_program_without_asyncio_runs_no_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trio", None)
    monkeypatch.delitem(sys.modules, "asyncio")
    assert workers.running_loop() is None


def test_callback_that_takes_its_time_on_a_running_loop_is_waited_for(
    async_kind: Kind, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "WATCH_SECONDS", 0.001)

    async def provider(last: Any, manager: Any) -> Any:
        for _ in range(20):
            await anyio.sleep(0.002)
        return {"access_token": "provided"}

    async_kind.get(async_kind.auth(platform, oauth_token_provider=provider), API, platform)
    assert platform.bearers == ["provided"]


def test_refresh_whose_thread_was_never_started_is_given_up(
    async_kind: Kind, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by Ctrl-C between the two: whoever comes next does not wait for it."""
    auth = async_kind.auth(platform)
    start = workers.start

    def interrupted(*args: Any) -> Any:
        monkeypatch.setattr(workers, "start", start)
        raise KeyboardInterrupt

    monkeypatch.setattr(workers, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        async_kind.run(carried, auth)
    assert auth._tokens.bearers._flight.under_way is None
    assert async_kind.run(carried, auth) == "token-1"
