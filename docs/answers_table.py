"""Makes ``what-an-answer-means.md``: ``python docs/answers_table.py``.

The table is written by hand, from the contract and from what is known of the platform, and not
from the code: ``test_rule_07_answers.py`` takes a real auth object through each of its rows.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Callable, NamedTuple, Union

TARGET = Path(__file__).with_name("what-an-answer-means.md")

STATUSES = (400, 401, 403, 404, 408, 425, 429, 500, 503)
"""The statuses that the test answers each form with."""

TOKEN, SESSION = "the access token", "the session"
EVERY_METHOD, GET_AND_OTHERS, NO_METHOD = "every method", "GET and its like", "no"


class Api(NamedTuple):
    """What follows an answer of an API.

    Attributes:
        renewed: what is renewed, in this order, as long as the answer stays the same.
        repeated: which requests are repeated.
    """

    renewed: tuple[str, ...]
    repeated: str


class Login(NamedTuple):
    """What follows an answer of the login.

    Attributes:
        counts_as: ``refused``, ``unknown`` or ``no attempt``.
        renews: whether the access token is renewed.
    """

    counts_as: str
    renews: bool = False


# At an API.
RETURNED = Api((), NO_METHOD)
TOKEN_REJECTED = Api((TOKEN,), EVERY_METHOD)
SESSION_REJECTED = Api((SESSION,), EVERY_METHOD)
SESSION_SUSPECTED = Api((SESSION,), GET_AND_OTHERS)
UNEXPLAINED = Api((TOKEN, SESSION), GET_AND_OTHERS)

# At the login.
REFUSED = Login("refused")
UNKNOWN = Login("unknown")
UNKNOWN_AND_RENEWED = Login("unknown", renews=True)
NO_ATTEMPT = Login("no attempt")
NO_ATTEMPT_AND_RENEWED = Login("no attempt", renews=True)

Meanings = Mapping[Union[int, str], tuple[Api, Login]]
"""What an answer means, by its status, or by ``4xx`` and ``5xx`` for those that are not listed."""


class Form(NamedTuple):
    """A form that an answer may have.

    Attributes:
        body: what is no bytes is JSON.
        challenge: the value of its ``WWW-Authenticate``, if it has that header.
    """

    body: Any
    challenge: str | None = None

    @property
    def content(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()

    @property
    def headers(self) -> dict[str, str]:
        return {} if self.challenge is None else {"WWW-Authenticate": self.challenge}

    def __str__(self) -> str:
        if isinstance(self.body, bytes):
            text = self.body.decode().replace("\n", " ")
        else:
            text = json.dumps(self.body, ensure_ascii=False)
        body = f"`{text}`" if text else "an empty body"
        return body if self.challenge is None else f"`WWW-Authenticate: {self.challenge}`, {body}"


class Family(NamedTuple):
    """Forms that mean the same.

    Attributes:
        name: what they are.
        remark: why they mean that.
        meanings: what they mean.
        forms: each of them.
    """

    name: str
    remark: str
    meanings: Meanings
    forms: tuple[Form, ...]

    def meaning(self, status: int) -> tuple[Api, Login] | None:
        """What an answer with this status means; ``None`` if the form never has it."""
        return self.meanings.get(status) or self.meanings.get(f"{status // 100}xx")


def fault(code: str | int, message: str = "Invalid Credentials") -> Form:
    """The gateway's fault as nested JSON."""
    return Form({"fault": {"code": code, "message": message}})


def flat(code: str | int, message: str = "Invalid Credentials") -> Form:
    """The same as flat JSON."""
    return Form({"code": code, "message": message})


def xml(prefix: str, code: int, declaration: str = "") -> Form:
    """The same as XML."""
    namespace = f' xmlns:{prefix[:-1]}="http://wso2.org/apimanager"' if prefix else ""
    inner = f"<{prefix}code>{code}</{prefix}code>"
    return Form(f"{declaration}<{prefix}fault{namespace}>{inner}</{prefix}fault>".encode())


