"""The contract, rule 4: callbacks under synchronous and asynchronous clients."""

from __future__ import annotations

import contextvars
import functools
import threading
from typing import Any, Callable

import pytest

from thingspace_auth_adapters import OauthToken, VzM2mCredentials

from ..support.kinds import PASSWORD, Kind
from ..support.optional import anyio
from ..support.virtual import API, Platform

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


def test_plain_callbacks_run_in_a_worker_thread_with_context(
    async_kind: Kind, platform: Platform
) -> None:
    seen: list[Any] = []

    def provider(last: Any, manager: Any) -> OauthToken:
        seen.append((variable.get(), threading.current_thread()))
        return OauthToken("x", "Bearer")

    def update(token: Any) -> None:
        seen.append((variable.get(), threading.current_thread()))

    auth = async_kind.auth(platform, oauth_token_provider=provider, oauth_on_token_update=update)

    async def scenario() -> None:
        variable.set("set")
        transport = async_kind.transport(platform)
        async with async_kind.library.AsyncClient(transport=transport, auth=auth) as client:
            await client.get(API)
        seen.append((variable.get(), threading.current_thread()))

    async_kind.run(scenario)
    (first, worker), (second, _), (_, loop_thread) = seen
    assert (first, second) == ("set", "set")
    assert worker is not loop_thread


def test_blocking_callback_does_not_block_the_loop(async_kind: Kind, platform: Platform) -> None:
    loop_went_on = threading.Event()

    def provider(last: Any, manager: Any) -> OauthToken:
        assert loop_went_on.wait(30)
        return OauthToken("x", "Bearer")

    auth = async_kind.auth(platform, oauth_token_provider=provider)

    async def scenario() -> None:
        transport = async_kind.transport(platform)
        async with async_kind.library.AsyncClient(transport=transport, auth=auth) as client:
            async with anyio.create_task_group() as group:
                group.start_soon(client.get, API)
                await anyio.sleep(0)
                loop_went_on.set()

    async_kind.run(scenario)
    assert platform.bearers == ["x"]


def test_anything_that_returns_an_awaitable_is_awaited(
    async_kind: Kind, platform: Platform
) -> None:
    async def provide(name: str, last: Any, manager: Any) -> OauthToken:
        return OauthToken(name, "Bearer")

    class Update:
        def __init__(self) -> None:
            self.told: list[str] = []

        async def __call__(self, token: OauthToken) -> None:
            self.told.append(token.access_token)

    update = Update()
    auth = async_kind.auth(
        platform,
        oauth_token_provider=lambda last, manager: functools.partial(provide, "x")(last, manager),
        oauth_on_token_update=update,
    )
    async_kind.get(auth, API, platform)
    assert platform.bearers == ["x"]
    assert update.told == ["x"]


@pytest.mark.parametrize("name", ["oauth_token_provider", "oauth_on_token_update"])
def test_awaitable_under_a_synchronous_client_is_a_type_error(
    sync_kind: Kind, platform: Platform, name: str
) -> None:
    async def callback(*args: Any) -> None:
        pytest.fail("it cannot have been awaited")

    with pytest.raises(TypeError, match=f"{name} returned an awaitable"):
        sync_kind.get(sync_kind.auth(platform, **{name: callback}), API, platform)


def test_awaitable_that_cannot_be_closed_is_a_type_error_too(
    sync_kind: Kind, platform: Platform
) -> None:
    class Awaitable:
        def __await__(self) -> Any:
            pytest.fail("it cannot have been awaited")

    auth = sync_kind.auth(platform, oauth_token_provider=lambda last, manager: Awaitable())
    with pytest.raises(TypeError, match="returned an awaitable"):
        sync_kind.get(auth, API, platform)


def test_what_would_block_a_running_loop_is_an_error(async_kind: Kind, platform: Platform) -> None:
    auth = async_kind.auth(platform, m2m=VzM2mCredentials("user", PASSWORD))
    calls: list[tuple[str, Callable[[], Any]]] = [
        ("afetch_token", auth.fetch_token),
        ("arevoke_token", auth.revoke_token),
        ("aheaders", lambda: auth.headers(API)),
        ("arecover", lambda: auth.recover(API, {}, "GET", 401, {}, b"")),
        ("afetch_vz_m2m_token", auth.fetch_vz_m2m_token),
        ("aend_m2m_session", auth.end_m2m_session),
        ("aallow_login", auth.allow_login),
    ]

    async def scenario() -> None:
        for name, call in calls:
            with pytest.raises(RuntimeError, match=name):
                call()

    async_kind.run(scenario)
    assert platform.calls == []


