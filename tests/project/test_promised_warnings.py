"""What the contract has the documentation say: each warning is on the page that leads to it."""

from __future__ import annotations

import pytest

from ..support.snippets import ROOT

# What a page says depends neither on the interpreter nor on the HTTP library.
pytestmark = pytest.mark.once

PROMISED = {
    "five processes lock a name (README)": ("README.md", "Five processes without one can lock it"),
    "five processes lock a name (Celery)": (
        "examples/celery_tasks.py",
        "Five processes without a store can lock the user name",
    ),
    "five processes lock a name (gunicorn)": (
        "examples/gunicorn_app.py",
        "Five workers without a store can lock the user name",
    ),
    "allow_login": ("docs/failed-logins.md", "Do not call `allow_login()` when a program starts"),
    "what sends a body by itself": (
        "docs/failed-logins.md",
        "sends it by itself cannot be stopped",
    ),
    "redirects of httpx": ("docs/two-headers.md", "keep `follow_redirects=False`"),
    "guard": ("docs/two-headers.md", 'event_hooks={"request": [auth.guard]}'),
    "copies": ("docs/options.md", "It holds the client secret and the password"),
    "bodies without a length": ("SECURITY.md", "it is read to its end, however long it is"),
    "eviction": ("docs/many-processes.md", "It must not evict entries"),
    "restricted user of Redis": ("docs/many-processes.md", "ACL SETUSER thingspace on"),
}


@pytest.mark.parametrize("name", PROMISED)
def test_page_says_what_the_contract_has_it_say(name: str) -> None:
    page, words = PROMISED[name]
    # Wherever the lines break.
    assert words in " ".join((ROOT / page).read_text(encoding="utf-8").split())
