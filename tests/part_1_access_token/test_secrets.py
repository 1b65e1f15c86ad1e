"""The contract, Part 1, rule 12: secrets stay where they are. For every client kind."""

from __future__ import annotations

import base64
import contextlib
import html
import itertools
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from thingspace_auth_adapters import (
    M2mLoginError,
    OauthProviderError,
    OauthToken,
    ThingspaceOauthCredentials,
    VzM2mCredentials,
)

from ..support.kinds import IDENTITY, PASSWORD, SYNC_KINDS, Kind
from ..support.loopback import Loopback, alarm_main_thread, alarm_raises, nobody_listening
from ..support.optional import anyio
from ..support.virtual import (
    API,
    BASE,
    Answer,
    Platform,
    VirtualClock,
    login_refusal,
    refusal,
    session_refusal,
)

BEARER = "b3arer-in-use"
SESSION = "sess10n-in-use"
SECRET = IDENTITY["oauth_client_secret"]
BASIC = base64.b64encode(f"{IDENTITY['oauth_client_id']}:{SECRET}".encode()).decode()
SECRETS = (SECRET, BASIC, PASSWORD, BEARER, SESSION)
PATH = "/api/m2m/v1/devices"

_accounts = itertools.count()


@pytest.fixture(autouse=True)
def _virtual_time(clock: VirtualClock) -> None:
    """So that nobody waits for the pauses between attempts."""


def account(password: str = PASSWORD, **options: Any) -> VzM2mCredentials:
    """An account that no other test logs in to: failed logins are remembered by account."""
    return VzM2mCredentials(f"user-{next(_accounts)}", password, **options)


# Frames, as crash reporters show them. The frames of the user's own request (their script, their
# client's `get`, with the headers that they gave) and of constructor calls are the user's: none of
# them holds a credential here, but for those of the tests themselves.

IN_USE: dict[str, Any] = {"oauth_token": {"access_token": BEARER}}
CALLS: dict[str, Callable[[], dict[str, Any]]] = {
    "request": lambda: {},
    "fetch_token": lambda: {},
    "revoke_token": lambda: IN_USE,
    "request that logs in": lambda: {**IN_USE, "m2m": account()},
    "fetch_vz_m2m_token": lambda: {**IN_USE, "m2m": account()},
    "end_m2m_session": lambda: {**IN_USE, "m2m": account(vz_m2m_token=SESSION)},
}


def call(kind: Kind, name: str, auth: Any, url: str) -> Any:
    if kind.is_async:
        return kind.run(acall, kind, name, auth, url)
    return kind.get(auth, url + PATH) if " " in name or name == "request" else getattr(auth, name)()


async def acall(kind: Kind, name: str, auth: Any, url: str) -> None:
    if " " in name or name == "request":
        async with kind.library.AsyncClient(auth=auth, trust_env=False, verify=False) as client:
            await client.get(url + PATH)
    else:
        await getattr(auth, "a" + name)()


def endpoint_that(failure: Answer) -> Platform:
    platform = Platform()
    platform.tokens = [failure] * 20
    platform.logins = [failure] * 20
    platform.logouts = [failure] * 20
    return platform


FAILURES: dict[str, Any] = {
    "lost": Answer(failure="lost"),
    "no connection": None,
    "refused": Answer(400, {"error": "invalid_client", "errorCode": "X.REQUEST_FAILED.No"}),
    "no answer of the kind": Answer(200, b"<html>"),
}


def failed_call(kind: Kind, name: str, failure: Answer | None) -> BaseException:
    """What a call raises whose endpoint fails in this way."""
    if failure is None:
        with nobody_listening() as url, pytest.raises(kind.request_error) as refused:
            call(kind, name, kind.auth(base_url=url, **CALLS[name]()), url)
        return refused.value
    with Loopback(endpoint_that(failure)) as server:
        auth = kind.auth(base_url=server.url, **CALLS[name]())
        with pytest.raises(kind.request_error) as caught:
            call(kind, name, auth, server.url)
    return caught.value


@pytest.mark.parametrize("failure", list(FAILURES))
@pytest.mark.parametrize("name", list(CALLS))
def test_no_frame_of_a_failed_call_shows_a_secret(kind: Kind, name: str, failure: str) -> None:
    if name == "end_m2m_session" and failure == "no answer of the kind":
        pytest.skip("a logout's answer is not looked at")
    if name == "revoke_token" and failure == "no answer of the kind":
        pytest.skip("a revocation's answer has no body")
    error = failed_call(kind, name, FAILURES[failure])
    assert leaks(error) == []
    assert error.__context__ is None
    assert error.__cause__ is None


