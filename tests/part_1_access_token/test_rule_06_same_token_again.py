"""Part 1, rule 6: a token that comes again, that comes stale or expired, and a failed renewal."""

from __future__ import annotations

import logging

import pytest

from ..support.kinds import Kind
from ..support.virtual import API, Answer, Platform, VirtualClock, token_answer

SKEW = 60


def test_token_that_arrives_stale_is_used_until_it_expires(
    kind: Kind, platform: Platform, clock: VirtualClock
) -> None:
    platform.tokens = [token_answer("short", 30)]
    auth = kind.auth(platform, oauth_clock_skew=SKEW)
    for pause in (9, 20.5, 0.5):
        kind.get(auth, API, platform)
        clock.advance(pause)
    assert len(platform.token_calls) == 1
    kind.get(auth, API, platform)
    assert platform.bearers == ["short"] * 3 + ["token-1"]


def test_one_more_request_at_the_start_of_the_skew_window_and_no_more(
    kind: Kind, platform: Platform, clock: VirtualClock
) -> None:
    platform.tokens = [token_answer("same", 3600), token_answer("same", 60)]
    auth = kind.auth(platform, oauth_clock_skew=SKEW)
    kind.get(auth, API, platform)
    clock.advance(3540)
    for _ in range(60):
        kind.get(auth, API, platform)
        clock.advance(1)
    assert len(platform.token_calls) == 2
    kind.get(auth, API, platform)
    assert platform.bearers == ["same"] * 61 + ["token-1"]


def test_failed_renewal_is_one_attempt_one_warning_and_a_pause_until_the_token_expires(
    kind: Kind, platform: Platform, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    auth = kind.auth(platform, oauth_clock_skew=SKEW)
    kind.get(auth, API, platform)
    clock.advance(3540)
    platform.tokens = [Answer(503) for _ in range(3)]
    # The last pause does not go beyond the token's end.
    for attempts, pause in ((1, 9.5), (1, 0.5), (2, 45), (3, 4.5), (3, 0.5)):
        assert kind.get(auth, API, platform).status == 200
        assert len(platform.token_calls) == 1 + attempts
        assert len([one for one in caplog.records if one.levelno == logging.WARNING]) == attempts
        clock.advance(pause)
    assert clock.pauses == []
    kind.get(auth, API, platform)
    assert platform.bearers == ["token-1"] * 6 + ["token-2"]


def test_token_that_arrives_expired_is_a_transient_failure(
    kind: Kind, platform: Platform, clock: VirtualClock
) -> None:
    platform.tokens = [token_answer("dead", 0), token_answer("dead", -1)]
    kind.get(kind.auth(platform), API, platform)
    assert platform.bearers == ["token-1"]
    assert len(clock.pauses) == 2
    assert all(0 < pause <= 2 for pause in clock.pauses)
