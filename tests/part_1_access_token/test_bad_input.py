"""Part 1, the object and its options: each mistake is one clear error.

It names ``ThingspaceAuth``, never an internal class, and the argument; it shows no secret.
"""

from __future__ import annotations

from typing import Any, Callable

import pytest

from thingspace_auth_adapters import ThingspaceOauthCredentials, VzM2mCredentials

from ..support.kinds import IDENTITY, INSTALLED, SYNC_KINDS, Kind
from ..support.virtual import API, BASE, Platform

SECRET = IDENTITY["oauth_client_secret"]
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


NOTHING: Any = None


class Unset:
    """As the official SDK's credentials: no annotations, and a getter that has nothing."""

    oauth_client_id = "the-key"
    oauth_client_secret = None


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


@pytest.mark.parametrize(
    ("args", "kwargs", "name"),
    [
        ((), {}, "oauth_client_id"),
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
    auth_type, credentials = (
        sync_kind.adapter.ThingspaceAuth,
        ThingspaceOauthCredentials(**IDENTITY),
    )
    value = {**IDENTITY, "oauth_clock_skew": 5}.get(name, "read")
    words = ("thingspace_oauth_credentials", name)
    mistake(TypeError, lambda: auth_type(credentials, **{name: value}), *words)


def test_two_strings_are_no_credentials(sync_kind: Kind) -> None:
    with pytest.raises(TypeError) as caught:
        sync_kind.adapter.ThingspaceAuth(*IDENTITY.values())
    assert SECRET not in str(caught.value)


def test_unknown_argument_is_named(sync_kind: Kind) -> None:
    with pytest.raises(TypeError, match="oauth_client_secert") as caught:
        sync_kind.auth(oauth_client_secert=SECRET)
    assert "TokenManager" not in str(caught.value)
    assert SECRET not in str(caught.value)


# The other arguments.

INFINITE = float("inf")
NAN = float("nan")
BAD: list[tuple[str, type[Exception], list[Any]]] = [
    ("oauth_client_id", ValueError, ["", "  ", "a:b", "a\nb", "a\x00b"]),
    ("oauth_client_id", TypeError, [7, b"x", ["x"]]),
    ("oauth_client_secret", ValueError, ["", "  ", SECRET + "\n", SECRET + "\x00"]),
    ("oauth_client_secret", TypeError, [7, SECRET.encode(), [SECRET]]),
    ("oauth_token", ValueError, [{"token_type": "Bearer"}, {"access_token": SECRET + "\r\n"}]),
    ("oauth_token", TypeError, [SECRET, 7, {"access_token": 7}]),
    ("oauth_scopes", ValueError, [["read write"], [""], ['"read"']]),
    ("oauth_scopes", TypeError, [7, b"read", ["read", None]]),
    ("oauth_token_provider", TypeError, ["provider", {}]),
    ("oauth_on_token_update", TypeError, ["callback", 7]),
    ("oauth_clock_skew", ValueError, [-1, INFINITE, NAN]),
    ("oauth_clock_skew", TypeError, ["soon", True, [60]]),
    ("timeout", ValueError, [0, -1, INFINITE, NAN]),
    ("timeout", TypeError, [None, "soon", True, (5, 30)]),
    ("base_url", ValueError, ["", "thingspace.verizon.com", BASE + "/api", BASE + "/?x=1"]),
    (
        "base_url",
        ValueError,
        [BASE + "/api/ts/v1/oauth2/token", f"https://user:{SECRET}@x.example"],
    ),
    ("base_url", ValueError, ["https://", "https:///api", "http://thingspace.verizon.com"]),
    ("base_url", TypeError, [None, 7, BASE.encode()]),
    ("allowed_hosts", ValueError, [[], [""], ["*"], ["*."], ["thingspace.verizon.com", "*"]]),
    ("allowed_hosts", ValueError, [["*.0.0.1"], ["*.127.0.0.1"], ["https://a.example"], ["a:x"]]),
    ("allowed_hosts", TypeError, ["a.example", b"a.example", 7, [7], [None], [b"a.example"]]),
    ("m2m", TypeError, [("user", SECRET), {"username": "user", "password": SECRET}, 7, b"x"]),
    ("m2m", TypeError, [VzM2mCredentials, object(), ["user", SECRET], True]),
    ("m2m", ValueError, ["", " ", "a b", "a\r\nX: y", SECRET + " ", SECRET + "\n"]),
    ("store", TypeError, ["/tmp/tokens", "redis://localhost", {}, 7, object, True]),
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


def test_store_that_is_a_class_is_named(sync_kind: Kind) -> None:
    pytest.importorskip("filelock")
    from thingspace_auth_adapters.stores import FileTokenStore

    mistake(TypeError, lambda: sync_kind.auth(store=FileTokenStore), "store")


@pytest.mark.parametrize(
    ("value", "remedy"),
    [
        ({"m2m": ("user", SECRET)}, "VzM2mCredentials"),
        ({"m2m": {"username": "user", "password": SECRET}}, "VzM2mCredentials"),
        ({"base_url": BASE + "/api"}, BASE),
        ({"allowed_hosts": ["*"]}, "*.domain"),
        ({"allowed_hosts": ["https://a.example"]}, "a.example"),
        ({"store": "/tmp/tokens"}, "FileTokenStore"),
        ({"store": "redis://localhost"}, "RedisTokenStore"),
    ],
)
def test_remedy_is_named(sync_kind: Kind, value: dict[str, Any], remedy: str) -> None:
    make = sync_kind.adapter.ThingspaceAuth
    error = TypeError if {"m2m", "store"} & set(value) else ValueError
    mistake(error, lambda: make(**IDENTITY, **value), *value, remedy)


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


def test_session_of_the_wrong_type_is_named() -> None:
    requests = pytest.importorskip("requests")
    make = next(kind for kind in INSTALLED if kind.is_requests).adapter.ThingspaceAuth
    for session in ("session", object(), requests.Session, requests, {}):
        mistake(
            TypeError,
            lambda session=session: make(**IDENTITY, session=session),  # type: ignore[misc]
            "session",
            "requests.Session",
        )


def test_option_of_another_library_is_named(sync_kind: Kind) -> None:
    name = "client_options" if sync_kind.is_requests else "session"
    with pytest.raises(TypeError, match=name) as caught:
        sync_kind.adapter.ThingspaceAuth(**IDENTITY, **{name: {}})
    assert "TokenManager" not in str(caught.value)


# What is assigned or given later.


def test_assigned_mistake_is_named_and_changes_nothing(kind: Kind, platform: Platform) -> None:
    auth = kind.auth(platform, oauth_token={"access_token": "in-use"}, m2m="session-in-use")
    with pytest.raises(TypeError, match="m2m"):
        auth.m2m = ("user", SECRET)
    with pytest.raises(TypeError, match="oauth_token"):
        auth.oauth_token = SECRET
    with pytest.raises(TypeError, match="oauth_token"):
        auth.is_token_expired(SECRET)
    kind.get(auth, API, platform)
    assert (platform.bearers, platform.sessions) == (["in-use"], ["session-in-use"])


# The account's own class names itself.


@pytest.mark.parametrize(
    ("args", "kwargs", "error", "name"),
    [
        (("user", None), {}, TypeError, "password"),
        ((None, SECRET), {}, TypeError, "username"),
        ((None, None), {}, TypeError, "username"),
        ((None, SECRET), {"vz_m2m_token": "token"}, TypeError, "username"),
        (("user", None), {"vz_m2m_token": "token"}, TypeError, "password"),
        (("", SECRET), {}, ValueError, "username"),
        (("user", " "), {}, ValueError, "password"),
        (("user", SECRET + "\nx"), {}, ValueError, "password"),
        (("user", SECRET), {"vz_m2m_token": ""}, ValueError, "vz_m2m_token"),
        (("user", SECRET), {"idle_timeout": NAN}, ValueError, "idle_timeout"),
        (("user", ""), {}, ValueError, "password"),
        ((7, SECRET), {}, TypeError, "username"),
        (("user", SECRET.encode()), {}, TypeError, "password"),
        (("user", SECRET), {"vz_m2m_token": SECRET + " "}, ValueError, "vz_m2m_token"),
        (("user", SECRET), {"vz_m2m_token": 7}, TypeError, "vz_m2m_token"),
        (("user", SECRET), {"idle_timeout": 0}, ValueError, "idle_timeout"),
        (("user", SECRET), {"idle_timeout": -1}, ValueError, "idle_timeout"),
        (("user", SECRET), {"idle_timeout": "soon"}, TypeError, "idle_timeout"),
        (("user", SECRET), {"idle_timeout": None}, TypeError, "idle_timeout"),
        (("user", SECRET), {"vz_m2m_token_provider": print}, TypeError, "vz_m2m_token_provider"),
        (("user", SECRET), {"vz_m2m_on_token_update": print}, TypeError, "vz_m2m_on_token_update"),
    ],
)
def test_bad_argument_of_an_account_is_named(
    args: Any, kwargs: dict[str, Any], error: type[Exception], name: str
) -> None:
    with pytest.raises(error, match=name) as caught:
        VzM2mCredentials(*args, **kwargs)
    assert SECRET not in str(caught.value)
    assert caught.value.__context__ is None
