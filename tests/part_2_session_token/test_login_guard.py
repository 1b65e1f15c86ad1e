"""The contract, Part 2, rule 5: a refused login is never repeated. In virtual time."""

from __future__ import annotations

import contextlib
import copy
import errno
import json
from collections.abc import Generator
from pathlib import Path
from typing import Any, Callable

import pytest

from thingspace_auth_adapters import M2mLoginError, VzM2mCredentials
from thingspace_auth_adapters.stores import StoreUnavailable

from ..support.kinds import PASSWORD, Kind, requests_adapter
from ..support.memory_store import memory_store
from ..support.virtual import (
    API,
    LOGIN_PATH,
    LOGIN_REFUSED,
    Answer,
    Call,
    Platform,
    VirtualClock,
    login_refusal,
    refusal,
    session_refusal,
)

HOUR = 3600
MINUTE = 60
YEARS = 10 * 365 * 86400

# Each ``yield`` sends the login once; its value is the response.
Policy = Callable[[Kind, Any], Generator[None, Any, Any]]
MakeStore = Callable[[], Any]


@pytest.fixture(autouse=True)
def _virtual_time(clock: VirtualClock) -> None:
    pass


@pytest.fixture
def auth(kind: Kind, platform: Platform) -> Any:
    return kind.auth(platform, m2m=credentials())


def credentials(username: str = "the-user", password: str = PASSWORD) -> VzM2mCredentials:
    return VzM2mCredentials(username, password)


def fails(kind: Kind, auth: Any, platform: Platform) -> Any:
    """The error of a request that finds no session."""
    with pytest.raises(kind.request_error) as caught:
        kind.get(auth, API, platform)
    return caught.value


def blocked(kind: Kind, auth: Any, platform: Platform) -> Any:
    """The error of a request for which no login is attempted, nor anything else."""
    before = len(platform.calls)
    with pytest.raises(M2mLoginError) as caught:
        kind.get(auth, API, platform)
    assert isinstance(caught.value, kind.request_error)
    assert len(platform.calls) == before
    return caught.value


def logs_in(kind: Kind, auth: Any, platform: Platform) -> None:
    """A request opens a session, by a login that succeeds at once."""
    before = len(platform.login_calls)
    platform.logins = []
    assert kind.get(auth, API, platform).status == 200
    assert len(platform.login_calls) == before + 1


def allow_login(kind: Kind, auth: Any) -> None:
    if kind.is_async:
        kind.run(auth.aallow_login)
    else:
        auth.allow_login()


# What stands between the adapter and the network.


def through(kind: Kind, policy: Policy, platform: Platform | None = None) -> dict[str, Any]:
    """Options for an object whose logins to ``platform``, or the network, go through a policy."""
    if kind.is_requests:
        return {"session": session_through(kind, policy, platform)}

    # Without connections that are kept: nobody closes a transport of the user's.
    limits = kind.library.Limits(max_keepalive_connections=0)
    inner = kind.library.HTTPTransport(verify=False, limits=limits)
    if platform is not None:
        inner = kind.transport(platform)
    return {"client_options": {"transport": transport_through(kind, policy, inner)}}


def session_through(kind: Kind, policy: Policy, platform: Platform | None) -> Any:
    import requests

    inner: Any = requests.adapters.HTTPAdapter()
    if platform is not None:
        inner = requests_adapter(platform)

    class Through(requests.adapters.BaseAdapter):
        def send(self, request: Any, *args: Any, **kwargs: Any) -> Any:
            if not request.url.endswith(LOGIN_PATH):
                return inner.send(request, *args, **kwargs)
            return drive(policy(kind, request), lambda: inner.send(request, *args, **kwargs))

        def close(self) -> None:
            inner.close()

    session = requests.Session()
    session.trust_env = False
    for prefix in ("http://", "https://"):
        session.mount(prefix, Through())
    return session


def transport_through(kind: Kind, policy: Policy, inner: Any) -> Any:
    library = kind.library

    class Through(library.BaseTransport):  # type: ignore[name-defined,misc]
        def handle_request(self, request: Any) -> Any:
            if not str(request.url).endswith(LOGIN_PATH):
                return inner.handle_request(request)
            return drive(policy(kind, request), lambda: inner.handle_request(request))

        def close(self) -> None:
            inner.close()

    return Through()


def drive(steps: Generator[None, Any, Any], send: Callable[[], Any]) -> Any:
    try:
        next(steps)
        while True:
            try:
                response = send()
            except Exception as error:
                steps.throw(error)
            else:
                steps.send(response)
                response.close()
    except StopIteration as end:
        return end.value


