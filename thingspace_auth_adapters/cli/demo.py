"""The main job, shown: each installed library through the life of a token and of a session.

One screen for each library, and beside its clients a script that is written by hand. Each has a
simulator of its own, whose log is what is counted.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from importlib.metadata import version
from itertools import groupby
from typing import TYPE_CHECKING, Callable, NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .._wire.messages import printable
from .authorizers import authorizer_of
from .clients import Client, installed
from .environment import Environment
from .story import SESSION_STEPS, TOKEN_STEPS, Actor, Adapted, ByHand, Counts, Step
from .terminal import console
from .variables import CLIENT_ID, CLIENT_SECRET

if TYPE_CHECKING:
    from ..simulator import ThingspaceSimulator

_NAME_WIDTH = 23
_CALLS_WIDTH = 5
_COUNTS_WIDTH = 17
_CALLS = sum(step.calls for step in (*TOKEN_STEPS, *SESSION_STEPS))


class Totals(NamedTuple):
    """What a library's clients needed in all, and what the hand-written script beside them."""

    clients: Sequence[tuple[str, Counts]]
    by_hand: Counts


def run_demo() -> None:
    """Run against ThingSpace if credentials are in the environment, else the simulator.

    Raises:
        Problem: no HTTP library is installed, or one of the two variables is missing.
        ImportError: the extra ``[simulator]`` is not installed.
        ThingspaceAuthError: ThingSpace gave no token.
    """
    clients, out = installed(), console()
    if any(os.environ.get(name) for name in (CLIENT_ID, CLIENT_SECRET)):
        _run_on_platform(clients, out)
        return
    _run_on_simulator(clients, out)


def _by_library(clients: Sequence[Client]) -> Iterator[list[Client]]:
    for _, members in groupby(clients, lambda client: client.library):
        yield list(members)


def _run_on_platform(clients: Sequence[Client], out: Console) -> None:
    environment = Environment.beside(None)
    credentials = environment.oauth_credentials(())
    base_url = environment.base_url
    out.print(f"Asking {base_url} for an access token; nothing else is called.", soft_wrap=True)
    for client, *_ in _by_library(clients):
        token = authorizer_of(client, credentials, base_url).fetch_token()
        told = f"  {client.library:10}expires in {token.expires_in} s, scope: {token.scope}"
        out.print(printable(told), soft_wrap=True)
    out.print("The credentials work. A request would have been sent with this token.")


def _run_on_simulator(clients: Sequence[Client], out: Console) -> None:
    # If its extra is missing, this fails before anything is said of it.
    from ..simulator import ThingspaceSimulator

    out.print(
        "No credentials in the environment: a simulated ThingSpace runs on this machine.\n"
        "What is counted are the requests that reach it: to an API, for a token, for a login."
    )
    libraries = _by_library(clients)
    show_summary([show_library(one, ThingspaceSimulator, out) for one in libraries], out)
    _show_next_steps(clients[0].library, out)


def show_library(
    clients: Sequence[Client], new_simulator: Callable[[], ThingspaceSimulator], out: Console
) -> Totals:
    """Take one library's clients through the story, each step shown as it happens."""
    with ExitStack() as stack:

        def simulator() -> ThingspaceSimulator:
            return stack.enter_context(new_simulator())

        ours = [Adapted(client, simulator()) for client in clients]
        by_hand = ByHand("by hand", simulator())
        actors: list[Actor] = [*ours, by_hand]
        _show_head(clients[0].library, actors, out)
        for kind, steps in (
            ("the access token", TOKEN_STEPS),
            ("with an M2M session, too", SESSION_STEPS),
        ):
            out.print(Text(kind, "magenta"))
            for step in steps:
                _show_step(step, actors, out)
        return Totals([(actor.name, actor.total) for actor in ours], by_hand.total)


def _show_head(library: str, actors: Sequence[Actor], out: Console) -> None:
    out.print()
    out.print(Text(f"{library} {version(library)}", "bold"))
    names = [actor.name.rpartition(".")[2] for actor in actors]
    out.print(_row("", "", names), style="bold")
    kinds = ["API token login" for _ in actors]
    out.print(_row("", "calls", kinds), style="dim")


def _show_step(step: Step, actors: Sequence[Actor], out: Console) -> None:
    def take(actor: Actor) -> Counts:
        return actor.take(step)

    with ThreadPoolExecutor(len(actors)) as threads:
        counts = list(threads.map(take, actors))
    cells = [f"{one.api:3} {one.token:5} {one.login:5}" for one in counts]
    row = _row(f"  {step.name}", str(step.calls), cells)
    for position, one in enumerate(counts):
        # The least is what stands out.
        if one == min(counts, key=sum):
            start = _NAME_WIDTH + _CALLS_WIDTH + position * _COUNTS_WIDTH
            row.stylize("green", start, start + _COUNTS_WIDTH)
    out.print(row)


def _row(name: str, calls: str, cells: Sequence[str]) -> Text:
    columns = "".join(f"{cell:>{_COUNTS_WIDTH}}" for cell in cells)
    return Text(f"{name:{_NAME_WIDTH}}{calls:>{_CALLS_WIDTH}}{columns}".rstrip())


def show_summary(totals: Sequence[Totals], out: Console) -> None:
    """Show in one table what each client needed, and what a hand-written script did."""
    table = Table(
        title=f"{_CALLS} calls by each program, each answered with 200", title_style="bold"
    )
    table.add_column("requests needed by")
    for kind in ("API", "token", "login", "in all"):
        table.add_column(kind, justify="right")
    for total in totals:
        for name, counts in total.clients:
            _add_row(table, name, counts, "green")
    _add_row(table, "a script written by hand", totals[-1].by_hand, "")
    out.print()
    out.print(table)


def _show_next_steps(library: str, out: Console) -> None:
    """Show what takes one from here to a script of one's own."""
    out.print(
        f"\nIn a script of your own, with {CLIENT_ID} and\n{CLIENT_SECRET} in the environment:"
    )
    for line in script_lines(library):
        out.print(Text(f"  {line}", "green"))


def script_lines(library: str) -> tuple[str, ...]:
    """A script's lines that have each request carry a token."""
    made = "ThingspaceAuth.from_environment()"
    imports = (
        f"import {library}",
        f"from thingspace_auth_adapters.{library} import ThingspaceAuth",
    )
    if library == "requests":
        return (*imports, "session = requests.Session()", f"session.auth = {made}")
    return (*imports, f"auth = {made}", f"client = {library}.Client(auth=auth)")


def _add_row(table: Table, name: str, counts: Counts, style: str) -> None:
    table.add_row(name, *(str(count) for count in counts), str(sum(counts)), style=style)
