"""Both headers: the bearer and the M2M session token, with one login for all requests."""

from __future__ import annotations

import os
import sys

import requests

from thingspace_auth_adapters import M2mLoginError, VzM2mCredentials
from thingspace_auth_adapters.requests import ThingspaceAuth

BASE_URL = os.environ.get("THINGSPACE_BASE_URL", "https://thingspace.verizon.com")
HEADERS = ("Authorization", "VZ-M2M-Token")


def main() -> None:
    auth = ThingspaceAuth.from_environment(m2m=VzM2mCredentials.from_environment())
    with requests.Session() as session:
        session.auth = auth
        try:
            for number in range(3):
                response = session.get(f"{BASE_URL}/api/m2m/v1/devices/{number}", timeout=30)
                sent = [name for name in HEADERS if name in response.request.headers]
                print(response.status_code, "with", " and ".join(sent))
        except M2mLoginError as error:
            sys.exit(f"check VZ_M2M_USERNAME and VZ_M2M_PASSWORD: {error}")
    auth.end_m2m_session()


if __name__ == "__main__":
    main()
