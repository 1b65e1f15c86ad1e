"""Part 4: the simulator's OAuth endpoints and APIs answer as ThingSpace's do."""

from __future__ import annotations

import hashlib
import json
import threading
import time
import urllib.parse
from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("werkzeug")

from thingspace_auth_adapters import OauthScopeThingspaceOauthEnum
from thingspace_auth_adapters.simulator import ThingspaceSimulator

from ..support.simulator_client import API_PATH, FORM, GRANT, SOON, Answer, Client, Clock, client_of
from ..support.virtual import REVOKE_PATH, TOKEN_PATH

UNKNOWN_BEARER, NO_BEARER = (401, "900901"), (401, "900902")


# The token endpoint.


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
    first = client.bearer
    clock.now += 3599.5
    assert client.bearer == first
    assert client.api(bearer=first).status == 200
    clock.now += 0.5
    assert client.api(bearer=first).fault == UNKNOWN_BEARER
    renewed = client.token()
    assert renewed["expires_in"] == 3600
    assert client.simulator.issued_tokens == [first, renewed["access_token"]]


def test_expires_in_is_what_remains_rounded_down_to_0(client: Client, clock: Clock) -> None:
    seen = [client.token()["expires_in"]]
    for seconds in (0.25, 0.75, 3598.0, 0.75):
        clock.now += seconds
        seen.append(client.token()["expires_in"])
    assert seen == [3600, 3599, 3599, 1, 0]


def test_a_fresh_token_has_its_whole_lifetime_whatever_the_clock_says(client: Client) -> None:
    for now in (0.1, 1e9 / 3, 1_699_999_999.999_999_7):
        client.simulator.revoke()
        client.clock.now = now
        assert client.token()["expires_in"] == 3600


def test_a_changed_lifetime_holds_for_tokens_issued_from_then_on(client: Client) -> None:
    client.token()
    client.simulator.token_lifetime = 2.5
    assert client.simulator.token_lifetime == 2.5
    assert client.token()["expires_in"] == 3600
    client.simulator.revoke()
    assert client.token()["expires_in"] == 2
    client.simulator.token_lifetime = 0
    client.clock.now += 3
    assert client.token()["expires_in"] == 0
    assert client.bearer == client.simulator.issued_tokens[3]


def test_a_scope_set_has_a_token_of_its_own_in_any_order(client: Client) -> None:
    full = client.token()
    some = client.token("write read")
    assert some["scope"] == " read write"
    assert some["access_token"] != full["access_token"]
    assert client.token("read write read") == some
    assert client.token("") == full
    known = [scope.value for scope in OauthScopeThingspaceOauthEnum]
    assert len(known) == 15
    assert sorted(client.token(" ".join(known))["scope"].split()) == sorted(known)


@pytest.mark.parametrize(
    ("path", "fields", "error"),
    [
        (TOKEN_PATH, {}, "invalid_request"),
        (TOKEN_PATH, {"grant_type": ""}, "invalid_request"),
        (TOKEN_PATH, {"grant_type": "password"}, "unsupported_grant_type"),
        (TOKEN_PATH, {**GRANT, "scope": "read unheard-of"}, "invalid_scope"),
        (REVOKE_PATH, GRANT, "invalid_request"),
    ],
)
def test_a_wrong_request_is_a_400_of_rfc_6749(
    client: Client, path: str, fields: dict[str, str], error: str
) -> None:
    answer = client.form(path, fields)
    assert (answer.status, answer.json["error"]) == (400, error)
    assert set(answer.json) == {"error", "error_description", "error_uri"}
    assert client.simulator.issued_tokens == []


def test_a_body_that_is_no_form_is_an_invalid_request(client: Client) -> None:
    answer = client.form(TOKEN_PATH, GRANT, **{"Content-Type": "application/json"})
    assert (answer.status, answer.json["error"]) == (400, "invalid_request")


@pytest.mark.parametrize("path", [TOKEN_PATH, REVOKE_PATH])
def test_oauth_endpoints_want_post_and_basic_with_the_right_pair(client: Client, path: str) -> None:
    answer = client("GET", path)
    assert (answer.status, answer.headers["Allow"]) == (405, "POST")
    for headers in ({}, {"Authorization": "Bearer simulated-key"}):
        answer = client("POST", path, "token=x", {"Content-Type": FORM, **headers})
        assert answer.fault == NO_BEARER
        assert answer.json["fault"]["message"] == "Missing Credentials"
    for basic in ("simulated-key:wrong", "wrong:simulated-secret", "", "é:é"):
        answer = client.form(path, {**GRANT, "token": "x"}, basic)
        assert (answer.status, answer.json["error"]) == (401, "invalid_client")
        assert set(answer.json) == {"error", "error_description", "error_uri"}


def test_basic_takes_the_plain_pair_and_not_the_percent_encoded_one() -> None:
    with ThingspaceSimulator("k%y", "s cr:t/é") as simulator, client_of(simulator) as client:
        assert client.form(TOKEN_PATH, GRANT, "k%y:s cr:t/é").status == 200
        encoded = ":".join(urllib.parse.quote_plus(part) for part in ("k%y", "s cr:t/é"))
        assert client.form(TOKEN_PATH, GRANT, encoded).status == 401


