"""Where a token may go."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import NamedTuple

from ..errors import InsecureTransportError
from .checks import described

_DEFAULT_PORTS = {"https": 443, "wss": 443, "http": 80, "ws": 80}
_SECURE = ("https", "wss")
_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")

PLATFORM_HOST = "thingspace.verizon.com"
EDGE_HOST = "5gedge.verizon.com"

AUTHORIZATION = "Authorization"
SESSION_HEADERS = ("VZ-M2M-Token", "SessionToken")

_EDGE = r"(?:.+\.)?5gedge\.verizon\.com"
_VEHICLE = r"(?:.+\.)?imp(?:-staging)?\.thingspace\.verizon\.com"
_TOKEN_ENDPOINT = r"[^?#]*/oauth2/(?:token|revoke)/?(?:[?#]|\Z)"
_LOGIN_ENDPOINT = r"[^?#]*/session/login/?(?:[?#]|\Z)"
_EDGE_PERFORMANCE = r"(?:[^/?#]+://[^/?#]*)?/api/mec/performance/"

# Strict on purpose: an authority that two URL parsers could read differently, for example
# https://evil.example\@thingspace.verizon.com/, matches nothing and so gets no token.
_URL = (
    r"(?i)(?P<scheme>https?|wss?)://"
    r"(?P<userinfo>[A-Za-z0-9._~!$&'()*+,;=:%-]*@)?"
    r"(?P<host>[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\])"
    r"(?::(?P<port>[0-9]{1,5}))?"
    r"(?=[/?#]|\Z)"
)
_ENTRY = (
    r"(?P<wildcard>\*\.)?"
    r"(?:(?P<name>[^:/?#@\[\]*\s]+)|\[(?P<bracketed>[0-9A-Fa-f:.]+)\]"
    r"|(?P<bare>[0-9A-Fa-f.]*:[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*\Z))"
    r"(?::(?P<port>[0-9]{1,5}))?"
)
_LOOPBACK = r"localhost|127(?:\.(?:25[0-5]|2[0-4][0-9]|1?[0-9]{1,2})){3}|::1"
# The WHATWG URL standard takes a host for an address if its last label is a number.
_ENDS_LIKE_AN_ADDRESS = r"(?:\A|\.)(?:[0-9]+|0x[0-9a-f]*)\Z|:"
_LABELS = r"(?!-)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*"


class Origin(NamedTuple):
    """Where a URL leads to.

    Attributes:
        scheme: in lower case.
        host: as a lower-case A-label without a trailing dot, or an address in its usual form.
        port: also if the URL has none.
        is_loopback: whether that is this machine by its literal name.
        is_safe: whether nobody on the way can read what is sent there.
    """

    scheme: str
    host: str
    port: int
    is_loopback: bool
    is_safe: bool


def origin(scheme: str, host: str, port: int | None) -> Origin | None:
    """The origin from the parts of a URL that was already taken apart; ``None`` if not http."""
    scheme, name = scheme.lower(), _normalised(host)
    if scheme not in _DEFAULT_PORTS:
        return None
    # "localhost." may be looked up in the DNS, and so may be another machine.
    is_loopback = re.fullmatch(_LOOPBACK, name) is not None and not host.endswith(".")
    is_safe = is_loopback or scheme in _SECURE
    effective_port = _DEFAULT_PORTS[scheme] if port is None else port
    return Origin(scheme, name, effective_port, is_loopback, is_safe)


def origin_of(url: str) -> Origin | None:
    """The origin of a URL as text, or ``None`` if parsers might disagree on it."""
    match = re.match(_URL, url)
    if match is None:
        return None
    port = match["port"]
    return origin(match["scheme"], match["host"], int(port) if port else None)


def name_of(target: Origin | None) -> str:
    """An origin, for messages: its host, and its port if that is no usual one."""
    if target is None:
        return "a URL that can be read in two ways"
    return target.host if target.port in (80, 443) else f"{target.host}:{target.port}"


class _Entry(NamedTuple):
    host: str
    port: int | None
    is_wildcard: bool

    def covers(self, target: Origin, any_port: bool = False) -> bool:
        if self.is_wildcard:
            is_host = target.host.endswith("." + self.host)
        else:
            is_host = target.host == self.host
        # The libraries keep Authorization if a redirect upgrades http on port 80 to https.
        is_upgraded = (target.scheme, target.port) == ("https", 443) and self.port == 80
        is_upgrade = target.is_loopback and is_upgraded
        return is_host and (any_port or is_upgrade or self.port in (None, target.port))


class AllowedHosts:
    """The hosts that may be sent a token.

    Args:
        entries (Iterable[str]): each ``host``, ``host:port`` or ``*.domain`` (proper subdomains
            only); without a port 443 is meant, for loopback any.

    Raises:
        TypeError: ``entries`` is a string or holds something else than strings.
        ValueError: an entry has none of these forms.

    Attributes:
        texts: the entries as they were given.
    """

    def __init__(self, entries: Iterable[str]) -> None:
        if isinstance(entries, (str, bytes)) or not isinstance(entries, Iterable):
            raise TypeError(f"allowed_hosts must be a list of hosts, not {described(entries)}")
        self.texts = tuple(entries)
        self._entries = tuple(_entry(text) for text in self.texts)
        if not self._entries:
            raise ValueError("allowed_hosts is empty: no request would ever get a token")

    def allow(self, target: Origin | None) -> bool:
        """Whether a request to ``target`` may carry a token."""
        if target is not None and target.is_safe:
            for entry in self._entries:
                if entry.covers(target):
                    return True
        return False

    def header_names(self, target: Origin | None, location: str = "") -> tuple[str, ...]:
        """The headers in which a request carries credentials: the bearer's first.

        Args:
            target: where it goes.
            location: its URL or path, which decides on 5G Edge's hosts.

        Raises:
            InsecureTransportError: it would go to an allowed host over plain http.
        """
        if target is not None and self.allow(target):
            if re.fullmatch(_EDGE, target.host) and not re.match(_EDGE_PERFORMANCE, location):
                return (AUTHORIZATION,)
            usual, vehicle = SESSION_HEADERS
            return (AUTHORIZATION, vehicle if re.fullmatch(_VEHICLE, target.host) else usual)
        if target is None or target.is_safe:
            return ()
        if any(entry.covers(target, any_port=True) for entry in self._entries):
            raise InsecureTransportError(
                f"refusing to send a token to {target.host} over plain {target.scheme}: use https"
            )
        return ()


def may_be_special(location: str) -> bool:
    """A quick look at a URL or path; if it is ``False``, the host alone decides on the headers."""
    return "/oauth2/" in location or "/session/login" in location or "/mec/performance/" in location


def is_token_endpoint(location: str) -> bool:
    """Whether a URL or path is that of the token or the revocation endpoint."""
    return re.match(_TOKEN_ENDPOINT, location) is not None


def is_absolute(url: str) -> bool:
    """Whether a URL has a scheme and a host."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]", url) is not None


