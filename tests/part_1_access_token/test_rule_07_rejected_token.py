"""Part 1, rule 7: a rejected token leads to one renewal and one repeat.

Which answers reject one is a table: test_rule_07_answers.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from thingspace_auth_adapters import OauthProviderError

from ..support.kinds import Kind
from ..support.virtual import (
    API,
    EDGE,
    ELSEWHERE,
    GATEWAY_REFUSAL,
    Answer,
    Platform,
    VirtualClock,
    redirect,
    refusal,
    token_answer,
)

pytestmark = pytest.mark.usefixtures("clock")

SAFE = ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"]
UNSAFE = ["POST", "PATCH"]
SECOND = "/api/m2m/v1/second"


def test_rejected_token_leads_to_one_renewal_and_one_repeat_of_each_request(
    kind: Kind, platform: Platform, auth: Any
) -> None:
    for number in (1, 2, 3):
        platform.api = [refusal()]
        seen = kind.get(auth, API, platform)
        assert seen.status == 200
        assert seen.sent["authorization"] == f"Bearer token-{number + 1}"
        assert platform.bearers[-2:] == [f"token-{number}", f"token-{number + 1}"]
        assert len(platform.token_calls) == number + 1


@pytest.mark.parametrize("m2m", [None, "session"])
def test_second_refusal_is_returned_as_it_came(
    kind: Kind, platform: Platform, m2m: str | None
) -> None:
    auth = kind.auth(platform, m2m=m2m)
    platform.api = [refusal(), refusal(), refusal()]
    seen = kind.get(auth, API, platform)
    assert (seen.status, json.loads(seen.body)) == (401, GATEWAY_REFUSAL)
    assert platform.bearers == ["token-1", "token-2"]
    assert len(platform.token_calls) == 2


def test_failed_renewal_returns_the_answer_as_it_came(
    kind: Kind, platform: Platform, auth: Any, caplog: pytest.LogCaptureFixture
) -> None:
    kind.get(auth, API, platform)
    platform.api = [refusal()]
    platform.tokens = [Answer(401, {"error": "invalid_client"})]
    seen = kind.get(auth, API, platform)
    assert (seen.status, json.loads(seen.body)) == (401, GATEWAY_REFUSAL)
    assert "invalid_client" in caplog.text
    platform.tokens = [Answer(401, {"error": "invalid_client"})]
    with pytest.raises(OauthProviderError):
        kind.get(auth, API, platform)


@pytest.mark.parametrize("charset", ["latin-1", "utf-8"])
def test_refusal_is_judged_whatever_else_its_headers_hold(
    kind: Kind, platform: Platform, auth: Any, charset: str
) -> None:
    cookie: Any = "who=J\xfcrgen; Path=/".encode(charset)
    headers = {"Set-Cookie": cookie.decode("latin-1") if kind.is_requests else cookie}
    platform.api = [Answer(401, GATEWAY_REFUSAL, headers)]
    assert kind.get(auth, API, platform).status == 200
    assert platform.bearers == ["token-1", "token-2"]


# Which requests are repeated.

CHALLENGE = refusal(b"", WWW_Authenticate='Basic realm=x, bearer error="invalid_token"')
BROKEN_OFF = Answer(401, b'{"fault": {"code": "9009')


@pytest.mark.parametrize("method", [*SAFE, *UNSAFE])
@pytest.mark.parametrize(
    ("answer", "repeated"),
    [
        (refusal(), [*SAFE, *UNSAFE]),
        (CHALLENGE, [*SAFE, *UNSAFE]),
        (Answer(401), SAFE),
        (BROKEN_OFF, SAFE),
        (refusal({"errorCode": "INVALID_ACCOUNT"}), None),
    ],
    ids=["gateway", "challenge", "nothing", "broken off", "another cause"],
)
def test_method_is_repeated_if_it_cannot_have_been_acted_upon(
    kind: Kind,
    platform: Platform,
    auth: Any,
    method: str,
    answer: Answer,
    repeated: list[str] | None,
) -> None:
    platform.api = [answer]
    seen = kind.send(auth, method, API, platform)
    is_repeated = method in (repeated or [])
    assert seen.status == (200 if is_repeated else 401)
    assert len(platform.api_calls) == 1 + is_repeated
    # But all of them renew, if the token may be to blame.
    kind.get(auth, API, platform)
    assert platform.bearers[-1] == ("token-1" if repeated is None else "token-2")


def test_what_is_repeated_is_the_request_that_was_refused(
    kind: Kind, platform: Platform, auth: Any
) -> None:
    platform.api = [redirect(SECOND, 307), refusal(), redirect("/api/m2m/v1/third", 307)]
    seen = kind.send(auth, "POST", API, platform, content=b"payload")
    assert seen.status == 200
    paths = [call.path for call in platform.api_calls]
    assert paths == ["/api/m2m/v1/devices", SECOND, SECOND, "/api/m2m/v1/third"]
    assert [call.body for call in platform.api_calls] == [b"payload"] * 4
    assert platform.bearers == ["token-1", "token-1", "token-2", "token-2"]


def test_one_request_is_repeated_once_and_in_requests_each_hop_is_one(
    kind: Kind, platform: Platform, auth: Any
) -> None:
    platform.api = [refusal(), redirect(SECOND), refusal(), refusal()]
    assert kind.get(auth, API, platform).status == 401
    hop = ["token-2", "token-3"] if kind.is_requests else ["token-2"]
    assert platform.bearers == ["token-1", "token-2", *hop]
    assert len(platform.token_calls) == (3 if kind.is_requests else 2)


@pytest.mark.parametrize("target", [ELSEWHERE, EDGE], ids=["foreign", "allowed"])
def test_refusal_by_a_host_that_was_not_sent_the_token_renews_nothing(
    kind: Kind, platform: Platform, auth: Any, target: str
) -> None:
    """A redirect to another host lost our header: its 401 says nothing about our token."""
    platform.api = [redirect(target), refusal()]
    assert kind.get(auth, API, platform).status == 401
    assert platform.bearers == ["token-1", None]
    assert len(platform.token_calls) == 1


# Which token it is, and what has become of it.


def get_with_bearer(kind: Kind, auth: Any, platform: Platform, bearer: str) -> Any:
    """Send a request whose bearer something else set after the adapter."""
    was_set: list[bool] = []

    def hook(request: Any) -> Any:
        if not was_set:
            was_set.append(True)
            request.headers["Authorization"] = f"Bearer {bearer}"
        return request

    async def ahook(request: Any) -> None:
        hook(request)

    if kind.is_requests:
        return kind.get(lambda request: hook(auth(request)), API, platform)
    hooks = {"request": [ahook if kind.is_async else hook]}
    return kind.get(auth, API, platform, event_hooks=hooks)


def test_eight_tokens_before_the_current_one_are_ours(kind: Kind, platform: Platform) -> None:
    """The rejected one is read from the request's header, which a hook may have set back."""
    auth = kind.auth(platform, oauth_token={"access_token": "held-0"})
    for number in range(1, 9):
        auth.oauth_token = {"access_token": f"held-{number}"}
    for bearer, status in (("held-0", 200), ("unknown", 401)):
        platform.api = [refusal()]
        assert get_with_bearer(kind, auth, platform, bearer).status == status
        assert platform.token_calls == []
    assert platform.bearers == ["held-0", "held-8", "unknown"]


