"""Part 2, rules 2 and 5, under load: one login, one refusal, two unknowns at most."""

from __future__ import annotations

import itertools
import threading
import time
from typing import Any, Callable

import pytest

from thingspace_auth_adapters import M2mLoginError, ReentrantRequestError, VzM2mCredentials
from thingspace_auth_adapters.simulator import ThingspaceSimulator

from ..support.crowds import PATH
from ..support.kinds import ASYNC_KINDS, LOOP_KINDS, Kind
from ..support.logins import auth_at
from ..support.optional import anyio
from ..support.real import PATIENCE, Threads, aeventually, eventually, options_for
from ..support.virtual import LOGIN_PATH

FEW = 8
SHORT = 0.3

pytestmark = pytest.mark.usefixtures("short_pauses")


def wrong(simulator: ThingspaceSimulator, number: int = 0) -> dict[str, Any]:
    return {"m2m": VzM2mCredentials(simulator.username, f"wrong-{number}")}


def token_of(kind: Kind, simulator: ThingspaceSimulator) -> dict[str, Any]:
    """A token in advance: it is not to be had within the short timeout that a test may need."""
    return {"oauth_token": kind.fetch_token(kind.auth(**options_for(simulator)))}


def at_once(kind: Kind, auths: list[Any], url: str) -> list[Any]:
    """What a caller for each object gets: each in a thread, or on either of two event loops."""
    threads = Threads()
    if not kind.is_async:
        for auth in auths:
            threads.start(lambda auth=auth: kind.get(auth, url).status)
        return threads.join()
    outcomes: list[Any] = []
    for half in (auths[::2], auths[1::2]):
        threads.start(kind.run, on_one_loop, kind, half, url, outcomes)
    assert threads.join() == [None, None]
    return outcomes


async def on_one_loop(kind: Kind, auths: list[Any], url: str, outcomes: list[Any]) -> None:
    async with anyio.create_task_group() as group:
        for auth in auths:
            group.start_soon(get, kind, auth, url, outcomes)


async def get(kind: Kind, auth: Any, url: str, outcomes: list[Any]) -> None:
    async with kind.library.AsyncClient(auth=auth, verify=False, timeout=PATIENCE) as client:
        try:
            outcomes.append((await client.get(url)).status_code)
        except kind.request_error as error:
            outcomes.append(error)


# What a crowd costs.


def nothing(simulator: ThingspaceSimulator) -> None:
    pass


def end_both(simulator: ThingspaceSimulator) -> None:
    simulator.revoke()
    simulator.end_sessions()


@pytest.mark.parametrize(
    ("happens", "is_warm", "calls"),
    [
        (nothing, False, (1, 1)),
        (ThingspaceSimulator.end_sessions, True, (0, 1)),
        (end_both, True, (1, 1)),
    ],
    ids=["cold", "session ended", "both ended"],
)
def test_crowd_renews_each_token_once(
    kind: Kind,
    simulator: ThingspaceSimulator,
    happens: Callable[[ThingspaceSimulator], None],
    is_warm: bool,
    calls: tuple[int, int],
) -> None:
    auth = auth_at(simulator, kind)
    if is_warm:
        kind.get(auth, simulator.url + PATH)
    simulator.clear()
    happens(simulator)
    simulator.latency = {"token": 0.05, "login": 0.05}
    assert at_once(kind, [auth] * FEW, simulator.url + PATH) == [200] * FEW
    assert (len(simulator.token_requests), len(simulator.login_requests)) == calls


@pytest.mark.parametrize("is_shared", [True, False], ids=["one object", "an object each"])
@pytest.mark.parametrize(
    ("failure", "logins"),
    [("refused", 1), ("drop", 2), ("hang", 2)],
    ids=["refused", "lost", "timeout"],
)
def test_failing_logins_of_a_crowd_are_as_few_as_those_of_one_caller(
    kind: Kind, simulator: ThingspaceSimulator, failure: Any, logins: int, is_shared: bool
) -> None:
    options = token_of(kind, simulator)
    if failure == "refused":
        options.update(wrong(simulator))
        simulator.latency["login"] = 0.05
    else:
        simulator.fail("login", failure, times=None)
    if failure == "hang":
        options["timeout"] = SHORT
    one = auth_at(simulator, kind, **options)
    auths = [one if is_shared else auth_at(simulator, kind, **options) for _ in range(FEW)]
    outcomes = at_once(kind, auths, simulator.url + PATH)
    assert len({id(outcome) for outcome in outcomes}) == FEW
    assert all(isinstance(outcome, kind.request_error) for outcome in outcomes)
    # Whoever comes later finds that none may be tried.
    later = at_once(kind, auths, simulator.url + PATH)
    assert all(isinstance(outcome, M2mLoginError) for outcome in later)
    assert {outcome.status_code for outcome in later} == {400 if failure == "refused" else None}
    assert len(simulator.login_requests) == logins


