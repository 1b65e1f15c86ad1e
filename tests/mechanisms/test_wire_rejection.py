"""The module ``_wire/rejection``: near misses of what rejects a credential, and bodies.

The answers themselves are in a table: Part 1, test_rule_07_answers.
"""

from __future__ import annotations

import gzip
import json
import zlib
from typing import Any

import pytest

from thingspace_auth_adapters._wire.rejection import (
    BODY_LIMIT,
    Credential,
    Rejection,
    classify,
    decoded,
    is_readable,
    may_reject,
)

BEARER = Rejection(Credential.BEARER)
SUSPECTED = Rejection(Credential.BEARER, is_certain=False)
SESSION = Rejection(Credential.SESSION)
SUSPECT = Rejection(Credential.SESSION, is_certain=False)
NEITHER = Rejection(None)


def fault(code: object) -> dict[str, Any]:
    return {"fault": {"code": code, "message": "…", "description": "Access failure for API"}}


def error(code: object, message: object = "…") -> dict[str, Any]:
    return {"errorCode": code, "errorMessage": message}


EXPIRED = "UnifiedWebService.REQUEST_FAILED.SessionToken.Expired"
LOCATION_EXPIRED = "UWS verification failure (The Session has expired.)"
CLOUD = {
    "error": "unauthorized",
    "error_description": "Failure response received for UWS V1 REST accounts: [400]",
    "cause": "Requested service is unauthorized for given token",
}


@pytest.mark.parametrize(
    ("status", "headers", "body", "rejection"),
    [
        (401, {}, b'{"fault": "900901"}', SUSPECTED),
        (401, {}, b'{"message": "900901 Invalid Credentials"}', SUSPECTED),
        (401, {}, b'{"fault": {"description": "900901"}}', SUSPECTED),
        (401, {}, b'{"fault": {"code": "900910"}}', NEITHER),
        (401, {}, b'{"fault": {"code": "900905"}}', SUSPECTED),
        (403, {}, b'{"fault": {"code": "900905"}}', NEITHER),
        (401, {}, '{"fault": {"code": "900901"}}'.encode("utf-16"), BEARER),
        (401, {}, b"<am:fault><am:text>900901</am:text></am:fault>", SUSPECTED),
        (401, {"www-authenticate": 'bearer realm="a", ERROR="INVALID_TOKEN"'}, b"", BEARER),
        (401, {"www-authenticate": 'Bearer error="invalid_request"'}, b"", NEITHER),
        (401, {"www-authenticate": 'OAuth2 realm="x, y", error="invalid_token"'}, b"", BEARER),
        (401, {"www-authenticate": "NotBearer error=invalid_token"}, b"", BEARER),
        (401, {"www-authenticate": 'Basic realm="error=invalid_token"'}, b"", SUSPECTED),
        (401, {"www-authenticate": 'Basic realm="\\" error=invalid_token"'}, b"", SUSPECTED),
        (401, {"www-authenticate": 'OAuth2 error="insufficient_scope"'}, b"", NEITHER),
        (401, {}, b'{"fault": {"code": "900901"}, "errorCode": "%s"}' % EXPIRED.encode(), BEARER),
    ],
)
def test_near_misses_of_a_rejected_bearer(
    status: int, headers: dict[str, str], body: bytes, rejection: Rejection
) -> None:
    assert classify(status, headers, body) == rejection


@pytest.mark.parametrize(
    "fields",
    [
        error("a.b.c.INPUT_INVALID.SessionToken.Invalid"),
        {"errorCode": EXPIRED},
        error(EXPIRED, None),
        error("INVALID_PARAMETER", "uws verification failure( the session has expired )"),
        error("LocationService.INVALID_PARAMETER", LOCATION_EXPIRED),
        {**CLOUD, "error_description": "Failure response received for UWS V2: [401]"},
        {**CLOUD, "cause": "requested service is unauthorized for given token."},
    ],
)
def test_other_forms_of_a_rejected_session(fields: Any) -> None:
    for status in (400, 401, 403, 404, 422, 499):
        assert classify(status, {}, json.dumps(fields).encode()) == SESSION


NEAR_MISSES: list[Any] = [
    {"errorMessage": EXPIRED},
    {"error": EXPIRED},
    {"details": {"errorCode": EXPIRED}},
    [error(EXPIRED)],
    error([EXPIRED]),
    error({"code": EXPIRED}),
    error(EXPIRED.lower()),
    error(EXPIRED + "ByAdmin"),
    error(EXPIRED + " "),
    error("REQUEST_FAILED.SessionTokens.Expired"),
    error("REQUEST_FAILED.Expired"),
    error("SessionToken.Expired"),
    error("XREQUEST_FAILED.SessionToken.Expired"),
    error("REQUEST_FAILED.SessionToken.Limit"),
    error("OTHER", LOCATION_EXPIRED),
    error("INVALID_PARAMETER", "The Session has expired."),
    error("INVALID_PARAMETER", "UWS verification failure (The Session has not expired.)"),
    error("INVALID_PARAMETER", f"device named '{LOCATION_EXPIRED}' not found"),
    error("INVALID_PARAMETER", [LOCATION_EXPIRED]),
    {"errorCode": "INVALID_PARAMETER", "message": LOCATION_EXPIRED},
    {"errorMessage": LOCATION_EXPIRED},
    {**CLOUD, "error": "unauthorised"},
    {**CLOUD, "cause": "Requested device is unauthorized"},
    {**CLOUD, "cause": None},
    {**CLOUD, "error_description": "Failure response received for NEWS accounts: [400]"},
    {"error": "unauthorized", "error_description": CLOUD["cause"]},
]


