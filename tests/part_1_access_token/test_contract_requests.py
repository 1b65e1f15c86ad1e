"""The contract, Part 1: what happens to requests, redirects and answers. For every client kind."""

from __future__ import annotations

import copy
import gzip
import io
import json
import logging
import pickle
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import pytest

from thingspace_auth_adapters import (
    InsecureTransportError,
    OauthProviderError,
    OauthToken,
    ThingspaceAuthError,
)

from ..support.frames import frames_of_ours
from ..support.kinds import IDENTITY, Kind
from ..support.virtual import (
    API,
    BASE,
    GATEWAY_REFUSAL,
    Answer,
    Platform,
    VirtualClock,
    redirect,
    refusal,
    token_answer,
)

ELSEWHERE = "https://evil.example/api"
DIAGNOSTICS = {"errorCode": "INVALID_ACCOUNT", "errorMessage": "No such account"}
SECRETS = ("s3cr3t-of-the-key", "dGhlLWtleTpzM2NyM3Qtb2YtdGhlLWtleQ==", "token-1", "token-2")


@pytest.fixture(autouse=True)
def _virtual_time(clock: VirtualClock) -> None:
    pass


# Rule 7: a rejected token.


def test_rejected_token_leads_to_one_renewal_and_one_repeat(kind: Kind, platform: Platform) -> None:
    platform.api = [refusal()]
    seen = kind.get(kind.auth(platform), API, platform)
    assert seen.status == 200
    assert platform.bearers == ["token-1", "token-2"]
    assert len(platform.token_calls) == 2
    assert seen.sent["authorization"] == "Bearer token-2"


def test_second_refusal_is_returned_as_it_came(kind: Kind, platform: Platform) -> None:
    platform.api = [refusal(), refusal()]
    seen = kind.get(kind.auth(platform), API, platform)
    assert seen.status == 401
    assert json.loads(seen.body) == GATEWAY_REFUSAL
    assert platform.bearers == ["token-1", "token-2"]
    assert len(platform.token_calls) == 2


def test_each_request_may_be_repeated_once(kind: Kind, platform: Platform) -> None:
    auth = kind.auth(platform)
    for _ in range(3):
        platform.api = [refusal()]
        assert kind.get(auth, API, platform).status == 200
    assert len(platform.api_calls) == 6
    assert len(platform.token_calls) == 4


def test_same_token_again_is_not_repeated_and_not_asked_for_again(
    kind: Kind, platform: Platform, clock: VirtualClock
) -> None:
    platform.tokens = [token_answer("same"), token_answer("same")]
    platform.api = [refusal() for _ in range(9)]
    auth = kind.auth(platform)
    for _ in range(3):
        assert kind.get(auth, API, platform).status == 401
    assert platform.bearers == ["same"] * 3
    assert len(platform.token_calls) == 2
    clock.advance(30)
    platform.tokens = [token_answer("same")]
    assert kind.get(auth, API, platform).status == 401
    assert len(platform.token_calls) == 3
    clock.advance(30)
    platform.api = [refusal()]
    assert kind.get(auth, API, platform).status == 200
    assert platform.bearers[-2:] == ["same", "token-1"]


def test_failed_renewal_returns_the_answer_as_it_came(
    kind: Kind, platform: Platform, caplog: pytest.LogCaptureFixture
) -> None:
    auth = kind.auth(platform)
    kind.get(auth, API, platform)
    platform.api = [refusal()]
    platform.tokens = [Answer(401, {"error": "invalid_client"})]
    seen = kind.get(auth, API, platform)
    assert (seen.status, json.loads(seen.body)) == (401, GATEWAY_REFUSAL)
    assert "invalid_client" in caplog.text
    platform.tokens = [Answer(401, {"error": "invalid_client"})]
    with pytest.raises(OauthProviderError):
        kind.get(auth, API, platform)


