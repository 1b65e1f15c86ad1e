"""Part 1, names and options: a mistake is one error that names it and says what to write instead.

It names ``ThingspaceAuth``, never an internal class, and the argument; it shows no secret, and one
frame of ours. Mistakes in an account are in Part 2, test_m2m_credentials.
"""

from __future__ import annotations

import functools
import traceback
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable

import pytest

import thingspace_auth_adapters
from thingspace_auth_adapters import OauthToken, ThingspaceOauthCredentials, VzM2mCredentials
from thingspace_auth_adapters.stores import FileTokenStore

from ..support.kinds import IDENTITY, SYNC_KINDS, Kind
from ..support.virtual import API, BASE, Platform

SECRET = IDENTITY["oauth_client_secret"]
PACKAGE = str(Path(thingspace_auth_adapters.__file__).parent)
BLOCKING_HTTPX = [kind for kind in SYNC_KINDS if not kind.is_requests]
FIELDS = (
    "oauth_client_id",
    "oauth_client_secret",
    "oauth_token",
    "oauth_scopes",
    "oauth_token_provider",
    "oauth_on_token_update",
    "oauth_clock_skew",
)

# What these take is not checked here by mypy.
NOTHING: Any = None
CREDENTIALS: Any = ThingspaceOauthCredentials
ACCOUNT: Any = VzM2mCredentials
TOKEN: Any = OauthToken


def our_frames(error: BaseException) -> list[str]:
    frames = traceback.extract_tb(error.__traceback__)
    # The tests' own modules are not of ours, though their directory's name may say so.
    return [
        f"{one.filename}:{one.name}"
        for one in frames
        if one.filename.startswith(PACKAGE) and "/tests/" not in one.filename
    ]


def mistake(error: type[Exception], make: Callable[[], object], *words: str) -> None:
    """The one clear error that ``make`` raises, which says each of the words."""
    with pytest.raises((TypeError, ValueError)) as caught:
        make()
    message = str(caught.value)
    assert type(caught.value) is error, message
    assert [word for word in ("ThingspaceAuth", *words) if word not in message] == []
    assert "TokenManager" not in message
    assert SECRET not in message
    assert message.isprintable()
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    assert len(our_frames(caught.value)) == 1
    trace: Any = caught.value.__traceback__
    while trace.tb_next is not None:
        trace = trace.tb_next
    assert SECRET not in repr(trace.tb_frame.f_locals)


# What stands where the credentials belong.

NOT_CREDENTIALS: dict[str, Any] = {
    "string": "the-key",
    "dict": IDENTITY,
    "tuple": tuple(IDENTITY.values()),
    "list": list(IDENTITY.values()),
    "number": 7,
    "bytes": b"the-key",
    "m2m account": VzM2mCredentials("user", SECRET),
}


@pytest.mark.parametrize("name", [*NOT_CREDENTIALS, "auth object"])
def test_what_is_no_credentials_is_named(sync_kind: Kind, name: str) -> None:
    auth_type = sync_kind.adapter.ThingspaceAuth
    value = sync_kind.auth() if name == "auth object" else NOT_CREDENTIALS[name]
    words = ("thingspace_oauth_credentials", "ThingspaceOauthCredentials")
    mistake(TypeError, lambda: auth_type(value), *words)
    mistake(TypeError, lambda: auth_type(thingspace_oauth_credentials=value), *words)


class Unset:
    """As the official SDK's credentials: no annotations, and a getter that has nothing."""

    oauth_client_id = "the-key"
    oauth_client_secret = None


@pytest.mark.parametrize(
    ("args", "kwargs", "name"),
    [
        ((None,), {}, "oauth_client_id"),
        ((), {"oauth_client_id": "the-key"}, "oauth_client_secret"),
        ((), {"oauth_client_secret": SECRET}, "oauth_client_id"),
        ((), {"oauth_client_id": "the-key", "oauth_client_secret": None}, "oauth_client_secret"),
        ((Unset(),), {}, "oauth_client_secret"),
        ((ThingspaceOauthCredentials(NOTHING, SECRET),), {}, "oauth_client_id"),
        ((), {"m2m": VzM2mCredentials("user", SECRET)}, "oauth_client_id"),
    ],
)
def test_what_is_forgotten_is_named(
    sync_kind: Kind, args: Any, kwargs: dict[str, Any], name: str
) -> None:
    mistake(TypeError, lambda: sync_kind.adapter.ThingspaceAuth(*args, **kwargs), name)


