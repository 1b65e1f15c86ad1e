"""Counts what happens to tokens and sessions, for Prometheus.

``logging.getLogger("thingspace_auth_adapters").addHandler(PrometheusHandler())`` attaches it.
"""

# mypy: disable-error-code="import-not-found"

from __future__ import annotations

import logging

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram

LABELS = ("name", "credential")


class PrometheusHandler(logging.Handler):
    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        super().__init__()
        name = "thingspace_auth_event"
        self.events = Counter(f"{name}s", "Events", LABELS, registry=registry)
        self.seconds = Histogram(f"{name}_seconds", "Durations", LABELS, registry=registry)

    def emit(self, record: logging.LogRecord) -> None:
        event = getattr(record, "auth_event", None)
        if event is None:
            return
        labels = (event.name, event.credential)
        self.events.labels(*labels).inc()
        if event.seconds is not None:
            self.seconds.labels(*labels).observe(event.seconds)
