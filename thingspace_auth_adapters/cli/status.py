"""What the store holds for some credentials, without asking any server."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .kept import stored_by
from .terminal import tell_entry

if TYPE_CHECKING:
    from .._core.cached_token import CachedToken
    from .._core.login_count import LoginCount, Refusal
    from .kept import Stored

_UNITS = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"))

Json = dict[str, Any]


def status_of(auth: Any) -> Json:
    """What is stored, as JSON without tokens; times are unix timestamps in seconds.

    Args:
        auth (ThingspaceAuth): with a store.

    Raises:
        StoreUnavailable, InsecureStoreError: the store cannot be reached, or not be trusted.
    """
    stored: Stored = auth._run("", stored_by, auth._tokens)
    path = auth._store.path
    return {
        "store": str(path),
        "store_exists": os.path.isdir(path),
        "base_url": auth._settings.base_url,
        "access_token": None if stored.token is None else _access_token(stored.token),
        "session": None if stored.session is None else _session(stored.session),
        "logins": None if stored.logins is None else _logins(stored.logins, stored.password),
    }


def _access_token(token: CachedToken[Any]) -> Json:
    expiry = token.value.expiry
    return {"expires_at": None if expiry is None else int(expiry), "scope": token.value.scope}


def _session(session: CachedToken[str]) -> Json:
    used_at = session.expires_at - (session.idle_timeout or 0.0)
    return {"used_at": int(used_at), "expires_at": int(session.expires_at)}


def _logins(count: LoginCount, password: str) -> Json:
    until, refusal = count.blocked_until(time.time(), password), count.refusal_of(password)
    return {
        "are_blocked": until is not None,
        # JSON has no infinity.
        "blocked_until": None if until is None or math.isinf(until) else int(until),
        "refusal": None if refusal is None else _refusal(refusal),
        "failures": count.failures,
        "failed_at": int(count.failed_at) if count.failures else None,
    }


def _refusal(refusal: Refusal) -> Json:
    return {**refusal.told, "refused_at": int(refusal.refused_at)}


def show(status: Json, clear: str) -> None:
    """Write it for people.

    Args:
        status: what :func:`status_of` found.
        clear: the command that forgets what is stored.
    """
    store, is_there = status["store"], status["store_exists"]
    tell_entry("store", store if is_there else f"{store}, which does not exist yet")
    tell_entry("platform", status["base_url"])
    for label, stored, describe in (
        ("access token", status["access_token"], _about_token),
        ("session", status["session"], _about_session),
    ):
        tell_entry(label, "none is stored" if stored is None else describe(stored))
    if status["logins"] is None:
        tell_entry("logins", "no VZ_M2M_USERNAME is set")
        return
    for what, remedy in _about_logins(status["logins"], clear):
        tell_entry("logins", what, remedy, style="bold red" if remedy else "")


def _about_token(token: Json) -> str:
    scope = f"; scope: {token['scope']}" if token["scope"] else ""
    return f"{_expires(token['expires_at'])}{scope}"


def _about_session(session: Json) -> str:
    until = _expires(session["expires_at"])
    condition = "if it is not used, it " if until.startswith("expires") else ""
    return f"last used {_moment(session['used_at'])}; {condition}{until}"


def _expires(expires_at: float | None) -> str:
    if expires_at is None:
        return "does not say when it expires"
    return f"{'expires' if expires_at > time.time() else 'expired'} {_moment(expires_at)}"


def _about_logins(logins: Json, clear: str) -> Iterator[tuple[str, str]]:
    refusal, failures = logins["refusal"], logins["failures"]
    if refusal is not None:
        told = [refusal["error_code"], (refusal["error_message"] or "").rstrip(".")]
        texts = [f"one was refused {_moment(refusal['refused_at'])}", *filter(None, told)]
        what = f"{': '.join(texts)}; none is tried again with this password"
        yield what, _REFUSED_REMEDY.format(clear)
    elif failures:
        end = "none is tried again" if logins["are_blocked"] else "another is tried when needed"
        if logins["blocked_until"] is not None:
            end = f"none is tried until {_moment(logins['blocked_until'])}"
        remedy = _FAILED_REMEDY.format(clear) if logins["are_blocked"] else ""
        last = _moment(logins["failed_at"])
        yield f"{failures} in a row failed, the last one {last}; {end}", remedy
    else:
        yield "none has failed", ""


_REFUSED_REMEDY = (
    "correct VZ_M2M_USERNAME and VZ_M2M_PASSWORD; if they are right (the account was unlocked, for"
    " example), run {} to allow another login"
)
_FAILED_REMEDY = (
    "see that the platform is up and the password right; then run {} to allow another login"
)


def _moment(timestamp: float) -> str:
    """A time in the user's time zone, and how far it is away."""
    # A store's content is sealed, but a clock may have been anywhere.
    local = time.localtime(min(max(timestamp, 0.0), 4e9))
    seconds = timestamp - time.time()
    distance = f"in {_duration(seconds)}" if seconds > 0 else f"{_duration(-seconds)} ago"
    return f"{time.strftime('%Y-%m-%d %H:%M:%S', local)} ({distance})"


def _duration(seconds: float) -> str:
    size, name = next((unit for unit in _UNITS if seconds >= unit[0]), _UNITS[-1])
    return f"{seconds / size:.0f} {name}"
