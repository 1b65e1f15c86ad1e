"""Fresh processes, each of which measures one crowd with one checkout of this package."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from . import crowd
from .crowd import Cost, Figures, Task, least

ROOT = Path(__file__).resolve().parent.parent
"""This checkout."""

Checkouts = Mapping[str, Path]
"""Directories, by what the tables call them."""


class Measured(NamedTuple):
    """What a crowd takes at least, with the auth object of each checkout, and by hand."""

    ours: dict[str, Cost]
    by_hand: Cost


def in_turn(
    task: Task,
    rounds: int,
    checkouts: Checkouts,
    environment: Mapping[str, str] | None = None,
) -> Measured:
    """Measure with each checkout in turn, so many times."""
    samples: dict[str, list[Figures]] = {name: [] for name in checkouts}
    for _ in range(rounds):
        for name, checkout in checkouts.items():
            samples[name].append(_sample(task, checkout, environment or {}))
    figures = {name: least(some) for name, some in samples.items()}
    by_hand = least(figures.values()).by_hand
    return Measured({name: some.ours for name, some in figures.items()}, by_hand)


def _sample(task: Task, checkout: Path, environment: Mapping[str, str]) -> Figures:
    # -P: the script's directory has modules whose names others may look for.
    command = [sys.executable, "-P", str(Path(crowd.__file__).resolve()), json.dumps(task)]
    environment = {**os.environ, **environment, "PYTHONPATH": str(checkout)}
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if finished.returncode:
        raise RuntimeError(f"with {checkout}: {finished.stderr}")
    found, ours, by_hand = json.loads(finished.stdout)
    if Path(found) != checkout.resolve():
        raise RuntimeError(f"{found} was measured, and not {checkout}")
    return Figures(Cost(*ours), Cost(*by_hand))
