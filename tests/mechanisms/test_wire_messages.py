"""The module ``_wire/messages``: what is sent and answered, quoted and withheld."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from thingspace_auth_adapters._wire.messages import (
    WITHHELD,
    AlreadySentError,
    AnswerTooLate,
    HttpAnswer,
    HttpRequest,
    SentOnce,
    gateway_code,
    json_object,
    printable,
    quoted,
    retry_after,
    undelivered_text,
)

from ..support.steps import answered
from ..support.virtual import BASE

NOW = 1_700_000_000.0


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


def test_json_object_is_nothing_else() -> None:
    assert json_object(b'{"a": 1}') == {"a": 1}
    assert json_object(b"[]") is None
    assert json_object(b"<html>") is None


def test_answer_is_taken_until_the_deadline() -> None:
    answer = HttpAnswer(200, {})
    assert answer.take(b"a", now=9.0, ends_at=10.0)
    assert answer.take(b"b", now=10.0, ends_at=10.0)
    assert bytes(answer.body) == b"ab"
    assert answer.flaw is None
    with pytest.raises(AnswerTooLate):
        answer.take(b"c", now=10.1, ends_at=10.0)


def test_answer_is_taken_up_to_64_kib() -> None:
    answer = HttpAnswer(200, {})
    assert answer.take(b"x" * 65_536, now=0.0, ends_at=10.0)
    assert not answer.take(b"x", now=0.0, ends_at=10.0)
    assert answer.flaw == "it is too long: more than 64 KiB"
    assert answer.body == b""


def test_servers_words_are_quoted_up_to_300_characters() -> None:
    assert quoted("x" * 299 + "yz") == "x" * 299 + "y"


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
    begun_at = time.perf_counter()
    assert quoted(words, "\\" * 9 + "p", "x\\\\y") == printable(words)[:300]
    # A hundredth of it would do; each took many times as long.
    assert time.perf_counter() - begun_at < 5.0


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


@pytest.mark.parametrize(("status", "is_error"), [(200, False), (399, False), (400, True)])
def test_fault_is_throttling_in_an_error_alone(status: int, is_error: bool) -> None:
    assert answered(status, b'{"fault": {"code": "900800"}}').is_throttled == is_error


@pytest.mark.parametrize(
    ("status", "is_transient"),
    [(400, False), (408, True), (425, True), (429, True), (499, False), (500, True), (599, True)],
)
def test_status_after_which_trying_again_may_help(status: int, is_transient: bool) -> None:
    assert answered(status, b"").is_transient() == is_transient