def retrying(kind: Kind, request: Any) -> Generator[None, Any, Any]:
    """Rewinds what can be rewound, and sends until it gets a success, six times at most."""
    for _ in range(5):
        try:
            response = yield
        except Exception:
            response = None
        if response is not None and response.status_code < 400:
            return response
        with contextlib.suppress(Exception):
            request.body.seek(0)
    return (yield)


# Refused.

REFUSALS = {
    "wrong password": login_refusal(),
    "401": Answer(401, {"errorCode": "X"}),
    "403": Answer(403, LOGIN_REFUSED),
    "404": Answer(404, LOGIN_REFUSED),
    "session to blame": session_refusal(),
}


@pytest.mark.parametrize("name", list(REFUSALS))
def test_login_that_was_answered_4xx_with_an_error_code_is_never_repeated(
    kind: Kind, platform: Platform, auth: Any, clock: VirtualClock, name: str
) -> None:
    answer = REFUSALS[name]
    platform.logins = [answer]
    assert isinstance(fails(kind, auth, platform), M2mLoginError)
    for pause in (0, HOUR, YEARS):
        clock.advance(pause)
        error = blocked(kind, auth, platform)
        assert error.status_code == answer.status
        assert error.error_code == json.loads(answer.body)["errorCode"]
    with pytest.raises(M2mLoginError):
        kind.fetch_session(auth)
    assert platform.trail == ["token", "login"]


def test_login_by_hand_counts_like_any_other(kind: Kind, platform: Platform, auth: Any) -> None:
    platform.logins = [login_refusal()]
    for _ in range(2):
        with pytest.raises(M2mLoginError):
            kind.fetch_session(auth)
    blocked(kind, auth, platform)
    assert platform.trail == ["token", "login"]


def test_refusal_after_an_unknown_outcome_is_a_refusal(
    kind: Kind, platform: Platform, auth: Any, clock: VirtualClock
) -> None:
    platform.logins = [Answer(500), login_refusal()]
    assert fails(kind, auth, platform).status_code == 400
    clock.advance(YEARS)
    assert blocked(kind, auth, platform).status_code == 400
    assert len(platform.login_calls) == 2


# Unknown.

UNKNOWNS = {
    "timeout": Answer(failure="read timeout"),
    "lost": Answer(failure="protocol"),
    "500": Answer(500, b"oops"),
    "502 with an error code": Answer(502, {"errorCode": "X"}),
    "503": Answer(503),
    "empty 401": Answer(401),
    "404": Answer(404, {"error": "x"}),
    "400 in no JSON": Answer(400, b"errorCode"),
    "no error code": Answer(400, {"errorCode": None, "errorMessage": "x"}),
    "no token": Answer(200, {"ok": True}),
    "empty token": Answer(200, {"sessionToken": ""}),
    "odd token": Answer(200, {"sessionToken": "a\nb"}),
    "no text": Answer(200, {"sessionToken": 5}),
    "html": Answer(200, b"<html>welcome</html>"),
    "403 fault": Answer(403, {"fault": {"code": "900908", "message": "Resource forbidden"}}),
    "400 fault": Answer(400, {"code": 900906, "message": "No matching resource"}),
    "403 fault in XML": Answer(
        403, b'<?xml version="1.0"?>\n<am:fault xmlns:am="x"><am:code>900908</am:code></am:fault>'
    ),
    "redirect": Answer(302, b"", {"Location": "https://elsewhere.example/"}),
}


@pytest.mark.parametrize("name", list(UNKNOWNS))
def test_two_logins_of_unknown_outcome_are_followed_by_none(
    kind: Kind, platform: Platform, auth: Any, name: str
) -> None:
    platform.logins = [UNKNOWNS[name]] * 9
    for _ in range(4):
        fails(kind, auth, platform)
    error = blocked(kind, auth, platform)
    assert (error.status_code, error.error_code) == (None, None)
    assert len(platform.login_calls) == 2


@pytest.mark.parametrize("name", ["timeout", "500", "empty 401"])
def test_pauses_grow_with_the_failures_in_a_row_and_four_are_the_last(
    kind: Kind, platform: Platform, auth: Any, clock: VirtualClock, name: str
) -> None:
    platform.logins = [UNKNOWNS[name]] * 9
    for logins, pause in ((2, 5 * MINUTE), (3, HOUR)):
        for _ in range(3):
            fails(kind, auth, platform)
        assert len(platform.login_calls) == logins
        error = blocked(kind, auth, platform)
        assert error.retryable
        assert f"{5 - logins} more would" in str(error)
        clock.advance(pause - MINUTE)
        blocked(kind, auth, platform)
        clock.advance(MINUTE)
    fails(kind, auth, platform)
    clock.advance(YEARS)
    error = blocked(kind, auth, platform)
    assert not error.retryable
    assert "1 more would" in str(error)
    assert len(platform.login_calls) == 4


