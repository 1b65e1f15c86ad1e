"""Every page reads well where README links to it: on a forge, as plain Markdown."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ..support.forge import Page
from ..support.snippets import DOCS, ROOT, docs_script

# What a page says depends neither on the interpreter nor on the HTTP library.
pytestmark = pytest.mark.once

MOST_WORDS = 40

PROSE = [
    # The reference is made from docstrings.
    *(path for path in sorted(DOCS.glob("*.md")) if path.name != "reference.md"),
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
]
OTHERS = (DOCS / "reference.md", ROOT / "CHANGELOG.md", ROOT / "benchmarks" / "RESULTS.md")
PAGES = [*PROSE, *OTHERS]


def named(path: Path) -> str:
    return path.name


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_page_has_no_fault_on_a_forge(path: Path) -> None:
    assert [*Page(path).faults()] == []


@pytest.mark.parametrize("path", PROSE, ids=named)
def test_no_sentence_is_too_long_to_be_read_once(path: Path) -> None:
    sentences = Page(path).sentences()
    assert [one for one in sentences if len(re.findall(r"[\w.'-]*\w", one)) > MOST_WORDS] == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[](page.md)", "a link without text"),
        ("[words](nowhere.md)", "a dead link"),
        ("[words](page.md#nowhere)", "a dead anchor"),
        ("![](picture.svg)", "a picture without a text"),
        ("![words](nowhere.svg)", "a dead link"),
        ("```{include} page.md\n```", "a directive"),
        ("see {doc}`page`", "a role"),
        ("{doc}`page`", "a role"),
        ("(label)=\n# Heading", "what only Sphinx understands"),
        ("<details>words</details>", "HTML"),
        ("words <br> words", "HTML"),
    ],
)
def test_fault_is_noticed(tmp_path: Path, text: str, fault: str) -> None:
    page, picture = tmp_path / "page.md", tmp_path / "picture.svg"
    picture.touch()
    page.write_text(f"# A page\n\n{text}\n", encoding="utf-8")
    (found,) = Page(page).faults()
    assert fault in found


def test_anchors_are_those_of_the_forge(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A `name()`, and more\n\n## Two_parts\n\n## Two_parts\n", encoding="utf-8")
    assert Page(page).anchors == ["a-name-and-more", "two_parts", "two_parts-1"]


@pytest.mark.parametrize("path", sorted(DOCS.glob("*.md")), ids=named)
def test_script_on_a_page_is_the_file(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text == docs_script("inline_code").inlined(text), "run `python docs/inline_code.py`"
    assert text.count("<!-- file: ") == len(
        re.findall(r"^<!-- file: \S+ -->\n```\w+\n", text, re.M)
    )


def test_first_page_leads_to_every_other() -> None:
    navigation = "".join(docs_script("conf").navigation(Page(DOCS / "index.md").text))
    pages = re.findall(r"^([\w-]+)$", navigation, re.MULTILINE)
    assert sorted([*pages, "index"]) == sorted(path.stem for path in DOCS.glob("*.md"))


def test_site_adds_what_a_forge_does_not_need() -> None:
    conf = docs_script("conf")
    source = ["[Words](../SECURITY.md#words), [words](../examples/threads.py)"]
    conf.for_the_site(None, "errors", source)
    assert source == ["[Words](security.md#words), [words](../examples/threads.py)"]
    source = ["<!-- py:class name.Kind -->\n"]
    conf.for_the_site(None, "reference", source)
    assert source == ["```{py:class} name.Kind\n:no-typesetting:\n```\n"]
    conf.for_the_site(None, "security", source)
    assert source[0].startswith("# Security\n")
    assert "](docs/" not in source[0]
