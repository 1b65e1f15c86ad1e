"""Whole requests with both packages, over connections kept alive."""

from __future__ import annotations

from collections.abc import Sequence

import httpx

from ..subjects import Endpoint
from ..table import NONE, Notes, render, verdict
from ..whole import METHOD, TARGET, async_times, microseconds, request_times
from .sides import ALL_LIBRARIES, SIDES, auth

_REQUESTS = 500


def run(endpoint: Endpoint, scale: float) -> str:
    count = max(50, round(_REQUESTS * scale))
    rows = []
    for library in ALL_LIBRARIES:
        auths = [auth(package, library, **endpoint.our_options) for package in SIDES]
        rows += _rows(library, request_times(library, auths, endpoint, count))
    auths = [auth(package, "httpx", **endpoint.our_options) for package in SIDES]
    rows += _rows("httpx, asyncio", async_times(httpx, auths, endpoint, count))
    introduction = (
        f"Microseconds of {count:,} GETs each, to the simulator in another process, request by"
        " request in turn with a client whose `Authorization` header is set once by hand; where it"
        f' says so with `event_hooks={{"request": [auth.guard]}}`. {METHOD}'
    )
    columns = [
        "library", "guard", "by hand, µs", "before, µs", "now, µs", "now / before",
        "before / by hand", "now / by hand", "target",
    ]  # fmt: skip
    return render("Whole requests over keep-alive", introduction, columns, rows, Notes())


def _rows(library: str, times: Sequence[float]) -> list[list[str]]:
    by_hand, *ours = times
    plain = _row(library, NONE, by_hand, *ours[:2])
    return [plain, _row(library, "guard", by_hand, *ours[2:])] if len(ours) > 2 else [plain]


def _row(library: str, guard: str, by_hand: float, before: float, now: float) -> list[str]:
    ratio = now / by_hand
    return [
        library,
        guard,
        *map(microseconds, (by_hand, before, now)),
        f"{now / before:.3f}",
        f"{before / by_hand:.3f}",
        f"{ratio:.3f}",
        verdict(f"≤ {TARGET}", ratio <= TARGET),
    ]
