"""Makes ``state-diagram.svg`` and the table of ``design.md``: ``python docs/state_diagram.py``.

Nothing here knows the transitions. Each state is brought about in a real lifecycle, with a
simulated clock and token endpoint; then one thing happens, and ``status`` says which state
follows.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Callable, NamedTuple

import drawing

from thingspace_auth_adapters import ThingspaceOauthCredentials
from thingspace_auth_adapters._core.access_tokens import AccessTokens
from thingspace_auth_adapters._core.cached_token import Status, status
from thingspace_auth_adapters._core.clock import Clock
from thingspace_auth_adapters._core.lifecycle import Lifecycle
from thingspace_auth_adapters._core.refresh import Caller, Failed
from thingspace_auth_adapters._model.settings import Settings
from thingspace_auth_adapters._model.tokens import OauthToken
from thingspace_auth_adapters._wire.messages import HttpAnswer, HttpRequest, Refused

PICTURE = Path(__file__).with_name("state-diagram.svg")
PAGE = Path(__file__).with_name("design.md")
LIFETIME, SKEW = 3600, 60


class SimulatedClock(Clock):
    """Stands still until something lets time pass."""

    now = 1_700_000_000.0

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Scene:
    """A lifecycle, its clock and its token endpoint.

    Attributes:
        answers: what the endpoint answers: the status, and the seconds that the token has left.
    """

    def __init__(self) -> None:
        self.clock = SimulatedClock()
        self.answers = (200, LIFETIME)
        credentials = ThingspaceOauthCredentials("key", "secret", oauth_clock_skew=SKEW)
        settings = Settings(credentials, "https://thingspace.verizon.com", None, 30.0)
        self.source = AccessTokens(settings, self, self, self.clock)
        self.lifecycle: Lifecycle[OauthToken] = Lifecycle(self.source, self, self.clock, None)
        self._issued = 0

    @property
    def status(self) -> Status:
        return status(self.lifecycle.current, self.clock.time())

    @property
    def header(self) -> str:
        current = self.lifecycle.current
        return "" if current is None else current.header

    def request(self) -> None:
        """A request needs a token."""
        with suppress(Failed):
            self.lifecycle.acquire(Caller(math.inf))

    def repeat(self) -> None:
        """The platform rejected the token of a request."""
        if self.lifecycle.reject(self.header):
            self.request()

    def send(self, request: HttpRequest, timeout: float, ends_at: float) -> HttpAnswer:
        """The token endpoint, as a transport."""
        self._issued += 1
        status_code, seconds_left = self.answers
        answer = HttpAnswer(status_code, {})
        token = f'"access_token": "token-{self._issued}", "expires_in": {seconds_left}'
        answer.body += f"{{{token}}}".encode()
        return answer

    def overdue(self, request: HttpRequest) -> Refused:
        return Refused(TimeoutError())


# What happens.


def fetch(scene: Scene) -> None:
    scene.request()


def fetch_nearly_expired(scene: Scene) -> None:
    scene.answers = (200, SKEW // 2)
    scene.request()


def fail(scene: Scene) -> None:
    scene.answers = (503, 0)
    scene.request()


def become_stale(scene: Scene) -> None:
    if scene.lifecycle.current is not None:
        scene.clock.now = max(scene.clock.now, scene.lifecycle.current.stale_at)


def expire(scene: Scene) -> None:
    if scene.lifecycle.current is not None:
        scene.clock.now = max(scene.clock.now, scene.lifecycle.current.expires_at)


def reject(scene: Scene) -> None:
    scene.lifecycle.reject(scene.header)


def recover(scene: Scene) -> None:
    if scene.lifecycle.current is not None:
        scene.repeat()


def assign(scene: Scene) -> None:
    token = OauthToken("assigned", expiry=scene.clock.now + LIFETIME)
    scene.lifecycle.assign(scene.source.cached(token))


def forget(scene: Scene) -> None:
    scene.lifecycle.assign(None)


def revoke(scene: Scene) -> None:
    scene.lifecycle.revoked(scene.header)


class Event(NamedTuple):
    """Something that happens to a token.

    Attributes:
        description: in the table.
        label: at an arrow.
        happen: makes it happen.
    """

    description: str
    label: str
    happen: Callable[[Scene], None]


EVENTS = (
    Event("a request needs a token, and the endpoint gives one", "fetched", fetch),
    Event(
        "a request needs a token, and the one that it gets is already stale",
        "fetched, already stale",
        fetch_nearly_expired,
    ),
    Event("a request needs a token, and the endpoint fails", "renewal failed: pause", fail),
    Event("`expiry` less `oauth_clock_skew` passes", "the skew begins", become_stale),
    Event("`expiry` passes", "expiry passes", expire),
    Event("the platform rejects the token", "rejected", reject),
    Event(
        "the platform rejects the token, and the endpoint gives another",
        "rejected and replaced",
        recover,
    ),
    Event("a token is assigned", "assigned", assign),
    Event("`None` is assigned", "None assigned", forget),
    Event("`revoke_token()` succeeds", "revoked", revoke),
)

WAYS_TO: Mapping[Status, tuple[Callable[[Scene], None], ...]] = {
    Status.MISSING: (),
    Status.FRESH: (fetch,),
    Status.STALE: (fetch, become_stale),
    Status.EXPIRED: (fetch, expire),
}


def scene_in(state: Status) -> Scene:
    """A lifecycle whose token is in this state."""
    scene = Scene()
    for happen in WAYS_TO[state]:
        happen(scene)
    if scene.status is not state:
        raise AssertionError(f"{WAYS_TO[state]} leads to {scene.status}, not to {state}")
    return scene


def after(state: Status, event: Event) -> Status:
    """The state that follows."""
    scene = scene_in(state)
    event.happen(scene)
    return scene.status


def transitions() -> dict[tuple[Status, Status], list[Event]]:
    """The events that lead from one state to another."""
    found: dict[tuple[Status, Status], list[Event]] = {}
    for event in EVENTS:
        for state in Status:
            following = after(state, event)
            if following is not state:
                found.setdefault((state, following), []).append(event)
    return found


# How it is shown.


ORDER = tuple(WAYS_TO)
DISTANCE, MARGIN, HALF_BOX, LINE = 240, 70, 18, 17
DESCRIPTION = (
    "The four states of a token, missing, fresh, stale and expired, and what leads from one to"
    " another. The table below says the same."
)
TABLE = r"(<!-- table: docs/state_diagram.py -->\n\n)(?:\|.*\n)*"


def table() -> Iterator[str]:
    yield "| what happens | " + " | ".join(f"if {state.value}" for state in ORDER) + " |"
    yield "| --- |" + " --- |" * len(ORDER)
    for event in EVENTS:
        cells = [cell(state, after(state, event)) for state in ORDER]
        yield f"| {event.description} | {' | '.join(cells)} |"


def cell(state: Status, following: Status) -> str:
    return "·" if following is state else following.value


def page(text: str) -> str:
    """The page, with the table of today."""
    rows = "".join(f"{row}\n" for row in table())
    return re.sub(TABLE, lambda found: found[1] + rows, text)


def picture() -> str:
    """The states in a row, arrows to the right above them and to the left below."""
    width = 2 * MARGIN + DISTANCE * (len(ORDER) - 1)
    parts = [
        part
        for (state, following), events in transitions().items()
        for part in arrow(ORDER.index(state), ORDER.index(following), events)
    ]
    for index, state in enumerate(ORDER):
        x = MARGIN + DISTANCE * index
        parts += (
            drawing.box(x, MIDDLE, 90, 2 * HALF_BOX),
            drawing.text(x, MIDDLE + 5, state.value),
        )
    return drawing.picture(DESCRIPTION, width, HEIGHT, parts)


ABOVE, BELOW = {1: 30.0, 2: 105.0}, {1: 26.0, 2: 190.0, 3: 295.0}
"""How far the middle of an arrow over so many states is from its ends, with room for labels."""

MIDDLE = HALF_BOX + ABOVE[2] + 3 * LINE
HEIGHT = MIDDLE + HALF_BOX + BELOW[3] + 3 * LINE


def arrow(start: int, end: int, events: list[Event]) -> Iterator[str]:
    """A curve with what happens at it."""
    side = math.copysign(1, start - end)
    x1, x2 = MARGIN + DISTANCE * start - 14 * side, MARGIN + DISTANCE * end + 14 * side
    y, middle = MIDDLE + HALF_BOX * side, (BELOW if side > 0 else ABOVE)[abs(end - start)]
    # The middle of a cubic curve is three quarters of the way to its control points.
    control = y + side * middle / 0.75
    yield drawing.path(
        f"M{x1:g},{y:g}C{x1:g},{control:g} {x2:g},{control:g} {x2:g},{y:g}", is_arrow=True
    )
    top = y + middle + LINE if side > 0 else y - middle - 6 - LINE * (len(events) - 1)
    for number, event in enumerate(events):
        yield drawing.text((x1 + x2) / 2, top + number * LINE, event.label)


if __name__ == "__main__":
    logging.disable()
    PICTURE.write_text(picture(), encoding="utf-8")
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
