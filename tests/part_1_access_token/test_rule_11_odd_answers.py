"""Part 1, rules 11 and 12: whatever a server answers, a response or the library's own error.

Hypothesis makes the answers of the token endpoint, of the login and of an API. Time is virtual.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import itertools
import json
import logging
import re
import zlib
from collections.abc import Generator
from typing import Any, Callable, NamedTuple
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from thingspace_auth_adapters import ThingspaceAuthError, VzM2mCredentials
from thingspace_auth_adapters._adapters import auth as auth_module

from ..support import virtual
from ..support.kinds import IDENTITY, INSTALLED, PASSWORD, SYNC_KINDS, Kind
from ..support.virtual import API, BASE, LOGIN_PATH, TOKEN_PATH, Answer, Call, VirtualClock

pytestmark = [
    # What the platform says is read in the same way by every interpreter.
    pytest.mark.once,
    # httpx leaves the body of a response that it cannot decode to trio's garbage collection.
    pytest.mark.filterwarnings("ignore:Async generator 'httpx:ResourceWarning"),
]

MOST_FAILED_LOGINS = 4
MOST_LOGINS_FOR_ONE_REQUEST = 8  # four attempts, each of them once more with another bearer

SECRET = IDENTITY["oauth_client_secret"]
BASIC = base64.b64encode(f"{IDENTITY['oauth_client_id']}:{SECRET}".encode()).decode()
ODD_TOKEN = "odd-t0ken"
ISSUED = [f"{word}-{number}" for word in ("token", "session") for number in range(1, 10)]
SECRETS = (SECRET, BASIC, PASSWORD, ODD_TOKEN, *ISSUED)

# What a server was told, and may repeat in its answer: markers for what stands in the call.
CREDENTIALS, ACCOUNT = "<credentials>", "<account>"
TOLD = {"token": (CREDENTIALS, ACCOUNT), "login": (CREDENTIALS, ACCOUNT), "api": (CREDENTIALS,)}

# Whole conversations are large, and some bodies are packed.
UNCHECKED = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]

each_kind = pytest.mark.parametrize(
    "kind", [pytest.param(kind, id=kind.name) for kind in INSTALLED]
)

_accounts = itertools.count()


class Odd(Answer):
    """An answer that Hypothesis made.

    Attributes:
        pack: how its body is packed.
        is_gateways: whether it may be the gateway's, so that a login did not get to the platform.
    """

    def __init__(
        self, status: int, body: bytes, headers: dict[str, str], pack: str, is_announced: bool
    ) -> None:
        coding = {"Content-Encoding": "deflate" if pack == "deflate" else "gzip"}
        super().__init__(status, body, {**headers, **(coding if pack and is_announced else {})})
        self.pack = pack
        told = body + self.headers.get("WWW-Authenticate", "").encode("latin-1")
        has_code = re.search(rb"9\d{5}|invalid_token", told) is not None
        self.is_gateways = status == 429 or has_code

    def to(self, call: Call, is_requests: bool) -> Answer:
        """What is sent in answer to a call."""
        credentials = (call.authorization or "").rpartition(" ")[2]
        account = SECRET if call.path.endswith(TOKEN_PATH) else PASSWORD
        body = self.body.replace(CREDENTIALS.encode(), credentials.encode("latin-1"))
        answer = Answer(
            self.status, packed(body.replace(ACCOUNT.encode(), account.encode()), self.pack)
        )
        # httpx takes text for ASCII.
        pairs = self.headers.items()
        encoded: Any = {name.encode(): value.encode("latin-1") for name, value in pairs}
        answer.headers = self.headers if is_requests else encoded
        return answer

    def __repr__(self) -> str:
        return f"Odd({self.status}, {self.body[:200]!r}, {self.headers}, {self.pack!r})"


def odd_json(status: int, fields: Any) -> Odd:
    return Odd(status, json.dumps(fields).encode(), {}, "", False)


def packed(body: bytes, pack: str) -> bytes:
    def zipped(content: bytes) -> bytes:
        return gzip.compress(content, mtime=0)

    ways: dict[str, Callable[[bytes], bytes]] = {
        "gzip": zipped,
        "deflate": zlib.compress,
        "twice": lambda content: zipped(zipped(content)),
        "truncated": lambda content: zipped(content)[:-9],
        "bomb": lambda content: zipped(content + b" " * 1_000_000),
    }
    return ways[pack](body) if pack else body


class Step(NamedTuple):
    """Time passes, the platform has answers in store, and the user does something."""

    pause: float
    answers: list[tuple[str, Odd]]
    action: str


class Platform(virtual.Platform):
    """Counts failed logins as the real one does: in a row, and the fifth locks the account."""

    def __init__(self, is_requests: bool) -> None:
        super().__init__()
        self.is_requests = is_requests
        self.failed_logins = 0
        self.most_failed_logins = 0

    def handle(self, call: Call) -> Answer:
        answer = super().handle(call)
        # A client may also be redirected there.
        if call.path.endswith(LOGIN_PATH) and b'"password"' in call.body:
            self.count_login(answer)
        return answer.to(call, self.is_requests) if isinstance(answer, Odd) else answer

    def count_login(self, answer: Answer) -> None:
        if not isinstance(answer, Odd):
            self.failed_logins = 0
        elif not answer.is_gateways:
            self.failed_logins += 1
            self.most_failed_logins = max(self.most_failed_logins, self.failed_logins)

    def put(self, place: str, answer: Odd) -> None:
        {"token": self.tokens, "login": self.logins, "api": self.api}[place].append(answer)


# What Hypothesis makes.

CODES = [
    "invalid_client",
    "server_error",
    "UnifiedWebService.REQUEST_FAILED.SessionToken.Expired",
    "UnifiedWebService.REQUEST_FAILED.UnexpectedError",
    "INVALID_PARAMETER",
    "UWS verification failure (The Session has expired.)",
    "900901",
    "900800",
    900902,
    "\ud800",
    "no\r\nforged: line\x1b[31m",
]
TOKEN_FIELDS = {
    "access_token": [ODD_TOKEN, "", " ", "a b", "x\ny", "é", 5, None, [], {}],
    "expires_in": [3600, 1, 0, -5, "3600", " 7 ", "soon", 1e300, float("nan"), 10**40, True, None],
    "token_type": ["Bearer", "bearer", "", "MAC", 5, None, "a\r\nb"],
    "scope": ["", " a  b", 5, None, ["a"]],
    "refresh_token": [ODD_TOKEN, 5, None],
}
ERROR_FIELDS = (
    *("error", "error_description", "error_uri", "errorCode", "errorMessage", "responseCode"),
    *("message", "cause", "description", "fault", "code"),
)

HEADER_TEXT = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_categories=["Cc"]), max_size=20
)
HEADERS: dict[str, list[str]] = {
    "Content-Encoding": ["gzip", "GZIP ", "deflate", "br", "zstd", "gzip, gzip", "identity", "x"],
    "Content-Length": ["0", "5", "-1", "many", "9" * 30, "70000", "5, 5", "٣"],
    "Content-Type": ["application/json", "text/html; charset=x", "a; charset=utf-16", ";;", "é"],
    "Retry-After": [
        *("0", "7", "-1", "9" * 9, "9" * 30, "soon", "1.5", "³"),
        *("Wed, 21 Oct 2015 07:28:00 GMT", "Mon, 99 Foo 99999 99:99:99 GMT", "Mon, 01 Jan 0001"),
    ],
    "WWW-Authenticate": [
        *('Bearer error="invalid_token"', "OAuth2 error=insufficient_scope", 'Basic realm="'),
        *('Bearer error="', "=,=,=", 'error="\\'),
    ],
    "Location": [
        *("", "/", "//", "///x", "http://", "https://[::1", "https://x:y/", "https://x:99999/"),
        *("http://thingspace.verizon.com/", "https://elsewhere.example/", "mailto:x", "?", "\\\\x"),
        *(API, BASE, "https://\xff.example/", "%", "https://a@b@c/", "https://xn--a/"),
    ],
    "Transfer-Encoding": ["chunked", "x"],
    "Set-Cookie": ["a=b", "=", "a=b; expires=x; domain=.com", ";"],
}


def header(name: str) -> st.SearchStrategy[str]:
    # Those that no real transport could hand over would be no answer at all.
    known = [value for value in HEADERS[name] if all(ord(char) < 256 for char in value)]
    return st.sampled_from(known) | HEADER_TEXT


ALL_HEADERS = st.fixed_dictionaries({}, optional={name: header(name) for name in HEADERS})


def json_bodies(place: str) -> st.SearchStrategy[bytes]:
    told = st.sampled_from(TOLD[place])
    words = told.map("no such thing: {}!".format) | st.sampled_from(CODES) | st.text(max_size=20)
    leaves = words | st.none() | st.booleans() | st.integers() | st.floats()

    def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        named = st.dictionaries(st.sampled_from(ERROR_FIELDS), inner, max_size=4)
        return st.lists(inner, max_size=3) | named | st.fixed_dictionaries({"fault": named})

    refusals = st.dictionaries(st.sampled_from(ERROR_FIELDS), words, min_size=1, max_size=4)
    errors = refusals | st.recursive(leaves, nested, max_leaves=6)
    tokens = st.fixed_dictionaries(
        {}, optional={name: st.sampled_from(values) for name, values in TOKEN_FIELDS.items()}
    )
    # The platform's own word for a session is not among them: these logins bring none.
    return (errors | tokens).map(json.dumps).map(str.encode)


OTHER_BODIES = st.one_of(
    st.binary(max_size=50),
    st.sampled_from(
        [
            b"",
            b"<html>no</html>",
            b"<ams:fault><ams:code>900901</ams:code></ams:fault>",
            b"[" * 5000,
            b'{"a":' * 5000,
            b"9" * 5000,
            b'"' + b"x" * 70_000,
            b"\xff\xfe{\0}\0",
        ]
    ),
)


STATUSES = st.one_of(
    st.sampled_from([200, 302, 400, 401, 401, 403, 429, 500, 503]),
    st.integers(200, 599),
    st.sampled_from([100, 199, 600, 999]),
)
PACKS = st.sampled_from([*3 * [""], "gzip", "deflate", "twice", "truncated", "bomb"])


def odd_answers(place: str) -> st.SearchStrategy[Odd]:
    bodies = json_bodies(place) | OTHER_BODIES
    return st.builds(Odd, STATUSES, bodies, ALL_HEADERS, PACKS, st.booleans())


ODD_LOGINS = odd_answers("login")
PLACED = st.one_of(*(st.tuples(st.just(place), odd_answers(place)) for place in TOLD))
STEPS = st.lists(
    st.builds(
        Step,
        pause=st.sampled_from([0, 0, 5, 31, 61, 301, 3601, 10 * 86400]),
        answers=st.lists(PLACED, max_size=4),
        action=st.sampled_from(["GET", "GET", "POST", "token", "session"]),
    ),
    min_size=1,
    max_size=6,
)


# What the user does, and sees.


class Seen(logging.Handler):
    """All that may be printed."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())

    def take(self, error: BaseException) -> None:
        one: BaseException | None = error
        while one is not None:
            self.texts.append(f"{one} {one!r} {vars(one)}")
            one = one.__cause__ or one.__context__

    @property
    def leaks(self) -> list[str]:
        return [text for text in self.texts if any(secret in text for secret in SECRETS)]


