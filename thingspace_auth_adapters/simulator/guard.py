"""What a request has to carry: a valid bearer, and a live session if one is needed."""

from __future__ import annotations

from typing import NoReturn

from werkzeug.exceptions import abort
from werkzeug.wrappers import Request

from .answers import fault
from .families import Family, family_of
from .sessions import SessionRegistry
from .tokens import TokenRegistry


class Guard:
    """Stands before the endpoints; refusals are raised as an ``HTTPException``.

    Args:
        tokens: decides which bearers are valid.
        sessions: decides which sessions are live.
        sessions_required: whether every family that needs a session refuses requests without one.
    """

    def __init__(
        self, tokens: TokenRegistry, sessions: SessionRegistry, sessions_required: bool
    ) -> None:
        self._tokens = tokens
        self._sessions = sessions
        self.sessions_required = sessions_required

    def token_number(self, request: Request) -> int:
        """The 1-based position of the request's bearer among the tokens issued."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            abort(fault(401, "900902", request.path))
        number = self._tokens.number_of(token.strip())
        if number is None:
            abort(fault(401, "900901", request.path))
        return number

    def session_number(self, request: Request) -> int | None:
        """The 1-based position of the request's session among those issued; it counts as used.

        ``None`` if the request carries no session and needs none.
        """
        family = family_of(request)
        value = request.headers.get(family.header)
        if value is None and not (self.sessions_required and family.needs_session):
            return None
        number = self._sessions.use(value or "")
        if number is None:
            self.refuse_session(request, family)
        return number

    def refuse_session(self, request: Request, family: Family) -> NoReturn:
        """Refuses a request for its dead or missing session, in the way of a family."""
        was_issued = self._sessions.was_issued(request.headers.get(family.header, ""))
        refusal = family.expired if was_issued else family.unknown
        abort(refusal(request.path))
