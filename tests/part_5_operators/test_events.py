"""The contract, Part 5: what an operator can see. Every client kind, virtual time."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from thingspace_auth_adapters import AuthEvent, M2mLoginError, VzM2mCredentials
from thingspace_auth_adapters.simulator import ThingspaceSimulator
from thingspace_auth_adapters.stores import StoreUnavailable, TokenStore

from ..support.kinds import IDENTITY, PASSWORD, Kind
from ..support.real import Threads, eventually, options_for, waiters
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


class Collector(logging.Handler):
    """The ten lines that an operator writes."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "auth_event", None) is not None:
            self.records.append(record)

    @property
    def events(self) -> list[AuthEvent]:
        return [record.auth_event for record in self.records]  # type: ignore[attr-defined]

    @property
    def names(self) -> list[str]:
        return [event.name for event in self.events]

    def named(self, name: str) -> list[AuthEvent]:
        return [event for event in self.events if event.name == name]

    def level_of(self, name: str) -> int:
        (level,) = {record.levelno for record in self.records if record.auth_event.name == name}  # type: ignore[attr-defined]
        return level


@pytest.fixture
def seen(caplog: pytest.LogCaptureFixture) -> Iterator[Collector]:
    caplog.set_level(logging.INFO, LOGGER)
    collector = Collector()
    logging.getLogger(LOGGER).addHandler(collector)
    yield collector
    logging.getLogger(LOGGER).removeHandler(collector)


def account() -> VzM2mCredentials:
    return VzM2mCredentials("user", PASSWORD)


def test_fetch_is_told_with_its_attempts(
    kind: Kind, platform: Platform, clock: VirtualClock, seen: Collector
) -> None:
    platform.tokens = [Answer(503), platform.new_token()]
    platform.on_token = lambda: clock.advance(2.0)
    kind.get(kind.auth(platform), API, platform)
    failed, fetched = seen.events
    assert failed == AuthEvent(
        "fetch_failed", ACCESS, 2.0, attempt=1, status_code=503, reason=failed.reason
    )
    assert fetched == AuthEvent("fetched", ACCESS, 2.0, attempt=2)
    assert seen.level_of("fetched") == seen.level_of("fetch_failed") == logging.INFO


def test_refused_fetch_is_told_with_the_platforms_code(
    kind: Kind, platform: Platform, clock: VirtualClock, seen: Collector
) -> None:
    platform.tokens = [Answer(401, {"error": "invalid_client"})]
    with pytest.raises(kind.request_error):
        kind.get(kind.auth(platform), API, platform)
    assert seen.events == [AuthEvent("fetch_failed", ACCESS, 0.0, 1, 401, "invalid_client")]


def test_failure_to_connect_is_told_by_its_type(
    kind: Kind, platform: Platform, clock: VirtualClock, seen: Collector
) -> None:
    platform.tokens = [Answer(failure="certificate")]
    with pytest.raises(kind.request_error):
        kind.get(kind.auth(platform), API, platform)
    (event,) = seen.events
    assert (event.name, event.status_code) == ("fetch_failed", None)
    assert event.reason in ("SSLError", "ConnectError")


def test_warm_request_makes_no_event(
    kind: Kind, platform: Platform, clock: VirtualClock, seen: Collector
) -> None:
    auth = kind.auth(platform, m2m=account())
    kind.get(auth, API, platform)
    assert seen.named("fetched") == [
        AuthEvent("fetched", ACCESS, 0.0, 1),
        AuthEvent("fetched", SESSION, 0.0, 1),
    ]
    seen.records.clear()
    kind.get(auth, API, platform)
    assert seen.records == []


def test_rejection_and_repeat_are_told(
    kind: Kind, platform: Platform, clock: VirtualClock, seen: Collector
) -> None:
    platform.api = [refusal()]
    kind.get(kind.auth(platform), API, platform)
    assert seen.names == ["fetched", "rejected", "fetched", "repeated"]
    assert seen.events[1] == AuthEvent("rejected", ACCESS, status_code=401, reason="certain")
    assert seen.events[3] == AuthEvent("repeated", ACCESS, status_code=401)


def test_rejected_session_is_told_as_one(
    kind: Kind, platform: Platform, clock: VirtualClock, seen: Collector
) -> None:
    auth = kind.auth(platform, m2m=account())
    platform.api = [session_refusal()]
    kind.get(auth, API, platform)
    assert seen.named("rejected") == [AuthEvent("rejected", SESSION, None, None, 400, "certain")]
    assert seen.named("repeated") == [AuthEvent("repeated", SESSION, status_code=400)]


