"""Reads the beginning of an httpx response without taking it from the caller.

Written for httpx and httpx2 alike: ``library`` is the one or the other module, and so are the
requests and responses, which is why they have no narrower type than ``Any`` here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from .blame import BODY_LIMIT


class Beginning:
    """The first chunks of a body, and the error that ended them, if one did."""

    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        self.failure: Exception | None = None
        self._size = 0

    @property
    def is_enough(self) -> bool:
        return self._size >= BODY_LIMIT or self.failure is not None

    def add(self, chunk: bytes) -> None:
        self.chunks.append(chunk)
        self._size += len(chunk)

    def decoded(self, response: Any, library: Any) -> bytes:
        """The bytes as text was meant; what cannot be decoded counts as empty."""
        names = ("content-encoding",)
        headers = {name: response.headers[name] for name in names if name in response.headers}
        content = b"".join(self.chunks)[:BODY_LIMIT]
        try:
            decoded: bytes = library.Response(200, headers=headers, content=content).content
        except library.DecodingError:
            return b""
        return decoded[:BODY_LIMIT]


class ReplayedStream:
    """A response's stream whose beginning was read and is put back."""

    def __init__(self, beginning: Beginning, rest: Iterator[bytes], original: Any) -> None:
        self._beginning = beginning
        self._rest = rest
        self._original = original

    def __iter__(self) -> Iterator[bytes]:
        yield from self._beginning.chunks
        if self._beginning.failure is not None:
            raise self._beginning.failure
        yield from self._rest

    def cut(self) -> None:
        """End where the beginning ends."""
        self._beginning.failure = None
        self._rest = iter(())

    def close(self) -> None:
        self._original.close()

    @property
    def elapsed(self) -> Any:
        return getattr(self._original, "elapsed", None)


class AsyncReplayedStream:
    """The same, asynchronous."""

    def __init__(self, beginning: Beginning, rest: AsyncIterator[bytes], original: Any) -> None:
        self._beginning = beginning
        self._rest = rest
        self._original = original
        self._is_cut = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._beginning.chunks:
            yield chunk
        if self._beginning.failure is not None:
            raise self._beginning.failure
        if not self._is_cut:
            async for chunk in self._rest:
                yield chunk

    def cut(self) -> None:
        """End where the beginning ends."""
        self._beginning.failure = None
        self._is_cut = True

    async def aclose(self) -> None:
        close_rest = getattr(self._rest, "aclose", None)
        if close_rest is not None:
            await close_rest()
        await self._original.aclose()

    @property
    def elapsed(self) -> Any:
        return getattr(self._original, "elapsed", None)


def loaded(response: Any, library: Any) -> bytes | None:
    """The body's beginning where nothing is left to read, or ``None``."""
    try:
        content: bytes = response.content
    except library.ResponseNotRead:
        return b"" if response.is_stream_consumed or response.is_closed else None
    return content[:BODY_LIMIT]


def read_beginning(rest: Iterator[bytes], library: Any) -> Beginning:
    beginning = Beginning()
    try:
        while not beginning.is_enough:
            beginning.add(next(rest))
    except StopIteration:
        pass
    except library.RequestError as error:
        beginning.failure = error
    return beginning


async def aread_beginning(rest: AsyncIterator[bytes], library: Any) -> Beginning:
    beginning = Beginning()
    try:
        while not beginning.is_enough:
            beginning.add(await rest.__anext__())
    except StopAsyncIteration:
        pass
    except library.RequestError as error:
        beginning.failure = error
    return beginning


def can_resend(request: Any, library: Any) -> bool:
    """Whether the request's body can be sent a second time, whole."""
    if isinstance(request.stream, library.ByteStream):
        return True
    fields = getattr(request.stream, "fields", None)
    return fields is not None and all(_can_rewind(field) for field in fields)


def _can_rewind(field: Any) -> bool:
    file = getattr(field, "file", b"")
    if isinstance(file, (str, bytes)):
        return True
    try:
        return bool(file.seekable())
    except (AttributeError, ValueError):
        return False
