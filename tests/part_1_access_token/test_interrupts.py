"""Rule 5: whatever line of a leader's refresh is interrupted, nobody waits for it for ever.

Something raises at a line of the package, as a signal handler or a killed greenlet does: one run
for each line that a refresh goes through, and in the core one more for the last time that it does.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Callable, NamedTuple

import pytest

from thingspace_auth_adapters import OauthProviderError
from thingspace_auth_adapters._adapters import auth
from thingspace_auth_adapters._core.clock import Clock

from ..support.kinds import ADAPTER_KINDS, Kind
from ..support.real import Threads
from ..support.steps import INTERRUPTS, PACKAGE, with_lines
from ..support.virtual import API, Answer, Platform, refusal, token_answer

CORE = str(Path(PACKAGE, "_core"))
MOMENTS = ("cold", "after a 401", "ahead of expiry", "refused")


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


def lines_of(work: Callable[[], object]) -> list[Line]:
    """The lines that ``work`` runs, each as it is first run, and those of the core as last run."""
    counts: dict[tuple[CodeType, int], int] = {}

    def see_line(frame: FrameType, event: str, argument: object) -> Any:
        if event == "line":
            key = frame.f_code, frame.f_lineno
            counts[key] = counts.get(key, 0) + 1
        return see_line

    with traced(see_line, lambda code: code.co_filename.startswith(PACKAGE)):
        with suppress(OauthProviderError):
            work()
    last = [
        Line(code, number, count - 1)
        for (code, number), count in counts.items()
        if count > 1 and code.co_filename.startswith(CORE) and number not in with_lines(code)
    ]
    return last + [Line(code, number) for code, number in counts]


def is_of_single_flight(line: Line) -> bool:
    """Whether it depends on the outcome what a line leaves behind."""
    return line.code.co_filename.endswith(("lifecycle.py", "refresh.py"))


def interrupted(work: Callable[[], object], line: Line, error: BaseException) -> None:
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


def prepared(kind: Kind, moment: str) -> tuple[Any, Platform]:
    """An object whose next request leads to a refresh, which brings a token if not refused."""
    platform = Platform()
    lives = 10 if moment == "ahead of expiry" else 3600
    platform.tokens = [token_answer("token-0", lives), token_answer("token-1", 3600)]
    if moment == "refused":
        platform.tokens.insert(0, Answer(400, {"error": "invalid_request"}))
    made = kind.auth(platform, oauth_clock_skew=60)
    if moment == "after a 401":
        kind.get(made, API, platform)
        platform.api = [refusal()]
    if moment == "ahead of expiry":
        kind.get(made, API, platform)
        # A token that arrives in its last minute is used to its end: as if it had grown old.
        made._tokens.bearers.current.stale_at = 0.0
    return made, platform


def request(kind: Kind, made: Any, platform: Platform) -> int:
    return kind.get(made, API, platform).status


def interrupted_and_next(
    kind: Kind, moment: str, line: Line, error: BaseException, next_one: Callable[..., object]
) -> None:
    """Interrupt a leader at this line, and have another caller come."""
    made, platform = prepared(kind, moment)
    work = functools.partial(request, kind, made, platform)
    with pytest.raises(type(error)) as caught:
        interrupted(work, line, error)
    assert caught.value is error
    platform.tokens = [answer for answer in platform.tokens if answer.status == 200]
    next_one(work)


def of_interest(kind: Kind, moment: str) -> list[Line]:
    """The lines of a refresh, without what is imported, compiled and cached in a first run."""
    for _ in range(2):
        work = functools.partial(request, kind, *prepared(kind, moment))
        lines = lines_of(work)
    return lines


@pytest.fixture(params=ADAPTER_KINDS, ids=lambda kind: kind.name)
def leader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Kind:
    """The kind of client whose request leads."""
    monkeypatch.setattr(auth, "Clock", ImpatientClock)
    return request.param  # type: ignore[no-any-return]


def test_next_caller_gets_a_token_wherever_a_leader_is_interrupted(leader: Kind) -> None:
    known: set[Line] = set()
    others, runs = Threads(), 0
    for moment in MOMENTS:
        for line in of_interest(leader, moment):
            if line in known and not is_of_single_flight(line):
                continue
            known.add(line)
            error = INTERRUPTS[runs % 2](f"{moment}, at {line}")
            interrupted_and_next(leader, moment, line, error, others.start)
            runs += 1
    assert len(known) > 200
    assert others.join() == [200] * runs


def test_it_gets_one_on_the_leaders_own_thread_too(leader: Kind) -> None:
    """As after a task's time limit, where the next task of a worker comes in the same thread."""
    found: list[str] = []
    for moment in MOMENTS:
        for line in filter(is_of_single_flight, of_interest(leader, moment)):
            error = INTERRUPTS[len(found) % 2](f"{moment}, at {line}")

            def next_one(work: Callable[[], int], line: Line = line, moment: str = moment) -> None:
                try:
                    outcome: Any = work()
                except Exception as failure:
                    outcome = failure
                found.append(f"{moment}, at {line}: {outcome}")

            interrupted_and_next(leader, moment, line, error, next_one)
    assert found
    assert [text for text in found if not text.endswith(": 200")] == []
