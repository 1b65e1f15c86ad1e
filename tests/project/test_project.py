"""What setup.cfg, tox.ini and the workflows promise one another."""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
import sys
import tarfile
from configparser import RawConfigParser
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from thingspace_auth_adapters import __version__

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
COMPATIBILITY = ROOT / "docs" / "compatibility.md"
CONSTRAINTS = ROOT / "tests" / "constraints" / "oldest.txt"

pytestmark = pytest.mark.skipif(not WORKFLOWS, reason="an sdist has no workflows")


def text_of(workflow: str) -> str:
    return (ROOT / ".github" / "workflows" / workflow).read_text(encoding="utf-8")


def config(name: str) -> RawConfigParser:
    parser = RawConfigParser()
    parser.read(ROOT / name, encoding="utf-8")
    return parser


# Workflows.


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_every_action_is_pinned_to_a_commit_whose_version_a_comment_names(workflow: Path) -> None:
    used = re.findall(r"^\s*(?:- )?uses: (.+)$", workflow.read_text(encoding="utf-8"), re.MULTILINE)
    assert used
    for action in used:
        is_ours = action.startswith("./")
        assert is_ours or re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action), action


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_workflow_may_read_the_repository_and_nothing_else(workflow: Path) -> None:
    text = workflow.read_text(encoding="utf-8")
    granted = re.search(r"^permissions:\n((?: +.*\n)+)", text, re.MULTILINE)
    assert granted is not None
    assert granted[1] == "  contents: read\n"


def test_publishing_alone_may_write_and_only_a_signed_identity() -> None:
    lines = [line for path in WORKFLOWS for line in path.read_text(encoding="utf-8").splitlines()]
    writes = [line.split("#")[0].strip() for line in lines if re.search(r"\bwrite(-all)?\b", line)]
    assert writes == ["id-token: write"]
    assert "id-token: write" in text_of("release.yml").partition("\n  publish:\n")[2]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_workflow_uses_no_secret_and_keeps_no_credentials(workflow: Path) -> None:
    text = workflow.read_text(encoding="utf-8")
    assert "pull_request_target" not in text
    assert "secrets" not in text
    assert text.count("actions/checkout@") == text.count("persist-credentials: false")


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_no_command_has_an_expression_that_github_would_expand_in_it(workflow: Path) -> None:
    # A key after the dash of a list begins where those below it do.
    text = workflow.read_text(encoding="utf-8").replace("- ", "  ")
    # With the lines of a block, which are indented further.
    commands = re.findall(r"^( *).*?\brun: (.*(?:\n\1 .*|\n *$)*)", text, re.MULTILINE)
    assert commands
    assert [command for _, command in commands if "${{" in command] == []


def test_required_check_waits_for_every_other_job_of_ci() -> None:
    jobs = re.findall(r"^  (\w+):$", text_of("ci.yml").partition("\njobs:\n")[2], re.MULTILINE)
    needed = re.search(r"\n  required:\n(?:.*\n)*?    needs: \[(.+)\]", text_of("ci.yml"))
    assert needed is not None
    assert needed[1].split(", ") == [job for job in jobs if job != "required"]


def test_missing_interpreter_fails_in_ci() -> None:
    runs = re.findall(r"tox run.*", text_of("ci.yml"))
    assert runs
    assert all("--skip-missing-interpreters false" in run for run in runs)


# Versions of Python.


def test_tox_and_ci_run_every_python_that_the_classifiers_name() -> None:
    versions = {f"py{version.replace('.', '')}" for version in classified_versions()}
    assert versions <= {name.partition("-")[0] for name in tox_environments()}
    assert versions <= {name.partition("-")[0] for name in ci_environments()}


def test_oldest_classified_python_is_the_oldest_that_pip_accepts() -> None:
    assert config("setup.cfg")["options"]["python_requires"] == f">={classified_versions()[0]}"


def test_ci_runs_every_environment_of_tox_and_no_other() -> None:
    assert ci_environments() == tox_environments() - {"failed"}


def classified_versions() -> list[str]:
    classifiers = config("setup.cfg")["metadata"]["classifiers"]
    return re.findall(r"Programming Language :: Python :: (3\.\d+)", classifiers)


def tox_environments() -> set[str]:
    env_list = config("tox.ini")["tox"]["env_list"].split()
    return {name for pattern in env_list for name in expanded(pattern)}


