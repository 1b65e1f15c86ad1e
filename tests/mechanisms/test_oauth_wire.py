"""The wire: whatever an endpoint answers is a usable token or one clear error."""

from __future__ import annotations

import json
import time
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
    WITHHELD,
    AlreadySentError,
    AnswerTooLate,
    HttpAnswer,
    HttpRequest,
    Refused,
    SentOnce,
    gateway_code,
    json_object,
    printable,
    quoted,
    retry_after,
    undelivered_text,
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
    assert OauthToken.from_dict(json.loads(json.dumps(outcome.to_dict()))) == outcome


@pytest.mark.once
@given(json_values | token_like, st.sampled_from([200, 201, 204, 301, 400, 401, 429, 500, 503]))
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
@given(token_like)
def test_any_token_from_a_user_is_taken_or_refused_by_name(value: dict[str, Any]) -> None:
    try:
        OauthToken.from_dict(value)
    except (TypeError, ValueError) as error:
        assert any(name in str(error) for name in OauthToken.__slots__)


def test_scope_is_trimmed_and_refresh_token_carried() -> None:
    body = {"access_token": "x", "scope": "  a  b ", "refresh_token": "r", "unknown": 1}
    token = read(json.dumps(body).encode())
    assert isinstance(token, OauthToken)
    assert (token.scope, token.refresh_token) == ("a b", "r")


def test_token_that_arrives_expired_is_a_failure_that_may_pass() -> None:
    for seconds in (0, -1):
        outcome = read(json.dumps({"access_token": "x", "expires_in": seconds}).encode())
        assert isinstance(outcome, Refused)
        assert outcome.is_transient
        assert isinstance(outcome.error, InvalidTokenResponseError)


def test_refusal_with_status_200_is_a_refusal() -> None:
    error = refused(b'{"error": "invalid_client"}')
    assert isinstance(error, OauthProviderError)
    assert (error.status_code, error.error) == (200, "invalid_client")


def test_fault_of_the_gateway_is_read_as_error() -> None:
    error = refused(b'{"fault": {"code": 900902, "message": "Missing Credentials"}}', 401)
    assert (error.error, error.error_description) == ("900902", "Missing Credentials")


def test_refusal_quotes_no_secret_and_no_line_break() -> None:
    basic = "a2V5OnRoZS1zZWNyZXQ="
    body = {"error": "x\r\ny", "error_description": f"the-secret {basic} param-secret" + "z" * 9999}
    error = refused(json.dumps(body).encode(), 400, {"more": "param-secret"})
    shown = str(error) + str(vars(error))
    for secret in ("the-secret", basic, "param-secret"):
        assert secret not in shown
    assert "\n" not in str(error)
    assert len(str(error)) < 1000


def test_revocation_that_is_refused() -> None:
    refusal = GRANT.read_revocation(answered(400, b'{"error": "the-token"}'), NOW, "the-token")
    assert refusal is not None
    assert isinstance(refusal.error, OauthProviderError)
    assert "revocation" in str(refusal.error)
    assert "the-token" not in str(refusal.error)
    redirected = GRANT.read_revocation(answered(302), NOW, "the-token")
    assert redirected is not None
    assert isinstance(redirected.error, InvalidTokenResponseError)
    assert "302" in str(redirected.error)
    assert GRANT.read_revocation(answered(200), NOW, "the-token") is None


