"""The aiohttp example: the public names are enough to serve a library that has no adapter here."""

from __future__ import annotations

import ast
import asyncio
import gzip
import hashlib
import importlib
import json
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from thingspace_auth_adapters import OauthProviderError, VzM2mCredentials
from thingspace_auth_adapters.simulator import ThingspaceSimulator

from ..support.real import options_for
from ..support.snippets import ROOT, loaded
from ..support.virtual import GATEWAY_REFUSAL, SESSION_EXPIRED

aiohttp = pytest.importorskip("aiohttp", minversion="3.12")
pytest.importorskip("httpx")

EXAMPLE = ROOT / "examples" / "aiohttp_middleware.py"
SOURCE = EXAMPLE.read_text(encoding="utf-8")
API = "/api/m2m/v1/devices"
OURS = ("authorization", "vz-m2m-token", "sessiontoken")
MEGABYTE = 1024 * 1024
TASKS = 20


class Rig:
    """The example's middleware, for one simulator.

    Attributes:
        simulator: the platform.
        auth: the object that the middleware asks for headers.
        exchanges: the requests that the middleware sent, each with its response, in order.
    """

    def __init__(self, simulator: ThingspaceSimulator, **options: Any) -> None:
        from thingspace_auth_adapters.httpx import ThingspaceAuth

        self.simulator = simulator
        # Loading CA certificates is most of what a client for one plain http call costs.
        options.setdefault("client_options", {"verify": False})
        self.auth = ThingspaceAuth(**options_for(simulator), **options)
        self.exchanges: list[tuple[Any, Any]] = []
        self._middleware = loaded(EXAMPLE).ThingspaceMiddleware(self.auth)

    def get(self, path: str = API, **options: Any) -> int:
        """The status of a GET."""
        return int(self.send("GET", path, **options)[0])

    def send(self, method: str, path: str = API, **options: Any) -> tuple[int, bytes]:
        """The status and the body of an answer."""
        ((status, _, body),) = self.send_all([(method, path, options)])
        return status, body

    def send_all(self, requests: list[Any]) -> list[tuple[int, bool, bytes]]:
        """For requests at the same time: the status, whether it had been read, and the body."""

        async def one(session: Any, method: str, path: str, options: Any) -> Any:
            async with session.request(method, path, **options) as response:
                was_read = response.content.at_eof()
                return response.status, was_read, await response.read()

        async def all_of_them() -> Any:
            middlewares = [self._middleware, self._watched]
            async with aiohttp.ClientSession(
                self.simulator.url, middlewares=middlewares
            ) as session:
                return await asyncio.gather(*(one(session, *request) for request in requests))

        outcomes: list[tuple[int, bool, bytes]] = asyncio.run(all_of_them())
        return outcomes

    async def _watched(self, req: Any, handler: Any) -> Any:
        rejected = [answer for past, answer in self.exchanges if past is req]
        assert all(answer.closed for answer in rejected), "a rejected answer is still open"
        answer = await handler(req)
        self.exchanges.append((req, answer))
        return answer

    @property
    def statuses(self) -> list[int]:
        return [answer.status for _, answer in self.exchanges]

    @property
    def counts(self) -> tuple[int, int, int]:
        """How many token, login and other requests the platform has seen."""
        seen = self.simulator
        return len(seen.token_requests), len(seen.login_requests), len(seen.api_requests)


def sent(request: Any) -> dict[str, str]:
    """What a request that arrived carried of ours."""
    return {name: request.headers[name] for name in OURS if name in request.headers}


@pytest.fixture
def simulator() -> Iterator[ThingspaceSimulator]:
    with ThingspaceSimulator(sessions_required=True) as running:
        yield running


@pytest.fixture
def foreign() -> Iterator[ThingspaceSimulator]:
    """Another server, on a port that is not allowed."""
    with ThingspaceSimulator() as running:
        yield running


@pytest.fixture
def cold(simulator: ThingspaceSimulator) -> Rig:
    return Rig(simulator, m2m=VzM2mCredentials(simulator.username, simulator.password))


@pytest.fixture
def rig(cold: Rig, simulator: ThingspaceSimulator) -> Rig:
    """One that has both tokens; what that cost is forgotten."""
    assert cold.get() == 200
    assert cold.counts == (1, 1, 1)
    cold.exchanges.clear()
    simulator.clear()
    return cold


# When headers are had, and had again.


def test_token_that_is_known_to_be_expired_is_renewed_before_the_request(rig: Rig) -> None:
    token = rig.auth.oauth_token
    assert token is not None
    rig.auth.oauth_token = {**token.to_dict(), "expiry": time.time() - 1}
    rig.simulator.revoke()
    assert rig.get() == 200
    assert rig.counts == (1, 0, 1)


