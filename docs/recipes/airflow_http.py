"""Airflow: HttpHook, HttpOperator, a trigger. The login is the key, the password the secret."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from functools import lru_cache
from typing import Any

import httpx
from airflow.providers.http.hooks.http import HttpHook
from airflow.providers.http.operators.http import HttpOperator
from airflow.sdk import BaseOperator
from airflow.triggers.base import BaseTrigger, TriggerEvent

import thingspace_auth_adapters.httpx
import thingspace_auth_adapters.requests
from thingspace_auth_adapters import VzM2mCredentials
from thingspace_auth_adapters.stores import FileTokenStore

BASE_URL = os.environ.get("THINGSPACE_BASE_URL", "https://thingspace.verizon.com")


def options(key: str, secret: str) -> dict[str, Any]:
    return {
        "oauth_client_id": key,
        "oauth_client_secret": secret,
        "m2m": VzM2mCredentials.from_environment(),
        "base_url": BASE_URL,
        # Each task is a process.
        "store": FileTokenStore(),
    }


# A hook asks for one at each call.
@lru_cache
def thingspace_auth(key: str, secret: str) -> thingspace_auth_adapters.requests.ThingspaceAuth:
    return thingspace_auth_adapters.requests.ThingspaceAuth(**options(key, secret))


def list_devices() -> Any:
    hook = HttpHook("GET", http_conn_id="thingspace", auth_type=thingspace_auth)
    return hook.run("/api/m2m/v1/devices").json()


def list_devices_task() -> HttpOperator:
    return HttpOperator(
        task_id="list_devices",
        http_conn_id="thingspace",
        method="GET",
        endpoint="/api/m2m/v1/devices",
        auth_type=thingspace_auth,
    )


class ThingspaceTrigger(BaseTrigger):
    """A GET that no worker waits for."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return f"{__name__}.ThingspaceTrigger", {"url": self.url}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        auth = thingspace_auth_adapters.httpx.ThingspaceAuth.from_environment(
            store=FileTokenStore()
        )
        async with httpx.AsyncClient(auth=auth, timeout=30) as client:
            response = await client.get(self.url)
        yield TriggerEvent({"status": response.status_code, "text": response.text})


class ThingspaceGet(BaseOperator):
    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(**options)
        self.url = url

    def execute(self, context: Any) -> None:
        self.defer(trigger=ThingspaceTrigger(self.url), method_name="answered")

    def answered(self, context: Any, event: dict[str, Any]) -> str:
        if event["status"] != 200:
            raise RuntimeError(f"{self.url} answered {event['status']}")
        return event["text"]
