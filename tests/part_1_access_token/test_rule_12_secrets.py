"""Part 1, rule 12: no error, frame, log record or repr shows a secret."""

from __future__ import annotations

import base64
import functools
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import pytest

from thingspace_auth_adapters import (
    M2mLoginError,
    OauthToken,
    ThingspaceOauthCredentials,
)
from thingspace_auth_adapters._adapters.case import Case, Outgoing

from ..support.frames import frames_of_ours
from ..support.kinds import IDENTITY, PASSWORD, Kind
from ..support.logins import credentials
from ..support.loopback import Loopback, alarm_main_thread, alarm_raises, nobody_listening
from ..support.optional import anyio
from ..support.virtual import (
    API,
    BASE,
    GATEWAY_REFUSAL,
    Answer,
    Platform,
    VirtualClock,
    login_refusal,
    refusal,
    session_refusal,
)

# So that nobody waits for the pauses between attempts.
pytestmark = pytest.mark.usefixtures("clock")

BEARER = "b3arer-in-use"
SESSION = "sess10n-in-use"
SECRET = IDENTITY["oauth_client_secret"]
BASIC = base64.b64encode(f"{IDENTITY['oauth_client_id']}:{SECRET}".encode()).decode()
ISSUED = [f"{word}-{number}" for word in ("token", "session") for number in range(1, 6)]
SECRETS = (SECRET, BASIC, PASSWORD, "p4ssw0rd%26more", BEARER, SESSION, *ISSUED)
PATH = "/api/m2m/v1/devices"


def leaks(error: BaseException) -> list[tuple[str, str, str]]:
    """Where an exception shows a secret: file, function, and name of the local variable."""
    found = []
    for one in chain(error):
        own = f"{one} {one!r} {vars(one)}"
        found += [("the exception itself", type(one).__name__, s) for s in SECRETS if s in own]
        traceback = one.__traceback__
        while traceback is not None:
            frame, traceback = traceback.tb_frame, traceback.tb_next
            if is_of_the_tests(frame.f_code.co_filename):
                continue
            for name, value in dict(frame.f_locals).items():
                text = shown(value)
                if any(secret in text for secret in SECRETS):
                    found.append((frame.f_code.co_filename, frame.f_code.co_name, name))
    return found


def chain(error: BaseException | None, seen: tuple[int, ...] = ()) -> Iterator[BaseException]:
    """An exception, its causes and contexts, and the members of groups."""
    if error is None or id(error) in seen:
        return
    yield error
    for other in (error.__cause__, error.__context__, *getattr(error, "exceptions", ())):
        yield from chain(other, (*seen, id(error)))


def is_of_the_tests(filename: str) -> bool:
    return Path(filename).is_relative_to(Path(__file__).parents[1])


def shown(value: object, depth: int = 5) -> str:
    """A local variable as Sentry renders it: containers item by item, the rest by its repr."""
    if depth and isinstance(value, Mapping):
        return " ".join(f"{key!r} {shown(value[key], depth - 1)}" for key in list(value))
    is_text = isinstance(value, (str, bytes, bytearray, memoryview))
    if depth and isinstance(value, (Sequence, Set)) and not is_text:
        return " ".join(shown(item, depth - 1) for item in list(value))
    try:
        return repr(value)
    except Exception:
        return ""


# Calls of endpoints over sockets. The frames of the user's own request (their script, their
# client's `get`, with the headers that they gave) and of constructor calls are the user's: none of
# them holds a credential here, but for those of the tests themselves.

IN_USE: dict[str, Any] = {"oauth_token": {"access_token": BEARER}}
CALLS: dict[str, Callable[[], dict[str, Any]]] = {
    "request": lambda: {},
    "fetch_token": lambda: {},
    "revoke_token": lambda: IN_USE,
    "request that logs in": lambda: {**IN_USE, "m2m": credentials()},
    "fetch_vz_m2m_token": lambda: {**IN_USE, "m2m": credentials()},
    "end_m2m_session": lambda: {**IN_USE, "m2m": credentials(vz_m2m_token=SESSION)},
}
ARGUMENTS: dict[str, tuple[Any, ...]] = {"fetch_token": ({"client_assertion": PASSWORD},)}
each_call = pytest.mark.parametrize("name", CALLS)


def call(kind: Kind, name: str, auth: Any, url: str) -> Any:
    if kind.is_async:
        return kind.run(acall, kind, name, auth, url)
    if "request" in name:
        return kind.get(auth, url + PATH)
    return getattr(auth, name)(*ARGUMENTS.get(name, ()))


async def acall(kind: Kind, name: str, auth: Any, url: str) -> None:
    if "request" in name:
        async with kind.library.AsyncClient(auth=auth, trust_env=False, verify=False) as client:
            await client.get(url + PATH)
    else:
        await getattr(auth, "a" + name)(*ARGUMENTS.get(name, ()))


