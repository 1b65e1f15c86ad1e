"""A Markdown page as a forge shows it: CommonMark with GitHub's tables, and nothing of Sphinx's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

import pytest

if TYPE_CHECKING:
    from markdown_it.token import Token

_COMMENT = r"(?s)\s*(<!--.*?-->\s*)*"
_ROLE = r"\{[\w:-]+\}$"
_TARGET = r"(?m)^\([\w-]+\)=$|^:::|^:[\w-]+:( |$)"
_ABBREVIATIONS = r"\b(e\.g|i\.e|etc|vs)\."


class Page:
    """A page, rendered.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        # With the extra [cli], or with MyST.
        markdown_it = pytest.importorskip("markdown_it")
        parser = markdown_it.MarkdownIt("commonmark").enable("table")
        self.path = path
        self.text = path.read_text(encoding="utf-8")
        self.tokens: list[Token] = parser.parse(self.text)

    @property
    def anchors(self) -> list[str]:
        """What links to the page's headings end in."""
        found: list[str] = []
        for opening, heading in zip(self.tokens, self.tokens[1:]):
            if opening.type == "heading_open":
                slug = _slug(_text(heading.children or ()))
                repeated = sum(re.sub(r"-\d+$", "", one) == slug for one in found)
                found.append(f"{slug}-{repeated}" if repeated else slug)
        return found

    def faults(self) -> Iterator[str]:
        """What a reader of the forge would stumble over."""
        for token in self.tokens:
            for problem in (*_block_faults(token), *self._inline_faults(token.children or [])):
                line = token.map[0] + 1 if token.map else "?"
                yield f"{self.path.name}:{line}: {problem}"

    def sentences(self) -> Iterator[str]:
        """The prose, without code and headings."""
        for opening, token in zip(self.tokens, self.tokens[1:]):
            if token.type == "inline" and opening.type != "heading_open":
                text = re.sub(_ABBREVIATIONS, r"\1", _text(token.children or (), code="code"))
                yield from re.split(r"(?<=[.!?])[)\"*]*\s+", text)

    def _inline_faults(self, tokens: list[Token]) -> Iterator[str]:
        for token, following in zip(tokens, [*tokens[1:], *tokens[-1:]]):
            if token.type == "link_open":
                yield from self._target_faults(str(token.attrGet("href")))
                if following.type == "link_close":
                    yield f"a link without text, to {token.attrGet('href')}"
            elif token.type == "image":
                yield from self._target_faults(str(token.attrGet("src")))
                if not token.content:
                    yield f"a picture without a text for who cannot see it: {token.attrGet('src')}"
            else:
                yield from _text_faults(token, following)

    def _target_faults(self, target: str) -> Iterator[str]:
        if re.match(r"[a-z]+:", target):
            return
        name, _, anchor = unquote(target).partition("#")
        path = self.path.parent / name if name else self.path
        if not path.exists():
            yield f"a dead link: {target}"
        elif anchor and anchor not in Page(path).anchors:
            yield f"a dead anchor: {target}"


def _block_faults(token: Token) -> Iterator[str]:
    if token.type == "fence" and token.info.startswith("{"):
        yield f"a directive: {token.info}"
    elif token.type == "html_block" and not re.fullmatch(_COMMENT, token.content):
        yield f"HTML: {token.content.strip()[:40]}"
    elif token.type == "inline" and re.search(_TARGET, token.content):
        yield f"what only Sphinx understands: {token.content[:40]}"


def _text_faults(token: Token, following: Token) -> Iterator[str]:
    if token.type == "text" and following.type == "code_inline":
        if re.search(_ROLE, token.content):
            yield f"a role: {token.content[-20:]}`{following.content}`"
    elif token.type == "html_inline" and not re.fullmatch(_COMMENT, token.content):
        yield f"HTML: {token.content}"


def _text(tokens: list[Token] | tuple[()], code: str = "") -> str:
    """What is read; each piece of code is the given word, if there is one."""
    parts = {"softbreak": " ", "hardbreak": " "}
    return "".join(
        (code or one.content) if one.type == "code_inline" else parts.get(one.type, one.content)
        for one in tokens
        if one.type not in ("html_inline", "image")
    )


def _slug(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
