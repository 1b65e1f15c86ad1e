"""The simulator answers as ThingSpace does, and fails as it is told to."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import importlib
import json
import operator
import socket
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable, Generator, Iterator, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Union

import pytest

pytest.importorskip("werkzeug")

from thingspace_auth_adapters.simulator import SimulatedRequest, ThingspaceSimulator
from thingspace_auth_adapters.simulator.http_server import LoopbackServer

TOKEN_PATH = "/api/ts/v1/oauth2/token"
REVOKE_PATH = "/api/ts/v1/oauth2/revoke"
API_PATH = "/api/m2m/v1/devices"
FORM = "application/x-www-form-urlencoded"
GRANT = {"grant_type": "client_credentials"}
# A bound on waiting for what ought to happen at once; never slept through.
SOON = 5.0


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.3

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
    def code(self) -> str:
        """The code of a gateway's fault."""
        assert self.headers["Content-Type"] == "application/json"
        return str(self.json["fault"]["code"])


Body = Union[None, str, bytes, Iterator[bytes]]


class Client:
    """One persistent connection to a simulator."""

    def __init__(self, simulator: ThingspaceSimulator) -> None:
        self.simulator = simulator
        host = simulator.url.rpartition("/")[2]
        self.connection = http.client.HTTPConnection(host, timeout=SOON)

    def __call__(
        self, method: str, target: str, body: Body = None, headers: dict[str, str] | None = None
    ) -> Answer:
        chunked = not (body is None or isinstance(body, (str, bytes)))
        self.connection.request(method, target, body, headers or {}, encode_chunked=chunked)
        return Answer(self.connection.getresponse())

    def form(self, path: str, fields: dict[str, str], basic: str | None = None) -> Answer:
        pair = f"{self.simulator.client_id}:{self.simulator.client_secret}"
        credentials = base64.b64encode((pair if basic is None else basic).encode()).decode()
        headers = {"Authorization": f"Basic {credentials}", "Content-Type": FORM}
        return self("POST", path, urllib.parse.urlencode(fields), headers)

    def token(self, scope: str | None = None) -> Any:
        """What the token endpoint grants."""
        answer = self.form(TOKEN_PATH, GRANT if scope is None else {**GRANT, "scope": scope})
        assert answer.status == 200, answer.body
        return answer.json

    def api(self, target: str = API_PATH, bearer: str | None = None, method: str = "GET") -> Answer:
        """An API's answer to a bearer, by default to a valid one."""
        token = self.token()["access_token"] if bearer is None else bearer
        return self(method, target, headers={"Authorization": f"Bearer {token}"})


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def simulator(clock: Clock) -> Iterator[ThingspaceSimulator]:
    with ThingspaceSimulator(clock=clock) as simulator:
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


def eventually(condition: Callable[[], object]) -> None:
    """Waits for something that another thread is about to do."""
    deadline = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


# The token endpoint


def test_a_token_is_granted_in_the_platform_s_form(client: Client) -> None:
    answer = client.form(TOKEN_PATH, GRANT)
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.json == {
        "access_token": client.simulator.issued_tokens[0],
        "scope": " ts.application.ro ts.mec.fullaccess",
        "token_type": "Bearer",
        "expires_in": 3600,
    }
    assert isinstance(answer.json["expires_in"], int)


def test_the_same_token_comes_back_until_it_expires(client: Client, clock: Clock) -> None:
    first = client.token()
    clock.now += 3599.5
    again = client.token()
    clock.now += 0.5
    renewed = client.token()
    assert again["access_token"] == first["access_token"] != renewed["access_token"]
    assert renewed["expires_in"] == 3600
    assert client.simulator.issued_tokens == [first["access_token"], renewed["access_token"]]


def test_expires_in_is_what_remains_rounded_down_to_0(client: Client, clock: Clock) -> None:
    seen = [client.token()["expires_in"]]
    for seconds in (0.25, 0.75, 3598.0, 0.75):
        clock.now += seconds
        seen.append(client.token()["expires_in"])
    assert seen == [3600, 3599, 3599, 1, 0]