@pytest.mark.parametrize("fields", NEAR_MISSES)
def test_near_misses_of_a_rejected_session(fields: Any) -> None:
    assert classify(400, {}, json.dumps(fields).encode()) in (NEITHER, SUSPECT)


@pytest.mark.parametrize(
    ("text", "is_suspect"),
    [
        ("UWS failure", True),
        ("uws", True),
        ("bad SessionToken", True),
        ("INVALID_SESSIONTOKEN", True),
        ("the session token is missing", True),
        ("SESSION_EXPIRED", True),
        ("SessionInvalid", True),
        ("Your session has already expired", True),
        ("session 12 is invalid", True),
        ("no active data session", False),
        ("session limit reached", False),
        ("expired SIM", False),
        ("invalid imei in this session", False),
        ("session" + 40 * " " + "expired", False),
    ],
)
@pytest.mark.parametrize("name", ["errorCode", "message", "error_description", "anything"])
@pytest.mark.parametrize("status", [400, 404, 409, 422])
def test_texts_that_speak_of_a_session_make_it_suspect(
    status: int, name: str, text: str, is_suspect: bool
) -> None:
    found = classify(status, {}, json.dumps({name: text}).encode())
    assert found == (SUSPECT if is_suspect else NEITHER)


@pytest.mark.parametrize(
    ("body", "rejection"),
    [(b" [1]", SUSPECT), (b'{"a": 1}', SUSPECT), (b'"a"', NEITHER), (b"<html>", NEITHER)],
)
def test_403_with_json_makes_a_session_suspect(body: bytes, rejection: Rejection) -> None:
    assert classify(403, {}, body) == rejection


@pytest.mark.parametrize(
    "body",
    [
        f"<error><errorCode>{EXPIRED}</errorCode></error>".encode(),
        f"errorCode={EXPIRED}".encode(),
        json.dumps(error(EXPIRED)).encode()[:-1],
        b"[" * 50_000,
        b"\xff\xfe" + b"\0" * 100,
        b"",
    ],
    ids=["xml", "form", "truncated", "deep", "undecodable", "empty"],
)
def test_bodies_that_are_no_json_reject_no_session(body: bytes) -> None:
    assert classify(400, {}, body) == NEITHER


def test_beginning_of_a_huge_body_rejects_no_session() -> None:
    huge = json.dumps({"padding": "x" * 20_000_000, **error(EXPIRED)}).encode()
    assert classify(400, {}, huge[:BODY_LIMIT]) == NEITHER


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "latin-1"])
def test_other_encodings_are_understood(encoding: str) -> None:
    text = json.dumps(error(EXPIRED, "abgelaufen für immer"), ensure_ascii=False)
    assert classify(400, {}, text.encode(encoding)) == SESSION


@pytest.mark.parametrize("status", [200, 302, 399, 500, 502, 503])
def test_only_4xx_can_reject(status: int) -> None:
    assert classify(status, {}, json.dumps(error(EXPIRED)).encode()) == NEITHER
    assert not may_reject(status, Credential.BEARER)
    assert not may_reject(status, Credential.SESSION)


def test_only_a_401_can_reject_the_bearer() -> None:
    bearers, sessions = (
        [status for status in range(100, 600) if may_reject(status, credential)]
        for credential in (Credential.BEARER, Credential.SESSION)
    )
    assert bearers == [401]
    assert sessions == list(range(400, 500))


@pytest.mark.parametrize(
    ("headers", "readable"),
    [
        ({}, True),
        ({"content-length": "65536"}, True),
        ({"content-length": "65537"}, False),
        ({"content-length": "9" * 5000}, False),
        ({"content-length": "-1"}, False),
        ({"content-length": "many"}, False),
        ({"content-encoding": "identity"}, True),
        ({"content-encoding": "gzip"}, True),
        ({"content-encoding": " Deflate "}, True),
        ({"content-encoding": "br"}, False),
        ({"content-encoding": "zstd"}, False),
        ({"content-encoding": "gzip, gzip"}, False),
    ],
)
def test_body_that_is_long_or_may_grow_is_not_read(headers: dict[str, str], readable: bool) -> None:
    assert is_readable(headers) is readable


# Encoded bodies.


def raw_deflated(body: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(body) + compressor.flush()


@pytest.mark.parametrize(
    ("encoding", "encode"),
    [
        ("gzip", gzip.compress),
        ("GZIP ", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", raw_deflated),
        ("identity", bytes),
        ("", bytes),
    ],
)
def test_body_is_decoded_and_never_grows_beyond_the_limit(encoding: str, encode: Any) -> None:
    headers = {"content-encoding": encoding}
    body = json.dumps(fault("900901")).encode()
    assert decoded(encode(body), headers) == body
    assert decoded(encode(b"x" * 2 * BODY_LIMIT), headers) == b"x" * BODY_LIMIT


def test_body_that_cannot_be_decoded_counts_as_empty() -> None:
    assert decoded(b"no such thing", {"content-encoding": "deflate"}) == b""
