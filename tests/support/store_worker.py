"""Processes that share a store, forked by this script: one for each connection to its port.

To fork them spares each of them the imports, which take longer than all that it does then. The
first line that one reads says what it is to be; it answers with its process id. For each further
line, which says how far its clock is ahead, it sends a request and says what came of it.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any, Callable

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.support.kinds import INSTALLED
from thingspace_auth_adapters import VzM2mCredentials
from thingspace_auth_adapters._adapters import auth as auth_module
from thingspace_auth_adapters._core.clock import Clock

STORES = "thingspace_auth_adapters.stores."
PATH = "/api/m2m/v1/devices"
KIND = INSTALLED[0]

Work = Callable[[dict[str, Any], Any], None]
"""Gets its task, and the lines that come and go."""


class AheadClock(Clock):
    """A clock that may be ahead."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def time(self) -> float:
        return time.time() + self.ahead


def store_of(code: str) -> Any:
    names: dict[str, Any] = {}
    exec(code, names)
    return names["store"]


def die_in_a_write(number: int) -> None:
    """Be killed when the new entry of this write is about to take the old one's place."""
    replace, replaced = os.replace, []

    def die_or_replace(*args: Any, **kwargs: Any) -> None:
        replaced.append(args)
        if len(replaced) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(*args, **kwargs)

    os.replace = die_or_replace


def shorten_locks(seconds: float) -> None:
    """Have the locks of killed processes last only so long."""
    redis = importlib.import_module(STORES + "redis")
    vars(redis).update(LOCK_SECONDS=seconds, RENEWAL_SECONDS=seconds / 6)


def work(task: dict[str, Any], lines: Any) -> None:
    clock = AheadClock()
    vars(auth_module)["Clock"] = lambda: clock
    m2m, store = VzM2mCredentials(*task["m2m"]), store_of(task["store"])
    auth = KIND.auth(**task["options"], m2m=m2m, store=store)
    if task["dies_in_write"]:
        die_in_a_write(task["dies_in_write"])
    if task["lock_seconds"]:
        shorten_locks(task["lock_seconds"])
    print(os.getpid(), file=lines, flush=True)
    for line in lines:
        clock.ahead = float(line)
        try:
            outcome = str(KIND.get(auth, task["options"]["base_url"] + PATH, timeout=120).status)
        except Exception as error:
            outcome = type(error).__name__
            print(error, file=sys.stderr)
        print(outcome, file=lines, flush=True)


def become_worker(connection: socket.socket, work: Work) -> None:
    with connection, connection.makefile("rw") as lines:
        task = json.loads(lines.readline())
        os.dup2(os.open(task["errors"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), 2)
        work(task, lines)


def serve(work: Work) -> None:
    """Fork a worker for each connection, once what all of them need is imported."""
    for store in ("file", "redis"):
        with contextlib.suppress(ImportError):
            importlib.import_module(STORES + store)
    with socket.create_server(("127.0.0.1", 0)) as server:
        print(server.getsockname()[1], flush=True)
        while True:
            connection, _ = server.accept()
            # The dead are not waited for: so nobody else gets the process id of one.
            if os.fork() == 0:
                server.close()
                become_worker(connection, work)
                return
            connection.close()


def main() -> None:
    KIND.adapter  # noqa: B018 (imports it)
    serve(work)


if __name__ == "__main__":
    main()