class Interrupt(KeyboardInterrupt):
    """Ctrl-C, or what a time limit raises."""


@pytest.mark.parametrize("name", list(CALLS))
def test_no_frame_of_an_interrupted_call_shows_a_secret(sync_kind: Kind, name: str) -> None:
    interrupt = Interrupt()
    with alarm_raises(interrupt), Loopback(endpoint_that(Answer(failure="held"))) as server:
        server.on_held = alarm_main_thread
        auth = sync_kind.auth(base_url=server.url, **CALLS[name]())
        with pytest.raises(Interrupt) as caught:
            call(sync_kind, name, auth, server.url)
    assert caught.value is interrupt
    assert leaks(interrupt) == []


@pytest.mark.parametrize("name", list(CALLS))
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
            # A login that was sent goes on, and on trio its caller waits for it.
            server.release()

    with Loopback(endpoint_that(Answer(failure="held"))) as server:
        auth = async_kind.auth(base_url=server.url, **CALLS[name]())
        with contextlib.suppress(async_kind.request_error):  # the login's own failure
            async_kind.run(main, auth)
    (error,) = ended
    assert leaks(error) == []


@pytest.mark.parametrize(
    ("name", "failure"),
    [
        ("request", "lost"),
        ("revoke_token", "lost"),
        ("request that logs in", "no connection"),
        ("request that logs in", "lost"),
    ],
)
def test_sentrys_own_serializer_shows_no_secret(kind: Kind, name: str, failure: str) -> None:
    utils: Any = pytest.importorskip("sentry_sdk.utils")
    event, _ = utils.event_from_exception(failed_call(kind, name, FAILURES[failure]))
    frames = [
        frame
        for value in event["exception"]["values"]
        for frame in value["stacktrace"]["frames"]
        if not is_of_the_tests(frame["abs_path"])
    ]
    assert frames
    shown = json.dumps([frame["vars"] for frame in frames])
    assert [secret for secret in SECRETS if secret in shown] == []


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
    return Path(filename).parent == Path(__file__).parent


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


# A server's words, in whatever escaping it quotes what it was told.

# Its letters outlast every escaping, so each of the parts shows whether it leaked.
QUOTABLE = "pAss&w/\"Ord'+é<tAil>\\eNd"
PARTS = ("pAss", "Ord", "tAil", "eNd")


def as_code_units(pattern: str) -> str:
    return "".join(c if c.isalnum() and c.isascii() else pattern % ord(c) for c in QUOTABLE)


ESCAPED = {
    "plain": QUOTABLE,
    "json": json.dumps(QUOTABLE)[1:-1],
    "json in json": json.dumps(json.dumps(QUOTABLE))[1:-1],
    "json with umlauts": json.dumps(QUOTABLE, ensure_ascii=False)[1:-1],
    "json with slashes": json.dumps(QUOTABLE)[1:-1].replace("/", "\\/"),
    "json for html": as_code_units("\\u%04x"),
    "json in capitals": as_code_units("\\u%04X"),
    "javascript": as_code_units("\\x%02x"),
    "html": html.escape(QUOTABLE),
    "html without quotes": html.escape(QUOTABLE, quote=False),
    "html in html": html.escape(html.escape(QUOTABLE)),
    "html by number": as_code_units("&#%d;"),
    "html by hexadecimal": as_code_units("&#x%x;"),
    "percent": quote(QUOTABLE, safe=""),
    "percent but slashes": quote(QUOTABLE),
    "percent, small": as_code_units("%%%02x").replace("%e9", "%c3%a9"),
    "percent twice": quote(quote(QUOTABLE, safe=""), safe=""),
    "form": quote_plus(QUOTABLE),
    "python": repr(QUOTABLE),
}