def is_login_endpoint(location: str) -> bool:
    """Whether a URL or path is that of the M2M login."""
    return re.match(_LOGIN_ENDPOINT, location) is not None


def default_entries(base: Origin) -> tuple[str, ...]:
    """The ``allowed_hosts`` that go with a base URL, if none are given."""
    if base.host in (PLATFORM_HOST, EDGE_HOST) and base.port == 443:
        return (PLATFORM_HOST, f"*.{PLATFORM_HOST}", EDGE_HOST, f"*.{EDGE_HOST}")
    host = f"[{base.host}]" if ":" in base.host else base.host
    names = dict.fromkeys((host, *_LOOPBACK_NAMES)) if base.is_loopback else (host,)
    return tuple(f"{name}:{base.port}" for name in names)


def checked_base_url(base_url: object) -> tuple[str, Origin]:
    """A base URL without a trailing slash, and its origin.

    Raises:
        TypeError: it is no string.
        ValueError: it is no https URL of a host alone, nor an http one of a loopback host.
    """
    if not isinstance(base_url, str):
        raise TypeError(f"base_url must be a str, not {described(base_url)}")
    match, target = re.match(_URL, base_url), origin_of(base_url)
    if match is None or target is None or match["userinfo"] or target.scheme in ("ws", "wss"):
        raise ValueError("base_url must be a URL like https://thingspace.verizon.com")
    if base_url[match.end() :] not in ("", "/"):
        raise ValueError(
            "base_url must be scheme, host and port alone, without path or query, like"
            " https://thingspace.verizon.com: the paths are added to it"
        )
    if not 0 < target.port < 65536 or not _is_host(target.host):
        raise ValueError("base_url must name a host, and a port from 1 to 65535 if any")
    if not target.is_safe:
        raise ValueError("base_url must use https (http is for loopback hosts only)")
    return match.group(), target


def _entry(text: object) -> _Entry:
    if not isinstance(text, str):
        raise TypeError(f"allowed_hosts must hold strings, not {described(text)}")
    match = re.fullmatch(_ENTRY, text)
    if match is None:
        raise ValueError(_entry_help(text))
    host = _normalised(_a_labels(match["name"] or match["bracketed"] or match["bare"]))
    is_wildcard, port = match["wildcard"] is not None, int(match["port"] or 443)
    is_wrong = is_wildcard and (match["port"] or re.search(_ENDS_LIKE_AN_ADDRESS, host))
    if is_wrong or not _is_host(host) or not 0 < port < 65536:
        raise ValueError(_entry_help(text))
    is_any_port = not (is_wildcard or match["port"]) and re.fullmatch(_LOOPBACK, host)
    return _Entry(host, None if is_any_port else port, is_wildcard)


def _entry_help(text: str) -> str:
    return f"allowed_hosts: {text!r} is none of host, host:port, *.domain (no URL, no bare *)"


def _is_host(host: str) -> bool:
    if ":" not in host:
        return re.fullmatch(_LABELS, host) is not None
    try:
        return bool(ipaddress.ip_address(host))
    except ValueError:
        return False


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
    host = host[:-1] if host.endswith(".") else host
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return host