def test_a_fresh_token_has_its_whole_lifetime_whatever_the_clock_says(
    client: Client, clock: Clock
) -> None:
    for now in (0.1, 1e9 / 3, 1_699_999_999.999_999_7):
        client.simulator.revoke()
        clock.now = now
        assert client.token()["expires_in"] == 3600


def test_a_scope_set_has_a_token_of_its_own_in_any_order(client: Client) -> None:
    full = client.token()
    some = client.token("write read")
    assert some["scope"] == " read write"
    assert some["access_token"] != full["access_token"]
    assert client.token("read write read") == some
    assert client.token("") == full


def test_all_fifteen_scopes_are_known(client: Client) -> None:
    scopes = (
        "discovery:read serviceprofile:read serviceprofile:write serviceregistry:read "
        "serviceregistry:write ts.mec.fullaccess ts.mec.limitaccess ts.application.ro "
        "edge:discovery:read edge:serviceprofile:read edge:serviceprofile:write "
        "edge:serviceregistry:read edge:serviceregistry:write read write"
    )
    assert sorted(client.token(scopes)["scope"].split()) == sorted(scopes.split())


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({}, "invalid_request"),
        ({"grant_type": ""}, "invalid_request"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({**GRANT, "scope": "read unheard-of"}, "invalid_scope"),
    ],
)
def test_a_wrong_token_request_is_a_400_of_rfc_6749(
    client: Client, fields: dict[str, str], error: str
) -> None:
    answer = client.form(TOKEN_PATH, fields)
    assert (answer.status, answer.json["error"]) == (400, error)
    assert set(answer.json) == {"error", "error_description", "error_uri"}
    assert client.simulator.issued_tokens == []


def test_a_body_that_is_no_form_is_an_invalid_request(client: Client) -> None:
    pair = base64.b64encode(b"simulated-key:simulated-secret").decode()
    headers = {"Authorization": f"Basic {pair}", "Content-Type": "application/json"}
    answer = client("POST", TOKEN_PATH, json.dumps(GRANT), headers)
    assert (answer.status, answer.json["error"]) == (400, "invalid_request")


@pytest.mark.parametrize("path", [TOKEN_PATH, REVOKE_PATH])
def test_missing_basic_is_the_gateway_s_fault_900902(client: Client, path: str) -> None:
    for headers in ({}, {"Authorization": "Bearer simulated-key"}):
        answer = client("POST", path, "token=x", {"Content-Type": FORM, **headers})
        assert (answer.status, answer.code) == (401, "900902")
        assert answer.json["fault"]["message"] == "Missing Credentials"


@pytest.mark.parametrize("path", [TOKEN_PATH, REVOKE_PATH])
@pytest.mark.parametrize("basic", ["simulated-key:wrong", "wrong:simulated-secret", "", "é:é"])
def test_a_wrong_pair_is_an_invalid_client(client: Client, path: str, basic: str) -> None:
    answer = client.form(path, {**GRANT, "token": "x"}, basic)
    assert (answer.status, answer.json["error"]) == (401, "invalid_client")
    assert set(answer.json) == {"error", "error_description", "error_uri"}


def test_basic_takes_the_plain_pair_and_not_the_percent_encoded_one() -> None:
    with ThingspaceSimulator("k%y", "s cr:t/é") as simulator, client_of(simulator) as client:
        assert client.form(TOKEN_PATH, GRANT, "k%y:s cr:t/é").status == 200
        encoded = ":".join(urllib.parse.quote_plus(part) for part in ("k%y", "s cr:t/é"))
        assert client.form(TOKEN_PATH, GRANT, encoded).status == 401


@pytest.mark.parametrize("path", [TOKEN_PATH, REVOKE_PATH])
def test_oauth_endpoints_take_only_post(client: Client, path: str) -> None:
    answer = client("GET", path)
    assert (answer.status, answer.headers["Allow"]) == (405, "POST")


