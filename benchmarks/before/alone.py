"""The auth object alone, on prepared requests, while its tokens are valid."""

from __future__ import annotations

from itertools import cycle
from typing import Any

from ..alone import best_of_rounds, warm_up
from ..both import LIBRARIES, bearer_by_hand, both_by_hand, each_without_session
from ..guard import MOST_US, guard_step
from ..subjects import Endpoint, Step, Subject
from ..table import NONE, Notes, render, verdict
from .sides import ALL_LIBRARIES, SIDES, Pair, account, auth, subject, subject_of

MOST_WARM = 1.02
MOST_OF_ONE_HOST = 1.25
"""What is known of a thousand hosts does not lie in the processor's caches."""

_DOMAIN = "bench.example"
_TOKEN = {"access_token": "known", "token_type": "Bearer", "expires_in": 86_400}
_HOSTS = (1, 257, 1000)
_ROUNDS = 60
_CALLS = 1000
"""Short rounds, and many: on a busy machine some are still undisturbed."""

_COLUMNS = ["before, µs", "now, µs", "now / before"]


def warm(endpoint: Endpoint, scale: float) -> str:
    """The warm path."""
    rounds, calls = _effort(scale)
    rows = []
    for library in ALL_LIBRARIES:
        for with_both in (False, True):
            pair = _warm_cost(library, with_both, endpoint, rounds, calls)
            target = verdict(f"≤ {MOST_WARM}", pair.now / pair.before <= MOST_WARM)
            rows.append([library, _tokens(with_both), *pair.cells(), target])
    introduction = (
        "Microseconds for one request with valid tokens, above what setting the same headers by"
        f" hand takes. Nothing is sent. {_effort_text(rounds, calls)}"
    )
    columns = ["library", "tokens", *_COLUMNS, "target"]
    return render("Warm path", introduction, columns, rows, Notes())


def guard(endpoint: Endpoint, scale: float) -> str:
    """``auth.guard``."""
    rounds, calls = _effort(scale)
    rows = []
    for library in LIBRARIES:
        for with_both in (False, True):
            subjects = [_warmed(package, library, with_both, endpoint) for package in SIDES]
            pair = Pair(*best_of_rounds(list(map(guard_step, subjects)), rounds, calls))
            target = verdict(f"≤ {MOST_US} µs", pair.now <= MOST_US)
            rows.append([library, _tokens(with_both), *pair.cells(), target])
    introduction = (
        "Microseconds for one call of `auth.guard(request)` on a request to an allowed host that"
        f" carries our headers. {_effort_text(rounds, calls)}"
    )
    columns = ["library", "tokens", *_COLUMNS, "target"]
    return render("Guard", introduction, columns, rows, Notes())


def hosts(scale: float) -> str:
    """Requests to many hosts in turn."""
    rounds, calls = _effort(scale)
    rows = []
    for library in ALL_LIBRARIES:
        pairs = _host_costs(library, rounds, calls)
        for count, pair in zip(_HOSTS, pairs, strict=True):
            times = pair.now / pairs[0].now
            is_met = times <= MOST_OF_ONE_HOST
            target = NONE if count == 1 else verdict(f"≤ {MOST_OF_ONE_HOST} of one host", is_met)
            rows.append([library, f"{count:,}", *pair.cells(), f"{times:.2f}", target])
    introduction = (
        f"The warm path, with the bearer, for {max(_HOSTS):,} requests in turn to so many allowed"
        " hosts, above what the same takes by hand. They are as many for one host, too, since so"
        " many find the processor's caches cold, whatever their hosts."
        f" {_effort_text(rounds, calls)}"
    )
    columns = ["library", "hosts", *_COLUMNS, "now, of one host", "target"]
    return render("Many hosts", introduction, columns, rows, Notes())


def _warm_cost(library: str, with_both: bool, endpoint: Endpoint, rounds: int, calls: int) -> Pair:
    by_hand = both_by_hand if with_both else bearer_by_hand
    steps = [_warm_step(package, library, with_both, endpoint) for package in SIDES]
    *ours, floor = best_of_rounds([*steps, by_hand(library, endpoint)], rounds, calls)
    return Pair(*(spent - floor for spent in ours))


def _warm_step(package: str, library: str, with_both: bool, endpoint: Endpoint) -> Step:
    warm_subject = _warmed(package, library, with_both, endpoint)
    if not with_both:
        return warm_subject.step()
    request = warm_subject.request()
    return each_without_session(request.headers, warm_subject.step_on(request))


def _warmed(package: str, library: str, with_both: bool, endpoint: Endpoint) -> Subject:
    """An auth object that has its tokens."""
    cold = subject(package, library, endpoint)
    if with_both:
        cold.auth.m2m = account(package, endpoint)
    warm_up(cold)
    return cold


def _host_costs(library: str, rounds: int, calls: int) -> list[Pair]:
    """What each number of hosts costs, all of them measured in turn."""
    steps = [_host_step(package, library, count) for count in _HOSTS for package in (*SIDES, None)]
    best = iter(best_of_rounds(steps, rounds, calls))
    threes = zip(best, best, best, strict=True)
    return [Pair(before - floor, now - floor) for before, now, floor in threes]


def _host_step(package: str | None, library: str, count: int) -> Step:
    """A request to the next host; without a package its header is set by hand."""
    made = _known(package, library)
    names = [f"host{number % count}.{_DOMAIN}" for number in range(max(_HOSTS))]
    urls = [f"https://{name}/api/m2m/v1/devices" for name in names]
    subjects = [subject_of(made, library, url) for url in urls]
    steps = [one.step() if made is not None else _by_hand(one) for one in subjects]
    in_turn = cycle(steps)
    for _ in steps:
        next(in_turn)()
    return lambda: next(in_turn)()


def _known(package: str | None, library: str) -> Any:
    """An auth object for many hosts, whose token is known."""
    if package is None:
        return None
    options = {"oauth_client_id": "id", "oauth_client_secret": "secret", "oauth_token": _TOKEN}
    return auth(package, library, allowed_hosts=[f"*.{_DOMAIN}"], **options)


def _by_hand(one: Subject) -> Step:
    headers = one.request().headers

    def step() -> None:
        headers["Authorization"] = "Bearer known"

    return step


def _effort(scale: float) -> tuple[int, int]:
    return max(3, round(_ROUNDS * scale)), _CALLS


def _effort_text(rounds: int, calls: int) -> str:
    return f"Minimum of {rounds} interleaved rounds of {calls:,} calls."


def _tokens(with_both: bool) -> str:
    return "both" if with_both else "bearer"
