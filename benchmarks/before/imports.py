"""What importing an adapter of each checkout adds to its HTTP library."""

from __future__ import annotations

import tempfile

from ..imports import (
    IMPORTS,
    MOST_MODULES,
    Import,
    Price,
    environment_with_bytecode,
    median_price,
    repeats,
    sample,
)
from ..processes import Checkouts
from ..table import Notes, render, verdict
from .sides import Pair

_REPEATS = 10
_OURS = tuple(one for one in IMPORTS if one.is_ours)


def run(checkouts: Checkouts, scale: float) -> str:
    count = repeats(_REPEATS, scale)
    introduction = (
        "Milliseconds and modules that an import adds if the HTTP library is already imported;"
        f" fresh interpreters, bytecode compiled, median of {count} runs, in turn."
    )
    columns = [
        "library", "before, ms", "now, ms", "now / before", "before, modules", "now, modules",
        "target",
    ]  # fmt: skip
    prices = _prices(checkouts, count)
    rows = [_row(one, *(prices[name, one] for name in checkouts)) for one in _OURS]
    return render("Import", introduction, columns, rows, Notes())


def _row(one: Import, before: Price, now: Price) -> list[str]:
    return [
        one.library,
        *Pair(before.ms, now.ms).cells(".1f"),
        str(before.modules),
        str(now.modules),
        verdict(f"≤ {MOST_MODULES} modules", now.modules <= MOST_MODULES),
    ]


def _prices(checkouts: Checkouts, count: int) -> dict[tuple[str, Import], Price]:
    """What each import takes, by the name of its checkout."""
    samples: dict[tuple[str, Import], list[Price]] = {
        (name, one): [] for name in checkouts for one in _OURS
    }
    with tempfile.TemporaryDirectory() as caches:
        environments = {
            name: environment_with_bytecode(caches, checkout)
            for name, checkout in checkouts.items()
        }
        for name, one in samples:
            # The first compiles.
            sample(one, environments[name])
        for _ in range(count):
            for name, one in samples:
                samples[name, one].append(sample(one, environments[name]))
    return {key: median_price(some) for key, some in samples.items()}
