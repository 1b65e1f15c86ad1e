"""Part 1, ``headers`` and ``recover``: the whole of an adapter, for clients that have none here.

What they share with the adapters, the rules' own files say; here is what is theirs alone, and one
case of each rule.
"""

from __future__ import annotations

import json
from email.message import Message
from http import HTTPStatus
from typing import Any

import pytest

from thingspace_auth_adapters import InsecureTransportError, OauthProviderError

from ..support.kinds import Kind
from ..support.logins import credentials
from ..support.virtual import (
    API,
    BASE,
    EDGE,
    GATEWAY_REFUSAL,
    LOGIN_PATH,
    LOGOUT_PATH,
    SESSION_EXPIRED,
    VEHICLE,
    Answer,
    Platform,
    VirtualClock,
)

pytestmark = pytest.mark.usefixtures("clock")

FOREIGN = "https://api.example.com/devices"
BEARER_1 = {"Authorization": "Bearer token-1"}
BEARER_2 = {"Authorization": "Bearer token-2"}
BOTH_1 = {**BEARER_1, "VZ-M2M-Token": "session-1"}


@pytest.fixture
def m2m_auth(kind: Kind, platform: Platform) -> Any:
    return kind.auth(platform, m2m=credentials())


# headers.


def test_headers_are_fetched_once_and_reused_and_are_the_callers(
    kind: Kind, platform: Platform, m2m_auth: Any
) -> None:
    for _ in range(3):
        mine = kind.headers(m2m_auth, API)
        assert (type(mine), mine) == (dict, BOTH_1)
        mine["Authorization"] = "changed"
    assert platform.trail == ["token", "login"]


def test_headers_are_fetched_again_when_they_are_over(
    kind: Kind, platform: Platform, clock: VirtualClock, m2m_auth: Any
) -> None:
    for _ in range(3):
        assert kind.headers(m2m_auth, API) == BOTH_1
        clock.advance(1000)
    # That they were asked for was a use of the session, the last one 1200 seconds ago.
    clock.advance(200)
    assert kind.headers(m2m_auth, API) == {**BEARER_1, "VZ-M2M-Token": "session-2"}
    clock.advance(400)
    assert kind.headers(m2m_auth, API) == {**BEARER_2, "VZ-M2M-Token": "session-2"}
    assert platform.trail == ["token", "login", "login", "token"]


def test_assigned_token_is_used(kind: Kind, platform: Platform, auth: Any) -> None:
    auth.oauth_token = {"access_token": "mine", "token_type": "Bearer"}
    assert kind.headers(auth, API) == {"Authorization": "Bearer mine"}
    assert platform.calls == []


def test_update_callback_is_told(kind: Kind, platform: Platform) -> None:
    told: list[str] = []
    auth = kind.auth(
        platform, oauth_on_token_update=kind.callback(lambda token: told.append(token.access_token))
    )
    sent = kind.headers(auth, API)
    assert kind.headers(auth, API) == sent
    assert told == ["token-1"]
    kind.recover(auth, sent, 401, GATEWAY_REFUSAL)
    assert told == ["token-1", "token-2"]


def test_refused_credentials_are_the_librarys_error_too(
    kind: Kind, platform: Platform, auth: Any
) -> None:
    platform.tokens = [Answer(401, {"error": "invalid_client"})]
    with pytest.raises(OauthProviderError, match="invalid_client") as caught:
        kind.headers(auth, API)
    assert isinstance(caught.value, kind.request_error)


@pytest.mark.parametrize(
    ("url", "session_header"),
    [
        (API, "VZ-M2M-Token"),
        (BASE + LOGOUT_PATH, "VZ-M2M-Token"),
        (VEHICLE, "SessionToken"),
        (EDGE, None),
        (BASE + LOGIN_PATH, None),
    ],
)
def test_session_goes_beside_the_bearer_where_it_is_wanted(
    kind: Kind, platform: Platform, m2m_auth: Any, url: str, session_header: str | None
) -> None:
    session = {} if session_header is None else {session_header: "session-1"}
    assert kind.headers(m2m_auth, url) == {**BEARER_1, **session}
    assert kind.headers(kind.auth(platform), url) == BEARER_2


@pytest.mark.parametrize(
    "url",
    [
        FOREIGN,
        "https://thingspace.verizon.com@evil.example/",
        "https://evil.example\\@thingspace.verizon.com/",
    ],
)
def test_foreign_host_gets_nothing(kind: Kind, platform: Platform, m2m_auth: Any, url: str) -> None:
    assert kind.headers(m2m_auth, url) == {}
    assert platform.calls == []


