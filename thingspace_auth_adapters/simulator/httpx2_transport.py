"""The simulator for httpx2, without a socket."""

from __future__ import annotations

import httpx2

from .h11_answer import Stream, Transport


class _Stream(Stream, httpx2.SyncByteStream, httpx2.AsyncByteStream):
    pass


class SimulatedHttpx2Transport(Transport, httpx2.BaseTransport, httpx2.AsyncBaseTransport):
    __doc__ = Transport.__doc__

    _library = httpx2
    _stream_type = _Stream
