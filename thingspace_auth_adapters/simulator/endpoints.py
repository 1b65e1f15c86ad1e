"""The endpoints by the names that tests use, and which path belongs to which."""

from __future__ import annotations

TOKEN_PATH = "/api/ts/v1/oauth2/token"
REVOKE_PATH = "/api/ts/v1/oauth2/revoke"
LOGIN_PATH = "/api/m2m/v1/session/login"
LOGOUT_PATH = "/api/m2m/v1/session/logout"
API_PREFIX = "/api/"

TOKEN = "token"
REVOKE = "revoke"
LOGIN = "login"
LOGOUT = "logout"
API = "api"
ENDPOINTS = (TOKEN, REVOKE, LOGIN, LOGOUT, API)

_BY_PATH = {
    TOKEN_PATH: TOKEN,
    REVOKE_PATH: REVOKE,
    LOGIN_PATH: LOGIN,
    LOGOUT_PATH: LOGOUT,
}


def endpoint_of(path: str) -> str:
    """The name of the endpoint that serves a path; every other path is ``"api"``'s."""
    return _BY_PATH.get(path, API)


def known_endpoint(name: str) -> str:
    """The name itself.

    Raises:
        ValueError: no endpoint has this name.
    """
    if name not in ENDPOINTS:
        raise ValueError(f"endpoint must be one of {', '.join(ENDPOINTS)}, not {name!r}")
    return name