@pytest.mark.parametrize("escaping", list(ESCAPED))
def test_quoted_password_is_not_quoted_again(
    kind: Kind, platform: Platform, escaping: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    words = f"no such password: {ESCAPED[escaping]} (of the user)"
    platform.logins = [Answer(400, {"errorCode": "X.REQUEST_FAILED.No", "errorMessage": words})]
    auth = kind.auth(platform, m2m=account(QUOTABLE))
    with pytest.raises(M2mLoginError) as caught:
        kind.get(auth, API, platform)
    told = f"{caught.value} {caught.value!r} {vars(caught.value)} {caplog.text}"
    assert [part for part in PARTS if part in told] == []
    assert "withheld" in str(caught.value)


@pytest.mark.parametrize("escaping", list(ESCAPED))
def test_quoted_client_secret_is_not_quoted_again(
    kind: Kind, platform: Platform, escaping: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    words = f"no such client: {ESCAPED[escaping]} (of the key)"
    platform.tokens = [Answer(400, {"error": "invalid_client", "error_description": words})]
    with pytest.raises(OauthProviderError) as caught:
        kind.get(kind.auth(platform, oauth_client_secret=QUOTABLE), API, platform)
    told = f"{caught.value} {caught.value!r} {vars(caught.value)} {caplog.text}"
    assert [part for part in PARTS if part in told] == []
    assert "withheld" in str(caught.value)


def test_long_words_are_not_cut_within_a_secret(platform: Platform) -> None:
    """Whoever quotes them: the words are cut where the clients are not known."""
    kind = SYNC_KINDS[-1]
    secret = "pAss" * 16
    auth = kind.auth(platform, oauth_client_secret=secret)
    shortened = 0
    for length in range(0, 1200, 29):
        words = "x" * length + secret + "q" * 2000
        platform.tokens = [Answer(400, {"error": "no", "error_description": words})]
        with pytest.raises(OauthProviderError) as caught:
            kind.fetch_token(auth)
        told = f"{caught.value} {caught.value.error_description}"
        assert "pAss" not in told
        shortened += "q" not in told
    assert shortened, "this text was never cut near the secret: make it longer"


def test_servers_words_have_no_control_characters(kind: Kind, platform: Platform) -> None:
    words = "no\r\nforged: line\x1b[31m\x9b2J\u2028\x00\u202e"
    platform.tokens = [Answer(400, {"error": words, "error_description": words})]
    with pytest.raises(OauthProviderError) as caught:
        kind.get(kind.auth(platform), API, platform)
    assert str(caught.value).isprintable()
    platform.logins = [Answer(400, {"errorCode": words, "errorMessage": words})]
    with pytest.raises(M2mLoginError) as refused:
        kind.get(kind.auth(platform, m2m=account()), API, platform)
    assert str(refused.value).isprintable()


# What is no UTF-8: a Latin-1 byte in an environment variable, for one.

NOT_UTF8 = "hush-\udcff-hush"


def assert_named_and_hidden(error: BaseException, name: str) -> None:
    assert not isinstance(error, UnicodeError)
    assert name in str(error)
    for one in chain(error):
        assert "hush" not in f"{one} {one!r} {vars(one)} {getattr(one, 'object', '')!r}"


WHERE_IT_MAY_STAND: dict[str, Callable[[], dict[str, Any]]] = {
    "oauth_client_id": lambda: {"oauth_client_id": NOT_UTF8},
    "oauth_client_secret": lambda: {"oauth_client_secret": NOT_UTF8},
    "oauth_token": lambda: {"oauth_token": {"access_token": NOT_UTF8}},
    "username": lambda: {"m2m": VzM2mCredentials(NOT_UTF8, "x")},
    "password": lambda: {"m2m": VzM2mCredentials("x", NOT_UTF8)},
    "vz_m2m_token": lambda: {"m2m": VzM2mCredentials("x", "y", vz_m2m_token=NOT_UTF8)},
    "m2m": lambda: {"m2m": NOT_UTF8},
    # No secrets: their messages may show what is wrong with them, escaped.
    "oauth_scopes": lambda: {"oauth_scopes": [NOT_UTF8]},
    "base_url": lambda: {"base_url": f"https://{NOT_UTF8}.example"},
    "allowed_hosts": lambda: {"allowed_hosts": [f"{NOT_UTF8}.example"]},
}


@pytest.mark.parametrize("name", list(WHERE_IT_MAY_STAND))
def test_what_is_no_utf8_is_named_at_construction(sync_kind: Kind, name: str) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        sync_kind.auth(**WHERE_IT_MAY_STAND[name]())
    if name in ("oauth_scopes", "base_url", "allowed_hosts"):
        assert not isinstance(caught.value, UnicodeError)
        assert name in str(caught.value)
        assert str(caught.value).isprintable()
    else:
        assert_named_and_hidden(caught.value, name)


@pytest.mark.skipif(os.name != "posix", reason="elsewhere the environment is text")
def test_what_is_no_utf8_in_the_environment_is_named(
    sync_kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THINGSPACE_OAUTH_OAUTH_CLIENT_ID", "id")
    monkeypatch.setenv("THINGSPACE_OAUTH_OAUTH_CLIENT_SECRET", NOT_UTF8)
    monkeypatch.setenv("VZ_M2M_USERNAME", "user")
    monkeypatch.setenv("VZ_M2M_PASSWORD", NOT_UTF8)
    with pytest.raises(ValueError, match=r"(?i)client_secret") as caught:
        sync_kind.adapter.ThingspaceAuth(ThingspaceOauthCredentials.from_environment())
    assert_named_and_hidden(caught.value, "")
    with pytest.raises(ValueError, match=r"(?i)password") as no_account:
        sync_kind.auth(m2m=VzM2mCredentials.from_environment())
    assert_named_and_hidden(no_account.value, "")


# Entries of a store that somebody else wrote.

FORGED = "\r\nforged: line\x1b[31m\x9b2J\u2028\x00"


def tampered(entry: bytes) -> Iterator[bytes]:
    """An entry with hostile text in the place of each of its texts, and of the whole."""
    yield FORGED.encode()
    yield json.dumps(FORGED).encode()
    try:
        fields = json.loads(entry)
    except ValueError:
        return
    for path in list(texts_of(fields)):
        changed = json.loads(entry)
        inner = changed
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = FORGED
        yield json.dumps(changed).encode()


def texts_of(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, str) and path:
        yield path
    elif isinstance(value, (dict, list)):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from texts_of(item, (*path, key))


@pytest.mark.parametrize("login", [None, login_refusal()], ids=["session", "refused login"])
def test_text_of_a_tampered_entry_is_quoted_without_control_characters(
    kind: Kind,
    platform: Platform,
    login: Answer | None,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    pytest.importorskip("filelock")
    from thingspace_auth_adapters.stores import FileTokenStore

    caplog.set_level(logging.DEBUG, "thingspace_auth_adapters")
    m2m = account()
    directory = tmp_path / "store"

    def request() -> str:
        platform.logins = [] if login is None else [login]
        auth = kind.auth(platform, m2m=m2m, store=FileTokenStore(directory))
        try:
            kind.get(auth, API, platform)
        except M2mLoginError as error:
            return str(error)
        return ""

    messages = [request()]
    entries = [path for path in directory.rglob("*") if path.is_file() and path.stat().st_size]
    assert entries
    for path in entries:
        before = path.read_bytes()
        for content in tampered(before):
            path.write_bytes(content)
            messages.append(request())
        path.write_bytes(before)
    messages += [record.getMessage() for record in caplog.records]
    assert [text for text in messages if not text.isprintable()] == []


# All the rest that may be printed.


def test_logs_of_both_tokens_never_show_a_secret(
    kind: Kind, platform: Platform, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "thingspace_auth_adapters")
    auth = kind.auth(platform, m2m=account(), oauth_clock_skew=60)
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
    assert len(ours) >= 4
    # Arguments and extra fields included: a handler may print those as well.
    printed = "\n".join(record.getMessage() + shown(vars(record)) for record in ours)
    used = [f"{word}-{number}" for word in ("token", "session") for number in range(1, 6)]
    assert [secret for secret in (*SECRETS, *used) if secret in printed] == []


def test_reprs_show_no_secret(kind: Kind, platform: Platform) -> None:
    token = OauthToken(BEARER, "Bearer", refresh_token=SESSION)
    credentials = ThingspaceOauthCredentials(**IDENTITY, oauth_token=token)
    m2m = account(vz_m2m_token=SESSION)
    auth = kind.auth(platform, thingspace_oauth_credentials=credentials, m2m=m2m)
    kind.get(auth, API, platform)
    for value in (token, credentials, m2m, auth):
        printed = f"{value} {value!r} {[value]} {(value,)!r} {{'x': {value!r}}}"
        assert [secret for secret in SECRETS if secret in printed] == []
    assert BASE in repr(auth)
