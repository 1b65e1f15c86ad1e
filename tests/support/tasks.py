"""Tasks that need tokens, and what keeps them waiting."""

from __future__ import annotations

import threading
from typing import Any, Callable

from .kinds import Kind
from .optional import anyio
from .real import PATIENCE, aeventually
from .virtual import API, Answer, Call, Platform

PROVIDED = {"access_token": "provided"}


class Provider:
    """A plain provider that takes its time, and can be seen at it."""

    def __init__(self) -> None:
        self.calls = 0
        self.may_end = threading.Event()

    def __call__(self, last: Any, owner: Any) -> dict[str, str]:
        self.calls += 1
        assert self.may_end.wait(PATIENCE)
        return {"access_token": f"provided-{self.calls}"}


class SlowPlatform(Platform):
    """Keeps its calls of one path waiting."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path
        self.is_asked, self.may_answer = threading.Event(), threading.Event()

    def handle(self, call: Call) -> Answer:
        if call.path == self.path:
            self.is_asked.set()
            assert self.may_answer.wait(PATIENCE)
        return super().handle(call)


async def sent(kind: Kind, auth: Any, platform: Platform) -> dict[str, str]:
    """The headers with which a request of this task's was sent."""
    transport = kind.transport(platform)
    async with kind.library.AsyncClient(auth=auth, transport=transport) as client:
        return dict((await client.get(API)).request.headers)


async def carried(kind: Kind, auth: Any, platform: Platform) -> str:
    """The access token with which it was."""
    return (await sent(kind, auth, platform))["authorization"].replace("Bearer ", "")


async def cancelled(is_begun: Callable[[], object], call: Callable[..., Any], *args: Any) -> None:
    """Begin a call, and cancel it at this moment: it comes back at once."""
    async with anyio.create_task_group() as group:
        group.start_soon(call, *args)
        await aeventually(is_begun)
        group.cancel_scope.cancel()


def blocking_get(kind: Kind, auth: Any, platform: Platform) -> int:
    with kind.library.Client(auth=auth, transport=kind.transport(platform)) as client:
        return client.get(API).status_code  # type: ignore[no-any-return]
