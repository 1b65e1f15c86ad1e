"""The simulator's M2M sessions open, go idle, end and lock as ThingSpace's do."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest

pytest.importorskip("werkzeug")

from thingspace_auth_adapters.simulator import ThingspaceSimulator

TOKEN_PATH = "/api/ts/v1/oauth2/token"
REVOKE_PATH = "/api/ts/v1/oauth2/revoke"
LOGIN_PATH = "/api/m2m/v1/session/login"
LOGOUT_PATH = "/api/m2m/v1/session/logout"
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
# A bound on waiting for what ought to happen at once; never slept through.
SOON = 5.0


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.25

    def __call__(self) -> float:
        return self.now


class Answer:
    """A response that was read to its end."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def refusal(self) -> tuple[int, str]:
        """The status and the code of a refusal, in the form that most APIs share."""
        assert self.headers["Content-Type"] == "application/json"
        assert set(self.json) == {"errorCode", "errorMessage"}
        return self.status, self.json["errorCode"]

    @property
    def fault(self) -> tuple[int, str]:
        """The status and the code of a gateway's fault."""
        return self.status, self.json["fault"]["code"]


class Client:
    """One persistent connection to a simulator, with a bearer."""

    def __init__(self, simulator: ThingspaceSimulator) -> None:
        self.simulator = simulator
        host = simulator.url.rpartition("/")[2]
        self.connection = http.client.HTTPConnection(host, timeout=SOON)
        self.bearer = self._granted()

    def _granted(self) -> str:
        pair = base64.b64encode(b"simulated-key:simulated-secret").decode()
        headers = {
            "Authorization": f"Basic {pair}",
            "Content-Type": "application/x-www-form-urlencoded",
        }
        answer = self("POST", TOKEN_PATH, "grant_type=client_credentials", headers)
        return str(answer.json["access_token"])

    def __call__(
        self, method: str, target: str, body: str | bytes | None, headers: dict[str, str]
    ) -> Answer:
        self.connection.request(method, target, body, headers)
        return Answer(self.connection.getresponse())

    def attempt(self, username: str = "simulated-user", password: str | None = None) -> Answer:
        """The answer to a login, by default with the right pair."""
        secret = self.simulator.password if password is None else password
        return self.post_login(json.dumps({"username": username, "password": secret}))

    def post_login(self, body: str | bytes, bearer: str | None = None) -> Answer:
        authorization = f"Bearer {self.bearer if bearer is None else bearer}"
        return self("POST", LOGIN_PATH, body, {"Authorization": authorization})

    def session(self) -> str:
        """The token of a new session."""
        answer = self.attempt()
        assert answer.status == 200, answer.body
        return str(answer.json["sessionToken"])

    def fail_logins(self, times: int) -> None:
        for _ in range(times):
            assert self.attempt(password="wrong").refusal == WRONG

    def logout(self, session: str | None) -> Answer:
        return self.api(LOGOUT_PATH, session, method="POST")

    def api(
        self,
        target: str = M2M_PATH,
        session: str | None = None,
        header: str = "VZ-M2M-Token",
        host: str = "thingspace.verizon.com",
        method: str = "GET",
    ) -> Answer:
        """An API's answer to a valid bearer, and to a session if there is one."""
        headers = {"Authorization": f"Bearer {self.bearer}", "Host": host}
        if session is not None:
            headers[header] = session
        return self(method, target, None, headers)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def simulator(clock: Clock) -> Iterator[ThingspaceSimulator]:
    # The bearer outlives the hours that pass in these tests.
    with ThingspaceSimulator(clock=clock, token_lifetime=1e6) as simulator:
        yield simulator


@contextlib.contextmanager
def client_of(simulator: ThingspaceSimulator) -> Generator[Client, None, None]:
    client = Client(simulator)
    with contextlib.closing(client.connection):
        yield client


@pytest.fixture
def client(simulator: ThingspaceSimulator) -> Iterator[Client]:
    with client_of(simulator) as client:
        yield client