@pytest.mark.parametrize(
    ("method", "answer", "tokens", "told"),
    [
        ("POST", Answer(401, b"who are you?"), [], "acted upon"),
        ("GET", refusal(), ["token-1", "token-1"], "no other token"),
        ("GET", refusal(), ["token-1", Answer(400, {"error": "invalid_client"})], "no other token"),
    ],
    ids=["a suspicion", "the same again", "a refusal"],
)
def test_what_keeps_a_request_from_being_repeated_is_told(
    kind: Kind,
    platform: Platform,
    clock: VirtualClock,
    seen: Collector,
    method: str,
    answer: Answer,
    tokens: list[Any],
    told: str,
) -> None:
    platform.api = [answer]
    platform.tokens = [token_answer(one) if isinstance(one, str) else one for one in tokens]
    kind.send(kind.auth(platform), method, API, platform)
    (event,) = seen.named("not_repeated")
    assert event.status_code == 401
    assert told in str(event.reason)
    assert "repeated" not in seen.names


def test_body_that_cannot_be_sent_again_is_told(
    kind: Kind, platform: Platform, clock: VirtualClock, seen: Collector
) -> None:
    def parts() -> Iterator[bytes]:
        yield b"once"

    async def aparts() -> Any:
        yield b"once"

    platform.api = [refusal()]
    body = aparts() if kind.is_async else parts()
    kind.send(kind.auth(platform), "PUT", API, platform, content=body)
    (event,) = seen.named("not_repeated")
    assert event.reason == "its body cannot be sent again"


def test_answer_that_is_too_long_to_judge_is_told(
    httpx_kind: Kind, platform: Platform, clock: VirtualClock, seen: Collector
) -> None:
    platform.api = [Answer(401, b"x" * 100_000, {"Content-Length": "100000"})]
    httpx_kind.get(httpx_kind.auth(platform), API, platform)
    (event,) = seen.named("not_repeated")
    assert event.reason == "its answer was too long to judge"


def test_renewal_that_fails_behind_the_callers_back_is_a_warning(
    kind: Kind, platform: Platform, clock: VirtualClock, seen: Collector
) -> None:
    auth = kind.auth(platform, oauth_clock_skew=60)
    kind.get(auth, API, platform)
    clock.advance(3560)
    platform.tokens = [Answer(400, {"error": "invalid_client"})]
    assert kind.get(auth, API, platform).status == 200
    assert seen.named("refresh_failed") == [
        AuthEvent("refresh_failed", ACCESS, status_code=400, reason="invalid_client")
    ]
    assert seen.level_of("refresh_failed") == logging.WARNING


def test_what_a_provider_brings_is_told(
    kind: Kind, platform: Platform, clock: VirtualClock, seen: Collector
) -> None:
    def provide(last: Any, auth_manager: Any) -> Any:
        clock.advance(3.0)
        return {"access_token": "provided", "token_type": "Bearer"}

    auth = kind.auth(platform, oauth_token_provider=kind.callback(provide))
    kind.get(auth, API, platform)
    assert seen.events == [AuthEvent("provided", ACCESS, 3.0)]


def test_provider_that_fails_is_told_by_the_type_of_its_error(
    kind: Kind, platform: Platform, clock: VirtualClock, seen: Collector
) -> None:
    class DatabaseError(Exception):
        error = "a secret detail"

    def provide(last: Any, auth_manager: Any) -> Any:
        raise DatabaseError("a secret detail")

    auth = kind.auth(platform, oauth_token_provider=kind.callback(provide))
    with pytest.raises(DatabaseError):
        kind.get(auth, API, platform)
    assert seen.events == [AuthEvent("fetch_failed", ACCESS, 0.0, reason="DatabaseError")]


def test_refused_login_is_told_once_and_each_blocked_one(
    kind: Kind, platform: Platform, clock: VirtualClock, seen: Collector
) -> None:
    auth = kind.auth(platform, m2m=account())
    platform.logins = [login_refusal()]
    for _ in range(3):
        with pytest.raises(M2mLoginError):
            kind.get(auth, API, platform)
    code = "UnifiedWebService.REQUEST_FAILED.InvalidCredentials"
    assert seen.named("login_refused") == [
        AuthEvent("login_refused", SESSION, status_code=400, reason=code)
    ]
    assert seen.named("fetch_failed") == [AuthEvent("fetch_failed", SESSION, 0.0, 1, 400, code)]
    assert seen.named("login_blocked") == 2 * [
        AuthEvent("login_blocked", SESSION, status_code=400, reason=code)
    ]
    assert seen.level_of("login_refused") == seen.level_of("login_blocked") == logging.INFO


