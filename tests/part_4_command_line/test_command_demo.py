"""Part 4: ``thingspace-auth demo`` does the main job, beside a hand-written script."""

from __future__ import annotations

import io
import re
from contextlib import redirect_stdout
from functools import cache
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

pytest.importorskip("click")
pytest.importorskip("rich")
pytest.importorskip("filelock")

from thingspace_auth_adapters.__main__ import main
from thingspace_auth_adapters.cli import clients, demo, story
from thingspace_auth_adapters.simulator import ThingspaceSimulator

from ..support.command_line import PREFIX, Shell, simulated
from ..support.snippets import DOCS, docs_script

LIBRARIES = list({one.library: None for one in clients.CLIENTS if one.is_installed})
# A screen takes a second or two.
EACH = [*LIBRARIES[:2], *(pytest.param(one, marks=pytest.mark.once) for one in LIBRARIES[2:])]
TOKEN_STEPS = [(1, 1, 0), (5, 0, 0), (2, 1, 0), (1, 1, 0), (20, 1, 0)]
SESSION_STEPS = [(1, 1, 1), (5, 0, 0), (2, 0, 1), (3, 1, 1), (1, 0, 1), (20, 1, 1), (5, 1, 1)]
ALONE_BY_HAND = [(1, 1, 0), (5, 0, 0), (2, 1, 0), (2, 1, 0), (1, 1, 1), (5, 0, 0), (2, 0, 1)]

pytestmark = pytest.mark.usefixtures("shell")


class Screen(NamedTuple):
    """What the demo showed of one library.

    Attributes:
        steps: for each step the counts of API, token and login requests, for each program.
        summary: the rows of the table at the end.
        lines: all of it.
    """

    steps: list[list[tuple[int, ...]]]
    summary: dict[str, tuple[int, ...]]
    lines: list[str]


def read_screen(shown: str) -> Screen:
    rows = re.findall(r"^  \S.*? +\d+((?: +\d+ +\d+ +\d+)+)$", shown, flags=re.M)
    steps = []
    for counts in rows:
        numbers = [int(number) for number in counts.split()]
        steps.append([tuple(numbers[at : at + 3]) for at in range(0, len(numbers), 3)])
    table = re.findall(r"^[│|] (\S.*?) +((?:[│|] +\d+ +){4})[│|]$", shown, flags=re.M)
    summary = {
        name: tuple(int(number) for number in re.findall(r"\d+", row)) for name, row in table
    }
    return Screen(steps, summary, shown.splitlines())


@cache
def screen_of(library: str) -> Screen:
    """What the demo shows if this is the only library; run once for all tests."""
    members = tuple(client for client in clients.CLIENTS if client.library == library)
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as out:
        patch.setattr(clients, "CLIENTS", members)
        assert main(["demo"]) == 0
    return read_screen(out.getvalue())


@pytest.mark.parametrize("library", EACH)
def test_demo_takes_each_client_through_the_life_of_a_token_and_of_a_session(library: str) -> None:
    screen = screen_of(library)
    members = [client for client in clients.CLIENTS if client.library == library]
    for position, client in enumerate(members):
        counts = [step[position] for step in screen.steps]
        assert counts == TOKEN_STEPS + SESSION_STEPS
        sums = tuple(sum(column) for column in zip(*counts))
        assert screen.summary[client.name] == (*sums, sum(sums))


@pytest.mark.parametrize("library", EACH)
def test_the_hand_written_script_really_runs_and_needs_more(library: str) -> None:
    screen = screen_of(library)
    by_hand = [step[-1] for step in screen.steps]
    calm = [counts for counts in by_hand if counts[0] != story.CROWD]
    assert calm == [*ALONE_BY_HAND, (3, 1, 1), (2, 0, 1), (5, 5, 5)]
    # How many of its threads begin before the first has a token is up to the machine.
    (_, tokens, _), (_, _, logins) = (one for one in by_hand if one[0] == story.CROWD)
    assert tokens > 1
    assert logins > 1
    *_, in_all = screen.summary["a script written by hand"]
    assert all(in_all >= row[-1] for row in screen.summary.values())


@pytest.mark.parametrize("library", EACH)
def test_a_screen_fits_a_terminal_of_24_lines_and_80_columns(library: str) -> None:
    lines = screen_of(library).lines
    assert max(map(len, lines)) <= 80
    (title,) = (number for number, line in enumerate(lines) if "calls by each program" in line)
    assert title <= 24
    assert len(lines) - title <= 24


