"""Sixteen threads on one object of each package."""

from __future__ import annotations

from ..alone import warm_up
from ..subjects import Endpoint, Step, by_hand_on_requests
from ..table import NONE, Notes, render, verdict
from ..threads import TARGET, THREADS, best_rates, effort
from .sides import SIDES, Pair, subject


def run(endpoint: Endpoint, scale: float) -> str:
    by_hand = [by_hand_on_requests(endpoint) for _ in range(THREADS)]
    crews = [by_hand, *(_crew(package, endpoint) for package in SIDES)]
    floor, *ours = best_rates(crews, *effort(scale))
    pair = Pair(*ours)
    target = verdict(f"now ≥ {TARGET} of by hand", pair.now / floor >= TARGET)
    rows = [
        ["by hand", f"{floor:,.0f}", f"{floor:,.0f}", NONE, NONE],
        ["ThingspaceAuth", *pair.cells(",.0f"), target],
    ]
    introduction = (
        "Calls a second of `auth(prepared)`, so that higher is better, of sixteen threads on one"
        " object of requests with a valid token, each with its own prepared request; best of"
        " interleaved rounds."
    )
    columns = ["header", "before, a second", "now, a second", "now / before", "target"]
    return render("Sixteen threads on one object", introduction, columns, rows, Notes())


def _crew(package: str, endpoint: Endpoint) -> list[Step]:
    shared = subject(package, "requests", endpoint)
    warm_up(shared)
    return [shared.step() for _ in range(THREADS)]
