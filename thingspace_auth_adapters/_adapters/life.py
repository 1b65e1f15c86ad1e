"""The life of a request: which headers it carries, what an answer rejects, what repeats it.

The header is the state: what a request carries stands in its own headers, and nothing else
remembers it. Nothing here waits or sends: between these functions an adapter acquires tokens, has
its client send, and reads a body.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, MutableMapping
from typing import Any, Optional

from .._core.cached_token import CachedToken, Status, status
from .._core.endpoint import warn_of_failure
from .._core.refresh import Failed
from .._core.tokens import Sources, Tokens
from .._model.events import AuthEvent, logger
from .._model.hosts import (
    AUTHORIZATION,
    SESSION_HEADERS,
    Origin,
    is_login_endpoint,
    is_token_endpoint,
    may_be_special,
    name_of,
)
from .._model.settings import Settings
from .._wire.rejection import BODY_LIMIT, Credential, classify, may_reject
from .case import Case, Outgoing

_SAFE_TO_REPEAT = ("GET", "HEAD", "OPTIONS", "PUT", "DELETE")
_OUR_HEADERS = (AUTHORIZATION, *SESSION_HEADERS)
_MOST_TARGETS = 10_000


Target = tuple[Sources, tuple[str, ...], bool, Optional[Origin]]
"""What is known of where requests go: the headers that they carry, the headers of ours that they
must not carry, whether a request may come with one of those, and the origin."""


class Life:
    """What all requests of one auth object go by.

    Args:
        settings: those of the auth object.
        tokens: its tokens.
    """

    def __init__(self, settings: Settings, tokens: Tokens) -> None:
        self._base_url = settings.base_url
        self._hosts = settings.allowed_hosts
        self._credentials = settings.credentials
        self._tokens = tokens
        self._time = tokens.clock.time
        self._targets: dict[Hashable, Target] = {}
        self._foreign_hosts: set[str] = set()
        self._swept_hosts: set[str] = set()
        self._unauthorized_hosts: set[str] = set()
        self._has_warned_of_replacing = False
        self._has_warned_of_missing_session = False

    def forget_targets(self) -> None:
        """The headers' sources changed. Requests that begin now look them up anew."""
        self._targets = {}

    # Before it is sent.

    def put_if_fresh(
        self, key: Hashable, location: str, headers: MutableMapping[str, Any]
    ) -> Sources | None:
        """Put the tokens on a request if nothing needs to be done first: the warm path."""
        target = self._targets.get(key)
        # may_be_special, spelled out since every request comes by here.
        if (
            target is None
            or "/oauth2/" in location
            or "/session/login" in location
            or "/mec/performance/" in location
        ):
            return None
        if getattr(self._credentials, "oauth_token", None) is not self._tokens.given:
            return None
        sources, unwanted, is_swept, _ = target
        now = self._time()
        for name, lifecycle in sources:
            token = lifecycle.current
            if token is None or now >= token.stale_at:
                return None
            idle_timeout = token.idle_timeout
            if idle_timeout is not None:
                # CachedToken.use, spelled out since every request comes by here.
                token.expires_at = expires_at = now + idle_timeout
                token.stale_at = expires_at if expires_at < token.touch_at else token.touch_at
                if not self._has_warned_of_replacing and name in headers:
                    return None
            headers[name] = token.header
        if is_swept and any(map(headers.__contains__, unwanted)):
            return None
        return sources

    def sources(self, outgoing: Outgoing) -> Sources:
        """Which headers a request carries; others of ours are taken off it.

        Raises:
            InsecureTransportError: it would go to an allowed host over plain http.
        """
        targets, is_special = self._targets, may_be_special(outgoing.location)
        target = None if is_special else targets.get(outgoing.key)
        if target is None:
            is_foreign = not self._hosts.header_names(outgoing.origin, outgoing.location)
            target = self._target(outgoing)
            if is_foreign:
                self._note_foreign(name_of(outgoing.origin))
            if not is_special:
                if len(targets) >= _MOST_TARGETS:
                    targets.clear()
                targets[outgoing.key] = target
        sources, unwanted, is_swept, origin = target
        if is_swept:
            self._sweep(unwanted, origin, outgoing)
        return sources

    def put(
        self, outgoing: Outgoing, sources: Sources, tokens: Collection[CachedToken[Any]]
    ) -> None:
        """Put acquired tokens on a request."""
        for (name, _), token in zip(sources, tokens):
            token.use(self._time())
            if name != AUTHORIZATION and name in outgoing.headers:
                self._warn_of_replacing(name, outgoing)
            outgoing.headers[name] = token.header

    def unwanted(self, outgoing: Outgoing) -> tuple[str, ...]:
        """The headers that a redirect must not take to where a request goes."""
        return self._target(outgoing)[1]

    def known_unwanted(self, key: Hashable, location: str) -> tuple[str, ...] | None:
        """The same by a request's key; ``None`` if it is not known yet."""
        target = None if may_be_special(location) else self._targets.get(key)
        return None if target is None else target[1]

    def withhold(self, names: Collection[str], headers: MutableMapping[str, Any]) -> bool:
        """Take ours, and only ours, off a request; whether any was there."""
        was_there = False
        for name in names:
            # Asked first: httpx' headers raise an exception inside get for one that is missing.
            if name in headers and headers[name] in self._held(name):
                del headers[name]
                was_there = True
        return was_there

    # After it was answered.

    def may_be_rejected(
        self, sent: Outgoing, status_code: int, spent: Collection[Credential]
    ) -> bool:
        """Whether an answer with this status may reject what was not yet replaced."""
        # Most answers can reject nothing, whatever their requests carried.
        if not may_reject(status_code, Credential.SESSION):
            return False
        carried = self._carried(sent)
        if not carried:
            self._warn_of_missing_token(sent, status_code)
        for _, lifecycle in carried:
            credential = lifecycle.source.credential
            if credential not in spent and may_reject(status_code, credential):
                return True
        is_news = not self._has_warned_of_missing_session
        return is_news and bool(carried) and self.would_only_warn(status_code)

    def would_only_warn(self, status_code: int) -> bool:
        """Whether an answer with this status can lead to no renewal, only to a warning."""
        return self._tokens.sessions is None and status_code == 400

    def case(
        self,
        sent: Outgoing,
        status_code: int,
        headers: Mapping[str, Any],
        body: bytes | None,
        *,
        spent: Collection[Credential],
    ) -> Case | None:
        """What an answer rejects, if it is something that was not yet replaced.

        Args:
            sent: the request.
            status_code: of the answer.
            headers: of the answer, looked up by lower-case name.
            body: of the answer; ``None`` if it was too long to be read.
            spent: what was replaced before.
        """
        carried = self._carried(sent)
        if not carried:
            self._warn_of_missing_token(sent, status_code)
        credential, is_certain = classify(status_code, headers, (body or b"")[:BODY_LIMIT])
        if credential is Credential.BEARER and credential in spent and not is_certain:
            # What nothing explains, and no other bearer helps, may be a dead session.
            credential = Credential.SESSION
        if credential is Credential.SESSION and is_certain and carried:
            self._warn_of_missing_session()
        if credential is None or credential in spent:
            return None
        objection = None if body is not None else "its answer was too long to judge"
        if not is_certain and sent.method.upper() not in _SAFE_TO_REPEAT:
            objection = "it may have been acted upon"
        for one in carried:
            if one[1].source.credential is credential:
                return Case(sent, carried, one, is_certain, status_code, objection)
        return None

    def other_case(self, case: Case, other: CachedToken[Any] | Failed | None) -> Case | None:
        """The case against the session, if nothing explains an answer and the bearer is good.

        Args:
            case: the one against the bearer.
            other: what came of asking for another.
        """
        is_same = other is None or getattr(other, "header", None) == case.value
        if case.credential is Credential.SESSION or not is_same:
            return None
        for one in case.carried:
            if one[0] != case.name:
                return Case(case.sent, case.carried, one, False, case.status_code, case.objection)
        return None

    def renewed(self, case: Case, other: CachedToken[Any] | Failed | None) -> dict[str, str] | None:
        """Our headers to repeat the request with, if it may be repeated.

        Args:
            case: what was rejected.
            other: what was asked for in its place, and came of that.
        """
        objection = case.objection
        if isinstance(other, Failed):
            # The caller has the platform's answer in hand.
            what, credential = "refreshing the rejected %s failed: %s", case.credential.value
            warn_of_failure(what, credential, other.error)
        if not isinstance(other, CachedToken) or other.header == case.value:
            other, objection = None, "there is no other token"
        if other is None or objection is not None:
            case.log_repeat(objection)
            return None
        headers, now = {}, self._time()
        for name, lifecycle in case.carried:
            # Renewing a session may have renewed the bearer.
            token = other if name == case.name else lifecycle.current
            if token is not None and status(token, now) is not Status.EXPIRED:
                token.use(now)
                headers[name] = token.header
        return headers

    def _carried(self, sent: Outgoing) -> Sources:
        """What of ours a request to an allowed host carried."""
        found = []
        for name in _OUR_HEADERS if self._hosts.allow(sent.origin) else ():
            bearers, sessions = self._tokens.bearers, self._tokens.sessions
            lifecycle = bearers if name == AUTHORIZATION else sessions
            if lifecycle is not None and sent.headers.get(name.lower()) in self._held(name):
                found.append((name, lifecycle))
        return tuple(found)

    def _target(self, outgoing: Outgoing) -> Target:
        origin, location = outgoing.origin, outgoing.location
        names = self._hosts.header_names(origin, location) if self._hosts.allow(origin) else ()
        if may_be_special(location):
            if is_token_endpoint(location):
                value = outgoing.headers.get(AUTHORIZATION)
                is_its_own = value is not None and value not in self._held(AUTHORIZATION)
                names = () if is_its_own else names[:1]
            elif is_login_endpoint(location):
                names = names[:1]
        sources: Sources = ((names[0], self._tokens.bearers),) if names else ()
        sessions = self._tokens.sessions
        if sessions is not None and len(names) > 1:
            sources = (*sources, (names[1], sessions))
        unwanted = tuple({*_OUR_HEADERS} - {*names})
        # No redirect leads from a host with a header of its own to one with the usual.
        return sources, unwanted, names != _OUR_HEADERS[:2], origin

    def _held(self, name: str) -> tuple[str, ...]:
        is_bearer = name == AUTHORIZATION
        return self._tokens.bearers.held if is_bearer else self._tokens.held_sessions

    def _sweep(self, unwanted: Collection[str], origin: Origin | None, outgoing: Outgoing) -> None:
        """Take off what a library copied from another request, and tell once for each host."""
        if not self.withhold(unwanted, outgoing.headers):
            return
        host = name_of(origin)
        if _is_first(host, self._swept_hosts):
            message = "%s is not to get a token of ours, which was removed: see allowed_hosts"
            logger.warning(message, host)

    def _warn_of_replacing(self, name: str, outgoing: Outgoing) -> None:
        """Tell once that a session header of the request's own gives way to ours."""
        if not self._has_warned_of_replacing and outgoing.headers[name] not in self._held(name):
            self._has_warned_of_replacing = True
            logger.warning("m2m is set: it replaces the %s that a request already has", name)

    def _warn_of_missing_session(self) -> None:
        """Tell once that the platform wants a session, if there is no account to open one."""
        if self._tokens.sessions is None and not self._has_warned_of_missing_session:
            self._has_warned_of_missing_session = True
            logger.warning(
                "the platform wants an M2M session token, too:"
                " ThingspaceAuth(…, m2m=VzM2mCredentials(…)) sends and renews one"
            )

    def _warn_of_missing_token(self, sent: Outgoing, status_code: int) -> None:
        """Tell once for each host that it asks for a token, and is not to get ours."""
        if status_code != 401 or AUTHORIZATION.lower() in sent.headers:
            return
        host, told = name_of(sent.origin), self._unauthorized_hosts
        if not self._hosts.allow(sent.origin) and _is_first(host, told):
            logger.warning(
                "%s answered 401 to a request that got no token: correct base_url, which is %s, or"
                " add the host to allowed_hosts, which are %s",
                host,
                self._base_url,
                ", ".join(self._hosts.texts),
            )

    def _note_foreign(self, name: str) -> None:
        if _is_first(name, self._foreign_hosts):
            event = AuthEvent("no_token_for_host", Credential.BEARER.value, reason=name)
            message = "%s is not an allowed host: sent without a token"
            logger.info(message, name, extra={"auth_event": event})


def _is_first(host: str, told: set[str]) -> bool:
    """Whether a host is to be told of, which is noted."""
    is_first = host not in told and len(told) < _MOST_TARGETS
    if is_first:
        told.add(host)
    return is_first
