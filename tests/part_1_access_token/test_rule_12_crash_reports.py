"""Part 1, rule 12: what Sentry's SDK shows of our frames, for errors and for warnings."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest

import thingspace_auth_adapters
from thingspace_auth_adapters import ThingspaceOauthCredentials

from ..support.kinds import IDENTITY, PASSWORD, Kind
from ..support.logins import credentials
from ..support.memory_store import memory_store
from ..support.virtual import (
    API,
    BASE,
    EDGE,
    Answer,
    Platform,
    VirtualClock,
    login_refusal,
    redirect,
    refusal,
    session_refusal,
    token_answer,
)

sentry_sdk: Any = pytest.importorskip("sentry_sdk")
logging_integration: Any = pytest.importorskip("sentry_sdk.integrations.logging")

PACKAGE = str(Path(thingspace_auth_adapters.__file__).parent)
BEARER = "b3arer-in-use"
SESSION = "sess10n-in-use"
BAD = "b4d-token"
SECRETS = (IDENTITY["oauth_client_secret"], PASSWORD, BEARER, SESSION, BAD, "session-1", "token-1")

Events = list[dict[str, Any]]


pytestmark = pytest.mark.usefixtures("clock")


@pytest.fixture
def events() -> Iterator[Events]:
    """What Sentry would be sent, the live stack of each warning included."""
    found: Events = []

    def keep(event: dict[str, Any], hint: Any) -> None:
        found.append(event)

    sentry_sdk.init(
        "http://key@127.0.0.1:1/1",
        before_send=keep,
        attach_stacktrace=True,
        default_integrations=False,
        integrations=[logging_integration.LoggingIntegration(event_level=logging.WARNING)],
    )
    yield found
    # Its default integrations would add headers to the requests of all tests that follow.
    sentry_sdk.init(default_integrations=False)


def frames_of(event: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The frames of this package in an event's exceptions and threads."""
    for part in ("exception", "threads"):
        for value in event.get(part, {}).get("values", ()):
            for frame in (value.get("stacktrace") or {}).get("frames", ()):
                if str(frame["abs_path"]).startswith(PACKAGE):
                    yield frame


def assert_nothing_leaks(events: Events, has_frames: bool = True) -> None:
    assert events
    for event in events:
        frames = list(frames_of(event))
        assert bool(frames) is has_frames
        shown = [frame.get("vars", {}) for frame in frames]
        text = json.dumps([shown, event.get("logentry"), event.get("message"), event.get("extra")])
        assert [secret for secret in SECRETS if secret in text] == [], text


def captured(function: Callable[..., object], *args: Any) -> None:
    """Report what a user's call raises, as Sentry does when a program dies of it."""
    try:
        function(*args)
    except Exception as error:
        sentry_sdk.capture_exception(error)
    else:
        pytest.fail("nothing was raised")


# Errors.


def test_redirect_with_a_malformed_location(kind: Kind, platform: Platform, events: Events) -> None:
    session = credentials(vz_m2m_token=SESSION)
    auth = kind.auth(platform, m2m=session, oauth_token={"access_token": BEARER})
    platform.api = [redirect("https://[::1/x")]
    captured(kind.get, auth, API, platform)
    # httpx reads it before our flow gets the answer, and no frame of ours is left.
    assert_nothing_leaks(events, has_frames=kind.is_requests)


@pytest.mark.parametrize("bad", [{"access_token": BAD + "\n"}, {"token": BAD}, BAD, 7])
def test_provider_that_returns_no_token(
    kind: Kind, platform: Platform, events: Events, bad: Any
) -> None:
    auth = kind.auth(platform, oauth_token_provider=lambda last, manager: bad)
    captured(kind.get, auth, API, platform)
    assert_nothing_leaks(events)


@pytest.mark.parametrize("bad", [{"access_token": BAD + "\n"}, BAD, [BAD]])
def test_bad_token_that_credentials_get_later(
    kind: Kind, platform: Platform, events: Events, bad: Any
) -> None:
    given: Any = ThingspaceOauthCredentials(**IDENTITY)
    auth = kind.auth(platform, thingspace_oauth_credentials=given)
    kind.get(auth, API, platform)
    given.oauth_token = bad
    captured(kind.get, auth, API, platform)
    captured(lambda: auth.oauth_token)
    captured(auth.is_token_expired)
    assert_nothing_leaks(events)


def test_store_that_holds_what_is_no_token(kind: Kind, platform: Platform, events: Events) -> None:
    class Broken(type(memory_store())):  # type: ignore[misc]
        def read(self, name: str) -> bytes | None:
            return json.dumps({"fields": {"token": BAD}, "seal": "x"}).encode()

    auth = kind.auth(platform, m2m=credentials(), store=Broken())
    platform.logins = [login_refusal()]
    captured(kind.get, auth, API, platform)
    assert_nothing_leaks(events)


# Warnings.


