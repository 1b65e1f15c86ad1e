"""``thingspace-auth curl``: the headers reach curl unseen, and go nowhere else."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("click")
pytest.importorskip("rich")

from thingspace_auth_adapters.cli import curl
from thingspace_auth_adapters.cli.advice import WrongUsage
from thingspace_auth_adapters.cli.curl_options import BY_LETTER, FLAGS, WITH_VALUE
from thingspace_auth_adapters.simulator import ThingspaceSimulator

from .command_line import SECRET, Ran, run, set_up, simulated

HOST = "https://thingspace.verizon.com"
DEVICES = f"{HOST}/api/m2m/v1/devices"

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    set_up(monkeypatch, tmp_path / "store")


@pytest.fixture
def simulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[ThingspaceSimulator]:
    with simulated(monkeypatch) as simulator:
        yield simulator


class Curl:
    """Stands for the program: what it was started with.

    Attributes:
        command: its arguments, if it was started.
        config: what it got on standard input.
        status: what it exits with.
    """

    def __init__(self) -> None:
        self.command: list[str] = []
        self.config = ""
        self.status = 0

    def run(self, command: list[str], input: bytes, check: bool) -> Any:
        self.command, self.config = command, input.decode()
        return subprocess.CompletedProcess(command, self.status)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Curl:
    """What is started in the place of curl."""
    fake = Curl()
    monkeypatch.setattr("thingspace_auth_adapters.cli.curl.subprocess", fake)
    return fake


class Auth:
    """An auth object, by default for the real platform, that has its tokens.

    Attributes:
        asked: the URLs whose headers were asked for.
    """

    def __init__(self, base_url: str = HOST) -> None:
        from thingspace_auth_adapters._model.credentials import ThingspaceOauthCredentials
        from thingspace_auth_adapters._model.settings import Settings

        credentials = ThingspaceOauthCredentials("key", SECRET)
        self._settings = Settings(credentials, base_url, None, 30)
        self.asked: list[str] = []

    def headers(self, url: str) -> dict[str, str]:
        from thingspace_auth_adapters._model.hosts import origin_of

        self.asked.append(url)
        names = self._settings.allowed_hosts.header_names(origin_of(url))
        return dict(zip(names, ('Bearer t"\\oken', "session")))


@needs_curl
def test_curl_sends_both_headers(
    capfd: pytest.CaptureFixture[str], simulator: ThingspaceSimulator
) -> None:
    ran = run(capfd, "curl", "-sS", f"{simulator.url}/api/m2m/v1/devices")
    assert (ran.status, ran.err) == (0, "")
    assert '"session_number": 1' in ran.out
    (request,) = simulator.api_requests
    assert request.headers["authorization"] == f"Bearer {simulator.issued_tokens[0]}"
    assert request.headers["vz-m2m-token"] == simulator.issued_sessions[0]


@needs_curl
def test_its_exit_status_is_curls(
    capfd: pytest.CaptureFixture[str], simulator: ThingspaceSimulator
) -> None:
    url = f"{simulator.url}/api/x?status=404"
    assert run(capfd, "curl", "--no-store", "-s", "--fail", url).status == 22


@needs_curl
def test_fresh_sends_other_tokens_than_the_rejected_ones_that_are_kept(
    capfd: pytest.CaptureFixture[str], simulator: ThingspaceSimulator
) -> None:
    pytest.importorskip("filelock")
    url = f"{simulator.url}/api/m2m/v1/devices"
    statuses = []
    for arguments in ([], [], ["--fresh"], []):
        run(capfd, "curl", *arguments, "-sS", url)
        statuses.append(simulator.api_requests[-1].status)
        if len(statuses) == 1:
            simulator.revoke()
            simulator.end_sessions()
    assert statuses == [200, 401, 200, 200]
    assert len(simulator.login_requests) == 2


@needs_curl
def test_a_curlrc_that_follows_redirects_is_not_read(
    capfd: pytest.CaptureFixture[str],
    simulator: ThingspaceSimulator,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    (tmp_path / ".curlrc").write_text("location\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CURL_HOME", str(tmp_path))
    with ThingspaceSimulator() as elsewhere:
        url = f"{simulator.url}/api/x?redirect={elsewhere.url}/api/y&code=302"
        assert run(capfd, "curl", "-sS", url).status == 0
        assert elsewhere.requests == []


@needs_curl
def test_plain_http_on_loopback_goes_through_no_proxy(
    capfd: pytest.CaptureFixture[str],
    simulator: ThingspaceSimulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with ThingspaceSimulator() as proxy:
        for name in ("http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        assert run(capfd, "curl", "-sS", f"{simulator.url}/api/x").status == 0
        assert proxy.requests == []
    assert len(simulator.api_requests) == 1


@needs_curl
def test_a_proxy_on_the_way_to_https_does_not_see_the_headers() -> None:
    asked: list[bytes] = []

    def refuse() -> None:
        connection, _ = listener.accept()
        with connection:
            asked.append(connection.recv(65536))
            connection.sendall(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(30)
        thread = threading.Thread(target=refuse)
        thread.start()
        proxy = f"http://127.0.0.1:{listener.getsockname()[1]}"
        assert curl.run_curl(Auth(), ["-sx", proxy, DEVICES]) != 0
        thread.join()
    assert asked[0].startswith(b"CONNECT thingspace.verizon.com:443 ")
    assert b"session" not in asked[0]
    assert b"Bearer" not in asked[0]


def test_the_headers_are_neither_among_curls_arguments_nor_in_its_environment(
    capsys: pytest.CaptureFixture[str], simulator: ThingspaceSimulator, started: Curl
) -> None:
    url = f"{simulator.url}/api/m2m/v1/devices"
    assert run(capsys, "curl", "-sS", url).status == 0
    tokens = (*simulator.issued_tokens, *simulator.issued_sessions)
    assert len(tokens) == 2
    for token in tokens:
        assert all(token not in argument for argument in started.command)
        assert all(token not in value for value in os.environ.values())
        assert token in started.config


def test_arguments_are_passed_on_as_they_are(started: Curl) -> None:
    arguments = ["-sSXPOST", "-d", "a b", "--json", "{}", "-odown load", "-H", "X: y", DEVICES]
    assert curl.run_curl(Auth(), arguments) == 0
    assert started.command == ["curl", "-q", "--config", "-", *arguments]


def test_what_curl_would_take_for_an_end_is_escaped(started: Curl) -> None:
    curl.run_curl(Auth(), [DEVICES])
    assert started.config.splitlines() == [
        'header = "Authorization: Bearer t\\"\\\\oken"',
        'header = "VZ-M2M-Token: session"',
    ]


@pytest.mark.parametrize(("status", "told"), [(7, 7), (-9, 137)])
def test_a_signal_that_ended_curl_is_told_as_a_shell_does(
    started: Curl, status: int, told: int
) -> None:
    started.status = status
    assert curl.run_curl(Auth(), [DEVICES]) == told


def test_without_a_token_nothing_is_started(
    capsys: pytest.CaptureFixture[str], simulator: ThingspaceSimulator, started: Curl
) -> None:
    simulator.fail("token", 401, body={"error": "invalid_client"})
    ran = run(capsys, "curl", f"{simulator.url}/api/x")
    assert ran.status == 1
    assert "the key or the secret is wrong" in ran.remedy
    assert started.command == []


def test_without_curl_it_says_so(
    capsys: pytest.CaptureFixture[str],
    simulator: ThingspaceSimulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "")
    ran = run(capsys, "curl", f"{simulator.url}/api/x")
    assert ran.status == 1
    assert "curl is not installed" in ran.complaint


@pytest.mark.parametrize(
    "arguments",
    [
        ["-L", DEVICES],
        ["-sSL", DEVICES],
        ["-sLo", "file", DEVICES],
        ["--location", DEVICES],
        ["--location-trusted", DEVICES],
        ["--loc", DEVICES],
        [DEVICES, "--next", "https://evil.example/"],
        [DEVICES, "--nex", "https://evil.example/"],
        [DEVICES, "-:", "https://evil.example/"],
        ["-K", "file", DEVICES],
        ["-Kfile", DEVICES],
        ["-sK", "file", DEVICES],
        ["--config", "file", DEVICES],
        ["--conf", "file", DEVICES],
        ["--proto-redir", "=all", DEVICES],
        ["--url=https://evil.example/", DEVICES],
        ["--url", "@urls", DEVICES],
        ["--url", "https://evil.example/", DEVICES],
        [DEVICES, "https://evil.example/"],
        ["-sS", "--", DEVICES],
        ["-", DEVICES],
        ["--libcurl", "file", DEVICES],
        ["--no-such", DEVICES],
        ["--silent=1", DEVICES],
        ["-s?", DEVICES],
        [DEVICES, "-o"],
        [DEVICES, "--output"],
        [],
        ["-sS"],
        ["thingspace.verizon.com/api/x"],
        [""],
        ["ftp://thingspace.verizon.com/"],
        ["https://evil.example/"],
        ["https://evil.example\\@thingspace.verizon.com/"],
        ["https://thingspace.verizon.com@evil.example/"],
        ["https://thingspace.verizon.com{.evil.example,}/"],
        ["https://{evil.example,thingspace.verizon.com}/"],
        ["https://[1-9].verizon.com/"],
        [DEVICES, "https://imp.thingspace.verizon.com/api/x"],
        [DEVICES, "https://5gedge.verizon.com/api/x"],
        ["-H", "Authorization: Basic x", DEVICES],
        ["--header", "vz-m2m-token: x", DEVICES],
        ["-HSessionToken;", DEVICES],
        ["-u", "user:password", DEVICES],
        ["-k", DEVICES],
        ["-sSk", DEVICES],
        ["--insecure", "--connect-to", "::127.0.0.1:1", DEVICES],
        ["-k", "https://127.0.0.1/", DEVICES],
        ["--trace", "file", DEVICES],
        ["--trace-ascii", "file", DEVICES],
    ],
    ids=" ".join,
)
def test_what_could_take_the_headers_elsewhere_is_refused(
    started: Curl, arguments: list[str]
) -> None:
    auth = Auth()
    with pytest.raises(WrongUsage) as caught:
        curl.run_curl(auth, arguments)
    assert started.command == []
    assert caught.value.remedy
    assert "evil" not in f"{caught.value} {caught.value.remedy}"


@pytest.mark.parametrize(
    "arguments",
    [
        ["-d", "@-"],
        ["-d@-"],
        ["--data-binary", "@/dev/stdin"],
        ["--data-urlencode", "name@-"],
        ["--json", "@-"],
        ["-F", "file=@-"],
        ["-F", "file=<-;type=text/plain"],
        ["-F", "file=@one,-"],
        ["-T", "-"],
        ["-T."],
        ["-H", "@-"],
        ["-b", "-"],
        ["-w", "@-"],
        ["--url-query", "@-"],
        ["-F", 'file=@"-"'],
        ["-F", 'file=<"/dev/stdin"'],
        ["-F", 'file=@one, "-" ;type=text/plain'],
        ["-d", "@/dev/./stdin"],
        ["-d", "@/dev/fd/0"],
        pytest.param(
            ["-d", "@//dev/stdin"],
            marks=pytest.mark.skipif(os.name == "nt", reason="that is a server's name there"),
        ),
        ["--data-binary", "@/proc/self/../self/fd/0"],
        ["-T", "/dev//stdin"],
    ],
    ids=" ".join,
)
def test_what_reads_standard_input_is_refused(started: Curl, arguments: list[str]) -> None:
    with pytest.raises(WrongUsage, match="standard input"):
        curl.run_curl(Auth(), [*arguments, DEVICES])
    assert started.command == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["-o", "-"],
        ["-d", "mail=a@-b"],
        ["-F", "file=@a-b.txt"],
        ["--data-raw", "@-"],
        ["--form-string", "x=@-"],
        ["-T", "file"],
        ["-w", "%{http_code}"],
        ["-x", "http://proxy:3128"],
        ["--resolve", "thingspace.verizon.com:443:127.0.0.1"],
        ["-o", "-L"],
        ["-sS", "-o", "--next"],
        ["-H", "X-Authorization: x"],
        ["-b", "/dev/null"],
        ["-b", "name=-"],
        ["-d", "@stdin"],
    ],
    ids=" ".join,
)
def test_what_only_looks_like_it_is_passed_on(started: Curl, arguments: list[str]) -> None:
    assert curl.run_curl(Auth(), [*arguments, DEVICES]) == 0
    assert started.command[-len(arguments) - 1 :] == [*arguments, DEVICES]


def test_several_urls_that_need_the_same_headers_are_fine(started: Curl) -> None:
    auth = Auth()
    arguments = [DEVICES, f"{HOST}/api/x/[1-3]", "--url", f"{HOST}/api/{{y,z}}"]
    assert curl.run_curl(auth, arguments) == 0
    assert len(auth.asked) == 3


def test_no_url_is_asked_for_while_another_is_not_allowed() -> None:
    auth = Auth()
    with pytest.raises(WrongUsage, match="URL 2"):
        curl.run_curl(auth, [DEVICES, "https://evil.example/"])
    assert auth.asked == []


def test_plain_http_to_the_platform_is_refused(
    capsys: pytest.CaptureFixture[str],
    simulator: ThingspaceSimulator,
    monkeypatch: pytest.MonkeyPatch,
    started: Curl,
) -> None:
    monkeypatch.delenv("THINGSPACE_BASE_URL")
    ran = run(capsys, "curl", "http://thingspace.verizon.com/api/x")
    assert ran.status == 1
    assert "plain http" in ran.complaint
    assert "https://" in ran.remedy
    assert started.command == []


@pytest.mark.parametrize("option", ["-x", "--proxy", "--noproxy", "--resolve", "--connect-to"])
def test_nothing_may_lead_plain_http_away_from_this_machine(
    capsys: pytest.CaptureFixture[str],
    simulator: ThingspaceSimulator,
    started: Curl,
    option: str,
) -> None:
    ran: Ran = run(capsys, "curl", option, "value", f"{simulator.url}/api/x")
    assert ran.status == 2
    assert started.command == []


def test_insecure_https_stays_on_this_machine(started: Curl) -> None:
    auth, url = Auth("https://127.0.0.1:8443"), "https://127.0.0.1:8443/api/x"
    assert curl.run_curl(auth, ["-k", url]) == 0
    assert started.command[4:] == ["-k", url, "--noproxy", "*"]
    for option in ("--proxy", "--noproxy", "--resolve", "--connect-to"):
        with pytest.raises(WrongUsage, match="away from this machine"):
            curl.run_curl(auth, ["-k", option, "value", url])
    assert curl.run_curl(auth, ["--resolve", "value", url]) == 0


def test_options_of_its_own_come_before_curls(
    capsys: pytest.CaptureFixture[str],
    simulator: ThingspaceSimulator,
    started: Curl,
    tmp_path: Path,
) -> None:
    url = f"{simulator.url}/api/x"
    assert run(capsys, "curl", "--no-store", "--scope", "read", "-oheaders", url).status == 0
    assert started.command[4:] == ["-oheaders", url, "--noproxy", "*"]
    assert not (tmp_path / "store").exists()
    assert run(capsys, "curl", url, "--no-store").status == 2


@needs_curl
def test_each_option_is_one_of_curls_and_takes_a_value_or_does_not(tmp_path: Path) -> None:
    finished = subprocess.run(
        ["curl", "--help", "all"], capture_output=True, text=True, check=False
    )
    lines = [line.split() for line in finished.stdout.splitlines()]
    known: dict[str, bool] = {}
    for words in lines:
        names = [word.rstrip(",") for word in words[:2] if word.startswith("-")]
        if names:
            takes_value = words[len(names)].startswith(("<", "["))
            known.update(dict.fromkeys(names, takes_value))
    if len(known) < 200:
        pytest.skip("this curl does not list its options")
    for name in (*FLAGS, *WITH_VALUE):
        assert known.get(f"--{name}", name in WITH_VALUE) == (name in WITH_VALUE)
    for letter, name in BY_LETTER.items():
        assert known[f"-{letter}"] == (name in WITH_VALUE)
