"""The contract, Part 2: VzM2mCredentials."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from thingspace_auth_adapters import VzM2mCredentials

from ..support.kinds import PASSWORD

VARIABLES = ("VZ_M2M_USERNAME", "VZ_M2M_PASSWORD", "VZ_M2M_TOKEN_VZ_M2M_TOKEN")


def test_fields_are_getters() -> None:
    given = VzM2mCredentials("user", PASSWORD, vz_m2m_token="token", idle_timeout=60)
    assert (given.username, given.password, given.vz_m2m_token) == ("user", PASSWORD, "token")
    assert given.idle_timeout == 60


def test_defaults() -> None:
    given = VzM2mCredentials(username="user", password=PASSWORD)
    assert given.vz_m2m_token is None
    assert given.idle_timeout == 1200


def test_token_may_be_all_there_is() -> None:
    given = VzM2mCredentials(None, None, vz_m2m_token="token")
    assert (given.username, given.password, given.vz_m2m_token) == (None, None, "token")


def test_password_and_token_are_not_shown_and_travel_with_pickles_and_copies() -> None:
    given = VzM2mCredentials("user", PASSWORD, vz_m2m_token="the-token")
    assert repr(given) == "VzM2mCredentials(username='user', password=<hidden>)"
    for twin in (pickle.loads(pickle.dumps(given)), copy.deepcopy(given)):
        assert (twin.username, twin.password, twin.vz_m2m_token) == ("user", PASSWORD, "the-token")


@pytest.mark.parametrize(
    ("fields", "error", "name"),
    [
        ({"username": None, "password": None}, TypeError, "username"),
        ({"username": None, "vz_m2m_token": "token"}, TypeError, "username"),
        ({"password": None, "vz_m2m_token": "token"}, TypeError, "password"),
        ({"password": " "}, ValueError, "password"),
        ({"password": "line\nbreak"}, ValueError, "password"),
        ({"vz_m2m_token": ""}, ValueError, "vz_m2m_token"),
        ({"vz_m2m_token": "a b"}, ValueError, "vz_m2m_token"),
        ({"idle_timeout": float("nan")}, ValueError, "idle_timeout"),
    ],
)
def test_bad_fields_are_named(fields: Any, error: type[Exception], name: str) -> None:
    with pytest.raises(error, match=name) as caught:
        VzM2mCredentials(**{"username": "user", "password": PASSWORD, **fields})
    assert PASSWORD not in str(caught.value)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.mark.parametrize(
    ("values", "fields"),
    [
        (("user", PASSWORD, None), ("user", PASSWORD, None)),
        ((None, None, "token"), (None, None, "token")),
        ((" user\n", PASSWORD, " token "), ("user", PASSWORD, "token")),
    ],
)
def test_from_environment(environment: pytest.MonkeyPatch, values: Any, fields: Any) -> None:
    for name, value in zip(VARIABLES, values):
        if value is not None:
            environment.setenv(name, value)
    given = VzM2mCredentials.from_environment()
    assert (given.username, given.password, given.vz_m2m_token) == fields


@pytest.mark.parametrize(
    ("values", "missing"),
    [
        ((None, None, None), VARIABLES[0]),
        (("", " ", ""), VARIABLES[0]),
        (("user", None, None), VARIABLES[1]),
        ((None, PASSWORD, "token"), VARIABLES[0]),
    ],
)
def test_missing_variable_is_named(
    environment: pytest.MonkeyPatch, values: Any, missing: str
) -> None:
    for name, value in zip(VARIABLES, values):
        if value is not None:
            environment.setenv(name, value)
    with pytest.raises(ValueError, match=missing):
        VzM2mCredentials.from_environment()
