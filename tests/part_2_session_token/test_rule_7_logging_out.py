"""Part 2, rule 7: ``end_m2m_session()`` logs out and forgets the session."""

from __future__ import annotations

from typing import Any

import pytest

from thingspace_auth_adapters import M2mLoginError

from ..support.kinds import Kind
from ..support.virtual import API, Answer, Platform, refusal, session_refusal


def test_end_logs_out_and_forgets(kind: Kind, platform: Platform, auth: Any) -> None:
    kind.end_session(auth)
    assert platform.calls == []
    kind.get(auth, API, platform)
    kind.end_session(auth)
    (logout,) = platform.logout_calls
    assert (logout.method, logout.session) == ("POST", "session-1")
    assert logout.authorization == "Bearer token-1"
    kind.end_session(auth)
    kind.get(auth, API, platform)
    assert platform.trail == ["token", "login", "api", "logout", "login", "api"]
    assert platform.sessions == ["session-1", "session-2"]


@pytest.mark.parametrize("answer", [session_refusal(), Answer(204)], ids=["gone", "no content"])
def test_session_that_is_gone_already_is_forgotten(
    kind: Kind, platform: Platform, auth: Any, answer: Answer
) -> None:
    kind.get(auth, API, platform)
    platform.logouts = [answer]
    kind.end_session(auth)
    kind.get(auth, API, platform)
    assert platform.sessions == ["session-1", "session-2"]


def test_rejected_bearer_is_renewed(kind: Kind, platform: Platform, auth: Any) -> None:
    kind.get(auth, API, platform)
    platform.logouts = [refusal()]
    kind.end_session(auth)
    assert platform.trail == ["token", "login", "api", "logout", "token", "logout"]


@pytest.mark.parametrize(
    "answers",
    [[Answer(400, {"errorCode": "X session-1"})], [Answer(503)] * 9, [refusal(), refusal()]],
    ids=["refused", "down", "bearer"],
)
def test_failed_logout_keeps_the_session_and_raises(
    kind: Kind, platform: Platform, auth: Any, answers: list[Answer]
) -> None:
    kind.get(auth, API, platform)
    platform.logouts = list(answers)
    with pytest.raises(M2mLoginError) as caught:
        kind.end_session(auth)
    assert isinstance(caught.value, kind.request_error)
    assert caught.value.status_code == answers[0].status
    assert "session-1" not in str(caught.value)
    kind.get(auth, API, platform)
    assert platform.sessions == ["session-1"] * 2
