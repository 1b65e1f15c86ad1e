"""Part 1, rule 4: under asyncio and trio a thread refreshes, and tasks only wait."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from thingspace_auth_adapters import ReentrantRequestError
from thingspace_auth_adapters.stores import TokenStore

from ..support.kinds import Kind
from ..support.logins import credentials
from ..support.optional import anyio
from ..support.real import PATIENCE, Threads, aeventually, eventually, waiters
from ..support.tasks import PROVIDED, Provider, SlowPlatform, blocking_get, cancelled, carried, sent
from ..support.virtual import API, LOGIN_PATH, TOKEN_PATH, Platform

LEADERS_NAME = "thingspace-auth"


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
        await cancelled(lambda: provider.calls, carried, async_kind, auth, platform)
        found: list[str] = []

        async def next_one() -> None:
            found.append(await carried(async_kind, auth, platform))

        async with anyio.create_task_group() as group:
            group.start_soon(next_one)
            await aeventually(lambda: waiters(auth) == 1)
            provider.may_end.set()
        return found[0]

    assert async_kind.run(scenario) == "provided-1"
    assert provider.calls == 1


def test_what_was_begun_is_installed_although_every_event_loop_that_waited_has_ended(
    async_kind: Kind, platform: Platform
) -> None:
    """One event loop per job, with a time limit that is shorter than the refresh."""
    provider = Provider()
    auth = async_kind.auth(platform, oauth_token_provider=provider)
    args = (lambda: provider.calls, carried, async_kind, auth, platform)
    for _ in range(3):
        async_kind.run(cancelled, *args)
    provider.may_end.set()
    eventually(lambda: auth.oauth_token is not None)
    assert async_kind.run(carried, async_kind, auth, platform) == "provided-1"


def test_cancelling_those_who_wait_cancels_nobody_else(
    async_kind: Kind, platform: Platform
) -> None:
    provider, found = Provider(), []
    auth = async_kind.auth(platform, oauth_token_provider=provider)

    async def call() -> None:
        found.append(await carried(async_kind, auth, platform))

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


class Shelf(TokenStore):
    """A store of nothing, whose lock shows who is at it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.entered = self.left = 0

    def read(self, name: str) -> bytes | None:
        return None

    def write(self, name: str, content: bytes) -> None: ...
    def delete(self, name: str) -> None: ...

    @contextmanager
    def locked(self, name: str, patience: float) -> Iterator[None]:
        self.entered += 1
        assert self.lock.acquire(timeout=PATIENCE)
        try:
            yield
        finally:
            self.lock.release()
            self.left += 1


def test_callers_behind_a_stores_lock_can_be_cancelled_and_leave_one_thread_that_releases_it(
    async_kind: Kind, platform: Platform
) -> None:
    store = Shelf()
    auth = async_kind.auth(platform, store=store)

    async def scenario() -> str:
        store.lock.acquire()
        for _ in range(100):
            await cancelled(lambda: store.entered, carried, async_kind, auth, platform)
        assert leaders() == 1
        store.lock.release()
        return await carried(async_kind, auth, platform)

    eventually(lambda: not leaders())
    assert async_kind.run(scenario) == "token-1"
    assert (store.entered, store.left) == (1, 1)
    assert len(platform.token_calls) == 1


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
        task = asyncio.ensure_future(carried(asyncio_kind, auth, platform))
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
        found.append(await carried(async_kind, auth, platform))

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
            return token.access_token, await carried(async_kind, auth, platform)

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
                await carried(async_kind, auth, platform)
        # It leaves nothing behind.
        return await carried(async_kind, auth, platform)

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


@pytest.mark.parametrize("is_plain", [True, False])
def test_debug_mode_of_asyncio_logs_no_part_of_a_token(
    asyncio_kind: Kind, platform: Platform, caplog: pytest.LogCaptureFixture, is_plain: bool
) -> None:
    """No value passes through an event loop."""
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
    m2m = credentials(vz_m2m_token=part * 10)
    auth = asyncio_kind.auth(
        platform, oauth_token_provider=provider, oauth_on_token_update=update, m2m=m2m
    )
    caplog.set_level(logging.DEBUG, "asyncio")

    async def call() -> None:
        # A task's result is its user's affair.
        assert (await auth.aheaders(API))["Authorization"].startswith(f"Bearer {part}")

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


# Synchronous clients on an event loop's own thread, as in a notebook.


def test_blocking_client_in_async_code_may_have_a_provider_that_fetches(
    async_kind: Kind, platform: Platform
) -> None:
    auth = async_kind.auth(
        platform, oauth_token_provider=lambda last, manager: manager.fetch_token()
    )

    async def scenario() -> int:
        return blocking_get(async_kind, auth, platform)

    assert async_kind.run(scenario) == 200


@pytest.mark.parametrize("path", [TOKEN_PATH, LOGIN_PATH])
def test_blocking_request_on_the_loops_own_thread_shares_the_refresh_under_way(
    async_kind: Kind, path: str
) -> None:
    """That needs no event loop, so it goes on while the loop is blocked."""
    platform, found = SlowPlatform(path), []
    auth = async_kind.auth(platform, m2m=credentials())
    threads = Threads()

    async def call() -> None:
        found.append(await sent(async_kind, auth, platform))

    def answer() -> None:
        eventually(lambda: waiters(auth, is_login=True) == 1)
        platform.may_answer.set()

    async def scenario() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(call)
            await aeventually(platform.is_asked.is_set)
            threads.start(answer)
            assert blocking_get(async_kind, auth, platform) == 200

    async_kind.run(scenario)
    assert threads.join() == [None]
    assert len(found) == 1
    assert sorted(platform.trail) == ["api", "api", "login", "token"]


@pytest.mark.parametrize("m2m", [None, credentials()])
def test_blocking_request_on_the_loop_that_an_async_callback_waits_for_is_an_error(
    async_kind: Kind, platform: Platform, m2m: Any
) -> None:
    """And no deadlock, also where a login waits for the callback; what it disturbed goes on."""
    is_entered, found = threading.Event(), []
    events: list[Any] = []

    async def provider(last: Any, owner: Any) -> Any:
        is_entered.set()
        await events[0].wait()
        return await owner.afetch_token()

    auth = async_kind.auth(platform, oauth_token_provider=provider, m2m=m2m)

    async def call() -> None:
        found.append(await carried(async_kind, auth, platform))

    async def scenario() -> None:
        events.append(anyio.Event())
        async with anyio.create_task_group() as group:
            group.start_soon(call)
            await aeventually(is_entered.is_set)
            with pytest.raises(ReentrantRequestError, match="event loop"):
                blocking_get(async_kind, auth, platform)
            events[0].set()

    async_kind.run(scenario)
    assert found == ["token-1"]
    assert len(platform.login_calls) == (m2m is not None)
