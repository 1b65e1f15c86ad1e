"""Part 4: ``thingspace-auth clear`` forgets what is stored, ``revoke`` revokes at the server."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest.importorskip("click")
pytest.importorskip("rich")
pytest.importorskip("filelock")
pytest.importorskip("platformdirs")

from thingspace_auth_adapters._core import login_guard

from ..support.command_line import ACCOUNT, Shell, raising

ON_HOLD = {"errorCode": "REQUEST_FAILED.Login", "errorMessage": "The account is on hold."}

pytestmark = pytest.mark.usefixtures("simulator")


def entries_of(directory: Path) -> dict[Path, bytes]:
    """What a store's files hold, its locks aside."""
    return {path: path.read_bytes() for path in (directory / "store").glob("*.json")}


# clear


def test_clear_forgets_token_and_session_and_files_of_killed_writers(
    shell: Shell, account: None, tmp_path: Path
) -> None:
    shell.out("headers")
    left = tmp_path / "store" / f"{'0' * 32}.new"
    left.write_text("a token")
    left.chmod(0o600)
    shell.simulator.clear()
    out = shell.out("clear")
    assert str(tmp_path / "store") in out
    assert "failed logins" in out
    assert entries_of(tmp_path) == {}
    assert not left.exists()
    assert shell.simulator.requests == []
    shell.out("headers")
    assert len(shell.simulator.token_requests) == len(shell.simulator.login_requests) == 1


def test_clear_without_an_account_says_that_the_session_stays(
    shell: Shell, account: None, tmp_path: Path
) -> None:
    shell.out("headers")
    before = entries_of(tmp_path)
    shell.unset(*ACCOUNT)
    assert "VZ_M2M_USERNAME" in shell.out("clear")
    assert len(entries_of(tmp_path)) == len(before) - 1


@pytest.mark.parametrize("with_account", [False, True])
def test_clear_of_a_store_that_is_empty_or_not_there(
    shell: Shell, account: None, with_account: bool
) -> None:
    shell.unset(*([] if with_account else ACCOUNT))
    for _ in range(2):
        shell.out("clear")
    assert shell.simulator.requests == []


def test_clear_allows_another_login_after_a_refused_one(shell: Shell, account: None) -> None:
    shell.simulator.fail("login", 400, body=ON_HOLD)
    for _ in range(3):
        # A shell starts a new process each time: only the store knows of the refusal.
        login_guard.forget_all()
        ran = shell.failure("headers")
        assert "on hold" in ran.err
        assert ran.remedy.endswith("run thingspace-auth clear")
    assert len(shell.simulator.login_requests) == 1
    shell.out("clear")
    shell.out("headers")
    assert len(shell.simulator.login_requests) == 2


def test_clear_without_the_extra_of_the_store_names_it(shell: Shell) -> None:
    error = ImportError("FileTokenStore needs filelock: pip install '…[files]'")
    shell.patch.setattr("thingspace_auth_adapters.stores.FileTokenStore", raising(error))
    ran = shell.failure("clear")
    assert (ran.out, "[files]" in ran.complaint) == ("", True)


@pytest.mark.skipif(os.name != "posix", reason="a path through a file is missing elsewhere")
@pytest.mark.parametrize("command", ["status", "clear"])
def test_a_store_that_cannot_be_reached_is_told_with_what_to_do(
    shell: Shell, lost_store: None, command: str
) -> None:
    ran = shell.failure(command)
    assert ran.out == ""
    assert "cannot be reached" in ran.complaint
    assert "THINGSPACE_AUTH_STORE" in ran.remedy


# revoke


def test_revoke_revokes_what_is_current_and_forgets_it_in_the_store(
    shell: Shell, account: None
) -> None:
    first = shell.out("headers").splitlines()
    out = shell.out("revoke")
    assert "revoked" in out
    assert "--fresh" not in out
    assert len(shell.simulator.requests_to("/oauth2/revoke")) == 1
    second = shell.out("headers").splitlines()
    assert first[0] != second[0]
    assert first[1:] == second[1:]
    assert (len(shell.simulator.issued_tokens), len(shell.simulator.login_requests)) == (2, 1)


def test_revoke_without_the_store_leaves_it_alone_and_says_how_to_get_another_token(
    shell: Shell, tmp_path: Path
) -> None:
    shell.out("token")
    kept = entries_of(tmp_path)
    assert "--fresh" in shell.out("revoke", "--no-store")
    assert kept
    assert kept == entries_of(tmp_path)
    assert len(shell.simulator.requests_to("/oauth2/revoke")) == 1


def test_revoke_that_fails_forgets_nothing(shell: Shell) -> None:
    before = shell.out("token")
    shell.simulator.fail("revoke", 400)
    shell.failure("revoke")
    shell.simulator.clear()
    assert shell.out("token") == before
    assert shell.simulator.token_requests == []
