"""The aiohttp example: the public names are enough to serve a library that has no adapter here."""

from __future__ import annotations

import ast
import asyncio
import gzip
import hashlib
import importlib
import importlib.util
import json
import time
from collections.abc import AsyncIterator, Awaitable, Iterator
from pathlib import Path
from typing import Any, Callable

import pytest

from thingspace_auth_adapters import OauthProviderError, VzM2mCredentials
from thingspace_auth_adapters.simulator import ThingspaceSimulator

from ..support.real import options_for
from ..support.virtual import GATEWAY_REFUSAL, SESSION_EXPIRED

aiohttp = pytest.importorskip("aiohttp", minversion="3.12")
pytest.importorskip("httpx")

EXAMPLE = Path(__file__).parents[2] / "examples" / "aiohttp_middleware.py"
SOURCE = EXAMPLE.read_text(encoding="utf-8")
API = "/api/m2m/v1/devices"
OURS = ("authorization", "vz-m2m-token", "sessiontoken")
MEGABYTE = 1024 * 1024
TASKS = 20

Use = Callable[[Any], Awaitable[Any]]


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
        self._middleware = loaded_example().ThingspaceMiddleware(self.auth)

    def run(self, use: Use, **options: Any) -> Any:
        """What ``use`` returns, which is given an aiohttp session."""
        return asyncio.run(self._run(use, options))

    def get(self, path: str = API, **options: Any) -> int:
        """The status of a GET in a session of its own."""

        async def use(session: Any) -> int:
            async with session.get(path, **options) as response:
                await response.read()
                status: int = response.status
                return status

        status: int = self.run(use)
        return status

    async def _run(self, use: Use, options: dict[str, Any]) -> Any:
        middlewares = [self._middleware, self._watched]
        async with aiohttp.ClientSession(
            self.simulator.url, middlewares=middlewares, **options
        ) as session:
            return await use(session)

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


