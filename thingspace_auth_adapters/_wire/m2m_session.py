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
    COMMON_HEADERS,
    LOGIN_PATH,
    LOGOUT_PATH,
    HttpAnswer,
    HttpRequest,
    Refused,
    SentOnce,
    error_fields,
    json_object,
    quoted,
    retry_after,
)
from .rejection import BEARER_FAULTS, Credential, Rejection, classify

# Every method of M2M connectivity may answer these, and they are nobody's fault.
_GENERAL_CODE = (
    r"(?:\w+\.)*(?:REQUEST_FAILED\.UnexpectedError|INPUT_INVALID\.Request\..*|"
    r"(?:\w+\.)*DeserializationFailed)"
)


class LoginOutcome(Enum):
    """What an answer without a session says of the login."""

    REFUSED = "refused"
    UNKNOWN = "of unknown outcome"
    NO_ATTEMPT = "turned away"
    """Something before the login did it: that counts towards no lock-out."""


class LoginFailed(Refused):
    """A login that was answered, and brought no session.

    Attributes:
        blames_bearer: whether another access token may help.
    """

    __slots__ = ("blames_bearer",)

    error: M2mLoginError
    blames_bearer: bool


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

    def login_request(self, authorization: str) -> HttpRequest:
        """Ask for a session, with the value of the header ``Authorization``."""
        account = {"username": self._username, "password": self._password}
        headers = {"Authorization": authorization, "Content-Type": "application/json"}
        body = SentOnce(json.dumps(account).encode("ascii"))
        return HttpRequest(
            "the login", self._base_url + LOGIN_PATH, {**COMMON_HEADERS, **headers}, body
        )

    def logout_request(self, authorization: str, session_token: str) -> HttpRequest:
        """Ask to end one."""
        headers = {"Authorization": authorization, "VZ-M2M-Token": session_token}
        return HttpRequest(
            "the logout", self._base_url + LOGOUT_PATH, {**COMMON_HEADERS, **headers}, b""
        )

    def read_login(self, answer: HttpAnswer, now: float, authorization: str) -> str | LoginFailed:
        """The session token in an answer that arrived at unix time ``now``."""
        fields = json_object(answer.body) or {}
        token = fields.get("sessionToken")
        if 200 <= answer.status < 300 and is_session_token(token):
            return str(token)
        outcome = _outcome(answer, fields)
        blames_bearer = outcome is not LoginOutcome.REFUSED and _blames_bearer(answer)
        what = f"the login was {outcome.value}"
        if blames_bearer and self._base_url != self._token_base_url:
            what += f", since it wants another access token: try base_url={self._base_url!r}"
        error = self._error(what, answer, authorization)
        error.may_have_counted = outcome is not LoginOutcome.NO_ATTEMPT
        if outcome is LoginOutcome.REFUSED:
            error.refused_at = now
            error.retryable = False
        failed = LoginFailed(error, error.retryable, retry_after(answer.headers, now))
        failed.is_throttled = answer.is_throttled
        failed.had_no_effect = outcome is LoginOutcome.NO_ATTEMPT
        failed.blames_bearer = blames_bearer
        return failed

    def read_logout(
        self, answer: HttpAnswer, now: float, authorization: str, session_token: str
    ) -> Refused | None:
        """``None`` if the session is at its end, by this logout or before it."""
        is_over = _rejection(answer) == (Credential.SESSION, True)
        if 200 <= answer.status < 300 or is_over:
            return None
        error = self._error("the logout was refused", answer, authorization, session_token)
        return Refused(error, error.retryable, retry_after(answer.headers, now))

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
            retryable=answer.is_transient(),
        )


def _outcome(answer: HttpAnswer, fields: Mapping[str, Any]) -> LoginOutcome:
    is_clients, code = 400 <= answer.status < 500, fields.get("errorCode")
    if answer.is_turned_away:
        return LoginOutcome.NO_ATTEMPT
    if is_clients and code and re.fullmatch(_GENERAL_CODE, str(code)) is None:
        return LoginOutcome.REFUSED
    return LoginOutcome.NO_ATTEMPT if _names_bearer(answer) else LoginOutcome.UNKNOWN


def _names_bearer(answer: HttpAnswer) -> bool:
    """Whether the gateway says that it refuses the access token; by a code with any status."""
    is_by_code = answer.status >= 400 and answer.gateway_code in BEARER_FAULTS
    return is_by_code or _rejection(answer) == (Credential.BEARER, True)


def _blames_bearer(answer: HttpAnswer) -> bool:
    return _names_bearer(answer) or _rejection(answer).credential is Credential.BEARER


def _rejection(answer: HttpAnswer) -> Rejection:
    return classify(answer.status, answer.headers, answer.body)
