"""What a statement imports, in an interpreter of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys

LIBRARIES = ("requests", "httpx", "httpx2", "urllib3", "httpcore", "anyio", "trio", "werkzeug")


def python(code: str) -> str:
    # coverage would import modules of its own.
    environment = {name: value for name, value in os.environ.items() if "COVERAGE" not in name}
    finished = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=environment,
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def modules_after(statement: str) -> set[str]:
    code = f"import sys, json\n{statement}\nprint(json.dumps(sorted(sys.modules)))"
    return set(json.loads(python(code)))
