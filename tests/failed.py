"""Tells which tests failed when tox last ran: ``python tests/failed.py .tox``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

LINES = 20


def failed(work_directory: Path) -> list[str]:
    """The tests that failed, each with its environment; pytest's cache keeps them."""
    caches = sorted(work_directory.glob("*/cache/v/cache/lastfailed"))
    return [f"{path.parents[3].name}: {test}" for path in caches for test in _taken(path)]


def shortened(lines: list[str]) -> list[str]:
    if len(lines) <= LINES:
        return lines
    return [*lines[: LINES - 1], f"... and {len(lines) - LINES + 1} more"]


def _taken(path: Path) -> dict[str, bool]:
    """Read and removed: in the next run this environment may be skipped."""
    tests: dict[str, bool] = json.loads(path.read_text(encoding="utf-8"))
    path.unlink()
    return tests


def main(work_directory: Path) -> str | int:
    """The exit status; what is text is printed, and counts as 1, so that tox shows it."""
    lines = failed(work_directory)
    return "\n".join(shortened(lines)) or 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
