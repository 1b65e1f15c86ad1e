"""Part 2, rule 5: what the error says while no login is attempted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from thingspace_auth_adapters import M2mLoginError

from ..support.kinds import INSTALLED, Kind
from ..support.logins import YEARS, blocked, credentials, fails, file_store
from ..support.virtual import LOGIN_REFUSED, Answer, Platform, VirtualClock, login_refusal

ROW = "five failed logins in a row lock the user name until Verizon's support unlocks it"


def assert_says(error: object, *parts: str) -> None:
    assert [part for part in parts if part not in str(error)] == []


def test_refusal_says_when_and_why_and_how_to_go_on(
    kind: Kind, platform: Platform, auth: Any, clock: VirtualClock
) -> None:
    platform.logins = [login_refusal()]
    first = fails(kind, auth, platform)
    refused_at = clock.wall
    clock.advance(YEARS)
    for error in (first, blocked(kind, auth, platform)):
        told = (error.status_code, error.error_code, error.error_message, error.refused_at)
        assert told == (400, *LOGIN_REFUSED.values(), refused_at)
        assert not error.retryable
        assert_says(
            error,
            "refused at 2023-11-14 22:13:20 UTC",
            LOGIN_REFUSED["errorCode"] + ": " + LOGIN_REFUSED["errorMessage"],
            "as the-user at thingspace.verizon.com:443 is tried again with this password",
            "remembered in this process alone",
            "a store",
            ROW,
            "correct the credentials",
            "auth.allow_login()",
        )
        assert "more would" not in str(error)
        assert "thingspace-auth clear" not in str(error)


@pytest.mark.parametrize(
    ("failures", "until", "more"),
    [
        (2, "is tried until 2023-11-14 22:18:20 UTC", ", and 3 more would."),
        (3, "is tried until 2023-11-14 23:13:20 UTC", ", and 2 more would."),
        (4, "is tried again.", ", and 1 more would."),
        (5, "is tried again.", "."),
    ],
)
def test_row_of_failures_says_until_when_and_how_many_are_left(
    kind: Kind,
    platform: Platform,
    auth: Any,
    clock: VirtualClock,
    failures: int,
    until: str,
    more: str,
) -> None:
    # Logins of the past, and the last one at the beginning of this test's time.
    guard = auth._tokens.session_source.guard
    for _ in range(failures):
        guard._account.seen[""] = guard.count().begun(clock.wall)
    error = blocked(kind, auth, platform)
    assert (error.status_code, error.error_code, error.refused_at) == (None, None, None)
    assert error.retryable is (failures < 4)
    last = "logins in a row failed, the last one at 2023-11-14 22:13:20 UTC"
    assert_says(error, f"{failures} {last}", until, ROW + more, "allow_login()")
    assert_says(error, "see that the user name is not locked")
    assert blocked(kind, auth, platform) is not error


def test_error_names_the_file_store_and_the_command_that_clears_it(
    kind: Kind, platform: Platform, clock: VirtualClock, tmp_path: Path
) -> None:
    store = file_store(tmp_path / "store")
    auth = kind.auth(platform, m2m=credentials(), store=store)
    platform.logins = [login_refusal()]
    for error in (fails(kind, auth, platform), blocked(kind, auth, platform)):
        assert_says(error, "allow_login()", "thingspace-auth clear", str(tmp_path / "store"))


def test_text_of_the_platform_is_remembered_without_control_characters(
    platform: Platform, clock: VirtualClock, tmp_path: Path
) -> None:
    kind = INSTALLED[0]
    platform.logins = [Answer(400, {"errorCode": "X", "errorMessage": "a\x1b[2Jb\nc"})]
    auth = kind.auth(platform, m2m=credentials(), store=file_store(tmp_path / "store"))
    fails(kind, auth, platform)
    error = blocked(kind, auth, platform)
    assert str(error).isprintable()
    assert error.error_message == "a [2Jb c"


@pytest.mark.parametrize(
    ("code", "message", "is_locked"),
    [
        ("UnifiedWebService.AccountLocked", "x", True),
        ("UWS.ACCOUNT_LOCKED", "x", True),
        (None, "The account is locked.", True),
        (None, "LOCKED", True),
        (None, "Request blocked by policy", False),
        (None, "The account was unlocked", False),
        ("UWS.Unlocked", None, False),
        (None, None, False),
    ],
)
def test_lock_is_known_by_the_word(code: str | None, message: str | None, is_locked: bool) -> None:
    error = M2mLoginError("refused", error_code=code, error_message=message)
    assert error.is_locked is is_locked