@pytest.mark.parametrize(
    ("losses", "statuses", "counts"),
    [
        (("revoke",), [401, 200], (1, 0, 2)),
        (("end_sessions",), [400, 200], (0, 1, 2)),
        (("revoke", "end_sessions"), [401, 400, 200], (1, 1, 3)),
    ],
    ids=["token", "session", "both"],
)
@pytest.mark.parametrize(
    "options",
    [{}, {"data": b"x" * 300_000}, {"json": {"a": 1}}, {"data": {"a": "1"}}],
    ids=["none", "bytes", "json", "form"],
)
def test_each_loss_leads_to_one_renewal_and_one_repeat_with_the_same_body(
    rig: Rig,
    simulator: ThingspaceSimulator,
    losses: tuple[str, ...],
    statuses: list[int],
    counts: tuple[int, int, int],
    options: dict[str, Any],
) -> None:
    for loss in losses:
        getattr(simulator, loss)()
    assert rig.send("POST" if options else "GET", **options)[0] == 200
    assert (rig.statuses, rig.counts) == (statuses, counts)
    first, *others = (request.body for request in simulator.api_requests)
    assert bool(first) == bool(options)
    assert others == [first] * len(others)


def test_each_is_renewed_only_once_for_one_request(rig: Rig) -> None:
    rig.simulator.revoke()
    rig.simulator.fail("api", 401, body=GATEWAY_REFUSAL)
    rig.simulator.fail("api", 400, body=SESSION_EXPIRED)
    rig.simulator.fail("api", 401, times=None, body=GATEWAY_REFUSAL)
    status, body = rig.send("GET")
    assert (status, json.loads(body)) == (401, GATEWAY_REFUSAL)
    assert (rig.statuses, rig.counts) == ([401, 400, 401], (1, 1, 3))


def test_twenty_tasks_share_one_token_request_and_one_login(cold: Rig) -> None:
    cold.simulator.latency["token"] = cold.simulator.latency["login"] = 0.1
    for lose, made in (
        (bool, (1, 1)),
        (cold.simulator.revoke, (2, 1)),
        (cold.simulator.end_sessions, (2, 2)),
    ):
        lose()
        outcomes = cold.send_all([("GET", API, {})] * TASKS)
        assert [status for status, *_ in outcomes] == [200] * TASKS
        assert cold.counts[:2] == made


# Bodies.


def test_streamed_download_through_a_refusal_is_whole_and_not_read_by_the_middleware(
    rig: Rig, simulator: ThingspaceSimulator
) -> None:
    simulator.revoke()
    size = 5 * MEGABYTE
    ((status, was_read, body),) = rig.send_all([("GET", f"{API}?bytes={size}", {})])
    assert (status, was_read, len(body)) == (200, False, size)
    pattern = hashlib.sha256(bytes(range(256)) * (size // 256))
    assert hashlib.sha256(body).digest() == pattern.digest()
    assert rig.counts == (1, 0, 2)


@pytest.mark.parametrize("source", ["iterator", "file"])
def test_upload_that_can_be_sent_once_is_not_repeated_but_renews(
    rig: Rig, simulator: ThingspaceSimulator, tmp_path: Path, source: str
) -> None:
    async def parts() -> AsyncIterator[bytes]:
        yield b"x" * 100_000
        yield b"x" * 200_000

    path = tmp_path / "firmware"
    path.write_bytes(b"x" * 300_000)
    simulator.revoke()
    with path.open("rb") as file:
        status, body = rig.send("PUT", data=file if source == "file" else parts())
    assert (status, json.loads(body)["fault"]["code"]) == (401, GATEWAY_REFUSAL["fault"]["code"])
    assert [len(request.body) for request in simulator.api_requests] == [300_000]
    assert rig.get() == 200
    assert rig.counts == (1, 0, 2)


@pytest.mark.parametrize("status", [200, 201, 500, 503])
def test_answer_that_blames_nothing_is_left_unread(rig: Rig, status: int) -> None:
    ((seen, was_read, _),) = rig.send_all([("GET", f"{API}?status={status}", {})])
    assert (seen, was_read) == (status, False)


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("identity", b"x" * 100_000),
        ("gzip, gzip", gzip.compress(gzip.compress(b"x"))),
    ],
    ids=["long", "encoded twice"],
)
def test_refusal_that_is_left_unread_renews_but_is_not_repeated(
    rig: Rig, simulator: ThingspaceSimulator, encoding: str, body: bytes
) -> None:
    simulator.revoke()
    simulator.fail("api", 401, headers={"Content-Encoding": encoding}, body=body)
    # What is encoded twice the caller cannot read, either.
    options: dict[str, Any] = {"auto_decompress": False} if encoding != "identity" else {}
    assert rig.get(**options) == 401
    assert rig.counts == (1, 0, 1)
    assert rig.get() == 200
    assert rig.counts == (1, 0, 2)


def test_compressed_refusal_is_understood(rig: Rig, simulator: ThingspaceSimulator) -> None:
    body = gzip.compress(json.dumps(SESSION_EXPIRED).encode())
    simulator.fail("api", 400, headers={"Content-Encoding": "gzip"}, body=body)
    assert rig.get() == 200
    assert rig.counts == (0, 1, 2)


