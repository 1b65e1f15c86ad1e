"""Trying credentials step by step: what is wrong with them, or with the way to the platform.

Every step calls the platform at most once, so that nothing is tried again that may count.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Any, Callable, NamedTuple, Union

from .._core.refresh import Failed, Limits
from .._model.tokens import OauthToken
from .._wire.messages import HttpAnswer, HttpRequest, Refused
from .._wire.oauth import ClientCredentialsGrant
from ..errors import InsecureStoreError, M2mLoginError
from ..stores.token_store import StoreUnavailable
from .advice import (
    UNKNOWN_LOGIN_REMEDY,
    Problem,
    advice_on,
    advice_on_login,
    advice_on_no_answer,
)
from .environment import Setting
from .moments import is_near
from .route import route_to

_TOLERATED_SECONDS = 60.0

Objection = Callable[[str], Union[str, None]]
"""Gets a user name, and says why its login must not be tried, or ``None``."""


class Verdict(Enum):
    """What a step came to."""

    OK = "ok"
    WRONG = "wrong"
    SKIPPED = "skipped"


class Finding(NamedTuple):
    """What a step found.

    Attributes:
        verdict: what it came to.
        step: its name.
        what: what is the case.
        remedy: what to do about it.
        setting: the setting that it is about, if it is about one.
    """

    verdict: Verdict
    step: str
    what: str
    remedy: str = ""
    setting: Setting | None = None

    def to_json(self) -> dict[str, str | None]:
        """Ready for ``json.dumps``."""
        told = {"step": self.step, "what": self.what, "remedy": self.remedy}
        about = {} if self.setting is None else self.setting.to_json()
        return {"verdict": self.verdict.value, **told, **about}


def settings_findings(settings: Iterable[Setting]) -> Iterator[Finding]:
    """Which settings are used, and where each comes from."""
    for one in settings:
        yield Finding(Verdict.OK, one.label, str(one), setting=one)


def findings(auth: Any, objection: Objection, clear: str = "") -> Iterator[Finding]:
    """Try an auth object's credentials as far as one step allows the next.

    Args:
        auth (ThingspaceAuth): of any library.
        objection: asked before a login, of which five that fail in a row lock the account.
        clear: the command that forgets failed logins; empty if no store remembers them.
    """
    route = _route_finding(auth._settings.base_url)
    yield route
    if route.verdict is Verdict.WRONG:
        return
    yield from _token_findings(auth, objection, clear)


def _wrong(error: Exception, step: str) -> Finding:
    advice = advice_on(error)
    return Finding(Verdict.WRONG, advice.step or step, advice.what, advice.remedy)


def _route_finding(base_url: str) -> Finding:
    try:
        route = route_to(base_url)
    except Problem as problem:
        return _wrong(problem, "proxy")
    try:
        route.try_out()
    except Problem as problem:
        return _wrong(problem, "route")
    return Finding(Verdict.OK, "route", f"{route} can be reached")


def _token_findings(auth: Any, objection: Objection, clear: str) -> Iterator[Finding]:
    grant = ClientCredentialsGrant(auth._settings)
    reply = _sent(auth, grant.token_request(None))
    if isinstance(reply, Refused):
        yield _undelivered(reply.error)
        return
    yield from _clock_findings(reply)
    token = grant.read_token(reply, time.time(), None)
    if isinstance(token, Refused):
        yield _wrong(token.error, "token")
        return
    yield _token_finding(token)
    yield _scope_finding(auth._settings.scopes, token)
    try:
        yield _session_finding(auth, token, objection)
    except (Failed, M2mLoginError) as error:
        failed: Any = error.error if isinstance(error, Failed) else error
        yield Finding(Verdict.WRONG, *advice_on_login(failed, clear))
    except (InsecureStoreError, StoreUnavailable) as error:
        # The login was not tried: it is counted in the store first.
        yield _wrong(error, "session")


def _sent(auth: Any, request: HttpRequest) -> HttpAnswer | Refused:
    """The answer to a request that is sent once, or why there is none."""
    timeout = auth._settings.timeout
    # One timeout to connect in, one to read the answer in.
    reply: HttpAnswer | Refused = auth._transport.send(
        request, timeout, time.monotonic() + 2 * timeout
    )
    return reply


def _undelivered(error: Exception) -> Finding:
    return Finding(Verdict.WRONG, *advice_on_no_answer(error))


def _clock_findings(answer: HttpAnswer) -> Iterator[Finding]:
    """What the server's ``Date`` tells, if it told any."""
    try:
        server = parsedate_to_datetime(answer.headers["date"]).timestamp()
    except (KeyError, TypeError, ValueError, OverflowError):
        return
    ahead = time.time() - server
    if abs(ahead) <= _TOLERATED_SECONDS:
        yield Finding(Verdict.OK, "clock", "this machine's agrees with the server's")
        return
    direction = "ahead of" if ahead > 0 else "behind"
    what = f"this machine's is {abs(ahead):.0f} s {direction} the server's"
    yield Finding(Verdict.WRONG, "clock", what, "set it, best by NTP")


