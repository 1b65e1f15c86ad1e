"""From what was raised to what to do: for ``check``, and for every command that fails."""

from __future__ import annotations

from typing import Any, Callable, NamedTuple

from .._adapters.obstacle import Obstacle
from .._model.hosts import is_login_endpoint, origin_of
from .._wire.rejection import BEARER_FAULTS
from ..errors import (
    InsecureStoreError,
    InsecureTransportError,
    InvalidTokenResponseError,
    M2mLoginError,
    OauthProviderError,
)
from ..stores.token_store import StoreUnavailable
from .proxies import proxy_for

ROUTE_REMEDY = (
    "check THINGSPACE_BASE_URL and the network; set HTTPS_PROXY if only a proxy leads out"
)
PROXY_REMEDY = "check HTTPS_PROXY and the network; unset it if no proxy is needed"
UNKNOWN_LOGIN_REMEDY = (
    "it may have counted as a failed login: wait some minutes before you try again"
)


_PROXY_WANTS_CREDENTIALS = 407


class Advice(NamedTuple):
    """What went wrong, and what to do about it.

    Attributes:
        step: the step of ``check`` that it belongs to; empty if to none.
        what: what is the case.
        remedy: what to do; empty if ``what`` says it, or nothing is known.
    """

    step: str
    what: str
    remedy: str


class Problem(Exception):
    """What the command line itself finds wrong.

    Args:
        what: what is the case.
        remedy: what to do about it.
    """

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(what)
        self.remedy = remedy


def advice_on(error: Exception) -> Advice:
    """What to say of an error that ended a command or a step of ``check``."""
    for kind, advise in _ADVISERS:
        if isinstance(error, kind):
            return advise(error)
    if hasattr(error, "obstacle"):
        return advice_on_no_answer(error)
    return Advice("", str(error) or type(error).__name__, getattr(error, "remedy", ""))


class _Symptom(NamedTuple):
    """What an obstacle means.

    Attributes:
        step: what failed.
        what: what is the case.
        remedy: what to do about it.
        may_have_been_sent: whether the platform may have got the request.
    """

    step: str
    what: str
    remedy: str
    may_have_been_sent: bool = False


_CERTIFICATES_REMEDY = (
    "put the path of the company's CA certificates into REQUESTS_CA_BUNDLE (requests) or"
    " SSL_CERT_FILE (httpx), or update certifi; do not switch verification off"
)
_FIREWALL_REMEDY = "try again; if it stays so, look for a firewall or a proxy on the way"
_PROXY_CREDENTIALS_REMEDY = (
    "put the proxy's user name and password into HTTPS_PROXY, like http://user:password@host:port"
)

_SYMPTOMS = {
    Obstacle.PROXY_SETTING: _Symptom(
        "proxy",
        "HTTPS_PROXY (or ALL_PROXY) holds no URL that the HTTP library can use",
        "correct it: it is like http://host:port; socks5:// needs PySocks (requests) or socksio"
        " (httpx)",
    ),
    Obstacle.PROXY_CREDENTIALS: _Symptom(
        "proxy",
        "the proxy wants a user name and a password, or refuses those that it got (status 407)",
        _PROXY_CREDENTIALS_REMEDY,
    ),
    Obstacle.PROXY: _Symptom(
        "proxy",
        "the proxy cannot be reached, or did not let the request through",
        "check HTTPS_PROXY, or ask the proxy's administrator to allow ThingSpace's host",
    ),
    Obstacle.CA_FILE: _Symptom(
        "tls",
        "the CA certificates that the environment names cannot be read",
        _CERTIFICATES_REMEDY,
    ),
    Obstacle.CERTIFICATE: _Symptom(
        "tls",
        "the server's certificate could not be verified: something on the way opens TLS"
        " connections (a company proxy, a virus scanner), or the CA certificates are too old",
        _CERTIFICATES_REMEDY,
    ),
    Obstacle.CERTIFICATE_DATE: _Symptom(
        "tls",
        "the server's certificate is not valid at the time that this machine's clock shows",
        "set the clock; if it is right, see who answers instead of ThingSpace",
    ),
    Obstacle.TLS: _Symptom(
        "tls",
        "what answered does not speak TLS as ThingSpace does: a proxy in the way, or a wrong port",
        "check THINGSPACE_BASE_URL and HTTPS_PROXY",
    ),
    Obstacle.NAME: _Symptom(
        "route",
        "the platform's host cannot be found: its name is not resolved (DNS)",
        ROUTE_REMEDY,
    ),
    Obstacle.CONNECT_TIMEOUT: _Symptom(
        "route",
        "the platform's host cannot be reached: no connection in time",
        ROUTE_REMEDY,
    ),
    Obstacle.ROUTE: _Symptom(
        "route",
        "the platform's host cannot be reached: it takes no connection, or there is no route to it",
        ROUTE_REMEDY,
    ),
    Obstacle.TIMEOUT: _Symptom(
        "token",
        "there was a connection, but no answer in time",
        _FIREWALL_REMEDY,
        may_have_been_sent=True,
    ),
    Obstacle.LOST: _Symptom(
        "token",
        "the connection was lost before an answer came",
        _FIREWALL_REMEDY,
        may_have_been_sent=True,
    ),
}


