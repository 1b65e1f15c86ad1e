"""Processes of a fleet, forked by this script: one for each connection to its port.

To fork them spares each of them the imports, which take longer than all that it does then. The
first line that one reads is its task as JSON; it answers with its process id. For each further
line, a number and how far its clock is ahead, it sends a request that says the number, and tells
as JSON what came of that. Each call of an endpoint carries the process's id, so that the
simulator's log tells who made it.
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
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import requests

from thingspace_auth_adapters import ThingspaceAuthError, VzM2mCredentials
from thingspace_auth_adapters._adapters import auth as auth_module
from thingspace_auth_adapters._core.clock import Clock
from thingspace_auth_adapters.requests import ThingspaceAuth

STORES = "thingspace_auth_adapters.stores."
PATH = "/api/m2m/v1/devices"
SENDER = "X-Sender"
CALL = "X-Call"


class AheadClock(Clock):
    """A clock that may be ahead."""

    ahead = 0.0

    def time(self) -> float:
        return time.time() + self.ahead


class Signing(requests.Session):
    """Says on each call who makes it."""

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        request.headers[SENDER] = str(os.getpid())
        return super().send(request, **kwargs)


def fill_disk() -> None:
    """No file can grow any more: what a full disk does to this process alone."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


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
    clock, names = AheadClock(), dict[str, Any]()
    vars(auth_module)["Clock"] = lambda: clock
    username, password = task["m2m"]
    m2m = VzM2mCredentials(username, password, idle_timeout=task["idle_timeout"])
    exec(task["store"], names)
    if task["lock_seconds"]:
        shorten_locks(task["lock_seconds"])
    if task["has_full_disk"]:
        fill_disk()
    if task["dies_in_write"]:
        die_in_a_write(task["dies_in_write"])
    with Signing() as endpoints, requests.Session() as session:
        endpoints.trust_env = session.trust_env = False
        session.auth = ThingspaceAuth(
            **task["options"], m2m=m2m, store=names["store"], session=endpoints
        )
        print(os.getpid(), file=lines, flush=True)
        for line in lines:
            session.headers[CALL], ahead = line.split()
            clock.ahead = float(ahead)
            said = outcome(session, task["options"]["base_url"] + PATH, task["request_seconds"])
            print(json.dumps(said), file=lines, flush=True)


def outcome(session: requests.Session, url: str, timeout: float) -> dict[str, Any]:
    """What comes of a request."""
    try:
        return {"result": str(session.get(url, timeout=timeout).status_code)}
    except Exception as error:
        retryable = isinstance(error, ThingspaceAuthError) and error.retryable
        return {"result": type(error).__name__, "text": str(error), "retryable": retryable}


def become_worker(connection: socket.socket) -> None:
    with connection, connection.makefile("rw") as lines:
        task = json.loads(lines.readline())
        os.dup2(os.open(task["errors"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), 2)
        work(task, lines)


def serve() -> None:
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
                become_worker(connection)
                return
            connection.close()


if __name__ == "__main__":
    serve()
