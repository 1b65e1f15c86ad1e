"""Part 1, names: a mistake is an error that names the argument, and says what to write instead."""

from __future__ import annotations

import functools
import traceback
from pathlib import Path
from typing import Any, Callable

import pytest

import thingspace_auth_adapters
from thingspace_auth_adapters import OauthToken, ThingspaceOauthCredentials, VzM2mCredentials
from thingspace_auth_adapters.stores import FileTokenStore

from ..support.kinds import IDENTITY, SYNC_KINDS, Kind
from ..support.virtual import API, BASE, Platform

SECRET = IDENTITY["oauth_client_secret"]
PACKAGE = str(Path(thingspace_auth_adapters.__file__).parent)

# What these constructors take is not checked here by mypy.
CREDENTIALS: Any = ThingspaceOauthCredentials
ACCOUNT: Any = VzM2mCredentials
TOKEN: Any = OauthToken


class SecretStr:
    """As pydantic's."""

    def __init__(self, value: str) -> None:
        self._value = value

    def get_secret_value(self) -> str:
        return self._value


def from_vault(last: object, *, password: str) -> None:
    """A provider that lacks a parameter."""


def store(name: str, bad: Any) -> object:
    for needed in ("redis", "filelock", "platformdirs"):
        pytest.importorskip(needed)
    from thingspace_auth_adapters import stores

    return getattr(stores, name)(bad)


def frames_of_ours(error: BaseException) -> list[str]:
    frames = traceback.extract_tb(error.__traceback__)
    # The tests' own modules are not of ours, though their directory's name may say so.
    return [
        f"{one.filename}:{one.name}"
        for one in frames
        if one.filename.startswith(PACKAGE) and "/tests/" not in one.filename
    ]


MISTAKES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "nothing": ({}, ["credentials are missing", "oauth_client_id=…", "from_environment()"]),
    "client_id": ({"client_id": "x", "client_secret": SECRET}, ["'oauth_client_id'"]),
    "client_secret": ({**IDENTITY, "client_secret": SECRET}, ["'oauth_client_secret'"]),
    "misspelt": ({**IDENTITY, "oauth_client_secert": SECRET}, ["'oauth_client_secret'"]),
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
    "no number": ({**IDENTITY, "oauth_clock_skew": ""}, ["oauth_clock_skew"]),
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


@pytest.mark.parametrize("name", list(MISTAKES))
def test_mistake_is_named_with_what_to_write(sync_kind: Kind, name: str) -> None:
    """With one frame of ours, in which no secret is."""
    arguments, words = MISTAKES[name]
    with pytest.raises(TypeError) as caught:
        sync_kind.adapter.ThingspaceAuth(**arguments)
    message = str(caught.value)
    assert [word for word in ("ThingspaceAuth: ", *words) if word not in message] == []
    assert SECRET not in message
    assert len(frames_of_ours(caught.value)) == 1
    assert caught.value.__cause__ is None
    trace: Any = caught.value.__traceback__
    while trace.tb_next is not None:
        trace = trace.tb_next
    assert SECRET not in repr(trace.tb_frame.f_locals)


def test_class_in_the_place_of_a_session_is_named() -> None:
    requests = pytest.importorskip("requests")
    kind = next(kind for kind in SYNC_KINDS if kind.is_requests)
    with pytest.raises(TypeError, match=r"session .*the class Session: write"):
        kind.auth(session=requests.Session)


@pytest.mark.parametrize("name", ["verify", "proxies", "transport"])
def test_options_of_the_library_lead_to_where_they_belong(sync_kind: Kind, name: str) -> None:
    place = "session" if sync_kind.is_requests else "client_options"
    with pytest.raises(TypeError, match=f"'{name}': see {place}"):
        sync_kind.adapter.ThingspaceAuth(**IDENTITY, **{name: True})


def test_fields_by_position_are_named(sync_kind: Kind) -> None:
    with pytest.raises(TypeError, match=r"ThingspaceAuth: by position .* write oauth_client_id=…"):
        sync_kind.adapter.ThingspaceAuth("the-key", SECRET)


ELSEWHERE: list[tuple[Callable[[Any], object], str]] = [
    (lambda auth: auth.from_environment(base_uri=BASE), "'base_url'"),
    (lambda auth: auth.from_environment(verify=False), "which says how the endpoints are called"),
    (lambda auth: auth.from_environment(username="u"), "VzM2mCredentials"),
    (lambda auth: auth.from_environment(auth), "an argument too many"),
    (lambda auth: auth.from_environment(), "THINGSPACE_OAUTH_OAUTH_CLIENT_ID"),
    (lambda auth: auth(**IDENTITY, timeout=0), "timeout"),
    (lambda auth: auth(**IDENTITY, base_url="x"), "base_url"),
    (lambda auth: auth(**IDENTITY, m2m=7), "m2m"),
    (lambda auth: auth(**IDENTITY, store=7), "store"),
    (lambda auth: CREDENTIALS(client_id="x"), "'oauth_client_id'"),
    (lambda auth: CREDENTIALS(**IDENTITY).clone_with(scopes=[]), "'oauth_scopes'"),
    (lambda auth: CREDENTIALS.from_environment(), "THINGSPACE_OAUTH_OAUTH_CLIENT_ID"),
    (lambda auth: ACCOUNT(user="x"), "'username'"),
    (lambda auth: ACCOUNT("u", "p", 7), "an argument too many"),
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
    assert len(frames_of_ours(caught.value)) == 1


@pytest.mark.parametrize(
    ("make", "arguments"),
    [
        # Who follows such a hint puts a password where user names are shown.
        (ACCOUNT, {"secret": SECRET}),
        (ACCOUNT, {"self_": 1}),
        (TOKEN, {"xyzzy": 1}),
    ],
)
def test_what_is_like_nothing_gets_no_hint(make: Any, arguments: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="there is no argument") as caught:
        make(**arguments)
    assert "did you mean" not in str(caught.value)


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
    assert len(frames_of_ours(caught.value)) == 1
    assert isinstance(caught.value.__cause__, KeyError)


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
