"""The module ``_core/lifecycle``, in orders of events that only a race brings about.

Callers are greenlets that stop where they would block, so that each test says what comes when.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any, Callable

import pytest

from thingspace_auth_adapters import (
    OauthProviderError,
    OauthToken,
    ThingspaceOauthCredentials,
)
from thingspace_auth_adapters._core import refresh
from thingspace_auth_adapters._core.access_tokens import AccessTokens
from thingspace_auth_adapters._core.refresh import Failed, SingleFlight
from thingspace_auth_adapters._model.settings import Settings

from ..support.kinds import IDENTITY
from ..support.scheduler import (
    LONGEST_WAIT,
    TIMEOUT,
    Call,
    Caller,
    Scheduler,
    Sleep,
    Wait,
    replaced,
    watched,
)
from ..support.steps import Interrupt, answered, token
from ..support.virtual import BASE

SKEW = 10


class Stage(Scheduler):
    """A lifecycle of access tokens whose owner is the stage, and callers that take their turns."""

    def __init__(self, **fields: Any) -> None:
        super().__init__()
        credentials = ThingspaceOauthCredentials(**IDENTITY, oauth_clock_skew=SKEW, **fields)
        configured = Settings(credentials, BASE, None, TIMEOUT)
        source = AccessTokens(configured, self, self.transport, self.clock)
        self.told: list[str] = []
        self.lifecycle: Any = watched(self)(source, self, self.clock, self.tell)

    def tell(self, updates: list[Any], loop: object) -> None:
        self.told += [one.access_token for one in updates]

    def judge(self, caller: Caller) -> None:
        """Each test judges for itself."""

    def patience(self) -> refresh.Caller:
        return refresh.Caller(self.clock.monotonic() + LONGEST_WAIT)

    def begin(self, work: Callable[[], Any]) -> Caller:
        caller = Caller(work)
        self.start(caller)
        return caller

    def acquire(self) -> Caller:
        """Somebody needs a token."""
        return self.begin(lambda: self.lifecycle.acquire(self.patience()))

    def replace(self, header: str) -> Caller:
        """The platform rejected somebody's."""
        return self.begin(lambda: replaced(self.lifecycle, header, self.patience()))

    def acquired(self, name: str, seconds: int = 100) -> None:
        """A token was just fetched."""
        caller = self.acquire()
        self.deliver(token(name, seconds))
        assert header(caller) == f"Bearer {name}"

    def assign(self, name: str) -> None:
        self.lifecycle.assign(self.lifecycle.source.cached(OauthToken(name)))


def header(caller: Caller) -> str | None:
    """That of the token that a caller got."""
    assert caller.is_done
    if caller.error is not None:
        raise caller.error
    return None if caller.result is None else str(caller.result.header)


def failure(caller: Caller) -> Exception:
    """With which error a caller failed."""
    assert isinstance(caller.error, Failed)
    return caller.error.error


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Stage]]:
    monkeypatch.setattr("random.uniform", lambda low, high: high)
    made: list[Stage] = []

    def make(**fields: Any) -> Stage:
        made.append(Stage(**fields))
        return made[-1]

    yield make
    for one in made:
        one.teardown()


@pytest.fixture
def stage(make: Callable[..., Stage]) -> Stage:
    return make()


# What comes in between.


def test_token_rejected_while_its_repetition_was_under_way_is_asked_for_again(
    stage: Stage,
) -> None:
    """The answer may be older than the rejection, so that it says nothing about it."""
    stage.acquired("a")
    stage.let_time_pass(90)
    renewal = stage.acquire()
    rejection = stage.replace("Bearer a")
    assert isinstance(rejection.at, Wait)
    stage.deliver(token("a", 10))
    assert stage.calling()
    stage.deliver(token("b"))
    assert header(renewal) == header(rejection) == "Bearer b"


def test_rejection_takes_no_failure_of_a_renewal_ahead_of_expiry_and_has_all_attempts(
    stage: Stage,
) -> None:
    stage.acquired("a")
    stage.let_time_pass(90)
    renewal = stage.acquire()
    rejection = stage.replace("Bearer a")
    assert isinstance(rejection.at, Wait)
    stage.deliver(answered(503))
    for _ in range(3):
        assert len(stage.calling()) == 1
        stage.deliver(answered(503))
        stage.let_time_pass(5)
    stage.deliver(token("b"))
    assert header(renewal) == header(rejection) == "Bearer b"


