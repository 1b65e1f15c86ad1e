"""What becomes of a command, whatever it is: its exit status, and what is said of a failure."""

from __future__ import annotations

import logging
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager

import click

from .advice import advice_on
from .commands import UnknownCommand, thingspace_auth
from .terminal import complain
from .variables import nearest

_FAILURE = 1
_USAGE = 2
_INTERRUPTED = 130


def run(arguments: Sequence[str] | None) -> int:
    """Run a command; the result is the exit status."""
    _survive_any_encoding()
    if not sys.stdout:
        complain("standard output is closed", "redirect it, to /dev/null for example")
        return _FAILURE
    try:
        with _warnings_shown():
            return _status_of(arguments)
    except click.UsageError as error:
        complain(*_usage(error))
        return _USAGE
    except click.Abort:
        complain("interrupted")
        return _INTERRUPTED
    # Each HTTP library has errors of its own, and none is to end in a traceback.
    except Exception as error:
        advice = advice_on(error)
        complain(advice.what, advice.remedy)
        return _FAILURE


def _status_of(arguments: Sequence[str] | None) -> int:
    try:
        status = thingspace_auth.main(
            arguments,
            prog_name="thingspace-auth",
            standalone_mode=False,
            # What is to be run beside the simulator gets its arguments as they are.
            windows_expand_args=False,
        )
    except SystemExit as end:
        # click and rich, if nobody reads the output; click's shell completion.
        return int(end.code or 0)
    return int(status or 0)


def _usage(error: click.UsageError) -> tuple[str, str]:
    """What is wrong with the arguments, without quoting them: one may be a secret."""
    command = error.ctx.command_path if error.ctx else "thingspace-auth"
    return _usage_problem(error), f"{command} --help says what it takes"


def _usage_problem(error: click.UsageError) -> str:
    if isinstance(error, click.NoSuchOption):
        options = [name for one in _parameters(error) for name in one.opts]
        if error.option_name in _options_of_commands() and error.option_name not in options:
            return "options come after the command"
        return f"there is no such option{nearest(error.option_name, options)}"
    if isinstance(error, UnknownCommand):
        return f"{error.message}{nearest(error.typed, thingspace_auth.commands)}"
    if isinstance(error, click.BadOptionUsage):
        # The option is one of ours, and its value is not quoted.
        return error.message
    if isinstance(error, click.BadParameter) and error.param is not None:
        # The message is ours, since no option has a type of click's own.
        return f"{error.param.opts[0]} {error.message}"
    return "an argument was not expected"


def _options_of_commands() -> set[str]:
    commands = thingspace_auth.commands.values()
    return {name for command in commands for one in command.params for name in one.opts}


def _parameters(error: click.UsageError) -> list[click.Parameter]:
    """What the command takes that an error is about."""
    return error.ctx.command.get_params(error.ctx) if error.ctx else []


@contextmanager
def _warnings_shown() -> Generator[None, None, None]:
    """Show what the package logs as a warning, like every other message."""
    logger, handler = logging.getLogger("thingspace_auth_adapters"), _WarningHandler()
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


class _WarningHandler(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)

    def emit(self, record: logging.LogRecord) -> None:
        complain(f"warning: {record.getMessage()}")


def _survive_any_encoding() -> None:
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")
