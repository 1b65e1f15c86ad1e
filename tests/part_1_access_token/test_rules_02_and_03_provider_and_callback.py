"""Part 1, rules 2 and 3: who provides a token in place of the fetch, and who is told of it."""

from __future__ import annotations

import contextvars
import json
import logging
import threading
from typing import Any

import pytest

from thingspace_auth_adapters import M2mLoginError, OauthToken

from ..support.kinds import Kind
from ..support.logins import credentials
from ..support.virtual import (
    API,
    START,
    Answer,
    Platform,
    VirtualClock,
    login_refusal,
    refusal,
    token_answer,
)

pytestmark = pytest.mark.usefixtures("clock")

SKEW = 60


def row(name: str, lifetime: float | None = None) -> OauthToken:
    return OauthToken(name, "Bearer", expiry=None if lifetime is None else START + lifetime)


# Rule 2: the provider.


def test_provider_is_asked_in_place_of_the_fetch(
    kind: Kind, platform: Platform, clock: VirtualClock
) -> None:
    asked: list[Any] = []

    def provider(last: Any, manager: Any) -> Any:
        asked.append((last and last.access_token, manager))
        return {"access_token": f"p{len(asked)}", "expiry": clock.time() + 100}

    auth = kind.auth(platform, oauth_token_provider=provider)
    kind.get(auth, API, platform)
    kind.get(auth, API, platform)
    clock.advance(100)
    kind.get(auth, API, platform)
    auth.oauth_token = None
    kind.get(auth, API, platform)
    platform.api = [refusal()]
    kind.get(auth, API, platform)
    assert platform.bearers == ["p1", "p1", "p2", "p3", "p3", "p4"]
    assert asked == [(None, auth), ("p1", auth), (None, auth), ("p3", auth)]
    assert platform.token_calls == []


ROWS: dict[str, tuple[Any, list[Any], list[str]]] = {
    "nothing": (None, [], ["token-1"]),
    "an expired row": (row("old", -1), [], ["token-1"]),
    "a row that expires": (row("row", 10), [10, 3600], ["row", "token-1", "token-2"]),
    "a row that is found stale": (row("row", 100), [50], ["row", "token-1"]),
    "a row that is rejected": (row("row"), ["rejected"], ["row", "row", "token-1"]),
    "a row that is revoked": (row("row"), ["revoked"], ["row", "token-1"]),
}


@pytest.mark.parametrize("name", list(ROWS))
def test_fetched_where_what_is_provided_is_of_no_use(
    kind: Kind, platform: Platform, clock: VirtualClock, name: str
) -> None:
    """The seed's example provider: a row in a database that nobody renews."""
    provided, events, bearers = ROWS[name]
    auth = kind.auth(
        platform, oauth_token_provider=lambda last, manager: provided, oauth_clock_skew=SKEW
    )
    assert kind.get(auth, API, platform).status == 200
    for event in events:
        if event == "rejected":
            platform.api = [refusal()]
        elif event == "revoked":
            kind.revoke_token(auth)
        else:
            clock.advance(event)
        assert kind.get(auth, API, platform).status == 200
    assert platform.bearers == bearers


def test_row_that_was_rejected_is_good_again_once_it_was_assigned(
    kind: Kind, platform: Platform
) -> None:
    auth = kind.auth(platform, oauth_token_provider=lambda last, manager: row("row"))
    kind.get(auth, API, platform)
    platform.api = [refusal()]
    kind.get(auth, API, platform)
    auth.oauth_token = row("row")
    auth.oauth_token = None
    kind.get(auth, API, platform)
    assert platform.bearers == ["row", "row", "token-1", "row"]


