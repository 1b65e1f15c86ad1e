"""A request and what its answer rejects, whatever the library."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, MutableMapping
from typing import Any

from .._core.lifecycle import Lifecycle
from .._core.refresh import Caller
from .._core.tokens import Sources
from .._model.checks import described
from .._model.events import AuthEvent, logger
from .._model.hosts import Origin, is_absolute, origin_of
from .._wire.rejection import Credential


class Outgoing:
    """A request, whatever the library.

    Args:
        origin: where it goes; ``None`` if two parsers might disagree on that.
        location: its URL or path.
        method: its method.
        headers: its headers, looked up without regard to case.
        key: what of its URL determines where it goes.
    """

    __slots__ = ("headers", "key", "location", "method", "origin")

    def __init__(
        self,
        origin: Origin | None,
        location: str,
        method: str,
        headers: MutableMapping[str, Any],
        key: Hashable,
    ) -> None:
        self.origin = origin
        self.location = location
        self.method = method
        self.headers = headers
        self.key = key

    def __repr__(self) -> str:
        return f"<Outgoing {self.method} to {self.origin}>"


def to_url(url: str, headers: dict[str, Any], method: str = "") -> Outgoing:
    """A request of a client without an adapter.

    Raises:
        TypeError: its method is no text.
        ValueError: its URL has no scheme or no host.
    """
    outgoing = Outgoing(None, url, method, headers, None)
    # This frame is in the traceback of an error.
    del headers
    _check("method", method, str, "a str")
    if not isinstance(url, str) or not is_absolute(url):
        raise ValueError("url must have a scheme and a host, like https://thingspace.verizon.com/…")
    outgoing.origin = outgoing.key = origin_of(url)
    return outgoing


def to_answer(
    status: int, headers: Mapping[str, Any], body: bytes
) -> tuple[int, dict[str, Any], bytes]:
    """An answer to such a request. Raises :class:`TypeError`."""
    _check("status", status, int, "an int")
    _check("body", body, (bytes, bytearray), "bytes")
    return status, lower("headers", headers), body


def lower(name: str, headers: Mapping[str, Any]) -> dict[str, Any]:
    """The headers by lower-case names. Raises :class:`TypeError` that names the argument."""
    if hasattr(headers, "items"):
        return {key.lower(): value for key, value in headers.items()}
    found = described(headers)
    # This frame is in the traceback.
    del headers
    raise TypeError(f"{name} must be a dict, not {found}")


def _check(name: str, value: object, wanted: type | tuple[type, ...], noun: str) -> None:
    if not isinstance(value, wanted):
        raise TypeError(f"{name} must be {noun}, not {described(value)}")


class Case:
    """What an answer rejects.

    Args:
        sent: the request.
        carried: the names of the headers of ours that it carried, and where their values came from.
        rejected: the one of these that is blamed.
        is_certain: whether the answer says so.
        status_code: of the answer.
        objection: why the request is not to be repeated, if so.

    Attributes:
        credential: what the blamed header carries.
        value: what it carried.
    """

    def __init__(
        self,
        sent: Outgoing,
        carried: Sources,
        rejected: tuple[str, Lifecycle[Any]],
        is_certain: bool,
        status_code: int,
        objection: str | None,
    ) -> None:
        self.sent = sent
        self.carried = carried
        self.name, self.lifecycle = rejected
        self.is_certain = is_certain
        self.status_code = status_code
        self.objection = objection
        self.credential = self.lifecycle.source.credential
        self.value = str(sent.headers[self.name.lower()])
        certainty, what = "certain" if is_certain else "suspected", self.credential.value
        event = AuthEvent("rejected", what, status_code=status_code, reason=certainty)
        logger.info("the %s was rejected (%s)", what, certainty, extra={"auth_event": event})

    def may_be_replaced(self, caller: Caller) -> bool:
        """Have a caller ask for another one than what is rejected; whether that may help."""
        is_suspicion = self.credential is Credential.SESSION and not self.is_certain
        lifecycle = self.lifecycle
        return (
            lifecycle.suspect(self.value, caller) if is_suspicion else lifecycle.reject(self.value)
        )

    def log_repeat(self, objection: str | None = None) -> None:
        """Log that the request is repeated, or what keeps it from that."""
        credential = self.credential.value
        name = "repeated" if objection is None else "not_repeated"
        event = AuthEvent(name, credential, status_code=self.status_code, reason=objection)
        consequence = "repeated" if objection is None else f"not repeated, since {objection}"
        message = "the request with the rejected %s is %s"
        logger.info(message, credential, consequence, extra={"auth_event": event})