UNSAFE = ["POST", "PATCH"]
SAFE = ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"]
UNRECOGNISED = {
    "empty": (b"", {}),
    "html": (b"<html>Unauthorized</html>", {"Content-Type": "text/html"}),
    "other json": (b'{"message": "no"}', {}),
    "no object": (b"[1, 2]", {}),
    "truncated": (b'{"fault": {"code": "9009', {}),
    "basic challenge": (b"", {"WWW-Authenticate": 'Basic realm="x"'}),
    "bare bearer challenge": (b"", {"WWW-Authenticate": "Bearer"}),
    "unknown fault": (b'{"fault": {"code": "900900"}}', {}),
}


@pytest.mark.parametrize(
    ("method", "name"),
    [
        *((method, "empty") for method in (*SAFE, *UNSAFE)),
        *((method, name) for method in ("GET", "POST") for name in UNRECOGNISED if name != "empty"),
    ],
)
def test_unrecognised_401_renews_and_repeats_safe_methods_only(
    kind: Kind, platform: Platform, method: str, name: str
) -> None:
    body, headers = UNRECOGNISED[name]
    platform.api = [Answer(401, body, headers)]
    auth = kind.auth(platform)
    seen = kind.send(auth, method, API, platform)
    assert seen.status == (200 if method in SAFE else 401)
    assert len(platform.token_calls) == 2
    kind.get(auth, API, platform)
    assert platform.bearers[-1] == "token-2"


@pytest.mark.parametrize("method", [*SAFE, *UNSAFE])
def test_refusal_by_the_gateway_repeats_every_method(
    kind: Kind, platform: Platform, method: str
) -> None:
    platform.api = [refusal()]
    assert kind.send(kind.auth(platform), method, API, platform).status == 200
    assert len(platform.token_calls) == 2


@pytest.mark.parametrize(
    "answer",
    [
        refusal({"fault": {"code": 900903}}),
        refusal({"fault": {"code": "900904"}}),
        refusal({"fault": {"code": "900902"}}),
        refusal(b"", WWW_Authenticate='Bearer realm="x", error="invalid_token"'),
        refusal(b"", WWW_Authenticate="Basic realm=x, bearer error=invalid_token"),
    ],
    ids=["900903", "900904", "900902", "challenge", "second challenge"],
)
def test_refusal_by_the_gateway_is_known_in_each_form(
    kind: Kind, platform: Platform, answer: Answer
) -> None:
    platform.api = [answer]
    assert kind.send(kind.auth(platform), "POST", API, platform).status == 200
    assert len(platform.token_calls) == 2


@pytest.mark.parametrize(
    "answer",
    [
        refusal(DIAGNOSTICS),
        refusal({"error": "unauthorized", "cause": "Requested service is unauthorized"}),
        refusal(b"", WWW_Authenticate='Bearer error="insufficient_scope"'),
        refusal({"fault": {"code": "900800"}}),
        Answer(403, GATEWAY_REFUSAL),
        Answer(400, GATEWAY_REFUSAL),
        Answer(500, GATEWAY_REFUSAL),
    ],
    ids=["diagnostics", "session", "scope", "throttled", "403", "400", "500"],
)
def test_answer_that_names_another_cause_is_returned_without_a_renewal(
    kind: Kind, platform: Platform, answer: Answer
) -> None:
    platform.api = [answer]
    seen = kind.get(kind.auth(platform), API, platform)
    assert (seen.status, seen.body) == (answer.status, answer.body)
    assert len(platform.token_calls) == 1
    assert len(platform.api_calls) == 1


def test_compressed_refusal_is_understood(kind: Kind, platform: Platform) -> None:
    body = gzip.compress(json.dumps(DIAGNOSTICS).encode())
    platform.api = [Answer(401, body, {"Content-Encoding": "gzip"})]
    seen = kind.get(kind.auth(platform), API, platform)
    assert json.loads(seen.body) == DIAGNOSTICS
    assert len(platform.token_calls) == 1


