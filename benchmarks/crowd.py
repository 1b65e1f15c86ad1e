"""A crowd of callers without a token, in a process of its own.

``python -P crowd.py TASK`` carries out one :class:`Task` and prints its :class:`Figures`, both as
JSON. It uses nothing of this package but what users import, so it measures whichever checkout
PYTHONPATH names. API requests are answered in memory: what is measured is the HTTP client, and what
the auth object adds to it. Tokens come from a server in another process.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

_PACKAGE = "thingspace_auth_adapters"
_TICK = 0.001
_SETTLING = 0.03
_FEW = 5
_HEADER = "Authorization"


class Task(NamedTuple):
    """What is to be measured.

    Attributes:
        library: the HTTP library.
        is_async: whether the callers are tasks, and not threads.
        callers: how many come at once.
        options: the auth object's.
        repeats: how often, in turn with a header set by hand.
        is_rehearsed: whether five callers come first, on whose way modules are imported.
        is_watched: whether the event loop is watched.
        is_traced: whether memory is measured; that takes its time, so time then says nothing.
    """

    library: str
    is_async: bool
    callers: int
    options: dict[str, Any]
    repeats: int = 1
    is_rehearsed: bool = True
    is_watched: bool = False
    is_traced: bool = False


class Cost(NamedTuple):
    """What a crowd took.

    Attributes:
        seconds: until the last caller had its answer.
        cpu: seconds of the process, with all its threads.
        stall: seconds by which the event loop was late at most, if it was watched.
        peak: bytes that were held at most, if they were traced.
    """

    seconds: float
    cpu: float
    stall: float = 0
    peak: float = 0


class Figures(NamedTuple):
    """The least of each figure, with the auth object, and with a header set by hand."""

    ours: Cost
    by_hand: Cost


def main() -> None:
    task = Task(*json.loads(sys.argv[1]))
    print(json.dumps([_checkout(), *carried_out(task)]))


def carried_out(task: Task) -> Figures:
    """Measure the crowd as often as wanted, in turn with a header set by hand."""
    if task.is_rehearsed:
        few = task._replace(callers=_FEW)
        _cost(few, _auth(task))
        _cost(few, None)
    pairs = [Figures(_cost(task, _auth(task)), _cost(task, None)) for _ in range(task.repeats)]
    return least(pairs)


def least(some: Iterable[Figures]) -> Figures:
    """The least of each figure."""
    ours, by_hand = zip(*some, strict=True)
    return Figures(Cost(*map(min, zip(*ours))), Cost(*map(min, zip(*by_hand))))


def _checkout() -> str:
    package = importlib.import_module(_PACKAGE)
    return str(Path(str(package.__file__)).resolve().parent.parent)


def _auth(task: Task) -> Any:
    adapter = importlib.import_module(f"{_PACKAGE}.{task.library}")
    return adapter.ThingspaceAuth(**task.options)


def _cost(task: Task, auth: Any) -> Cost:
    """What a crowd takes with this auth object; with ``None``, with a header set by hand."""
    gc.collect()
    if not task.is_traced:
        return _timed(task, auth)
    tracemalloc.start()
    cost = _timed(task, auth)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return cost._replace(peak=peak)


def _timed(task: Task, auth: Any) -> Cost:
    url = task.options["base_url"] + "/api/m2m/v1/devices"
    if task.is_async:
        return asyncio.run(_of_tasks(task, auth, url))
    with _open_session(auth) if task.library == "requests" else _open_client(task, auth) as client:
        return _of_threads(task.callers, lambda: client.get(url).status_code)


def _of_threads(callers: int, call: Callable[[], int]) -> Cost:
    served: list[bool] = []
    work = lambda: served.append(call() == 200)  # noqa: E731
    threads = [threading.Thread(target=work) for _ in range(callers)]
    begun = _clocks()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    cost = _since(begun)
    _check(served, callers)
    return cost


async def _of_tasks(task: Task, auth: Any, url: str) -> Cost:
    async with _open_async_client(task, auth) as client:
        ticker = _Ticker()
        watching = asyncio.ensure_future(ticker.watch()) if task.is_watched else None
        await asyncio.sleep(_SETTLING)
        ticker.stall, begun = 0.0, _clocks()
        answers = await asyncio.gather(*(client.get(url) for _ in range(task.callers)))
        cost = _since(begun)
        # The ticker may not have had its turn since.
        await asyncio.sleep(_SETTLING)
        if watching is not None:
            watching.cancel()
    _check([answer.status_code == 200 for answer in answers], task.callers)
    return cost._replace(stall=ticker.stall)


class _Ticker:
    """A task that wants to run every millisecond.

    Attributes:
        stall: seconds by which it was late at most.
    """

    def __init__(self) -> None:
        self.stall = 0.0

    async def watch(self) -> None:
        while True:
            due_at = time.perf_counter() + _TICK
            await asyncio.sleep(_TICK)
            self.stall = max(self.stall, time.perf_counter() - due_at)


def _clocks() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def _since(begun: tuple[float, float]) -> Cost:
    now, cpu = _clocks()
    return Cost(now - begun[0], cpu - begun[1])


def _check(served: list[bool], callers: int) -> None:
    if served.count(True) != callers:
        raise RuntimeError(f"{served.count(True)} of {callers} callers were served")


def _open_async_client(task: Task, auth: Any) -> Any:
    library = importlib.import_module(task.library)

    class InMemory(library.AsyncBaseTransport):  # type: ignore[name-defined,misc]
        async def handle_async_request(self, request: Any) -> Any:
            return library.Response(_status(request))

    return library.AsyncClient(transport=InMemory(), **_client_options(auth))


def _open_client(task: Task, auth: Any) -> Any:
    library = importlib.import_module(task.library)

    class InMemory(library.BaseTransport):  # type: ignore[name-defined,misc]
        def handle_request(self, request: Any) -> Any:
            return library.Response(_status(request))

    return library.Client(transport=InMemory(), **_client_options(auth))


def _client_options(auth: Any) -> dict[str, Any]:
    return {"auth": auth, "headers": _headers(auth), "trust_env": False}


def _open_session(auth: Any) -> Any:
    import requests
    from requests.adapters import BaseAdapter

    class InMemory(BaseAdapter):
        def send(self, request: Any, *args: Any, **kwargs: Any) -> requests.Response:
            response = requests.Response()
            response.status_code = _status(request)
            response.url, response.request = request.url, request
            response._content = b""
            return response

        def close(self) -> None:
            """Nothing is open."""

    session = requests.Session()
    session.trust_env = False
    session.mount("http://", InMemory())
    session.auth = auth
    session.headers.update(_headers(auth))
    return session


def _headers(auth: Any) -> dict[str, str]:
    return {_HEADER: "Bearer known"} if auth is None else {}


def _status(request: Any) -> int:
    return 200 if _HEADER in request.headers else 401


if __name__ == "__main__":
    main()
