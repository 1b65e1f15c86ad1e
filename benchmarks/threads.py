"""Sixteen threads on one auth object."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from .contenders import ALL
from .simulated import Simulated
from .subjects import Step, by_hand_on_requests, now
from .table import NONE, Notes, render, verdict

TARGET = 0.1
THREADS = 16
_CALLS = 1500
_ROUNDS = 5
_BY_HAND = "header set by hand"


def run(simulated: Simulated, scale: float) -> str:
    simulated.reset()
    endpoint = simulated.endpoint
    contenders = [c for c in ALL if c.library == "requests"]
    subjects = [contender.prepare(endpoint) for contender in contenders]
    for subject in subjects:
        subject.caller()()
    crews = [[by_hand_on_requests(endpoint) for _ in range(THREADS)]]
    crews += [[subject.step() for _ in range(THREADS)] for subject in subjects]
    best = best_rates(crews, *effort(scale))
    notes = Notes()
    rows = [[_BY_HAND, f"{best[0]:,.0f}", "1.00", NONE]]
    rated = zip(contenders, best[1:], strict=True)
    for contender, rate in sorted(rated, key=lambda pair: -pair[1]):
        ratio = rate / best[0]
        target = verdict(f"≥ {TARGET}", ratio >= TARGET) if contender.is_ours else NONE
        name = contender.name + notes.mark(contender.note)
        rows.append([name, f"{rate:,.0f}", f"{ratio:.3f}", target])
    introduction = (
        "Calls a second of `auth(prepared)`, the token valid, each thread with its own prepared"
        " request; best of interleaved rounds."
    )
    columns = ["contender", "calls a second", "ratio to by hand", "target"]
    return render("Sixteen threads on one object", introduction, columns, rows, notes)


def effort(scale: float) -> tuple[int, int]:
    """How many rounds, of how many calls of each thread."""
    return max(2, round(_ROUNDS * scale)), max(100, round(_CALLS * scale))


def best_rates(crews: Sequence[Sequence[Step]], rounds: int, calls: int) -> list[float]:
    """The calls a second that each crew makes at best."""
    best = [0.0] * len(crews)
    for _ in range(rounds):
        for number, crew in enumerate(crews):
            best[number] = max(best[number], _rate(crew, calls))
    return best


def _rate(crew: Sequence[Step], calls: int) -> float:
    start_line = threading.Barrier(len(crew))
    spans: list[tuple[float, float]] = []

    def work(step: Step) -> None:
        start_line.wait()
        start = now()
        for _ in range(calls):
            step()
        spans.append((start, now()))

    in_threads([lambda step=step: work(step) for step in crew])  # type: ignore[misc]
    elapsed = max(end for _, end in spans) - min(start for start, _ in spans)
    return calls * len(crew) / elapsed


def in_threads(functions: Sequence[Step]) -> None:
    """Call each function in a thread of its own and wait for them all."""
    threads = [threading.Thread(target=function) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
