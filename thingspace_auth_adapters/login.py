"""The wire of the M2M session: builds login and logout requests, reads the answers.

ThingSpace's "Start Connectivity Management Session". Pure functions and values, as in ``grant``.
"""

from __future__ import annotations

import json
import re
from enum import Enum
from typing import Any, NamedTuple

from .blame import Culprit, blame
from .effects import HttpAnswer, HttpRequest
from .errors import M2mLoginError
from .grant import TransientFailure, is_transient, json_object, retry_after, without
from .lifecycle import Lease
from .m2m import is_session_token

LOGIN_PATH = "/api/m2m/v1/session/login"
LOGOUT_PATH = "/api/m2m/v1/session/logout"

_GATEWAY_XML = rb"\s*(?:<\?xml[^>]*\?>\s*)?<am:fault\b"


class Outcome(Enum):
    """Why an answer to a login brings no session."""

    REFUSED = "refused"
    UNKNOWN = "of unknown outcome"
    NOT_ATTEMPTED = "turned away"
    """Something before the login did it: that counts towards no lock-out."""
    BEARER_REFUSED = "turned away on the bearer's account"


class NoSession(NamedTuple):
    """What is to be known of a login that brought no session.

    Attributes:
        outcome: why.
        error: what to raise.
        is_transient: whether trying again may help.
        retry_after: the seconds that the server asked for, if it did.
    """

    outcome: Outcome
    error: M2mLoginError
    is_transient: bool
    retry_after: float | None


class SessionEndpoints(NamedTuple):
    """Who logs in, and where."""

    username: str
    password: str
    base_url: str
    timeout: float

    def __repr__(self) -> str:
        return f"<SessionEndpoints {self.base_url}>"

    def login_request(self, bearer: Lease[Any]) -> HttpRequest:
        """Ask for a session."""
        body = json.dumps({"username": self.username, "password": self.password}).encode("ascii")
        headers = {**_headers(bearer), "Content-Type": "application/json"}
        return HttpRequest(self.base_url + LOGIN_PATH, headers, body, self.timeout)

    def logout_request(self, bearer: Lease[Any], session: Lease[str]) -> HttpRequest:
        """Ask to end one."""
        headers = {**_headers(bearer), "VZ-M2M-Token": session.header}
        return HttpRequest(self.base_url + LOGOUT_PATH, headers, b"", self.timeout)

    def read_login(self, answer: HttpAnswer, now: float, bearer: Lease[Any]) -> str | NoSession:
        """The session token in an answer that arrived at unix time ``now``."""
        token = (json_object(answer.body) or {}).get("sessionToken")
        if 200 <= answer.status < 300 and is_session_token(token):
            return str(token)
        outcome = _outcome(answer)
        error = self._error(f"the login was {outcome.value}", answer, bearer.key)
        may_pass = outcome is Outcome.UNKNOWN or (
            outcome is Outcome.NOT_ATTEMPTED and is_transient(answer.status)
        )
        return NoSession(outcome, error, may_pass, retry_after(answer.headers, now))

    def read_logout(
        self, answer: HttpAnswer, now: float, bearer: Lease[Any], session: Lease[str]
    ) -> M2mLoginError | TransientFailure | None:
        """``None`` where the session is at its end, by this logout or before it."""
        if 200 <= answer.status < 300 or _blamed(answer) is Culprit.SESSION:
            return None
        error = self._error("the logout was refused", answer, bearer.key, session.key)
        if is_transient(answer.status):
            return TransientFailure(error, retry_after(answer.headers, now))
        return error

    def _error(self, what: str, answer: HttpAnswer, *confidential: str) -> M2mLoginError:
        secrets = (self.password, *confidential)
        texts = {name: without(secrets, text) for name, text in _error_fields(answer).items()}
        message = ": ".join([f"{what} (status {answer.status})", *texts.values()])
        return M2mLoginError(message, status_code=answer.status, **texts)


def _headers(bearer: Lease[Any]) -> dict[str, str]:
    return {"Authorization": bearer.header, "Accept": "application/json"}


def _outcome(answer: HttpAnswer) -> Outcome:
    if _blamed(answer) is Culprit.BEARER:
        return Outcome.BEARER_REFUSED
    if answer.status == 429 or (answer.status >= 400 and _is_gateways(answer.body)):
        return Outcome.NOT_ATTEMPTED
    return Outcome.REFUSED if 400 <= answer.status < 500 else Outcome.UNKNOWN


def _blamed(answer: HttpAnswer) -> Culprit:
    verdict = blame(answer.status, answer.headers, answer.body)
    return verdict.culprit if verdict.is_certain else Culprit.NEITHER


def _is_gateways(body: bytes) -> bool:
    fields = json_object(body) or {}
    return isinstance(fields.get("fault"), dict) or re.match(_GATEWAY_XML, body) is not None


def _error_fields(answer: HttpAnswer) -> dict[str, str]:
    fields: dict[str, Any] = json_object(answer.body) or {}
    fault: Any = fields.get("fault")
    if isinstance(fault, dict):
        fields = {"errorCode": str(fault.get("code")), "errorMessage": fault.get("message")}
    names = {"error_code": "errorCode", "error_message": "errorMessage"}
    found = {ours: fields.get(theirs) for ours, theirs in names.items()}
    return {name: text for name, text in found.items() if isinstance(text, str)}
