"""Part 4: from what was raised to what to do, the same for ``check`` and every other command."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

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
from thingspace_auth_adapters._adapters.obstacle import Obstacle
from thingspace_auth_adapters._wire.messages import LOGIN_PATH, TOKEN_PATH
from thingspace_auth_adapters.cli.advice import (
    Problem,
    advice_on,
    advice_on_login,
    advice_on_no_answer,
)
from thingspace_auth_adapters.stores.token_store import StoreUnavailable

from ..support.command_line import Shell

pytestmark = pytest.mark.usefixtures("shell")


@pytest.mark.parametrize(
    ("error", "step", "told"),
    [
        (OauthProviderError("x", status_code=401, error="invalid_client"), "token", "the secret"),
        (OauthProviderError("x", status_code=400, error="unauthorized_client"), "token", "secret"),
        (OauthProviderError("x", status_code=400, error="invalid_scope"), "scope", "--scope"),
        (OauthProviderError("x", status_code=404, error="900906"), "token", "BASE_URL"),
        (OauthProviderError("x", status_code=403), "proxy", "instead of ThingSpace"),
        (OauthProviderError("x", status_code=503, retryable=True), "token", "try again"),
        (OauthProviderError("x", status_code=429, retryable=True), "token", "try again"),
        (InvalidTokenResponseError("x"), "proxy", "instead of ThingSpace"),
        (InvalidTokenResponseError("x", is_expired=True), "token", "try again"),
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


def test_a_proxy_that_wants_credentials_is_named_by_the_status() -> None:
    advice = advice_on(OauthProviderError("x", status_code=407, error="x"))
    assert advice.step == "proxy"
    assert "(status 407)" in advice.what
    assert "HTTPS_PROXY" in advice.remedy


REFUSED: dict[str, Any] = {"status_code": 400, "refused_at": 1.0, "summary": "x"}
UNKNOWN: dict[str, Any] = {"may_have_counted": True}


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (M2mLoginError("y", **REFUSED), "is wrong"),
        (M2mLoginError("y", **REFUSED, error_message="Account Locked"), "unlock"),
        (M2mLoginError("y", **REFUSED, error_code="X.AccountLocked"), "unlock"),
        (M2mLoginError("y", summary="x"), "the platform is up"),
        (M2mLoginError("x", retryable=True), "THINGSPACE_AUTH_STORE"),
        (M2mLoginError("x"), "VZ_M2M_USERNAME"),
        (M2mLoginError("x", status_code=500, retryable=True, **UNKNOWN), "may have counted"),
        (M2mLoginError("x", status_code=404, **UNKNOWN), "instead of ThingSpace"),
        (M2mLoginError("x", status_code=407, **UNKNOWN), "HTTPS_PROXY"),
        (M2mLoginError("x", status_code=429), "no failed login"),
        (M2mLoginError("x", status_code=401, error_code="900901"), "Connectivity Management"),
    ],
    ids=repr,
)
def test_each_failed_login_has_its_advice(error: Exception, told: str) -> None:
    advice = advice_on(error)
    assert (advice.step, advice.what) == ("session", "x")
    assert told in advice.remedy


@pytest.mark.parametrize(
    ("error", "names_it"),
    [
        (M2mLoginError("y", **REFUSED), True),
        (M2mLoginError("y", **REFUSED, error_message="Locked"), True),
        (M2mLoginError("y", summary="x"), True),
        (M2mLoginError("x", status_code=500, **UNKNOWN), False),
        (M2mLoginError("x", retryable=True), False),
    ],
    ids=repr,
)
def test_the_command_that_clears_is_named_if_a_stored_count_allows_no_login(
    error: M2mLoginError, names_it: bool
) -> None:
    advice = advice_on_login(error, "CLEAR")
    assert ("run CLEAR" in advice.remedy) == names_it
    assert ("; no further login is tried now" in advice.what) == names_it
    assert "run" not in advice_on_login(error).remedy.split()


def undelivered(obstacle: Obstacle, path: str = TOKEN_PATH) -> Any:
    """An HTTP library's error, of a call that brought no answer; its message is of no account."""
    error: Any = OSError("whatever")
    error.obstacle = obstacle
    error.request = SimpleNamespace(url=f"https://thingspace.verizon.com{path}")
    return error


NO_ANSWER = {
    Obstacle.PROXY_SETTING: ("proxy", "http://host:port"),
    Obstacle.PROXY_CREDENTIALS: ("proxy", "user:password@"),
    Obstacle.PROXY: ("proxy", "HTTPS_PROXY"),
    Obstacle.CA_FILE: ("tls", "SSL_CERT_FILE"),
    Obstacle.CERTIFICATE: ("tls", "REQUESTS_CA_BUNDLE"),
    Obstacle.CERTIFICATE_DATE: ("tls", "clock"),
    Obstacle.TLS: ("tls", "THINGSPACE_BASE_URL"),
    Obstacle.NAME: ("route", "THINGSPACE_BASE_URL"),
    Obstacle.CONNECT_TIMEOUT: ("route", "THINGSPACE_BASE_URL"),
    Obstacle.ROUTE: ("route", "THINGSPACE_BASE_URL"),
    Obstacle.TIMEOUT: ("token", "firewall"),
    Obstacle.LOST: ("token", "firewall"),
}


@pytest.mark.parametrize("obstacle", list(Obstacle))
def test_each_way_to_get_no_answer_has_its_advice(obstacle: Obstacle) -> None:
    step, told = NO_ANSWER[obstacle]
    advice = advice_on(undelivered(obstacle))
    assert advice == advice_on_no_answer(undelivered(obstacle))
    assert advice.step == step
    assert told in advice.remedy
    assert "(OSError)" in advice.what
    assert "whatever" not in advice.what


@pytest.mark.parametrize(
    ("proxy", "obstacle", "step"),
    [
        ("socks5://127.0.0.1:1080", Obstacle.ROUTE, "proxy"),
        ("http://proxy:3128", Obstacle.NAME, "proxy"),
        ("http://proxy:3128", Obstacle.CONNECT_TIMEOUT, "proxy"),
        ("http://proxy:3128", Obstacle.LOST, "token"),
    ],
)
def test_what_is_not_reached_over_a_proxy_is_no_reason_to_set_one(
    shell: Shell, proxy: str, obstacle: Obstacle, step: str
) -> None:
    shell.set("ALL_PROXY", proxy)
    advice = advice_on(undelivered(obstacle))
    assert advice.step == step
    assert "set HTTPS_PROXY" not in advice.remedy
    shell.set("NO_PROXY", "thingspace.verizon.com")
    assert advice_on(undelivered(Obstacle.ROUTE)).step == "route"


@pytest.mark.parametrize(
    ("obstacle", "told"),
    [
        (Obstacle.ROUTE, "THINGSPACE_BASE_URL"),
        (Obstacle.TIMEOUT, "may have counted"),
        (Obstacle.LOST, "may have counted"),
    ],
)
def test_a_login_without_an_answer_may_have_counted_if_it_was_sent(
    obstacle: Obstacle, told: str
) -> None:
    advice = advice_on_no_answer(undelivered(obstacle, LOGIN_PATH))
    assert advice.step == "session"
    assert told in advice.remedy
