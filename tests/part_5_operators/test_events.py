"""Part 5: which events log records carry, at which level, and that nothing secret is in them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from thingspace_auth_adapters import AuthEvent, M2mLoginError, VzM2mCredentials
from thingspace_auth_adapters.simulator import ThingspaceSimulator
from thingspace_auth_adapters.stores import StoreBusy, StoreUnavailable

from ..support.command_line import raising
from ..support.kinds import IDENTITY, PASSWORD, Kind
from ..support.memory_store import memory_store
from ..support.real import PATIENCE, Threads, eventually, options_for, waiters
from ..support.virtual import (
    API,
    Answer,
    Platform,
    VirtualClock,
    login_refusal,
    refusal,
    session_refusal,
    token_answer,
)

LOGGER = "thingspace_auth_adapters"
ACCESS, SESSION = "access token", "session token"
REFUSED = Answer(400, {"error": "invalid_client"})


class Collector(logging.Handler):
    """The ten lines that an operator writes."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[Any] = []

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "auth_event", None) is not None:
            self.records.append(record)

    @property
    def events(self) -> list[AuthEvent]:
        return [record.auth_event for record in self.records]

    @property
    def names(self) -> list[str]:
        return [event.name for event in self.events]

    def named(self, name: str) -> list[AuthEvent]:
        return [event for event in self.events if event.name == name]

    @property
    def last_message(self) -> str:
        return str(self.records[-1].getMessage())

    @property
    def warnings(self) -> set[str]:
        return {one.auth_event.name for one in self.records if one.levelno > logging.INFO}


@pytest.fixture
def seen(caplog: pytest.LogCaptureFixture) -> Iterator[Collector]:
    caplog.set_level(logging.INFO, LOGGER)
    collector = Collector()
    logging.getLogger(LOGGER).addHandler(collector)
    yield collector
    logging.getLogger(LOGGER).removeHandler(collector)
    # Of all others the caller learns by an exception, or need not learn.
    assert collector.warnings <= {"refresh_failed", "store_busy", "store_unavailable"}


class Script:
    """What an operator watches: clients of one kind, and the platform, in virtual time."""

    def __init__(self, kind: Kind, platform: Platform, clock: VirtualClock) -> None:
        self.kind = kind
        self.platform = platform
        self.clock = clock

    def auth(self, has_m2m: bool = False, **options: Any) -> Any:
        m2m = VzM2mCredentials("user", PASSWORD) if has_m2m else None
        return self.kind.auth(self.platform, m2m=m2m, **options)

    def send(self, auth: Any, method: str = "GET", url: str = API, **options: Any) -> int:
        return self.kind.send(auth, method, url, self.platform, **options).status


@pytest.fixture
def script(kind: Kind, platform: Platform, clock: VirtualClock) -> Script:
    return Script(kind, platform, clock)


# Fetches.


def test_fetch_is_told_with_its_attempts(script: Script, seen: Collector) -> None:
    script.platform.tokens = [Answer(503), script.platform.new_token()]
    script.platform.on_token = lambda: script.clock.advance(2.0)
    script.send(script.auth())
    failed, fetched = seen.events
    assert failed._replace(reason=None) == AuthEvent(
        "fetch_failed", ACCESS, 2.0, attempt=1, status_code=503
    )
    assert fetched == AuthEvent("fetched", ACCESS, 2.0, attempt=2)


@pytest.mark.parametrize(
    ("answer", "status", "reasons"),
    [
        (REFUSED, 400, ["invalid_client"]),
        (Answer(failure="certificate"), None, ["SSLError", "ConnectError"]),
    ],
    ids=["refused", "no connection"],
)
def test_failed_fetch_is_told_by_the_platforms_code_or_by_its_type(
    script: Script, seen: Collector, answer: Answer, status: int | None, reasons: list[str]
) -> None:
    script.platform.tokens = [answer]
    with pytest.raises(script.kind.request_error):
        script.send(script.auth())
    (event,) = seen.events
    assert event.reason in reasons
    assert event == AuthEvent("fetch_failed", ACCESS, 0.0, 1, status, event.reason)


def test_warm_request_makes_no_event(script: Script, seen: Collector) -> None:
    auth = script.auth(has_m2m=True)
    script.send(auth)
    assert seen.events == [AuthEvent("fetched", kind, 0.0, 1) for kind in (ACCESS, SESSION)]
    seen.records.clear()
    script.send(auth)
    assert seen.records == []


