"""A plug-in for pytest: coverage learns which test runs a line, and how long a case of it takes."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import coverage
import pytest

from .lines import SECONDS

seconds: Counter[str] = Counter()
cases: Counter[str] = Counter()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    measured = coverage.Coverage.current()
    assert measured is not None
    # Without its parameters.
    test = item.nodeid.partition("[")[0]
    measured.switch_context(test)
    begun_at = time.monotonic()
    outcome = yield
    seconds[test] += time.monotonic() - begun_at  # type: ignore[assignment]
    cases[test] += 1
    return outcome


def pytest_sessionfinish() -> None:
    # A test of many quick cases may notice a change by the first of them.
    of_a_case = {test: seconds[test] / cases[test] for test in cases}
    Path(SECONDS).write_text(json.dumps(of_a_case), encoding="utf-8")
