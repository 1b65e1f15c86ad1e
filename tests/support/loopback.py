"""A platform on a real loopback port, for what only sockets can show."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
from collections.abc import Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import FrameType
from typing import Any, Callable

from .virtual import Answer, Call, Platform


class Raw(Answer):
    """An answer that is sent as it is, status line and headers included, part by part."""

    def __init__(self, parts: Iterable[bytes]) -> None:
        super().__init__()
        self.parts = parts


class Loopback:
    """Serves ``platform``. Two failures beside those that the library itself may have:

    - ``Answer(failure="lost")``: the request is read, and the connection closed.
    - ``Answer(failure="held")``: the request is read, and nothing more said until ``release()``;
      then the connection is closed. Until then ``on_held`` is called again and again.
    """

    def __init__(self, platform: Platform) -> None:
        self.on_held: Callable[[], object] = lambda: None
        self.held = threading.Event()
        self._released = threading.Event()
        self._calling = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.answer = self._answer
        self._platform = platform
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Loopback:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.release()
        self._server.shutdown()
        self._server.server_close()

    def release(self) -> None:
        with self._calling:
            self._released.set()

    def _answer(self, call: Call) -> Answer:
        answer = self._platform.handle(call)
        if answer.failure == "held":
            self.held.set()
            while not self._released.wait(0.05):
                with self._calling:
                    if not self._released.is_set():
                        self.on_held()
        return answer


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    answer: Callable[[Call], Answer]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is what many of these tests are about."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = self.server.answer(Call(self.command, self.path, headers, body))
        self.close_connection = True
        if answer.failure is not None:
            return
        if isinstance(answer, Raw):
            for part in answer.parts:
                self.wfile.write(part)
            return
        self.send_response(answer.status)
        for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body)

    do_GET = do_POST = _handle

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextlib.contextmanager
def alarm_raises(error: BaseException) -> Iterator[None]:
    """Have the first SIGALRM raise ``error`` in the main thread, as a time limit does."""
    left = [error]

    def handler(number: int, frame: FrameType | None) -> None:
        if left:
            raise left.pop()

    before = signal.signal(signal.SIGALRM, handler)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def alarm_main_thread() -> None:
    """For ``on_held``, which repeats it: one that comes just before a wait does not end it."""
    main_thread = threading.main_thread().ident
    assert main_thread is not None
    signal.pthread_kill(main_thread, signal.SIGALRM)


@contextlib.contextmanager
def nobody_listening() -> Iterator[str]:
    """A base URL that refuses connections, for as long as the context lasts."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"
