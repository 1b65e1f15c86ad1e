"""The module ``_model/hosts``: where a token may go; every guard has a case that it must refuse."""

from __future__ import annotations

from typing import Any

import pytest

from thingspace_auth_adapters import InsecureTransportError
from thingspace_auth_adapters._model.hosts import (
    AllowedHosts,
    checked_base_url,
    default_entries,
    is_login_endpoint,
    is_token_endpoint,
    may_be_special,
    name_of,
    origin,
    origin_of,
)


def allows(entry: str, url: str) -> bool:
    return AllowedHosts([entry]).allow(origin_of(url))


@pytest.mark.parametrize(
    ("entry", "url"),
    [
        ("a.example", "https://a.example"),
        ("a.example", "https://A.EXAMPLE:443/x"),
        ("A.Example.", "https://a.example./x"),
        ("a.example:1", "https://a.example:1/"),
        ("a.example:65535", "https://a.example:65535/"),
        ("BÜCHER.example", "https://xn--bcher-kva.example/"),
        ("*.a.example", "https://b.a.example/"),
        ("*.a.example", "https://c.b.a.example?x"),
        ("a_b.example", "https://a_b.example#x"),
        ("localhost", "http://localhost:1234/"),
        ("localhost", "https://localhost/"),
        ("127.0.0.1", "http://127.0.0.1:1/"),
        ("127.0.0.1:80", "http://127.0.0.1/"),
        ("::1", "http://[::1]:9/"),
        ("[::1]", "http://[::1]:9/"),
        ("[::1]:9", "http://[0:0:0:0:0:0:0:1]:9/"),
        ("2001:db8::1", "https://[2001:DB8:0::1]/"),
        ("192.0.2.1", "https://192.0.2.1/"),
        ("localhost:80", "https://localhost/"),
        ("localhost:80", "ws://localhost/"),
        ("a.example", "https://user:p%40ss@a.example/"),
        ("a.example", "wss://a.example/socket"),
    ],
)
def test_allowed(entry: str, url: str) -> None:
    assert allows(entry, url)


@pytest.mark.parametrize(
    ("entry", "url"),
    [
        ("a.example", "https://a.example:8443/"),
        ("a.example", "https://b.a.example/"),
        ("a.example", "https://a.example.evil.example/"),
        ("a.example", "https://xa.example/"),
        ("a.example", "http://a.example/"),
        ("bücher.example", "https://bucher.example/"),
        ("a.example", "ftp://a.example/"),
        ("a.example:8443", "https://a.example/"),
        ("*.a.example", "https://a.example/"),
        ("*.a.example", "https://xa.example/"),
        ("*.a.example", "https://b.a.example:8443/"),
        ("localhost:80", "http://localhost:81/"),
        ("localhost:81", "https://localhost/"),
        ("*.localhost", "https://a.localhost:8443/"),
        ("192.0.2.1", "http://192.0.2.1/"),
        ("0.0.0.0", "http://0.0.0.0/"),
        ("localhost", "http://localhost./"),
        ("127.0.0.1", "http://127.0.0.1./"),
        ("127.0.0.1", "http://127.1/"),
        ("::ffff:127.0.0.1", "http://[::ffff:127.0.0.1]/"),
        ("a.example", "https://evil.example\\@a.example/"),
        ("a.example", "https://evil.example/@a.example/"),
        ("a.example", "https://a.example@evil.example/"),
        ("a.example", "https://a.example\n.evil.example/"),
        ("a.example", "https://a.example .evil.example/"),
        ("a.example", "https://x@y@a.example/"),
        ("a.example", "https://a%2Eexample/"),
        ("a.example", "https:///a.example/"),
        ("a.example", "https:a.example"),
        ("a.example", "a.example"),
        ("a.example", ""),
    ],
)
def test_refused(entry: str, url: str) -> None:
    assert not allows(entry, url)


@pytest.mark.parametrize(
    "entry",
    [
        "",
        "*",
        "*.",
        ".",
        "https://a.example",
        "a.example/path",
        "a.example:",
        "a.example:0",
        "a.example:65536",
        "a.example:x",
        "*.127.0.0.1",
        "*.0.0.1",
        "*.0.1",
        "*.1",
        "*.0x7f",
        "*.example.0x7f",
        "*.::1",
        "*.[::1]",
        "*.a.example:8443",
        "*a.example",
        "//a.example",
        "http://127.0.0.1:8000",
        "a.*.example",
        "**.example",
        "[::1",
        "[1:2]",
        "1:2:3",
        "[::1]x",
        "[::1]:",
        "user@a.example",
        " a.example",
        "a..example",
        "-a.example",
        "ü" * 80 + ".example",
    ],
)
def test_bad_entries_are_named(entry: str) -> None:
    with pytest.raises(ValueError, match="allowed_hosts"):
        AllowedHosts([entry])


def test_plain_http_to_an_allowed_host_raises() -> None:
    hosts = AllowedHosts(["a.example", "*.b.example", "localhost:80"])
    for url in ("http://a.example/", "http://x.b.example:99/", "ws://a.example/"):
        with pytest.raises(InsecureTransportError, match="use https"):
            hosts.header_names(origin_of(url))
    for url in ("http://c.example/", "http://localhost:81/", "https://a.example:1/", "ftp://x/"):
        assert hosts.header_names(origin_of(url)) == ()
    assert hosts.header_names(origin_of("https://a.example/"))[0] == "Authorization"


