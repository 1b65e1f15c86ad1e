"""The examples and the README's code run, and the README's commands are what they say."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from thingspace_auth_adapters.simulator import ThingspaceSimulator

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
EXAMPLES = {
    "requests_session.py": "200\n200\n200\n",
    "httpx_client.py": "200\n200\n200\n",
    "httpx_async.py": "a new token, good for 3600 seconds\n[200, 200",
    "m2m_devices.py": "200 with Authorization and VZ-M2M-Token\n" * 3,
    "threads.py": "[200, 200",
    "token_database.py": "200\n",
    "testing_with_requests_mock.py": "counted\n",
    "testing_with_simulator.py": "survived\n",
}

USE_OF_THE_DATABASE = """
import os
import requests
from thingspace_auth_adapters.requests import ThingspaceAuth

known = ThingspaceOauthCredentials.from_environment()
base_url = os.environ["THINGSPACE_BASE_URL"]
credentials = credentials.clone_with(
    oauth_client_id=known.oauth_client_id, oauth_client_secret=known.oauth_client_secret
)
auth = ThingspaceAuth(credentials, base_url=base_url)
print(requests.get(base_url + "/api/m2m/v1/devices", auth=auth, timeout=30).status_code)
"""


@pytest.fixture
def simulator() -> Iterator[ThingspaceSimulator]:
    with ThingspaceSimulator() as running:
        yield running


def skip_without_libraries_of(code: str) -> None:
    for name in ("requests_mock", "requests", "httpx", "httpx2"):
        if re.search(rf"^import {name}$", code, re.MULTILINE) and not importlib.util.find_spec(
            name
        ):
            pytest.skip(f"{name} is not installed")


def finished(
    simulator: ThingspaceSimulator, *command: str, cwd: Path | None = None, **changes: str
) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "THINGSPACE_BASE_URL": simulator.url,
        "THINGSPACE_OAUTH_OAUTH_CLIENT_ID": simulator.client_id,
        "THINGSPACE_OAUTH_OAUTH_CLIENT_SECRET": simulator.client_secret,
        "VZ_M2M_USERNAME": simulator.username,
        "VZ_M2M_PASSWORD": simulator.password,
        **changes,
    }
    return subprocess.run(
        [sys.executable, *command],
        env=environment,
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def run(simulator: ThingspaceSimulator, *command: str, cwd: Path | None = None) -> str:
    process = finished(simulator, *command, cwd=cwd)
    assert process.returncode == 0, process.stderr
    return process.stdout


def test_every_example_is_tested() -> None:
    assert {path.name for path in (ROOT / "examples").glob("*.py")} == set(EXAMPLES)


@pytest.mark.parametrize("name", list(EXAMPLES))
def test_example_runs(simulator: ThingspaceSimulator, tmp_path: Path, name: str) -> None:
    path = ROOT / "examples" / name
    skip_without_libraries_of(path.read_text(encoding="utf-8"))
    simulator.sessions_required = "m2m" in name
    shown = run(simulator, str(path), str(tmp_path / "tokens.sqlite"))
    assert shown.startswith(EXAMPLES[name])
    assert len(simulator.token_requests) <= 1


def test_m2m_example_logs_in_once_and_out_again(simulator: ThingspaceSimulator) -> None:
    path = ROOT / "examples" / "m2m_devices.py"
    skip_without_libraries_of(path.read_text(encoding="utf-8"))
    run(simulator, str(path))
    assert len(simulator.login_requests) == len(simulator.logout_requests) == 1


def test_m2m_example_stops_at_a_refused_login(simulator: ThingspaceSimulator) -> None:
    path = ROOT / "examples" / "m2m_devices.py"
    skip_without_libraries_of(path.read_text(encoding="utf-8"))
    process = finished(simulator, str(path), VZ_M2M_PASSWORD="wrong")
    assert (process.returncode, process.stdout) == (1, "")
    assert process.stderr.startswith("check VZ_M2M_USERNAME and VZ_M2M_PASSWORD: the login was")
    assert simulator.failed_logins == len(simulator.login_requests) == 1


def test_second_process_finds_the_token_of_the_first(
    simulator: ThingspaceSimulator, tmp_path: Path
) -> None:
    path = ROOT / "examples" / "token_database.py"
    skip_without_libraries_of(path.read_text(encoding="utf-8"))
    command = (str(path), str(tmp_path / "tokens.sqlite"))
    assert run(simulator, *command) == "200\n"
    assert run(simulator, *command) == "found a token\n200\n"
    assert len(simulator.token_requests) == 1


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_code_of_the_readme_runs(
    simulator: ThingspaceSimulator, tmp_path: Path, number: int
) -> None:
    skip_without_libraries_of(BLOCKS[number])
    run(simulator, "-c", BLOCKS[number], cwd=tmp_path)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_code_of_the_readme_is_python(number: int) -> None:
    compile(BLOCKS[number], f"README.md, block {number}", "exec")


def test_database_of_the_readme_is_found_by_the_second_process(
    simulator: ThingspaceSimulator, tmp_path: Path
) -> None:
    (block,) = (block for block in BLOCKS if "import sqlite3" in block)
    code = block + USE_OF_THE_DATABASE
    skip_without_libraries_of(code)
    assert run(simulator, "-c", code, cwd=tmp_path) == "200\n"
    assert run(simulator, "-c", code, cwd=tmp_path) == "200\n"
    assert len(simulator.token_requests) == 1


def test_two_headers_of_the_readme_survive_before_and_after(
    capsys: pytest.CaptureFixture[str],
) -> None:
    blocks = [block for block in BLOCKS if "show_devices" in block]
    assert len(blocks) == 2
    for block in blocks:
        skip_without_libraries_of(block)
        with ThingspaceSimulator(
            "key", "secret", username="user", password="password", sessions_required=True
        ) as simulator:
            code = block.replace("https://thingspace.verizon.com", simulator.url)
            code = code.replace("m2m=", f"base_url={simulator.url!r}, m2m=")
            names: dict[str, Any] = {}
            exec(compile(code, "README.md", "exec"), names)
            names["show_devices"](iccids_while_tokens_die(simulator))
            shown = capsys.readouterr().out
            assert shown == "1 200\n2 200\n3 200\n4 200\n"
            assert len(simulator.token_requests) == len(simulator.login_requests) == 3
            if "session" in names:
                names["session"].close()


def iccids_while_tokens_die(simulator: ThingspaceSimulator) -> Iterator[str]:
    yield "1"
    simulator.revoke()
    yield "2"
    simulator.end_sessions()
    yield "3"
    simulator.revoke()
    simulator.end_sessions()
    yield "4"


def test_ci_runs_the_readmes_test_command() -> None:
    commands = re.findall(r"```console\n(.*?)\n```", README)
    assert len(commands) == 2
    assert commands[1] in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
