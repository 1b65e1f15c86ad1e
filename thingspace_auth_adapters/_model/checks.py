"""Checks of what users hand over. Messages name the argument and never quote its value."""

from __future__ import annotations

import math
import os
import re
from functools import wraps
from typing import Any, Callable, SupportsFloat, TypeVar, cast

_CONTROL = r"[\x00-\x1f\x7f]"

F = TypeVar("F", bound=Callable[..., Any])


def naming(what: str | None = None) -> Callable[[F], F]:
    """Have what users call fail checks in one frame, under its public name.

    Args:
        what: the name that messages begin with, if they do not say it already.
    """

    def decorate(function: F) -> F:
        @wraps(function)
        def checked(*args: Any, **kwargs: Any) -> Any:
            try:
                return function(*args, **kwargs)
            except (TypeError, ValueError) as error:
                failure = error.with_traceback(None)
                # Crash reporters show this frame.
                del args, kwargs
            if what is not None:
                failure.args = (f"{what}: {failure}",)
            try:
                raise failure from None
            finally:
                del failure

        return cast("F", checked)

    return decorate


def described(value: object) -> str:
    """What a value of the wrong type is, and what to write in its place if that is known."""
    name = type(value).__name__
    if isinstance(value, type):
        return f"the class {value.__name__}: write {value.__name__}(…)"
    if isinstance(value, bytes):
        return "bytes: decode() it"
    if hasattr(value, "get_secret_value"):
        return f"{name}: give what its get_secret_value() returns"
    if hasattr(value, "url") and hasattr(value, "headers"):
        return f"{name}: auth is to be an object, ThingspaceAuth(…), and not the class"
    return name


def identifier(name: str, value: object, forbidden: str = "") -> str:
    """A non-empty string that can be sent.

    Raises:
        TypeError, ValueError: it is none; the message names ``name``.
    """
    if value is None:
        raise TypeError(f"{name} is missing (None): is the setting or variable it comes from set?")
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not {described(value)}")
    if not value.strip():
        raise ValueError(f"{name} must not be empty")
    if re.search(_CONTROL, value):
        raise ValueError(f"{name} holds a line break or control character: strip() it")
    if re.search(r"[\ud800-\udfff]", value):
        raise ValueError(f"{name} is not valid Unicode: was it read with the wrong encoding?")
    if forbidden and forbidden in value:
        raise ValueError(f"{name} must not hold {forbidden!r} (RFC 7617 section 2)")
    return value


def callback(name: str, value: Any, *parameters: str) -> Any:
    """A callable that takes these arguments, or ``None``. Raises :class:`TypeError`."""
    if value is None:
        return None
    if not callable(value):
        raise TypeError(f"{name} must be callable, not {described(value)}")
    # Imported here because only callbacks need it.
    from inspect import signature

    try:
        taken = signature(value)
    except (TypeError, ValueError):
        # Not all that is written in C has one.
        return value
    try:
        taken.bind(*parameters)
    except TypeError:
        wanted = ", ".join(parameters)
        raise TypeError(f"{name} is called with ({wanted}), but takes {taken}") from None
    return value


def optional_str(name: str, value: object) -> str | None:
    """A string or ``None``. Raises :class:`TypeError`."""
    if value is None or isinstance(value, str):
        return value
    raise TypeError(f"{name} must be a str, not {described(value)}")


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
        raise TypeError(f"{name} must be a number of seconds, not {described(value)}")
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
