"""How the platform's endpoints are called with httpx or httpx2, and an error's body is read.

Written for both libraries: ``library`` is the one or the other module, and so are the requests and
responses, which is why they have no narrower type than ``Any`` here.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from .._core.clock import Clock
from .._core.endpoint import RAISED_ON_THE_WAY, LibraryErrors
from .._model.checks import described
from .._wire.messages import (
    AnswerTooLate,
    HttpAnswer,
    HttpRequest,
    Refused,
    SentOnce,
    is_unusable_certificate,
    undelivered_text,
)
from .._wire.rejection import BODY_LIMIT, decoded, is_readable

_OURS = ["auth", "base_url", "cookies", "event_hooks", "follow_redirects", "headers", "timeout"]


class HttpxTransport:
    """Calls endpoints with a client for each call: nothing to close, or to carry over a fork.

    Args:
        library: the module httpx or httpx2.
        options: the user's ``client_options``.
        clock: for deadlines.
    """

    def __init__(self, library: Any, options: Mapping[str, Any], clock: Clock) -> None:
        self._library = library
        self._options = options
        self._clock = clock
        self._errors = LibraryErrors(
            library.RequestError, library.ReadTimeout, library.NetworkError, library.TransportError
        )

    def send(self, request: HttpRequest, timeout: float, ends_at: float) -> HttpAnswer | Refused:
        """Call an endpoint."""
        library, is_begun = self._library, False
        try:
            prepared = self._prepared(request, timeout)
            with library.Client(**self._arguments(request.url)) as client:
                is_begun = True
                prepared.headers["User-Agent"] += f" {client.headers['User-Agent']}"
                response = client.send(prepared, auth=library.Auth(), stream=True)
                answer = HttpAnswer(response.status_code, response.headers)
                loaded = self._loaded(response)
                for chunk in response.iter_raw() if loaded is None else (loaded,):
                    if not answer.take(chunk, self._clock.monotonic(), ends_at):
                        break
                if loaded is None:
                    answer.body = bytearray(decoded(bytes(answer.body), response.headers))
                response.close()
                return answer
        except TimeoutError:
            # What a signal handler raised, as a time limit.
            raise
        except (library.RequestError, library.InvalidURL, *RAISED_ON_THE_WAY) as error:
            return self._undelivered(error, request, is_begun)

    def overdue(self, request: HttpRequest) -> Refused:
        """The library's own timeout."""
        return self._undelivered(AnswerTooLate("no answer came in time"), request)

    def read_body(self, response: Any) -> bytes | None:
        """An error's body; the raw stream is put back."""
        body = self._loaded(response)
        if body is not None or not _can_be_read(response):
            return body
        raw = b"".join(response.stream)
        response.stream.close()
        return self._put_back(response, raw)

    async def aread_body(self, response: Any) -> bytes | None:
        """As :meth:`read_body`."""
        body = self._loaded(response)
        if body is not None or not _can_be_read(response):
            return body
        raw = b"".join([chunk async for chunk in response.stream])
        await response.stream.aclose()
        return self._put_back(response, raw)

    def _put_back(self, response: Any, raw: bytes) -> bytes:
        elapsed = getattr(response.stream, "elapsed", None)
        response.stream = self._library.ByteStream(raw)
        if elapsed is not None:
            # httpx2 asks the stream, which is no longer its own.
            response.elapsed = elapsed
        return decoded(raw, response.headers)

    def _loaded(self, response: Any) -> bytes | None:
        """The body if it was read before, as by an event hook."""
        try:
            content: bytes = response.content
        except self._library.ResponseNotRead:
            return None
        return content[:BODY_LIMIT]

    def _prepared(self, request: HttpRequest, timeout: float) -> Any:
        phases = dict.fromkeys(("connect", "read", "write", "pool"), timeout)
        arguments = {"headers": request.headers, "extensions": {"timeout": phases}}
        if not isinstance(request.body, SentOnce):
            return self._library.Request("POST", request.url, content=request.body, **arguments)
        return _once(self._library, request.url, request.body, arguments)

    def _arguments(self, url: str) -> dict[str, Any]:
        arguments = {name: self._borrowed(name, value) for name, value in self._options.items()}
        if url.lower().startswith("http:"):
            # Plain http is loopback: no proxy from the environment can reach this machine's own.
            arguments["trust_env"] = False
            # Nor is there TLS: loading CA certificates would be most of what the call costs.
            arguments.setdefault("verify", False)
        hooks = {"response": [_drop_location]}
        return {**arguments, "follow_redirects": False, "event_hooks": hooks}

    def _borrowed(self, name: str, value: Any) -> Any:
        """The user's own transport, which is not closed with the client that uses it once."""
        if name == "mounts" and value is not None:
            return {key: self._borrowed("transport", one) for key, one in value.items()}
        if name != "transport" or value is None:
            return value

        class Borrowed(self._library.BaseTransport):  # type: ignore[name-defined,misc]
            def handle_request(self, request: Any) -> Any:
                return value.handle_request(request)

        return Borrowed()

    def _undelivered(
        self, error: Exception, request: HttpRequest, is_begun: bool = True
    ) -> Refused:
        """The library's own error, without what it refers to: its request carries secrets."""
        library = self._library
        clean: Any = self._errors.own(error)
        transient = (library.TimeoutException, library.NetworkError, library.RemoteProtocolError)
        is_transient = isinstance(clean, transient) and not is_unusable_certificate(clean)
        never_connected = (library.ConnectError, library.ConnectTimeout, library.PoolTimeout)
        was_seen = isinstance(request.body, SentOnce) and request.body.was_seen
        is_unsent = isinstance(error, (*never_connected, library.ProxyError)) and not was_seen
        is_unsent = is_unsent or not is_begun
        clean.args = (undelivered_text(request, clean),)
        clean.request = library.Request("POST", request.url, headers=request.shown_headers)
        clean.obstacle = self._obstacle(error)
        return Refused(clean, is_transient, had_no_effect=is_unsent)

    def _obstacle(self, error: Exception) -> str:
        # Imported here because only errors need it.
        from .obstacle import obstacle_of

        library = self._library
        return obstacle_of(
            error,
            proxy=(library.ProxyError,),
            connect_timeout=(library.ConnectTimeout,),
            connect=(library.ConnectError,),
            timeout=(library.TimeoutException, AnswerTooLate),
            invalid_url=(library.InvalidURL,),
        )