def test_error_that_blames_no_credential_reaches_the_caller_whole(rig: Rig) -> None:
    status, body = rig.send("GET", f"{API}?refuse=location-account")
    assert (status, json.loads(body)["errorCode"]) == (400, "INVALID_PARAMETER")
    assert rig.counts == (0, 0, 1)


# Errors.


def test_failure_to_get_a_token_is_an_error_of_aiohttp_to_the_caller(
    cold: Rig, simulator: ThingspaceSimulator, short_pauses: None
) -> None:
    simulator.fail("token", 401, body={"error": "invalid_client"})
    with pytest.raises(aiohttp.ClientError, match="invalid_client") as raised:
        cold.get()
    assert isinstance(raised.value.__cause__, OauthProviderError)
    simulator.fail("token", "drop", times=None)
    with pytest.raises(aiohttp.ClientError, match="token endpoint"):
        cold.get()
    assert cold.exchanges == []
    simulator.recover()
    assert cold.get() == 200


def test_answer_is_closed_when_renewing_raises(simulator: ThingspaceSimulator) -> None:
    told: list[str] = []

    def update(token: Any) -> None:
        told.append(token.access_token)
        assert len(told) == 1, "the database is down"

    simulator.sessions_required = False
    rig = Rig(simulator, oauth_on_token_update=update)
    assert rig.get() == 200
    simulator.revoke()
    simulator.fail("api", 401, body=b"x" * 5 * MEGABYTE)
    with pytest.raises(AssertionError, match="the database is down"):
        rig.get()
    assert rig.exchanges[-1][1].closed


# Redirects.


def test_redirect_within_the_platform_goes_on_with_our_headers(rig: Rig) -> None:
    assert rig.get(f"{API}?redirect={API}/2") == 200
    first, second = rig.simulator.api_requests
    assert sent(first) == sent(second)
    assert set(sent(first)) == {"authorization", "vz-m2m-token"}


def test_what_is_repeated_is_the_request_that_was_refused(rig: Rig) -> None:
    rig.simulator.revoke()
    rig.simulator.fail("api", 302, headers={"Location": f"{API}/2"})
    assert rig.get(f"{API}/1") == 200
    paths = [request.path for request in rig.simulator.api_requests]
    assert paths == [f"{API}/1", f"{API}/2", f"{API}/2"]


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("lost", ["nothing", "token", "session"])
def test_redirect_to_a_foreign_host_carries_nothing_of_ours(
    rig: Rig, simulator: ThingspaceSimulator, foreign: ThingspaceSimulator, code: int, lost: str
) -> None:
    if lost == "token":
        simulator.revoke()
    elif lost == "session":
        simulator.end_sessions()
    # A refusal there is none of our business.
    assert rig.get(f"{API}?redirect={foreign.url}{API}&code={code}") == 401
    (request,) = foreign.requests
    assert sent(request) == {}
    assert rig.counts == (lost == "token", lost == "session", 1 if lost == "nothing" else 2)


def test_way_back_from_a_foreign_host_carries_our_headers_again(
    rig: Rig, simulator: ThingspaceSimulator, foreign: ThingspaceSimulator
) -> None:
    foreign.fail("api", 302, headers={"Location": simulator.url + API})
    assert rig.get(f"{API}?redirect={foreign.url}/api/away") == 200
    assert sent(foreign.requests[0]) == {}
    assert len(sent(simulator.api_requests[1])) == 2


def test_headers_of_the_callers_own_are_replaced(rig: Rig, simulator: ThingspaceSimulator) -> None:
    headers = {"authorization": "Basic old", "vz-m2m-token": "old", "x-mine": "kept"}
    assert rig.get(headers=headers) == 200
    (request,) = simulator.api_requests
    assert set(sent(request).values()).isdisjoint({"Basic old", "old"})
    assert request.headers["x-mine"] == "kept"


# The example itself.


def test_example_is_short_and_uses_public_names_only() -> None:
    assert len(SOURCE.splitlines()) <= 90
    nodes = list(ast.walk(ast.parse(SOURCE)))
    private = [name for node in nodes for name in names_in(node) if is_private(name)]
    assert private == []
    imported = [
        (node.module, alias.name)
        for node in nodes
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if str(node.module).startswith("thingspace_auth_adapters")
    ]
    assert imported
    for module, name in imported:
        assert name in importlib.import_module(str(module)).__all__


def names_in(node: ast.AST) -> list[str]:
    """Every name that is read, written, imported or looked up."""
    if isinstance(node, ast.Attribute):
        return [node.attr]
    if isinstance(node, ast.Name):
        return [node.id]
    if isinstance(node, ast.alias):
        return node.name.split(".")
    if isinstance(node, ast.ImportFrom):
        return str(node.module).split(".")
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value] if node.value.isidentifier() else []
    return []


def is_private(name: str) -> bool:
    is_dunder = name.startswith("__") and name.endswith("__")
    return name.startswith("_") and name != "_" and not is_dunder
