"""Part 1, rule 10, in requests: prepared requests, hooks and what a repeat is sent with."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

requests = pytest.importorskip("requests")
requests_mock = pytest.importorskip("requests_mock")

from requests.adapters import HTTPAdapter  # noqa: E402

from thingspace_auth_adapters import ThingspaceAuth as TopLevelThingspaceAuth  # noqa: E402
from thingspace_auth_adapters.requests import ThingspaceAuth  # noqa: E402

from ..support.kinds import IDENTITY, Kind, requests_adapter  # noqa: E402
from ..support.virtual import API, BASE, TOKEN_PATH, Platform, redirect, refusal  # noqa: E402


def prepared(session: Any, method: str = "GET", **kwargs: Any) -> Any:
    return session.prepare_request(requests.Request(method, API, **kwargs))


def test_top_level_name_is_this_adapter() -> None:
    assert TopLevelThingspaceAuth is ThingspaceAuth
    assert issubclass(ThingspaceAuth, requests.auth.AuthBase)


def test_works_with_requests_mock_alone() -> None:
    with requests_mock.Mocker() as mocker:
        mocker.post(BASE + TOKEN_PATH, json={"access_token": "x", "expires_in": 3600})
        mocker.get(API, text="served")
        assert requests.get(API, auth=ThingspaceAuth(**IDENTITY), timeout=5).text == "served"
        assert mocker.last_request.headers["Authorization"] == "Bearer x"


def test_prepared_request_can_be_sent_again_and_recovers_each_time(
    session: Any, platform: Platform
) -> None:
    # The caller's hook never sees the refusal that was repeated.
    session.hooks["response"] = [lambda response, **kwargs: response.raise_for_status()]
    request = prepared(session, "POST", data=b"x")
    for number in (2, 3, 4):
        platform.api = [refusal()]
        assert session.send(request).status_code == 200
        assert request.headers["Authorization"] == f"Bearer token-{number}"
        assert platform.bearers[-1] == f"token-{number}"


def test_old_prepared_request_is_repeated_with_the_current_token(
    session: Any, platform: Platform
) -> None:
    request = prepared(session)
    session.auth.oauth_token = {"access_token": "newer"}
    platform.api = [refusal()]
    assert session.send(request).status_code == 200
    assert platform.bearers == ["token-1", "newer"]
    assert len(platform.token_calls) == 1


def test_request_that_is_prepared_twice_is_watched_once(session: Any, platform: Platform) -> None:
    request = prepared(session)
    session.auth(request)
    assert len(request.hooks["response"]) == 1
    platform.api = [refusal(), refusal()]
    assert session.send(request).status_code == 401
    assert len(platform.api_calls) == 2


def test_repeat_that_is_not_followed_can_be_followed_by_hand(
    session: Any, platform: Platform
) -> None:
    platform.api = [refusal(), redirect("/api/m2m/v1/next")]
    response = session.get(API, allow_redirects=False)
    assert response.status_code == 302
    assert session.send(response.next).status_code == 200
    assert platform.bearers == ["token-1", "token-2", "token-2"]


def test_response_without_a_connection_cannot_be_repeated(session: Any, platform: Platform) -> None:
    class Adapter(HTTPAdapter):
        def send(self, request: Any, **kwargs: Any) -> Any:  # type: ignore[override]
            response = requests_adapter(platform).send(request, **kwargs)
            del response.connection
            return response

    session.mount(API, Adapter())
    platform.api = [refusal()]
    assert session.get(API).status_code == 401
    assert len(platform.token_calls) == 2


def test_repeat_is_timed_and_keeps_its_settings(session: Any, platform: Platform) -> None:
    seen: list[Any] = []

    class Adapter(HTTPAdapter):
        def send(self, request: Any, **kwargs: Any) -> Any:  # type: ignore[override]
            seen.append(kwargs)
            response = requests_adapter(platform).send(request, **kwargs)
            response.connection = self
            return response

    session.mount(API, Adapter())
    platform.api = [refusal()]
    response = session.get(
        API, timeout=(3, 4), verify=False, cert="c.pem", proxies={"https": "http://p:1"}
    )
    assert response.elapsed.total_seconds() > 0
    first, second = seen
    assert first == second
    assert (first["timeout"], first["verify"], first["cert"]) == ((3, 4), False, "c.pem")


@pytest.mark.parametrize("hooks", [{}, {"response": []}, {"response": [print]}], ids=str)
def test_callers_hooks_are_kept_behind_ours(
    requests_kind: Kind, platform: Platform, hooks: dict[str, Any]
) -> None:
    request = requests.Request("GET", API).prepare()
    others = list(hooks.get("response", []))
    request.hooks = hooks
    requests_kind.auth(platform)(request)
    ours, *behind = request.hooks["response"]
    assert callable(ours)
    assert behind == others


def test_pickled_request_can_be_read_and_sent_without_this_package(
    session: Any, platform: Platform
) -> None:
    revived = pickle.loads(pickle.dumps(prepared(session)))
    platform.api = [refusal()]
    assert session.send(revived).status_code == 401
    (hook,) = revived.hooks["response"]
    assert hook.func is requests.hooks.dispatch_hook


def test_pickled_object_watches_with_its_own_token() -> None:
    auth = ThingspaceAuth(**IDENTITY, oauth_token={"access_token": "a"})
    auth(requests.Request("GET", API).prepare())
    revived = pickle.loads(pickle.dumps(auth))
    request = revived(requests.Request("GET", API).prepare())
    (watch,) = request.hooks["response"]
    assert watch._auth is revived
