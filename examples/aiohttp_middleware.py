"""aiohttp with ThingSpace's headers, by a client middleware. Needs aiohttp 3.12 and httpx.

aiohttp sends the requests; httpx only calls ThingSpace's own endpoints for tokens and logins. If
that fails, callers see a ClientError of aiohttp, which is what Home Assistant catches.
"""

from __future__ import annotations

import asyncio
import os

import aiohttp
import httpx
from aiohttp import ClientHandlerType, ClientRequest, ClientResponse

from thingspace_auth_adapters.httpx import ThingspaceAuth

BASE_URL = os.environ.get("THINGSPACE_BASE_URL", "https://thingspace.verizon.com")
LONGEST_BODY = 64 * 1024


class NoTokenError(aiohttp.ClientError):
    """There is no token for a request. Its ``__cause__`` is the error of ThingspaceAuth."""


class ThingspaceMiddleware:
    """Use it as ``ClientSession(middlewares=[ThingspaceMiddleware(auth)])``.

    aiohttp calls it for each hop of a redirect, with a new request that has only the caller's own
    headers: what is set here never goes along to another host.
    """

    def __init__(self, auth: ThingspaceAuth) -> None:
        self.auth = auth

    async def __call__(self, req: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        try:
            ours = await self.auth.aheaders(str(req.url))
        except httpx.RequestError as error:
            raise NoTokenError(str(error)) from error
        req.headers.update(ours)
        response = await handler(req)
        renewable = dict(ours)
        # One repeat for each credential at most: one that was renewed is not shown again.
        for _ in ours:
            again = await self.recover(req, renewable, response)
            if again is None:
                break
            response.release()
            renewable = {k: v for k, v in renewable.items() if again.get(k, v) == v}
            req.headers.update(again)
            response = await handler(req)
        return response

    async def recover(
        self, req: ClientRequest, sent: dict[str, str], response: ClientResponse
    ) -> dict[str, str] | None:
        """The headers to repeat a rejected request with, or None if it is not to be repeated."""
        if not 400 <= response.status < 500:
            return None
        is_readable = can_be_read(response)
        try:
            body = await response.read() if is_readable else b""
            again = await self.auth.arecover(
                str(req.url), sent, req.method, response.status, response.headers, body
            )
        except BaseException:
            response.close()
            raise
        # An iterator or a file may be used up, and an unread answer may name any cause.
        can_repeat = is_readable and isinstance(req.body, (bytes, aiohttp.BytesPayload))
        return again if can_repeat else None


def can_be_read(response: ClientResponse) -> bool:
    encoding = response.headers.get("Content-Encoding", "identity")
    is_short = (response.content_length or 0) <= LONGEST_BODY
    return is_short and encoding in ("identity", "gzip", "deflate")


async def main() -> None:
    middleware = ThingspaceMiddleware(ThingspaceAuth.from_environment())
    async with aiohttp.ClientSession(BASE_URL, middlewares=[middleware]) as session:
        paths = [f"/api/m2m/v1/devices/{number}" for number in range(10)]
        responses = await asyncio.gather(*(session.get(path) for path in paths))
        print([response.status for response in responses])


if __name__ == "__main__":
    asyncio.run(main())
