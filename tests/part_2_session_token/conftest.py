from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest

from thingspace_auth_adapters.simulator import ThingspaceSimulator

from ..support.kinds import Kind
from ..support.logins import credentials, file_store
from ..support.memory_store import memory_store
from ..support.virtual import Platform


@pytest.fixture
def auth(kind: Kind, platform: Platform, clock: object) -> Any:
    """An object for an account, in virtual time."""
    return kind.auth(platform, m2m=credentials())


# What a store does is its own tests' affair: here it only is one of two.
@pytest.fixture(params=["memory", pytest.param("file", marks=pytest.mark.once)])
def make_store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Any]:
    """Makes what another process would make for itself: an object on the same store."""
    if request.param == "file":
        return lambda: file_store(tmp_path / "store")
    one = memory_store()
    return lambda: one


@pytest.fixture(params=["none", "memory", pytest.param("file", marks=pytest.mark.once)])
def any_store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    if request.param == "none":
        return None
    return memory_store() if request.param == "memory" else file_store(tmp_path / "store")


@pytest.fixture
def simulator() -> Iterator[ThingspaceSimulator]:
    """A platform on a real port, where each login ends the session before it."""
    with ThingspaceSimulator(sessions_required=True, login_ends_session=True) as running:
        yield running
