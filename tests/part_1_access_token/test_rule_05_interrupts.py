"""Part 1, rule 5: what ends a leader from outside is its own, and nobody waits for it for ever.

Something raises at a line of the package, as a signal handler or a killed greenlet does: one run
for each line that a refresh goes through, and in the core one more for the last time that it does.
"""

from __future__ import annotations

import functools
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Callable, NamedTuple

import pytest

from thingspace_auth_adapters import OauthProviderError, ThingspaceOauthCredentials
from thingspace_auth_adapters._adapters import auth as adapters
from thingspace_auth_adapters._core.access_tokens import AccessTokens
from thingspace_auth_adapters._core.clock import Clock
from thingspace_auth_adapters._core.lifecycle import Lifecycle
from thingspace_auth_adapters._core.refresh import Caller, Failed
from thingspace_auth_adapters._model.settings import Settings

from ..support.kinds import ADAPTER_KINDS, IDENTITY, Kind
from ..support.loopback import Loopback, alarm_main_thread, alarm_raises
from ..support.real import PATIENCE, Threads, eventually, waiters
from ..support.scheduler import replaced
from ..support.steps import INTERRUPTS, PACKAGE, TimeLimit, answered, token, with_lines
from ..support.virtual import API, BASE, Answer, Platform, VirtualClock, refusal, token_answer

CORE = str(Path(PACKAGE, "_core"))
MOMENTS = ("cold", "after a 401", "ahead of expiry", "refused")

Work = Callable[[], Any]
Prepare = Callable[[str], "tuple[Work, Work]"]


class ImpatientClock(Clock):
    """The machine's, but waiting takes no time: here nobody is left who could end it."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead

    def wait(self, future: Future[Any], seconds: float) -> None:
        if not future.done():
            self.ahead += seconds


class Line(NamedTuple):
    """A moment at which a line is about to run: how often it did so before."""

    code: CodeType
    number: int
    before: int = 0

    def __str__(self) -> str:
        path = Path(self.code.co_filename).relative_to(PACKAGE)
        return f"{path}:{self.number} ({self.code.co_name}, after {self.before} times)"


@contextmanager
def traced(local: Callable[..., Any], is_of_interest: Callable[[CodeType], bool]) -> Iterator[None]:
    """Have ``local`` see each line of the package's code that this thread runs."""

    def see_call(frame: FrameType, event: str, argument: object) -> Any:
        return local if is_of_interest(frame.f_code) else None

    before = sys.gettrace()
    sys.settrace(see_call)
    try:
        yield
    finally:
        sys.settrace(before)


def lines_of(work: Work) -> list[Line]:
    """The lines that ``work`` runs, each as it is first run, and those of the core as last run."""
    counts: dict[tuple[CodeType, int], int] = {}

    def see_line(frame: FrameType, event: str, argument: object) -> Any:
        if event == "line":
            key = frame.f_code, frame.f_lineno
            counts[key] = counts.get(key, 0) + 1
        return see_line

    with traced(see_line, lambda code: code.co_filename.startswith(PACKAGE)):
        with suppress(OauthProviderError, Failed):
            work()
    last = [
        Line(code, number, count - 1)
        for (code, number), count in counts.items()
        if count > 1 and code.co_filename.startswith(CORE) and number not in with_lines(code)
    ]
    return last + [Line(code, number) for code, number in counts]


