"""Helpers for tests that take a generator's steps one by one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from thingspace_auth_adapters._wire.messages import HttpAnswer

from .virtual import token_answer


def answered(status: int, body: Any = b"", headers: Mapping[str, str] | None = None) -> HttpAnswer:
    """An endpoint's answer; what is no bytes is sent as JSON."""
    answer = HttpAnswer(status, headers or {})
    answer.body += body if isinstance(body, bytes) else json.dumps(body).encode()
    return answer


def token(name: str, seconds: int = 100) -> HttpAnswer:
    """An answer of the token endpoint."""
    return answered(200, token_answer(name, seconds).body)


def end(steps: Any, value: Any = None) -> Any:
    """What the steps return when they are sent ``value``."""
    with pytest.raises(StopIteration) as caught:
        steps.send(value)
    return caught.value.value