def test_late_refusal_of_an_older_token_does_not_discard_the_newer(
    kind: Kind, platform: Platform, auth: Any
) -> None:
    platform.on_api = lambda: setattr(auth, "oauth_token", {"access_token": "newer"})
    platform.api = [refusal()]
    assert kind.get(auth, API, platform).status == 200
    assert platform.bearers == ["token-1", "newer"]
    assert len(platform.token_calls) == 1


def test_same_token_again_is_not_asked_for_again_for_30_seconds(
    kind: Kind, platform: Platform, auth: Any, clock: VirtualClock
) -> None:
    platform.tokens = [token_answer("same"), token_answer("same")]
    platform.api = [refusal() for _ in range(9)]
    for pause in (0, 0, 29.9):
        clock.advance(pause)
        assert kind.get(auth, API, platform).status == 401
    assert platform.bearers == ["same"] * 3
    assert len(platform.token_calls) == 2
    clock.advance(0.2)
    platform.tokens = [token_answer("same")]
    assert kind.get(auth, API, platform).status == 401
    assert len(platform.token_calls) == 3
    clock.advance(30)
    platform.api = [refusal()]
    assert kind.get(auth, API, platform).status == 200
    assert platform.bearers[-2:] == ["same", "token-1"]


def test_thirty_seconds_are_for_the_token_that_was_repeated_alone(
    kind: Kind, platform: Platform, auth: Any, clock: VirtualClock
) -> None:
    platform.tokens = [token_answer("same", 20), token_answer("same", 20)]
    platform.api = [refusal()]
    assert kind.get(auth, API, platform).status == 401
    clock.advance(21)
    platform.api = [refusal()]
    assert kind.get(auth, API, platform).status == 200
    assert platform.bearers == ["same", "token-1", "token-2"]


@pytest.mark.parametrize("token", ["same", "another"])
def test_assigned_token_ends_the_thirty_seconds(
    kind: Kind, platform: Platform, auth: Any, token: str
) -> None:
    platform.tokens = [token_answer("same"), token_answer("same")]
    platform.api = [refusal()]
    kind.get(auth, API, platform)
    auth.oauth_token = {"access_token": token}
    auth.oauth_token = {"access_token": "same"}
    platform.api = [refusal()]
    assert kind.get(auth, API, platform).status == 200
    assert len(platform.token_calls) == 3
