"""A handler for AWS Lambda, all of whose environments share one token and one session.

Each environment has a ``/tmp`` of its own. With a store there, each would try an outdated password
once, and five failed logins lock the user name. So they share a Redis, such as ElastiCache, whose
URL is in ``REDIS_URL``. Without an M2M account ``FileTokenStore("/tmp/thingspace-auth")`` will do.
"""

from __future__ import annotations

import os
from typing import Any

import requests

from thingspace_auth_adapters.requests import ThingspaceAuth
from thingspace_auth_adapters.stores import RedisTokenStore

BASE_URL = os.environ.get("THINGSPACE_BASE_URL", "https://thingspace.verizon.com")
AUTH = ThingspaceAuth.from_environment(store=RedisTokenStore(os.environ["REDIS_URL"]))


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    url = f"{BASE_URL}/api/m2m/v1/devices/{event['device']}"
    response = requests.get(url, auth=AUTH, timeout=30)
    return {"statusCode": response.status_code, "body": response.text}


def main() -> None:
    for number in range(3):
        print(handler({"device": number}, None)["statusCode"])


if __name__ == "__main__":
    main()
