"""One process that shares a store: run as a script, told by the environment what to do."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.kinds import INSTALLED
from thingspace_auth_adapters import VzM2mCredentials

PATH = "/api/m2m/v1/devices"


def store_of(task: dict[str, Any]) -> Any:
    if task["store"] == "file":
        from thingspace_auth_adapters.stores import FileTokenStore

        return FileTokenStore(task["where"])
    from thingspace_auth_adapters.stores import RedisTokenStore

    return RedisTokenStore(task["where"], prefix=task["prefix"])


def auth_of(task: dict[str, Any], kind: Any) -> Any:
    store = store_of(task)
    return kind.auth(
        oauth_client_id=task["client_id"],
        oauth_client_secret=task["client_secret"],
        base_url=task["base_url"],
        oauth_token_provider=store,
        m2m=VzM2mCredentials(task["username"], task["password"], vz_m2m_token_provider=store),
    )


def die_in_a_write() -> None:
    """Be killed when a new entry is written and about to take the old one's place."""
    os.replace = lambda *paths: os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    task = json.loads(os.environ["STORE_TASK"])
    kind = INSTALLED[0]
    auth = auth_of(task, kind)
    if task.get("dies_in_a_write"):
        die_in_a_write()
    ends = time.monotonic() + task.get("seconds", 0)
    statuses: list[int] = []
    while True:
        statuses.append(kind.get(auth, task["base_url"] + PATH, timeout=30).status)
        if time.monotonic() >= ends:
            break
        time.sleep(0.05)
    print(json.dumps(statuses))


if __name__ == "__main__":
    main()