def test_what_the_provider_fetched_is_judged_as_fetched(
    kind: Kind, platform: Platform, clock: VirtualClock
) -> None:
    """A provider that fetches, on a server that repeats its token: no request per call."""

    async def aprovider(last: Any, manager: Any) -> Any:
        return await manager.afetch_token()

    def provider(last: Any, manager: Any) -> Any:
        return manager.fetch_token()

    platform.tokens = [token_answer("same", 100), token_answer("same", 50), token_answer("new")]
    auth = kind.auth(
        platform,
        oauth_token_provider=aprovider if kind.is_async else provider,
        oauth_clock_skew=SKEW,
    )
    kind.get(auth, API, platform)
    clock.advance(50)
    for _ in range(5):
        kind.get(auth, API, platform)
    assert len(platform.token_calls) == 2
    clock.advance(50)
    kind.get(auth, API, platform)
    assert platform.bearers == ["same"] * 6 + ["new"]
    assert len(platform.token_calls) == 3


def fetches_in_a_thread(last: Any, manager: Any) -> Any:
    context, fetched = contextvars.copy_context(), []
    thread = threading.Thread(
        target=context.run, args=(lambda: fetched.append(manager.fetch_token()),)
    )
    thread.start()
    thread.join()
    return fetched[0]


def forgets_before_it_fetches(last: Any, manager: Any) -> Any:
    manager.oauth_token = None
    return manager.fetch_token()


def assigns_a_session(last: Any, manager: Any) -> Any:
    """Which makes its own answer no older than it is."""
    manager.m2m = "the-session"
    return {"access_token": "token-1"}


@pytest.mark.parametrize(
    ("provider", "fetches"),
    [(fetches_in_a_thread, 1), (forgets_before_it_fetches, 1), (assigns_a_session, 0)],
)
def test_provider_may_use_the_object(
    kind: Kind, platform: Platform, provider: Any, fetches: int
) -> None:
    kind.get(kind.auth(platform, oauth_token_provider=provider), API, platform)
    assert platform.bearers == ["token-1"]
    assert len(platform.token_calls) == fetches