def test_oauth_endpoints_work_for_every_host_name(client: Client) -> None:
    pair = base64.b64encode(b"simulated-key:simulated-secret").decode()
    headers = {"Authorization": f"basic {pair}", "Content-Type": FORM, "Host": "5gedge.verizon.com"}
    body = urllib.parse.urlencode(GRANT)
    assert client("POST", TOKEN_PATH, body, headers).status == 200
    absolute = f"http://5gedge.verizon.com{TOKEN_PATH}"
    assert client("POST", absolute, body, headers).status == 200
    assert len(client.simulator.token_requests) == 2


def test_sixteen_threads_on_a_cold_token_all_see_the_same(simulator: ThingspaceSimulator) -> None:
    together = threading.Barrier(16)

    def fetch(_: int) -> str:
        with client_of(simulator) as client:
            together.wait(SOON)
            return str(client.token()["access_token"])

    with ThreadPoolExecutor(16) as pool:
        tokens = set(pool.map(fetch, range(16)))
    assert tokens == set(simulator.issued_tokens)
    assert (len(tokens), len(simulator.token_requests)) == (1, 16)


def test_a_changed_lifetime_holds_for_tokens_issued_from_then_on(
    client: Client, clock: Clock
) -> None:
    client.token()
    client.simulator.token_lifetime = 2.5
    assert client.simulator.token_lifetime == 2.5
    assert client.token()["expires_in"] == 3600
    client.simulator.revoke()
    assert client.token()["expires_in"] == 2
    client.simulator.token_lifetime = 0
    clock.now += 3
    assert client.token()["expires_in"] == 0
    assert client.token()["access_token"] == client.simulator.issued_tokens[3]


# Revocation


def test_revoking_answers_with_the_token_in_a_header_and_the_next_one_is_new(
    client: Client,
) -> None:
    token = client.token()["access_token"]
    answer = client.form(REVOKE_PATH, {"token": token, **GRANT})
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["RevokedAccessToken"] == token
    assert client.api(bearer=token).code == "900901"
    assert client.token()["access_token"] != token


def test_revoking_an_unknown_token_is_200_and_names_no_revoked_token(client: Client) -> None:
    token = client.token()["access_token"]
    answer = client.form(REVOKE_PATH, {"token": "never\nissued"})
    assert (answer.status, answer.body) == (200, b"")
    assert "RevokedAccessToken" not in answer.headers
    assert client.api(bearer=token).status == 200


def test_revoking_without_a_token_is_an_invalid_request(client: Client) -> None:
    answer = client.form(REVOKE_PATH, GRANT)
    assert (answer.status, answer.json["error"]) == (400, "invalid_request")


def test_revoke_of_the_simulator_invalidates_every_valid_token(client: Client) -> None:
    tokens = [client.token()["access_token"], client.token("read")["access_token"]]
    client.simulator.revoke()
    assert [client.api(bearer=token).code for token in tokens] == ["900901", "900901"]
    assert client.token()["access_token"] not in tokens


# The API


def test_an_authorised_request_is_described(client: Client) -> None:
    client.token("read")
    token = client.token()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    answer = client("PATCH", f"{API_PATH}?a=1&b=x%20y", b"\0body", headers)
    assert answer.status == 200
    assert answer.json == {
        "method": "PATCH",
        "path": API_PATH,
        "query": {"a": "1", "b": "x y"},
        "body_length": 5,
        "body_sha256": hashlib.sha256(b"\0body").hexdigest(),
        "token_number": 2,
        "session_number": None,
    }


def test_a_chunked_body_is_counted_whole(client: Client) -> None:
    token = client.token()["access_token"]
    headers = {"Authorization": f"Bearer {token}", "Transfer-Encoding": "chunked"}
    for _ in range(2):
        answer = client("PUT", API_PATH, iter([b"one", b"two" * 50_000]), headers)
        whole = b"one" + b"two" * 50_000
        assert answer.json["body_length"] == len(whole)
        assert answer.json["body_sha256"] == hashlib.sha256(whole).hexdigest()
        assert client.simulator.requests[-1].body == whole


def test_head_has_no_body(client: Client) -> None:
    for _ in range(2):
        answer = client.api(method="HEAD")
        assert (answer.status, answer.body) == (200, b"")


