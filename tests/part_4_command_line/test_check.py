"""``thingspace-auth check``: each thing that can be wrong is told apart, with what to do."""

from __future__ import annotations

import gc
import importlib
import io
import json
import socket
import ssl
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable, NamedTuple, Union

import pytest

pytest.importorskip("click")
pytest.importorskip("rich")

from thingspace_auth_adapters import VzM2mCredentials
from thingspace_auth_adapters.__main__ import main
from thingspace_auth_adapters._adapters.obstacle import Obstacle
from thingspace_auth_adapters._core import login_guard
from thingspace_auth_adapters._wire.messages import LOGIN_PATH, HttpAnswer, HttpRequest, Refused
from thingspace_auth_adapters.cli import check, clients
from thingspace_auth_adapters.simulator import ThingspaceSimulator

from ..support.command_line import without_note
from ..support.sockets import SELF_SIGNED, listening

SECRET = "s3cr3t-of-the-key"
PASSWORD = "p4ssw0rd-of-the-user"
PROXY_PASSWORD = "pr0xy-p4ssw0rd"
CLIENTS = {client.library: client for client in clients.CLIENTS if client.is_installed}
PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY")
CERTIFICATES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")
OPTIONAL = (
    "THINGSPACE_OAUTH_OAUTH_CLOCK_SKEW",
    "VZ_M2M_USERNAME",
    "VZ_M2M_PASSWORD",
    "VZ_M2M_TOKEN_VZ_M2M_TOKEN",
)


@pytest.fixture(params=CLIENTS.values(), ids=lambda client: client.library, autouse=True)
def client(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> clients.Client:
    """Each library that is installed, as if it were the only one."""
    found: clients.Client = request.param
    monkeypatch.setattr(clients, "CLIENTS", (found,))
    return found


@pytest.fixture
def simulator() -> Iterator[ThingspaceSimulator]:
    with ThingspaceSimulator(client_secret=SECRET, password=PASSWORD) as simulated:
        yield simulated


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, simulator: ThingspaceSimulator) -> None:
    for name in (*OPTIONAL, *PROXIES, *(name.lower() for name in PROXIES), *CERTIFICATES):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("THINGSPACE_OAUTH_OAUTH_CLIENT_ID", simulator.client_id)
    monkeypatch.setenv("THINGSPACE_OAUTH_OAUTH_CLIENT_SECRET", SECRET)
    monkeypatch.setenv("THINGSPACE_BASE_URL", simulator.url)
    monkeypatch.setattr(sys, "stdin", io.StringIO("yes\n"))


