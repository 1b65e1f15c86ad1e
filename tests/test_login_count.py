"""The count of logins as a value, and whose it is. What follows from it is in test_login_guard."""

from __future__ import annotations

import json
from typing import Any

import pytest

from thingspace_auth_adapters import M2mLoginError, VzM2mCredentials
from thingspace_auth_adapters._core.login_guard import (
    MOST_UNKNOWNS,
    LoginCount,
    account,
    forget_all,
)
from thingspace_auth_adapters._wire.messages import HttpRequest

from .kinds import INSTALLED
from .virtual import BASE, START, Platform

NOW = 1_700_000_000.0
HOUR = 3600.0
REFUSED = M2mLoginError("no", status_code=400, error_code="X.Y", error_message="Wrong.")


def begun(times: int, count: LoginCount | None = None) -> LoginCount:
    """A count after so many logins whose outcome nobody knows yet."""
    count = LoginCount() if count is None else count
    for _ in range(times):
        count = count.begun(NOW)
    return count


def objection(count: LoginCount, now: float = NOW) -> M2mLoginError | None:
    return count.objection(now, "<where>", "<remedy>")


def test_login_counts_as_unknown_from_its_beginning() -> None:
    count = LoginCount()
    assert count.begun(NOW) == LoginCount(unknowns=1, unknown_at=NOW)
    assert count == LoginCount()


@pytest.mark.parametrize(
    ("unknowns", "later", "is_risked"),
    [
        (0, 0.0, True),
        (1, 0.0, True),
        (2, 0.0, False),
        (2, HOUR - 1, False),
        (2, HOUR, True),
        (2, -1.0, False),
        (3, 0.0, True),
        (4, 0.0, False),
        (4, 1000 * HOUR, False),
        (5, 1000 * HOUR, False),
    ],
)
def test_so_many_unknown_outcomes_in_a_row_are_risked(
    unknowns: int, later: float, is_risked: bool
) -> None:
    error = objection(begun(unknowns), NOW + later)
    assert (error is None) is is_risked
    if error is not None:
        assert (error.status_code, error.refused_at) == (None, None)
        assert "<where>" in str(error)
        assert str(error).endswith("<remedy>")


def test_refusal_is_for_ever_and_says_what_the_platform_said() -> None:
    count = begun(3).refused(REFUSED, NOW)
    for later in (-HOUR, 0.0, 1e9):
        error = objection(count, NOW + later)
        assert error is not None
        assert (error.status_code, error.error_code) == (400, "X.Y")
        assert (error.error_message, error.refused_at) == ("Wrong.", NOW)
        for part in ("2023-11-14 22:13:20 UTC", "X.Y", "Wrong.", "<where>", "<remedy>"):
            assert part in str(error)


def test_each_objection_is_an_exception_of_its_own() -> None:
    count = begun(MOST_UNKNOWNS)
    assert objection(count) is not objection(count)


@pytest.mark.parametrize("count", [LoginCount(), begun(2), begun(1).refused(REFUSED, NOW)])
def test_count_goes_through_json(count: LoginCount) -> None:
    assert LoginCount.from_fields(json.loads(json.dumps(count.to_fields()))) == count


def test_nothing_stored_is_no_failed_login() -> None:
    assert LoginCount.from_fields(None) == LoginCount()


GOOD = begun(2).refused(REFUSED, NOW).to_fields()


@pytest.mark.parametrize(
    "changes",
    [
        {"unknowns": "many"},
        {"unknowns": [2]},
        {"unknown_at": "soon"},
        {"refusal": "no"},
        {"refusal": {}},
        {"refusal": []},
        {"refusal": 7},
    ],
)
def test_what_is_no_count_is_no_failed_login(changes: dict[str, Any]) -> None:
    assert LoginCount.from_fields({**GOOD, **changes}) == LoginCount()
    assert LoginCount.from_fields({}) == LoginCount()


def test_stored_text_has_no_control_characters_in_errors() -> None:
    refused = M2mLoginError("no", status_code=400, error_message="a\x1b[2Jb\nc")
    error = objection(LoginCount.from_fields(LoginCount().refused(refused, NOW).to_fields()))
    assert error is not None
    assert str(error).isprintable()
    assert error.error_message == "a [2Jb c"


@pytest.mark.parametrize("moment", [-1e18, 0.0, 1e18])
def test_odd_moments_do_not_break_the_message(moment: float) -> None:
    error = objection(LoginCount().refused(REFUSED, moment))
    assert "UTC" in str(error)


# Whose count it is.


def test_account_is_known_by_place_name_and_password() -> None:
    known = account(BASE, "user", "password")
    assert account(BASE, "user", "password") is known
    for others in (
        ("https://a.example", "user", "password"),
        (BASE, "other", "password"),
        (BASE, "user", "other"),
        (BASE, "userp", "assword"),
        (BASE, "user", "pässword"),
    ):
        assert account(*others) is not known


def test_forgetting_keeps_the_accounts_that_objects_hold() -> None:
    known = account(BASE, "user", "password")
    known.count = begun(4)
    forget_all()
    assert account(BASE, "user", "password") is known
    assert known.count == LoginCount()


def test_passwords_are_not_kept() -> None:
    from thingspace_auth_adapters._core import login_guard

    account(BASE, "user", "p4ssw0rd")
    assert "p4ssw0rd" not in str(vars(login_guard))


@pytest.mark.parametrize("ahead", [-3599.0, -0.5, 0.5, 3599.0])
def test_two_unknowns_block_although_clocks_differ(ahead: float) -> None:
    count = LoginCount().begun(START).begun(START)
    assert count.objection(START + ahead, "here", "") is not None


def test_clock_that_was_far_ahead_blocks_no_longer_than_an_hour() -> None:
    count = LoginCount().begun(START).begun(START)
    assert count.objection(START - 3601, "here", "") is None


class Interrupt(KeyboardInterrupt):
    pass


@pytest.mark.parametrize(("is_sent", "unknowns"), [(True, 1), (False, 0)])
def test_login_that_was_interrupted_is_of_unknown_outcome_if_it_was_sent(
    is_sent: bool, unknowns: int, platform: Platform
) -> None:
    kind = next(one for one in INSTALLED if not one.is_async)
    token = {"access_token": "given"}
    auth = kind.auth(platform, oauth_token=token, m2m=VzM2mCredentials("user", "password"))
    known, counts = account(BASE, "user", "password"), []

    def send(request: HttpRequest, timeout: float, ends_at: float) -> None:
        counts.append(known.count.unknowns)
        if is_sent and request.once is not None:
            request.once.take(request.body)
        raise Interrupt

    auth._transport.send = send
    with pytest.raises(Interrupt):
        auth.fetch_vz_m2m_token()
    assert (counts, known.count.unknowns) == ([1], unknowns)