def interrupted(work: Work, line: Line, error: BaseException) -> None:
    """Run ``work``, with ``error`` raised at this line."""
    left = line.before

    def see_line(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal left
        if event == "line" and frame.f_lineno == line.number and frame.f_code is line.code:
            left -= 1
            if left < 0:
                raise error
        return see_line

    with traced(see_line, lambda code: code is line.code):
        work()


def is_of_single_flight(line: Line) -> bool:
    """Whether it depends on the moment, and on the next caller's thread, what it leaves behind."""
    return line.code.co_filename.endswith(("lifecycle.py", "refresh.py"))


def outcomes_after_interrupts(
    prepare: Prepare, is_of_interest: Callable[[Line], bool], run: Callable[[Work], Any]
) -> list[str]:
    """What the next caller gets and how long it waits, for each moment and line of interest.

    Args:
        prepare: what leads to a refresh at this moment, and what is the next caller's.
        is_of_interest: tells lines.
        run: runs the next caller's work.
    """
    found: list[str] = []
    for moment in MOMENTS:
        # The first run imports, compiles and caches.
        lines_of(prepare(moment)[0])
        for line in filter(is_of_interest, lines_of(prepare(moment)[0])):
            work, next_one = prepare(moment)
            error = INTERRUPTS[len(found) % 2]()
            with pytest.raises(type(error)) as caught:
                interrupted(work, line, error)
            assert caught.value is error
            try:
                outcome = run(next_one)
            except Exception as failure:
                outcome = repr(failure)
            found.append(f"{moment}, at {line}: {outcome}")
    return found


def in_another_thread(work: Work) -> Any:
    return _other_thread.submit(work).result(PATIENCE)


_other_thread = ThreadPoolExecutor(1)


def answers(moment: str) -> list[tuple[str, int]]:
    """What the token endpoint answers one after another; the first time, maybe, with a refusal."""
    lifetime = 10 if moment == "ahead of expiry" else 3600
    refused = [("", 0)] if moment == "refused" else []
    return [*refused, ("token-0", lifetime), ("token-1", 3600)]


@pytest.mark.parametrize("leader", ADAPTER_KINDS, ids=lambda kind: kind.name)
def test_next_caller_gets_a_token_at_once_wherever_a_leader_is_interrupted(
    leader: Kind, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapters, "Clock", ImpatientClock)
    client = leader.session(platform) if leader.is_requests else None
    client = client or leader.library.Client(transport=leader.transport(platform))

    def prepare(moment: str) -> tuple[Work, Work]:
        made = leader.auth(platform, oauth_clock_skew=60)
        platform.tokens = [
            token_answer(name, lifetime) if name else Answer(400, {"error": "invalid_request"})
            for name, lifetime in answers(moment)
        ]

        def work() -> Any:
            return client.get(API, auth=made).status_code

        def next_one() -> Any:
            platform.tokens = [answer for answer in platform.tokens if answer.status == 200]
            return work(), made._tokens.clock.ahead

        if moment in ("after a 401", "ahead of expiry"):
            work()
        platform.api = [refusal()] if moment == "after a 401" else []
        if moment == "ahead of expiry":
            # A token that arrives in its last minute is used to its end: as if it had grown old.
            made._tokens.bearers.current.stale_at = 0.0
        return work, next_one

    known: set[Line] = set()

    def is_new(line: Line) -> bool:
        is_known = line in known
        known.add(line)
        return not is_known

    found = outcomes_after_interrupts(prepare, is_new, in_another_thread)
    client.close()
    assert len(found) > 200
    assert [text for text in found if not text.endswith(": (200, 0.0)")] == []


class Answering:
    """A transport for the token endpoint, without an HTTP library."""

    def __init__(self, moment: str) -> None:
        self.replies = [
            token(name, lifetime) if name else answered(400, {"error": "invalid_request"})
            for name, lifetime in answers(moment)
        ]

    def send(self, *args: object) -> Any:
        return self.replies.pop(0) if self.replies else token("token-2")

    def overdue(self, request: object) -> Any:
        raise AssertionError("nobody waits in vain")


@pytest.mark.parametrize("run", [in_another_thread, lambda work: work()])
def test_single_flight_goes_on_at_every_moment_and_in_every_thread(
    run: Callable[[Work], Any],
) -> None:
    """In the leader's own as after a task's time limit, where a worker goes on to the next task."""
    credentials = ThingspaceOauthCredentials(**IDENTITY, oauth_clock_skew=60)
    settings = Settings(credentials, BASE, None, 30.0)

    def prepare(moment: str) -> tuple[Work, Work]:
        clock, transport = ImpatientClock(), Answering(moment)
        source = AccessTokens(settings, None, transport, clock)
        lifecycle = Lifecycle(source, None, clock, lambda *args: None)

        def acquire() -> Any:
            return lifecycle.acquire(Caller(clock.monotonic() + 240.0))

        def next_one() -> Any:
            transport.replies = [reply for reply in transport.replies if reply.status == 200]
            return acquire().header.startswith("Bearer token-"), clock.ahead

        if moment in ("after a 401", "ahead of expiry"):
            first = acquire()
            if moment == "ahead of expiry":
                first.stale_at = 0.0
            else:
                caller = Caller(clock.monotonic() + 240.0)
                return functools.partial(replaced, lifecycle, first.header, caller), next_one
        return acquire, next_one

    found = outcomes_after_interrupts(prepare, is_of_single_flight, run)
    assert len(found) > 200
    assert [text for text in found if not text.endswith(": (True, 0.0)")] == []


# Signal handlers, as RQ and Celery have them for their time limits.


@pytest.fixture
def limit() -> Iterator[TimeLimit]:
    """What a signal handler raises in the main thread when SIGALRM comes."""
    error = TimeLimit("the job took too long")
    with alarm_raises(error):
        yield error


def alarm() -> None:
    """Have SIGALRM come while this very function runs."""
    signal.setitimer(signal.ITIMER_REAL, 0.001)
    for _ in range(1000):
        time.sleep(0.01)


@pytest.mark.parametrize("moment", ["cold", "ahead of expiry", "after a 401"])
def test_what_a_signal_handler_raises_reaches_the_leaders_caller_and_nobody_else(
    sync_kind: Kind, platform: Platform, clock: VirtualClock, limit: TimeLimit, moment: str
) -> None:
    auth = sync_kind.auth(platform, oauth_clock_skew=60)
    waiting = 0 if moment == "ahead of expiry" else 3
    if moment != "cold":
        sync_kind.get(auth, API, platform)
    if moment == "ahead of expiry":
        clock.advance(3550)
    if moment == "after a 401":
        platform.api = [refusal()]
    before, threads = len(platform.token_calls), Threads()

    def have_others_come() -> None:
        platform.on_token = lambda: None
        for _ in range(3):
            threads.start(lambda: sync_kind.get(auth, API, platform).status)
        eventually(lambda: waiters(auth) == waiting and len(threads.outcomes) == 3 - waiting)
        alarm()

    platform.on_token = have_others_come
    with pytest.raises(TimeLimit) as caught:
        sync_kind.get(auth, API, platform)
    assert caught.value is limit
    assert threads.join() == [200] * 3
    assert sync_kind.get(auth, API, platform).status == 200
    assert len(platform.token_calls) - before == 2


def test_signal_handler_ends_a_wait_for_a_real_answer(
    sync_kind: Kind, platform: Platform, limit: TimeLimit
) -> None:
    platform.tokens = [Answer(failure="held")]
    with Loopback(platform) as server:
        auth = sync_kind.auth(base_url=server.url)
        server.on_held = alarm_main_thread
        with pytest.raises(TimeLimit) as caught:
            sync_kind.get(auth, server.url + "/api")
        assert caught.value is limit
        assert sync_kind.get(auth, server.url + "/api").status == 200


class Overtime(TimeoutError):
    """A time limit that looks like a timeout."""


def test_time_limit_that_is_a_timeout_error_is_no_timeout_of_the_endpoints(
    sync_kind: Kind, platform: Platform
) -> None:
    limit = Overtime()

    def interrupt() -> None:
        raise limit

    platform.on_token = interrupt
    with pytest.raises(Overtime) as caught:
        sync_kind.get(sync_kind.auth(platform), API, platform)
    assert caught.value is limit
