"""Whole requests over a connection kept alive."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import closing
from statistics import median
from typing import Any, NamedTuple

import httpx
import httpx2

from .contenders import ours_on_async_httpx, ours_on_httpx, ours_on_httpx2, ours_on_requests
from .simulated import Simulated
from .subjects import Caller, Endpoint, fetched_token, now, plain_client, plain_session
from .table import Notes, render, verdict

TARGET = 1.02
_REQUESTS = 1500
_WARM_UP = 30


class Pair(NamedTuple):
    """Median seconds of a request with a header set by hand, and with ours."""

    name: str
    by_hand: float
    ours: float


def run(simulated: Simulated, scale: float) -> str:
    simulated.reset()
    endpoint, count = simulated.endpoint, max(50, round(_REQUESTS * scale))
    pairs = [
        _on_requests(endpoint, count),
        _on_httpx("httpx", httpx, ours_on_httpx, endpoint, count),
        _on_httpx("httpx2", httpx2, ours_on_httpx2, endpoint, count),
        asyncio.run(_on_async_httpx(endpoint, count)),
    ]
    introduction = (
        f"Median of {count:,} GETs each, to the simulator in another process, request by request"
        " in turn with a client whose `Authorization` header is set once by hand."
    )
    columns = ["library", "by hand, µs", "ThingspaceAuth, µs", "ratio", "target"]
    rows = [_row(pair) for pair in pairs]
    return render("Whole requests over keep-alive", introduction, columns, rows, Notes())


def _row(pair: Pair) -> list[str]:
    ratio = pair.ours / pair.by_hand
    target = verdict(f"≤ {TARGET}", ratio <= TARGET)
    by_hand, ours = (f"{seconds * 1e6:.0f}" for seconds in (pair.by_hand, pair.ours))
    return [pair.name, by_hand, ours, f"{ratio:.3f}", target]


def _on_requests(endpoint: Endpoint, count: int) -> Pair:
    with closing(ours_on_requests(endpoint)) as subject, plain_session() as session:
        session.headers["Authorization"] = "Bearer " + fetched_token(endpoint)
        url = endpoint.api_url
        by_hand = lambda: session.get(url, timeout=60).status_code  # noqa: E731
        return Pair("requests", *_alternating(by_hand, subject.caller(), count))


def _on_httpx(
    name: str, library: Any, prepare: Callable[[Endpoint], Any], endpoint: Endpoint, count: int
) -> Pair:
    with closing(prepare(endpoint)) as subject, plain_client(library) as client:
        client.headers["Authorization"] = "Bearer " + fetched_token(endpoint)
        by_hand = lambda: int(client.get(endpoint.api_url).status_code)  # noqa: E731
        return Pair(name, *_alternating(by_hand, subject.caller(), count))


async def _on_async_httpx(endpoint: Endpoint, count: int) -> Pair:
    url = endpoint.api_url
    async with plain_client(httpx, True) as client, ours_on_async_httpx(endpoint) as other:
        client.headers["Authorization"] = "Bearer " + fetched_token(endpoint)
        times: tuple[list[float], list[float]] = ([], [])
        for number in range(_WARM_UP + count):
            for index in _order(number):
                spent = await _atimed((client, other)[index].get, url)
                times[index].append(spent)
    return Pair("httpx, asyncio", *(median(some[_WARM_UP:]) for some in times))


def _alternating(by_hand: Caller, ours: Caller, count: int) -> tuple[float, float]:
    callers = by_hand, ours
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(_WARM_UP + count):
        for index in _order(number):
            times[index].append(_timed(callers[index]))
    return median(times[0][_WARM_UP:]), median(times[1][_WARM_UP:])


def _order(number: int) -> tuple[int, int]:
    # Turned round each time, since who comes second finds the caches warm.
    return (0, 1) if number % 2 else (1, 0)


def _timed(caller: Caller) -> float:
    start = now()
    status = caller()
    return _checked(status, now() - start)


async def _atimed(get: Callable[[str], Awaitable[Any]], url: str) -> float:
    start = now()
    response = await get(url)
    return _checked(response.status_code, now() - start)


def _checked(status: int, seconds: float) -> float:
    if status != 200:
        raise RuntimeError(f"the simulator answered {status}")
    return seconds
