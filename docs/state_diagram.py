"""Makes ``state-diagram.md`` from the code: ``python docs/state_diagram.py``.

Nothing here knows the transitions. Each state is brought about in a real lifecycle, with a
simulated clock and token endpoint; then one thing happens, and ``status`` says which state
follows.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Callable, NamedTuple

from thingspace_auth_adapters import ThingspaceOauthCredentials
from thingspace_auth_adapters._core.access_tokens import AccessTokens
from thingspace_auth_adapters._core.cached_token import Status, status
from thingspace_auth_adapters._core.clock import Clock
from thingspace_auth_adapters._core.lifecycle import Lifecycle
from thingspace_auth_adapters._core.refresh import Caller, Failed
from thingspace_auth_adapters._model.settings import Settings
from thingspace_auth_adapters._model.tokens import OauthToken
from thingspace_auth_adapters._wire.messages import HttpAnswer, HttpRequest, Refused

TARGET = Path(__file__).with_name("state-diagram.md")
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
    """Something that happens to a token."""

    description: str
    happen: Callable[[Scene], None]


EVENTS = (
    Event("a request comes, and the endpoint gives a token", fetch),
    Event("a request comes, and the token that it gets is already stale", fetch_nearly_expired),
    Event("a request comes, and the endpoint fails", fail),
    Event("`expiry` less `oauth_clock_skew` passes", become_stale),
    Event("`expiry` passes", expire),
    Event("the platform rejects the token", reject),
    Event("the platform rejects the token, and the endpoint gives another", recover),
    Event("a token is assigned", assign),
    Event("`None` is assigned", forget),
    Event("`revoke_token()` succeeds", revoke),
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


def transitions() -> dict[tuple[Status, Status], list[int]]:
    """The numbers of the events that lead from one state to another."""
    found: dict[tuple[Status, Status], list[int]] = {}
    for number, event in enumerate(EVENTS, 1):
        for state in Status:
            following = after(state, event)
            if following is not state:
                found.setdefault((state, following), []).append(number)
    return found


# How it is shown.


ORDER = tuple(WAYS_TO)
DISTANCE, MARGIN, HALF_BOX = 190, 60, 18
STYLE = "fill:none;stroke:currentColor"


def table() -> Iterator[str]:
    yield "| | what happens | " + " | ".join(state.value for state in ORDER) + " |"
    yield "| --- | --- |" + " --- |" * len(ORDER)
    for number, event in enumerate(EVENTS, 1):
        cells = [cell(state, after(state, event)) for state in ORDER]
        yield f"| {number} | {event.description} | {' | '.join(cells)} |"


def cell(state: Status, following: Status) -> str:
    return "·" if following is state else following.value


def drawing() -> Iterator[str]:
    """An SVG: the states in a row, arrows to the right above them and to the left below."""
    height = HALF_BOX + depth(len(ORDER) - 1) + 2
    box = f"0 {-height:g} {2 * MARGIN + DISTANCE * (len(ORDER) - 1)} {2 * height:g}"
    yield f'<svg viewBox="{box}" role="img" aria-label="The states of a token">'
    yield '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8"'
    yield 'markerHeight="8" orient="auto"><path d="M0,0L8,4L0,8Z" style="fill:currentColor"/>'
    yield "</marker></defs>"
    for (state, following), numbers in transitions().items():
        yield from arrow(ORDER.index(state), ORDER.index(following), numbers)
    for index, state in enumerate(ORDER):
        x = MARGIN + DISTANCE * index
        place = f'x="{x - 45}" y="{-HALF_BOX}" width="90" height="{2 * HALF_BOX}" rx="6"'
        yield f'<rect {place} style="{STYLE}"/>'
        yield text(x, 5, state.value)
    yield "</svg>"


def depth(distance: int) -> float:
    """How far the middle of an arrow over so many states is from its ends."""
    return 45.0 * distance


def arrow(start: int, end: int, numbers: list[int]) -> Iterator[str]:
    """A curve with the numbers of its events."""
    side = math.copysign(1, start - end)
    x1, x2 = MARGIN + DISTANCE * start - 14 * side, MARGIN + DISTANCE * end + 14 * side
    y, middle = HALF_BOX * side, depth(abs(end - start))
    # The middle of a cubic curve is three quarters of the way to its control points.
    control = y + side * middle / 0.75
    curve = f"M{x1:g},{y:g}C{x1:g},{control:g} {x2:g},{control:g} {x2:g},{y:g}"
    yield f'<path d="{curve}" style="{STYLE}" marker-end="url(#tip)"/>'
    yield text((x1 + x2) / 2, y + side * (middle - 9) + 4, ", ".join(map(str, numbers)))


def text(x: float, y: float, content: str) -> str:
    style = "fill:currentColor;font-size:13px"
    return f'<text x="{x:g}" y="{y:g}" text-anchor="middle" style="{style}">{content}</text>'


def page() -> str:
    made_by = "<!-- Made by docs/state_diagram.py: do not edit. -->"
    lines = (made_by, "", "```{raw} html", *drawing(), "```", "", *table())
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    logging.disable()
    TARGET.write_text(page(), encoding="utf-8")
