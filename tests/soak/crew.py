"""Processes that share a store, and are killed."""

from __future__ import annotations

import random
import signal
import threading
import time
from typing import Any

from ..support.fleet import KILLED, Fleet, Worker
from .callers import REQUEST_SECONDS, Call, Record

_MOST_PAUSE = 0.3


class Crew:
    """Processes that request at all times; who is killed is replaced.

    Args:
        fleet: where they come from.
        store: the code that makes their store.
        options: of their auth objects.
        record: where it is noted what they do.
        count: how many there are.
    """

    def __init__(
        self, fleet: Fleet, store: str, options: dict[str, Any], record: Record, count: int
    ) -> None:
        self._fleet = fleet
        self._store = store
        self._options = options
        self._record = record
        self._count = count
        self._at_work: dict[int, Worker] = {}
        self.killed = 0

    def call(self) -> None:
        """Have them call the platform until it is over."""
        places = [threading.Thread(target=self._work, args=(one,)) for one in range(self._count)]
        for place in places:
            place.start()
        for place in places:
            place.join()

    def kill(self) -> None:
        """Kill one of them, whatever it does."""
        workers = list(self._at_work.values())
        if workers:
            self.killed += 1
            random.choice(workers).signal(signal.SIGKILL)

    def _work(self, place: int) -> None:
        number = 0
        while not self._record.is_over.is_set():
            if place not in self._at_work:
                self._at_work[place] = self._fleet.start(
                    self._store, options=self._options, request_seconds=REQUEST_SECONDS
                )
            worker, number = self._at_work[place], number + 1
            call = _outcome(worker, f"{worker.process_id}-{number}")
            self._record.calls.append(call)
            if call.outcome == KILLED:
                del self._at_work[place]
            time.sleep(random.uniform(0, _MOST_PAUSE))


def _outcome(worker: Worker, number: str) -> Call:
    begun = time.time()
    worker.begin(number)
    said = worker.outcome()
    text = said.get("text", "")
    is_about_endpoint = said["result"] == "M2mLoginError" or "the token endpoint" in text
    return Call(
        number,
        "processes",
        begun,
        time.time(),
        said["result"],
        is_about_endpoint=is_about_endpoint or "the login" in text,
        text=text,
    )