@pytest.mark.parametrize("name", ["timeout", "500", "empty 401"])
def test_success_resets_the_count(
    kind: Kind, platform: Platform, auth: Any, clock: VirtualClock, name: str
) -> None:
    for _ in range(3):
        platform.logins = [UNKNOWNS[name], platform.new_session()]
        with contextlib.suppress(kind.request_error):
            kind.get(auth, API, platform)
        assert kind.get(auth, API, platform).status == 200
        clock.advance(20 * MINUTE)
    assert len(platform.login_calls) == 6


@pytest.mark.parametrize("name", ["timeout", "lost", "500"])
def test_transient_unknown_outcome_is_tried_once_more_at_once(
    kind: Kind, platform: Platform, auth: Any, name: str
) -> None:
    platform.logins = [UNKNOWNS[name]]
    assert kind.get(auth, API, platform).status == 200
    assert platform.trail == ["token", "login", "login", "api"]


def test_logins_of_unknown_outcome_are_those_of_all_objects_of_the_account(
    kind: Kind, platform: Platform
) -> None:
    platform.logins = [UNKNOWNS["empty 401"]] * 9
    for _ in range(4):
        fails(kind, kind.auth(platform, m2m=credentials()), platform)
    assert len(platform.login_calls) == 2


@pytest.mark.parametrize("is_sent", [False, True], ids=["connecting", "sent"])
def test_interrupt_makes_a_synchronous_login_unknown(
    sync_kind: Kind, platform: Platform, is_sent: bool
) -> None:
    """Also while it connects: what beneath us has begun cannot be known."""
    interrupt = KeyboardInterrupt()

    def interrupted(kind: Kind, request: Any) -> Generator[None, Any, Any]:
        if is_sent:
            yield
        raise interrupt

    auth = sync_kind.auth(m2m=credentials(), **through(sync_kind, interrupted, platform))
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt) as caught:
            sync_kind.get(auth, API, platform)
        assert caught.value is interrupt
    assert len(platform.login_calls) == (2 if is_sent else 0)
    assert blocked(sync_kind, auth, platform).status_code is None


# No attempt.

NO_ATTEMPTS = {
    "429": Answer(429, b"slow down"),
    "429 with an error code": Answer(429, {"errorCode": "X"}),
    "429 fault": Answer(429, {"fault": {"code": "900800", "message": "throttled"}}),
    "503 fault": Answer(503, {"fault": {"code": "900800"}}),
    "503 throttled in XML": Answer(
        503, b"<amt:fault xmlns:amt='x'><amt:code>900800</amt:code></amt:fault>"
    ),
    "500 of the bearer": Answer(500, {"fault": {"code": "900901"}}),
    "401 with a challenge": Answer(401, b"", {"WWW-Authenticate": 'OAuth2 error="invalid_token"'}),
    "401 fault": refusal(),
}


@pytest.mark.parametrize("name", list(NO_ATTEMPTS))
def test_what_the_gateway_kept_from_the_login_does_not_count(
    kind: Kind, platform: Platform, auth: Any, clock: VirtualClock, name: str
) -> None:
    platform.logins = [NO_ATTEMPTS[name]] * 99
    for _ in range(3):
        fails(kind, auth, platform)
        # A throttled login is left alone for a while.
        clock.advance(10)
    assert len(platform.login_calls) >= 3
    logs_in(kind, auth, platform)


def test_what_the_gateway_kept_from_the_login_does_not_reset_the_count(
    kind: Kind, platform: Platform, auth: Any, clock: VirtualClock
) -> None:
    platform.logins = [Answer(500), NO_ATTEMPTS["429"], Answer(500), NO_ATTEMPTS["429"]]
    for _ in range(3):
        fails(kind, auth, platform)
        clock.advance(10)
    blocked(kind, auth, platform)
    assert len(platform.login_calls) == 3


def test_login_that_found_no_connection_does_not_count(kind: Kind, platform: Platform) -> None:
    auth = kind.auth(platform, m2m=credentials())
    for failure in ("connect", "connect timeout", "certificate"):
        platform.logins = [Answer(failure=failure)] * 99
        for _ in range(3):
            with pytest.raises(kind.request_error):
                kind.get(auth, API, platform)
    platform.calls.clear()
    logs_in(kind, auth, platform)