def _token_finding(token: OauthToken) -> Finding:
    if token.expiry is None:
        return Finding(Verdict.OK, "token", "ThingSpace gave one, without saying when it expires")
    lives = f"lives {token.expires_in:.0f} s more" if is_near(token.expiry) else "does not expire"
    return Finding(Verdict.OK, "token", f"ThingSpace gave one, which {lives}")


def _scope_finding(wanted: tuple[str, ...], token: OauthToken) -> Finding:
    # RFC 6749 section 5.1: if it is not told, it is what was asked for.
    granted = " ".join(wanted) if token.scope is None else token.scope
    missing = [scope for scope in wanted if scope not in granted.split()]
    if not missing:
        return Finding(Verdict.OK, "scope", granted or "not told")
    return Finding(
        Verdict.WRONG,
        "scope",
        f"granted without {' '.join(missing)}",
        "see on ThingSpace which APIs the application is subscribed to, or ask for another --scope",
    )


def _session_finding(auth: Any, token: OauthToken, objection: Objection) -> Finding:
    m2m = auth.m2m
    if m2m is None:
        return _untried("no VZ_M2M_USERNAME is set", "needed for all APIs but 5G Edge's")
    if m2m.username is None:
        return _untried(
            "there is a session token, and no user to log in",
            "set VZ_M2M_USERNAME and VZ_M2M_PASSWORD to have it renewed",
        )
    guard = auth._tokens.session_source.guard
    # It looks into the store for what is remembered.
    guard.count()
    barred = guard.objection()
    if barred is not None:
        raise barred
    reason = objection(m2m.username)
    if reason is not None:
        return _untried(reason, "thingspace-auth check --yes tries the login")
    return _login_finding(auth, token)


def _untried(what: str, remedy: str) -> Finding:
    return Finding(Verdict.SKIPPED, "session", what, remedy)


def _login_finding(auth: Any, token: OauthToken) -> Finding:
    source = auth._tokens.session_source
    authorization, timeout = f"Bearer {token.access_token}", auth._settings.timeout
    begins_by = time.monotonic() + timeout
    limits = Limits(begins_by, begins_by + 2 * timeout, attempts=1)
    with nullcontext() if source.lock is None else source.lock.locked(timeout):
        reply = source.attempt(authorization, limits)
    if not isinstance(reply, Refused):
        return Finding(Verdict.OK, "session", "the login opened one, which ends when it is idle")
    if isinstance(reply.error, M2mLoginError):
        raise source.guard.objection() or reply.error
    finding = _undelivered(reply.error)
    return finding if reply.had_no_effect else finding._replace(remedy=UNKNOWN_LOGIN_REMEDY)
