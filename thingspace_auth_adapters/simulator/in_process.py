"""The platform without a socket: requests are answered in this process, as over a connection."""

from __future__ import annotations

import io
import math
import sys
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, wait
from contextlib import suppress
from functools import partial
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any, Callable
from urllib.parse import unquote_to_bytes, urlsplit

from werkzeug.test import run_wsgi_app

from .application import Application
from .failures import ConnectionDropped

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

Bytes = Callable[[], Iterator[bytes]]

HOSTS = ("thingspace.verizon.com", "5gedge.verizon.com")


class Unreachable(Exception):
    """No connection comes about."""


class Incoming:
    """The bytes that come over a connection: those of an answer, then none.

    Args:
        answer: makes the bytes of the answer; called in a thread of its own, like a server's, so
            that what a client no longer waits for happens all the same.
        silence: returns once the connection is closed.
    """

    def __init__(self, answer: Bytes, silence: Bytes) -> None:
        self._silence = silence
        self._due = _in_thread(answer)

    def receive(self, seconds: float | None) -> bytes:
        """The next bytes; none if the connection was closed.

        Raises:
            TimeoutError: nothing came for so many seconds; ``None`` has no limit.
        """
        while (part := self._next()) is None:
            wait([self._due], seconds)
            self._check_in_time()
        return part

    async def areceive(self, seconds: float | None) -> bytes:
        """The same, on asyncio or trio."""
        while (part := self._next()) is None:
            await _settled(self._due, seconds)
            self._check_in_time()
        return part

    def _next(self) -> bytes | None:
        if not self._due.done():
            return None
        part = next(self._due.result(), None)
        if part is None:
            self._due = _in_thread(self._silence)
        return part

    def _check_in_time(self) -> None:
        if not self._due.done():
            raise TimeoutError("The read operation timed out")


class InProcessServer:
    """Answers for ThingSpace's real hosts.

    Args:
        current: returns the application; another one after each start of the simulator.
    """

    def __init__(self, current: Callable[[], Application]) -> None:
        self._current = current

    def connect(self, host: str) -> Connection:
        """A connection to a host.

        Raises:
            Unreachable: the host is not ThingSpace's, or the simulator is closed.
        """
        application = self._current()
        if not any(host == one or host.endswith(f".{one}") for one in HOSTS):
            raise Unreachable(
                f"the simulator without a socket answers for {', '.join(HOSTS)} and the names below"
                f" them, not for {host!r}"
            )
        if application.closing.is_set():
            raise Unreachable("the simulator is closed")
        return Connection(application)


class Connection:
    """Carries one request."""

    def __init__(self, application: Application) -> None:
        self._application = application

    def send(
        self, method: str, url: str, headers: Iterable[tuple[str, str]], body: bytes
    ) -> Incoming:
        """Send a request; header values are as latin-1 decodes them."""
        answer = partial(self._answer, _environ(method, url, headers, body))
        return Incoming(answer, self._silence)

    def _answer(self, environ: WSGIEnvironment) -> Iterator[bytes]:
        try:
            parts, status, headers = run_wsgi_app(self._application, environ)
        except ConnectionDropped:
            return repeat(b"")
        lines = (f"{name}: {value}\r\n" for name, value in headers)
        head = f"HTTP/1.1 {status}\r\n{''.join(lines)}\r\n"
        return chain([head.encode("latin-1")], filter(None, parts))

    def _silence(self) -> Iterator[bytes]:
        self._application.closing.wait()
        return repeat(b"")


def _environ(
    method: str, url: str, headers: Iterable[tuple[str, str]], body: bytes
) -> WSGIEnvironment:
    parts = urlsplit(url)
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(parts.path).decode("latin-1"),
        "QUERY_STRING": parts.query,
        "SERVER_NAME": parts.hostname,
        "SERVER_PORT": str(parts.port or 443),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.url_scheme": parts.scheme,
        "wsgi.input": io.BytesIO(body),
        "wsgi.input_terminated": True,
    }
    for name, value in headers:
        key = name.upper().replace("-", "_")
        key = key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"
        environ[key] = f"{environ[key]},{value}" if key in environ else value
    return environ


def _in_thread(work: Bytes) -> Future[Iterator[bytes]]:
    done: Future[Iterator[bytes]] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=run, name="thingspace-simulator", daemon=True).start()
    return done


async def _settled(future: Future[Any], seconds: float | None) -> None:
    """Wait until the future is done, or so many seconds have passed."""
    trio = _running_trio()
    if trio is None:
        await _settled_on_asyncio(future, seconds)
        return
    event = trio.Event()
    _wake_when_done(future, trio.lowlevel.current_trio_token().run_sync_soon, event.set)
    with trio.move_on_after(math.inf if seconds is None else seconds):
        await event.wait()


async def _settled_on_asyncio(future: Future[Any], seconds: float | None) -> None:
    import asyncio

    event = asyncio.Event()
    _wake_when_done(future, asyncio.get_running_loop().call_soon_threadsafe, event.set)
    # Before Python 3.11 its TimeoutError is one of its own.
    with suppress(asyncio.TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)


def _wake_when_done(
    future: Future[Any], soon: Callable[[Callable[[], object]], object], wake: Callable[[], object]
) -> None:
    def call(_: object) -> None:
        # A RuntimeError says that the event loop has ended: nobody is left to wake.
        with suppress(RuntimeError):
            soon(wake)

    future.add_done_callback(call)


def _running_trio() -> Any:
    """The module trio, if it runs the calling task."""
    trio: Any = sys.modules.get("trio")
    try:
        trio.lowlevel.current_trio_token()
    except (AttributeError, RuntimeError):
        # It is not there, or still being imported; or it runs, but not this task.
        return None
    return trio
