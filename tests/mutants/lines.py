"""Which tests run a line of the package."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import coverage

CONFIGURATION = "[run]\nbranch = false\nsource_pkgs = thingspace_auth_adapters\n"
FOLDERS = (
    "part_1_access_token",
    "part_2_session_token",
    "part_3_stores",
    "part_4_command_line",
    "part_5_operators",
    "mechanisms",
)
SECONDS = "seconds.json"
OPTIONS = ("-q", "-p", "no:cacheprovider", "-p", "no:randomly", "-m", "not once and not twin")


def measure(tree: Path) -> None:
    """Run the tests of a tree once, and keep beside each module which of them run which line."""
    rcfile = tree / "lines.coveragerc"
    rcfile.write_text(CONFIGURATION, encoding="utf-8")
    run = [sys.executable, "-m", "coverage", "run", f"--rcfile={rcfile}", "--data-file=lines.data"]
    folders = [f"tests/{folder}" for folder in FOLDERS]
    pytest = ["-m", "pytest", "-p", "tests.mutants.which_lines", *OPTIONS, *folders]
    subprocess.run([*run, *pytest], cwd=tree, env=environment(tree), check=True)
    data = coverage.CoverageData(str(tree / "lines.data"))
    data.read()
    seconds = json.loads((tree / SECONDS).read_text(encoding="utf-8"))
    for name in data.measured_files():
        lines = data.contexts_by_lineno(name)
        quickest_first = {
            line: sorted(filter(None, tests), key=lambda test: (seconds[test], test))
            for line, tests in lines.items()
        }
        _kept(Path(name)).write_text(json.dumps(quickest_first), encoding="utf-8")


def tests_of(module: Path, changed: int) -> list[str]:
    """The tests of a line, the quickest first.

    A line that no test runs is run when the module is imported, such as a decorator. Then all tests
    of the module, those of the next line that any test runs before the others.
    """
    lines: dict[str, list[str]] = json.loads(_kept(module).read_text(encoding="utf-8"))
    here = lines.get(str(changed))
    if here:
        return here
    later = sorted(int(line) for line, tests in lines.items() if tests and int(line) > changed)
    following = lines[str(later[0])] if later else []
    return list(dict.fromkeys([*following, *(test for tests in lines.values() for test in tests)]))


def _kept(module: Path) -> Path:
    return module.with_suffix(".lines.json")


def environment(tree: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
