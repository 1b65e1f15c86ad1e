"""Part 2: what may stand for ``m2m``: a session token alone, and the class of an account."""

from __future__ import annotations

import copy
import pickle
from typing import Any, Callable

import pytest

from thingspace_auth_adapters import M2mLoginError, VzM2mCredentials

from ..support.kinds import PASSWORD, Kind
from ..support.virtual import API, Answer, Platform, VirtualClock, refusal, session_refusal

VARIABLES = ("VZ_M2M_USERNAME", "VZ_M2M_PASSWORD", "VZ_M2M_TOKEN_VZ_M2M_TOKEN")


# A session token alone.


class OfTheSdk:
    """As the official SDK's VZM2mTokenCredentials."""

    vz_m2m_token = "fixed"


class OfTheNextSdk:
    """As SessionTokenCredentials of its next generation."""

    session_token = "fixed"


FIXED: dict[str, Callable[[], Any]] = {
    "text": lambda: "fixed",
    "sdk": OfTheSdk,
    "next sdk": OfTheNextSdk,
    "credentials": lambda: VzM2mCredentials(None, None, vz_m2m_token="fixed"),
}


@pytest.mark.parametrize("name", FIXED)
@pytest.mark.parametrize(
    "answer",
    [session_refusal(), refusal({"errorCode": "INVALID_ACCOUNT"})],
    ids=["blamed", "suspected"],
)
def test_session_token_alone_is_sent_and_never_renewed(
    kind: Kind, platform: Platform, clock: VirtualClock, name: str, answer: Answer
) -> None:
    auth = kind.auth(platform, m2m=FIXED[name]())
    for _ in range(3):
        platform.api = [answer]
        assert kind.get(auth, API, platform).status == answer.status
        clock.advance(1201)
    assert platform.sessions == ["fixed"] * 3
    assert platform.login_calls == []
    with pytest.raises(M2mLoginError, match="username and password"):
        kind.fetch_session(auth)


def test_ended_token_alone_leaves_none(kind: Kind, platform: Platform) -> None:
    auth = kind.auth(platform, m2m="fixed")
    kind.end_session(auth)
    with pytest.raises(M2mLoginError, match="assign"):
        kind.get(auth, API, platform)
    auth.m2m = "another"
    kind.get(auth, API, platform)
    assert platform.sessions == ["another"]


def test_assigning_none_ends_the_second_header(kind: Kind, platform: Platform, auth: Any) -> None:
    kind.get(auth, API, platform)
    auth.m2m = None
    kind.get(auth, API, platform)
    assert platform.sessions == ["session-1", None]


# The account's own class.


@pytest.mark.parametrize(
    ("given", "fields"),
    [
        (
            VzM2mCredentials("user", PASSWORD, vz_m2m_token="token", idle_timeout=60),
            ("user", PASSWORD, "token", 60),
        ),
        (VzM2mCredentials(username="user", password=PASSWORD), ("user", PASSWORD, None, 1200)),
        (VzM2mCredentials(None, None, vz_m2m_token="token"), (None, None, "token", 1200)),
    ],
    ids=["all", "account", "token"],
)
def test_fields_are_getters_and_travel_and_are_not_shown(
    given: VzM2mCredentials, fields: tuple[Any, ...]
) -> None:
    for one in (given, pickle.loads(pickle.dumps(given)), copy.deepcopy(given)):
        assert (one.username, one.password, one.vz_m2m_token, one.idle_timeout) == fields
    shown = f"username={fields[0]!r}, password=<hidden>"
    assert repr(given) == f"VzM2mCredentials({shown})"


@pytest.mark.parametrize(
    ("args", "kwargs", "error", "name"),
    [
        (("user", None), {}, TypeError, "password"),
        ((None, PASSWORD), {}, TypeError, "username"),
        ((None, None), {}, TypeError, "username"),
        ((None, PASSWORD), {"vz_m2m_token": "token"}, TypeError, "username"),
        (("user", None), {"vz_m2m_token": "token"}, TypeError, "password"),
        (("", PASSWORD), {}, ValueError, "username"),
        (("user", " "), {}, ValueError, "password"),
        (("user", PASSWORD + "\nx"), {}, ValueError, "password"),
        (("user", PASSWORD), {"vz_m2m_token": ""}, ValueError, "vz_m2m_token"),
        (("user", PASSWORD), {"idle_timeout": float("nan")}, ValueError, "idle_timeout"),
        (("user", ""), {}, ValueError, "password"),
        ((7, PASSWORD), {}, TypeError, "username"),
        (("user", PASSWORD.encode()), {}, TypeError, "password"),
        (("user", PASSWORD), {"vz_m2m_token": PASSWORD + " "}, ValueError, "vz_m2m_token"),
        (("user", PASSWORD), {"vz_m2m_token": 7}, TypeError, "vz_m2m_token"),
        (("user", PASSWORD), {"idle_timeout": 0}, ValueError, "idle_timeout"),
        (("user", PASSWORD), {"idle_timeout": -1}, ValueError, "idle_timeout"),
        (("user", PASSWORD), {"idle_timeout": "soon"}, TypeError, "idle_timeout"),
        (("user", PASSWORD), {"idle_timeout": None}, TypeError, "idle_timeout"),
        (("user", PASSWORD), {"vz_m2m_token_provider": print}, TypeError, "vz_m2m_token_provider"),
        (
            ("user", PASSWORD),
            {"vz_m2m_on_token_update": print},
            TypeError,
            "vz_m2m_on_token_update",
        ),
    ],
)
def test_bad_argument_is_named(
    args: Any, kwargs: dict[str, Any], error: type[Exception], name: str
) -> None:
    with pytest.raises(error, match=name) as caught:
        VzM2mCredentials(*args, **kwargs)
    assert PASSWORD not in str(caught.value)
    assert caught.value.__context__ is None


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, values: tuple[str | None, ...]) -> None:
    for name, value in zip(VARIABLES, values):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize(
    "values",
    [("user", PASSWORD, None), (None, None, "token"), (" user\n", PASSWORD, " token ")],
)
def test_from_environment(values: tuple[str | None, ...]) -> None:
    given = VzM2mCredentials.from_environment()
    found = (given.username, given.password, given.vz_m2m_token)
    assert found == tuple(value and value.strip() for value in values)


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize(
    ("values", "missing"),
    [
        ((None, None, None), VARIABLES[0]),
        (("", " ", ""), VARIABLES[0]),
        (("user", None, None), VARIABLES[1]),
        ((None, PASSWORD, "token"), VARIABLES[0]),
    ],
)
def test_missing_variable_is_named(values: object, missing: str) -> None:
    with pytest.raises(ValueError, match=missing):
        VzM2mCredentials.from_environment()