@pytest.mark.parametrize(
    ("status", "is_transient"), [(400, False), (401, False), (429, True), (500, True), (503, True)]
)
def test_only_some_refusals_may_pass(status: int, is_transient: bool) -> None:
    outcome = GRANT.read_token(answered(status, b"", {"retry-after": "7"}), NOW, None)
    assert isinstance(outcome, Refused)
    assert (outcome.is_transient, outcome.retry_after) == (is_transient, 7.0)


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


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="this system's time zone cannot be set")
@pytest.mark.parametrize("text", ["Tue Nov 14 22:13:30 2023", "Tue, 14 Nov 2023 22:13:30 -0000"])
def test_retry_after_without_a_zone_means_utc(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """The third of HTTP's three forms of a date (RFC 9110 section 5.6.7)."""
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        assert retry_after({"retry-after": text}, NOW) == 10.0
    finally:
        monkeypatch.undo()
        time.tzset()


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


def test_error_begins_at_four_hundred() -> None:
    outcome = GRANT.read_token(answered(400, TOKEN), NOW, None)
    assert isinstance(outcome, Refused)
    assert isinstance(outcome.error, OauthProviderError)


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


def test_json_object_is_nothing_else() -> None:
    assert json_object(b'{"a": 1}') == {"a": 1}
    assert json_object(b"[]") is None
    assert json_object(b"<html>") is None


def test_values_on_the_wire_show_no_secret() -> None:
    request = GRANT.token_request(None)
    assert "a2V5" not in repr(request) + repr(GRANT) + str(request.shown_headers)
    assert "the-secret" not in repr(GRANT)
    assert "the-token" not in repr(answered(200, b"the-token"))


def test_answer_is_taken_until_the_deadline() -> None:
    answer = HttpAnswer(200, {})
    assert answer.take(b"a", now=9.0, ends_at=10.0)
    assert answer.take(b"b", now=10.0, ends_at=10.0)
    assert bytes(answer.body) == b"ab"
    assert answer.flaw is None
    with pytest.raises(AnswerTooLate):
        answer.take(b"c", now=10.1, ends_at=10.0)


def test_answer_that_is_too_long_is_not_kept() -> None:
    answer = HttpAnswer(200, {})
    assert answer.take(bytes(LONGEST_ANSWER), 0.0, 1.0)
    assert not answer.take(b"x", 0.0, 1.0)
    assert answer.body == b""
    assert "too long" in str(GRANT.read_token(answer, NOW, None).error)  # type: ignore[union-attr]


def test_body_that_is_sent_once_can_be_looked_at_and_sent_once() -> None:
    body = SentOnce(b"body")
    seen = [body.was_seen]
    assert (body, body.look(), body.look(), len(body)) == (b"body", b"body", b"body", 4)
    assert [*seen, body.was_seen] == [False, True]
    assert "body" not in f"{body} {body!r}"
    assert body.tell() == 0
    for again in (body.tell, lambda: body.seek(0)):
        with pytest.raises(AlreadySentError):
            again()


def test_error_without_an_answer_quotes_no_password_of_a_proxy() -> None:
    request = HttpRequest("the login", BASE + "/login", {}, b"")
    error = ConnectionError("cannot reach http://user:pass@proxy.example:3128/\n")
    text = undelivered_text(request, error)
    assert text.startswith("the login could not be reached: ")
    assert "pass@" not in text
    assert text.isprintable()
    assert "OSError" in undelivered_text(request, OSError())


@pytest.mark.parametrize(
    "form",
    ['p"ä&/+', 'p\\"\\u00e4&/+', "p%22%c3%a4%26%2f%2B", "p&quot;&#228;&amp;/+", "p&#x22;ä&#38;/+"],
)
def test_secret_is_found_in_every_usual_escaping(form: str) -> None:
    assert quoted(f"no: {form}.", 'p"ä&/+') == WITHHELD
    assert quoted(f"no: {form}.", "another", "") == f"no: {form}."


@pytest.mark.parametrize(
    "words",
    ["\\" * 60_000, "%25" * 20_000, "&amp;" * 12_000, "\\u005c" * 10_000, "\\ud83d" * 10_000],
)
def test_whatever_the_words_they_are_looked_through_quickly(words: str) -> None:
    """A second would do for all of them; each took many of those."""
    assert quoted(words, "\\" * 9 + "p", "x\\\\y") == printable(words)[:300]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"fault": {"code": "900901"}}, "900901"),
        ({"fault": {"code": 900902}}, "900902"),
        ({"code": "900903", "message": "…"}, "900903"),
        ({"code": 900800, "message": "…"}, "900800"),
        (b"<am:fault xmlns:am='x'><am:code>900901</am:code></am:fault>", "900901"),
        (b"<?xml version='1.0'?>\n<ams:fault><ams:code> 900904 </ams:code>", "900904"),
        (b"<fault><code>900800</code></fault>", "900800"),
        (b"<amt:FAULT a='1'><amt:Code>900803</amt:Code>", "900803"),
        ({"code": "123"}, None),
        ({"code": "INVALID"}, None),
        ({"fault": "900901"}, None),
        (b"<html><body>900901</body></html>", None),
        (b"<am:fault xmlns:am='x'/>", None),
        (b"<a:fault><b:code>900901</b:code></a:fault>", None),
        (b"", None),
        (b"[]", None),
    ],
)
def test_fault_of_the_gateway_is_known_in_each_of_its_forms(body: Any, code: str | None) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    assert gateway_code(content) == code


@pytest.mark.parametrize(
    ("status", "headers", "body", "is_transient", "is_throttled"),
    [
        (400, {}, b"", False, False),
        (407, {}, b"", False, False),
        (408, {}, b"", True, False),
        (425, {}, b"", True, False),
        (429, {}, b"", True, True),
        (500, {}, b"", True, False),
        (503, {}, b"", True, False),
        (503, {"retry-after": "1"}, b"", True, True),
        (400, {}, b'{"fault": {"code": "900800"}}', True, True),
        (403, {}, b"<amt:fault><amt:code>900803</amt:code></amt:fault>", True, True),
        (200, {}, b'{"fault": {"code": "900800"}}', False, False),
    ],
)
def test_what_may_pass_and_what_is_to_be_left_alone(
    status: int, headers: dict[str, str], body: bytes, is_transient: bool, is_throttled: bool
) -> None:
    answer = HttpAnswer(status, headers)
    answer.take(body, 0.0, 1.0)
    assert (answer.is_transient(), answer.is_throttled) == (is_transient, is_throttled)
    assert answer.is_transient("server_error")
    assert answer.is_transient("temporarily_unavailable")
