"""The token code that scripts have without this package, to measure it beside the package.

It is what people write: a token to begin with, another one after a 401, and the same with the
session. It uses the standard library alone, so it runs whatever is installed.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

_TIMEOUT = 30.0
_MOST_REPEATS = 2

# The platform is on loopback here, whatever proxies there are.
_opener = build_opener(ProxyHandler({}))


class HandWrittenScript:
    """A script that takes care of its own tokens, which its threads share.

    Args:
        base_url: where the platform lives.
        client_id: the application's key.
        client_secret: its secret.
        account: the M2M account's user name and password; ``None`` if it needs no session.
    """

    def __init__(
        self,
        base_url: str,
        client_id: str,
        client_secret: str,
        account: tuple[str, str] | None = None,
    ) -> None:
        self._base_url = base_url
        self._basic = b64encode(f"{client_id}:{client_secret}".encode()).decode()
        self._account = account
        self._token = ""
        self._session_token = ""

    def get(self, path: str) -> int:
        """The status of the answer to a GET request."""
        if not self._token:
            self._fetch_token()
        if self._account and not self._session_token:
            self._log_in()
        status, answer = self._call("GET", path, self._headers())
        for _ in range(_MOST_REPEATS):
            if status == 401:
                self._fetch_token()
            elif status == 400 and "SessionToken" in str(answer):
                self._log_in()
            else:
                break
            status, answer = self._call("GET", path, self._headers())
        return status

    def _headers(self) -> dict[str, str]:
        headers = {"Authorization": f"Bearer {self._token}"}
        if self._account:
            headers["VZ-M2M-Token"] = self._session_token
        return headers

    def _fetch_token(self) -> None:
        headers = {
            "Authorization": f"Basic {self._basic}",
            "Content-Type": "application/x-www-form-urlencoded",
        }
        body = b"grant_type=client_credentials"
        _, answer = self._call("POST", "/api/ts/v1/oauth2/token", headers, body)
        self._token = answer["access_token"]

    def _log_in(self) -> None:
        username, password = self._account or ("", "")
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        body = json.dumps({"username": username, "password": password}).encode()
        _, answer = self._call("POST", "/api/m2m/v1/session/login", headers, body)
        self._session_token = answer["sessionToken"]

    def _call(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> tuple[int, Any]:
        request = Request(self._base_url + path, body, dict(headers), method=method)  # noqa: S310
        try:
            with _opener.open(request, timeout=_TIMEOUT) as response:
                return response.status, json.load(response)
        except HTTPError as error:
            with error:
                return error.code, json.load(error)
