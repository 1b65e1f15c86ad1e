"""Part 4: ``--env-file`` is read as shells and python-dotenv read it, or refused."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("click")
pytest.importorskip("rich")
pytest.importorskip("dotenv")

from dotenv import dotenv_values

from thingspace_auth_adapters.cli.advice import Problem
from thingspace_auth_adapters.cli.env_file import read_env_file

from ..support.command_line import PREFIX, SECRET, Shell
from ..support.snippets import DOCS

PAGE = DOCS / "command-line.md"

pytestmark = pytest.mark.usefixtures("simulator")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file that only this user can read."""
    made = tmp_path / "thingspace.env"
    made.touch(mode=0o600)
    return made


def by_shell(file: Path) -> str:
    """What a shell makes of the password in a file."""
    shell = shutil.which("sh")
    if shell is None:
        pytest.skip("there is no shell")
    script = '. "$1"; printf %s "$VZ_M2M_PASSWORD"'
    finished = subprocess.run(
        [shell, "-c", script, "sh", str(file)], capture_output=True, check=True, timeout=60
    )
    return finished.stdout.decode()


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("PW=x", "x"),
        ("PW=x # UWS", "x"),
        ('PW="x" # UWS', "x"),
        ("PW='x' # note", "x"),
        (r'PW="pa\"55"', 'pa"55'),
        ("PW=x#y", "x#y"),
        ('PW="x # y"', "x # y"),
        (r"PW='a\b'", r"a\b"),
        ("export PW=x=y", "x=y"),
        ("PW=", ""),
        ("PW=old\nPW=new", "new"),
        ('PW="two\nlines"', "two\nlines"),
        ("PW='$V; export `x` \\n'", r"$V; export `x` \n"),
        (r'PW="a\\n"', r"a\n"),
        ('PW="a b;c"', "a b;c"),
        ("PW=x  # \"PW\" = $(old); 'none'", "x"),
        ("PW=x\n# PW= # ask Bob", "x"),
        ("PW=x\n  #PW=${V}", "x"),
    ],
)
def test_a_line_is_read_as_shells_and_python_dotenv_read_it(
    file: Path, line: str, value: str
) -> None:
    line = line.replace("PW", "VZ_M2M_PASSWORD")
    file.write_text(f"# comment\n\n{line}\n")
    assert read_env_file(str(file)) == {"VZ_M2M_PASSWORD": value}
    assert by_shell(file) == value
    assert dotenv_values(file, interpolate=False) == {"VZ_M2M_PASSWORD": value}


def test_values_of_other_programs_variables_are_their_affair(file: Path) -> None:
    file.write_text("GREETING=hello world; $V\nEMPTY= # none\n")
    assert read_env_file(str(file))["GREETING"] == "hello world; $V"


DOUBTFUL = {
    "has ${ in its value": ["PW=${V}", "PW='hush${V'"],
    "has a name without =": ["PW", "export PW", SECRET],
    "cannot be understood": [
        "hush hush",
        "=hush",
        'PW="hush',
        "PW='hush' hush",
        "PW='it''s hush'",
    ],
    "has a comment where its value should be": ["PW= # hush", "PW=# hush", "PW=#hush"],
    "has a value that shells read in another way": [
        "PW=hush hush",
        "PW=hush; export PW",
        "PW=hush;export PW",
        "export VZ_M2M_USERNAME=x PW=hush",
        "export A=x PW=hush",
        r"PW=hu\sh",
        "PW=hu'sh'",
        'PW=hu"sh"',
    ],
    "has $ or ` in its value": [
        "PW=$(hush)",
        "PW=`hush`",
        "PW=hush$V",
        'PW="hush$V"',
        r'PW="hush\$V"',
    ],
    "has a value in typographic quotation marks": ["PW=“hush”", "PW=„hush“"],
    "has a backslash that shells read in another way": [
        r"PW='hush\\hush'",
        r"PW='hush\'s'",
        'PW="hush\\\'s"',
    ],
    "is not UTF-8": ["PW=hush\udcff"],
}


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("objection", "line"), [(why, line) for why, lines in DOUBTFUL.items() for line in lines]
)
def test_a_doubtful_line_is_refused_by_its_number_and_nothing_is_sent(
    shell: Shell, file: Path, line: str, objection: str, newline: str
) -> None:
    line = line.replace("PW", "VZ_M2M_PASSWORD")
    text = newline.join(["# comment", "", "A=b", "", line, ""])
    file.write_bytes(text.encode(errors="surrogateescape"))
    ran = shell.failure("headers", "--env-file", str(file))
    assert (ran.out, ran.note) == ("", "")
    assert f"line 5 of {file} {objection}" in ran.complaint
    assert ran.remedy == "correct the line"
    assert "hush" not in ran.err
    assert shell.simulator.requests == []