@pytest.mark.once
def test_threads_with_a_password_each_send_two_logins(
    sync_kind: Kind, simulator: ThingspaceSimulator
) -> None:
    token = token_of(sync_kind, simulator)
    auths = [auth_at(simulator, sync_kind, **token, **wrong(simulator, n)) for n in range(64)]
    outcomes = at_once(sync_kind, auths, simulator.url + PATH)
    assert all(isinstance(outcome, M2mLoginError) for outcome in outcomes)
    assert len(simulator.login_requests) == 2


def test_password_that_becomes_wrong_while_running_is_one_refusal(
    kind: Kind, simulator: ThingspaceSimulator
) -> None:
    auth = auth_at(simulator, kind)
    url = simulator.url + PATH
    assert at_once(kind, [auth] * FEW, url) == [200] * FEW
    simulator.clear()
    simulator.latency["login"] = 0.05
    changed = threading.Thread(target=change_password, args=(simulator,))
    changed.start()
    outcomes = [outcome for _ in range(3) for outcome in at_once(kind, [auth] * FEW, url)]
    changed.join()
    outcomes += at_once(kind, [auth] * FEW, url)
    # Whoever has the platform's refusal in hand gets that, whoever comes later the error.
    assert {outcome for outcome in outcomes if isinstance(outcome, int)} <= {200, 400}
    assert all(isinstance(outcome, M2mLoginError) for outcome in at_once(kind, [auth] * FEW, url))
    assert (simulator.failed_logins, len(simulator.login_requests)) == (1, 1)


def change_password(simulator: ThingspaceSimulator) -> None:
    eventually(lambda: simulator.api_requests)
    simulator.password = "changed"
    simulator.end_sessions()


@pytest.mark.parametrize("failure", ["refused", "hang"])
def test_logins_by_hand_count_like_those_of_requests(
    kind: Kind, simulator: ThingspaceSimulator, failure: str
) -> None:
    options: dict[str, Any] = {**token_of(kind, simulator), "timeout": SHORT}
    if failure == "hang":
        simulator.fail("login", "hang", times=None)
    auth = auth_at(simulator, kind, **options, **({} if failure == "hang" else wrong(simulator)))
    threads = Threads()
    for _ in range(FEW):
        threads.start(kind.fetch_session, auth)
        threads.start(lambda: kind.get(auth, simulator.url + PATH).status)
    outcomes = threads.join()
    assert len({id(outcome) for outcome in outcomes}) == 2 * FEW
    assert all(isinstance(outcome, kind.request_error) for outcome in outcomes)
    assert len(simulator.login_requests) == (2 if failure == "hang" else 1)


def test_object_of_the_same_account_waits_for_a_login_that_may_yet_succeed(
    sync_kind: Kind, simulator: ThingspaceSimulator
) -> None:
    """Also after one of unknown outcome: the one under way has not failed yet."""
    url = simulator.url + PATH
    simulator.fail("login", 500)
    simulator.latency["login"] = 0.1
    first, second = Threads(), Threads()
    token = token_of(sync_kind, simulator)
    auth, other = (auth_at(simulator, sync_kind, **token) for _ in range(2))
    first.start(lambda: sync_kind.get(auth, url).status)
    eventually(lambda: len(simulator.login_requests) == 2)
    second.start(lambda: sync_kind.get(other, url).status)
    assert (first.join(), second.join()) == ([200], [200])


# One refresh needs the other.


def test_token_provider_that_needs_a_session_of_another_refresh_gets_a_clear_error(
    sync_kind: Kind, simulator: ThingspaceSimulator
) -> None:
    """The one refresh would wait for the other, and that for the first."""
    url = simulator.url + PATH
    in_provider, in_login = threading.Event(), threading.Event()
    errors: list[Exception] = []

    def provider(last: Any, manager: Any) -> Any:
        if threading.current_thread() is not leader:
            return None
        in_provider.set()
        assert in_login.wait(PATIENCE)
        try:
            return sync_kind.get(manager, url)
        except ReentrantRequestError as error:
            errors.append(error)
            return None

    auth = auth_at(
        simulator,
        sync_kind,
        oauth_token={"access_token": "dead", "expiry": time.time() + 30},
        oauth_clock_skew=60,
        oauth_token_provider=provider,
    )
    threads = Threads()
    # The login itself carries the bearer alone.
    leader = threading.Thread(target=auth.headers, args=(simulator.url + LOGIN_PATH,), daemon=True)
    leader.start()
    assert in_provider.wait(PATIENCE)
    threads.start(lambda: sync_kind.get(auth, url).status)
    eventually(lambda: simulator.login_requests)
    in_login.set()
    assert threads.join() == [200]
    leader.join(PATIENCE)
    assert not leader.is_alive()
    assert len(errors) == 1


def test_update_callback_of_the_bearer_may_need_both(
    sync_kind: Kind, simulator: ThingspaceSimulator
) -> None:
    seen: list[int] = []

    def tell(value: Any) -> None:
        seen.append(sync_kind.get(auth, simulator.url + PATH).status)

    auth = auth_at(simulator, sync_kind, oauth_on_token_update=tell)
    assert at_once(sync_kind, [auth] * FEW, simulator.url + PATH) == [200] * FEW
    assert seen == [200]
    assert (len(simulator.token_requests), len(simulator.login_requests)) == (1, 1)


