"""One session of requests: the token is fetched by the first request and reused by the others."""

from __future__ import annotations

import os

import requests

from thingspace_auth_adapters.requests import ThingspaceAuth

BASE_URL = os.environ.get("THINGSPACE_BASE_URL", "https://thingspace.verizon.com")


def main() -> None:
    with requests.Session() as session:
        session.auth = ThingspaceAuth.from_environment()
        for number in range(3):
            response = session.get(f"{BASE_URL}/api/m2m/v1/devices/{number}", timeout=30)
            print(response.status_code)


if __name__ == "__main__":
    main()
