"""What ``auth.guard`` takes, as an event hook of httpx and httpx2."""

from __future__ import annotations

from .alone import CALLS, ROUNDS, best_of_rounds, warm_up
from .contenders import OURS
from .simulated import Simulated
from .subjects import Step, Subject
from .table import Notes, render, verdict

MOST_US = 2.0


def run(simulated: Simulated, scale: float) -> str:
    simulated.reset()
    guarded = [ours for ours in OURS if ours.library != "requests"]
    subjects = [ours.prepare(simulated.endpoint) for ours in guarded]
    for subject in subjects:
        warm_up(subject)
    rounds, calls = max(3, round(ROUNDS * scale)), max(100, round(CALLS * scale))
    best = best_of_rounds(list(map(guard_step, subjects)), rounds, calls)
    rows = [
        [ours.library, f"{spent:.2f}", verdict(f"≤ {MOST_US} µs", spent <= MOST_US)]
        for ours, spent in zip(guarded, best, strict=True)
    ]
    introduction = (
        "Microseconds for one call of `auth.guard(request)`, which a client calls for each request"
        ' if it is given `event_hooks={"request": [auth.guard]}`, on a request to an allowed host'
        " that carries our header. Minimum of interleaved rounds."
    )
    return render("The guard", introduction, ["library", "µs", "target"], rows, Notes())


def guard_step(subject: Subject) -> Step:
    """A call of the guard, on a request that has our headers."""
    request, guard = subject.request(), subject.auth.guard
    subject.step_on(request)()
    if "Authorization" not in request.headers:
        raise RuntimeError(f"{subject.auth!r} put no token on the request")
    return lambda: guard(request)
