"""Rule 5: whatever line of a leader's refresh is interrupted, nobody waits for it for ever.

Something raises at a line of the package, as a signal handler or a killed greenlet does: one run
for each line that a refresh goes through, and in the core one more for the last time that it does.
"""

from __future__ import annotations

import ast
import functools
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Callable, NamedTuple

import pytest

import thingspace_auth_adapters
from thingspace_auth_adapters._core import single_flight

from .kinds import ADAPTER_KINDS, Kind
from .real import Threads
from .virtual import API, Answer, Platform, refusal

PACKAGE = str(Path(thingspace_auth_adapters.__file__).parent)
CORE = str(Path(PACKAGE, "_core"))
WAIT_SECONDS = 0.5


class Interrupt(KeyboardInterrupt):
    """As Ctrl-C, or what kills a greenlet: no :class:`Exception`."""


class TimeLimit(Exception):
    """As RQ's JobTimeoutException and Celery's SoftTimeLimitExceeded: a plain exception."""


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
        work()
    # The end of a with statement, where its line is seen again, is no moment for a signal.
    last = [
        Line(code, number, count - 1)
        for (code, number), count in counts.items()
        if count > 1 and code.co_filename.startswith(CORE) and number not in with_lines(code)
    ]
    return last + [Line(code, number) for code, number in counts]


@functools.lru_cache(None)
def with_lines(code: CodeType) -> frozenset[int]:
    tree = ast.parse(Path(code.co_filename).read_text(encoding="utf-8"))
    return frozenset(node.lineno for node in ast.walk(tree) if isinstance(node, ast.With))


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


def answer(name: str) -> Answer:
    return Answer(200, {"access_token": name})


def prepared(kind: Kind, moment: str) -> tuple[Any, Platform]:
    """An object whose next request leads to a refresh."""
    platform = Platform()
    platform.tokens = [answer(f"token-{number}") for number in range(9)]
    auth = kind.auth(platform)
    # How long a leader is waited for that says no more; its calls have all their time.
    auth._bearers.source.patience = WAIT_SECONDS
    if moment == "after a 401":
        kind.get(auth, API, platform)
        platform.api = [refusal()]
    return auth, platform


def request(kind: Kind, auth: Any, platform: Platform) -> int:
    return kind.get(auth, API, platform).status


def interrupted_and_next(kind: Kind, moment: str, lines: list[Line], others: Threads) -> None:
    """One run for each line, and another caller after each."""
    for number, line in enumerate(lines):
        auth, platform = prepared(kind, moment)
        error = (Interrupt, TimeLimit)[number % 2](f"{moment}, at {line}")
        work = functools.partial(request, kind, auth, platform)
        with pytest.raises(type(error)) as caught:
            interrupted(work, line, error)
        assert caught.value is error
        # In a thread of its own, as others are: on the leader's own nobody needs to wait.
        others.start(work)


@pytest.mark.parametrize("kind", ADAPTER_KINDS, ids=lambda kind: kind.name)
def test_next_caller_gets_a_token_wherever_a_leader_is_interrupted(
    kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(single_flight, "LOCK_PATIENCE_SECONDS", 1.0)
    known: set[Line] = set()
    others = Threads()
    for moment in ("cold", "after a 401"):
        # What is imported, compiled and cached in a first run is no part of the others.
        request(kind, *prepared(kind, moment))
        work = functools.partial(request, kind, *prepared(kind, moment))
        lines = [line for line in lines_of(work) if line not in known]
        known.update(lines)
        interrupted_and_next(kind, moment, lines, others)
    assert len(known) > 200
    assert others.join() == [200] * len(known)
