"""Tells which tests failed when each environment last ran: ``python tests/failed.py .tox``."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

LINES = 20


def failed(work_directory: Path) -> Iterator[str]:
    """The tests that failed, each with its environment; pytest's cache keeps them."""
    for path in sorted(work_directory.glob("*/cache/v/cache/lastfailed")):
        # An environment that is skipped now may have failed long ago.
        ran_at = datetime.fromtimestamp(path.stat().st_mtime)
        where = f"{path.parents[3].name}, {ran_at:%Y-%m-%d %H:%M}"
        cases: dict[str, bool] = json.loads(path.read_text(encoding="utf-8"))
        # Each with the number of its parameters that failed.
        for test, number in Counter(case.partition("[")[0] for case in cases).items():
            yield f"{where}: {test}" + (f" ({number} cases)" if number > 1 else "")


def shortened(lines: list[str]) -> list[str]:
    if len(lines) <= LINES:
        return lines
    return [*lines[: LINES - 1], f"... and {len(lines) - LINES + 1} more"]


if __name__ == "__main__":
    print("\n".join(shortened(list(failed(Path(sys.argv[1]))))) or "no test failed")
