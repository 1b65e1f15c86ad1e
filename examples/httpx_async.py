"""Many tasks on one token, with an update callback that is a coroutine."""

from __future__ import annotations

import asyncio
import os

import httpx

from thingspace_auth_adapters import OauthToken, ThingspaceOauthCredentials, VzM2mCredentials
from thingspace_auth_adapters.httpx import ThingspaceAuth

BASE_URL = os.environ.get("THINGSPACE_BASE_URL", "https://thingspace.verizon.com")


async def announce(token: OauthToken) -> None:
    print("a new token, good for", token.expires_in, "seconds")


async def main() -> None:
    credentials = ThingspaceOauthCredentials.from_environment()
    auth = ThingspaceAuth(
        credentials.clone_with(oauth_on_token_update=announce),
        base_url=BASE_URL,
        m2m=VzM2mCredentials.from_environment(),
    )
    async with httpx.AsyncClient(base_url=BASE_URL, auth=auth) as client:
        paths = [f"/api/m2m/v1/devices/{number}" for number in range(10)]
        responses = await asyncio.gather(*(client.get(path) for path in paths))
    print([response.status_code for response in responses])


if __name__ == "__main__":
    asyncio.run(main())
