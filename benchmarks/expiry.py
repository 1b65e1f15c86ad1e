"""Sixteen workers while one short-lived token after another expires."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from contextlib import closing
from typing import NamedTuple

import httpx

from .contenders import ALL, OURS_ASYNC, AsyncContender, Contender
from .simulated import Counts, Simulated
from .subjects import Caller, Endpoint, now
from .table import NONE, Notes, render, verdict
from .threads import in_threads

_WORKERS = 16
_SECONDS = 7.0
_LIFETIME = 2.0
_PAUSE = 0.025
_OMITTED = {("ThingspaceAuth", "httpx2"), ("singleflight-auth", "httpx")}
"""What shares its code with another row, and would only make the run longer."""


class Plan(NamedTuple):
    """How long the workers work, and how long a token lives, in seconds."""

    seconds: float
    lifetime: float


class Tally:
    """What became of the calls."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()

    def count(self, outcome: object) -> None:
        self.outcomes[str(outcome)] += 1

    @property
    def calls(self) -> int:
        return sum(self.outcomes.values())

    @property
    def failed(self) -> int:
        return self.calls - self.outcomes["200"]

    @property
    def causes(self) -> str:
        failures = ((what, n) for what, n in self.outcomes.most_common() if what != "200")
        return ", ".join(f"{what}: {n:,}" for what, n in failures)


class Result(NamedTuple):
    contender: Contender | AsyncContender
    tally: Tally
    counts: Counts
    lifetimes: int


def run(simulated: Simulated, scale: float) -> str:
    plan = Plan(_SECONDS, _LIFETIME) if scale == 1 else Plan(1.1, 1.0)
    threaded = [c for c in ALL if (c.name, c.library) not in _OMITTED]
    results = [_threaded_result(contender, simulated, plan) for contender in threaded]
    results.insert(2, _async_result(simulated, plan))
    notes = Notes()
    rows = [_row(result, notes) for result in results]
    introduction = (
        f"{_WORKERS} workers on one auth object for {plan.seconds:g} s, each pausing"
        f" {_PAUSE * 1000:.0f} ms between calls, with tokens that live {plan.lifetime:g} s. The"
        " simulator repeats a token until it expires, and states what is left of it in whole"
        " seconds, rounded down: in a token's last second `expires_in` is 0. A call fails by an"
        " exception or any status but 200. One after the other. Not run, to save time: ours on"
        " httpx2, whose code is that of httpx, and singleflight-auth on httpx, whose core is that"
        " of its row on requests."
    )
    columns = [
        "contender", "library", "calls", "failed", "failed, %", "tokens / lifetimes",
        "token requests", "a token", "failures", "target",
    ]  # fmt: skip
    return render("Tokens expiring under load", introduction, columns, rows, notes)


def _row(result: Result, notes: Notes) -> list[str]:
    contender, tally, counts, lifetimes = result
    requests_per_token = counts.token_requests / max(counts.tokens, 1)
    return [
        contender.name + notes.mark(contender.note) + notes.mark(contender.expiry_note),
        contender.library,
        f"{tally.calls:,}",
        f"{tally.failed:,}",
        f"{100 * tally.failed / max(tally.calls, 1):.1f}",
        f"{counts.tokens} / {lifetimes}",
        f"{counts.token_requests:,}",
        f"{requests_per_token:.1f}",
        tally.causes or "none",
        _verdict(result) if contender.is_ours else NONE,
    ]


def _verdict(result: Result) -> str:
    _, tally, counts, lifetimes = result
    parts = [
        verdict("0 failed", tally.failed == 0),
        verdict("a token a lifetime", counts.tokens == lifetimes),
        verdict("≤ 2 requests a token", counts.token_requests <= 2 * counts.tokens),
    ]
    return "; ".join(parts)


def _threaded_result(contender: Contender, simulated: Simulated, plan: Plan) -> Result:
    simulated.reset(token_lifetime=plan.lifetime)
    tally = Tally()
    with closing(contender.prepare(simulated.endpoint)) as subject:
        start = now()
        workers = [(subject.caller(), number) for number in range(_WORKERS)]
        tallies = [Tally() for _ in workers]
        in_threads(
            [
                lambda caller=caller, number=number: _work(  # type: ignore[misc]
                    caller, number, start + plan.seconds, tallies[number]
                )
                for caller, number in workers
            ]
        )
        elapsed = now() - start
    for one in tallies:
        tally.outcomes.update(one.outcomes)
    return Result(contender, tally, simulated.counts(), _lifetimes(elapsed, plan))


def _lifetimes(elapsed: float, plan: Plan) -> int:
    return math.ceil(elapsed / plan.lifetime)


def _work(caller: Caller, number: int, end: float, tally: Tally) -> None:
    time.sleep(_PAUSE * number / _WORKERS)
    while now() < end:
        try:
            tally.count(caller())
        except Exception as error:
            tally.count(type(error).__name__)
        time.sleep(_PAUSE)


def _async_result(simulated: Simulated, plan: Plan) -> Result:
    simulated.reset(token_lifetime=plan.lifetime)
    start = now()
    tally = asyncio.run(_in_tasks(simulated.endpoint, plan))
    elapsed = now() - start
    return Result(OURS_ASYNC, tally, simulated.counts(), _lifetimes(elapsed, plan))


async def _in_tasks(endpoint: Endpoint, plan: Plan) -> Tally:
    tally = Tally()
    end = now() + plan.seconds
    async with OURS_ASYNC.open_client(endpoint) as client:
        tasks = (_awork(client, endpoint.api_url, n, end, tally) for n in range(_WORKERS))
        await asyncio.gather(*tasks)
    return tally


async def _awork(
    client: httpx.AsyncClient, url: str, number: int, end: float, tally: Tally
) -> None:
    await asyncio.sleep(_PAUSE * number / _WORKERS)
    while now() < end:
        try:
            tally.count((await client.get(url)).status_code)
        except Exception as error:
            tally.count(type(error).__name__)
        await asyncio.sleep(_PAUSE)