def test_async_provider_that_calls_fetch_token_gets_the_same_error(
    async_kind: Kind, platform: Platform
) -> None:
    async def provider(last: Any, manager: Any) -> Any:
        return manager.fetch_token()

    auth = async_kind.auth(platform, oauth_token_provider=provider)
    with pytest.raises(RuntimeError, match="afetch_token"):
        async_kind.get(auth, API, platform)


@pytest.mark.parametrize("is_async", [False, True])
def test_providers_fetch_goes_over_a_synchronous_client(
    async_kind: Kind, platform: Platform, is_async: bool
) -> None:
    """The private client is synchronous also if an asynchronous one's request needs it."""
    library, inner = async_kind.library, async_kind.transport(platform)

    class Synchronous(library.BaseTransport):  # type: ignore[name-defined,misc]
        def handle_request(self, request: Any) -> Any:
            return inner.handle_request(request)

    async def aprovider(last: Any, manager: Any) -> Any:
        return await manager.afetch_token({"extra": "1"})

    def provider(last: Any, manager: Any) -> Any:
        return manager.fetch_token({"extra": "1"})

    auth = async_kind.auth(
        client_options={"transport": Synchronous()},
        oauth_token_provider=aprovider if is_async else provider,
    )
    async_kind.get(auth, API, platform)
    (call,) = platform.token_calls
    assert call.form["extra"] == "1"


def test_token_that_a_provider_fetched_in_a_thread_of_its_own_is_used(
    kind: Kind, platform: Platform
) -> None:
    def provider(last: Any, manager: Any) -> Any:
        context, fetched = contextvars.copy_context(), []
        thread = threading.Thread(
            target=context.run, args=(lambda: fetched.append(manager.fetch_token()),)
        )
        thread.start()
        thread.join()
        return fetched[0]

    kind.get(kind.auth(platform, oauth_token_provider=provider), API, platform)
    assert platform.bearers == ["token-1"]
    assert len(platform.token_calls) == 1


def test_blocking_client_in_async_code_may_have_a_provider_that_fetches(
    async_kind: Kind, platform: Platform
) -> None:
    """A notebook has a running loop, and plain httpx.Client code in it."""
    auth = async_kind.auth(
        platform, oauth_token_provider=lambda last, manager: manager.fetch_token()
    )

    async def scenario() -> int:
        transport = async_kind.transport(platform)
        with async_kind.library.Client(transport=transport, auth=auth) as client:
            return client.get(API).status_code  # type: ignore[no-any-return]

    assert async_kind.run(scenario) == 200


def test_update_callback_may_make_requests_of_its_own(async_kind: Kind, platform: Platform) -> None:
    library = async_kind.library

    async def update(token: Any) -> None:
        transport = async_kind.transport(platform)
        async with library.AsyncClient(transport=transport, auth=auth) as client:
            await client.get(API + "/from-callback")

    auth = async_kind.auth(platform, oauth_on_token_update=update)
    assert async_kind.get(auth, API, platform).status == 200
    assert platform.bearers == ["token-1", "token-1"]


def test_callbacks_of_another_object_are_no_reentrancy(kind: Kind, platform: Platform) -> None:
    other = kind.auth(platform)

    def provider(last: Any, manager: Any) -> Any:
        if kind.is_requests:
            kind.get(other, API + "/other", platform)
        else:
            with kind.library.Client(transport=kind.transport(platform), auth=other) as client:
                client.get(API + "/other")
        return {"access_token": "from-provider"}

    auth = kind.auth(platform, oauth_token_provider=provider)
    kind.get(auth, API, platform)
    assert platform.bearers == ["token-1", "from-provider"]


def test_provider_that_forgets_the_token_before_it_fetches_is_asked_once(
    kind: Kind, platform: Platform
) -> None:
    def forgetful(last: Any, manager: Any) -> Any:
        manager.oauth_token = None
        return manager.fetch_token()

    auth = kind.auth(platform, oauth_token_provider=forgetful)
    assert kind.get(auth, API, platform).status == 200
    assert len(platform.token_calls) == 1