# Login


def test_a_login_opens_a_session_and_answers_with_a_uuid_and_nothing_else(client: Client) -> None:
    answer = client.attempt()
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert set(answer.json) == {"sessionToken"}
    assert str(UUID(answer.json["sessionToken"])) == answer.json["sessionToken"]
    assert client.simulator.issued_sessions == [answer.json["sessionToken"]]


def test_each_login_opens_another_session_and_the_earlier_ones_stay(client: Client) -> None:
    sessions = [client.session() for _ in range(3)]
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
def test_login_and_logout_take_only_post(client: Client, path: str) -> None:
    answer = client.api(path, client.session())
    assert (answer.status, answer.headers["Allow"]) == (405, "POST")


@pytest.mark.parametrize("path", [LOGIN_PATH, LOGOUT_PATH])
def test_the_gateway_refuses_a_bad_bearer_before_anything_else(client: Client, path: str) -> None:
    assert client("POST", path, "no json", {}).fault == (401, "900902")
    headers = {"Authorization": "Bearer unknown", "VZ-M2M-Token": "unknown"}
    answer = client("POST", path, "no json", headers)
    assert answer.fault == (401, "900901")
    description = answer.json["fault"]["description"]
    assert description.startswith("Access failure for API: /m2m/v1, version: v1.")


def test_a_login_that_the_gateway_turned_down_is_no_attempt(client: Client) -> None:
    client.fail_logins(4)
    wrong = json.dumps({"username": "simulated-user", "password": "wrong"})
    for _ in range(3):
        assert client.post_login(wrong, bearer="unknown").status == 401
    assert client.simulator.failed_logins == 4
    assert not client.simulator.is_locked
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
    answer = client.post_login(body)
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


# The lock


def test_the_fifth_failed_login_in_a_row_locks_even_the_right_password_out(client: Client) -> None:
    locked = []
    for _ in range(5):
        client.fail_logins(1)
        locked.append(client.simulator.is_locked)
    assert locked == [False, False, False, False, True]
    answer = client.attempt()
    assert answer.refusal == LOCKED
    assert "simulated" not in answer.body.decode()
    assert client.attempt(password="wrong").refusal == LOCKED
    assert client.simulator.failed_logins == 5
    assert client.simulator.issued_sessions == []


def test_a_success_in_between_starts_the_count_anew(client: Client) -> None:
    client.fail_logins(4)
    client.session()
    assert client.simulator.failed_logins == 0
    client.fail_logins(4)
    assert client.attempt().status == 200


def test_unlock_lets_the_account_in_and_gives_five_attempts_again(client: Client) -> None:
    client.fail_logins(5)
    client.simulator.unlock()
    assert (client.simulator.is_locked, client.simulator.failed_logins) == (False, 0)
    client.fail_logins(4)
    assert client.attempt().status == 200


def test_time_does_not_unlock(client: Client, clock: Clock) -> None:
    client.fail_logins(5)
    clock.now += 100_000
    assert client.attempt().refusal == LOCKED


def test_a_lock_leaves_open_sessions_alone(client: Client) -> None:
    session = client.session()
    client.fail_logins(5)
    assert client.api(session=session).status == 200


# Idle sessions


def test_a_session_lives_for_as_long_as_it_is_used(client: Client, clock: Clock) -> None:
    session = client.session()
    for _ in range(5):
        clock.now += 1199.5
        assert client.api(session=session).json["session_number"] == 1
    clock.now += 1200
    assert client.api(session=session).refusal == M2M_EXPIRED
    assert client.api(session=client.session()).json["session_number"] == 2


def test_a_use_keeps_its_own_session_alive_and_no_other(client: Client, clock: Clock) -> None:
    used, idle = client.session(), client.session()
    clock.now += 600
    client.api(session=used)
    clock.now += 600
    assert client.api(session=used).status == 200
    assert client.api(session=idle).refusal == M2M_EXPIRED