def test_login_whose_adapter_or_transport_fails_in_its_own_words_may_have_been_sent(
    kind: Kind, platform: Platform
) -> None:
    """What is not the library's own failure to connect says nothing of that."""

    def fails_oddly(kind: Kind, request: Any) -> Generator[None, Any, Any]:
        yield
        raise ConnectionResetError(errno.ECONNRESET, "the line went dead")

    auth = kind.auth(m2m=credentials(), **through(kind, fails_oddly, platform))
    for _ in range(5):
        fails(kind, auth, platform)
    blocked(kind, auth, platform)
    assert len(platform.login_calls) == 2


# The body.


def test_body_of_a_login_has_its_length_announced(
    kind: Kind, platform: Platform, auth: Any
) -> None:
    kind.get(auth, API, platform)
    (login,) = platform.login_calls
    assert json.loads(login.body) == {"username": "the-user", "password": PASSWORD}
    assert login.headers["content-length"] == str(len(login.body))
    assert "transfer-encoding" not in login.headers


@pytest.mark.parametrize("name", ["wrong password", "500", "lost", "429"])
def test_body_of_a_login_can_be_read_once_whatever_is_beneath(
    kind: Kind, platform: Platform, name: str
) -> None:
    answer = {**REFUSALS, **UNKNOWNS, **NO_ATTEMPTS}[name]
    platform.logins = [answer] * 99
    auth = kind.auth(m2m=credentials(), **through(kind, retrying, platform))
    for _ in range(4):
        fails(kind, auth, platform)
    blocked(kind, auth, platform)
    assert 1 <= len(platform.login_calls) <= 2


# Whose count it is.


def test_copies_and_new_objects_share_the_count(kind: Kind, platform: Platform, auth: Any) -> None:
    earlier = [copy.copy(auth), copy.deepcopy(auth), kind.auth(platform, m2m=credentials())]
    platform.logins = [login_refusal()]
    fails(kind, auth, platform)
    later = [copy.copy(auth), copy.deepcopy(auth), kind.auth(platform, m2m=credentials())]
    platform.calls.clear()
    for each in (*earlier, *later):
        assert blocked(kind, each, platform).status_code == 400


@pytest.mark.parametrize(
    "options",
    [
        {"m2m": credentials(password="another password")},
        {"m2m": credentials(username="another user")},
        {
            "base_url": "https://staging.thingspace.verizon.com",
            "allowed_hosts": ["thingspace.verizon.com"],
        },
    ],
    ids=["password", "user name", "base URL"],
)
def test_other_accounts_have_a_count_of_their_own(
    kind: Kind, platform: Platform, auth: Any, options: dict[str, Any]
) -> None:
    other = kind.auth(platform, **{"m2m": credentials(), **options})
    platform.logins = [login_refusal()]
    fails(kind, auth, platform)
    logs_in(kind, other, platform)
    blocked(kind, auth, platform)


# The way out.


def test_same_credentials_again_are_no_way_out_and_others_are(
    kind: Kind, platform: Platform, any_store: Any
) -> None:
    auth = kind.auth(platform, m2m=credentials(), store=any_store)
    platform.logins = [login_refusal()]
    fails(kind, auth, platform)
    auth.m2m = credentials()
    blocked(kind, auth, platform)
    auth.m2m = credentials(password="corrected")
    logs_in(kind, auth, platform)
    auth.m2m = credentials()
    blocked(kind, auth, platform)


@pytest.mark.parametrize(
    "answers", [[login_refusal()], [Answer(500)] * 2, [Answer(500)] * 4], ids=["400", "2", "4"]
)
def test_allow_login_is_the_way_out_and_the_count_begins_anew(
    kind: Kind, platform: Platform, clock: VirtualClock, any_store: Any, answers: list[Answer]
) -> None:
    auth = kind.auth(platform, m2m=credentials(), store=any_store)
    for _ in range(2):
        platform.logins = list(answers)
        fails(kind, auth, platform)
        while platform.logins:
            clock.advance(HOUR + MINUTE)
            fails(kind, auth, platform)
        blocked(kind, auth, platform)
        allow_login(kind, auth)
    logs_in(kind, auth, platform)


# What the error says.


def test_error_says_when_and_why_and_how_to_go_on(
    kind: Kind, platform: Platform, auth: Any, clock: VirtualClock
) -> None:
    platform.logins = [login_refusal()]
    first = fails(kind, auth, platform)
    refused_at = clock.wall
    clock.advance(YEARS)
    for error in (first, blocked(kind, auth, platform)):
        assert error.refused_at == refused_at
        assert error.error_code == LOGIN_REFUSED["errorCode"]
        assert error.error_message == LOGIN_REFUSED["errorMessage"]
        for part in (*LOGIN_REFUSED.values(), "2023-11-1", "remember", "lock", "allow_login()"):
            assert part in str(error)
        assert "thingspace-auth clear" not in str(error)