def error(code: str, message: str = "…") -> Form:
    """What M2M connectivity and other services answer."""
    return Form({"errorCode": code, "errorMessage": message})


UWS_FAILED = "Failure response received for UWS V1 REST accounts"

FAMILIES = (
    Family(
        "The gateway refuses the access token",
        "Codes 900901 to 900904, in each form that the gateway has for them. The request did not"
        " reach the API.",
        {
            401: (TOKEN_REJECTED, NO_ATTEMPT_AND_RENEWED),
            "4xx": (RETURNED, NO_ATTEMPT_AND_RENEWED),
            "5xx": (RETURNED, NO_ATTEMPT_AND_RENEWED),
        },
        (
            fault("900901"),
            fault("900902", "Missing Credentials"),
            fault("900903", "Access Token Expired"),
            fault("900904", "Access Token Inactive"),
            fault(900901),
            fault(900904, "Access Token Inactive"),
            flat("900901"),
            flat("900902", "Missing Credentials"),
            flat("900903", "Access Token Expired"),
            flat(900901),
            flat(900904, "Access Token Inactive"),
            xml("ams:", 900901),
            xml("am:", 900902),
            xml("amt:", 900903),
            xml("", 900904),
            xml("ams:", 900903, '<?xml version="1.0" encoding="UTF-8"?>\n'),
        ),
    ),
    Family(
        "A challenge says that the access token is invalid",
        'The header `WWW-Authenticate` has `error="invalid_token"`, in any scheme. It counts only'
        " with status 401.",
        {
            401: (TOKEN_REJECTED, NO_ATTEMPT_AND_RENEWED),
            429: (RETURNED, NO_ATTEMPT),
            "4xx": (RETURNED, UNKNOWN),
            "5xx": (RETURNED, UNKNOWN),
        },
        (
            Form(b"", 'Bearer error="invalid_token"'),
            Form(b"", 'OAuth2 realm="WSO2 API Manager", error="invalid_token"'),
            Form(b"", "Bearer error=invalid_token"),
            Form(b"<html>Unauthorized</html>", 'Bearer realm="x", error="invalid_token"'),
        ),
    ),
    Family(
        "The gateway throttles",
        "Codes 9008xx. The platform wants fewer requests. Neither token is the cause.",
        {"4xx": (RETURNED, NO_ATTEMPT), "5xx": (RETURNED, NO_ATTEMPT)},
        (
            fault("900800", "Message throttled out"),
            fault(900800, "Message throttled out"),
            fault("900804", "Message throttled out"),
            flat("900800", "Message throttled out"),
            flat(900800, "Message throttled out"),
            xml("amt:", 900800),
            xml("am:", 900800),
        ),
    ),
    Family(
        "The gateway refuses for another reason",
        "For example 900906 (there is nothing at this path) and 900908 (the key has not subscribed"
        " to this API). A new token does not help.",
        {
            429: (RETURNED, NO_ATTEMPT),
            "4xx": (RETURNED, UNKNOWN),
            "5xx": (RETURNED, UNKNOWN),
        },
        (
            fault("900906", "No matching resource found"),
            fault(900906, "No matching resource found"),
            fault("900908", "Resource forbidden"),
            flat("900908", "Resource forbidden"),
            flat(900906, "No matching resource found"),
            xml("am:", 900908),
            xml("ams:", 900906),
        ),
    ),
    Family(
        "A service says that the session is over",
        "Codes that end in `SessionToken.Expired`, `SessionToken.Invalid` or `SessionToken.Format`."
        " The name of the service before them does not matter. Device Location says it only in its"
        " message.",
        {
            429: (SESSION_REJECTED, NO_ATTEMPT),
            "4xx": (SESSION_REJECTED, REFUSED),
            "5xx": (RETURNED, UNKNOWN),
        },
        (
            error("UnifiedWebService.REQUEST_FAILED.SessionToken.Expired"),
            error("DeviceService.REQUEST_FAILED.SessionToken.Expired"),
            error("REQUEST_FAILED.SessionToken.Expired"),
            error("UnifiedWebService.INPUT_INVALID.SessionToken.Invalid"),
            error("DeviceService.INPUT_INVALID.SessionToken.Invalid"),
            error("UnifiedWebService.REQUEST_FAILED.SessionToken.Format"),
            error("INPUT_INVALID.SessionToken.Format"),
            error("INVALID_PARAMETER", "UWS verification failure (The Session has expired.)"),
        ),
    ),
    Family(
        "Cloud Connector says that the session is over",
        "It has no `errorCode`.",
        {
            429: (SESSION_REJECTED, NO_ATTEMPT),
            "4xx": (SESSION_REJECTED, UNKNOWN),
            "5xx": (RETURNED, UNKNOWN),
        },
        (
            Form(
                {
                    "error": "unauthorized",
                    "error_description": f"{UWS_FAILED}: [400]",
                    "cause": "Requested service is unauthorized for given token",
                }
            ),
        ),
    ),
    Family(
        "Cloud Connector says that it failed itself",
        "It quotes another answer in its message. That is not read.",
        {"5xx": (RETURNED, UNKNOWN)},
        (Form({"error": "internal_server_error", "error_description": f"{UWS_FAILED}: [401]"}),),
    ),
    Family(
        "An `errorCode` or its message speaks of a session",
        "The form is not known, so the session is only suspected.",
        {
            429: (SESSION_SUSPECTED, NO_ATTEMPT),
            "4xx": (SESSION_SUSPECTED, REFUSED),
            "5xx": (RETURNED, UNKNOWN),
        },
        (
            error("UnifiedWebService.REQUEST_FAILED.SessionToken.Limit"),
            error("SESSION_EXPIRED"),
            error("INVALID_PARAMETER", "UWS verification failure (Common exception)"),
            error("REQUEST_FAILED", "The session token is missing."),
        ),
    ),
    Family(
        "UWS refused, and nobody says why",
        "The cause may be the session or the account, so the session is only suspected.",
        {
            429: (SESSION_SUSPECTED, NO_ATTEMPT),
            "4xx": (SESSION_SUSPECTED, UNKNOWN),
            "5xx": (RETURNED, UNKNOWN),
        },
        (
            Form(
                {
                    "responseCode": "INVALID_ACCESS",
                    "message": "UWS verification failure (Common exception)",
                }
            ),
        ),
    ),
    Family(
        "The account is not found",
        "Neither token is the cause.",
        {429: (RETURNED, NO_ATTEMPT), "4xx": (RETURNED, REFUSED), "5xx": (RETURNED, UNKNOWN)},
        (
            error("INVALID_PARAMETER", "UWS verification failure (Could not find account 1)"),
            error(
                "Location.INVALID_PARAMETER", "UWS verification failure (Could not find account)"
            ),
        ),
    ),
    Family(
        "Another `errorCode`",
        "It usually has nothing to do with tokens. With status 401 or 403 it may be a dead session,"
        " because no list of these codes is complete. At the login it is a refusal.",
        {
            401: (SESSION_SUSPECTED, REFUSED),
            403: (SESSION_SUSPECTED, REFUSED),
            429: (RETURNED, NO_ATTEMPT),
            "4xx": (RETURNED, REFUSED),
            "5xx": (RETURNED, UNKNOWN),
        },
        (
            error("UnifiedWebService.REQUEST_FAILED.InvalidCredentials"),
            error("INVALID_ACCOUNT", "The account is not valid."),
            error("UnifiedWebService.REQUEST_FAILED.Forbidden", "The device is not yours."),
        ),
    ),
    Family(
        "A general `errorCode`",
        "It says nothing about the cause. The name of the service before it does not matter.",
        {
            401: (SESSION_SUSPECTED, UNKNOWN),
            403: (SESSION_SUSPECTED, UNKNOWN),
            429: (RETURNED, NO_ATTEMPT),
            "4xx": (RETURNED, UNKNOWN),
            "5xx": (RETURNED, UNKNOWN),
        },
        (
            error("UnifiedWebService.REQUEST_FAILED.UnexpectedError"),
            error("REQUEST_FAILED.UnexpectedError"),
            error("UnifiedWebService.INPUT_INVALID.Request.InvalidCharacter"),
            error("INPUT_INVALID.Request.RequestUndefined"),
            error("UnifiedWebService.INPUT_INVALID.DeserializationFailed"),
            error("DeserializationFailed"),
        ),
    ),
    Family(
        "The vehicle APIs refuse",
        "What a dead session looks like there is not documented.",
        {
            401: (SESSION_SUSPECTED, UNKNOWN),
            403: (SESSION_SUSPECTED, UNKNOWN),
            429: (RETURNED, NO_ATTEMPT),
            "4xx": (RETURNED, UNKNOWN),
            "5xx": (RETURNED, UNKNOWN),
        },
        (
            Form({"error": "unauthorized", "description": "Access denied"}),
            Form({"error": "forbidden", "description": "The vehicle is not yours."}),
        ),
    ),
    Family(
        "Another JSON object that speaks of a session",
        "It names UWS, a session token, or a session that is expired or invalid.",
        {
            401: (UNEXPLAINED, UNKNOWN_AND_RENEWED),
            429: (SESSION_SUSPECTED, NO_ATTEMPT),
            "4xx": (SESSION_SUSPECTED, UNKNOWN),
            "5xx": (RETURNED, UNKNOWN),
        },
        (
            Form({"message": "Your session has expired. Please log in again."}),
            Form({"code": "SESSION_INVALID", "message": "…"}),
            Form({"message": "UWS is not available"}),
            Form({"status": "failed", "reason": "bad session token"}),
        ),
    ),
    Family(
        "Other JSON",
        "It may say anything.",
        {
            401: (UNEXPLAINED, UNKNOWN_AND_RENEWED),
            403: (SESSION_SUSPECTED, UNKNOWN),
            429: (RETURNED, NO_ATTEMPT),
            "4xx": (RETURNED, UNKNOWN),
            "5xx": (RETURNED, UNKNOWN),
        },
        (
            Form({"message": "The device has no active data session."}),
            Form({"message": "Access to this device is forbidden."}),
            Form({"error": "invalid_token"}),
            Form({}),
            Form([{"message": "no"}]),
        ),
    ),
    Family(
        "No JSON",
        "For example an error page of a proxy. Its text is not read.",
        {
            401: (UNEXPLAINED, UNKNOWN_AND_RENEWED),
            429: (RETURNED, NO_ATTEMPT),
            "4xx": (RETURNED, UNKNOWN),
            "5xx": (RETURNED, UNKNOWN),
        },
        (
            Form(b""),
            Form(b"<html>Request blocked</html>"),
            Form(b"<html>Your session has expired</html>"),
            Form(b"upstream connect error"),
            Form(b"", 'Basic realm="x"'),
        ),
    ),
)


