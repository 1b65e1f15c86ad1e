"""One client of httpx: the token is fetched by the first request and reused by the others."""

from __future__ import annotations

import os

import httpx

from thingspace_auth_adapters.httpx import ThingspaceAuth

BASE_URL = os.environ.get("THINGSPACE_BASE_URL", "https://thingspace.verizon.com")


def main() -> None:
    with httpx.Client(base_url=BASE_URL, auth=ThingspaceAuth.from_environment()) as client:
        for number in range(3):
            print(client.get(f"/api/m2m/v1/devices/{number}").status_code)


if __name__ == "__main__":
    main()