def test_oauth_endpoints_work_for_every_host_name(client: Client) -> None:
    host = "5gedge.verizon.com"
    for path in (TOKEN_PATH, f"http://{host}{TOKEN_PATH}"):
        assert client.form(path, GRANT, Host=host).status == 200
    assert len(client.simulator.token_requests) == 2


def test_sixteen_threads_on_a_cold_token_all_see_the_same(client: Client) -> None:
    simulator, together = client.simulator, threading.Barrier(16)

    def fetch(_: int) -> str:
        with client_of(simulator) as one:
            together.wait(SOON)
            return one.bearer

    with ThreadPoolExecutor(16) as pool:
        tokens = set(pool.map(fetch, range(16)))
    assert tokens == set(simulator.issued_tokens)
    assert (len(tokens), len(simulator.token_requests)) == (1, 16)


# Revocation.


def test_revoking_is_of_one_token_which_a_header_tells_and_of_the_simulator_of_all(
    client: Client,
) -> None:
    token = client.bearer
    unknown = client.form(REVOKE_PATH, {"token": "never\nissued"})
    assert (unknown.status, unknown.body) == (200, b"")
    assert "RevokedAccessToken" not in unknown.headers
    assert client.api(bearer=token).status == 200
    answer = client.form(REVOKE_PATH, {"token": token, **GRANT})
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["RevokedAccessToken"] == token
    assert client.api(bearer=token).fault == UNKNOWN_BEARER
    tokens = [client.bearer, client.token("read")["access_token"]]
    assert token not in tokens
    client.simulator.revoke()
    assert [client.api(bearer=token).fault for token in tokens] == [UNKNOWN_BEARER] * 2
    assert client.bearer not in tokens


# The API.


def test_an_authorised_request_is_described(client: Client) -> None:
    client.token("read")
    for _ in range(2):
        head = client.api(method="HEAD")
        assert (head.status, head.body) == (200, b"")
    answer = client.api(f"{API_PATH}?a=1&b=x%20y", method="PATCH", body=b"\0body")
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
    whole = b"one" + b"two" * 50_000
    for _ in range(2):
        body = iter([whole[:3], whole[3:]])
        answer = client.api(method="PUT", body=body, **{"Transfer-Encoding": "chunked"})
        assert answer.json["body_length"] == len(whole)
        assert answer.json["body_sha256"] == hashlib.sha256(whole).hexdigest()
        assert client.simulator.requests[-1].body == whole


def test_a_missing_or_unknown_bearer_is_a_fault_in_the_documented_words(client: Client) -> None:
    for headers in ({}, {"Authorization": "Basic eDp5"}):
        assert client("GET", API_PATH, headers=headers).fault == NO_BEARER
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
    # It names the API even where the path has no version.
    description = client.api("/api/loc/devices", "unknown").json["fault"]["description"]
    assert description.startswith("Access failure for API: /loc, version: v1.")


def test_paths_outside_the_api_are_404_in_plain_text(client: Client) -> None:
    answer = client.api("/elsewhere")
    assert answer.status == 404
    assert answer.headers["Content-Type"].startswith("text/plain")


# What a request can ask for.


def test_a_status_a_body_and_a_redirect_are_had_when_authorised(client: Client) -> None:
    assert client.api(f"{API_PATH}?status=503").status == 503
    assert client.api(f"{API_PATH}?status=204").body == b""
    for size in (0, 1, 65536, 200_001):
        answer = client.api(f"{API_PATH}?bytes={size}")
        assert answer.headers["Content-Type"] == "application/octet-stream"
        assert answer.body == (bytes(range(256)) * (size // 256 + 1))[:size]
    target = urllib.parse.quote("http://elsewhere.example/a?b=c", safe="")
    answer = client.api(f"{API_PATH}?redirect={target}")
    assert (answer.status, answer.headers["Location"]) == (302, "http://elsewhere.example/a?b=c")
    assert client.api(f"{API_PATH}?redirect={target}&code=307").status == 307
    for query in ("status=503", "bytes=1", f"redirect={target}"):
        assert client.api(f"{API_PATH}?{query}", "unknown").fault == UNKNOWN_BEARER


def test_refusals_by_the_gateway_are_faults(client: Client) -> None:
    for word, code in (("gateway", "900901"), ("expired", "900903"), ("inactive", "900904")):
        answer = client.api(f"{API_PATH}?refuse={word}")
        assert (answer.fault, answer.headers["Retry-After"]) == ((401, code), None)
    answer = client.api(f"{API_PATH}?refuse=throttled")
    assert (answer.fault, answer.headers["Retry-After"]) == ((429, "900800"), "1")


def test_the_other_refusals_have_the_shape_of_their_family(client: Client) -> None:
    def refusal(word: str) -> Answer:
        return client("GET", f"{API_PATH}?refuse={word}")

    assert refusal("diagnostics").refusal == (401, "INVALID_ACCOUNT")
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
    assert "fault" not in json.loads(refusal("large").body)


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


def test_a_delay_comes_before_any_api_answer(client: Client) -> None:
    for query in ("delay=0.03", "refuse=empty&delay=0.03"):
        began = time.monotonic()
        client("GET", f"{API_PATH}?{query}")
        assert time.monotonic() - began >= 0.03
