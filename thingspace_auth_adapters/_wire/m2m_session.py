"""The wire of the M2M session: builds login and logout requests, reads the answers.

ThingSpace's "Start Connectivity Management Session". Pure functions and values, as in ``oauth``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from enum import Enum
from typing import Any

from .._model.m2m import is_session_token
from ..errors import M2mLoginError
from .messages import (
    LOGIN_PATH,
    LOGOUT_PATH,
    HttpAnswer,
    HttpRequest,
    Refused,
    SentOnce,
    error_fields,
    is_transient,
    json_object,
    quoted,
    retry_after,
)
from .rejection import Credential, classify

_GATEWAY_XML = rb"\s*(?:<\?xml[^>]*\?>\s*)?<am:fault\b"
_THROTTLED = r"9008\d\d"


class LoginOutcome(Enum):
    """What an answer without a session says of the login."""

    REFUSED = "refused"
    UNKNOWN = "of unknown outcome"
    NO_ATTEMPT = "turned away"
    """Something before the login did it: that counts towards no lock-out."""


class LoginFailed(Refused):
    """A login that brought no session.

    Args:
        outcome: what became of it.
        error: what to raise.
        blames_bearer: whether another access token may help.
        retry_after: the seconds that the server asked for, if it did.
    """

    __slots__ = ("blames_bearer", "outcome")

    error: M2mLoginError

    def __init__(
        self,
        outcome: LoginOutcome,
        error: M2mLoginError,
        blames_bearer: bool,
        retry_after: float | None,
    ) -> None:
        transient = outcome is not LoginOutcome.REFUSED and is_transient(error.status_code or 0)
        super().__init__(error, transient, retry_after)
        self.outcome = outcome
        self.blames_bearer = blames_bearer


class SessionEndpoints:
    """Whose session, and where.

    Args:
        username: the account's.
        password: the account's.
        base_url: where sessions are opened.
        token_base_url: where access tokens come from; by default from there, too.
    """

    def __init__(
        self, username: str, password: str, base_url: str, token_base_url: str | None = None
    ) -> None:
        self._username = username
        self._password = password
        self._base_url = base_url
        self._token_base_url = token_base_url or base_url

    def login_request(self, authorization: str, once: SentOnce) -> HttpRequest:
        """Ask for a session, with the value of the header ``Authorization``."""
        account = {"username": self._username, "password": self._password}
        headers = {**_headers(authorization), "Content-Type": "application/json"}
        body = json.dumps(account).encode("ascii")
        return HttpRequest("the login", self._base_url + LOGIN_PATH, headers, body, once)

    def logout_request(self, authorization: str, session_token: str) -> HttpRequest:
        """Ask to end one."""
        headers = {**_headers(authorization), "VZ-M2M-Token": session_token}
        return HttpRequest("the logout", self._base_url + LOGOUT_PATH, headers, b"")

    def read_login(self, answer: HttpAnswer, now: float, authorization: str) -> str | LoginFailed:
        """The session token in an answer that arrived at unix time ``now``."""
        fields = json_object(answer.body) or {}
        token = fields.get("sessionToken")
        if 200 <= answer.status < 300 and is_session_token(token):
            return str(token)
        outcome = _outcome(answer, fields)
        what, is_refused = f"the login was {outcome.value}", outcome is LoginOutcome.REFUSED
        blames_bearer = not is_refused and _blamed(answer) is Credential.BEARER
        if blames_bearer and self._base_url != self._token_base_url:
            what += f", since it wants another access token: try base_url={self._base_url!r}"
        error = self._error(what, answer, authorization)
        if is_refused:
            error.refused_at = now
        return LoginFailed(outcome, error, blames_bearer, retry_after(answer.headers, now))

    def read_logout(
        self, answer: HttpAnswer, now: float, authorization: str, session_token: str
    ) -> Refused | None:
        """``None`` if the session is at its end, by this logout or before it."""
        if 200 <= answer.status < 300 or _blamed(answer) is Credential.SESSION:
            return None
        error = self._error("the logout was refused", answer, authorization, session_token)
        return Refused(error, is_transient(answer.status), retry_after(answer.headers, now))

    def __repr__(self) -> str:
        return f"<SessionEndpoints {self._base_url}>"

    def _error(self, what: str, answer: HttpAnswer, *confidential: str) -> M2mLoginError:
        secrets = [self._password, *(text.rpartition(" ")[2] for text in confidential)]
        found = error_fields(answer.body, "errorCode", "errorMessage")
        texts = {name: quoted(text, *secrets) for name, text in found.items()}
        flaw = [] if answer.flaw is None else [answer.flaw]
        message = ": ".join([f"{what} (status {answer.status})", *texts.values(), *flaw])
        return M2mLoginError(
            message,
            status_code=answer.status,
            error_code=texts.get("errorCode"),
            error_message=texts.get("errorMessage"),
        )


def _headers(authorization: str) -> dict[str, str]:
    return {
        "Authorization": authorization,
        "Accept": "application/json",
        "Accept-Encoding": "identity",
    }


def _outcome(answer: HttpAnswer, fields: Mapping[str, Any]) -> LoginOutcome:
    fault = fields.get("fault")
    code = str(fault.get("code")) if isinstance(fault, dict) else None
    is_gateways = code is not None or re.match(_GATEWAY_XML, answer.body) is not None
    is_throttled = answer.status == 429 or re.fullmatch(_THROTTLED, code or "") is not None
    is_clients = 400 <= answer.status < 500
    if (is_throttled and answer.status >= 400) or (is_clients and is_gateways):
        return LoginOutcome.NO_ATTEMPT
    if is_clients and fields.get("errorCode"):
        return LoginOutcome.REFUSED
    return LoginOutcome.UNKNOWN


def _blamed(answer: HttpAnswer) -> Credential | None:
    rejection = classify(answer.status, answer.headers, answer.body)
    return rejection.credential if rejection.is_certain else None