def test_a_request_that_the_gateway_refused_is_no_use(client: Client, clock: Clock) -> None:
    session = client.session()
    clock.now += 600
    headers = {"Authorization": "Bearer unknown", "VZ-M2M-Token": session}
    assert client("GET", M2M_PATH, None, headers).fault == (401, "900901")
    clock.now += 600
    assert client.api(session=session).refusal == M2M_EXPIRED


def test_another_idle_timeout_holds_for_open_sessions_at_once(client: Client, clock: Clock) -> None:
    session = client.session()
    clock.now += 30
    client.simulator.idle_timeout = 60
    assert client.simulator.idle_timeout == 60
    clock.now += 29.5
    assert client.api(session=session).status == 200
    clock.now += 60
    assert client.api(session=session).refusal == M2M_EXPIRED


def test_a_longer_idle_timeout_brings_no_session_back(client: Client, clock: Clock) -> None:
    gone = client.session()
    clock.now += 1200
    live = client.session()
    client.simulator.idle_timeout = 10_000
    assert client.api(session=gone).refusal == M2M_EXPIRED
    clock.now += 9_999.5
    assert client.api(session=live).status == 200


def test_an_idle_timeout_can_be_given_at_the_start(clock: Clock) -> None:
    with ThingspaceSimulator(clock=clock, idle_timeout=0.5) as simulator:
        with client_of(simulator) as client:
            session = client.session()
            clock.now += 0.5
            assert client.api(session=session).refusal == M2M_EXPIRED


@pytest.mark.parametrize("seconds", [0, -1, float("inf"), float("nan")])
def test_an_idle_timeout_that_makes_no_sense_is_a_value_error(
    simulator: ThingspaceSimulator, seconds: float
) -> None:
    with pytest.raises(ValueError, match="idle_timeout"):
        ThingspaceSimulator(idle_timeout=seconds)
    with pytest.raises(ValueError, match="idle_timeout"):
        simulator.idle_timeout = seconds
    assert simulator.idle_timeout == 1200


# Logout, and other ends


def test_logout_ends_its_session_and_names_it(client: Client) -> None:
    ended, other = client.session(), client.session()
    answer = client.logout(ended)
    assert (answer.status, answer.json) == (200, {"sessionToken": ended})
    assert client.api(session=ended).refusal == M2M_EXPIRED
    assert client.api(session=other).status == 200


def test_logout_refuses_a_dead_or_missing_session_as_m2m_connectivity_does(
    client: Client, clock: Clock
) -> None:
    logged_out, idle = client.session(), client.session()
    client.logout(logged_out)
    clock.now += 1200
    assert client.logout(logged_out).refusal == M2M_EXPIRED
    assert client.logout(idle).refusal == M2M_EXPIRED
    assert client.logout("never-issued").refusal == M2M_UNKNOWN
    assert client.logout(None).refusal == M2M_UNKNOWN


def test_end_sessions_ends_all_and_lets_new_ones_open(client: Client) -> None:
    sessions = [client.session(), client.session()]
    client.simulator.end_sessions()
    assert [client.api(session=session).refusal for session in sessions] == [M2M_EXPIRED] * 2
    assert client.api(session=client.session()).status == 200
    assert len(client.simulator.issued_sessions) == 3


def test_sessions_and_the_lock_outlive_a_restart(clock: Clock) -> None:
    simulator = ThingspaceSimulator(clock=clock)
    with simulator, client_of(simulator) as client:
        session = client.session()
        client.fail_logins(5)
    with simulator, client_of(simulator) as client:
        assert client.api(session=session).status == 200
        assert client.attempt().refusal == LOCKED


# The families


