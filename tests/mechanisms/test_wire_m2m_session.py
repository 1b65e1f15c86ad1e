"""The module ``_wire/m2m_session``: what an answer to a login or a logout says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from thingspace_auth_adapters import M2mLoginError
from thingspace_auth_adapters._wire.m2m_session import LoginFailed, LoginOutcome, SessionEndpoints
from thingspace_auth_adapters._wire.messages import WITHHELD, Refused

from ..support.steps import answered
from ..support.virtual import BASE, GATEWAY_REFUSAL, LOGIN_REFUSED, SESSION_EXPIRED

NOW = 1_700_000_000.0
BEARER = "Bearer the-bearer"
ENDPOINTS = SessionEndpoints("user", "the-password", BASE)
REFUSED, UNKNOWN, NO_ATTEMPT = LoginOutcome


def failed(status: int, body: Any = b"", headers: Any = None) -> LoginFailed:
    """A login's answer that brings no session."""
    read = ENDPOINTS.read_login(answered(status, body, headers), NOW, BEARER)
    assert isinstance(read, LoginFailed)
    return read


@pytest.mark.parametrize(
    ("status", "body", "outcome", "is_transient", "blames_bearer"),
    [
        (400, LOGIN_REFUSED, REFUSED, False, False),
        (400, {"errorCode": "REQUEST_FAILED.Unexpected"}, REFUSED, False, False),
        (401, b"", UNKNOWN, False, True),
        (401, b"<html>", UNKNOWN, False, True),
        (403, b"<html><am:fault></html>", UNKNOWN, False, False),
        (403, b"  <am:fault xmlns:am='x'/>", UNKNOWN, False, False),
        (408, b"", UNKNOWN, True, False),
        (408, {"errorCode": "X"}, REFUSED, False, False),
        (500, {"sessionToken": "x"}, UNKNOWN, True, False),
        (500, {"errorCode": "X"}, UNKNOWN, True, False),
        (503, {"fault": {"code": "900910"}}, UNKNOWN, True, False),
        (200, {"sessionToken": ["x"]}, UNKNOWN, False, False),
        (199, {"sessionToken": "x"}, UNKNOWN, False, False),
        (300, {"sessionToken": "x"}, UNKNOWN, False, False),
        (399, GATEWAY_REFUSAL, UNKNOWN, False, False),
        (400, GATEWAY_REFUSAL, NO_ATTEMPT, False, True),
        (399, {"errorCode": "X"}, UNKNOWN, False, False),
        (499, {"errorCode": "X"}, REFUSED, False, False),
        (429, {"errorCode": "X"}, NO_ATTEMPT, True, False),
        (503, {"fault": {"code": "900800"}}, NO_ATTEMPT, True, False),
        (401, GATEWAY_REFUSAL, NO_ATTEMPT, False, True),
        (500, b"<ams:fault><ams:code>900903</ams:code></ams:fault>", NO_ATTEMPT, True, True),
    ],
)
def test_answers_to_a_login(
    status: int, body: Any, outcome: LoginOutcome, is_transient: bool, blames_bearer: bool
) -> None:
    """What each counts as is in a table, too: Part 1, test_rule_07_answers."""
    read = failed(status, body, {"retry-after": "7"})
    assert str(read.error).startswith(f"the login was {outcome.value} ")
    assert read.had_no_effect is (outcome is NO_ATTEMPT)
    assert read.is_transient is is_transient is read.error.retryable
    assert (read.error.status_code, read.retry_after) == (status, 7.0)
    assert read.error.refused_at == (NOW if outcome is REFUSED else None)
    assert read.blames_bearer is blames_bearer


@pytest.mark.parametrize("scheme", ["Bearer", "OAuth2"])
def test_challenge_blames_the_bearer_unless_the_login_was_refused(scheme: str) -> None:
    challenge = {"www-authenticate": f'{scheme} error="invalid_token"'}
    assert failed(401, b"", challenge).blames_bearer
    assert not failed(401, LOGIN_REFUSED, challenge).blames_bearer


@pytest.mark.parametrize("status", [200, 299])
def test_session_token_is_read(status: int) -> None:
    answer = answered(status, {"sessionToken": "8e1b4c2e-0000", "more": 1})
    assert ENDPOINTS.read_login(answer, NOW, BEARER) == "8e1b4c2e-0000"


def test_error_quotes_the_platform_without_what_it_was_told() -> None:
    body = {"errorCode": "X.the-password", "errorMessage": "no: the-password, the-bearer\r\n"}
    error = failed(400, body).error
    assert "the-password" not in str(error) + str(vars(error))
    assert "the-bearer" not in str(error) + str(vars(error))
    assert str(error).isprintable()
    assert error.error_code == WITHHELD


@pytest.mark.parametrize(
    ("status", "body", "is_over"),
    [
        (200, {"sessionToken": "the-session"}, True),
        (204, b"", True),
        (299, b"", True),
        (199, b"", False),
        (300, b"", False),
        (400, SESSION_EXPIRED, True),
        (400, {"errorCode": "X the-session"}, False),
        (401, GATEWAY_REFUSAL, False),
        (500, b"", False),
    ],
)
def test_answers_to_a_logout(status: int, body: Any, is_over: bool) -> None:
    read = ENDPOINTS.read_logout(answered(status, body), NOW, BEARER, "the-session")
    assert (read is None) is is_over
    if read is not None:
        assert isinstance(read, Refused)
        assert isinstance(read.error, M2mLoginError)
        assert "the-session" not in str(read.error)
        assert read.is_transient is (status == 500)


def test_nothing_shows_the_password() -> None:
    login = ENDPOINTS.login_request(BEARER)
    logout = ENDPOINTS.logout_request(BEARER, "the-session")
    shown = repr(ENDPOINTS) + repr(login) + repr(logout)
    shown += str(login.shown_headers) + str(logout.shown_headers)
    for secret in ("the-password", "the-bearer", "the-session"):
        assert secret not in shown
    assert json.loads(login.body) == {"username": "user", "password": "the-password"}
