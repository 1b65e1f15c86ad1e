"""Part 1, rule 9: tokens go to allowed hosts alone, and over https."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import pytest

from thingspace_auth_adapters import InsecureTransportError, ThingspaceAuthError

from ..support.kinds import Kind
from ..support.logins import credentials
from ..support.virtual import API, BASE, ELSEWHERE, TOKEN_PATH, Platform, redirect, refusal

pytestmark = pytest.mark.usefixtures("clock")


# Requests. How entries and URLs are read is in mechanisms, test_model_hosts.


@pytest.mark.parametrize(
    "url",
    [
        "https://thingspace.verizon.com/api",
        "https://THINGSPACE.verizon.com:443/api",
        "https://thingspace.verizon.com./api",
        "https://imp.thingspace.verizon.com/api",
        "https://a.b.thingspace.verizon.com/api",
        "https://5gedge.verizon.com/api/mec/eds",
    ],
)
def test_allowed_hosts_are_sent_the_token(
    kind: Kind, platform: Platform, auth: Any, url: str
) -> None:
    kind.get(auth, url, platform, headers={"authorization": "Bearer old"})
    assert platform.bearers == ["token-1"]


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/",
        "https://thingspace.verizon.com:8443/api",
        "https://thingspace.verizon.com.evil.example/",
        "https://evilthingspace.verizon.com/",
        "https://verizon.com/",
        "https://x.y5gedge.verizon.com/",
        "https://thingspace.verizon.com@evil.example/",
        "http://evil.example/thingspace.verizon.com/",
        "http://localhost:9/",
    ],
)
def test_requests_to_other_hosts_pass_untouched(
    kind: Kind, platform: Platform, auth: Any, url: str
) -> None:
    for _ in range(2):
        kind.get(auth, url, platform, headers={"Authorization": "Basic theirs"})
    assert [call.authorization for call in platform.calls] == ["Basic theirs"] * 2


ENTRIES = {
    "api.example.com": (["api.example.com"], ["x.api.example.com", BASE]),
    "*.example.net": (["x.example.net"], ["example.net", "example.net."]),
    "[::1]:8080": (["http://[::1]:8080/"], ["http://[::1]:8081/"]),
    "a.example.": (["a.example", "A.EXAMPLE", "a.example."], ["a.example.evil.example"]),
    "A.Example": (["a.example.", "a.example:443"], ["a.example:8443"]),
    "*.a.example.": (["b.a.example", "B.A.EXAMPLE."], []),
    "bücher.example": (
        ["BÜCHER.example.", "xn--bcher-kva.example", "XN--BCHER-KVA.EXAMPLE"],
        ["bucher.example", "xn--bcher-kva.example.evil.example"],
    ),
    "xn--bcher-kva.example": (["bücher.example", "BÜCHER.EXAMPLE"], []),
    "*.bücher.example": (["a.bücher.example", "a.xn--bcher-kva.example."], []),
    "straße.example": (["straße.example", "xn--strae-oqa.example"], ["strasse.example"]),
    "strasse.example": ([], ["straße.example"]),
}


@pytest.mark.parametrize("entry", ENTRIES)
def test_allowed_hosts_replace_the_default_and_are_compared_as_a_labels(
    kind: Kind, platform: Platform, entry: str
) -> None:
    allowed, others = ENTRIES[entry]
    auth = kind.auth(platform, allowed_hosts=[entry])
    for host in (*allowed, *others):
        kind.get(auth, host if "//" in host else f"https://{host}/api", platform)
    assert platform.bearers == ["token-1"] * len(allowed) + [None] * len(others)
    assert all(call.url.startswith(BASE) for call in platform.token_calls)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.9.9.9", "[::1]"])
def test_plain_http_is_allowed_for_loopback(kind: Kind, platform: Platform, host: str) -> None:
    auth = kind.auth(platform, base_url=f"http://{host}:8000")
    kind.get(auth, f"http://{host}:8000/api/x", platform)
    kind.get(auth, f"http://{host}:8001/api/x", platform)
    kind.get(auth, BASE + "/api/x", platform)
    assert platform.bearers == ["token-1", None, None]


@pytest.mark.parametrize(
    ("base_url", "url"),
    [
        (BASE, "http://thingspace.verizon.com/api"),
        (BASE, "http://imp.thingspace.verizon.com/api"),
        (BASE, "http://thingspace.verizon.com:443/api"),
        (BASE, "http://thingspace.verizon.com:8080/api"),
        # Its name is looked up, and who answers is anybody's guess.
        ("http://localhost:8000", "http://localhost.:8000/api"),
        ("http://127.0.0.1:8000", "http://127.0.0.1.:8000/api"),
    ],
)
def test_plain_http_to_an_allowed_host_is_refused_before_anything_is_sent(
    kind: Kind, platform: Platform, base_url: str, url: str
) -> None:
    auth = kind.auth(platform, base_url=base_url)
    for _ in range(2):
        with pytest.raises(InsecureTransportError) as caught:
            kind.get(auth, url, platform)
        assert isinstance(caught.value, kind.request_error)
        assert str(caught.value.request.url) == url  # type: ignore[attr-defined]
    assert platform.calls == []


def test_first_request_to_each_host_that_is_not_allowed_is_logged(
    kind: Kind, platform: Platform, auth: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "thingspace_auth_adapters")
    for url in (ELSEWHERE, ELSEWHERE + "/x?secret=1", "https://other.example/", ELSEWHERE):
        kind.get(auth, url, platform)
    found = [record for record in caplog.records if record.name == "thingspace_auth_adapters"]
    assert [record.levelno for record in found] == [logging.INFO] * 2
    assert [record.getMessage() for record in found] == [
        "evil.example is not an allowed host: sent without a token",
        "other.example is not an allowed host: sent without a token",
    ]


@pytest.mark.parametrize("is_warm", [False, True], ids=["cold", "warm"])
def test_token_request_of_ones_own_stays_as_it_is(
    kind: Kind, platform: Platform, is_warm: bool
) -> None:
    auth = kind.auth(platform, m2m=credentials())
    if is_warm:
        kind.get(auth, API, platform)
    own = {"Authorization": "Basic eDp5"}
    for path in (TOKEN_PATH, "/api/ts/v1/oauth2/revoke"):
        kind.send(auth, "POST", BASE + path, platform, headers=own, content=b"x=y")
        call = platform.calls[-1]
        assert (call.path, call.authorization, call.session) == (path, "Basic eDp5", None)


# Redirects.


def test_redirect_within_the_platform_keeps_the_token(
    kind: Kind, platform: Platform, auth: Any
) -> None:
    platform.api = [redirect("/api/m2m/v1/elsewhere")]
    seen = kind.get(auth, API, platform)
    assert (seen.status, seen.history) == (200, [302])
    assert platform.bearers == ["token-1", "token-1"]


@pytest.mark.parametrize(
    ("target", "status"),
    [
        *((ELSEWHERE, status) for status in (301, 302, 303, 307, 308)),
        ("https://thingspace.verizon.com.evil.example/", 307),
        ("http://thingspace.verizon.com/api/x", 307),
        ("https://thingspace.verizon.com:8443/api/x", 307),
        ("//evil.example/x", 307),
        ("https://evil.example\\@thingspace.verizon.com/", 307),
        ("https://thingspace.verizon.com@evil.example/", 307),
    ],
)
def test_no_redirect_carries_the_token_away(
    kind: Kind, platform: Platform, auth: Any, target: str, status: int
) -> None:
    platform.api = [redirect(target, status), refusal(), refusal()]
    # Some libraries refuse some of these targets, each with an error of its own.
    with suppress(kind.request_error, ValueError):
        kind.get(auth, API, platform)
    assert platform.bearers[0] == "token-1"
    away = [call for call in platform.api_calls[1:] if not is_at_home(call.url)]
    assert [call for call in away if "token" in str(call.authorization)] == []
    assert len(platform.token_calls) == (1 if away else len({*platform.bearers} - {None}))


def is_at_home(url: str) -> bool:
    parts = urlsplit(url)
    return (parts.scheme, parts.hostname, parts.port) == ("https", "thingspace.verizon.com", None)


def test_upgrade_to_https_that_the_libraries_make_themselves_is_allowed(
    kind: Kind, platform: Platform
) -> None:
    """They keep Authorization there, so the contract holds by allowing it for loopback alone."""
    auth = kind.auth(platform, base_url="http://localhost")
    platform.api = [redirect("https://localhost/api/b"), refusal()]
    assert kind.get(auth, "http://localhost/api/a", platform).status == 200
    assert len(platform.token_calls) == 2


@pytest.mark.parametrize("location", [ELSEWHERE, "http://[::1"], ids=["elsewhere", "malformed"])
def test_token_request_follows_no_redirect(
    kind: Kind, platform: Platform, auth: Any, location: str
) -> None:
    platform.tokens = [redirect(location, 307)]
    with pytest.raises(ThingspaceAuthError, match="307"):
        kind.get(auth, API, platform)
    assert len(platform.calls) == 1
