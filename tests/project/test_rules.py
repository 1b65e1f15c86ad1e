"""Each rule has its tests, and CONTRIBUTING says where."""

from __future__ import annotations

import pytest

from ..support.snippets import docs_script

pytestmark = pytest.mark.once
TABLE = docs_script("tests_table")
RULES = [(folder, rule + 1) for folder, rules in TABLE.RULES.items() for rule in range(len(rules))]


@pytest.mark.parametrize(("folder", "rule"), RULES)
def test_each_rule_has_a_file_that_names_it(folder: str, rule: int) -> None:
    assert TABLE.files_of(folder, rule)


@pytest.mark.parametrize("folder", TABLE.RULES)
def test_no_file_names_a_rule_that_there_is_not(folder: str) -> None:
    known = set(range(1, len(TABLE.RULES[folder]) + 1))
    for path in (TABLE.ROOT / "tests" / folder).glob("test_*.py"):
        assert known.issuperset(TABLE.numbers(path)), path.name


def test_the_table_is_of_today() -> None:
    text = TABLE.PAGE.read_text(encoding="utf-8")
    assert text.count("| rule | what it is about | tests |") == 1
    assert TABLE.page(text) == text, "run `python docs/tests_table.py`"
