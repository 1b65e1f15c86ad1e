"""Part 1, rule 5: greenlets, with network and time patched but threads not, as grequests does."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys

import pytest

from thingspace_auth_adapters.simulator import ThingspaceSimulator

from ..support.crowds import PATH
from ..support.kinds import SYNC_KINDS
from ..support.real import options_for

CHILD = """
import importlib, json, sys, warnings
patch, libraries, url, options, m2m = json.loads(sys.argv[1])
exec(patch)
from thingspace_auth_adapters import VzM2mCredentials

found = {}
for library in libraries:
    http = importlib.import_module(library)
    adapter = importlib.import_module("thingspace_auth_adapters." + library)
    # What the library imports on first use does not bear greenlets.
    http.get(url, timeout=60, verify=False)
    auth = adapter.ThingspaceAuth(**options, m2m=VzM2mCredentials(**m2m))

    def call():
        try:
            return http.get(url, auth=auth, timeout=60, verify=False).status_code
        except Exception as error:
            return f"{type(error).__name__}: {error}"

    found[library] = run_all(call, 20)
print(json.dumps(found))
"""
GEVENT = """
from gevent import monkey
monkey.patch_all(thread=False, select=False)
import gevent

def run_all(call, times):
    jobs = [gevent.spawn(call) for _ in range(times)]
    gevent.joinall(jobs, timeout=60)
    return [job.value for job in jobs]
"""
EVENTLET = """
warnings.simplefilter("ignore")
sys.modules["trio"] = None  # it cannot be imported beside a patched socket module
import eventlet
eventlet.monkey_patch(os=False, thread=False)

def run_all(call, times):
    jobs = [eventlet.spawn(call) for _ in range(times)]
    with eventlet.Timeout(60):
        return [job.wait() for job in jobs]
"""


@pytest.mark.parametrize(
    ("module", "patch"),
    [
        pytest.param("gevent", GEVENT, id="gevent"),
        pytest.param("eventlet", EVENTLET, id="eventlet", marks=pytest.mark.once),
    ],
)
def test_greenlets_share_one_token_and_one_login(module: str, patch: str) -> None:
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed")
    libraries = [kind.library_name for kind in SYNC_KINDS]
    with ThingspaceSimulator() as simulator:
        simulator.latency["token"] = simulator.latency["login"] = 0.1
        m2m = {"username": simulator.username, "password": simulator.password}
        job = [patch, libraries, simulator.url + PATH, options_for(simulator), m2m]
        finished = subprocess.run(
            [sys.executable, "-c", CHILD, json.dumps(job)],
            capture_output=True,
            text=True,
            check=False,
            timeout=80,
        )
        assert finished.returncode == 0, finished.stderr
        assert json.loads(finished.stdout) == dict.fromkeys(libraries, [200] * 20)
        # One of each for each object.
        assert len(simulator.token_requests) == len(simulator.login_requests) == len(libraries)
