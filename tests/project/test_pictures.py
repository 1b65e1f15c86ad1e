"""What scripts make for the documentation is what they make today, and what they show is so."""

from __future__ import annotations

import pkgutil
import re
import sys
from collections import Counter
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from thingspace_auth_adapters import ThingspaceOauthCredentials
from thingspace_auth_adapters.simulator import ThingspaceSimulator

from ..support.snippets import DOCS, docs_script, skip_without_libraries_of

pytestmark = pytest.mark.once

BOTH = 2


def text_of(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def shown(picture: str) -> list[str]:
    """The text of a picture."""
    return [unescape(text) for text in re.findall(r">([^<>]+)</text>", picture)]


def requests_auth(simulator: ThingspaceSimulator, **options: Any) -> Any:
    requests = pytest.importorskip("thingspace_auth_adapters.requests")
    credentials = ThingspaceOauthCredentials(simulator.client_id, simulator.client_secret)
    return requests.ThingspaceAuth(credentials, base_url=simulator.url, **options)


# The state diagram.


def test_state_diagram_is_what_the_code_does_today_with_words_at_each_arrow() -> None:
    script = docs_script("state_diagram")
    picture, page = script.picture(), text_of("design.md")
    assert text_of("state-diagram.svg") == picture, "run `python docs/state_diagram.py`"
    assert page == script.page(page), "run `python docs/state_diagram.py`"
    assert "\n".join(script.table()) in page
    assert set(script.ORDER) == set(script.Status)
    assert {following for _, following in script.transitions()} == set(script.Status)
    labels = [event.label for events in script.transitions().values() for event in events]
    assert Counter(shown(picture)) == Counter([*labels, *(state.value for state in script.ORDER)])


# The sequences.


def test_sequences_are_drawn_anew() -> None:
    script = docs_script("sequences")
    for sequence in script.SEQUENCES:
        name = f"{sequence.name}.svg"
        assert text_of(name) == script.drawn(sequence), "run `python docs/sequences.py`"


def test_rejected_token_goes_as_it_is_drawn(simulator: ThingspaceSimulator) -> None:
    requests = pytest.importorskip("requests")
    script, auth = docs_script("sequences"), requests_auth(simulator)
    url = f"{simulator.url}/api/m2m/v1/devices"
    sent = [requests.Request("GET", url, auth=auth).prepare() for _ in range(BOTH)]
    simulator.revoke()
    simulator.clear()
    with requests.Session() as session:
        assert [session.send(one).status_code for one in sent] == [200, 200]

    asked, answered = Counter[str](), Counter[str]()
    for step in script.REJECTED.steps:
        times = BOTH if "both" in step.words else 1
        asked[step.end] += times
        if step.start in (script.API, script.ENDPOINT):
            answered[step.words[:3]] += times
    assert asked[script.API] == len(simulator.api_requests)
    assert asked[script.ENDPOINT] == len(simulator.token_requests)
    assert answered == Counter(str(request.status) for request in simulator.requests)


def test_processes_share_a_store_as_it_is_drawn(
    simulator: ThingspaceSimulator, tmp_path: Path
) -> None:
    requests = pytest.importorskip("requests")
    skip_without_libraries_of("FileTokenStore")
    from thingspace_auth_adapters.stores import FileTokenStore

    script = docs_script("sequences")
    for _ in range(BOTH):
        auth = requests_auth(simulator, store=FileTokenStore(tmp_path / "store"))
        requests.get(f"{simulator.url}/api/m2m/v1/devices", auth=auth, timeout=30)
    asked = [step.words for step in script.SHARED.steps if step.end == script.THINGSPACE]
    assert [words for words in asked if "token request" in words] == ["one token request"]
    assert len(simulator.token_requests) == 1
    assert len(asked) == len(simulator.requests)


# The others.


def test_summary_says_what_the_demo_says() -> None:
    script = docs_script("summary_picture")
    assert text_of("summary.svg") == script.picture(), "run `python docs/summary_picture.py`"
    ours, by_hand = (
        script.needed_by(name) for name in ("httpx.Client", "a script written by hand")
    )
    for needed in (ours, by_hand):
        assert sum(needed[:3]) == needed.in_all
    assert ours.in_all < by_hand.in_all
    pages = text_of("index.md") + text_of("../README.md")
    for words in re.findall(r"!\[(.*?)\]\((?:docs/)?summary\.svg\)", pages):
        figures = (script.calls(), by_hand.in_all, ours.in_all)
        assert [int(number) for number in re.findall(r"\d+", words)] == [*figures]


def test_check_says_what_its_picture_shows() -> None:
    for library in ("click", "rich", "filelock"):
        pytest.importorskip(library)
    script = docs_script("check_picture")
    # How a line is cut into pieces depends on the version of rich.
    then, now = ("".join(shown(one)) for one in (text_of("check.svg"), script.picture()))
    assert then.split() == now.split(), "run `python docs/check_picture.py`"


def test_every_picture_is_shown() -> None:
    pages = "".join(page.read_text(encoding="utf-8") for page in DOCS.glob("*.md"))
    pictures = {path.name for path in DOCS.glob("*.svg")}
    assert set(re.findall(r"!\[[^]]+\]\(([\w-]+\.svg)\)", pages)) == pictures


@pytest.mark.parametrize("picture", ["state-diagram", "rejected-token", "shared-store", "summary"])
def test_picture_can_be_read_in_the_dark(picture: str) -> None:
    light, dark = text_of(f"{picture}.svg").split("@media (prefers-color-scheme: dark)")
    coloured = r"^ *(\.?\w+) \{.*(?:fill|stroke): #"
    # Whatever has a colour has another one in the dark.
    assert set(re.findall(coloured, light, re.M)) == set(re.findall(coloured, dark, re.M))


# The reference.


@pytest.fixture
def reference() -> Any:
    if sys.hexversion < 0x030B0000:
        pytest.skip("older interpreters forget overloads")
    for library in ("requests", "httpx", "redis", "typing_extensions"):
        pytest.importorskip(library)
    return docs_script("reference_page")


def test_reference_is_what_the_code_says_today(reference: Any) -> None:
    assert text_of("reference.md") == reference.page(), "run `python docs/reference_page.py`"


def test_every_signature_in_the_reference_has_types_and_real_defaults(reference: Any) -> None:
    blocks = re.findall(r"^```py\n(.*?)^```", text_of("reference.md"), re.S | re.M)
    assert len(blocks) > 70
    for block in blocks:
        assert "= ..." not in block
        is_typed = block.startswith("class ") or re.match(r"\w+: ", block)
        assert is_typed or block.count(" -> ") == len(
            re.findall(r"^(?:async def |def |\w)", block, re.M)
        )


def test_every_object_of_the_inventory_can_be_imported(reference: Any) -> None:
    names = re.findall(r"<!-- py:\w+ (\S+) -->", text_of("reference.md"))
    assert len(names) == len(re.findall(r"^```py$", text_of("reference.md"), re.M))
    for name in names:
        assert pkgutil.resolve_name(name) is not None


def test_every_name_in_a_signature_can_be_looked_up(reference: Any) -> None:
    page = text_of("reference.md")
    blocks = "\n".join(re.findall(r"^```py\n(.*?)^```", page, re.S | re.M))
    used = set(re.findall(r"\b[A-Z]\w*[a-z]\w*", re.sub(r'"[^"]*"', "", blocks)))
    known = set(re.findall(r"^### (\w+)$", page, re.M)) | {*reference.TYPES, "ThingspaceAuth"}
    of_python = {"ABC", "Exception", "Enum", "Path", "PathLike", "Any", "Iterable", "Literal"}
    of_python |= {"Mapping", "MutableMapping", "AbstractContextManager", "False", "None"}
    assert used - known - of_python == set()
    assert {*reference.TYPES} <= used


def test_default_that_is_hidden_or_missing_type_is_an_error(reference: Any) -> None:
    def hidden(self: object, something: int = ...) -> None:
        """Whatever."""

    def untyped(self, something):  # type: ignore[no-untyped-def]
        """Whatever."""

    with pytest.raises(ValueError, match=r"hidden hides the default of something"):
        [*reference.signatures("hidden", hidden)]
    with pytest.raises(ValueError, match="lacks a type"):
        [*reference.signatures("untyped", untyped)]
