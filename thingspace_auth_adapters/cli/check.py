"""Trying credentials step by step: what is wrong with them, or with the way to the platform.

Every step calls the platform at most once, so that nothing is tried again that may count.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Any, Callable, NamedTuple, Union
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from .._model.hosts import Origin, checked_base_url
from .._model.tokens import OauthToken
from .._wire.m2m_session import LoginFailed, LoginOutcome, SessionEndpoints
from .._wire.messages import HttpAnswer, HttpRequest, Refused, SentOnce, json_object
from .._wire.oauth import ClientCredentialsGrant
from ..errors import OauthProviderError

_TOLERATED_SECONDS = 60.0
_ROUTE_TIMEOUT = 10.0
_PROXY_PORTS = {"http": 80, "https": 443}
_SOCKS_PORT = 1080

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
    """

    verdict: Verdict
    step: str
    what: str
    remedy: str = ""

    def __str__(self) -> str:
        remedy = f" -> {self.remedy}" if self.remedy else ""
        return f"{self.verdict.value:8}{self.step}: {self.what}{remedy}"


def findings(auth: Any, objection: Objection) -> Iterator[Finding]:
    """Try an auth object's credentials as far as one step allows the next.

    Args:
        auth (ThingspaceAuth): of any library.
        objection: asked before a login, of which five that fail in a row lock the account.
    """
    route = _route_finding(auth._settings.base_url)
    yield route
    if route.verdict is not Verdict.WRONG:
        yield from _token_findings(auth, objection)


def _route_finding(base_url: str) -> Finding:
    try:
        route = _route_to(base_url)
    except ValueError as error:
        return Finding(Verdict.WRONG, "proxy", str(error), "correct it")
    obstacle = route.obstacle()
    if obstacle is not None:
        return Finding(Verdict.WRONG, "route", *obstacle)
    return Finding(Verdict.OK, "route", f"{route} can be reached")


class _Route(NamedTuple):
    """The first machine that a request is sent to: the platform's, or a proxy's."""

    host: str
    port: int
    is_proxy: bool

    def __str__(self) -> str:
        return f"{'the proxy ' if self.is_proxy else ''}{self.host}:{self.port}"

    def obstacle(self) -> tuple[str, str] | None:
        """What keeps a connection from being made, and what to do about it."""
        try:
            with socket.create_connection((self.host, self.port), _ROUTE_TIMEOUT):
                return None
        except OSError as error:
            what = next(text for kind, text in _OBSTACLES if isinstance(error, kind))
        return f"{self} {what}", self._remedy()

    def _remedy(self) -> str:
        if self.is_proxy:
            return "check HTTPS_PROXY and the network; unset it if no proxy is needed"
        return (
            "check THINGSPACE_BASE_URL and the network; set HTTPS_PROXY if only a proxy leads out"
        )


_OBSTACLES = (
    (socket.gaierror, "cannot be found: its name is not resolved (DNS)"),
    (ConnectionRefusedError, "cannot be reached: connection refused"),
    (socket.timeout, f"cannot be reached: no answer within {_ROUTE_TIMEOUT:.0f} s"),
    (OSError, "cannot be reached: there is no route to it"),
)


def _route_to(base_url: str) -> _Route:
    """Where a request to the platform goes first.

    Raises:
        ValueError: the environment names a proxy in a way that is no URL; the message does not
            quote it.
    """
    target = checked_base_url(base_url)[1]
    proxy = _proxy_for(target)
    return _Route(target.host, target.port, False) if proxy is None else _route_over(proxy)


def _proxy_for(target: Origin) -> str | None:
    # Plain http is loopback, to which tokens are asked for without a proxy.
    if target.scheme == "http" or proxy_bypass(f"{target.host}:{target.port}"):
        return None
    proxies = getproxies()
    return proxies.get("https") or proxies.get("all")


