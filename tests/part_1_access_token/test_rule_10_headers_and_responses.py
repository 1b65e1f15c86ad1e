"""Part 1, rule 10: responses are those that a hand-set header would have brought."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from ..support.clients import send_by_hand
from ..support.kinds import IDENTITY, Kind
from ..support.virtual import (
    API,
    GATEWAY_REFUSAL,
    Answer,
    Platform,
    redirect,
    refusal,
    token_answer,
)

pytestmark = pytest.mark.usefixtures("clock")


def test_other_headers_are_left_alone_and_repeated(
    kind: Kind, platform: Platform, auth: Any
) -> None:
    platform.api = [refusal()]
    headers = {"VZ-M2M-Token": "theirs", "X-Trace": "7"}
    kind.get(auth, API, platform, headers=headers, params={"page": "2"})
    first, second = platform.api_calls
    for call in (first, second):
        assert (call.session, call.headers["x-trace"]) == ("theirs", "7")
        assert call.url.endswith("?page=2")
    assert {**first.headers, "authorization": ""} == {**second.headers, "authorization": ""}


def test_history_never_shows_the_token_exchange(kind: Kind, platform: Platform, auth: Any) -> None:
    assert kind.get(auth, API, platform).history == []


def test_history_holds_the_rejected_response_as_it_was(
    kind: Kind, platform: Platform, auth: Any
) -> None:
    platform.api = [refusal()]
    seen = kind.get(auth, API, platform)
    assert seen.history == [401]
    rejected = seen.response.history[0]
    assert rejected.request.headers["Authorization"] == "Bearer token-1"
    assert rejected.json() == GATEWAY_REFUSAL


def test_history_ends_with_what_led_to_the_answer(
    kind: Kind, platform: Platform, auth: Any
) -> None:
    platform.api = [redirect("/api/m2m/v1/second"), refusal()]
    seen = kind.get(auth, API, platform)
    assert seen.status == 200
    # requests keeps the redirects, and in httpx those before a repeat may be missing.
    assert seen.history in ([302], [401], [302, 401])
    assert seen.history[-1] == (302 if kind.is_requests else 401)


def test_cookies_hold_for_the_repeat_and_token_answers_set_none(
    kind: Kind, platform: Platform, auth: Any
) -> None:
    answer = token_answer("first")
    answer.headers["Set-Cookie"] = "spy=1; Path=/"
    platform.tokens = [answer]
    platform.api = [Answer(401, GATEWAY_REFUSAL, {"Set-Cookie": "sticky=2; Path=/"})]
    kind.get(auth, API, platform, cookies={"mine": "3"})
    first, second = (call.headers["cookie"] for call in platform.api_calls)
    assert "mine=3" in first
    assert "mine=3" in second
    assert "spy" not in first + second
    assert "cookie" not in platform.token_calls[1].headers


def test_hooks_hold_for_the_repeat(kind: Kind, platform: Platform, auth: Any) -> None:
    """In requests they see what came of it in the end, in httpx each answer."""
    platform.api = [refusal()]
    statuses: list[int] = []

    def hook(response: Any, **kwargs: Any) -> None:
        statuses.append(response.status_code)

    async def ahook(response: Any) -> None:
        hook(response)

    hooks = {"response": hook if kind.is_requests else [ahook if kind.is_async else hook]}
    kind.get(auth, API, platform, **{"hooks" if kind.is_requests else "event_hooks": hooks})
    assert statuses == ([200] if kind.is_requests else [401, 200])


def test_timeouts_hold_for_the_repeat(httpx_kind: Kind, platform: Platform) -> None:
    transport, seen = httpx_kind.transport(platform), []

    class Recording(type(transport)):  # type: ignore[misc]
        def handle_request(self, request: Any) -> Any:
            seen.append(request.extensions.get("timeout"))
            return transport.handle_request(request)

        async def handle_async_request(self, request: Any) -> Any:
            seen.append(request.extensions.get("timeout"))
            return await transport.handle_async_request(request)

    platform.api = [refusal()]
    library = httpx_kind.library
    timeout = library.Timeout(7.0, read=11.0)
    request = library.Request("GET", API, extensions={"timeout": timeout.as_dict()})
    auth = httpx_kind.auth(platform)
    send_by_hand(httpx_kind, auth, None, request, transport=Recording())
    assert seen == [timeout.as_dict()] * 2


def test_responses_and_requests_pickle_and_copy_without_credentials(
    kind: Kind, platform: Platform, auth: Any
) -> None:
    platform.api = [refusal()]
    response = kind.get(auth, API, platform).response
    for one in (response, response.request, copy.deepcopy(response.request)):
        pickled = pickle.dumps(one)
        for ours in (IDENTITY["oauth_client_secret"], "thingspace_auth_adapters"):
            assert ours.encode() not in pickled
    assert pickle.loads(pickle.dumps(response)).status_code == 200
    assert copy.deepcopy(response).status_code == 200
    request = pickle.loads(pickle.dumps(response.request))
    assert request.headers["Authorization"] == "Bearer token-2"
