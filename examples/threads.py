"""Many threads, one token: the sessions differ, the auth object is shared."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import requests

from thingspace_auth_adapters.requests import ThingspaceAuth

BASE_URL = os.environ.get("THINGSPACE_BASE_URL", "https://thingspace.verizon.com")
AUTH = ThingspaceAuth.from_environment()


def status_of(number: int) -> int:
    url = f"{BASE_URL}/api/m2m/v1/devices/{number}"
    return requests.get(url, auth=AUTH, timeout=30).status_code


def main() -> None:
    with ThreadPoolExecutor(16) as threads:
        print(list(threads.map(status_of, range(16))))


if __name__ == "__main__":
    main()
