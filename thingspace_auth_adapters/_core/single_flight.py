"""Single flight: at most one refresh under way, its outcome shared by everyone who waits."""

from __future__ import annotations

import copy
import os
import threading
from concurrent.futures import Future, InvalidStateError, wait
from contextlib import suppress
from typing import Any, Callable, NamedTuple, Union

from .cached_token import CachedToken

LOCK_PATIENCE_SECONDS = 10.0
"""How long a lock is waited for that is only ever held for a moment."""


class Succeeded(NamedTuple):
    """The refresh brought this token, which is in use now."""

    token: CachedToken[Any]


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


class Abandoned(NamedTuple):
    """The leader went away for a reason of its own; whoever waited may take over."""


ABANDONED = Abandoned()

Outcome = Union[Succeeded, Failed, Abandoned]


class Refresh:
    """One acquisition of a token: a future that threads, greenlets and event loops can wait for.

    Args:
        owner: the auth object on whose behalf.
        ends_at: reading of the monotonic clock after which no outcome is to be expected.
        budget: what may be spent on it; whoever takes over goes on with what is left.
        is_early: whether the token that it replaces is still usable.

    Attributes:
        thread: the leader's thread.
        process: the leader's process; in a forked child nobody leads it.
        generation: how often a token had been published when it began.
        rejected: the header values that had been rejected when it began.
        fetched: what the provider fetched on its behalf.
        updates: the tokens that came into use on the way.
        is_shared: whether the store's lock is held.
        may_lock: whether the store's lock may be waited for.
        is_overtaken: whether a caller on its leader's own thread went ahead of it.
        is_committed: whether it goes on although its caller is cancelled.
        on_commitment: called with that when it changes.
    """

    def __init__(
        self, owner: object, ends_at: float, budget: Any = None, is_early: bool = False
    ) -> None:
        self.owner = owner
        self.ends_at = ends_at
        self.budget = budget
        self.is_early = is_early
        self.thread = threading.get_ident()
        self.process = os.getpid()
        self.generation = 0
        self.rejected: tuple[str, ...] = ()
        self.fetched: CachedToken[Any] | None = None
        self.updates: list[Any] = []
        self.is_shared = False
        self.may_lock = True
        self.is_overtaken = False
        self.is_committed = False
        self.on_commitment: Callable[[bool], object] = bool
        self._future: Future[Outcome] = Future()

    def commit(self, is_committed: bool = True) -> None:
        """Have it go on from here whatever becomes of its caller, or no longer."""
        self.is_committed = is_committed
        self.on_commitment(is_committed)

    @property
    def outcome(self) -> Outcome | None:
        """What came of it, ``None`` as long as it is under way."""
        return self._future.result() if self._future.done() else None

    def settle(self, outcome: Outcome) -> None:
        """Set the outcome and wake everyone. Only the first outcome counts."""
        with suppress(InvalidStateError):
            self._future.set_result(outcome)

    def wait(self, seconds: float) -> None:
        """Block this thread until it is settled, or so many seconds have passed."""
        wait([self._future], min(max(seconds, 0.0), threading.TIMEOUT_MAX))

    def when_settled(self, wake: Callable[[], object]) -> None:
        """Have ``wake`` called once, from any thread."""

        def wake_if_possible(_: object) -> None:
            # A RuntimeError says that the waiter's event loop was closed: nobody is left to wake.
            with suppress(RuntimeError):
                wake()

        self._future.add_done_callback(wake_if_possible)


class SingleFlight:
    """Hands out the refresh under way, or starts one.

    Its lock guards the pointer to that refresh and what its user changes together with it. It is
    never held while anything is awaited, sent or called back.
    """

    def __init__(self) -> None:
        self._locks: dict[int, threading.Lock] = {}
        self._refresh: Refresh | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return SingleFlight, ()

    @property
    def lock(self) -> threading.Lock:
        """This process's lock: one that another thread held during a fork is never released."""
        lock = self._locks.setdefault(os.getpid(), threading.Lock())
        if lock.acquire(timeout=LOCK_PATIENCE_SECONDS):
            lock.release()
            return lock
        # Its holder was interrupted on the way out: nobody holds it for longer than a moment.
        self._locks[os.getpid()] = lock = threading.Lock()
        return lock

    @property
    def is_under_way(self) -> bool:
        """Whether somebody leads a refresh in this process."""
        refresh = self._refresh
        return refresh is not None and refresh.outcome is None and refresh.process == os.getpid()

    def join_or_start(self, mine: Refresh) -> Refresh:
        """The refresh under way, or ``mine``, which is under way from now on."""
        with self.lock:
            current = self._refresh
            if current is None or current.process != mine.process or current.outcome is not None:
                self._refresh = current = mine
            return current

    def finish(self, refresh: Refresh, outcome: Outcome) -> None:
        """Settle a refresh, and keep nothing of it."""
        if self._refresh is refresh:
            self._refresh = None
        refresh.settle(outcome)


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