def expanded(pattern: str) -> list[str]:
    """The names that a pattern with braces stands for: ``py3{9,10}``."""
    parts = re.split(r"{(.+?)}", pattern)
    choices = [part.split(",") if number % 2 else [part] for number, part in enumerate(parts)]
    return ["".join(chosen) for chosen in itertools.product(*choices)]


def ci_environments() -> set[str]:
    text = text_of("ci.yml")
    listed = ", ".join(re.findall(r"^ +env: \[(.+)\]$", text, re.MULTILINE)).split(", ")
    rows = re.findall(r'{ python: "3\.\d+", env: ([\w-]+) }', text)
    named = re.findall(r"tox run .*-e (\w+)$", text, re.MULTILINE)
    return {*listed, *rows, *named}


def test_each_environment_of_ci_gets_the_python_that_it_names() -> None:
    rows = re.findall(r'{ python: "(3\.\d+)", env: ([\w-]+) }', text_of("ci.yml"))
    assert rows
    for python, environment in rows:
        assert environment.split("-")[0] == f"py{python.replace('.', '')}"


# The version, and the sdist.


def test_build_and_package_name_one_version() -> None:
    assert config("setup.cfg")["metadata"]["version"] == __version__


@pytest.mark.once
def test_sdist_takes_what_git_tracks_and_nothing_that_merely_lies_there(tmp_path: Path) -> None:
    pytest.importorskip("setuptools_scm")
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("this is no clone")
    copy = tmp_path / "copy"
    shutil.copytree(
        ROOT, copy, ignore=shutil.ignore_patterns("dist", ".tox", ".venv", "build", "*.egg-info")
    )
    planted = ["tests/.env", "tests/scratch.py", "docs/notes.md", "local.toml"]
    for name in planted:
        (copy / name).write_text("a secret", encoding="utf-8")
    build = "from setuptools.build_meta import build_sdist; build_sdist('dist')"
    subprocess.run([sys.executable, "-c", build], cwd=copy, check=True, capture_output=True)
    (archive,) = (copy / "dist").glob("*.tar.gz")
    with tarfile.open(archive) as sdist:
        shipped = {name.partition("/")[2] for name in sdist.getnames()}
    assert {"tests/support/kinds.py", "docs/index.md", "README.md"} <= shipped
    assert shipped.isdisjoint(planted)
    assert not any(name.startswith((".ci", ".github")) for name in shipped)


# Dependencies.


def dependencies() -> list[Requirement]:
    """The run-time dependencies of all extras."""
    extras = config("setup.cfg")["options.extras_require"].values()
    lines = {line for extra in extras for line in extra.splitlines()}
    return [Requirement(line) for line in sorted(lines) if line and not line.startswith("%(")]


def pins() -> list[Requirement]:
    lines = CONSTRAINTS.read_text("utf-8").splitlines()
    return [Requirement(line) for line in lines if not line.startswith("#")]


def versions_on(python: str, requirements: list[Requirement]) -> dict[str, Version]:
    """The version that is named of each, and the highest one of those named twice."""
    found: dict[str, Version] = {}
    for one in requirements:
        if one.marker is None or one.marker.evaluate({"python_version": python}):
            found[one.name] = max(version_of(one), found.get(one.name, version_of(one)))
    return found


def version_of(requirement: Requirement) -> Version:
    (specifier,) = requirement.specifier
    return Version(specifier.version)


def test_every_dependency_has_a_floor_and_none_an_upper_bound() -> None:
    assert dependencies()
    for dependency in dependencies():
        assert [specifier.operator for specifier in dependency.specifier] == [">="], dependency
    assert re.fullmatch(r">=[\d.]+", config("setup.cfg")["options"]["python_requires"])


@pytest.mark.parametrize("python", ["3.9", "3.11"])
def test_each_floor_is_the_version_that_is_tested(python: str) -> None:
    assert versions_on(python, pins()) == versions_on(python, dependencies())


def test_documentation_names_the_floors() -> None:
    rows = re.findall(r"^\| ([\w-]+) \| (\d.+?) \|", COMPATIBILITY.read_text("utf-8"), re.MULTILINE)
    documented = {
        (name, Version(version))
        for name, cell in rows
        for version in re.findall(r"\b\d[\d.]+", cell)
    }
    assert documented == {(one.name, version_of(one)) for one in dependencies()}


def test_documentation_names_the_oldest_and_the_newest_python() -> None:
    oldest, *_, newest = classified_versions()
    assert f"CPython {oldest} to {newest} are tested" in COMPATIBILITY.read_text("utf-8")
