"""The command line, of the extra ``[cli]``.

Nothing outside this folder needs click, python-dotenv or rich.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

_LIBRARIES = ("click", "dotenv", "rich")
_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments (Sequence[str] | None): by default the command line's.

    Returns:
        The exit status: 0 on success, 1 on failure, 2 on a usage error, 130 after Ctrl-C; that
        of the command that ``thingspace-auth simulate`` ran.
    """
    try:
        return _run(arguments)
    except KeyboardInterrupt:
        # It came while the libraries were loaded; later ones are click's to see.
        return _INTERRUPTED


def _run(arguments: Sequence[str] | None) -> int:
    try:
        from .runner import run
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in _LIBRARIES:
            raise
        sys.stderr.write(
            "thingspace-auth: the command line needs click, python-dotenv and rich:"
            " pip install 'thingspace-auth-adapters[cli]'\n"
        )
        return 1
    return run(arguments)