_UNREACHABLE_PROXY = _Symptom(
    "proxy",
    "the proxy that the environment names cannot be reached, or has no route to the platform",
    PROXY_REMEDY,
)


def advice_on_no_answer(error: Any) -> Advice:
    """What to say of a call of an endpoint that brought no answer.

    Args:
        error: the HTTP library's, with what kept the answer from coming, and with its request.
    """
    url = str(error.request.url)
    symptom = _symptom_of(error.obstacle, url)
    what = f"{symptom.what} ({type(error).__name__})"
    if not is_login_endpoint(url):
        return Advice(symptom.step, what, symptom.remedy)
    remedy = UNKNOWN_LOGIN_REMEDY if symptom.may_have_been_sent else symptom.remedy
    return Advice("session", f"the login: {what}", remedy)


def _symptom_of(obstacle: Obstacle, url: str) -> _Symptom:
    symptom, target = _SYMPTOMS[obstacle], origin_of(url)
    # httpx has no other error for a proxy that cannot be reached, nor requests for a SOCKS proxy.
    is_proxied = target is not None and proxy_for(target) is not None
    return _UNREACHABLE_PROXY if symptom.step == "route" and is_proxied else symptom


_STRANGERS_REMEDY = (
    "a proxy or a login page in the way may have answered instead of ThingSpace: check HTTPS_PROXY"
    " and THINGSPACE_BASE_URL"
)
_TROUBLE_REMEDY = "the platform, or a proxy in the way, has trouble: try again in some minutes"
_KEY_REMEDY = (
    "the key or the secret is wrong: copy both again from the application's page on ThingSpace,"
    " the key into THINGSPACE_OAUTH_OAUTH_CLIENT_ID, and see that the application is active"
)


def _on_refused_token(error: OauthProviderError) -> Advice:
    what, status = error.summary or str(error), error.status_code or 0
    if error.retryable:
        return Advice("token", what, _TROUBLE_REMEDY)
    if status == _PROXY_WANTS_CREDENTIALS:
        symptom = _SYMPTOMS[Obstacle.PROXY_CREDENTIALS]
        return Advice(symptom.step, symptom.what, symptom.remedy)
    if error.error is None and error.error_description is None:
        return _on_stranger(what)
    if error.error == "invalid_scope":
        remedy = "ask for another --scope, or for none: then it is all that the key is good for"
        return Advice("scope", what, remedy)
    if status == 401 or error.error in ("invalid_client", "unauthorized_client"):
        return Advice("token", what, _KEY_REMEDY)
    return Advice(
        "token", what, "check THINGSPACE_BASE_URL, and that the application may use this API"
    )


def _on_useless_token(error: InvalidTokenResponseError) -> Advice:
    if error.is_expired:
        return Advice("token", str(error), _TROUBLE_REMEDY)
    return _on_stranger(str(error))


