"""Which tests run a line of the package."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import coverage

CONFIGURATION = "[run]\nbranch = false\nsource_pkgs = thingspace_auth_adapters\n"
FOLDERS = (
    "part_1_access_token",
    "part_2_session_token",
    "part_3_stores",
    "part_5_operators",
    "mechanisms",
)
LINES = "lines.json"
OPTIONS = ("-q", "-p", "no:cacheprovider", "-p", "no:randomly", "-m", "not once and not twin")


def measure(tree: Path) -> None:
    """Run the tests of a tree once, and keep there which of them run which line."""
    rcfile = tree / "lines.coveragerc"
    rcfile.write_text(CONFIGURATION, encoding="utf-8")
    run = [sys.executable, "-m", "coverage", "run", f"--rcfile={rcfile}", "--data-file=lines.data"]
    folders = [f"tests/{folder}" for folder in FOLDERS]
    pytest = ["-m", "pytest", "-p", "tests.mutants.which_lines", *OPTIONS, *folders]
    subprocess.run([*run, *pytest], cwd=tree, env=environment(tree), check=True)
    data = coverage.CoverageData(str(tree / "lines.data"))
    data.read()
    found: dict[str, dict[int, list[str]]] = {}
    for name in data.measured_files():
        by_line = data.contexts_by_lineno(name)
        found[str(Path(name).relative_to(tree))] = {
            line: sorted(filter(None, tests)) for line, tests in by_line.items()
        }
    (tree / LINES).write_text(json.dumps(found), encoding="utf-8")


def tests_of(tree: Path, module: str, changed: int) -> list[str]:
    """The tests of a line, those that run the fewest lines first.

    A line that no test runs is run when the module is imported: then all tests of the module.
    """
    lines: dict[str, dict[str, list[str]]] = json.loads((tree / LINES).read_text("utf-8"))
    breadth: Counter[str] = Counter()
    for of_module in lines.values():
        for tests in of_module.values():
            breadth.update(tests)
    of_module = lines[module]
    chosen = of_module.get(str(changed)) or {one for tests in of_module.values() for one in tests}
    return sorted(chosen, key=lambda test: (breadth[test], test))


def environment(tree: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
