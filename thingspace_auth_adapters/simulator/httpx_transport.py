"""The simulator for httpx, without a socket."""

from __future__ import annotations

import httpx

from .h11_answer import Stream, Transport


class _Stream(Stream, httpx.SyncByteStream, httpx.AsyncByteStream):
    pass


class SimulatedHttpxTransport(Transport, httpx.BaseTransport, httpx.AsyncBaseTransport):
    __doc__ = Transport.__doc__

    _library = httpx
    _stream_type = _Stream
