"""A table from an API with pandas, and files over HTTP with fsspec."""

from __future__ import annotations

import io
import os
from typing import Any

import fsspec
import pandas
import requests
from aiohttp_middleware import ThingspaceMiddleware  # examples/aiohttp_middleware.py

import thingspace_auth_adapters.httpx
import thingspace_auth_adapters.requests

BASE_URL = os.environ.get("THINGSPACE_BASE_URL", "https://thingspace.verizon.com")


def table(path: str) -> pandas.DataFrame:
    auth = thingspace_auth_adapters.requests.ThingspaceAuth.from_environment()
    response = requests.get(BASE_URL + path, auth=auth, timeout=30)
    response.raise_for_status()
    return pandas.read_json(io.StringIO(response.text), typ="series").to_frame("value")


def filesystem() -> Any:
    auth = thingspace_auth_adapters.httpx.ThingspaceAuth.from_environment()
    # fsspec's HTTP is aiohttp's.
    return fsspec.filesystem("http", client_kwargs={"middlewares": [ThingspaceMiddleware(auth)]})


def main() -> None:
    print(table("/api/m2m/v1/devices"))
    print(filesystem().cat_file(f"{BASE_URL}/api/m2m/v1/devices"))


if __name__ == "__main__":
    main()
