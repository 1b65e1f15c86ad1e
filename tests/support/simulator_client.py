"""A plain client of the simulator, which is no client of this package."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import urllib.parse
from collections.abc import Generator, Iterator
from typing import Any, Union

from thingspace_auth_adapters.simulator import ThingspaceSimulator

from .virtual import LOGIN_PATH, LOGOUT_PATH, TOKEN_PATH

API_PATH = "/api/m2m/v1/devices"
FORM = "application/x-www-form-urlencoded"
GRANT = {"grant_type": "client_credentials"}
# A bound on waiting for what ought to happen at once; never slept through.
SOON = 5.0

Body = Union[None, str, bytes, Iterator[bytes]]


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.3

    def __call__(self) -> float:
        return self.now


class Answer:
    """A response that was read to its end."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def fault(self) -> tuple[int, str]:
        """The status and the code of a gateway's fault."""
        assert self.headers["Content-Type"] == "application/json"
        return self.status, self.json["fault"]["code"]

    @property
    def refusal(self) -> tuple[int, str]:
        """The status and the code of a refusal, in the form that most APIs share."""
        assert self.headers["Content-Type"] == "application/json"
        assert set(self.json) == {"errorCode", "errorMessage"}
        return self.status, self.json["errorCode"]


class Client:
    """One persistent connection to a simulator."""

    clock: Clock

    def __init__(self, simulator: ThingspaceSimulator) -> None:
        self.simulator = simulator
        host = simulator.url.rpartition("/")[2]
        self.connection = http.client.HTTPConnection(host, timeout=SOON)

    def __call__(
        self, method: str, target: str, body: Body = None, headers: dict[str, str] | None = None
    ) -> Answer:
        chunked = not (body is None or isinstance(body, (str, bytes)))
        self.connection.request(method, target, body, headers or {}, encode_chunked=chunked)
        return Answer(self.connection.getresponse())

    def form(
        self, path: str, fields: dict[str, str], basic: str | None = None, **headers: str
    ) -> Answer:
        pair = f"{self.simulator.client_id}:{self.simulator.client_secret}"
        credentials = base64.b64encode((pair if basic is None else basic).encode()).decode()
        headers = {"Authorization": f"Basic {credentials}", "Content-Type": FORM, **headers}
        return self("POST", path, urllib.parse.urlencode(fields), headers)

    def token(self, scope: str | None = None) -> Any:
        """What the token endpoint grants."""
        answer = self.form(TOKEN_PATH, GRANT if scope is None else {**GRANT, "scope": scope})
        assert answer.status == 200, answer.body
        return answer.json

    @property
    def bearer(self) -> str:
        return str(self.token()["access_token"])

    def api(
        self,
        target: str = API_PATH,
        bearer: str | None = None,
        session: str | None = None,
        method: str = "GET",
        header: str = "VZ-M2M-Token",
        body: Body = None,
        **headers: str,
    ) -> Answer:
        """An API's answer to a bearer, by default to a valid one, and a session if there is one."""
        headers["Authorization"] = f"Bearer {self.bearer if bearer is None else bearer}"
        if session is not None:
            headers[header] = session
        return self(method, target, body, headers)

    def attempt(self, username: str = "simulated-user", password: str | None = None) -> Answer:
        """The answer to a login, by default with the right pair."""
        password = self.simulator.password if password is None else password
        return self.login(json.dumps({"username": username, "password": password}))

    def login(self, body: str | bytes, bearer: str | None = None) -> Answer:
        return self.api(LOGIN_PATH, bearer, method="POST", body=body)

    def session(self) -> str:
        """The token of a new session."""
        answer = self.attempt()
        assert answer.status == 200, answer.body
        return str(answer.json["sessionToken"])

    def logout(self, session: str | None) -> Answer:
        return self.api(LOGOUT_PATH, session=session, method="POST")


@contextlib.contextmanager
def client_of(simulator: ThingspaceSimulator) -> Generator[Client, None, None]:
    client = Client(simulator)
    with contextlib.closing(client.connection):
        yield client