@pytest.mark.parametrize(
    "path",
    [M2M_PATH, LOCATION_PATH, CLOUD_PATH, DIAGNOSTICS_PATH, VEHICLE_PATH, EDGE_PATH, OTHER_PATH],
)
def test_every_api_takes_a_bearer_alone_unless_sessions_are_required(
    client: Client, path: str
) -> None:
    assert not client.simulator.sessions_required
    answer = client.api(path)
    assert (answer.status, answer.json["session_number"]) == (200, None)
    assert answer.json["token_number"] == 1
    client.simulator.sessions_required = True
    assert client.simulator.sessions_required
    assert client.api(path).status == {EDGE_PATH: 200, CLOUD_PATH: 403}.get(path, 400)


@pytest.mark.parametrize("path", [M2M_PATH, LOCATION_PATH, CLOUD_PATH, DIAGNOSTICS_PATH, EDGE_PATH])
@pytest.mark.parametrize("required", [True, False])
def test_a_live_session_is_taken_in_its_header(path: str, required: bool) -> None:
    with ThingspaceSimulator(sessions_required=required) as simulator:
        with client_of(simulator) as client:
            answer = client.api(path, client.session())
            assert (answer.status, answer.json["session_number"]) == (200, 1)


@pytest.mark.parametrize("path", [M2M_PATH, OTHER_PATH, EDGE_PATH, "/api/locality", "/api/m2m"])
def test_m2m_connectivity_and_unnamed_apis_tell_an_expired_session_from_an_unknown_one(
    client: Client, path: str
) -> None:
    session = client.session()
    client.simulator.end_sessions()
    assert client.api(path, session).refusal == M2M_EXPIRED
    assert client.api(path, "never-issued").refusal == M2M_UNKNOWN
    assert client.api(path, "").refusal == M2M_UNKNOWN


def test_m2m_connectivity_calls_a_missing_session_invalid(client: Client) -> None:
    client.simulator.sessions_required = True
    assert client.api(M2M_PATH).refusal == M2M_UNKNOWN
    assert client.api(OTHER_PATH).refusal == M2M_UNKNOWN


def refusals(client: Client, path: str) -> list[Answer]:
    """The answers to a session that ended, to one never issued and to none."""
    client.simulator.sessions_required = True
    session = client.session()
    client.simulator.end_sessions()
    return [client.api(path, value) for value in (session, "never-issued", None)]


def test_device_location_tells_a_dead_session_by_its_message_alone(client: Client) -> None:
    for answer in refusals(client, LOCATION_PATH):
        assert (answer.status, answer.json) == (400, LOCATION_EXPIRED)


def test_cloud_connector_calls_a_dead_session_unauthorized(client: Client) -> None:
    for answer in refusals(client, CLOUD_PATH):
        assert (answer.status, answer.json) == (403, CLOUD_UNAUTHORIZED)


def test_diagnostics_has_a_service_prefix_of_its_own(client: Client) -> None:
    for answer in refusals(client, DIAGNOSTICS_PATH):
        assert answer.refusal == DIAGNOSTICS_EXPIRED


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
    session = client.session()
    assert client.api(path, "never-issued", host=host).json["session_number"] is None
    assert client.api(path, session, host=host).json["session_number"] is None
    answer = client.api(path, session, "SessionToken", host)
    assert (answer.status, answer.json["session_number"]) == (200, 1)
    client.simulator.sessions_required = True
    assert client.api(path, session, host=host).refusal == VEHICLE_FORMAT
    client.simulator.end_sessions()
    for dead in (session, "never-issued"):
        assert client.api(path, dead, "SessionToken", host).refusal == VEHICLE_FORMAT


def test_other_apis_ignore_the_vehicle_apis_header(client: Client) -> None:
    session = client.session()
    assert client.api(M2M_PATH, session, "SessionToken").json["session_number"] is None
    assert client.api(M2M_PATH, "never-issued", "SessionToken").status == 200


@pytest.mark.parametrize("path", [M2M_PATH, CLOUD_PATH, VEHICLE_PATH])
def test_the_bearer_is_checked_before_the_session(client: Client, path: str) -> None:
    client.simulator.sessions_required = True
    headers = {"VZ-M2M-Token": "unknown", "SessionToken": "unknown"}
    assert client("GET", path, None, headers).fault == (401, "900902")
    headers["Authorization"] = "Bearer unknown"
    assert client("GET", path, None, headers).fault == (401, "900901")


