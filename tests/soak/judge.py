"""Whether what happened is what the package promises."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from thingspace_auth_adapters.simulator import ThingspaceSimulator

from ..support.fleet import KILLED
from .callers import REQUEST_SECONDS, Call
from .network import HARMFUL, HARMLESS, Network, Passage

TIMEOUT = 1.5
"""Seconds for one call of an endpoint, in every auth object."""

TOKEN_SECONDS = 2
_LONGEST_WAIT = 8 * TIMEOUT
# A renewal, or a renewal's outcome that is shared, may have begun that long before.
_MEMORY = 3 * TIMEOUT + REQUEST_SECONDS
_LOCKING_FAILURE = 5
# What happened that shortly before a call may become known during it.
_JUST_BEFORE = 0.5
# One more at the start of a token's life, and one for what was rejected while it was fetched.
_SPARE = 2


class Deeds(NamedTuple):
    """What was done to the platform.

    Attributes:
        revoked_at: the unix times at which it revoked tokens.
        ended_at: at which it ended sessions.
        freed_at: at which an operator allowed logins again.
        killed: how many processes were killed.
    """

    revoked_at: list[float]
    ended_at: list[float]
    freed_at: list[float]
    killed: int


class Judge:
    """Judges a soak.

    Args:
        calls: what the callers got.
        network: what became of the requests on their way.
        simulator: the platform.
        elsewhere: the host that is not allowed.
        deeds: what was done to the platform.
        objects: how many auth objects there were; processes that share a store count as one.
    """

    def __init__(
        self,
        calls: list[Call],
        network: Network,
        simulator: ThingspaceSimulator,
        elsewhere: ThingspaceSimulator,
        deeds: Deeds,
        objects: int,
    ) -> None:
        self._calls = calls
        self._passages = network.passages
        self._expired_at = network.expired_at
        self._fates = {one.call: one.fate for one in self._passages if one.call}
        self._simulator = simulator
        self._elsewhere = elsewhere
        self._deeds = deeds
        self._objects = objects
        self._to_endpoints = [one for one in self._passages if "/api/" in one.path and _is(one)]
        harmed = [one for one in self._to_endpoints if one.fate != HARMLESS]
        self._harmed_tokens = [one for one in harmed if "/oauth2/" in one.path]
        self._harmed_logins = [one for one in harmed if "/session/" in one.path]

    def findings(self) -> list[str]:
        """What should not have been, a line each."""
        return [*self._of_calls(), *self._of_endpoints(), *self._of_secrets()]

    def summary(self, seconds: float) -> str:
        """What happened, in a line."""
        outcomes = Counter(call.outcome for call in self._calls)
        told = ", ".join(f"{number} {name}" for name, number in outcomes.most_common())
        harmed = sum(one.fate != HARMLESS for one in self._passages)
        return (
            f"{seconds:.0f} s, {len(self._calls)} calls ({told}), {harmed} of"
            f" {len(self._passages)} requests harmed, {self._token_requests} token requests of at"
            f" most {self._most_token_requests:.0f},"
            f" {len(self._simulator.login_requests)} logins of at most {self._most_logins},"
            f" {self._deeds.killed} processes killed, longest call"
            f" {max(call.seconds for call in self._calls):.1f} s"
        )

    # Each call succeeded, or something that the package cannot help kept it from that.

    def _of_calls(self) -> Iterator[str]:
        callers = {call.who for call in self._calls}
        if len(callers) != self._objects:
            yield f"only {', '.join(sorted(callers))} called at all"
        longest = _LONGEST_WAIT + 3 * REQUEST_SECONDS
        for call in self._calls:
            if call.seconds > longest:
                yield f"a call took longer than {longest:.0f} s: {call}"
            if not self._is_explained(call):
                yield f"a call failed, and nothing explains it: {call}"

    def _is_explained(self, call: Call) -> bool:
        if call.outcome in ("200", KILLED):
            return True
        if call.is_about_endpoint:
            since = call.begun - _MEMORY
            if call.outcome == "M2mLoginError":
                # Failed logins are remembered until somebody allows the next.
                freed = max((at for at in self._deeds.freed_at if at < call.begun), default=0.0)
                since = min(since, freed)
            return self._was_endpoint_harmed(since, call.ended)
        if call.outcome.isdigit():
            return self._is_answer_explained(call)
        return self._fates.get(call.number) in HARMFUL

    def _is_answer_explained(self, call: Call) -> bool:
        if call.is_foreign and call.outcome == "401":
            return True
        # One rejection is recovered from, unless the renewal fails or another one follows.
        rejected_at = [*self._deeds.revoked_at, *self._deeds.ended_at]
        rejections = sum(call.begun - _JUST_BEFORE <= at <= call.ended for at in rejected_at)
        was_harmed = self._was_endpoint_harmed(call.begun, call.ended)
        return rejections > 1 or was_harmed or self._may_want_for_a_login(call)

    def _may_want_for_a_login(self, call: Call) -> bool:
        """Whether there may have been three logins in a minute, since one had to be made again."""
        is_about_session = call.outcome in ("400", "403")
        lately = [one.at for one in self._harmed_logins if call.ended - 60 <= one.at <= call.ended]
        return is_about_session and bool(lately)

    def _was_endpoint_harmed(self, since: float, until: float) -> bool:
        harmed = [one.at for one in (*self._harmed_tokens, *self._harmed_logins)]
        return any(since <= at <= until for at in (*harmed, *self._expired_at))

    # The endpoints are called no more often than they have to be.

    def _of_endpoints(self) -> Iterator[str]:
        opened = self._simulator.login_requests
        if self._token_requests > self._most_token_requests:
            yield f"{self._token_requests} token requests, at most {self._most_token_requests:.0f}"
        if len(opened) > self._most_logins:
            yield f"{len(opened)} logins, of at most {self._most_logins}"
        if self._simulator.is_locked:
            yield "the account is locked"
        yield from self._rows_of_failed_logins()

    @property
    def _token_requests(self) -> int:
        """Without those that were told to come again, since the token had less than a second."""
        return len(self._simulator.token_requests) - len(self._expired_at)

    @property
    def _most_token_requests(self) -> float:
        if not self._calls:
            return 0.0
        seconds = max(one.ended for one in self._calls) - min(one.begun for one in self._calls)
        expiries = seconds / TOKEN_SECONDS + len(self._deeds.revoked_at) + _SPARE
        return self._objects * expiries + len(self._harmed_tokens) + self._deeds.killed

    @property
    def _most_logins(self) -> int:
        causes = 1 + len(self._deeds.ended_at) + len(self._deeds.freed_at)
        return self._objects * causes + 2 * len(self._harmed_logins) + self._deeds.killed

    def _rows_of_failed_logins(self) -> Iterator[str]:
        """No process, nor all that share the store, fail five times in a row."""
        logins = [one for one in self._to_endpoints if one.path.endswith("/session/login")]
        for is_of_processes in (True, False):
            row, last = 0, 0.0
            for one in logins:
                if bool(one.call) is not is_of_processes:
                    continue
                was_freed = any(last <= at <= one.at for at in self._deeds.freed_at)
                row = 0 if was_freed or one.fate not in HARMFUL else row
                row, last = row + (one.fate in HARMFUL), one.at
                if row == _LOCKING_FAILURE:
                    yield f"{row} failed logins in a row, the last one at {one.at}"

    # Nothing goes where it must not go.

    def _of_secrets(self) -> Iterator[str]:
        for request in self._elsewhere.requests:
            carried = {"authorization", "vz-m2m-token", "sessiontoken"} & request.headers.keys()
            if carried:
                yield f"a host that is not allowed was sent {', '.join(sorted(carried))}"
        secrets = (self._simulator.client_secret, self._simulator.password)
        tokens = (*self._simulator.issued_tokens, *self._simulator.issued_sessions)
        for call in self._calls:
            if any(secret in call.text for secret in (*secrets, *tokens)):
                yield f"the error of call {call.number} holds a secret"


def _is(passage: Passage) -> bool:
    return "/oauth2/" in passage.path or "/session/" in passage.path
