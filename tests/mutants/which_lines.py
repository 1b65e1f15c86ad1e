"""A plug-in for pytest: coverage learns which test runs a line."""

from __future__ import annotations

from collections.abc import Iterator

import coverage
import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    measured = coverage.Coverage.current()
    assert measured is not None
    # Without its parameters.
    measured.switch_context(item.nodeid.partition("[")[0])
    return (yield)
