"""The module ``_wire/oauth``: whatever is answered is a usable token or one clear error."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from thingspace_auth_adapters import (
    InvalidTokenResponseError,
    OauthProviderError,
    OauthToken,
    ThingspaceAuthError,
    ThingspaceOauthCredentials,
)
from thingspace_auth_adapters._model.settings import Settings
from thingspace_auth_adapters._wire.messages import (
    LONGEST_ANSWER,
    HttpAnswer,
    Refused,
)
from thingspace_auth_adapters._wire.oauth import ClientCredentialsGrant

from ..support.steps import answered
from ..support.virtual import BASE

NOW = 1_700_000_000.0
CREDENTIALS = ThingspaceOauthCredentials("key", "the-secret")
GRANT = ClientCredentialsGrant(Settings(CREDENTIALS, BASE, None, 30.0))

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=5,
)
token_like = st.fixed_dictionaries(
    {},
    optional={
        "access_token": json_values | st.text(st.characters(max_codepoint=127), min_size=1),
        "token_type": json_values | st.sampled_from(["Bearer", "bearer", "BEARER", "mac"]),
        "expires_in": json_values | st.integers(-10, 4000) | st.integers(0, 4000).map(str),
        "scope": json_values,
        "expiry": json_values,
        "refresh_token": json_values,
        "error": json_values,
    },
)
# Hardly any of those is one that is taken.
good_tokens = st.fixed_dictionaries(
    {"access_token": st.from_regex(r"[!-~]+", fullmatch=True)},
    optional={
        "token_type": st.none() | st.sampled_from(["Bearer", "bearer", "BEARER"]),
        "expires_in": st.none() | st.integers(1, 4000) | st.integers(1, 4000).map(str),
        "scope": st.none() | st.text(),
        "expiry": st.none() | st.integers(1, 4000) | st.floats(1, 4000),
        "refresh_token": st.none() | st.text(),
    },
)
GOOD_TOKEN = {
    "access_token": "a-token",
    "token_type": "bearer",
    "expires_in": 3600,
    "scope": "a b",
    "expiry": NOW + 3600,
    "refresh_token": "r",
}


def read(body: bytes, status: int = 200, params: Any = None) -> OauthToken | Refused:
    return GRANT.read_token(answered(status, body), NOW, params)


def refused(body: bytes, status: int = 200, params: Any = None) -> Any:
    """The error that is read from an answer."""
    outcome = read(body, status, params)
    assert isinstance(outcome, Refused)
    return outcome.error


def check_outcome(body: bytes, status: int) -> None:
    outcome = read(body, status)
    if isinstance(outcome, Refused):
        assert isinstance(outcome.error, ThingspaceAuthError)
        assert str(outcome.error).isprintable()
        return
    assert 200 <= status < 300
    assert outcome.access_token.isprintable()
    assert outcome.access_token.isascii()
    assert outcome.token_type.lower() == "bearer"
    assert outcome.expiry is None or outcome.expiry > NOW
    assert_round_trips(outcome)


def assert_round_trips(token: OauthToken) -> None:
    """Field by field, since equality is that of what to_dict() returns."""
    again = OauthToken.from_dict(json.loads(json.dumps(token.to_dict())))
    for name in OauthToken.__slots__:
        assert getattr(again, name) == getattr(token, name)


@pytest.mark.once
@given(
    json_values | token_like | good_tokens,
    st.sampled_from([200, 201, 204, 301, 400, 401, 429, 500, 503]),
)
@example(GOOD_TOKEN, 200)
def test_any_json_is_a_usable_token_or_one_clear_error(value: Any, status: int) -> None:
    check_outcome(json.dumps(value).encode(), status)


@pytest.mark.once
@given(st.binary(), st.integers(100, 599))
@example(b"[" * 100_000, 200)
@example(b'{"access_token": "x", "expires_in": ' + b"9" * 5000 + b"}", 200)
@example(b'{"access_token": "x", "expires_in": 1e999}', 200)
@example(b'{"access_token": "x", "expires_in": NaN}', 200)
@example(b"\xff\xfe{\x00}\x00", 200)
@example("{}".encode("utf-16"), 400)
def test_any_bytes_are_a_usable_token_or_one_clear_error(body: bytes, status: int) -> None:
    check_outcome(body, status)


@pytest.mark.once
@given(token_like | good_tokens)
@example(GOOD_TOKEN)
def test_any_token_from_a_user_is_taken_or_refused_by_name(value: dict[str, Any]) -> None:
    try:
        token = OauthToken.from_dict(value)
    except (TypeError, ValueError) as error:
        assert any(name in str(error) for name in OauthToken.__slots__)
    else:
        assert token.access_token == value["access_token"]
        assert_round_trips(token)


def test_scope_is_trimmed_and_refresh_token_carried() -> None:
    body = {"access_token": "x", "scope": "  a  b ", "refresh_token": "r", "unknown": 1}
    token = read(json.dumps(body).encode())
    assert isinstance(token, OauthToken)
    assert (token.scope, token.refresh_token) == ("a b", "r")


FAULT = b'{"fault": {"code": 900902, "message": "Missing Credentials"}}'


@pytest.mark.parametrize(
    ("status", "body", "error", "description"),
    [
        (200, b'{"error": "invalid_client"}', "invalid_client", None),
        (400, b'{"access_token": "a-token"}', None, None),
        (401, FAULT, "900902", "Missing Credentials"),
    ],
)
def test_refusal_is_read(
    status: int, body: bytes, error: str | None, description: str | None
) -> None:
    """One with status 200, one with a token, and the gateway's fault."""
    found = refused(body, status)
    assert isinstance(found, OauthProviderError)
    told = (found.status_code, found.error, found.error_description)
    assert told == (status, error, description)


