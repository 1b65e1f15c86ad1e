"""The way to the platform: where a request goes first, and what is in the way."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import NamedTuple
from urllib.parse import urlsplit

from .._model.hosts import checked_base_url
from .advice import PROXY_REMEDY, ROUTE_REMEDY, Problem
from .proxies import proxy_for

_TIMEOUT = 10.0
_PROXY_PORTS = {"http": 80, "https": 443}
_SOCKS_PORT = 1080


class Route(NamedTuple):
    """The first machine that a request is sent to: the platform's, or a proxy's."""

    host: str
    port: int
    is_proxy: bool

    def __str__(self) -> str:
        return f"{'the proxy ' if self.is_proxy else ''}{self.host}:{self.port}"

    def try_out(self) -> None:
        """Connect to it.

        Raises:
            Problem: it cannot be reached.
        """
        try:
            socket.create_connection((self.host, self.port), _TIMEOUT).close()
            return
        except OSError as error:
            what = next(text for kind, text in _OBSTACLES if isinstance(error, kind))
        raise Problem(f"{self} {what}", PROXY_REMEDY if self.is_proxy else ROUTE_REMEDY)


_OBSTACLES = (
    (socket.gaierror, "cannot be found: its name is not resolved (DNS)"),
    (ConnectionRefusedError, "cannot be reached: connection refused"),
    (socket.timeout, f"cannot be reached: no answer within {_TIMEOUT:.0f} s"),
    (OSError, "cannot be reached: there is no route to it"),
)


def route_to(base_url: str) -> Route:
    """Where a request to the platform goes first.

    Raises:
        Problem: the environment names a proxy in a way that is no URL; the message does not quote
            it.
    """
    target = checked_base_url(base_url)[1]
    proxy = proxy_for(target)
    return Route(target.host, target.port, False) if proxy is None else _route_over(proxy)


def _route_over(proxy: str) -> Route:
    # What is wrong with it is told without it: it may hold a password.
    with suppress(ValueError):
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        if parts.hostname:
            port = parts.port or _PROXY_PORTS.get(parts.scheme, _SOCKS_PORT)
            return Route(parts.hostname, port, True)
    raise Problem(
        "HTTPS_PROXY (or ALL_PROXY) holds no URL", "correct it: it is like http://host:port"
    )
