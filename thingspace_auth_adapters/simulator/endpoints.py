"""The endpoints by the names that tests use, and which path belongs to which."""

from __future__ import annotations

TOKEN_PATH = "/api/ts/v1/oauth2/token"
REVOKE_PATH = "/api/ts/v1/oauth2/revoke"
API_PREFIX = "/api/"

TOKEN = "token"
REVOKE = "revoke"
API = "api"
ENDPOINTS = (TOKEN, REVOKE, API)

_BY_PATH = {TOKEN_PATH: TOKEN, REVOKE_PATH: REVOKE}


def endpoint_of(path: str) -> str:
    """The name of the endpoint that serves a path; what is no endpoint of OAuth is ``"api"``."""
    return _BY_PATH.get(path, API)


def known_endpoint(name: str) -> str:
    """The name itself.

    Raises:
        ValueError: no endpoint has this name.
    """
    if name not in ENDPOINTS:
        raise ValueError(f"endpoint must be one of {', '.join(ENDPOINTS)}, not {name!r}")
    return name