def loaded_example() -> Any:
    spec = importlib.util.spec_from_file_location(EXAMPLE.stem, EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def expected(size: int) -> str:
    """The digest of what the simulator sends for ``bytes=size``."""
    pattern = bytes(range(256)) * (size // 256 + 1)
    return hashlib.sha256(pattern[:size]).hexdigest()


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
def rig(simulator: ThingspaceSimulator) -> Rig:
    return Rig(simulator, m2m=VzM2mCredentials(simulator.username, simulator.password))


# When headers are had, and had again.


def test_cold_start_costs_one_token_request_and_one_login(rig: Rig) -> None:
    assert [rig.get(), rig.get()] == [200, 200]
    assert rig.counts == (1, 1, 2)


def test_without_m2m_only_the_bearer_is_sent(simulator: ThingspaceSimulator) -> None:
    simulator.sessions_required = False
    rig = Rig(simulator)
    assert rig.get() == 200
    assert list(sent(simulator.api_requests[0])) == ["authorization"]


def test_token_that_is_known_to_be_expired_is_renewed_before_the_request(rig: Rig) -> None:
    assert rig.get() == 200
    token = rig.auth.oauth_token
    assert token is not None
    rig.auth.oauth_token = {**token.to_dict(), "expiry": time.time() - 1}
    rig.simulator.revoke()
    assert rig.get() == 200
    assert rig.counts == (2, 1, 2)


@pytest.mark.parametrize("body", [None, b"x" * 300_000], ids=["get", "post"])
def test_revoked_token_leads_to_one_renewal_and_one_repeat(rig: Rig, body: bytes | None) -> None:
    assert rig.get() == 200
    rig.simulator.revoke()
    rig.simulator.clear()

    async def use(session: Any) -> Any:
        async with session.request("POST" if body else "GET", API, data=body) as response:
            return response.status, await response.json()

    status, seen = rig.run(use)
    assert (status, rig.counts) == (200, (1, 0, 2))
    assert seen["body_sha256"] == hashlib.sha256(body or b"").hexdigest()
    assert rig.statuses == [200, 401, 200]


def test_ended_session_leads_to_one_login_and_one_repeat(rig: Rig) -> None:
    assert rig.get() == 200
    rig.simulator.end_sessions()
    assert rig.get() == 200
    assert rig.counts == (1, 2, 3)


def test_both_can_be_renewed_for_one_request(rig: Rig) -> None:
    assert rig.get() == 200
    rig.simulator.revoke()
    rig.simulator.end_sessions()
    assert rig.get() == 200
    assert rig.counts == (2, 2, 4)


def test_each_is_renewed_only_once_for_one_request(rig: Rig) -> None:
    assert rig.get() == 200
    rig.simulator.revoke()
    rig.simulator.fail("api", 401, body=GATEWAY_REFUSAL)
    rig.simulator.fail("api", 400, body=SESSION_EXPIRED)
    rig.simulator.fail("api", 401, times=None, body=GATEWAY_REFUSAL)
    assert rig.get() == 401
    assert rig.statuses == [200, 401, 400, 401]
    assert rig.counts == (2, 2, 4)


def test_lasting_refusal_of_the_bearer_is_returned_after_one_repeat(rig: Rig) -> None:
    rig.get()
    rig.simulator.clear()
    rig.simulator.fail("api", 401, times=None, body=GATEWAY_REFUSAL)
    rig.simulator.revoke()

    async def use(session: Any) -> Any:
        async with session.get(API) as response:
            return response.status, await response.json()

    assert rig.run(use) == (401, GATEWAY_REFUSAL)
    assert rig.counts == (1, 0, 2)


def test_twenty_tasks_share_one_token_request_and_one_login(rig: Rig) -> None:
    rig.simulator.latency["token"] = rig.simulator.latency["login"] = 0.1

    async def get(session: Any) -> int:
        async with session.get(API) as response:
            status: int = response.status
            return status

    async def use(session: Any) -> Any:
        return await asyncio.gather(*(get(session) for _ in range(TASKS)))

    assert rig.run(use) == [200] * TASKS
    assert rig.counts == (1, 1, TASKS)
    rig.simulator.revoke()
    assert rig.run(use) == [200] * TASKS
    assert rig.counts[:2] == (2, 1)
    rig.simulator.end_sessions()
    assert rig.run(use) == [200] * TASKS
    assert rig.counts[:2] == (2, 2)


# Bodies.


def test_streamed_download_through_a_refusal_is_whole_and_not_read_by_the_middleware(
    rig: Rig,
) -> None:
    assert rig.get() == 200
    rig.simulator.revoke()

    async def use(session: Any) -> Any:
        digest = hashlib.sha256()
        async with session.get(f"{API}?bytes={5 * MEGABYTE}") as response:
            assert not response.content.is_eof()
            async for chunk in response.content.iter_chunked(65536):
                digest.update(chunk)
            return response.status, digest.hexdigest()

    assert rig.run(use) == (200, expected(5 * MEGABYTE))
    assert rig.counts[0] == 2


def test_upload_from_an_iterator_is_not_repeated_but_renews(rig: Rig) -> None:
    assert rig.get() == 200
    rig.simulator.revoke()
    rig.simulator.clear()

    async def parts() -> AsyncIterator[bytes]:
        yield b"first,"
        yield b"second"

    async def use(session: Any) -> Any:
        async with session.put(API, data=parts()) as response:
            return response.status, (await response.json())["fault"]["code"]

    assert rig.run(use) == (401, GATEWAY_REFUSAL["fault"]["code"])
    assert [request.body for request in rig.simulator.api_requests] == [b"first,second"]
    assert rig.get() == 200
    assert rig.counts == (1, 0, 2)


def test_upload_from_a_file_is_not_repeated_but_renews(rig: Rig, tmp_path: Path) -> None:
    path = tmp_path / "firmware"
    path.write_bytes(b"x" * 300_000)
    assert rig.get() == 200
    rig.simulator.revoke()
    rig.simulator.clear()

    async def use(session: Any) -> Any:
        with path.open("rb") as file:
            async with session.put(API, data=file) as response:
                return response.status

    assert rig.run(use) == 401
    assert [len(request.body) for request in rig.simulator.api_requests] == [300_000]
    assert len(rig.simulator.token_requests) == 1


def test_json_and_forms_are_repeated(rig: Rig) -> None:
    assert rig.get() == 200

    async def use(session: Any) -> Any:
        for options in ({"json": {"a": 1}}, {"data": {"a": "1"}}):
            rig.simulator.revoke()
            async with session.post(API, **options) as response:
                assert response.status == 200

    rig.run(use)
    bodies = [request.body for request in rig.simulator.api_requests[1:]]
    assert bodies == [b'{"a": 1}'] * 2 + [b"a=1"] * 2


@pytest.mark.parametrize("status", [200, 201, 500, 503])
def test_answer_that_blames_nothing_is_left_unread(rig: Rig, status: int) -> None:
    async def use(session: Any) -> Any:
        async with session.get(f"{API}?status={status}") as response:
            assert not response.content.at_eof()
            return response.status

    assert rig.run(use) == status


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("identity", b"x" * 100_000),
        ("gzip, gzip", gzip.compress(gzip.compress(b"x"))),
    ],
    ids=["long", "encoded twice"],
)
def test_refusal_that_is_left_unread_renews_but_is_not_repeated(
    rig: Rig, encoding: str, body: bytes
) -> None:
    assert rig.get() == 200
    rig.simulator.revoke()
    rig.simulator.fail("api", 401, headers={"Content-Encoding": encoding}, body=body)

    async def use(session: Any) -> Any:
        async with session.get(API) as response:
            assert not response.content.at_eof()
            return response.status

    assert rig.run(use) == 401
    assert rig.counts == (2, 1, 2)
    assert rig.get() == 200
    assert rig.counts == (2, 1, 3)