@contextlib.contextmanager
def everything_seen() -> Generator[Seen, None, None]:
    logger, seen = logging.getLogger("thingspace_auth_adapters"), Seen()
    level = logger.level
    logger.setLevel(logging.DEBUG)
    logger.addHandler(seen)
    try:
        yield seen
    finally:
        logger.removeHandler(seen)
        logger.setLevel(level)


def act(kind: Kind, auth: Any, platform: Platform, action: str) -> None:
    if action == "token":
        kind.fetch_token(auth)
    elif action == "session":
        kind.fetch_session(auth)
    else:
        body = {"content": b"body"} if action == "POST" else {}
        kind.send(auth, action, API, platform, **body)


def fails_without_us(kind: Kind, error: Exception, answers: list[tuple[str, Odd]]) -> bool:
    """Whether the library itself raises such an error for one of these answers of an API."""
    for place, answer in answers:
        platform = Platform(kind.is_requests)
        platform.api = [answer]
        try:
            kind.get(None, API, platform)
        except Exception as own:
            if place == "api" and type(own) is type(error):
                return True
    return False


def check(kind: Kind, error: Exception, answers: list[tuple[str, Odd]]) -> None:
    if not isinstance(error, kind.request_error):
        assert fails_without_us(kind, error, answers), repr(error)
    if isinstance(error, ThingspaceAuthError):
        assert str(error).isprintable()


