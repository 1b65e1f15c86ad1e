"""Cold crowds beside a header set by hand: time, CPU time, stalls of the event loop, memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from .crowd import Task
from .processes import ROOT, Checkouts, Measured, in_turn
from .simulated import Simulated
from .table import NONE, Notes, render, verdict
from .tls import tls_endpoint

MOST_CPU = 1.5
MOST_TIME = 0.5
MOST_STALL_MS = 10.0
_SET_UP_ROUNDS = 6
_TRACED_LATENCY = 2.0
_KIB = 1024
_IN_MEMORY = (
    "API requests are answered in memory, so this is the HTTP client and the auth object alone."
    " Tokens come over http from the simulator in another process: all of a token request is"
    " there, and none of the server's work."
)


class Crowd(NamedTuple):
    """Callers who come at once.

    Attributes:
        callers: how many.
        library: the HTTP library.
        is_async: whether they are tasks, and not threads.
        latency: seconds that the token endpoint takes.
        rounds: how often they are measured.
        most_cpu: how many times the CPU time of a header set by hand they may take.
        most_time: how many times the older checkout's time.
    """

    callers: int
    library: str
    is_async: bool
    latency: float
    rounds: int = 1
    most_cpu: float | None = None
    most_time: float | None = None

    @property
    def name(self) -> str:
        kind = "tasks" if self.is_async else "threads"
        late = f", token after {self.latency:g} s" if self.latency else ""
        return f"{self.callers:,} {kind}, {self.library}{late}"

    def scaled(self, scale: float) -> Crowd:
        """Fewer, for a quick run."""
        return self._replace(
            callers=max(5, round(self.callers * scale)),
            latency=self.latency * scale,
            rounds=max(1, round(self.rounds * scale)),
        )


_TIMED = (
    Crowd(50, "requests", False, 0, 6),
    Crowd(50, "httpx", False, 0, 6),
    Crowd(5000, "httpx", True, 0, 3, most_time=MOST_TIME),
    Crowd(10_000, "httpx", True, 0, 2, most_cpu=MOST_CPU),
    Crowd(10_000, "httpx", True, 2, 2, most_cpu=MOST_CPU),
)
_TRACED = (
    Crowd(50, "requests", False, _TRACED_LATENCY),
    Crowd(50, "httpx", False, _TRACED_LATENCY),
    Crowd(1000, "httpx", True, _TRACED_LATENCY),
)
_FIRST = (1, 50)
"""How many tasks come when TLS has to be set up."""


def run(simulated: Simulated, scale: float) -> str:
    """The sections about this checkout alone."""
    return "\n\n".join(sections({"now": ROOT}, simulated, scale))


def sections(checkouts: Checkouts, simulated: Simulated, scale: float) -> Iterator[str]:
    """The same about these checkouts, the older one first."""
    yield _times(checkouts, simulated, scale)
    yield _stalls(checkouts, scale)
    yield _memory(checkouts, simulated, scale)


def _times(checkouts: Checkouts, simulated: Simulated, scale: float) -> str:
    introduction = (
        "Callers who come at once without a token: milliseconds until the last has an answer, and"
        f" process CPU time beside that of a header set by hand. {_IN_MEMORY} The least of up to"
        f" {max(one.scaled(scale).rounds for one in _TIMED)} processes of each kind, in turn; in"
        " each one such crowd after five callers alone. Where the token comes late all wait for"
        " it, which is in the time."
    )
    columns = [
        "callers",
        *_columns("{}, ms", checkouts),
        "by hand, ms",
        *(f"CPU, {name} / by hand" for name in checkouts),
        "target",
    ]
    rows = []
    for one in (crowd.scaled(scale) for crowd in _TIMED):
        with _options(simulated, one.latency) as options:
            task = Task(one.library, one.is_async, one.callers, options)
            measured = in_turn(task, one.rounds, checkouts)
        rows.append(_time_row(one, measured))
    return render("Cold crowds", introduction, columns, rows, Notes())


def _time_row(one: Crowd, measured: Measured) -> list[str]:
    by_hand = measured.by_hand
    cpu = [cost.cpu / by_hand.cpu for cost in measured.ours.values()]
    seconds = [cost.seconds for cost in measured.ours.values()]
    targets = []
    if one.most_time is not None and len(seconds) > 1:
        is_met = seconds[-1] / seconds[0] <= one.most_time
        targets.append(verdict(f"time ≤ {one.most_time} of before", is_met))
    if one.most_cpu is not None:
        targets.append(verdict(f"CPU ≤ {one.most_cpu} of by hand", cpu[-1] <= one.most_cpu))
    return [
        one.name,
        *_cells([1000 * spent for spent in seconds]),
        _number(1000 * by_hand.seconds),
        *(f"{ratio:.2f}" for ratio in cpu),
        "; ".join(targets) or NONE,
    ]


def _stalls(checkouts: Checkouts, scale: float) -> str:
    rounds = max(1, round(_SET_UP_ROUNDS * scale))
    introduction = (
        "Milliseconds by which a task that sleeps for one millisecond at a time was late at most,"
        " while the first tasks of a process got their token over https with httpx. The private"
        " client sets up TLS on the way, with all the certificates of certifi; `SSL_CERT_FILE` adds"
        f" that of a local server. Least of {rounds} processes, in turn."
    )
    columns = ["callers", *_columns("{}, ms", checkouts), "by hand, ms", "target"]
    rows = []
    with tls_endpoint() as endpoint:
        options = _identity(endpoint.base_url, "any", "any")
        for callers in _FIRST:
            task = Task("httpx", True, callers, options, is_rehearsed=False, is_watched=True)
            environment = {"SSL_CERT_FILE": endpoint.bundle}
            rows.append(_stall_row(callers, in_turn(task, rounds, checkouts, environment)))
    return render("Stall of the event loop", introduction, columns, rows, Notes())


def _stall_row(callers: int, measured: Measured) -> list[str]:
    stalls = [1000 * cost.stall for cost in measured.ours.values()]
    # Where there are more, what the tasks themselves do stalls it, too.
    is_met = stalls[-1] <= MOST_STALL_MS
    return [
        "1 task" if callers == 1 else f"{callers} tasks",
        *_cells(stalls),
        _number(1000 * measured.by_hand.stall),
        verdict(f"≤ {MOST_STALL_MS:.0f} ms", is_met) if callers == 1 else NONE,
    ]


def _memory(checkouts: Checkouts, simulated: Simulated, scale: float) -> str:
    introduction = (
        "KiB of Python's own allocations (`tracemalloc`) that a crowd holds at most, for each"
        " caller, when all wait for the token: each crowd once, in a process of its own."
    )
    columns = ["callers", *_columns("{}, KiB", checkouts), "by hand, KiB"]
    rows = []
    for one in (crowd.scaled(scale) for crowd in _TRACED):
        with _options(simulated, one.latency) as options:
            task = Task(one.library, one.is_async, one.callers, options, is_traced=True)
            measured = in_turn(task, 1, checkouts)
        peaks = [cost.peak / _KIB / one.callers for cost in measured.ours.values()]
        by_hand = measured.by_hand.peak / _KIB / one.callers
        rows.append([one.name, *_cells(peaks), _number(by_hand)])
    return render("Memory of a cold crowd", introduction, columns, rows, Notes())


def _columns(text: str, checkouts: Checkouts) -> list[str]:
    columns = [text.format(name) for name in checkouts]
    return [*columns, "now / before"] if len(columns) > 1 else columns


def _cells(numbers: list[float]) -> list[str]:
    """A cell for each checkout, and if there are two their ratio."""
    cells = [_number(number) for number in numbers]
    return [*cells, f"{numbers[-1] / numbers[0]:.2f}"] if len(numbers) > 1 else cells


def _number(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.1f}"


@contextmanager
def _options(simulated: Simulated, latency: float) -> Iterator[dict[str, Any]]:
    """The auth object's options, while the simulator's token endpoint takes so many seconds."""
    simulated.reset(token_latency=latency)
    try:
        yield _identity(simulated.endpoint.base_url, *simulated.endpoint.identity)
    finally:
        simulated.reset()


def _identity(base_url: str, client_id: str, client_secret: str) -> dict[str, Any]:
    return {
        "oauth_client_id": client_id,
        "oauth_client_secret": client_secret,
        "base_url": base_url,
    }
