"""Runs cosmic-ray over modules, and tells which changes no test noticed."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "thingspace_auth_adapters"
LAYERS = ("_model", "_wire", "_core", "_adapters")
EQUIVALENT = Path(__file__).with_name("equivalent.txt")
TIMEOUT_SECONDS = 60

# Tried first, since they are about the module; a change that they miss meets the contract's tests.
NEAR = {
    "_adapters/auth.py": ("members_and_options", "bad_input", "nothing_is_silent"),
    "_adapters/case.py": ("repeats", "events", "headers_and_recover"),
    "_adapters/httpx_flow.py": ("httpx_adapter", "repeats", "session_redirects"),
    "_adapters/httpx_transport.py": ("httpx_adapter", "failures", "on_the_way"),
    "_adapters/life.py": ("repeats", "headers_and_recover", "nothing_is_silent", "suspicion"),
    "_adapters/obstacle.py": ("obstacles",),
    "_adapters/requests_transport.py": ("requests_adapter", "failures", "on_the_way"),
    "_core/access_tokens.py": ("callbacks", "single_flight"),
    "_core/cached_token.py": ("units", "lifecycle", "suspicion"),
    "_core/callbacks.py": ("callbacks", "workers"),
    "_core/clock.py": ("units",),
    "_core/endpoint.py": ("units", "throttling", "waits"),
    "_core/lifecycle.py": ("lifecycle", "single_flight", "interrupts", "repeats"),
    "_core/login_count.py": ("login_count", "login_guard"),
    "_core/login_guard.py": ("login_count", "login_guard", "login_crowds", "login_defects"),
    "_core/records.py": ("records", "shared_tokens"),
    "_core/refresh.py": ("refresh", "single_flight", "waits"),
    "_core/sessions.py": ("login_guard", "login_defects", "suspicion"),
    "_core/shared.py": ("shared_tokens", "suspicion"),
    "_core/tokens.py": ("units", "members_and_options"),
    "_core/workers.py": ("workers", "waits"),
    "_model/checks.py": ("bad_input", "nothing_is_silent"),
    "_model/credentials.py": ("credentials", "bad_input", "nothing_is_silent"),
    "_model/events.py": ("events", "nothing_is_silent"),
    "_model/hosts.py": ("hosts", "bad_input"),
    "_model/m2m.py": ("m2m_credentials", "bad_input"),
    "_model/settings.py": ("bad_input", "nothing_is_silent"),
    "_model/tokens.py": ("credentials", "bad_input", "units"),
    "_wire/m2m_session.py": ("session_wire", "answers"),
    "_wire/messages.py": ("oauth_wire", "session_wire", "secrets"),
    "_wire/oauth.py": ("oauth_wire",),
    "_wire/rejection.py": ("rejection", "suspicion"),
}
EVERYWHERE = ("contract_tokens", "contract_sessions", "contract_requests")

CONFIGURATION = """
[cosmic-ray]
module-path = "{package}/{module}"
timeout = {timeout}
excluded-modules = []
test-command = "{command}"

[cosmic-ray.distributor]
name = "local"

[cosmic-ray.filters.operators-filter]
# Operators of | stand in annotations, which nothing evaluates. Of the others one neighbour each
# will do: the remote ones (a sum for a power, an order for an identity) fail by their types, or
# whenever the near one does.
exclude-operators = [
    "core/ReplaceBinaryOperator_BitOr_.*",
    "core/ReplaceBinaryOperator_(?!Add_Sub|Sub_Add|Mul_Div|Div_Mul|Mod_Mul|Pow_Mul|BitAnd_BitOr).*",
    "core/ReplaceComparisonOperator_(Eq|NotEq|Is|IsNot|In|NotIn)_(?!Eq$|NotEq$|Is$|IsNot$|In$|NotIn$).*",
    "core/ReplaceComparisonOperator_(Eq_Is|Eq_IsNot|NotEq_Is|NotEq_IsNot|Is_Eq|Is_NotEq|IsNot_Eq|IsNot_NotEq)$",
    "core/ReplaceComparisonOperator_(Lt|LtE|Gt|GtE)_(Eq|NotEq|Is|IsNot)$",
]
"""


class Survivor(NamedTuple):
    """A change that no test noticed."""

    module: str
    before: str
    after: str

    @property
    def line(self) -> str:
        """As ``equivalent.txt`` has it, before its reason."""
        return f"{self.module}: {self.before} -> {self.after}"


def tests_of(module: str) -> list[str]:
    """The test files that a change to a module has to survive, in order."""
    names = dict.fromkeys((*NEAR.get(module, ()), *EVERYWHERE))
    return [f"tests/test_{name}.py" for name in names]


def survivors_in(module: str, tree: Path) -> Iterator[Survivor]:
    """Change a module of a copy of this project, in all ways, one after the other."""
    python = sys.executable
    options = "-x -q -p no:cacheprovider -m 'not once and not twin'"
    command = f"{python} -m pytest {options} {' '.join(tests_of(module))}"
    configuration = CONFIGURATION.format(
        package=PACKAGE, module=module, timeout=TIMEOUT_SECONDS, command=command
    )
    (tree / "mutants.toml").write_text(configuration, encoding="utf-8")
    for arguments in (
        ["init", "mutants.toml", "mutants.sqlite", "--force"],
        ["baseline", "mutants.toml"],
    ):
        run(tree, "cosmic-ray", *arguments)
    run(tree, "cr-filter-operators", "mutants.sqlite", "mutants.toml")
    run(tree, "cosmic-ray", "exec", "mutants.toml", "mutants.sqlite")
    for line in run(tree, "cosmic-ray", "dump", "mutants.sqlite").splitlines():
        _, result = json.loads(line)
        if result and result["test_outcome"] == "survived":
            yield survivor(module, result["diff"])


def survivor(module: str, diff: str) -> Survivor:
    """From the diff that cosmic-ray keeps: the first lines that differ."""
    lines = [line for line in diff.splitlines() if not line.startswith(("---", "+++"))]
    before = next((line[1:].strip() for line in lines if line.startswith("-")), "")
    after = next((line[1:].strip() for line in lines if line.startswith("+")), "")
    return Survivor(module, before, after)


def run(tree: Path, *command: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    finished = subprocess.run(
        command, cwd=tree, env=environment, check=True, stdout=subprocess.PIPE, text=True
    )
    return finished.stdout


def equivalent() -> set[str]:
    """The changes that change nothing, each with its reason behind a #."""
    lines = EQUIVALENT.read_text(encoding="utf-8").splitlines()
    return {line.partition("  # ")[0] for line in lines if line and not line.startswith("#")}


def modules() -> list[str]:
    """All modules of the four layers."""
    found = (path for layer in LAYERS for path in (ROOT / PACKAGE / layer).glob("*.py"))
    return sorted(f"{path.parent.name}/{path.name}" for path in found if path.stat().st_size)


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.mutants", description=__doc__)
    parser.add_argument("modules", nargs="*", help="such as _wire/oauth.py; by default all")
    chosen = parser.parse_args().modules or modules()
    ignored = shutil.ignore_patterns(".git", ".tox", ".venv", "*.egg-info", "build", "dist")
    known, found = equivalent(), 0
    with tempfile.TemporaryDirectory() as directory:
        tree = Path(directory) / "project"
        shutil.copytree(ROOT, tree, ignore=ignored)
        for module in chosen:
            for one in survivors_in(module, tree):
                if one.line not in known:
                    found += 1
                    print(one.line, flush=True)
    print(f"{found} changes survived in {', '.join(chosen)}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
