"""dlt's RESTClient and rest_api_source, with renewal of both tokens."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Any

from dlt.common.configuration import configspec
from dlt.sources.helpers.rest_client import RESTClient
from dlt.sources.helpers.rest_client.auth import AuthConfigBase
from dlt.sources.rest_api import rest_api_source

from thingspace_auth_adapters.requests import ThingspaceAuth

BASE_URL = os.environ.get("THINGSPACE_BASE_URL", "https://thingspace.verizon.com")


@lru_cache
def thingspace_auth() -> ThingspaceAuth:
    return ThingspaceAuth.from_environment()


@configspec
class ThingspaceConfig(AuthConfigBase):
    def __call__(self, request: Any) -> Any:
        return thingspace_auth()(request)


def client() -> RESTClient:
    return RESTClient(BASE_URL, auth=thingspace_auth())


def source() -> Any:
    devices = {"path": "api/m2m/v1/devices", "paginator": "single_page", "data_selector": "$"}
    return rest_api_source(
        {
            "client": {"base_url": BASE_URL, "auth": ThingspaceConfig()},
            "resources": [{"name": "devices", "endpoint": devices}],
        }
    )


def main() -> None:
    for device in source().resources["devices"]:
        print(device)


if __name__ == "__main__":
    main()