@pytest.mark.parametrize("host", ["thingspace.verizon.com", "imp.thingspace.verizon.com"])
def test_plain_http_to_an_allowed_host_is_refused(
    kind: Kind, platform: Platform, m2m_auth: Any, host: str
) -> None:
    with pytest.raises(InsecureTransportError, match=host) as caught:
        kind.headers(m2m_auth, f"http://{host}/api/x")
    assert isinstance(caught.value, kind.request_error)
    assert platform.calls == []


# recover: the bearer. Part 1, rule 7.


def test_rejected_token_is_renewed_and_the_session_stays(
    kind: Kind, platform: Platform, m2m_auth: Any
) -> None:
    sent = {"Accept": "*/*", **kind.headers(m2m_auth, API)}
    renewed = {**BEARER_2, "VZ-M2M-Token": "session-1"}
    # A late refusal of the older token costs nothing.
    for _ in range(3):
        assert kind.recover(m2m_auth, sent, 401, GATEWAY_REFUSAL) == renewed
    assert kind.headers(m2m_auth, API) == renewed
    assert platform.trail == ["token", "login", "token"]


def test_headers_and_body_may_be_of_any_kind(sync_kind: Kind, platform: Platform) -> None:
    """As of ``urllib`` and ``http.client``, whose headers are no mapping."""
    auth, headers = sync_kind.auth(platform), Message()
    sent = auth.headers(API)
    body = bytearray(json.dumps(GATEWAY_REFUSAL).encode())
    assert auth.recover(API, sent, "GET", HTTPStatus.UNAUTHORIZED, headers, body) == BEARER_2


def test_arguments_can_be_named(sync_kind: Kind, platform: Platform) -> None:
    auth = sync_kind.auth(platform)
    again = auth.recover(
        url=API,
        sent_headers=auth.headers(url=API),
        method="GET",
        status=401,
        headers={},
        body=json.dumps(GATEWAY_REFUSAL).encode(),
    )
    assert again == BEARER_2


@pytest.mark.parametrize("case", [str.lower, str.upper, str.title])
def test_names_of_headers_have_no_case(kind: Kind, auth: Any, case: Any) -> None:
    sent = {case(name): value for name, value in kind.headers(auth, API).items()}
    challenge = {case("WWW-Authenticate"): 'Bearer error="invalid_token"'}
    assert kind.recover(auth, sent, 401, b"", method="POST", headers=challenge) == BEARER_2


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("body", [b"", b"<html>\xff</html>"], ids=["empty", "html"])
def test_unrecognised_401_renews_but_only_some_methods_are_repeated(
    kind: Kind, platform: Platform, auth: Any, method: str, body: object
) -> None:
    again = kind.recover(auth, kind.headers(auth, API), 401, body, method=method)
    assert again == (None if method == "POST" else BEARER_2)
    assert kind.headers(auth, API) == BEARER_2
    assert len(platform.token_calls) == 2


@pytest.mark.parametrize(
    "what",
    [
        *({"status": status} for status in (200, 204, 301, 304, 400, 403, 404, 407, 429, 500, 503)),
        {"body": {"errorCode": "INVALID_ACCOUNT"}},
        {"body": {"fault": {"code": "900906"}}},
        {"body": SESSION_EXPIRED},
        {"body": b"", "headers": {"WWW-Authenticate": 'Bearer error="insufficient_scope"'}},
        {"sent": {}},
        {"sent": {"Authorization": "Bearer somebody-else"}},
        {"sent": {"Authorization": "Basic dXNlcjpwYXNzd29yZA=="}},
        {"sent": {"Authorization": "token-1"}},
        {"sent": {"Authorization": ""}},
        {"sent": {"X-Authorization": "Bearer token-1"}},
        {"sent": {"Proxy-Authorization": "Bearer token-1"}},
        {"url": FOREIGN},
    ],
    ids=str,
)
def test_answer_that_does_not_blame_a_token_of_ours_renews_nothing(
    kind: Kind, platform: Platform, auth: Any, what: dict[str, Any]
) -> None:
    rejected: dict[str, Any] = {"sent": BEARER_1, "status": 401, "body": GATEWAY_REFUSAL}
    # Nothing is ours before the first token.
    assert kind.recover(auth, **rejected) is None
    assert platform.calls == []
    kind.headers(auth, API)
    assert kind.recover(auth, **{**rejected, **what}) is None
    assert kind.headers(auth, API) == BEARER_1
    assert len(platform.token_calls) == 1


def renew_by_rejection(kind: Kind, auth: Any, clock: VirtualClock) -> None:
    kind.recover(auth, kind.headers(auth, API), 401, GATEWAY_REFUSAL)


def renew_by_expiry(kind: Kind, auth: Any, clock: VirtualClock) -> None:
    clock.advance(3600)
    kind.headers(auth, API)


