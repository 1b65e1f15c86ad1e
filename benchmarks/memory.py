"""What an auth object keeps in memory, and whether that grows with the requests it serves."""

from __future__ import annotations

import gc
import multiprocessing
import os
import tracemalloc
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from itertools import repeat
from typing import NamedTuple

from .alone import warm_up
from .contenders import ALL, MINIMAL, Contender
from .simulated import Simulated
from .subjects import Endpoint
from .table import NONE, Notes, render, verdict

MOST_GROWTH_KIB = 16
_REQUESTS = 100_000
_REQUESTS_BEFORE = 1_000
"""Until caches of the libraries are full, and none of the requests before counts as growth."""

_KIB = 1024


class Use(NamedTuple):
    """Bytes of Python's own allocations.

    Attributes:
        kept: after the first whole request, by the auth object and its client.
        peak: at most while requests are served, above what there was before them.
        growth: what the requests left behind.
    """

    kept: int
    peak: int
    growth: int


def run(simulated: Simulated, scale: float) -> str:
    simulated.reset()
    requests = round(_REQUESTS * scale)
    uses = _uses(simulated.endpoint, requests)
    floors = {floor.library: uses[floor] for floor in MINIMAL}
    notes = Notes()
    rows = [_row(one, use, floors, notes) for one, use in uses.items()]
    introduction = (
        "KiB of Python's own allocations (`tracemalloc`), each contender in a process of its own."
        " *Kept*: what its auth object and its client hold after their first whole request, above"
        " those of a constant header. They are the second of their kind in the process, so that"
        f" modules and caches do not count. Then {requests:,} new requests pass through the auth"
        " object one after the other, each until its answer, a 200; nothing is sent. *Peak*: the"
        " most that was held in the meantime. *Growth*: what these requests left behind."
        f" {_REQUESTS_BEFORE:,} requests before them do not count."
    )
    columns = ["contender", "library", "kept", "peak", "growth", "target"]
    title = f"Memory over {requests:,} requests"
    return render(title, introduction, columns, rows, notes)


def _row(one: Contender, use: Use, floors: Mapping[str, Use], notes: Notes) -> list[str]:
    is_floor = one in MINIMAL
    growth = use.growth / _KIB
    target = verdict(f"growth ≤ {MOST_GROWTH_KIB} KiB", growth <= MOST_GROWTH_KIB)
    return [
        one.name + notes.mark(one.note),
        one.library,
        NONE if is_floor else _kib(use.kept - floors[one.library].kept),
        _kib(use.peak),
        _kib(use.growth),
        target if one.is_ours else NONE,
    ]


def _kib(count: int) -> str:
    return f"{count / _KIB:,.1f}"


def _uses(endpoint: Endpoint, requests: int) -> dict[Contender, Use]:
    """What each uses. They are measured side by side: memory, unlike time, does not mind."""
    everyone = [*MINIMAL, *ALL]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), context, max_tasks_per_child=1) as processes:
        measured = processes.map(_measure, everyone, repeat(endpoint), repeat(requests))
        return dict(zip(everyone, measured, strict=True))


def _measure(contender: Contender, endpoint: Endpoint, requests: int) -> Use:
    tracemalloc.start()
    with closing(contender.prepare(endpoint)) as rehearsed:
        warm_up(rehearsed)
        del rehearsed
    before = _allocated()
    with closing(contender.prepare(endpoint)) as subject:
        warm_up(subject)
        kept = _allocated() - before
        for _ in range(_REQUESTS_BEFORE):
            subject.life()
        start = _allocated()
        tracemalloc.reset_peak()
        for _ in range(requests):
            subject.life()
        _, peak = tracemalloc.get_traced_memory()
        return Use(kept, peak - start, _allocated() - start)


def _allocated() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]
