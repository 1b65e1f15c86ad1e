"""What tests of scripts and documents share: a simulator to which the environment leads."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from thingspace_auth_adapters.simulator import ThingspaceSimulator

from ..support.snippets import simulated


@pytest.fixture
def simulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[ThingspaceSimulator]:
    with simulated(monkeypatch) as running:
        yield running
