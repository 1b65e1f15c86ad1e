"""Writes the table of ``CONTRIBUTING.md`` that says which tests hold which rule:
``python docs/tests_table.py``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "CONTRIBUTING.md"
# What each rule is about, and the page that says it.
RULES = {
    "part_1_access_token": (
        ("when a token is fetched", "behaviour.md#expiry"),
        ("the provider", "callbacks.md#the-provider"),
        ("the update callback", "callbacks.md#the-update-callback"),
        ("async clients", "behaviour.md#threads-tasks-and-event-loops"),
        ("single flight", "behaviour.md#threads-tasks-and-event-loops"),
        ("the same token again", "behaviour.md#a-rejected-token"),
        ("a rejected token", "behaviour.md#a-rejected-token"),
        ("bodies and streams", "behaviour.md#bodies"),
        ("where tokens go", "behaviour.md#hosts"),
        ("headers and responses", "behaviour.md"),
        ("failures", "errors.md"),
        ("secrets", "security.md"),
        ("life in a process", "options.md#members"),
    ),
    "part_2_session_token": (
        ("which requests carry it", "two-headers.md#what-it-does"),
        ("login", "two-headers.md#what-it-does"),
        ("idle time", "two-headers.md#what-it-does"),
        ("an answer that blames the session", "what-an-answer-means.md#session-expired"),
        ("how logins are counted", "failed-logins.md"),
        ("redirects", "two-headers.md#redirects"),
        ("logout", "two-headers.md#what-it-does"),
    ),
    "part_3_stores": (
        ("one token for many processes", "many-processes.md#what-it-promises"),
        ("a store of one's own", "many-processes.md#a-store-of-your-own"),
        ("entries", "many-processes.md#who-shares"),
        ("files, and idle time", "many-processes.md#files"),
        ("remembered logins", "failed-logins.md#with-a-store"),
        ("a store that cannot be reached", "many-processes.md#what-it-promises"),
        ("the command line", "many-processes.md#to-look-into-it-and-to-clear-it"),
    ),
    "part_4_command_line": (),
    "part_5_operators": (),
}
ELSEWHERE = {
    ("part_3_stores", 7): (
        "part_4_command_line/test_command_clear_and_revoke.py",
        "part_4_command_line/test_command_status.py",
    )
}
_TABLE = re.compile(r"(?<=^\| rule \| what it is about \| tests \|\n)(\|.*\n)+", re.MULTILINE)


def files_of(folder: str, rule: int) -> list[Path]:
    """The files that name a rule: ``test_rule_5_words.py``, ``test_rules_2_and_3_words.py``."""
    others = [ROOT / "tests" / name for name in ELSEWHERE.get((folder, rule), ())]
    return [path for path in _files(folder) if rule in numbers(path)] + others


def numbers(path: Path) -> list[int]:
    """The rules that a file names."""
    found = re.match(r"test_rules?_(\d+)(?:_and_(\d+))?_", path.name)
    return [int(number) for number in found.groups() if number] if found else []


def page(text: str) -> str:
    """The page with the table as the files are now."""
    return _TABLE.sub(lambda _: "\n".join(["| --- | --- | --- |", *_rows(), ""]), text)


def _rows() -> Iterator[str]:
    for folder, rules in RULES.items():
        part = folder.split("_")[1]
        for rule, (subject, page) in enumerate(rules, 1):
            told = f"[{subject}](docs/{page})"
            yield f"| Part {part}, {rule} | {told} | {_links(files_of(folder, rule))} |"
        others = [path for path in _files(folder) if not numbers(path)]
        if others:
            yield f"| Part {part} | what has no rule | {_links(others)} |"
    yield f"| | the repository itself | {_links(_files('project'))} |"


def _files(folder: str) -> list[Path]:
    return sorted((ROOT / "tests" / folder).glob("test_*.py"))


def _links(paths: list[Path]) -> str:
    return ", ".join(f"[{_words(path)}]({path.relative_to(ROOT).as_posix()})" for path in paths)


def _words(path: Path) -> str:
    return re.sub(r"^test_(rules?_\d+_(and_\d+_)?)?", "", path.stem).replace("_", " ")


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