def _route_over(proxy: str) -> _Route:
    # What is wrong with it is told without it: it may hold a password.
    with suppress(ValueError):
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        if parts.hostname:
            port = parts.port or _PROXY_PORTS.get(parts.scheme, _SOCKS_PORT)
            return _Route(parts.hostname, port, True)
    raise ValueError("HTTPS_PROXY (or ALL_PROXY) holds no URL like http://host:port")


def _token_findings(auth: Any, objection: Objection) -> Iterator[Finding]:
    grant = ClientCredentialsGrant(auth._settings)
    reply = _sent(auth, grant.token_request(None))
    if isinstance(reply, Refused):
        yield _undelivered(reply)
        return
    yield from _clock_findings(reply)
    token = grant.read_token(reply, time.time(), None)
    if isinstance(token, Refused):
        yield _refused(reply, token)
        return
    yield _token_finding(token)
    yield _scope_finding(auth._settings.scopes, token)
    yield _session_finding(auth, token, objection)


def _sent(auth: Any, request: HttpRequest) -> HttpAnswer | Refused:
    """The answer to a request that is sent once, or why there is none."""
    timeout = auth._settings.timeout
    # One timeout to connect in, one to read the answer in.
    reply: HttpAnswer | Refused = auth._io.send(request, timeout, time.monotonic() + 2 * timeout)
    return reply


class _Symptom(NamedTuple):
    """How to tell a failure to get an answer, and what it means.

    Attributes:
        signs: one of them is in the text or in the type of the error.
        step: what failed.
        what: what is the case.
        remedy: what to do about it.
    """

    signs: tuple[str, ...]
    step: str
    what: str
    remedy: str


_SYMPTOMS = (
    _Symptom(
        ("certificate is not yet valid", "certificate has expired"),
        "tls",
        "the server's certificate is not valid at the time that this machine's clock shows",
        "set the clock; if it is right, see who answers instead of ThingSpace",
    ),
    _Symptom(
        ("CERTIFICATE_VERIFY_FAILED",),
        "tls",
        "the server's certificate could not be verified: something on the way opens TLS"
        " connections (a company proxy, a virus scanner), or the CA certificates are too old",
        "put the path of the company's CA certificates into REQUESTS_CA_BUNDLE (requests) or"
        " SSL_CERT_FILE (httpx), or update certifi; do not switch verification off",
    ),
    _Symptom(
        ("Proxy",),
        "proxy",
        "the proxy did not let the request through",
        "check HTTPS_PROXY, with the proxy's user name and password in it if it wants any, or"
        " ask its administrator to allow ThingSpace's host",
    ),
    _Symptom(
        ("Timeout", "timed out"),
        "token",
        "there was a connection, but no answer in time",
        "try again; if it stays so, look for a firewall or a proxy on the way",
    ),
    _Symptom(
        ("SSL",),
        "tls",
        "what answered does not speak TLS as ThingSpace does: a proxy in the way, or a wrong port",
        "check THINGSPACE_BASE_URL and HTTPS_PROXY",
    ),
    _Symptom(
        ("",),
        "token",
        "the connection was lost before an answer came",
        "try again; if it stays so, look for a firewall or a proxy on the way",
    ),
)


def _undelivered(reply: Refused) -> Finding:
    name = type(reply.error).__name__
    text = f"{name} {reply.error}"
    symptom = next(one for one in _SYMPTOMS if any(sign in text for sign in one.signs))
    return Finding(Verdict.WRONG, symptom.step, f"{symptom.what} ({name})", symptom.remedy)


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
    lifetime = "" if token.expires_in is None else f", which lives {token.expires_in:.0f} s more"
    return Finding(Verdict.OK, "token", f"ThingSpace gave one{lifetime}")


def _refused(answer: HttpAnswer, refused: Refused) -> Finding:
    """Why there is no token in an answer."""
    error = refused.error
    if refused.is_transient:
        remedy = "the platform, or a proxy in the way, has trouble: try again in some minutes"
        return Finding(Verdict.WRONG, "token", str(error), remedy)
    if not isinstance(error, OauthProviderError) or json_object(answer.body) is None:
        return _strangers(str(error))
    if answer.status == 407:
        return _strangers(str(error))
    return _refused_by_thingspace(answer, error)


