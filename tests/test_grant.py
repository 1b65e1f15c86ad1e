"""The wire: whatever an endpoint answers is a usable token or one clear error."""

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
)
from thingspace_auth_adapters.effects import HttpAnswer
from thingspace_auth_adapters.grant import (
    ClientCredentialsGrant,
    TransientFailure,
    json_object,
    retry_after,
)

NOW = 1_700_000_000.0
GRANT = ClientCredentialsGrant("key", "the-secret", (), "https://thingspace.verizon.com", 30.0)

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


def read(body: bytes, status: int = 200, headers: Any = None) -> Any:
    return GRANT.read_token(HttpAnswer(status, headers or {}, body), NOW)


def check_outcome(body: bytes, status: int) -> None:
    try:
        outcome = read(body, status)
    except ThingspaceAuthError as error:
        assert str(error).isprintable()
        return
    if isinstance(outcome, OauthToken):
        assert 200 <= status < 300
        assert outcome.access_token.isprintable()
        assert outcome.access_token.isascii()
        assert outcome.token_type.lower() == "bearer"
        assert outcome.expiry is None or outcome.expiry > NOW
        assert OauthToken.from_dict(json.loads(json.dumps(outcome.to_dict()))) == outcome
    else:
        assert isinstance(outcome, TransientFailure)


@given(json_values | token_like, st.sampled_from([200, 201, 204, 301, 400, 401, 429, 500, 503]))
def test_any_json_is_a_usable_token_or_one_clear_error(value: Any, status: int) -> None:
    check_outcome(json.dumps(value).encode(), status)


@given(st.binary(), st.integers(100, 599))
@example(b"[" * 100_000, 200)
@example(b'{"access_token": "x", "expires_in": ' + b"9" * 5000 + b"}", 200)
@example(b'{"access_token": "x", "expires_in": 1e999}', 200)
@example(b'{"access_token": "x", "expires_in": NaN}', 200)
@example(b"\xff\xfe{\x00}\x00", 200)
@example("{}".encode("utf-16"), 400)
def test_any_bytes_are_a_usable_token_or_one_clear_error(body: bytes, status: int) -> None:
    check_outcome(body, status)


@given(token_like)
def test_any_token_from_a_user_is_taken_or_refused_by_name(value: dict[str, Any]) -> None:
    try:
        OauthToken.from_dict(value)
    except (TypeError, ValueError) as error:
        assert any(name in str(error) for name in OauthToken.__slots__)


def test_scope_is_trimmed_and_refresh_token_carried() -> None:
    body = {"access_token": "x", "scope": "  a  b ", "refresh_token": "r", "unknown": 1}
    token = read(json.dumps(body).encode())
    assert (token.scope, token.refresh_token) == ("a b", "r")


def test_refusal_with_status_200_is_a_refusal() -> None:
    with pytest.raises(OauthProviderError) as caught:
        read(b'{"error": "invalid_client"}')
    assert (caught.value.status_code, caught.value.error) == (200, "invalid_client")


def test_fault_of_the_gateway_is_read_as_error() -> None:
    body = b'{"fault": {"code": 900902, "message": "Missing Credentials"}}'
    with pytest.raises(OauthProviderError) as caught:
        read(body, 401)
    assert caught.value.error == "900902"
    assert caught.value.error_description == "Missing Credentials"


def test_refusal_quotes_no_secret_and_no_line_break() -> None:
    basic = "a2V5OnRoZS1zZWNyZXQ="
    body = {"error": "x\r\ny", "error_description": f"the-secret {basic} " + "z" * 9999}
    with pytest.raises(OauthProviderError) as caught:
        read(json.dumps(body).encode(), 400)
    shown = str(caught.value) + str(vars(caught.value))
    assert "the-secret" not in shown
    assert basic not in shown
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_revocation_that_is_refused() -> None:
    with pytest.raises(OauthProviderError, match="revocation"):
        GRANT.read_revocation(HttpAnswer(400, {}, b""), NOW)
    with pytest.raises(InvalidTokenResponseError, match="302"):
        GRANT.read_revocation(HttpAnswer(302, {}, b""), NOW)
    assert GRANT.read_revocation(HttpAnswer(200, {}, b""), NOW) is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7.0),
        (" 120 ", 120.0),
        ("Tue, 14 Nov 2023 22:13:30 GMT", 10.0),
        ("Tue, 14 Nov 2023 22:13:10 GMT", 0.0),
        ("", None),
        ("soon", None),
        ("-3", None),
        ("1.5", None),
        ("9" * 20, None),
        ("Tue, 99 Nov 2023 22:13:30 GMT", None),
    ],
)
def test_retry_after(text: str, seconds: float | None) -> None:
    assert retry_after({"retry-after": text}, NOW) == seconds
    assert retry_after({}, NOW) is None


def test_json_object_is_nothing_else() -> None:
    assert json_object(b'{"a": 1}') == {"a": 1}
    assert json_object(b"[]") is None
    assert json_object(b"<html>") is None


def test_values_on_the_wire_show_no_secret() -> None:
    request = GRANT.token_request(None)
    answer = HttpAnswer(200, {}, b"the-token")
    assert "a2V5" not in repr(request) + repr(GRANT)
    assert "the-token" not in repr(answer)
    assert "the-secret" not in repr(GRANT)
