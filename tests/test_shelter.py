"""Under asyncio and trio: what goes on although its caller is cancelled, and locks that do not."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Callable, NamedTuple

import pytest

from thingspace_auth_adapters._core.effects import Block, Clock, Hold, Shelter
from thingspace_auth_adapters._core.single_flight import ABANDONED, Refresh

from .kinds import ASYNC_KINDS, Kind
from .optional import anyio
from .real import PATIENCE, aeventually, eventually

pytestmark = pytest.mark.skipif(not ASYNC_KINDS, reason="no asynchronous client is installed")

BACKENDS = sorted({kind.backend for kind in ASYNC_KINDS})


@pytest.fixture(params=BACKENDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return next(kind for kind in ASYNC_KINDS if kind.backend == request.param)


class Await(NamedTuple):
    """An effect: the result of what is awaited."""

    function: Callable[[], Any]

    def perform(self, io: Any) -> Any:
        return self.function()


class Nowhere:
    asend = aread_body = None


async def take(steps: Any) -> Any:
    from thingspace_auth_adapters._core.async_driver import AsyncIO, arun

    return await arun(steps, AsyncIO(Nowhere, Clock()))


def one_step(effect: Any) -> Any:
    return (yield effect)


class Story:
    """A refresh that commits itself, waits for ``may_end``, and leaves a trail."""

    def __init__(self, seconds: float = PATIENCE) -> None:
        self.refresh = Refresh(None, float("inf"))
        self.may_commit = anyio.Event()
        self.may_end = anyio.Event()
        self.trail: list[str] = []
        self.seconds = seconds

    def steps(self) -> Any:
        try:
            self.trail.append("begun")
            yield Await(self.may_commit.wait)
            self.refresh.commit()
            self.trail.append("committed")
            yield Await(self.may_end.wait)
            self.trail.append("ended")
            self.refresh.commit(is_committed=False)
            yield Await(lambda: anyio.sleep(0.01))
            self.trail.append("went on")
            return "done"
        except BaseException as error:
            self.trail.append(type(error).__name__)
            raise
        finally:
            self.refresh.settle(ABANDONED)

    async def caller(self) -> None:
        shelter = Shelter(self.refresh, self.steps(), self.seconds)
        result = await take(one_step(shelter))
        self.trail.append(f"caller got {result}")

    async def is_at(self, word: str) -> None:
        await aeventually(lambda: self.trail[-1:] == [word])


def test_caller_that_stays_gets_the_result(kind: Kind) -> None:
    async def scenario() -> list[str]:
        story = Story()
        story.may_commit.set()
        story.may_end.set()
        await story.caller()
        return story.trail

    expected = ["begun", "committed", "ended", "went on", "caller got done"]
    assert kind.run(scenario) == expected


def test_what_is_raised_reaches_the_caller_as_the_same_object(kind: Kind) -> None:
    error = LookupError()

    def fail() -> Any:
        yield from ()
        raise error

    async def scenario() -> None:
        with pytest.raises(LookupError) as caught:
            await take(one_step(Shelter(Refresh(None, 0.0), fail(), PATIENCE)))
        assert caught.value is error

    kind.run(scenario)


def test_what_is_not_committed_ends_with_its_caller(kind: Kind) -> None:
    async def scenario() -> Story:
        story = Story()
        async with anyio.create_task_group() as group:
            group.start_soon(story.caller)
            await story.is_at("begun")
            group.cancel_scope.cancel()
        await story.is_at("Cancelled" if kind.backend == "trio" else "CancelledError")
        assert story.refresh.outcome is ABANDONED
        return story

    assert "committed" not in kind.run(scenario).trail


def test_what_is_committed_goes_on_without_its_caller_until_it_no_longer_is(kind: Kind) -> None:
    async def scenario() -> list[str]:
        story = Story()
        story.may_commit.set()
        async with anyio.create_task_group() as group:
            group.start_soon(story.caller)
            await story.is_at("committed")
            group.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                for _ in range(10):
                    await anyio.sleep(0)
                assert story.trail[-1] == "committed"
                story.may_end.set()
        await aeventually(lambda: story.refresh.outcome is ABANDONED)
        return story.trail

    trail = kind.run(scenario)
    assert trail[:3] == ["begun", "committed", "ended"]
    assert trail[3] in ("Cancelled", "CancelledError")
    assert len(trail) == 4


def test_what_is_committed_does_not_go_on_for_ever(kind: Kind) -> None:
    async def scenario() -> list[str]:
        story = Story(seconds=0.05)
        story.may_commit.set()

        async def lose_patience() -> None:
            with anyio.CancelScope(shield=True):
                with anyio.move_on_after(5):
                    await aeventually(lambda: story.refresh.outcome is not None)
                story.may_end.set()

        async with anyio.create_task_group() as group:
            group.start_soon(story.caller)
            await story.is_at("committed")
            group.start_soon(lose_patience)
            await anyio.sleep(0)
            group.cancel_scope.cancel()
        await aeventually(lambda: story.refresh.outcome is ABANDONED)
        return story.trail

    trail = kind.run(scenario)
    assert trail[:2] == ["begun", "committed"]
    assert "ended" not in trail


@pytest.mark.skipif("asyncio" not in BACKENDS, reason="only asyncio has tasks that can be lost")
def test_steps_that_never_began_are_abandoned_all_the_same() -> None:
    async def scenario() -> Refresh:
        story = Story()
        task = asyncio.ensure_future(story.caller())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return story.refresh

    assert asyncio.run(scenario()).outcome is ABANDONED


@pytest.mark.skipif("asyncio" not in BACKENDS, reason="only asyncio complains of lost errors")
def test_nobody_complains_of_an_error_whose_caller_is_gone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario() -> None:
        refresh, may_fail = Refresh(None, 0.0), asyncio.Event()

        def fail() -> Any:
            refresh.commit()
            yield Await(may_fail.wait)
            raise LookupError

        task = asyncio.ensure_future(take(one_step(Shelter(refresh, fail(), PATIENCE))))
        await aeventually(lambda: refresh.is_committed)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        may_fail.set()
        for _ in range(5):
            await asyncio.sleep(0)

    asyncio.run(scenario())
    assert caplog.records == []


# A lock that is taken and released in worker threads.


class Lock:
    """A blocking lock that shows who is at it, and may be released on another thread."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.entered = 0
        self.left = 0

    @contextmanager
    def locked(self) -> Iterator[None]:
        self.entered += 1
        self.lock.acquire()
        try:
            yield
        finally:
            self.lock.release()
            self.left += 1

    def is_held(self) -> bool:
        return self.lock.locked()

    def holding(self, steps: Any) -> Any:
        return take(one_step(Hold(self.locked, steps)))