@pytest.mark.parametrize(
    ("url", "names"),
    [
        ("https://thingspace.verizon.com/x", ("Authorization", "VZ-M2M-Token")),
        ("https://imp.thingspace.verizon.com/", ("Authorization", "SessionToken")),
        ("https://5gedge.verizon.com/", ("Authorization",)),
        ("https://shrimp.thingspace.verizon.com/", ("Authorization", "VZ-M2M-Token")),
        ("https://verizon.com/", ()),
    ],
)
def test_headers_at_each_host(url: str, names: tuple[str, ...]) -> None:
    hosts = AllowedHosts(
        ["thingspace.verizon.com", "*.thingspace.verizon.com", "5gedge.verizon.com"]
    )
    assert hosts.header_names(origin_of(url)) == names


@pytest.mark.parametrize(
    ("location", "is_tokens", "is_logins"),
    [
        ("https://a.example/api/ts/v1/oauth2/token", True, False),
        ("/api/ts/v1/oauth2/token/", True, False),
        ("/api/ts/v1/oauth2/revoke?x=1", True, False),
        ("/api/ts/v1/oauth2/tokens", False, False),
        ("/api?next=/oauth2/token", False, False),
        ("/api/m2m/v1/session/login", False, True),
        ("/api/m2m/v1/session/login#x", False, True),
        ("/api/m2m/v1/session/logins", False, False),
        ("/api/m2m/v1/session/logout", False, False),
        ("/api/m2m/v1/devices", False, False),
    ],
)
def test_endpoints_are_known_by_their_path(location: str, is_tokens: bool, is_logins: bool) -> None:
    assert (is_token_endpoint(location), is_login_endpoint(location)) == (is_tokens, is_logins)
    assert may_be_special(location) or not (is_tokens or is_logins)


def test_origin_from_parts() -> None:
    found = origin("HTTPS", "A.example.", None)
    assert found == ("https", "a.example", 443, False, True)
    assert found == origin_of("https://a.example")
    assert origin("ftp", "a.example", 21) is None


PLATFORM = (
    "thingspace.verizon.com",
    "*.thingspace.verizon.com",
    "5gedge.verizon.com",
    "*.5gedge.verizon.com",
)


@pytest.mark.parametrize("entries", ["a.example", b"a.example", 7, None])
def test_hosts_that_are_no_list_are_named(entries: Any) -> None:
    with pytest.raises(TypeError, match="allowed_hosts must be a list of hosts, not "):
        AllowedHosts(entries)


@pytest.mark.parametrize(
    ("base_url", "entries"),
    [
        ("https://thingspace.verizon.com", PLATFORM),
        ("https://5gedge.verizon.com/", PLATFORM),
        ("https://staging.thingspace.verizon.com/", ("staging.thingspace.verizon.com:443",)),
        ("https://thingspace.verizon.com:1", ("thingspace.verizon.com:1",)),
        ("https://thingspace.verizon.com:65535", ("thingspace.verizon.com:65535",)),
        ("https://proxy.example", ("proxy.example:443",)),
        ("http://127.0.0.1:80", ("127.0.0.1:80", "localhost:80", "[::1]:80")),
        ("http://[::1]:8000", ("[::1]:8000", "localhost:8000", "127.0.0.1:8000")),
        ("http://127.0.0.9:80", ("127.0.0.9:80", "localhost:80", "127.0.0.1:80", "[::1]:80")),
    ],
)
def test_default_hosts_go_with_the_base_url(base_url: str, entries: tuple[str, ...]) -> None:
    _, base = checked_base_url(base_url)
    assert default_entries(base) == entries
    assert AllowedHosts(entries).allow(base)


# Loopback is known by its literal name.
NOT_LOOPBACK = [
    *("localhost.", "127.0.0.1.", "127.1", "127.0.1", "2130706433", "0x7f.0.0.1", "0177.0.0.1"),
    *("127.0.0.256", "128.0.0.1", "0.0.0.0", "[::]", "[::2]", "[::ffff:127.0.0.1]"),
    *("localhost.localdomain", "sub.localhost", "localhost.evil.example"),
    "127.0.0.1.evil.example",
]


@pytest.mark.parametrize(
    "base_url",
    [
        "thingspace.verizon.com",
        "",
        "https://",
        "https:///api",
        "https://" + "ü" * 80 + ".example",
        *(f"http://{host}:8000" for host in NOT_LOOPBACK),
        "ftp://thingspace.verizon.com",
        "wss://thingspace.verizon.com",
        "http://thingspace.verizon.com",
        "https://user:password@thingspace.verizon.com",
        "https://user@thingspace.verizon.com",
        "https://thingspace.verizon.com?x=1",
        "https://thingspace.verizon.com#x",
        "https://thingspace.verizon.com/api",
        "https://thingspace.verizon.com/a b",
        "https://thingspace.verizon.com/a\\b",
        "https://thingspace.verizon.com\n",
        "https://thingspace.verizon.com:0",
        "https://thingspace.verizon.com:65536",
        "https://-thingspace",
    ],
)
def test_bad_base_url_is_named(base_url: str) -> None:
    with pytest.raises(ValueError, match="base_url"):
        checked_base_url(base_url)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://a.example/path", "a.example"),
        ("http://a.example/", "a.example"),
        ("https://a.example:8443/", "a.example:8443"),
        ("https://a.example\\@b.example/", "a URL that can be read in two ways"),
    ],
)
def test_message_names_a_host_and_a_port_that_is_not_usual(url: str, name: str) -> None:
    assert name_of(origin_of(url)) == name
