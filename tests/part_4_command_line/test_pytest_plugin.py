"""Part 4: the fixture that comes with the package, in pytest runs of their own."""

from __future__ import annotations

import sys
from typing import Callable
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from thingspace_auth_adapters import pytest_plugin
from thingspace_auth_adapters.simulator import ThingspaceSimulator

from ..support.imported import LIBRARIES, modules_after

pytest_plugins = ["pytester"]

thingspace_simulator = pytest_plugin.thingspace_simulator

Run = Callable[..., pytest.RunResult]
PLUGIN = pytest_plugin.__name__
SIMULATOR = ThingspaceSimulator.__module__.rpartition(".")[0]


def options_that_load_the_plugin(config: pytest.Config) -> list[str]:
    """None where it is installed with its entry point."""
    return [] if config.pluginmanager.is_registered(pytest_plugin) else ["-p", PLUGIN]


@pytest.fixture
def run(pytester: pytest.Pytester, pytestconfig: pytest.Config) -> Run:
    """Runs pytest on a file of tests, with options."""
    loading = options_that_load_the_plugin(pytestconfig)

    def run(code: str, *options: str) -> pytest.RunResult:
        pytester.makepyfile(code)
        return pytester.runpytest_inprocess("-p", "no:cacheprovider", *loading, *options)

    return run


def test_simulator_answers(thingspace_simulator: ThingspaceSimulator) -> None:
    with pytest.raises(HTTPError) as refused:
        urlopen(f"{thingspace_simulator.url}/api/m2m/v1/devices", timeout=30)
    with refused.value as answer:
        assert answer.code == 401
    assert [request.status for request in thingspace_simulator.requests] == [401]


def test_tests_need_no_import(run: Run) -> None:
    code = """
    def test_url(thingspace_simulator):
        assert thingspace_simulator.url.startswith("http://127.0.0.1:")
    """
    run(code).assert_outcomes(passed=1)


def test_each_test_has_a_simulator_of_its_own(run: Run) -> None:
    code = """
    import urllib.error
    import urllib.request

    import pytest

    seen = []

    def test_first(thingspace_simulator):
        thingspace_simulator.token_lifetime = 1
        seen.append(thingspace_simulator)

    def test_second(thingspace_simulator):
        assert thingspace_simulator.token_lifetime == 3600
        assert thingspace_simulator is not seen[0]
        with pytest.raises(urllib.error.URLError):
            urllib.request.urlopen(seen[0].url + "/api/", timeout=30)
    """
    run(code, "-p", "no:randomly").assert_outcomes(passed=2)


def test_refused_logins_are_forgotten_before_and_after_each_test(run: Run) -> None:
    code = """
    from thingspace_auth_adapters import M2mLoginError
    from thingspace_auth_adapters._core import login_guard
    from thingspace_auth_adapters._core.clock import Clock

    guard = login_guard.LoginGuard("user", "as user", "password", Clock(), None)

    def test_before():
        guard.refused(M2mLoginError("no", status_code=400))
        assert guard.objection()

    def test_with_it(thingspace_simulator):
        assert not guard.objection()
        guard.refused(M2mLoginError("no", status_code=400))

    def test_after():
        assert not guard.objection()
    """
    run(code, "-p", "no:randomly").assert_outcomes(passed=3)


def test_fixture_without_werkzeug_names_the_extra(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith((SIMULATOR, "werkzeug."))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "werkzeug", None)
    code = """
    def test_with_it(thingspace_simulator): ...

    def test_without_it(): ...
    """
    result = run(code)
    result.assert_outcomes(errors=1, passed=1)
    result.stdout.fnmatch_lines(["*ImportError: *thingspace-auth-adapters?simulator?*"])


def test_its_name_is_short_and_leaves_it_out(run: Run, pytestconfig: pytest.Config) -> None:
    if options_that_load_the_plugin(pytestconfig):
        pytest.skip("it is not installed with its entry point")
    result = run("def test_with_it(thingspace_simulator): ...", "-p", "no:thingspace")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*fixture 'thingspace_simulator' not found*"])


def test_pytest_lists_the_fixture(run: Run) -> None:
    result = run("", "--fixtures")
    result.stdout.fnmatch_lines(["thingspace_simulator -- *", "*ThingSpace on a free loopback*"])


@pytest.mark.once
def test_plugin_imports_neither_the_simulator_nor_an_http_library() -> None:
    before, after = (modules_after(f"import pytest, {name}") for name in ("json", PLUGIN))
    assert PLUGIN in after
    assert SIMULATOR not in after
    assert (after - before).isdisjoint(LIBRARIES)
