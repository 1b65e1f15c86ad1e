"""The errors that this package raises at run time.

Each adapter raises subclasses of these that are also its HTTP library's own errors
(``requests.exceptions.RequestException``, ``httpx.RequestError``), so that handlers written
before the adapter came catch them.
"""

from __future__ import annotations


class ThingspaceAuthError(Exception):
    """The base of every error that this package raises at run time."""


class OauthProviderError(ThingspaceAuthError):
    """The token or revocation endpoint refused (RFC 6749 section 5.2).

    Attributes:
        status_code (int | None): the HTTP status of the refusal.
        error (str | None): the error code, for example ``invalid_client``.
        error_description (str | None): the server's words on it.
        error_uri (str | None): a page about it.
    """

    def __init__(
        self,
        message: str,
        *,
        status_code: int | None = None,
        error: str | None = None,
        error_description: str | None = None,
        error_uri: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.error = error
        self.error_description = error_description
        self.error_uri = error_uri


class InvalidTokenResponseError(ThingspaceAuthError):
    """The token endpoint answered something that is no usable token."""


class InsecureTransportError(ThingspaceAuthError):
    """A request to an allowed host would have gone over plain http; nothing was sent."""


class ReentrantRequestError(ThingspaceAuthError):
    """A provider made a request that waits for what that provider is to return."""


class M2mLoginError(ThingspaceAuthError):
    """There is no M2M session to be had: a login, or a logout, was refused or is not risked.

    Five failed logins in a row lock an account, so after a refused one none is tried again, and
    none after two in a row of unknown outcome, until ``auth.m2m`` is assigned.

    Attributes:
        status_code (int | None): the HTTP status of the refusal; ``None`` where no answer was one.
        error_code (str | None): the platform's ``errorCode``.
        error_message (str | None): its ``errorMessage``.
    """

    def __init__(
        self,
        message: str,
        *,
        status_code: int | None = None,
        error_code: str | None = None,
        error_message: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.error_code = error_code
        self.error_message = error_message


class InsecureStoreError(ThingspaceAuthError):
    """A store's file can be read or changed by others: nothing was read from it."""
