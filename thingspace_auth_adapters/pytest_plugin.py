"""A pytest plugin with one fixture, ``thingspace_simulator``.

pytest finds it by itself if this package is installed; the fixture needs the extra
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
    """A ThingSpace on a free loopback port, for one test: a running ThingspaceSimulator.

    The process's count of failed logins begins at zero, and is forgotten after the test.
    """
    # Imported here because pytest imports this module in every project of the environment.
    from ._core.login_guard import forget_all
    from .simulator import ThingspaceSimulator

    forget_all()
    try:
        with ThingspaceSimulator() as simulator:
            yield simulator
    finally:
        forget_all()
