"""A store of one's own: processes on one machine share a token through an SQLite database.

The four methods of ``TokenStore`` are all that is needed. Here each lock is a transaction on a
database of its own, so it holds up nothing else, and ends with its process.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import threading
from collections.abc import Generator
from contextlib import closing, contextmanager, suppress

import requests

from thingspace_auth_adapters.requests import ThingspaceAuth
from thingspace_auth_adapters.stores import StoreBusy, StoreUnavailable, TokenStore

BASE_URL = os.environ.get("THINGSPACE_BASE_URL", "https://thingspace.verizon.com")
CREATING = threading.Lock()


class SqliteTokenStore(TokenStore):
    def __init__(self, path: str) -> None:
        self.path = os.path.abspath(path)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.path!r})"

    def read(self, name: str) -> bytes | None:
        row = self._execute("SELECT content FROM entries WHERE name = ?", name)
        return row[0] if row else None

    def write(self, name: str, content: bytes) -> None:
        self._execute("INSERT OR REPLACE INTO entries VALUES (?, ?)", name, content)

    def delete(self, name: str) -> None:
        self._execute("DELETE FROM entries WHERE name = ?", name)

    @contextmanager
    def locked(self, name: str, patience: float) -> Generator[None, None, None]:
        with closing(connection(f"{self.path}.{name}.lock", patience)) as lock:
            try:
                lock.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                raise StoreBusy(f"the SQLite store is locked ({error})") from None
            yield

    def _execute(self, statement: str, *values: str | bytes) -> tuple[bytes] | None:
        with closing(connection(self.path)) as database, unavailability():
            database.execute("CREATE TABLE IF NOT EXISTS entries (name PRIMARY KEY, content)")
            row: tuple[bytes] | None = database.execute(statement, values).fetchone()
            return row


def connection(path: str, patience: float = 5.0) -> sqlite3.Connection:
    with unavailability():
        # SQLite would let others read the file. To close it while SQLite has it open would drop
        # the process's locks on it, so each thread waits here until it is made.
        with CREATING, suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o600))
        return sqlite3.connect(
            path, timeout=patience, isolation_level=None, check_same_thread=False
        )


@contextmanager
def unavailability() -> Generator[None, None, None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise StoreUnavailable(f"the SQLite store cannot be reached ({error})") from None


def main() -> None:
    path = sys.argv[1] if len(sys.argv) > 1 else "tokens.db"
    with requests.Session() as session:
        session.auth = ThingspaceAuth.from_environment(store=SqliteTokenStore(path))
        print(session.get(f"{BASE_URL}/api/m2m/v1/devices", timeout=30).status_code)


if __name__ == "__main__":
    main()
