"""Writes the scripts that pages show into these pages: ``python docs/inline_code.py``.

A comment above a block of code says which script it shows, by its path from the repository's root:
``<!-- file: examples/threads.py -->``. So a forge, which includes nothing, shows it too.
"""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).parent
_BLOCK = re.compile(r"^(<!-- file: (\S+) -->\n```\w+\n).*?^```$", re.DOTALL | re.MULTILINE)


def inlined(page: str) -> str:
    """A page whose blocks are equal to the scripts that they show."""

    def block(found: re.Match[str]) -> str:
        script = DOCS.parent / found[2]
        return f"{found[1]}{script.read_text(encoding='utf-8')}```"

    return _BLOCK.sub(block, page)


if __name__ == "__main__":
    for path in DOCS.glob("*.md"):
        path.write_text(inlined(path.read_text(encoding="utf-8")), encoding="utf-8")