@pytest.fixture
def account(simulator: ThingspaceSimulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The M2M account's user name and password in the environment."""
    monkeypatch.setenv("VZ_M2M_USERNAME", simulator.username)
    monkeypatch.setenv("VZ_M2M_PASSWORD", PASSWORD)


class Line(NamedTuple):
    """One line of the output, taken apart."""

    verdict: str
    step: str
    what: str
    remedy: str


class Checked(NamedTuple):
    """What a check came to."""

    status: int
    lines: list[Line]
    err: str

    @property
    def wrong(self) -> Line:
        """The only thing that is wrong."""
        assert self.status == 1
        assert len(self.err.splitlines()) == 1
        (wrong,) = (line for line in self.lines if line.verdict == "wrong")
        assert wrong.remedy
        assert wrong.step in self.err
        return wrong

    def line(self, step: str) -> Line:
        return next(line for line in self.lines if line.step == step)


Check = Callable[..., Checked]


@pytest.fixture
def run(
    capsys: pytest.CaptureFixture[str],
    simulator: ThingspaceSimulator,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Check:
    """Runs the command, whose output has no secret in it."""
    monkeypatch.setenv("THINGSPACE_AUTH_STORE", str(tmp_path / "store"))

    def checked(*arguments: str) -> Checked:
        status = main(["check", *arguments])
        out, err = capsys.readouterr()
        secrets = (SECRET, PASSWORD, PROXY_PASSWORD)
        for secret in (*secrets, *simulator.issued_tokens, *simulator.issued_sessions):
            assert secret not in out + err
        return Checked(status, list(_lines(out)), without_note(err)[1])

    return checked


def _lines(out: str) -> Iterator[Line]:
    """What was found: a line for each step, below it another if there is something to do."""
    entries: list[tuple[str, ...]] = []
    for text in out.splitlines():
        verdict, rest = text[:14].strip(), text[14:]
        if verdict:
            entries.append((verdict, rest))
        else:
            entries[-1] += (rest,)
    for verdict, told, *remedy in entries:
        step, _, what = told.partition(": ")
        yield Line(verdict, step, what, *remedy or [""])


class Terminal(io.StringIO):
    """Somebody who types these lines."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_good_credentials_are_found_good_step_by_step(
    run: Check, client: clients.Client, simulator: ThingspaceSimulator, account: None
) -> None:
    checked = run("--yes")
    settings = ["key", "secret", "user", "password", "host", "settings"]
    steps = [*settings, "route", "clock", "token", "scope", "session"]
    assert [(line.verdict, line.step) for line in checked.lines] == [("ok", step) for step in steps]
    assert (checked.status, checked.err) == (0, "")
    assert client.library in checked.line("settings").what
    assert len(simulator.token_requests) == len(simulator.login_requests) == 1


def test_it_counts_its_login_in_the_store_and_uses_no_tokens_of_it(
    run: Check,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    simulator: ThingspaceSimulator,
    account: None,
) -> None:
    monkeypatch.setenv("THINGSPACE_AUTH_STORE", str(tmp_path / "store"))
    assert [run("--yes").status for _ in range(2)] == [0, 0]
    assert len(simulator.token_requests) == len(simulator.login_requests) == 2
    monkeypatch.setenv("VZ_M2M_PASSWORD", "wrong")
    for _ in range(5):
        login_guard.forget_all()
        wrong = run("--yes").wrong
        assert wrong.step == "session"
    assert simulator.failed_logins == 1
    assert "thingspace-auth clear" in wrong.remedy


@pytest.mark.parametrize("message", ["No.", "The account is locked."])
def test_an_account_that_the_store_bars_is_told_without_asking_for_another_login(
    run: Check,
    monkeypatch: pytest.MonkeyPatch,
    simulator: ThingspaceSimulator,
    account: None,
    message: str,
) -> None:
    simulator.fail("login", 400, body={"errorCode": "REQUEST_FAILED", "errorMessage": message})
    refused = run("--yes").wrong
    typist = Terminal("yes\n")
    for stdin in (io.StringIO(), typist):
        monkeypatch.setattr(sys, "stdin", stdin)
        login_guard.forget_all()
        assert run().wrong == refused
    assert "thingspace-auth clear" in refused.remedy
    assert typist.read() == "yes\n"
    assert len(simulator.login_requests) == 1


@pytest.mark.parametrize(
    "name", ["THINGSPACE_OAUTH_OAUTH_CLIENT_ID", "THINGSPACE_OAUTH_OAUTH_CLIENT_SECRET"]
)
def test_a_missing_setting_is_named(
    run: Check, monkeypatch: pytest.MonkeyPatch, simulator: ThingspaceSimulator, name: str
) -> None:
    monkeypatch.delenv(name)
    wrong = run().wrong
    assert wrong.step == "settings"
    assert name in wrong.what
    assert simulator.requests == []


def test_it_says_which_settings_are_used_and_where_each_comes_from(
    run: Check,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    simulator: ThingspaceSimulator,
    account: None,
    tmp_path: Path,
) -> None:
    file = tmp_path / "fleet.env"
    file.write_text(f"VZ_M2M_USERNAME={simulator.username}\nVZ_M2M_TOKEN_VZ_M2M_TOKEN=hush-hush\n")
    file.chmod(0o600)
    monkeypatch.setenv("VZ_M2M_USERNAME", "another")
    monkeypatch.delenv("THINGSPACE_OAUTH_OAUTH_CLIENT_SECRET")
    monkeypatch.setattr(sys, "stdin", Terminal("no\n"))
    monkeypatch.setattr("getpass.getpass", lambda prompt: SECRET)
    checked = run("--env-file", str(file))
    host = simulator.url.rpartition("/")[2]
    assert [line[1:3] for line in checked.lines[:6]] == [
        (
            "key",
            f"{simulator.client_id} (from THINGSPACE_OAUTH_OAUTH_CLIENT_ID in the environment)",
        ),
        ("secret", "from the prompt"),
        ("user", f"{simulator.username} (from VZ_M2M_USERNAME in {file})"),
        ("password", "from VZ_M2M_PASSWORD in the environment"),
        ("session token", f"from VZ_M2M_TOKEN_VZ_M2M_TOKEN in {file}"),
        ("host", f"{host} (from THINGSPACE_BASE_URL in the environment)"),
    ]
    monkeypatch.setattr(sys, "stdin", Terminal("no\n"))
    assert main(["check", "--json", "--env-file", str(file)]) == 0
    out = capsys.readouterr().out
    found = {one["step"]: one for one in json.loads(out)}
    assert [(found[step]["value"], found[step]["from"]) for step in ("key", "secret", "user")] == [
        (simulator.client_id, "environment"),
        (None, "prompt"),
        (simulator.username, "file"),
    ]
    assert found["user"]["variable"] == "VZ_M2M_USERNAME"
    assert "value" not in found["route"]
    assert not any(word in out for word in (SECRET, PASSWORD, "hush"))


def test_the_settings_that_there_are_are_told_if_another_is_missing(
    run: Check, monkeypatch: pytest.MonkeyPatch, simulator: ThingspaceSimulator
) -> None:
    monkeypatch.delenv("THINGSPACE_OAUTH_OAUTH_CLIENT_SECRET")
    assert [line.step for line in run().lines] == ["key", "host", "settings"]


@pytest.mark.parametrize(
    ("base_url", "shown"),
    [
        ("", "thingspace.verizon.com (the standard one)"),
        (f"https://user:{PASSWORD}@thingspace.verizon.com:8443/?key={SECRET}", "verizon.com:8443"),
        ("no URL", "from THINGSPACE_BASE_URL in the environment"),
    ],
)
def test_of_a_base_url_the_host_is_told_and_nothing_else(
    run: Check, monkeypatch: pytest.MonkeyPatch, base_url: str, shown: str
) -> None:
    monkeypatch.setenv("THINGSPACE_BASE_URL", base_url)
    # So that no request is sent.
    monkeypatch.delenv("THINGSPACE_OAUTH_OAUTH_CLIENT_SECRET")
    assert shown in run().line("host").what


def test_a_bad_setting_is_named(run: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THINGSPACE_BASE_URL", "http://thingspace.verizon.com")
    wrong = run().wrong
    assert wrong.step == "settings"
    assert "https" in wrong.what


@pytest.mark.parametrize("line", [None, "no assignment"])
def test_a_bad_env_file_is_told_as_json_too(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, line: str | None
) -> None:
    file = tmp_path / "thingspace.env"
    if line is not None:
        file.write_text(line)
        file.chmod(0o600)
    assert main(["check", "--json", "--env-file", str(file)]) == 1
    (finding,) = json.loads(capsys.readouterr().out)
    assert (finding["verdict"], finding["step"]) == ("wrong", "settings")
    assert str(file) in finding["what"]


def test_a_wrong_secret(run: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THINGSPACE_OAUTH_OAUTH_CLIENT_SECRET", "wrong")
    wrong = run().wrong
    assert wrong.step == "token"
    assert "the key or the secret is wrong" in wrong.remedy


def test_a_wrong_key_by_whatever_status(run: Check, simulator: ThingspaceSimulator) -> None:
    simulator.fail("token", 400, body={"error": "invalid_client"})
    assert "the key or the secret is wrong" in run().wrong.remedy


def test_a_scope_that_is_refused(run: Check) -> None:
    wrong = run("--scope", "no-such-scope").wrong
    assert wrong.step == "scope"
    assert "--scope" in wrong.remedy


def test_a_scope_that_is_passed_over(run: Check, simulator: ThingspaceSimulator) -> None:
    granted = {"access_token": "t", "token_type": "Bearer", "scope": " read"}
    simulator.fail("token", 200, body=granted)
    wrong = run("--scope", "read", "--scope", "write").wrong
    assert (wrong.step, wrong.what) == ("scope", "granted without write")


def test_a_scope_that_is_not_told_is_the_one_that_was_asked_for(
    run: Check, simulator: ThingspaceSimulator
) -> None:
    simulator.fail("token", 200, body={"access_token": "t", "token_type": "Bearer"}, times=2)
    assert run("--scope", "read").line("scope").what == "read"
    checked = run()
    assert checked.status == 0
    assert checked.line("scope").verdict == "ok"


def test_connection_refused(run: Check, monkeypatch: pytest.MonkeyPatch, closed_port: int) -> None:
    monkeypatch.setenv("THINGSPACE_BASE_URL", f"http://127.0.0.1:{closed_port}")
    wrong = run().wrong
    assert wrong.step == "route"
    assert "refused" in wrong.what
    assert str(closed_port) in wrong.what


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (socket.gaierror(-2, "Name or service not known"), "DNS"),
        (socket.timeout("timed out"), "no answer within"),
        (OSError(101, "Network is unreachable"), "no route"),
    ],
)
def test_no_route(run: Check, monkeypatch: pytest.MonkeyPatch, error: OSError, told: str) -> None:
    def fail(address: object, timeout: float) -> Any:
        raise error

    monkeypatch.setenv("THINGSPACE_BASE_URL", "https://thingspace.example")
    monkeypatch.setattr(socket, "create_connection", fail)
    wrong = run().wrong
    assert wrong.step == "route"
    assert told in wrong.what
    assert "thingspace.example:443" in wrong.what


def test_tls_interception(run: Check, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pem = tmp_path / "self-signed.pem"
    pem.write_text(SELF_SIGNED)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    with listening(lambda plain: context.wrap_socket(plain, server_side=True).close()) as port:
        monkeypatch.setenv("THINGSPACE_BASE_URL", f"https://127.0.0.1:{port}")
        wrong = run().wrong
    assert wrong.step == "tls"
    assert "could not be verified" in wrong.what
    assert "REQUESTS_CA_BUNDLE" in wrong.remedy


def test_ca_certificates_that_are_not_there(
    run: Check,
    client: clients.Client,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    simulator: ThingspaceSimulator,
) -> None:
    for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.setenv(name, "/no/such/file")
    with suppress(OSError):
        if client.library == "httpx" and importlib.import_module("httpx").create_ssl_context():
            pytest.skip("this httpx takes no notice of a file that is not there")
    monkeypatch.setenv("THINGSPACE_BASE_URL", simulator.url.replace("http:", "https:"))
    wrong = run().wrong
    assert wrong.step == "tls"
    assert "CA certificates" in wrong.what
    assert "REQUESTS_CA_BUNDLE" in wrong.remedy
    assert main(["check", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert [(finding["verdict"], finding["step"]) for finding in found[3:]] == [
        ("ok", "settings"),
        ("ok", "route"),
        ("wrong", "tls"),
    ]


def test_something_that_does_not_speak_tls(
    run: Check, monkeypatch: pytest.MonkeyPatch, simulator: ThingspaceSimulator
) -> None:
    monkeypatch.setenv("THINGSPACE_BASE_URL", simulator.url.replace("http:", "https:"))
    wrong = run().wrong
    assert wrong.step == "tls"
    assert "does not speak TLS" in wrong.what


# http.client leaves the socket of a refused tunnel to the garbage collector, on Python 3.9.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_proxy_that_wants_to_know_who_asks(run: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 407 Who asks?\r\nContent-Length: 0\r\n\r\n")

    with listening(refuse) as port:
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:{PROXY_PASSWORD}@127.0.0.1:{port}")
        monkeypatch.setenv("THINGSPACE_BASE_URL", "https://thingspace.example")
        checked = run()
    gc.collect()
    assert checked.line("route").what == f"the proxy 127.0.0.1:{port} can be reached"
    assert checked.wrong.step == "proxy"
    assert "407" in checked.wrong.what
    assert "http://user:password@host:port" in checked.wrong.remedy


@pytest.mark.parametrize("form", ["http://user:{0}@127.0.0.1:{1}", "user:{0}@127.0.0.1:{1}"])
def test_a_proxy_that_cannot_be_reached(
    run: Check, monkeypatch: pytest.MonkeyPatch, closed_port: int, form: str
) -> None:
    monkeypatch.setenv("ALL_PROXY", form.format(PROXY_PASSWORD, closed_port))
    monkeypatch.setenv("THINGSPACE_BASE_URL", "https://thingspace.example")
    wrong = run().wrong
    assert wrong.step == "route"
    assert f"the proxy 127.0.0.1:{closed_port}" in wrong.what
    assert "HTTPS_PROXY" in wrong.remedy


def test_a_proxy_that_cannot_be_reached_is_no_reason_to_set_one(
    client: clients.Client,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    closed_port: int,
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:{PROXY_PASSWORD}@127.0.0.1:{closed_port}")
    monkeypatch.setenv("THINGSPACE_BASE_URL", "https://thingspace.example")
    assert main(["token", "--no-store"]) == 1
    what, remedy = without_note(capsys.readouterr().err)[1].splitlines()
    assert what.startswith("thingspace-auth: the proxy ")
    assert "set HTTPS_PROXY" not in remedy
    assert PROXY_PASSWORD not in what


@pytest.mark.parametrize("proxy", ["http://", f"http://user:{PROXY_PASSWORD}@host:port"])
def test_a_proxy_setting_that_is_no_url(
    run: Check, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    monkeypatch.setenv("THINGSPACE_BASE_URL", "https://thingspace.example")
    wrong = run().wrong
    assert wrong.step == "proxy"
    assert "HTTPS_PROXY" in wrong.what


@pytest.mark.parametrize("proxy", ["http://user:{0}/x@127.0.0.1:9", "foo://user:{0}@127.0.0.1:9"])
def test_a_proxy_setting_that_the_library_cannot_use_has_the_same_remedy_in_each_command(
    client: clients.Client,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    proxy: str,
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy.format(PROXY_PASSWORD))
    monkeypatch.setenv("THINGSPACE_BASE_URL", "https://thingspace.example")
    assert main(["token", "--no-store"]) == 1
    what, remedy = without_note(capsys.readouterr().err)[1].splitlines()
    assert "HTTPS_PROXY" in what
    assert PROXY_PASSWORD not in what
    assert remedy.strip().startswith("correct it: it is like http://host:port")


def test_a_proxy_whose_scheme_the_library_does_not_know_is_found(
    run: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    with listening(lambda connection: None) as port:
        monkeypatch.setenv("HTTPS_PROXY", f"foo://user:{PROXY_PASSWORD}@127.0.0.1:{port}")
        monkeypatch.setenv("THINGSPACE_BASE_URL", "https://thingspace.example")
        wrong = run().wrong
    assert wrong.step == "proxy"
    assert "HTTPS_PROXY" in wrong.what


@pytest.mark.parametrize(
    ("proxy", "port"),
    [("http://proxy", 80), ("https://proxy", 443), ("socks5://proxy", 1080), ("proxy:3128", 3128)],
)
def test_the_port_of_a_proxy_is_the_usual_one_of_its_kind(
    monkeypatch: pytest.MonkeyPatch, proxy: str, port: int
) -> None:
    tried: list[tuple[str, int]] = []

    def connect(address: tuple[str, int], timeout: float) -> Any:
        tried.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", connect)
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    finding = check._route_finding("https://thingspace.example")
    assert finding.verdict is check.Verdict.WRONG
    assert tried == [("proxy", port)]


def test_a_host_that_needs_no_proxy_is_reached_without(
    monkeypatch: pytest.MonkeyPatch, simulator: ThingspaceSimulator, closed_port: int
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{closed_port}")
    assert check._route_finding(simulator.url).verdict is check.Verdict.OK
    https = simulator.url.replace("http:", "https:")
    assert check._route_finding(https).verdict is check.Verdict.WRONG
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert check._route_finding(https).verdict is check.Verdict.OK


@pytest.mark.parametrize(
    ("status", "body"), [(302, None), (200, "<html>Log in</html>"), (403, "<html>")]
)
def test_an_answer_that_is_not_thingspaces(
    run: Check, simulator: ThingspaceSimulator, status: int, body: object
) -> None:
    simulator.fail("token", status, body=body)
    wrong = run().wrong
    assert wrong.step == "proxy"
    assert "instead of ThingSpace" in wrong.remedy


def test_a_proxy_on_the_way_that_answers_407_is_named(
    run: Check, simulator: ThingspaceSimulator
) -> None:
    simulator.fail("token", 407, body={})
    wrong = run().wrong
    assert wrong.step == "proxy"
    assert "the proxy wants a user name and a password" in wrong.what
    assert "HTTPS_PROXY" in wrong.remedy


def test_another_refusal_is_told_as_it_is(run: Check, simulator: ThingspaceSimulator) -> None:
    fault = {"fault": {"code": "900906", "message": "No matching resource"}}
    simulator.fail("token", 404, body=fault)
    wrong = run().wrong
    assert wrong.step == "token"
    assert "No matching resource" in wrong.what
    assert "THINGSPACE_BASE_URL" in wrong.remedy


@pytest.mark.parametrize("status", [429, 503])
def test_trouble_of_the_platform_is_told_after_one_request(
    run: Check, simulator: ThingspaceSimulator, status: int
) -> None:
    simulator.fail("token", status)
    wrong = run().wrong
    assert wrong.step == "token"
    assert "try again" in wrong.remedy
    assert len(simulator.token_requests) == 1


def test_a_token_that_was_expired_when_it_came_is_the_platforms_trouble(
    run: Check, simulator: ThingspaceSimulator
) -> None:
    body = {"access_token": "t", "token_type": "Bearer", "expires_in": 0}
    simulator.fail("token", 200, body=body)
    wrong = run().wrong
    assert wrong.step == "token"
    assert "try again" in wrong.remedy


def test_a_lost_connection(run: Check, simulator: ThingspaceSimulator) -> None:
    simulator.fail("token", "drop")
    wrong = run().wrong
    assert wrong.step == "token"
    assert "lost" in wrong.what


@pytest.mark.parametrize(("seconds", "told"), [(-3600, "behind"), (90, "ahead of")])
def test_a_clock_that_is_far_off(
    run: Check, monkeypatch: pytest.MonkeyPatch, seconds: float, told: str
) -> None:
    clock = SimpleNamespace(time=lambda: time.time() + seconds, monotonic=time.monotonic)
    monkeypatch.setattr(check, "time", clock)
    checked = run()
    assert checked.wrong.step == "clock"
    assert told in checked.wrong.what
    assert checked.line("token").verdict == "ok"


@pytest.mark.parametrize("headers", [{}, {"date": "yesterday"}])
def test_a_server_that_tells_no_time_is_no_judge_of_the_clock(
    client: clients.Client, headers: dict[str, str]
) -> None:
    reply = answer(401, headers, b'{"error": "invalid_client"}')
    assert [finding.step for finding in findings_after(client, reply)] == ["route", "token"]


def test_a_token_that_does_not_expire_is_called_so(
    client: clients.Client,
) -> None:
    for lifetime, told in (
        ("", "without saying when it expires"),
        (9e9, "does not expire"),
        (2147483647, "does not expire"),
        (86400, "lives 86400 s more"),
    ):
        body = {"access_token": "t", "token_type": "Bearer", "expires_in": lifetime or None}
        reply = answer(200, {}, json.dumps(body).encode())
        found = findings_after(client, reply)
        (finding,) = (one for one in found if one.step == "token")
        assert told in finding.what


def answer(status: int, headers: dict[str, str], body: bytes) -> HttpAnswer:
    made = HttpAnswer(status, headers)
    made.body += body
    return made


Reply = Union[HttpAnswer, Refused]


def findings_after(client: clients.Client, *replies: Reply, m2m: Any = None) -> list[check.Finding]:
    """What is found if the library gets these replies, one for each request."""
    left = list(replies)

    def send(request: HttpRequest, timeout: float, ends_at: float) -> Reply:
        assert time.monotonic() < ends_at
        return left.pop(0)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        base_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        auth = client.auth(
            oauth_client_id="k", oauth_client_secret=SECRET, base_url=base_url, m2m=m2m
        )
        auth._transport.send = send
        found = list(check.findings(auth, lambda username: None))
    assert left == []
    return found


def test_without_an_account_the_session_is_passed_over(run: Check) -> None:
    checked = run("--yes")
    assert checked.status == 0
    assert checked.line("session").verdict == "skipped"
    assert "VZ_M2M_USERNAME" in checked.line("session").what


def test_a_session_token_alone_is_not_tried(
    run: Check, monkeypatch: pytest.MonkeyPatch, simulator: ThingspaceSimulator
) -> None:
    monkeypatch.setenv("VZ_M2M_TOKEN_VZ_M2M_TOKEN", "given-session")
    checked = run("--yes")
    assert checked.status == 0
    assert checked.line("session").verdict == "skipped"
    assert simulator.login_requests == []


def test_a_login_is_not_tried_where_nobody_can_be_asked(
    run: Check, simulator: ThingspaceSimulator, account: None
) -> None:
    checked = run()
    assert checked.status == 0
    session = checked.line("session")
    assert session.verdict == "skipped"
    assert "--yes" in session.remedy
    assert simulator.login_requests == []


@pytest.mark.parametrize(
    ("answer", "logins"), [("y\n", 1), ("YES\n", 1), ("n\n", 0), ("\n", 0), ("", 0)]
)
def test_a_login_is_tried_only_after_a_plain_yes(
    run: Check,
    monkeypatch: pytest.MonkeyPatch,
    simulator: ThingspaceSimulator,
    account: None,
    answer: str,
    logins: int,
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    checked = run()
    assert checked.status == 0
    assert simulator.username in checked.err
    assert "lock" in checked.err
    assert len(simulator.login_requests) == logins


def test_a_wrong_password_costs_one_login(
    run: Check, monkeypatch: pytest.MonkeyPatch, simulator: ThingspaceSimulator, account: None
) -> None:
    monkeypatch.setenv("VZ_M2M_PASSWORD", "wrong")
    wrong = run("--yes").wrong
    assert wrong.step == "session"
    assert "the user name or the password is wrong" in wrong.remedy
    assert "thingspace-auth clear" in wrong.remedy
    assert simulator.failed_logins == 1


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such permissions")
def test_a_store_in_which_no_login_can_be_counted(
    run: Check, simulator: ThingspaceSimulator, account: None, tmp_path: Path
) -> None:
    (tmp_path / "store").mkdir(mode=0o755)
    wrong = run("--yes").wrong
    assert wrong.step == "session"
    assert "chmod 700" in wrong.what
    (tmp_path / "store").rmdir()
    (tmp_path / "store").touch()
    assert run("--yes").wrong.step == "session"
    assert simulator.login_requests == []


@pytest.mark.parametrize(
    "body",
    [
        {"errorCode": "UnifiedWebService.REQUEST_FAILED.AccountLocked", "errorMessage": "No."},
        {"errorCode": "REQUEST_FAILED", "errorMessage": "Your account has been Locked."},
    ],
)
def test_a_locked_account(
    run: Check, simulator: ThingspaceSimulator, account: None, body: object
) -> None:
    simulator.fail("login", 400, body=body)
    wrong = run("--yes").wrong
    assert wrong.step == "session"
    assert "unlock" in wrong.remedy


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (404, "<html>", "instead of ThingSpace"),
        (200, "<html>", "may have counted"),
        (429, None, "no failed login"),
        (500, None, "may have counted"),
        (401, {"fault": {"code": "900901", "message": "Invalid"}}, "Connectivity Management"),
    ],
)
def test_a_login_that_failed_for_another_reason(
    run: Check,
    simulator: ThingspaceSimulator,
    account: None,
    status: int,
    body: object,
    told: str,
) -> None:
    simulator.fail("login", status, body=body)
    wrong = run("--yes").wrong
    assert wrong.step == "session"
    assert told in wrong.remedy
    assert len(simulator.login_requests) == 1


@pytest.mark.parametrize(
    ("obstacle", "was_sent", "told"),
    [
        (Obstacle.LOST, True, "may have counted"),
        (Obstacle.CONNECT_TIMEOUT, True, "may have counted"),
        (Obstacle.ROUTE, False, "THINGSPACE_BASE_URL"),
    ],
)
def test_a_login_without_an_answer(
    client: clients.Client, obstacle: Obstacle, was_sent: bool, told: str
) -> None:
    token = answer(200, {}, b'{"access_token": "t", "token_type": "Bearer"}')
    error: Any = OSError("gone")
    error.obstacle = obstacle
    error.request = SimpleNamespace(url=f"https://thingspace.verizon.com{LOGIN_PATH}")
    lost = Refused(error, is_transient=True, had_no_effect=not was_sent)
    account = VzM2mCredentials("user", PASSWORD)
    *_, finding = findings_after(client, token, lost, m2m=account)
    assert finding.step == "session"
    assert told in finding.remedy