# httpx leaves its own generator open where decoding fails, which trio's policy warns of.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_refusal_that_cannot_be_decoded_is_unrecognised(kind: Kind, platform: Platform) -> None:
    platform.api = [Answer(401, b"no gzip", {"Content-Encoding": "gzip"})]
    auth = kind.auth(platform)
    with pytest.raises(kind.request_error):
        kind.send(auth, "POST", API, platform)
    # requests fails at reading it, which comes first.
    assert len(platform.token_calls) == (1 if kind.is_requests else 2)


def test_refusal_of_somebody_elses_token_is_returned_as_it_came(
    kind: Kind, platform: Platform
) -> None:
    """A redirect to another host lost our header: its 401 says nothing about our token."""
    platform.api = [redirect(ELSEWHERE), refusal()]
    seen = kind.get(kind.auth(platform), API, platform)
    assert seen.status == 401
    assert len(platform.token_calls) == 1
    assert platform.bearers == ["token-1", None]


def test_refusal_by_an_allowed_host_that_was_not_sent_the_token_is_returned_as_it_came(
    kind: Kind, platform: Platform
) -> None:
    platform.api = [redirect("https://5gedge.verizon.com/api/mec/eds"), refusal()]
    assert kind.get(kind.auth(platform), API, platform).status == 401
    assert platform.bearers == ["token-1", None]
    assert len(platform.token_calls) == 1


def test_late_refusal_of_an_older_token_does_not_discard_the_newer(
    kind: Kind, platform: Platform
) -> None:
    auth = kind.auth(platform)

    def renew_meanwhile(call: Any, answer: Any = platform.handle) -> Answer:
        if call.path == "/api/m2m/v1/devices" and len(platform.api_calls) == 0:
            platform.calls.append(call)
            auth.oauth_token = OauthToken("newer", "Bearer")
            return refusal()
        return answer(call)  # type: ignore[no-any-return]

    platform.handle = renew_meanwhile  # type: ignore[method-assign]
    assert kind.get(auth, API, platform).status == 200
    assert platform.bearers == ["token-1", "newer"]
    assert len(platform.token_calls) == 1


def test_eight_tokens_before_the_current_one_are_ours(kind: Kind, platform: Platform) -> None:
    """The rejected one is read from the request's header, which a hook may have set back."""
    auth = kind.auth(platform, oauth_token={"access_token": "held-0"})
    for number in range(1, 9):
        auth.oauth_token = {"access_token": f"held-{number}"}
    for bearer, status in (("held-0", 200), ("unknown", 401)):
        platform.api = [refusal()]
        assert get_with_bearer(kind, auth, platform, bearer).status == status
        assert platform.token_calls == []
    assert platform.bearers == ["held-0", "held-8", "unknown"]


def get_with_bearer(kind: Kind, auth: Any, platform: Platform, bearer: str) -> Any:
    """Send a request whose bearer something else set after the adapter."""
    if kind.is_requests:

        def late_auth(request: Any) -> Any:
            request = auth(request)
            request.headers["Authorization"] = f"Bearer {bearer}"
            return request

        return kind.get(late_auth, API, platform)
    was_set: list[bool] = []

    def hook(request: Any) -> None:
        if not was_set:
            was_set.append(True)
            request.headers["Authorization"] = f"Bearer {bearer}"

    async def ahook(request: Any) -> None:
        hook(request)

    hooks = {"request": [ahook if kind.is_async else hook]}
    return kind.get(auth, API, platform, event_hooks=hooks)


# Redirects.


def test_redirect_within_the_platform_keeps_the_token(kind: Kind, platform: Platform) -> None:
    platform.api = [redirect("/api/m2m/v1/elsewhere")]
    seen = kind.get(kind.auth(platform), API, platform)
    assert (seen.status, seen.history) == (200, [302])
    assert platform.bearers == ["token-1", "token-1"]


TARGETS = [
    "https://thingspace.verizon.com.evil.example/",
    "http://thingspace.verizon.com/api/x",
    "https://thingspace.verizon.com:8443/api/x",
    "//evil.example/x",
    "https://evil.example\\@thingspace.verizon.com/",
    "https://thingspace.verizon.com@evil.example/",
]


