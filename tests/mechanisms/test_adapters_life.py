"""What an object remembers of where requests went: ``_adapters/life.py``."""

from __future__ import annotations

import pytest

from thingspace_auth_adapters._adapters import life

from ..support.kinds import Kind
from ..support.logins import credentials
from ..support.virtual import API, EDGE, VEHICLE, Platform

pytestmark = pytest.mark.usefixtures("clock")


def test_warm_request_looks_nothing_up(
    kind: Kind, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    auth = kind.auth(platform, m2m=credentials("user"))
    urls = (API, EDGE, VEHICLE)
    cold = [kind.get(auth, url, platform).sent for url in urls]
    monkeypatch.setattr(auth._life, "sources", None)
    assert [kind.get(auth, url, platform).sent for url in urls] == cold


def test_hosts_are_remembered_but_not_without_end(
    sync_kind: Kind,
    platform: Platform,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level("INFO", "thingspace_auth_adapters")
    monkeypatch.setattr(life, "_MOST_TARGETS", 3)
    auth = sync_kind.auth(platform)
    held = []
    for number in (0, 1, 2, 0, 3, 0):
        assert auth.headers(f"https://host{number}.example/") == {}
        held.append(len(auth._life._targets))
    assert held == [1, 2, 3, 3, 1, 2]
    told = [record.getMessage() for record in caplog.records]
    assert told == [
        f"host{number}.example is not an allowed host: sent without a token" for number in range(3)
    ]
