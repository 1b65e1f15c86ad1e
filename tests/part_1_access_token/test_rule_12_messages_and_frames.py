"""Part 1, rule 12: what messages, reprs, frames and stderr show, and that no secret is in it."""

from __future__ import annotations

import io
import logging
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from thingspace_auth_adapters import (
    M2mLoginError,
    OauthProviderError,
    ThingspaceOauthCredentials,
    VzM2mCredentials,
)
from thingspace_auth_adapters._adapters.case import Case, Outgoing
from thingspace_auth_adapters.stores import StoreUnavailable, TokenStore

from ..support.kinds import IDENTITY, Kind
from ..support.virtual import API, LOGIN_REFUSED, Answer, Platform

SECRET = IDENTITY["oauth_client_secret"]
PASSWORD = "pasted-into-both"
ROOT = str(Path(__file__).parents[2])


# A name that holds its secret, as if both were pasted into one field.


def test_key_that_holds_the_secret_is_withheld(kind: Kind, platform: Platform) -> None:
    platform.tokens = [Answer(401)]
    auth = kind.auth(platform, oauth_client_id=f"the-key {SECRET}")
    with pytest.raises(OauthProviderError, match="withheld") as caught:
        kind.get(auth, API, platform)
    assert SECRET not in str(caught.value)


def test_user_name_that_holds_the_password_is_withheld(kind: Kind, platform: Platform) -> None:
    platform.logins = [Answer(400, LOGIN_REFUSED)]
    auth = kind.auth(platform, m2m=VzM2mCredentials(f"user {PASSWORD}", PASSWORD))
    for _ in range(2):
        with pytest.raises(M2mLoginError, match="withheld") as caught:
            kind.get(auth, API, platform)
        assert PASSWORD not in str(caught.value)


def test_repr_hides_what_holds_a_secret() -> None:
    both = f"user {PASSWORD}"
    assert PASSWORD not in repr(VzM2mCredentials(both, PASSWORD))
    assert PASSWORD not in repr(ThingspaceOauthCredentials(both, PASSWORD))
    assert "'user'" in repr(VzM2mCredentials("user", PASSWORD))
    assert "'the-key'" in repr(ThingspaceOauthCredentials("the-key", PASSWORD))


def test_what_stands_in_for_requests_shows_no_token(kind: Kind, platform: Platform) -> None:
    sent = Outgoing(None, API, "GET", {"authorization": "Bearer the-token"}, None)
    bearer = ("Authorization", kind.auth(platform)._tokens.bearers)
    case = Case(sent, (bearer,), bearer, True, 401, None)
    assert case.value == "Bearer the-token"
    assert "the-token" not in repr(case) + repr(sent)


# The live stack, which crash reporters take, too.


class Stack(logging.Handler):
    """Keeps what the package's frames hold while a record is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        frame: FrameType | None = sys._getframe()
        while frame is not None:
            if "thingspace_auth_adapters" in frame.f_code.co_filename:
                self.shown.append(repr(frame.f_locals))
            frame = frame.f_back


class ForgedStore(TokenStore):
    """A store of corrupt entries, in which tokens cannot be written."""

    def read(self, name: str) -> bytes | None:
        return b'{"fields": {"token": "token-0"}, "seal": "forged"}'

    def write(self, name: str, content: bytes) -> None:
        if b"token" in content:
            raise StoreUnavailable("disk full")

    def delete(self, name: str) -> None: ...

    @contextmanager
    def locked(self, name: str, patience: float) -> Iterator[None]:
        yield


@pytest.fixture
def stack() -> Iterator[Stack]:
    handler, logger = Stack(), logging.getLogger("thingspace_auth_adapters")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


def test_what_our_frames_hold_while_a_warning_is_logged_shows_no_token(
    kind: Kind, platform: Platform, stack: Stack
) -> None:
    auth = kind.auth(platform, m2m=VzM2mCredentials("user", PASSWORD), store=ForgedStore())
    for _ in range(2):
        kind.get(auth, API, platform, headers={"VZ-M2M-Token": "hers-1"})
    ours = {"Authorization": "Bearer token-1", "VZ-M2M-Token": "session-1"}
    for url in ("https://evil.example/", "https://5gedge.verizon.com/api/mec/eds"):
        kind.get(auth, url, platform, headers=ours)
    assert len(stack.shown) > 5
    for secret in ("token-0", "token-1", "session-1", "hers-1", PASSWORD, "s3cr3t"):
        assert not [text for text in stack.shown if secret in text]


# Where warnings are seen.

SCRIPT = f"""
import sys; sys.path.insert(0, {ROOT!r})
import logging, thingspace_auth_adapters
logger = logging.getLogger("thingspace_auth_adapters")
assert [isinstance(one, logging.NullHandler) for one in logger.handlers] == [True]
root = logging.getLogger()
root_handlers, last_resort = list(root.handlers), logging.lastResort
for set_up in sys.argv[1:]:
    handlers, level = list(logger.handlers), logger.level
    exec(set_up)
    print("after", set_up, file=sys.stderr)
    logger.warning("a warning: %s", 7)
    logger.info("not a warning")
    logger.handlers, root.handlers = handlers, list(root_handlers)
    logger.setLevel(level)
    logging.lastResort = last_resort
"""
OURS = "thingspace_auth_adapters: a warning: 7\n"
SEEN = {
    "pass": OURS,
    "logging.basicConfig()": "WARNING:thingspace_auth_adapters:a warning: 7\n",
    "root.addHandler(logging.NullHandler())": "",
    "logger.addHandler(logging.NullHandler())": "",
    "logger.setLevel(logging.ERROR)": "",
    "logging.lastResort = None": "",
    "import importlib, thingspace_auth_adapters._model.events as e; importlib.reload(e)": OURS,
}


def test_warnings_reach_stderr_unless_logging_is_set_up() -> None:
    command = [sys.executable, "-I", "-c", SCRIPT, *SEEN]
    finished = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert finished.stderr == "".join(f"after {name}\n{seen}" for name, seen in SEEN.items())


class Broken(io.StringIO):
    """A stream that cannot be written to."""

    def write(self, text: str) -> int:
        raise RuntimeError("the window is gone")


def closed() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize("make_stderr", [closed, Broken, lambda: None])
def test_warning_that_cannot_be_shown_fails_nothing(
    monkeypatch: pytest.MonkeyPatch, make_stderr: Any
) -> None:
    monkeypatch.setattr(sys, "stderr", make_stderr())
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    logging.getLogger("thingspace_auth_adapters").warning("a warning")
