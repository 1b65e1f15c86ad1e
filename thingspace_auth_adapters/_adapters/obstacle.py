"""Why a call brought no answer, told by the types of the errors that led to each other."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator
from enum import Enum

_NOT_YET_VALID, _EXPIRED = 9, 10
"""OpenSSL's codes for a certificate that is not valid at this machine's time."""

_UNREADABLE = (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)

_TUNNEL_WANTS_CREDENTIALS = "(?:Tunnel connection failed: )?407 "
"""How the texts of http.client and of httpcore begin if a proxy answers with this status."""

Types = tuple[type[Exception], ...]


class Obstacle(str, Enum):
    """What kept an answer from coming. An error of a call has it as its ``obstacle``."""

    PROXY_SETTING = "proxy setting"
    PROXY_CREDENTIALS = "proxy credentials"
    PROXY = "proxy"
    CA_FILE = "CA file"
    CERTIFICATE = "certificate"
    CERTIFICATE_DATE = "certificate date"
    TLS = "TLS"
    NAME = "name"
    CONNECT_TIMEOUT = "connect timeout"
    ROUTE = "route"
    TIMEOUT = "timeout"
    LOST = "lost"


def obstacle_of(
    error: BaseException,
    proxy: Types,
    connect_timeout: Types,
    connect: Types,
    timeout: Types,
    invalid_url: Types,
    tls: Types = (),
) -> Obstacle:
    """What an HTTP library's error says.

    Args:
        error: what the library raised.
        proxy: and the others: the library's types for each kind of failure.
    """
    if isinstance(error, proxy):
        return Obstacle.PROXY_CREDENTIALS if _wants_credentials(error) else Obstacle.PROXY
    led_to_it = list(_chain(error))
    found = next(filter(None, map(_by_system, led_to_it)), None)
    if found is not None:
        return found
    for types, obstacle in (
        (connect_timeout, Obstacle.CONNECT_TIMEOUT),
        (tls, Obstacle.TLS),
        (connect, Obstacle.ROUTE),
        (timeout, Obstacle.TIMEOUT),
    ):
        if any(isinstance(one, types) for one in led_to_it):
            return obstacle
    return _by_setting(error, invalid_url) or Obstacle.LOST


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error, what it came of, and so on."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        yield error
        error = error.__cause__ or error.__context__


def _by_system(error: BaseException) -> Obstacle | None:
    """What an error of Python's own says."""
    if isinstance(error, ssl.SSLCertVerificationError):
        is_date = error.verify_code in (_NOT_YET_VALID, _EXPIRED)
        return Obstacle.CERTIFICATE_DATE if is_date else Obstacle.CERTIFICATE
    if isinstance(error, ssl.SSLError):
        return Obstacle.CA_FILE if error.library in ("X509", "PEM") else Obstacle.TLS
    if isinstance(error, socket.gaierror):
        return Obstacle.NAME
    return None


def _by_setting(error: BaseException, invalid_url: Types) -> Obstacle | None:
    """What an error says that was raised before there was a connection."""
    # requests has no type and no number for a CA file that is not there.
    is_nameless = type(error) is OSError and error.errno is None
    if is_nameless or isinstance(error, _UNREADABLE):
        return Obstacle.CA_FILE
    # The URL was checked before: what else is no URL, or needs another library, is the proxy's.
    is_proxys = isinstance(error, (*invalid_url, ValueError, ImportError))
    return Obstacle.PROXY_SETTING if is_proxys else None


def _wants_credentials(error: BaseException) -> bool:
    # The status of a refused tunnel is no attribute of any error: http.client and httpcore have it
    # in their text alone. It is looked for in no other place: a host, a port or a reason phrase may
    # hold the same digits.
    return any(re.match(_TUNNEL_WANTS_CREDENTIALS, str(one)) for one in _chain(error))
