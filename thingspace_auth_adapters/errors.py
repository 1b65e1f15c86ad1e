"""The errors that this package raises at run time.

Each adapter raises subclasses of these that are also its HTTP library's own errors
(``requests.exceptions.RequestException``, ``httpx.RequestError``), so that handlers written
before the adapter came catch them.
"""

from __future__ import annotations

import re
from typing import Any


class ThingspaceAuthError(Exception):
    """The base of every error that this package raises at run time.

    Attributes:
        retryable (bool): whether the same may succeed if it is tried again later.
    """

    retryable: bool = False

    def __init__(self, message: str, **attributes: object) -> None:
        super().__init__(message)
        vars(self).update(attributes)


class OauthProviderError(ThingspaceAuthError):
    """The token or revocation endpoint refused (RFC 6749 section 5.2).

    Attributes:
        status_code (int | None): the HTTP status of the refusal.
        error (str | None): the error code, for example ``invalid_client``.
        error_description (str | None): the server's words on it.
        error_uri (str | None): a page about it.
        summary (str | None): the message without the key, the host and how to go on.
    """

    status_code: int | None = None
    error: str | None = None
    error_description: str | None = None
    error_uri: str | None = None
    summary: str | None = None


class InvalidTokenResponseError(ThingspaceAuthError):
    """The token endpoint answered something that is no usable token.

    Attributes:
        is_expired (bool): whether it is a token, but one that has expired.
    """

    retryable = True
    is_expired: bool = False


class InsecureTransportError(ThingspaceAuthError):
    """A request to an allowed host would have gone over plain http; nothing was sent."""


class ReentrantRequestError(ThingspaceAuthError):
    """A request would wait for a token that only the waiting code itself can bring.

    A provider made a request that needs what that provider is to return, or a synchronous request
    on an event loop's own thread would wait for an ``async def`` callback on that loop.
    """


class M2mLoginError(ThingspaceAuthError):
    """There is no M2M session: a login or a logout was refused, or no login is risked any more.

    Five failed logins in a row lock a user name. So a refused password is not tried again; and
    after two failures in a row none is tried for five minutes, after three for an hour, after four
    none at all. ``auth.allow_login()`` forgets the count.

    Attributes:
        status_code (int | None): the HTTP status of the refusal; ``None`` if no answer was one.
        error_code (str | None): the platform's ``errorCode``.
        error_message (str | None): its ``errorMessage``.
        refused_at (float | None): unix timestamp of the refusal; ``None`` if there was none.
        may_have_counted (bool): whether a login was answered that may count as a failed one.
        summary (str | None): the message without how to go on; ``None`` if it does not say that.
    """

    status_code: int | None = None
    error_code: str | None = None
    error_message: str | None = None
    refused_at: float | None = None
    may_have_counted: bool = False
    summary: str | None = None

    @property
    def is_locked(self) -> bool:
        """Whether the platform says that the account is locked."""
        # No page of Verizon's names the code.
        words = rf"{self.error_code} {self.error_message}"
        return re.search(r"(?i:\blocked\b)|[a-z]Locked(?![a-z])|_LOCKED\b", words) is not None


class InsecureStoreError(ThingspaceAuthError):
    """Others can read or change what a store holds: nothing was read from it.

    A directory or a file of a ``FileTokenStore`` has permissions for others, belongs to another
    user, is a symbolic link, or is neither a directory nor a regular file.
    """


def native_errors(
    library_error: type[Exception], module: str
) -> dict[type[ThingspaceAuthError], type[ThingspaceAuthError]]:
    """Subclasses of our errors that are also an HTTP library's own.

    Args:
        library_error: what the library's errors are.
        module: where they are to be found, so that they can be pickled.
    """
    found: dict[type[ThingspaceAuthError], type[ThingspaceAuthError]] = {}
    for ours in (
        OauthProviderError,
        InvalidTokenResponseError,
        InsecureTransportError,
        M2mLoginError,
        InsecureStoreError,
    ):
        attributes = {"__module__": module, "__doc__": ours.__doc__}
        native: Any = type(ours.__name__, (ours, library_error), attributes)
        found[ours] = native
    return found
