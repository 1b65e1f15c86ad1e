"""This package beside an older checkout of it, in one run."""

from __future__ import annotations

from collections.abc import Iterator

from .. import crowds
from ..processes import ROOT
from ..simulated import Simulated
from . import alone, contention, imports, whole
from .sides import load


def run(directory: str, simulated: Simulated, scale: float) -> Iterator[str]:
    """The sections, one after the other, that compare with the package in this directory."""
    older = load(directory)
    simulated.reset()
    yield alone.warm(simulated.endpoint, scale)
    yield alone.guard(simulated.endpoint, scale)
    yield alone.hosts(scale)
    yield contention.run(simulated.endpoint, scale)
    yield whole.run(simulated.endpoint, scale)
    checkouts = {"before": older, "now": ROOT}
    yield from crowds.sections(checkouts, simulated, scale)
    yield imports.run(checkouts, scale)