def test_lock_is_held_around_its_steps(kind: Kind) -> None:
    lock = Lock()

    async def scenario() -> None:
        assert await lock.holding(one_step(Block(lock.lock.locked))) is True

    kind.run(scenario)
    assert not lock.is_held()


@pytest.mark.parametrize("error", [LookupError(), KeyboardInterrupt()])
def test_lock_is_released_whatever_its_steps_raise(kind: Kind, error: BaseException) -> None:
    lock = Lock()

    def fail() -> Any:
        yield from ()
        raise error

    async def scenario() -> None:
        with pytest.raises(type(error)) as caught:
            await lock.holding(fail())
        assert caught.value is error

    kind.run(scenario)
    assert not lock.is_held()


def test_lock_is_released_if_its_holder_is_cancelled(kind: Kind) -> None:
    lock = Lock()

    async def scenario() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(lock.holding, one_step(Await(anyio.sleep_forever)))
            await aeventually(lock.lock.locked)
            group.cancel_scope.cancel()
        assert not lock.is_held()

    kind.run(scenario)


def test_lock_that_comes_after_its_waiter_was_cancelled_is_given_back(kind: Kind) -> None:
    lock, trail = Lock(), []

    async def scenario() -> None:
        lock.lock.acquire()
        async with anyio.create_task_group() as group:
            group.start_soon(lock.holding, one_step(Block(lambda: trail.append("held"))))
            await aeventually(lambda: lock.entered)
            group.cancel_scope.cancel()
            lock.lock.release()
        assert not lock.is_held()

    kind.run(scenario)
    assert lock.left == 1
    assert trail in ([], ["held"])


@pytest.mark.skipif("asyncio" not in BACKENDS, reason="only asyncio has no shield against this")
def test_task_that_is_cancelled_does_not_wait_for_the_lock_and_leaves_none_behind() -> None:
    lock = Lock()

    async def scenario() -> None:
        lock.lock.acquire()
        task = asyncio.ensure_future(lock.holding(one_step(Block(bool))))
        await aeventually(lambda: lock.entered)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        lock.lock.release()
        await aeventually(lambda: lock.left == 1)

    asyncio.run(scenario())
    eventually(lambda: not lock.is_held())


@pytest.mark.skipif("asyncio" not in BACKENDS, reason="only asyncio has no shield against this")
def test_lock_is_released_once_however_often_its_task_is_cancelled() -> None:
    lock = Lock()

    async def scenario() -> None:
        task = asyncio.ensure_future(lock.holding(one_step(Await(anyio.sleep_forever))))
        await aeventually(lock.lock.locked)
        while not task.done():
            task.cancel()
            await asyncio.sleep(0)
        await aeventually(lambda: lock.left == 1)

    asyncio.run(scenario())
    assert not lock.is_held()