def _refused_by_thingspace(answer: HttpAnswer, error: OauthProviderError) -> Finding:
    if error.error == "invalid_scope":
        remedy = "ask for another --scope, or for none: then it is all that the key is good for"
        return Finding(Verdict.WRONG, "scope", str(error), remedy)
    if answer.status == 401 or error.error in ("invalid_client", "unauthorized_client"):
        remedy = (
            "the key or the secret is wrong: copy both again from the application's page on"
            " ThingSpace, the key into THINGSPACE_OAUTH_OAUTH_CLIENT_ID, and see that the"
            " application is active"
        )
        return Finding(Verdict.WRONG, "token", str(error), remedy)
    remedy = "check THINGSPACE_BASE_URL, and that the application may use this API"
    return Finding(Verdict.WRONG, "token", str(error), remedy)


_STRANGERS_REMEDY = (
    "a proxy or a login page in the way may have answered instead of ThingSpace: check HTTPS_PROXY"
    " and THINGSPACE_BASE_URL"
)


def _strangers(what: str) -> Finding:
    """About an answer that ThingSpace would not give."""
    return Finding(Verdict.WRONG, "proxy", what, _STRANGERS_REMEDY)


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
        return _untried("there is but a session token", "set VZ_M2M_USERNAME to have one renewed")
    reason = objection(m2m.username)
    if reason is not None:
        return _untried(reason, "thingspace-auth check --yes tries the login")
    return _login_finding(auth, token)


def _untried(what: str, remedy: str) -> Finding:
    return Finding(Verdict.SKIPPED, "session", what, remedy)


def _login_finding(auth: Any, token: OauthToken) -> Finding:
    m2m = auth.m2m
    endpoints = SessionEndpoints(m2m.username, m2m.password, auth._settings.base_url)
    authorization, once = f"Bearer {token.access_token}", SentOnce()
    reply = _sent(auth, endpoints.login_request(authorization, once))
    if isinstance(reply, Refused):
        finding = _undelivered(reply)._replace(step="session")
        return finding._replace(remedy=_UNKNOWN_REMEDY) if once.was_sent else finding
    session = endpoints.read_login(reply, time.time(), authorization)
    if isinstance(session, LoginFailed):
        return Finding(Verdict.WRONG, "session", str(session.error), _login_remedy(session))
    return Finding(Verdict.OK, "session", "the login opened one, which ends by itself when idle")


_UNKNOWN_REMEDY = "it may have counted as a failed login: wait some minutes before you try again"
_NO_ATTEMPT_REMEDY = "this was no failed login: try again in some minutes"
_BEARER_REMEDY = (
    "this was no failed login, but the access token was turned down: see that the application may"
    " use the Connectivity Management API"
)
_REFUSED_REMEDY = (
    "the user name or the password is wrong: check VZ_M2M_USERNAME and VZ_M2M_PASSWORD, which are"
    " the account's UWS credentials and not those of the website, before you try again, since five"
    " failed logins in a row lock the account"
)
_LOCKED_REMEDY = "the account is locked: ask Verizon's support to unlock it; do not try again"


def _login_remedy(failed: LoginFailed) -> str:
    if failed.blames_bearer:
        return _BEARER_REMEDY
    if failed.outcome is LoginOutcome.NO_ATTEMPT:
        return _NO_ATTEMPT_REMEDY
    if failed.outcome is LoginOutcome.UNKNOWN:
        is_platforms = failed.is_transient
        return _UNKNOWN_REMEDY if is_platforms else f"{_STRANGERS_REMEDY}; {_UNKNOWN_REMEDY}"
    error = failed.error
    told = f"{error.error_code or ''} {error.error_message or ''}".lower()
    return _LOCKED_REMEDY if "locked" in told else _REFUSED_REMEDY
