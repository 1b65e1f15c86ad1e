"""Has ThingSpace make a new M2M password, and goes on with it."""

from __future__ import annotations

import os
from typing import Callable

import requests

from thingspace_auth_adapters import VzM2mCredentials
from thingspace_auth_adapters.requests import ThingspaceAuth

BASE_URL = os.environ.get("THINGSPACE_BASE_URL", "https://thingspace.verizon.com")
RESET = f"{BASE_URL}/api/m2m/v1/session/password/actions/reset"


def change_password(auth: ThingspaceAuth, user: str, old: str, keep: Callable[[str], None]) -> None:
    answer = requests.put(RESET, json={"oldPassword": old}, auth=auth, timeout=30)
    answer.raise_for_status()
    new = answer.json()["newPassword"]
    # Kept first: from now on nobody else knows it.
    keep(new)
    auth.m2m = VzM2mCredentials(user, new)


def main() -> None:
    auth = ThingspaceAuth.from_environment()
    user, old = os.environ["VZ_M2M_USERNAME"], os.environ["VZ_M2M_PASSWORD"]
    change_password(auth, user, old, keep=print)


if __name__ == "__main__":
    main()
