"""Runs cosmic-ray over modules, and tells which changes no test noticed."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from queue import Queue
from typing import NamedTuple

from .lines import environment, measure

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "thingspace_auth_adapters"
LAYERS = ("_model", "_wire", "_core", "_adapters")
EQUIVALENT = Path(__file__).with_name("equivalent.txt")
TIMEOUT_SECONDS = 240

# One near neighbour each: a remote one (a power for a sum, an order for an identity) fails by its
# types, or whenever the near one does. A | stands in annotations, which nothing evaluates.
_BINARY = "Add_Sub|Sub_Add|Mul_Div|Div_Mul|Mod_Mul|Pow_Mul|BitAnd_BitOr"
_EQUAL = "Eq_NotEq|NotEq_Eq|Is_IsNot|IsNot_Is|In_NotIn|NotIn_In"
_ORDER = "Lt_LtE|Lt_GtE|LtE_Lt|LtE_Gt|Gt_GtE|Gt_LtE|GtE_Gt|GtE_Lt"
EXCLUDED_OPERATORS = [
    f"core/ReplaceBinaryOperator_(?!{_BINARY}).*",
    f"core/ReplaceComparisonOperator_(?!({_EQUAL}|{_ORDER})$).*",
]

CONFIGURATION = """
[cosmic-ray]
module-path = "{package}/{module}"
timeout = {timeout}
excluded-modules = []
test-command = "{command}"

[cosmic-ray.distributor]
name = "local"

[cosmic-ray.filters.operators-filter]
exclude-operators = {excluded}
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

    def is_among(self, known: Collection[str]) -> bool:
        """Whether these lines name it; a * stands for each module."""
        return self.line in known or self._replace(module="*").line in known


def survivors_in(module: str, tree: Path) -> Iterator[Survivor]:
    """Change a module of a copy of this project, in all ways, one after the other."""
    command = f"{sys.executable} -m tests.mutants.attempt {ROOT} {PACKAGE}/{module}"
    configuration = CONFIGURATION.format(
        package=PACKAGE,
        module=module,
        timeout=TIMEOUT_SECONDS,
        command=command,
        excluded=json.dumps(EXCLUDED_OPERATORS),
    )
    (tree / "mutants.toml").write_text(configuration, encoding="utf-8")
    run(tree, "cosmic-ray", "init", "mutants.toml", "mutants.sqlite", "--force")
    run(tree, "cr-filter-operators", "mutants.sqlite", "mutants.toml")
    run(tree, "cosmic-ray", "exec", "mutants.toml", "mutants.sqlite")
    for line in run(tree, "cosmic-ray", "dump", "mutants.sqlite").splitlines():
        _, result = json.loads(line)
        if result and result["test_outcome"] == "survived":
            yield survivor(module, result["diff"])


def survivor(module: str, diff: str) -> Survivor:
    """From the diff that cosmic-ray keeps: the first lines that differ."""
    lines = [line for line in diff.splitlines() if not line.startswith(("---", "+++"))]
    before, after = (
        next((line[1:].strip() for line in lines if line[0] == sign and line[1:].strip()), "")
        for sign in "-+"
    )
    return Survivor(module, before, after)


def run(tree: Path, *command: str) -> str:
    finished = subprocess.run(
        command, cwd=tree, env=environment(tree), check=True, stdout=subprocess.PIPE, text=True
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
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="modules at a time")
    arguments = parser.parse_args()
    unknown = {*arguments.modules} - {*modules()}
    if unknown:
        parser.error(f"no module {', '.join(unknown)}: there are {', '.join(modules())}")
    chosen = arguments.modules or modules()
    with tempfile.TemporaryDirectory() as directory:
        trees = copies(Path(directory), min(arguments.jobs, len(chosen)))
        found = sum(reported(survivors) for survivors in each_module(chosen, trees))
    print(f"{found} changes survived in {', '.join(chosen)}")
    return 1 if found else 0


def copies(directory: Path, number: int) -> list[Path]:
    """Copies of this project that know which tests run which line."""
    ignored = shutil.ignore_patterns(".git", ".tox", ".venv", "*.egg-info", "build", "dist")
    first, *others = (directory / str(one) for one in range(number))
    shutil.copytree(ROOT, first, ignore=ignored)
    measure(first)
    for other in others:
        shutil.copytree(first, other)
    return [first, *others]


def each_module(chosen: list[str], trees: list[Path]) -> Iterator[list[Survivor]]:
    """The survivors of each module, in the order in which the modules are done."""
    idle: Queue[Path] = Queue()
    for tree in trees:
        idle.put(tree)

    def survivors_of(module: str) -> list[Survivor]:
        tree = idle.get()
        try:
            return list(survivors_in(module, tree))
        finally:
            idle.put(tree)

    with ThreadPoolExecutor(len(trees)) as pool:
        for done in as_completed([pool.submit(survivors_of, module) for module in chosen]):
            yield done.result()


def reported(survivors: list[Survivor]) -> int:
    """How many of a module's survivors are not known to be equivalent; each is printed."""
    known = equivalent()
    unknown = [one.line for one in survivors if not one.is_among(known)]
    for line in unknown:
        print(line, flush=True)
    return len(unknown)


if __name__ == "__main__":
    sys.exit(main())
