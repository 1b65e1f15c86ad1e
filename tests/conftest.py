from __future__ import annotations

import os

import pytest
from hypothesis import settings

from thingspace_auth_adapters import manager

from . import kinds
from .kinds import Kind
from .virtual import Platform, VirtualClock

settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> VirtualClock:
    """Virtual time for every ThingspaceAuth that the test makes."""
    virtual = VirtualClock()
    monkeypatch.setattr(manager, "Clock", lambda: virtual)
    return virtual


@pytest.fixture
def platform() -> Platform:
    return Platform()


@pytest.fixture(params=kinds.INSTALLED, ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest) -> Kind:
    """Each client kind that is installed."""
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(params=kinds.HTTPX_KINDS, ids=lambda kind: kind.name)
def httpx_kind(request: pytest.FixtureRequest) -> Kind:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(params=kinds.ASYNC_KINDS, ids=lambda kind: kind.name)
def async_kind(request: pytest.FixtureRequest) -> Kind:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(params=kinds.SYNC_KINDS, ids=lambda kind: kind.name)
def sync_kind(request: pytest.FixtureRequest) -> Kind:
    return request.param  # type: ignore[no-any-return]
