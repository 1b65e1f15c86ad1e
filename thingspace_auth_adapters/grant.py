"""The wire of the client credentials grant: builds the requests, reads the answers.

RFC 6749 sections 4.4 and 5, RFC 7009, with ThingSpace's ways. Pure functions and values: nothing
here sends, waits or keeps state. Functions that hold an answer's secrets return what is wrong with
it instead of raising, so that no traceback has a frame with a secret in it.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple, NoReturn
from urllib.parse import quote, quote_plus, urlencode

from .effects import HttpAnswer, HttpRequest
from .errors import InvalidTokenResponseError, OauthProviderError, ThingspaceAuthError
from .tokens import OauthToken, seconds

TOKEN_PATH = "/api/ts/v1/oauth2/token"
REVOCATION_PATH = "/api/ts/v1/oauth2/revoke"

_LONGEST_QUOTE = 300


class TransientFailure(NamedTuple):
    """A failure that may pass.

    Attributes:
        error: what to raise when it does not.
        retry_after: the seconds that the server asked for, if it did.
    """

    error: Exception
    retry_after: float | None = None


class ClientCredentialsGrant(NamedTuple):
    """Who asks, for what, and where."""

    client_id: str
    client_secret: str
    scopes: tuple[str, ...]
    base_url: str
    timeout: float

    def __repr__(self) -> str:
        return f"<ClientCredentialsGrant {self.base_url}>"

    def token_request(self, additional_params: Mapping[str, str] | None) -> HttpRequest:
        """Ask for a token (RFC 6749 section 4.4.2)."""
        form = {"grant_type": "client_credentials"}
        if self.scopes:
            form["scope"] = " ".join(self.scopes)
        form.update(additional_params or {})
        return self._request(TOKEN_PATH, form)

    def revocation_request(self, access_token: str) -> HttpRequest:
        """Ask to revoke one (RFC 7009 section 2.1)."""
        return self._request(REVOCATION_PATH, {"token": access_token})

    def read_token(
        self, answer: HttpAnswer, now: float, confidential: Iterable[str] = ()
    ) -> OauthToken | TransientFailure:
        """The token in an answer that arrived at unix time ``now``.

        ``confidential`` is what of the request, beside the client's secret, no error may quote.

        Raises:
            OauthProviderError: the endpoint refused.
            InvalidTokenResponseError: the answer is no usable token.
        """
        failure = self._failure(answer, "token", now, confidential)
        if failure is not None:
            return failure
        read = _read_token(answer.body, now)
        if isinstance(read, _Flaw):
            self._raise_flaw(answer, read, confidential)
        if read.expires_in is not None and read.expires_in <= 0:
            error = InvalidTokenResponseError("the token endpoint answered an expired token")
            return TransientFailure(error)
        return read

    def read_revocation(
        self, answer: HttpAnswer, now: float, confidential: Iterable[str] = ()
    ) -> TransientFailure | None:
        """``None`` where the revocation was accepted.

        Raises:
            OauthProviderError: the endpoint refused.
            InvalidTokenResponseError: it answered neither acceptance nor refusal.
        """
        return self._failure(answer, "revocation", now, confidential)

    def _failure(
        self, answer: HttpAnswer, name: str, now: float, confidential: Iterable[str]
    ) -> TransientFailure | None:
        if 200 <= answer.status < 300:
            return None
        if answer.status < 400:
            raise InvalidTokenResponseError(
                f"the {name} endpoint answered {answer.status}, which is not followed:"
                " check base_url and the proxy"
            )
        error = self._refusal(answer, f"the {name} endpoint refused", confidential)
        if is_transient(answer.status):
            return TransientFailure(error, retry_after(answer.headers, now))
        raise error

    def _raise_flaw(self, answer: HttpAnswer, flaw: _Flaw, confidential: Iterable[str]) -> NoReturn:
        if flaw.is_refusal:
            raise self._refusal(answer, "the token endpoint refused", confidential)
        raise InvalidTokenResponseError(f"the token endpoint's answer is no token: {flaw.reason}")

    def _refusal(
        self, answer: HttpAnswer, what: str, confidential: Iterable[str]
    ) -> ThingspaceAuthError:
        secrets = (self._basic(), self.client_secret, *confidential)
        fields = _error_fields(answer.body)
        quoted = {name: without(secrets, text) for name, text in fields.items()}
        details = [quoted[name] for name in ("error", "error_description") if name in quoted]
        message = ": ".join([f"{what} (status {answer.status})", *details])
        return OauthProviderError(message, status_code=answer.status, **quoted)

    def _request(self, path: str, form: Mapping[str, str]) -> HttpRequest:
        headers = {
            "Authorization": f"Basic {self._basic()}",
            "Content-Type": "application/x-www-form-urlencoded",
            "Accept": "application/json",
        }
        body = urlencode(form).encode("ascii")
        return HttpRequest(self.base_url + path, headers, body, self.timeout)

    def _basic(self) -> str:
        # ThingSpace wants the plain string, without the percent-encoding of RFC 6749 section 2.3.1.
        return b64encode(f"{self.client_id}:{self.client_secret}".encode()).decode("ascii")


def is_transient(status: int) -> bool:
    """Whether a refusal with this status may pass."""
    return status == 429 or status >= 500


def without(secrets: Iterable[str], text: str) -> str:
    """A server's words, printable and without what the request told it in confidence."""
    for secret in secrets:
        for form in (secret, quote(secret, safe=""), quote_plus(secret)):
            text = text.replace(form, "<hidden>")
    shown = text[:_LONGEST_QUOTE]
    return "".join(char if char.isprintable() else " " for char in shown)


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds from ``now`` that a Retry-After header asks for (RFC 9110 section 10.2.3)."""
    text = headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]{1,9}", text):
        return float(text)
    if not text:
        return None
    # Imported here because it brings the socket module with it on some versions.
    from email.utils import parsedate_to_datetime

    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (TypeError, ValueError, OverflowError):
        return None


class _Flaw(NamedTuple):
    reason: str
    is_refusal: bool = False


def _read_token(body: bytes, now: float) -> OauthToken | _Flaw:
    fields = json_object(body)
    if fields is None:
        return _Flaw("it is no JSON object")
    if "access_token" not in fields:
        return _Flaw("access_token is missing", is_refusal="error" in fields)
    try:
        return _token(fields, now)
    except (TypeError, ValueError) as error:
        return _Flaw(str(error))


def _token(fields: Mapping[str, Any], now: float) -> OauthToken:
    expires_in = seconds("expires_in", fields.get("expires_in"))
    scope, refresh_token = fields.get("scope"), fields.get("refresh_token")
    return OauthToken(
        access_token=fields["access_token"],
        token_type=fields.get("token_type"),
        expires_in=expires_in,
        scope=" ".join(scope.split()) if isinstance(scope, str) else None,
        expiry=None if expires_in is None else now + expires_in,
        refresh_token=refresh_token if isinstance(refresh_token, str) else None,
    )


def _error_fields(body: bytes) -> dict[str, str]:
    fields: dict[str, Any] = json_object(body) or {}
    fault: Any = fields.get("fault")
    if isinstance(fault, dict):
        fields = {"error": str(fault.get("code")), "error_description": fault.get("message")}
    names = ("error", "error_description", "error_uri")
    return {name: fields[name] for name in names if isinstance(fields.get(name), str)}


def json_object(body: bytes) -> dict[str, Any] | None:
    """The JSON object in ``body``, or ``None`` where there is none, whatever the bytes."""
    # Not all that calls itself JSON is UTF-8, as RFC 8259 section 8.1 would have it.
    for text in (body, body.decode("latin-1")):
        with suppress(ValueError, RecursionError):
            value = json.loads(text)
            return value if isinstance(value, dict) else None
    return None
