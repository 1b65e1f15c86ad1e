"""Whole requests over a connection kept alive."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, ExitStack
from statistics import quantiles
from typing import Any

import httpx

from .both import LIBRARIES
from .contenders import OURS
from .simulated import Simulated
from .subjects import Caller, Endpoint, fetched_token, now, plain_client, plain_session
from .table import NONE, Notes, render, verdict

TARGET = 1.02
REQUESTS = 1500
METHOD = (
    "The lower decile of each connection's requests, and of five connections, one after the other,"
    " the best: on a busy machine that is far steadier than the median."
)
_CONNECTIONS = 5
_WARM_UP = 10

Send = Callable[[], Awaitable[int]]


def run(simulated: Simulated, scale: float) -> str:
    simulated.reset()
    endpoint, count = simulated.endpoint, max(50, round(REQUESTS * scale))
    rows = []
    for ours in OURS:
        auth = ours.prepare(endpoint).auth
        rows.append(_row(ours.library, request_times(ours.library, [auth], endpoint, count)))
    on_async_httpx = async_times(httpx, [_async_auth(endpoint)], endpoint, count)
    rows.append(_row("httpx, asyncio", on_async_httpx))
    introduction = (
        f"{count:,} GETs each, to the simulator in another process, request by request in turn with"
        " a client whose `Authorization` header is set once by hand, and with one that has"
        f' `event_hooks={{"request": [auth.guard]}}` as well. {METHOD}'
    )
    columns = [
        "library", "by hand, µs", "ThingspaceAuth, µs", "ratio", "with guard, µs", "ratio",
        "target",
    ]  # fmt: skip
    return render("Whole requests over keep-alive", introduction, columns, rows, Notes())


def _row(library: str, times: Sequence[float]) -> list[str]:
    by_hand, ours, *guarded = times
    cells = [library, microseconds(by_hand)]
    for spent in (ours, *guarded):
        cells += [microseconds(spent), f"{spent / by_hand:.3f}"]
    if not guarded:
        cells += [NONE, NONE]
    return [*cells, verdict(f"≤ {TARGET}", max(ours, *guarded, 0) / by_hand <= TARGET)]


def microseconds(seconds: float) -> str:
    return f"{seconds * 1e6:.0f}"


def _async_auth(endpoint: Endpoint) -> Any:
    from thingspace_auth_adapters.httpx import ThingspaceAuth

    return ThingspaceAuth(**endpoint.our_options)


def request_times(
    library: str, auths: Sequence[Any], endpoint: Endpoint, count: int
) -> list[float]:
    """Seconds of a request with a header set by hand, with each auth object, and guarded.

    requests has no guard.
    """
    rounds = range(_CONNECTIONS)
    return _least(_once(library, auths, endpoint, count // _CONNECTIONS) for _ in rounds)


def _once(library: str, auths: Sequence[Any], endpoint: Endpoint, count: int) -> list[float]:
    with ExitStack() as stack:
        clients = [stack.enter_context(one) for one in _clients(library, auths, endpoint)]
        callers = [_caller(library, client, endpoint.api_url) for client in clients]
        return _alternating(callers, count)


def async_times(library: Any, auths: Sequence[Any], endpoint: Endpoint, count: int) -> list[float]:
    """The same with asynchronous clients."""
    each = (library, auths, endpoint, count // _CONNECTIONS)
    return _least(asyncio.run(_once_async(*each)) for _ in range(_CONNECTIONS))


async def _once_async(
    library: Any, auths: Sequence[Any], endpoint: Endpoint, count: int
) -> list[float]:
    options = _options(auths, endpoint, True)
    async with AsyncExitStack() as stack:
        opened = [plain_client(library, True, **some) for some in options]
        clients = [await stack.enter_async_context(one) for one in opened]
        return await _alternating_async([_sender(one, endpoint) for one in clients], count)


def _least(rounds: Iterable[Sequence[float]]) -> list[float]:
    return [min(some) for some in zip(*rounds, strict=True)]


def _clients(library: str, auths: Sequence[Any], endpoint: Endpoint) -> list[Any]:
    if library != "requests":
        options = _options(auths, endpoint, False)
        return [plain_client(LIBRARIES[library], **some) for some in options]
    by_hand, *ours = (plain_session() for _ in range(1 + len(auths)))
    by_hand.headers.update(_headers(endpoint))
    for session, auth in zip(ours, auths, strict=True):
        session.auth = auth
    return [by_hand, *ours]


def _options(auths: Sequence[Any], endpoint: Endpoint, is_async: bool) -> list[dict[str, Any]]:
    guards = [auth.aguard if is_async else auth.guard for auth in auths]
    return [
        {"headers": _headers(endpoint)},
        *({"auth": auth} for auth in auths),
        *(
            {"auth": auth, "event_hooks": {"request": [guard]}}
            for auth, guard in zip(auths, guards, strict=True)
        ),
    ]


def _headers(endpoint: Endpoint) -> dict[str, str]:
    return {"Authorization": "Bearer " + fetched_token(endpoint)}


def _caller(library: str, client: Any, url: str) -> Caller:
    if library == "requests":
        return lambda: client.get(url, timeout=60).status_code
    return lambda: int(client.get(url).status_code)


def _sender(client: httpx.AsyncClient, endpoint: Endpoint) -> Send:
    async def send() -> int:
        return (await client.get(endpoint.api_url)).status_code

    return send


def _alternating(callers: Sequence[Caller], count: int) -> list[float]:
    times: list[list[float]] = [[] for _ in callers]
    for number in range(_WARM_UP + count):
        for index in _order(number, len(callers)):
            start = now()
            status = callers[index]()
            times[index].append(_checked(status, now() - start))
    return list(map(_lower_decile, times))


async def _alternating_async(senders: Sequence[Send], count: int) -> list[float]:
    times: list[list[float]] = [[] for _ in senders]
    for number in range(_WARM_UP + count):
        for index in _order(number, len(senders)):
            start = now()
            status = await senders[index]()
            times[index].append(_checked(status, now() - start))
    return list(map(_lower_decile, times))


def _lower_decile(times: Sequence[float]) -> float:
    return quantiles(times[_WARM_UP:], n=10)[0]


def _order(number: int, count: int) -> list[int]:
    # Each time another one first, and another way round: who comes second finds the caches warm.
    turned = [(number // 2 + index) % count for index in range(count)]
    return turned[::-1] if number % 2 else turned


def _checked(status: int, seconds: float) -> float:
    if status != 200:
        raise RuntimeError(f"the simulator answered {status}")
    return seconds
