"""HTTP/1.1 with persistent connections on the loopback interface."""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Callable

from werkzeug.exceptions import ClientDisconnected
from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler

from .failures import ConnectionDropped

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

HOST = "127.0.0.1"
_BACKLOG = 128
_POLL = 0.02
_PATIENCE = 0.5

Head = tuple[str, list[tuple[str, str]]]


class LoopbackHandler(WSGIRequestHandler):
    """Serves the requests of one connection, silently.

    werkzeug's own handler closes the connection after each answer, since it cannot know whether
    the application has read the request's body. This application always has.
    """

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    # Buffered, so that an answer's head and body leave in one packet.
    wbufsize = -1

    def run_wsgi(self) -> None:
        """Answers one request; a connection that failed or is to be dropped is closed."""
        try:
            self._respond(self.server.app)
        except (ConnectionDropped, ClientDisconnected, OSError):
            self.close_connection = True

    def _respond(self, app: WSGIApplication) -> None:
        heads: list[Head] = []

        def start_response(
            status: str, headers: list[tuple[str, str]], _error: object = None
        ) -> Callable[[bytes], object]:
            heads.append((status, headers))
            return self.wfile.write

        parts = app(self.make_environ(), start_response)
        self._send_head(heads[0])
        self._send_body(parts)

    def _send_head(self, head: Head) -> None:
        status, headers = head
        code, _, reason = status.partition(" ")
        self.send_response(int(code), reason)
        for name, value in headers:
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()

    def _send_body(self, parts: Iterable[bytes]) -> None:
        for part in parts:
            self.wfile.write(part)
        self.wfile.flush()

    def handle_expect_100(self) -> bool:
        """Asks for the body at once: the client waits for this before it sends any."""
        goes_on = super().handle_expect_100()
        self.wfile.flush()
        return goes_on

    def log(self, type: str, message: str, *args: Any) -> None:
        """Logs nothing: the simulator keeps a log of its own."""


class LoopbackServer(ThreadedWSGIServer):
    """A thread for each connection; closing ends the connections that are open.

    Args:
        port: 0 for any free one.

    Raises:
        OSError: the port is not free.
    """

    def __init__(self, port: int, app: WSGIApplication) -> None:
        self._connections: set[socket.socket] = set()
        self._ended = threading.Condition()
        # A port that is taken makes werkzeug print advice and exit, so it gets a bound socket.
        with socket.create_server((HOST, port), backlog=_BACKLOG) as listener:
            super().__init__(HOST, port, app, LoopbackHandler, fd=listener.fileno())
        self._thread = threading.Thread(target=self.serve_forever, args=(_POLL,), daemon=True)

    def start(self) -> None:
        """Begins to serve, in a daemon thread."""
        self._thread.start()

    def stop(self) -> None:
        """Frees the port and ends every connection, idle ones included."""
        self.shutdown()
        self._thread.join()
        with self._ended:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            self._ended.wait_for(lambda: not self._connections, _PATIENCE)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Notes the connection, so that :meth:`stop` can end it."""
        with self._ended:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Closes a connection and forgets it."""
        super().shutdown_request(request)
        with self._ended:
            self._connections.discard(request)
            self._ended.notify_all()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Reports a mistake of the simulator's; a client that went away is none."""
        error: BaseException | None = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handle_error(request, client_address)