def test_renewal_that_fails_behind_the_callers_back_is_a_warning(
    script: Script, seen: Collector
) -> None:
    auth = script.auth(oauth_clock_skew=60)
    script.send(auth)
    script.clock.advance(3560)
    script.platform.tokens = [REFUSED]
    assert script.send(auth) == 200
    assert seen.named("refresh_failed") == [
        AuthEvent("refresh_failed", ACCESS, status_code=400, reason="invalid_client")
    ]
    assert seen.warnings == {"refresh_failed"}


def test_what_a_provider_brings_is_told(script: Script, seen: Collector) -> None:
    def provide(last: Any, auth_manager: Any) -> Any:
        script.clock.advance(3.0)
        return {"access_token": "provided", "token_type": "Bearer"}

    script.send(script.auth(oauth_token_provider=script.kind.callback(provide)))
    assert seen.events == [AuthEvent("provided", ACCESS, 3.0)]


def test_provider_that_fails_is_told_by_the_type_of_its_error(
    script: Script, seen: Collector
) -> None:
    class DatabaseError(Exception):
        error = "a secret detail"

    def provide(last: Any, auth_manager: Any) -> Any:
        raise DatabaseError("a secret detail")

    with pytest.raises(DatabaseError):
        script.send(script.auth(oauth_token_provider=script.kind.callback(provide)))
    assert seen.events == [AuthEvent("fetch_failed", ACCESS, 0.0, reason="DatabaseError")]


def test_request_that_waits_for_anothers_refresh_tells_so(kind: Kind, seen: Collector) -> None:
    with ThingspaceSimulator() as simulator:
        auth = kind.auth(**options_for(simulator))
        simulator.fail("token", "hang")
        threads = Threads()
        url = simulator.url + "/api/m2m/v1/devices"
        for _ in range(2):
            threads.start(lambda: kind.get(auth, url, timeout=30.0).status)
        eventually(lambda: simulator.token_requests and waiters(auth) == 1)
        simulator.recover()
        assert threads.join() == [200, 200]
    (event,) = seen.named("waited")
    assert event.credential == ACCESS
    assert event.seconds is not None
    assert 0 < event.seconds < PATIENCE


# Rejections.


@pytest.mark.parametrize(
    ("credential", "answer"), [(ACCESS, refusal()), (SESSION, session_refusal())]
)
def test_rejection_and_repeat_are_told(
    script: Script, seen: Collector, credential: str, answer: Answer
) -> None:
    auth = script.auth(has_m2m=credential == SESSION)
    script.send(auth)
    seen.records.clear()
    script.platform.api = [answer]
    script.send(auth)
    assert seen.events == [
        AuthEvent("rejected", credential, status_code=answer.status, reason="certain"),
        AuthEvent("fetched", credential, 0.0, 1),
        AuthEvent("repeated", credential, status_code=answer.status),
    ]
    assert seen.last_message == f"the request with the rejected {credential} is repeated"


def test_recover_tells_what_an_adapter_tells(script: Script, seen: Collector) -> None:
    auth, answer = script.auth(), refusal()

    async def arecover() -> Any:
        sent = await auth.aheaders(API)
        return await auth.arecover(API, sent, "GET", 401, answer.headers, answer.body)

    if script.kind.is_async:
        again = script.kind.run(arecover)
    else:
        again = auth.recover(API, auth.headers(API), "GET", 401, answer.headers, answer.body)
    assert again is not None
    assert seen.names == ["fetched", "rejected", "fetched", "repeated"]


def once(kind: Kind) -> Any:
    """A body that can be sent only once."""

    def parts() -> Iterator[bytes]:
        yield b"once"

    async def aparts() -> Any:
        yield b"once"

    return aparts() if kind.is_async else parts()


@pytest.mark.parametrize(
    ("method", "answer", "second", "told"),
    [
        ("POST", Answer(401, b"who are you?"), token_answer("token-2"), "acted upon"),
        ("GET", refusal(), token_answer("token-1"), "no other token"),
        ("GET", refusal(), REFUSED, "no other token"),
        ("PUT", refusal(), token_answer("token-2"), "its body cannot be sent again"),
    ],
    ids=["a suspicion", "the same again", "a refusal", "a stream"],
)
def test_what_keeps_a_request_from_being_repeated_is_told(
    script: Script, seen: Collector, method: str, answer: Answer, second: Answer, told: str
) -> None:
    script.platform.api = [answer]
    script.platform.tokens = [token_answer("token-1"), second]
    options = {"content": once(script.kind)} if method == "PUT" else {}
    script.send(script.auth(), method, **options)
    (event,) = seen.named("not_repeated")
    assert event.status_code == 401
    assert told in str(event.reason)
    words = f"the request with the rejected {ACCESS} is not repeated, since {event.reason}"
    assert seen.last_message == words
    assert "repeated" not in seen.names


