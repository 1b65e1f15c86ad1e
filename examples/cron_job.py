"""A job for cron: each run is a new process, and finds the token and the session of the last one.

That is one token request an hour, and one login for as long as no 20 minutes pass between runs::

    */5 * * * * . "$HOME/thingspace.env" && python3 "$HOME/cron_job.py"

where ``thingspace.env``, which only you can read, exports the credentials. A login that was refused
is not repeated by the next run, so a changed password does not get the account locked. Once the new
one is in the file, the job goes on by itself.
"""

from __future__ import annotations

import os
import sys

import requests

from thingspace_auth_adapters.requests import ThingspaceAuth
from thingspace_auth_adapters.stores import FileTokenStore

BASE_URL = os.environ.get("THINGSPACE_BASE_URL", "https://thingspace.verizon.com")


def main() -> None:
    auth = ThingspaceAuth.from_environment(store=FileTokenStore())
    try:
        response = requests.get(f"{BASE_URL}/api/m2m/v1/devices", auth=auth, timeout=30)
        response.raise_for_status()
    except requests.RequestException as error:
        sys.exit(f"no devices: {error}")
    print(response.status_code)


if __name__ == "__main__":
    main()