def test_assignment_while_a_fetch_is_under_way_stands(stage: Stage) -> None:
    caller = stage.acquire()
    stage.assign("assigned")
    stage.deliver(token("fetched"))
    assert header(caller) == "Bearer assigned"
    assert stage.lifecycle.current.header == "Bearer assigned"
    assert stage.told == []


def test_revocation_while_a_fetch_is_under_way_stands(stage: Stage) -> None:
    stage.acquired("a")
    stage.let_time_pass(90)
    caller = stage.acquire()
    stage.lifecycle.revoked("Bearer a")
    stage.deliver(token("a", 10))
    stage.deliver(token("b"))
    assert header(caller) == "Bearer b"


def test_revocation_of_a_token_that_is_no_longer_in_use_changes_nothing(stage: Stage) -> None:
    stage.acquired("a")
    stage.lifecycle.revoked("Bearer old")
    assert header(stage.acquire()) == "Bearer a"


def test_token_that_was_installed_between_look_and_start_is_used(stage: Stage) -> None:
    class Late(SingleFlight):
        @property
        def lock(self) -> Any:
            stage.lifecycle._flight = before
            stage.assign("just-installed")
            return before.lock

    before, stage.lifecycle._flight = stage.lifecycle._flight, Late()
    assert header(stage.acquire()) == "Bearer just-installed"
    assert stage.acquisitions == 0


def test_refresh_that_is_given_up_and_yet_brings_a_token_replaces_no_newer_one(
    stage: Stage,
) -> None:
    late, waiting = stage.acquire(), stage.acquire()
    # As if the library read on and on.
    late.at = Call(stage.next_call(), float("inf"))
    stage.let_time_pass(3 * TIMEOUT + TIMEOUT)
    assert isinstance(waiting.at, Call)
    stage.resume(waiting, token("b"))
    assert header(waiting) == "Bearer b"
    stage.resume(late, token("a"))
    assert header(late) == "Bearer b"
    assert stage.lifecycle.current.header == "Bearer b"


def test_leader_goes_by_its_own_result_although_it_was_given_up(stage: Stage) -> None:
    late, waiting = stage.acquire(), stage.acquire()
    late.at = Call(stage.next_call(), float("inf"))
    stage.let_time_pass(4 * TIMEOUT)
    stage.resume(late, token("a"))
    assert header(late) == "Bearer a"
    stage.resume(waiting, token("b"))
    assert header(waiting) == "Bearer a"


def test_leaders_end_comes_before_that_of_those_who_wait(stage: Stage) -> None:
    """Though all began at the same moment, and the answer dripped to the last."""
    leader, waiting = stage.acquire(), stage.acquire()
    stage.let_time_pass(3 * TIMEOUT, is_last_first=True)
    assert leader.is_done
    assert waiting.is_done
    assert str(failure(leader)) == str(failure(waiting)) == "too late"
    assert stage.acquisitions == 1


# Whoever takes over.


def test_new_leader_has_all_attempts_and_a_deadline_of_its_own(stage: Stage) -> None:
    first, second = stage.acquire(), stage.acquire()
    for _ in range(2):
        stage.deliver(answered(503))
        stage.let_time_pass(5)
    stage.throw(first, Interrupt())
    stage.settle_down()
    assert isinstance(second.at, Call)
    assert second.at.until == stage.clock.steady + 3 * TIMEOUT
    for _ in range(3):
        stage.deliver(answered(503))
        stage.let_time_pass(5)
    stage.deliver(answered(503))
    assert isinstance(failure(second), OauthProviderError)


def test_who_gives_up_early_leaves_the_refresh_to_the_others(stage: Stage) -> None:
    leader = stage.acquire()
    hasty = refresh.Caller(stage.clock.monotonic() + 2.5 * TIMEOUT)
    gone = stage.begin(lambda: stage.lifecycle.acquire(hasty))
    other = stage.acquire()
    stage.let_time_pass(2.5 * TIMEOUT)
    assert isinstance(failure(gone), TimeoutError)
    stage.deliver(token("a"))
    assert header(leader) == header(other) == "Bearer a"
    assert stage.calling() == []