def test_compressed_refusal_is_understood(rig: Rig) -> None:
    body = gzip.compress(json.dumps(SESSION_EXPIRED).encode())
    rig.simulator.fail("api", 400, headers={"Content-Encoding": "gzip"}, body=body)
    assert rig.get() == 200
    assert rig.counts == (1, 2, 2)


def test_error_that_blames_no_credential_reaches_the_caller_whole(rig: Rig) -> None:
    async def use(session: Any) -> Any:
        async with session.get(f"{API}?refuse=location-account") as response:
            return response.status, await response.json()

    status, error = rig.run(use)
    assert (status, error["errorCode"]) == (400, "INVALID_PARAMETER")
    assert rig.counts == (1, 1, 1)


def test_rejected_answer_gives_its_connection_back(rig: Rig) -> None:
    assert rig.get() == 200
    rig.simulator.revoke()
    rig.simulator.end_sessions()

    async def use(session: Any) -> Any:
        async with session.get(API) as response:
            return response.status

    async def run() -> Any:
        return await rig._run(use, {"connector": aiohttp.TCPConnector(limit=1)})

    assert asyncio.run(run()) == 200


def test_failure_to_get_a_token_is_an_error_of_aiohttp_to_the_caller(rig: Rig) -> None:
    rig.simulator.fail("token", 401, body={"error": "invalid_client"})
    with pytest.raises(aiohttp.ClientError, match="invalid_client") as raised:
        rig.get()
    assert isinstance(raised.value.__cause__, OauthProviderError)
    assert rig.exchanges == []


def test_unreachable_token_endpoint_is_an_error_of_aiohttp_to_the_caller(
    rig: Rig, short_pauses: None
) -> None:
    rig.simulator.fail("token", "drop", times=None)
    with pytest.raises(aiohttp.ClientError, match="token endpoint"):
        rig.get()
    rig.simulator.recover()
    assert rig.get() == 200


