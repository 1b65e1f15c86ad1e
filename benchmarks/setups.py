"""How each contender is set up, for the reader who wants to check or to object."""

from __future__ import annotations

from .contenders import ALL, ALL_ASYNC, MINIMAL, MINIMAL_ASYNC
from .simulated import Simulated
from .table import Notes, render

_INTRODUCTION = (
    "Each gets its token from the same simulator of ThingSpace, which runs in a process of its own,"
    " and renews at expiry and not before, as ThingspaceAuth does by default. Sessions and clients"
    " ignore the environment and keep their connections alive, a hundred if it takes as many. What"
    " is not named here is as its authors made it the default. `benchmarks/contenders.py` has the"
    " code."
)


def run(simulated: Simulated, scale: float) -> str:
    everyone = (*MINIMAL, MINIMAL_ASYNC, *ALL, *ALL_ASYNC)
    rows = [[one.name, one.library, one.setup] for one in everyone]
    columns = ["contender", "library", "setup"]
    return render("How each is set up", _INTRODUCTION, columns, rows, Notes())
