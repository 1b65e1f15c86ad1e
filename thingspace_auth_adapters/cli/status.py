"""What the store holds for some credentials, without asking any server."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from .advice import advice_on_login
from .kept import stored_by
from .moments import is_near, moment
from .terminal import tell_entry

if TYPE_CHECKING:
    from .._core.cached_token import CachedToken
    from .._core.login_count import LoginCount, Refusal
    from .environment import Setting
    from .kept import Stored

Json = dict[str, Any]


def status_of(auth: Any, settings: Iterable[Setting], clear: str) -> Json:
    """What is used and stored, as JSON without tokens; times are unix timestamps in seconds.

    Args:
        auth (ThingspaceAuth): with a store.
        settings: those that it was made of.
        clear: the command that forgets what is stored.

    Raises:
        StoreUnavailable, InsecureStoreError: the store cannot be reached, or not be trusted.
    """
    stored: Stored = auth._run("", stored_by, auth._tokens)
    path = auth._store.path
    return {
        "settings": {one.label: one.to_json() for one in settings},
        "base_url": auth._settings.base_url,
        "store": str(path),
        "store_exists": os.path.isdir(path),
        "access_token": None if stored.token is None else _access_token(stored.token),
        "session": None if stored.session is None else _session(stored.session),
        "logins": None if stored.logins is None else _logins(stored, stored.logins, clear),
    }


def _access_token(token: CachedToken[Any]) -> Json:
    expiry = token.value.expiry
    return {"expires_at": None if expiry is None else int(expiry), "scope": token.value.scope}


def _session(session: CachedToken[str]) -> Json:
    used_at = session.expires_at - (session.idle_timeout or 0.0)
    return {"used_at": int(used_at), "expires_at": int(session.expires_at)}


def _logins(stored: Stored, count: LoginCount, clear: str) -> Json:
    until = count.blocked_until(time.time(), stored.password_hash)
    refusal, error = count.refusal_of(stored.password_hash), stored.objection
    advice = None if error is None else advice_on_login(error, clear)
    return {
        "are_blocked": advice is not None,
        # JSON has no infinity.
        "blocked_until": None if until is None or math.isinf(until) else int(until),
        "refusal": None if refusal is None else _refusal(refusal),
        "failures": count.failures,
        "failed_at": int(count.failed_at) if count.failures else None,
        "advice": None if advice is None else {"what": advice.what, "remedy": advice.remedy},
    }


def _refusal(refusal: Refusal) -> Json:
    return {**refusal.told, "refused_at": int(refusal.refused_at)}


def show_place(settings: Iterable[Setting], store: str | os.PathLike[str]) -> None:
    """Write which settings there are, and where the store is."""
    for one in settings:
        tell_entry(one.label, str(one))
    tell_entry("store", f"{store}{'' if os.path.isdir(store) else ', which does not exist yet'}")


def show(status: Json, settings: Iterable[Setting]) -> None:
    """Write it for people.

    Args:
        status: what :func:`status_of` found.
        settings: what it was told of.
    """
    show_place(settings, status["store"])
    for label, stored, describe in (
        ("access token", status["access_token"], _about_token),
        ("session", status["session"], _about_session),
    ):
        tell_entry(label, "none is stored" if stored is None else describe(stored))
    if status["logins"] is None:
        tell_entry("logins", "no VZ_M2M_USERNAME is set")
    else:
        what, remedy = _about_logins(status["logins"])
        tell_entry("logins", what, remedy, style="bold red" if remedy else "")


def _about_token(token: Json) -> str:
    scope = f"; scope: {token['scope']}" if token["scope"] else ""
    return f"{_expires(token['expires_at'])}{scope}"


def _about_session(session: Json) -> str:
    until = _expires(session["expires_at"])
    condition = "if it is not used, it " if until.startswith("expires") else ""
    return f"last used {moment(session['used_at'])}; {condition}{until}"


def _expires(expires_at: float | None) -> str:
    if expires_at is None:
        return "does not say when it expires"
    if not is_near(expires_at):
        return "does not expire"
    return f"{'expires' if expires_at > time.time() else 'expired'} {moment(expires_at)}"


def _about_logins(logins: Json) -> tuple[str, str]:
    advice, until = logins["advice"], logins["blocked_until"]
    if advice is not None:
        end = "" if until is None else f", until {moment(until)}"
        return f"{advice['what']}{end}", advice["remedy"]
    if not logins["failures"]:
        return "none has failed", ""
    last = moment(logins["failed_at"])
    return f"{logins['failures']} failed, the last one {last}; another is tried when needed", ""
