"""A stand-in for ThingSpace's APIs: it tells what it was sent, or fails as it is asked to."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from typing import Callable

from werkzeug.exceptions import BadRequest, abort
from werkzeug.wrappers import Request, Response

from .answers import json_answer
from .guard import Guard
from .refusals import REFUSALS

Pause = Callable[[float], None]

_PATTERN = bytes(range(256)) * 256


class ApiEndpoint:
    """Answers every path and method, if the bearer is valid and the session not dead.

    Args:
        guard: decides which bearers are valid, and which sessions.
        pause: waits for so many seconds.
    """

    def __init__(self, guard: Guard, pause: Pause) -> None:
        self._guard = guard
        self._pause = pause

    def answer(self, request: Request) -> Response:
        """The answer to a request; a refusal is raised as an ``HTTPException``."""
        self._pause(_seconds(request, "delay"))
        _refuse_if_asked(request)
        token_number = self._guard.token_number(request)
        session_number = self._guard.session_number(request)
        if "redirect" in request.args:
            return _redirect(request)
        size = _whole(request, "bytes", 0, 2**62)
        if size is not None:
            return _stream(size)
        return _echo(request, token_number, session_number)


def _refuse_if_asked(request: Request) -> None:
    word = request.args.get("refuse")
    if word is None:
        return
    if word not in REFUSALS:
        raise BadRequest(f"refuse must be one of {', '.join(REFUSALS)}")
    abort(REFUSALS[word](request.path))


def _redirect(request: Request) -> Response:
    code = _whole(request, "code", 300, 399) or 302
    return Response(status=code, headers={"Location": request.args["redirect"]})


def _stream(size: int) -> Response:
    headers = {"Content-Length": str(size)}
    return Response(_pattern(size), 200, headers, mimetype="application/octet-stream")


def _pattern(size: int) -> Iterator[bytes]:
    for start in range(0, size, len(_PATTERN)):
        yield _PATTERN[: size - start]


def _echo(request: Request, token_number: int, session_number: int | None) -> Response:
    body = request.get_data()
    content = {
        "method": request.method,
        "path": request.path,
        "query": request.args.to_dict(),
        "body_length": len(body),
        "body_sha256": hashlib.sha256(body).hexdigest(),
        "token_number": token_number,
        "session_number": session_number,
    }
    return json_answer(_whole(request, "status", 200, 599) or 200, content)


def _whole(request: Request, name: str, lowest: int, highest: int) -> int | None:
    text = request.args.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and lowest <= int(text) <= highest):
        raise BadRequest(f"{name} must be a number from {lowest} to {highest}")
    return int(text)


def _seconds(request: Request, name: str) -> float:
    try:
        seconds = float(request.args.get(name, "0"))
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds >= 0):
        raise BadRequest(f"{name} must be a number of seconds")
    return seconds
