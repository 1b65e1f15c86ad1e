"""Answers of endpoints, and what interrupts a caller at a line of the package."""

from __future__ import annotations

import ast
import functools
import json
from collections.abc import Mapping
from pathlib import Path
from types import CodeType
from typing import Any

import thingspace_auth_adapters
from thingspace_auth_adapters._wire.messages import HttpAnswer

from .virtual import token_answer

PACKAGE = str(Path(thingspace_auth_adapters.__file__).parent)


class Interrupt(KeyboardInterrupt):
    """As Ctrl-C, or what kills a greenlet: no :class:`Exception`."""


class TimeLimit(Exception):
    """As RQ's JobTimeoutException and Celery's SoftTimeLimitExceeded: a plain exception."""


INTERRUPTS = (Interrupt, TimeLimit)


def answered(status: int, body: Any = b"", headers: Mapping[str, str] | None = None) -> HttpAnswer:
    """An endpoint's answer; what is no bytes is sent as JSON."""
    answer = HttpAnswer(status, headers or {})
    answer.body += body if isinstance(body, bytes) else json.dumps(body).encode()
    return answer


def token(name: str, seconds: int = 100) -> HttpAnswer:
    """An answer of the token endpoint."""
    return answered(200, token_answer(name, seconds).body)


def with_lines(code: CodeType) -> frozenset[int]:
    """The lines of with statements, which tracing sees again at their end.

    That is no moment at which a signal handler runs.
    """
    return _with_lines_of(code.co_filename)


@functools.lru_cache(None)
def _with_lines_of(path: str) -> frozenset[int]:
    tree = ast.parse(Path(path).read_text(encoding="utf-8"))
    return frozenset(node.lineno for node in ast.walk(tree) if isinstance(node, ast.With))
