"""What is kept in a store: apart for each owner, sealed, and JSON."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from thingspace_auth_adapters._core.records import StoreEntry
from thingspace_auth_adapters.stores.token_store import StoreUnavailable, TokenStore

SECRET = "s3cr3t-of-the-key"
FIELDS = {"token": {"access_token": "ä"}, "arrived_at": 1.5}
PARTS = ("token", "https://a.example", "the-key", "read")


class Memory(TokenStore):
    """A store in this process. ``is_down`` makes every method fail."""

    def __init__(self) -> None:
        self.entries: dict[str, bytes] = {}
        self.is_down = False
        self.lock = threading.Lock()

    def check(self) -> None:
        if self.is_down:
            raise StoreUnavailable("it is down")

    def read(self, name: str) -> bytes | None:
        self.check()
        return self.entries.get(name)

    def write(self, name: str, content: bytes) -> None:
        self.check()
        self.entries[name] = content

    def delete(self, name: str) -> None:
        self.check()
        self.entries.pop(name, None)

    @contextmanager
    def locked(self, name: str, patience: float) -> Iterator[None]:
        self.check()
        with self.lock:
            yield
        self.check()

    def __repr__(self) -> str:
        return "<Memory>"


@pytest.fixture
def store() -> Memory:
    return Memory()


@pytest.fixture
def entry(store: Memory) -> StoreEntry:
    return StoreEntry(store, SECRET, PARTS, "access token")


def test_what_is_written_is_read_again(store: Memory, entry: StoreEntry) -> None:
    assert entry.read() is None
    entry.write(FIELDS)
    assert entry.read() == FIELDS
    assert StoreEntry(store, SECRET, list(PARTS), "access token").read() == FIELDS
    entry.delete()
    entry.delete()
    assert entry.read() is None
    assert store.entries == {}


@pytest.mark.parametrize(
    ("secret", "parts"),
    [
        ("another", PARTS),
        (SECRET, ("session", *PARTS[1:])),
        (SECRET, ("token", "https://b.example", *PARTS[2:])),
        (SECRET, (*PARTS[:2], "another-key", "read")),
        (SECRET, (*PARTS[:3], "write")),
        (SECRET, (*PARTS, "more")),
        (SECRET, PARTS[:3]),
        (SECRET, ("token", "https://a.example", "the-key,read")),
        (SECRET, (*PARTS[:3], None)),
    ],
)
def test_whatever_differs_has_an_entry_of_its_own(
    store: Memory, entry: StoreEntry, secret: str, parts: tuple[object, ...]
) -> None:
    other = StoreEntry(store, secret, parts, "access token")
    assert other.name != entry.name
    entry.write(FIELDS)
    assert other.read() is None


def test_name_is_short_hexadecimal_and_tells_nothing(entry: StoreEntry) -> None:
    assert len(entry.name) == 64
    assert set(entry.name) <= set("0123456789abcdef")
    assert "the-key" not in repr(entry)
    assert SECRET not in repr(entry)


def test_entry_is_json_without_the_secret(store: Memory, entry: StoreEntry) -> None:
    entry.write(FIELDS)
    (content,) = store.entries.values()
    assert json.loads(content)["fields"] == FIELDS
    assert content.isascii()
    assert SECRET.encode() not in content


def tampered(content: bytes, **changes: Any) -> bytes:
    return json.dumps({**json.loads(content), **changes}).encode()


CORRUPTIONS: dict[str, Any] = {
    "other fields": lambda good: tampered(good, fields={**FIELDS, "arrived_at": 2.5}),
    "more fields": lambda good: tampered(good, fields={**FIELDS, "more": 1}),
    "another seal": lambda good: tampered(good, seal="0" * 64),
    "no text for a seal": lambda good: tampered(good, seal=7),
    "seal outside ASCII": lambda good: tampered(good, seal="ä\ud800"),
    "no seal": lambda good: json.dumps({"fields": FIELDS}).encode(),
    "no fields": lambda good: tampered(good, fields=None),
    "list of fields": lambda good: tampered(good, fields=[1]),
    "truncated": lambda good: good[:-1],
    "empty": lambda good: b"",
    "no object": lambda good: b"[]",
    "no text": lambda good: bytes(range(128, 256)),
    "deep": lambda good: b"[" * 100_000,
    "pickle": lambda good: b"cposix\nsystem\n(S'true'\ntR.",
}


@pytest.mark.parametrize("name", list(CORRUPTIONS))
def test_entry_that_is_not_ours_counts_as_none_and_is_reported(
    store: Memory, entry: StoreEntry, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    entry.write(FIELDS)
    store.entries[entry.name] = CORRUPTIONS[name](store.entries[entry.name])
    with caplog.at_level(logging.WARNING, "thingspace_auth_adapters"):
        assert entry.read() is None
    assert [record.getMessage() for record in caplog.records] == [
        "an entry of <Memory> is corrupt, and is replaced"
    ]
    entry.write(FIELDS)
    assert entry.read() == FIELDS


def test_entry_that_was_copied_under_another_name_is_corrupt(
    store: Memory, entry: StoreEntry
) -> None:
    mine = StoreEntry(store, SECRET, (*PARTS[:3], "write"), "access token")
    entry.write(FIELDS)
    store.entries[mine.name] = store.entries[entry.name]
    assert mine.read() is None


def test_entry_of_who_does_not_know_the_secret_is_corrupt(store: Memory, entry: StoreEntry) -> None:
    foreign = StoreEntry(store, "guessed", PARTS, "access token")
    foreign.name = entry.name
    foreign.write(FIELDS)
    assert entry.read() is None


def test_key_is_not_cut_or_folded(store: Memory) -> None:
    """HMAC hashes keys that are longer than its block, and pads shorter ones."""
    secrets = ["x", "x" * 64, "x" * 65, "x" * 200, "ä"]
    assert len(
        {StoreEntry(store, secret, PARTS, "access token").name for secret in secrets}
    ) == len(secrets)


def test_store_out_of_reach_is_told_or_only_logged(
    store: Memory, entry: StoreEntry, caplog: pytest.LogCaptureFixture
) -> None:
    store.is_down = True
    for call in (entry.read, entry.delete, lambda: entry.write(FIELDS)):
        with pytest.raises(StoreUnavailable):
            call()
    with caplog.at_level(logging.WARNING, "thingspace_auth_adapters"):
        entry.write_if_reachable(FIELDS)
    assert len(caplog.records) == 1
    store.is_down = False
    entry.write_if_reachable(FIELDS)
    assert entry.read() == FIELDS


def test_lock_is_that_of_the_store(store: Memory, entry: StoreEntry) -> None:
    with entry.locked(1.0):
        assert store.lock.locked()
    assert not store.lock.locked()
    store.is_down = True
    with pytest.raises(StoreUnavailable), entry.locked(1.0):
        pytest.fail("it was not to be had")


def test_what_was_done_under_the_lock_is_good_though_it_cannot_be_released(
    store: Memory, entry: StoreEntry, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "thingspace_auth_adapters"), entry.locked(1.0):
        store.is_down = True
    assert len(caplog.records) == 1


@pytest.mark.parametrize("error", [LookupError(), KeyboardInterrupt(), StoreUnavailable()])
def test_what_is_raised_under_the_lock_passes_through(
    store: Memory, entry: StoreEntry, error: BaseException
) -> None:
    with pytest.raises(type(error)) as caught, entry.locked(1.0):
        raise error
    assert caught.value is error
    assert not store.lock.locked()