def test_a_missing_bearer_is_fault_900902(client: Client) -> None:
    for headers in ({}, {"Authorization": "Basic eDp5"}):
        answer = client("GET", API_PATH, headers=headers)
        assert (answer.status, answer.code) == (401, "900902")


def test_an_unknown_bearer_is_fault_900901_in_the_documented_words(client: Client) -> None:
    answer = client.api(bearer="unknown")
    assert answer.status == 401
    assert answer.json == {
        "fault": {
            "code": "900901",
            "message": "Invalid Credentials",
            "description": "Access failure for API: /m2m/v1, version: v1. "
            "Make sure you have given the correct access token",
        }
    }


def test_a_fault_names_the_api_even_where_the_path_has_no_version(client: Client) -> None:
    description = client.api("/api/loc/devices", "unknown").json["fault"]["description"]
    assert description.startswith("Access failure for API: /loc, version: v1.")


def test_a_bearer_is_good_until_it_expires(client: Client, clock: Clock) -> None:
    token = client.token()["access_token"]
    clock.now += 3599.5
    assert client.api(bearer=token).status == 200
    clock.now += 0.5
    assert client.api(bearer=token).code == "900901"


def test_paths_outside_the_api_are_404_in_plain_text(client: Client) -> None:
    answer = client.api("/elsewhere")
    assert answer.status == 404
    assert answer.headers["Content-Type"].startswith("text/plain")


def test_status_is_answered_only_when_authorised(client: Client) -> None:
    assert client.api(f"{API_PATH}?status=503").status == 503
    assert client.api(f"{API_PATH}?status=503", "unknown").code == "900901"
    assert client.api(f"{API_PATH}?status=204").body == b""


