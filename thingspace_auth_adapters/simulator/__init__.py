"""A ThingSpace for tests: OAuth, M2M sessions and a sample API, served on a loopback port.

Needs werkzeug, which the extra ``[simulator]`` installs. It shares no code with the adapters, so
that a mistake in one of them cannot hide behind the same mistake in the other.
"""

from __future__ import annotations

try:
    from .server import ThingspaceSimulator
except ModuleNotFoundError as missing:
    if (missing.name or "").partition(".")[0] != "werkzeug":
        raise
    raise ImportError(
        "the simulator needs werkzeug: pip install 'thingspace-auth-adapters[simulator]'",
        name="werkzeug",
    ) from missing
from .log import SimulatedRequest

__all__ = ["SimulatedRequest", "ThingspaceSimulator"]
