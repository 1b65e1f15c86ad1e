"""Part 1, rule 12: a server's words are quoted only if they hold nothing secret that it was told.

Nor do messages quote what the user gave that is no text.
"""

from __future__ import annotations

import base64
import contextlib
import html
import json
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from thingspace_auth_adapters import (
    M2mLoginError,
    OauthProviderError,
    ThingspaceOauthCredentials,
    VzM2mCredentials,
)

from ..support.kinds import IDENTITY, PASSWORD, SYNC_KINDS, Kind
from ..support.logins import credentials, file_store
from ..support.virtual import API, Answer, Platform, login_refusal

pytestmark = pytest.mark.usefixtures("clock")

# Its letters outlast every escaping, so each of the parts shows whether it leaked.
QUOTABLE = "pAss&w/\"Ord'+é<tAil>\\eNd"
PARTS = ("pAss", "Ord", "tAil", "eNd")


def as_code_units(pattern: str) -> str:
    return "".join(c if c.isalnum() and c.isascii() else pattern % ord(c) for c in QUOTABLE)


ESCAPED = {
    "plain": QUOTABLE,
    "json": json.dumps(QUOTABLE)[1:-1],
    "json in json": json.dumps(json.dumps(QUOTABLE))[1:-1],
    "json with umlauts": json.dumps(QUOTABLE, ensure_ascii=False)[1:-1],
    "json with slashes": json.dumps(QUOTABLE)[1:-1].replace("/", "\\/"),
    "json for html": as_code_units("\\u%04x"),
    "json in capitals": as_code_units("\\u%04X"),
    "javascript": as_code_units("\\x%02x"),
    "html": html.escape(QUOTABLE),
    "html without quotes": html.escape(QUOTABLE, quote=False),
    "html in html": html.escape(html.escape(QUOTABLE)),
    "html by number": as_code_units("&#%d;"),
    "html by hexadecimal": as_code_units("&#x%x;"),
    "percent": quote(QUOTABLE, safe=""),
    "percent but slashes": quote(QUOTABLE),
    "percent, small": as_code_units("%%%02x").replace("%e9", "%c3%a9"),
    "percent twice": quote(quote(QUOTABLE, safe=""), safe=""),
    "form": quote_plus(QUOTABLE),
    "python": repr(QUOTABLE),
}
WITH_A_SECRET: dict[str, dict[str, Any]] = {
    "tokens": {"oauth_client_secret": QUOTABLE},
    "logins": {"m2m": credentials(password=QUOTABLE)},
}


def refusal_of(words: str, error: str = "X.REQUEST_FAILED.No") -> Answer:
    """What either endpoint may refuse with."""
    of_a_token = {"error": error, "error_description": words, "error_uri": words}
    return Answer(400, {**of_a_token, "errorCode": error, "errorMessage": words})


@pytest.mark.parametrize("place", WITH_A_SECRET)
@pytest.mark.parametrize("escaping", ESCAPED)
def test_quoted_secret_is_not_quoted_again(
    kind: Kind, platform: Platform, place: str, escaping: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    setattr(platform, place, [refusal_of(f"no such secret: {ESCAPED[escaping]} (of the user)")])
    with pytest.raises(kind.request_error) as caught:
        kind.get(kind.auth(platform, **WITH_A_SECRET[place]), API, platform)
    told = f"{caught.value} {caught.value!r} {vars(caught.value)} {caplog.text}"
    assert [part for part in PARTS if part in told] == []
    assert "withheld" in str(caught.value)


@pytest.mark.parametrize("place", WITH_A_SECRET)
def test_servers_words_are_short_and_have_no_control_characters(
    kind: Kind, platform: Platform, place: str
) -> None:
    words = "no\r\nforged: line\x1b[31m\x9b2J\u2028\x00\u202e" + "z" * 9999
    setattr(platform, place, [refusal_of(words, words)])
    with pytest.raises(kind.request_error, match="forged: line") as caught:
        kind.get(kind.auth(platform, **WITH_A_SECRET[place]), API, platform)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1200


BASIC = base64.b64encode(b"the-key:s3cr3t-of-the-key").decode()


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("tokens", "s3cr3t-of-the-key"),
        ("tokens", BASIC),
        ("logins", PASSWORD),
        ("logins", "token-1"),
        ("logouts", "session-1"),
        ("logouts", "token-1"),
    ],
)
def test_each_value_that_an_endpoint_was_told_is_withheld(
    kind: Kind, platform: Platform, place: str, told: str
) -> None:
    auth = kind.auth(platform, m2m=credentials())
    if place == "logouts":
        kind.get(auth, API, platform)
    setattr(platform, place, [refusal_of(f"no such thing: {told}.")])
    with pytest.raises(kind.request_error, match="withheld") as caught:
        kind.end_session(auth) if place == "logouts" else kind.get(auth, API, platform)
    assert told not in f"{caught.value} {vars(caught.value)}"


