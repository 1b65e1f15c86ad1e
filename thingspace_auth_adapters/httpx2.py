"""ThingSpace OAuth for ``httpx2``: ``httpx2.Client(auth=ThingspaceAuth(credentials))``.

The same object serves ``httpx2.AsyncClient``, on asyncio or trio.
"""

from __future__ import annotations

from typing import ClassVar

from . import errors

try:
    import httpx2 as library
except ImportError as error:
    raise ImportError(
        "thingspace_auth_adapters.httpx2 needs httpx2, on Python 3.11 or later:"
        " pip install 'thingspace-auth-adapters[httpx2]'"
    ) from error

from ._httpx_flow import HttpxTokenManager
from ._httpx_streams import AsyncReplayedStream, ReplayedStream
from .manager import ErrorTypes

__all__ = [
    "InsecureStoreError",
    "InsecureTransportError",
    "InvalidTokenResponseError",
    "M2mLoginError",
    "OauthProviderError",
    "ReentrantRequestError",
    "ThingspaceAuth",
]


class OauthProviderError(errors.OauthProviderError, library.RequestError):
    __doc__ = errors.OauthProviderError.__doc__


class InvalidTokenResponseError(errors.InvalidTokenResponseError, library.RequestError):
    __doc__ = errors.InvalidTokenResponseError.__doc__


class InsecureTransportError(errors.InsecureTransportError, library.RequestError):
    __doc__ = errors.InsecureTransportError.__doc__


class ReentrantRequestError(errors.ReentrantRequestError, library.RequestError):
    __doc__ = errors.ReentrantRequestError.__doc__


class M2mLoginError(errors.M2mLoginError, library.RequestError):
    __doc__ = errors.M2mLoginError.__doc__


class InsecureStoreError(errors.InsecureStoreError, library.RequestError):
    __doc__ = errors.InsecureStoreError.__doc__


class _ReplayedStream(ReplayedStream, library.SyncByteStream):
    pass


class _AsyncReplayedStream(AsyncReplayedStream, library.AsyncByteStream):
    pass


class ThingspaceAuth(HttpxTokenManager, library.Auth):
    __doc__ = HttpxTokenManager.__doc__

    _library = library
    _replayed_stream = _ReplayedStream
    _async_replayed_stream = _AsyncReplayedStream
    _error_types: ClassVar[ErrorTypes] = {
        errors.OauthProviderError: OauthProviderError,
        errors.InvalidTokenResponseError: InvalidTokenResponseError,
        errors.InsecureTransportError: InsecureTransportError,
        errors.ReentrantRequestError: ReentrantRequestError,
        errors.M2mLoginError: M2mLoginError,
        errors.InsecureStoreError: InsecureStoreError,
    }
