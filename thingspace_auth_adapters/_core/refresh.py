"""One refresh as a future, and single flight: at most one is under way.

A refresh has a leader, which is one thread: that of its first caller, or under an asynchronous
client one of its own. Everyone else waits for the future. What it brings is a token, a failure
that is shared, or nothing: then those who waited begin anew.
"""

from __future__ import annotations

import copy
import os
import threading
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Any, NamedTuple, Protocol, Union

from ..errors import ReentrantRequestError
from .cached_token import CachedToken
from .clock import Clock

MOST_REFRESHES = 2
"""For how many refreshes in a row a caller waits."""

WATCH_SECONDS = 1.0
"""How often a waiting thread looks whether the leader needs this very thread to go on."""


class Failed(Exception):
    """An endpoint, a provider or a store failed: this is shared by everyone who waits.

    Whatever else ends a refresh is its leader's own affair.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def for_another(self) -> Failed:
        """The same for another caller, who gets an exception of its own."""
        return Failed(copy_exception(self.error))


Outcome = Union[CachedToken[Any], Failed, None]
"""``None``: it has no outcome that others could share."""


class EventLoop(Protocol):
    """An event loop that a request came from.

    Attributes:
        thread: the identifier of its thread.
    """

    thread: int

    def run(self, awaitable: Any) -> Any:
        """Have it await something, and block until it has; called on another thread."""
        ...


class Limits(NamedTuple):
    """What may be spent on a refresh or on a call: readings of the monotonic clock.

    Attributes:
        begins_by: the last moment at which a call may begin.
        ends_at: the last moment at which an answer may arrive.
        attempts: the most calls.
    """

    begins_by: float
    ends_at: float
    attempts: int


class Caller:
    """Somebody who needs a token.

    Args:
        gives_up_at: reading of the monotonic clock at which it waits no longer.
        loop: runs its ``async def`` callbacks; ``None`` under a synchronous client.
        outer: the refresh on whose behalf it asks, if any: that one tells of the tokens that came
            into use.

    Attributes:
        refreshes: how many in a row brought it nothing.
        failure: what the last of them failed with, if anything.
        suspects: the header value of a usable token that it would rather have replaced.
    """

    def __init__(
        self,
        gives_up_at: float,
        loop: EventLoop | None = None,
        outer: Refresh | None = None,
    ) -> None:
        self.gives_up_at = gives_up_at
        self.loop = loop
        self.outer = outer
        self.refreshes = 0
        self.failure: Failed | None = None
        self.suspects: str | None = None

    def take(self, refresh: Refresh, outcome: Outcome) -> CachedToken[Any] | None:
        """The token that a refresh brought; ``None`` if this caller has to look again.

        Raises:
            Failed: the refresh did.
        """
        if isinstance(outcome, CachedToken):
            return outcome
        self.refreshes += 1
        self.failure = outcome
        # One that could not be replaced is used as it is.
        self.suspects = None
        # A single attempt ahead of expiry says nothing to those who need another token now.
        if outcome is None or refresh.is_early:
            return None
        if refresh.caller is self:
            raise outcome
        # Another caller may have had less time for it than this one has.
        if refresh.is_curtailed:
            return None
        raise outcome.for_another()


class Refresh:
    """One acquisition of a token.

    Args:
        caller: on whose behalf.
        owner: the auth object.
        limits: what may be spent on it.
        last: the token that it replaces.
        is_early: whether that one is still usable.
        generation: how often a token had been published when it began.
        rejected: the header values that had been rejected when it began.

    Attributes:
        future: settled with the outcome.
        process: the leader's process; in a forked child nobody leads it.
        thread: its leader's thread, or the event loop's while that runs a callback of its own;
            ``None`` until it is led.
        inner: the refresh for which its leader waits, or that it leads, if any.
        fetched: what the provider fetched on its behalf.
        updates: the tokens that came into use on the way.
        stored: what the store held, usable or not, if there is one.
        holds_lock: whether the store's lock is held.
        is_makeshift: whether what it brought is used only as long as there is no other.
        is_curtailed: whether its caller gives up before it could have had all its attempts.
        is_apart: whether its caller keeps the token for itself.
        has_ended: whether its leader is done, and not merely given up.
    """

    def __init__(
        self,
        caller: Caller,
        owner: object,
        limits: Limits,
        last: CachedToken[Any] | None = None,
        is_early: bool = False,
        generation: int = 0,
        rejected: tuple[str, ...] = (),
    ) -> None:
        self.caller = caller
        self.owner = owner
        self.limits = limits
        self.last = last
        self.is_early = is_early
        self.generation = generation
        self.rejected = rejected
        self.future: Future[Outcome] = Future()
        self.process = os.getpid()
        self.thread: int | None = None
        self.inner: Refresh | None = None
        self.fetched: CachedToken[Any] | None = None
        self.updates: list[Any] = []
        self.stored: CachedToken[Any] | None = None
        self.holds_lock = False
        self.is_makeshift = False
        self.is_curtailed = False
        self.is_apart = False
        self.has_ended = False

    @property
    def is_suspicion(self) -> bool:
        """Whether it is to replace a token that may yet be good."""
        return self.last is not None and self.last.header == self.caller.suspects

    @property
    def outcome(self) -> Outcome:
        """What came of it; ``None`` also as long as it is under way."""
        return self.future.result() if self.future.done() else None

    def wait(self, until: float, clock: Clock) -> None:
        """Block this thread until it is settled, or until this reading of the monotonic clock.

        Raises:
            ReentrantRequestError: it cannot go on while this thread waits.
        """
        while not self.future.done() and clock.monotonic() < until:
            if self._needs(threading.get_ident()) and not clock.has_greenlets:
                raise ReentrantRequestError(
                    "this request waits for a token that only this thread can bring, so that"
                    " neither would ever go on: on an event loop's thread use an asynchronous"
                    " client, and in code that the HTTP library calls use no request of this"
                    " auth object's"
                )
            clock.wait(self.future, min(until - clock.monotonic(), WATCH_SECONDS))

    def _needs(self, thread: int) -> bool:
        """Whether it cannot go on without this thread."""
        inner = self.inner
        has_inner = inner is not None and not inner.future.done()
        return self.thread == thread or (has_inner and inner is not None and inner._needs(thread))


class SingleFlight:
    """Hands out the refresh under way, or starts one.

    Its lock guards the pointer to that refresh and what its user changes together with it. It is
    held for a few assignments, never while anything is sent, waited for or called back.

    Attributes:
        refresh: the latest one that was begun; assigned under the lock.
    """

    def __init__(self) -> None:
        self._locks: dict[int, threading.RLock] = {}
        self.refresh: Refresh | None = None

    @property
    def lock(self) -> threading.RLock:
        """This process's lock: one that another thread held during a fork is never released.

        Reentrant, since a signal handler may make a request in the middle of an assignment.
        """
        return self._locks.setdefault(os.getpid(), threading.RLock())

    @property
    def under_way(self) -> Refresh | None:
        """The refresh that somebody leads in this process."""
        refresh = self.refresh
        # The process first: the future of another one may be locked for ever.
        if refresh is None or refresh.process != os.getpid() or refresh.future.done():
            return None
        return refresh

    def finish(self, refresh: Refresh, outcome: Outcome) -> None:
        """Settle a refresh, and keep nothing of it. Only its first outcome counts."""
        with suppress(InvalidStateError):
            refresh.future.set_result(outcome)
        with self.lock:
            if self.refresh is refresh:
                self.refresh = None


def copy_exception(error: Exception) -> Exception:
    """An exception equal to ``error``, so that each waiter raises one of its own.

    An exception that is raised in several threads would collect all their tracebacks.
    """
    for make in (copy.copy, _bare_copy):
        # Not every exception can be made again from its args.
        with suppress(Exception):
            copied = make(error)
            if type(copied) is type(error) and copied.args == error.args:
                return copied
    return error


def _bare_copy(error: Exception) -> Exception:
    copied = type(error).__new__(type(error))
    copied.args = error.args
    vars(copied).update(vars(error))
    return copied