def test_refused_revocation_and_parameters_are_not_quoted(kind: Kind, platform: Platform) -> None:
    auth = kind.auth(platform, oauth_token={"access_token": "the token/in use"})
    words = "cannot revoke the token/in use or the%20token%2Fin%20use or the+token%2Fin+use"
    platform.tokens = [Answer(400, {"error": "invalid_request", "error_description": words})]
    with pytest.raises(OauthProviderError, match="revocation") as caught:
        kind.revoke_token(auth)
    told = f"{caught.value} {caught.value.error_description}"
    assert [form for form in ("in use", "in%20use", "in+use") if form in told] == []
    platform.tokens = [Answer(400, {"error": "x", "error_description": "bad signed.assertion"})]
    with pytest.raises(OauthProviderError) as refused:
        kind.fetch_token(auth, {"client_assertion": "signed.assertion"})
    assert "signed" not in str(refused.value)


def test_long_words_are_not_cut_within_a_secret(platform: Platform) -> None:
    """Whoever quotes them: the words are cut where the clients are not known."""
    kind = SYNC_KINDS[-1]
    secret = "pAss" * 16
    auth = kind.auth(platform, oauth_client_secret=secret)
    shortened = 0
    for length in range(0, 1200, 29):
        platform.tokens = [refusal_of("x" * length + secret + "q" * 2000)]
        with pytest.raises(OauthProviderError) as caught:
            kind.fetch_token(auth)
        told = f"{caught.value} {caught.value.error_description}"
        assert "pAss" not in told
        shortened += "q" not in told
    assert shortened, "this text was never cut near the secret: make it longer"


# A name that holds its secret, as if both were pasted into one field.


def test_key_that_holds_the_secret_is_withheld(kind: Kind, platform: Platform) -> None:
    platform.tokens = [Answer(401)]
    secret = IDENTITY["oauth_client_secret"]
    auth = kind.auth(platform, oauth_client_id=f"the-key {secret}")
    with pytest.raises(OauthProviderError, match="withheld") as caught:
        kind.get(auth, API, platform)
    assert secret not in str(caught.value)


def test_user_name_that_holds_the_password_is_withheld(kind: Kind, platform: Platform) -> None:
    platform.logins = [login_refusal()]
    auth = kind.auth(platform, m2m=credentials(f"user {PASSWORD}"))
    for _ in range(2):
        with pytest.raises(M2mLoginError, match="withheld") as caught:
            kind.get(auth, API, platform)
        assert PASSWORD not in str(caught.value)


# Entries of a store that somebody else wrote.

FORGED = "\r\nforged: line\x1b[31m\x9b2J\u2028\x00"


def tampered(entry: bytes) -> Iterator[bytes]:
    """An entry with hostile text in the place of each of its texts, and of the whole."""
    yield FORGED.encode()
    yield json.dumps(FORGED).encode()
    fields = {}
    with contextlib.suppress(ValueError):
        fields = json.loads(entry)
    for path in texts_of(fields):
        changed = inner = json.loads(entry)
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = FORGED
        yield json.dumps(changed).encode()


def texts_of(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, str) and path:
        yield path
    elif isinstance(value, (dict, list)):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from texts_of(item, (*path, key))