def _on_stranger(what: str) -> Advice:
    """About an answer that ThingSpace would not give."""
    return Advice("proxy", what, _STRANGERS_REMEDY)


_ACCOUNT_REMEDY = (
    "the user name or the password is wrong: correct VZ_M2M_USERNAME and VZ_M2M_PASSWORD (the"
    " account's UWS credentials, not the website's) before five failed logins in a row lock the"
    " account"
)
_LOCKED_REMEDY = (
    "the account is locked: ask Verizon's support to unlock it, and do not try again before"
)
_BLOCKED_REMEDY = (
    "see that the platform is up and that VZ_M2M_USERNAME and VZ_M2M_PASSWORD are right: five"
    " failed logins in a row lock the account"
)
_BEARER_REMEDY = (
    "this was no failed login, but the access token was turned down: see that the application may"
    " use the Connectivity Management API"
)
_NO_ATTEMPT_REMEDY = "this was no failed login: try again in some minutes"
_UNCOUNTED_REMEDY = (
    "this was no failed login, and none was sent: see that the directory in THINGSPACE_AUTH_STORE"
    " can be written to, and try again"
)
_TOKEN_ALONE_REMEDY = "set VZ_M2M_USERNAME and VZ_M2M_PASSWORD, or another session token"


def advice_on_login(error: M2mLoginError, clear: str = "") -> Advice:
    """What to say of a login that failed, or was not tried.

    Args:
        error: why there is no session; its message tells a script how to go on, not a shell.
        clear: the command that allows another login; empty if no store remembers this one.
    """
    what = error.summary or str(error)
    is_remembered = error.summary is not None and clear
    told = f"{what}; no further login is tried now" if is_remembered else what
    return Advice("session", told, _login_remedy(error, clear))


def _login_remedy(error: M2mLoginError, clear: str) -> str:
    if error.refused_at is not None and error.is_locked:
        return f"{_LOCKED_REMEDY}; after that, run {clear}" if clear else _LOCKED_REMEDY
    if error.refused_at is not None:
        return f"{_ACCOUNT_REMEDY}; if they are right, run {clear}" if clear else _ACCOUNT_REMEDY
    if error.summary is not None:
        return f"{_BLOCKED_REMEDY}; then run {clear}" if clear else _BLOCKED_REMEDY
    if error.status_code is None:
        return _UNCOUNTED_REMEDY if error.retryable else _TOKEN_ALONE_REMEDY
    if error.status_code == _PROXY_WANTS_CREDENTIALS:
        return f"{_PROXY_CREDENTIALS_REMEDY}; {UNKNOWN_LOGIN_REMEDY}"
    if not error.may_have_counted:
        is_bearers = error.error_code in BEARER_FAULTS
        return _BEARER_REMEDY if is_bearers else _NO_ATTEMPT_REMEDY
    if error.retryable:
        return UNKNOWN_LOGIN_REMEDY
    return f"{_STRANGERS_REMEDY}; {UNKNOWN_LOGIN_REMEDY}"


def _on_plain_http(error: Exception) -> Advice:
    return Advice("settings", str(error), "write https:// in the URL")


def _on_unreachable_store(error: Exception) -> Advice:
    remedy = (
        "see that THINGSPACE_AUTH_STORE names a directory that you can write to, and that the disk"
        " is not full"
    )
    return Advice("", str(error), remedy)


def _on_insecure_store(error: Exception) -> Advice:
    remedy = "do that, or let THINGSPACE_AUTH_STORE name another directory: nobody else may read it"
    return Advice("", str(error), remedy)


_ADVISERS: tuple[tuple[type[Exception], Callable[[Any], Advice]], ...] = (
    (OauthProviderError, _on_refused_token),
    (InvalidTokenResponseError, _on_useless_token),
    (M2mLoginError, advice_on_login),
    (InsecureTransportError, _on_plain_http),
    (InsecureStoreError, _on_insecure_store),
    (StoreUnavailable, _on_unreachable_store),
)
