"""Part 5: the documentation's handlers count what log records carry."""

from __future__ import annotations

import importlib
import logging
from typing import Any

import pytest

from thingspace_auth_adapters import AuthEvent

from ..support.snippets import ROOT, loaded

FETCHED = AuthEvent("fetched", "access token", seconds=0.25, attempt=1)
REJECTED = AuthEvent("rejected", "session token", status_code=400)


def example(name: str, library: str) -> Any:
    """An example as a module; the test is skipped if the library is missing."""
    pytest.importorskip(library)
    return loaded(ROOT / "examples" / f"{name}.py")


def feed(handler: logging.Handler) -> None:
    """Two fetches, an event that took no time, and a record without an event."""
    for fields in ({"auth_event": FETCHED}, {"auth_event": FETCHED}, {"auth_event": REJECTED}, {}):
        handler.handle(logging.makeLogRecord(fields))


def test_prometheus_handler_counts_events_and_their_seconds() -> None:
    module = example("prometheus_handler", "prometheus_client")
    registry = module.CollectorRegistry()
    feed(module.PrometheusHandler(registry))
    labels = {"name": "fetched", "credential": "access token"}
    sample = registry.get_sample_value
    assert sample("thingspace_auth_events_total", labels) == 2
    assert sample("thingspace_auth_event_seconds_sum", labels) == 0.5
    labels = {"name": "rejected", "credential": "session token"}
    assert sample("thingspace_auth_events_total", labels) == 1
    assert sample("thingspace_auth_event_seconds_count", labels) is None


def test_opentelemetry_handler_counts_events_and_their_seconds() -> None:
    module = example("opentelemetry_handler", "opentelemetry.sdk")
    metrics: Any = importlib.import_module("opentelemetry.sdk.metrics")
    reader = importlib.import_module("opentelemetry.sdk.metrics.export").InMemoryMetricReader()
    provider = metrics.MeterProvider([reader])
    feed(module.OpenTelemetryHandler(provider))
    points = {
        (metric.name, point.attributes["name"], point.attributes["credential"]): point
        for metric in reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics
        for point in metric.data.data_points
    }
    provider.shutdown()
    events, duration = "thingspace_auth.events", "thingspace_auth.event.duration"
    assert points.keys() == {
        (events, "fetched", "access token"),
        (events, "rejected", "session token"),
        (duration, "fetched", "access token"),
    }
    assert points[events, "fetched", "access token"].value == 2
    assert points[events, "rejected", "session token"].value == 1
    assert points[duration, "fetched", "access token"].sum == 0.5