@pytest.mark.parametrize("name", FIELDS)
def test_the_two_forms_do_not_mix(sync_kind: Kind, name: str) -> None:
    make, credentials = sync_kind.adapter.ThingspaceAuth, ThingspaceOauthCredentials(**IDENTITY)
    value = {**IDENTITY, "oauth_clock_skew": 5}.get(name, "read")
    words = ("thingspace_oauth_credentials", name)
    mistake(TypeError, lambda: make(credentials, **{name: value}), *words)


def test_fields_by_position_are_named(sync_kind: Kind) -> None:
    make = sync_kind.adapter.ThingspaceAuth
    words = ("ThingspaceAuth: by position ", "write oauth_client_id=…")
    mistake(TypeError, lambda: make("the-key", SECRET), *words)


# What no argument can be.

INFINITE = float("inf")
NAN = float("nan")
BAD: list[tuple[str, type[Exception], list[Any]]] = [
    ("oauth_client_id", ValueError, ["", "  ", "a:b", "a\nb", "a\x00b"]),
    ("oauth_client_id", TypeError, [7, b"x", ["x"]]),
    ("oauth_client_secret", ValueError, ["", "  ", SECRET + "\n", SECRET + "\x00"]),
    ("oauth_client_secret", TypeError, [7, [SECRET]]),
    ("oauth_token", ValueError, [{"token_type": "Bearer"}, {"access_token": SECRET + "\r\n"}]),
    ("oauth_token", TypeError, [SECRET, 7, {"access_token": 7}]),
    ("oauth_scopes", ValueError, [["read write"], [""], ['"read"']]),
    ("oauth_scopes", TypeError, [7, b"read", ["read", None]]),
    ("oauth_token_provider", TypeError, ["provider", {}]),
    ("oauth_on_token_update", TypeError, ["callback", 7]),
    ("oauth_clock_skew", ValueError, [-1, INFINITE, NAN]),
    ("oauth_clock_skew", TypeError, ["soon", True, [60], ""]),
    ("timeout", ValueError, [0, -1, INFINITE, NAN]),
    ("timeout", TypeError, [None, "soon", True, (5, 30)]),
    ("base_url", ValueError, ["", "thingspace.verizon.com", BASE + "/?x=1", "https://"]),
    ("base_url", ValueError, [BASE + "/api/ts/v1/oauth2/token", "https:///api"]),
    ("base_url", ValueError, [f"https://user:{SECRET}@x.example", "http://thingspace.verizon.com"]),
    ("base_url", TypeError, [None, 7, BASE.encode()]),
    ("allowed_hosts", ValueError, [[], [""], ["*."], ["thingspace.verizon.com", "*"]]),
    ("allowed_hosts", ValueError, [["*.0.0.1"], ["*.127.0.0.1"], ["a:x"]]),
    ("allowed_hosts", TypeError, ["a.example", b"a.example", 7, [7], [None], [b"a.example"]]),
    ("m2m", TypeError, [7, b"x", object(), ["user", SECRET], True]),
    ("m2m", ValueError, ["", " ", "a b", "a\r\nX: y", SECRET + " ", SECRET + "\n"]),
    ("store", TypeError, [{}, 7, object, True]),
]
CASES = [
    pytest.param(name, error, value, id=f"{name}-{error.__name__}-{number}")
    for name, error, values in BAD
    for number, value in enumerate(values)
]


@pytest.mark.parametrize(("name", "error", "value"), CASES)
def test_bad_argument_is_named(
    sync_kind: Kind, name: str, error: type[Exception], value: Any
) -> None:
    arguments = {**IDENTITY, name: value}
    mistake(error, lambda: sync_kind.adapter.ThingspaceAuth(**arguments), name)


# What was meant.


class SecretStr:
    """As pydantic's."""

    def __init__(self, value: str) -> None:
        self._value = value

    def get_secret_value(self) -> str:
        return self._value


def from_vault(last: object, *, password: str) -> None:
    """A provider that lacks a parameter."""


