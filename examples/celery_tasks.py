"""Tasks for Celery: the workers on all machines share one token and one session through Redis::

    celery --workdir examples --app celery_tasks worker

Five processes without a store can lock the user name: each would try a wrong password once. Here
the broker's Redis serves as the store, too; any other will do. On a single machine a
``FileTokenStore`` is enough.
"""

# mypy: disable-error-code="import-not-found, import-untyped, untyped-decorator"

from __future__ import annotations

import os

import requests
from celery import Celery

from thingspace_auth_adapters.requests import ThingspaceAuth
from thingspace_auth_adapters.stores import RedisTokenStore

BASE_URL = os.environ.get("THINGSPACE_BASE_URL", "https://thingspace.verizon.com")
REDIS_URL = os.environ.get("REDIS_URL", "redis://localhost:6379/0")
AUTH = ThingspaceAuth.from_environment(store=RedisTokenStore(REDIS_URL))

app = Celery("celery_tasks", broker=REDIS_URL, backend=REDIS_URL)


@app.task
def device_status(number: int) -> int:
    url = f"{BASE_URL}/api/m2m/v1/devices/{number}"
    return requests.get(url, auth=AUTH, timeout=30).status_code
