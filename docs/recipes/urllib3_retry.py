"""A session that tries a failing API again. A rejected token is not its affair."""

from __future__ import annotations

import os

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from thingspace_auth_adapters.requests import ThingspaceAuth

BASE_URL = os.environ.get("THINGSPACE_BASE_URL", "https://thingspace.verizon.com")
TRANSIENT = (429, 502, 503, 504)  # never 401


def session_that_retries() -> requests.Session:
    retry = Retry(total=3, backoff_factor=0.5, status_forcelist=TRANSIENT)
    session = requests.Session()
    session.auth = ThingspaceAuth.from_environment()
    session.mount(BASE_URL, HTTPAdapter(max_retries=retry))
    return session


def main() -> None:
    with session_that_retries() as session:
        print(session.get(f"{BASE_URL}/api/m2m/v1/devices", timeout=30).status_code)


if __name__ == "__main__":
    main()
