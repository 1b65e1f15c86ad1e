"""The client kinds, behind one face, so that each promise is written once and run for all."""

from __future__ import annotations

import importlib
import importlib.util
import io
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, Callable, NamedTuple, cast

import pytest

from .optional import anyio
from .virtual import API, Answer, Call, Platform

TWIN = pytest.mark.twin
PASSWORD = "p4ssw0rd&more"
IDENTITY: dict[str, Any] = {
    "oauth_client_id": "the-key",
    "oauth_client_secret": "s3cr3t-of-the-key",
}


class Seen(NamedTuple):
    """What a caller sees of a response."""

    status: int
    body: bytes
    headers: dict[str, str]
    history: list[int]
    sent: dict[str, str]
    response: Any


class Kind:
    """One kind of client."""

    def __init__(self, name: str, library: str, is_async: bool = False, backend: str = "") -> None:
        self.name = name
        self.library_name = library
        self.is_async = is_async
        self.backend = backend

    @property
    def is_requests(self) -> bool:
        return self.library_name == "requests"

    @property
    def is_installed(self) -> bool:
        is_there = importlib.util.find_spec(self.library_name) is not None
        needs_trio = self.backend == "trio"
        return is_there and not (needs_trio and importlib.util.find_spec("trio") is None)

    @property
    def library(self) -> Any:
        return importlib.import_module(self.library_name)

    @property
    def adapter(self) -> Any:
        return importlib.import_module("thingspace_auth_adapters." + self.library_name)

    @property
    def request_error(self) -> type[Exception]:
        """The library's own base class of what can go wrong with a request."""
        if self.is_requests:
            return self.library.exceptions.RequestException  # type: ignore[no-any-return]
        return self.library.RequestError  # type: ignore[no-any-return]

    @property
    def connect_error(self) -> type[Exception]:
        if self.is_requests:
            return self.library.exceptions.ConnectionError  # type: ignore[no-any-return]
        return self.library.ConnectError  # type: ignore[no-any-return]

    @property
    def read_timeout(self) -> type[Exception]:
        if self.is_requests:
            return self.library.exceptions.ReadTimeout  # type: ignore[no-any-return]
        return self.library.ReadTimeout  # type: ignore[no-any-return]

    def auth(self, platform: Platform | None = None, **options: Any) -> Any:
        """A ThingspaceAuth whose token requests go to ``platform``, or to the network."""
        if "thingspace_oauth_credentials" not in options:
            options = {**IDENTITY, **options}
        if platform is not None and self.is_requests:
            options["session"] = self.session(platform)
        elif platform is not None:
            options["client_options"] = {"transport": self.transport(platform)}
        elif str(options.get("base_url")).startswith("http:") and not self.is_requests:
            # Loading CA certificates is most of what a client for one plain http call costs.
            options.setdefault("client_options", {"verify": False})
        return self.adapter.ThingspaceAuth(**options)

    def session(self, platform: Platform) -> Any:
        import requests

        session = requests.Session()
        session.trust_env = False
        session.mount("https://", requests_adapter(platform))
        session.mount("http://", requests_adapter(platform))
        return session

    def transport(self, platform: Platform) -> Any:
        library = self.library

        def answer_to(request: Any, body: bytes) -> Any:
            return platform.handle(
                Call(request.method, str(request.url), dict(request.headers), body)
            )

        def response(request: Any, answer: Answer) -> Any:
            if answer.failure is not None:
                raise httpx_failure(library, answer.failure, request)
            return library.Response(
                answer.status, headers=answer.headers, stream=body_stream(library, answer.body)
            )

        class Transport(library.BaseTransport, library.AsyncBaseTransport):  # type: ignore[name-defined,misc]
            """As httpx.MockTransport, but bodies are streams, as they are on the network.

            The body of a request that finds no connection is not read.
            """

            def handle_request(self, request: Any) -> Any:
                if platform.is_unreachable(request.url.path):
                    return response(request, answer_to(request, b""))
                return response(request, answer_to(request, b"".join(request.stream)))

            async def handle_async_request(self, request: Any) -> Any:
                if platform.is_unreachable(request.url.path):
                    return response(request, answer_to(request, b""))
                body = b"".join([part async for part in request.stream])
                return response(request, answer_to(request, body))

        return Transport()

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run an async function on this kind's event loop."""
        return anyio.run(function, *args, backend=self.backend)

    def send(
        self, auth: Any, method: str, url: str, platform: Platform | None = None, **kwargs: Any
    ) -> Seen:
        """Send one request with a new client, redirects followed, as a user would."""
        if self.is_requests:
            return self._send_requests(auth, method, url, platform, kwargs)
        options: dict[str, Any] = {"follow_redirects": kwargs.pop("follow_redirects", True)}
        options["event_hooks"] = kwargs.pop("event_hooks", None)
        options["timeout"] = kwargs.pop("timeout", 5.0)
        options["cookies"] = kwargs.pop("cookies", None)
        options["trust_env"] = False
        if platform is not None:
            options["transport"] = self.transport(platform)
        elif url.startswith("http:"):
            options["verify"] = False
        if self.is_async:
            return self.run(self._asend, auth, method, url, options, kwargs)  # type: ignore[no-any-return]
        with self.library.Client(auth=auth, **options) as client:
            return seen_httpx(client.request(method, url, **kwargs))

    def get(self, auth: Any, url: str, platform: Platform | None = None, **kwargs: Any) -> Seen:
        return self.send(auth, "GET", url, platform, **kwargs)

    def _send_requests(
        self, auth: Any, method: str, url: str, platform: Platform | None, kwargs: dict[str, Any]
    ) -> Seen:
        import requests

        with self.session(platform) if platform is not None else requests.Session() as session:
            session.auth = auth
            session.trust_env = False
            session.cookies.update(kwargs.pop("cookies", None) or {})
            kwargs["allow_redirects"] = kwargs.pop("follow_redirects", True)
            if "content" in kwargs:
                kwargs["data"] = kwargs.pop("content")
            return seen_requests(session.request(method, url, **kwargs))

    async def _asend(
        self, auth: Any, method: str, url: str, options: dict[str, Any], kwargs: dict[str, Any]
    ) -> Seen:
        async with self.library.AsyncClient(auth=auth, **options) as client:
            return seen_httpx(await client.request(method, url, **kwargs))

    def fetch_token(self, auth: Any, *args: Any) -> Any:
        if self.is_async:
            return self.run(auth.afetch_token, *args)
        return auth.fetch_token(*args)

    def revoke_token(self, auth: Any) -> None:
        if self.is_async:
            self.run(auth.arevoke_token)
        else:
            auth.revoke_token()

    def fetch_session(self, auth: Any) -> Any:
        if self.is_async:
            return self.run(auth.afetch_vz_m2m_token)
        return auth.fetch_vz_m2m_token()

    def end_session(self, auth: Any) -> None:
        if self.is_async:
            self.run(auth.aend_m2m_session)
        else:
            auth.end_m2m_session()

    def allow_login(self, auth: Any) -> None:
        if self.is_async:
            self.run(auth.aallow_login)
        else:
            auth.allow_login()

    def headers(self, auth: Any, url: str) -> Any:
        return self.run(auth.aheaders, url) if self.is_async else auth.headers(url)

    def recover(
        self,
        auth: Any,
        sent: Mapping[str, str],
        status: int,
        body: object,
        *,
        url: str = API,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """What ``recover`` returns for an answer whose body is sent as JSON, if it is no bytes."""
        args = (url, sent, method, status, headers or {}, Answer(status, body).body)
        return self.run(auth.arecover, *args) if self.is_async else auth.recover(*args)

    def callback(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The callback in the form that suits the kind: ``async def`` under async clients."""
        if not self.is_async:
            return function

        async def awaitable(*args: Any) -> Any:
            return function(*args)

        return awaitable


ALL = [
    Kind("requests", "requests"),
    Kind("httpx", "httpx"),
    Kind("httpx-asyncio", "httpx", is_async=True, backend="asyncio"),
    Kind("httpx-trio", "httpx", is_async=True, backend="trio"),
    Kind("httpx2", "httpx2"),
    Kind("httpx2-asyncio", "httpx2", is_async=True, backend="asyncio"),
    Kind("httpx2-trio", "httpx2", is_async=True, backend="trio"),
]
AVAILABLE = [kind for kind in ALL if kind.is_installed]
ASYNC_KINDS = [kind for kind in AVAILABLE if kind.is_async]
# One for each kind of event loop.
LOOP_KINDS = list({kind.backend: kind for kind in reversed(ASYNC_KINDS)}.values())
# The adapters of httpx and httpx2 are one class, and trio is beneath it: a second library on trio
# runs no line that the others leave out. Only tests of event loops run every pair of them.
INSTALLED = [kind for kind in AVAILABLE if kind.backend != "trio" or kind in LOOP_KINDS]
HTTPX_KINDS = [kind for kind in INSTALLED if not kind.is_requests]
SYNC_KINDS = [kind for kind in INSTALLED if not kind.is_async]
# One for each adapter of a code of its own.
ADAPTER_KINDS = list({kind.is_requests: kind for kind in reversed(SYNC_KINDS)}.values())


def params(kinds: list[Kind], trait: Callable[[Kind], Any], once: str | None = None) -> list[Any]:
    """A fixture's parameters; a kind whose trait an earlier one has is marked as its twin.

    Args:
        kinds: the parameters.
        trait: what of a kind decides which lines it runs.
        once: the event loop that one environment runs.
    """
    traits = [trait(kind) for kind in kinds]
    found = []
    for number, kind in enumerate(kinds):
        marks = [TWIN] if traits[number] in traits[:number] else []
        marks += [pytest.mark.once] if once and kind.backend == once else []
        found.append(pytest.param(kind, id=kind.name, marks=marks))
    return found


def seen_requests(response: Any) -> Seen:
    return Seen(
        response.status_code,
        response.content,
        {name.lower(): value for name, value in response.headers.items()},
        [past.status_code for past in response.history],
        {name.lower(): value for name, value in response.request.headers.items()},
        response,
    )


def seen_httpx(response: Any) -> Seen:
    return Seen(
        response.status_code,
        response.content,
        dict(response.headers),
        [past.status_code for past in response.history],
        dict(response.request.headers),
        response,
    )


def body_stream(library: Any, body: Any) -> Any:
    class Body(library.SyncByteStream, library.AsyncByteStream):  # type: ignore[misc]
        def __iter__(self) -> Any:
            yield from chunks(body)

        async def __aiter__(self) -> Any:
            for chunk in chunks(body):
                yield chunk

    return Body()


def chunks(body: Any, size: int = 16 * 1024) -> Any:
    if not isinstance(body, bytes):
        return body
    return [body[start : start + size] for start in range(0, len(body), size)]


class Parts(io.RawIOBase):
    """A body for urllib3 that comes in these parts."""

    def __init__(self, parts: Iterator[bytes]) -> None:
        self._parts = parts
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        part = self._rest or next(self._parts, b"")
        size = min(len(part), len(buffer))
        buffer[:size] = part[:size]
        self._rest = part[size:]
        return size


def httpx_failure(library: Any, failure: str, request: Any) -> Exception:
    error_types = {
        "connect": library.ConnectError,
        "connect timeout": library.ConnectTimeout,
        "certificate": library.ConnectError,
        "read timeout": library.ReadTimeout,
        "protocol": library.RemoteProtocolError,
        "proxy": library.ProxyError,
        "unsupported": library.UnsupportedProtocol,
    }
    text = "CERTIFICATE_VERIFY_FAILED" if failure == "certificate" else failure
    error: Exception = error_types[failure](text, request=request)
    return error


def requests_adapter(platform: Platform) -> Any:
    """A requests-mock adapter that has ``platform`` answer everything."""
    import requests_mock

    def match(request: Any) -> Any:
        body = b"" if platform.is_unreachable(request.path) else request.body
        # As urllib3 does before it sends anything.
        with suppress(OSError):
            getattr(body, "tell", int)()
        if hasattr(body, "read"):
            body = body.read()
        elif body is not None and not isinstance(body, (str, bytes)):
            body = b"".join(body)
        if isinstance(body, str):
            body = body.encode()
        headers = {name.lower(): value for name, value in request.headers.items()}
        answer = platform.handle(Call(request.method, request.url, headers, body or b""))
        if answer.failure is not None:
            raise requests_failure(answer.failure, request)
        return requests_mock.create_response(
            request,
            status_code=answer.status,
            headers=answer.headers,
            body=io.BytesIO(answer.body) if isinstance(answer.body, bytes) else Parts(answer.body),
        )

    adapter = requests_mock.Adapter()
    adapter.add_matcher(match)
    return adapter


def requests_failure(failure: str, request: Any) -> Exception:
    import urllib3
    from requests import exceptions

    error_types: dict[str, Any] = {
        "connect": exceptions.ConnectionError,
        "connect timeout": exceptions.ConnectTimeout,
        "certificate": exceptions.SSLError,
        "read timeout": exceptions.ReadTimeout,
        "protocol": exceptions.ChunkedEncodingError,
        "proxy": exceptions.ProxyError,
        "unsupported": exceptions.InvalidSchema,
    }
    told: Any = "CERTIFICATE_VERIFY_FAILED" if failure == "certificate" else failure
    if failure == "connect":
        reason = urllib3.exceptions.NewConnectionError(cast("Any", None), failure)
        told = urllib3.exceptions.MaxRetryError(cast("Any", None), request.url, reason)
    error: Exception = error_types[failure](told, request=request)
    return error


__all__ = [
    "ADAPTER_KINDS",
    "ALL",
    "ASYNC_KINDS",
    "HTTPX_KINDS",
    "IDENTITY",
    "INSTALLED",
    "LOOP_KINDS",
    "SYNC_KINDS",
    "Answer",
]