@pytest.mark.parametrize("logins", [[], [login_refusal()]], ids=["session", "refused login"])
def test_text_of_a_tampered_entry_is_quoted_without_control_characters(
    kind: Kind,
    platform: Platform,
    logins: list[Answer],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "thingspace_auth_adapters")
    directory = tmp_path / "store"
    messages = []

    def request() -> None:
        platform.logins = list(logins)
        auth = kind.auth(platform, m2m=credentials(), store=file_store(directory))
        try:
            kind.get(auth, API, platform)
        except M2mLoginError as error:
            messages.append(str(error))

    request()
    entries = [path for path in directory.rglob("*") if path.is_file() and path.stat().st_size]
    assert entries
    for path in entries:
        before = path.read_bytes()
        for content in tampered(before):
            path.write_bytes(content)
            request()
        path.write_bytes(before)
    messages += [record.getMessage() for record in caplog.records]
    assert messages
    assert [text for text in messages if not text.isprintable()] == []


# What is no UTF-8: a Latin-1 byte in an environment variable, for one.

NOT_UTF8 = "hush-\udcff-hush"

HIDDEN: dict[str, Callable[[], dict[str, Any]]] = {
    "oauth_client_id": lambda: {"oauth_client_id": NOT_UTF8},
    "oauth_client_secret": lambda: {"oauth_client_secret": NOT_UTF8},
    "oauth_token": lambda: {"oauth_token": {"access_token": NOT_UTF8}},
    "username": lambda: {"m2m": VzM2mCredentials(NOT_UTF8, "x")},
    "password": lambda: {"m2m": VzM2mCredentials("x", NOT_UTF8)},
    "vz_m2m_token": lambda: {"m2m": VzM2mCredentials("x", "y", vz_m2m_token=NOT_UTF8)},
    "m2m": lambda: {"m2m": NOT_UTF8},
}
# No secrets: their messages may show what is wrong with them, escaped.
SHOWN: dict[str, Callable[[], dict[str, Any]]] = {
    "oauth_scopes": lambda: {"oauth_scopes": [NOT_UTF8]},
    "base_url": lambda: {"base_url": f"https://{NOT_UTF8}.example"},
    "allowed_hosts": lambda: {"allowed_hosts": [f"{NOT_UTF8}.example"]},
}


def assert_hidden(error: BaseException | None) -> None:
    while error is not None:
        assert not isinstance(error, UnicodeError)
        assert "hush" not in f"{error} {error!r} {vars(error)}"
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize("name", [*HIDDEN, *SHOWN])
def test_what_is_no_utf8_is_named_at_construction(sync_kind: Kind, name: str) -> None:
    with pytest.raises((TypeError, ValueError), match=name) as caught:
        sync_kind.auth(**{**HIDDEN, **SHOWN}[name]())
    assert not isinstance(caught.value, UnicodeError)
    assert str(caught.value).isprintable()
    if name in HIDDEN:
        assert_hidden(caught.value)


@pytest.mark.skipif(os.name != "posix", reason="elsewhere the environment is text")
@pytest.mark.parametrize(
    ("source", "variable", "words"),
    [
        (ThingspaceOauthCredentials, "THINGSPACE_OAUTH_OAUTH_CLIENT_SECRET", "client_secret"),
        (VzM2mCredentials, "VZ_M2M_PASSWORD", "password"),
    ],
)
def test_what_is_no_utf8_in_the_environment_is_named(
    sync_kind: Kind, monkeypatch: pytest.MonkeyPatch, source: Any, variable: str, words: str
) -> None:
    for name in ("THINGSPACE_OAUTH_OAUTH_CLIENT_ID", "VZ_M2M_USERNAME"):
        monkeypatch.setenv(name, "name")
    monkeypatch.setenv(variable, NOT_UTF8)
    is_account = source is VzM2mCredentials
    with pytest.raises(ValueError, match=f"(?i){words}") as caught:
        given = source.from_environment()
        sync_kind.auth(**{"m2m" if is_account else "thingspace_oauth_credentials": given})
    assert_hidden(caught.value)