def test_error_after_unknown_outcomes_says_until_when(
    kind: Kind, platform: Platform, auth: Any, clock: VirtualClock
) -> None:
    platform.logins = [Answer(500)] * 2
    fails(kind, auth, platform)
    text = str(blocked(kind, auth, platform))
    for part in ("until", "2023-11-1", "remember", "lock", "allow_login()"):
        assert part in text


def test_error_names_the_file_store_and_the_command_that_clears_it(
    kind: Kind, platform: Platform, tmp_path: Path
) -> None:
    store = file_store(tmp_path / "store")
    auth = kind.auth(platform, m2m=credentials(), store=store)
    platform.logins = [login_refusal()]
    for error in (fails(kind, auth, platform), blocked(kind, auth, platform)):
        for part in ("allow_login()", "thingspace-auth clear", str(tmp_path / "store")):
            assert part in str(error)


# In a store.


def file_store(directory: Path) -> Any:
    pytest.importorskip("filelock")
    pytest.importorskip("platformdirs")
    from thingspace_auth_adapters.stores import FileTokenStore

    return FileTokenStore(directory)


@pytest.fixture(params=["none", "memory", pytest.param("file", marks=pytest.mark.once)])
def any_store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    if request.param == "none":
        return None
    return memory_store() if request.param == "memory" else file_store(tmp_path / "store")


# What a store does is its own tests' affair: here it only is one of two.
@pytest.fixture(params=["memory", pytest.param("file", marks=pytest.mark.once)])
def make_store(request: pytest.FixtureRequest, tmp_path: Path) -> MakeStore:
    """Makes what another process would make for itself: an object on the same store."""
    if request.param == "file":
        return lambda: file_store(tmp_path / "store")
    one = memory_store()
    return lambda: one


def another_process(kind: Kind, platform: Platform, store: Any, **options: Any) -> Any:
    """The auth object of a process that has logged in nowhere so far."""
    from thingspace_auth_adapters._core import login_guard

    login_guard.forget_all()
    return kind.auth(platform, **{"m2m": credentials(), "store": store, **options})


def test_refusal_is_remembered_for_every_process(
    kind: Kind, platform: Platform, make_store: MakeStore, clock: VirtualClock
) -> None:
    platform.logins = [login_refusal()]
    fails(kind, another_process(kind, platform, make_store()), platform)
    refused_at = clock.wall
    for _ in range(2):
        clock.advance(YEARS)
        error = blocked(kind, another_process(kind, platform, make_store()), platform)
        assert (error.status_code, error.refused_at) == (400, refused_at)
        assert error.error_code == LOGIN_REFUSED["errorCode"]
        assert "allow_login()" in str(error)
    assert len(platform.login_calls) == 1


def test_unknown_outcomes_add_up_over_processes(
    kind: Kind, platform: Platform, make_store: MakeStore, clock: VirtualClock
) -> None:
    platform.logins = [UNKNOWNS["404"]] * 9
    for logins, pause in ((2, 5 * MINUTE), (3, HOUR)):
        for _ in range(3):
            fails(kind, another_process(kind, platform, make_store()), platform)
        assert len(platform.login_calls) == logins
        clock.advance(pause - MINUTE)
        blocked(kind, another_process(kind, platform, make_store()), platform)
        clock.advance(MINUTE)
    fails(kind, another_process(kind, platform, make_store()), platform)
    clock.advance(YEARS)
    blocked(kind, another_process(kind, platform, make_store()), platform)
    assert len(platform.login_calls) == 4


def test_login_is_in_the_store_before_it_is_sent(kind: Kind, platform: Platform) -> None:
    """What a process leaves behind that is killed while it waits for the answer."""
    left: list[dict[str, bytes]] = []
    store = memory_store()

    def note(call: Call, answer: Any = platform.handle) -> Answer:
        if call.path == LOGIN_PATH:
            left.append(dict(store.entries))
        return answer(call)  # type: ignore[no-any-return]

    platform.handle = note  # type: ignore[method-assign]
    for number in (1, 2):
        kind.get(another_process(kind, platform, store), API, platform)
        assert len(left) == number
        store = memory_store()
        store.entries = left[-1]
    assert blocked(kind, another_process(kind, platform, store), platform).status_code is None


