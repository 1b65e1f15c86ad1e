"""Serving the simulator to other programs, until interrupted."""

from __future__ import annotations

import errno
import time
from shlex import quote
from typing import TYPE_CHECKING

import click

from . import environment as names
from .advice import Problem
from .terminal import tell

if TYPE_CHECKING:
    from ..simulator import ThingspaceSimulator

_POLL_SECONDS = 0.1


def serve(port: int, token_lifetime: float, sessions_required: bool, is_logged: bool) -> None:
    """Serve a simulated ThingSpace until interrupted.

    Raises:
        Problem: the port is not free.
        ImportError: the extra ``[simulator]`` is not installed.
    """
    from ..simulator import ThingspaceSimulator

    simulator = ThingspaceSimulator(
        port=port, token_lifetime=token_lifetime, sessions_required=sessions_required
    )
    _start(simulator, port)
    try:
        _tell_variables(simulator)
        what = f"a simulated ThingSpace is served on {simulator.url}: stop it with Ctrl-C"
        click.echo(what, err=True)
        log = _Log(simulator)
        while True:
            time.sleep(_POLL_SECONDS)
            if is_logged:
                log.tell_new()
    finally:
        simulator.close()


def _start(simulator: ThingspaceSimulator, port: int) -> None:
    try:
        simulator.start()
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise
        what = "is not free" if error.errno == errno.EADDRINUSE else "is not for every user"
        raise Problem(
            f"port {port} of 127.0.0.1 {what}", "name another --port, or none for any free one"
        ) from None


def _tell_variables(simulator: ThingspaceSimulator) -> None:
    for name, value in (
        (names.BASE_URL, simulator.url),
        (names.CLIENT_ID, simulator.client_id),
        (names.CLIENT_SECRET, simulator.client_secret),
        (names.USERNAME, simulator.username),
        (names.PASSWORD, simulator.password),
    ):
        tell(f"export {name}={quote(value)}")


class _Log:
    """The requests that were answered, one a line on stderr, each once."""

    def __init__(self, simulator: ThingspaceSimulator) -> None:
        self._simulator = simulator
        self._told: set[int] = set()

    def tell_new(self) -> None:
        for number, request in enumerate(self._simulator.requests):
            if number not in self._told and request.status is not None:
                self._told.add(number)
                clock = time.strftime("%H:%M:%S", time.localtime(request.at))
                path = request.path.encode("unicode_escape").decode("ascii")
                click.echo(f"{clock} {request.method} {path} {request.status}", err=True)
