"""Which credential is usable now, who renews it, and what a failure means to those who wait.

Theory of operation. A lifecycle publishes one immutable :class:`Lease` by one assignment, so the
warm path reads it without a lock. Whoever finds it missing, stale, expired or rejected boards the
*flight* under way or starts one. Its leader asks the provider or the endpoint; everyone else
waits for the outcome or, where the lease is merely stale, goes on with it. A leader that goes away
(cancelled, closed, cut by its caller's own timeout) abandons the flight: those who waited board
anew, and the first of them leads with what is left of the budget. The lock guards the few
assignments that must happen together, and is never held across a ``yield``.

What is renewed, an access token or something else with such a life, is the :class:`Kind`'s
affair.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from typing import Any, Callable, Generic, NamedTuple, Protocol, TypeVar

from .blame import Culprit
from .clock import OVER, Clock, Term
from .effects import Call, CallersOwnFailure, Steps, Wait
from .errors import ReentrantRequestError, ThingspaceAuthError
from .exchange import Budget, RetryPolicy
from .flight import Abandoned, Departure, Failed, Flight, Landed, SingleFlight, flights_around, twin

T = TypeVar("T")

SAME_AGAIN_SECONDS = 30.0
"""How long a rejected credential that the endpoint gave out again is not asked for again."""

REFRESH_PAUSE_SECONDS = 10.0
"""The pause after a failed renewal of a credential that is stale but not expired."""

_REMEMBERED = 8
_MOST_KNOWN = 1000

logger = logging.getLogger("thingspace_auth_adapters")


class Lease(Generic[T]):
    """A credential and its terms. They do not change, so that readers need no lock.

    Attributes:
        value: the credential as users know it.
        key: the secret text by which two are the same.
        header: the header value that carries it.
        stale: from when on it is to be renewed.
        expired: from when on it must not be used.
        rejected: whether the platform turned it down.
    """

    __slots__ = ("expired", "header", "key", "rejected", "stale", "value")

    def __init__(
        self, value: T, key: str, header: str, stale: Term, expired: Term, rejected: bool = False
    ) -> None:
        self.value = value
        self.key = key
        self.header = header
        self.stale = stale
        self.expired = expired
        self.rejected = rejected

    def use(self, wall: float, monotonic: float) -> bool:
        """Whether a request may carry it at this time; where that matters, note that one does."""
        # Spelled out, since every request comes by here: not self.stale.has_ended(clock).
        stale_wall, stale_monotonic = self.stale
        return wall < stale_wall and monotonic < stale_monotonic

    def is_fresh(self, clock: Clock) -> bool:
        return not self.stale.has_ended(clock)

    def is_usable(self, clock: Clock) -> bool:
        return not self.expired.has_ended(clock)

    def as_rejected(self) -> Lease[T]:
        return Lease(self.value, self.key, self.header, OVER, OVER, rejected=True)

    def as_final(self) -> Lease[T]:
        """The same, to be used until it expires: renewing it earlier would bring nothing new."""
        return Lease(self.value, self.key, self.header, self.expired, self.expired)

    def __repr__(self) -> str:
        return "<Lease>"


class Kind(Protocol[T]):
    """What sets one kind of credential apart from another.

    Attributes:
        culprit: what an answer blames that rejects one.
        is_renewable: whether there is a way to another one.
        is_revivable: whether one that has become stale may be good again when it is provided.
    """

    name: str
    culprit: Culprit
    provider: Callable[..., Any] | None
    provider_name: str
    on_update: Callable[..., Any] | None
    on_update_name: str
    fetch_name: str
    fetch_path: str
    is_renewable: bool
    is_revivable: bool

    def given(self, value: object, source: str) -> Lease[T] | None:
        """The lease on what a user handed over; ``None`` stays ``None``."""
        ...

    def prepare(self, tell: bool) -> Steps[None]:
        """Get what a renewal needs, or raise what forbids it: nobody waits for this yet."""
        ...

    def fetch(
        self, budget: Budget, additional_params: Mapping[str, str] | None = None
    ) -> Steps[Lease[T]]:
        """Ask the platform for a new one."""
        ...

    def revoke(self, lease: Lease[T], budget: Budget) -> Steps[None]:
        """Give one back to the platform."""
        ...

    def copied_for(self, bearers: Lifecycle[Any]) -> Kind[T]:
        """The same for a copy of the auth object, which has bearers of its own."""
        ...


class _Obtained(NamedTuple):
    lease: Lease[Any]
    is_news: bool = False


class Lifecycle(Generic[T]):
    """The life of one credential, shared by threads, tasks and event loops.

    Args:
        kind: what is acquired, and how.
        manager: what the provider gets as ``auth_manager``.
        clock: the time.
        policy: how often a transient failure is tried again.
        known: where the keys of what is used here are remembered, if anybody wants to know.

    Attributes:
        lease: the latest lease, usable or not.
        ready: the same, unless something is still to be told of it.
    """

    def __init__(
        self,
        kind: Kind[T],
        manager: object,
        clock: Clock,
        policy: RetryPolicy,
        known: dict[str, None] | None = None,
    ) -> None:
        self.kind = kind
        self.clock = clock
        self.policy = policy
        self._manager = manager
        self._flights: SingleFlight[Lease[T]] = SingleFlight()
        self._generation = 0
        self._known = known
        self._rejected: tuple[str, ...] = ()
        self._same_again: tuple[str, float] = ("", 0.0)
        self._refresh_not_before = 0.0
        self._adopted: T | None = None
        self._publish(None)

    def latest(self, known: Lease[T]) -> Lease[T]:
        """The latest lease where it is usable, or else the known one."""
        lease = self.lease
        return lease if lease is not None and lease.is_usable(self.clock) else known

    def forbid_in_its_provider(self) -> None:
        """Raises :class:`ReentrantRequestError` where the provider that is running must wait."""
        if self._flight_around() is not None:
            raise ReentrantRequestError(
                f"{self.kind.provider_name} made a request that needs the {self.kind.name} which"
                f" it is itself to provide; use auth_manager.{self.kind.fetch_name} or another"
                " client there"
            )

    def has_rejected(self, key: str) -> bool:
        """Whether the platform turned this one down here."""
        return key in self._rejected

    def vouch(self, lease: Lease[T]) -> None:
        """Have the provider that is running return this as if it had fetched it."""
        flight = self._flight_around()
        if flight is not None:
            flight.fetched[lease.key] = lease

    def acquire(self, tell: bool = True) -> Steps[Lease[T]]:
        """A usable lease, renewed first if need be.

        With ``tell=False`` the update callback is left to :meth:`tell`, or to whoever acquires
        next: for callers for whom others wait.

        Raises:
            ThingspaceAuthError: there is none to be had.
            ReentrantRequestError: called on behalf of the provider that is to bring it.
            Exception: the HTTP library's or the provider's own.
        """
        return (yield from self._announced((yield from self._obtain(tell)), tell))

    def replace(self, rejected_key: str) -> Steps[Lease[T] | None]:
        """A lease on another credential than the one that the platform rejected, if there is one.

        A failure is logged and no more: the caller has the platform's answer in hand.
        """
        if not self.reject(rejected_key):
            return None
        try:
            obtained = yield from self._obtain(tell=False)
        except Exception as error:
            logger.warning("renewing the rejected %s failed: %s", self.kind.name, _describe(error))
            return None
        lease = yield from self._announced(obtained, tell=True)
        return None if lease.key == rejected_key else lease

    def reject(self, key: str) -> bool:
        """Note that the platform turned this one down; whether asking for another may help."""
        with self._flights.lock:
            lease = self.lease
            is_current = lease is not None and lease.key == key
            if is_current and (self._is_same_again(key) or not self.kind.is_renewable):
                return False
            self._rejected = _remembering(key, self._rejected)
            if lease is not None and is_current:
                self._publish(lease.as_rejected(), self._untold)
            return True

    def tell(self) -> Steps[None]:
        """Call the update callback with what is still to be told, if anything is."""
        with self._flights.lock:
            news = self._untold
            self._publish(self.lease)
        if news is not None:
            yield from self._tell(news)

    def fetch(self, additional_params: Mapping[str, str] | None = None) -> Steps[Lease[T]]:
        """Ask the platform now and install nothing."""
        yield from self.kind.prepare(tell=True)
        flight = self._flight_around()
        budget = self.policy.budget(self.clock) if flight is None else flight.budget
        lease = yield from self._fetched(flight, budget, additional_params)
        self.vouch(lease)
        return lease

    def adopt(self, lease: Lease[T] | None) -> None:
        """Assign what the credentials hold, unless it is what they held the last time."""
        value = None if lease is None else lease.value
        with self._flights.lock:
            if value == self._adopted:
                return
            self._adopted = value
        self.assign(lease)

    def assign(self, lease: Lease[T] | None) -> None:
        """Put a lease in the current one's place, or with ``None`` forget it."""
        with self._flights.lock:
            self._generation += 1
            self._publish(lease)
            self._same_again = ("", 0.0)
            self._refresh_not_before = 0.0
            if lease is not None:
                self._rejected = tuple(key for key in self._rejected if key != lease.key)

    def revoked(self, key: str) -> None:
        """Forget what was revoked; from now on it counts as rejected."""
        with self._flights.lock:
            self._rejected = _remembering(key, self._rejected)
            if self.lease is not None and self.lease.key == key:
                self._generation += 1
                self._publish(None)

    def copied_for(self, manager: object, bearers: Lifecycle[Any] | None = None) -> Lifecycle[T]:
        """A lifecycle that begins with this one's lease and goes its own way from there.

        Its renewals go with those bearers, by default with its own.
        """
        copied = copy.copy(self)
        copied.kind = self.kind.copied_for(bearers or copied)
        copied._manager = manager
        copied._flights = SingleFlight()
        return copied

    def _publish(self, lease: Lease[T] | None, untold: T | None = None) -> None:
        if lease is not None and self._known is not None:
            self._known[lease.key] = None
            while len(self._known) > _MOST_KNOWN:
                del self._known[next(iter(self._known))]
        self.lease = lease
        self._untold = untold
        self.ready = lease if untold is None else None

    def _obtain(self, tell: bool) -> Steps[_Obtained]:
        heritage: Budget | None = None
        while True:
            lease = self.lease
            if lease is not None and not self._is_due(lease):
                return _Obtained(lease)
            is_refresh = lease is not None and lease.is_usable(self.clock)
            try:
                yield from self.kind.prepare(tell)
            except Exception as error:
                if not is_refresh:
                    raise
                self._put_off_refresh(error)
                continue
            flight, leads = self._flights.board(self._departing(is_refresh, heritage))
            if leads:
                obtained = yield from self._lead(flight, lease)
            elif lease is not None and is_refresh:
                return _Obtained(lease)
            else:
                obtained = yield from self._follow(flight)
            if obtained is not None:
                return obtained
            heritage = None if flight.is_refresh else flight.budget

    def _is_due(self, lease: Lease[T]) -> bool:
        if lease.is_fresh(self.clock):
            return False
        may_refresh = self.clock.monotonic() >= self._refresh_not_before
        return may_refresh or not lease.is_usable(self.clock)

    def _departing(self, is_refresh: bool, heritage: Budget | None) -> Flight[Lease[T]]:
        if is_refresh:
            budget = self.policy.single_attempt(self.clock)
        else:
            budget = heritage or self.policy.budget(self.clock)
        return Flight(self, budget, is_refresh, Departure(self._generation, self._rejected))

    def _follow(self, flight: Flight[Lease[T]]) -> Steps[_Obtained | None]:
        self.forbid_in_its_provider()
        yield Wait(flight)
        if isinstance(flight.outcome, Landed):
            return _Obtained(flight.outcome.value)
        if isinstance(flight.outcome, Failed) and not flight.is_refresh:
            raise twin(flight.outcome.error)
        return None

    def _lead(self, flight: Flight[Lease[T]], lease: Lease[T] | None) -> Steps[_Obtained | None]:
        if self.lease is not lease:
            flight.settle(Abandoned())
            return None
        try:
            renewed = yield from self._renewed(flight, lease)
        except CallersOwnFailure as own:
            failure: Exception = own
            flight.settle(Abandoned())
        except Exception as error:
            failure = error
            flight.settle(Abandoned() if error is flight.callers_own else Failed(error))
        except BaseException:
            flight.settle(Abandoned())
            raise
        else:
            return self._land(flight, renewed)
        if not flight.is_refresh:
            raise failure
        self._put_off_refresh(failure)
        return None

    def _put_off_refresh(self, failure: Exception) -> None:
        self._refresh_not_before = self.clock.monotonic() + REFRESH_PAUSE_SECONDS
        logger.warning(
            "renewing the %s ahead of its expiry failed, going on with the current one: %s",
            self.kind.name,
            _describe(failure),
        )

    def _renewed(self, flight: Flight[Lease[T]], lease: Lease[T] | None) -> Steps[Lease[T]]:
        provided = yield from self._provided(flight, lease)
        if provided is not None:
            return provided
        return (yield from self._fetched(flight, flight.budget))

    def _fetched(
        self,
        flight: Flight[Lease[T]] | None,
        budget: Budget,
        additional_params: Mapping[str, str] | None = None,
    ) -> Steps[Lease[T]]:
        while True:
            try:
                return (yield from self.kind.fetch(budget, additional_params))
            except CallersOwnFailure as own:
                cut = own
            # Whoever waits may be more patient than this caller; alone, it just tries again.
            if flight is not None and flight.has_waiters:
                flight.callers_own = cut.error
                raise cut
            budget.spend()
            if not budget.postpone(None):
                raise cut.error

    def _provided(self, flight: Flight[Lease[T]], lease: Lease[T] | None) -> Steps[Lease[T] | None]:
        if self.kind.provider is None:
            return None
        args = (None if lease is None else lease.value, self._manager)
        value = yield Call(self.kind.provider, args, self.kind.provider_name, (flight,))
        given = self.kind.given(value, f"what {self.kind.provider_name} returned")
        if given is None:
            return None
        if given.key in flight.fetched:
            return flight.fetched[given.key]
        is_worn = lease is not None and lease.key == given.key and not self.kind.is_revivable
        is_good = not is_worn and given.key not in self._rejected and given.is_usable(self.clock)
        return given if is_good else None

    def _land(self, flight: Flight[Lease[T]], lease: Lease[T]) -> _Obtained | None:
        if not lease.is_fresh(self.clock):
            lease = lease.as_final()
        obtained = self._install(flight, lease)
        flight.settle(Abandoned() if obtained is None else Landed(obtained.lease))
        if obtained is not None and obtained.is_news:
            logger.info("a new %s is in use", self.kind.name)
        return obtained

    def _install(self, flight: Flight[Lease[T]], lease: Lease[T]) -> _Obtained | None:
        with self._flights.lock:
            previous, departure = self.lease, flight.departure
            was_rejected = lease.key in self._rejected
            if was_rejected and lease.key not in departure.rejected:
                # Rejected while the flight was under way: the answer may be older than that.
                return None
            if flight.outcome is not None or departure.generation != self._generation:
                # Something newer was assigned: this one serves only those who waited for it.
                return _Obtained(lease)
            if was_rejected:
                self._same_again = (lease.key, self.clock.monotonic() + SAME_AGAIN_SECONDS)
            self._publish(lease)
            self._refresh_not_before = 0.0
        return _Obtained(lease, is_news=previous is None or previous.key != lease.key)

    def _announced(self, obtained: _Obtained, tell: bool) -> Steps[Lease[T]]:
        news = obtained.lease.value if obtained.is_news else None
        if news is None and tell:
            yield from self.tell()
        elif news is not None and tell:
            yield from self._tell(news)
        elif news is not None:
            self._put_off_telling(news)
        return obtained.lease

    def _tell(self, news: T) -> Steps[None]:
        if self.kind.on_update is None:
            return
        begun: list[bool] = []
        name = self.kind.on_update_name
        try:
            yield Call(self.kind.on_update, (news,), name, on_begin=lambda: begun.append(True))
        finally:
            if not begun:
                self._put_off_telling(news)

    def _put_off_telling(self, news: T) -> None:
        """Let the next caller tell it, unless it is no news by then."""
        with self._flights.lock:
            is_current = self.lease is not None and self.lease.value is news
            if is_current and self.kind.on_update is not None:
                self._publish(self.lease, untold=news)

    def _is_same_again(self, key: str) -> bool:
        given_again, until = self._same_again
        return key == given_again and self.clock.monotonic() < until

    def _flight_around(self) -> Flight[Lease[T]] | None:
        return next((flight for flight in flights_around() if flight.owner is self), None)

    def __getstate__(self) -> dict[str, Any]:
        # Readings of the monotonic clock mean nothing where a pickle is read.
        return {**vars(self), "_same_again": ("", 0.0), "_refresh_not_before": 0.0}


def _remembering(key: str, keys: tuple[str, ...]) -> tuple[str, ...]:
    """The latest few keys, this one as the last."""
    return (*(other for other in keys if other != key), key)[-_REMEMBERED:]


def _describe(error: Exception) -> str:
    """What may be logged of an error: messages that are not ours may hold anything."""
    if isinstance(error, CallersOwnFailure):
        error = error.error
    return str(error) if isinstance(error, ThingspaceAuthError) else type(error).__name__
