"""Checks of what users hand over. Messages name the argument and never quote its value."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, SupportsFloat

_CONTROL = r"[\x00-\x1f\x7f]"


@contextmanager
def naming(what: str) -> Generator[None, None, None]:
    """Begin the messages of failed checks with the public name of what the user called."""
    try:
        yield
    except (TypeError, ValueError) as error:
        error.args = (f"{what}: {error}",)
        raise


def identifier(name: str, value: object, forbidden: str = "") -> str:
    """A non-empty string that can be sent.

    Raises:
        TypeError, ValueError: it is none; the message names ``name``.
    """
    if value is None:
        raise TypeError(f"{name} is missing (None): is the setting or variable it comes from set?")
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not {type(value).__name__}")
    if not value.strip():
        raise ValueError(f"{name} must not be empty")
    if re.search(_CONTROL, value):
        raise ValueError(f"{name} holds a line break or control character: strip() it")
    if re.search(r"[\ud800-\udfff]", value):
        raise ValueError(f"{name} is not valid Unicode: was it read with the wrong encoding?")
    if forbidden and forbidden in value:
        raise ValueError(f"{name} must not hold {forbidden!r} (RFC 7617 section 2)")
    return value


def callback(name: str, value: Any) -> Any:
    """A callable or ``None``. Raises :class:`TypeError`."""
    if value is not None and not callable(value):
        raise TypeError(f"{name} must be callable, not {type(value).__name__}")
    return value


def optional_str(name: str, value: object) -> str | None:
    """A string or ``None``. Raises :class:`TypeError`."""
    if value is None or isinstance(value, str):
        return value
    raise TypeError(f"{name} must be a str, not {type(value).__name__}")


def seconds(name: str, value: object) -> float | None:
    """``value`` as a finite number of seconds; digit strings count, ``None`` stays ``None``.

    Raises:
        TypeError: it is neither a number nor a string.
        ValueError: it is no finite number.
    """
    if value is None:
        return None
    number = None
    if isinstance(value, (str, SupportsFloat)) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        except ValueError:
            number = None
    if number is None:
        raise TypeError(f"{name} must be a number of seconds, not {type(value).__name__}")
    if not math.isfinite(number):
        raise ValueError(f"{name} must be a finite number of seconds")
    # Whole seconds stay whole, as the server gave them.
    return int(number) if isinstance(value, int) else number


def duration(name: str, value: object) -> float:
    """Seconds, zero or more. Raises :class:`TypeError` or :class:`ValueError`."""
    number = seconds(name, value)
    if number is None:
        raise TypeError(f"{name} must be a number of seconds, not None")
    if number < 0:
        raise ValueError(f"{name} must not be negative")
    return number


def positive_duration(name: str, value: object) -> float:
    """Seconds, more than zero. Raises :class:`TypeError` or :class:`ValueError`."""
    number = duration(name, value)
    if number == 0:
        raise ValueError(f"{name} must be more than 0 seconds")
    return number


def variable(name: str) -> str | None:
    """The value of an environment variable, ``None`` if it is missing or empty."""
    return os.environ.get(name, "").strip() or None


def required_variable(name: str) -> str:
    """The value of an environment variable. Raises :class:`ValueError` if it is missing."""
    value = variable(name)
    if value is None:
        raise ValueError(f"the environment variable {name} is missing or empty")
    return value


def seconds_variable(name: str) -> float | None:
    """An environment variable as seconds. Raises :class:`ValueError` if it is no number."""
    try:
        return seconds(name, variable(name))
    except TypeError:
        raise ValueError(f"the environment variable {name} must be a number of seconds") from None
