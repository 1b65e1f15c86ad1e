"""Verizon ThingSpace's tokens, in one line, for ``requests``, ``httpx`` and ``httpx2``.

``ThingspaceAuth`` is here the adapter for ``requests``, resolved on first use: importing this
package imports no HTTP library. The others are ``thingspace_auth_adapters.httpx`` and
``thingspace_auth_adapters.httpx2``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._model.credentials import OauthScopeThingspaceOauthEnum, ThingspaceOauthCredentials
from ._model.events import AuthEvent
from ._model.tokens import OauthToken
from ._model.version import __version__
from .errors import (
    InsecureStoreError,
    InsecureTransportError,
    InvalidTokenResponseError,
    M2mLoginError,
    OauthProviderError,
    ReentrantRequestError,
    ThingspaceAuthError,
)

if TYPE_CHECKING:
    from ._model.m2m import VzM2mCredentials as VzM2mCredentials
    from .requests import ThingspaceAuth as ThingspaceAuth

# Without ThingspaceAuth, which needs requests: a star import must not.
__all__ = [
    "AuthEvent",
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

_RESOLVED_ON_FIRST_USE = {
    "ThingspaceAuth": ".requests",
    "VzM2mCredentials": "._model.m2m",
}
_SUBMODULES = ("httpx", "httpx2", "requests", "simulator", "stores")


def __getattr__(name: str) -> Any:
    if name in _RESOLVED_ON_FIRST_USE:
        return getattr(import_module(_RESOLVED_ON_FIRST_USE[name], __name__), name)
    if name in _SUBMODULES:
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *_RESOLVED_ON_FIRST_USE, *_SUBMODULES})