def endpoint_that(failure: Answer) -> Loopback:
    platform = Platform()
    platform.tokens = [failure] * 20
    platform.logins = [failure] * 20
    platform.logouts = [failure] * 20
    return Loopback(platform)


LOST = Answer(failure="lost")
REFUSED = Answer(400, {"error": "invalid_client", "errorCode": "X.REQUEST_FAILED.No"})
UNREADABLE = Answer(200, b"<html>")


@pytest.mark.parametrize(
    ("name", "failure"),
    [
        *((name, failure) for name in CALLS for failure in (LOST, None, REFUSED)),
        # The answers to a logout and to a revocation have no body that is looked at.
        *((name, UNREADABLE) for name in CALLS if name not in ("revoke_token", "end_m2m_session")),
    ],
)
def test_no_frame_of_a_failed_call_shows_a_secret(
    kind: Kind, name: str, failure: Answer | None
) -> None:
    endpoint: Any = nobody_listening() if failure is None else endpoint_that(failure)
    with endpoint as server, pytest.raises(kind.request_error) as caught:
        url = getattr(server, "url", server)
        call(kind, name, kind.auth(base_url=url, **CALLS[name]()), url)
    assert leaks(caught.value) == []
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None


class Interrupt(KeyboardInterrupt):
    """Ctrl-C, or what a time limit raises."""


@each_call
def test_no_frame_of_an_interrupted_call_shows_a_secret(sync_kind: Kind, name: str) -> None:
    interrupt = Interrupt()
    with alarm_raises(interrupt), endpoint_that(Answer(failure="held")) as server:
        server.on_held = alarm_main_thread
        auth = sync_kind.auth(base_url=server.url, **CALLS[name]())
        with pytest.raises(Interrupt) as caught:
            call(sync_kind, name, auth, server.url)
    assert caught.value is interrupt
    assert leaks(interrupt) == []


@each_call
def test_no_frame_of_a_cancelled_call_shows_a_secret(async_kind: Kind, name: str) -> None:
    ended: list[BaseException] = []

    async def call_it(auth: Any) -> None:
        try:
            await acall(async_kind, name, auth, server.url)
        except BaseException as error:
            ended.append(error)
            raise

    async def main(auth: Any) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(call_it, auth)
            while not server.held.is_set():
                await anyio.sleep(0.002)
            group.cancel_scope.cancel()

    with endpoint_that(Answer(failure="held")) as server:
        auth = async_kind.auth(base_url=server.url, **CALLS[name]())
        async_kind.run(main, auth)
    (error,) = ended
    assert not isinstance(error, Exception)
    assert leaks(error) == []


def test_no_frame_of_a_failed_recovery_shows_what_was_sent(kind: Kind, platform: Platform) -> None:
    def tell(token: Any) -> None:
        raise LookupError("disk full")

    auth = kind.auth(platform, **IN_USE, oauth_on_token_update=kind.callback(tell))
    with pytest.raises(LookupError) as caught:
        kind.recover(auth, kind.headers(auth, API), 401, GATEWAY_REFUSAL)
    # What runs the event loop holds the arguments: those frames are the user's.
    assert BEARER not in frames_of_ours(caught.value)


@pytest.mark.parametrize(
    ("name", "bad", "told"),
    [
        ("sent_headers", [BEARER], "sent_headers must be a dict, not list"),
        ("headers", b"", "headers must be a dict, not bytes: decode()"),
        ("url", "/devices", "url must have a scheme and a host"),
        ("method", None, "method must be a str, not NoneType"),
        ("status", "401", "status must be an int, not str"),
        ("body", "text", "body must be bytes, not str"),
    ],
)
def test_mistake_in_a_recovery_is_named_and_no_frame_shows_what_was_sent(
    kind: Kind, platform: Platform, name: str, bad: object, told: str
) -> None:
    auth = kind.auth(platform, **IN_USE)
    recover: Any = auth.recover
    arguments: dict[str, Any] = {
        "url": API,
        "sent_headers": {"Authorization": f"Bearer {BEARER}"},
        "method": "GET",
        "status": 401,
        "headers": {},
        "body": b"",
        name: bad,
    }
    if kind.is_async:
        recover = functools.partial(kind.run, functools.partial(auth.arecover, **arguments))
        arguments = {}
    with pytest.raises((TypeError, ValueError), match=re.escape(told)) as caught:
        recover(**arguments)
    assert BEARER not in frames_of_ours(caught.value)
    assert platform.calls == []


# Whatever an endpoint answers, quoted or not.

TELLTALE = f"{SECRET} {BASIC} {PASSWORD} p4ssw0rd%26more token-1 \r\nforged"


def token_with(**fields: Any) -> Answer:
    return Answer(200, {"access_token": "token-2", **fields})