def test_allow_login_in_one_process_is_for_all(
    kind: Kind, platform: Platform, make_store: MakeStore
) -> None:
    platform.logins = [login_refusal()]
    fails(kind, another_process(kind, platform, make_store()), platform)
    allow_login(kind, another_process(kind, platform, make_store()))
    logs_in(kind, another_process(kind, platform, make_store()), platform)


def test_refusal_that_was_cleared_from_the_store_is_forgotten_by_running_processes(
    kind: Kind, platform: Platform
) -> None:
    store = memory_store()
    auth = kind.auth(platform, m2m=credentials(), store=store)
    platform.logins = [login_refusal()]
    fails(kind, auth, platform)
    blocked(kind, auth, platform)
    store.entries.clear()
    logs_in(kind, auth, platform)


@pytest.mark.parametrize("is_down", [False, True], ids=["refused before", "refused meanwhile"])
def test_process_has_a_count_of_its_own_while_the_store_cannot_be_reached(
    kind: Kind, platform: Platform, is_down: bool
) -> None:
    store = memory_store()
    auth = kind.auth(platform, m2m=credentials(), store=store)
    store.is_down = is_down
    platform.logins = [login_refusal()]
    fails(kind, auth, platform)
    store.is_down = True
    assert blocked(kind, auth, platform).status_code == 400
    assert blocked(kind, kind.auth(platform, m2m=credentials()), platform).status_code == 400


def test_other_credentials_in_the_same_store_have_a_count_of_their_own(
    kind: Kind, platform: Platform, make_store: MakeStore
) -> None:
    platform.logins = [login_refusal()]
    fails(kind, another_process(kind, platform, make_store()), platform)
    corrected = credentials(password="corrected")
    logs_in(kind, another_process(kind, platform, make_store(), m2m=corrected), platform)
    blocked(kind, another_process(kind, platform, make_store()), platform)


# Whose count it is: the platform counts by user name.


def test_five_passwords_of_one_object_are_two_logins(
    kind: Kind, platform: Platform, auth: Any, clock: VirtualClock
) -> None:
    platform.logins = [login_refusal()] * 9
    for number in range(5):
        auth.m2m = credentials(password=f"password-{number}")
        fails(kind, auth, platform)
    assert len(platform.login_calls) == 2
    # After the pauses two more, and then none: the fifth would lock the user name.
    for number in range(5, 12):
        clock.advance(HOUR)
        auth.m2m = credentials(password=f"password-{number}")
        fails(kind, auth, platform)
    assert len(platform.login_calls) == 4


SPELLINGS: dict[str, list[dict[str, Any]]] = {
    "objects": [{}] * 5,
    "names": [
        {"m2m": credentials(name, password=name)}
        for name in ("the-user", "The-User", " the-user", "the-user ", "THE-USER")
    ],
    "keys": [
        {"oauth_client_id": f"key-{number}", "oauth_client_secret": f"secret-{number}"}
        for number in range(5)
    ],
    "base URLs": [
        {"base_url": url, "m2m": credentials(password=url)}
        for url in (
            "https://thingspace.verizon.com",
            "https://THINGSPACE.verizon.com",
            "https://thingspace.verizon.com:443",
            "https://thingspace.verizon.com/",
            "https://5gedge.verizon.com",
        )
    ],
}


@pytest.mark.parametrize("name", list(SPELLINGS))
def test_spellings_of_one_user_name_count_together(
    kind: Kind, platform: Platform, name: str
) -> None:
    platform.logins = [login_refusal()] * 9
    for options in SPELLINGS[name]:
        fails(kind, kind.auth(platform, **{"m2m": credentials(), **options}), platform)
    assert len(platform.login_calls) <= 2


def test_five_objects_with_five_stores_count_together(
    kind: Kind, platform: Platform, tmp_path: Path
) -> None:
    platform.logins = [login_refusal()] * 9
    for number in range(5):
        m2m = credentials(password=f"password-{number}")
        store = file_store(tmp_path / str(number))
        fails(kind, kind.auth(platform, m2m=m2m, store=store), platform)
    assert len(platform.login_calls) == 2


def test_applications_with_keys_of_their_own_count_together_in_a_store(
    kind: Kind, platform: Platform, make_store: MakeStore
) -> None:
    platform.logins = [login_refusal()] * 9
    for number in range(5):
        keys = {"oauth_client_id": f"key-{number}", "oauth_client_secret": f"secret-{number}"}
        fails(kind, another_process(kind, platform, make_store(), **keys), platform)
    assert len(platform.login_calls) == 2