@pytest.mark.parametrize("size", [0, 1, 65536, 200_001])
def test_bytes_streams_so_many_when_authorised(client: Client, size: int) -> None:
    answer = client.api(f"{API_PATH}?bytes={size}")
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.body == (bytes(range(256)) * (size // 256 + 1))[:size]
    assert client.api(f"{API_PATH}?bytes={size}", "unknown").status == 401


def test_redirect_leads_where_it_says_when_authorised(client: Client) -> None:
    target = urllib.parse.quote("http://elsewhere.example/a?b=c", safe="")
    answer = client.api(f"{API_PATH}?redirect={target}")
    assert (answer.status, answer.headers["Location"]) == (302, "http://elsewhere.example/a?b=c")
    assert client.api(f"{API_PATH}?redirect={target}&code=307").status == 307
    assert client.api(f"{API_PATH}?redirect={target}", "unknown").status == 401


@pytest.mark.parametrize("word", ["gateway", "expired", "inactive", "throttled"])
def test_refusals_by_the_gateway_are_faults(client: Client, word: str) -> None:
    expected = {"gateway": "900901", "expired": "900903", "inactive": "900904"}
    answer = client.api(f"{API_PATH}?refuse={word}")
    assert answer.code == expected.get(word, "900800")
    assert answer.status == (429 if word == "throttled" else 401)
    assert answer.headers["Retry-After"] == ("1" if word == "throttled" else None)


def test_the_other_refusals_have_the_shape_of_their_family(client: Client) -> None:
    def refusal(word: str) -> Answer:
        return client("GET", f"{API_PATH}?refuse={word}")

    diagnostics = refusal("diagnostics")
    assert (diagnostics.status, diagnostics.json["errorCode"]) == (401, "INVALID_ACCOUNT")
    assert "errorMessage" in diagnostics.json
    assert (refusal("empty").status, refusal("empty").body) == (401, b"")
    assert refusal("html").status == 401
    assert refusal("html").headers["Content-Type"].startswith("text/html")
    assert refusal("challenge").status == 401
    assert refusal("challenge").headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    assert refusal("scope").status == 403
    assert refusal("scope").headers["WWW-Authenticate"] == 'Bearer error="insufficient_scope"'
    assert refusal("forbidden").status == 403
    assert refusal("forbidden").body.startswith(b"<am:fault ")
    assert refusal("large").status == 401
    assert len(refusal("large").body) == 200 * 1024
    assert "fault" not in refusal("large").json


@pytest.mark.parametrize(
    "query",
    [
        "refuse=unheard-of",
        "status=abc",
        "status=199",
        "bytes=-1",
        "delay=soon",
        "delay=-1",
        "redirect=/&code=200",
    ],
)
def test_a_parameter_that_makes_no_sense_is_a_400_that_names_it(client: Client, query: str) -> None:
    answer = client.api(f"{API_PATH}?{query}")
    assert answer.status == 400
    assert query.split("&")[-1].split("=")[0].encode() in answer.body


def test_delay_comes_before_any_api_answer(client: Client) -> None:
    for query in ("delay=0.03", "refuse=empty&delay=0.03"):
        began = time.monotonic()
        client("GET", f"{API_PATH}?{query}")
        assert time.monotonic() - began >= 0.03


# Knobs


def test_latency_delays_the_endpoint_that_it_names(client: Client) -> None:
    client.simulator.latency["api"] = 0.03
    began = time.monotonic()
    client("GET", API_PATH)
    assert time.monotonic() - began >= 0.03
    client.simulator.latency = {"token": 0.03}
    assert dict(client.simulator.latency) == {
        "token": 0.03,
        "revoke": 0,
        "login": 0,
        "logout": 0,
        "api": 0,
    }
    began = time.monotonic()
    client.token()
    assert time.monotonic() - began >= 0.03
    del client.simulator.latency["token"]
    assert client.simulator.latency["token"] == 0
    assert len(client.simulator.latency) == 5
    names = ", ".join(f"{name!r}: 0.0" for name in client.simulator.latency)
    assert repr(client.simulator.latency) == f"{{{names}}}"


MUTATORS: dict[str, Callable[[MutableMapping[str, float]], object]] = {
    "clear": lambda latency: latency.clear(),
    "pop of each": lambda latency: [latency.pop(name) for name in latency],
    "popitem": lambda latency: [latency.popitem() for _ in range(2)],
    "del of each": lambda latency: [operator.delitem(latency, name) for name in latency],
    "assignment": lambda latency: [operator.setitem(latency, name, 0) for name in latency],
    "update": lambda latency: latency.update(dict.fromkeys(latency, 0)),
}


@pytest.mark.parametrize("mutator", list(MUTATORS))
def test_every_mutator_of_the_latency_comes_back(mutator: str) -> None:
    latency = ThingspaceSimulator().latency
    latency.update(token=0.5, api=2)
    assert latency.setdefault("token", 9) == 0.5
    MUTATORS[mutator](latency)
    assert dict(latency) == dict.fromkeys(("token", "revoke", "login", "logout", "api"), 0)
    with pytest.raises(KeyError, match="no endpoint has a latency"):
        latency.popitem()


def test_popitem_and_pop_of_the_latency_return_what_was_set() -> None:
    latency = ThingspaceSimulator().latency
    latency.update(login=0.5, api=2)
    assert (latency.popitem(), latency.pop("api"), latency.pop("api")) == (("login", 0.5), 2, 0)
    with pytest.raises(KeyError):
        latency.pop("tokens")


def test_a_length_that_a_test_gives_is_sent(client: Client) -> None:
    client.simulator.fail("api", 200, headers={"Content-Length": "2"}, body="body")
    assert client("GET", API_PATH).body == b"bo"


def test_failures_come_in_order_and_then_the_endpoint_answers_again(client: Client) -> None:
    simulator = client.simulator
    simulator.fail("token", 503, times=2, headers={"Retry-After": "1"}, body=b"busy")
    simulator.fail("token", 400, body={"error": "invalid_client"})
    simulator.fail("token", 200, headers={"Content-Type": "text/html"}, body="<p>é")
    answers = [client.form(TOKEN_PATH, GRANT) for _ in range(5)]
    assert [answer.status for answer in answers] == [503, 503, 400, 200, 200]
    assert [answer.headers["Retry-After"] for answer in answers[:3]] == ["1", "1", None]
    assert (answers[0].body, answers[2].json) == (b"busy", {"error": "invalid_client"})
    assert answers[2].headers["Content-Type"] == "application/json"
    assert answers[3].headers["Content-Type"] == "text/html"
    assert answers[3].body == "<p>é".encode()
    assert answers[4].json["access_token"] == simulator.issued_tokens[0]


def test_a_failure_is_of_its_endpoint_alone(client: Client) -> None:
    client.simulator.fail("api", 500)
    client.simulator.fail("revoke", 501)
    token = client.token()["access_token"]
    answer = client.api(bearer=token)
    assert (answer.status, answer.body) == (500, b"")
    assert client.form(REVOKE_PATH, {"token": token}).status == 501
    assert client.api(bearer=token).status == 200


def test_times_none_lasts_until_recover(client: Client) -> None:
    client.simulator.fail("token", 503, times=None)
    client.simulator.fail("api", 500, times=None)
    assert {client.form(TOKEN_PATH, GRANT).status for _ in range(5)} == {503}
    client.simulator.recover("token")
    assert client.form(TOKEN_PATH, GRANT).status == 200
    assert client.api().status == 500
    client.simulator.recover()
    assert client.api().status == 200


def test_drop_closes_the_connection_without_an_answer_or_a_traceback(
    client: Client, capfd: pytest.CaptureFixture[str]
) -> None:
    client.simulator.fail("token", "drop")
    with pytest.raises(http.client.RemoteDisconnected):
        client.token()
    assert client.simulator.requests[0].status is None
    assert client.token()["expires_in"] == 3600
    assert capfd.readouterr() == ("", "")


def test_hang_never_answers_until_recover(simulator: ThingspaceSimulator) -> None:
    simulator.fail("token", "hang")
    with client_of(simulator) as client, ThreadPoolExecutor(1) as pool:
        hanging = pool.submit(client.token)
        eventually(lambda: simulator.requests)
        with client_of(simulator) as other:
            other.token()
        assert not hanging.done()
        assert [request.status for request in simulator.requests] == [None, 200]
        simulator.recover("token")
        assert hanging.result(SOON)["access_token"] == simulator.issued_tokens[0]


@pytest.mark.parametrize("reason", ["hang", "delay", "latency"])
def test_closing_is_prompt_and_ends_answers_that_wait(reason: str) -> None:
    simulator = ThingspaceSimulator()
    simulator.start()
    if reason == "hang":
        simulator.fail("api", "hang")
    simulator.latency["api"] = 60 if reason == "latency" else 0
    with client_of(simulator) as client, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client, "GET", f"{API_PATH}?delay={60 if reason == 'delay' else 0}")
        eventually(lambda: simulator.requests)
        began = time.monotonic()
        simulator.close()
        assert time.monotonic() - began < SOON
        with pytest.raises(http.client.RemoteDisconnected):
            waiting.result(SOON)


def test_closing_is_prompt_with_idle_connections_frees_the_port_and_is_idempotent() -> None:
    with ThingspaceSimulator() as simulator:
        clients = [Client(simulator) for _ in range(3)]
        for client in clients:
            client.token()
        began = time.monotonic()
        simulator.close()
        assert time.monotonic() - began < SOON
        simulator.close()
    address = clients[0].connection.host, clients[0].connection.port
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, SOON)
    for client in clients:
        client.connection.close()
    # The very port again: nothing still holds it.
    with ThingspaceSimulator(port=address[1]) as again, client_of(again) as fresh:
        assert again.url == simulator.url
        fresh.token()


