"""The auth object alone on a prepared request, while its token is valid."""

from __future__ import annotations

import timeit
from collections.abc import Sequence
from typing import NamedTuple

import httpx
import httpx2

from .contenders import ALL, MINIMAL, Contender, on_sdk
from .simulated import Simulated
from .subjects import Endpoint, Step, Subject, by_hand_on_httpx, by_hand_on_requests, by_hand_on_sdk
from .table import NONE, Notes, render, verdict

TARGETS = {"requests": 1.5, "httpx": 4.0, "httpx2": 4.0}
ROUNDS = 25
CALLS = 2000
_REWRITES = "builds a new request for each one that it authenticates."


class Cost(NamedTuple):
    """Microseconds that a contender takes, and those above setting the header by hand."""

    contender: Contender
    total: float
    above: float


def run(simulated: Simulated, scale: float) -> str:
    simulated.reset()
    endpoint = simulated.endpoint
    costs = _costs(endpoint, max(3, round(ROUNDS * scale)), max(100, round(CALLS * scale)))
    notes = Notes()
    rows = [_row(cost, costs, notes) for cost in costs]
    introduction = (
        "Microseconds for one request with a valid token, above what setting the header by hand"
        " takes; nothing is sent. requests: `auth(prepared)`; httpx, httpx2: the sync flow, given"
        " a 200. Minimum of interleaved rounds."
    )
    columns = ["contender", "library", "µs above by hand", "ratio to ours", "target"]
    return render("The auth object alone", introduction, columns, rows, notes)


def _costs(endpoint: Endpoint, rounds: int, calls: int) -> list[Cost]:
    contenders = [*ALL, *MINIMAL]
    steps = {contender: warmed(contender.prepare(endpoint)) for contender in contenders}
    floors = {
        "requests": by_hand_on_requests(endpoint),
        "httpx": by_hand_on_httpx(httpx, endpoint),
        "httpx2": by_hand_on_httpx(httpx2, endpoint),
        "SDK": by_hand_on_sdk(endpoint),
    }
    everyone: list[Step] = [*steps.values(), *floors.values()]
    best = dict(zip(everyone, best_of_rounds(everyone, rounds, calls), strict=True))
    costs = [
        Cost(contender, best[step], best[step] - best[floors[_floor_of(contender)]])
        for contender, step in steps.items()
    ]
    return sorted(costs, key=lambda cost: (cost.contender.library, cost.above))


def warmed(subject: Subject) -> Step:
    """A step of a subject that has its token."""
    warm_up(subject)
    step = subject.step()
    step()
    return step


def warm_up(subject: Subject) -> None:
    """Let a subject get its token, by a whole request."""
    # Not by a step, since singleflight-auth fetches its token on a 401 only.
    if subject.caller()() != 200:
        raise RuntimeError(f"{subject.auth!r} did not get a token")


def _floor_of(contender: Contender) -> str:
    return "SDK" if on_sdk(contender) else contender.library


def best_of_rounds(steps: Sequence[Step], rounds: int, calls: int) -> list[float]:
    """The microseconds that each step takes at best, in rounds of so many calls of each."""
    timers = [timeit.Timer(step) for step in steps]
    best = [float("inf")] * len(timers)
    for _ in range(rounds):
        for number, timer in enumerate(timers):
            best[number] = min(best[number], timer.timeit(calls) / calls * 1e6)
    return best


def _row(cost: Cost, costs: list[Cost], notes: Notes) -> list[str]:
    contender = cost.contender
    ours = next(c for c in costs if c.contender.is_ours and _is_same_library(c, cost))
    note = notes.mark(contender.note)
    if contender.name == "Authlib" and contender.library == "httpx2":
        note += notes.mark(_REWRITES)
    return [
        contender.name + note,
        contender.library,
        f"{cost.above:.2f}",
        f"{cost.above / ours.above:.2f}",
        _verdict(cost, costs) if contender.is_ours else NONE,
    ]


def _is_same_library(one: Cost, other: Cost) -> bool:
    return one.contender.library == other.contender.library


def _verdict(cost: Cost, costs: list[Cost]) -> str:
    limit = TARGETS[cost.contender.library]
    rivals = [
        other.above
        for other in costs
        if _is_same_library(other, cost)
        and other.contender.tracks_expiry
        and not other.contender.is_ours
    ]
    below = verdict(f"≤ {limit} µs", cost.above <= limit)
    lowest = verdict("below all that track expiry", all(cost.above < rival for rival in rivals))
    return f"{below}; {lowest}"
