"""The code of README and documentation runs, and what they list is what there is."""

from __future__ import annotations

import importlib
import inspect
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import thingspace_auth_adapters
from thingspace_auth_adapters import AuthEvent, OauthScopeThingspaceOauthEnum, VzM2mCredentials
from thingspace_auth_adapters._adapters import auth as auth_module
from thingspace_auth_adapters._model.credentials import FIELDS
from thingspace_auth_adapters.simulator import ThingspaceSimulator

from ..support.snippets import (
    DOCS,
    ROOT,
    at_home_in,
    executed,
    python_blocks,
    skip_without_libraries_of,
)

BLOCKS = [
    pytest.param(block, id=f"{page.stem}-{number}")
    for page in (ROOT / "README.md", *sorted(DOCS.glob("*.md")))
    for number, block in enumerate(python_blocks(page), 1)
]
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
status = requests.get(base_url + "/api/m2m/v1/devices", auth=auth, timeout=30).status_code
"""


@pytest.fixture(autouse=True)
def directory_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    at_home_in(tmp_path, monkeypatch)


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    ours, handlers = logging.getLogger("thingspace_auth_adapters"), list(logging.root.handlers)
    yield
    ours.setLevel(logging.NOTSET)
    logging.root.handlers[:] = handlers


def text_of(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


def first_cells(page: str, heading: str) -> list[str]:
    """What the rows of the table under a heading begin with, without backticks."""
    section = re.split(r"^#+ ", text_of(page).split(f"# {heading}\n")[1], flags=re.M)[0]
    rows = re.findall(r"^\| (.+?) \|", section, re.M)
    return [cell for row in rows[2:] for cell in re.findall(r"`(\w+)", row)]


def public_names(kind: type) -> set[str]:
    """What a class and its bases in this package offer to users."""
    ours = [one for one in kind.__mro__ if one.__module__.startswith("thingspace_auth_adapters")]
    return {name for one in ours for name in vars(one) if not name.startswith("_")}


# Code.


@pytest.mark.parametrize("block", BLOCKS)
def test_code_runs(simulator: ThingspaceSimulator, block: str) -> None:
    compile(block, "docs", "exec")
    skip_without_libraries_of(block)
    executed(block)


def test_database_of_the_callbacks_is_found_by_the_second_process(
    simulator: ThingspaceSimulator,
) -> None:
    (block,) = (one for one in python_blocks(DOCS / "callbacks.md") if "def load_token" in one)
    code = block + USE_OF_THE_DATABASE
    skip_without_libraries_of(code)
    assert [executed(code)["status"] for _ in range(2)] == [200, 200]
    assert len(simulator.token_requests) == 1


def test_two_headers_survive_before_and_after(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = [one for one in python_blocks(DOCS / "two-headers.md") if "show_devices" in one]
    assert len(blocks) == 2
    for block in blocks:
        skip_without_libraries_of(block)
        with ThingspaceSimulator(
            "key", "secret", username="user", password="password", sessions_required=True
        ) as simulator:
            code = block.replace("https://thingspace.verizon.com", simulator.url)
            names = executed(code.replace("m2m=", f"base_url={simulator.url!r}, m2m="))
            names["show_devices"](iccids_while_tokens_die(simulator))
            assert capsys.readouterr().out == "1 200\n2 200\n3 200\n4 200\n"
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


def test_callers_of_the_errors_page_learn_what_is_wrong(simulator: ThingspaceSimulator) -> None:
    (block,) = python_blocks(DOCS / "errors.md")
    skip_without_libraries_of(block)
    url = f"{simulator.url}/api/m2m/v1/devices"
    simulator.password = "another"
    names = executed(block)
    simulator.fail("token", 401)
    with pytest.raises(SystemExit, match=r"^no token: "):
        names["count_devices"](url)
    with pytest.raises(SystemExit, match=r"^the login was refused .*allow_login"):
        names["count_devices"](url)
    names["session"].close()


# Tables and lists.


def test_every_error_has_a_section() -> None:
    sections = set(re.findall(r"^### (\w+)$", text_of("errors.md"), re.M))
    kinds = vars(thingspace_auth_adapters.errors).values()
    errors = {
        kind.__name__
        for kind in kinds
        if isinstance(kind, type) and issubclass(kind, thingspace_auth_adapters.ThingspaceAuthError)
    }
    assert errors - {"ThingspaceAuthError"} <= sections


def test_every_public_name_is_in_the_reference() -> None:
    documented = set(re.findall(r"^### (\w+)$", text_of("reference.md"), re.M))
    assert {*thingspace_auth_adapters.__all__} - {"__version__"} <= documented
    assert {"FileTokenStore", "RedisTokenStore", "StoreUnavailable", "TokenStore"} <= documented


@pytest.mark.parametrize("library", ["requests", "httpx", "httpx2"])
def test_every_member_is_in_the_reference_and_the_table(library: str) -> None:
    pytest.importorskip(library)
    module = importlib.import_module(f"thingspace_auth_adapters.{library}")
    # How the adapters are built is no user's affair.
    names = public_names(module.ThingspaceAuth) - {"sync_auth_flow", "async_auth_flow"}
    assert names <= set(re.findall(r"\w+", text_of("reference.md")))
    assert names <= set(first_cells("options.md", "Members"))


def test_tables_of_options_and_events_have_every_name() -> None:
    names = re.findall(r"- ``(\w+)``:", inspect.getdoc(AuthEvent) or "")
    assert first_cells("observability.md", "Events") == [*AuthEvent._fields, *names]
    assert first_cells("options.md", "Credentials") == list(FIELDS)
    fields = [*inspect.signature(VzM2mCredentials).parameters]
    assert first_cells("options.md", "The M2M account") == fields
    parameters = {*inspect.signature(auth_module.ThingspaceAuth.__init__).parameters}
    options = parameters - {"self", "thingspace_oauth_credentials", "others", "fields"}
    assert {*first_cells("options.md", "Options")} == {*options, "session", "client_options"}


def test_table_of_scopes_is_the_enum() -> None:
    section = text_of("options.md").split("## Scopes\n")[1]
    rows = re.findall(r"^\| `(\w+)` \| `([\w.:]+)` \|", section, re.M)
    assert rows == [(scope.name, scope.value) for scope in OauthScopeThingspaceOauthEnum]


def test_every_example_is_in_the_quick_start() -> None:
    downloads = re.findall(r"\(\.\./examples/(\w+\.py)\)", text_of("quickstart.md"))
    assert sorted(downloads) == sorted(path.name for path in (ROOT / "examples").glob("*.py"))
