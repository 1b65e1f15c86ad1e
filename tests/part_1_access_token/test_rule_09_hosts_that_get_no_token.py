"""Part 1, rule 9: what is said of hosts without a token, what is taken off, and who calls."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from thingspace_auth_adapters import VzM2mCredentials, __version__

from ..support.kinds import INSTALLED, PASSWORD, Kind
from ..support.virtual import (
    API,
    BASE,
    REVOKE_PATH,
    TOKEN_PATH,
    Answer,
    Call,
    Platform,
    redirect,
    refusal,
)

OTHER = "https://staging.example/api/m2m/v1/devices"
M2M = VzM2mCredentials("user", PASSWORD)
ONLY_REQUESTS = [kind for kind in INSTALLED if kind.is_requests]


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    assert {record.name for record in caplog.records} <= {"thingspace_auth_adapters"}
    return [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]


# The first 401 of a host that gets no token.


def test_host_without_a_token_that_wants_one_is_told_once(
    kind: Kind, platform: Platform, caplog: pytest.LogCaptureFixture
) -> None:
    auth = kind.auth(platform)
    for url in (OTHER, OTHER, "https://other.example/x", OTHER):
        platform.api = [refusal()]
        assert kind.get(auth, url, platform).status == 401
    first, second = warnings_of(caplog)
    for part in ("staging.example", "allowed_hosts", "*.thingspace.verizon.com", "base_url", BASE):
        assert part in first
    assert "other.example" in second
    assert platform.bearers == [None] * 4


@pytest.mark.parametrize(
    ("url", "headers", "answer"),
    [
        (OTHER, {}, Answer(200)),
        (OTHER, {}, Answer(403)),
        (OTHER, {}, Answer(404, b"x")),
        (OTHER, {"Authorization": "Basic eDp5"}, refusal()),
        (API, {}, refusal()),
    ],
    ids=["200", "403", "404", "an Authorization of its own", "the platform's"],
)
def test_nothing_else_is_such_a_warning(
    kind: Kind,
    platform: Platform,
    caplog: pytest.LogCaptureFixture,
    url: str,
    headers: dict[str, str],
    answer: Answer,
) -> None:
    platform.api = [answer] * 2
    kind.get(kind.auth(platform), url, platform, headers=headers)
    assert warnings_of(caplog) == []


@pytest.mark.parametrize("kind", ONLY_REQUESTS, ids=lambda kind: kind.name)
def test_answer_of_a_host_that_is_not_allowed_is_not_read(
    kind: Kind, platform: Platform, caplog: pytest.LogCaptureFixture
) -> None:
    """What is read of a stream is gone; httpx puts it back."""
    platform.api = [refusal({"theirs": True})]
    session = kind.session(platform)
    session.auth = kind.auth(platform, m2m=M2M)
    assert b"theirs" in session.get(OTHER, stream=True).raw.read()
    assert len(warnings_of(caplog)) == 1


def test_client_without_an_adapter_is_told_too(
    kind: Kind, platform: Platform, caplog: pytest.LogCaptureFixture
) -> None:
    auth = kind.auth(platform)
    for _ in range(2):
        answer: Any = (OTHER, {}, "GET", 401, {}, b"")
        got = kind.run(auth.arecover, *answer) if kind.is_async else auth.recover(*answer)
        assert got is None
    (warning,) = warnings_of(caplog)
    assert "staging.example" in warning


# What a request to another host loses.


def test_value_of_ours_is_removed_from_a_request_to_another_host(
    kind: Kind, platform: Platform, caplog: pytest.LogCaptureFixture
) -> None:
    auth = kind.auth(platform, m2m=M2M)
    kind.get(auth, API, platform)
    ours = {"Authorization": "Bearer token-1", "VZ-M2M-Token": "session-1"}
    for _ in range(3):
        kind.get(auth, "https://evil.example/", platform, headers=ours)
    assert platform.bearers == ["token-1", None, None, None]
    assert platform.sessions == ["session-1", None, None, None]
    (warning,) = warnings_of(caplog)
    assert "evil.example" in warning
    assert "allowed_hosts" in warning
    assert "token-1" not in warning


def test_value_of_ones_own_is_not_removed(kind: Kind, platform: Platform) -> None:
    auth = kind.auth(platform, m2m=M2M)
    kind.get(auth, API, platform)
    own = {"Authorization": "Bearer own", "VZ-M2M-Token": "own"}
    for _ in range(2):
        kind.get(auth, "https://other.example/", platform, headers=own)
    assert platform.bearers[1:] == ["own", "own"]
    assert platform.sessions[1:] == ["own", "own"]


@pytest.mark.parametrize("successor", [None, VzM2mCredentials("another", PASSWORD)])
def test_session_of_a_login_that_outlived_its_account_goes_to_no_foreign_host(
    kind: Kind, successor: Any
) -> None:
    """``auth.m2m`` is assigned while the login is out: its session is ours all the same."""

    class Assigning(Platform):
        def new_session(self) -> Answer:
            if self.opened == 0:
                auth.m2m = successor
            return super().new_session()

    platform = Assigning()
    auth = kind.auth(platform, m2m=M2M)
    platform.api = [redirect("https://evil.example/", 307)]
    options: dict[str, Any] = {}
    if not kind.is_requests:
        options["event_hooks"] = {"request": [auth.aguard if kind.is_async else auth.guard]}
    kind.get(auth, API, platform, **options)
    assert platform.sessions == ["session-1", None]


# A script that still fetches its own token.


@pytest.mark.parametrize(
    ("name", "status"), [("Authorization", 200), ("authorization", 401), ("Authorization", 401)]
)
@pytest.mark.parametrize("path", [TOKEN_PATH, REVOKE_PATH])
def test_call_of_an_endpoint_with_a_header_of_its_own_is_left_as_it_is(
    kind: Kind, platform: Platform, path: str, name: str, status: int
) -> None:
    platform.tokens = [Answer(status, {"error": "invalid_client", "access_token": "theirs"})]
    auth = kind.auth(platform, m2m="a-session", oauth_token={"access_token": "ours"})
    form = {"grant_type": "client_credentials"}
    headers = {name: "Basic dGhlaXI6b3du"}
    seen = kind.send(auth, "POST", BASE + path, platform, headers=headers, data=form)
    assert seen.status == status
    (call,) = platform.calls
    assert call.authorization == "Basic dGhlaXI6b3du"
    assert call.session is None
    assert call.form == form


# What calls of the endpoints say.


def test_calls_of_endpoints_say_who_asks_and_that_nothing_is_kept(
    kind: Kind, platform: Platform
) -> None:
    auth = kind.auth(platform, m2m=M2M)
    kind.get(auth, API, platform)
    kind.end_session(auth)
    kind.revoke_token(auth)

    def last_word(call: Call) -> str:
        return call.path.rpartition("/")[2]

    (own,) = platform.api_calls
    calls = [call for call in platform.calls if call is not own]
    assert [last_word(call) for call in calls] == ["token", "login", "logout", "revoke"]
    agents = f"thingspace-auth-adapters/{__version__} python-{kind.library_name}/"
    for call in calls:
        assert call.headers["user-agent"] == agents + kind.library.__version__
        assert call.headers["cache-control"] == "no-store"
    # The caller's own request says nothing of us.
    assert "thingspace" not in own.headers["user-agent"]