# How it is shown.


INTRODUCTION = """\
<!-- Made by docs/answers_table.py: do not edit. -->

# What an answer means

ThingSpace has many ways to say no. The three tables that follow say which answers count as "token
rejected", "session expired" and "login refused". After them, each kind of answer has a section with
all its forms, and with what follows for each status. Tests take each client through every row.

"GET and its like" are GET, HEAD, OPTIONS, PUT and DELETE. Other methods may have changed something
before the answer came, so they are not repeated if nobody knows why the answer came.
"""

TOKEN_TEXT = """\
The access token is renewed once, and the request is repeated with the new one.
"""

SESSION_TEXT = """\
One login is made, and the request is repeated with the new session token. If only GET and its like
are repeated, the session is only *suspected*, because the answer may have another cause. Then one
login is tried. If it fails, the session stays in use.

Without `m2m` there is no session to renew. Such an answer is then returned to you as it came.
"""

LOGIN_TEXT = """\
No login is tried again with that password. [Failed logins](failed-logins.md) says how to go on.
"""

RULES = """\
## How to read the sections

**At an API** is an answer to a request of yours. The columns say what is renewed, and which
requests are then repeated. An answer that leads to no repeat is returned to you as it came. What
was renewed is used by the next request.

**At the login** is an answer that brings no session. It counts as one of these:

- *refused:* it counts as a failed login, and the password is not tried again;
- *unknown:* it may have been a failed login, so it counts as one;
- *no attempt:* it does not count.

The last column says whether the access token is renewed. If that brings another token, the login is
sent once more.

Some rules hold for every row:

- A request is repeated once for each of the two tokens, at most, and only if
  [its body can be sent again](behaviour.md#bodies).
- A session is suspected only if no login has failed since the last success. It is not suspected in
  its first minute. If it replaced a suspected one, it is not suspected in its first ten minutes.
- "The access token, then the session" means: if the answer is the same with another access token,
  or if ThingSpace gives out the same one again, then the session is suspected. A POST is not sent
  again with another access token, so only the latter makes its session suspected.
"""


