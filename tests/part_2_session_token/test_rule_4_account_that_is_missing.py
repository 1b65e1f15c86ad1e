"""Part 2, rule 4: an answer that blames a session where there is no account, or none any more."""

from __future__ import annotations

import logging
import threading

import pytest

from thingspace_auth_adapters import VzM2mCredentials

from ..support.kinds import INSTALLED, PASSWORD, Kind
from ..support.real import Threads
from ..support.virtual import API, SESSION_EXPIRED, Answer, Platform, session_refusal


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]


@pytest.mark.parametrize("status", [400, 401])
def test_forgotten_account_is_told_once_for_each_object(
    kind: Kind, platform: Platform, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    for auth in (kind.auth(platform), kind.auth(platform)):
        caplog.clear()
        platform.api = [Answer(status, SESSION_EXPIRED) for _ in range(3)]
        for _ in range(3):
            assert kind.get(auth, API, platform).status == status
        (warning,) = warnings_of(caplog)
        assert "m2m=VzM2mCredentials" in warning


@pytest.mark.parametrize(
    "kind", [kind for kind in INSTALLED if kind.is_requests], ids=lambda kind: kind.name
)
def test_streamed_answer_is_left_to_the_caller(
    kind: Kind, platform: Platform, caplog: pytest.LogCaptureFixture
) -> None:
    """Under requests what is read of a stream is gone, and a warning is not worth that."""
    platform.api = [Answer(400, {"errorCode": "INPUT_INVALID"}), Answer(400, SESSION_EXPIRED)]
    session = kind.session(platform)
    session.auth = kind.auth(platform)
    assert b"INPUT_INVALID" in session.get(API, stream=True).raw.read()
    assert warnings_of(caplog) == []
    session.get(API)
    assert len(warnings_of(caplog)) == 1


def test_session_that_is_taken_away_meanwhile_fails_no_request(
    sync_kind: Kind, platform: Platform
) -> None:
    """``auth.m2m`` may be assigned at any moment: here on each look at it."""
    auth = sync_kind.auth(platform, m2m=VzM2mCredentials("user", PASSWORD))
    threads, assigning, is_over = Threads(), Threads(), threading.Event()

    def assign() -> None:
        while not is_over.is_set():
            auth.m2m = None
            auth.m2m = VzM2mCredentials("user", PASSWORD)

    def work() -> list[int]:
        platform.api = [session_refusal()] * 5
        return [sync_kind.get(auth, API, platform).status for _ in range(60)]

    threads.start(work)
    assigning.start(assign)
    try:
        (statuses,) = threads.join()
    finally:
        is_over.set()
    assert {*statuses} <= {200, 400}
    assert assigning.join() == [None]
