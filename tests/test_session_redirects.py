"""The contract, Part 2, rule 6: where redirects take the session header."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Iterator
from typing import Any

import pytest

from .kinds import HTTPX_KINDS, INSTALLED, Kind
from .test_contract_requests import redirect
from .test_contract_sessions import (
    EDGE,
    ELSEWHERE,
    VEHICLE,
    credentials,
    headers_sent,
    sender,
)
from .virtual import API, BASE, LOGIN_PATH, Answer, Platform, VirtualClock, session_refusal

REQUESTS_KINDS = [kind for kind in INSTALLED if kind.is_requests]
BOTH = {"authorization": "Bearer token-1", "vz-m2m-token": "session-1"}
WARNING = "a redirect took the session token to evil.example"


@pytest.fixture(autouse=True)
def _virtual_time(clock: VirtualClock) -> None:
    pass


@pytest.fixture(params=REQUESTS_KINDS, ids=lambda kind: kind.name)
def requests_kind(request: pytest.FixtureRequest) -> Kind:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(params=HTTPX_KINDS, ids=lambda kind: kind.name)
def httpx_kind(request: pytest.FixtureRequest) -> Kind:
    return request.param  # type: ignore[no-any-return]


# requests: removed or renamed as the new host requires.

ONWARD: dict[str, dict[str, str]] = {
    ELSEWHERE: {},
    "//evil.example/x": {},
    "http://thingspace.verizon.com/api/x": {},
    "https://thingspace.verizon.com:8443/api/x": {},
    # requests quotes the backslash, so that this is the platform with a strange user name.
    "https://evil.example\\@thingspace.verizon.com/": BOTH,
    "https://thingspace.verizon.com@evil.example/": {},
    EDGE: {},
    VEHICLE: {"sessiontoken": "session-1"},
    "https://staging.thingspace.verizon.com/api": {"vz-m2m-token": "session-1"},
    BASE + LOGIN_PATH + "?x": {"authorization": "Bearer token-1"},
    "/api/m2m/v1/x": BOTH,
    "x?session/login": BOTH,
    "//thingspace.verizon.com/api/x": BOTH,
    "HTTPS://ThingSpace.Verizon.com:443/api/x": BOTH,
}


def followed(kind: Kind, platform: Platform, auth: Any, targets: list[str], status: int) -> Any:
    platform.api = [redirect(target, status) for target in targets]
    try:
        return kind.get(auth, API, platform)
    except (kind.request_error, ValueError):
        return None


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("target", list(ONWARD))
def test_requests_takes_along_what_the_new_host_requires(
    requests_kind: Kind, platform: Platform, target: str, status: int
) -> None:
    auth = requests_kind.auth(platform, m2m=credentials())
    followed(requests_kind, platform, auth, [target], status)
    calls = [call for call in platform.calls if not call.path.endswith("/token")][1:]
    for call in calls[1:]:
        names = ("authorization", "vz-m2m-token", "sessiontoken")
        sent = {name: call.headers[name] for name in names if name in call.headers}
        assert sent == ONWARD[target]


@pytest.mark.parametrize(
    ("targets", "sent"),
    [
        ([ELSEWHERE, API], [BOTH, {}, {}]),
        ([VEHICLE, API], [BOTH, {"sessiontoken": "session-1"}, {"vz-m2m-token": "session-1"}]),
        ([VEHICLE, ELSEWHERE], [BOTH, {"sessiontoken": "session-1"}, {}]),
        ([VEHICLE, VEHICLE + "/x"], [BOTH, *[{"sessiontoken": "session-1"}] * 2]),
    ],
    ids=["away and back", "renamed back", "renamed and away", "renamed once"],
)
def test_requests_does_so_at_every_redirect(
    requests_kind: Kind, platform: Platform, targets: list[str], sent: list[dict[str, str]]
) -> None:
    auth = requests_kind.auth(platform, m2m=credentials())
    seen = followed(requests_kind, platform, auth, targets, 302)
    assert (seen.status, seen.history) == (200, [302] * len(targets))
    assert headers_sent(platform) == sent


def test_history_shows_what_was_sent(requests_kind: Kind, platform: Platform) -> None:
    auth = requests_kind.auth(platform, m2m=credentials())
    seen = followed(requests_kind, platform, auth, [VEHICLE, ELSEWHERE], 302)
    first, second = (past.request.headers for past in seen.response.history)
    assert (first["VZ-M2M-Token"], first["Authorization"]) == ("session-1", "Bearer token-1")
    assert second["SessionToken"] == "session-1"
    assert "SessionToken" not in seen.response.request.headers


@pytest.fixture
def prepared(requests_kind: Kind, platform: Platform) -> Iterator[tuple[Any, Any]]:
    """A session, and a request that it has prepared."""
    import requests

    auth = requests_kind.auth(platform, m2m=credentials())
    with requests_kind.session(platform) as session:
        session.auth = auth
        yield session, session.prepare_request(requests.Request("GET", API))


def test_prepared_request_that_is_sent_again_carries_the_same(
    prepared: Any, platform: Platform
) -> None:
    session, request = prepared
    for _ in range(3):
        platform.calls.clear()
        platform.api = [redirect(ELSEWHERE), redirect("/x")]
        assert session.send(request).status_code == 200
        assert headers_sent(platform) == [BOTH, {}, {}]
    platform.calls.clear()
    platform.api = [session_refusal()]
    assert session.send(request).status_code == 200
    assert platform.sessions == ["session-1", "session-2"]


def test_so_does_one_whose_redirect_was_not_followed(prepared: Any, platform: Platform) -> None:
    session, request = prepared
    for again in (request, request):
        platform.calls.clear()
        platform.api = [redirect(ELSEWHERE)]
        response = session.send(again, allow_redirects=False)
        assert "VZ-M2M-Token" not in response.next.headers
        platform.api = [redirect(ELSEWHERE)]
        assert session.send(response.request).status_code == 200
        assert headers_sent(platform) == [BOTH, BOTH, {}]


def test_so_does_one_whose_redirect_failed(prepared: Any, platform: Platform) -> None:
    session, request = prepared
    for target in (ELSEWHERE, EDGE, VEHICLE):
        platform.calls.clear()
        platform.api = [redirect(target), Answer(failure="connect")]
        with pytest.raises(session_error()):
            session.send(request)
        platform.api = [redirect(ELSEWHERE)]
        assert session.send(request).status_code == 200
        sent = headers_sent(platform)
        assert (sent[0], sent[2], sent[3]) == (BOTH, BOTH, {})


def test_so_does_one_whose_users_hook_raised(prepared: Any, platform: Platform) -> None:
    session, request = prepared
    raised: list[int] = []

    def hook(response: Any, **kwargs: Any) -> None:
        if response.is_redirect and not raised:
            raised.append(1)
            raise LookupError("the user's own")

    request.hooks["response"].append(hook)
    platform.api = [redirect(ELSEWHERE), redirect(ELSEWHERE)]
    with pytest.raises(LookupError):
        session.send(request)
    assert session.send(request).status_code == 200
    assert headers_sent(platform) == [BOTH, BOTH, {}]


def test_request_copies_whole_once_its_redirect_was_followed(
    prepared: Any, platform: Platform
) -> None:
    session, request = prepared
    platform.api = [redirect(ELSEWHERE), redirect(ELSEWHERE)]
    response = session.send(request)
    first = response.history[0].request
    for headers in (first.headers, first.copy().headers, first.headers.copy(), request.headers):
        assert headers["VZ-M2M-Token"] == "session-1"
        assert headers["Authorization"] == "Bearer token-1"
        assert type(headers).__module__ == "requests.structures"


def test_redirected_request_copies_for_its_target_and_pickles_as_without_us(
    prepared: Any, platform: Platform
) -> None:
    session, request = prepared
    platform.api = [redirect(VEHICLE)]
    session.send(request, allow_redirects=False)
    assert request.copy().headers["SessionToken"] == "session-1"
    pickled = pickle.dumps(request.headers)
    assert b"thingspace_auth_adapters" not in pickled
    assert pickle.loads(pickled) == request.headers


def session_error() -> type[Exception]:
    from requests import exceptions

    return exceptions.RequestException


def test_users_own_header_for_the_new_host_is_left_alone(
    requests_kind: Kind, platform: Platform
) -> None:
    auth = requests_kind.auth(platform, m2m=credentials())
    platform.api = [redirect(VEHICLE)]
    requests_kind.get(auth, API, platform, headers={"SessionToken": "their-own"})
    assert headers_sent(platform)[1] == {"sessiontoken": "their-own"}


def test_redirect_that_is_not_followed_shows_a_next_request_without_the_session(
    requests_kind: Kind, platform: Platform
) -> None:
    auth = requests_kind.auth(platform, m2m=credentials())
    platform.api = [redirect(ELSEWHERE)]
    seen = requests_kind.get(auth, API, platform, follow_redirects=False)
    assert "VZ-M2M-Token" not in seen.response.next.headers
    assert seen.response.request.headers["VZ-M2M-Token"] == "session-1"


def test_session_that_was_blamed_after_a_redirect_is_renewed(
    kind: Kind, platform: Platform
) -> None:
    auth = kind.auth(platform, m2m=credentials())
    platform.api = [redirect("/api/m2m/v1/x"), session_refusal()]
    seen = kind.get(auth, API, platform)
    assert (seen.status, platform.sessions) == (200, ["session-1", "session-1", "session-2"])


def test_renamed_session_that_was_blamed_is_renewed_under_its_new_name(
    requests_kind: Kind, platform: Platform
) -> None:
    auth = requests_kind.auth(platform, m2m=credentials())
    platform.api = [redirect(VEHICLE), session_refusal()]
    assert requests_kind.get(auth, API, platform).status == 200
    assert headers_sent(platform)[1:] == [
        {"sessiontoken": "session-1"},
        {"sessiontoken": "session-2"},
    ]


def test_blame_by_a_host_that_was_not_sent_the_session_renews_nothing(
    requests_kind: Kind, platform: Platform
) -> None:
    auth = requests_kind.auth(platform, m2m=credentials())
    platform.api = [redirect(ELSEWHERE), session_refusal()]
    assert requests_kind.get(auth, API, platform).status == 400
    assert len(platform.login_calls) == 1


def test_each_token_is_renewed_once_redirects_included(
    requests_kind: Kind, platform: Platform
) -> None:
    auth = requests_kind.auth(platform, m2m=credentials())
    platform.api = [
        session_refusal(),
        redirect("/api/m2m/v1/2"),
        session_refusal(),
        session_refusal(),
    ]
    assert requests_kind.get(auth, API, platform).status == 400
    assert len(platform.login_calls) == 2
    platform.api = [session_refusal()]
    assert requests_kind.get(auth, API, platform).status == 200


def test_prepared_request_that_was_turned_elsewhere_by_hand_is_not_repeated(
    requests_kind: Kind, platform: Platform
) -> None:
    import requests

    auth = requests_kind.auth(platform, m2m=credentials())
    with requests_kind.session(platform) as session:
        prepared = session.prepare_request(requests.Request("GET", API, auth=auth))
        prepared.url = ELSEWHERE
        platform.api = [session_refusal()]
        assert session.send(prepared).status_code == 400
    assert len(platform.login_calls) == 1


def test_own_session_header_goes_where_requests_takes_it(
    requests_kind: Kind, platform: Platform
) -> None:
    auth = requests_kind.auth(platform, m2m=credentials())
    platform.api = [redirect(ELSEWHERE)]
    requests_kind.get(auth, API, platform, headers={"VZ-M2M-Token": "their-own"})
    assert platform.sessions == ["their-own"] * 2


# httpx: noticed, logged, and renewed.


def test_session_that_went_astray_is_noticed_and_renewed(
    httpx_kind: Kind, platform: Platform, caplog: pytest.LogCaptureFixture
) -> None:
    auth = httpx_kind.auth(platform, m2m=credentials())
    platform.api = [redirect(ELSEWHERE)]
    assert httpx_kind.get(auth, API, platform).status == 200
    assert headers_sent(platform) == [BOTH, {"vz-m2m-token": "session-1"}]
    assert [record.levelno for record in caplog.records if WARNING in record.getMessage()] == [
        logging.WARNING
    ]
    assert "follow_redirects=False" in caplog.text
    assert "session-1" not in caplog.text
    httpx_kind.get(auth, API, platform)
    assert platform.sessions[-1] == "session-2"
    assert platform.trail == ["token", "login", "api", "api", "login", "api"]


@pytest.mark.parametrize(
    "targets",
    [
        [ELSEWHERE, API],
        ["http://thingspace.verizon.com/api/x"],
        ["/api/m2m/v1/x", ELSEWHERE, ELSEWHERE],
        ["https://thingspace.verizon.com:8443/x"],
    ],
    ids=["and back", "http", "later", "port"],
)
def test_stray_is_noticed_wherever_it_was(
    httpx_kind: Kind, platform: Platform, targets: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    auth = httpx_kind.auth(platform, m2m=credentials())
    seen = followed(httpx_kind, platform, auth, targets, 302)
    assert (seen.status, seen.history) == (200, [302] * len(targets))
    assert "which is not allowed" in caplog.text
    assert len(platform.login_calls) == 2


def test_stray_after_a_repeat_is_noticed(
    httpx_kind: Kind, platform: Platform, caplog: pytest.LogCaptureFixture
) -> None:
    auth = httpx_kind.auth(platform, m2m=credentials())
    platform.api = [session_refusal(), redirect(ELSEWHERE)]
    seen = httpx_kind.get(auth, API, platform)
    assert (seen.status, seen.history) == (200, [400, 302])
    assert caplog.text.count(WARNING) == 1
    assert len(platform.login_calls) == 3


def test_redirects_that_stay_are_no_stray(
    httpx_kind: Kind, platform: Platform, caplog: pytest.LogCaptureFixture
) -> None:
    auth = httpx_kind.auth(platform, m2m=credentials())
    assert followed(httpx_kind, platform, auth, ["/x", VEHICLE, EDGE], 302).status == 200
    assert "redirect took" not in caplog.text
    assert len(platform.login_calls) == 1


def test_session_that_is_renewed_after_a_redirect_puts_no_bearer_back(
    httpx_kind: Kind, platform: Platform
) -> None:
    auth = httpx_kind.auth(platform, m2m=credentials())
    platform.api = [redirect("https://staging.thingspace.verizon.com/x"), session_refusal()]
    assert httpx_kind.get(auth, API, platform).status == 200
    assert headers_sent(platform)[1:] == [
        {"vz-m2m-token": "session-1"},
        {"vz-m2m-token": "session-2"},
    ]


def test_token_that_cannot_be_renewed_is_warned_of(
    httpx_kind: Kind, platform: Platform, caplog: pytest.LogCaptureFixture
) -> None:
    auth = httpx_kind.auth(platform, m2m="fixed")
    assert followed(httpx_kind, platform, auth, [ELSEWHERE], 302).status == 200
    assert WARNING in caplog.text
    httpx_kind.get(auth, API, platform)
    assert platform.sessions[-1] == "fixed"


@pytest.mark.parametrize(
    ("target", "sent"),
    [
        (ELSEWHERE, {}),
        (EDGE, {"authorization": "Bearer token-1"}),
        (BASE + LOGIN_PATH, {"authorization": "Bearer token-1"}),
        ("/api/m2m/v1/x", BOTH),
    ],
)
def test_redirect_that_is_followed_by_hand_takes_no_session_astray(
    httpx_kind: Kind, platform: Platform, target: str, sent: dict[str, str]
) -> None:
    library = httpx_kind.library
    auth = httpx_kind.auth(platform, m2m=credentials())
    platform.api = [redirect(target, 307)]

    async def afollow() -> None:
        async with library.AsyncClient(
            auth=auth, transport=httpx_kind.transport(platform)
        ) as client:
            response = await client.get(API)
            await client.send(response.next_request)

    if httpx_kind.is_async:
        httpx_kind.run(afollow)
    else:
        with library.Client(auth=auth, transport=httpx_kind.transport(platform)) as client:
            client.send(client.get(API).next_request)
    names = ("authorization", "vz-m2m-token")
    last = platform.calls[-1].headers
    assert {name: last[name] for name in names if name in last} == sent


def test_redirect_that_is_followed_by_hand_after_m2m_was_taken_away(
    httpx_kind: Kind, platform: Platform
) -> None:
    auth = httpx_kind.auth(platform, m2m=credentials())
    send = sender(httpx_kind, auth, platform)
    platform.api = [redirect(ELSEWHERE)]
    response = send(httpx_kind.library.Request("GET", API, extensions={"timeout": {}}))
    auth.m2m = None
    send(response.next_request)
    assert headers_sent(platform) == [BOTH, {}]


def test_session_that_strays_while_m2m_is_taken_away_is_no_more_than_warned_of(
    httpx_kind: Kind, platform: Platform, caplog: pytest.LogCaptureFixture
) -> None:
    auth = httpx_kind.auth(platform, m2m=credentials())

    def take_away(call: Any, answer: Any = platform.handle) -> Answer:
        if call.url == API:
            auth.m2m = None
        return answer(call)  # type: ignore[no-any-return]

    platform.handle = take_away  # type: ignore[method-assign]
    platform.api = [redirect(ELSEWHERE)]
    assert httpx_kind.get(auth, API, platform).status == 200
    assert WARNING in caplog.text
    assert len(platform.login_calls) == 1
