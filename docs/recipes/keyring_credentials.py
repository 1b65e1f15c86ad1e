"""Key, secret and password from the keyring of the operating system.

Put them there once: `keyring set thingspace THE-KEY`, `keyring set thingspace-m2m THE-USER`.
"""

from __future__ import annotations

import os

import keyring
import requests

from thingspace_auth_adapters import VzM2mCredentials
from thingspace_auth_adapters.requests import ThingspaceAuth

BASE_URL = os.environ.get("THINGSPACE_BASE_URL", "https://thingspace.verizon.com")


def secret_of(service: str, name: str) -> str:
    secret = keyring.get_password(service, name)
    if secret is None:
        raise SystemExit(f"the keyring has no {service} {name}: keyring set {service} {name}")
    return secret


def auth_for(key: str, user: str) -> ThingspaceAuth:
    return ThingspaceAuth(
        oauth_client_id=key,
        oauth_client_secret=secret_of("thingspace", key),
        m2m=VzM2mCredentials(user, secret_of("thingspace-m2m", user)),
        base_url=BASE_URL,
    )


def main() -> None:
    auth = auth_for(os.environ["THINGSPACE_OAUTH_OAUTH_CLIENT_ID"], os.environ["VZ_M2M_USERNAME"])
    print(requests.get(f"{BASE_URL}/api/m2m/v1/devices", auth=auth, timeout=30).status_code)


if __name__ == "__main__":
    main()