@pytest.mark.parametrize("library", EACH)
def test_it_ends_with_the_lines_that_are_all_that_a_script_needs(
    library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    *_, names, more_names, first, second, third, fourth = screen_of(library).lines
    assert PREFIX + "ID" in names
    assert PREFIX + "SECRET" in more_names
    scope: dict[str, Any] = {}
    with simulated(monkeypatch) as simulator:
        exec("\n".join(line.strip() for line in (first, second, third, fourth)), scope)
        with scope.get("session") or scope["client"] as client:
            assert client.get(simulator.url + "/api/m2m/v1/devices").status_code == 200
    (request,) = simulator.api_requests
    assert request.headers["authorization"] == f"Bearer {simulator.issued_tokens[0]}"


def test_the_hand_written_script_gives_up_on_a_platform_that_refuses_every_token() -> None:
    with ThingspaceSimulator() as simulated:
        simulated.fail("api", 401, times=None, body={})
        actor = story.ByHand("by hand", simulated)
        assert actor.get(1) == [401]
        assert len(simulated.api_requests) == 3


def test_demo_takes_all_that_is_installed_and_the_clients_of_a_library_together() -> None:
    grouped = [[client.library for client in group] for group in demo._by_library(clients.CLIENTS)]
    assert grouped == [["requests"], ["httpx"] * 2, ["httpx2"] * 2]


def test_demo_is_refused_requests_without_a_session_in_that_scene_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    needs: list[bool] = []

    class Watched(ThingspaceSimulator):
        def clear(self) -> None:
            needs.append(self.sessions_required)
            super().clear()

    clock = SimpleNamespace(sleep=lambda seconds: None)
    monkeypatch.setattr("thingspace_auth_adapters.cli.story.time", clock)
    with Watched() as simulated:
        actor = story.ByHand("by hand", simulated)
        for step in (*story.TOKEN_STEPS, *story.SESSION_STEPS):
            actor.take(step)
    assert needs == [False] * len(TOKEN_STEPS) + [True] * len(SESSION_STEPS)


def test_demo_whose_requests_fail_says_so(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    first = next(client for client in clients.CLIENTS if client.is_installed)
    failing = first._replace(get=lambda auth, url, count: [500] * count)
    monkeypatch.setattr(clients, "CLIENTS", (failing,))
    assert "did not get 200 for every request" in shell.failure("demo").complaint


# With credentials.


def test_demo_with_credentials_asks_the_platform_for_a_token_only(
    shell: Shell, simulator: ThingspaceSimulator, account: None
) -> None:
    out = shell.out("demo")
    assert len(simulator.token_requests) == len(simulator.requests) == len(LIBRARIES)
    assert len(simulator.issued_tokens) == 1
    assert out.count("expires in ") == len(LIBRARIES)
    assert simulator.issued_tokens[0] not in out


@pytest.mark.parametrize(
    ("name", "value", "what", "remedy"),
    [
        ("THINGSPACE_BASE_URL", "http://thingspace.verizon.com", "https", "check --help"),
        (PREFIX + "SECRET", "wrong-one", "invalid_client", "the key or the secret is wrong"),
        (PREFIX + "SECRET", "", PREFIX + "SECRET", ""),
        (PREFIX + "ID", "", PREFIX + "ID", ""),
    ],
)
def test_demo_with_credentials_that_will_not_do_says_what_to_do(
    shell: Shell, simulator: ThingspaceSimulator, name: str, value: str, what: str, remedy: str
) -> None:
    shell.set(name, value)
    ran = shell.failure("demo")
    assert what in ran.complaint
    assert remedy in ran.remedy
    assert "wrong-one" not in ran.out + ran.err


# Its picture.


def test_the_picture_shows_the_steps_of_the_demo() -> None:
    picture = DOCS / "demo.svg"
    if not picture.exists():
        pytest.skip("the documentation is not here")
    shown = picture.read_text(encoding="utf-8").replace("&#160;", " ")
    for step in (*story.TOKEN_STEPS, *story.SESSION_STEPS):
        assert f"  {step.name} " in shown
    assert "requests needed by" in shown
    assert "127.0.0.1" not in shown


def test_the_script_that_makes_the_picture_works(monkeypatch: pytest.MonkeyPatch) -> None:
    if not (DOCS / "demo_picture.py").exists():
        pytest.skip("the documentation is not here")
    module = docs_script("demo_picture")
    nothing = story.Counts(0, 0, 0)

    def show_nothing(members: list[clients.Client], *others: object) -> demo.Totals:
        return demo.Totals([(client.name, nothing) for client in members], nothing)

    monkeypatch.setattr(module, "show_library", show_nothing)
    made = module.picture(LIBRARIES[0])
    assert made.startswith("<svg")
    assert "thingspace-auth-demo" in made