def test_exception_of_a_provider_is_only_logged_while_the_token_lives(
    kind: Kind, platform: Platform, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[Any] = []

    def provider(last: Any, manager: Any) -> Any:
        asked.append(last)
        if last is None:
            return {"access_token": "first", "expiry": START + 100}
        raise LookupError("secret detail")

    auth = kind.auth(platform, oauth_token_provider=provider, oauth_clock_skew=SKEW)
    kind.get(auth, API, platform)
    clock.advance(50)
    kind.get(auth, API, platform)
    (record,) = [one for one in caplog.records if one.levelno == logging.WARNING]
    assert "LookupError" in record.getMessage()
    assert "secret detail" not in caplog.text
    clock.advance(50)
    with pytest.raises(LookupError, match="secret detail"):
        kind.get(auth, API, platform)
    assert platform.bearers == ["first", "first"]
    # It is not tried again.
    assert len(asked) == 3
    assert platform.token_calls == []


@pytest.mark.parametrize(
    ("provided", "error"),
    [
        ("a-string", TypeError),
        (b"a-string", TypeError),
        (7, TypeError),
        (object(), TypeError),
        ({"token": "x"}, ValueError),
        ({"access_token": "a\r\nX: y"}, ValueError),
        ({"access_token": 7}, TypeError),
    ],
)
def test_what_is_no_token_is_the_providers_error(
    kind: Kind, platform: Platform, provided: Any, error: type[Exception]
) -> None:
    auth = kind.auth(platform, oauth_token_provider=lambda last, manager: provided)
    with pytest.raises(error, match="what oauth_token_provider returned") as caught:
        kind.get(auth, API, platform)
    assert "a-string" not in str(caught.value)
    assert platform.calls == []


def test_response_that_a_provider_returned_is_not_taken_for_a_request(
    kind: Kind, platform: Platform
) -> None:
    """It forgot to call json() on it."""

    def provider(last: object, owner: object) -> Any:
        return kind.library.Response() if kind.is_requests else kind.library.Response(200)

    auth = kind.auth(platform, oauth_token_provider=kind.callback(provider))
    with pytest.raises(TypeError, match="got Response") as caught:
        kind.get(auth, API, platform)
    assert "ThingspaceAuth(…)" not in str(caught.value)


# Rule 3: the update callback.


def test_update_callback_is_told_each_new_token_once(
    kind: Kind, platform: Platform, clock: VirtualClock
) -> None:
    told: list[Any] = []
    platform.tokens = [token_answer("a", 100), token_answer("a", 50), token_answer("b", 100)]
    auth = kind.auth(
        platform,
        oauth_on_token_update=kind.callback(lambda token: told.append((token, auth.oauth_token))),
        oauth_clock_skew=SKEW,
    )
    for _ in range(3):
        kind.get(auth, API, platform)
        clock.advance(50)
    assert [token.access_token for token, _ in told] == ["a", "b"]
    assert all(token is installed for token, installed in told)
    assert json.dumps(told[0][0].to_dict())


def test_update_callback_is_told_what_is_provided_and_not_what_is_assigned(
    kind: Kind, platform: Platform
) -> None:
    told: list[Any] = []
    auth = kind.auth(
        platform,
        oauth_token={"access_token": "given"},
        oauth_token_provider=lambda last, manager: {"access_token": "provided"},
        oauth_on_token_update=lambda token: told.append(token.access_token),
    )
    kind.get(auth, API, platform)
    auth.oauth_token = {"access_token": "assigned"}
    kind.get(auth, API, platform)
    assert told == []
    auth.oauth_token = None
    kind.get(auth, API, platform)
    assert told == ["provided"]
    assert platform.bearers == ["given", "assigned", "provided"]


def test_update_callback_that_raises_reaches_the_caller_and_keeps_the_token(
    kind: Kind, platform: Platform
) -> None:
    error = OSError("disk full")

    def update(token: Any) -> None:
        raise error

    auth = kind.auth(platform, oauth_on_token_update=update)
    with pytest.raises(OSError, match="disk full") as caught:
        kind.get(auth, API, platform)
    assert caught.value is error
    kind.get(auth, API, platform)
    assert platform.bearers == ["token-1"]
    assert len(platform.token_calls) == 1


def test_update_callback_may_use_the_object(kind: Kind, platform: Platform) -> None:
    def update(token: Any) -> None:
        kind.get(auth, API + "/from-callback", platform)

    async def aupdate(token: Any) -> None:
        transport = kind.transport(platform)
        async with kind.library.AsyncClient(transport=transport, auth=auth) as client:
            await client.get(API + "/from-callback")

    auth = kind.auth(platform, oauth_on_token_update=aupdate if kind.is_async else update)
    assert kind.get(auth, API, platform).status == 200
    assert [call.path.rpartition("/")[2] for call in platform.calls] == [
        "token",
        "from-callback",
        "devices",
    ]
    assert platform.bearers == ["token-1", "token-1"]


def test_update_callback_is_told_of_a_token_although_its_login_then_failed(
    kind: Kind, platform: Platform
) -> None:
    told: list[OauthToken] = []
    m2m = credentials()
    auth = kind.auth(platform, m2m=m2m, oauth_on_token_update=told.append)
    platform.logins = [login_refusal()]
    with pytest.raises(M2mLoginError):
        kind.get(auth, API, platform)
    assert [token.access_token for token in told] == ["token-1"]


@pytest.mark.parametrize("failure", ["connect", "read timeout"])
def test_update_callback_is_told_although_the_request_then_fails(
    kind: Kind, platform: Platform, failure: str
) -> None:
    told: list[str] = []
    auth = kind.auth(
        platform, oauth_on_token_update=kind.callback(lambda token: told.append(token.access_token))
    )
    platform.api = [Answer(failure=failure)]
    with pytest.raises(kind.request_error):
        kind.get(auth, API, platform)
    assert told == ["token-1"]