@pytest.mark.parametrize(
    ("target", "status"),
    [
        *((ELSEWHERE, status) for status in (301, 302, 303, 307, 308)),
        *((target, 307) for target in TARGETS),
    ],
)
def test_no_redirect_carries_the_token_away(
    kind: Kind, platform: Platform, target: str, status: int
) -> None:
    platform.api = [redirect(target, status), refusal(), refusal()]
    # Some libraries refuse some of these targets, each with an error of its own.
    with suppress(kind.request_error, ValueError):
        kind.get(kind.auth(platform), API, platform)
    assert platform.bearers[0] == "token-1"
    for call in platform.api_calls[1:]:
        parts = urlsplit(call.url)
        if (parts.scheme, parts.hostname, parts.port) != ("https", "thingspace.verizon.com", None):
            assert "token" not in str(call.authorization)
            assert len(platform.token_calls) == 1


def test_what_is_repeated_is_the_request_that_was_refused(kind: Kind, platform: Platform) -> None:
    platform.api = [redirect("/api/m2m/v1/second", 307), refusal()]
    seen = kind.send(kind.auth(platform), "POST", API, platform, content=b"payload")
    assert seen.status == 200
    paths = [call.path for call in platform.api_calls]
    assert paths == ["/api/m2m/v1/devices", "/api/m2m/v1/second", "/api/m2m/v1/second"]
    assert [call.body for call in platform.api_calls] == [b"payload"] * 3


def test_one_request_is_repeated_once_and_in_requests_each_hop_is_one(
    kind: Kind, platform: Platform
) -> None:
    platform.api = [refusal(), redirect("/api/m2m/v1/second"), refusal(), refusal()]
    seen = kind.get(kind.auth(platform), API, platform)
    assert seen.status == 401
    hop = ["token-2", "token-3"] if kind.is_requests else ["token-2"]
    assert platform.bearers == ["token-1", "token-2", *hop]
    assert len(platform.token_calls) == (3 if kind.is_requests else 2)


def test_repeat_may_be_followed_by_many_redirects(kind: Kind, platform: Platform) -> None:
    platform.api = [refusal(), redirect("/api/m2m/v1/2"), redirect("/api/m2m/v1/3")]
    assert kind.get(kind.auth(platform), API, platform).status == 200
    assert platform.bearers == ["token-1", "token-2", "token-2", "token-2"]
    assert len(platform.token_calls) == 2


def test_redirect_after_the_repeat_carries_the_new_token(kind: Kind, platform: Platform) -> None:
    platform.api = [refusal(), redirect("/api/m2m/v1/second")]
    seen = kind.get(kind.auth(platform), API, platform)
    assert seen.status == 200
    assert platform.bearers == ["token-1", "token-2", "token-2"]


def test_history_ends_with_what_led_to_the_answer(kind: Kind, platform: Platform) -> None:
    platform.api = [redirect("/api/m2m/v1/second"), refusal()]
    seen = kind.get(kind.auth(platform), API, platform)
    assert seen.status == 200
    # requests keeps the redirects, and in httpx those before a repeat may be missing.
    assert seen.history in ([302], [401], [302, 401])
    assert seen.history[-1] == (302 if kind.is_requests else 401)


def test_upgrade_to_https_that_the_libraries_make_themselves_is_allowed(
    kind: Kind, platform: Platform
) -> None:
    """They keep Authorization there, so the contract holds by allowing it for loopback alone."""
    auth = kind.auth(platform, base_url="http://localhost")
    platform.api = [redirect("https://localhost/api/b"), refusal()]
    assert kind.get(auth, "http://localhost/api/a", platform).status == 200
    assert len(platform.token_calls) == 2


def test_token_request_follows_no_redirect(kind: Kind, platform: Platform) -> None:
    platform.tokens = [redirect(ELSEWHERE, 307)]
    with pytest.raises(ThingspaceAuthError):
        kind.get(kind.auth(platform), API, platform)
    assert len(platform.calls) == 1


# Rule 9: where tokens go.

