"""Part 2, rules 2 and 3: the login that a request or the user needs, and sessions that are idle."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import pytest

from thingspace_auth_adapters import OauthProviderError, ThingspaceOauthCredentials
from thingspace_auth_adapters._core.cached_token import Status, status

from ..support.kinds import PASSWORD, Kind
from ..support.logins import credentials
from ..support.virtual import (
    API,
    BASE,
    EDGE,
    LOGIN_PATH,
    Answer,
    Platform,
    VirtualClock,
    refusal,
    session_refusal,
    token_answer,
)

pytestmark = pytest.mark.usefixtures("clock")


# Rule 2.


def test_login_is_the_platforms_own(kind: Kind, platform: Platform, auth: Any) -> None:
    kind.get(auth, API, platform)
    (login,) = platform.login_calls
    assert (login.method, login.url) == ("POST", BASE + LOGIN_PATH)
    assert json.loads(login.body) == {"username": "the-user", "password": PASSWORD}
    assert login.headers["content-type"] == "application/json"
    assert login.authorization == "Bearer token-1"
    assert login.session is None


def test_fetch_logs_in_and_installs_nothing(kind: Kind, platform: Platform, auth: Any) -> None:
    assert kind.fetch_session(auth) == "session-1"
    assert kind.fetch_session(auth) == "session-2"
    kind.get(auth, API, platform)
    assert platform.sessions == ["session-3"]


def test_blocking_call_on_an_event_loop_names_the_awaitable_one(
    async_kind: Kind, platform: Platform
) -> None:
    auth = async_kind.auth(platform, m2m=credentials())

    async def block() -> None:
        with pytest.raises(RuntimeError, match="afetch_vz_m2m_token"):
            auth.fetch_vz_m2m_token()
        with pytest.raises(RuntimeError, match="aend_m2m_session"):
            auth.end_m2m_session()

    async_kind.get(auth, API, platform)
    async_kind.run(block)


def test_changed_token_of_the_credentials_serves_a_login_by_hand(
    kind: Kind, platform: Platform
) -> None:
    given = ThingspaceOauthCredentials("the-key", "the-secret")
    auth = kind.auth(platform, thingspace_oauth_credentials=given, m2m=credentials())
    given.oauth_token = {"access_token": "changed"}
    kind.fetch_session(auth)
    assert platform.login_calls[0].authorization == "Bearer changed"


def test_error_of_the_bearers_update_callback_is_not_lost_in_a_login(
    kind: Kind, platform: Platform, clock: VirtualClock
) -> None:
    def tell(token: Any) -> None:
        if token.access_token == "token-2":
            raise LookupError("disk full")

    auth = kind.auth(platform, m2m=credentials(), oauth_on_token_update=kind.callback(tell))
    kind.get(auth, API, platform)
    platform.on_api = lambda: clock.advance(3600)
    platform.api = [session_refusal()]
    with pytest.raises(LookupError, match="disk full"):
        kind.get(auth, API, platform)
    assert len(platform.login_calls) == 2
    assert auth.oauth_token.access_token == "token-2"


# Rule 3.


@pytest.mark.parametrize("idle_timeout", [1200, 60])
@pytest.mark.parametrize("is_given", [False, True], ids=["opened", "given"])
def test_idle_session_is_renewed_before_the_request_and_use_keeps_one_alive(
    kind: Kind, platform: Platform, clock: VirtualClock, idle_timeout: int, is_given: bool
) -> None:
    given = {"vz_m2m_token": "given"} if is_given else {}
    auth = kind.auth(platform, m2m=credentials(idle_timeout=idle_timeout, **given))
    first, second = ("given", "session-1") if is_given else ("session-1", "session-2")
    for pause in (0, idle_timeout - 1, idle_timeout - 1, idle_timeout):
        clock.advance(pause)
        platform.calls.clear()
        assert kind.get(auth, API, platform).status == 200
        assert platform.sessions == [second if pause == idle_timeout else first]
    assert platform.trail[-2:] == ["login", "api"]


def test_use_of_what_the_bearer_opens_alone_is_no_use_of_the_session(
    kind: Kind, platform: Platform, auth: Any, clock: VirtualClock
) -> None:
    kind.get(auth, API, platform)
    clock.advance(800)
    kind.get(auth, EDGE, platform)
    clock.advance(400)
    kind.get(auth, API, platform)
    assert len(platform.login_calls) == 2


def test_use_while_the_bearer_was_renewed_counts(
    kind: Kind, platform: Platform, auth: Any, clock: VirtualClock
) -> None:
    platform.tokens = [token_answer("short", 600)]
    kind.get(auth, API, platform)
    clock.advance(600)
    kind.get(auth, API, platform)
    clock.advance(1199)
    kind.get(auth, API, platform)
    assert platform.sessions == ["session-1"] * 3
    assert platform.bearers == ["short", "token-1", "token-1"]


def test_repeat_counts_as_use(kind: Kind, platform: Platform, clock: VirtualClock) -> None:
    auth = kind.auth(platform, m2m=credentials(idle_timeout=20))
    kind.get(auth, API, platform)
    clock.advance(18)
    platform.api, platform.on_token = [refusal()], lambda: clock.advance(10)
    assert kind.get(auth, API, platform).status == 200
    # More than its idle time after the first sending, and less after the repeat.
    clock.advance(18)
    kind.get(auth, API, platform)
    assert len(platform.login_calls) == 1


def test_repeat_keeps_a_session_that_ran_out_in_the_meantime(
    kind: Kind, platform: Platform, clock: VirtualClock
) -> None:
    """The platform decides on this one. The next request logs in, as after any idle time."""
    auth = kind.auth(platform, m2m=credentials(idle_timeout=20))
    kind.get(auth, API, platform)
    platform.api, platform.on_token = [refusal()], lambda: clock.advance(30)
    kind.get(auth, API, platform)
    assert platform.bearers == ["token-1", "token-1", "token-2"]
    kind.get(auth, API, platform)
    assert platform.sessions == ["session-1"] * 3 + ["session-2"]


def test_request_that_got_no_bearer_is_no_use_of_the_session(
    kind: Kind, platform: Platform, auth: Any, clock: VirtualClock
) -> None:
    kind.get(auth, API, platform)
    clock.advance(1100)
    auth.oauth_token = None
    platform.tokens = [Answer(401, {"error": "invalid_client"})]
    with pytest.raises(OauthProviderError):
        kind.get(auth, API, platform)
    clock.advance(100)
    kind.get(auth, API, platform)
    assert platform.sessions == ["session-1", "session-2"]


def test_session_is_idle_by_the_wall_clock_alone(
    kind: Kind, platform: Platform, auth: Any, clock: VirtualClock
) -> None:
    kind.get(auth, API, platform)
    clock.wall += 1200
    kind.get(auth, API, platform)
    clock.steady += 7200
    kind.get(auth, API, platform)
    assert platform.sessions == ["session-1", "session-2", "session-2"]


def test_session_after_a_clock_that_was_ahead_is_used_until_it_is_idle_again(
    kind: Kind, platform: Platform, auth: Any, clock: VirtualClock
) -> None:
    kind.get(auth, API, platform)
    clock.wall -= 86400
    kind.get(auth, API, platform)
    clock.wall += 1200
    kind.get(auth, API, platform)
    assert platform.sessions == ["session-1", "session-1", "session-2"]


# Copies.


def test_copies_begin_with_the_same_session(kind: Kind, platform: Platform, auth: Any) -> None:
    kind.get(auth, API, platform)
    twin = copy.copy(auth)
    kind.get(twin, API, platform)
    platform.api = [session_refusal()]
    kind.get(twin, API, platform)
    kind.get(auth, API, platform)
    assert platform.sessions == ["session-1", "session-1", "session-1", "session-2", "session-1"]


def test_copy_of_what_was_rejected_uses_it_no_more(
    kind: Kind, platform: Platform, auth: Any
) -> None:
    kind.get(auth, API, platform)
    platform.logins = [Answer(500)] * 2
    platform.api = [session_refusal()]
    assert kind.get(auth, API, platform).status == 400
    kind.allow_login(auth)
    kind.get(copy.copy(auth), API, platform)
    assert platform.sessions == ["session-1", "session-1", "session-2"]


def test_pickle_holds_the_password_and_the_session_with_its_idle_time(
    kind: Kind, platform: Platform, clock: VirtualClock
) -> None:
    given = kind.auth(m2m=credentials(vz_m2m_token="given"), oauth_token={"access_token": "known"})
    pickled = pickle.dumps(given)
    assert PASSWORD.encode() in pickled
    kind.get(pickle.loads(pickled), API, platform)
    assert platform.sessions == ["given"]
    for later, expected in ((1199, Status.FRESH), (1, Status.EXPIRED)):
        clock.wall += later
        revived = pickle.loads(pickled)
        assert status(revived._tokens.sessions.current, clock.wall) is expected
