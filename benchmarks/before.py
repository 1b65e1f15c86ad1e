"""The auth object alone, beside that of an older checkout of this package, in one run."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any, NamedTuple

from .alone import CALLS, ROUNDS, best_of_rounds, warm_up, warmed
from .both import LIBRARIES, bearer_by_hand, both_by_hand, each_without_session
from .simulated import Simulated
from .subjects import Endpoint, OnHttpx, OnRequests, Step, Subject
from .table import Notes, render

_NOW = "thingspace_auth_adapters"
_BEFORE = "thingspace_auth_adapters_before"


class Cost(NamedTuple):
    """Microseconds above setting the same headers by hand."""

    before: float
    now: float


def run(directory: str, simulated: Simulated, scale: float) -> str:
    """Compare with the package in this directory."""
    _load(Path(directory))
    simulated.reset()
    rounds, calls = max(3, round(ROUNDS * scale)), max(100, round(CALLS * scale))
    rows = [
        _row(library, with_both, _cost(library, with_both, simulated.endpoint, rounds, calls))
        for library in ("requests", *LIBRARIES)
        for with_both in (False, True)
    ]
    introduction = (
        f"Microseconds for one request with valid tokens, above what setting the same headers by"
        f" hand takes: the package in `{directory}`, and this one. Nothing is sent. Minimum of"
        f" {rounds} interleaved rounds of {calls:,} calls."
    )
    columns = ["library", "tokens", "before, µs", "now, µs", "now / before"]
    return render("Beside an older checkout", introduction, columns, rows, Notes())


def _load(directory: Path) -> None:
    """Import the older package under a name of its own."""
    init = directory / _NOW / "__init__.py"
    spec = importlib.util.spec_from_file_location(
        _BEFORE, init, submodule_search_locations=[str(init.parent)]
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"{init} is no package")
    package = importlib.util.module_from_spec(spec)
    # Its modules import one another by this name.
    sys.modules[_BEFORE] = package
    spec.loader.exec_module(package)


def _row(library: str, with_both: bool, cost: Cost) -> list[str]:
    tokens = "both" if with_both else "bearer"
    ratio = cost.now / cost.before
    return [library, tokens, f"{cost.before:.2f}", f"{cost.now:.2f}", f"{ratio:.2f}"]


def _cost(library: str, with_both: bool, endpoint: Endpoint, rounds: int, calls: int) -> Cost:
    by_hand = both_by_hand if with_both else bearer_by_hand
    steps = [_step(package, library, with_both, endpoint) for package in (_BEFORE, _NOW)]
    before, now, floor = best_of_rounds([*steps, by_hand(library, endpoint)], rounds, calls)
    return Cost(before - floor, now - floor)


def _step(package: str, library: str, with_both: bool, endpoint: Endpoint) -> Step:
    subject = _subject(package, library, endpoint)
    if not with_both:
        return warmed(subject)
    account = importlib.import_module(package).VzM2mCredentials
    subject.auth.m2m = account(endpoint.username, endpoint.password)
    warm_up(subject)
    request = subject.request()
    return each_without_session(request.headers, subject.step_on(request))


def _subject(package: str, library: str, endpoint: Endpoint) -> Subject:
    auth: Any = importlib.import_module(f"{package}.{library}").ThingspaceAuth
    made = auth(**endpoint.our_options)
    if library == "requests":
        return OnRequests(made, endpoint.api_url)
    return OnHttpx(LIBRARIES[library], made, endpoint.api_url)