CARRYING = [
    "https://thingspace.verizon.com/api",
    "https://THINGSPACE.verizon.com:443/api",
    "https://thingspace.verizon.com./api",
    "https://imp.thingspace.verizon.com/api",
    "https://a.b.thingspace.verizon.com/api",
    "https://5gedge.verizon.com/api/mec/eds",
]
NOT_CARRYING = [
    "https://example.com/",
    "https://thingspace.verizon.com:8443/api",
    "https://thingspace.verizon.com.evil.example/",
    "https://evilthingspace.verizon.com/",
    "https://verizon.com/",
    "https://x.y5gedge.verizon.com/",
    "https://thingspace.verizon.com@evil.example/",
    "http://evil.example/thingspace.verizon.com/",
    "http://localhost:9/",
]


@pytest.mark.parametrize("url", CARRYING)
def test_allowed_hosts_are_sent_the_token(kind: Kind, platform: Platform, url: str) -> None:
    kind.get(kind.auth(platform), url, platform)
    assert platform.bearers == ["token-1"]


@pytest.mark.parametrize("url", NOT_CARRYING)
def test_requests_to_other_hosts_pass_untouched(kind: Kind, platform: Platform, url: str) -> None:
    auth = kind.auth(platform)
    for _ in range(2):
        kind.get(auth, url, platform, headers={"Authorization": "Basic theirs"})
    assert [call.authorization for call in platform.calls] == ["Basic theirs"] * 2


@pytest.mark.parametrize(
    "url",
    [
        "http://thingspace.verizon.com/api",
        "http://imp.thingspace.verizon.com/api",
        "http://thingspace.verizon.com:443/api",
        "http://thingspace.verizon.com:8080/api",
    ],
)
def test_plain_http_to_an_allowed_host_is_refused_before_anything_is_sent(
    kind: Kind, platform: Platform, url: str
) -> None:
    auth = kind.auth(platform)
    for _ in range(2):
        with pytest.raises(InsecureTransportError) as caught:
            kind.get(auth, url, platform)
        assert isinstance(caught.value, kind.request_error)
        assert str(caught.value.request.url) == url  # type: ignore[attr-defined]
    assert platform.calls == []


def test_first_request_to_each_host_that_is_not_allowed_is_logged(
    kind: Kind, platform: Platform, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "thingspace_auth_adapters")
    auth = kind.auth(platform)
    for url in (ELSEWHERE, ELSEWHERE + "/x?secret=1", "https://other.example/", ELSEWHERE):
        kind.get(auth, url, platform)
    found = [record for record in caplog.records if record.name == "thingspace_auth_adapters"]
    assert [record.levelno for record in found] == [logging.INFO] * 2
    assert [record.getMessage() for record in found] == [
        "evil.example is not an allowed host: sent without a token",
        "other.example is not an allowed host: sent without a token",
    ]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.9.9.9", "[::1]"])
def test_plain_http_is_allowed_for_loopback(kind: Kind, platform: Platform, host: str) -> None:
    auth = kind.auth(platform, base_url=f"http://{host}:8000")
    kind.get(auth, f"http://{host}:8000/api/x", platform)
    kind.get(auth, f"http://{host}:8001/api/x", platform)
    kind.get(auth, BASE + "/api/x", platform)
    assert platform.bearers == ["token-1", None, None]


def test_allowed_hosts_replace_the_default(kind: Kind, platform: Platform) -> None:
    auth = kind.auth(platform, allowed_hosts=["api.example.com", "*.example.net", "[::1]:8080"])
    for url in (
        "https://api.example.com/",
        "https://x.example.net/",
        "http://[::1]:8080/",
        "https://example.net/",
        BASE + "/api",
    ):
        kind.get(auth, url, platform)
    assert platform.bearers == ["token-1", "token-1", "token-1", None, None]
    assert platform.token_calls[0].url.startswith(BASE)


def test_host_names_are_compared_as_a_labels(kind: Kind, platform: Platform) -> None:
    auth = kind.auth(platform, allowed_hosts=["bücher.example"])
    kind.get(auth, "https://BÜCHER.example/", platform)
    kind.get(auth, "https://xn--bcher-kva.example/", platform)
    assert platform.bearers == ["token-1", "token-1"]


