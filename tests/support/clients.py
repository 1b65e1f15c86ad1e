"""Requests that are sent by hand, and answers that are read as a stream."""

from __future__ import annotations

from typing import Any

from .kinds import Kind
from .virtual import API, Platform


def send_by_hand(
    kind: Kind, auth: Any, platform: Platform | None, request: Any, **options: Any
) -> Any:
    """The response to a request of httpx' that was made by hand, or that a redirect made."""
    options = {"auth": auth, **options}
    if platform is not None:
        options["transport"] = kind.transport(platform)

    async def asend() -> Any:
        async with kind.library.AsyncClient(**options) as client:
            return await client.send(request)

    if kind.is_async:
        return kind.run(asend)
    with kind.library.Client(**options) as client:
        return client.send(request)


def streamed(
    kind: Kind,
    auth: Any,
    platform: Platform,
    how: str = "read",
    method: str = "POST",
    **options: Any,
) -> tuple[int, bytes]:
    """Status and body of a streamed answer to httpx, which is read in one of httpx' ways.

    Args:
        how: the name of a method of the response's, without its ``a``.
        options: the client's.
    """
    options = {"auth": auth, "transport": kind.transport(platform), **options}

    async def astream() -> tuple[int, bytes]:
        async with kind.library.AsyncClient(**options) as client:
            async with client.stream(method, API) as response:
                if how == "read":
                    return response.status_code, await response.aread()
                parts = [part async for part in getattr(response, f"a{how}")()]
                return response.status_code, b"".join(parts)

    if kind.is_async:
        return kind.run(astream)  # type: ignore[no-any-return]
    with kind.library.Client(**options) as client:
        with client.stream(method, API) as response:
            if how == "read":
                return response.status_code, response.read()
            return response.status_code, b"".join(getattr(response, how)())