MEANT: dict[str, tuple[dict[str, Any], list[str]]] = {
    "nothing": ({}, ["credentials are missing", "oauth_client_id=…", "from_environment()"]),
    "client_id": ({"client_id": "x", "client_secret": SECRET}, ["'oauth_client_id'"]),
    "client_secret": ({**IDENTITY, "client_secret": SECRET}, ["'oauth_client_secret'"]),
    "misspelt": (
        {**IDENTITY, "oauth_client_secert": SECRET},
        ["'oauth_client_secert'", "'oauth_client_secret'"],
    ),
    "scope": ({**IDENTITY, "scope": "read"}, ["'oauth_scopes'"]),
    "base_uri": ({**IDENTITY, "base_uri": BASE}, ["'base_url'"]),
    "url": ({**IDENTITY, "url": BASE}, ["'base_url'"]),
    "hosts": ({**IDENTITY, "hosts": []}, ["'allowed_hosts'"]),
    "user name": ({**IDENTITY, "username": "u", "password": SECRET}, ["m2m=VzM2mCredentials("]),
    "anything": ({**IDENTITY, "xyzzy": SECRET}, ["there is no argument 'xyzzy'"]),
    "wrapped secret": (
        {**IDENTITY, "oauth_client_secret": SecretStr(SECRET)},
        ["oauth_client_secret must be a str, not SecretStr", "get_secret_value()"],
    ),
    "bytes": (
        {**IDENTITY, "oauth_client_secret": SECRET.encode()},
        ["oauth_client_secret must be a str, not bytes", "decode()"],
    ),
    "key": ({"key": "x", "secret": SECRET}, ["'oauth_client_id'"]),
    "no name at all": ({**IDENTITY, "": SECRET}, ["there is no argument ''"]),
    "type of a number": ({**IDENTITY, "timeout": int}, ["timeout must be a number of seconds"]),
    "path": ({**IDENTITY, "base_url": BASE + "/api"}, ["base_url", BASE]),
    "any host": ({**IDENTITY, "allowed_hosts": ["*"]}, ["allowed_hosts", "*.domain"]),
    "host's URL": (
        {**IDENTITY, "allowed_hosts": ["https://a.example"]},
        ["allowed_hosts", "a.example"],
    ),
    "pair": ({**IDENTITY, "m2m": ("user", SECRET)}, ["m2m", "VzM2mCredentials"]),
    "dict": (
        {**IDENTITY, "m2m": {"username": "user", "password": SECRET}},
        ["m2m", "VzM2mCredentials"],
    ),
    "file": ({**IDENTITY, "store": "/tmp/tokens"}, ["store", "FileTokenStore"]),
    "redis": ({**IDENTITY, "store": "redis://localhost"}, ["store", "RedisTokenStore"]),
    "class of an account": ({**IDENTITY, "m2m": VzM2mCredentials}, ["m2m", "VzM2mCredentials(…)"]),
    "class of credentials": (
        {"thingspace_oauth_credentials": ThingspaceOauthCredentials},
        ["thingspace_oauth_credentials", "not the class", "ThingspaceOauthCredentials(…)"],
    ),
    "class of a store": (
        {**IDENTITY, "store": FileTokenStore},
        ["store ", "the class FileTokenStore: write"],
    ),
    "provider": (
        {**IDENTITY, "oauth_token_provider": lambda last: last},
        ["oauth_token_provider is called with (last_oauth_token, auth_manager)", "takes (last)"],
    ),
    # A partial binds what it needs, such as the password of a vault.
    "partial": (
        {**IDENTITY, "oauth_token_provider": functools.partial(from_vault, password=SECRET)},
        ["takes (last, *, password)"],
    ),
    "update callback": (
        {**IDENTITY, "oauth_on_token_update": lambda: None},
        ["oauth_on_token_update is called with (oauth_token)", "takes ()"],
    ),
    "class of a provider": (
        {**IDENTITY, "oauth_token_provider": OauthToken.from_dict},
        ["oauth_token_provider is called with"],
    ),
}
WRONG_VALUES = ("path", "any host", "host's URL")


@pytest.mark.parametrize("name", MEANT)
def test_mistake_is_named_with_what_to_write(sync_kind: Kind, name: str) -> None:
    arguments, words = MEANT[name]
    error = ValueError if name in WRONG_VALUES else TypeError
    make = sync_kind.adapter.ThingspaceAuth
    mistake(error, lambda: make(**arguments), "ThingspaceAuth: ", *words)


class Builtin:
    """Whose signature cannot be told, as of some that are written in C."""

    __signature__ = "unknown"

    def __call__(self, *args: object) -> None:
        """Fits."""


def any_signature(*args: object) -> None:
    """Fits."""


@pytest.mark.parametrize("callback", [any_signature, Builtin(), print])
def test_callback_that_fits_or_may_fit_is_taken(
    sync_kind: Kind, platform: Platform, callback: Callable[..., Any]
) -> None:
    auth = sync_kind.auth(platform, oauth_on_token_update=callback)
    assert sync_kind.get(auth, API, platform).status == 200


# What belongs to one library.

OURS = ["auth", "follow_redirects", "event_hooks", "base_url", "cookies", "headers", "timeout"]


