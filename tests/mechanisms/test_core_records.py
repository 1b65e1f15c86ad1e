"""The module ``_core/records``: what a store keeps is apart for each owner, sealed, and JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest

from thingspace_auth_adapters._core.records import StoreEntry
from thingspace_auth_adapters.stores.token_store import StoreUnavailable

from ..support.memory_store import memory_store

SECRET = "s3cr3t-of-the-key"
FIELDS = {"token": {"access_token": "ä"}, "arrived_at": 1.5}
PARTS = ("token", "https://a.example", "the-key", "read")


@pytest.fixture
def store() -> Any:
    return memory_store()


@pytest.fixture
def entry(store: Any) -> StoreEntry:
    return StoreEntry(store, SECRET, PARTS, "access token")


def test_what_is_written_is_read_again(store: Any, entry: StoreEntry) -> None:
    assert entry.read() is None
    entry.write(FIELDS)
    assert entry.read() == FIELDS
    assert StoreEntry(store, SECRET, list(PARTS), "access token").read() == FIELDS
    (content,) = store.entries.values()
    assert json.loads(content)["fields"] == FIELDS
    assert content.isascii()
    assert SECRET.encode() not in content
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
    store: Any, entry: StoreEntry, secret: str, parts: tuple[object, ...]
) -> None:
    other = StoreEntry(store, secret, parts, "access token")
    assert other.name != entry.name
    entry.write(FIELDS)
    assert other.read() is None
    # Nor is it one if it is copied there.
    store.entries[other.name] = store.entries[entry.name]
    assert other.read() is None


def test_name_is_short_hexadecimal_and_tells_nothing(store: Any, entry: StoreEntry) -> None:
    assert len(entry.name) == 64
    assert set(entry.name) <= set("0123456789abcdef")
    assert "the-key" not in repr(entry)
    assert SECRET not in repr(entry)
    # HMAC hashes keys that are longer than its block, and pads shorter ones: none is cut or folded.
    secrets = ["x", "x" * 64, "x" * 65, "x" * 200, "ä"]
    names = {StoreEntry(store, secret, PARTS, "access token").name for secret in secrets}
    assert len(names) == len(secrets)


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
    "other bytes before": lambda good: b"\xff\xfe" + good,
    "deep": lambda good: b"[" * 100_000,
    "pickle": lambda good: b"cposix\nsystem\n(S'true'\ntR.",
}


@pytest.mark.parametrize("name", list(CORRUPTIONS))
def test_entry_that_is_not_ours_counts_as_none_and_is_reported(
    store: Any, entry: StoreEntry, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    entry.write(FIELDS)
    store.entries[entry.name] = CORRUPTIONS[name](store.entries[entry.name])
    assert entry.read() is None
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("thingspace_auth_adapters", "WARNING")
    assert record.getMessage() == f"an entry of {store!r} is corrupt, and is replaced"
    entry.write(FIELDS)
    assert entry.read() == FIELDS


def test_entry_of_who_does_not_know_the_secret_is_corrupt(store: Any, entry: StoreEntry) -> None:
    foreign = StoreEntry(store, "guessed", PARTS, "access token")
    foreign.name = entry.name
    foreign.write(FIELDS)
    assert entry.read() is None


def test_store_out_of_reach_is_told_or_only_logged(
    store: Any, entry: StoreEntry, caplog: pytest.LogCaptureFixture
) -> None:
    store.is_down = True
    for call in (entry.read, entry.delete, lambda: entry.write(FIELDS)):
        with pytest.raises(StoreUnavailable):
            call()
    with pytest.raises(StoreUnavailable), entry.locked(1.0):
        pytest.fail("it was not to be had")
    entry.write_if_reachable(FIELDS)
    assert len(caplog.records) == 1
    store.is_down = False
    entry.write_if_reachable(FIELDS)
    assert entry.read() == FIELDS


def test_lock_is_that_of_the_store(store: Any, entry: StoreEntry) -> None:
    with entry.locked(1.0):
        assert store._locks[entry.name].locked()
    assert not store._locks[entry.name].locked()


def test_what_was_done_under_the_lock_is_good_though_it_cannot_be_released(
    store: Any, entry: StoreEntry, caplog: pytest.LogCaptureFixture
) -> None:
    store.fails_to_unlock = True
    with entry.locked(1.0):
        entry.write(FIELDS)
    assert entry.read() == FIELDS
    assert len(caplog.records) == 1


@pytest.mark.parametrize("error", [LookupError(), KeyboardInterrupt(), StoreUnavailable()])
def test_what_is_raised_under_the_lock_passes_through(
    store: Any, entry: StoreEntry, error: BaseException
) -> None:
    with pytest.raises(type(error)) as caught, entry.locked(1.0):
        raise error
    assert caught.value is error
    assert not store._locks[entry.name].locked()
