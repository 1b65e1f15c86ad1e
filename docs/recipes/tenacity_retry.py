"""A function of one's own that is tried again if the API failed, but not if there is no token."""

from __future__ import annotations

import os
from typing import Any

import requests
from tenacity import retry, retry_if_exception, stop_after_attempt, wait_random_exponential

from thingspace_auth_adapters.requests import ThingspaceAuth

BASE_URL = os.environ.get("THINGSPACE_BASE_URL", "https://thingspace.verizon.com")
TRANSIENT = (429, 502, 503, 504)


def has_failed_api(error: BaseException) -> bool:
    answer = error.response if isinstance(error, requests.HTTPError) else None
    return answer is not None and answer.status_code in TRANSIENT


@retry(
    retry=retry_if_exception(has_failed_api),
    wait=wait_random_exponential(max=10),
    stop=stop_after_attempt(4),
    reraise=True,
)
def list_devices(session: requests.Session) -> Any:
    response = session.get(f"{BASE_URL}/api/m2m/v1/devices", timeout=30)
    response.raise_for_status()
    return response.json()


def main() -> None:
    with requests.Session() as session:
        session.auth = ThingspaceAuth.from_environment()
        print(list_devices(session))


if __name__ == "__main__":
    main()
