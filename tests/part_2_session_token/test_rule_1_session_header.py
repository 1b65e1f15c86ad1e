"""Part 2, rule 1: which requests carry the session token, and in which header."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from ..support.clients import send_by_hand
from ..support.kinds import Kind
from ..support.logins import credentials
from ..support.virtual import (
    API,
    BASE,
    EDGE,
    ELSEWHERE,
    LOGIN_PATH,
    REVOKE_PATH,
    TOKEN_PATH,
    VEHICLE,
    Platform,
    VirtualClock,
    session_refusal,
)

pytestmark = pytest.mark.usefixtures("clock")

BEARER = {"authorization": "Bearer token-1"}
USUAL, OF_VEHICLES = "vz-m2m-token", "sessiontoken"
PERFORMANCE = "/api/mec/performance/x"


def test_requests_carry_both_tokens_and_nothing_is_fetched_before(
    kind: Kind, platform: Platform, auth: Any
) -> None:
    assert repr(auth)
    assert platform.calls == []
    for _ in range(3):
        assert kind.get(auth, API, platform).status == 200
    assert platform.tokens_sent == [{**BEARER, USUAL: "session-1"}] * 3
    assert platform.trail == ["token", "login", "api", "api", "api"]


@pytest.mark.parametrize(
    ("url", "header"),
    [
        (API, USUAL),
        ("https://staging.thingspace.verizon.com/api/m2m/v1/x", USUAL),
        (VEHICLE, OF_VEHICLES),
        ("https://IMP.thingspace.verizon.com.:443/api", OF_VEHICLES),
        ("https://imp-staging.thingspace.verizon.com/api", OF_VEHICLES),
        ("https://x.imp.thingspace.verizon.com/api", OF_VEHICLES),
        ("https://simp.thingspace.verizon.com/api", USUAL),
        (f"{BASE}/api/m2m/v1/sessions?path=/session/login", USUAL),
        (f"{BASE}/api/m2m/v1/devices?next=/oauth2/token", USUAL),
        (EDGE, None),
        ("https://staging.5gedge.verizon.com/api/mec/eds", None),
        (BASE + LOGIN_PATH, None),
        (BASE + LOGIN_PATH + "?x=1", None),
        (BASE + TOKEN_PATH, None),
        (BASE + REVOKE_PATH, None),
    ],
)
@pytest.mark.parametrize("is_warm", [False, True], ids=["cold", "warm"])
def test_header_is_the_hosts_and_the_paths(
    kind: Kind, platform: Platform, auth: Any, url: str, header: str | None, is_warm: bool
) -> None:
    if is_warm:
        kind.get(auth, API, platform)
    for _ in range(2):
        kind.send(auth, "POST", url, platform, content=b"{}")
        call = platform.calls[-1]
        assert call.body == b"{}"
        found = {name: call.headers[name] for name in (USUAL, OF_VEHICLES) if name in call.headers}
        assert found == ({} if header is None else {header: "session-1"})
        assert call.authorization == "Bearer token-1"


@pytest.mark.parametrize("host", ["5gedge.verizon.com", "staging.5gedge.verizon.com"])
@pytest.mark.parametrize(
    ("path", "is_both"),
    [
        ("/api/mec/performance/v1/firehose", True),
        ("/api/mec/performance/?x=1", True),
        ("/api/mec/eds/serviceprofiles", False),
        ("/api/mec/performances", False),
        ("/x/api/mec/performance/", False),
        ("/api/mec/eds?next=/api/mec/performance/", False),
    ],
)
def test_on_5g_edge_the_path_decides_whatever_went_there_before(
    kind: Kind, platform: Platform, auth: Any, host: str, path: str, is_both: bool
) -> None:
    for each in ("/api/mec/eds", path, PERFORMANCE, path):
        kind.get(auth, f"https://{host}{each}", platform)
    both = {**BEARER, USUAL: "session-1"}
    expected = both if is_both else BEARER
    assert platform.tokens_sent == [BEARER, expected, both, expected]


def test_other_hosts_get_neither(kind: Kind, platform: Platform, auth: Any) -> None:
    kind.get(auth, ELSEWHERE, platform, headers={"VZ-M2M-Token": "theirs"})
    assert platform.tokens_sent == [{USUAL: "theirs"}]
    assert platform.trail == ["api"]


def test_sessions_of_eight_former_accounts_are_ours(kind: Kind, platform: Platform) -> None:
    auth = kind.auth(platform)
    for number in range(10):
        auth.m2m = f"session-{number}"
    for number in range(10):
        kind.get(auth, ELSEWHERE, platform, headers={"VZ-M2M-Token": f"session-{number}"})
    assert platform.sessions == ["session-0", *[None] * 9]


# A session header of the request's own.


def warnings_of_replacing(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if "already has" in record.getMessage()]


@pytest.mark.parametrize("is_warm", [False, True], ids=["cold", "warm"])
def test_ours_replaces_it_and_the_first_time_a_warning_says_so(
    kind: Kind, platform: Platform, auth: Any, caplog: pytest.LogCaptureFixture, is_warm: bool
) -> None:
    if is_warm:
        kind.get(auth, API, platform)
    for name in ("vz-m2m-token", "VZ-M2M-Token"):
        platform.api = [session_refusal()]
        assert kind.get(auth, API, platform, headers={name: "their-own"}).status == 200
    kind.get(auth, VEHICLE, platform, headers={"sessiontoken": "their-own"})
    renewed = ["session-1", "session-2", "session-2", "session-3"]
    assert platform.sessions[is_warm:-1] == renewed
    assert "their-own" not in str(platform.tokens_sent)
    (warning,) = warnings_of_replacing(caplog)
    assert (warning.name, warning.levelno) == ("thingspace_auth_adapters", logging.WARNING)
    assert "it replaces the VZ-M2M-Token that a request already has" in warning.getMessage()
    for value in ("their-own", "session-1"):
        assert value not in caplog.text


def test_header_that_has_a_session_of_ours_is_replaced_in_silence(
    kind: Kind, platform: Platform, auth: Any, caplog: pytest.LogCaptureFixture
) -> None:
    kind.get(auth, API, platform)
    platform.api = [session_refusal()]
    kind.get(auth, API, platform)
    for older in ("session-1", "session-2"):
        kind.get(auth, API, platform, headers={"VZ-M2M-Token": older})
    assert platform.sessions[-2:] == ["session-2"] * 2
    assert warnings_of_replacing(caplog) == []


def test_request_that_is_sent_again_carries_the_newer_session(
    httpx_kind: Kind, platform: Platform, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A request that was sent holds our header: it is ours all the same, not its own."""
    auth = httpx_kind.auth(platform, m2m=credentials())
    request = httpx_kind.library.Request("GET", API, extensions={"timeout": {}})
    send_by_hand(httpx_kind, auth, platform, request)
    for _ in range(8):
        clock.advance(60)
        platform.api = [session_refusal()]
        httpx_kind.get(auth, API, platform)
    send_by_hand(httpx_kind, auth, platform, request)
    assert platform.sessions[-1] == "session-9"
    assert warnings_of_replacing(caplog) == []
    auth.m2m = None
    send_by_hand(httpx_kind, auth, platform, request)
    auth.m2m = "another"
    send_by_hand(httpx_kind, auth, platform, request)
    assert platform.sessions[-2:] == ["session-9", "another"]