@pytest.mark.parametrize(
    ("line", "question"),
    [
        ("VZ_M2M_PASSWROD=hush", ": did you mean VZ_M2M_PASSWORD?"),
        ("THINGSPACE_OAUTH_CLIENT_SECRET=hush", f": did you mean {PREFIX}SECRET?"),
        ("THINGSPACE_HUSHHUSHHUSHHUSHHUSHHUSH=x", ""),
    ],
)
def test_a_name_like_ours_that_nothing_reads_is_warned_of_and_not_shown(
    shell: Shell, file: Path, line: str, question: str
) -> None:
    file.write_text(f"A=b\n\n{line}\n")
    ran = shell("token", "--no-store", "--env-file", str(file))
    told = f"line 3 of {file} sets a variable that nothing reads{question}"
    assert (ran.status, ran.err) == (0, f"thingspace-auth: warning: {told}\n")


def test_the_page_on_the_command_line_shows_what_is_read_and_what_is_refused(file: Path) -> None:
    if not PAGE.exists():
        pytest.skip("the documentation is not here")
    text = PAGE.read_text(encoding="utf-8").partition("### The file")[2].partition("\n## ")[0]
    (example,) = re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL)
    file.write_text(example)
    assert read_env_file(str(file)) == {
        PREFIX + "ID": "app-key",
        PREFIX + "SECRET": 'a secret with " and # in it',
        "VZ_M2M_USERNAME": "jdoe",
        "VZ_M2M_PASSWORD": r"all of $this is \the password",
    }
    refused = re.findall(r"^\| `(VZ_.*?)` \|", text, flags=re.MULTILINE)
    assert len(refused) == 7
    for line in refused:
        file.write_text(line)
        with pytest.raises(Problem, match="line 1 of"):
            read_env_file(str(file))


def test_a_variable_that_is_empty_in_the_file_is_missing(
    shell: Shell, account: None, file: Path
) -> None:
    file.write_text("VZ_M2M_USERNAME=\nVZ_M2M_PASSWORD=\n")
    out = shell.out("headers", "--no-store", "--env-file", str(file))
    assert out == f"Authorization: Bearer {shell.simulator.issued_tokens[0]}\n"


def test_an_env_file_comes_before_the_environment(shell: Shell, file: Path) -> None:
    shell.set(PREFIX + "SECRET", "of-another-key")
    file.write_text(
        f"\ufeff# the key of the fleet\n\n export {PREFIX}ID = {shell.simulator.client_id}\r\n"
        f"{PREFIX}SECRET='{SECRET}'\n",
        encoding="utf-8",
    )
    out = shell.out("token", "--no-store", "--env-file", str(file))
    assert out == shell.simulator.issued_tokens[0] + "\n"


@pytest.mark.skipif(os.name != "posix", reason="others are kept out in another way there")
@pytest.mark.parametrize(
    ("mode", "verbs"),
    [
        (0o640, "read"),
        (0o604, "read"),
        (0o620, "change"),
        (0o602, "change"),
        (0o666, "read and change"),
    ],
)
def test_an_env_file_that_others_can_read_or_change_is_warned_of(
    shell: Shell, file: Path, mode: int, verbs: str
) -> None:
    file.write_text(f"{PREFIX}SECRET={SECRET}\n")
    file.chmod(mode)
    ran = shell("token", "--no-store", "--env-file", str(file))
    assert ran.status == 0
    assert f" can {verbs} {file}" in ran.complaint
    assert ran.remedy == f"chmod 600 {file}"


@pytest.mark.parametrize("name", ["", "/no/such/file"])
def test_an_env_file_that_is_not_there_is_an_error_in_one_line(shell: Shell, name: str) -> None:
    ran = shell.failure("token", "--no-store", "--env-file", name)
    assert f"{name!r} cannot be read" in ran.complaint
    assert shell.simulator.requests == []
