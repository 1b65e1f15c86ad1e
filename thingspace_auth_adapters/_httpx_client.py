"""The private clients with which httpx and httpx2 call the endpoints for credentials."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, NamedTuple

from .effects import HttpAnswer, HttpRequest, Reply, Undelivered
from .flight import twin
from .hosts import AUTHORIZATION, SESSION_HEADERS

_ANSWER_LIMIT = 1024 * 1024
_OURS = ("auth", "base_url", "cookies", "event_hooks", "follow_redirects", "headers")
_PHASE_OF = {
    "ConnectTimeout": "connect",
    "ReadTimeout": "read",
    "WriteTimeout": "write",
    "PoolTimeout": "pool",
}


class TokenCall(NamedTuple):
    """A request for credentials and the timeouts of the request for whose sake it is made."""

    request: HttpRequest
    limits: Mapping[str, Any]

    def timeouts(self) -> dict[str, float]:
        """Seconds by phase: ours, or the caller's where they are shorter."""
        return {phase: self._limit(phase) for phase in _PHASE_OF.values()}

    def is_cut_by_caller(self, error: Exception) -> bool:
        """Whether ``error`` is a timeout that would not have come so soon by our own limit."""
        phase = _PHASE_OF.get(type(error).__name__)
        return phase is not None and self._limit(phase) < self.request.timeout

    def _limit(self, phase: str) -> float:
        limit = self.limits.get(phase)
        return self.request.timeout if limit is None else min(limit, self.request.timeout)


class PrivateClients:
    """Makes a client for each call, so that there is nothing to close, share or carry over a fork.

    Args:
        library: the module httpx or httpx2.
        options: the user's ``client_options``.

    Raises:
        TypeError: an option is none of the library's, or none that can be set here.
    """

    def __init__(self, library: Any, options: Mapping[str, Any]) -> None:
        if not isinstance(options, Mapping):
            raise TypeError(f"client_options must be a dict, not {type(options).__name__}")
        known = list(inspect.signature(library.AsyncClient).parameters)
        for name in options:
            if name in _OURS:
                raise TypeError(f"client_options: {name!r} cannot be set for token requests")
            if name not in known:
                raise TypeError(f"client_options: {library.__name__} clients have no {name!r}")
        self._library_name: str = library.__name__
        self._options = dict(options)

    def send(self, call: TokenCall) -> Reply:
        library = self._library
        request = self._request(call)
        try:
            with library.Client(**self._arguments(call, is_async=False)) as client:
                response = client.send(request, auth=library.Auth(), stream=True)
                body = b""
                for chunk in response.iter_bytes():
                    body += chunk
                    if len(body) > _ANSWER_LIMIT:
                        break
                response.close()
        except library.RequestError as error:
            failure = error
        else:
            return _answer(response, body)
        return self._undelivered(failure, call)

    async def asend(self, call: TokenCall) -> Reply:
        library = self._library
        request = self._request(call)
        try:
            async with library.AsyncClient(**self._arguments(call, is_async=True)) as client:
                response = await client.send(request, auth=library.Auth(), stream=True)
                body = b""
                async for chunk in response.aiter_bytes():
                    body += chunk
                    if len(body) > _ANSWER_LIMIT:
                        break
                await response.aclose()
        except library.RequestError as error:
            failure = error
        else:
            return _answer(response, body)
        return self._undelivered(failure, call)

    @property
    def _library(self) -> Any:
        # Looked up by name, since a module does not pickle.
        import sys

        return sys.modules[self._library_name]

    def _request(self, call: TokenCall) -> Any:
        return self._library.Request(
            "POST",
            call.request.url,
            headers=call.request.headers,
            content=call.request.body,
            extensions={"timeout": call.timeouts()},
        )

    def _arguments(self, call: TokenCall, is_async: bool) -> dict[str, Any]:
        arguments = {
            name: value(is_async) if _is_factory(value) else _borrowed(name, value)
            for name, value in self._options.items()
        }
        if call.request.url.lower().startswith("http:"):
            # Plain http is loopback: no proxy from the environment can reach this machine's own.
            arguments["trust_env"] = False
            if not self._options:
                # Nor is there TLS: loading CA certificates would be most of what the call costs.
                arguments["verify"] = False
        return {**arguments, "follow_redirects": False}

    def _undelivered(self, error: Any, call: TokenCall) -> Undelivered:
        """The library's own error without what it refers to: its request carries the secret."""
        library = self._library
        secret = (AUTHORIZATION, *SESSION_HEADERS)
        headers = call.request.headers
        shown = {name: value for name, value in headers.items() if name not in secret}
        clean: Any = twin(error)
        clean.args = (str(error),)
        clean.request = library.Request("POST", call.request.url, headers=shown)
        transient = (
            library.TimeoutException,
            library.NetworkError,
            library.RemoteProtocolError,
            library.ProxyError,
        )
        not_sent = (
            library.ConnectTimeout,
            library.ConnectError,
            library.PoolTimeout,
            library.ProxyError,
            library.UnsupportedProtocol,
        )
        is_transient = isinstance(error, transient) and "CERTIFICATE_VERIFY_FAILED" not in str(
            error
        )
        may_have_arrived = not isinstance(error, not_sent)
        return Undelivered(clean, is_transient, call.is_cut_by_caller(error), may_have_arrived)


def _answer(response: Any, body: bytes) -> HttpAnswer:
    return HttpAnswer(response.status_code, dict(response.headers), body)


def _is_factory(value: Any) -> bool:
    return callable(value) and not hasattr(value, "handle_request")


def _borrowed(name: str, value: Any) -> Any:
    if name == "transport" and value is not None:
        return _BorrowedTransport(value)
    if name == "mounts" and value is not None:
        return {
            pattern: None if transport is None else _BorrowedTransport(transport)
            for pattern, transport in value.items()
        }
    return value


class _BorrowedTransport:
    """The user's own transport, which is not closed with the client that uses it for one call."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport

    def handle_request(self, request: Any) -> Any:
        return self._transport.handle_request(request)

    async def handle_async_request(self, request: Any) -> Any:
        return await self._transport.handle_async_request(request)

    def __enter__(self) -> _BorrowedTransport:
        return self

    def __exit__(self, *exc_info: object) -> None:
        pass

    async def __aenter__(self) -> _BorrowedTransport:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        pass
