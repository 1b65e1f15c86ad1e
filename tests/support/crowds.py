"""Many callers of one auth object at once."""

from __future__ import annotations

from typing import Any

from .kinds import Kind
from .optional import anyio
from .real import PATIENCE, Threads
from .virtual import Platform

CROWD = 12


PATH = "/api/m2m/v1/devices"


def crowd(
    kind: Kind, auth: Any, url: str, size: int = CROWD, platform: Platform | None = None
) -> list[Any]:
    """What ``size`` callers at once get: statuses or exceptions."""
    if kind.is_async:
        return kind.run(acrowd, kind, auth, url, size, platform)  # type: ignore[no-any-return]
    threads = Threads()
    for _ in range(size):
        threads.start(lambda: kind.get(auth, url, platform).status)
    return threads.join()


async def acrowd(
    kind: Kind, auth: Any, url: str, size: int, platform: Platform | None
) -> list[Any]:
    outcomes: list[Any] = []
    options: dict[str, Any] = {"timeout": PATIENCE, "verify": False}
    if platform is not None:
        options["transport"] = kind.transport(platform)
    async with kind.library.AsyncClient(auth=auth, **options) as client:

        async def call() -> None:
            try:
                outcomes.append((await client.get(url)).status_code)
            except Exception as error:
                outcomes.append(error)

        async with anyio.create_task_group() as group:
            for _ in range(size):
                group.start_soon(call)
    return outcomes
