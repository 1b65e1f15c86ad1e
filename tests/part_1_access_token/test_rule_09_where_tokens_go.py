"""Part 1, rule 9: tokens go to allowed hosts alone, and over https; what is said of other hosts."""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path
from typing import Any, Callable
from urllib.parse import urlsplit

import pytest

from thingspace_auth_adapters import (
    InsecureTransportError,
    InvalidTokenResponseError,
    __version__,
)
from thingspace_auth_adapters.simulator import ThingspaceSimulator

from ..support.kinds import Kind
from ..support.logins import credentials
from ..support.real import options_for
from ..support.virtual import (
    API,
    BASE,
    ELSEWHERE,
    REVOKE_PATH,
    TOKEN_PATH,
    Answer,
    Call,
    Platform,
    VirtualClock,
    redirect,
    refusal,
)

pytestmark = pytest.mark.usefixtures("clock")

Told = Callable[[], list[str]]

OTHER = "https://staging.example/api/m2m/v1/devices"


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


# The first 401 of a host that gets no token.


def test_host_without_a_token_that_wants_one_is_told_once(
    kind: Kind, platform: Platform, told: Told
) -> None:
    auth = kind.auth(platform)
    for url in (OTHER, OTHER, "https://other.example/x", OTHER):
        platform.api = [refusal()]
        assert kind.get(auth, url, platform).status == 401
    first, second = told()
    for part in ("staging.example", "allowed_hosts", "*.thingspace.verizon.com", "base_url", BASE):
        assert part in first
    assert "other.example" in second
    assert platform.bearers == [None] * 4


@pytest.mark.parametrize(
    ("url", "headers", "answer"),
    [
        (OTHER, {}, Answer(200)),
        (OTHER, {}, Answer(403)),
        (OTHER, {}, Answer(404, b"x")),
        (OTHER, {"Authorization": "Basic eDp5"}, refusal()),
        (API, {}, refusal()),
    ],
    ids=["200", "403", "404", "an Authorization of its own", "the platform's"],
)
def test_nothing_else_is_such_a_warning(
    kind: Kind,
    platform: Platform,
    told: Told,
    url: str,
    headers: dict[str, str],
    answer: Answer,
) -> None:
    platform.api = [answer] * 2
    kind.get(kind.auth(platform), url, platform, headers=headers)
    assert told() == []


def test_answer_of_a_host_that_is_not_allowed_is_not_read(
    requests_kind: Kind, platform: Platform, told: Told
) -> None:
    """What is read of a stream is gone; httpx puts it back."""
    platform.api = [refusal({"theirs": True})]
    session = requests_kind.session(platform)
    session.auth = requests_kind.auth(platform, m2m=credentials())
    assert b"theirs" in session.get(OTHER, stream=True).raw.read()
    assert len(told()) == 1


def test_client_without_an_adapter_is_told_too(kind: Kind, platform: Platform, told: Told) -> None:
    auth = kind.auth(platform)
    own = {"Authorization": "Basic eDp5"}
    assert kind.recover(auth, own, 401, b"", url=OTHER) is None
    assert told() == []
    for _ in range(2):
        assert kind.recover(auth, {}, 401, b"", url=OTHER) is None
    (warning,) = told()
    assert "staging.example" in warning


# What a request to another host loses.


def test_value_of_ours_is_removed_from_a_request_to_another_host(
    kind: Kind, platform: Platform, told: Told
) -> None:
    auth = kind.auth(platform, m2m=credentials())
    kind.get(auth, API, platform)
    ours = {"Authorization": "Bearer token-1", "VZ-M2M-Token": "session-1"}
    for host in ("evil.example", "other.example", "evil.example"):
        kind.get(auth, f"https://{host}/", platform, headers=ours)
    assert platform.bearers == ["token-1", None, None, None]
    assert platform.sessions == ["session-1", None, None, None]
    assert told() == [
        f"{host} is not to get a token of ours, which was removed: see allowed_hosts"
        for host in ("evil.example", "other.example")
    ]


def test_value_of_ones_own_is_not_removed(kind: Kind, platform: Platform) -> None:
    auth = kind.auth(platform, m2m=credentials())
    kind.get(auth, API, platform)
    own = {"Authorization": "Bearer own", "VZ-M2M-Token": "own"}
    for _ in range(2):
        kind.get(auth, "https://other.example/", platform, headers=own)
    assert platform.bearers[1:] == ["own", "own"]
    assert platform.sessions[1:] == ["own", "own"]


