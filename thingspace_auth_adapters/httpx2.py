"""ThingSpace's tokens for ``httpx2``: ``httpx2.Client(auth=ThingspaceAuth(credentials))``.

The same object serves ``httpx2.AsyncClient``, on asyncio or trio.
"""

from __future__ import annotations

from . import errors

try:
    import httpx2 as library
except ImportError as error:
    raise ImportError(
        "thingspace_auth_adapters.httpx2 needs httpx2, on Python 3.11 or later:"
        " pip install 'thingspace-auth-adapters[httpx2]'"
    ) from error

from ._adapters import httpx_flow

__all__ = ["ThingspaceAuth"]


class ThingspaceAuth(httpx_flow.ThingspaceAuth, library.Auth):
    __doc__ = httpx_flow.ThingspaceAuth.__doc__

    _library = library
    _error_types = errors.native_errors(library.RequestError, __name__)


# Under their names, so that they can be pickled.
globals().update({one.__name__: one for one in ThingspaceAuth._error_types.values()})
