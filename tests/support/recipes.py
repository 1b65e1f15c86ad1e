"""The recipes of the documentation, and what they are to do with both tokens."""

from __future__ import annotations

import base64
import re
from typing import Any, Callable

import pytest

from thingspace_auth_adapters.simulator import ThingspaceSimulator

from .snippets import DOCS, loaded

PATH = "/api/m2m/v1/devices"


def recipe(name: str) -> Any:
    """A recipe as a module; skips the test if one of its libraries is missing."""
    path = DOCS / "recipes" / f"{name}.py"
    for library in re.findall(r"^(?:from|import) ([\w.]+)", path.read_text("utf-8"), re.MULTILINE):
        if not library.startswith("thingspace_auth_adapters"):
            pytest.importorskip(library)
    return loaded(path)


def leaks(simulator: ThingspaceSimulator, shown: str) -> list[str]:
    """Which of the simulator's secrets are shown."""
    pair = f"{simulator.client_id}:{simulator.client_secret}"
    secrets = [
        *simulator.issued_tokens,
        *simulator.issued_sessions,
        simulator.password,
        simulator.client_secret,
        base64.b64encode(pair.encode()).decode(),
    ]
    return [secret for secret in secrets if secret in shown]


def between_losses(simulator: ThingspaceSimulator, send: Callable[[], Any]) -> list[Any]:
    """What comes of three requests; after the first the bearer is lost, then the session."""
    outcomes = []
    for lose in (simulator.revoke, simulator.end_sessions, bool):
        outcomes.append(send())
        lose()
    return outcomes


def assert_both_tokens_are_renewed(simulator: ThingspaceSimulator, send: Callable[[], Any]) -> None:
    between_losses(simulator, send)
    assert_both_tokens_were_renewed(simulator)


def assert_both_tokens_were_renewed(simulator: ThingspaceSimulator) -> None:
    assert [request.status for request in simulator.api_requests] == [200, 401, 200, 400, 200]
    assert len(simulator.issued_tokens) == len(simulator.token_requests) == 2
    assert len(simulator.issued_sessions) == len(simulator.login_requests) == 2