def test_who_has_waited_for_two_goes_on_with_a_token_that_came_meanwhile(stage: Stage) -> None:
    """And does not lead a third refresh because that one is stale."""
    leader, waiting = stage.acquire(), stage.acquire()
    stage.throw(leader, Interrupt())
    stage.settle_down()
    expiry = stage.clock.wall + SKEW / 2
    stage.lifecycle.assign(stage.lifecycle.source.cached(OauthToken("stale", expiry=expiry)))
    stage.deliver(token("outdated"))
    assert header(waiting) == "Bearer stale"


# Ahead of expiry.


def test_those_who_wait_for_a_refresh_whose_token_ran_out_try_in_earnest(stage: Stage) -> None:
    stage.acquired("a")
    stage.let_time_pass(90)
    renewal = stage.acquire()
    stage.let_time_pass(10)
    late = stage.acquire()
    assert isinstance(late.at, Wait)
    # The single attempt fails, and the token has run out meanwhile: one leads again, in earnest.
    stage.deliver(answered(503))
    stage.deliver(answered(503))
    assert sorted(type(one.at).__name__ for one in (renewal, late)) == ["Sleep", "Wait"]


def test_whoever_takes_over_from_a_refresher_whose_token_ran_out_has_all_attempts(
    stage: Stage,
) -> None:
    stage.acquired("a")
    stage.let_time_pass(90)
    renewal = stage.acquire()
    stage.let_time_pass(10)
    late = stage.acquire()
    stage.throw(renewal, Interrupt())
    stage.settle_down()
    stage.deliver(answered(503))
    assert isinstance(late.at, Sleep)


# Rejections.


def test_only_so_many_rejections_are_remembered(stage: Stage) -> None:
    for number in range(100):
        stage.lifecycle.revoked(f"Bearer token-{number}")
    assert len(stage.lifecycle._rejected) < 10
    assert "Bearer token-99" in stage.lifecycle._rejected


def test_eight_tokens_before_the_current_one_are_held(stage: Stage) -> None:
    """Also before one that is assigned again."""
    names = [f"token-{number}" for number in range(100)]
    for name in (*names, "token-92"):
        stage.assign(name)
    assert set(stage.lifecycle.held) == {f"Bearer {name}" for name in names[91:]}
    assert stage.lifecycle.held[-1] == "Bearer token-92"
    assert len(stage.lifecycle.held) == 9


def test_token_is_read_once_for_one_decision(stage: Stage) -> None:
    """Whoever reads it twice may judge one token and return another, which may be over."""
    stage.acquired("a")
    reads: list[int] = []

    class Counting(type(stage.lifecycle)):  # type: ignore[misc]
        @property
        def current(self) -> Any:
            reads.append(1)
            return self.__dict__["current"]

    stage.lifecycle.__class__ = Counting
    found = stage.lifecycle.look(stage.patience())
    assert (found.header, reads) == ("Bearer a", [1])


def test_log_handler_may_use_the_object(
    stage: Stage, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, "thingspace_auth_adapters")
    monkeypatch.setattr(
        caplog.handler, "emit", lambda record: stage.lifecycle.reject("Bearer other")
    )
    stage.acquired("a")


# Providers.


def test_provider_may_take_its_time_but_not_for_ever(make: Callable[..., Stage]) -> None:
    def provider(last: Any, owner: Any) -> Any:
        scene.stop(Sleep(scene.clock.steady + seconds))

    scene = make(oauth_token_provider=provider)
    seconds = 59.0
    leader, waiting = scene.acquire(), scene.acquire()
    scene.let_time_pass(59)
    assert isinstance(leader.at, Call)
    scene.deliver(token("a"))
    assert header(waiting) == "Bearer a"
    scene.lifecycle.assign(None)
    seconds = 1000.0
    scene.acquire()
    waiting = scene.acquire()
    scene.let_time_pass(4 * TIMEOUT)
    # It is asked again on behalf of one who waited.
    assert isinstance(waiting.at, Sleep)


def test_what_interrupts_a_leader_in_its_provider_is_not_shared(
    make: Callable[..., Stage],
) -> None:
    """If it is no plain exception, which cannot be told from one of the provider's own."""

    def provider(last: Any, owner: Any) -> Any:
        scene.clock.sleep(1)
        return {"access_token": "provided"}

    scene = make(oauth_token_provider=provider)
    leader, waiting = scene.acquire(), scene.acquire()
    scene.throw(leader, Interrupt())
    scene.settle_down()
    scene.let_time_pass(1)
    assert header(waiting) == "Bearer provided"
