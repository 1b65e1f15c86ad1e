"""Where the command line reads and writes: results on stdout, all else on stderr."""

from __future__ import annotations

import getpass
import sys


def tell(line: str) -> None:
    """Write one line of a command's result."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def complain(text: str) -> None:
    """Write what went wrong, in one line."""
    sys.stderr.write(f"thingspace-auth: {' '.join(text.split())}\n")


def is_interactive() -> bool:
    """Whether somebody is there who can be asked."""
    return bool(sys.stdin and sys.stdin.isatty())


def ask_for_secret(what: str) -> str:
    """Ask for something that is not shown while it is typed; empty if nothing is."""
    try:
        return getpass.getpass(f"{what}: ").strip()
    except EOFError:
        return ""


def ask_for_consent(question: str) -> bool:
    """Ask a question that only a plain yes answers."""
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
