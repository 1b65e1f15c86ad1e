"""A handler for AWS Lambda: warm invocations share the auth object, and so token and session.

The store in ``/tmp``, the one place where a function may write, serves the next process in the same
environment: Lambda starts one after a timeout or a crash.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import requests

from thingspace_auth_adapters.requests import ThingspaceAuth
from thingspace_auth_adapters.stores import FileTokenStore

BASE_URL = os.environ.get("THINGSPACE_BASE_URL", "https://thingspace.verizon.com")
STORE = FileTokenStore(Path(tempfile.gettempdir(), "thingspace-auth"))
AUTH = ThingspaceAuth.from_environment(store=STORE)


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    url = f"{BASE_URL}/api/m2m/v1/devices/{event['device']}"
    response = requests.get(url, auth=AUTH, timeout=30)
    return {"statusCode": response.status_code, "body": response.text}


def main() -> None:
    for number in range(3):
        print(handler({"device": number}, None)["statusCode"])


if __name__ == "__main__":
    main()