# Rule 10: headers and responses.


def test_our_authorization_replaces_an_older_one(kind: Kind, platform: Platform) -> None:
    kind.get(kind.auth(platform), API, platform, headers={"authorization": "Bearer old"})
    assert platform.bearers == ["token-1"]


def test_other_headers_are_left_alone_and_repeated(kind: Kind, platform: Platform) -> None:
    platform.api = [refusal()]
    headers = {"VZ-M2M-Token": "theirs", "X-Trace": "7"}
    kind.get(kind.auth(platform), API, platform, headers=headers, params={"page": "2"})
    first, second = platform.api_calls
    for call in (first, second):
        assert call.headers["vz-m2m-token"] == "theirs"
        assert call.headers["x-trace"] == "7"
        assert call.url.endswith("?page=2")
    assert {**first.headers, "authorization": ""} == {**second.headers, "authorization": ""}


def test_history_never_shows_the_token_exchange(kind: Kind, platform: Platform) -> None:
    seen = kind.get(kind.auth(platform), API, platform)
    assert seen.history == []


def test_history_holds_the_rejected_response_as_it_was(kind: Kind, platform: Platform) -> None:
    platform.api = [refusal()]
    seen = kind.get(kind.auth(platform), API, platform)
    assert seen.history == [401]
    rejected = seen.response.history[0]
    assert rejected.request.headers["Authorization"] == "Bearer token-1"
    assert rejected.json() == GATEWAY_REFUSAL


def test_cookies_hold_for_the_repeat_and_token_answers_set_none(
    kind: Kind, platform: Platform
) -> None:
    answer = token_answer("first")
    answer.headers["Set-Cookie"] = "spy=1; Path=/"
    platform.tokens = [answer]
    platform.api = [Answer(401, GATEWAY_REFUSAL, {"Set-Cookie": "sticky=2; Path=/"})]
    kind.get(kind.auth(platform), API, platform, cookies={"mine": "3"})
    first, second = (call.headers["cookie"] for call in platform.api_calls)
    assert "mine=3" in first
    assert "mine=3" in second
    assert "spy" not in first + second
    assert "cookie" not in platform.token_calls[1].headers


def test_hooks_hold_for_the_repeat(kind: Kind, platform: Platform) -> None:
    platform.api = [refusal()]
    statuses: list[int] = []
    if kind.is_requests:
        hooks: Any = {"response": lambda r, **kwargs: statuses.append(r.status_code)}
        kind.get(kind.auth(platform), API, platform, hooks=hooks)
        assert statuses == [200]
        return

    async def ahook(response: Any) -> None:
        statuses.append(response.status_code)

    def hook(response: Any) -> None:
        statuses.append(response.status_code)

    kind.get(
        kind.auth(platform),
        API,
        platform,
        event_hooks={"response": [ahook if kind.is_async else hook]},
    )
    assert statuses == [401, 200]


def test_responses_and_requests_pickle_without_credentials(kind: Kind, platform: Platform) -> None:
    platform.api = [refusal()]
    seen = kind.get(kind.auth(platform), API, platform)
    pickled = pickle.dumps(seen.response)
    assert IDENTITY["oauth_client_secret"].encode() not in pickled
    assert b"ThingspaceAuth" not in pickled
    assert b"thingspace_auth_adapters" not in pickled
    assert pickle.loads(pickled).status_code == 200
    assert copy.deepcopy(seen.response).status_code == 200
    request = pickle.loads(pickle.dumps(seen.response.request))
    assert request.headers["Authorization"] == "Bearer token-2"
    copied = copy.deepcopy(seen.response.request)
    assert IDENTITY["oauth_client_secret"].encode() not in pickle.dumps(copied)


# Rule 8: bodies.


