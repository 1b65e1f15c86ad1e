"""A token in a database: the next process that runs this finds it there."""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from collections.abc import Generator
from contextlib import closing, contextmanager, suppress

import requests

from thingspace_auth_adapters import OauthToken, ThingspaceOauthCredentials, VzM2mCredentials
from thingspace_auth_adapters.requests import ThingspaceAuth

BASE_URL = os.environ.get("THINGSPACE_BASE_URL", "https://thingspace.verizon.com")
PATH = sys.argv[1] if len(sys.argv) > 1 else "tokens.sqlite"


@contextmanager
def tokens() -> Generator[sqlite3.Connection, None, None]:
    # SQLite would let others read the file.
    with suppress(FileExistsError):
        os.close(os.open(PATH, os.O_CREAT | os.O_EXCL, 0o600))
    with closing(sqlite3.connect(PATH)) as database, database:
        database.execute("CREATE TABLE IF NOT EXISTS tokens (token TEXT)")
        yield database


def load_token(last_oauth_token: OauthToken | None, auth_manager: ThingspaceAuth) -> OauthToken:
    with tokens() as database:
        row = database.execute("SELECT token FROM tokens").fetchone()
    if row is None:
        return auth_manager.fetch_token()
    print("found a token")
    return OauthToken.from_dict(json.loads(row[0]))


def save_token(oauth_token: OauthToken) -> None:
    with tokens() as database:
        database.execute("DELETE FROM tokens")
        database.execute("INSERT INTO tokens VALUES (?)", [json.dumps(oauth_token.to_dict())])


def main() -> None:
    credentials = ThingspaceOauthCredentials.from_environment().clone_with(
        oauth_token_provider=load_token, oauth_on_token_update=save_token
    )
    m2m = VzM2mCredentials.from_environment()
    auth = ThingspaceAuth(credentials, base_url=BASE_URL, m2m=m2m)
    print(requests.get(f"{BASE_URL}/api/m2m/v1/devices", auth=auth, timeout=30).status_code)


if __name__ == "__main__":
    main()