def test_failure_to_renew_leaves_the_answer_as_it_came(rig: Rig) -> None:
    assert rig.get() == 200
    rig.simulator.revoke()
    rig.simulator.fail("token", 401, body={"error": "invalid_client"})
    assert rig.get() == 401


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
    assert rig.counts == (1, 1, 2)


def test_what_is_repeated_is_the_request_that_was_refused(rig: Rig) -> None:
    assert rig.get() == 200
    rig.simulator.revoke()
    rig.simulator.clear()
    rig.simulator.fail("api", 302, headers={"Location": f"{API}/2"})
    assert rig.get(f"{API}/1") == 200
    paths = [request.path for request in rig.simulator.api_requests]
    assert paths == [f"{API}/1", f"{API}/2", f"{API}/2"]


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_redirect_to_a_foreign_host_carries_nothing_of_ours(
    rig: Rig, foreign: ThingspaceSimulator, code: int
) -> None:
    assert rig.get(f"{API}?redirect={foreign.url}/elsewhere&code={code}") == 404
    (request,) = foreign.requests
    assert sent(request) == {}
    assert rig.counts == (1, 1, 1)


@pytest.mark.parametrize("renewed", ["token", "session"])
def test_redirect_after_a_repeat_carries_nothing_of_ours_either(
    rig: Rig, foreign: ThingspaceSimulator, renewed: str
) -> None:
    assert rig.get() == 200
    if renewed == "token":
        rig.simulator.revoke()
    else:
        rig.simulator.end_sessions()
    assert rig.get(f"{API}?redirect={foreign.url}/elsewhere&code=307") == 404
    (request,) = foreign.requests
    assert sent(request) == {}
    assert rig.counts[2] == 3


def test_refusal_by_a_foreign_host_is_none_of_our_business(
    rig: Rig, foreign: ThingspaceSimulator
) -> None:
    assert rig.get(f"{API}?redirect={foreign.url}{API}") == 401
    assert len(foreign.requests) == 1
    assert rig.counts == (1, 1, 1)


def test_way_back_from_a_foreign_host_carries_our_headers_again(
    rig: Rig, foreign: ThingspaceSimulator
) -> None:
    foreign.fail("api", 302, headers={"Location": rig.simulator.url + API})
    assert rig.get(f"{API}?redirect={foreign.url}/away") == 200
    assert sent(foreign.requests[0]) == {}
    assert len(sent(rig.simulator.api_requests[1])) == 2


def test_headers_of_the_callers_own_are_replaced(rig: Rig) -> None:
    headers = {"authorization": "Basic old", "vz-m2m-token": "old", "x-mine": "kept"}
    assert rig.get(headers=headers) == 200
    (request,) = rig.simulator.api_requests
    assert set(sent(request).values()).isdisjoint({"Basic old", "old"})
    assert request.headers["x-mine"] == "kept"


# The example itself.


def test_example_is_short() -> None:
    assert len(SOURCE.splitlines()) <= 90


def test_example_uses_no_private_name() -> None:
    private = [name for name in names_in(ast.parse(SOURCE)) if is_private(name)]
    assert private == []


def test_example_imports_only_public_names_of_the_package() -> None:
    imported = [
        (node.module, alias.name)
        for node in ast.walk(ast.parse(SOURCE))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if str(node.module).startswith("thingspace_auth_adapters")
    ]
    assert imported
    for module, name in imported:
        assert name in importlib.import_module(str(module)).__all__


def names_in(tree: ast.AST) -> Iterator[str]:
    """Every name that is read, written, imported or looked up."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.alias):
            yield from node.name.split(".")
        elif isinstance(node, ast.ImportFrom):
            yield from str(node.module).split(".")
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from ([node.value] if node.value.isidentifier() else [])


def is_private(name: str) -> bool:
    is_dunder = name.startswith("__") and name.endswith("__")
    return name.startswith("_") and name != "_" and not is_dunder
