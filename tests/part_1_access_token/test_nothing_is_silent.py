"""What a newcomer gets wrong is said: in an error, or in one warning."""

from __future__ import annotations

import functools
import io
import logging
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any, Callable

import pytest

import thingspace_auth_adapters
from thingspace_auth_adapters import (
    M2mLoginError,
    OauthProviderError,
    OauthToken,
    ThingspaceOauthCredentials,
    VzM2mCredentials,
    __version__,
)

from ..support.kinds import IDENTITY, SYNC_KINDS, Kind
from ..support.virtual import (
    API,
    BASE,
    LOGIN_REFUSED,
    REVOKE_PATH,
    SESSION_EXPIRED,
    Answer,
    Platform,
    refusal,
)

SECRET = IDENTITY["oauth_client_secret"]
PASSWORD = "pasted-into-both"
OTHER = "https://staging.example/api/m2m/v1/devices"
PACKAGE = str(Path(__file__).parents[1])


class SecretStr:
    """As pydantic's."""

    def __init__(self, value: str) -> None:
        self._value = value

    def get_secret_value(self) -> str:
        return self._value


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    assert {record.name for record in caplog.records} <= {"thingspace_auth_adapters"}
    return [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]


# A session that nobody opens.


@pytest.mark.parametrize("status", [400, 401])
def test_forgotten_account_is_told_once_for_each_object(
    kind: Kind, platform: Platform, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    for auth in (kind.auth(platform), kind.auth(platform)):
        caplog.clear()
        platform.api = [Answer(status, SESSION_EXPIRED) for _ in range(3)]
        for _ in range(3):
            assert kind.get(auth, API, platform).status == status
        (warning,) = warnings_of(caplog)
        assert "m2m=VzM2mCredentials" in warning


def test_streamed_answer_is_left_to_the_caller(
    platform: Platform, caplog: pytest.LogCaptureFixture
) -> None:
    """Under requests what is read of a stream is gone, and a warning is not worth that."""
    kind = SYNC_KINDS[0]
    if not kind.is_requests:
        pytest.skip("httpx puts a stream back")
    platform.api = [Answer(400, {"errorCode": "INPUT_INVALID"}), Answer(400, SESSION_EXPIRED)]
    session = kind.session(platform)
    session.auth = kind.auth(platform)
    assert b"INPUT_INVALID" in session.get(API, stream=True).raw.read()
    assert warnings_of(caplog) == []
    session.get(API)
    assert len(warnings_of(caplog)) == 1


# A host that gets no token.


def test_host_without_a_token_that_wants_one_is_told_once(
    kind: Kind, platform: Platform, caplog: pytest.LogCaptureFixture
) -> None:
    auth = kind.auth(platform)
    for url in (OTHER, OTHER, "https://other.example/x", OTHER):
        platform.api = [refusal()]
        assert kind.get(auth, url, platform).status == 401
    first, second = warnings_of(caplog)
    for part in ("staging.example", "allowed_hosts", "*.thingspace.verizon.com", "base_url", BASE):
        assert part in first
    assert "other.example" in second
    assert platform.bearers == [None] * 4


@pytest.mark.parametrize("answer", [Answer(200), Answer(403), Answer(404, b"x")])
def test_host_without_a_token_that_wants_none_is_no_warning(
    kind: Kind, platform: Platform, caplog: pytest.LogCaptureFixture, answer: Answer
) -> None:
    platform.api = [answer]
    kind.get(kind.auth(platform), OTHER, platform)
    assert warnings_of(caplog) == []


def test_401_to_an_authorization_of_ones_own_is_no_warning(
    kind: Kind, platform: Platform, caplog: pytest.LogCaptureFixture
) -> None:
    platform.api = [refusal()]
    kind.get(kind.auth(platform), OTHER, platform, headers={"Authorization": "Basic eDp5"})
    assert warnings_of(caplog) == []


def test_401_of_the_platform_is_no_such_warning(
    kind: Kind, platform: Platform, caplog: pytest.LogCaptureFixture
) -> None:
    platform.api = [refusal(), refusal()]
    kind.get(kind.auth(platform), API, platform)
    assert warnings_of(caplog) == []


def test_answer_of_a_host_that_is_not_allowed_is_not_read(
    platform: Platform, caplog: pytest.LogCaptureFixture
) -> None:
    """Under requests what is read of a stream is gone."""
    kind = SYNC_KINDS[0]
    if not kind.is_requests:
        pytest.skip("httpx puts a stream back")
    platform.api = [refusal({"theirs": True})]
    session = kind.session(platform)
    session.auth = kind.auth(platform, m2m=VzM2mCredentials("user", "password"))
    assert b"theirs" in session.get(OTHER, stream=True).raw.read()
    assert len(warnings_of(caplog)) == 1


def test_client_without_an_adapter_is_told_too(
    kind: Kind, platform: Platform, caplog: pytest.LogCaptureFixture
) -> None:
    auth = kind.auth(platform)
    for _ in range(2):
        answer: Any = (OTHER, {}, "GET", 401, {}, b"")
        got = kind.run(auth.arecover, *answer) if kind.is_async else auth.recover(*answer)
        assert got is None
    (warning,) = warnings_of(caplog)
    assert "staging.example" in warning


# Where warnings are seen.

SCRIPT = f"""
import sys; sys.path.insert(0, {PACKAGE!r})
import logging, thingspace_auth_adapters
logger = logging.getLogger("thingspace_auth_adapters")
assert [isinstance(one, logging.NullHandler) for one in logger.handlers] == [True]
{{set_up}}
logger.warning("a warning: %s", 7)
logger.info("not a warning")
"""


@pytest.mark.parametrize(
    ("set_up", "seen"),
    [
        ("", "thingspace_auth_adapters: a warning: 7\n"),
        ("logging.basicConfig()", "WARNING:thingspace_auth_adapters:a warning: 7\n"),
        ("logging.getLogger().addHandler(logging.NullHandler())", ""),
        ("logger.addHandler(logging.NullHandler())", ""),
        ("logger.setLevel(logging.ERROR)", ""),
        ("logging.lastResort = None", ""),
        (
            "import importlib, thingspace_auth_adapters._model.events as e; importlib.reload(e)",
            "thingspace_auth_adapters: a warning: 7\n",
        ),
    ],
)
def test_warnings_reach_stderr_unless_logging_is_set_up(set_up: str, seen: str) -> None:
    script = [sys.executable, "-I", "-c", SCRIPT.format(set_up=set_up)]
    finished = subprocess.run(script, capture_output=True, text=True, check=True)
    assert finished.stderr == seen


@pytest.mark.parametrize("stderr", ["closed", "broken", "none"])
def test_warning_that_cannot_be_shown_fails_nothing(
    monkeypatch: pytest.MonkeyPatch, stderr: str
) -> None:
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise RuntimeError("the window is gone")

    streams: dict[str, Any] = {"closed": io.StringIO(), "broken": Broken(), "none": None}
    streams["closed"].close()
    monkeypatch.setattr(sys, "stderr", streams[stderr])
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    logging.getLogger("thingspace_auth_adapters").warning("a warning")


# What an error of the endpoint says.


def test_wrong_secret_names_host_key_and_command(kind: Kind, platform: Platform) -> None:
    platform.tokens = [Answer(401, {"error": "invalid_client"})]
    with pytest.raises(OauthProviderError) as caught:
        kind.get(kind.auth(platform), API, platform)
    assert str(caught.value) == (
        "the token endpoint refused (status 401): invalid_client; asked at"
        " https://thingspace.verizon.com with the key the-key; to look into it, run"
        " `thingspace-auth check`"
    )
    assert caught.value.error == "invalid_client"


def test_key_that_holds_the_secret_is_withheld(kind: Kind, platform: Platform) -> None:
    """As if both were pasted into one field."""
    platform.tokens = [Answer(401)]
    auth = kind.auth(platform, oauth_client_id=f"the-key {SECRET}")
    with pytest.raises(OauthProviderError, match="withheld") as caught:
        kind.get(auth, API, platform)
    assert SECRET not in str(caught.value)


def test_wrong_password_names_host_and_user(kind: Kind, platform: Platform) -> None:
    platform.logins = [Answer(400, LOGIN_REFUSED)]
    auth = kind.auth(platform, m2m=VzM2mCredentials("Uws-User", "wrong"))
    with pytest.raises(M2mLoginError, match=r"as Uws-User at thingspace.verizon.com:443 is tried"):
        kind.get(auth, API, platform)


def test_user_name_that_holds_the_password_is_withheld(kind: Kind, platform: Platform) -> None:
    """As if both were pasted into one field."""
    platform.logins = [Answer(400, LOGIN_REFUSED)]
    auth = kind.auth(platform, m2m=VzM2mCredentials(f"user {PASSWORD}", PASSWORD))
    for _ in range(2):
        with pytest.raises(M2mLoginError, match="withheld") as caught:
            kind.get(auth, API, platform)
        assert PASSWORD not in str(caught.value)


def test_repr_hides_what_holds_a_secret() -> None:
    both = f"user {PASSWORD}"
    assert PASSWORD not in repr(VzM2mCredentials(both, PASSWORD))
    assert PASSWORD not in repr(ThingspaceOauthCredentials(both, PASSWORD))
    assert "'user'" in repr(VzM2mCredentials("user", PASSWORD))
    assert "'the-key'" in repr(ThingspaceOauthCredentials("the-key", PASSWORD))


def test_passing_trouble_is_not_blamed_on_the_key(kind: Kind, platform: Platform) -> None:
    platform.tokens = [Answer(503)] * 4
    with pytest.raises(OauthProviderError) as caught:
        kind.get(kind.auth(platform), API, platform)
    assert "the-key" not in str(caught.value)


# Mistakes in constructors: the argument, and what to write.

NOTHING: Any = None
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
    "provider": (
        {**IDENTITY, "oauth_token_provider": lambda last: last},
        ["oauth_token_provider is called with (last_oauth_token, auth_manager)", "takes (last)"],
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
    arguments, words = MISTAKES[name]
    with pytest.raises(TypeError) as caught:
        sync_kind.adapter.ThingspaceAuth(**arguments)
    message = str(caught.value)
    assert [word for word in ("ThingspaceAuth: ", *words) if word not in message] == []
    assert SECRET not in message


CREDENTIALS_TYPE: Any = ThingspaceOauthCredentials
ACCOUNT_TYPE: Any = VzM2mCredentials
TOKEN_TYPE: Any = OauthToken
KNOWN_ELSEWHERE: list[tuple[Callable[[Any], object], str]] = [
    (lambda auth: auth.from_environment(base_uri=BASE), "'base_url'"),
    (lambda auth: auth.from_environment(verify=False), "which says how the endpoints are called"),
    (lambda auth: auth.from_environment(username="u"), "VzM2mCredentials"),
    (lambda auth: auth.from_environment(auth), "an argument too many"),
    (lambda auth: CREDENTIALS_TYPE(client_id="x"), "'oauth_client_id'"),
    (lambda auth: credentials().clone_with(scopes=[]), "'oauth_scopes'"),
    (lambda auth: ACCOUNT_TYPE(user="x"), "'username'"),
    (lambda auth: ACCOUNT_TYPE("u", "p", 7), "an argument too many"),
    (lambda auth: TOKEN_TYPE(token="x"), "'access_token'"),
]


@pytest.mark.parametrize("number", range(len(KNOWN_ELSEWHERE)))
def test_other_constructors_name_what_was_likely_meant(sync_kind: Kind, number: int) -> None:
    make, hint = KNOWN_ELSEWHERE[number]
    with pytest.raises(TypeError, match=hint) as caught:
        make(sync_kind.adapter.ThingspaceAuth)
    assert len([one for one in frames_of_ours(caught.value) if "/tests/" not in one]) == 1


NOT_LIKE_ANY_OTHER: list[tuple[Any, dict[str, Any]]] = [
    # Who follows such a hint puts a password where user names are shown.
    (VzM2mCredentials, {"secret": SECRET}),
    (VzM2mCredentials, {"self_": 1}),
    (OauthToken, {"xyzzy": 1}),
]


@pytest.mark.parametrize(("make", "arguments"), NOT_LIKE_ANY_OTHER)
def test_what_is_like_nothing_gets_no_hint(make: Any, arguments: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="there is no argument") as caught:
        make(**arguments)
    assert "did you mean" not in str(caught.value)


def test_response_in_the_place_of_a_token_is_not_taken_for_a_request(
    kind: Kind, platform: Platform
) -> None:
    """A provider that forgot to call json() on it."""

    def provider(last: object, owner: object) -> Any:
        return kind.library.Response() if kind.is_requests else kind.library.Response(200)

    auth = kind.auth(platform, oauth_token_provider=kind.callback(provider))
    with pytest.raises(TypeError, match="got Response") as caught:
        kind.get(auth, API, platform)
    assert "ThingspaceAuth(…)" not in str(caught.value)


def test_defaults_of_a_callback_are_not_told(sync_kind: Kind) -> None:
    """A partial binds what it needs, such as the password of a vault."""

    def from_vault(last: object, *, password: str) -> None:
        """Lacks a parameter."""

    bound = functools.partial(from_vault, password=SECRET)
    with pytest.raises(TypeError, match=r"takes \(last, \*, password\)") as caught:
        sync_kind.auth(oauth_token_provider=bound)
    assert SECRET not in str(caught.value)


def test_method_in_the_place_of_the_auth_object_says_so(kind: Kind, platform: Platform) -> None:
    with pytest.raises(TypeError, match="auth is to be an object"):
        kind.get(kind.adapter.ThingspaceAuth.from_environment, API, platform)


def test_arguments_of_members_are_named(sync_kind: Kind, platform: Platform) -> None:
    auth, bad = sync_kind.auth(platform), 7
    with pytest.raises(ValueError, match="url must have a scheme"):
        auth.headers(bad)
    with pytest.raises(TypeError, match="additional_params must be a dict"):
        auth.fetch_token(bad)
    assert platform.calls == []


def test_fields_by_position_are_named(sync_kind: Kind) -> None:
    with pytest.raises(TypeError, match=r"ThingspaceAuth: by position .* write oauth_client_id=…"):
        sync_kind.adapter.ThingspaceAuth("the-key", SECRET)


@pytest.mark.parametrize("name", ["verify", "proxies", "transport"])
def test_options_of_the_library_lead_to_where_they_belong(sync_kind: Kind, name: str) -> None:
    place = "session" if sync_kind.is_requests else "client_options"
    with pytest.raises(TypeError, match=f"'{name}': see {place}"):
        sync_kind.adapter.ThingspaceAuth(**IDENTITY, **{name: True})


@pytest.mark.parametrize("name", ["store", "session"])
def test_class_in_the_place_of_an_object_is_named(sync_kind: Kind, name: str) -> None:
    from thingspace_auth_adapters.stores import FileTokenStore

    value: Any = FileTokenStore
    if name == "session":
        if not sync_kind.is_requests:
            pytest.skip("only requests has sessions")
        value = sync_kind.library.Session
    with pytest.raises(TypeError, match=rf"{name} .*the class {value.__name__}: write"):
        sync_kind.auth(**{name: value})


def any_signature(*args: object) -> None:
    """Fits."""


class Builtin:
    """Whose signature cannot be told, as of some that are written in C."""

    __signature__ = "unknown"

    def __call__(self, *args: object) -> None:
        """Fits."""


@pytest.mark.parametrize("callback", [any_signature, Builtin(), print])
def test_callback_that_fits_or_may_fit_is_taken(
    sync_kind: Kind, platform: Platform, callback: Callable[..., Any]
) -> None:
    auth = sync_kind.auth(platform, oauth_on_token_update=callback)
    assert sync_kind.get(auth, API, platform).status == 200


# What is no auth object.


def account() -> VzM2mCredentials:
    return VzM2mCredentials("user", "password")


def credentials() -> ThingspaceOauthCredentials:
    return ThingspaceOauthCredentials(**IDENTITY)


@pytest.mark.parametrize("make", [account, credentials])
def test_credentials_in_the_place_of_the_auth_object_say_so(
    kind: Kind, platform: Platform, make: Callable[[], Any]
) -> None:
    with pytest.raises(TypeError, match=r"no auth object: write ThingspaceAuth\("):
        kind.get(make(), API, platform)
    assert platform.calls == []


def test_class_in_the_place_of_the_auth_object_says_so(kind: Kind, platform: Platform) -> None:
    with pytest.raises(TypeError, match="auth is to be an object, such as ThingspaceAuth"):
        kind.get(kind.adapter.ThingspaceAuth, API, platform)
    assert platform.calls == []


# Errors of constructors show where the mistake is, and not our insides.


def frames_of_ours(error: BaseException) -> list[str]:
    package = str(Path(thingspace_auth_adapters.__file__).parent)
    frames = traceback.extract_tb(error.__traceback__)
    return [f"{one.filename}:{one.name}" for one in frames if one.filename.startswith(package)]


@pytest.mark.parametrize("name", list(MISTAKES))
def test_errors_of_constructors_show_one_frame_of_ours(sync_kind: Kind, name: str) -> None:
    with pytest.raises(TypeError) as caught:
        sync_kind.adapter.ThingspaceAuth(**MISTAKES[name][0])
    assert len(frames_of_ours(caught.value)) == 1
    assert caught.value.__cause__ is None


def test_other_constructors_show_one_frame_of_ours_too(
    sync_kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    from thingspace_auth_adapters.stores import FileTokenStore, RedisTokenStore

    for variable in ("THINGSPACE_OAUTH_OAUTH_CLIENT_ID", "VZ_M2M_USERNAME"):
        monkeypatch.delenv(variable, raising=False)
    bad: Any = 7
    makers: list[Callable[[], object]] = [
        sync_kind.adapter.ThingspaceAuth.from_environment,
        ThingspaceOauthCredentials.from_environment,
        VzM2mCredentials.from_environment,
        lambda: VzM2mCredentials("user", bad),
        lambda: OauthToken(bad),
        lambda: OauthToken.from_dict({"access_token": bad}),
        lambda: FileTokenStore(bad),
        lambda: RedisTokenStore(bad),
        lambda: sync_kind.auth(timeout=0),
        lambda: sync_kind.auth(base_url="x"),
        lambda: sync_kind.auth(m2m=bad),
        lambda: sync_kind.auth(store=bad),
    ]
    for number, make in enumerate(makers):
        with pytest.raises((TypeError, ValueError)) as caught:
            make()
        frames = frames_of_ours(caught.value)
        # The test's own module is not of ours, though its directory's name may say so.
        ours = [one for one in frames if "/tests/" not in one]
        assert len(ours) == 1, (number, ours)


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


def test_frame_of_a_constructor_holds_no_secret(sync_kind: Kind) -> None:
    with pytest.raises(TypeError) as caught:
        sync_kind.auth(base_uri=BASE)
    trace: Any = caught.value.__traceback__
    while trace.tb_next is not None:
        trace = trace.tb_next
    assert SECRET not in repr(trace.tb_frame.f_locals)


# Who calls the endpoints.


def test_calls_of_endpoints_say_who_asks_and_that_nothing_is_kept(
    kind: Kind, platform: Platform
) -> None:
    auth = kind.auth(platform, m2m=VzM2mCredentials("user", "password"))
    kind.get(auth, API, platform)
    kind.end_session(auth)
    kind.revoke_token(auth)
    calls = [call for call in platform.calls if call not in platform.api_calls]
    assert [call.path.rpartition("/")[2] for call in calls] == [
        "token",
        "login",
        "logout",
        "revoke",
    ]
    library = kind.library
    for call in calls:
        agent = call.headers["user-agent"]
        ours, _, theirs = agent.partition(" ")
        assert ours == f"thingspace-auth-adapters/{__version__}"
        assert theirs == f"python-{kind.library_name}/{library.__version__}"
        assert call.headers["cache-control"] == "no-store"


def test_request_of_the_caller_keeps_its_user_agent(kind: Kind, platform: Platform) -> None:
    kind.get(kind.auth(platform), API, platform)
    (call,) = platform.api_calls
    assert "thingspace" not in call.headers["user-agent"]


def test_cache_of_the_users_session_keeps_no_token(platform: Platform) -> None:
    """A cache that is told to keep answers to POST would hand out a revoked token."""
    requests_cache = pytest.importorskip("requests_cache")
    kind = SYNC_KINDS[0]
    session = requests_cache.CachedSession(backend="memory", allowable_methods=("GET", "POST"))
    session.mount("https://", kind.session(platform).get_adapter(BASE))
    auth = kind.adapter.ThingspaceAuth(**IDENTITY, session=session)
    first = kind.fetch_token(auth).access_token
    assert kind.fetch_token(auth).access_token != first
    assert len(platform.token_calls) == 2
    assert REVOKE_PATH not in platform.trail
