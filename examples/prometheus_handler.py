"""Counts what happens to tokens and sessions, for Prometheus::

logger = logging.getLogger("thingspace_auth_adapters")
logger.setLevel(logging.INFO)
logger.addHandler(PrometheusHandler())
"""

# mypy: disable-error-code="import-not-found"

from __future__ import annotations

import logging

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram

LABELS = ("name", "credential")


class PrometheusHandler(logging.Handler):
    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        super().__init__()
        self.events = Counter("thingspace_auth_events", "Events", LABELS, registry=registry)
        self.seconds = Histogram(
            "thingspace_auth_event_seconds", "How long each took", LABELS, registry=registry
        )

    def emit(self, record: logging.LogRecord) -> None:
        event = getattr(record, "auth_event", None)
        if event is None:
            return
        labels = (event.name, event.credential or "none")
        self.events.labels(*labels).inc()
        if event.seconds is not None:
            self.seconds.labels(*labels).observe(event.seconds)
