"""The token and the revoke endpoint."""

from __future__ import annotations

import base64
import hmac

from werkzeug.exceptions import abort
from werkzeug.wrappers import Request, Response

from .answers import fault, json_answer, oauth_error
from .tokens import Scopes, TokenRegistry

SCOPES = frozenset(
    (
        "discovery:read",
        "serviceprofile:read",
        "serviceprofile:write",
        "serviceregistry:read",
        "serviceregistry:write",
        "ts.mec.fullaccess",
        "ts.mec.limitaccess",
        "ts.application.ro",
        "edge:discovery:read",
        "edge:serviceprofile:read",
        "edge:serviceprofile:write",
        "edge:serviceregistry:read",
        "edge:serviceregistry:write",
        "read",
        "write",
    )
)
_FULL_ACCESS = ("ts.application.ro", "ts.mec.fullaccess")
_FORM = "application/x-www-form-urlencoded"


class OauthEndpoints:
    """Grants tokens to one client, and revokes them."""

    def __init__(self, client_id: str, client_secret: str, tokens: TokenRegistry) -> None:
        # Compared in its encoded form: the platform takes the plain pair, so a client that
        # percent-encodes it first, as RFC 6749 would have it, must be refused here too.
        self._basic = base64.b64encode(f"{client_id}:{client_secret}".encode())
        self._tokens = tokens

    def token(self, request: Request) -> Response:
        """The answer to a token request; a refusal is raised as an ``HTTPException``."""
        self._check_client(request)
        self._check_grant_type(request)
        scopes = _requested_scopes(request)
        value, expires_in = self._tokens.issue(scopes)
        content = {
            "access_token": value,
            # The platform's list of scopes begins with a space, which a client has to bear.
            "scope": " " + " ".join(scopes or _FULL_ACCESS),
            "token_type": "Bearer",
            "expires_in": expires_in,
        }
        return json_answer(200, content, {"Cache-Control": "no-store"})

    def revoke(self, request: Request) -> Response:
        """The answer to a revocation; a refusal is raised as an ``HTTPException``.

        As in RFC 7009 an unknown token is no error. Nothing is revoked then, so no header names
        a revoked token.
        """
        self._check_client(request)
        value = _form_field(request, "token")
        headers = {"RevokedAccessToken": value} if self._tokens.revoke(value) else {}
        return Response(status=200, headers=headers)

    def _check_client(self, request: Request) -> None:
        if request.method != "POST":
            abort(Response(status=405, headers={"Allow": "POST"}))
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "basic":
            abort(fault(401, "900902", request.path))
        # Header values arrive decoded as latin-1, which any byte survives.
        if not hmac.compare_digest(given.strip().encode("latin-1"), self._basic):
            abort(oauth_error(401, "invalid_client", "Client authentication failed"))

    def _check_grant_type(self, request: Request) -> None:
        if _form_field(request, "grant_type") != "client_credentials":
            abort(oauth_error(400, "unsupported_grant_type", "Unsupported grant_type"))


def _form_field(request: Request, name: str) -> str:
    if request.mimetype != _FORM:
        abort(oauth_error(400, "invalid_request", f"Content-Type must be {_FORM}"))
    value = request.form.get(name, "")
    if not value:
        abort(oauth_error(400, "invalid_request", f"Missing parameter: {name}"))
    return value


def _requested_scopes(request: Request) -> Scopes:
    scopes = set(request.form.get("scope", "").split())
    if not scopes <= SCOPES:
        abort(oauth_error(400, "invalid_scope", "A requested scope is not known"))
    return tuple(sorted(scopes))
