"""Running curl with our headers, which appear in no process list.

curl gets them on standard input, as a configuration, so none of its arguments may read that. And
it sends them to each of its URLs, so all of these must be known, and be allowed: an option that is
not in ``curl_options`` is refused.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from .._model.hosts import origin_of
from .advice import Problem, WrongUsage
from .curl_options import BY_LETTER, FLAGS, WITH_VALUE

_DISCLOSURE = "curl writes the headers to a file that others may be able to read"
_WHY_REFUSED = {
    "-L": "curl takes the headers along to wherever a redirect leads",
    "--location": "curl takes the headers along to wherever a redirect leads",
    "--location-trusted": "curl takes the headers along to wherever a redirect leads",
    "-:": "the headers are for the URLs of one request",
    "--next": "the headers are for the URLs of one request",
    "-K": "there may be other URLs in the file",
    "--config": "there may be other URLs in the file",
    "--trace": _DISCLOSURE,
    "--trace-ascii": _DISCLOSURE,
}
_FILES_READ = {
    "cookie": r"([^=]*)\Z",
    "data": r"@(.*)",
    "data-ascii": r"@(.*)",
    "data-binary": r"@(.*)",
    "data-urlencode": r"[^=@]*@(.*)",
    "form": r"[^=]*=[@<](.*)",
    "header": r"@(.*)",
    "json": r"@(.*)",
    "upload-file": r"(.*)",
    "url-query": r"[^=@]*@(.*)",
    "write-out": r"@(.*)",
}
"""Which part of an option's value names a file that curl reads, or in a form several."""

_STDIN = (("/dev", "stdin"), ("/dev/fd", "0"), ("/proc/self/fd", "0"))
_OUR_HEADER = r"(?i)\s*(?:authorization|vz-m2m-token|sessiontoken)\s*[:;].*"
_LEADS_ELSEWHERE = ("connect-to", "noproxy", "proxy", "resolve")


class _Argument(NamedTuple):
    """One of curl's options, by its long name; a URL is the value of ``url``."""

    name: str
    value: str


def run_curl(auth: Any, arguments: Sequence[str]) -> int:
    """Run curl with the headers for the URLs among its arguments; the result is its exit status.

    Args:
        auth (ThingspaceAuth): of any library.
        arguments: curl's.

    Raises:
        WrongUsage: curl is not run, because of one of its arguments.
        Problem: it is not installed.
        ThingspaceAuthError: there is no token, or no session.
    """
    found = list(_taken_apart(arguments))
    urls = [argument.value for argument in found if argument.name == "url"]
    if not urls:
        raise WrongUsage("there is no URL among curl's arguments", "add one: https://...")
    is_insecure = any(argument.name == "insecure" for argument in found)
    if is_insecure and not all(_is_loopback(url) for url in urls):
        raise WrongUsage(
            "curl's --insecure is refused: anybody on the way could get the headers",
            "leave it out; --cacert FILE names the CA certificates to trust",
        )
    # What nobody's certificate protects is to stay on this machine.
    is_local = is_insecure or any(_is_plain(url) for url in urls)
    _check(found, is_local)
    return _run(_command(arguments, is_local), _config(_headers(auth, urls)))


def _command(arguments: Sequence[str], is_local: bool) -> list[str]:
    # First of all -q: the user's .curlrc may follow redirects.
    command = ["curl", "-q", "--config", "-", *arguments]
    return [*command, "--noproxy", "*"] if is_local else command


def _run(command: Sequence[str], config: bytes) -> int:
    try:
        status = subprocess.run(command, input=config, check=False).returncode  # noqa: S603
    except FileNotFoundError:
        raise Problem("curl is not installed, or not on the PATH", "install it") from None
    # As a shell has it, if a signal ended curl.
    return status if status >= 0 else 128 - status


def _taken_apart(arguments: Sequence[str]) -> Iterator[_Argument]:
    left = deque(arguments)
    while left:
        number, text = len(arguments) - len(left) + 1, left.popleft()
        if text.startswith("--"):
            yield _long(text, left, number)
        elif text.startswith("-"):
            yield from _short(text[1:], left, number)
        else:
            yield _Argument("url", text)