@pytest.mark.parametrize("successor", [None, credentials("another")])
def test_session_of_a_login_that_outlived_its_account_goes_to_no_foreign_host(
    kind: Kind, successor: Any
) -> None:
    """``auth.m2m`` is assigned while the login is out: its session is ours all the same."""

    class Assigning(Platform):
        def new_session(self) -> Answer:
            if self.opened == 0:
                auth.m2m = successor
            return super().new_session()

    platform = Assigning()
    auth = kind.auth(platform, m2m=credentials())
    platform.api = [redirect("https://evil.example/", 307)]
    options: dict[str, Any] = {}
    if not kind.is_requests:
        options["event_hooks"] = {"request": [auth.aguard if kind.is_async else auth.guard]}
    kind.get(auth, API, platform, **options)
    assert platform.sessions == ["session-1", None]


# A script that still fetches its own token.


@pytest.mark.parametrize(
    ("name", "status"), [("Authorization", 200), ("authorization", 401), ("Authorization", 401)]
)
@pytest.mark.parametrize("path", [TOKEN_PATH, REVOKE_PATH])
@pytest.mark.parametrize("is_warm", [False, True], ids=["cold", "warm"])
def test_call_of_an_endpoint_with_a_header_of_its_own_is_left_as_it_is(
    kind: Kind, platform: Platform, path: str, name: str, status: int, is_warm: bool
) -> None:
    platform.tokens = [Answer(status, {"error": "invalid_client", "access_token": "theirs"})]
    auth = kind.auth(platform, m2m=credentials())
    if is_warm:
        auth = kind.auth(platform, m2m="a-session", oauth_token={"access_token": "ours"})
    form = {"grant_type": "client_credentials"}
    headers = {name: "Basic dGhlaXI6b3du"}
    seen = kind.send(auth, "POST", BASE + path, platform, headers=headers, data=form)
    assert seen.status == status
    (call,) = platform.calls
    assert call.authorization == "Basic dGhlaXI6b3du"
    assert call.session is None
    assert call.form == form


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


# Calls of the endpoints themselves.

REDIRECTS = [ELSEWHERE, "x:y", "http://[::1", "//", "\x7f", "https://a:b:c/"]


@pytest.mark.parametrize("location", REDIRECTS)
@pytest.mark.parametrize("status", [302, 307])
def test_token_request_follows_no_redirect(
    kind: Kind, platform: Platform, auth: Any, location: str, status: int
) -> None:
    platform.tokens = [redirect(location, status)]
    with pytest.raises(InvalidTokenResponseError, match=str(status)) as caught:
        kind.get(auth, API, platform)
    assert isinstance(caught.value, kind.request_error)
    assert len(platform.calls) == 1


def test_token_request_ignores_netrc(
    kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login other password other\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with ThingspaceSimulator() as simulator:
        auth = kind.adapter.ThingspaceAuth(**options_for(simulator))
        assert kind.fetch_token(auth).access_token in simulator.issued_tokens


def test_token_request_to_loopback_goes_through_no_proxy_of_the_environment(
    kind: Kind, monkeypatch: pytest.MonkeyPatch, clock: VirtualClock
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with ThingspaceSimulator() as simulator:
        auth = kind.adapter.ThingspaceAuth(**options_for(simulator))
        assert kind.fetch_token(auth).access_token in simulator.issued_tokens
    assert clock.pauses == []


def test_calls_of_endpoints_say_who_asks_and_that_nothing_is_kept(
    kind: Kind, platform: Platform
) -> None:
    auth = kind.auth(platform, m2m=credentials())
    kind.get(auth, API, platform)
    kind.end_session(auth)
    kind.revoke_token(auth)

    def last_word(call: Call) -> str:
        return call.path.rpartition("/")[2]

    (own,) = platform.api_calls
    calls = [call for call in platform.calls if call is not own]
    assert [last_word(call) for call in calls] == ["token", "login", "logout", "revoke"]
    agents = f"thingspace-auth-adapters/{__version__} python-{kind.library_name}/"
    for call in calls:
        assert call.headers["user-agent"] == agents + kind.library.__version__
        assert call.headers["cache-control"] == "no-store"
    # The caller's own request says nothing of us.
    assert "thingspace" not in own.headers["user-agent"]
