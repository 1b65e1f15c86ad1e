"""``--env-file``: read as shells and python-dotenv read it, and what is doubtful is refused."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("click")
pytest.importorskip("rich")
pytest.importorskip("dotenv")

from dotenv import dotenv_values

from thingspace_auth_adapters.cli.advice import Problem
from thingspace_auth_adapters.cli.env_file import read_env_file
from thingspace_auth_adapters.simulator import ThingspaceSimulator

from ..support.command_line import PREFIX, SECRET, run, set_up, simulated

PAGE = Path(__file__).parents[2] / "docs" / "command-line.md"


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    set_up(monkeypatch, tmp_path / "store")


@pytest.fixture
def simulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[ThingspaceSimulator]:
    with simulated(monkeypatch) as simulator:
        yield simulator


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


DOUBTFUL = [
    (b"VZ_M2M_PASSWORD=${V}", "has ${ in its value"),
    (b"VZ_M2M_PASSWORD='hush${V'", "has ${ in its value"),
    (b"VZ_M2M_PASSWORD", "has a name without ="),
    (b"export VZ_M2M_PASSWORD", "has a name without ="),
    (SECRET.encode(), "has a name without ="),
    (b"hush hush", "cannot be understood"),
    (b"=hush", "cannot be understood"),
    (b'VZ_M2M_PASSWORD="hush', "cannot be understood"),
    (b"VZ_M2M_PASSWORD='hush' hush", "cannot be understood"),
    (b"VZ_M2M_PASSWORD='it''s hush'", "cannot be understood"),
    (b"VZ_M2M_PASSWORD= # hush", "has a comment where its value should be"),
    (b"VZ_M2M_PASSWORD=# hush", "has a comment where its value should be"),
    (b"VZ_M2M_PASSWORD=#hush", "has a comment where its value should be"),
    (b"VZ_M2M_PASSWORD=hush hush", "has a value that shells read in another way"),
    (b"VZ_M2M_PASSWORD=hush; export VZ_M2M_PASSWORD", "has a value that shells read"),
    (b"VZ_M2M_PASSWORD=hush;export VZ_M2M_PASSWORD", "has a value that shells read"),
    (b"export VZ_M2M_USERNAME=x VZ_M2M_PASSWORD=hush", "has a value that shells read"),
    (b"export A=x VZ_M2M_PASSWORD=hush", "has a value that shells read"),
    (rb"VZ_M2M_PASSWORD=hu\sh", "has a value that shells read"),
    (b"VZ_M2M_PASSWORD=hu'sh'", "has a value that shells read"),
    (b'VZ_M2M_PASSWORD=hu"sh"', "has a value that shells read"),
    (b"VZ_M2M_PASSWORD=$(hush)", "has $ or ` in its value"),
    (b"VZ_M2M_PASSWORD=`hush`", "has $ or ` in its value"),
    (b"VZ_M2M_PASSWORD=hush$V", "has $ or ` in its value"),
    (b'VZ_M2M_PASSWORD="hush$V"', "has $ or ` in its value"),
    (rb'VZ_M2M_PASSWORD="hush\$V"', "has $ or ` in its value"),
    ("VZ_M2M_PASSWORD=“hush”".encode(), "has a value in typographic quotation marks"),
    ("VZ_M2M_PASSWORD=„hush“".encode(), "has a value in typographic quotation marks"),
    (rb"VZ_M2M_PASSWORD='hush\\hush'", "has a backslash that shells read in another way"),
    (rb"VZ_M2M_PASSWORD='hush\'s'", "has a backslash that shells read in another way"),
    (b'VZ_M2M_PASSWORD="hush\\\'s"', "has a backslash that shells read in another way"),
    (b"VZ_M2M_PASSWORD=hush\xff", "is not UTF-8"),
]


def test_values_of_other_programs_variables_are_their_affair(file: Path) -> None:
    file.write_text("GREETING=hello world; $V\nEMPTY= # none\n")
    assert read_env_file(str(file))["GREETING"] == "hello world; $V"


@pytest.mark.parametrize(
    ("line", "question"),
    [
        ("VZ_M2M_PASSWROD=hush", ": did you mean VZ_M2M_PASSWORD?"),
        ("THINGSPACE_OAUTH_CLIENT_SECRET=hush", f": did you mean {PREFIX}SECRET?"),
        ("THINGSPACE_HUSHHUSHHUSHHUSHHUSHHUSH=x", ""),
    ],
)
def test_a_name_like_ours_that_nothing_reads_is_warned_of_and_not_shown(
    capsys: pytest.CaptureFixture[str],
    simulator: ThingspaceSimulator,
    file: Path,
    line: str,
    question: str,
) -> None:
    file.write_text(f"A=b\n\n{line}\n")
    ran = run(capsys, "token", "--no-store", "--env-file", str(file))
    assert ran.status == 0
    where = f"line 3 of {file}"
    told = f"thingspace-auth: warning: {where} sets a variable that nothing reads{question}\n"
    assert ran.err == told


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
@pytest.mark.parametrize(("line", "objection"), DOUBTFUL)
def test_a_doubtful_line_is_refused_by_its_number_and_nothing_is_sent(
    capsys: pytest.CaptureFixture[str],
    simulator: ThingspaceSimulator,
    file: Path,
    line: bytes,
    objection: str,
    newline: bytes,
) -> None:
    file.write_bytes(newline.join([b"# comment", b"", b"A=b", b"", line, b""]))
    ran = run(capsys, "headers", "--env-file", str(file))
    assert (ran.status, ran.out, ran.note) == (1, "", "")
    assert f"line 5 of {file} {objection}" in ran.complaint
    assert ran.remedy == "correct the line"
    assert "hush" not in ran.err
    assert simulator.requests == []


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
    capsys: pytest.CaptureFixture[str], simulator: ThingspaceSimulator, file: Path
) -> None:
    file.write_text("VZ_M2M_USERNAME=\nVZ_M2M_PASSWORD=\n")
    ran = run(capsys, "headers", "--no-store", "--env-file", str(file))
    assert ran.out == f"Authorization: Bearer {simulator.issued_tokens[0]}\n"


def test_an_env_file_comes_before_the_environment(
    capsys: pytest.CaptureFixture[str],
    simulator: ThingspaceSimulator,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv(PREFIX + "SECRET", "of-another-key")
    file = tmp_path / "thingspace.env"
    file.write_text(
        f"\ufeff# the key of the fleet\n\n export {PREFIX}ID = {simulator.client_id}\r\n"
        f"{PREFIX}SECRET='{SECRET}'\n",
        encoding="utf-8",
    )
    file.chmod(0o600)
    ran = run(capsys, "token", "--no-store", "--env-file", str(file))
    assert (ran.status, ran.out, ran.err) == (0, simulator.issued_tokens[0] + "\n", "")


@pytest.mark.skipif(os.name != "posix", reason="others are kept out in another way there")
@pytest.mark.parametrize(
    ("mode", "told"),
    [
        (0o640, "can read "),
        (0o604, "can read "),
        (0o620, "can change "),
        (0o602, "can change "),
        (0o666, "can read and change "),
        (0o600, ""),
    ],
)
def test_an_env_file_that_others_can_read_or_change_is_warned_of(
    capsys: pytest.CaptureFixture[str],
    simulator: ThingspaceSimulator,
    tmp_path: Path,
    mode: int,
    told: str,
) -> None:
    file = tmp_path / "thingspace.env"
    file.write_text(f"{PREFIX}SECRET={SECRET}\n")
    file.chmod(mode)
    ran = run(capsys, "token", "--no-store", "--env-file", str(file))
    assert ran.status == 0
    if not told:
        assert ran.err == ""
        return
    assert told + str(file) in ran.complaint
    assert ran.remedy == f"chmod 600 {file}"


def test_an_env_file_that_is_not_there_is_an_error_in_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    ran = run(capsys, "token", "--env-file", str(tmp_path / "none"))
    assert ran.status == 1
    assert "none" in ran.complaint


def test_an_env_file_without_a_name_is_not_passed_over(
    capsys: pytest.CaptureFixture[str], simulator: ThingspaceSimulator
) -> None:
    ran = run(capsys, "token", "--no-store", "--env-file", "")
    assert ran.status == 1
    assert "'' cannot be read" in ran.complaint
    assert simulator.requests == []
