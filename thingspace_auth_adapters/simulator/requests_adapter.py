"""The simulator for requests, without a socket."""

from __future__ import annotations

import io
import socket
from collections.abc import Iterable, Mapping
from http.client import HTTPException, HTTPResponse
from typing import Any, cast
from urllib.parse import urlsplit

from requests import PreparedRequest, Response
from requests import exceptions as library
from requests.adapters import HTTPAdapter
from urllib3 import HTTPResponse as Raw
from urllib3 import HTTPSConnectionPool
from urllib3.exceptions import MaxRetryError, NewConnectionError, ProtocolError, ReadTimeoutError
from urllib3.util import Timeout

from .in_process import Incoming, InProcessServer, Unreachable


class SimulatedAdapter(HTTPAdapter):
    """What stands in for the network, whatever proxies and certificates are asked for.

    The answer's bytes go through http.client, urllib3 and requests like those of a connection, so
    a broken answer is the same error.
    """

    def __init__(self, server: InProcessServer) -> None:
        super().__init__()
        self._server = server

    def send(
        self,
        request: PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: bool | str = True,
        cert: Any = None,
        proxies: Mapping[str, str] | None = None,
    ) -> Response:
        """Send a request.

        Raises:
            ConnectionError: the host is not ThingSpace's, the simulator is closed, or drops the
                connection.
            ReadTimeout: no answer came in time.
        """
        url, seconds = cast(str, request.url), _read_timeout(timeout)
        # For the errors, which name it; it connects to nothing.
        parts = urlsplit(url)
        pool = HTTPSConnectionPool(cast(str, parts.hostname), parts.port or 443)
        try:
            incoming = self._sent(request, url, pool.host)
            return self.build_response(request, _raw(request, incoming, seconds))
        except Unreachable as error:
            reason = NewConnectionError(cast(Any, pool), str(error))
            failure = MaxRetryError(pool, request.path_url, reason)
            raise library.ConnectionError(failure, request=request) from None
        except socket.timeout:
            late = ReadTimeoutError(
                pool, request.path_url, f"Read timed out. (read timeout={seconds})"
            )
            raise library.ReadTimeout(late, request=request) from None
        except HTTPException as error:
            broken = ProtocolError("Connection aborted.", error)
            raise library.ConnectionError(broken, request=request) from None

    def _sent(self, request: PreparedRequest, url: str, host: str) -> Incoming:
        connection = self._server.connect(host)
        headers = {"Host": urlsplit(url).netloc, **request.headers}
        body = _bytes_of(request.body)
        return connection.send(cast(str, request.method), url, _text_of(headers), body)


class _Connection:
    """What http.client needs of a socket."""

    def __init__(self, incoming: Incoming, seconds: float | None) -> None:
        self._stream = _Stream(incoming, seconds)

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(self._stream)


class _Stream(io.RawIOBase):
    def __init__(self, incoming: Incoming, seconds: float | None) -> None:
        self._incoming = incoming
        self._seconds = seconds
        self._left = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._left:
            self._left = memoryview(self._received())
        size = min(len(buffer), len(self._left))
        buffer[:size], self._left = self._left[:size], self._left[size:]
        return size

    def _received(self) -> bytes:
        try:
            return self._incoming.receive(self._seconds)
        except TimeoutError as error:
            # Before Python 3.10 urllib3 knows a socket's error only.
            raise socket.timeout(*error.args) from None


def _raw(request: PreparedRequest, incoming: Incoming, seconds: float | None) -> Raw:
    answer = HTTPResponse(cast(Any, _Connection(incoming, seconds)), method=request.method)
    try:
        answer.begin()
    except BaseException:
        answer.close()
        raise
    return Raw(
        answer,
        headers=cast(Any, answer.msg.items()),
        status=answer.status,
        version=answer.version,
        reason=answer.reason,
        preload_content=False,
        decode_content=False,
        original_response=cast(Any, answer),
        request_method=request.method,
    )


def _read_timeout(timeout: Any) -> float | None:
    """As requests understands ``timeout``. Raises ``ValueError`` for what it refuses."""
    if isinstance(timeout, tuple):
        connect, read = timeout
        timeout = Timeout(connect=connect, read=read)
    elif not isinstance(timeout, Timeout):
        timeout = Timeout(connect=timeout, read=timeout)
    running = timeout.clone()
    running.start_connect()
    seconds = running.read_timeout
    return seconds if isinstance(seconds, (int, float)) else None


def _bytes_of(body: Any) -> bytes:
    if body is None:
        return b""
    if hasattr(body, "read"):
        body = body.read()
    if isinstance(body, str):
        return body.encode()
    if isinstance(body, (bytes, bytearray)):
        return bytes(body)
    return b"".join(part.encode() if isinstance(part, str) else part for part in body)


def _text_of(headers: Mapping[str, str | bytes]) -> Iterable[tuple[str, str]]:
    for name, value in headers.items():
        yield name, value.decode("latin-1") if isinstance(value, bytes) else value