def test_success_of_another_password_frees_no_refused_one(
    kind: Kind, platform: Platform, auth: Any
) -> None:
    platform.logins = [login_refusal()]
    fails(kind, auth, platform)
    auth.m2m = credentials(password="corrected")
    logs_in(kind, auth, platform)
    auth.m2m = credentials()
    blocked(kind, auth, platform)


# A store that cannot always be written, or reached.


def test_refusal_that_could_not_be_written_is_written_before_the_next_login(
    kind: Kind, platform: Platform
) -> None:
    """By whichever object of the process comes first, and for all others."""
    store = memory_store()
    auth = kind.auth(platform, m2m=credentials(), store=store)
    platform.logins = [login_refusal()]
    store.is_down = True
    fails(kind, auth, platform)
    store.is_down = False
    assert blocked(kind, kind.auth(platform, m2m=credentials(), store=store), platform)
    assert blocked(kind, another_process(kind, platform, store), platform).status_code == 400
    assert len(platform.login_calls) == 1


def test_granted_logins_whose_success_could_not_be_written_block_nobody_for_long(
    kind: Kind, platform: Platform, clock: VirtualClock
) -> None:
    store = memory_store()
    granted = platform.handle

    def full(call: Call) -> Answer:
        store.is_full = call.path == LOGIN_PATH
        return granted(call)

    platform.handle = full  # type: ignore[method-assign]
    auth = kind.auth(platform, m2m=credentials(), store=store)
    assert kind.get(auth, API, platform).status == 200
    store.is_full = False
    platform.handle = granted  # type: ignore[method-assign]
    # The same process knows better, and says so before its next login.
    for _ in range(3):
        clock.advance(HOUR)
        assert kind.get(auth, API, platform).status == 200
    assert kind.get(another_process(kind, platform, store), API, platform).status == 200


# What looks at a body, and what sends it by itself.


@pytest.mark.parametrize("way", ["read", "content", "stream"])
def test_transport_that_takes_the_body_in_its_own_way_repeats_no_login(
    httpx_kind: Kind, platform: Platform, way: str
) -> None:
    """As httpx-curl-cffi and httpx-aiohttp do; a lost connection may be called anything there."""
    library = httpx_kind.library

    class Transport(library.BaseTransport):  # type: ignore[name-defined,misc]
        def handle_request(self, request: Any) -> Any:
            looks = [request.content, request.read()] if way != "stream" else []
            body = b"".join(request.stream) if way == "stream" else looks[0]
            assert looks in ([], [body, body])
            is_login = str(request.url).endswith(LOGIN_PATH)
            call = Call(request.method, str(request.url), dict(request.headers), body)
            answer = platform.handle(call)
            if is_login:
                raise library.ConnectTimeout("the server went away")
            return library.Response(answer.status, content=answer.body)

    auth = httpx_kind.auth(m2m=credentials(), client_options={"transport": Transport()})
    for _ in range(5):
        fails(httpx_kind, auth, platform)
    blocked(httpx_kind, auth, platform)
    assert len(platform.login_calls) == 2
    assert json.loads(platform.login_calls[0].body)["username"] == "the-user"


def test_mock_transport_may_look_at_a_login(httpx_kind: Kind, platform: Platform) -> None:
    library = httpx_kind.library

    def answer(request: Any) -> Any:
        body = request.read() + b""
        call = Call(request.method, str(request.url), dict(request.headers), body)
        answered = platform.handle(call)
        return library.Response(answered.status, content=answered.body)

    mock = library.MockTransport(answer)
    auth = httpx_kind.auth(m2m=credentials(), client_options={"transport": mock})
    assert httpx_kind.fetch_session(auth) == "session-1"
    assert json.loads(platform.login_calls[0].body) == {
        "username": "the-user",
        "password": PASSWORD,
    }


# Healing.


def test_bearer_that_a_login_was_refused_with_is_renewed_whatever_failed_before(
    kind: Kind, platform: Platform, clock: VirtualClock
) -> None:
    auth = kind.auth(platform, m2m=credentials(), oauth_token={"access_token": "dead"})
    platform.logins = [Answer(404), Answer(401)]
    fails(kind, auth, platform)
    # The second failure in a row: no other login now, but another bearer.
    fails(kind, auth, platform)
    assert platform.trail == ["login", "login", "token"]
    clock.advance(5 * MINUTE)
    assert kind.get(auth, API, platform).status == 200
    assert platform.bearers == ["token-1"]


