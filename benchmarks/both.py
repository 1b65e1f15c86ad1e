"""The auth object alone with both tokens valid, against the same with the bearer alone."""

from __future__ import annotations

import uuid
from typing import Any, NamedTuple

import httpx
import httpx2
import requests

from thingspace_auth_adapters import VzM2mCredentials

from .alone import CALLS, ROUNDS, best_of_rounds, warm_up, warmed
from .contenders import OURS, Contender
from .simulated import Simulated
from .subjects import Endpoint, Step, by_hand_on_httpx, by_hand_on_requests, fetched_token
from .table import Notes, render, verdict

TARGET = 1.0
_HEADER = "VZ-M2M-Token"
LIBRARIES: dict[str, Any] = {"httpx": httpx, "httpx2": httpx2}


class Steps(NamedTuple):
    """What is measured for one library."""

    bearer: Step
    bearer_by_hand: Step
    both: Step
    both_by_hand: Step


class Cost(NamedTuple):
    """Microseconds above setting the same headers by hand."""

    bearer: float
    both: float

    @property
    def more(self) -> float:
        return self.both - self.bearer


def run(simulated: Simulated, scale: float) -> str:
    simulated.reset()
    steps = {ours.library: _steps(ours, simulated.endpoint) for ours in OURS}
    costs = _costs(steps, max(3, round(ROUNDS * scale)), max(100, round(CALLS * scale)))
    introduction = (
        "Microseconds for one request with valid tokens, above what setting the same headers by"
        " hand takes, as in the table above; nothing is sent. A request that is used again has the"
        " session header from the last time, so it is first taken off; by hand, too. Minimum of"
        " interleaved rounds."
    )
    columns = ["library", "bearer, µs above by hand", "both, µs above by hand", "more", "target"]
    rows = [_row(library, cost) for library, cost in costs.items()]
    return render("Both tokens", introduction, columns, rows, Notes())


def _row(library: str, cost: Cost) -> list[str]:
    target = verdict(f"≤ {TARGET} µs more", cost.more <= TARGET)
    return [library, f"{cost.bearer:.2f}", f"{cost.both:.2f}", f"{cost.more:.2f}", target]


def _costs(steps: dict[str, Steps], rounds: int, calls: int) -> dict[str, Cost]:
    everyone = [step for some in steps.values() for step in some]
    best = dict(zip(everyone, best_of_rounds(everyone, rounds, calls), strict=True))
    return {
        library: Cost(
            best[some.bearer] - best[some.bearer_by_hand],
            best[some.both] - best[some.both_by_hand],
        )
        for library, some in steps.items()
    }


def _steps(ours: Contender, endpoint: Endpoint) -> Steps:
    return Steps(
        bearer=warmed(ours.prepare(endpoint)),
        bearer_by_hand=bearer_by_hand(ours.library, endpoint),
        both=_with_both(ours, endpoint),
        both_by_hand=both_by_hand(ours.library, endpoint),
    )


def _with_both(ours: Contender, endpoint: Endpoint) -> Step:
    subject = ours.prepare(endpoint)
    subject.auth.m2m = VzM2mCredentials(endpoint.username, endpoint.password)
    warm_up(subject)
    request = subject.request()
    return each_without_session(request.headers, subject.step_on(request))


def each_without_session(headers: Any, step: Step) -> Step:
    """The step, on a request that does not have the session header from the last time."""
    step()

    def anew() -> None:
        del headers[_HEADER]
        step()

    return anew


def bearer_by_hand(library: str, endpoint: Endpoint) -> Step:
    """The bearer set by hand."""
    if library == "requests":
        return by_hand_on_requests(endpoint)
    return by_hand_on_httpx(LIBRARIES[library], endpoint)


def both_by_hand(library: str, endpoint: Endpoint) -> Step:
    """Both headers set by hand."""
    if library == "requests":
        return _both_by_hand_on_requests(endpoint)
    return _both_by_hand_on_httpx(LIBRARIES[library], endpoint)


def _both_by_hand_on_requests(endpoint: Endpoint) -> Step:
    prepared: Any = requests.Request("GET", endpoint.api_url).prepare()
    hooks, headers = prepared.hooks["response"], prepared.headers
    bearer, session = "Bearer " + fetched_token(endpoint), str(uuid.uuid4())

    def step() -> None:
        hooks.clear()
        headers["Authorization"] = bearer
        headers[_HEADER] = session

    return each_without_session(headers, step)


def _both_by_hand_on_httpx(library: Any, endpoint: Endpoint) -> Step:
    headers = library.Request("GET", endpoint.api_url).headers
    bearer, session = "Bearer " + fetched_token(endpoint), str(uuid.uuid4())

    def step() -> None:
        headers["Authorization"] = bearer
        headers[_HEADER] = session

    return each_without_session(headers, step)
