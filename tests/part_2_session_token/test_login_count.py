"""The count of logins as a value, and whose it is. What follows from it is in test_login_guard."""

from __future__ import annotations

import itertools
import json
import math
from typing import Any

import pytest

from thingspace_auth_adapters import M2mLoginError, VzM2mCredentials
from thingspace_auth_adapters._core import login_guard
from thingspace_auth_adapters._core.login_count import MOST_FAILURES, LoginCount, Refusal
from thingspace_auth_adapters._core.login_guard import LoginGuard, forget_all
from thingspace_auth_adapters._core.sessions import login_user
from thingspace_auth_adapters._model.credentials import ThingspaceOauthCredentials
from thingspace_auth_adapters._model.settings import Settings
from thingspace_auth_adapters._wire.messages import HttpRequest

from ..support.kinds import INSTALLED
from ..support.virtual import START, Platform, VirtualClock

NOW = START
MINUTE = 60.0
HOUR = 3600.0
USERS = itertools.count()


def begun(times: int) -> LoginCount:
    """A count after so many logins whose outcome nobody knows yet."""
    count = LoginCount()
    for _ in range(times):
        count = count.begun(NOW)
    return count


def refusal(password: str = "mine", at: float = NOW, message: str = "Wrong.") -> Refusal:
    return Refusal(400, "X.Y", message, at, password)


@pytest.fixture
def guard(clock: VirtualClock) -> LoginGuard:
    return LoginGuard(f"user-{next(USERS)}", "as user at host:443", "mine", clock, None)


def seen_by(guard: LoginGuard, count: LoginCount) -> M2mLoginError | None:
    """What the guard objects after this count."""
    guard._account.seen[""] = count
    return guard.objection()


def test_login_counts_as_failed_from_its_beginning() -> None:
    count = LoginCount()
    assert count.begun(NOW) == LoginCount(failures=1, failed_at=NOW)
    assert count == LoginCount()


@pytest.mark.parametrize(
    ("failures", "later", "until"),
    [
        (0, 0.0, None),
        (1, 0.0, None),
        (2, 0.0, 5 * MINUTE),
        (2, 5 * MINUTE - 1, 5 * MINUTE),
        (2, 5 * MINUTE, None),
        (2, -1.0, 5 * MINUTE),
        (3, 5 * MINUTE, HOUR),
        (3, HOUR, None),
        # Clocks of a fleet differ; one that was far ahead must not make them count for longer.
        (3, -HOUR - 1, None),
        (4, 0.0, math.inf),
        (4, 1000 * HOUR, math.inf),
        (5, 1000 * HOUR, math.inf),
    ],
)
def test_pauses_grow_with_the_failures_in_a_row(
    failures: int, later: float, until: float | None
) -> None:
    blocked_until = begun(failures).blocked_until(NOW + later, "mine")
    assert blocked_until == (None if until is None else NOW + until)


def test_refused_password_is_refused_for_ever_and_another_is_not() -> None:
    count = begun(1).refused(refusal())
    for later in (-HOUR, 0.0, 1e9):
        assert count.blocked_until(NOW + later, "mine") == math.inf
        assert count.blocked_until(NOW + later, "another") is None
    assert count.failures == 1
    assert LoginCount().refused(refusal()).failures == 1


def test_success_ends_the_row_and_frees_no_refused_password() -> None:
    count = begun(3).refused(refusal()).succeeded()
    assert count.failures == 0
    assert count.blocked_until(NOW, "mine") == math.inf
    assert count.blocked_until(NOW, "another") is None


def test_last_eight_refused_passwords_are_kept_each_once() -> None:
    count = LoginCount()
    for number in range(12):
        count = count.refused(refusal(f"password-{number}", NOW + number))
        count = count.refused(refusal(f"password-{number}", NOW + number))
    assert [one.password_hash for one in count.refusals] == [
        f"password-{at}" for at in range(4, 12)
    ]


def test_objection_says_all_that_there_is_to_say(guard: LoginGuard) -> None:
    error = seen_by(guard, begun(2).refused(refusal()))
    assert error is not None
    assert (error.status_code, error.error_code) == (400, "X.Y")
    assert (error.error_message, error.refused_at) == ("Wrong.", NOW)
    assert not error.retryable
    for part in (
        "refused at 2023-11-14 22:13:20 UTC",
        "X.Y: Wrong.",
        "at host:443 is tried again with this password",
        "this process alone",
        "store",
        "five failed logins in a row lock the user name until Verizon's support unlocks it",
        "3 more would",
        "auth.allow_login()",
    ):
        assert part in str(error)


