"""Reads the beginning of a ``requests`` response without taking it from the caller."""

from __future__ import annotations

import io
from collections.abc import Generator
from typing import Any

from requests import Response
from urllib3 import HTTPResponse
from urllib3.exceptions import HTTPError


def peek(response: Response, limit: int) -> bytes:
    """The first ``limit`` bytes of the body, decoded; the caller can still read all of it.

    What cannot be decoded counts as empty. A connection that breaks meanwhile raises only where
    the caller reads that far.
    """
    raw = response.raw
    if response._content_consumed or not isinstance(raw, HTTPResponse):
        return response.content[:limit]
    beginning, failure = b"", None
    try:
        beginning = raw.read(limit, decode_content=False)
    except HTTPError as error:
        failure = error
    is_whole = failure is None and len(beginning) < limit
    response.raw = Replayed(beginning, raw, failure, is_whole)
    return _decoded(beginning, raw, limit)


class Replayed(HTTPResponse):
    """A response whose beginning was read and is put back."""

    def __init__(
        self, beginning: bytes, rest: HTTPResponse, failure: HTTPError | None, is_whole: bool
    ) -> None:
        self.is_whole = is_whole
        self._rest = rest
        super().__init__(
            body=_Buffered(_Rejoined(beginning, rest, failure)),
            headers=rest.headers,
            status=rest.status,
            version=rest.version,
            reason=rest.reason,
            preload_content=False,
            decode_content=rest.decode_content,
            original_response=rest._original_response,
            retries=rest.retries,
            # The rest does that, and knows what it was asked with.
            enforce_content_length=False,
        )

    def release_conn(self) -> None:
        """Give the original's connection back to its pool."""
        self._rest.release_conn()

    def read_chunked(
        self, amt: int | None = None, decode_content: bool | None = None
    ) -> Generator[bytes, None, None]:
        """As the original's; the chunks of the wire are taken apart already."""
        yield from self.stream(amt or 2**16, decode_content)


class _Buffered(io.BufferedReader):
    def __init__(self, rejoined: _Rejoined) -> None:
        super().__init__(rejoined)
        self._rejoined = rejoined

    def isclosed(self) -> bool:
        """What urllib3 asks to know whether a stream has come to its end."""
        return self.closed or (self._rejoined.has_ended and not self.peek(1))


class _Rejoined(io.RawIOBase):
    def __init__(self, beginning: bytes, rest: HTTPResponse, failure: HTTPError | None) -> None:
        self._beginning = io.BytesIO(beginning)
        self._rest = rest
        self._failure = failure
        self.has_ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._beginning.read(len(buffer)) or self._read_rest(len(buffer))
        buffer[: len(data)] = data
        self.has_ended = not data
        return len(data)

    def _read_rest(self, size: int) -> bytes:
        if self._failure is not None:
            raise self._failure
        return self._rest.read(size, decode_content=False)

    def close(self) -> None:
        self._rest.close()
        super().close()


def _decoded(beginning: bytes, raw: HTTPResponse, limit: int) -> bytes:
    response = HTTPResponse(
        body=io.BytesIO(beginning),
        headers=raw.headers,
        preload_content=False,
        enforce_content_length=False,
    )
    try:
        return response.read(limit, decode_content=True)
    except HTTPError:
        return b""