def test_where_none_of_ours_is_sent_it_stays(
    kind: Kind, platform: Platform, auth: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """So the login of a script that is being retrofitted keeps its header."""
    kind.send(auth, "POST", BASE + LOGIN_PATH, platform, headers={"VZ-M2M-Token": "their-own"})
    kind.get(auth, EDGE, platform, headers={"VZ-M2M-Token": "their-own"})
    assert [call.session for call in platform.calls] == [None, "their-own", "their-own"]
    # A header of another family does not stand for the host's. (Their login was session-1.)
    kind.get(auth, VEHICLE, platform, headers={"VZ-M2M-Token": "their-own"})
    assert platform.tokens_sent[-1] == {**BEARER, USUAL: "their-own", OF_VEHICLES: "session-2"}
    assert warnings_of_replacing(caplog) == []


# Without an account.


@pytest.mark.parametrize("is_followed", [False, True], ids=["from the start", "later"])
def test_without_m2m_such_a_header_is_not_touched(
    kind: Kind,
    platform: Platform,
    auth: Any,
    caplog: pytest.LogCaptureFixture,
    is_followed: bool,
) -> None:
    if is_followed:
        kind.get(auth, API, platform)
        auth.m2m = None
        platform.calls.clear()
    else:
        auth = kind.auth(platform, m2m=None)
    assert auth.m2m is None
    for url, name in ((API, "VZ-M2M-Token"), (VEHICLE, "SessionToken")):
        platform.api = [session_refusal()]
        assert kind.get(auth, url, platform, headers={name: "their-own"}).status == 400
    kind.get(auth, API, platform)
    assert platform.tokens_sent == [
        {**BEARER, USUAL: "their-own"},
        {**BEARER, OF_VEHICLES: "their-own"},
        BEARER,
    ]
    assert platform.login_calls == []
    assert caplog.text.count("m2m=") == 1


def test_without_m2m_there_is_none_to_fetch_or_to_end(kind: Kind, platform: Platform) -> None:
    auth = kind.auth(platform)
    kind.end_session(auth)
    with pytest.raises(ValueError, match="m2m is not set"):
        kind.fetch_session(auth)
    assert platform.calls == []
