"""From what was raised to what to do: for ``check``, and for every command that fails."""

from __future__ import annotations

import re
from typing import Any, Callable, NamedTuple

from .._wire.m2m_session import LoginOutcome
from ..errors import (
    InsecureStoreError,
    InsecureTransportError,
    InvalidTokenResponseError,
    M2mLoginError,
    OauthProviderError,
)
from ..stores.token_store import StoreUnavailable

ROUTE_REMEDY = (
    "check THINGSPACE_BASE_URL and the network; set HTTPS_PROXY if only a proxy leads out"
)
UNKNOWN_LOGIN_REMEDY = (
    "it may have counted as a failed login: wait some minutes before you try again"
)
_LIBRARIES = ("requests", "httpx", "httpx2")


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


class WrongUsage(Problem):
    """What is wrong with the arguments; they are not quoted, since one may be a secret."""


def advice_on(error: Exception) -> Advice:
    """What to say of an error that ended a command or a step of ``check``."""
    for kind, advise in _ADVISERS:
        if isinstance(error, kind):
            return advise(error)
    if _is_of_library(error):
        return advice_on_no_answer(error)
    return Advice("", str(error) or type(error).__name__, getattr(error, "remedy", ""))


def _is_of_library(error: Exception) -> bool:
    """Whether an HTTP library raised it, perhaps while it read its settings."""
    if type(error).__module__.partition(".")[0] in _LIBRARIES:
        return True
    # Settings that it cannot use make it raise Python's own errors. Those of other files name them.
    return getattr(error, "filename", None) is None and any(
        sign in _named(error) for sign in (*_UNREADABLE_CERTIFICATES, *_UNUSABLE_PROXY)
    )


def _named(error: Exception) -> str:
    return f"{type(error).__name__} {error}"


class _Symptom(NamedTuple):
    """How to tell a failure to get an answer, and what it means.

    Attributes:
        signs: one of them is in the text or in the type of the error.
        step: what failed.
        what: what is the case.
        remedy: what to do about it.
        may_have_been_sent: whether the platform may have got the request.
    """

    signs: tuple[str, ...]
    step: str
    what: str
    remedy: str
    may_have_been_sent: bool = False


_UNREADABLE_CERTIFICATES = (
    "CA certificate bundle",
    "X509",
    "PEM lib",
    "FileNotFoundError [",
    "PermissionError [",
    "IsADirectoryError [",
    "NotADirectoryError [",
)
_UNUSABLE_PROXY = (
    "InvalidURL",
    "InvalidProxyURL",
    "InvalidSchema",
    "Unknown scheme for proxy",
    "Using SOCKS proxy",
)
_CERTIFICATES_REMEDY = (
    "put the path of the company's CA certificates into REQUESTS_CA_BUNDLE (requests) or"
    " SSL_CERT_FILE (httpx), or update certifi; do not switch verification off"
)
_FIREWALL_REMEDY = "try again; if it stays so, look for a firewall or a proxy on the way"

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
        _CERTIFICATES_REMEDY,
    ),
    _Symptom(
        _UNREADABLE_CERTIFICATES,
        "tls",
        "the CA certificates that the environment names cannot be read",
        _CERTIFICATES_REMEDY,
    ),
    _Symptom(
        _UNUSABLE_PROXY,
        "proxy",
        "HTTPS_PROXY (or ALL_PROXY) holds no URL that the HTTP library can use",
        "correct it: it is like http://host:port; socks5:// needs PySocks (requests) or socksio"
        " (httpx)",
    ),
    _Symptom(
        ("Proxy",),
        "proxy",
        "the proxy did not let the request through",
        "check HTTPS_PROXY, with the proxy's user name and password in it if it wants any, or"
        " ask its administrator to allow ThingSpace's host",
    ),
    _Symptom(
        ("NameResolution", "getaddrinfo", "Name or service", "name resolution", "nodename"),
        "route",
        "the platform's host cannot be found: its name is not resolved (DNS)",
        ROUTE_REMEDY,
    ),
    _Symptom(
        ("ConnectTimeout",),
        "route",
        "the platform's host cannot be reached: no connection in time",
        ROUTE_REMEDY,
    ),
    _Symptom(
        ("SSL",),
        "tls",
        "what answered does not speak TLS as ThingSpace does: a proxy in the way, or a wrong port",
        "check THINGSPACE_BASE_URL and HTTPS_PROXY",
    ),
    _Symptom(
        ("NewConnectionError", "ConnectError"),
        "route",
        "the platform's host cannot be reached: it takes no connection, or there is no route to it",
        ROUTE_REMEDY,
    ),
    _Symptom(
        ("Timeout", "timed out"),
        "token",
        "there was a connection, but no answer in time",
        _FIREWALL_REMEDY,
        may_have_been_sent=True,
    ),
    _Symptom(
        ("",),
        "token",
        "the connection was lost before an answer came",
        _FIREWALL_REMEDY,
        may_have_been_sent=True,
    ),
)


