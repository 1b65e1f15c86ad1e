"""The login and the logout endpoint of the Unified Web Service."""

from __future__ import annotations

import json
from typing import NoReturn

from werkzeug.exceptions import abort
from werkzeug.wrappers import Request, Response

from .answers import json_answer, uws_error
from .families import M2M
from .guard import Guard
from .sessions import AccountLocked, SessionRegistry, WrongCredentials


class UwsEndpoints:
    """Opens sessions for one account, and ends them."""

    def __init__(self, guard: Guard, sessions: SessionRegistry) -> None:
        self._guard = guard
        self._sessions = sessions

    def login(self, request: Request) -> Response:
        """The answer to a login; a refusal is raised as an ``HTTPException``."""
        self._check_post_and_bearer(request)
        username, password = _credentials(request)
        try:
            session = self._sessions.log_in(username, password)
        except AccountLocked:
            _refuse("REQUEST_FAILED.AccountLocked", "The account is locked.")
        except WrongCredentials:
            _refuse("REQUEST_FAILED.InvalidCredentials", "The credentials are not valid.")
        return json_answer(200, {"sessionToken": session})

    def logout(self, request: Request) -> Response:
        """The answer to a logout; a refusal is raised as an ``HTTPException``."""
        self._check_post_and_bearer(request)
        session = request.headers.get(M2M.header, "")
        if not self._sessions.log_out(session):
            self._guard.refuse_session(request, M2M)
        return json_answer(200, {"sessionToken": session})

    def _check_post_and_bearer(self, request: Request) -> None:
        if request.method != "POST":
            abort(Response(status=405, headers={"Allow": "POST"}))
        self._guard.token_number(request)


def _refuse(code: str, message: str) -> NoReturn:
    abort(uws_error(400, f"UnifiedWebService.{code}", message))


def _credentials(request: Request) -> tuple[str, str]:
    try:
        content = json.loads(request.get_data())
    except ValueError:
        content = None
    given = content if isinstance(content, dict) else {}
    username, password = given.get("username"), given.get("password")
    if not (isinstance(username, str) and isinstance(password, str)):
        _refuse("INPUT_INVALID.Credentials.Invalid", "A username and a password are needed.")
    return username, password
