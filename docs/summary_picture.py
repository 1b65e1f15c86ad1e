"""Makes ``summary.svg``, README's picture, of what ``demo.svg`` says.

Run it after ``docs/demo_picture.py``. It is narrow, so that it can be read on a phone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import NamedTuple

import drawing

PICTURE = Path(__file__).with_name("summary.svg")
DEMO = Path(__file__).with_name("demo.svg")
WIDTH, MARGIN = 380, 20
_NUMBER = r" +(\d+) │ +(\d+) │ +(\d+) │ +(\d+) │"


class Needed(NamedTuple):
    """The requests that a program needed."""

    api: int
    token: int
    login: int
    in_all: int


def demo_lines() -> str:
    """The text of the demo's picture."""
    picture = re.sub(r"</text>", "\n", DEMO.read_text(encoding="utf-8"))
    return unescape(re.sub(r"<[^>]+>\n?", "", picture)).replace("\xa0", " ")


def calls() -> int:
    """How many calls each program made."""
    (found,) = re.findall(r"(\d+) calls by each program", demo_lines())
    return int(found)


def needed_by(name: str) -> Needed:
    """What a row of the demo's table says."""
    joined = re.sub(r"\s*\n\s*", " ", demo_lines())
    (found,) = re.findall(rf"│ ?{re.escape(name)} *│{_NUMBER}", joined)
    return Needed(*map(int, found))


def rows(ours: Needed, by_hand: Needed) -> Iterator[str]:
    yield drawing.text(MARGIN, 34, f"{calls()} calls, all answered with 200", "title big", "start")
    yield drawing.text(MARGIN, 56, "tokens expire and are revoked; 20 ask at once", "soft", "start")
    top = 84
    for name, needed, kind in (
        ("token code written by hand", by_hand, "bad"),
        ("with ThingspaceAuth", ours, "good"),
    ):
        yield from row(top, name, needed, needed.in_all / by_hand.in_all, kind)
        top += 86


def row(top: float, name: str, needed: Needed, part: float, kind: str) -> Iterator[str]:
    right = WIDTH - MARGIN
    yield drawing.text(MARGIN, top, name, "", "start")
    yield drawing.text(right, top, f"{needed.in_all} requests", "title", "end")
    yield drawing.bar(MARGIN, top + 9, (right - MARGIN) * part, 16, kind)
    parts = f"{needed.api} to APIs, {needed.token} for tokens, {needed.login} for logins"
    yield drawing.text(MARGIN, top + 44, parts, "soft", "start")


def picture() -> str:
    ours, by_hand = needed_by("httpx.Client"), needed_by("a script written by hand")
    description = (
        f"For {calls()} calls, a script with token code written by hand needs {by_hand.in_all}"
        f" requests, and the same with ThingspaceAuth needs {ours.in_all}"
    )
    return drawing.picture(description, WIDTH, 236, rows(ours, by_hand))


if __name__ == "__main__":
    PICTURE.write_text(picture(), encoding="utf-8")