def test_answer_that_is_too_long_to_judge_is_told(
    httpx_kind: Kind, platform: Platform, clock: VirtualClock, seen: Collector
) -> None:
    platform.api = [Answer(401, b"x" * 100_000, {"Content-Length": "100000"})]
    httpx_kind.get(httpx_kind.auth(platform), API, platform)
    (event,) = seen.named("not_repeated")
    assert event.reason == "its answer was too long to judge"


def test_host_that_is_not_allowed_is_told_once(script: Script, seen: Collector) -> None:
    auth = script.auth()
    for path in ("a?secret=1", "b"):
        script.send(auth, url=f"https://elsewhere.example/{path}")
    assert seen.events == [AuthEvent("no_token_for_host", ACCESS, reason="elsewhere.example")]


# Logins and stores.


def test_refused_login_is_told_once_and_each_blocked_one(script: Script, seen: Collector) -> None:
    auth = script.auth(has_m2m=True)
    script.platform.logins = [login_refusal()]
    for _ in range(3):
        with pytest.raises(M2mLoginError):
            script.send(auth)
    code = "UnifiedWebService.REQUEST_FAILED.InvalidCredentials"
    event = AuthEvent("login_refused", SESSION, status_code=400, reason=code)
    assert seen.named("login_refused") == [event]
    assert seen.named("fetch_failed") == [AuthEvent("fetch_failed", SESSION, 0.0, 1, 400, code)]
    assert seen.named("login_blocked") == 2 * [event._replace(name="login_blocked")]


def test_login_that_is_blocked_after_unknown_outcomes_has_no_status(
    script: Script, seen: Collector
) -> None:
    auth = script.auth(has_m2m=True)
    script.platform.logins = [Answer(failure="read timeout") for _ in range(9)]
    for _ in range(2):
        with pytest.raises(script.kind.request_error):
            script.send(auth)
    assert seen.named("login_blocked") == [AuthEvent("login_blocked", SESSION)]
    assert seen.named("login_refused") == []


def test_what_comes_from_the_store_is_told_as_loaded_and_a_use_of_it_not_at_all(
    script: Script, seen: Collector
) -> None:
    store = memory_store()
    script.send(script.auth(has_m2m=True, store=store))
    seen.records.clear()
    auth = script.auth(has_m2m=True, store=store)
    script.send(auth)
    assert seen.events == [AuthEvent("loaded", SESSION), AuthEvent("loaded", ACCESS)]
    script.clock.advance(90)
    script.send(auth)
    assert len(seen.events) == 2
    script.clock.advance(3600)
    script.send(script.auth(has_m2m=True, store=store))
    seen.records.clear()
    # What another one renewed is loaded, too.
    script.send(auth)
    assert seen.events == [AuthEvent("loaded", SESSION), AuthEvent("loaded", ACCESS)]


@pytest.mark.parametrize(
    ("name", "error"),
    [("store_unavailable", StoreUnavailable("gone")), ("store_busy", StoreBusy("held"))],
)
def test_store_out_of_reach_or_busy_is_a_warning(
    script: Script, seen: Collector, name: str, error: Exception
) -> None:
    store = memory_store()
    store.locked = raising(error)
    assert script.send(script.auth(store=store)) == 200
    assert sorted(seen.names) == ["fetched", name]
    assert seen.named(name) == [AuthEvent(name, ACCESS, reason=type(error).__name__)]
    assert seen.warnings == {name}


# The event itself.


def test_no_event_holds_a_secret(script: Script, seen: Collector) -> None:
    secret = IDENTITY["oauth_client_secret"]
    script.platform.tokens = [Answer(503, {"error": secret}), script.platform.new_token()]
    script.platform.logins = [Answer(400, {"errorCode": PASSWORD, "errorMessage": PASSWORD})]
    with pytest.raises(script.kind.request_error):
        script.send(script.auth(has_m2m=True))
    for record in seen.records:
        shown = f"{record.auth_event!r}{record.getMessage()}"
        for text in (secret, PASSWORD, "token-1", "session-1"):
            assert text not in shown
    assert len(seen.records) >= 3


def test_event_cannot_be_changed_and_has_no_room_for_more() -> None:
    event: Any = AuthEvent("fetched", ACCESS)
    with pytest.raises(AttributeError):
        event.name = "other"
    with pytest.raises(AttributeError):
        event.more = 1
    assert not hasattr(event, "__dict__")
