"""Files of ``NAME=value`` lines, as python-dotenv reads them; whatever is doubtful is refused."""

from __future__ import annotations

import io
import os
import re
import stat
from collections.abc import Iterable
from shlex import quote
from typing import IO

from dotenv.parser import Binding, parse_stream

from .advice import Problem
from .terminal import complain
from .variables import NAMES, nearest

_ACCESS_OF_OTHERS = {
    "read": stat.S_IRGRP | stat.S_IROTH,
    "change": stat.S_IWGRP | stat.S_IWOTH,
}
_OURS = r"(?:THINGSPACE_|VZ_M2M_)"
_TYPOGRAPHIC_QUOTES = tuple("\u201c\u201d\u201e\u2018\u2019\u201a")
# What python-dotenv replaces within quotes and shells do not.
_OTHER_ESCAPES = r"""'[^']*\\[\\']|"(?:\\.|[^\\])*?\\['abfnrtv]"""
_NEWLINE = r"\r\n|\n|\r"


def read_env_file(path: str) -> dict[str, str]:
    """The variables in a file; nothing in them is replaced by the values of others.

    A file that others can read or change is warned of.

    Raises:
        Problem: it cannot be read, or a line is doubtful; the message never quotes the line.
    """
    try:
        with open(path, "rb") as file:
            _warn_of_others(path, file)
            content = file.read()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no file name"
        raise Problem(
            f"{path!r} cannot be read: {reason}", "give --env-file a file of NAME=value lines"
        ) from None
    bindings = parse_stream(io.StringIO(_decoded(path, content), newline=""))
    return dict(_checked(path, bindings))


def _warn_of_others(path: str, file: IO[bytes]) -> None:
    mode = os.fstat(file.fileno()).st_mode
    can = " and ".join(verb for verb, bits in _ACCESS_OF_OTHERS.items() if mode & bits)
    if os.name == "posix" and can:
        complain(f"warning: other users can {can} {path}", f"chmod 600 {quote(path)}")


def _decoded(path: str, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("latin-1")
        raise _doubtful(path, 1 + _lines_in(before), "is not UTF-8") from None


def _checked(path: str, bindings: Iterable[Binding]) -> Iterable[tuple[str, str]]:
    for binding in bindings:
        objection = _objection(binding)
        if objection is not None:
            raise _doubtful(path, _line_of(binding), objection)
        if binding.key is not None:
            _warn_of_unread(path, binding, binding.key)
            yield binding.key, binding.value or ""


def _warn_of_unread(path: str, binding: Binding, name: str) -> None:
    """Tell of a name that looks like one of ours; it is not quoted, since it may be a secret."""
    if re.match(_OURS, name) and name not in NAMES:
        where = f"line {_line_of(binding)} of {path}"
        complain(f"warning: {where} sets a variable that nothing reads{nearest(name, NAMES)}")


def _objection(binding: Binding) -> str | None:
    """Why nobody can be sure what a statement means, or ``None``."""
    name, value = binding.key, binding.value
    if binding.error:
        return "cannot be understood: is it NAME=value, with the quotes closed?"
    if name is None:
        return None
    if value is None:
        return "has a name without ="
    if "${" in value:
        return "has ${ in its value, which is not replaced here: write the value itself"
    # What other programs' variables mean is their affair, if none of ours follows on the line.
    if re.match(_OURS, name) or re.search(rf"\b{_OURS}\w*=", value):
        return _doubt(binding.original.string.partition("=")[2].lstrip(), value)
    return None


def _doubt(written: str, value: str) -> str | None:
    """Why a shell, or a reader, may take another value for the one that python-dotenv reads.

    Args:
        written: what stands behind the equals sign.
        value: what python-dotenv reads.
    """
    if written.startswith("#"):
        return "has a comment where its value should be: put the value into quotes"
    if written.startswith(_TYPOGRAPHIC_QUOTES):
        return "has a value in typographic quotation marks: write ' for them"
    if not written.startswith("'") and re.search(r"[$`]", value):
        return "has $ or ` in its value, which shells replace: put the value into single quotes"
    if re.match(_OTHER_ESCAPES, written):
        return "has a backslash that shells read in another way: use the other kind of quotes"
    if not written.startswith(("'", '"')) and re.search(r"[\s;\\\"']", value):
        return "has a value that shells read in another way: put the value into quotes"
    return None


def _line_of(binding: Binding) -> int:
    """The line of a statement: before it python-dotenv counts blank lines in."""
    text = binding.original.string
    blank = text[: len(text) - len(text.lstrip())]
    return binding.original.line + _lines_in(blank)


def _lines_in(text: str) -> int:
    return len(re.findall(_NEWLINE, text))


def _doubtful(path: str, number: int, objection: str) -> Problem:
    return Problem(f"line {number} of {path} {objection}", "correct the line")