@pytest.mark.parametrize("kind", BLOCKING_HTTPX, ids=lambda kind: kind.name)
@pytest.mark.parametrize("key", [*OURS, "verfy", 7])
def test_client_option_that_cannot_be_set_is_named(kind: Kind, key: Any) -> None:
    make, options = kind.adapter.ThingspaceAuth, {key: SECRET}
    words = ("client_options", str(key))
    mistake(TypeError, lambda: make(**IDENTITY, client_options=options), *words)


@pytest.mark.parametrize("kind", BLOCKING_HTTPX, ids=lambda kind: kind.name)
@pytest.mark.parametrize("options", [7, "verify", [("verify", False)]])
def test_client_options_of_the_wrong_type_are_named(kind: Kind, options: Any) -> None:
    make = kind.adapter.ThingspaceAuth
    words = ("client_options", "dict")
    mistake(TypeError, lambda: make(**IDENTITY, client_options=options), *words)


@pytest.mark.parametrize("name", ["string", "object", "class", "module", "dict"])
def test_session_of_the_wrong_type_is_named(requests_kind: Kind, name: str) -> None:
    requests, make = requests_kind.library, requests_kind.adapter.ThingspaceAuth
    classes = {"class": requests.Session, "object": object(), "module": requests}
    session = {"string": "session", "dict": {}, **classes}[name]
    words = ["session", "requests.Session", *(["the class Session: write"] * (name == "class"))]
    mistake(TypeError, lambda: make(**IDENTITY, session=session), *words)


def test_option_of_another_library_is_named(sync_kind: Kind) -> None:
    name = "client_options" if sync_kind.is_requests else "session"
    make = sync_kind.adapter.ThingspaceAuth
    mistake(TypeError, lambda: make(**IDENTITY, **{name: {}}), name)


@pytest.mark.parametrize("name", ["verify", "proxies", "transport"])
def test_options_of_the_library_lead_to_where_they_belong(sync_kind: Kind, name: str) -> None:
    place = "session" if sync_kind.is_requests else "client_options"
    make = sync_kind.adapter.ThingspaceAuth
    mistake(TypeError, lambda: make(**IDENTITY, **{name: True}), f"'{name}': see {place}")


# Other constructors.


def store(name: str, bad: Any) -> object:
    for needed in ("redis", "filelock", "platformdirs"):
        pytest.importorskip(needed)
    from thingspace_auth_adapters import stores

    return getattr(stores, name)(bad)


ELSEWHERE: list[tuple[Callable[[Any], object], str]] = [
    (lambda auth: auth.from_environment(base_uri=BASE), "'base_url'"),
    (lambda auth: auth.from_environment(verify=False), "which says how the endpoints are called"),
    (lambda auth: auth.from_environment(username="u"), "VzM2mCredentials"),
    (lambda auth: auth.from_environment(auth), "an argument too many"),
    (lambda auth: auth.from_environment(), "THINGSPACE_OAUTH_OAUTH_CLIENT_ID"),
    (lambda auth: CREDENTIALS(client_id="x"), "'oauth_client_id'"),
    (lambda auth: CREDENTIALS(id="x"), "'oauth_client_id'"),
    (lambda auth: CREDENTIALS(**IDENTITY).clone_with(scopes=[]), "'oauth_scopes'"),
    (lambda auth: CREDENTIALS.from_environment(), "THINGSPACE_OAUTH_OAUTH_CLIENT_ID"),
    (lambda auth: ACCOUNT(user="x"), "'username'"),
    (lambda auth: ACCOUNT("u", "p", 7), "an argument too many is given: int$"),
    (lambda auth: ACCOUNT("u", "p", SimpleNamespace(url=BASE)), ": SimpleNamespace$"),
    (lambda auth: ACCOUNT("u", "p", SimpleNamespace(url=BASE, headers={})), "auth is to be an"),
    (lambda auth: ACCOUNT("user", 7), "password"),
    (lambda auth: ACCOUNT.from_environment(), "VZ_M2M_USERNAME"),
    (lambda auth: TOKEN(token="x"), "'access_token'"),
    (lambda auth: TOKEN(7), "access_token"),
    (lambda auth: TOKEN.from_dict({"access_token": 7}), "access_token"),
    (lambda auth: store("FileTokenStore", 7), "FileTokenStore"),
    (lambda auth: store("RedisTokenStore", 7), "RedisTokenStore"),
]