def page() -> str:
    return "\n".join([INTRODUCTION, *overview(), RULES, *sections()])


def overview() -> Iterator[str]:
    """The answers that lead to something, in three tables."""
    yield from kinds_of("Token rejected", TOKEN_TEXT, lambda api, _: api.renewed[:1] == (TOKEN,))
    yield from kinds_of("Session expired", SESSION_TEXT, lambda api, _: api.renewed == (SESSION,))
    yield from kinds_of("Login refused", LOGIN_TEXT, lambda _, login: login == REFUSED, False)


def kinds_of(
    title: str, text: str, is_meant: Callable[[Api, Login], bool], at_an_api: bool = True
) -> Iterator[str]:
    """The answers with one of these meanings, at an API or at the login."""
    head = ["the answer", "for example", "with status", *(["repeated"] if at_an_api else [])]
    yield f"## {title}\n"
    yield text
    yield f"| {' | '.join(head)} |"
    yield f"|{' --- |' * len(head)}"
    for family in FAMILIES:
        meanings = [one for one in family.meanings.values() if is_meant(*one)]
        if meanings:
            cells = [link(family), str(family.forms[0]), statuses(family, is_meant)]
            cells += [meanings[0][0].repeated] if at_an_api else []
            yield f"| {' | '.join(cells)} |"
    yield ""


