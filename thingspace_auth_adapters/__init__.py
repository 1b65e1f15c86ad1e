"""Verizon ThingSpace's OAuth token, in one line, for ``requests``, ``httpx`` and ``httpx2``.

``ThingspaceAuth`` is here the adapter for ``requests``, resolved on first use: importing this
package imports no HTTP library. The others are ``thingspace_auth_adapters.httpx`` and
``thingspace_auth_adapters.httpx2``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .credentials import OauthScopeThingspaceOauthEnum, ThingspaceOauthCredentials
from .errors import (
    InsecureStoreError,
    InsecureTransportError,
    InvalidTokenResponseError,
    M2mLoginError,
    OauthProviderError,
    ReentrantRequestError,
    ThingspaceAuthError,
)
from .tokens import OauthToken

if TYPE_CHECKING:
    from .m2m import VzM2mCredentials as VzM2mCredentials
    from .requests import ThingspaceAuth as ThingspaceAuth

__version__ = "0.1.0"

# Without ThingspaceAuth, which needs requests: a star import must not.
__all__ = [
    "InsecureStoreError",
    "InsecureTransportError",
    "InvalidTokenResponseError",
    "M2mLoginError",
    "OauthProviderError",
    "OauthScopeThingspaceOauthEnum",
    "OauthToken",
    "ReentrantRequestError",
    "ThingspaceAuthError",
    "ThingspaceOauthCredentials",
    "VzM2mCredentials",
    "__version__",
]


_RESOLVED_ON_FIRST_USE = {"ThingspaceAuth": "requests", "VzM2mCredentials": "m2m"}


def __getattr__(name: str) -> Any:
    if name in _RESOLVED_ON_FIRST_USE:
        module = import_module(f".{_RESOLVED_ON_FIRST_USE[name]}", __name__)
        return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_RESOLVED_ON_FIRST_USE})
