"""The public surface as two type checkers see it: mistakes are errors, correct use is none."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TYPING = ROOT / "tests" / "typing"
FILES = ("mistakes.py", "usage.py")
MARKER = "  # mistake"
CHECKERS = ("mypy", "basedpyright")
LIBRARIES = ("requests", "httpx", "httpx2")

# What a checker says, by the name of the file and the number of the line.
Errors = dict[str, dict[int, str]]


@pytest.fixture(scope="module", params=CHECKERS)
def errors(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Errors:
    """What a checker says of both files. It takes long, so it runs once."""
    checker: str = request.param
    for name in (checker, *LIBRARIES):
        if not importlib.util.find_spec(name):
            pytest.skip(f"{name} is not installed")
    if checker == "mypy":
        return errors_of_mypy()
    return errors_of_pyright(tmp_path_factory.mktemp(checker))


def errors_of_mypy() -> Errors:
    # With the project's own settings, whose cache spares most of the time.
    output = run("mypy", "--no-pretty", *(str(TYPING / name) for name in FILES))
    found: Errors = {name: {} for name in FILES}
    for line in output.splitlines():
        match = re.match(r"(.+?):(\d+): error: (.*)", line)
        if match:
            found[Path(match[1]).name][int(match[2])] = match[3]
    return found


def errors_of_pyright(directory: Path) -> Errors:
    config = directory / "pyrightconfig.json"
    settings = {
        "extends": str(ROOT / "pyrightconfig.json"),
        "include": [str(TYPING / name) for name in FILES],
        "exclude": [],
        "extraPaths": [str(ROOT)],
    }
    config.write_text(json.dumps(settings), encoding="utf-8")
    options = ("--outputjson", f"--project={config}", f"--pythonpath={sys.executable}")
    report = json.loads(run("basedpyright", *options))
    assert report["summary"]["filesAnalyzed"] == len(FILES)
    found: Errors = {name: {} for name in FILES}
    for one in report["generalDiagnostics"]:
        if one["severity"] == "error":
            found[Path(one["file"]).name][one["range"]["start"]["line"] + 1] = one["message"]
    return found


def run(checker: str, *options: str) -> str:
    process = subprocess.run(
        [sys.executable, "-m", checker, *options],
        cwd=ROOT,
        env={**os.environ, "MYPYPATH": str(ROOT), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    # 1 says that there are errors, anything else that the checker itself failed.
    assert process.returncode in (0, 1), process.stdout + process.stderr
    return process.stdout


def lines_of(name: str) -> dict[int, str]:
    text = (TYPING / name).read_text(encoding="utf-8")
    return dict(enumerate(text.splitlines(), start=1))


def test_every_mistake_is_an_error(errors: Errors) -> None:
    lines = lines_of("mistakes.py")
    marked = {number: line.strip() for number, line in lines.items() if line.endswith(MARKER)}
    missed = {
        number: line for number, line in marked.items() if number not in errors["mistakes.py"]
    }
    assert marked
    assert missed == {}


def test_nothing_but_the_mistakes_is_an_error(errors: Errors) -> None:
    lines = lines_of("mistakes.py")
    others = {
        number: (lines[number].strip(), message)
        for number, message in errors["mistakes.py"].items()
        if not lines[number].endswith(MARKER)
    }
    assert others == {}


def test_correct_use_is_no_error(errors: Errors) -> None:
    assert errors["usage.py"] == {}
