"""Part 4: what holds for every command: help, mistakes, exit statuses, and how output looks."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from contextlib import suppress
from typing import Any

import pytest

pytest.importorskip("click")
pytest.importorskip("rich")
pytest.importorskip("dotenv")

from thingspace_auth_adapters import __version__, cli
from thingspace_auth_adapters.__main__ import main
from thingspace_auth_adapters.cli import clients
from thingspace_auth_adapters.simulator import ThingspaceSimulator

from ..support.command_line import PREFIX, SECRET, Shell, raising, without_note

RUN_DEMO = "thingspace_auth_adapters.cli.demo.run_demo"


def process(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "thingspace_auth_adapters", *arguments]
    return subprocess.run(
        command, stderr=subprocess.PIPE, text=True, check=False, timeout=60, **options
    )


# Help.


def test_module_runs_as_a_command_that_tells_its_version(shell: Shell) -> None:
    finished = process("--version", stdout=subprocess.PIPE)
    assert (finished.returncode, finished.stdout) == (0, f"{__version__}\n")
    assert shell.out("--version") == f"{__version__}\n"


def test_without_arguments_it_shows_the_help(shell: Shell) -> None:
    shown = shell.out()
    assert shown == shell.out("--help")
    listed = re.findall(r"^  (\w+)  +[A-Z]", shown, flags=re.M)
    assert " ".join(listed) == "demo check token headers status clear revoke simulate"


@pytest.mark.parametrize("command", ["token", "headers", "check", "revoke", "clear", "status"])
def test_help_names_the_variables(shell: Shell, command: str) -> None:
    shown = shell.out(command, "--help")
    assert PREFIX + "ID" in shown
    assert PREFIX + "SECRET" in shown
    assert ("VZ_M2M_PASSWORD" in shown) == (command not in ("token", "revoke"))
    assert "THINGSPACE_AUTH_STORE" in shown
    assert max(len(line) for line in shown.splitlines()) <= 80


def test_a_shell_completes_commands(shell: Shell) -> None:
    shell.set("_THINGSPACE_AUTH_COMPLETE", "bash_complete")
    shell.set("COMP_WORDS", "thingspace-auth sta")
    shell.set("COMP_CWORD", "1")
    assert "status" in shell.out()


# Mistakes in what is typed.


@pytest.mark.parametrize(
    ("arguments", "nearest"),
    [
        (["checks"], "check"),
        (["tokens"], "token"),
        (["token", "--no-stor"], "--no-store"),
        (["token", "--jsno"], "--json"),
        (["token", "--hlep"], "--help"),
        (["simulate", "--sesions-required"], "--sessions-required"),
        (["--versoin"], "--version"),
    ],
)
def test_a_mistyped_command_or_option_is_answered_with_the_nearest(
    shell: Shell, arguments: list[str], nearest: str
) -> None:
    ran = shell.failure(*arguments, status=2)
    kind = "option" if nearest.startswith("-") else "command"
    what = f"there is no such {kind}: did you mean {nearest}?"
    assert ran.complaint == f"thingspace-auth: {what}"
    assert arguments[-1] not in ran.err.replace(nearest, "")


@pytest.mark.parametrize("option", ["--secret", "--password", "--client-secret", "--token"])
def test_secrets_are_no_options(shell: Shell, option: str) -> None:
    ran = shell.failure("token", option, SECRET, status=2)
    assert "no such option" in ran.err
    assert option not in ran.err


def test_option_before_the_command_is_told_where_it_belongs(shell: Shell) -> None:
    ran = shell.failure("--env-file", "secret-name.env", "check", status=2)
    assert "options come after the command" in ran.err
    assert "secret-name" not in ran.err


@pytest.mark.parametrize(
    "arguments",
    [
        [f"--{SECRET}"],
        [SECRET],
        ["token", f"--{SECRET}"],
        ["token", f"--token={SECRET}"],
        ["token", f"-{SECRET}"],
        ["token", SECRET],
        ["token", f"--json={SECRET}"],
        ["token", "--env-file"],
        ["token", "--scope", ""],
        ["check", "--scope"],
        ["check", "--scope", f'"{SECRET}'],
        ["simulate", "--port", SECRET],
        ["simulate", f"--token-lifetime={SECRET}"],
        ["simulate", f"--{SECRET}", "--", "true"],
    ],
)
def test_a_usage_error_does_not_echo_what_was_typed_and_points_to_the_help(
    shell: Shell, arguments: list[str]
) -> None:
    shell.set(PREFIX + "ID", "key")
    shell.set(PREFIX + "SECRET", "x")
    ran = shell.failure(*arguments, status=2)
    assert ran.out == ""
    command = f" {arguments[0]}" if len(arguments) > 1 else ""
    assert ran.remedy == f"thingspace-auth{command} --help says what it takes"


# What ends a command.


@pytest.mark.parametrize("command", ["demo", "token"])
def test_an_interrupted_command_or_prompt_has_status_130(
    shell: Shell, simulator: ThingspaceSimulator, command: str
) -> None:
    shell.unset(PREFIX + "SECRET")
    shell.patch.setattr(RUN_DEMO, raising(KeyboardInterrupt()))
    shell.type(secret=raising(KeyboardInterrupt()))
    ran = shell(command)
    assert (ran.status, ran.out, ran.err.strip()) == (130, "", "thingspace-auth: interrupted")


def test_an_error_without_words_is_named(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RUN_DEMO, raising(RuntimeError()))
    assert shell.failure("demo").err == "thingspace-auth: RuntimeError\n"


def test_a_reader_who_is_gone_ends_a_command_quietly(
    capsys: pytest.CaptureFixture[str],
    simulator: ThingspaceSimulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    # Closing the pipe tries once more to write what could not be written.
    with suppress(BrokenPipeError), os.fdopen(writing, "w") as pipe:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", pipe)
            status = main(["token", "--no-store"])
    assert status == 1
    assert without_note(capsys.readouterr().err)[1] == ""


def test_a_reader_who_is_gone_sees_no_traceback_of_the_process() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        finished = process("simulate", stdout=pipe)
    assert (finished.returncode, finished.stderr) == (1, "")


def test_a_closed_standard_output_is_a_failure_before_anything_is_done(
    capsys: pytest.CaptureFixture[str],
    simulator: ThingspaceSimulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        # What Python makes of >&- in a shell.
        patch.setattr(sys, "stdout", None)
        assert main(["revoke"]) == 1
    told, _ = capsys.readouterr().err.splitlines()
    assert told == "thingspace-auth: standard output is closed"
    assert simulator.requests == []


# What is not installed.


def forget(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Have these modules, and what is in them, be imported anew."""
    for name in list(sys.modules):
        if any(f"{name}.".startswith(f"{one}.") for one in names):
            monkeypatch.delitem(sys.modules, name)