def advice_on_no_answer(error: Exception) -> Advice:
    """What the HTTP library's error says of a call that brought no answer."""
    text = _named(error)
    symptom = next(one for one in _SYMPTOMS if any(sign in text for sign in one.signs))
    what = f"{symptom.what} ({type(error).__name__})"
    if not str(error).startswith("the login"):
        return Advice(symptom.step, what, symptom.remedy)
    remedy = UNKNOWN_LOGIN_REMEDY if symptom.may_have_been_sent else symptom.remedy
    return Advice("session", f"the login: {what}", remedy)


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
    what, status = str(error), error.status_code or 0
    if error.retryable:
        return Advice("token", what, _TROUBLE_REMEDY)
    if status == 407 or (error.error is None and error.error_description is None):
        return _on_stranger(error)
    if error.error == "invalid_scope":
        remedy = "ask for another --scope, or for none: then it is all that the key is good for"
        return Advice("scope", what, remedy)
    if status == 401 or error.error in ("invalid_client", "unauthorized_client"):
        return Advice("token", what, _KEY_REMEDY)
    return Advice(
        "token", what, "check THINGSPACE_BASE_URL, and that the application may use this API"
    )


def _on_useless_token(error: InvalidTokenResponseError) -> Advice:
    is_expired = str(error).endswith("an expired token")
    return Advice("token", str(error), _TROUBLE_REMEDY) if is_expired else _on_stranger(error)


def _on_stranger(error: Exception) -> Advice:
    """About an answer that ThingSpace would not give."""
    return Advice("proxy", str(error), _STRANGERS_REMEDY)


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
_TURNED_AWAY = f"the login was {LoginOutcome.NO_ATTEMPT.value}"
_GATEWAY_REJECTS_BEARER = r"90090\d"


def advice_on_login(error: M2mLoginError, clear: str = "") -> Advice:
    """What to say of a login that failed, or was not tried.

    Args:
        error: why there is no session; its message tells a script how to go on, not a shell.
        clear: the command that allows another login; empty if no store remembers this one.
    """
    what = error.summary or str(error)
    return Advice(
        "session", f"{what}; no login is tried now" if clear else what, _login_remedy(error, clear)
    )


def _login_remedy(error: M2mLoginError, clear: str) -> str:
    told = f"{error.error_code or ''} {error.error_message or ''}".lower()
    if error.refused_at is not None and "locked" in told:
        return f"{_LOCKED_REMEDY}; after that, run {clear}" if clear else _LOCKED_REMEDY
    if error.refused_at is not None:
        return f"{_ACCOUNT_REMEDY}; if they are right, run {clear}" if clear else _ACCOUNT_REMEDY
    if error.status_code is None:
        return f"{_BLOCKED_REMEDY}; then run {clear}" if clear else _BLOCKED_REMEDY
    if str(error).startswith(_TURNED_AWAY):
        is_bearers = re.fullmatch(_GATEWAY_REJECTS_BEARER, error.error_code or "")
        return _BEARER_REMEDY if is_bearers and error.status_code == 401 else _NO_ATTEMPT_REMEDY
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