def test_objection_to_a_row_says_until_when(guard: LoginGuard) -> None:
    error = seen_by(guard, begun(2))
    assert error is not None
    assert (error.status_code, error.refused_at) == (None, None)
    assert error.retryable
    assert "2 logins in a row failed, the last one at 2023-11-14 22:13:20 UTC" in str(error)
    assert " at host:443 is tried until 2023-11-14 22:18:20 UTC" in str(error)
    last = seen_by(guard, begun(MOST_FAILURES))
    assert last is not None
    assert not last.retryable
    assert "1 more would" in str(last)
    assert seen_by(guard, begun(MOST_FAILURES)) is not last


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


@pytest.mark.parametrize("count", [LoginCount(), begun(2), begun(1).refused(refusal())])
def test_count_goes_through_json(count: LoginCount) -> None:
    assert LoginCount.from_fields(json.loads(json.dumps(count.to_fields()))) == count


GOOD = [2, NOW, [[400, "X.Y", "Wrong.", NOW, "mine"]]]


@pytest.mark.parametrize(
    "count",
    [
        ["many", *GOOD[1:]],
        [[2], *GOOD[1:]],
        [2, "soon", []],
        [2, NOW, "no"],
        [2, NOW, {"a": 1}],
        [2, NOW, [[]]],
        [2, NOW, [[1, 2, 3, 4, 5]]],
        [2, NOW, 7],
        [2, NOW],
        {},
        None,
        7,
    ],
)
def test_what_is_no_count_is_no_failed_login(count: Any) -> None:
    assert LoginCount.from_fields({"count": GOOD}) == begun(2).refused(refusal())
    assert LoginCount.from_fields({"count": count}) == LoginCount()


def test_nothing_stored_is_no_failed_login() -> None:
    assert LoginCount.from_fields(None) == LoginCount()
    assert LoginCount.from_fields({}) == LoginCount()


def test_stored_text_has_no_control_characters_in_errors(guard: LoginGuard) -> None:
    told = LoginCount().refused(refusal(message="a\x1b[2Jb\nc"))
    error = seen_by(guard, LoginCount.from_fields(told.to_fields()))
    assert error is not None
    assert str(error).isprintable()
    assert error.error_message == "a [2Jb c"


@pytest.mark.parametrize("moment", [-1e18, 0.0, 1e18])
def test_odd_moments_do_not_break_the_message(guard: LoginGuard, moment: float) -> None:
    assert "UTC" in str(seen_by(guard, LoginCount().refused(refusal(at=moment))))


# Whose count it is.


def user_at(base_url: str, username: str) -> str:
    credentials = ThingspaceOauthCredentials("key", "secret")
    return login_user(Settings(credentials, base_url, None, 30), username)


def test_platform_counts_by_user_name_whatever_its_spelling() -> None:
    users = {
        user_at(base_url, name)
        for base_url in (
            "https://thingspace.verizon.com",
            "https://THINGSPACE.verizon.com/",
            "https://thingspace.verizon.com:443",
            "https://5gedge.verizon.com",
        )
        for name in ("user", "USER", " User ")
    }
    assert len(users) == 1
    loopback = {user_at(f"http://{host}:8000", "u") for host in ("localhost", "127.0.0.1", "[::1]")}
    assert len(loopback) == 1
    others = [
        user_at("https://staging.thingspace.verizon.com", "user"),
        user_at("https://thingspace.verizon.com", "other"),
        user_at("http://localhost:8001", "u"),
    ]
    assert users.isdisjoint(others)
    assert loopback.isdisjoint(others)


def test_forgetting_reaches_the_objects_that_there_are(guard: LoginGuard) -> None:
    assert seen_by(guard, begun(4)) is not None
    forget_all()
    assert guard.objection() is None


def test_passwords_are_not_kept() -> None:
    kind = INSTALLED[0]
    kind.auth(m2m=VzM2mCredentials("user", "p4ssw0rd"))
    assert "p4ssw0rd" not in str(vars(login_guard))


def test_login_that_was_interrupted_counts_as_failed(platform: Platform) -> None:
    kind = next(one for one in INSTALLED if not one.is_async)
    token = {"access_token": "given"}
    auth = kind.auth(platform, oauth_token=token, m2m=VzM2mCredentials("user", "password"))
    guard, counts = auth._tokens.session_source.guard, []

    def send(request: HttpRequest, timeout: float, ends_at: float) -> None:
        counts.append(guard.count().failures)
        raise KeyboardInterrupt

    auth._transport.send = send
    with pytest.raises(KeyboardInterrupt):
        auth.fetch_vz_m2m_token()
    assert (counts, guard.count().failures) == ([1], 1)
