"""A session with a cache: a cached answer needs no token, and no token is in the cache."""

from __future__ import annotations

import os
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from requests_cache import DEFAULT_IGNORED_PARAMS, CachedSession

from thingspace_auth_adapters.requests import ThingspaceAuth

BASE_URL = os.environ.get("THINGSPACE_BASE_URL", "https://thingspace.verizon.com")
SESSION_HEADERS = ("VZ-M2M-Token", "SessionToken")


class AuthAdapter(HTTPAdapter):
    """Puts the tokens on what is really sent, which is what the cache does not have."""

    def __init__(self, auth: ThingspaceAuth) -> None:
        super().__init__()
        self.auth = auth

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> Any:
        return super().send(self.auth(request), *args, **options)


def session_with_cache(path: str) -> CachedSession:
    session = CachedSession(
        path,
        expire_after=300,
        # Ignored is not stored either; requests-cache knows Authorization, but not these.
        ignored_parameters=[*DEFAULT_IGNORED_PARAMS, *SESSION_HEADERS],
        filter_fn=has_no_history,
    )
    session.mount(BASE_URL, AuthAdapter(ThingspaceAuth.from_environment()))
    return session


def has_no_history(response: requests.Response) -> bool:
    # The requests in an answer's history would be stored with all their headers.
    return not response.history


def main() -> None:
    with session_with_cache("devices.sqlite") as session:
        for _ in range(2):
            response = session.get(f"{BASE_URL}/api/m2m/v1/devices", timeout=30)
            print(response.status_code, "from the cache" if response.from_cache else "")


if __name__ == "__main__":
    main()
