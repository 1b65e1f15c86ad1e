"""Part 4: the simulator's M2M sessions open, go idle, end and lock as ThingSpace's do."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest

pytest.importorskip("werkzeug")

from thingspace_auth_adapters.simulator import ThingspaceSimulator

from ..support.simulator_client import SOON, Answer, Client, Clock, client_of
from ..support.virtual import LOGIN_PATH, LOGOUT_PATH

M2M_PATH = "/api/m2m/v1/devices"
LOCATION_PATH = "/api/loc/v1/devices"
CLOUD_PATH = "/api/cc/v1/targets"
DIAGNOSTICS_PATH = "/api/diagnostics/v1/observations"
VEHICLE_PATH = "/api/vehicle/v1/vehicles"
EDGE_PATH = "/api/mec/eds/regions"
OTHER_PATH = "/api/fwa/v1/devices"
VEHICLE_HOST = "imp.thingspace.verizon.com"

M2M_EXPIRED = (400, "UnifiedWebService.REQUEST_FAILED.SessionToken.Expired")
M2M_UNKNOWN = (400, "UnifiedWebService.INPUT_INVALID.SessionToken.Invalid")
DIAGNOSTICS_EXPIRED = (400, "DeviceService.REQUEST_FAILED.SessionToken.Expired")
VEHICLE_FORMAT = (400, "REQUEST_FAILED.SessionToken.Format")
WRONG = (400, "UnifiedWebService.REQUEST_FAILED.InvalidCredentials")
LOCKED = (400, "UnifiedWebService.REQUEST_FAILED.AccountLocked")
MALFORMED = (400, "UnifiedWebService.INPUT_INVALID.Credentials.Invalid")
LOCATION_EXPIRED = {
    "errorCode": "INVALID_PARAMETER",
    "errorMessage": "UWS verification failure (The Session has expired.)",
}
CLOUD_UNAUTHORIZED = {
    "error": "unauthorized",
    "error_description": "Failure response received for UWS V1 REST accounts: [400]",
    "cause": "Requested service is unauthorized for given token",
}


def fail_logins(client: Client, times: int) -> None:
    for _ in range(times):
        assert client.attempt(password="wrong").refusal == WRONG


# Login.


def test_each_login_opens_a_session_with_a_uuid_and_the_earlier_ones_stay(client: Client) -> None:
    answer = client.attempt()
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert set(answer.json) == {"sessionToken"}
    first = answer.json["sessionToken"]
    assert str(UUID(first)) == first
    sessions = [first, client.session(), client.session()]
    assert client.simulator.issued_sessions == sessions
    numbers = [client.api(session=session).json["session_number"] for session in sessions]
    assert numbers == [1, 2, 3]


def test_a_login_can_end_the_sessions_that_were_open(client: Client) -> None:
    first, second = client.session(), client.session()
    client.simulator.login_ends_session = True
    assert client.simulator.login_ends_session
    assert client.attempt(password="wrong").status == 400
    assert client.api(session=first).status == 200
    third = client.session()
    assert client.api(session=first).refusal == M2M_EXPIRED
    assert client.api(session=second).refusal == M2M_EXPIRED
    assert client.api(session=third).status == 200


@pytest.mark.parametrize("path", [LOGIN_PATH, LOGOUT_PATH])
def test_login_and_logout_want_post_and_before_anything_else_a_bearer(
    client: Client, path: str
) -> None:
    answer = client.api(path, session=client.session())
    assert (answer.status, answer.headers["Allow"]) == (405, "POST")
    assert client("POST", path, "no json").fault == (401, "900902")
    answer = client.api(path, "unknown", "unknown", method="POST", body="no json")
    assert answer.fault == (401, "900901")
    description = answer.json["fault"]["description"]
    assert description.startswith("Access failure for API: /m2m/v1, version: v1.")


def test_a_login_that_the_gateway_turned_down_is_no_attempt(client: Client) -> None:
    fail_logins(client, 4)
    wrong = json.dumps({"username": "simulated-user", "password": "wrong"})
    for _ in range(3):
        assert client.login(wrong, bearer="unknown").status == 401
    assert (client.simulator.failed_logins, client.simulator.is_locked) == (4, False)
    assert len(client.simulator.login_requests) == 7


@pytest.mark.parametrize(
    ("username", "password"),
    [
        ("simulated-user", "hunter2"),
        ("mallory", "simulated-password"),
        ("mallory", "hunter2"),
        ("simulated-user", ""),
        ("é\ud800", "é"),
    ],
)
def test_a_wrong_pair_is_refused_without_being_quoted(
    client: Client, username: str, password: str
) -> None:
    answer = client.attempt(username, password)
    assert answer.refusal == WRONG
    for value in ("hunter2", "mallory", "simulated"):
        assert value not in answer.body.decode()
    assert client.simulator.failed_logins == 1
    assert client.simulator.issued_sessions == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"username=simulated-user&password=simulated-password",
        b'["simulated-user", "simulated-password"]',
        b"null",
        b"{}",
        b'{"username": "simulated-user"}',
        b'{"password": "simulated-password"}',
        b'{"username": "simulated-user", "password": 5}',
        b'{"username": null, "password": "simulated-password"}',
    ],
)
def test_a_body_without_both_strings_is_invalid_and_no_attempt(client: Client, body: bytes) -> None:
    answer = client.login(body)
    assert answer.refusal == MALFORMED
    assert "simulated" not in answer.body.decode()
    assert client.simulator.failed_logins == 0


def test_username_and_password_can_be_chosen_and_changed_while_it_runs() -> None:
    with ThingspaceSimulator(username="é", password="ü 1") as simulator:
        with client_of(simulator) as client:
            assert (simulator.username, simulator.password) == ("é", "ü 1")
            assert client.attempt("é", "ü 1").status == 200
            simulator.password = "changed"
            assert client.attempt("é", "ü 1").refusal == WRONG
            simulator.username = "somebody"
            assert client.attempt("é", "changed").refusal == WRONG
            assert client.attempt("somebody", "changed").status == 200


# The lock.


def test_the_fifth_failed_login_in_a_row_locks_even_the_right_password_out(client: Client) -> None:
    session, locked = client.session(), []
    for _ in range(5):
        fail_logins(client, 1)
        locked.append(client.simulator.is_locked)
    assert locked == [False, False, False, False, True]
    # An open session is left alone.
    assert client.api(session=session).status == 200
    client.clock.now += 100_000
    answer = client.attempt()
    assert answer.refusal == LOCKED
    assert "simulated" not in answer.body.decode()
    assert client.attempt(password="wrong").refusal == LOCKED
    assert client.simulator.failed_logins == 5
    assert len(client.simulator.issued_sessions) == 1


def test_a_success_or_unlock_starts_the_count_anew(client: Client) -> None:
    fail_logins(client, 4)
    client.session()
    assert client.simulator.failed_logins == 0
    fail_logins(client, 5)
    client.simulator.unlock()
    assert (client.simulator.is_locked, client.simulator.failed_logins) == (False, 0)
    fail_logins(client, 4)
    assert client.attempt().status == 200


# Idle sessions.


def test_a_session_lives_for_as_long_as_it_is_used(client: Client, clock: Clock) -> None:
    session = client.session()
    for _ in range(5):
        clock.now += 1199.5
        assert client.api(session=session).json["session_number"] == 1
    clock.now += 1200
    assert client.api(session=session).refusal == M2M_EXPIRED
    assert client.api(session=client.session()).json["session_number"] == 2


def test_a_use_keeps_its_own_session_alive_and_one_that_the_gateway_refused_keeps_none(
    client: Client, clock: Clock
) -> None:
    used, idle, refused = (client.session() for _ in range(3))
    clock.now += 600
    client.api(session=used)
    assert client.api(bearer="unknown", session=refused).fault == (401, "900901")
    clock.now += 600
    assert client.api(session=used).status == 200
    assert client.api(session=idle).refusal == M2M_EXPIRED
    assert client.api(session=refused).refusal == M2M_EXPIRED


def test_another_idle_timeout_holds_at_once_and_brings_no_session_back(client: Client) -> None:
    session = client.session()
    client.clock.now += 30
    client.simulator.idle_timeout = 60
    assert client.simulator.idle_timeout == 60
    client.clock.now += 29.5
    assert client.api(session=session).status == 200
    client.clock.now += 60
    live = client.session()
    client.simulator.idle_timeout = 10_000
    assert client.api(session=session).refusal == M2M_EXPIRED
    client.clock.now += 9_999.5
    assert client.api(session=live).status == 200


@pytest.mark.parametrize("seconds", [0, -1, float("inf"), float("nan")])
def test_an_idle_timeout_that_makes_no_sense_is_a_value_error(seconds: float) -> None:
    with pytest.raises(ValueError, match="idle_timeout"):
        ThingspaceSimulator(idle_timeout=seconds)
    simulator = ThingspaceSimulator()
    with pytest.raises(ValueError, match="idle_timeout"):
        simulator.idle_timeout = seconds
    assert simulator.idle_timeout == 1200


# Logout, and other ends.


def test_logout_ends_its_session_and_refuses_a_dead_one_as_m2m_connectivity_does(
    client: Client,
) -> None:
    ended, other = client.session(), client.session()
    answer = client.logout(ended)
    assert (answer.status, answer.json) == (200, {"sessionToken": ended})
    assert client.api(session=ended).refusal == M2M_EXPIRED
    assert client.api(session=other).status == 200
    client.clock.now += 1200
    for idle in (ended, other):
        assert client.logout(idle).refusal == M2M_EXPIRED
    for unknown in ("never-issued", None):
        assert client.logout(unknown).refusal == M2M_UNKNOWN


def test_end_sessions_ends_all_and_lets_new_ones_open(client: Client) -> None:
    sessions = [client.session(), client.session()]
    client.simulator.end_sessions()
    assert [client.api(session=session).refusal for session in sessions] == [M2M_EXPIRED] * 2
    assert client.api(session=client.session()).status == 200
    assert len(client.simulator.issued_sessions) == 3


# The families.


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (M2M_PATH, 400),
        (LOCATION_PATH, 400),
        (CLOUD_PATH, 403),
        (DIAGNOSTICS_PATH, 400),
        (VEHICLE_PATH, 400),
        (EDGE_PATH, 200),
        (OTHER_PATH, 400),
    ],
)
def test_every_api_takes_a_bearer_alone_unless_sessions_are_required(
    client: Client, path: str, status: int
) -> None:
    header = "SessionToken" if path == VEHICLE_PATH else "VZ-M2M-Token"
    session = client.session()
    assert not client.simulator.sessions_required
    answer = client.api(path)
    assert (answer.status, answer.json["session_number"]) == (200, None)
    assert answer.json["token_number"] == 1
    assert client.api(path, session=session, header=header).json["session_number"] == 1
    client.simulator.sessions_required = True
    assert client.simulator.sessions_required
    assert client.api(path).status == status
    assert client.api(path, session=session, header=header).json["session_number"] == 1


def test_sessions_can_be_required_and_short_from_the_start(clock: Clock) -> None:
    options: dict[str, Any] = {"sessions_required": True, "idle_timeout": 0.5, "clock": clock}
    with ThingspaceSimulator(**options) as simulator, client_of(simulator) as client:
        assert client.api().refusal == M2M_UNKNOWN
        session = client.session()
        assert client.api(session=session).status == 200
        clock.now += 0.5
        assert client.api(session=session).refusal == M2M_EXPIRED


@pytest.mark.parametrize("path", [M2M_PATH, OTHER_PATH, EDGE_PATH, "/api/locality", "/api/m2m"])
def test_m2m_connectivity_and_unnamed_apis_tell_an_expired_session_from_an_unknown_one(
    client: Client, path: str
) -> None:
    session = client.session()
    client.simulator.end_sessions()
    assert client.api(path, session=session).refusal == M2M_EXPIRED
    assert client.api(path, session="never-issued").refusal == M2M_UNKNOWN
    assert client.api(path, session="").refusal == M2M_UNKNOWN
    client.simulator.sessions_required = True
    if path != EDGE_PATH:
        assert client.api(path).refusal == M2M_UNKNOWN


@pytest.mark.parametrize(
    ("path", "status", "told"),
    [
        (LOCATION_PATH, 400, LOCATION_EXPIRED),
        (CLOUD_PATH, 403, CLOUD_UNAUTHORIZED),
        (DIAGNOSTICS_PATH, *DIAGNOSTICS_EXPIRED),
    ],
)
def test_other_families_tell_an_ended_an_unknown_and_a_missing_session_alike(
    client: Client, path: str, status: int, told: object
) -> None:
    client.simulator.sessions_required = True
    session = client.session()
    client.simulator.end_sessions()
    for dead in (session, "never-issued", None):
        answer = client.api(path, session=dead)
        body = answer.json["errorCode"] if isinstance(told, str) else answer.json
        assert (answer.status, body) == (status, told)


@pytest.mark.parametrize(
    ("path", "host"),
    [
        (VEHICLE_PATH, "thingspace.verizon.com"),
        (OTHER_PATH, VEHICLE_HOST),
        (OTHER_PATH, f"{VEHICLE_HOST.upper()}:443"),
    ],
)
def test_the_vehicle_apis_look_only_at_a_header_of_their_own(
    client: Client, path: str, host: str
) -> None:
    def answer(session: str, header: str = "SessionToken") -> Answer:
        return client.api(path, session=session, header=header, Host=host)

    session = client.session()
    for ignored in ("never-issued", session):
        assert answer(ignored, "VZ-M2M-Token").json["session_number"] is None
        # Nor do the others look at this one.
        other = client.api(M2M_PATH, session=ignored, header="SessionToken")
        assert (other.status, other.json["session_number"]) == (200, None)
    assert (answer(session).status, answer(session).json["session_number"]) == (200, 1)
    client.simulator.sessions_required = True
    assert answer(session, "VZ-M2M-Token").refusal == VEHICLE_FORMAT
    client.simulator.end_sessions()
    for dead in (session, "never-issued"):
        assert answer(dead).refusal == VEHICLE_FORMAT


@pytest.mark.parametrize("path", [M2M_PATH, CLOUD_PATH, VEHICLE_PATH])
def test_the_bearer_is_checked_before_the_session(client: Client, path: str) -> None:
    client.simulator.sessions_required = True
    headers = {"VZ-M2M-Token": "unknown", "SessionToken": "unknown"}
    assert client("GET", path, headers=headers).fault == (401, "900902")
    assert client.api(path, "unknown", **headers).fault == (401, "900901")


def test_no_refusal_quotes_the_session(client: Client) -> None:
    for path in (M2M_PATH, LOCATION_PATH, CLOUD_PATH, DIAGNOSTICS_PATH, LOGOUT_PATH):
        method = "POST" if path == LOGOUT_PATH else "GET"
        answer = client.api(path, session="never-issued", method=method)
        assert answer.status >= 400
        assert b"never-issued" not in answer.body


def test_session_refusals_can_be_asked_for(client: Client) -> None:
    def refusal(word: str) -> Answer:
        return client.api(f"{M2M_PATH}?refuse={word}")

    assert refusal("session").refusal == M2M_EXPIRED
    assert (refusal("location").status, refusal("location").json) == (400, LOCATION_EXPIRED)
    assert refusal("location-account").refusal == (400, "INVALID_PARAMETER")
    assert refusal("location-account").json["errorMessage"] == (
        "UWS verification failure (Could not find account 0000123456-00001)"
    )
    assert (refusal("cloud").status, refusal("cloud").json) == (403, CLOUD_UNAUTHORIZED)


# Threads.


def in_threads(simulator: ThingspaceSimulator, act: Callable[[Client], Answer]) -> list[int]:
    """The statuses of what eight clients did at the same time."""
    together = threading.Barrier(8)

    def run(_: int) -> int:
        with client_of(simulator) as client:
            together.wait(SOON)
            return act(client).status

    with ThreadPoolExecutor(8) as pool:
        return sorted(pool.map(run, range(8)))


def test_what_happens_at_the_same_time_is_counted_one_by_one(client: Client) -> None:
    simulator = client.simulator
    assert in_threads(simulator, Client.attempt) == [200] * 8
    assert len(set(simulator.issued_sessions)) == 8
    session = client.session()
    assert in_threads(simulator, lambda other: other.logout(session)) == [200] + [400] * 7
    in_threads(simulator, lambda other: other.attempt(password="wrong"))
    assert (simulator.failed_logins, simulator.is_locked) == (5, True)
