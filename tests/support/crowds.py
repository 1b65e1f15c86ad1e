"""Many callers of one auth object at once."""

from __future__ import annotations

from typing import Any

from .kinds import Kind
from .optional import anyio
from .real import PATIENCE, Threads

CROWD = 12


PATH = "/api/m2m/v1/devices"


def crowd(kind: Kind, auth: Any, url: str, size: int = CROWD) -> list[Any]:
    """What ``size`` callers at once get: statuses or exceptions."""
    if kind.is_async:
        return kind.run(acrowd, kind, auth, url, size)  # type: ignore[no-any-return]
    threads = Threads()
    for _ in range(size):
        threads.start(lambda: kind.get(auth, url).status)
    return threads.join()


async def acrowd(kind: Kind, auth: Any, url: str, size: int) -> list[Any]:
    outcomes: list[Any] = []
    async with kind.library.AsyncClient(auth=auth, timeout=PATIENCE, verify=False) as client:

        async def call() -> None:
            try:
                outcomes.append((await client.get(url)).status_code)
            except kind.request_error as error:
                outcomes.append(error)

        async with anyio.create_task_group() as group:
            for _ in range(size):
                group.start_soon(call)
    return outcomes
