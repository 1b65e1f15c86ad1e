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

from thingspace_auth_adapters import ThingspaceOauthCredentials, VzM2mCredentials
from thingspace_auth_adapters.requests import ThingspaceAuth
from thingspace_auth_adapters.stores import FileTokenStore

BASE_URL = os.environ.get("THINGSPACE_BASE_URL", "https://thingspace.verizon.com")
STORE = FileTokenStore(Path(tempfile.gettempdir(), "thingspace-auth"))
AUTH = ThingspaceAuth(
    ThingspaceOauthCredentials.from_environment().clone_with(oauth_token_provider=STORE),
    base_url=BASE_URL,
    m2m=VzM2mCredentials(
        os.environ["VZ_M2M_USERNAME"],
        os.environ["VZ_M2M_PASSWORD"],
        vz_m2m_token_provider=STORE,
    ),
)


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    url = f"{BASE_URL}/api/m2m/v1/devices/{event['device']}"
    response = requests.get(url, auth=AUTH, timeout=30)
    return {"statusCode": response.status_code, "body": response.text}


def main() -> None:
    for number in range(3):
        print(handler({"device": number}, None)["statusCode"])


if __name__ == "__main__":
    main()