@pytest.mark.parametrize("library", ["click", "dotenv", "rich"])
def test_without_its_libraries_the_command_names_the_extra_in_one_line(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    names = ("runner", "commands", "terminal", "demo", "environment", "env_file")
    forget(monkeypatch, library, *(f"{cli.__name__}.{name}" for name in names))
    monkeypatch.setitem(sys.modules, library, None)
    ran = shell.failure("--version")
    assert (ran.out, ran.err) == (
        "",
        "thingspace-auth: the command line needs click, python-dotenv and rich:"
        " pip install 'thingspace-auth-adapters[cli]'\n",
    )


def test_another_import_that_fails_is_not_blamed_on_the_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, f"{cli.__name__}.runner", None)
    with pytest.raises(ImportError, match="runner"):
        main(["--version"])


def test_an_interrupt_while_the_libraries_are_loaded_has_status_130(shell: Shell) -> None:
    class Interrupting:
        def find_spec(self, name: str, path: object, target: object = None) -> None:
            if name == f"{cli.__name__}.runner":
                raise KeyboardInterrupt

    forget(shell.patch, f"{cli.__name__}.runner")
    shell.patch.setattr(sys, "meta_path", [Interrupting(), *sys.meta_path])
    ran = shell("--version")
    assert (ran.status, ran.out, ran.err) == (130, "", "")


