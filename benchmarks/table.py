"""Markdown tables with lettered notes."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_lowercase

NONE = "-"
"""What stands where there is nothing to measure, or no target."""


class Notes:
    """The notes of one table, each lettered once however many cells refer to it."""

    def __init__(self) -> None:
        self._texts: list[str] = []

    def mark(self, text: str) -> str:
        """The mark that refers to a note; an empty note has an empty mark."""
        if not text:
            return ""
        if text not in self._texts:
            self._texts.append(text)
        return f" ({ascii_lowercase[self._texts.index(text)]})"

    def render(self) -> str:
        lines = (f"- ({ascii_lowercase[i]}) {text}" for i, text in enumerate(self._texts))
        return "\n".join(lines)


def render(
    title: str,
    introduction: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    notes: Notes,
) -> str:
    """One section: heading, introduction, table, notes."""
    lines = [f"| {' | '.join(columns)} |", "|" + " --- |" * len(columns)]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    parts = [f"## {title}", introduction, "\n".join(lines), notes.render()]
    return "\n\n".join(part for part in parts if part)


def verdict(target: str, is_met: bool) -> str:
    """The target of a row, and whether this run met it."""
    return f"{target}: {'met' if is_met else '**missed**'}"