def test_it_can_be_started_again_with_its_tokens_and_without_its_failures() -> None:
    simulator = ThingspaceSimulator()
    with simulator, client_of(simulator) as client:
        simulator.start()
        token = client.token()["access_token"]
        simulator.fail("token", "drop", times=None)
    with simulator, client_of(simulator) as client:
        assert client.token()["access_token"] == token


def test_a_port_that_is_taken_is_an_oserror(simulator: ThingspaceSimulator) -> None:
    taken = int(simulator.url.rpartition(":")[2])
    other = ThingspaceSimulator(port=taken)
    with pytest.raises(OSError, match=r"."):
        other.start()
    other.close()


Call = Callable[[Any], object]
MISTAKES: list[tuple[str, Call]] = [
    ("endpoint", lambda simulator: simulator.fail("tokens", 503)),
    ("endpoint", lambda simulator: simulator.recover("tokens")),
    ("endpoint", lambda simulator: simulator.latency.update({"tokens": 1})),
    ("endpoint", lambda simulator: setattr(simulator, "latency", {"tokens": 1})),
    ("failure", lambda simulator: simulator.fail("token", "crash")),
    ("failure", lambda simulator: simulator.fail("token", 99)),
    ("failure", lambda simulator: simulator.fail("token", True)),
    ("times", lambda simulator: simulator.fail("token", 503, times=0)),
    ("latency", lambda simulator: simulator.latency.update({"token": -1})),
    ("token_lifetime", lambda simulator: setattr(simulator, "token_lifetime", -1)),
    ("token_lifetime", lambda _: ThingspaceSimulator(token_lifetime=float("nan"))),
    ("port", lambda _: ThingspaceSimulator(port=65536)),
]


