"""A pytest plugin with one fixture, ``thingspace_simulator``.

pytest finds it by itself where this package is installed; the fixture needs the extra
``[simulator]``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .simulator import ThingspaceSimulator


@pytest.fixture
def thingspace_simulator() -> Iterator[ThingspaceSimulator]:
    """A ThingSpace on a free loopback port, for one test: a running ThingspaceSimulator."""
    # Imported here because pytest imports this module in every project of the environment.
    from .simulator import ThingspaceSimulator

    with ThingspaceSimulator() as simulator:
        yield simulator
