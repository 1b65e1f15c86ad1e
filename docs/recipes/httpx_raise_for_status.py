"""A client of httpx that raises for error statuses after the auth object has seen the answer."""

from __future__ import annotations

import os
from typing import Any

import httpx

from thingspace_auth_adapters.httpx import ThingspaceAuth

BASE_URL = os.environ.get("THINGSPACE_BASE_URL", "https://thingspace.verizon.com")


class RaisingClient(httpx.Client):
    def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        response = super().send(request, **options)
        response.raise_for_status()
        return response


class AsyncRaisingClient(httpx.AsyncClient):
    async def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        response = await super().send(request, **options)
        response.raise_for_status()
        return response


def main() -> None:
    with RaisingClient(base_url=BASE_URL, auth=ThingspaceAuth.from_environment()) as client:
        print(client.get("/api/m2m/v1/devices").json())


if __name__ == "__main__":
    main()
