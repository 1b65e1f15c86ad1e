"""What importing an adapter adds to its HTTP library."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import NamedTuple

from .processes import ROOT
from .simulated import Simulated
from .table import NONE, Notes, render, verdict

MOST_MS = 8.0
MOST_MODULES = 32
_REPEATS = 15
_PEER_REPEATS = 5

_SCRIPT = """
import importlib, json, sys, time
importlib.import_module(sys.argv[1])
before = len(sys.modules)
start = time.perf_counter()
importlib.import_module(sys.argv[2])
spent = time.perf_counter() - start
print(json.dumps([spent * 1000, len(sys.modules) - before]))
"""


class Import(NamedTuple):
    name: str
    library: str
    module: str
    is_ours: bool = False


class Price(NamedTuple):
    ms: float
    modules: int


IMPORTS = (
    Import("ThingspaceAuth", "requests", "thingspace_auth_adapters.requests", True),
    Import("ThingspaceAuth", "httpx", "thingspace_auth_adapters.httpx", True),
    Import("ThingspaceAuth", "httpx2", "thingspace_auth_adapters.httpx2", True),
    Import("requests_auth", "requests", "requests_auth"),
    Import("requests_oauth2client", "requests", "requests_oauth2client"),
    Import("Authlib", "requests", "authlib.integrations.requests_client"),
    Import("singleflight-auth", "requests", "singleflight_auth.requests_auth"),
    Import("official SDK, its auth module alone", "requests", "verizon.http.auth.thingspace_oauth"),
    Import("httpx_auth", "httpx", "httpx_auth"),
    Import("singleflight-auth", "httpx", "singleflight_auth.httpx_auth"),
    Import("Authlib", "httpx2", "authlib.integrations.httpx_client"),
)


def run(simulated: Simulated, scale: float) -> str:
    prices = _prices(scale)
    rows = [_row(one, prices[one], prices) for one in IMPORTS]
    introduction = (
        "Milliseconds and modules that an import adds if the HTTP library is already imported;"
        f" fresh interpreters, bytecode compiled, median (ours of {repeats(_REPEATS, scale)}"
        f" runs, peers of {repeats(_PEER_REPEATS, scale)}), in turn."
    )
    columns = ["contender", "library", "ms", "modules", "ratio of ms to ours", "target"]
    return render("Import", introduction, columns, rows, Notes())


def _row(one: Import, price: Price, prices: Mapping[Import, Price]) -> list[str]:
    ours = next(prices[o] for o in IMPORTS if o.is_ours and o.library == one.library)
    target = (
        f"{verdict(f'≤ {MOST_MS:.0f} ms', price.ms <= MOST_MS)};"
        f" {verdict(f'≤ {MOST_MODULES} modules', price.modules <= MOST_MODULES)}"
    )
    return [
        f"{one.name}: `{one.module}`",
        one.library,
        f"{price.ms:.1f}",
        str(price.modules),
        f"{price.ms / ours.ms:.2f}",
        target if one.is_ours else NONE,
    ]


def repeats(count: int, scale: float) -> int:
    return max(1, int(count * scale))


def _prices(scale: float) -> dict[Import, Price]:
    samples: dict[Import, list[Price]] = {one: [] for one in IMPORTS}
    with tempfile.TemporaryDirectory() as caches:
        environment = environment_with_bytecode(caches)
        for one in IMPORTS:
            sample(one, environment)
        for number in range(repeats(_REPEATS, scale)):
            for one in IMPORTS:
                if one.is_ours or number < repeats(_PEER_REPEATS, scale):
                    samples[one].append(sample(one, environment))
    return {one: median_price(some) for one, some in samples.items()}


def median_price(samples: list[Price]) -> Price:
    return Price(median(price.ms for price in samples), max(price.modules for price in samples))


def environment_with_bytecode(caches: str, checkout: Path = ROOT) -> dict[str, str]:
    """An environment for fresh interpreters that find the package, and keep their bytecode."""
    path = os.pathsep.join(filter(None, [str(checkout), os.environ.get("PYTHONPATH", "")]))
    # Bytecode goes to a place of its own: it gets written even where the packages lie read-only.
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONPYCACHEPREFIX": caches}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    return environment


def sample(one: Import, environment: Mapping[str, str]) -> Price:
    command = [sys.executable, "-c", _SCRIPT, one.library, one.module]
    output = subprocess.run(command, env=environment, capture_output=True, check=True).stdout
    return Price(*json.loads(output))
