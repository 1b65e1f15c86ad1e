"""Part 1, rules 2 and 3: the seed's own provider and callback, with a real table of tokens."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from thingspace_auth_adapters import (
    OauthScopeThingspaceOauthEnum,
    OauthToken,
    ThingspaceOauthCredentials,
)
from thingspace_auth_adapters.simulator import ThingspaceSimulator

from ..support.crowds import PATH
from ..support.kinds import Kind
from ..support.virtual import API, Platform, VirtualClock

OTHER_PROCESS = """
import contextlib, json, sqlite3, sys
from thingspace_auth_adapters import OauthToken

with contextlib.closing(sqlite3.connect(sys.argv[1])) as database:
    (text,) = database.execute("SELECT token FROM tokens").fetchone()
print(OauthToken.from_dict(json.loads(text)).access_token)
"""


class Database:
    """A real table with at most one token."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with self.connection() as connection:
            connection.execute("CREATE TABLE tokens (token TEXT)")

    @contextmanager
    def connection(self) -> Generator[sqlite3.Connection, None, None]:
        with closing(sqlite3.connect(self.path)) as connection, connection:
            yield connection

    def save_token_to_database(self, oauth_token: OauthToken) -> None:
        with self.connection() as connection:
            connection.execute("DELETE FROM tokens")
            connection.execute("INSERT INTO tokens VALUES (?)", [json.dumps(oauth_token.to_dict())])

    def load_token_from_database(self) -> OauthToken | None:
        with self.connection() as connection:
            row = connection.execute("SELECT token FROM tokens").fetchone()
        return None if row is None else OauthToken.from_dict(json.loads(row[0]))

    def read_by_another_process(self) -> str:
        command = [sys.executable, "-c", OTHER_PROCESS, str(self.path)]
        return subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=60
        ).stdout.strip()


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path / "tokens.sqlite")


def test_custom_token_provider_with_a_database(
    kind: Kind, platform: Platform, clock: VirtualClock, database: Database
) -> None:
    """The stored token expires in its table, and nobody but the adapter notices."""

    def _oauth_token_provider(last_oauth_token: Any, auth_manager: Any) -> Any:
        # Add the callback handler to provide a new OAuth token
        # It will be triggered whenever the last provided o_auth_token is null or expired
        oauth_token = database.load_token_from_database()
        if oauth_token is None:
            oauth_token = auth_manager.fetch_token()
        return oauth_token

    credentials = ThingspaceOauthCredentials(
        oauth_client_id="OAuthClientId",
        oauth_client_secret="OAuthClientSecret",
        oauth_scopes=[
            OauthScopeThingspaceOauthEnum.DISCOVERYREAD,
            OauthScopeThingspaceOauthEnum.SERVICEPROFILEREAD,
        ],
        oauth_token_provider=_oauth_token_provider,
        oauth_on_token_update=(
            lambda oauth_token: (
                # Add the callback handler to perform operations like save to DB or file etc.
                # It will be triggered whenever the token gets updated
                database.save_token_to_database(oauth_token)
            )
        ),
    )
    auth = kind.auth(platform, thingspace_oauth_credentials=credentials)
    kind.get(auth, API, platform)
    assert platform.token_calls[0].form["scope"] == "discovery:read serviceprofile:read"
    assert database.read_by_another_process() == "token-1"
    second = kind.auth(platform, thingspace_oauth_credentials=credentials)
    kind.get(second, API, platform)
    assert len(platform.token_calls) == 1
    clock.advance(3600)
    kind.get(auth, API, platform)
    kind.get(second, API, platform)
    assert platform.bearers == ["token-1", "token-1", "token-2", "token-2"]
    assert database.load_token_from_database() == auth.oauth_token
    assert len(platform.token_calls) == 2


def test_stored_token_that_is_revoked_is_recovered_over_real_sockets(
    kind: Kind, database: Database
) -> None:
    with ThingspaceSimulator() as simulator:
        credentials = ThingspaceOauthCredentials(
            simulator.client_id,
            simulator.client_secret,
            oauth_token_provider=lambda last, manager: database.load_token_from_database(),
            oauth_on_token_update=database.save_token_to_database,
        )
        auth = kind.auth(thingspace_oauth_credentials=credentials, base_url=simulator.url)
        assert kind.get(auth, simulator.url + PATH).status == 200
        simulator.revoke()
        assert kind.get(auth, simulator.url + PATH).status == 200
        stored = database.load_token_from_database()
        assert stored is not None
        assert stored.access_token == simulator.issued_tokens[1]
        assert len(simulator.token_requests) == 2
