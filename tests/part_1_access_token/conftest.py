from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from thingspace_auth_adapters.simulator import ThingspaceSimulator

from ..support.kinds import ASYNC_KINDS, Kind
from ..support.virtual import Platform


@pytest.fixture
def auth(kind: Kind, platform: Platform, clock: object) -> Any:
    """An object for an access token alone, in virtual time."""
    return kind.auth(platform)


@pytest.fixture
def asyncio_kind() -> Kind:
    found = [kind for kind in ASYNC_KINDS if kind.backend == "asyncio"]
    return found[0] if found else pytest.skip("no asynchronous client is installed")


@pytest.fixture
def session(requests_kind: Kind, platform: Platform) -> Any:
    """A session of requests to the platform in memory, with an object for an access token."""
    made = requests_kind.session(platform)
    made.auth = requests_kind.auth(platform)
    return made


@pytest.fixture
def simulator() -> Iterator[ThingspaceSimulator]:
    """A platform on a real port."""
    with ThingspaceSimulator() as running:
        yield running
