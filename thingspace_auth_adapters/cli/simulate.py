"""Serving the simulator to other programs: until interrupted, or beside a command."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from shlex import quote
from typing import TYPE_CHECKING, Any, Callable, NamedTuple

import click

from . import variables as names
from .advice import Problem
from .terminal import complain, tell

if TYPE_CHECKING:
    from ..simulator import ThingspaceSimulator

_POLL_SECONDS = 0.1
# As shells have it.
_NOT_FOUND = 127
_NOT_EXECUTABLE = 126
_ENDED_BY_SIGNAL = 128


class Service(NamedTuple):
    """How to serve a simulated ThingSpace."""

    port: int
    token_lifetime: float
    sessions_required: bool
    is_logged: bool

    @contextmanager
    def running(self) -> Generator[ThingspaceSimulator, None, None]:
        """Serve it.

        Raises:
            Problem: the port is not free.
            ImportError: the extra ``[simulator]`` is not installed.
        """
        from ..simulator import ThingspaceSimulator

        simulator = ThingspaceSimulator(
            port=self.port,
            token_lifetime=self.token_lifetime,
            sessions_required=self.sessions_required,
        )
        _start(simulator, self.port)
        try:
            yield simulator
        finally:
            simulator.close()

    def log_of(self, simulator: ThingspaceSimulator) -> _Log:
        """What writes the requests that it answers, if they are wanted."""
        return _Log(simulator if self.is_logged else None)


def serve(service: Service) -> None:
    """Serve a simulated ThingSpace until interrupted. Raises as :meth:`Service.running`."""
    with service.running() as simulator:
        for name, value in _variables(simulator).items():
            tell(f"export {name}={quote(value)}")
        log = service.log_of(simulator)
        with suppress(KeyboardInterrupt):
            what = f"a simulated ThingSpace is served on {simulator.url}: stop it with Ctrl-C"
            click.echo(what, err=True)
            while True:
                time.sleep(_POLL_SECONDS)
                log.tell_new()
    # The terminal has put ^C into the line.
    click.echo("\nthe simulated ThingSpace was stopped", err=True)


def run_beside(service: Service, command: Sequence[str]) -> int:
    """Run a command with the variables that point to a simulated ThingSpace.

    Returns:
        Its exit status, or what a shell makes of a command that cannot be run or was killed.

    Raises:
        Problem, ImportError: as :meth:`Service.running`.
    """
    with service.running() as simulator:
        variables = {**os.environ, **_variables(simulator)}
        # A real one is not for a simulator.
        variables.pop(names.SESSION_TOKEN, None)
        # On Windows this finds what ends with .cmd, too.
        program = shutil.which(command[0]) or command[0]
        with _Signals() as signals:
            try:
                child = subprocess.Popen([program, *command[1:]], env=variables)  # noqa: S603
            except (FileNotFoundError, NotADirectoryError):
                complain("the command to be run was not found", "see that it is on the PATH")
                return _NOT_FOUND
            except OSError as error:
                complain(f"the command to be run could not be started: {error.strerror}")
                return _NOT_EXECUTABLE
            signals.pass_on_to(child)
            status = _status_of(child, service.log_of(simulator))
    return status if status >= 0 else _ENDED_BY_SIGNAL - status


def _status_of(child: subprocess.Popen[bytes], log: _Log) -> int:
    """The exit status of a process, once it has ended."""
    while True:
        with suppress(subprocess.TimeoutExpired):
            status = child.wait(_POLL_SECONDS)
            log.tell_new()
            return status
        log.tell_new()


class _Signals:
    """What becomes of signals while a command runs: it decides when it ends, not this process.

    The terminal itself tells the command of Ctrl-C; other signals are passed on to it. What is
    ignored, as under nohup, is ignored by the command, too.
    """

    def __init__(self) -> None:
        self._early: list[int] = []
        self._send: Callable[[int], object] = self._early.append
        self._usual: dict[int, Any] = {}

    def __enter__(self) -> _Signals:
        # A function, since what this process ignores the command would ignore, too.
        self._handle("SIGINT", lambda number, frame: None)
        for name in ("SIGTERM", "SIGHUP"):
            self._handle(name, lambda number, frame: self._send(number))
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._usual.items():
            signal.signal(number, handler)

    def pass_on_to(self, child: subprocess.Popen[bytes]) -> None:
        """Pass them on, those that came before there was a process, too."""
        self._send = child.send_signal
        for number in self._early:
            child.send_signal(number)

    def _handle(self, name: str, handler: Callable[[int, object], object]) -> None:
        # Windows has no SIGHUP.
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            self._usual[number] = signal.signal(number, handler)


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


def _variables(simulator: ThingspaceSimulator) -> dict[str, str]:
    """What points programs to it."""
    return {
        names.BASE_URL: simulator.url,
        names.CLIENT_ID: simulator.client_id,
        names.CLIENT_SECRET: simulator.client_secret,
        names.USERNAME: simulator.username,
        names.PASSWORD: simulator.password,
    }


class _Log:
    """The requests that were answered, one a line on stderr, each once.

    Args:
        simulator: what answers them; ``None`` if none are to be told.
    """

    def __init__(self, simulator: ThingspaceSimulator | None) -> None:
        self._simulator = simulator
        self._told: set[int] = set()

    def tell_new(self) -> None:
        requests = () if self._simulator is None else self._simulator.requests
        for number, request in enumerate(requests):
            if number not in self._told and request.status is not None:
                self._told.add(number)
                clock = time.strftime("%H:%M:%S", time.localtime(request.at))
                path = request.path.encode("unicode_escape").decode("ascii")
                click.echo(f"{clock} {request.method} {path} {request.status}", err=True)
