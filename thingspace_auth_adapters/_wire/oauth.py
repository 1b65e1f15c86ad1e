"""The wire of the client credentials grant: builds the requests, reads the answers.

RFC 6749 sections 4.4 and 5, RFC 7009, with ThingSpace's ways. Pure functions and values: nothing
here sends, waits or keeps state, and errors are returned, so that no traceback leads here.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from .._model.checks import seconds
from .._model.settings import Settings
from .._model.tokens import OauthToken
from ..errors import InvalidTokenResponseError, OauthProviderError
from .messages import (
    COMMON_HEADERS,
    REVOCATION_PATH,
    TOKEN_PATH,
    HttpAnswer,
    HttpRequest,
    Refused,
    error_fields,
    json_object,
    quoted,
    retry_after,
)

_SHORTEST_SECRET = 8


class ClientCredentialsGrant:
    """Who asks, for what, and where.

    Args:
        settings: those of the auth object.
    """

    def __init__(self, settings: Settings) -> None:
        self._base_url = settings.base_url
        self._scopes = settings.scopes
        self._client_id = settings.client_id
        self._client_secret = settings.client_secret
        # ThingSpace wants the plain string, without the percent-encoding of RFC 6749 section 2.3.1.
        pair = f"{settings.client_id}:{settings.client_secret}"
        self._basic = b64encode(pair.encode()).decode("ascii")

    def token_request(self, additional_params: Mapping[str, str] | None) -> HttpRequest:
        """Ask for a token (RFC 6749 section 4.4.2)."""
        form = {"grant_type": "client_credentials"}
        if self._scopes:
            form["scope"] = " ".join(self._scopes)
        form.update(additional_params or {})
        return self._request("the token endpoint", TOKEN_PATH, form)

    def revocation_request(self, access_token: str) -> HttpRequest:
        """Ask to revoke one (RFC 7009 section 2.1)."""
        return self._request("the revocation endpoint", REVOCATION_PATH, {"token": access_token})

    def read_token(
        self, answer: HttpAnswer, now: float, additional_params: Mapping[str, str] | None
    ) -> OauthToken | Refused:
        """The token in an answer that arrived at unix time ``now``.

        No error quotes the client's secret, nor the values of ``additional_params``.
        """
        if not 200 <= answer.status < 300:
            return self._refused(answer, "the token endpoint", now, additional_params)
        fields = json_object(answer.body) or {}
        if "error" in fields and "access_token" not in fields:
            return self._provider_refused(answer, "the token endpoint", now, additional_params)
        token = _token(fields, now) if fields else answer.flaw or "it is no JSON object"
        if isinstance(token, str):
            what = f"the token endpoint's answer is no token: {token}"
            return Refused(InvalidTokenResponseError(what))
        if token.expires_in is not None and token.expires_in <= 0:
            what = "the token endpoint answered an expired token"
            late = InvalidTokenResponseError(what, is_expired=True)
            return Refused(late, is_transient=True)
        return token

    def read_revocation(self, answer: HttpAnswer, now: float, access_token: str) -> Refused | None:
        """``None`` if the revocation was accepted."""
        if 200 <= answer.status < 300:
            return None
        return self._refused(answer, "the revocation endpoint", now, {"token": access_token})

    def __repr__(self) -> str:
        return f"<ClientCredentialsGrant {self._base_url}>"

    def _refused(
        self,
        answer: HttpAnswer,
        endpoint: str,
        now: float,
        confidential: Mapping[str, str] | None,
    ) -> Refused:
        if answer.status < 400:
            return Refused(
                InvalidTokenResponseError(
                    f"{endpoint} answered {answer.status}, which is not followed:"
                    " check base_url and the proxy"
                )
            )
        return self._provider_refused(answer, endpoint, now, confidential)

    def _provider_refused(
        self,
        answer: HttpAnswer,
        endpoint: str,
        now: float,
        confidential: Mapping[str, str] | None,
    ) -> Refused:
        given = [str(value) for value in (confidential or {}).values()]
        secrets = [one for one in given if len(one) >= _SHORTEST_SECRET]
        secrets += [self._basic, self._client_secret]
        found = error_fields(answer.body, "error", "error_description", "error_uri")
        texts = {name: quoted(text, *secrets) for name, text in found.items()}
        details = [texts[name] for name in ("error", "error_description") if name in texts]
        summary = ": ".join([f"{endpoint} refused (status {answer.status})", *details])
        is_transient = answer.is_transient(found.get("error"))
        who = f"asked at {self._base_url} with the key {quoted(self._client_id, *secrets)}"
        message = f"{summary}; {who}; to look into it, run `thingspace-auth check`"
        error = OauthProviderError(
            summary if is_transient else message,
            status_code=answer.status,
            summary=summary,
            retryable=is_transient,
            **texts,
        )
        pause = retry_after(answer.headers, now)
        return Refused(error, is_transient, pause, answer.is_throttled)

    def _request(self, purpose: str, path: str, form: Mapping[str, str]) -> HttpRequest:
        headers = {
            **COMMON_HEADERS,
            "Authorization": f"Basic {self._basic}",
            "Content-Type": "application/x-www-form-urlencoded",
        }
        return HttpRequest(purpose, self._base_url + path, headers, urlencode(form).encode())


def _token(fields: Mapping[str, Any], now: float) -> OauthToken | str:
    """The token in a token endpoint's JSON object, or what is wrong with it."""
    if "access_token" not in fields:
        return "access_token is missing"
    scope, refresh_token = fields.get("scope"), fields.get("refresh_token")
    try:
        expires_in = seconds("expires_in", fields.get("expires_in"))
        return OauthToken(
            access_token=fields["access_token"],
            token_type=fields.get("token_type"),
            expires_in=expires_in,
            scope=" ".join(scope.split()) if isinstance(scope, str) else None,
            expiry=None if expires_in is None else now + expires_in,
            refresh_token=refresh_token if isinstance(refresh_token, str) else None,
        )
    except (TypeError, ValueError) as error:
        return str(error)
