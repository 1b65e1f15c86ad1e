"""Verizon ThingSpace's OAuth token, in one line, for ``requests``, ``httpx`` and ``httpx2``.

``ThingspaceAuth`` is here the adapter for ``requests``, resolved on first use: importing this
package imports no HTTP library. The others are ``thingspace_auth_adapters.httpx`` and
``thingspace_auth_adapters.httpx2``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .credentials import OauthScopeThingspaceOauthEnum, ThingspaceOauthCredentials
from .errors import (
    InsecureTransportError,
    InvalidTokenResponseError,
    OauthProviderError,
    ReentrantRequestError,
    ThingspaceAuthError,
)
from .tokens import OauthToken

if TYPE_CHECKING:
    from .requests import ThingspaceAuth as ThingspaceAuth

__version__ = "0.1.0"

# Without ThingspaceAuth, which needs requests: a star import must not.
__all__ = [
    "InsecureTransportError",
    "InvalidTokenResponseError",
    "OauthProviderError",
    "OauthScopeThingspaceOauthEnum",
    "OauthToken",
    "ReentrantRequestError",
    "ThingspaceAuthError",
    "ThingspaceOauthCredentials",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name == "ThingspaceAuth":
        from .requests import ThingspaceAuth

        return ThingspaceAuth
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), "ThingspaceAuth"})
