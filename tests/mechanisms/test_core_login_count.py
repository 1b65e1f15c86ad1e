"""The module ``_core/login_count``: the count of logins as a value, which a store keeps."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from thingspace_auth_adapters._core.login_count import LoginCount, Refusal
from thingspace_auth_adapters._core.login_guard import LoginGuard

from ..support.virtual import START, VirtualClock

NOW = START
MINUTE = 60.0
HOUR = 3600.0


def begun(times: int) -> LoginCount:
    """A count after so many logins whose outcome nobody knows yet."""
    count = LoginCount()
    for _ in range(times):
        count = count.begun(NOW)
    return count


def refusal(password: str = "mine", at: float = NOW, message: str = "Wrong.") -> Refusal:
    return Refusal(400, "X.Y", message, at, password)


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
    assert count.failures == LoginCount().refused(refusal()).failures == 1


def test_success_ends_the_row_and_frees_no_refused_password() -> None:
    count = begun(3).refused(refusal()).succeeded()
    assert count.failures == 0
    assert count.blocked_until(NOW, "mine") == math.inf
    assert count.blocked_until(NOW, "another") is None


def test_count_since_another_is_what_that_did_not_know_of() -> None:
    known, new = refusal("theirs"), refusal("mine")
    later = LoginCount(3, NOW + 1, (known, new))
    assert later.since(LoginCount(1, NOW, (known,))) == LoginCount(2, NOW + 1, (new,))
    # A success ended the row in between.
    assert LoginCount(1, NOW).since(LoginCount(3, NOW)) == LoginCount(0, NOW)


def test_last_eight_refused_passwords_are_kept_each_once() -> None:
    count = LoginCount()
    for number in range(12):
        for _ in range(2):
            count = count.refused(refusal(f"password-{number}", NOW + number))
    kept = [one.password_hash for one in count.refusals]
    assert kept == [f"password-{at}" for at in range(4, 12)]


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
    for fields in ({"count": count}, {}, None):
        assert LoginCount.from_fields(fields) == LoginCount()


@pytest.mark.parametrize("moment", [-1e18, 0.0, 1e18])
def test_odd_moments_do_not_break_the_message(clock: VirtualClock, moment: float) -> None:
    guard = LoginGuard("user at host", "as user at host", "mine", clock, None)
    guard._account.seen[""] = LoginCount().refused(refusal(at=moment))
    assert "UTC" in str(guard.objection())
