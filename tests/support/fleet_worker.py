"""Processes of a fleet, forked by this script: one for each connection to its port.

As in store_worker, to fork them spares each of them the imports. The first line that one reads is
its task as JSON; it answers with its process id. For each further line, a number, it sends a
request that says it, and tells as JSON what came of that. Each call of an endpoint carries the
process's id, so that the simulator's log tells who made it.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import requests

from tests.support.store_worker import PATH, serve, shorten_locks, store_of
from thingspace_auth_adapters import ThingspaceAuthError, VzM2mCredentials
from thingspace_auth_adapters.requests import ThingspaceAuth

SENDER = "X-Sender"
CALL = "X-Call"


class Signing(requests.Session):
    """Says on each call who makes it."""

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        request.headers[SENDER] = str(os.getpid())
        return super().send(request, **kwargs)


def fill_disk() -> None:
    """No file can grow any more: what a full disk does to this process alone."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def work(task: dict[str, Any], lines: Any) -> None:
    username, password = task["m2m"]
    m2m = VzM2mCredentials(username, password, idle_timeout=task["idle_timeout"])
    store = store_of(task["store"])
    if task["lock_seconds"]:
        shorten_locks(task["lock_seconds"])
    if task["has_full_disk"]:
        fill_disk()
    with Signing() as endpoints, requests.Session() as session:
        endpoints.trust_env = session.trust_env = False
        session.auth = ThingspaceAuth(**task["options"], m2m=m2m, store=store, session=endpoints)
        print(os.getpid(), file=lines, flush=True)
        for line in lines:
            session.headers[CALL] = line.strip()
            said = outcome(session, task["options"]["base_url"] + PATH, task["request_seconds"])
            print(json.dumps(said), file=lines, flush=True)


def outcome(session: requests.Session, url: str, timeout: float) -> dict[str, Any]:
    """What comes of a request."""
    try:
        return {"result": str(session.get(url, timeout=timeout).status_code)}
    except Exception as error:
        retryable = isinstance(error, ThingspaceAuthError) and error.retryable
        return {"result": type(error).__name__, "text": str(error), "retryable": retryable}


if __name__ == "__main__":
    serve(work)
