"""A network between the callers and the platform that resets, cuts, delays and drips."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading
import time
from typing import NamedTuple

HARMLESS = "harmless"
SLOW = "slow"
DRIPPING = "dripping"
REFUSED = "reset before it was read"
RESET = "reset after it was read"
CUT = "cut off in its answer"
SILENT = "never answered"

FATES = (SLOW, DRIPPING, REFUSED, RESET, CUT, SILENT)
HARMFUL = (REFUSED, RESET, CUT, SILENT)

CALL_HEADER = b"x-call"
_HOST = "127.0.0.1"
_LINGER_NOT = struct.pack("ii", 1, 0)
_SLOW_SECONDS = 0.4
_DRIP_BYTES = 32
_DRIP_SECONDS = 0.03
_SILENT_SECONDS = 10.0


class Passage(NamedTuple):
    """A request that went over the network."""

    at: float
    path: str
    call: str
    fate: str


class Network:
    """Forwards one request for each connection, and decides what becomes of it.

    Args:
        port: the platform's.
        harm: which part of the requests to each kind of path does not pass as it should.

    Attributes:
        passages: the requests so far.
        expired_at: when the token endpoint answered a token with less than a second to live, of
            which it says 0 seconds.
        is_calm: whether everything passes as it should from now on.
    """

    def __init__(self, port: int, harm: dict[str, float]) -> None:
        self._platform = (_HOST, port)
        self._harm = harm
        self._server = socket.create_server((_HOST, 0), backlog=256)
        self.url = f"http://{_HOST}:{self._server.getsockname()[1]}"
        self.is_calm = False
        self.passages: list[Passage] = []
        self.expired_at: list[float] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._server.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(30)
            head, body = _read_request(connection)
            if not head:
                return
            path = head.split(b" ", 2)[1].decode("ascii")
            fate = self._fate(path)
            self.passages.append(Passage(time.time(), path, _call_of(head), fate))
            if fate == REFUSED:
                _reset(connection)
            elif fate == SILENT:
                time.sleep(_SILENT_SECONDS)
            else:
                _deliver(connection, self._answer(_closing(head) + body), fate)

    def _fate(self, path: str) -> str:
        kind = next((one for one in self._harm if one in path), "")
        is_harmed = not self.is_calm and random.random() < self._harm[kind]
        return random.choice(FATES) if is_harmed else HARMLESS

    def _answer(self, request: bytes) -> bytes:
        with socket.create_connection(self._platform, timeout=30) as platform:
            platform.sendall(request)
            parts = []
            while part := platform.recv(65536):
                parts.append(part)
        answer = b"".join(parts)
        if b'"expires_in": 0,' in answer or b'"expires_in": 0}' in answer:
            self.expired_at.append(time.time())
        return answer


def _read_request(connection: socket.socket) -> tuple[bytes, bytes]:
    received = b""
    while b"\r\n\r\n" not in received:
        part = connection.recv(65536)
        if not part:
            return b"", b""
        received += part
    head, _, body = received.partition(b"\r\n\r\n")
    length = int(_header(head, b"content-length") or 0)
    while len(body) < length:
        part = connection.recv(65536)
        if not part:
            return b"", b""
        body += part
    return head + b"\r\n\r\n", body


def _header(head: bytes, name: bytes) -> bytes:
    for line in head.split(b"\r\n")[1:]:
        key, _, value = line.partition(b":")
        if key.strip().lower() == name:
            return value.strip()
    return b""


def _call_of(head: bytes) -> str:
    return _header(head, CALL_HEADER).decode("ascii")


def _closing(head: bytes) -> bytes:
    """The head of a request whose connection is closed after its answer."""
    lines = head.rstrip(b"\r\n").split(b"\r\n")
    kept = [line for line in lines if not line.lower().startswith(b"connection:")]
    return b"\r\n".join([*kept, b"Connection: close", b"", b""])


def _deliver(connection: socket.socket, answer: bytes, fate: str) -> None:
    if fate == RESET:
        _reset(connection)
    elif fate == CUT:
        connection.sendall(answer[: len(answer) // 2])
        _reset(connection)
    elif fate == DRIPPING:
        for start in range(0, len(answer), _DRIP_BYTES):
            connection.sendall(answer[start : start + _DRIP_BYTES])
            time.sleep(_DRIP_SECONDS)
    else:
        time.sleep(_SLOW_SECONDS if fate == SLOW else 0)
        connection.sendall(answer)


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
    connection.close()