def test_login_that_is_blocked_after_unknown_outcomes_has_no_status(
    kind: Kind, platform: Platform, clock: VirtualClock, seen: Collector
) -> None:
    auth = kind.auth(platform, m2m=account())
    platform.logins = [Answer(failure="read timeout") for _ in range(9)]
    for _ in range(2):
        with pytest.raises(kind.request_error):
            kind.get(auth, API, platform)
    assert seen.named("login_blocked") == [AuthEvent("login_blocked", SESSION)]
    assert seen.named("login_refused") == []


class SharedStore(TokenStore):
    """A store in memory, which may be out of reach."""

    def __init__(self) -> None:
        self.entries: dict[str, bytes] = {}
        self.is_down = False

    def read(self, name: str) -> bytes | None:
        if self.is_down:
            raise StoreUnavailable("the disk is full")
        return self.entries.get(name)

    def write(self, name: str, content: bytes) -> None:
        self.entries[name] = content

    def delete(self, name: str) -> None:
        self.entries.pop(name, None)

    def locked(self, name: str, patience: float) -> Any:
        if self.is_down:
            raise StoreUnavailable("the disk is full")
        return _NoLock()


class _NoLock:
    def __enter__(self) -> None:
        pass

    def __exit__(self, *args: object) -> None:
        pass


def test_token_from_the_store_is_told_as_loaded(
    kind: Kind, platform: Platform, clock: VirtualClock, seen: Collector
) -> None:
    store = SharedStore()
    kind.get(kind.auth(platform, store=store, m2m=account()), API, platform)
    seen.records.clear()
    kind.get(kind.auth(platform, store=store, m2m=account()), API, platform)
    assert seen.events == [AuthEvent("loaded", SESSION), AuthEvent("loaded", ACCESS)]


def test_touch_of_a_session_in_use_is_no_event(
    kind: Kind, platform: Platform, clock: VirtualClock, seen: Collector
) -> None:
    auth = kind.auth(platform, store=SharedStore(), m2m=account())
    kind.get(auth, API, platform)
    seen.records.clear()
    clock.advance(90)
    kind.get(auth, API, platform)
    assert seen.events == []


def test_store_out_of_reach_is_a_warning(
    kind: Kind, platform: Platform, clock: VirtualClock, seen: Collector
) -> None:
    store = SharedStore()
    store.is_down = True
    assert kind.get(kind.auth(platform, store=store), API, platform).status == 200
    assert seen.names == ["store_unavailable", "fetched"]
    assert seen.events[0] == AuthEvent("store_unavailable", ACCESS, reason="StoreUnavailable")
    assert seen.level_of("store_unavailable") == logging.WARNING


def test_host_that_is_not_allowed_is_told_once(
    kind: Kind, platform: Platform, clock: VirtualClock, seen: Collector
) -> None:
    auth = kind.auth(platform)
    for path in ("a?secret=1", "b"):
        kind.get(auth, f"https://elsewhere.example/{path}", platform)
    assert seen.events == [AuthEvent("no_token_for_host", ACCESS, reason="elsewhere.example")]


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
    assert event.seconds > 0


def test_recover_tells_what_an_adapter_tells(
    kind: Kind, platform: Platform, clock: VirtualClock, seen: Collector
) -> None:
    auth = kind.auth(platform)
    answer = refusal()

    async def arecover() -> Any:
        sent = await auth.aheaders(API)
        return await auth.arecover(API, sent, "GET", 401, answer.headers, answer.body)

    if kind.is_async:
        assert kind.run(arecover) is not None
    else:
        again = auth.recover(API, auth.headers(API), "GET", 401, answer.headers, answer.body)
        assert again is not None
    assert seen.names == ["fetched", "rejected", "fetched", "repeated"]


def test_no_event_holds_a_secret(
    kind: Kind, platform: Platform, clock: VirtualClock, seen: Collector
) -> None:
    auth = kind.auth(platform, m2m=account())
    secret = IDENTITY["oauth_client_secret"]
    platform.tokens = [Answer(503, {"error": secret}), platform.new_token()]
    platform.logins = [Answer(400, {"errorCode": PASSWORD, "errorMessage": PASSWORD})]
    with pytest.raises(kind.request_error):
        kind.get(auth, API, platform)
    for record in seen.records:
        shown = f"{record.auth_event!r}{record.getMessage()}"  # type: ignore[attr-defined]
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