@each_kind
@settings(max_examples=70, suppress_health_check=UNCHECKED)
@given(STEPS)
@example([Step(0, [("token", odd_json(403, {"code": "900901", "fault": "x"}))], "GET")])
@example([Step(0, [("login", odd_json(403, {"code": "900901", "fault": "x"}))], "GET")])
def test_no_answer_is_too_odd(kind: Kind, steps: list[Step]) -> None:
    clock, platform = VirtualClock(), Platform(kind.is_requests)
    given_answers: list[tuple[str, Odd]] = []
    m2m = VzM2mCredentials(f"user-{next(_accounts)}", PASSWORD)
    with patch.object(auth_module, "Clock", lambda: clock), everything_seen() as seen:
        auth = kind.auth(platform, m2m=m2m)
        for step in steps:
            clock.advance(step.pause)
            for place, answer in step.answers:
                platform.put(place, answer)
            given_answers += step.answers
            logins = len(platform.login_calls)
            try:
                act(kind, auth, platform, step.action)
            except Exception as error:
                check(kind, error, given_answers)
                seen.take(error)
            assert len(platform.login_calls) - logins <= MOST_LOGINS_FOR_ONE_REQUEST
    assert seen.leaks == []
    assert platform.most_failed_logins <= MOST_FAILED_LOGINS


