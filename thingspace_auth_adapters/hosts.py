"""Where a token may go."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Hashable, Iterable
from typing import NamedTuple

from .errors import InsecureTransportError

_DEFAULT_PORTS = {"https": 443, "wss": 443, "http": 80, "ws": 80}
_SECURE = ("https", "wss")
_PLATFORM = ("thingspace.verizon.com", "*.thingspace.verizon.com", "5gedge.verizon.com")
_CACHED_VERDICTS = 256

AUTHORIZATION = "Authorization"
SESSION_HEADERS = ("VZ-M2M-Token", "SessionToken")

_EDGE = r"(?:.+\.)?5gedge\.verizon\.com"
_VEHICLE = r"(?:.+\.)?imp(?:-staging)?\.thingspace\.verizon\.com"
_BEARER_ALONE = r"[^?#]*/(?:oauth2/(?:token|revoke)|session/login)/?(?:[?#]|\Z)"

# Strict on purpose: an authority that two URL parsers could read differently, for example
# https://evil.example\@thingspace.verizon.com/, matches nothing and so gets no token.
_URL = (
    r"(?i)(?P<scheme>https?|wss?)://"
    r"(?P<userinfo>[A-Za-z0-9._~!$&'()*+,;=:%-]*@)?"
    r"(?P<host>[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\])"
    r"(?::(?P<port>[0-9]{1,5}))?"
    r"(?=[/?#]|\Z)"
)
_LABELS = r"(?!-)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*"


class Origin(NamedTuple):
    """Scheme, normalised host and port of a URL."""

    scheme: str
    host: str
    port: int

    @property
    def is_secure(self) -> bool:
        return self.scheme in _SECURE


def origin(scheme: str, host: str, port: int | None) -> Origin | None:
    """The origin from the parts of a URL that was already taken apart; ``None`` if not http."""
    scheme = scheme.lower()
    if scheme not in _DEFAULT_PORTS:
        return None
    return Origin(scheme, _normalised(host), _DEFAULT_PORTS[scheme] if port is None else port)


def origin_of(url: str) -> Origin | None:
    """The origin of a URL as text, or ``None`` where parsers might disagree on it."""
    match = re.match(_URL, url)
    if match is None:
        return None
    port = match["port"]
    return origin(match["scheme"], match["host"], int(port) if port else None)


def is_loopback(host: str) -> bool:
    """Whether a normalised host is this machine by its literal name."""
    if host == "localhost":
        return True
    address = _address(host)
    if isinstance(address, ipaddress.IPv6Address):
        return address == ipaddress.IPv6Address("::1")
    return address is not None and address.is_loopback


class _Entry(NamedTuple):
    host: str
    port: int | None
    is_wildcard: bool

    def covers_host(self, host: str) -> bool:
        if self.is_wildcard:
            return host.endswith("." + self.host)
        return host == self.host

    def covers(self, target: Origin) -> bool:
        return self.covers_host(target.host) and self._covers_port(target)

    def _covers_port(self, target: Origin) -> bool:
        if self.port in (None, target.port):
            return True
        # The libraries keep Authorization where a redirect upgrades http on port 80 to https.
        return is_loopback(self.host) and (self.port, target[::2]) == (80, ("https", 443))


class AllowedHosts:
    """The hosts that may be sent a token.

    Args:
        entries (Iterable[str]): each ``host``, ``host:port`` or ``*.domain`` (proper subdomains
            only); without a port 443 is meant, for loopback any.

    Raises:
        TypeError: ``entries`` is a string or holds something else than strings.
        ValueError: an entry has none of these forms.
    """

    def __init__(self, entries: Iterable[str]) -> None:
        if isinstance(entries, (str, bytes)):
            raise TypeError("allowed_hosts must be a list of hosts, not one string")
        self._entries = tuple(_entry(text) for text in entries)
        if not self._entries:
            raise ValueError("allowed_hosts is empty: no request would ever get a token")
        self.verdicts: dict[Hashable, tuple[str, ...]] = {}
        """What was remembered: the warm path's one look-up."""

    def allow(self, target: Origin | None) -> bool:
        """Whether a request to ``target`` may carry a token."""
        if target is None or not (target.is_secure or is_loopback(target.host)):
            return False
        return any(entry.covers(target) for entry in self._entries)

    def header_names(self, target: Origin | None) -> tuple[str, ...]:
        """The headers in which a request to ``target`` carries credentials: the bearer's first.

        Raises:
            InsecureTransportError: it would go to an allowed host over plain http.
        """
        if target is not None and self.allow(target):
            return _header_names(target.host)
        if target is not None and self._is_insecure(target):
            raise InsecureTransportError(
                f"refusing to send a token to {target.host} over plain {target.scheme}: use https"
            )
        return ()

    def _is_insecure(self, target: Origin) -> bool:
        if target.is_secure or is_loopback(target.host):
            return False
        return any(entry.covers_host(target.host) for entry in self._entries)

    def remember(self, key: Hashable, verdict: tuple[str, ...]) -> tuple[str, ...]:
        """Remember a verdict under a key that determines it, and return it."""
        if len(self.verdicts) >= _CACHED_VERDICTS:
            self.verdicts.clear()
        self.verdicts[key] = verdict
        return verdict


