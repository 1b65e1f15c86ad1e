"""The command line: what becomes of a command, whatever it is."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from .parser import parser
from .terminal import complain


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments (Sequence[str] | None): by default the command line's.

    Returns:
        0 on success, 1 on failure. Usage errors exit with status 2.
    """
    try:
        _run(arguments)
    except BrokenPipeError:
        _close_output()
    except KeyboardInterrupt:
        complain("interrupted")
    # Each HTTP library has errors of its own, and none is to end in a traceback.
    except Exception as error:
        complain(str(error) or type(error).__name__)
    else:
        return 0
    return 1


def _run(arguments: Sequence[str] | None) -> None:
    try:
        options = parser().parse_args(arguments)
        options.run(options)
    finally:
        # What cannot be written is to fail here rather than at the interpreter's exit.
        sys.stdout.flush()


def _close_output() -> None:
    """Whoever read the output is gone: let the interpreter not fail over that at its exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