TOKEN = json.dumps({"access_token": "a-token", "expires_in": 1}).encode()


@pytest.mark.parametrize("status", [200, 201, 299])
def test_every_success_is_one(status: int) -> None:
    assert isinstance(GRANT.read_token(answered(status, TOKEN), NOW, None), OauthToken)
    assert GRANT.read_revocation(answered(status), NOW, "the-token") is None


@pytest.mark.parametrize("status", [199, 300, 301, 399])
def test_what_is_neither_a_success_nor_an_error_is_not_followed(status: int) -> None:
    for outcome in (
        GRANT.read_token(answered(status, TOKEN), NOW, None),
        GRANT.read_revocation(answered(status), NOW, "the-token"),
    ):
        assert isinstance(outcome, Refused)
        assert isinstance(outcome.error, InvalidTokenResponseError)
        assert f"answered {status}, which is not followed" in str(outcome.error)


@pytest.mark.parametrize("expires_in", [0, -1])
def test_token_that_arrives_expired_says_so(expires_in: int) -> None:
    body = json.dumps({"access_token": "a-token", "expires_in": expires_in}).encode()
    outcome = GRANT.read_token(answered(200, body), NOW, None)
    assert isinstance(outcome, Refused)
    assert isinstance(outcome.error, InvalidTokenResponseError)
    assert (outcome.error.is_expired, outcome.is_transient) == (True, True)


@pytest.mark.parametrize(("value", "is_told"), [("7 chars", True), ("8 chars!", False)])
def test_short_parameters_are_no_secrets(value: str, is_told: bool) -> None:
    """Such as a grant's name or a number, which a server's words hold by chance."""
    body = json.dumps({"error": "no", "error_description": f"bad {value}"}).encode()
    outcome = GRANT.read_token(answered(400, body), NOW, {"extra": value})
    assert isinstance(outcome, Refused)
    assert (value in str(outcome.error)) is is_told


@pytest.mark.parametrize(("status", "is_blamed"), [(401, True), (503, False)])
def test_key_is_named_if_it_may_be_to_blame(status: int, is_blamed: bool) -> None:
    outcome = GRANT.read_token(answered(status), NOW, None)
    assert isinstance(outcome, Refused)
    assert ("with the key key" in str(outcome.error)) is is_blamed
    assert isinstance(outcome.error, OauthProviderError)
    assert outcome.error.summary == f"the token endpoint refused (status {status})"


def test_token_beside_an_error_is_a_token() -> None:
    body = json.dumps({"error": "none", "access_token": "a-token", "token_type": "Bearer"})
    token = GRANT.read_token(answered(200, body.encode()), NOW, None)
    assert isinstance(token, OauthToken)
    assert token.access_token == "a-token"


def test_values_on_the_wire_show_no_secret() -> None:
    request = GRANT.token_request(None)
    assert "a2V5" not in repr(request) + repr(GRANT) + str(request.shown_headers)
    assert "the-secret" not in repr(GRANT)
    assert "the-token" not in repr(answered(200, b"the-token"))


def test_answer_that_is_too_long_is_not_kept() -> None:
    answer = HttpAnswer(200, {})
    assert LONGEST_ANSWER == 64 * 1024
    assert answer.take(bytes(LONGEST_ANSWER), 0.0, 1.0)
    assert not answer.take(b"x", 0.0, 1.0)
    assert answer.body == b""
    assert "too long" in str(GRANT.read_token(answer, NOW, None).error)  # type: ignore[union-attr]