def test_no_refusal_quotes_the_session(client: Client) -> None:
    for path in (M2M_PATH, LOCATION_PATH, CLOUD_PATH, DIAGNOSTICS_PATH):
        assert b"never-issued" not in client.api(path, "never-issued").body
    assert b"never-issued" not in client.logout("never-issued").body


# What a test can ask for


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


def test_login_and_logout_fail_and_recover_by_their_names(client: Client) -> None:
    simulator = client.simulator
    simulator.fail("login", 503)
    simulator.fail("logout", 502, times=None)
    assert client.attempt(password="wrong").status == 503
    assert simulator.failed_logins == 0
    session = client.session()
    assert [client.logout(session).status for _ in range(2)] == [502, 502]
    assert client.api(session=session).status == 200
    simulator.recover("logout")
    assert client.logout(session).status == 200


def test_failures_of_the_api_leave_login_and_logout_alone(client: Client) -> None:
    client.simulator.fail("api", 500, times=None)
    assert client.logout(client.session()).status == 200
    assert client.api().status == 500


def test_latency_knows_login_and_logout(client: Client) -> None:
    latency = client.simulator.latency
    assert dict.fromkeys(("token", "revoke", "login", "logout", "api"), 0) == latency
    client.simulator.latency = {"login": 0.5}
    latency = client.simulator.latency
    latency["logout"] = 0.25
    assert (latency["login"], latency["logout"], len(latency)) == (0.5, 0.25, 5)
    assert "'login': 0.5, 'logout': 0.25" in repr(latency)
    del latency["login"]
    assert latency["login"] == 0


def test_the_log_keeps_logins_and_logouts_apart_from_the_api(client: Client) -> None:
    simulator = client.simulator
    session = client.session()
    client.attempt(password="wrong")
    client.api(session=session)
    client.logout(session)
    client("POST", REVOKE_PATH, None, {})
    assert [request.status for request in simulator.login_requests] == [200, 400]
    assert [request.status for request in simulator.logout_requests] == [200]
    assert [request.path for request in simulator.api_requests] == [M2M_PATH]
    sent = json.loads(simulator.login_requests[0].body)
    assert sent == {"username": "simulated-user", "password": "simulated-password"}
    assert simulator.logout_requests[0].headers["vz-m2m-token"] == session


def test_no_secret_shows_in_a_repr(client: Client) -> None:
    session = client.session()
    client.api(session=session)
    shown = repr(client.simulator) + repr(client.simulator.requests)
    assert session not in shown
    assert "simulated-password" not in shown


# Threads


def in_threads(simulator: ThingspaceSimulator, act: Callable[[Client], Answer]) -> list[int]:
    """The statuses of what eight clients did at the same time."""
    together = threading.Barrier(8)

    def run(_: int) -> int:
        with client_of(simulator) as client:
            together.wait(SOON)
            return act(client).status

    with ThreadPoolExecutor(8) as pool:
        return sorted(pool.map(run, range(8)))


def test_logins_at_the_same_time_each_get_a_session(simulator: ThingspaceSimulator) -> None:
    assert in_threads(simulator, Client.attempt) == [200] * 8
    assert len(set(simulator.issued_sessions)) == 8


def test_failed_logins_at_the_same_time_are_counted_to_five(
    simulator: ThingspaceSimulator,
) -> None:
    in_threads(simulator, lambda client: client.attempt(password="wrong"))
    assert (simulator.failed_logins, simulator.is_locked) == (5, True)


def test_of_logouts_at_the_same_time_one_ends_the_session(
    simulator: ThingspaceSimulator, client: Client
) -> None:
    session = client.session()
    assert in_threads(simulator, lambda other: other.logout(session)) == [200] + [400] * 7