def _long(text: str, left: deque[str], number: int) -> _Argument:
    name = text[2:]
    if name in FLAGS:
        return _Argument(name, "")
    if name in WITH_VALUE:
        return _Argument(name, _value(name, left))
    raise _refused(text, number)


def _short(letters: str, left: deque[str], number: int) -> Iterator[_Argument]:
    """The options of a bundle such as ``-sSo file``."""
    for position, letter in enumerate(letters, 1):
        name = BY_LETTER.get(letter)
        if name is None:
            raise _refused(f"-{letter}", number)
        if name in WITH_VALUE:
            yield _Argument(name, letters[position:] or _value(name, left))
            return
        yield _Argument(name, "")
    if not letters:
        raise _refused("-", number)


def _value(name: str, left: deque[str]) -> str:
    if not left:
        raise WrongUsage(f"curl's --{name} has no value", "add it")
    return left.popleft()


def _refused(option: str, number: int) -> WrongUsage:
    if option in _WHY_REFUSED:
        return WrongUsage(f"curl's {option} is refused: {_WHY_REFUSED[option]}", "leave it out")
    # Not quoted: it may hold a secret.
    return WrongUsage(
        f"argument {number} for curl is an option that is not known here, so curl is not run",
        "leave it out, or write its name in full and its value as the next argument",
    )


def _check(arguments: Iterable[_Argument], is_local: bool) -> None:
    for name, value in arguments:
        if _reads_stdin(name, value):
            raise WrongUsage(
                f"curl's --{name} is to read standard input, on which curl gets the headers",
                "put it into a file, and name the file",
            )
        if name == "header" and re.fullmatch(_OUR_HEADER, value, re.DOTALL):
            raise WrongUsage(
                "curl's --header sets a header that this command is to set", "leave it out"
            )
        if is_local and name in _LEADS_ELSEWHERE:
            raise WrongUsage(
                f"curl's --{name} may lead plain http, or https with --insecure, away from this"
                " machine",
                "leave it out",
            )


def _reads_stdin(name: str, value: str) -> bool:
    pattern = _FILES_READ.get(name)
    match = None if pattern is None else re.match(pattern, value, re.DOTALL)
    if match is None:
        return False
    files = _files(match[1]) if name == "form" else [match[1]]
    return (name, value) == ("upload-file", ".") or any(map(_is_stdin, files))


def _files(text: str) -> list[str]:
    """The files of a form's field, among what else is said of them."""
    return [word.strip().strip('"') for word in re.split("[,;]", text)]


def _is_stdin(file: str) -> bool:
    folder, name = os.path.split(file)
    # The last link is not followed: it leads to whatever standard input is, such as /dev/null.
    place = (os.path.realpath(folder), name)
    return file == "-" or place in [(os.path.realpath(there), one) for there, one in _STDIN]


def _is_plain(url: str) -> bool:
    return not url.lower().startswith("https:")


def _is_loopback(url: str) -> bool:
    target = origin_of(url)
    return target is not None and target.is_loopback


def _headers(auth: Any, urls: Sequence[str]) -> dict[str, str]:
    """The headers that each of the URLs needs.

    Raises:
        WrongUsage: they need different ones, or a URL is not allowed.
        InsecureTransportError: a URL is that of an allowed host, over plain http.
    """
    for number, url in enumerate(urls, 1):
        if not re.match(r"(?i)https?://", url):
            raise WrongUsage(f"URL {number} does not begin with https://", "write it in full")
        if not auth._settings.allowed_hosts.header_names(origin_of(url)):
            raise WrongUsage(
                f"URL {number} is on a host that is not allowed to get a token, so curl is not run",
                "allowed are thingspace.verizon.com, *.thingspace.verizon.com and"
                " 5gedge.verizon.com, or the host of THINGSPACE_BASE_URL if that is none of these",
            )
    first: dict[str, str]
    first, *others = (auth.headers(url) for url in urls)
    if any(other.keys() != first.keys() for other in others):
        raise WrongUsage("the URLs need different headers", "run curl once for each kind of host")
    return first


def _config(headers: dict[str, str]) -> bytes:
    lines = []
    for name, value in headers.items():
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        lines.append(f'header = "{name}: {escaped}"\n')
    return "".join(lines).encode("ascii")
