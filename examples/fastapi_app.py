"""A FastAPI app with one client for its whole life; the workers share one token and one session::

    fastapi run --workers 4 examples/fastapi_app.py

The auth object calls the store in a thread of its own: the event loop goes on.
"""

# mypy: disable-error-code="import-not-found, untyped-decorator"

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI, Request, Response

from thingspace_auth_adapters.httpx import ThingspaceAuth
from thingspace_auth_adapters.stores import FileTokenStore

BASE_URL = os.environ.get("THINGSPACE_BASE_URL", "https://thingspace.verizon.com")
AUTH = ThingspaceAuth.from_environment(store=FileTokenStore())


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with httpx.AsyncClient(base_url=BASE_URL, auth=AUTH) as client:
        app.state.thingspace = client
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/devices/{number}")
async def device(number: int, request: Request) -> Response:
    client: httpx.AsyncClient = request.app.state.thingspace
    answer = await client.get(f"/api/m2m/v1/devices/{number}")
    media_type = answer.headers.get("Content-Type")
    return Response(answer.content, answer.status_code, media_type=media_type)