@pytest.mark.parametrize(("argument", "mistake"), MISTAKES)
def test_wrong_arguments_are_value_errors_that_name_the_argument(
    simulator: ThingspaceSimulator, argument: str, mistake: Call
) -> None:
    with pytest.raises(ValueError, match=argument):
        mistake(simulator)


def test_repr_shows_the_url_and_no_secret(simulator: ThingspaceSimulator) -> None:
    assert repr(simulator) == f"<ThingspaceSimulator {simulator.url}>"
    idle = ThingspaceSimulator(client_secret="hush")
    assert "hush" not in repr(idle)
    with pytest.raises(RuntimeError, match="started"):
        _ = idle.url


# The log


def test_requests_are_logged_in_order_with_all_they_consist_of(
    client: Client, clock: Clock
) -> None:
    client.form(TOKEN_PATH, GRANT)
    clock.now += 5
    client("DELETE", f"{API_PATH}?a=%20b", b"body", {"X-Mixed-Case": "Value"})
    client.form(REVOKE_PATH, {"token": "t"})
    simulator = client.simulator
    first, second, third = simulator.requests
    assert isinstance(first, SimulatedRequest)
    assert (first.method, first.path, first.query) == ("POST", TOKEN_PATH, "")
    assert (first.body, first.status) == (b"grant_type=client_credentials", 200)
    assert first.headers["content-type"] == FORM
    assert (second.method, second.path, second.query) == ("DELETE", API_PATH, "a=%20b")
    assert (second.body, second.status, second.at) == (b"body", 401, first.at + 5)
    assert second.headers["x-mixed-case"] == "Value"
    assert simulator.token_requests == [first]
    assert simulator.api_requests == [second]
    assert simulator.requests_to("/oauth2/revoke") == [third]


def test_the_log_never_prints_headers_or_bodies(client: Client) -> None:
    client.token()
    assert "Basic" not in repr(client.simulator.requests)
    assert "client_credentials" not in repr(client.simulator.requests)


def test_requests_is_a_snapshot_and_clear_forgets_even_what_is_unanswered(
    simulator: ThingspaceSimulator,
) -> None:
    simulator.fail("token", "hang")
    with client_of(simulator) as client, ThreadPoolExecutor(1) as pool:
        hanging = pool.submit(client.token)
        eventually(lambda: simulator.requests)
        before = simulator.requests
        simulator.clear()
        simulator.recover()
        hanging.result(SOON)
        assert simulator.requests == []
        assert [request.status for request in before] == [None]
        assert client.token()["access_token"] == simulator.issued_tokens[0]
        assert len(simulator.requests) == 1


# HTTP


def test_one_connection_serves_many_requests_without_stalling(client: Client) -> None:
    client.connection.connect()
    connection = client.connection.sock
    token = client.token()["access_token"]
    began = time.monotonic()
    for _ in range(200):
        assert client.api(bearer=token).status == 200
        assert client.api("/elsewhere", bearer=token).status == 404
        assert client.api(f"{API_PATH}?refuse=large").status == 401
    # Nagle's algorithm against delayed acknowledgements would cost 40 ms each: 24 seconds.
    assert time.monotonic() - began < 12
    assert client.connection.sock is connection