FAILED_TOKENS = [
    [Answer(401, {"error": "invalid_client"})],
    [Answer(400, {"error": "x", "error_description": TELLTALE})],
    [token_with(token_type="mac")],
    [token_with(access_token="token-2\n")],
    [token_with(expires_in="soon")],
    [token_with(expires_in=0)] * 9,
    [Answer(503, b"down")] * 9,
    *([Answer(failure=failure)] * 9 for failure in ("connect", "read timeout")),
    *([Answer(failure=failure)] for failure in ("certificate", "unsupported")),
]
FAILED_LOGINS = [
    [Answer(400, {"errorCode": TELLTALE, "errorMessage": TELLTALE})],
    [Answer(400, {"fault": {"code": TELLTALE, "message": TELLTALE}})],
    [Answer(503, {"errorCode": TELLTALE})] * 2,
    [Answer(200, {"sessionToken": "session-1\n"})] * 2,
    [Answer(failure="read timeout")] * 2,
    [Answer(failure="connect timeout")] * 9,
    [Answer(failure="certificate")],
    [refusal(), refusal()],
]
FAILED_LOGOUTS = [
    [Answer(400, {"errorMessage": f"session-1 {TELLTALE}"})],
    [Answer(failure="connect timeout")] * 9,
]


def fail_at(kind: Kind, auth: Any, platform: Platform, place: str, answers: list[Answer]) -> Any:
    """The error of what needs this endpoint, which knows the call, but not what that carried."""
    if place == "logouts":
        kind.get(auth, API, platform)
    setattr(platform, place, list(answers))
    with pytest.raises(kind.request_error) as caught:
        kind.end_session(auth) if place == "logouts" else kind.get(auth, API, platform)
    return caught.value


@pytest.mark.parametrize(
    ("place", "answers"),
    [
        *(("tokens", answers) for answers in FAILED_TOKENS),
        *(("logins", answers) for answers in FAILED_LOGINS),
        *(("logouts", answers) for answers in FAILED_LOGOUTS),
    ],
)
def test_no_failure_shows_a_secret(
    kind: Kind,
    platform: Platform,
    place: str,
    answers: list[Answer],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    auth = kind.auth(platform, m2m=credentials())
    error = fail_at(kind, auth, platform, place, answers)
    assert leaks(error) == []
    assert [secret for secret in SECRETS if secret in caplog.text + repr(auth)] == []
    assert "\n" not in str(error)


# All the rest that may be printed.


def test_logs_of_both_tokens_say_what_happened_and_no_secret(
    kind: Kind, platform: Platform, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "thingspace_auth_adapters")
    auth = kind.auth(platform, m2m=credentials(), oauth_clock_skew=60)
    platform.tokens = [Answer(503), platform.new_token()]
    platform.api = [Answer(200), refusal(), Answer(200), session_refusal()]
    for _ in range(3):
        kind.get(auth, API, platform)
    clock.advance(3550)
    platform.tokens = [Answer(503)]
    kind.get(auth, API, platform)
    kind.end_session(auth)
    platform.logins = [login_refusal()]
    with pytest.raises(M2mLoginError):
        kind.get(auth, API, platform)
    kind.revoke_token(auth)
    ours = [record for record in caplog.records if record.name == "thingspace_auth_adapters"]
    texts = [record.getMessage() for record in ours]
    assert "a new session token was fetched" in texts
    assert "the session token was rejected (certain)" in texts
    # Arguments and extra fields included: a handler may print those as well.
    printed = "\n".join([*texts, *(shown(vars(record)) for record in ours)])
    assert [secret for secret in SECRETS if secret in printed] == []


def test_reprs_show_no_secret(kind: Kind, platform: Platform) -> None:
    token = OauthToken(BEARER, "Bearer", refresh_token=SESSION)
    given = ThingspaceOauthCredentials(**IDENTITY, oauth_token=token)
    m2m = credentials(vz_m2m_token=SESSION)
    auth = kind.auth(platform, thingspace_oauth_credentials=given, m2m=m2m)
    kind.get(auth, API, platform)
    # Those whose name holds their secret, as if both were pasted into one field, and what stands
    # in for a library's requests.
    pasted = ThingspaceOauthCredentials(f"the-key {SECRET}", SECRET)
    sent = Outgoing(None, API, "GET", {"authorization": f"Bearer {BEARER}"}, None)
    bearer = ("Authorization", auth._tokens.bearers)
    case = Case(sent, (bearer,), bearer, True, 401, None)
    assert case.value == f"Bearer {BEARER}"
    for value in (token, given, m2m, auth, pasted, credentials(f"user {PASSWORD}"), sent, case):
        printed = f"{value} {value!r} {[value]} {(value,)!r} {{'x': {value!r}}}"
        assert [secret for secret in SECRETS if secret in printed] == []
    assert BASE in repr(auth)
    assert "'the-user'" in repr(m2m)
    assert "'the-key'" in repr(given)
