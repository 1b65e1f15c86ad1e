"""Part 1, rule 7, and Part 2, rules 4 and 5: what each answer of the platform means, row by row.

The table is ``docs/answers_table.py``'s, which was written by hand from the contract and from what
is known of the platform. Each row is seen here from outside: by what a real auth object sends, at
an API and at the login.
"""

from __future__ import annotations

import importlib.util
import itertools
import re
from typing import Any

import pytest

from thingspace_auth_adapters import M2mLoginError, VzM2mCredentials

from ..support import kinds
from ..support.kinds import ADAPTER_KINDS, ASYNC_KINDS, SYNC_KINDS, Kind
from ..support.logins import MINUTE, credentials
from ..support.snippets import ROOT
from ..support.virtual import API, Answer, Platform, VirtualClock, token_answer

pytestmark = [
    # Which credential an answer blames depends neither on the interpreter nor on the library, and
    # how each library's responses are read is tested elsewhere.
    pytest.mark.once,
    pytest.mark.usefixtures("clock"),
]

OFTEN = 99

Trail = list[str]

_accounts = itertools.count()


def answers_table() -> Any:
    path = ROOT / "docs" / "answers_table.py"
    spec: Any = importlib.util.spec_from_file_location("answers_table", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def named(family: Any) -> str:
    return re.sub(r"\W+", "-", family.name)


TABLE = answers_table()
TOKEN, SESSION = TABLE.TOKEN, TABLE.SESSION
ROWS = [
    pytest.param(family, form, id=f"{named(family)}-{number}")
    for family in TABLE.FAMILIES
    for number, form in enumerate(family.forms, 1)
]

RENEWING = [
    family for family in TABLE.FAMILIES if 401 in family.meanings and family.meanings[401][1].renews
]

each_row = pytest.mark.parametrize(("family", "form"), ROWS)
each_family = pytest.mark.parametrize("family", TABLE.FAMILIES, ids=named)
each_method = pytest.mark.parametrize("method", ["GET", "POST"])


@pytest.fixture(
    params=kinds.params([*ADAPTER_KINDS, *ASYNC_KINDS[:1]], lambda kind: kind.is_requests),
)
def kind(request: pytest.FixtureRequest) -> Kind:
    """One for each adapter of a code of its own, and an asynchronous one."""
    return request.param  # type: ignore[no-any-return]


def account() -> VzM2mCredentials:
    """An account that nobody has logged in to: failed logins are counted by user name."""
    return credentials(f"user-{next(_accounts)}")


def meanings(family: Any) -> dict[int, Any]:
    """What a form means with each status that it may have."""
    found = {status: family.meaning(status) for status in TABLE.STATUSES}
    return {status: meaning for status, meaning in found.items() if meaning is not None}


# At an API.


def trail(
    kind: Kind,
    clock: VirtualClock,
    answer: Answer,
    method: str,
    age: float = 2 * MINUTE,
    token: Answer | None = None,
    **options: Any,
) -> Trail:
    """The calls that a request makes to which an API always gives this answer.

    Args:
        age: of the session, in seconds.
        token: what the token endpoint answers, if not something new each time.
    """
    platform = Platform()
    auth = kind.auth(platform, **{"m2m": account(), **options})
    platform.tokens = [] if token is None else [token] * OFTEN
    assert kind.get(auth, API, platform).status == 200
    clock.advance(age)
    platform.calls.clear()
    platform.api = [answer] * OFTEN
    body = {"content": b"body"} if method == "POST" else {}
    assert kind.send(auth, method, API, platform, **body).status == answer.status
    return platform.trail


def trails(
    kind: Kind, clock: VirtualClock, family: Any, form: Any, method: str, **options: Any
) -> dict[int, Trail]:
    """The same for each status."""
    return {
        status: trail(kind, clock, Answer(status, form.content, form.headers), method, **options)
        for status in meanings(family)
    }


def is_repeated(api: Any, method: str) -> bool:
    wanted = (TABLE.EVERY_METHOD, TABLE.GET_AND_OTHERS)
    return api.repeated in (wanted if method == "GET" else wanted[:1])


def renewing(renewed: Any, repeats: bool) -> Trail:
    """The calls of a request on whose account this is renewed, one after the other."""
    found = ["api"]
    for one in renewed:
        found.append("token" if one == TOKEN else "login")
        if not repeats:
            break
        found.append("api")
    return found


@each_row
@each_method
def test_answer_of_an_api_renews_and_repeats_what_the_table_says(
    kind: Kind, clock: VirtualClock, family: Any, form: Any, method: str
) -> None:
    assert trails(kind, clock, family, form, method) == {
        status: renewing(api.renewed, is_repeated(api, method))
        for status, (api, _) in meanings(family).items()
    }


@each_family
@each_method
def test_session_is_blamed_for_what_nothing_explains_if_the_token_stays_the_same(
    clock: VirtualClock, family: Any, method: str
) -> None:
    def expected(api: Any) -> Trail:
        if TOKEN not in api.renewed:
            return renewing(api.renewed, is_repeated(api, method))
        if SESSION not in api.renewed:
            return ["api", "token"]
        return ["api", "token", "login", *["api"] * is_repeated(api, method)]

    same = token_answer("the-same")
    found = trails(SYNC_KINDS[0], clock, family, family.forms[0], method, token=same)
    assert found == {status: expected(api) for status, (api, _) in meanings(family).items()}


@each_family
@each_method
def test_session_is_not_suspected_in_its_first_minute(
    clock: VirtualClock, family: Any, method: str
) -> None:
    def expected(api: Any) -> Trail:
        is_suspicion = api.repeated == TABLE.GET_AND_OTHERS
        renewed = [one for one in api.renewed if one == TOKEN or not is_suspicion]
        return renewing(renewed, is_repeated(api, method))

    found = trails(SYNC_KINDS[0], clock, family, family.forms[0], method, age=MINUTE - 1)
    assert found == {status: expected(api) for status, (api, _) in meanings(family).items()}


@each_family
def test_without_m2m_the_token_alone_is_renewed(clock: VirtualClock, family: Any) -> None:
    found = trails(SYNC_KINDS[0], clock, family, family.forms[0], "GET", m2m=None)
    assert found == {
        status: renewing([one for one in api.renewed if one == TOKEN], is_repeated(api, "GET"))
        for status, (api, _) in meanings(family).items()
    }


# At the login.


def failing(answer: Answer, token: Answer | None = None) -> Platform:
    """A platform whose logins always get this answer."""
    platform = Platform()
    platform.logins = [answer] * OFTEN
    platform.tokens = [] if token is None else [token] * OFTEN
    return platform


def fails(kind: Kind, auth: Any, platform: Platform) -> None:
    with pytest.raises(M2mLoginError) as caught:
        kind.get(auth, API, platform)
    assert isinstance(caught.value, kind.request_error)


def gets_through(kind: Kind, auth: Any, platform: Platform) -> bool:
    """Whether a request opens a session, now that the platform is well."""
    before = len(platform.login_calls)
    try:
        assert kind.get(auth, API, platform).status == 200
    except M2mLoginError:
        assert len(platform.login_calls) == before
        return False
    return True


def at_login(kind: Kind, clock: VirtualClock, answer: Answer) -> tuple[str, bool]:
    """What a login's answer counts as, by those that follow, and whether it renews the token."""
    platform, tokens = failing(answer), []
    auth = kind.auth(platform, m2m=account())
    for _ in range(3):
        fails(kind, auth, platform)
        tokens.append(len(platform.token_calls))
        # Longer than a login is left alone, and than an access token counts as refused there.
        clock.advance(31)
    logins = len(platform.login_calls)
    platform.logins = []
    is_free = gets_through(kind, auth, platform)
    clock.advance(5 * MINUTE)
    is_free_later = gets_through(kind, auth, platform)
    signs = {
        (1, False, False): "refused",
        (2, False, True): "unknown",
        (3, True, True): "no attempt",
    }
    return signs.get((min(logins, 3), is_free, is_free_later), "none of these"), tokens[0] > 1


@each_row
def test_answer_of_the_login_counts_and_renews_as_the_table_says(
    kind: Kind, clock: VirtualClock, family: Any, form: Any
) -> None:
    assert {
        status: at_login(kind, clock, Answer(status, form.content, form.headers))
        for status in meanings(family)
    } == {status: tuple(login) for status, (_, login) in meanings(family).items()}


@pytest.mark.parametrize("family", RENEWING, ids=named)
def test_login_is_sent_once_more_with_another_token_and_only_with_another(family: Any) -> None:
    form, kind = family.forms[0], SYNC_KINDS[0]
    answer = Answer(401, form.content, form.headers)
    platform = failing(answer)
    fails(kind, kind.auth(platform, m2m=account()), platform)
    assert platform.trail == ["token", "login", "token", "login"]
    platform = failing(answer, token_answer("the-same"))
    fails(kind, kind.auth(platform, m2m=account()), platform)
    assert platform.trail == ["token", "login", "token"]


# The table.


def test_page_is_what_the_table_says() -> None:
    page = ROOT / "docs" / "what-an-answer-means.md"
    assert page.read_text(encoding="utf-8") == TABLE.page(), "run `python docs/answers_table.py`"


def test_no_form_is_listed_twice() -> None:
    forms = [(form.content, form.challenge) for family in TABLE.FAMILIES for form in family.forms]
    assert len({*forms}) == len(forms)


@each_family
def test_every_line_of_the_table_is_tested(family: Any) -> None:
    tested = {family.meaning(status) for status in TABLE.STATUSES}
    assert {*family.meanings.values()} <= tested
