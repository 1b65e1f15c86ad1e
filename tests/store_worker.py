"""One process that shares a store, run as a script: the environment says what it is to be.

For each line that it reads, which says how far its clock is ahead, it sends a request and prints
what came of it.
"""

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
from thingspace_auth_adapters._adapters import base
from thingspace_auth_adapters._core.effects import Clock

PATH = "/api/m2m/v1/devices"


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


def main() -> None:
    task, kind, clock = json.loads(os.environ["STORE_TASK"]), INSTALLED[0], AheadClock()
    vars(base)["Clock"] = lambda: clock
    auth = kind.auth(
        **task["options"], m2m=VzM2mCredentials(*task["m2m"]), store=store_of(task["store"])
    )
    if task["dies_in_write"]:
        die_in_a_write(task["dies_in_write"])
    print("ready", flush=True)
    for line in sys.stdin:
        clock.ahead = float(line)
        try:
            outcome = str(kind.get(auth, task["options"]["base_url"] + PATH, timeout=120).status)
        except Exception as error:
            outcome = type(error).__name__
            print(error, file=sys.stderr)
        print(outcome, flush=True)


if __name__ == "__main__":
    main()