@each_kind
@settings(max_examples=15, suppress_health_check=UNCHECKED)
@given(
    st.lists(ODD_LOGINS.filter(lambda one: not one.is_gateways), min_size=6, max_size=6),
    st.lists(st.sampled_from([10 * 86400, 3601, 301, 0]), min_size=6, max_size=6),
)
@example([odd_json(400, {"fault": {}})] * 6, [10 * 86400] * 6)
def test_no_more_than_four_failed_logins_are_ever_sent(
    kind: Kind, answers: list[Odd], pauses: list[float]
) -> None:
    clock, platform = VirtualClock(), Platform(kind.is_requests)
    platform.logins = [*answers]
    with patch.object(auth_module, "Clock", lambda: clock):
        auth = kind.auth(platform, m2m=VzM2mCredentials(f"user-{next(_accounts)}", PASSWORD))
        for pause in pauses:
            with pytest.raises(kind.request_error):
                kind.get(auth, API, platform)
            clock.advance(pause)
    assert len(platform.login_calls) <= MOST_FAILED_LOGINS


@settings(max_examples=200, suppress_health_check=UNCHECKED)
@given(st.sampled_from(["GET", "POST", ""]), odd_answers("api"))
@example("GET", odd_json(403, {"code": "900901", "fault": "x"}))
def test_no_answer_is_too_odd_for_clients_without_an_adapter(method: str, answer: Odd) -> None:
    kind, clock, platform = SYNC_KINDS[0], VirtualClock(), Platform(is_requests=True)
    with patch.object(auth_module, "Clock", lambda: clock):
        auth = kind.auth(platform, m2m=VzM2mCredentials(f"user-{next(_accounts)}", PASSWORD))
        sent = auth.headers(API)
        clock.advance(120)
        again = auth.recover(API, sent, method, answer.status, answer.headers, answer.body)
    assert again is None or (again.keys() == sent.keys() and again != sent)
