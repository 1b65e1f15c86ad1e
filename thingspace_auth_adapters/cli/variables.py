"""The names of our environment variables, and which of them somebody may have meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

CLIENT_ID = "THINGSPACE_OAUTH_OAUTH_CLIENT_ID"
CLIENT_SECRET = "THINGSPACE_OAUTH_OAUTH_CLIENT_SECRET"
CLOCK_SKEW = "THINGSPACE_OAUTH_OAUTH_CLOCK_SKEW"
BASE_URL = "THINGSPACE_BASE_URL"
USERNAME = "VZ_M2M_USERNAME"
PASSWORD = "VZ_M2M_PASSWORD"
SESSION_TOKEN = "VZ_M2M_TOKEN_VZ_M2M_TOKEN"
STORE = "THINGSPACE_AUTH_STORE"

NAMES = (CLIENT_ID, CLIENT_SECRET, CLOCK_SKEW, BASE_URL, USERNAME, PASSWORD, SESSION_TOKEN, STORE)


def nearest(typed: str, names: Iterable[str]) -> str:
    """A question for the one of our own names that is like what was typed, if one is."""
    like_it = get_close_matches(typed, names, n=1)
    return f": did you mean {like_it[0]}?" if like_it else ""
