"""Logins to one account in virtual time, and what a request gets that needs one."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from pathlib import Path
from typing import Any, Callable

import pytest

from thingspace_auth_adapters import M2mLoginError, VzM2mCredentials
from thingspace_auth_adapters._core import login_guard
from thingspace_auth_adapters.simulator import ThingspaceSimulator

from .kinds import PASSWORD, Kind, requests_adapter
from .real import options_for
from .virtual import API, LOGIN_PATH, Platform

MINUTE = 60
HOUR = 3600
YEARS = 10 * 365 * 86400
GENERAL = {"errorCode": "UnifiedWebService.REQUEST_FAILED.UnexpectedError", "errorMessage": "No."}

# Each ``yield`` sends the login once; its value is the response.
Policy = Callable[[Kind, Any], Generator[None, Any, Any]]


def credentials(
    username: str = "the-user", password: str = PASSWORD, **options: Any
) -> VzM2mCredentials:
    return VzM2mCredentials(username, password, **options)


def auth_at(simulator: ThingspaceSimulator, kind: Kind, **options: Any) -> Any:
    """An object for a simulator's own account, or for that in the options."""
    m2m = VzM2mCredentials(simulator.username, simulator.password)
    return kind.auth(**{**options_for(simulator), "m2m": m2m, **options})


def fails(kind: Kind, auth: Any, platform: Platform) -> Any:
    """The error of a request that finds no session."""
    with pytest.raises(kind.request_error) as caught:
        kind.get(auth, API, platform)
    return caught.value


def blocked(kind: Kind, auth: Any, platform: Platform) -> Any:
    """The error of a request for which no login is attempted, nor anything else."""
    before = len(platform.calls)
    error = fails(kind, auth, platform)
    assert isinstance(error, M2mLoginError)
    assert len(platform.calls) == before
    return error


def logs_in(kind: Kind, auth: Any, platform: Platform) -> None:
    """A request opens a session, by a login that succeeds at once."""
    before = len(platform.login_calls)
    platform.logins = []
    assert kind.get(auth, API, platform).status == 200
    assert len(platform.login_calls) == before + 1


def another_process(kind: Kind, platform: Platform, store: Any, **options: Any) -> Any:
    """The auth object of a process that has logged in nowhere so far."""
    login_guard.forget_all()
    return kind.auth(platform, **{"m2m": credentials(), "store": store, **options})


def file_store(directory: Path) -> Any:
    pytest.importorskip("filelock")
    pytest.importorskip("platformdirs")
    from thingspace_auth_adapters.stores import FileTokenStore

    return FileTokenStore(directory)


# What stands between the adapter and the network.


def through(kind: Kind, policy: Policy, platform: Platform | None = None) -> dict[str, Any]:
    """Options for an object whose logins to ``platform``, or the network, go through a policy."""
    if kind.is_requests:
        return {"session": _session_through(kind, policy, platform)}

    # Without connections that are kept: nobody closes a transport of the user's.
    limits = kind.library.Limits(max_keepalive_connections=0)
    inner = kind.library.HTTPTransport(verify=False, limits=limits)
    if platform is not None:
        inner = kind.transport(platform)
    return {"client_options": {"transport": _transport_through(kind, policy, inner)}}


def _session_through(kind: Kind, policy: Policy, platform: Platform | None) -> Any:
    import requests

    inner: Any = requests.adapters.HTTPAdapter()
    if platform is not None:
        inner = requests_adapter(platform)

    class Through(requests.adapters.BaseAdapter):
        def send(self, request: Any, *args: Any, **kwargs: Any) -> Any:
            if not request.url.endswith(LOGIN_PATH):
                return inner.send(request, *args, **kwargs)
            return _drive(policy(kind, request), lambda: inner.send(request, *args, **kwargs))

        def close(self) -> None:
            inner.close()

    session = requests.Session()
    session.trust_env = False
    for prefix in ("http://", "https://"):
        session.mount(prefix, Through())
    return session


def _transport_through(kind: Kind, policy: Policy, inner: Any) -> Any:
    library = kind.library

    class Through(library.BaseTransport):  # type: ignore[name-defined,misc]
        def handle_request(self, request: Any) -> Any:
            if not str(request.url).endswith(LOGIN_PATH):
                return inner.handle_request(request)
            return _drive(policy(kind, request), lambda: inner.handle_request(request))

        def close(self) -> None:
            inner.close()

    return Through()


def _drive(steps: Generator[None, Any, Any], send: Callable[[], Any]) -> Any:
    try:
        next(steps)
        while True:
            try:
                response = send()
            except Exception as error:
                steps.throw(error)
            else:
                steps.send(response)
                response.close()
    except StopIteration as end:
        return end.value


def retrying(kind: Kind, request: Any) -> Generator[None, Any, Any]:
    """Rewinds what can be rewound, and sends until it gets a success, six times at most."""
    for _ in range(5):
        try:
            response = yield
        except Exception:
            response = None
        if response is not None and response.status_code < 400:
            return response
        with contextlib.suppress(Exception):
            request.body.seek(0)
    return (yield)