def _header_names(host: str) -> tuple[str, ...]:
    if re.fullmatch(_EDGE, host):
        return (AUTHORIZATION,)
    usual, vehicle = SESSION_HEADERS
    return (AUTHORIZATION, vehicle if re.fullmatch(_VEHICLE, host) else usual)


def wants_bearer_alone(location: str) -> bool:
    """Whether a URL or path is that of an endpoint that gives credentials out or takes them in."""
    # A look before the match, since every request with a session comes by here.
    may_be = "/session/login" in location or "/oauth2/" in location
    return may_be and re.match(_BEARER_ALONE, location) is not None


def is_plain_prefix(text: str) -> bool:
    """Whether ``text`` is a URL's scheme and authority, whole and unambiguous."""
    match = re.match(_URL, text)
    return match is not None and match.end() == len(text)


def default_entries(base: Origin) -> tuple[str, ...]:
    """The ``allowed_hosts`` that go with a base URL, where none are given."""
    if AllowedHosts(_PLATFORM).allow(base):
        return _PLATFORM
    host = f"[{base.host}]" if ":" in base.host else base.host
    return (f"{host}:{base.port}",)


def checked_base_url(base_url: object) -> tuple[str, Origin]:
    """A base URL without its trailing slash, and its origin.

    Raises:
        TypeError: it is no string.
        ValueError: it is no https URL, nor an http one of a loopback host.
    """
    if not isinstance(base_url, str):
        raise TypeError(f"base_url must be a str, not {type(base_url).__name__}")
    match = re.match(_URL, base_url)
    target = origin_of(base_url)
    if match is None or target is None or match["userinfo"] or target.scheme in ("ws", "wss"):
        raise ValueError("base_url must be a URL like https://thingspace.verizon.com")
    if not 0 < target.port < 65536 or not _is_host(target.host):
        raise ValueError("base_url must name a host, and a port from 1 to 65535 if any")
    if re.search(r"[?#\s\\]", base_url):
        raise ValueError("base_url must have no query, fragment, blank or backslash")
    if not (target.is_secure or is_loopback(target.host)):
        raise ValueError("base_url must use https (http is for loopback hosts only)")
    return base_url.rstrip("/"), target


def _entry(text: object) -> _Entry:
    if not isinstance(text, str):
        raise TypeError(f"allowed_hosts must hold strings, not {type(text).__name__}")
    wildcard, host, port_text = _split_entry(text)
    host = _normalised(_a_labels(host))
    if not _is_host(host) or (wildcard and (_address(host) or port_text)):
        raise ValueError(_entry_help(text))
    port = _port(text, port_text)
    if port is None and (wildcard or not is_loopback(host)):
        port = 443
    return _Entry(host, port, wildcard)


def _split_entry(text: str) -> tuple[bool, str, str]:
    wildcard = text.startswith("*.")
    rest = text[2:] if wildcard else text
    if rest.startswith("["):
        host, bracket, tail = rest.partition("]")
        if not bracket or (tail and not tail.startswith(":")) or tail == ":":
            raise ValueError(_entry_help(text))
        return wildcard, host[1:], tail[1:]
    if rest.count(":") > 1:
        return wildcard, rest, ""
    host, colon, port_text = rest.partition(":")
    if colon and not port_text:
        raise ValueError(_entry_help(text))
    return wildcard, host, port_text


def _port(text: str, port_text: str) -> int | None:
    if not port_text:
        return None
    if not re.fullmatch(r"[0-9]{1,5}", port_text) or not 0 < int(port_text) < 65536:
        raise ValueError(_entry_help(text))
    return int(port_text)


def _entry_help(text: str) -> str:
    return f"allowed_hosts: {text!r} is none of host, host:port, *.domain (no URL, no bare *)"


def _is_host(host: str) -> bool:
    return _address(host) is not None or re.fullmatch(_LABELS, host) is not None


def _a_labels(host: str) -> str:
    if host.isascii():
        return host
    # A dependency of requests, httpx and httpx2 alike, so always there with an adapter.
    import idna

    try:
        return idna.encode(host, uts46=True).decode("ascii")
    except idna.IDNAError as error:
        raise ValueError(f"allowed_hosts: {host!r} is no host name: {error}") from None


def _normalised(host: str) -> str:
    host = host.lower().strip("[]")
    if host.endswith("."):
        host = host[:-1]
    address = _address(host)
    return host if address is None else str(address)


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
