"""Fifty callers without a token, who all come at once."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from types import SimpleNamespace
from typing import Any, NamedTuple

from thingspace_auth_adapters._core import endpoint

from .contenders import ALL, ALL_ASYNC, MINIMAL, MINIMAL_ASYNC, AsyncContender, Contender
from .simulated import Simulated
from .subjects import Endpoint, fetched_token, now, plain_session
from .table import NONE, Notes, render, verdict
from .threads import in_threads

TARGET = 1.3
_CALLERS = 50
_LATENCY = 0.2
_REPEATS = 5
_QUICK_LATENCY = 0.1
_QUICK_PAUSE = 0.02
_RETRIES = (
    "tries a refused connection again a few times, with pauses, which are in both times; its jitter"
    " is off here."
)
_NO_RETRY = (
    "gives up at the first refused connection, so one caller alone is done in a millisecond or two"
    " and the ratio shows how long all the threads or tasks take to fail, not a wait for one"
    " another."
)

Entrant = Contender | AsyncContender


class Trial(NamedTuple):
    """What it took until the last caller had an answer or an exception."""

    seconds: float
    failed: int
    token_requests: int


class Scenario(NamedTuple):
    endpoint: Endpoint
    callers: int
    repeats: int
    """How often ours is tried; peers once."""


class Outcome(NamedTuple):
    """The best trial of the fifty, and what one caller took."""

    crowd: Trial
    alone: float

    @property
    def ratio(self) -> float:
        return self.crowd.seconds / self.alone


def run(simulated: Simulated, scale: float) -> str:
    callers = max(5, round(_CALLERS * scale))
    repeats = max(1, round(_REPEATS * scale))
    latency = _LATENCY if scale == 1 else _QUICK_LATENCY
    trials = _Trials(simulated, latency)
    served = Scenario(simulated.endpoint, callers, repeats)
    refused = served._replace(endpoint=simulated.endpoint._replace(client_secret="wrong"))
    down = Scenario(
        simulated.endpoint._replace(base_url=f"http://127.0.0.1:{_closed_port()}"), callers, 1
    )
    answer_alone = _one_request_alone(simulated)
    notes = Notes()
    rows = [
        _floor_row(floor, trials.crowd_plus(floor, served, latency, latency + answer_alone))
        for floor in (*MINIMAL, MINIMAL_ASYNC)
    ]
    with _steady_retries(None if scale == 1 else _QUICK_PAUSE):
        for entrant in (*ALL, *ALL_ASYNC):
            outcomes = [
                trials.crowd_over(entrant, served, latency + answer_alone),
                trials.crowd_over_alone(entrant, refused),
                trials.crowd_over_alone(entrant, down),
            ]
            rows.append(_row(entrant, outcomes, callers, notes))
    introduction = (
        f"{callers} callers, each with its connection yet to be made, on one auth object without a"
        f" token, at an endpoint that takes {latency * 1000:.0f} ms. *Served*: time until all have"
        f" their answer, over {latency * 1000:.0f} ms and one request alone with a header set by"
        f" hand ({answer_alone * 1000:.1f} ms). *Refused* (401 `invalid_client`, after as long) and"
        " *down* (connection refused): time until all have failed, over what one caller alone"
        " takes. The rows of a constant header, which needs no token, show what so many callers at"
        f" once cost by themselves: their time and {latency * 1000:.0f} ms. These and ours: best of"
        f" {repeats}, token requests the most of any; peers, and ours if down: once."
    )
    columns = [
        "contender", "library", "served: token requests", "served: ratio",
        "refused: token requests", "refused: ratio", "down: ratio", "target",
    ]  # fmt: skip
    return render("Cold callers", introduction, columns, rows, notes)


def _floor_row(floor: Entrant, outcome: Outcome) -> list[str]:
    return [floor.name, floor.library, NONE, f"{outcome.ratio:.2f}", NONE, NONE, NONE, NONE]


def _row(entrant: Entrant, outcomes: list[Outcome], callers: int, notes: Notes) -> list[str]:
    served, refused, down = outcomes
    cells = [
        entrant.name + notes.mark(entrant.note) + notes.mark(entrant.expiry_note),
        entrant.library,
        str(served.crowd.token_requests),
        _ratio(served, 0, notes),
        str(refused.crowd.token_requests),
        _ratio(refused, callers, notes),
        _ratio(down, callers, notes) + notes.mark(_RETRIES if entrant.is_ours else _NO_RETRY),
    ]
    return [*cells, _verdict(outcomes, callers) if entrant.is_ours else NONE]


def _ratio(outcome: Outcome, expected_failures: int, notes: Notes) -> str:
    text = f"{outcome.ratio:.2f}"
    if outcome.crowd.failed == expected_failures:
        return text
    return text + notes.mark(f"here {outcome.crowd.failed} calls failed.")


def _verdict(outcomes: list[Outcome], callers: int) -> str:
    served, refused, _ = outcomes
    as_expected = [outcome.crowd.failed for outcome in outcomes] == [0, callers, callers]
    one_each = served.crowd.token_requests == refused.crowd.token_requests == 1
    is_quick = all(outcome.ratio <= TARGET for outcome in outcomes)
    return "; ".join(
        [
            verdict("1 request", one_each),
            verdict(f"≤ {TARGET}", is_quick),
            verdict("all as expected", as_expected),
        ]
    )


class _Trials:
    """Carries out trials.

    Args:
        latency: seconds that the token endpoint takes.
    """

    def __init__(self, simulated: Simulated, latency: float) -> None:
        self._simulated = simulated
        self._latency = latency

    def crowd_over(self, entrant: Entrant, scenario: Scenario, alone: float) -> Outcome:
        repeats = scenario.repeats if entrant.is_ours else 1
        trials = [self._trial(entrant, scenario.endpoint, scenario.callers) for _ in range(repeats)]
        return Outcome(_best(trials), alone)

    def crowd_plus(self, floor: Entrant, scenario: Scenario, extra: float, alone: float) -> Outcome:
        """What the crowd takes with a header that needs no fetching, and ``extra`` seconds."""
        repeats = range(scenario.repeats)
        best = _best([self._trial(floor, scenario.endpoint, scenario.callers) for _ in repeats])
        return Outcome(best._replace(seconds=best.seconds + extra), alone)

    def crowd_over_alone(self, entrant: Entrant, scenario: Scenario) -> Outcome:
        repeats = scenario.repeats if entrant.is_ours else 1
        alone = min(self._trial(entrant, scenario.endpoint, 1).seconds for _ in range(repeats))
        return self.crowd_over(entrant, scenario, alone)

    def _trial(self, entrant: Entrant, endpoint: Endpoint, callers: int) -> Trial:
        self._simulated.reset(token_latency=self._latency)
        if isinstance(entrant, AsyncContender):
            seconds, failed = asyncio.run(self._in_tasks(entrant, endpoint, callers))
        else:
            seconds, failed = self._in_threads(entrant, endpoint, callers)
        return Trial(seconds, failed, self._simulated.counts().token_requests)

    def _in_threads(
        self, contender: Contender, endpoint: Endpoint, callers: int
    ) -> tuple[float, int]:
        start_line = threading.Barrier(callers)
        ends: list[tuple[float, float, bool]] = []

        def work(call: Callable[[], int]) -> None:
            start_line.wait()
            start = now()
            is_served = _is_served(call)
            ends.append((start, now(), is_served))

        with closing(contender.prepare(endpoint)) as subject:
            calls = [subject.caller() for _ in range(callers)]
            in_threads([lambda call=call: work(call) for call in calls])  # type: ignore[misc]
        elapsed = max(end for _, end, _ in ends) - min(start for start, _, _ in ends)
        return elapsed, sum(not is_served for _, _, is_served in ends)

    async def _in_tasks(
        self, contender: AsyncContender, endpoint: Endpoint, callers: int
    ) -> tuple[float, int]:
        async with contender.open_client(endpoint) as client:
            start = now()
            calls = (_is_served_async(client.get(endpoint.api_url)) for _ in range(callers))
            served = await asyncio.gather(*calls)
            return now() - start, served.count(False)


@contextmanager
def _steady_retries(first_pause: float | None) -> Iterator[None]:
    """Our retries without jitter, so that two times of ours can be compared."""
    names: dict[str, Any] = {"random": SimpleNamespace(uniform=lambda low, high: high)}
    if first_pause is not None:
        names["_FIRST_PAUSE_SECONDS"] = first_pause
    usual = {name: getattr(endpoint, name) for name in names}
    vars(endpoint).update(names)
    try:
        yield
    finally:
        vars(endpoint).update(usual)


def _best(trials: list[Trial]) -> Trial:
    return Trial(
        min(trial.seconds for trial in trials),
        max(trial.failed for trial in trials),
        max(trial.token_requests for trial in trials),
    )


def _is_served(call: Callable[[], int]) -> bool:
    try:
        return call() == 200
    except Exception:
        return False


async def _is_served_async(call: Awaitable[Any]) -> bool:
    try:
        return bool((await call).status_code == 200)
    except Exception:
        return False


def _one_request_alone(simulated: Simulated) -> float:
    """Seconds of one request over a new connection with a header set by hand, at best."""
    simulated.reset()
    header = {"Authorization": "Bearer " + fetched_token(simulated.endpoint)}
    times = []
    for _ in range(5):
        with plain_session() as session:
            start = now()
            session.get(simulated.endpoint.api_url, headers=header, timeout=60).raise_for_status()
            times.append(now() - start)
    return min(times)


def _closed_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])
