"""The session token as a kind: its lease, its strikes, and the wire."""

from __future__ import annotations

import copy
import json
import os
import pickle
from typing import Any

import pytest

from thingspace_auth_adapters import M2mLoginError
from thingspace_auth_adapters.clock import Term
from thingspace_auth_adapters.effects import HttpAnswer
from thingspace_auth_adapters.lifecycle import Lease
from thingspace_auth_adapters.login import NoSession, Outcome, SessionEndpoints
from thingspace_auth_adapters.session_tokens import IdleLease
from thingspace_auth_adapters.strikes import Strikes

from .virtual import BASE, VirtualClock

BEARER = Lease("bearer", "bearer", "Bearer bearer", Term(), Term())
ENDPOINTS = SessionEndpoints("user", "the-password", BASE, 30.0)


def idle_lease(clock: VirtualClock) -> IdleLease:
    return IdleLease("token", 100.0, (clock.time(), clock.monotonic()), Term())


def test_use_puts_idleness_off_and_a_look_does_not() -> None:
    clock = VirtualClock()
    lease = idle_lease(clock)
    clock.advance(99)
    assert lease.is_fresh(clock)
    clock.advance(1)
    assert not lease.is_fresh(clock)
    assert not lease.use(clock.time(), clock.monotonic())
    lease = idle_lease(clock)
    clock.advance(99)
    assert lease.use(clock.time(), clock.monotonic())
    clock.advance(99)
    assert lease.is_usable(clock)


def test_lease_that_lay_idle_before_it_landed_stays_an_idle_lease() -> None:
    lease = idle_lease(VirtualClock())
    assert lease.as_final() is lease


def test_rejected_lease_is_over_for_good() -> None:
    clock = VirtualClock()
    rejected = idle_lease(clock).as_rejected()
    assert not rejected.is_usable(clock)
    assert not rejected.use(clock.time(), clock.monotonic())


def test_login_that_was_under_way_in_another_process_counts_as_unknown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    strikes = Strikes()
    strikes.begin()
    monkeypatch.setattr(os, "getpid", lambda: -1)
    strikes.check()
    strikes.begin()
    assert strikes.unknowns == 1
    strikes.lose()
    with pytest.raises(M2mLoginError):
        strikes.begin()


def test_no_login_is_sent_beside_one_that_is_under_way() -> None:
    strikes = Strikes()
    strikes.begin()
    strikes.check()
    with pytest.raises(M2mLoginError, match="stands still"):
        strikes.begin()
    strikes.succeed()
    strikes.begin()


def test_copy_of_strikes_counts_what_is_under_way_as_unknown() -> None:
    strikes = Strikes()
    strikes.begin()
    for twin in (copy.copy(strikes), pickle.loads(pickle.dumps(strikes))):
        assert (twin.unknowns, twin.pending_in) == (1, None)
    assert strikes.unknowns == 0


def test_success_forgets_unknowns_and_no_attempt_does_not() -> None:
    strikes = Strikes()
    strikes.begin()
    strikes.lose()
    strikes.begin()
    strikes.take_back()
    assert strikes.unknowns == 1
    strikes.begin()
    strikes.succeed()
    assert strikes.unknowns == 0


@pytest.mark.parametrize(
    ("status", "body", "outcome", "is_transient"),
    [
        (400, {"errorCode": "X"}, Outcome.REFUSED, False),
        (401, b"", Outcome.REFUSED, False),
        (408, b"", Outcome.REFUSED, False),
        (429, b"", Outcome.NOT_ATTEMPTED, True),
        (400, {"fault": {"code": "900906"}}, Outcome.NOT_ATTEMPTED, False),
        (400, {"fault": "900906"}, Outcome.REFUSED, False),
        (503, {"fault": {"code": "900800"}}, Outcome.NOT_ATTEMPTED, True),
        (403, b"  <am:fault xmlns:am='x'/>", Outcome.NOT_ATTEMPTED, False),
        (403, b"<html><am:fault></html>", Outcome.REFUSED, False),
        (401, {"fault": {"code": "900901"}}, Outcome.BEARER_REFUSED, False),
        (500, b"", Outcome.UNKNOWN, True),
        (302, b"", Outcome.UNKNOWN, True),
        (200, {"fault": {"code": "900901"}}, Outcome.UNKNOWN, True),
        (204, b"", Outcome.UNKNOWN, True),
        (200, {"sessionToken": ["x"]}, Outcome.UNKNOWN, True),
    ],
)
def test_answers_to_a_login(status: int, body: Any, outcome: Outcome, is_transient: bool) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    read = ENDPOINTS.read_login(HttpAnswer(status, {"retry-after": "7"}, content), 0.0, BEARER)
    assert isinstance(read, NoSession)
    assert (read.outcome, read.is_transient) == (outcome, is_transient)
    assert (read.error.status_code, read.retry_after) == (status, 7.0)


def test_challenge_to_the_bearer_is_no_refused_login() -> None:
    challenge = {"www-authenticate": 'Bearer error="invalid_token"'}
    read = ENDPOINTS.read_login(HttpAnswer(401, challenge, b""), 0.0, BEARER)
    assert isinstance(read, NoSession)
    assert read.outcome is Outcome.BEARER_REFUSED


def test_session_token_is_read() -> None:
    body = b'{"sessionToken": "8e1b4c2e-0000", "more": 1}'
    assert ENDPOINTS.read_login(HttpAnswer(200, {}, body), 0.0, BEARER) == "8e1b4c2e-0000"


def test_nothing_shows_the_password() -> None:
    shown = repr(ENDPOINTS) + repr(ENDPOINTS.login_request(BEARER)) + str(vars(Strikes()))
    assert "the-password" not in shown