def renew_by_assignment(kind: Kind, auth: Any, clock: VirtualClock) -> None:
    name, number = auth.oauth_token.access_token.split("-")
    auth.oauth_token = {"access_token": f"{name}-{int(number) + 1}"}
    kind.headers(auth, API)


@pytest.mark.parametrize("renew", [renew_by_rejection, renew_by_expiry, renew_by_assignment])
def test_eight_tokens_before_the_current_one_are_ours(
    kind: Kind, platform: Platform, clock: VirtualClock, auth: Any, renew: Any
) -> None:
    kind.headers(auth, API)
    for _ in range(9):
        renew(kind, auth, clock)
    current = {"Authorization": "Bearer token-10"}
    asked = len(platform.token_calls)
    for number in range(1, 10):
        sent = {"Authorization": f"Bearer token-{number}"}
        expected = None if number == 1 else current
        assert kind.recover(auth, sent, 401, GATEWAY_REFUSAL) == expected
    assert len(platform.token_calls) == asked


# recover: the session. Part 2, rule 4.


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("url", "name"), [(API, "VZ-M2M-Token"), (VEHICLE, "SessionToken")], ids=["usual", "vehicles"]
)
def test_rejected_session_leads_to_one_login(
    kind: Kind, platform: Platform, m2m_auth: Any, method: str, url: str, name: str
) -> None:
    sent = kind.headers(m2m_auth, url)
    for _ in range(3):
        again = kind.recover(m2m_auth, sent, 400, SESSION_EXPIRED, url=url, method=method)
        assert again == {**BEARER_1, name: "session-2"}
    assert platform.trail == ["token", "login", "login"]


@pytest.mark.parametrize(
    ("status", "body", "session"),
    [
        (400, {"errorCode": "UnifiedWebService.REQUEST_FAILED.Expired"}, "session-1"),
        (400, b"", "session-1"),
        (404, {"errorCode": "NOT_FOUND"}, "session-1"),
        (200, SESSION_EXPIRED, "session-1"),
        (500, SESSION_EXPIRED, "session-1"),
        (400, SESSION_EXPIRED, "somebody else's"),
        (400, SESSION_EXPIRED, None),
    ],
)
def test_answer_that_does_not_blame_a_session_of_ours_leaves_it(
    kind: Kind, platform: Platform, m2m_auth: Any, status: int, body: object, session: str | None
) -> None:
    kind.headers(m2m_auth, API)
    sent = {**BEARER_1, **({} if session is None else {"VZ-M2M-Token": session})}
    assert kind.recover(m2m_auth, sent, status, body) is None
    assert kind.headers(m2m_auth, API) == BOTH_1
    assert platform.trail == ["token", "login"]


def test_eight_sessions_before_the_current_one_are_ours(
    kind: Kind, platform: Platform, m2m_auth: Any, clock: VirtualClock
) -> None:
    for _ in range(9):
        clock.advance(60)
        kind.recover(m2m_auth, kind.headers(m2m_auth, API), 400, SESSION_EXPIRED)
    for number in range(1, 10):
        sent = {"VZ-M2M-Token": f"session-{number}"}
        again = kind.recover(m2m_auth, sent, 400, SESSION_EXPIRED) or {}
        assert again.get("VZ-M2M-Token") == (None if number == 1 else "session-10")
    assert len(platform.login_calls) == 10


# One request is repeated at most once on account of each credential: the caller leaves out of
# ``sent_headers`` what has been renewed for this request.


def test_both_can_be_renewed_for_one_request(kind: Kind, platform: Platform, m2m_auth: Any) -> None:
    again = kind.recover(m2m_auth, kind.headers(m2m_auth, API), 401, GATEWAY_REFUSAL)
    assert again == {**BEARER_2, "VZ-M2M-Token": "session-1"}
    once_more = kind.recover(m2m_auth, again, 400, SESSION_EXPIRED)
    assert once_more == {**BEARER_2, "VZ-M2M-Token": "session-2"}
    assert platform.trail == ["token", "login", "token", "login"]


def test_credential_that_is_left_out_is_not_renewed(
    kind: Kind, platform: Platform, m2m_auth: Any
) -> None:
    session = {"VZ-M2M-Token": kind.headers(m2m_auth, API)["VZ-M2M-Token"]}
    assert kind.recover(m2m_auth, session, 401, GATEWAY_REFUSAL) is None
    assert kind.recover(m2m_auth, BEARER_1, 400, SESSION_EXPIRED) is None
    assert platform.trail == ["token", "login"]
    again = kind.recover(m2m_auth, session, 400, SESSION_EXPIRED)
    assert again["VZ-M2M-Token"] == "session-2"
