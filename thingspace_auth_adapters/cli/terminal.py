"""Where the command line reads and writes: results on stdout, all else on stderr.

Whatever is written is printable and free of markup, since servers have a say in it.
"""

from __future__ import annotations

import getpass
import json
import sys

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .._wire.messages import printable

_LABEL_WIDTH = 14


def console(is_error: bool = False) -> Console:
    """A console that takes what it is given literally; plain if its stream is no terminal."""
    return Console(stderr=is_error, markup=False, emoji=False, highlight=False)


def tell(line: str) -> None:
    """Write one line of a command's result, without colour."""
    click.echo(printable(line))


def tell_json(value: object) -> None:
    """Write a command's result for programs."""
    click.echo(json.dumps(value, indent=2))


def tell_entry(label: str, what: str, remedy: str = "", style: str = "") -> None:
    """Write a labelled text, and on a line of its own what to do."""
    out = console()
    rows = [(label, what), ("", remedy)] if remedy else [(label, what)]
    if not out.is_terminal:
        for name, text in rows:
            out.print(f"{name:{_LABEL_WIDTH}}{printable(text)}", soft_wrap=True)
        return
    # A terminal's lines are short: what is wrapped stays beneath its own column.
    grid = Table.grid()
    grid.add_column(width=_LABEL_WIDTH)
    grid.add_column(overflow="fold")
    for name, text in rows:
        grid.add_row(Text(name, style), Text(printable(text)))
    out.print(grid)


def complain(what: str, remedy: str = "") -> None:
    """Write what went wrong in one line, and in another what to do."""
    err = console(is_error=True)
    text = Text.assemble(("thingspace-auth: ", "bold"), _one_line(what))
    for line in (text, Text(f"  {_one_line(remedy)}")) if remedy else (text,):
        # A terminal's lines are wrapped between words.
        err.print(line, soft_wrap=not err.is_terminal)


def is_interactive() -> bool:
    """Whether somebody is there who can be asked."""
    return bool(sys.stdin and sys.stdin.isatty())


def ask_for(what: str) -> str:
    """Ask for something that is shown while it is typed; empty if nothing is."""
    sys.stderr.write(f"{what}: ")
    sys.stderr.flush()
    line = sys.stdin.readline()
    if not line:
        # The cursor is still behind the question.
        sys.stderr.write("\n")
    return line.strip()


def ask_for_secret(what: str) -> str:
    """Ask for something that is not shown while it is typed; empty if nothing is."""
    try:
        return getpass.getpass(f"{what}: ").strip()
    except EOFError:
        # The cursor is still behind the question.
        sys.stderr.write("\n")
        return ""


def ask_for_consent(question: str) -> bool:
    """Ask a question that only a plain yes answers."""
    return ask_for(f"{question} [y/N]").lower() in ("y", "yes")


def _one_line(text: str) -> str:
    return printable(" ".join(text.split()))