def test_a_client_that_asks_for_it_gets_its_connection_closed(client: Client) -> None:
    answer = client("GET", API_PATH, headers={"Connection": "close"})
    assert answer.headers["Connection"] == "close"
    with raw(client, b"GET / HTTP/1.0\r\n\r\n") as answer_in_full:
        assert b"404" in answer_in_full.splitlines()[0]


def test_expect_100_continue_is_answered_before_the_body_is_sent(client: Client) -> None:
    address = client.connection.host, client.connection.port
    with socket.create_connection(address, SOON) as connection:
        connection.sendall(
            b"PUT /api/x HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
        )
        assert connection.recv(1024) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"body")
        assert connection.recv(1024).startswith(b"HTTP/1.1 401 ")
    assert client.simulator.requests[0].body == b"body"


@contextlib.contextmanager
def raw(client: Client, request: bytes) -> Generator[bytes, None, None]:
    """All that comes back until the server closes, for bytes that no HTTP client would send."""
    address = client.connection.host, client.connection.port
    with socket.create_connection(address, SOON) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        with connection.makefile("rb") as stream:
            yield stream.read()


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"POST /api/x HTTP/1.1\r\nContent-Length: 10\r\n\r\nshort",
        b"POST /api/x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_a_broken_body_gets_no_answer_and_leaves_no_trace(
    client: Client, capfd: pytest.CaptureFixture[str], request_bytes: bytes
) -> None:
    with raw(client, request_bytes) as answer:
        assert answer == b""
    assert client.simulator.requests == []
    assert capfd.readouterr() == ("", "")


def test_a_client_that_goes_away_in_mid_answer_leaves_no_trace(
    client: Client, capfd: pytest.CaptureFixture[str]
) -> None:
    token = client.token()["access_token"]
    target = f"{API_PATH}?bytes={50_000_000}"
    client.connection.request("GET", target, headers={"Authorization": f"Bearer {token}"})
    # Waiting for the head shows that the answer is under way.
    client.connection.getresponse().close()
    client.connection.close()
    client.simulator.close()
    assert capfd.readouterr() == ("", "")


def test_nothing_but_a_mistake_of_the_simulator_is_reported(
    capfd: pytest.CaptureFixture[str],
) -> None:
    server = LoopbackServer(0, lambda environ, start_response: [])
    with contextlib.closing(server.socket):
        for error in (BrokenPipeError(), LookupError("a mistake")):
            try:
                raise error
            except (OSError, LookupError):
                server.handle_error(None, ("127.0.0.1", 1))
    assert "LookupError: a mistake" in capfd.readouterr().err


def test_no_thread_outlives_the_simulator() -> None:
    before = set(threading.enumerate())
    with ThingspaceSimulator() as simulator, client_of(simulator) as client:
        client.token()
        started = set(threading.enumerate()) - before
        assert started
        assert all(thread.daemon for thread in started)
    eventually(lambda: not any(thread.is_alive() for thread in started))


# Importing


def _forget(monkeypatch: pytest.MonkeyPatch) -> str:
    package = "thingspace_auth_adapters.simulator"
    for name in [name for name in sys.modules if name.startswith(package)]:
        monkeypatch.delitem(sys.modules, name)
    return package


def test_without_werkzeug_the_import_error_names_the_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    package = _forget(monkeypatch)
    for name in [name for name in sys.modules if name.startswith("werkzeug.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "werkzeug", None)
    with pytest.raises(ImportError, match=r"pip install 'thingspace-auth-adapters\[simulator\]'"):
        importlib.import_module(package)


def test_another_missing_module_is_not_blamed_on_werkzeug(monkeypatch: pytest.MonkeyPatch) -> None:
    package = _forget(monkeypatch)
    monkeypatch.setitem(sys.modules, f"{package}.tokens", None)
    with pytest.raises(ModuleNotFoundError, match=r"simulator\.tokens"):
        importlib.import_module(package)
