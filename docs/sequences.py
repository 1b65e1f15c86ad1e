"""Makes the pictures of who asks whom, and when: ``python docs/sequences.py``.

What goes to ThingSpace in them is compared by a test with what a simulator of it sees.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import drawing

DOCS = Path(__file__).parent


class Step(NamedTuple):
    """Something that happens.

    Attributes:
        start: who does it.
        end: whom it concerns; the same one, if it is a note.
        words: at the arrow.
        is_answer: whether it answers something.
        kind: ``good`` or ``bad``, if it is worth a colour.
    """

    start: str
    end: str
    words: str
    is_answer: bool = False
    kind: str = ""


class Sequence(NamedTuple):
    """A picture.

    Attributes:
        name: of the file, without suffix.
        description: for those who cannot see it.
        actors: from left to right.
        steps: from top to bottom.
    """

    name: str
    description: str
    actors: tuple[str, ...]
    steps: tuple[Step, ...]


THREAD_1, THREAD_2, AUTH = "thread 1", "thread 2", "ThingspaceAuth"
ENDPOINT, API = "token endpoint", "API"
REJECTED = Sequence(
    "rejected-token",
    "Two threads send a request with a token that was revoked. Both get a 401. ThingspaceAuth asks"
    " the token endpoint once, and repeats both requests with the new token.",
    (THREAD_1, THREAD_2, AUTH, ENDPOINT, API),
    (
        Step(THREAD_1, AUTH, "GET /devices"),
        Step(THREAD_2, AUTH, "GET /lines"),
        Step(AUTH, API, "both, with token A"),
        Step(API, AUTH, "401 for both: token A was revoked", True, "bad"),
        Step(AUTH, ENDPOINT, "one token request"),
        Step(ENDPOINT, AUTH, "200: token B", True, "good"),
        Step(AUTH, API, "both again, with token B"),
        Step(API, AUTH, "200 for both", True, "good"),
        Step(AUTH, THREAD_2, "200", True, "good"),
        Step(AUTH, THREAD_1, "200", True, "good"),
    ),
)

PROCESS_1, PROCESS_2, STORE, THINGSPACE = "process 1", "process 2", "store", "ThingSpace"
SHARED = Sequence(
    "shared-store",
    "Two processes need a token. The first one takes the lock of the store, asks ThingSpace, and"
    " writes the token into the store. The second one waits for the lock, and reads that token.",
    (PROCESS_1, PROCESS_2, STORE, THINGSPACE),
    (
        Step(PROCESS_1, STORE, "no token: takes the lock"),
        Step(PROCESS_2, STORE, "no token: waits for it"),
        Step(PROCESS_1, THINGSPACE, "one token request"),
        Step(THINGSPACE, PROCESS_1, "200: the token", True, "good"),
        Step(PROCESS_1, STORE, "writes the token, ends the lock"),
        Step(PROCESS_2, STORE, "takes the lock, looks again"),
        Step(STORE, PROCESS_2, "the token", True, "good"),
        Step(PROCESS_1, THINGSPACE, "requests with the token"),
        Step(PROCESS_2, THINGSPACE, "requests with the same token"),
    ),
)

SEQUENCES = (REJECTED, SHARED)
DISTANCE, MARGIN, TOP, LINE = 180, 80, 60, 36


def drawn(sequence: Sequence) -> str:
    """A sequence as an SVG."""
    width = 2 * MARGIN + DISTANCE * (len(sequence.actors) - 1)
    height = TOP + LINE * (len(sequence.steps) + 1)
    parts = [*lifelines(sequence, height), *arrows(sequence)]
    return drawing.picture(sequence.description, width, height, parts)


def place(sequence: Sequence, actor: str) -> float:
    return MARGIN + DISTANCE * sequence.actors.index(actor)


def lifelines(sequence: Sequence, height: float) -> Iterator[str]:
    for actor in sequence.actors:
        x = place(sequence, actor)
        yield drawing.box(x, 24, 146, 30)
        yield drawing.text(x, 29, actor, "title")
        yield drawing.path(f"M{x:g},39V{height - 12:g}", "dashed")


def arrows(sequence: Sequence) -> Iterator[str]:
    for number, step in enumerate(sequence.steps):
        y = TOP + LINE * (number + 0.7)
        start, end = place(sequence, step.start), place(sequence, step.end)
        kind = "dashed" if step.is_answer else ""
        yield drawing.path(f"M{start:g},{y:g}H{end:g}", kind, is_arrow=True)
        yield from drawing.label((start + end) / 2, y - 8, step.words, step.kind)


if __name__ == "__main__":
    for one in SEQUENCES:
        (DOCS / f"{one.name}.svg").write_text(drawn(one), encoding="utf-8")
