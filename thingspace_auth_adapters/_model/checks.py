"""Checks of what users hand over. Messages name the argument and never quote its value."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Collection, Iterable
from functools import wraps
from types import TracebackType
from typing import Any, Callable, Generic, NoReturn, SupportsFloat, TypeVar, cast

_CONTROL = r"[\x00-\x1f\x7f]"
_OF_THE_LIBRARY = (
    *("cert", "client", "client_options", "http2", "limits", "max_retries", "mounts", "proxies"),
    *("proxy", "session", "transport", "trust_env", "verify"),
)
_OF_THE_ACCOUNT = ("password", "session_token", "user", "username", "vz_m2m_token")
_PACKAGE = __name__.partition(".")[0] + "."

# As inspect names the flags of code; it takes long to import.
_CO_VARARGS, _CO_VARKEYWORDS = 4, 8

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


class Hidden(Generic[T]):
    """A value that no frame of ours shows: crash reporters print local variables."""

    __slots__ = ("value",)

    def __init__(self, value: T) -> None:
        self.value = value


def naming(what: str | None = None) -> Callable[[F], F]:
    """Have what users call fail checks in one frame of ours, under its public name.

    Arguments that it does not take are such failures, too.

    Args:
        what: the name that messages begin with.
    """

    def decorate(function: F) -> F:
        code = function.__code__
        # Without self or cls, and in the order in which hints prefer them.
        known = code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount]
        names = frozenset(known)
        most = None if code.co_flags & _CO_VARARGS else code.co_argcount
        takes_any_name = bool(code.co_flags & _CO_VARKEYWORDS)

        @wraps(function)
        def checked(*args: Any, **kwargs: Any) -> Any:
            try:
                if not (takes_any_name or kwargs.keys() <= names):
                    refuse_unknown(kwargs, known)
                if most is not None and len(args) > most:
                    raise TypeError(
                        f"an argument too many is given: {described_request(args[most])}"
                    )
                return function(*args, **kwargs)
            except (TypeError, ValueError) as error:
                failure = error.with_traceback(_beyond_ours(error.__traceback__))
            finally:
                # Crash reporters show this frame.
                del args, kwargs
            if what is not None and not str(failure).startswith(what):
                failure.args = (f"{what}: {failure}",)
            try:
                raise failure
            finally:
                del failure

        return cast("F", checked)

    return decorate


def _beyond_ours(traceback: TracebackType | None) -> TracebackType | None:
    """The rest of a traceback from the first frame of the user's own code on, if there is any."""
    while traceback is not None and traceback.tb_frame.f_globals.get("__name__", "").startswith(
        _PACKAGE
    ):
        traceback = traceback.tb_next
    return traceback


def refuse_unknown(given: Iterable[str], known: Collection[str]) -> NoReturn:
    """Raise :class:`TypeError` for the name that is not known, with what was likely meant."""
    name = next(one for one in given if one not in known)
    raise TypeError(f"there is no argument {name!r}{_hint(name, known)}")


def _hint(name: str, known: Collection[str]) -> str:
    for_calls = [one for one in ("session", "client_options") if one in known]
    if name in _OF_THE_LIBRARY and for_calls:
        return f": see {for_calls[0]}, which says how the endpoints are called"
    if name in _OF_THE_ACCOUNT and "m2m" in known:
        return ": did you mean m2m=VzM2mCredentials(username, password)?"
    # Imported here because only mistakes need it.
    from difflib import get_close_matches

    # How a word of a longer name begins; "key" is ThingSpace's own.
    begin = "client_id" if name == "key" else name
    words = [one for one in known if len(begin) > 1 and f"_{begin}" in f"_{one}"]
    close = words or get_close_matches(name, known, 1)
    return f": did you mean {close[0]!r}?" if close else ""


def described(value: object) -> str:
    """What a value of the wrong type is, and what to write in its place if that is known."""
    name = type(value).__name__
    if isinstance(value, type):
        return f"the class {value.__name__}: write {value.__name__}(…)"
    if isinstance(value, bytes):
        return "bytes: decode() it"
    return name


def described_request(value: object) -> str:
    """The same where a request may be, since the class was given in the place of an object."""
    is_request = hasattr(value, "url") and hasattr(value, "headers")
    hint = ": auth is to be an object, such as ThingspaceAuth(…) makes" if is_request else ""
    return described(value) + hint


def identifier(name: str, value: object, forbidden: str = "") -> str:
    """A non-empty string that can be sent.

    Raises:
        TypeError, ValueError: it is none; the message names ``name``.
    """
    if value is None:
        raise TypeError(f"{name} is missing (None): is the setting or variable it comes from set?")
    if not isinstance(value, str):
        is_wrapped = callable(getattr(value, "get_secret_value", None))
        hint = ": give what its get_secret_value() returns" if is_wrapped else ""
        raise TypeError(f"{name} must be a str, not {described(value)}{hint}")
    if not value.strip():
        raise ValueError(f"{name} must not be empty")
    if re.search(_CONTROL, value):
        raise ValueError(f"{name} holds a line break or control character: strip() it")
    if re.search(r"[\ud800-\udfff]", value):
        raise ValueError(f"{name} is not valid Unicode: was it read with the wrong encoding?")
    if forbidden and forbidden in value:
        raise ValueError(f"{name} must not hold {forbidden!r} (RFC 7617 section 2)")
    return value


def shown(value: object, secret: object) -> str:
    """A ``repr``, unless it holds a secret: both may have been pasted into one field."""
    is_held = isinstance(secret, str) and bool(secret) and secret in str(value)
    return "<hidden>" if is_held else repr(value)


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
        # Their defaults may be secrets.
        bare = [
            one.replace(default=one.empty, annotation=one.empty)
            for one in taken.parameters.values()
        ]
        takes = taken.replace(parameters=bare, return_annotation=taken.empty)
        wanted = ", ".join(parameters)
        raise TypeError(f"{name} is called with ({wanted}), but takes {takes}") from None
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
        except (TypeError, ValueError):
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