def test_idle_session_that_was_sent_for_lack_of_another_does_not_count_as_used(
    kind: Kind, platform: Platform, any_store: Any, clock: VirtualClock
) -> None:
    """If it is dead in a form that nobody knows, a login follows as soon as one may be tried."""
    auth = kind.auth(platform, m2m=credentials(), store=any_store)
    kind.get(auth, API, platform)
    clock.advance(30 * MINUTE)
    platform.logins = [Answer(404), Answer(404)]
    for _ in range(2):
        with pytest.raises(M2mLoginError):
            kind.fetch_session(auth)
    for _ in range(4):
        platform.api = [Answer(400, {"message": "no"})]
        assert kind.get(auth, API, platform).status == 400
        clock.advance(MINUTE)
    assert len(platform.login_calls) == 3
    clock.advance(MINUTE)
    assert kind.get(auth, API, platform).status == 200
    assert platform.sessions[-1] == "session-2"


def test_count_whose_writing_was_reported_to_fail_and_did_not_bars_nobody(
    kind: Kind, platform: Platform
) -> None:
    store = memory_store()
    write = store.write

    def reported(name: str, content: bytes) -> None:
        write(name, content)
        raise StoreUnavailable("no answer in time")

    auth = kind.auth(platform, m2m=credentials(), store=store)
    store.write = reported
    for _ in range(6):
        assert fails(kind, auth, platform).retryable
    store.write = write
    assert platform.login_calls == []
    assert kind.get(auth, API, platform).status == 200


def test_failed_look_at_the_store_brings_back_nothing_that_was_cleared(
    kind: Kind, platform: Platform
) -> None:
    store = memory_store()
    auth = kind.auth(platform, m2m=credentials(), store=store)
    platform.logins = [login_refusal()]
    fails(kind, auth, platform)
    store.is_down = True
    blocked(kind, auth, platform)
    store.is_down = False
    store.entries.clear()
    logs_in(kind, auth, platform)


def test_failures_of_an_outage_are_added_to_those_of_others(
    kind: Kind, platform: Platform, clock: VirtualClock
) -> None:
    store = memory_store()
    lonely = kind.auth(platform, m2m=credentials(), store=store)
    platform.logins = [Answer(404)] * 9
    store.is_down = True
    for _ in range(2):
        fails(kind, lonely, platform)
    store.is_down = False
    # Meanwhile another process has failed, too.
    entry = lonely._tokens.session_source.lock
    entry.write({"count": [1, clock.wall, []]})
    assert "3 logins in a row failed" in str(blocked(kind, lonely, platform))
    assert json.loads(store.entries[entry.name])["fields"]["count"][0] == 3


def test_outcome_is_kept_although_others_can_read_the_store_by_now(
    kind: Kind, platform: Platform
) -> None:
    from thingspace_auth_adapters import InsecureStoreError

    store = memory_store()
    read = store.read

    def insecure(name: str) -> bytes | None:
        raise InsecureStoreError("others can read it")

    def noted(call: Call, handle: Any = platform.handle) -> Answer:
        if call.path == LOGIN_PATH:
            store.read = insecure
        return handle(call)  # type: ignore[no-any-return]

    platform.handle = noted  # type: ignore[method-assign]
    platform.logins = [login_refusal()]
    auth = kind.auth(platform, m2m=credentials(), store=store)
    fails(kind, auth, platform)
    store.read = read
    assert blocked(kind, auth, platform).status_code == 400
    assert len(platform.login_calls) == 1


def test_looking_at_the_count_adds_nothing_to_it(kind: Kind, platform: Platform) -> None:
    store = memory_store()
    auth = kind.auth(platform, m2m=credentials(), store=store)
    guard = auth._tokens.session_source.guard
    platform.logins = [Answer(404)]
    store.is_down = True
    fails(kind, auth, platform)
    store.is_down = False
    # Another process has failed, too.
    auth._tokens.session_source.lock.write({"count": [1, 1.0, []]})
    assert [guard.count().failures for _ in range(5)] == [2] * 5


def test_success_is_kept_although_the_store_is_out_of_reach_by_then(
    kind: Kind, platform: Platform, clock: VirtualClock
) -> None:
    store = memory_store()
    auth = kind.auth(platform, m2m=credentials(), store=store)

    def down(call: Call, handle: Any = platform.handle) -> Answer:
        store.is_down = call.path == LOGIN_PATH
        return handle(call)  # type: ignore[no-any-return]

    platform.handle = down  # type: ignore[method-assign]
    assert kind.get(auth, API, platform).status == 200
    store.is_down = False
    guard = auth._tokens.session_source.guard
    assert guard.count().failures == 0
    clock.advance(HOUR)
    platform.logins = [Answer(404)]
    fails(kind, auth, platform)
    store.is_down = False
    assert guard.count().failures == 1
