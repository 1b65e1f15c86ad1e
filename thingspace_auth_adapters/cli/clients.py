"""The kinds of client that there are an adapter for, and how to make requests with each."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from .advice import Problem

# There is no proxy and no TLS: loading CA certificates would be most of what a client costs.
_ON_LOOPBACK: dict[str, Any] = {"trust_env": False, "verify": False}


class Client(NamedTuple):
    """A kind of client, and how to make ``count`` GET requests at once with it."""

    name: str
    library: str
    get: Callable[[Any, str, int], list[int]]

    @property
    def is_installed(self) -> bool:
        return importlib.util.find_spec(self.library) is not None

    def auth(self, **options: Any) -> Any:
        """A ``ThingspaceAuth`` of this client's library."""
        adapter = importlib.import_module(f"..{self.library}", __package__)
        return adapter.ThingspaceAuth(**options)


def installed() -> list[Client]:
    """The clients whose library is installed.

    Raises:
        Problem: there is none.
    """
    found = [client for client in CLIENTS if client.is_installed]
    if not found:
        raise Problem(
            "no HTTP library is installed",
            "pip install 'thingspace-auth-adapters[requests]' (or [httpx], or [httpx2])",
        )
    return found


def in_threads(call: Callable[[], int], count: int) -> list[int]:
    """What ``count`` calls at once return."""
    with ThreadPoolExecutor(count) as threads:
        calls = [threads.submit(call) for _ in range(count)]
        return [done.result() for done in calls]


def _get_with_requests(auth: Any, url: str, count: int) -> list[int]:
    import requests

    with requests.Session() as session:
        session.auth = auth
        session.trust_env = False
        return in_threads(lambda: session.get(url, timeout=30).status_code, count)


def _get_with_httpx(library: str) -> Callable[[Any, str, int], list[int]]:
    def get(auth: Any, url: str, count: int) -> list[int]:
        with importlib.import_module(library).Client(auth=auth, **_ON_LOOPBACK) as client:
            return in_threads(lambda: client.get(url).status_code, count)

    return get


def _get_with_async_httpx(library: str) -> Callable[[Any, str, int], list[int]]:
    async def aget(auth: Any, url: str, count: int) -> list[int]:
        import asyncio

        module = importlib.import_module(library)
        async with module.AsyncClient(auth=auth, **_ON_LOOPBACK) as client:
            responses = await asyncio.gather(*(client.get(url) for _ in range(count)))
        return [response.status_code for response in responses]

    def get(auth: Any, url: str, count: int) -> list[int]:
        import asyncio

        return asyncio.run(aget(auth, url, count))

    return get


CLIENTS = (
    Client("requests.Session", "requests", _get_with_requests),
    Client("httpx.Client", "httpx", _get_with_httpx("httpx")),
    Client("httpx.AsyncClient", "httpx", _get_with_async_httpx("httpx")),
    Client("httpx2.Client", "httpx2", _get_with_httpx("httpx2")),
    Client("httpx2.AsyncClient", "httpx2", _get_with_async_httpx("httpx2")),
)