def sections() -> Iterator[str]:
    for family in FAMILIES:
        yield from section(family)


def link(family: Family) -> str:
    anchor = re.sub(r"[^\w -]", "", family.name.lower()).replace(" ", "-")
    return f"[{family.name}](#{anchor})"


def statuses(family: Family, is_meant: Callable[[Api, Login], bool]) -> str:
    """The statuses with which it has one of these meanings."""
    meant = [status for status, one in family.meanings.items() if is_meant(*one)]
    if "4xx" not in meant:
        return " or ".join(map(str, meant))
    others = [str(one) for one in family.meanings if isinstance(one, int) and one not in meant]
    return f"any 4xx except {', '.join(others)}" if others else "any 4xx"


def section(family: Family) -> Iterator[str]:
    yield f"## {family.name}"
    yield ""
    yield textwrap.fill(family.remark, 120)
    yield ""
    yield from (f"- {form}" for form in family.forms)
    yield ""
    yield "| status | at an API: renewed | repeated | at the login: counts as | renewed |"
    yield "| --- | --- | --- | --- | --- |"
    for status in family.meanings:
        cells = (named(status, family.meanings), *shown(*family.meanings[status]))
        yield f"| {' | '.join(cells)} |"
    yield ""


def named(status: int | str, meanings: Meanings) -> str:
    """A status, or a class of them less what the table lists."""
    has_others = any(str(one)[0] == str(status)[0] for one in meanings if one != status)
    return f"other {status}" if isinstance(status, str) and has_others else str(status)


def shown(api: Api, login: Login) -> tuple[str, str, str, str]:
    renewed = ", then ".join(api.renewed) or "nothing"
    return renewed, api.repeated, login.counts_as, TOKEN if login.renews else "nothing"


if __name__ == "__main__":
    TARGET.write_text(page(), encoding="utf-8")