@pytest.mark.parametrize(
    "kwargs",
    [
        {"content": b"bytes"},
        {"json": {"a": [1, 2]}},
        {"data": {"a": "1", "b": "ä"}},
        {"files": {"f": ("n.txt", b"in memory")}},
    ],
    ids=["bytes", "json", "form", "multipart"],
)
def test_body_is_sent_again_whole(kind: Kind, platform: Platform, kwargs: Any) -> None:
    platform.api = [refusal()]
    assert kind.send(kind.auth(platform), "POST", API, platform, **kwargs).status == 200
    first, second = (call.body for call in platform.api_calls)
    assert first == second
    assert first


def test_multipart_of_a_seekable_file_is_sent_again_whole(kind: Kind, platform: Platform) -> None:
    platform.api = [refusal()]
    file = io.BytesIO(b"x" * 100_000)
    seen = kind.send(kind.auth(platform), "POST", API, platform, files={"f": ("n", file)})
    assert seen.status == 200
    first, second = (call.body for call in platform.api_calls)
    assert first == second
    assert len(first) > 100_000


def test_iterator_is_not_sent_again_but_the_token_is_renewed(
    kind: Kind, platform: Platform
) -> None:
    async def chunks() -> Any:
        yield b"once"

    platform.api = [refusal()]
    auth = kind.auth(platform)
    content = chunks() if kind.is_async else iter([b"once"])
    seen = kind.send(auth, "POST", API, platform, content=content)
    assert (seen.status, json.loads(seen.body)) == (401, GATEWAY_REFUSAL)
    assert platform.bearers == ["token-1"]
    kind.get(auth, API, platform)
    assert platform.bearers == ["token-1", "token-2"]


# httpx leaves generators of its own open where a body is not read to its end.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("size", [10, 64 * 1024, 300_000])
def test_refusal_that_is_returned_is_complete(kind: Kind, platform: Platform, size: int) -> None:
    body = b"z" * size
    platform.api = [Answer(401, body), Answer(401, body)]
    seen = kind.get(kind.auth(platform), API, platform)
    assert (seen.status, seen.body) == (401, body)


def long(answer: Answer) -> Answer:
    """The same, with a body that is longer than 64 KiB and says so."""
    body = answer.body + b" " * 64 * 1024
    return Answer(answer.status, body, {**answer.headers, "Content-Length": str(len(body))})


def test_long_refusal_is_judged_whole_where_the_library_reads_it_anyway(
    kind: Kind, platform: Platform
) -> None:
    """requests has read it before; in httpx the token is renewed for the next request."""
    platform.api = [long(refusal())]
    auth = kind.auth(platform)
    seen = kind.get(auth, API, platform)
    assert seen.status == (200 if kind.is_requests else 401)
    assert kind.get(auth, API, platform).status == 200
    assert platform.bearers[-1] == "token-2"
    assert len(platform.token_calls) == 2


def test_long_refusal_that_names_another_cause_in_its_headers_renews_nothing(
    kind: Kind, platform: Platform
) -> None:
    answer = long(refusal(b"", WWW_Authenticate='Bearer error="insufficient_scope"'))
    platform.api = [answer]
    seen = kind.get(kind.auth(platform), API, platform)
    assert (seen.status, seen.body) == (401, answer.body)
    assert len(platform.token_calls) == 1


# Rule 12: secrets.


