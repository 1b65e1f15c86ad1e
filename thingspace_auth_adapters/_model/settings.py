"""What an auth object is made from, checked once."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from .checks import (
    callback,
    described,
    described_request,
    duration,
    identifier,
    positive_duration,
    refuse_unknown,
)
from .credentials import FIELDS, OauthOnTokenUpdate, OauthTokenProvider, ThingspaceOauthCredentials
from .hosts import EDGE_HOST, PLATFORM_HOST, AllowedHosts, checked_base_url, default_entries

_OPTIONS = ("base_url", "allowed_hosts", "timeout", "m2m", "store")
_SCOPE_TOKEN = r"[\x21\x23-\x5b\x5d-\x7e]+"


class Settings:
    """Checked settings; ``credentials`` is kept for its ``oauth_token``, which may change.

    Args:
        credentials (object): with the seven getters, or some of them.
        base_url (object): where the platform lives.
        allowed_hosts (Iterable[str] | None): the only hosts that are ever sent a token.
        timeout (object): seconds for one call of an endpoint.

    Raises:
        TypeError, ValueError: an argument is bad; the message names it.
    """

    def __init__(
        self,
        credentials: object,
        base_url: object,
        allowed_hosts: Iterable[str] | None,
        timeout: object,
    ) -> None:
        given: dict[str, Any] = {name: getattr(credentials, name, None) for name in FIELDS}
        self.credentials = credentials
        self.client_id = identifier("oauth_client_id", given["oauth_client_id"], forbidden=":")
        self.client_secret = identifier("oauth_client_secret", given["oauth_client_secret"])
        self.scopes = _scopes(given["oauth_scopes"])
        self.token_provider: OauthTokenProvider | None = callback(
            "oauth_token_provider",
            given["oauth_token_provider"],
            "last_oauth_token",
            "auth_manager",
        )
        self.on_token_update: OauthOnTokenUpdate | None = callback(
            "oauth_on_token_update", given["oauth_on_token_update"], "oauth_token"
        )
        skew = given["oauth_clock_skew"]
        self.clock_skew = 0 if skew is None else duration("oauth_clock_skew", skew)
        self.base_url, base = checked_base_url(base_url)
        # 5G Edge's host has no M2M sessions.
        is_edge = base.host == EDGE_HOST
        self.session_base_url = f"https://{PLATFORM_HOST}" if is_edge else self.base_url
        # The names of this machine are one.
        host = "localhost" if base.is_loopback else base.host
        self.login_host = f"{PLATFORM_HOST}:443" if is_edge else f"{host}:{base.port}"
        self.allowed_hosts = AllowedHosts(
            default_entries(base) if allowed_hosts is None else allowed_hosts
        )
        self.timeout = positive_duration("timeout", timeout)

    def __repr__(self) -> str:
        return f"<Settings {self.base_url}>"


def one_source(given: tuple[object, ...], fields: dict[str, Any], for_calls: str) -> object:
    """The credentials from either form of the constructor.

    Args:
        given: what was given by position, the credentials or ``None`` first.
        fields: what was given by name.
        for_calls: the option that says how the endpoints are called.

    Raises:
        TypeError: both forms are mixed, or the credentials are nothing of the kind.
    """
    credentials, *others = given
    if others:
        raise TypeError("by position it takes credentials alone: write oauth_client_id=…")
    if not fields.keys() <= {*FIELDS}:
        refuse_unknown(fields, (*FIELDS, *_OPTIONS, for_calls))
    if credentials is None and not fields:
        raise TypeError(
            "the credentials are missing: ThingspaceAuth(oauth_client_id=…,"
            " oauth_client_secret=…), ThingspaceAuth(ThingspaceOauthCredentials(…)) or"
            " ThingspaceAuth.from_environment()"
        )
    if credentials is None:
        required: dict[str, Any] = {"oauth_client_id": None, "oauth_client_secret": None}
        return ThingspaceOauthCredentials(**{**required, **fields})
    both = [name for name, value in fields.items() if value is not None]
    if both:
        raise TypeError(
            f"give either thingspace_oauth_credentials or its fields, not both: got {both[0]} too"
        )
    if isinstance(credentials, type) or not hasattr(credentials, "oauth_client_id"):
        raise TypeError(
            "thingspace_oauth_credentials must be a ThingspaceOauthCredentials or an object with"
            f" its getters, or name its fields, as in ThingspaceAuth(oauth_client_id=…,"
            f" oauth_client_secret=…); it is not {described_request(credentials)}"
        )
    return credentials


def _scopes(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, str):
        value = str.__str__(value).split()
    if isinstance(value, bytes) or not isinstance(value, Iterable):
        raise TypeError(f"oauth_scopes must be a list of str, not {described(value)}")
    return tuple(_scope(scope) for scope in value)


def _scope(scope: object) -> str:
    if not isinstance(scope, str):
        raise TypeError(f"oauth_scopes must hold str, not {described(scope)}")
    if not re.fullmatch(_SCOPE_TOKEN, scope):
        raise ValueError(f"oauth_scopes: {str.__str__(scope)!r} is no scope (RFC 6749 section 3.3)")
    return str.__str__(scope)