@pytest.mark.parametrize("command", ["token", "headers", "check", "demo"])
def test_without_an_http_library_every_command_names_the_extras(
    shell: Shell, simulator: ThingspaceSimulator, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr(clients, "CLIENTS", (clients.CLIENTS[0]._replace(library="no_such"),))
    ran = shell(command)
    assert ran.status == 1
    assert "thingspace-auth-adapters[requests]" in ran.out + ran.err


@pytest.mark.parametrize("command", ["simulate", "demo"])
def test_without_werkzeug_the_extra_of_the_simulator_is_named(shell: Shell, command: str) -> None:
    forget(shell.patch, "werkzeug", "thingspace_auth_adapters.simulator")
    shell.patch.setitem(sys.modules, "werkzeug", None)
    ran = shell.failure(command)
    assert "thingspace-auth-adapters[simulator]" in ran.err
    # Nor does it say that a simulator runs.
    assert ran.out == ""


# How output looks.


def test_what_a_server_says_is_printed_without_control_characters_and_markup(
    shell: Shell, simulator: ThingspaceSimulator
) -> None:
    body = {"error": "invalid_client", "error_description": "[red]\x1b[31m\u202eno\r\n:bomb:"}
    simulator.fail("token", 400, body=body, times=2)
    for command in ("token", "check"):
        ran = shell(command)
        assert "[red]" in ran.out + ran.err
        assert ":bomb:" in ran.out + ran.err
        assert not {"\x1b", "\u202e", "\r"} & set(ran.out + ran.err)


@pytest.mark.parametrize(
    ("variables", "is_coloured"),
    [
        ({}, False),
        ({"FORCE_COLOR": "1"}, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
    ],
)
def test_colour_is_for_terminals_and_for_those_who_want_it(
    shell: Shell,
    capsys: pytest.CaptureFixture[str],
    variables: dict[str, str],
    is_coloured: bool,
) -> None:
    shell.unset("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE")
    for name, value in {"TERM": "xterm-256color", **variables}.items():
        shell.set(name, value)
    # Not by the shell, since styles may stand within the lines.
    assert main(["check"]) == 1
    out, err = capsys.readouterr()
    assert ("\x1b[1;31mwrong" in out) == is_coloured
    assert ("\x1b[" in out + err) == bool(variables)


def test_at_a_terminal_long_lines_are_wrapped_between_words(
    shell: Shell, capsys: pytest.CaptureFixture[str]
) -> None:
    shell.set("FORCE_COLOR", "1")
    shell.set("TERM", "xterm-256color")
    assert main(["check"]) == 1
    text = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    lines = [line.rstrip() for line in text.splitlines()[1:]]
    assert len(lines) > 2
    assert all(len(line) <= 80 for line in lines)
    assert all(line.startswith(" " * 14) for line in lines[1:])
    assert f"{PREFIX}ID" in text


def test_in_a_pipe_no_line_is_wrapped(shell: Shell) -> None:
    *_, what, remedy = shell("check").out.splitlines()
    assert what.endswith("is missing or empty")
    assert remedy.endswith("--env-file")


def test_output_survives_an_ascii_terminal(
    simulator: ThingspaceSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    buffers = io.BytesIO(), io.BytesIO()
    streams = [io.TextIOWrapper(one, "ascii", "strict", write_through=True) for one in buffers]
    simulator.fail("token", 400, body={"error": "invalid_client", "error_description": "Nö"})
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", streams[0])
        patch.setattr(sys, "stderr", streams[1])
        assert main(["check"]) == 1
    assert b"N?" in buffers[0].getvalue()
    assert b"the check failed" in buffers[1].getvalue()
