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
    """A token provider made a request that waits for what that provider is to return."""
