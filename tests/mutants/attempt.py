"""Runs the tests of the line in which a module differs from the original."""

from __future__ import annotations

import difflib
import subprocess
import sys
from pathlib import Path

from .lines import OPTIONS, tests_of

FIRST_TESTS = 25
TESTS_AT_MOST = 500
# A test that hangs noticed the change.
HANGS = ("-o", "faulthandler_timeout=40", "-o", "faulthandler_exit_on_timeout=true")


def first_change(original: Path, changed: Path) -> int:
    """The number of the first line of the original that is another one now."""
    before, after = (path.read_text("utf-8").splitlines() for path in (original, changed))
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    return next((start + 1 for tag, start, *_ in matcher.get_opcodes() if tag != "equal"), 0)


def main(original: Path, module: str) -> int:
    changed = Path.cwd() / module
    tests = tests_of(changed, first_change(original / module, changed))
    # Most changes are noticed at once; collecting all tests takes longer than that.
    batches = (tests[:FIRST_TESTS], tests[FIRST_TESTS:TESTS_AT_MOST])
    return next(filter(None, (run(batch) for batch in batches if batch)), 0)


def run(tests: list[str]) -> int:
    pytest = [sys.executable, "-m", "pytest", "-x", *OPTIONS, *HANGS, *tests]
    return subprocess.run(pytest, check=False, stdout=subprocess.DEVNULL).returncode


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
