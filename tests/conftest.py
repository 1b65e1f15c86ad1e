from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from typing import Any, Callable

import pytest
from hypothesis import settings

from thingspace_auth_adapters._adapters import auth
from thingspace_auth_adapters._core import endpoint, login_guard, tokens

from .support import kinds, real
from .support.fleet import forking
from .support.kinds import Kind
from .support.redis_server import RedisServer
from .support.virtual import Platform, VirtualClock

settings.register_profile("tests", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("tests")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One worker more than there are cores, for some tests wait."""
    return (os.cpu_count() or 1) + 1


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> VirtualClock:
    """Virtual time for every ThingspaceAuth that the test makes."""
    virtual = VirtualClock()
    monkeypatch.setattr(auth, "Clock", lambda: virtual)
    return virtual


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """The warnings so far, all of which are ours."""

    def warnings() -> list[str]:
        records = [record for record in caplog.records if record.levelno >= logging.WARNING]
        assert {record.name for record in records} <= {"thingspace_auth_adapters"}
        return [record.getMessage() for record in records]

    return warnings


@pytest.fixture(autouse=True)
def _login_counts() -> Iterator[None]:
    """Each test begins, and ends, with no login counted."""
    login_guard.forget_all()
    yield
    login_guard.forget_all()


@pytest.fixture(autouse=True)
def _counted_waiters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets tests see who waits."""
    monkeypatch.setattr(tokens, "Lifecycle", real.CountingLifecycle)


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests in real time: the next attempt follows a failed one at once."""
    monkeypatch.setattr(endpoint, "_FIRST_PAUSE_SECONDS", 0.01)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Beneath nohup, or in a shell's background, what a test starts would ignore these signals."""
    usual: dict[str, Any] = {"SIGINT": signal.default_int_handler, "SIGHUP": signal.SIG_DFL}
    # Windows has no SIGHUP.
    numbers = {getattr(signal, name): name for name in usual if hasattr(signal, name)}
    before = {number: signal.signal(number, usual[name]) for number, name in numbers.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def platform() -> Platform:
    return Platform()


# On trio only tests of event loops run in each environment.
EACH_KIND = kinds.params(
    kinds.INSTALLED, lambda kind: (kind.is_requests, kind.is_async), once="trio"
)


@pytest.fixture(params=EACH_KIND)
def kind(request: pytest.FixtureRequest) -> Kind:
    """Each client kind that is installed."""
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def requests_kind() -> Kind:
    pytest.importorskip("requests")
    return next(kind for kind in kinds.INSTALLED if kind.is_requests)


@pytest.fixture(params=kinds.params(kinds.HTTPX_KINDS, lambda kind: kind.is_async, once="trio"))
def httpx_kind(request: pytest.FixtureRequest) -> Kind:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(params=kinds.params(kinds.ASYNC_KINDS, lambda kind: kind.backend))
def async_kind(request: pytest.FixtureRequest) -> Kind:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(params=kinds.params(kinds.SYNC_KINDS, lambda kind: kind.is_requests))
def sync_kind(request: pytest.FixtureRequest) -> Kind:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """The same for all tests; a prefix of their own keeps them apart."""
    pytest.importorskip("redis")
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def parent() -> Iterator[int]:
    """The port of what forks the processes of a fleet."""
    pytest.importorskip("requests")
    with forking() as port:
        yield port
