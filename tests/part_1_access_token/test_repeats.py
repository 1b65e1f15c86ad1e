"""The contract, Part 1, rules 3, 7 and 9, and Part 2, rules 3 and 4: what a repeat carries and is
counted as, what ends the 30 seconds, and which paths get which header on a warm connection."""

from __future__ import annotations

from typing import Any

import pytest

from thingspace_auth_adapters import OauthToken, VzM2mCredentials

from ..support.kinds import Kind
from ..support.virtual import (
    API,
    BASE,
    LOGIN_PATH,
    TOKEN_PATH,
    Answer,
    Platform,
    VirtualClock,
    refusal,
    token_answer,
)

IDLE = 20.0


def account() -> VzM2mCredentials:
    return VzM2mCredentials("user", "password", idle_timeout=IDLE)


# The repeat of a rejected request.


def test_repeat_counts_as_use_of_the_session(
    kind: Kind, platform: Platform, clock: VirtualClock
) -> None:
    auth = kind.auth(platform, m2m=account())
    kind.get(auth, API, platform)
    clock.advance(0.9 * IDLE)
    platform.api, platform.on_token = [refusal()], lambda: clock.advance(0.5 * IDLE)
    assert kind.get(auth, API, platform).status == 200
    # More than its idle time after the first sending, and less after the repeat.
    clock.advance(0.9 * IDLE)
    kind.get(auth, API, platform)
    assert len(platform.login_calls) == 1


def test_repeat_keeps_a_session_that_ran_out_in_the_meantime(
    kind: Kind, platform: Platform, clock: VirtualClock
) -> None:
    """The platform decides on this one. The next request logs in, as after any idle time."""
    auth = kind.auth(platform, m2m=account())
    kind.get(auth, API, platform)
    platform.api, platform.on_token = [refusal()], lambda: clock.advance(1.5 * IDLE)
    kind.get(auth, API, platform)
    assert platform.bearers == ["token-1", "token-1", "token-2"]
    kind.get(auth, API, platform)
    assert platform.sessions == ["session-1"] * 3 + ["session-2"]


def test_repeat_keeps_the_timeouts_of_its_request(httpx_kind: Kind, platform: Platform) -> None:
    transport, seen = httpx_kind.transport(platform), []
    handle, ahandle = transport.handle_request, transport.handle_async_request

    class Recording(type(transport)):  # type: ignore[misc]
        def handle_request(self, request: Any) -> Any:
            seen.append(request.extensions.get("timeout"))
            return handle(request)

        async def handle_async_request(self, request: Any) -> Any:
            seen.append(request.extensions.get("timeout"))
            return await ahandle(request)

    platform.api = [refusal()]
    auth, library = httpx_kind.auth(platform), httpx_kind.library
    timeout = library.Timeout(7.0, read=11.0)

    async def send() -> None:
        async with library.AsyncClient(auth=auth, transport=Recording()) as client:
            await client.get(API, timeout=timeout)

    if httpx_kind.is_async:
        httpx_kind.run(send)
    else:
        with library.Client(auth=auth, transport=Recording()) as client:
            client.get(API, timeout=timeout)
    assert seen == [timeout.as_dict()] * 2


# The token that is given out again.


def repeating(platform: Platform) -> None:
    """Has the endpoint give out the token that was rejected."""
    platform.tokens = [token_answer("same"), token_answer("same")]
    platform.api = [refusal()]


def test_other_token_is_renewed_although_the_endpoint_repeated_one(
    kind: Kind, platform: Platform, clock: VirtualClock
) -> None:
    """The 30 seconds are for the token that was repeated, and not for the one after it."""
    auth = kind.auth(platform)
    platform.tokens = [token_answer("same", 20), token_answer("same", 20)]
    platform.api = [refusal()]
    assert kind.get(auth, API, platform).status == 401
    clock.advance(21)
    platform.api = [refusal()]
    assert kind.get(auth, API, platform).status == 200
    assert platform.bearers == ["same", "token-1", "token-2"]


@pytest.mark.parametrize("token", ["same", "another"])
def test_assigned_token_ends_the_thirty_seconds(kind: Kind, platform: Platform, token: str) -> None:
    auth = kind.auth(platform)
    repeating(platform)
    kind.get(auth, API, platform)
    auth.oauth_token = {"access_token": token}
    auth.oauth_token = {"access_token": "same"}
    platform.api = [refusal()]
    assert kind.get(auth, API, platform).status == 200
    assert len(platform.token_calls) == 3


# The update callback.


@pytest.mark.parametrize("failure", ["connect", "read timeout"])
def test_update_callback_is_told_although_the_request_then_fails(
    kind: Kind, platform: Platform, failure: str
) -> None:
    told: list[OauthToken] = []
    auth = kind.auth(platform, oauth_on_token_update=kind.callback(told.append))
    platform.api = [Answer(failure=failure)]
    with pytest.raises(kind.request_error):
        kind.get(auth, API, platform)
    assert [token.access_token for token in told] == ["token-1"]


# Paths with rules of their own, on a host to which requests have gone before.


def test_token_request_of_ones_own_stays_as_it_is_after_a_warm_request(
    kind: Kind, platform: Platform
) -> None:
    auth = kind.auth(platform, m2m=account())
    kind.get(auth, API, platform)
    own = {"Authorization": "Basic eDp5"}
    kind.send(auth, "POST", BASE + TOKEN_PATH, platform, headers=own, content=b"grant_type=x")
    assert platform.token_calls[-1].authorization == "Basic eDp5"
    assert platform.token_calls[-1].session is None


def test_login_of_ones_own_gets_no_session_after_a_warm_request(
    kind: Kind, platform: Platform
) -> None:
    auth = kind.auth(platform, m2m=account())
    kind.get(auth, API, platform)
    kind.send(auth, "POST", BASE + LOGIN_PATH, platform, content=b"{}")
    assert platform.login_calls[-1].body == b"{}"
    assert platform.login_calls[-1].authorization == "Bearer token-1"
    assert platform.login_calls[-1].session is None