def replaced(kind: Kind, platform: Platform, clock: VirtualClock) -> None:
    """A session header of the request's own."""
    kind.get(
        kind.auth(platform, m2m=credentials()), API, platform, headers={"VZ-M2M-Token": SESSION}
    )


def taken_off(kind: Kind, platform: Platform, clock: VirtualClock) -> None:
    """Our headers on a request to another host."""
    auth = kind.auth(platform, m2m=credentials(), oauth_token={"access_token": BEARER})
    kind.get(auth, API, platform)
    headers = {"Authorization": f"Bearer {BEARER}", "VZ-M2M-Token": "session-1"}
    for url in ("https://elsewhere.example/", EDGE):
        kind.get(auth, url, platform, headers=headers)


def refreshed_in_vain(kind: Kind, platform: Platform, clock: VirtualClock) -> None:
    auth = kind.auth(platform, oauth_clock_skew=60)
    kind.get(auth, API, platform)
    clock.advance(3550)
    platform.tokens = [Answer(500)]
    kind.get(auth, API, platform)


def rejected_in_vain(kind: Kind, platform: Platform, clock: VirtualClock) -> None:
    auth = kind.auth(platform, m2m=credentials(), oauth_token={"access_token": BEARER})
    kind.get(auth, API, platform)
    platform.api, platform.tokens = [refusal()], [Answer(400, {"error": "invalid_client"})]
    kind.get(auth, API, platform)
    auth.oauth_token = {"access_token": BEARER}
    platform.api = [session_refusal()]
    platform.logins = [login_refusal()]
    kind.get(auth, API, platform)


def suspected_in_vain(kind: Kind, platform: Platform, clock: VirtualClock) -> None:
    auth = kind.auth(platform, m2m=credentials(vz_m2m_token=SESSION))
    platform.api = [Answer(401, {"errorCode": "INVALID_ACCOUNT"})]
    platform.logins = [Answer(404)]
    kind.get(auth, API, platform)


def rejected_again_and_again(kind: Kind, platform: Platform, clock: VirtualClock) -> None:
    auth = kind.auth(platform, m2m=credentials())
    for _ in range(5):
        platform.api = [session_refusal()] * 2
        kind.get(auth, API, platform)


def wanted_by_the_platform(kind: Kind, platform: Platform, clock: VirtualClock) -> None:
    platform.api = [session_refusal()]
    kind.get(kind.auth(platform), API, platform)


def out_of_reach(kind: Kind, platform: Platform, clock: VirtualClock) -> None:
    store = memory_store()
    store.is_down = True
    kind.get(kind.auth(platform, m2m=credentials(), store=store), API, platform)


def unwritable(kind: Kind, platform: Platform, clock: VirtualClock) -> None:
    from thingspace_auth_adapters.stores import StoreUnavailable

    class Full(type(memory_store())):  # type: ignore[misc]
        def write(self, name: str, content: bytes) -> None:
            raise StoreUnavailable("disk full")

    kind.get(kind.auth(platform, store=Full()), API, platform)


def forged(kind: Kind, platform: Platform, clock: VirtualClock) -> None:
    class Forged(type(memory_store())):  # type: ignore[misc]
        def read(self, name: str) -> bytes | None:
            return json.dumps({"fields": {"token": BAD}, "seal": "forged"}).encode()

    auth = kind.auth(platform, m2m=credentials(), store=Forged())
    for _ in range(2):
        kind.get(auth, API, platform, headers={"VZ-M2M-Token": SESSION})


def corrupt(kind: Kind, platform: Platform, clock: VirtualClock) -> None:
    store = memory_store()
    auth = kind.auth(platform, m2m=credentials(), store=store)
    kind.get(auth, API, platform)
    store.entries = {name: content + b"x" for name, content in store.entries.items()}
    kind.get(kind.auth(platform, m2m=credentials(), store=store), API, platform)


WARNED = [
    replaced,
    taken_off,
    refreshed_in_vain,
    rejected_in_vain,
    suspected_in_vain,
    rejected_again_and_again,
    wanted_by_the_platform,
    out_of_reach,
    unwritable,
    forged,
    corrupt,
]


@pytest.mark.parametrize("scenario", WARNED, ids=lambda one: one.__name__)
def test_live_stack_of_a_warning_shows_no_token(
    kind: Kind, platform: Platform, clock: VirtualClock, events: Events, scenario: Any
) -> None:
    platform.tokens = [token_answer("token-1")]
    scenario(kind, platform, clock)
    assert any(event.get("logger") == "thingspace_auth_adapters" for event in events)
    assert_nothing_leaks(events)


def test_redirect_that_took_the_session_elsewhere(
    httpx_kind: Kind, platform: Platform, events: Events
) -> None:
    auth = httpx_kind.auth(platform, m2m=credentials(vz_m2m_token=SESSION))
    platform.api = [redirect("https://elsewhere.example/")]
    httpx_kind.get(auth, f"{BASE}/api/x", platform)
    assert_nothing_leaks(events)
