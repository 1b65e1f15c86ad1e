"""From what was raised to what to do: the same for ``check`` and for every other command."""

from __future__ import annotations

import ssl

import pytest

pytest.importorskip("click")
pytest.importorskip("rich")

from thingspace_auth_adapters import (
    InsecureStoreError,
    InsecureTransportError,
    InvalidTokenResponseError,
    M2mLoginError,
    OauthProviderError,
)
from thingspace_auth_adapters.cli.advice import (
    Problem,
    advice_on,
    advice_on_login,
    advice_on_no_answer,
)
from thingspace_auth_adapters.stores.token_store import StoreUnavailable


@pytest.mark.parametrize(
    ("error", "step", "told"),
    [
        (OauthProviderError("x", status_code=401, error="invalid_client"), "token", "the secret"),
        (OauthProviderError("x", status_code=400, error="unauthorized_client"), "token", "secret"),
        (OauthProviderError("x", status_code=400, error="invalid_scope"), "scope", "--scope"),
        (OauthProviderError("x", status_code=404, error="900906"), "token", "BASE_URL"),
        (OauthProviderError("x", status_code=403), "proxy", "instead of ThingSpace"),
        (OauthProviderError("x", status_code=407, error="x"), "proxy", "instead of ThingSpace"),
        (OauthProviderError("x", status_code=503, retryable=True), "token", "try again"),
        (OauthProviderError("x", status_code=429, retryable=True), "token", "try again"),
        (InvalidTokenResponseError("x"), "proxy", "instead of ThingSpace"),
        (InsecureTransportError("x"), "settings", "https://"),
        (InsecureStoreError("x"), "", "THINGSPACE_AUTH_STORE"),
        (StoreUnavailable("x"), "", "THINGSPACE_AUTH_STORE"),
        (Problem("x", "do this"), "", "do this"),
        (RuntimeError("x"), "", ""),
    ],
    ids=repr,
)
def test_each_error_of_the_package_has_its_advice(error: Exception, step: str, told: str) -> None:
    advice = advice_on(error)
    assert (advice.step, advice.what) == (step, "x")
    assert told in advice.remedy
    assert bool(told) == bool(advice.remedy)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (M2mLoginError("x", status_code=400, refused_at=1.0), "is wrong"),
        (
            M2mLoginError("x", status_code=400, refused_at=1.0, error_message="Account Locked"),
            "unlock",
        ),
        (M2mLoginError("x"), "the platform is up"),
        (M2mLoginError("x", status_code=500, retryable=True), "may have counted"),
        (M2mLoginError("x", status_code=404), "instead of ThingSpace"),
        (M2mLoginError("the login was turned away (status 429)", status_code=429), "no failed"),
        (
            M2mLoginError("the login was turned away", status_code=401, error_code="900901"),
            "Connectivity Management",
        ),
    ],
    ids=repr,
)
def test_each_failed_login_has_its_advice(error: Exception, told: str) -> None:
    advice = advice_on(error)
    assert advice.step == "session"
    assert told in advice.remedy


@pytest.mark.parametrize(
    ("error", "names_it"),
    [
        (M2mLoginError("x", status_code=400, refused_at=1.0), True),
        (M2mLoginError("x", status_code=400, refused_at=1.0, error_message="Locked"), True),
        (M2mLoginError("x"), True),
        (M2mLoginError("x", status_code=500), False),
    ],
    ids=repr,
)
def test_the_command_that_clears_is_named_if_a_stored_count_allows_no_login(
    error: M2mLoginError, names_it: bool
) -> None:
    assert ("run CLEAR" in advice_on_login(error, "CLEAR").remedy) == names_it
    assert "run" not in advice_on_login(error).remedy.split()


@pytest.mark.parametrize(
    ("text", "step", "told"),
    [
        ("certificate verify failed: certificate has expired", "tls", "clock"),
        ("[SSL: CERTIFICATE_VERIFY_FAILED]", "tls", "REQUESTS_CA_BUNDLE"),
        ("[X509: NO_CERTIFICATE_OR_CRL_FOUND]", "tls", "REQUESTS_CA_BUNDLE"),
        ("ProxyError", "proxy", "HTTPS_PROXY"),
        ("InvalidProxyURL: Please check proxy URL", "proxy", "http://host:port"),
        ("PermissionError(13, 'Permission denied')", "token", "firewall"),
        ("NameResolutionError: failed to resolve", "route", "THINGSPACE_BASE_URL"),
        ("[Errno -2] Name or service not known", "route", "THINGSPACE_BASE_URL"),
        ("[Errno 11001] getaddrinfo failed", "route", "THINGSPACE_BASE_URL"),
        ("ConnectTimeoutError", "route", "THINGSPACE_BASE_URL"),
        ("NewConnectionError: [Errno 111] Connection refused", "route", "THINGSPACE_BASE_URL"),
        ("[SSL: WRONG_VERSION_NUMBER]", "tls", "THINGSPACE_BASE_URL"),
        ("Read timed out.", "token", "firewall"),
        ("Connection reset by peer", "token", "firewall"),
    ],
)
def test_each_way_to_get_no_answer_has_its_advice(text: str, step: str, told: str) -> None:
    error = OSError(f"the token endpoint could not be reached: {text}")
    advice = advice_on_no_answer(error)
    assert advice.step == step
    assert told in advice.remedy
    assert "(OSError)" in advice.what


@pytest.mark.parametrize(
    ("error", "step", "told"),
    [
        (OSError("Could not find a suitable TLS CA certificate bundle"), "tls", "SSL_CERT_FILE"),
        (ssl.SSLError("[X509] PEM lib (_ssl.c:4149)"), "tls", "SSL_CERT_FILE"),
        (FileNotFoundError(2, "No such file or directory"), "tls", "SSL_CERT_FILE"),
        (PermissionError(13, "Permission denied"), "tls", "SSL_CERT_FILE"),
        (FileNotFoundError(2, "No such file or directory", "other"), "", ""),
        (OSError(28, "No space left on device"), "", ""),
        (ValueError("Unknown scheme for proxy URL URL('foo://hush')"), "proxy", "http://host:port"),
        (ImportError("Using SOCKS proxy, but 'socksio' is not installed"), "proxy", "socksio"),
    ],
    ids=repr,
)
def test_settings_that_a_library_cannot_use_have_their_advice(
    error: Exception, step: str, told: str
) -> None:
    advice = advice_on(error)
    assert advice.step == step
    assert told in advice.remedy
    assert bool(told) == bool(advice.remedy)
    assert "hush" not in advice.what


@pytest.mark.parametrize(
    ("text", "told"),
    [("NewConnectionError", "THINGSPACE_BASE_URL"), ("Read timed out.", "may have counted")],
)
def test_a_login_without_an_answer_may_have_counted_if_it_was_sent(text: str, told: str) -> None:
    advice = advice_on_no_answer(OSError(f"the login could not be reached: {text}"))
    assert advice.step == "session"
    assert told in advice.remedy


def test_a_token_that_was_expired_when_it_came_is_the_platforms_trouble() -> None:
    advice = advice_on(InvalidTokenResponseError("the token endpoint answered an expired token"))
    assert advice.step == "token"
    assert "try again" in advice.remedy
