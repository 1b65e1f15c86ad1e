"""Virtual time, and a platform that exists only in memory."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Callable, NamedTuple
from urllib.parse import parse_qs, urlsplit

from thingspace_auth_adapters._core.clock import Clock

BASE = "https://thingspace.verizon.com"
API = BASE + "/api/m2m/v1/devices"
EDGE = "https://5gedge.verizon.com/api/mec/eds"
VEHICLE = "https://imp.thingspace.verizon.com/api/vehicle/v1"
ELSEWHERE = "https://evil.example/api"
TOKEN_PATH = "/api/ts/v1/oauth2/token"
REVOKE_PATH = "/api/ts/v1/oauth2/revoke"
LOGIN_PATH = "/api/m2m/v1/session/login"
LOGOUT_PATH = "/api/m2m/v1/session/logout"
NO_CONNECTION = ("connect", "connect timeout", "certificate", "proxy", "unsupported")
START = 1_700_000_000.0

GATEWAY_REFUSAL = {
    "fault": {
        "code": "900901",
        "message": "Invalid Credentials",
        "description": "Access failure for API: /m2m/v1, version: v1. Make sure you have given"
        " the correct access token",
    }
}


class VirtualClock(Clock):
    """Time that passes only where a test or a pause says so."""

    def __init__(self) -> None:
        self.wall = START
        self.steady = 1000.0
        self.pauses: list[float] = []

    def time(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.steady

    def advance(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.advance(seconds)


class Call(NamedTuple):
    """A request that reached the platform."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return urlsplit(self.url).path

    @property
    def form(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(self.body.decode()).items()}

    @property
    def authorization(self) -> str | None:
        return self.headers.get("authorization")

    @property
    def session(self) -> str | None:
        return self.headers.get("vz-m2m-token")


class Answer:
    """What the platform answers, or the failure to. ``failure`` names a way not to be reached.

    The body may come in parts, from an iterator of them.
    """

    def __init__(
        self,
        status: int = 200,
        body: Any = b"",
        headers: Mapping[str, str] | None = None,
        failure: str | None = None,
    ) -> None:
        self.status = status
        self.headers = dict(headers or {})
        self.failure = failure
        is_ready = isinstance(body, (bytes, Iterator))
        self.body: Any = body if is_ready else json.dumps(body).encode()
        if not is_ready:
            self.headers.setdefault("Content-Type", "application/json")


class Platform:
    """Answers token, login and API requests from queues; by default with something new, and 200.

    ``on_token``, ``on_login`` and ``on_api`` are called in the middle of each such request.
    """

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.tokens: list[Answer] = []
        self.logins: list[Answer] = []
        self.logouts: list[Answer] = []
        self.api: list[Answer] = []
        self.opened = 0
        self.on_token: Callable[[], object] = lambda: None
        self.on_login: Callable[[], object] = lambda: None
        self.on_api: Callable[[], object] = lambda: None
        self.issued = 0

    def handle(self, call: Call) -> Answer:
        self.calls.append(call)
        if call.path.endswith(TOKEN_PATH):
            self.on_token()
            return self.tokens.pop(0) if self.tokens else self.new_token()
        if call.path.endswith(REVOKE_PATH):
            return self.tokens.pop(0) if self.tokens else Answer()
        if call.path.endswith(LOGIN_PATH):
            self.on_login()
            return self.logins.pop(0) if self.logins else self.new_session()
        if call.path.endswith(LOGOUT_PATH):
            return self.logouts.pop(0) if self.logouts else Answer(200, {"sessionToken": "gone"})
        self.on_api()
        return self.api.pop(0) if self.api else Answer(200, {"ok": True})

    def is_unreachable(self, path: str) -> bool:
        """Whether the next request to this path finds no connection."""
        queues = {TOKEN_PATH: self.tokens, REVOKE_PATH: self.tokens, LOGIN_PATH: self.logins}
        queue = queues.get(path, self.logouts if path == LOGOUT_PATH else self.api)
        return bool(queue) and queue[0].failure in NO_CONNECTION

    def new_session(self) -> Answer:
        self.opened += 1
        return Answer(200, {"sessionToken": f"session-{self.opened}"})

    def new_token(self, expires_in: Any = 3600) -> Answer:
        self.issued += 1
        return token_answer(f"token-{self.issued}", expires_in)

    @property
    def token_calls(self) -> list[Call]:
        return [call for call in self.calls if call.path.endswith(TOKEN_PATH)]

    @property
    def revoke_calls(self) -> list[Call]:
        return [call for call in self.calls if call.path.endswith(REVOKE_PATH)]

    @property
    def api_calls(self) -> list[Call]:
        others = ("/oauth2/", LOGIN_PATH, LOGOUT_PATH)
        return [call for call in self.calls if not any(path in call.path for path in others)]

    @property
    def login_calls(self) -> list[Call]:
        return [call for call in self.calls if call.path.endswith(LOGIN_PATH)]

    @property
    def logout_calls(self) -> list[Call]:
        return [call for call in self.calls if call.path.endswith(LOGOUT_PATH)]

    @property
    def sessions(self) -> list[str | None]:
        """What the API requests carried as ``VZ-M2M-Token``."""
        return [call.session for call in self.api_calls]

    @property
    def tokens_sent(self) -> list[dict[str, str]]:
        """What the API requests carried of tokens, by the name of the header."""
        names = ("authorization", "vz-m2m-token", "sessiontoken")
        return [
            {name: call.headers[name] for name in names if name in call.headers}
            for call in self.api_calls
        ]

    @property
    def trail(self) -> list[str]:
        """The calls in order, in a word each."""
        words = {TOKEN_PATH: "token", LOGIN_PATH: "login", LOGOUT_PATH: "logout"}
        return [words.get(call.path, "api") for call in self.calls]

    @property
    def bearers(self) -> list[str | None]:
        """What the API requests carried, without the word Bearer."""
        found = [call.authorization for call in self.api_calls]
        return [None if text is None else text.replace("Bearer ", "") for text in found]


def token_answer(access_token: str, expires_in: Any = 3600) -> Answer:
    return Answer(
        200,
        {
            "access_token": access_token,
            "scope": " ts.application.ro ts.mec.fullaccess",
            "token_type": "Bearer",
            "expires_in": expires_in,
        },
    )


def refusal(body: Any = GATEWAY_REFUSAL, **headers: str) -> Answer:
    """A 401."""
    return Answer(401, body, {name.replace("_", "-"): value for name, value in headers.items()})


SESSION_EXPIRED = {
    "errorCode": "UnifiedWebService.REQUEST_FAILED.SessionToken.Expired",
    "errorMessage": "The session token has expired.",
}
LOGIN_REFUSED = {
    "errorCode": "UnifiedWebService.REQUEST_FAILED.InvalidCredentials",
    "errorMessage": "The credentials are not valid.",
}


def session_refusal(body: Any = SESSION_EXPIRED) -> Answer:
    """A 400 that blames the session token."""
    return Answer(400, body)


def login_refusal() -> Answer:
    return Answer(400, LOGIN_REFUSED)


def redirect(location: str, status: int = 302) -> Answer:
    return Answer(status, b"", {"Location": location})