@pytest.mark.parametrize("number", range(len(ELSEWHERE)))
def test_other_constructors_name_it_and_show_one_frame_of_ours_too(
    sync_kind: Kind, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("THINGSPACE_OAUTH_OAUTH_CLIENT_ID", "VZ_M2M_USERNAME"):
        monkeypatch.delenv(variable, raising=False)
    make, hint = ELSEWHERE[number]
    with pytest.raises((TypeError, ValueError), match=hint) as caught:
        make(sync_kind.adapter.ThingspaceAuth)
    assert len(our_frames(caught.value)) == 1


@pytest.mark.parametrize(
    ("make", "arguments"),
    [
        # Who follows such a hint puts a password where user names are shown.
        (ACCOUNT, {"secret": SECRET}),
        (ACCOUNT, {"self_": 1}),
        (CREDENTIALS, {"s": SECRET}),
        (TOKEN, {"xyzzy": 1}),
    ],
)
def test_what_is_like_nothing_gets_no_hint(make: Any, arguments: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="there is no argument") as caught:
        make(**arguments)
    assert "did you mean" not in str(caught.value)


def test_frames_of_the_users_own_code_stay(sync_kind: Kind) -> None:
    class Vault:
        oauth_client_id = "the-key"

        @property
        def oauth_client_secret(self) -> str:
            return self.read_vault()

        def read_vault(self) -> str:
            raise ValueError("the vault is sealed") from KeyError("token")

    with pytest.raises(ValueError, match="the vault is sealed") as caught:
        sync_kind.adapter.ThingspaceAuth(Vault())
    names = [one.name for one in traceback.extract_tb(caught.value.__traceback__)]
    assert names[-2:] == ["oauth_client_secret", "read_vault"]
    assert len(our_frames(caught.value)) == 1
    assert isinstance(caught.value.__cause__, KeyError)


def test_error_of_the_users_own_keeps_what_it_was_raised_on(sync_kind: Kind) -> None:
    class Recorded(sync_kind.adapter.ThingspaceAuth):  # type: ignore[name-defined,misc]
        @property
        def tenant(self) -> str:
            return "a"

        @tenant.setter
        def tenant(self, name: str) -> None:
            try:
                IDENTITY[name]
            except KeyError:
                raise ValueError("no such tenant")  # noqa: B904

    auth = Recorded(**IDENTITY)
    with pytest.raises(ValueError, match="no such tenant") as caught:
        auth.tenant = "b"
    assert isinstance(caught.value.__context__, KeyError)
    assert not caught.value.__suppress_context__


# What is assigned or given later.


def test_assigned_mistake_is_named_and_changes_nothing(kind: Kind, platform: Platform) -> None:
    auth = kind.auth(platform, oauth_token={"access_token": "in-use"}, m2m="session-in-use")
    for name, bad in (("m2m", ("user", SECRET)), ("oauth_token", SECRET)):
        mistake(TypeError, functools.partial(setattr, auth, name, bad), f"ThingspaceAuth: {name}")
    mistake(TypeError, functools.partial(auth.is_token_expired, SECRET), "oauth_token")
    kind.get(auth, API, platform)
    assert (platform.bearers, platform.sessions) == (["in-use"], ["session-in-use"])


# What is no auth object, or that of another library.

NO_AUTH: list[tuple[Callable[[Any], Any], str]] = [
    (lambda auth: ACCOUNT("user", "password"), r"no auth object: write ThingspaceAuth\("),
    (lambda auth: CREDENTIALS(**IDENTITY), r"no auth object: write ThingspaceAuth\("),
    (lambda auth: auth, "auth is to be an object, such as ThingspaceAuth"),
    (lambda auth: auth.from_environment, "auth is to be an object"),
]


@pytest.mark.parametrize("number", range(len(NO_AUTH)))
def test_what_is_no_auth_object_says_so(kind: Kind, platform: Platform, number: int) -> None:
    make, words = NO_AUTH[number]
    with pytest.raises(TypeError, match=words):
        kind.get(make(kind.adapter.ThingspaceAuth), API, platform)
    assert platform.calls == []


@pytest.mark.parametrize("other", SYNC_KINDS, ids=lambda other: other.library_name)
def test_object_of_another_library_is_a_type_error_that_names_the_import(
    kind: Kind, platform: Platform, other: Kind
) -> None:
    if other.library_name == kind.library_name:
        pytest.skip("this is the right one")
    wanted = rf"thingspace_auth_adapters\.{kind.library_name}\b"
    with pytest.raises(TypeError, match=wanted) as caught:
        kind.get(other.auth(platform), API, platform)
    assert "ThingspaceAuth" in str(caught.value)
    assert platform.calls == []
