"""The module ``_core/workers``: which event loop runs, and a thread that is never started."""

from __future__ import annotations

import asyncio
import inspect
import sys
import threading
from types import ModuleType
from typing import Any

import pytest

from thingspace_auth_adapters._core import workers

from ..support.kinds import Kind
from ..support.virtual import API, Platform

ABSENT = object()


def half_imported(has_lowlevel: bool) -> Any:
    """The module trio as another thread sees it that is importing it."""
    trio: Any = ModuleType("trio")
    if has_lowlevel:
        trio.lowlevel = ModuleType("trio.lowlevel")
    return trio


@pytest.mark.parametrize("trio", [ABSENT, None, half_imported(False), half_imported(True)])
def test_running_loop_of_asyncio_is_noticed_whatever_becomes_of_trio(
    monkeypatch: pytest.MonkeyPatch, trio: Any
) -> None:
    if trio is ABSENT:
        monkeypatch.delitem(sys.modules, "trio", raising=False)
    else:
        monkeypatch.setitem(sys.modules, "trio", trio)

    async def ask() -> bool:
        return workers.running_loop() is not None

    assert workers.running_loop() is None
    assert asyncio.run(ask())


def test_running_loop_is_noticed(async_kind: Kind) -> None:
    async def ask() -> bool:
        return workers.running_loop() is not None

    assert async_kind.run(ask)
    assert workers.running_loop() is None


def test_program_without_asyncio_runs_no_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trio", None)
    monkeypatch.delitem(sys.modules, "asyncio")
    assert workers.running_loop() is None


@pytest.mark.parametrize("has_lowlevel", [True, False])
def test_trio_that_another_thread_is_importing_breaks_no_request(
    kind: Kind, platform: Platform, has_lowlevel: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind.backend == "trio":
        pytest.skip("here it has been imported")
    provider = kind.callback(lambda last, owner: {"access_token": "provided"})
    auth = kind.auth(platform, oauth_token_provider=provider)

    async def scenario() -> Any:
        # Not for anyio, which has a look of its own.
        with monkeypatch.context() as patched:
            patched.setitem(sys.modules, "trio", half_imported(has_lowlevel))
            return await auth.aheaders(API)

    if kind.is_async:
        headers = asyncio.run(scenario())
    else:
        monkeypatch.setitem(sys.modules, "trio", half_imported(has_lowlevel))
        headers = auth.headers(API)
    assert headers["Authorization"] == "Bearer provided"


def test_refresh_whose_thread_was_never_started_is_given_up(
    async_kind: Kind, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by Ctrl-C between the two: whoever comes next does not wait for it."""
    auth = async_kind.auth(platform)

    def interrupted(*args: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(workers, "start", interrupted)
        with pytest.raises(KeyboardInterrupt):
            async_kind.run(auth.aheaders, API)
    assert auth._tokens.bearers._flight.under_way is None
    assert async_kind.run(auth.aheaders, API)["Authorization"] == "Bearer token-1"


def test_program_can_end_while_a_thread_of_ours_waits(async_kind: Kind) -> None:
    async def main() -> bool:
        return await workers.in_thread(lambda: threading.current_thread().daemon)

    assert async_kind.run(main)


def test_only_a_coroutine_that_was_never_begun_is_closed() -> None:
    future: asyncio.Future[None] = asyncio.Future(loop=asyncio.new_event_loop())

    async def waiting() -> None:
        await future

    begun, never_begun = waiting(), waiting()
    begun.send(None)
    for awaitable in (begun, never_begun, future):
        workers._drop(awaitable)
    assert inspect.getcoroutinestate(begun) == inspect.CORO_SUSPENDED
    assert inspect.getcoroutinestate(never_begun) == inspect.CORO_CLOSED
    begun.close()
    future.get_loop().close()
