"""The simulator for httpx and httpx2, without a socket: one piece of code for both.

Their classes have the same names but no common base, so what is one's or the other's object has no
narrower type than ``Any`` here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import contextmanager
from typing import Any

import h11

from .in_process import InProcessServer, Unreachable

# As much as httpcore takes.
_LONGEST_HEAD = 100 * 1024


class Transport:
    """What stands in for the network, whatever proxies and certificates are asked for.

    The answer's bytes go through h11 like those of a connection, so a broken answer is the same
    error.
    """

    _library: Any
    _stream_type: Any

    def __init__(self, server: InProcessServer) -> None:
        self._server = server

    def handle_request(self, request: Any) -> Any:
        """Send a request.

        Raises:
            ConnectError: the host is not ThingSpace's, or the simulator is closed.
            RemoteProtocolError: the simulator drops the connection.
            ReadTimeout: no answer came in time.
        """
        answer = _Answer(self._library, self._server, request)
        answer.send(b"".join(request.stream))
        return self._response(answer, answer.event())

    async def handle_async_request(self, request: Any) -> Any:
        """The same, on asyncio or trio."""
        answer = _Answer(self._library, self._server, request)
        answer.send(b"".join([part async for part in request.stream]))
        return self._response(answer, await answer.aevent())

    def _response(self, answer: _Answer, head: Any) -> Any:
        return self._library.Response(
            head.status_code,
            headers=head.headers.raw_items(),
            stream=self._stream_type(answer),
            extensions={"http_version": b"HTTP/1.1", "reason_phrase": bytes(head.reason)},
        )


class Stream:
    """The body of an answer, as it comes."""

    def __init__(self, answer: _Answer) -> None:
        self._answer = answer

    def __iter__(self) -> Iterator[bytes]:
        while isinstance(event := self._answer.event(), h11.Data):
            yield bytes(event.data)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while isinstance(event := await self._answer.aevent(), h11.Data):
            yield bytes(event.data)


class _Answer:
    """A request's answer, as h11 reads it; its errors are the library's."""

    def __init__(self, library: Any, server: InProcessServer, request: Any) -> None:
        self._library = library
        self._request = request
        self._seconds = request.extensions.get("timeout", {}).get("read")
        self._protocol = h11.Connection(h11.CLIENT, max_incomplete_event_size=_LONGEST_HEAD)
        with self._own_errors():
            self._connection = server.connect(request.url.host)

    def send(self, body: bytes) -> None:
        sent = self._request
        headers = [(name.decode(), value.decode("latin-1")) for name, value in sent.headers.raw]
        self._incoming = self._connection.send(sent.method, str(sent.url), headers, body)
        # h11 has to know of the request to read its answer; a HEAD's, for example, has no body.
        self._protocol.send(h11.Request(method=sent.method, target="/", headers=[("Host", "any")]))
        self._protocol.send(h11.EndOfMessage())

    def event(self) -> Any:
        """The head, a part of the body, or the end."""
        with self._own_errors():
            while (event := self._protocol.next_event()) is h11.NEED_DATA:
                self._take(self._incoming.receive(self._seconds))
        return event

    async def aevent(self) -> Any:
        """The same, on asyncio or trio."""
        with self._own_errors():
            while (event := self._protocol.next_event()) is h11.NEED_DATA:
                self._take(await self._incoming.areceive(self._seconds))
        return event

    def _take(self, data: bytes) -> None:
        if not data and self._protocol.their_state is h11.SEND_RESPONSE:
            raise h11.RemoteProtocolError("Server disconnected without sending a response.")
        self._protocol.receive_data(data)

    @contextmanager
    def _own_errors(self) -> Generator[None, None, None]:
        library, request = self._library, self._request
        try:
            yield
        except Unreachable as error:
            raise library.ConnectError(str(error), request=request) from None
        except TimeoutError as error:
            raise library.ReadTimeout(str(error), request=request) from None
        except h11.RemoteProtocolError as error:
            raise library.RemoteProtocolError(str(error), request=request) from None
