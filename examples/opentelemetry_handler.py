"""Counts what happens to tokens and sessions, as metrics of OpenTelemetry.

``logging.getLogger("thingspace_auth_adapters").addHandler(OpenTelemetryHandler())`` attaches it.
"""

# mypy: disable-error-code="import-not-found"

from __future__ import annotations

import logging

from opentelemetry.metrics import MeterProvider, get_meter


class OpenTelemetryHandler(logging.Handler):
    def __init__(self, meter_provider: MeterProvider | None = None) -> None:
        super().__init__()
        meter = get_meter("thingspace_auth_adapters", meter_provider=meter_provider)
        self.events = meter.create_counter("thingspace_auth.events")
        self.seconds = meter.create_histogram("thingspace_auth.event.duration", unit="s")

    def emit(self, record: logging.LogRecord) -> None:
        event = getattr(record, "auth_event", None)
        if event is None:
            return
        attributes = {"name": event.name, "credential": event.credential}
        self.events.add(1, attributes)
        if event.seconds is not None:
            self.seconds.record(event.seconds, attributes)
