"""What a store adds to the start of a short-lived process that finds its token there."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from .imports import environment_with_bytecode
from .simulated import Simulated
from .table import NONE, Notes, render, verdict

MOST_MS = 5.0
_REPEATS = 25

_SCRIPT = """
import json, os, sys, time
import requests
from thingspace_auth_adapters.requests import ThingspaceAuth
task = json.loads(os.environ["TASK"])
prepared = requests.Request("GET", task["url"]).prepare()
start = time.perf_counter()
options = dict(task["options"])
if task["store"] is not None:
    from thingspace_auth_adapters.stores import FileTokenStore
    options["store"] = FileTokenStore(task["store"] or None)
else:
    options["oauth_token"] = {"access_token": "known", "expires_in": 3600}
ThingspaceAuth(**options)(prepared)
print((time.perf_counter() - start) * 1000)
"""


class Start(NamedTuple):
    """A way to start: with which directory; empty is the default one, ``None`` no store."""

    name: str
    store: str | None


def run(simulated: Simulated, scale: float) -> str:
    simulated.reset()
    with tempfile.TemporaryDirectory() as directory:
        starts = [
            Start("a token that is known", None),
            Start("FileTokenStore(path)", str(Path(directory) / "store")),
            Start("FileTokenStore()", ""),
        ]
        costs = _costs(starts, simulated, directory, max(3, round(_REPEATS * scale)))
    floor = costs[starts[0]]
    introduction = (
        "Milliseconds from the making of the auth object to the header on a request, in a fresh"
        " interpreter that has imported the adapter; the store holds a valid token. Bytecode"
        f" compiled, median of {max(3, round(_REPEATS * scale))} runs, in turn."
    )
    columns = ["start", "ms", "more than without a store", "target"]
    rows = [_row(start, costs[start], floor) for start in starts]
    return render("Warm start with a store", introduction, columns, rows, Notes())


def _row(start: Start, cost: float, floor: float) -> list[str]:
    if start.store is None:
        return [start.name, f"{cost:.2f}", NONE, NONE]
    more = cost - floor
    target = verdict(f"≤ {MOST_MS:.0f} ms more", more <= MOST_MS)
    return [start.name, f"{cost:.2f}", f"{more:.2f}", target]


def _costs(
    starts: list[Start], simulated: Simulated, directory: str, repeats: int
) -> dict[Start, float]:
    environment = {
        **environment_with_bytecode(str(Path(directory) / "bytecode")),
        "HOME": directory,
        "XDG_CACHE_HOME": str(Path(directory) / "cache"),
    }
    samples: dict[Start, list[float]] = {start: [] for start in starts}
    for start in starts:
        # The first fills the store, and compiles.
        _sample(start, simulated, environment)
    for _ in range(repeats):
        for start in starts:
            samples[start].append(_sample(start, simulated, environment))
    return {start: median(some) for start, some in samples.items()}


def _sample(start: Start, simulated: Simulated, environment: Mapping[str, str]) -> float:
    endpoint = simulated.endpoint
    task: dict[str, Any] = {
        "url": endpoint.api_url,
        "options": endpoint.our_options,
        "store": start.store,
    }
    finished = subprocess.run(
        [sys.executable, "-c", _SCRIPT],
        env={**environment, "TASK": json.dumps(task)},
        capture_output=True,
        check=True,
    )
    return float(finished.stdout)
