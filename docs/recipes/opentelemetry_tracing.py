"""Spans for requests and httpx, those for tokens included, and no token in any of them."""

from __future__ import annotations

import os

import requests
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.instrumentation.requests import RequestsInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

from thingspace_auth_adapters.requests import ThingspaceAuth

BASE_URL = os.environ.get("THINGSPACE_BASE_URL", "https://thingspace.verizon.com")


def instrument(provider: TracerProvider) -> None:
    RequestsInstrumentor().instrument(tracer_provider=provider)
    HTTPXClientInstrumentor().instrument(tracer_provider=provider)


def main() -> None:
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(ConsoleSpanExporter()))
    instrument(provider)
    auth = ThingspaceAuth.from_environment()
    print(requests.get(f"{BASE_URL}/api/m2m/v1/devices", auth=auth, timeout=30).status_code)
    provider.shutdown()


if __name__ == "__main__":
    main()
