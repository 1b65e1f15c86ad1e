"""The module ``_core/callbacks``: which callback the running code belongs to."""

from __future__ import annotations

from typing import Any

from thingspace_auth_adapters._core.callbacks import call_back, is_in_blocking_callback


class Loop:
    """An event loop that has its own thread wait while it runs something."""

    thread = None

    def run(self, awaitable: Any) -> Any:
        try:
            awaitable.send(None)
        except StopIteration as stop:
            return stop.value
        raise AssertionError("it awaits something")


def test_innermost_callback_says_whether_it_may_block() -> None:
    loop: Any = Loop()

    async def of_an_asynchronous_client() -> list[bool]:
        blocking = call_back("inner", is_in_blocking_callback, (), None)
        return [is_in_blocking_callback(), blocking, is_in_blocking_callback()]

    assert not is_in_blocking_callback()
    found = call_back("outer", of_an_asynchronous_client, (), loop)
    assert found == [False, True, False]
    assert not is_in_blocking_callback()