@pytest.mark.parametrize("kind", ASYNC_KINDS, ids=lambda kind: kind.name)
def test_blocking_call_beside_a_login_on_the_same_thread_shares_it(
    kind: Kind, simulator: ThingspaceSimulator
) -> None:
    """A login needs no event loop, so it goes on while the loop is blocked."""
    simulator.latency["login"] = 0.2
    auth, library = auth_at(simulator, kind), kind.library
    outcomes: list[Any] = []

    async def story() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(get, kind, auth, simulator.url + PATH, outcomes)
            await aeventually(lambda: simulator.login_requests)
            with library.Client(auth=auth, verify=False) as blocking:
                outcomes.append(blocking.get(simulator.url + PATH).status_code)

    kind.run(story)
    assert outcomes == [200, 200]
    assert len(simulator.login_requests) == 1


# A login goes on whatever becomes of its caller.


class Callers:
    """Tasks that make a request each on one event loop."""

    def __init__(self, kind: Kind, simulator: ThingspaceSimulator, **options: Any) -> None:
        self._call = kind, auth_at(simulator, kind, **options), simulator.url + PATH
        self.outcomes: list[Any] = []
        self.begun = 0

    async def patient(self) -> None:
        self.begun += 1
        await get(*self._call, self.outcomes)

    async def impatient(self, is_over: Callable[[], object]) -> None:
        """One that is cancelled as soon as something has happened."""
        async with anyio.create_task_group() as group:
            group.start_soon(get, *self._call, [])
            await aeventually(is_over)
            group.cancel_scope.cancel()

    async def crowd(self) -> None:
        async with anyio.create_task_group() as group:
            for _ in range(FEW):
                group.start_soon(self.patient)


def test_login_serves_those_who_come_after_its_caller_was_cancelled(
    async_kind: Kind, simulator: ThingspaceSimulator
) -> None:
    """On the same event loop, and on another one after the end of the first."""
    simulator.fail("login", "hang", times=None)
    callers = Callers(async_kind, simulator)
    looks = itertools.count()

    async def cancelled() -> None:
        await callers.impatient(lambda: simulator.login_requests)
        # One who has waited for a moment, too.
        await callers.impatient(lambda: next(looks) > 2)

    async def served() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(callers.crowd)
            await aeventually(lambda: callers.begun == FEW)
            simulator.recover("login")

    for _ in range(2):
        async_kind.run(cancelled)
    async_kind.run(served)
    assert callers.outcomes == [200] * FEW
    assert len(simulator.login_requests) == 1


def test_callers_who_are_cancelled_while_they_connect_lock_nobody_out(
    async_kind: Kind, simulator: ThingspaceSimulator
) -> None:
    library = async_kind.library
    connecting, may_connect = threading.Event(), threading.Event()

    class Connecting(library.HTTPTransport):  # type: ignore[name-defined,misc]
        def handle_request(self, request: Any) -> Any:
            if "login" in request.url.path:
                connecting.set()
                may_connect.wait(PATIENCE)
            return super().handle_request(request)

    transport = Connecting(verify=False)
    callers = Callers(async_kind, simulator, client_options={"transport": transport})

    async def story() -> None:
        for _ in range(5):
            await callers.impatient(connecting.is_set)
        may_connect.set()
        await callers.patient()

    async_kind.run(story)
    transport.close()
    assert callers.outcomes == [200]
    assert len(simulator.login_requests) == 1


def test_refusal_of_a_login_whose_caller_was_cancelled_counts(
    async_kind: Kind, simulator: ThingspaceSimulator
) -> None:
    simulator.fail("login", "hang", times=1)
    callers = Callers(async_kind, simulator, **wrong(simulator))

    async def story() -> None:
        await callers.impatient(lambda: simulator.login_requests)
        simulator.recover("login")
        for _ in range(3):
            await callers.patient()

    async_kind.run(story)
    assert [outcome.status_code for outcome in callers.outcomes] == [400] * 3
    assert (len(simulator.login_requests), simulator.failed_logins) == (1, 1)


@pytest.mark.parametrize("kind", LOOP_KINDS, ids=lambda kind: kind.name)
def test_login_whose_caller_was_cancelled_ends_with_the_timeout(
    kind: Kind, simulator: ThingspaceSimulator
) -> None:
    simulator.fail("login", "hang", times=None)
    callers = Callers(kind, simulator, **token_of(kind, simulator), timeout=SHORT)

    async def story() -> None:
        await callers.impatient(lambda: simulator.login_requests)
        await callers.crowd()
        await callers.patient()

    began_at = time.monotonic()
    kind.run(story)
    assert time.monotonic() - began_at < PATIENCE
    assert all(isinstance(outcome, kind.request_error) for outcome in callers.outcomes)
    assert isinstance(callers.outcomes[-1], M2mLoginError)
    assert len(simulator.login_requests) == 2