def _once(library: Any, url: str, body: SentOnce, arguments: Mapping[str, Any]) -> Any:
    """A request whose body a connection can take once, and anyone else can look at."""

    class OnceStream(library.SyncByteStream):  # type: ignore[misc]
        def __iter__(self) -> Iterator[bytes]:
            body.tell()
            yield body.look()

    class OnceRequest(library.Request):  # type: ignore[misc]
        content = property(lambda self: body.look())

        def read(self) -> bytes:
            return body.look()

    headers = {**arguments["headers"], "Content-Length": str(len(body))}
    request = OnceRequest("POST", url, content=iter(()), **{**arguments, "headers": headers})
    request.stream = OnceStream()
    return request


def checked_options(library: Any, options: Mapping[str, Any] | None) -> dict[str, Any]:
    """The user's ``client_options``.

    Raises:
        TypeError: they are no mapping, or one is none of the library's, or cannot be set here.
    """
    if options is None:
        return {}
    if not isinstance(options, Mapping):
        raise TypeError(f"client_options must be a dict, not {described(options)}")
    known = list(inspect.signature(library.Client).parameters)
    for name in options:
        if name in _OURS:
            raise TypeError(f"client_options: {name!r} cannot be set for calls of the endpoints")
        if name not in known:
            raise TypeError(f"client_options: {library.__name__} clients have no {name!r}")
    mounts = options.get("mounts") or {}
    for transport in (options.get("transport"), *dict(mounts).values()):
        if transport is not None and _is_only_asynchronous(transport):
            raise TypeError(
                f"client_options: the transport {type(transport).__name__} is asynchronous; the"
                " endpoints are called by a synchronous client, also for an asynchronous one's"
                f" requests: give a {library.__name__}.HTTPTransport or another BaseTransport"
            )
    return dict(options)


def _is_only_asynchronous(transport: Any) -> bool:
    # A MockTransport is both, but its handler is not.
    handler = getattr(transport, "handler", None)
    return not hasattr(transport, "handle_request") or inspect.iscoroutinefunction(handler)


def can_resend(request: Any, library: Any) -> bool:
    """Whether the request's body can be sent a second time, whole."""
    if isinstance(request.stream, library.ByteStream):
        return True
    fields = getattr(request.stream, "fields", None)
    return fields is not None and all(_can_rewind(field) for field in fields)


def _can_rewind(field: Any) -> bool:
    file = getattr(field, "file", b"")
    if isinstance(file, (str, bytes)):
        return True
    try:
        return bool(file.seekable())
    except (AttributeError, ValueError):
        return False


def _can_be_read(response: Any) -> bool:
    is_gone = response.is_stream_consumed or response.is_closed
    return not is_gone and is_readable(response.headers)


def _drop_location(response: Any) -> None:
    # Even if it does not follow it, the client would build a request for it, and may fail at that.
    response.headers.pop("Location", None)