@pytest.mark.parametrize(
    "answers",
    [
        [Answer(401, {"error": "invalid_client"})],
        [
            Answer(
                400, {"error": "x", "error_description": " ".join(SECRETS[:2]) + "\r\nlog: forged"}
            )
        ],
        [Answer(200, {"access_token": "token-2", "token_type": "mac"})],
        [Answer(200, {"access_token": "token-2\n"})],
        [Answer(200, {"access_token": "token-2", "expires_in": "soon"})],
        [Answer(200, {"access_token": "token-2", "expires_in": 0})] * 9,
        [Answer(503, b"down")] * 9,
        [Answer(failure="connect")] * 9,
        [Answer(failure="read timeout")] * 9,
        [Answer(failure="certificate")],
        [Answer(failure="unsupported")],
    ],
    ids=range(11),
)
def test_no_failure_shows_a_secret(
    kind: Kind, platform: Platform, answers: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    platform.tokens = list(answers)
    auth = kind.auth(platform)
    with pytest.raises(kind.request_error) as caught:
        kind.get(auth, API, platform)
    error = caught.value
    shown = str(error) + repr(error) + repr(vars(error)) + caplog.text + repr(auth)
    for secret in SECRETS:
        assert secret not in shown
        assert secret not in frames_of_ours(error)
        assert secret not in repr(error.__cause__) + repr(error.__context__)
    assert "\n" not in str(error)


def test_refused_revocation_does_not_show_the_token(kind: Kind, platform: Platform) -> None:
    auth = kind.auth(platform, oauth_token={"access_token": "the token/in use"})
    words = "cannot revoke the token/in use or the%20token%2Fin%20use or the+token%2Fin+use"
    platform.tokens = [Answer(400, {"error": "invalid_request", "error_description": words})]
    with pytest.raises(OauthProviderError) as caught:
        kind.revoke_token(auth)
    shown = str(caught.value) + str(caught.value.error_description)
    assert not [form for form in ("in use", "in%20use", "in+use") if form in shown]


def test_refusal_does_not_show_additional_parameters(kind: Kind, platform: Platform) -> None:
    platform.tokens = [Answer(400, {"error": "x", "error_description": "bad signed.assertion"})]
    with pytest.raises(OauthProviderError) as caught:
        kind.fetch_token(kind.auth(platform), {"client_assertion": "signed.assertion"})
    assert "signed" not in str(caught.value)
    assert str(caught.value.request.url).endswith("/oauth2/token")  # type: ignore[attr-defined]


def test_error_of_a_providers_fetch_knows_a_request(kind: Kind, platform: Platform) -> None:
    platform.tokens = [Answer(401, {"error": "invalid_client"})]
    auth = kind.auth(platform, oauth_token_provider=lambda last, manager: manager.fetch_token())
    with pytest.raises(kind.request_error) as caught:
        kind.get(auth, API, platform)
    assert str(caught.value.request.url).endswith("/oauth2/token")  # type: ignore[attr-defined]


def test_logs_never_show_a_secret(
    kind: Kind, platform: Platform, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "thingspace_auth_adapters")
    auth = kind.auth(platform, oauth_clock_skew=60)
    platform.tokens = [Answer(503), platform.new_token()]
    platform.api = [Answer(200), refusal()]
    kind.get(auth, API, platform)
    kind.get(auth, API, platform)
    clock.advance(3550)
    platform.tokens = [Answer(503)]
    kind.get(auth, API, platform)
    ours = [r for r in caplog.records if r.name == "thingspace_auth_adapters"]
    assert len(ours) >= 4
    for secret in SECRETS:
        assert secret not in "\n".join(record.getMessage() for record in ours)


# Rule 13: life in a process.


def test_copies_share_no_state(kind: Kind, platform: Platform) -> None:
    auth = kind.auth(platform)
    kind.get(auth, API, platform)
    for copied in (copy.copy(auth), copy.deepcopy(auth)):
        assert copied.oauth_token == auth.oauth_token
        copied.oauth_token = OauthToken("other", "Bearer")
        assert auth.oauth_token.access_token == "token-1"
        kind.get(copied, API, platform)
        assert platform.bearers[-1] == "other"


def test_pickles_and_goes_on_with_its_token(kind: Kind, platform: Platform) -> None:
    auth = kind.auth(oauth_token=OauthToken("kept", "Bearer"), oauth_clock_skew=5)
    revived = pickle.loads(pickle.dumps(auth))
    kind.get(revived, API, platform)
    assert platform.bearers == ["kept"]
    assert IDENTITY["oauth_client_secret"].encode() in pickle.dumps(auth)


def test_what_the_user_gave_may_forbid_pickling(kind: Kind) -> None:
    auth = kind.auth(oauth_on_token_update=lambda token: None)
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps(auth)
    copy.deepcopy(auth)
